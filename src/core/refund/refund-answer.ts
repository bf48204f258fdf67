/**
 * What callers are told about refunds: the answer to an acceptance (from unchanging facts only, so that it can be
 * given again byte for byte) and the full view of where a refund stands. Decides only.
 */
import { formatId } from '../ids.ts';
import { type Currency, formatAmount } from '../money.ts';
import type { SubState } from '../operation/operation.ts';
import { isoTime } from '../payment/payment-answer.ts';
import { type RefundState, refundStateOf } from './refund.ts';
import type { RefundRow } from './refund-store.ts';

/** The body of 202. */
export type AcceptedRefund = {
  readonly id: string;
  readonly refund_id: string;
  readonly status: 'requested';
  readonly payment_id: string;
  readonly payment_order_id: string;
  readonly amount: string;
  readonly currency: string;
  readonly fee_share: string;
};

export function acceptedRefund(row: RefundRow): AcceptedRefund {
  const currency = row.currency as Currency;
  return {
    id: formatId('refund', row.id),
    refund_id: row.refundId,
    status: 'requested',
    payment_id: formatId('payment', row.paymentId),
    payment_order_id: formatId('order', row.orderId),
    amount: formatAmount({ amountMinor: row.amountMinor, currency }),
    currency,
    fee_share: formatAmount({ amountMinor: row.feeShareMinor, currency }),
  };
}

/** `GET /v1/refunds/{id}` and `refunds show -o json`. */
export type RefundView = Omit<AcceptedRefund, 'status'> & {
  readonly status: RefundState;
  readonly sub_state: SubState;
  readonly reason: string | null;
  readonly cause: 'request' | 'partial';
  readonly request_reason: string;
  readonly seller: string;
  readonly operation_id: string;
  readonly psp_account: string;
  readonly psp_reference: string | null;
  readonly requested_at: string;
  readonly updated_at: string;
};

export function refundView(row: RefundRow): RefundView {
  return {
    ...acceptedRefund(row),
    status: refundStateOf(row.subState),
    sub_state: row.subState,
    reason: row.reason,
    cause: row.cause,
    request_reason: row.requestReason,
    seller: row.seller,
    operation_id: formatId('operation', row.operationId),
    psp_account: row.pspAccount,
    psp_reference: row.pspReference,
    requested_at: isoTime(row.requestedAt),
    updated_at: isoTime(row.updatedAt),
  };
}
