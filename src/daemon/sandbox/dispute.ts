/**
 * A dispute of a charge as a record (pure). A bank debit that bounces after it succeeded is at Stripe a dispute that is
 * lost when it is opened (https://docs.stripe.com/payments/ach-direct-debit, "Disputed payments").
 */
import type { Numbered } from './object-table.ts';

export const DISPUTE_REASONS = [
  'fraudulent',
  'general',
  'insufficient_funds',
  'product_not_received',
  'unrecognized',
] as const;
export type DisputeReason = (typeof DISPUTE_REASONS)[number];

/** @property amount minor units of the charge's currency, taken from the balance until the dispute is won */
export interface DisputeRecord extends Numbered {
  readonly amount: number;
  readonly currency: string;
  readonly intentId: string;
  readonly chargeNumber: number;
  readonly status: 'needs_response' | 'under_review' | 'won' | 'lost';
  readonly reason: DisputeReason;
}

/** Whether the bank has still to decide. */
function isOpenDispute({ status }: DisputeRecord): boolean {
  return status === 'needs_response' || status === 'under_review';
}

/** The dispute once the seller has answered it; null when there is nothing to answer. */
export function answerDispute(dispute: DisputeRecord): DisputeRecord | null {
  return dispute.status === 'needs_response' ? { ...dispute, status: 'under_review' } : null;
}

/** The dispute with its end; null when it has one already. */
export function closeDispute(dispute: DisputeRecord, result: 'won' | 'lost'): DisputeRecord | null {
  return isOpenDispute(dispute) ? { ...dispute, status: result } : null;
}
