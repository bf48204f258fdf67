/**
 * Remembers bank lines that pay several of our items at once. Exact keys only: the line names every one of them (or they share the
 * name that it gives), and it is exactly their sum. An amount alone is never enough.
 */
import type { Tx } from '../db/connection.ts';
import type { MatchedTally, MatchScope } from './match-store.ts';

/** Names shorter than this may stand in a narrative by chance (characters). */
const MIN_NAME = 6;

/** The line `c` gives the name of the item `i`; in a narrative a name ends where it ends: PO1 is not named by PO12. */
const isNamed = (tx: Tx) => tx.sql`
  (i.reference in (c.main_reference, c.our_reference)
   or (length(i.reference) >= ${MIN_NAME} and strpos(c.our_reference, i.reference) > 0
       and c.our_reference ~ ('(^|[^[:alnum:]])' || regexp_replace(i.reference, '([^[:alnum:]])', '\\\\\\1', 'g')
                              || '($|[^[:alnum:]])')))`;

/**
 * Lines that a named deposit explains alone are left to the passes that follow, and are found by the amount first: what remains is few,
 * and only that is compared with every open deposit. So is a deposit that another line names too.
 * @returns the legs per currency
 */
export async function matchNamedSums(tx: Tx, scope: MatchScope): Promise<readonly MatchedTally[]> {
  const { t } = tx;
  return tx.sql<MatchedTally[]>`
    with lump as materialized (
      select c.* from pg_temp.candidate c
       where not exists (select from ${t.openItem} i
                          where i.source_id = ${scope.sourceId} and i.currency = c.currency and i.remaining_minor = c.minor
                            and ${isNamed(tx)})),
    named as materialized (
      select c.id as line_id, c.minor, i.id as item_id, i.remaining_minor, i.currency
        from lump c
        join ${t.openItem} i on i.source_id = ${scope.sourceId} and i.currency = c.currency and ${isNamed(tx)}),
    shared as (
      select i.id as item_id
        from ${t.openItem} i
        join pg_temp.candidate c on c.currency = i.currency and ${isNamed(tx)}
       where i.id in (select item_id from named)
       group by i.id having count(*) > 1),
    whole as (
      select line_id from named
       group by line_id, minor
      having count(*) > 1 and sum(remaining_minor) = minor and not bool_or(item_id in (select item_id from shared))),
    leg as (
      insert into ${t.settlementMatch} (line_id, item_id, amount_minor, run_id, rule)
      select n.line_id, n.item_id, n.remaining_minor, ${scope.runId}, 'named_sum'
        from named n join whole w on w.line_id = n.line_id
       order by n.line_id, n.item_id
      returning line_id, item_id, amount_minor),
    gone as (delete from ${t.openItem} i using leg where i.id = leg.item_id)
    select n.currency, count(*)::integer as count, sum(abs(l.amount_minor))::bigint as gross_minor
      from leg l join named n on n.item_id = l.item_id and n.line_id = l.line_id group by n.currency`;
}
