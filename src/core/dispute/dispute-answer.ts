/** What people and programs are shown of a dispute. Decides only. */
import { formatId } from '../ids.ts';
import { type Currency, formatAmount } from '../money.ts';
import { isoTime } from '../payment/payment-answer.ts';
import type { DisputeState } from '../psp/psp.ts';
import type { DisputeRow } from './dispute-store.ts';

/** `disputes show -o json`. */
export type DisputeView = {
  readonly id: string;
  readonly state: DisputeState;
  readonly reason: string;
  readonly payment_id: string;
  readonly payment_order_id: string;
  readonly operation_id: string;
  readonly attempt_number: number;
  readonly seller: string;
  readonly amount: string;
  readonly currency: string;
  /** What of the amount the seller bears, or would. */
  readonly seller_share: string;
  /** Whose money it is: nobody's yet, where a late or surplus success is disputed. */
  readonly holder: 'seller' | 'suspense';
  /** Who bore the rest of a lost one. */
  readonly borne_by: string | null;
  readonly psp_account: string;
  readonly psp_reference: string;
  readonly opened_at: string;
  readonly updated_at: string;
};

export function disputeView(row: DisputeRow): DisputeView {
  const currency = row.currency as Currency;
  return {
    id: formatId('dispute', row.id),
    state: row.state,
    reason: row.reason,
    payment_id: formatId('payment', row.paymentId),
    payment_order_id: formatId('order', row.orderId),
    operation_id: formatId('operation', row.operationId),
    attempt_number: row.attemptNumber,
    seller: row.seller,
    amount: formatAmount({ amountMinor: row.amountMinor, currency }),
    currency,
    seller_share: formatAmount({ amountMinor: row.sellerShareMinor, currency }),
    holder: row.holder,
    borne_by: row.state === 'lost' ? row.borneBy : null,
    psp_account: row.pspAccount,
    psp_reference: row.pspReference,
    opened_at: isoTime(row.openedAt),
    updated_at: isoTime(row.updatedAt),
  };
}
