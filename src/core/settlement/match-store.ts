/**
 * Remembers which lines explain which items. Ordered passes over sets, exact keys only: what merely has the same amount is never a
 * match here. One line never explains two payments.
 */
import { list, type Tx } from '../db/connection.ts';
import { TransientError } from '../errors.ts';

export type MatchScope = {
  readonly sourceId: number;
  readonly runId: bigint;
  /** The file's own lines: first and last number, both null when it brought none. */
  readonly fileId: bigint;
  readonly firstLine: bigint | null;
  readonly lastLine: bigint | null;
  /**
   * Of the file's own lines. `loaded`: none is matched; `ahead`: those that are not are in the transaction's table `left_line`;
   * otherwise each is asked for its match.
   */
  readonly state: 'loaded' | 'ahead' | 'matched' | 'finished';
  /** Batches of the file that are refused: their lines are not matched. */
  readonly refusedCount: number;
  /** Kinds of line that an item can explain, as an array literal. */
  readonly kinds: string;
  /** Whose file it is: a bank knows no kinds of ours, only money in and out, and its narrative may hold the name. */
  readonly by: 'psp' | 'bank';
};

/** The key by which items are found for a line: its payment's name for a charge, its own for everything else. */
const mainReference = (tx: Tx) => tx.sql`
  case when l.kind in ('charge', 'charge_reversed') then coalesce(l.payment_reference, l.reference) else l.reference end`;

const isConverted = (tx: Tx) => tx.sql`coalesce(l.original_currency <> l.currency, false)`;

/** Which key a pass goes by. */
export type LaterRule = 'our_reference' | 'line_reference' | 'end_to_end' | 'narrative';
export type Rule = 'reference' | LaterRule;
export const RULES = {
  psp: ['reference', 'our_reference', 'line_reference'],
  bank: ['reference', 'end_to_end', 'narrative'],
} as const satisfies Record<MatchScope['by'], readonly ['reference', ...LaterRule[]]>;

/** Names shorter than this may stand in a narrative by chance (characters). */
const MIN_NAME_IN_NARRATIVE = 6;

export type MatchedTally = { readonly currency: string; readonly count: number; readonly grossMinor: bigint };

/** The line's amount and currency as its item has them: what was charged, where that was settled in another currency. */
const itemCurrency = (tx: Tx) =>
  tx.sql`case when ${isConverted(tx)} then l.original_currency else l.currency end`;
const itemMinor = (tx: Tx, { by }: Pick<MatchScope, 'by'>) =>
  tx.sql`case when ${isConverted(tx)} then l.original_minor else ${by === 'psp' ? tx.sql`l.gross_minor` : tx.sql`l.net_minor`} end`;

/** A condition on lines `l` of a file, in front of others. */
const notRefused = (tx: Tx, file: MatchScope) =>
  file.refusedCount === 0
    ? tx.sql``
    : tx.sql`and not exists (select from ${tx.t.settlementBatch} b
                              where b.file_id = ${file.fileId} and b.id = l.batch_id and b.refused is not null)`;

const isUnmatched = (tx: Tx) => tx.sql`
  not exists (select from ${tx.t.settlementMatch} m where m.line_id = l.id and m.voided_run_id is null)`;

/**
 * The file's own lines of batches that are not refused, as `l`: those of them that have no match. A file that was just loaded has no
 * statistics, and the planner takes its lines for a handful: a join with its batches read all of them once for each batch.
 */
const ownLines = (tx: Tx, scope: MatchScope) =>
  scope.state === 'ahead'
    ? tx.sql`
  select l.* from pg_temp.left_line x join ${tx.t.settlementLine} l on l.id = x.id
   where ${isUnmatched(tx)} ${notRefused(tx, scope)}`
    : tx.sql`
  select l.*
    from ${tx.t.settlementLine} l
   where l.id between ${scope.firstLine} and ${scope.lastLine}
     and l.file_id = ${scope.fileId} and l.kind = any(${scope.kinds}::text[])
     ${notRefused(tx, scope)} ${scope.state === 'loaded' ? tx.sql`` : tx.sql`and ${isUnmatched(tx)}`}`;

/** Lines of a file with numbers after the one and up to the other. */
export type LinesAfter = { readonly after: bigint; readonly upTo: bigint };

