/**
 * Remembers breaks: what a run found is compared, as a set, with what is open. New ones are opened, known ones seen again, and those
 * that are not found any more are resolved by themselves. Every change leaves an event that nobody can edit.
 */
import { list, type Tx } from '../db/connection.ts';
import { BREAK_MEANINGS, type ChangedBreak, changeOf } from './break-codes.ts';
import type { MatchScope } from './match-store.ts';
import { KIND_OF_FACT, SIGN_OF_KIND } from './open-item.ts';
import type { BreakCode } from './reconcile-answer.ts';

export async function createFound(tx: Tx): Promise<void> {
  await tx.sql`drop table if exists pg_temp.found`;
  await tx.sql`
    create temporary table found (
      fingerprint text not null, code text not null, currency text not null, amount_minor bigint not null,
      open_minor bigint not null default 0, other_currency text, other_minor bigint, line_id bigint, item_id bigint,
      operation_id bigint, batch_id bigint, proposed_item_id bigint, is_of_line boolean not null default false
    ) on commit drop`;
}

/** Items that a second success of one order booked: known before they are matched and gone. */
export async function rememberSurplus(tx: Tx, sourceId: number): Promise<void> {
  await tx.sql`drop table if exists pg_temp.surplus`;
  await tx.sql`
    create temporary table surplus on commit drop as
    select id, operation_id from ${tx.t.openItem} where source_id = ${sourceId} and entry_kind = 'surplus_success'`;
}

/** The second success of an order was shown by a line: it is a break at once, because its item is gone with the match. */
export async function insertSurplusBreaks(
  tx: Tx,
  scope: { readonly sourceId: number; readonly runId: bigint },
  principal: string,
): Promise<void> {
  const { t } = tx;
  await tx.sql`
    with added as (
      insert into ${t.reconBreak} (id, code, severity, source_id, fingerprint, currency, amount_minor, line_id, operation_id, is_of_line,
                                   opened_run_id)
      select nextval(${`${tx.book}.object_id`}::regclass), 'duplicate_internal', 'P1', ${scope.sourceId},
             'duplicate_internal:' || l.id, l.currency, l.gross_minor, l.id, s.operation_id, true, ${scope.runId}
        from pg_temp.surplus s
        join ${t.settlementMatch} m on m.item_id = s.id and m.voided_run_id is null
        join ${t.settlementLine} l on l.id = m.line_id
       where not exists (select from ${t.reconBreak} b where b.fingerprint = 'duplicate_internal:' || l.id)
       order by l.id
      returning id)
    insert into ${t.breakEvent} (break_id, kind, principal, to_state, run_id)
    select id, 'opened', ${principal}, 'open', ${scope.runId}::bigint from added`;
}

/**
 * Candidates that name no operation of ours are looked for by the PSP's name of their payment. The only statement of a run that
 * reads the operations as a whole, and only when there are such lines: an index on that name would slow every recorded outcome.
 */
export async function nameOperations(tx: Tx, pspAccount: string): Promise<void> {
  const { t } = tx;
  const [any] = await tx.sql<{ nameless: boolean }[]>`
    select exists (select from pg_temp.candidate where operation_id is null and payment_name is not null) as nameless`;
  if (any!.nameless) {
    await tx.sql`
      update pg_temp.candidate c set operation_id = o.id
        from (select min(o.id) as id, o.psp_reference from ${t.operation} o
               where o.psp_account = ${pspAccount} and o.psp_reference in (
                 select payment_name from pg_temp.candidate where operation_id is null)
               group by o.psp_reference) o
       where c.operation_id is null and o.psp_reference = c.payment_name`;
  }
  await tx.sql`
    update pg_temp.candidate c set op_fits = true
      from ${t.operation} o
     where o.id = c.operation_id and o.psp_account = ${pspAccount}
       and o.kind = case when c.kind in ('charge', 'charge_reversed', 'dispute', 'dispute_reversed') then 'charge'
                         when c.kind in ('refund', 'refund_failed') then 'refund'
                         when c.kind in ('payout', 'payout_returned') then 'payout' end`;
}

/** A deposit of the same amount is proposed for a bank's line that comes so soon after it (days). */
const BANK_DAYS = 7;

