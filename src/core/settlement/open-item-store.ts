/**
 * Remembers what moved according to the books and no line has shown. Gathers it from the ledger, set by set: who books a charge
 * writes nothing for reconciliation.
 */
import { list, type Queryable, type Tx } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { KIND_OF_FACT } from './open-item.ts';
import type { Calendar } from './settlement-calendar.ts';

/**
 * Entries commit out of the order of their numbers, but none later than this after it was recorded: statements and idle
 * transactions are cut long before (s).
 */
const SAFETY_LAG_S = 300;
/** An item whose day the calendar does not reach is long due. */
const DUE_WITHOUT_CALENDAR = '7 days';

/** Accounts of the source that items are gathered from; the first fact of a currency makes its account known. */
export async function insertPositions(
  tx: Tx,
  source: { readonly id: number; readonly accountCode: string },
): Promise<void> {
  await tx.sql`
    insert into ${tx.t.reconcilePosition} (account_id, source_id, currency)
    select a.id, ${source.id}, a.currency
      from ${tx.t.account} a where a.code = ${source.accountCode}
        on conflict do nothing`;
}

/** Some seconds, whatever the book's size. */
const GATHERED_AT_ONCE = 400_000;
/** Portions of one gathering: more entries than a book has. */
const MAX_PORTIONS = 1_000_000;

/**
 * Adds every fact that is not there yet: one row per entry that moved the account. Each is added once, however often the young ones
 * are looked at: those that lines have explained are known by their match. In portions, because a connection whose server says
 * nothing for a minute is taken for dead.
 * @param atOnce entries of each side of an account that one statement looks at
 * @returns how many were added
 */
export async function gatherItems(
  tx: Tx,
  sourceId: number,
  calendar: Calendar,
  atOnce = GATHERED_AT_ONCE,
): Promise<number> {
  const { t } = tx;
  await tx.sql`drop table if exists pg_temp.reached`;
  await tx.sql`
    create temporary table reached on commit drop as
    with position as (
      select account_id, currency, gathered_to from ${t.reconcilePosition}
       where source_id = ${sourceId} order by account_id for no key update)
    select account_id, currency, gathered_to as after, null::bigint as up_to from position`;
  let added = 0;
  for (let portion = 0; portion < MAX_PORTIONS; portion += 1) {
    await findPortion(tx, atOnce);
    added += await gatherPortion(tx, sourceId, calendar);
    const { count } = await tx.sql`update pg_temp.reached set after = up_to where up_to is not null`;
    if (count === 0) return added;
    await tx.sql`delete from pg_temp.reached where up_to is null`;
  }
  throw new Bug('the entries of an account do not come to an end');
}

/** `up_to` is the last entry that the next portion looks at, null where that is the account's last. */
async function findPortion(tx: Tx, atOnce: number): Promise<void> {
  const { t } = tx;
  await tx.sql`
    update pg_temp.reached r
       set up_to = least(
             (select d.entry_id from ${t.posting} d where d.debit_id = r.account_id and d.entry_id > r.after
               order by d.entry_id offset ${atOnce} limit 1),
             (select c.entry_id from ${t.posting} c where c.credit_id = r.account_id and c.entry_id > r.after
               order by c.entry_id offset ${atOnce} limit 1))`;
}

/**
 * Two index-only ranges of posting first, into a table that the planner then knows the size of: in one statement it took the facts
 * for a few dozen, and looked up entry, operation and match one by one (twice the time). The other loser: a table that the executor
 * writes at each outcome.
 */
async function gatherPortion(tx: Tx, sourceId: number, calendar: Calendar): Promise<number> {
  const { t } = tx;
  const isNext = (entry: ReturnType<typeof isFact>) =>
    tx.sql`${entry} > p.after and ${entry} <= coalesce(p.up_to, 9223372036854775807)`;
  await tx.sql`drop table if exists pg_temp.moved`;
  await tx.sql`
    create temporary table moved on commit drop as
    select account_id, min(currency) as currency, entry_id, sum(amount_minor)::bigint as amount_minor
      from (select p.account_id, p.currency, d.entry_id, d.amount_minor
              from pg_temp.reached p join ${t.posting} d on d.debit_id = p.account_id and ${isNext(tx.sql`d.entry_id`)}
             union all
            select p.account_id, p.currency, c.entry_id, -c.amount_minor
              from pg_temp.reached p join ${t.posting} c on c.credit_id = p.account_id and ${isNext(tx.sql`c.entry_id`)}) s
     group by account_id, entry_id`;
  await tx.sql`analyze pg_temp.moved`;
  const [row] = await tx.sql<{ added: number }[]>`
    with fact as materialized (
      select ${factColumns(tx)}, m.amount_minor as remaining_minor
        from pg_temp.moved m
        join ${t.journalEntry} e on e.id = m.entry_id
       where ${isFact(tx)}
         and not exists (select from ${t.settlementMatch} x where x.item_id = m.entry_id and x.voided_run_id is null)),
    added as (${insertFacts(tx, sourceId, calendar)} returning currency, amount_minor),
    moved_on as (
      update ${t.reconcilePosition} r
         set facts_minor = r.facts_minor + coalesce((select sum(amount_minor) from added where currency = r.currency), 0)::bigint,
             gathered_to = greatest(r.gathered_to, (select max(f.entry_id) from fact f
                                                     where f.account_id = r.account_id
                                                       and f.recorded_at < now() - make_interval(secs => ${SAFETY_LAG_S})))
       where r.source_id = ${sourceId}
      returning 1)
    select (select count(*) from added)::integer as added from (select count(*) from moved_on) m`;
  return row?.added ?? 0;
}