/** Whose lines are matched while they are read. */
export type AheadScope = Pick<MatchScope, 'sourceId' | 'runId' | 'fileId' | 'kinds' | 'by'>;

/**
 * Items that lines of open breaks name: a line of an earlier file may have the better right to them, so they wait for the pass over all
 * lines.
 * @returns whether there are any
 */
export async function reserveItems(tx: Tx, scope: AheadScope): Promise<'none' | 'some'> {
  const { t } = tx;
  const sameKind = scope.by === 'psp' ? tx.sql`and i.kind = l.kind` : tx.sql``;
  const none = { ...scope, firstLine: null, lastLine: null };
  await tx.sql`drop table if exists pg_temp.reserved`;
  const reserved = await tx.sql`
    create temporary table reserved on commit drop as
    select distinct i.id
      from (${olderLines(tx, none)}) l
      join ${t.openItem} i on i.source_id = ${scope.sourceId} and i.reference = ${mainReference(tx)} ${sameKind}`;
  return reserved.count === 0 ? 'none' : 'some';
}

/**
 * The plain case of the first pass, for the file's lines with numbers after `after` up to `upTo`: a line that equals what is left of
 * the one item that it names, which no other of these lines names. What is not plain goes to `left_line`, for the pass over all lines,
 * and comes out there as if this one had not been: the first line that equals an item gets it in both.
 * Costs its lines, not what is open: one look into an index for each line. With 1,000,000 lines it is about as much work as the pass
 * over all of them (5 µs a line: a good µs for the look, two for the match and its indexes, one for the item), but the server does it
 * while the program reads. The items go by their places: by their key it is one more look for each. Nobody else changes items meanwhile, because the source is locked; if somebody did, the counts tell.
 * @param reserved whether items are left out ({@link reserveItems})
 * @param noted whether charges are to be kept for {@link dueAtSettlement}
 * @throws TransientError items_changed
 */
export async function matchPortion(
  tx: Tx,
  scope: AheadScope,
  range: LinesAfter,
  { reserved, noted }: { readonly reserved: 'none' | 'some'; readonly noted: 'none' | 'charges' },
): Promise<readonly MatchedTally[]> {
  const { t } = tx;
  const sameKind = scope.by === 'psp' ? tx.sql`and i.kind = l.kind` : tx.sql``;
  const rows = await tx.sql<(MatchedTally & { gone: number })[]>`
    with near as (
      select l.id as line_id, i.id as item_id, i.ctid as place, ${itemMinor(tx, scope)} as minor, i.remaining_minor, i.currency,
             i.kind, i.operation_id
        from ${t.settlementLine} l
        left join ${t.openItem} i on i.source_id = ${scope.sourceId} and i.reference = ${mainReference(tx)} ${sameKind}
                                 and i.currency = ${itemCurrency(tx)} and sign(i.remaining_minor) = sign(${itemMinor(tx, scope)})
                                 ${reserved === 'none' ? tx.sql`` : tx.sql`and not exists (select from pg_temp.reserved r where r.id = i.id)`}
       where l.id > ${range.after} and l.id <= ${range.upTo} and l.file_id = ${scope.fileId}
         and l.kind = any(${scope.kinds}::text[])),
    counted as (
      select *, count(*) over (partition by item_id) as lines, count(*) over (partition by line_id) as items from near),
    judged as materialized (
      select *, (lines = 1 and items = 1 and minor = remaining_minor) is true as is_plain from counted),
    matched as (
      insert into ${t.settlementMatch} (line_id, item_id, amount_minor, run_id, rule)
      select line_id, item_id, minor, ${scope.runId}, 'reference' from judged where is_plain order by line_id),
    gone as (delete from ${t.openItem} i using judged m where i.ctid = m.place and m.is_plain returning 1),
    noted as (
      insert into pg_temp.pair (line_id, item_id, kind, operation_id)
      select line_id, item_id, kind, operation_id from judged where ${noted === 'charges'} and is_plain and kind = 'charge'),
    left_over as (
      insert into pg_temp.left_line (id)
      select distinct line_id from judged where not is_plain)
    select currency, count(*)::integer as count, sum(abs(minor))::bigint as gross_minor,
           (select count(*) from gone)::integer as gone
      from judged where is_plain group by currency`;
  const count = rows.reduce((sum, one) => sum + one.count, 0);
  if (rows.length > 0 && rows[0]!.gone !== count)
    throw new TransientError('items_changed', 'Open items changed while their source was locked.');
  return rows.map(({ gone: _, ...tally }) => tally);
}