/** Lines that nothing explains. */
export async function findLooseLines(tx: Tx, scope: MatchScope): Promise<void> {
  const { t } = tx;
  const facts = Object.entries(KIND_OF_FACT);
  const sameKind = scope.by === 'psp' ? tx.sql`and i.kind = c.kind` : tx.sql``;
  const sameTime =
    scope.by === 'psp'
      ? tx.sql`(i.booked_at at time zone 'UTC')::date = (l.occurred_at at time zone 'UTC')::date`
      : tx.sql`l.occurred_at between i.booked_at - interval '1 day' and i.booked_at + make_interval(days => ${BANK_DAYS})`;
  await tx.sql`
    with fact_kind as (
      select * from unnest(${list(facts.map(([entryKind]) => entryKind))}::text[], ${list(facts.map(([, kind]) => kind))}::text[])
                    as k (entry_kind, kind)),
    day_pair as (
      select c.id as line_id, i.id as item_id, count(*) over (partition by c.id) as items, count(*) over (partition by i.id) as lines
        from pg_temp.candidate c
        join ${t.settlementLine} l on l.id = c.id
        join ${t.openItem} i on i.source_id = ${scope.sourceId} and i.currency = c.currency and i.remaining_minor = c.minor
                            and ${sameTime} ${sameKind}
       where not c.op_fits),
    proposal as (select line_id, item_id from day_pair where items = 1 and lines = 1),
    -- Two joins by key: one with "or" would compare every line with every item.
    elsewhere as (
      select c.id as line_id, i.id as item_id, i.currency, i.remaining_minor
        from pg_temp.candidate c
        join ${t.openItem} i on i.reference = c.main_reference and i.source_id = ${scope.sourceId} and i.currency <> c.currency ${sameKind}
       union
      select c.id, i.id, i.currency, i.remaining_minor
        from pg_temp.candidate c
        join ${t.openItem} i on i.operation_id = c.operation_id and i.source_id = ${scope.sourceId} and i.currency <> c.currency ${sameKind}
       where c.op_fits),
    other_currency as (
      select distinct on (item_id) *
        from (select distinct on (line_id) * from elsewhere order by line_id, item_id) x
       order by item_id, line_id),
    judged as (
      select c.*, x.item_id as other_item_id, x.currency as other_currency, x.remaining_minor as other_minor, p.item_id as proposed,
             c.op_fits and exists (select from fact_kind k join ${t.journalEntry} e
                                     on e.cause = 'op_' || c.operation_id and e.kind = k.entry_kind
                                    where k.kind = c.kind) as is_booked,
             c.kind = 'dispute' and exists (
               select from ${t.operation} o
                 join ${t.refund} r on r.payment_order_id = o.payment_order_id
                 join ${t.operation} ro on ro.id = r.operation_id and ro.sub_state = 'succeeded'
                where o.id = c.operation_id) as is_refunded
        from pg_temp.candidate c
        left join other_currency x on x.line_id = c.id
        left join proposal p on p.line_id = c.id)
    insert into pg_temp.found (fingerprint, code, currency, amount_minor, open_minor, other_currency, other_minor, line_id, item_id,
                               operation_id, proposed_item_id)
    select 'line:' || id,
           case when other_item_id is not null then 'currency_mismatch'
                when is_booked then 'duplicate_external'
                when kind = 'dispute' then case when is_refunded then 'refund_and_chargeback' else 'chargeback_unbooked' end
                when kind = 'dispute_reversed' then 'chargeback_reversed'
                when kind = 'adjustment' then 'late_adjustment'
                when kind = 'unclassified' then 'unclassified_line'
                when kind = 'payout_returned' then 'returned_payout'
                when proposed is not null then 'ambiguous'
                when kind = 'refund' then 'refund_unexpected'
                else 'missing_internal' end,
           currency, minor, -minor, other_currency, other_minor, id, other_item_id, operation_id,
           case when other_item_id is null and not is_booked then proposed end
      from judged`;
}

