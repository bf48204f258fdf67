/** Reads what the lines of a file add up to, and remembers what their posting means for open items and proofs. */
import { list, type Tx } from '../db/connection.ts';
import type { Currency } from '../money.ts';
import type { Calendar } from './settlement-calendar.ts';
import type { LineSum } from './settlement-posting.ts';

type FileLines = {
  readonly fileId: bigint;
  readonly firstLine: bigint | null;
  readonly lastLine: bigint | null;
};

/** New lines of batches that are not refused, and the versions that they take the place of. */
export async function listLineSums(tx: Tx, file: FileLines): Promise<readonly LineSum[]> {
  const { t } = tx;
  const sums = tx.sql`
    l.kind, l.currency, l.original_currency, sum(l.gross_minor)::bigint as gross_minor,
    sum(l.gross_minor - l.net_minor)::bigint as fee_minor, sum(l.original_minor)::bigint as original_minor`;
  return tx.sql<LineSum[]>`
    select l.batch_id, ${sums}, 'new' as version
      from ${t.settlementLine} l
      join ${t.settlementBatch} b on b.id = l.batch_id and b.refused is null
     where l.id between ${file.firstLine} and ${file.lastLine} and l.file_id = ${file.fileId}
     group by l.batch_id, l.kind, l.currency, l.original_currency, l.gross_minor < 0
     union all
    select n.batch_id, ${sums}, 'replaced'
      from ${t.settlementLine} n
      join ${t.settlementBatch} nb on nb.id = n.batch_id and nb.refused is null
      join ${t.settlementLine} l on l.source_id = n.source_id and l.line_key = n.line_key and l.occurrence = n.occurrence
                                and l.version = n.version - 1
      join ${t.settlementBatch} b on b.id = l.batch_id and b.refused is null
     where n.id between ${file.firstLine} and ${file.lastLine} and n.file_id = ${file.fileId} and n.version > 1
     group by n.batch_id, l.kind, l.currency, l.original_currency, l.gross_minor < 0`;
}

/** What settlement itself booked on the source's account, per currency: the proof's second summand. */
export async function addPostedLines(
  tx: Tx,
  sourceId: number,
  moved: ReadonlyMap<Currency, bigint>,
): Promise<void> {
  if (moved.size === 0) return;
  await tx.sql`
    update ${tx.t.reconcilePosition} p set lines_minor = p.lines_minor + m.minor
      from unnest(${list([...moved.keys()])}::text[], ${list([...moved.values()])}::bigint[]) as m (currency, minor)
     where p.source_id = ${sourceId} and p.currency = m.currency`;
}

type BookedFile = FileLines & { readonly sourceId: number; readonly runId: bigint };

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
    added as (
      insert into ${t.openItem} (id, source_id, amount_minor, remaining_minor, booked_at, due_at, currency, kind, entry_kind,
                                 reference)
      select o.id, ${bankSourceId}, o.minor, o.minor - coalesce(x.minor, 0), s.at, coalesce(d.due_at, s.at + interval '7 days'),
             o.currency, o.kind, 'settlement_line', coalesce(o.reference, b.name)
        from own o
        join ${t.settlementBatch} b on b.id = o.batch_id
        left join (select id, sum(amount_minor)::bigint as minor from shown group by id) x on x.id = o.id
        cross join lateral (select coalesce(o.available_on, o.occurred_at, now()) as at) s
        left join unnest(${list(calendar.days.map((x) => x.day))}::date[],
                         ${list(calendar.days.map((x) => x.dueAt))}::timestamptz[]) as d (day, due_at)
               on d.day = (s.at at time zone ${calendar.timeZone})::date
       where o.minor <> coalesce(x.minor, 0)
          on conflict (id) do nothing),
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