/** Lines that came by another way than in a portion: all of them are left. */
export async function leaveLines(tx: Tx, scope: AheadScope, range: LinesAfter): Promise<void> {
  await tx.sql`
    insert into pg_temp.left_line (id)
    select l.id from ${tx.t.settlementLine} l
     where l.id > ${range.after} and l.id <= ${range.upTo} and l.file_id = ${scope.fileId}
       and l.kind = any(${scope.kinds}::text[])`;
  await tx.sql`analyze pg_temp.left_line`;
}

/** More lines than this are found anew instead (about 1 MB of numbers). */
const MAX_LEFT_LINES = 50_000;

/** The lines that are left, for a later transaction; null: too many of them. */
export async function listLeftLines(tx: Tx): Promise<readonly bigint[] | null> {
  const rows = await tx.sql<{ id: bigint }[]>`select id from pg_temp.left_line limit ${MAX_LEFT_LINES + 1}`;
  return rows.length > MAX_LEFT_LINES ? null : rows.map(({ id }) => id);
}

export async function createLeftLines(tx: Tx, ids: readonly bigint[]): Promise<void> {
  await tx.sql`drop table if exists pg_temp.left_line`;
  await tx.sql`
    create temporary table left_line on commit drop as
    select id from unnest(${list(ids)}::bigint[]) as x (id)`;
  await tx.sql`analyze pg_temp.left_line`;
}

/** The tables of what portions leave and note; whether any share waits for its charge's line. */
export async function prepareNotes(tx: Tx): Promise<'none' | 'charges'> {
  await tx.sql`drop table if exists pg_temp.left_line`;
  await tx.sql`create temporary table left_line (id bigint not null) on commit drop`;
  await tx.sql`drop table if exists pg_temp.pair`;
  await tx.sql`
    create temporary table pair (line_id bigint, item_id bigint, kind text, operation_id bigint) on commit drop`;
  const [row] = await tx.sql<{ waits: boolean }[]>`
    select exists (select from ${tx.t.fundRelease} where due_at = 'infinity') as waits`;
  return row!.waits ? 'charges' : 'none';
}

/** Lines of batches that turned out to be refused are matched no more; what they explained is open again, or must be restored. */
export async function reopenRefused(tx: Tx, scope: AheadScope): Promise<void> {
  const { t } = tx;
  await createVoided(
    tx,
    scope.runId,
    tx.sql`
    select m.line_id, m.item_id, m.amount_minor
      from ${t.settlementMatch} m
      join ${t.settlementLine} l on l.id = m.line_id and l.file_id = ${scope.fileId}
      join ${t.settlementBatch} b on b.id = l.batch_id and b.file_id = ${scope.fileId} and b.refused is not null
     where m.run_id = ${scope.runId} and m.line_id > ${scope.fileId} and m.voided_run_id is null`,
  );
}

/** What a run has matched so far, by currency. */
export async function listRunTallies(tx: Tx, scope: AheadScope): Promise<readonly MatchedTally[]> {
  return tx.sql<MatchedTally[]>`
    select case when ${isConverted(tx)} then l.original_currency else l.currency end as currency, count(*)::integer as count,
           sum(abs(m.amount_minor))::bigint as gross_minor
      from ${tx.t.settlementMatch} m
      join ${tx.t.settlementLine} l on l.id = m.line_id
     where m.run_id = ${scope.runId} and m.line_id > ${scope.fileId} and m.voided_run_id is null
     group by 1`;
}