/** Items whose match became void (`voided`) and that had gone: they are there again, with what is left of them. */
export async function restoreItems(tx: Tx, sourceId: number, calendar: Calendar): Promise<void> {
  const { t } = tx;
  await tx.sql`
    with position as (select account_id, currency from ${t.reconcilePosition} where source_id = ${sourceId}),
    lost as (select distinct item_id from pg_temp.voided v
              where not exists (select from ${t.openItem} i where i.id = v.item_id)),
    moved as (
      select x.account_id, min(x.currency) as currency, o.item_id as entry_id, sum(x.amount_minor)::bigint as amount_minor
        from lost o
        join lateral (select p.account_id, p.currency, d.amount_minor from ${t.posting} d join position p on p.account_id = d.debit_id
                       where d.entry_id = o.item_id
                      union all
                      select p.account_id, p.currency, -c.amount_minor from ${t.posting} c join position p on p.account_id = c.credit_id
                       where c.entry_id = o.item_id) x on true
       group by x.account_id, o.item_id),
    fact as (
      select ${factColumns(tx)},
             m.amount_minor - coalesce((select sum(x.amount_minor) from ${t.settlementMatch} x
                                         where x.item_id = m.entry_id and x.voided_run_id is null), 0)::bigint as remaining_minor
        from moved m
        join ${t.journalEntry} e on e.id = m.entry_id)
    ${insertFacts(tx, sourceId, calendar)}`;
}

/** What is known of a fact by its entry `e` and what it moved, `m`. */
const factColumns = (tx: Tx) => tx.sql`
  m.account_id, m.currency, m.entry_id, m.amount_minor, e.kind, e.recorded_at,
  case when e.cause like 'op\\_%' then split_part(substr(e.cause, 4), '/', 1)::bigint end as operation_id,
  case when e.cause like 'op\\_%/%' then split_part(e.cause, '/', 2)::smallint end as attempt_number,
  case when e.cause like 'dsp\\_%' then split_part(substr(e.cause, 5), '/', 1)::bigint end as dispute_id`;

/** What settlement itself books explains facts and is none. */
const isFact = (tx: Tx) => tx.sql`e.cause not like 'settle:%' and m.amount_minor <> 0`;

function insertFacts(tx: Tx, sourceId: number, calendar: Calendar) {
  const { t } = tx;
  const kinds = Object.entries(KIND_OF_FACT);
  return tx.sql`
    insert into ${t.openItem} (id, source_id, operation_id, amount_minor, remaining_minor, booked_at, due_at, currency, kind,
                               entry_kind, reference)
    select f.entry_id, ${sourceId}, coalesce(f.operation_id, s.operation_id), f.amount_minor, f.remaining_minor, f.recorded_at,
           coalesce(d.due_at, f.recorded_at + ${DUE_WITHOUT_CALENDAR}::interval), f.currency,
           coalesce(k.kind, 'adjustment'), f.kind, coalesce(a.psp_reference, o.psp_reference, s.psp_reference)
      from fact f
      left join ${t.dispute} s on s.id = f.dispute_id
      left join ${t.operation} o on o.id = f.operation_id
      left join ${t.attempt} a on a.operation_id = f.operation_id and a.number = f.attempt_number
      left join unnest(${list(kinds.map(([entryKind]) => entryKind))}::text[], ${list(kinds.map(([, kind]) => kind))}::text[])
                as k (entry_kind, kind) on k.entry_kind = f.kind
      left join unnest(${list(calendar.days.map((d) => d.day))}::date[], ${list(calendar.days.map((d) => d.dueAt))}::timestamptz[])
                as d (day, due_at)
             on d.day = ((f.recorded_at at time zone ${calendar.timeZone})
                         + make_interval(mins => ${1440 - calendar.cutOffMinute}))::date
        on conflict (id) do nothing`;
}

/** PSP accounts that ever had a receivable: what maintenance gathers for. */
export async function listPspAccounts(on: Queryable): Promise<readonly string[]> {
  const rows = await on.sql<{ party: string }[]>`
    select distinct party from ${on.t.account} where family = 'psp' and purpose = 'receivable' order by party`;
  return rows.map(({ party }) => party);
}
