/** Remembers what people decided about money in suspense, and reads where it stands: all SQL on suspense_decision. */
import { list, type Queryable, type Tx } from '../db/connection.ts';
import type { SuspenseCase, SuspenseRef } from './suspense.ts';

export type SuspenseFilter = {
  readonly refs: readonly SuspenseRef[] | null;
  /** `undecided`: somebody must still look; `all`: also what is over. */
  readonly which: 'undecided' | 'all';
  readonly paymentIds: readonly bigint[] | null;
  readonly pspAccount: string | null;
  /** Keyset cursor: only what stands behind it. */
  readonly before: SuspenseRef | null;
  /** Page size, 1–1,000. */
  readonly limit: number;
};

export const ANY_SUSPENSE: SuspenseFilter = {
  refs: null,
  which: 'all',
  paymentIds: null,
  pspAccount: null,
  before: null,
  limit: 1_000,
};

/** What is or was in suspense, the youngest operations first. */
export async function listSuspense(on: Queryable, filter: SuspenseFilter): Promise<readonly SuspenseCase[]> {
  const { sql, t } = on;
  const { refs, before, which, pspAccount, paymentIds } = filter;
  const isOver = sql`(s.is_adopted or coalesce(s.refund_sub_state = 'succeeded', false) or s.attempt_state = 'reversed')`;
  return sql<SuspenseCase[]>`
    with found as (
      select operation_id, number from ${t.attempt} where state = 'succeeded_surplus'
      union
      select operation_id, attempt_number from ${t.suspenseDecision}
    )
    select * from (
    select a.operation_id, a.number as attempt_number, a.state as attempt_state, o.psp_account, a.psp_reference,
           o.payment_id, po.id as order_id, po.seller, o.amount_minor, o.currency, po.platform_fee_minor as fee_minor,
           po.release_after_days, o.sub_state, e.recorded_at as since,
           case e.kind when 'surplus_success' then 'surplus' else 'late' end as cause,
           exists (select 1 from ${t.attempt} x where x.operation_id = o.id and x.is_open)
             or exists (select 1 from ${t.job} j where j.operation_id = o.id and j.action <> 'recheck') as is_unresolved,
           p.on_partial = 'refund' and exists (
             select 1
               from ${t.paymentOrder} po2
               join ${t.operation} o2 on o2.payment_order_id = po2.id and o2.kind = 'charge'
              where po2.payment_id = p.id and po2.id <> po.id
                and o2.sub_state in ('declined', 'rejected', 'risk_blocked', 'canceled', 'expired')) as is_part_refunded,
           exists (select 1 from ${t.suspenseDecision} d
                    where d.operation_id = a.operation_id and d.attempt_number = a.number and d.kind = 'adopt') as is_adopted,
           r.refund_id, r.refund_operation_id, r.sub_state as refund_sub_state,
           (select g.psp_reference from ${t.dispute} g
             where g.operation_id = a.operation_id and g.attempt_number = a.number and g.state in ('opened', 'lost')
             order by g.id limit 1) as dispute_reference
      from found f
      join ${t.attempt} a on a.operation_id = f.operation_id and a.number = f.number
      join ${t.operation} o on o.id = a.operation_id and o.kind = 'charge'
      join ${t.paymentOrder} po on po.id = o.payment_order_id
      join ${t.payment} p on p.id = o.payment_id
      join ${t.journalEntry} e on e.cause = 'op_' || a.operation_id || '/' || a.number
                              and e.kind in ('late_success', 'surplus_success')
      left join lateral (select d.refund_id, d.refund_operation_id, ro.sub_state
                           from ${t.suspenseDecision} d
                           join ${t.operation} ro on ro.id = d.refund_operation_id
                          where d.operation_id = a.operation_id and d.attempt_number = a.number
                          order by d.id desc
                          limit 1) r on true
    ) s
     where ${before === null ? sql`true` : sql`(s.operation_id, s.attempt_number) < (${before.operationId}, ${before.attemptNumber})`}
       ${which === 'all' ? sql`` : sql`and not ${isOver}`}
       ${paymentIds === null ? sql`` : sql`and s.payment_id = any(${list(paymentIds)}::bigint[])`}
       ${pspAccount === null ? sql`` : sql`and s.psp_account = ${pspAccount}`}
       ${
         refs === null
           ? sql``
           : sql`and (s.operation_id, s.attempt_number) in (
                   select * from unnest(${list(refs.map((r) => r.operationId))}::bigint[],
                                        ${list(refs.map((r) => r.attemptNumber))}::integer[]))`
       }
     order by s.operation_id desc, s.attempt_number desc
     limit ${filter.limit}`;
}