/** Lines of open breaks that no newer version took the place of, as `l`. */
const olderLines = (tx: Tx, scope: Omit<MatchScope, 'state' | 'refusedCount'>) => tx.sql`
  select l.*
    from (select distinct line_id from ${tx.t.reconBreak}
           where source_id = ${scope.sourceId} and closed_at is null and not is_of_line and line_id is not null) b
    join ${tx.t.settlementLine} l on l.id = b.line_id
   where l.kind = any(${scope.kinds}::text[]) and ${isUnmatched(tx)}
     and not (l.file_id = ${scope.fileId} and ${scope.firstLine}::bigint is not null
              and l.id between ${scope.firstLine} and ${scope.lastLine})
     and not exists (select from ${tx.t.settlementLine} n where n.source_id = l.source_id and n.line_key = l.line_key
                        and n.occurrence = l.occurrence and n.version > l.version)`;

export type Paired = {
  /** Rows of the table of pairs that have an item. */
  readonly pairs: number;
  /** Lines without one. */
  readonly alone: number;
  readonly isOneToOne: boolean;
};

/**
 * The first pass: every line that this run looks at (the file's own, and those of open breaks), each with the items that its first
 * reference names, or with none.
 * Plan with 1,000,000 lines and items: one parallel hash join straight from both tables, 1.0 s. A table of candidates in between was
 * 2.4 s more.
 */
export async function pairLines(tx: Tx, scope: MatchScope): Promise<Paired> {
  const { t } = tx;
  const sameKind = scope.by === 'psp' ? tx.sql`and i.kind = l.kind` : tx.sql``;
  const pairsOf = (lines: ReturnType<typeof ownLines>) => tx.sql`
    select l.id as line_id, i.id as item_id, ${itemMinor(tx, scope)} as minor, i.remaining_minor, i.currency, i.kind,
           i.operation_id, ${itemMinor(tx, scope)} = i.remaining_minor as is_equal
      from (${lines}) l
      left join ${t.openItem} i on i.source_id = ${scope.sourceId} and i.reference = ${mainReference(tx)} ${sameKind}
                               and i.currency = ${itemCurrency(tx)} and sign(i.remaining_minor) = sign(${itemMinor(tx, scope)})`;
  await tx.sql`drop table if exists pg_temp.pair`;
  await tx.sql`create temporary table pair on commit drop as ${pairsOf(ownLines(tx, scope))}`;
  await tx.sql`insert into pg_temp.pair ${pairsOf(olderLines(tx, scope))}`;
  return lookAtPairs(tx);
}

/** A later pass, for what is left: candidates and items that name each other by the rule's key and agree in kind and currency. */
export async function pairCandidates(tx: Tx, scope: MatchScope, rule: Rule): Promise<Paired> {
  const key = {
    reference: tx.sql`i.reference = c.main_reference`,
    our_reference: tx.sql`i.operation_id = c.operation_id`,
    line_reference: tx.sql`i.reference = c.reference`,
    end_to_end: tx.sql`i.reference = c.our_reference`,
    narrative: tx.sql`length(i.reference) >= ${MIN_NAME_IN_NARRATIVE} and strpos(c.our_reference, i.reference) > 0`,
  }[rule];
  const sameKind = scope.by === 'psp' ? tx.sql`and i.kind = c.kind` : tx.sql``;
  await tx.sql`drop table if exists pg_temp.pair`;
  await tx.sql`
    create temporary table pair on commit drop as
    select c.id as line_id, i.id as item_id, c.minor, i.remaining_minor, i.currency, i.kind, i.operation_id,
           c.minor = i.remaining_minor as is_equal
      from pg_temp.candidate c
      join ${tx.t.openItem} i on ${key} ${sameKind} and i.currency = c.currency
     where i.source_id = ${scope.sourceId} and sign(c.minor) = sign(i.remaining_minor)`;
  return lookAtPairs(tx);
}

/** Lines come in their order, so that counting the distinct ones sorts nothing: 0.15 s for 1,000,000. */
async function lookAtPairs(tx: Tx): Promise<Paired> {
  await tx.sql`analyze pg_temp.pair`;
  const [row] = await tx.sql<Paired[]>`
    select count(item_id)::integer as pairs, (count(*) - count(item_id))::integer as alone,
           count(distinct line_id) = count(*) and count(distinct item_id) = count(item_id) as is_one_to_one
      from pg_temp.pair`;
  return row!;
}

/**
 * What the first pass left: lines without an item, and those that another line was preferred to. With all that the later passes and
 * the breaks ask of them.
 * @param left of the lines that had an item
 * @returns how many
 */
