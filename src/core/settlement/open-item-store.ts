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

/**
 * Items whose match became void (in pg_temp.voided) and that had gone: they are there again, with what is left of them. Facts of the
 * ledger for a PSP; for a bank, deposits that a PSP's file told of.
 */
export async function restoreItems(
  tx: Tx,
  scope: { readonly sourceId: number; readonly by: 'psp' | 'bank' },
  calendar: Calendar,
): Promise<void> {
  const { t } = tx;
  const { sourceId } = scope;
  await tx.sql`drop table if exists pg_temp.lost`;
  await tx.sql`
    create temporary table lost on commit drop as
    select v.item_id, coalesce((select sum(x.amount_minor) from ${t.settlementMatch} x
                                 where x.item_id = v.item_id and x.voided_run_id is null), 0)::bigint as explained_minor
      from (select distinct item_id from pg_temp.voided) v
     where not exists (select from ${t.openItem} i where i.id = v.item_id)`;
  if (scope.by === 'bank') return restoreDeposits(tx, sourceId, calendar);
  await tx.sql`
    with position as (select account_id, currency from ${t.reconcilePosition} where source_id = ${sourceId}),
    moved as (
      select x.account_id, min(x.currency) as currency, o.item_id as entry_id, sum(x.amount_minor)::bigint as amount_minor,
             min(o.explained_minor) as explained_minor
        from pg_temp.lost o
        join lateral (select p.account_id, p.currency, d.amount_minor from ${t.posting} d join position p on p.account_id = d.debit_id
                       where d.entry_id = o.item_id
                      union all
                      select p.account_id, p.currency, -c.amount_minor from ${t.posting} c join position p on p.account_id = c.credit_id
                       where c.entry_id = o.item_id) x on true
       group by x.account_id, o.item_id),
    fact as (
      select ${factColumns(tx)}, m.amount_minor - m.explained_minor as remaining_minor
        from moved m
        join ${t.journalEntry} e on e.id = m.entry_id)
    ${insertFacts(tx, sourceId, calendar)}`;
}

type Fragment = ReturnType<typeof factColumns>;

async function restoreDeposits(tx: Tx, bankSourceId: number, calendar: Calendar): Promise<void> {
  const { t } = tx;
  const lost = tx.sql`
    select d.*, o.explained_minor from pg_temp.lost o join ${t.settlementLine} d on d.id = o.item_id`;
  await insertDeposits(tx, bankSourceId, calendar, lost);
}

/**
 * Adds lines of a PSP's file (`deposits`, with what is explained of each) as items that the bank must show.
 * A fragment to await, or to stand in a `with`; returns currency and amount_minor.
 */
function insertDeposits(tx: Tx, bankSourceId: number, calendar: Calendar, deposits: Fragment) {
  const { t } = tx;
  return tx.sql<{ currency: string; amountMinor: bigint }[]>`
    insert into ${t.openItem} (id, source_id, amount_minor, remaining_minor, booked_at, due_at, currency, kind, entry_kind, reference)
    select o.id, ${bankSourceId}, -o.gross_minor, -o.gross_minor - o.explained_minor, s.at,
           coalesce(d.due_at, s.at + ${DUE_WITHOUT_CALENDAR}::interval), o.currency, o.kind, 'settlement_line',
           coalesce(o.reference, b.name)
      from (${deposits}) o
      join ${t.settlementBatch} b on b.id = o.batch_id
      cross join lateral (select coalesce(o.available_on, o.occurred_at, now()) as at) s
      left join unnest(${list(calendar.days.map((x) => x.day))}::date[],
                       ${list(calendar.days.map((x) => x.dueAt))}::timestamptz[]) as d (day, due_at)
             on d.day = (s.at at time zone ${calendar.timeZone})::date
        on conflict (id) do nothing
    returning currency, amount_minor`;
}

/** A file as its deposits are gathered. */
type BookedFile = {
  readonly fileId: bigint;
  readonly runId: bigint;
  readonly sourceId: number;
  readonly firstLine: bigint | null;
  readonly lastLine: bigint | null;
};

/** Kinds of line that move money between the PSP and the bank. */
const depositKinds = (tx: Tx) => tx.sql`('deposit', 'deposit_returned', 'top_up')`;

/**
 * Deposits of a PSP's file, now booked as on their way, are what the bank must show next. Those that the file tells anew take the
 * place of the earlier ones, with all that the bank has shown of them: what is then left is open, or too much, and a break of the
 * bank's next run.
 */
