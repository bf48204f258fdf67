/**
 * Remembers what people do to operations and their attempts: a new attempt, an end before anything was sent. Reads
 * where they stand for that. Every write says in its WHERE what it must find.
 */
import { list, type Queryable, type Tx } from '../db/connection.ts';
import type { OperationKind } from '../psp/psp.ts';
import type { AttemptState } from './evidence.ts';
import { SUB_STATES, type SubState, transition } from './operation.ts';
import type { DeclinedCharge } from './reroute.ts';

/** An operation with its latest attempt, and all that forbids or allows to go on with it. */
export type Standing = {
  readonly operationId: bigint;
  readonly kind: OperationKind;
  readonly pspAccount: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly subState: SubState;
  readonly operationFence: number;
  readonly paymentId: bigint | null;
  readonly orderId: bigint | null;
  readonly attemptNumber: number;
  readonly attemptState: AttemptState;
  readonly maybeSent: boolean;
  /** Of the attempt, as attempt and job know it. */
  readonly sends: number;
  /** Age of the first send by database time (ms); null when it was never claimed. */
  readonly firstSentAgoMs: number | null;
  /** Why the attempt stands where it does. */
  readonly reason: string | null;
  /** JSON text as it was frozen. */
  readonly request: string;
  readonly hasJob: boolean;
  /** In a daemon's hands just now. */
  readonly isLeased: boolean;
  /** Some attempt of it moved money, whatever was booked for it. */
  readonly movedMoney: boolean;
  /** Codes of its open dead letters. */
  readonly openLetters: readonly string[];
};

/** Locks operations in id order (their jobs must be locked before). Whoever changes an attempt holds its operation. */
export async function lockOperations(tx: Tx, operationIds: readonly bigint[]): Promise<void> {
  await tx.sql`
    select id
      from ${tx.t.operation}
     where id = any(${list(operationIds)}::bigint[])
     order by id
       for update`;
}

/** Where operations stand; those that have no attempt (stopped by the risk check) are left out. */
export async function listStandings(
  on: Queryable,
  operationIds: readonly bigint[],
): Promise<readonly Standing[]> {
  const { sql, t } = on;
  return sql<Standing[]>`
    select o.id as operation_id, o.kind, o.psp_account, o.amount_minor, o.currency, o.sub_state,
           o.fence as operation_fence, o.payment_id, o.payment_order_id as order_id, a.number as attempt_number,
           a.state as attempt_state, a.maybe_sent, greatest(a.sends, j.sends) as sends, a.reason, a.request,
           (extract(epoch from now() - coalesce(a.first_sent_at, j.first_sent_at)) * 1000)::float8
             as first_sent_ago_ms,
           j.operation_id is not null as has_job, coalesce(j.state = 'leased', false) as is_leased,
           exists (select 1 from ${t.attempt} m
                    where m.operation_id = o.id and m.state in ('succeeded', 'succeeded_surplus')) as moved_money,
           (select coalesce(json_agg(d.code order by d.id), '[]')
              from ${t.deadLetter} d
             where d.operation_id = o.id and d.state = 'open') as open_letters
      from unnest(${list(operationIds)}::bigint[]) as r (id)
      join ${t.operation} o on o.id = r.id
      join lateral (select *
                      from ${t.attempt}
                     where operation_id = o.id
                     order by number desc
                     limit 1) a on true
      left join ${t.job} j on j.operation_id = o.id
     order by o.id`;
}

/** An attempt that a PSP declined for good, as its advice was. */
export type HardDecline = {
  readonly attemptNumber: number;
  readonly reason: string | null;
  /** JSON text as it was frozen. */
  readonly request: string;
};

/**
 * Attempts that the PSP itself declined and advised not to make again; neither a person's word nor a webhook's, which
 * bring no advice, nor what was canceled for its buyer.
 */
export async function listHardDeclines(on: Queryable, operationId: bigint): Promise<readonly HardDecline[]> {
  return on.sql<HardDecline[]>`
    select a.number as attempt_number, a.request, e.reason
      from ${on.t.attempt} a
      join lateral (select source, reason, detail
                      from ${on.t.evidence}
                     where operation_id = a.operation_id
                       and attempt_number = a.number
                       and kind = 'declined'
                     order by id desc
                     limit 1) e on true
     where a.operation_id = ${operationId}
       and a.state = 'declined'
       and coalesce(a.cancel_as, 'declined') = 'declined'
       and e.source not in ('person', 'webhook')
       and e.detail::json ->> 'mayRetryAsNew' = 'false'
     order by a.number`;
}

