/**
 * A refund as a record, and what may happen to it (pure). A refund may end long after it was made, and may fail
 * after it succeeded. Records are never changed in place: a stored answer keeps the version it was made of.
 */
import type { Numbered } from './object-table.ts';

/** Source: https://docs.stripe.com/api/refunds/object */
export const REFUND_STATUSES = ['pending', 'requires_action', 'succeeded', 'failed', 'canceled'] as const;
export type RefundStatus = (typeof REFUND_STATUSES)[number];

/** Source: "failure_reason" at https://docs.stripe.com/api/refunds/object */
export const REFUND_FAILURES = [
  'charge_for_pending_refund_disputed',
  'declined',
  'expired_or_canceled_card',
  'insufficient_funds',
  'lost_or_stolen_card',
  'merchant_request',
  'unknown',
] as const;
export type RefundFailure = (typeof REFUND_FAILURES)[number];

/**
 * @property amount minor units of `currency`, which is the charge's
 * @property chargeNumber the refunded charge's place on the intent, from 0
 * @property failure only when `failed`
 * @property reached whether it ever stood at `succeeded`, also when it has failed since
 * @property settle when it changes by itself, and to what; null when it does not
 * @property key the idempotency key of the call that created it, null without one
 */
export interface RefundRecord extends Numbered {
  readonly amount: number;
  readonly currency: string;
  readonly intentId: string;
  readonly chargeNumber: number;
  readonly status: RefundStatus;
  readonly failure: RefundFailure | null;
  readonly reached: boolean;
  readonly reason: string | null;
  readonly metadataJson: string;
  readonly settle: { readonly atMs: number; readonly to: 'succeeded' | 'failed' } | null;
  readonly key: string | null;
}

/** What may follow a status. A refund that succeeded can only fail; nothing follows an end. */
const NEXT: Readonly<Record<RefundStatus, readonly RefundStatus[]>> = {
  pending: ['requires_action', 'succeeded', 'failed'],
  requires_action: ['pending', 'succeeded', 'failed', 'canceled'],
  succeeded: ['failed'],
  failed: [],
  canceled: [],
};

/** The refund in its next status; null when that cannot follow. */
export function moveRefund(
  refund: RefundRecord,
  to: RefundStatus,
  failure: RefundFailure,
): RefundRecord | null {
  if (!NEXT[refund.status].includes(to)) return null;
  return {
    ...refund,
    status: to,
    failure: to === 'failed' ? failure : null,
    reached: refund.reached || to === 'succeeded',
    settle: null,
  };
}

/** Ends as was decided when it was made. Without such a decision it is left as it is. */
export function settleRefund(refund: RefundRecord): RefundRecord {
  if (refund.settle === null) return refund;
  return moveRefund(refund, refund.settle.to, 'declined') ?? { ...refund, settle: null };
}

/** Minor units that the refund holds against its charge: all of it, unless it came to nothing. */
export function heldByRefund(refund: RefundRecord): number {
  return refund.status === 'failed' || refund.status === 'canceled' ? 0 : refund.amount;
}