export async function createCandidates(tx: Tx, scope: MatchScope, left: 'none' | 'some'): Promise<number> {
  const unmatched =
    left === 'none'
      ? tx.sql``
      : tx.sql`union
          select p.line_id from pg_temp.pair p
           where p.item_id is not null
             and not exists (select from ${tx.t.settlementMatch} m where m.line_id = p.line_id and m.voided_run_id is null)`;
  await tx.sql`drop table if exists pg_temp.candidate`;
  const created = await tx.sql`
    create temporary table candidate on commit drop as
    select l.id, l.kind, l.operation_id, ${itemCurrency(tx)} as currency, ${itemMinor(tx, scope)} as minor, l.reference,
           l.our_reference, ${mainReference(tx)} as main_reference, ${isConverted(tx)} as is_converted,
           case when l.kind in ('dispute', 'dispute_reversed') then l.payment_reference else ${mainReference(tx)} end
             as payment_name, false as op_fits
      from (select line_id from pg_temp.pair where item_id is null ${unmatched}) p
      join ${tx.t.settlementLine} l on l.id = p.line_id`;
  await tx.sql`analyze pg_temp.candidate`;
  return created.count;
}

/**
 * Matches the pairs of one pass. Where one line equals what is left of its item and neither has another, that pair; where several
 * lines share an item, the first that equals it, or all of them when they fit, as its parts (a break then says what is left).
 * Plan with 1,000,000 lines and items: insert in line order, so that the indexes grow at their ends (2.1 s, of which 0.65 for each
 * index), delete by a hash join (1.6 s, half of it the join; by the rows' places it is no faster). Only where something is not one to
 * one do two hash aggregates (0.5 s each) find what.
 * Losers: row_number() over both sides (two sorts more), and insert … on conflict do nothing under two unique indexes (which of two
 * equal rows wins is then chance).
 * @returns the legs per currency
 */
export async function matchPairs(
  tx: Tx,
  scope: MatchScope,
  rule: Rule,
  paired: Paired,
): Promise<readonly MatchedTally[]> {
  const { t } = tx;
  if (paired.pairs === 0) return [];
  const one = paired.isOneToOne
    ? tx.sql`one as (select line_id, item_id, minor, currency from pg_temp.pair where is_equal)`
    : tx.sql`
    crowded_item as (select item_id from pg_temp.pair group by item_id having count(*) > 1),
    crowded_line as (select line_id from pg_temp.pair group by line_id having count(*) > 1),
    one as materialized (
      select line_id, item_id, minor, currency
        from pg_temp.pair p
       where is_equal
         and not exists (select from crowded_item c where c.item_id = p.item_id)
         and not exists (select from crowded_line c where c.line_id = p.line_id))`;
  const exact = await tx.sql<MatchedTally[]>`
    with ${one},
    matched as (
      insert into ${t.settlementMatch} (line_id, item_id, amount_minor, run_id, rule)
      select line_id, item_id, minor, ${scope.runId}, ${rule} from one order by line_id),
    gone as (delete from ${t.openItem} i using one m where i.id = m.item_id)
    select currency, count(*)::integer as count, sum(abs(minor))::bigint as gross_minor from one group by currency`;
  const matched = exact.reduce((sum, one) => sum + one.count, 0);
  return matched < paired.pairs ? [...exact, ...(await matchGroups(tx, scope, rule))] : exact;
}