/** Charges that were just declined with their latest attempt; none of which any attempt moved money or waits for a person. */
export async function listDeclinedCharges(
  tx: Tx,
  operationIds: readonly bigint[],
): Promise<readonly DeclinedCharge[]> {
  const { sql, t } = tx;
  return sql<DeclinedCharge[]>`
    select o.id as operation_id, o.payment_id, po.id as order_id, o.psp_account, o.fence as operation_fence,
           a.number as attempt_number, a.request, p.checkout_id, p.buyer, po.seller, o.amount_minor, o.currency,
           po.customer_present, po.return_url,
           (select json_agg(coalesce(m.psp_account, o.psp_account)) from ${t.attempt} m where m.operation_id = o.id) as tried
      from ${t.operation} o
      join ${t.paymentOrder} po on po.id = o.payment_order_id
      join ${t.payment} p on p.id = o.payment_id
      join lateral (select * from ${t.attempt} where operation_id = o.id order by number desc limit 1) a on true
     where o.id = any(${list(operationIds)}::bigint[])
       and o.kind = 'charge'
       and o.sub_state = 'declined'
       and a.state = 'declined'
       and not exists (select 1 from ${t.attempt} m
                        where m.operation_id = o.id and m.state in ('succeeded', 'succeeded_surplus'))
       and not exists (select 1 from ${t.deadLetter} d where d.operation_id = o.id and d.state = 'open')
     order by o.id`;
}

/** Operations go on at another PSP account; the attempt that was made so far remembers where it was. */
export async function moveOperations(
  tx: Tx,
  moves: readonly {
    readonly operationId: bigint;
    readonly attemptNumber: number;
    readonly pspAccount: string;
    readonly toAccount: string;
  }[],
): Promise<void> {
  await tx.sql`
    with move as materialized (
      select * from unnest(${list(moves.map((m) => m.operationId))}::bigint[],
                           ${list(moves.map((m) => m.attemptNumber))}::smallint[],
                           ${list(moves.map((m) => m.pspAccount))}::text[],
                           ${list(moves.map((m) => m.toAccount))}::text[])
        as m (operation_id, number, from_account, to_account)
    ), left_behind as (
      update ${tx.t.attempt} a
         set psp_account = m.from_account
        from move m
       where a.operation_id = m.operation_id
         and a.number <= m.number
         and a.psp_account is null
    )
    update ${tx.t.operation} o
       set psp_account = m.to_account
      from move m
     where o.id = m.operation_id`;
}

/** Ends after which the table of states allows another attempt. */
const RETRIABLE = SUB_STATES.filter((subState) => transition(subState, 'retried') === 'queued');

/**
 * Operations that ended without money moved wait for a send again, as nothing had been asked for yet: what the last
 * attempt was told (reason, reference) is its own. Returns those that had so ended.
 */
export async function requeueOperations(tx: Tx, operationIds: readonly bigint[]): Promise<readonly bigint[]> {
  if (operationIds.length === 0) return [];
  const rows = await tx.sql<{ id: bigint }[]>`
    update ${tx.t.operation}
       set sub_state = 'queued', reason = null, psp_reference = null, updated_at = now()
     where id = any(${list(operationIds)}::bigint[])
       and sub_state = any(${list(RETRIABLE)}::text[])
    returning id`;
  return rows.map((row) => row.id);
}

/**
 * Attempts that wait for their buyer are to be canceled at the PSP from now on; an earlier wish stands. It ends nothing.
 * Returns those that still waited and of which nobody had wished it.
 */
export async function wishCanceled(
  tx: Tx,
  wishes: readonly {
    readonly operationId: bigint;
    readonly attemptNumber: number;
    readonly reason: string;
  }[],
): Promise<readonly bigint[]> {
  if (wishes.length === 0) return [];
  const rows = await tx.sql<{ operationId: bigint }[]>`
    update ${tx.t.attempt} a
       set cancel_as = 'canceled', cancel_reason = w.reason
      from unnest(${list(wishes.map((w) => w.operationId))}::bigint[],
                  ${list(wishes.map((w) => w.attemptNumber))}::smallint[],
                  ${list(wishes.map((w) => w.reason))}::text[]) as w (operation_id, number, reason)
     where a.operation_id = w.operation_id
       and a.number = w.number
       and a.state = 'awaiting_customer'
       and a.cancel_as is null
    returning a.operation_id`;
  return rows.map((row) => row.operationId);
}

/**
 * Ends operations of which nothing was ever sent, and their attempts; the jobs must be gone in the same transaction.
 * Returns those that were still as they must be.
 */
export async function cancelUnsent(
  tx: Tx,
  cancellations: readonly {
    readonly operationId: bigint;
    readonly attemptNumber: number;
    readonly reason: string;
  }[],
): Promise<readonly bigint[]> {
  if (cancellations.length === 0) return [];
  const rows = await tx.sql<{ operationId: bigint }[]>`
    with canceled as materialized (
      select * from unnest(${list(cancellations.map((c) => c.operationId))}::bigint[],
                           ${list(cancellations.map((c) => c.attemptNumber))}::smallint[],
                           ${list(cancellations.map((c) => c.reason))}::text[])
        as c (operation_id, number, reason)
    ), closed as (
      update ${tx.t.attempt} a
         set state = 'not_sent', is_open = false, reason = c.reason
        from canceled c
       where a.operation_id = c.operation_id
         and a.number = c.number
         and a.state = 'created'
         and a.sends = 0
         and not a.maybe_sent
      returning a.operation_id, a.reason
    )
    update ${tx.t.operation} o
       set sub_state = 'canceled', reason = closed.reason, updated_at = now()
      from closed
     where o.id = closed.operation_id
       and o.sub_state = 'queued'
    returning o.id as operation_id`;
  return rows.map((row) => row.operationId);
}