/** What is wrong with a line by itself, whatever explains it. */
export async function findLineFaults(tx: Tx, scope: MatchScope): Promise<void> {
  const { t } = tx;
  const signs = Object.entries(SIGN_OF_KIND);
  const sign = tx.sql`
    (${list(signs.map(([, one]) => one))}::integer[])[array_position(${list(signs.map(([kind]) => kind))}::text[], l.kind)]`;
  if (scope.by === 'psp') {
    await tx.sql`
      with own as (
        -- The sign from an array: joined, every line was compared with every row of a table of signs (1 µs a line).
        select l.*, ${sign} as sign
          from ${t.settlementLine} l
         where l.id between ${scope.firstLine} and ${scope.lastLine} and l.file_id = ${scope.fileId}
           and (l.net_minor <> l.gross_minor - l.fee_minor or l.kind in ('reserve_held', 'reserve_released')
                or sign(l.gross_minor) = -${sign} or sign(l.original_minor) <> sign(l.gross_minor)))
      insert into pg_temp.found (fingerprint, code, currency, amount_minor, line_id, operation_id, is_of_line)
      select v.code || ':' || o.id, v.code, o.currency, v.minor, o.id, o.operation_id, true
        from own o
        cross join lateral (values
          ('fee_mismatch', o.net_minor - (o.gross_minor - o.fee_minor), o.net_minor <> o.gross_minor - o.fee_minor),
          ('reserve_movement', o.net_minor, o.kind in ('reserve_held', 'reserve_released')),
          ('direction_mismatch', o.gross_minor, coalesce(sign(o.gross_minor) = -o.sign, false)
                                                or coalesce(sign(o.original_minor) <> sign(o.gross_minor), false))
        ) as v (code, minor, holds)
       where v.holds`;
  }
  await tx.sql`
    insert into pg_temp.found (fingerprint, code, currency, amount_minor, open_minor, line_id, item_id, operation_id, batch_id,
                               is_of_line)
    select b.fingerprint, b.code, b.currency, b.amount_minor, b.open_minor, b.line_id, b.item_id, b.operation_id, b.batch_id, true
      from ${t.reconBreak} b
      join ${t.settlementLine} l on l.id = b.line_id
     where b.source_id = ${scope.sourceId} and b.closed_at is null and b.is_of_line
       and not exists (select from ${t.settlementLine} n where n.source_id = l.source_id and n.line_key = l.line_key
                          and n.occurrence = l.occurrence and n.version > l.version)
       and not exists (select from pg_temp.found f where f.fingerprint = b.fingerprint)`;
}

/** Items that lines explain in part, and those that are due and that no line has shown. */
export async function findItems(tx: Tx, scope: MatchScope): Promise<void> {
  const { t } = tx;
  await tx.sql`
    insert into pg_temp.found (fingerprint, code, currency, amount_minor, open_minor, item_id, operation_id, line_id)
    select 'item:' || i.id,
           case when i.remaining_minor <> i.amount_minor then
                  case when ${scope.by === 'bank'} then 'deposit_amount_differs'
                       when coalesce(l.original_currency <> l.currency, false) then 'fx_variance'
                       else 'amount_mismatch' end
                when ${scope.by === 'bank'} then 'deposit_missing_at_bank'
                when i.kind = 'refund' then 'refund_missing'
                else 'missing_external' end,
           i.currency, -i.remaining_minor, i.remaining_minor, i.id, i.operation_id, l.id
      from ${t.openItem} i
      left join lateral (
        select l.id, l.currency, l.original_currency
          from ${t.settlementMatch} m join ${t.settlementLine} l on l.id = m.line_id
         where i.remaining_minor <> i.amount_minor and m.item_id = i.id and m.voided_run_id is null
         order by l.id desc limit 1) l on true
     where i.source_id = ${scope.sourceId}
       and (i.remaining_minor <> i.amount_minor or i.due_at < now())
       and not exists (select from pg_temp.found f where f.item_id = i.id)`;
}

/** Batches that were refused, until later files have told all of their lines anew. */
export async function findRefusedBatches(tx: Tx, scope: MatchScope): Promise<void> {
  const { t } = tx;
  await tx.sql`
    insert into pg_temp.found (fingerprint, code, currency, amount_minor, batch_id)
    select 'batch:' || b.id, 'batch_out_of_balance', b.currency,
           b.net_minor - coalesce(b.sum_minor, b.closing_minor - b.opening_minor, 0), b.id
      from ${t.settlementBatch} b
     where b.refused = 'batch_out_of_balance'
       and (b.file_id = ${scope.fileId}
            or exists (select from ${t.reconBreak} r where r.source_id = ${scope.sourceId} and r.closed_at is null
                                                       and r.batch_id = b.id))
       and exists (select from ${t.settlementLine} l
                    where l.batch_id = b.id and l.file_id = b.file_id
                      and l.id between (select first_line from ${t.settlementFile} where id = b.file_id)
                                   and (select last_line from ${t.settlementFile} where id = b.file_id)
                      and not exists (select from ${t.settlementLine} n
                                       where n.source_id = l.source_id and n.line_key = l.line_key
                                         and n.occurrence = l.occurrence and n.version > l.version))`;
}

/**
 * Deposits whose lines do not add up to them. Only where a file lists a deposit's lines as a whole (Stripe's payout reconciliation):
 * a report by days may have cut a deposit in two. The lines are right one by one, so they are posted all the same.
 */