export type NewDecision = SuspenseRef & {
  readonly id: bigint;
  readonly kind: 'adopt' | 'refund';
  readonly refundId: string | null;
  readonly refundOperationId: bigint | null;
  readonly reason: string;
};

/** A second decision about the same money fails with PG007, a name that is taken with 23505. */
export async function insertDecision(tx: Tx, principal: string, decision: NewDecision): Promise<void> {
  const { id, operationId, attemptNumber, kind, refundId, refundOperationId, reason } = decision;
  await tx.sql`
    insert into ${tx.t.suspenseDecision}
      (id, operation_id, attempt_number, kind, refund_id, refund_operation_id, reason, principal)
    values (${id}, ${operationId}, ${attemptNumber}, ${kind}, ${refundId}, ${refundOperationId}, ${reason}, ${principal})`;
}

/** What a refund's name was given for; null for a name that nobody used here. */
export async function findSuspenseRefund(on: Queryable, refundId: string): Promise<SuspenseRef | null> {
  const [row] = await on.sql<SuspenseRef[]>`
    select operation_id, attempt_number from ${on.t.suspenseDecision} where refund_id = ${refundId}`;
  return row ?? null;
}

/** The order takes the money: attempt and charge count as done. Returns whether they were as they must be. */
export async function adoptAttempt(tx: Tx, ref: SuspenseRef, pspReference: string | null): Promise<boolean> {
  const rows = await tx.sql`
    with adopted as (
      update ${tx.t.attempt} set state = 'succeeded'
       where operation_id = ${ref.operationId} and number = ${ref.attemptNumber} and state = 'succeeded_surplus'
      returning operation_id
    )
    update ${tx.t.operation} o
       set sub_state = 'succeeded', reason = null, psp_reference = ${pspReference}, updated_at = now()
      from adopted
     where o.id = adopted.operation_id
       and o.sub_state in ('declined', 'rejected', 'canceled', 'expired')
    returning o.id`;
  return rows.length === 1;
}

/**
 * Closes the letters that told of money in suspense, once nothing of their operation is there undecided.
 * @param operations charges, or refunds of what was in suspense
 */
export async function closeSuspenseLetters(
  tx: Tx,
  operations: readonly bigint[],
  closing: { readonly principal: string; readonly reason: string },
): Promise<void> {
  if (operations.length === 0) return;
  await tx.sql`
    update ${tx.t.deadLetter} l
       set state = 'resolved', closed_at = now(), closed_by = ${closing.principal}, close_reason = ${closing.reason}
     where l.state = 'open'
       and l.code in ('late_success', 'surplus_success')
       and l.operation_id in (select id from unnest(${list(operations)}::bigint[]) as o (id)
                              union
                              select operation_id from ${tx.t.suspenseDecision}
                               where refund_operation_id = any(${list(operations)}::bigint[]))
       and not exists (select 1
                         from ${tx.t.attempt} a
                        where a.operation_id = l.operation_id and a.state = 'succeeded_surplus'
                          and not exists (select 1
                                            from ${tx.t.suspenseDecision} d
                                            join ${tx.t.operation} r on r.id = d.refund_operation_id
                                           where d.operation_id = a.operation_id and d.attempt_number = a.number
                                             and r.sub_state = 'succeeded'))`;
}