export async function expectAtBank(
  tx: Tx,
  file: BookedFile,
  bankSourceId: number,
  calendar: Calendar,
  principal: string,
): Promise<void> {
  await findDepositsToldAnew(tx, file, bankSourceId);
  const { t } = tx;
  await tx.sql`
    with own as (
      select l.id, l.batch_id, l.currency, l.kind, l.reference, l.available_on, l.occurred_at,
             case when l.kind in ${depositKinds(tx)} then -l.gross_minor else 0 end as minor
        from ${t.settlementLine} l
        join ${t.settlementBatch} b on b.id = l.batch_id and b.refused is null
        left join pg_temp.told_anew a on a.id = l.id
       where l.id between ${file.firstLine} and ${file.lastLine} and l.file_id = ${file.fileId}
         and (a.id is not null or l.kind in ${depositKinds(tx)} and l.gross_minor <> 0)),
    gone as (
      delete from ${t.openItem} i using pg_temp.told_anew a where i.id = a.old_id and i.source_id = ${bankSourceId}),
    shown as (
      update ${t.settlementMatch} m set voided_run_id = ${file.runId}
        from pg_temp.told_anew a where m.item_id = a.old_id and m.voided_run_id is null
      returning a.id, m.line_id, m.amount_minor, m.run_id, m.rule, m.actor),
    carried as (
      insert into ${t.settlementMatch} (line_id, item_id, amount_minor, run_id, rule, actor)
      select line_id, id, amount_minor, run_id, rule, actor from shown),
    added as (${insertDeposits(tx, bankSourceId, calendar, openDeposits(tx))}),
    moved as (
      select currency, sum(minor)::bigint as minor
        from (select currency, minor from own
               union all
              select old_currency, -old_minor from pg_temp.told_anew) x
       group by currency)
    update ${t.reconcilePosition} p set facts_minor = p.facts_minor + m.minor
      from moved m where p.source_id = ${bankSourceId} and p.currency = m.currency`;
  await resolveToldAnew(tx, file.runId, bankSourceId, principal);
}

/** Of the deposits `own`, what is left after all that the bank has `shown` of them: as {@link insertDeposits} takes it. */
const openDeposits = (tx: Tx) => tx.sql`
  select own.*, -own.minor as gross_minor, coalesce(x.minor, 0)::bigint as explained_minor
    from own
    left join (select id, sum(amount_minor)::bigint as minor from shown group by id) x on x.id = own.id
   where own.minor <> coalesce(x.minor, 0)`;

/** Each earlier version that the bank was to show, or had shown, and the line of this file that takes its place. */
async function findDepositsToldAnew(tx: Tx, file: BookedFile, bankSourceId: number): Promise<void> {
  const { t } = tx;
  await tx.sql`drop table if exists pg_temp.told_anew`;
  await tx.sql`
    create temporary table told_anew on commit drop as
    select o.id, p.id as old_id, p.currency as old_currency, -p.gross_minor as old_minor
      from ${t.settlementLine} o
      join ${t.settlementBatch} b on b.id = o.batch_id and b.refused is null
      join ${t.settlementLine} p on p.source_id = o.source_id and p.line_key = o.line_key and p.occurrence = o.occurrence
                                and p.version = o.version - 1
     where o.source_id = ${file.sourceId} and o.version > 1 and o.file_id = ${file.fileId}
       and o.id between ${file.firstLine} and ${file.lastLine} and p.kind in ${depositKinds(tx)}
       and (exists (select from ${t.openItem} i where i.id = p.id and i.source_id = ${bankSourceId})
            or exists (select from ${t.settlementMatch} m where m.item_id = p.id and m.voided_run_id is null))`;
}

/** What was open about their earlier versions is no more: the bank's next run says what is open about the new ones. */
async function resolveToldAnew(
  tx: Tx,
  runId: bigint,
  bankSourceId: number,
  principal: string,
): Promise<void> {
  const { t } = tx;
  await tx.sql`
    with resolved as (
      update ${t.reconBreak} b set state = 'resolved', closed_at = now(), closed_by = ${`run:${runId}`}
        from ${t.reconBreak} before
       where before.id = b.id and b.closed_at is null and b.source_id = ${bankSourceId}
         and b.item_id in (select old_id from pg_temp.told_anew)
      returning b.id, before.state)
    insert into ${t.breakEvent} (break_id, kind, principal, reason, from_state, to_state, run_id)
    select id, 'resolved', ${principal}, 'the deposit was told anew', state, 'resolved', ${runId}::bigint from resolved`;
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