export async function findPaidOutDifferently(tx: Tx, scope: MatchScope): Promise<void> {
  const { t } = tx;
  await tx.sql`
    with paid_out as (
      -- The first such file counts with all of its lines: another report may have brought them before. Later ones with what is new.
      select name, currency, sum(case when file_id = first_id then net_minor else changed_minor end)::bigint as minor
        from (select b.name, b.currency, b.file_id, b.net_minor, b.new_net_minor - b.replaced_net_minor as changed_minor,
                     min(b.file_id) over (partition by b.name, b.currency) as first_id
                from ${t.settlementBatch} b
                join ${t.settlementFile} f on f.id = b.file_id and f.source_id = ${scope.sourceId} and f.format = 'stripe_payout'
               where b.name is not null and b.refused is null) x
       group by name, currency)
    insert into pg_temp.found (fingerprint, code, currency, amount_minor, line_id)
    select 'deposit:' || l.id, 'batch_out_of_balance', l.currency, p.minor + l.gross_minor, l.id
      from paid_out p
      join ${t.settlementLine} l on l.source_id = ${scope.sourceId} and l.kind = 'deposit' and l.reference = p.name
                                and l.currency = p.currency
     where p.minor + l.gross_minor <> 0
       and not exists (select from ${t.settlementLine} n where n.source_id = l.source_id and n.line_key = l.line_key
                          and n.occurrence = l.occurrence and n.version > l.version)`;
}

export type BreakCounts = { readonly opened: number; readonly seen: number; readonly resolved: number };

/** Compares what was found with what is open, and writes the difference. */
export async function applyFound(tx: Tx, scope: MatchScope, principal: string): Promise<BreakCounts> {
  const { t } = tx;
  const codes = Object.entries(BREAK_MEANINGS);
  const severities = tx.sql`
    unnest(${list(codes.map(([code]) => code))}::text[], ${list(codes.map(([, m]) => m.severity))}::text[],
           ${list(codes.map(([, m]) => m.worse?.afterDays ?? null))}::integer[],
           ${list(codes.map(([, m]) => m.worse?.severity ?? null))}::text[]) as s (code, severity, worse_days, worse_severity)`;
  const by = `run:${scope.runId}`;
  const isSame = tx.sql`(o.code, o.amount_minor, o.open_minor) is not distinct from (f.code, f.amount_minor, f.open_minor)`;
  const [row] = await tx.sql<(BreakCounts & { readonly changed: string })[]>`
    with opened as (
      insert into ${t.reconBreak} (id, code, severity, source_id, fingerprint, currency, amount_minor, open_minor, other_currency,
                                   other_minor, line_id, item_id, operation_id, batch_id, proposed_item_id, is_of_line,
                                   opened_run_id)
      select nextval(${`${tx.book}.object_id`}::regclass), f.code, s.severity, ${scope.sourceId}, f.fingerprint, f.currency,
             f.amount_minor, f.open_minor, f.other_currency, f.other_minor, f.line_id, f.item_id, f.operation_id, f.batch_id,
             f.proposed_item_id, f.is_of_line, ${scope.runId}
        from (select * from pg_temp.found order by fingerprint) f
        join ${severities} on s.code = f.code
       where not exists (select from ${t.reconBreak} b where b.fingerprint = f.fingerprint and b.closed_at is null)
         -- What a person has decided stays so, as long as it is about the same.
         and not exists (select from ${t.reconBreak} b where b.fingerprint = f.fingerprint and b.closed_at is not null
                            and b.closed_by not like 'run:%' and b.closed_by not like 'link:%'
                            and b.code = f.code and b.amount_minor = f.amount_minor)
      returning id),
    seen as (
      update ${t.reconBreak} b
         set last_seen_at = now(), code = f.code, currency = f.currency, amount_minor = f.amount_minor, open_minor = f.open_minor,
             other_currency = f.other_currency, other_minor = f.other_minor, item_id = f.item_id, operation_id = f.operation_id,
             proposed_item_id = f.proposed_item_id,
             -- Somebody proposed to write another amount off: that was not agreed to.
             proposed_by = case when ${isSame} then b.proposed_by end,
             proposed_reason = case when ${isSame} then b.proposed_reason end,
             proposed_plan = case when ${isSame} then b.proposed_plan end,
             severity = case when extract(days from now() - b.opened_at) >= s.worse_days then s.worse_severity else s.severity end
        from pg_temp.found f
        join ${severities} on s.code = f.code
        join ${t.reconBreak} o on o.fingerprint = f.fingerprint and o.closed_at is null
       where b.id = o.id
      returning b.id, b.state, b.currency, o.code as old_code, o.amount_minor as old_minor, b.code, b.amount_minor, ${isSame} as is_same),
    resolved as (
      update ${t.reconBreak} b
         set state = 'resolved', closed_at = now(), closed_by = ${by}
        from ${t.reconBreak} o
       where o.id = b.id and b.source_id = ${scope.sourceId} and b.closed_at is null
         and not exists (select from pg_temp.found f where f.fingerprint = b.fingerprint)
      returning b.id, o.state as from_state),
    told as (
      insert into ${t.breakEvent} (break_id, kind, principal, reason, from_state, to_state, run_id)
      select id, 'opened', ${principal}, null, null, 'open', ${scope.runId}::bigint from opened
       union all
      select id, 'resolved', ${principal}, 'explained by a later file', from_state, 'resolved', ${scope.runId} from resolved)
    select (select count(*) from opened)::integer as opened, (select count(*) from seen)::integer as seen,
           (select count(*) from resolved)::integer as resolved,
           (select coalesce(json_agg(json_build_object('id', id::text, 'state', state, 'currency', currency, 'oldCode', old_code,
                                                       'oldMinor', old_minor::text, 'code', code, 'minor', amount_minor::text)), '[]')
              from seen where not is_same)::text as changed`;
  const { changed, ...counts } = row!;
  await insertChanges(tx, scope, principal, JSON.parse(changed) as readonly ChangedBreak[]);
  return counts;
}

