/**
 * The event log: one event per state change, written in the transaction that makes it. All SQL on the
 * event table lives here.
 */
import { lines, list, type Queryable, type Tx } from '../db/connection.ts';

/** Every kind of event; `replay` knows how to rebuild rows from each. */
type EventKind =
  | 'account_opened'
  | 'batch_opened'
  | 'batch_submitted'
  | 'payment_accepted'
  | 'key_answered'
  | 'jobs_claimed'
  | 'operation_evidence'
  | 'job_rescued'
  | 'funds_released'
  | 'refund_accepted'
  | 'operations_rechecked'
  | 'dead_letter_replayed'
  | 'dead_letter_resolved'
  | 'order_retried'
  | 'charge_rerouted'
  | 'operation_canceled'
  | 'cancel_requested'
  | 'seller_changed'
  | 'payout_batch_submitted'
  | 'payouts_submitted'
  | 'payout_batch_approved'
  | 'payouts_decided'
  | 'payout_batch_ended'
  | 'risk_reviewed'
  | 'risk_counters_pruned'
  | 'lines_posted'
  | 'break_resolved'
  | 'decisions_withdrawn'
  | 'settlement_alert'
  | 'dispute_changed'
  | 'dispute_unmatched'
  | 'suspense_decided';

export type NewEvent = {
  readonly kind: EventKind;
  readonly paymentId: bigint | null;
  /** JSON text: everything needed to rebuild the rows that changed. Amounts and ids as strings. */
  readonly data: string;
};

export async function insertEvents(tx: Tx, principal: string, events: readonly NewEvent[]): Promise<void> {
  if (events.length === 0) return;
  await tx.sql`
    insert into ${tx.t.event} (kind, payment_id, principal, data)
    select e.kind, e.payment_id, ${principal}, e.data::json
      from rows from (unnest(${list(events.map((e) => e.kind))}::text[]),
                      unnest(${list(events.map((e) => e.paymentId))}::bigint[]),
                      string_to_table(${lines(events.map((e) => e.data))}, E'\\n'))
           as e (kind, payment_id, data)`;
}

export type StoredEvent = {
  readonly id: bigint;
  readonly at: string;
  readonly kind: EventKind;
  readonly paymentId: bigint | null;
  readonly principal: string;
  readonly data: string;
};

/** Events after `afterId` in the order they were written, at most `limit`; those of one payment if given. */
export async function listEvents(
  on: Queryable,
  filter: { afterId: bigint; limit: number; paymentId?: bigint },
): Promise<readonly StoredEvent[]> {
  return on.sql<StoredEvent[]>`
    select id, at, kind, payment_id, principal, data::text as data
      from ${on.t.event}
     where id > ${filter.afterId}
       ${filter.paymentId === undefined ? on.sql`` : on.sql`and payment_id = ${filter.paymentId}`}
     order by id
     limit ${filter.limit}`;
}