/** What is not one to one: few, so sorted. A line of several items goes to the one that it equals, or the first. */
async function matchGroups(tx: Tx, scope: MatchScope, rule: Rule): Promise<readonly MatchedTally[]> {
  const { t } = tx;
  return tx.sql<MatchedTally[]>`
    with free as (
      select p.line_id, p.item_id, p.minor, i.remaining_minor, i.currency
        from pg_temp.pair p
        join ${t.openItem} i on i.id = p.item_id
       where not exists (select from ${t.settlementMatch} m where m.line_id = p.line_id and m.voided_run_id is null)),
    assigned as (
      select distinct on (line_id) * from free order by line_id, (minor = remaining_minor) desc, item_id),
    judged as (
      select *, sum(minor) over (partition by item_id) as total,
             min(line_id) filter (where minor = remaining_minor) over (partition by item_id) as equal_line,
             row_number() over (partition by item_id order by line_id) as place
        from assigned),
    leg as (
      insert into ${t.settlementMatch} (line_id, item_id, amount_minor, run_id, rule)
      select line_id, item_id, minor, ${scope.runId}, ${rule}
        from judged
       where case when equal_line is not null then line_id = equal_line
                  when abs(total) <= abs(remaining_minor) then true
                  else place = 1 end
      returning line_id, item_id, amount_minor),
    explained as (select item_id, sum(amount_minor)::bigint as minor from leg group by item_id),
    gone as (
      delete from ${t.openItem} i using explained e where i.id = e.item_id and i.remaining_minor = e.minor returning 1),
    reduced as (
      update ${t.openItem} i set remaining_minor = i.remaining_minor - e.minor
        from explained e where i.id = e.item_id and i.remaining_minor <> e.minor returning 1)
    select j.currency, count(*)::integer as count, sum(abs(j.minor))::bigint as gross_minor
      from leg l join judged j on j.line_id = l.line_id group by j.currency`;
}

/**
 * Shares that wait for their charge to be settled are due now: what this pass explained, in whole or in part. Orders that do not
 * wait have no release at infinity, and an index says so at once.
 */
export async function dueAtSettlement(tx: Tx): Promise<void> {
  const { t } = tx;
  await tx.sql`
    update ${t.fundRelease} f set due_at = now()
     where f.due_at = 'infinity'
       and f.operation_id in (
         select p.operation_id
           from pg_temp.pair p
           join ${t.settlementMatch} m on m.line_id = p.line_id and m.item_id = p.item_id and m.voided_run_id is null
          where p.kind = 'charge')`;
}

/** Between two passes: a matched line is nobody's candidate. */
export async function dropMatched(tx: Tx, which: 'matched' | 'all'): Promise<void> {
  if (which === 'all') {
    await tx.sql`truncate pg_temp.candidate`;
    return;
  }
  await tx.sql`
    delete from pg_temp.candidate c
     using ${tx.t.settlementMatch} m where m.line_id = c.id and m.voided_run_id is null`;
}

/**
 * Lines of this file that tell an earlier line anew: the old line's matches are void, and what they explained is open again.
 * @returns how many legs became void
 */
export async function reopenReplaced(tx: Tx, scope: MatchScope): Promise<number> {
  const { t } = tx;
  return createVoided(
    tx,
    scope.runId,
    tx.sql`
    select m.line_id, m.item_id, m.amount_minor
      from ${t.settlementLine} l
      join ${t.settlementLine} p on p.source_id = l.source_id and p.line_key = l.line_key and p.occurrence = l.occurrence
                                and p.version = l.version - 1
      join ${t.settlementMatch} m on m.line_id = p.id and m.voided_run_id is null
     where l.file_id = ${scope.fileId} and l.version > 1`,
  );
}

/** What the corrections of these breaks explained is open again, as {@link reopenReplaced} does it. */
export async function reopenCorrected(tx: Tx, scope: MatchScope, breakIds: readonly bigint[]): Promise<void> {
  const { t } = tx;
  await createVoided(
    tx,
    scope.runId,
    tx.sql`
    select line_id, item_id, amount_minor from ${t.settlementMatch}
     where line_id = any(${list(breakIds)}::bigint[]) and voided_run_id is null`,
  );
}

/** Legs become void. Items that have gone with them are for the caller to restore, from the table `voided`. */
async function createVoided(tx: Tx, runId: bigint, legs: ReturnType<typeof mainReference>): Promise<number> {
  const { t } = tx;
  await tx.sql`drop table if exists pg_temp.voided`;
  const voided = await tx.sql`create temporary table voided on commit drop as ${legs}`;
  if (voided.count === 0) return 0;
  await tx.sql`analyze pg_temp.voided`;
  await tx.sql`
    update ${t.settlementMatch} m set voided_run_id = ${runId}
      from pg_temp.voided v where m.line_id = v.line_id and m.item_id = v.item_id`;
  await tx.sql`
    update ${t.openItem} i set remaining_minor = i.remaining_minor + v.minor
      from (select item_id, sum(amount_minor)::bigint as minor from pg_temp.voided group by item_id) v
     where i.id = v.item_id`;
  return voided.count;
}