/** What an open break was about before, so that its history tells why a proposal lapsed. */
async function insertChanges(
  tx: Tx,
  scope: MatchScope,
  principal: string,
  changed: readonly ChangedBreak[],
): Promise<void> {
  if (changed.length === 0) return;
  await tx.sql`
    insert into ${tx.t.breakEvent} (break_id, kind, principal, reason, from_state, to_state, run_id)
    select c.id, 'changed', ${principal}, c.reason, c.state, c.state, ${scope.runId}::bigint
      from unnest(${list(changed.map((one) => one.id))}::bigint[], ${list(changed.map((one) => one.state))}::text[],
                  ${list(changed.map(changeOf))}::text[]) as c (id, state, reason)`;
}

export type EvidenceBreak = {
  readonly lineId: bigint;
  readonly operationId: bigint;
  readonly code: BreakCode;
  readonly ended: 'well' | 'for_a_person';
};

/** Lines that were evidence, each with the break that it makes: resolved at once where the evidence ended it well. */
export async function insertEvidenceBreaks(
  tx: Tx,
  scope: { readonly sourceId: number; readonly runId: bigint },
  principal: string,
  rows: readonly EvidenceBreak[],
): Promise<void> {
  if (rows.length === 0) return;
  const { t } = tx;
  await tx.sql`
    with added as (
      insert into ${t.reconBreak} (id, code, severity, state, source_id, fingerprint, currency, amount_minor, line_id, operation_id,
                                   is_of_line, opened_run_id, closed_at, closed_by)
      select nextval(${`${tx.book}.object_id`}::regclass), r.code, 'P1',
             case r.ended when 'well' then 'resolved' else 'open' end, ${scope.sourceId}, r.code || ':' || l.id, l.currency,
             l.gross_minor, l.id, r.operation_id, true, ${scope.runId},
             case r.ended when 'well' then now() end, case r.ended when 'well' then ${`run:${scope.runId}`} end
        from unnest(${list(rows.map((r) => r.lineId))}::bigint[], ${list(rows.map((r) => r.operationId))}::bigint[],
                    ${list(rows.map((r) => r.ended))}::text[], ${list(rows.map((r) => r.code))}::text[])
             as r (line_id, operation_id, ended, code)
        join ${t.settlementLine} l on l.id = r.line_id
       where not exists (select from ${t.reconBreak} b where b.fingerprint = r.code || ':' || l.id)
       order by l.id
      returning id, state)
    insert into ${t.breakEvent} (break_id, kind, principal, reason, from_state, to_state, run_id)
    select a.id, v.kind, ${principal}, v.reason, v.from_state, v.to_state, ${scope.runId}::bigint
      from added a
      cross join lateral (values ('opened', null, null, 'open'),
                                 ('resolved', 'the line is the evidence', 'open', 'resolved')) as v (kind, reason, from_state, to_state)
     where v.kind = 'opened' or a.state = 'resolved'`;
}
