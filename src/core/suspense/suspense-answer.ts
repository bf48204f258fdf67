/** What people and programs are shown of money in suspense. Decides only. */
import { formatId } from '../ids.ts';
import { type Currency, formatAmount } from '../money.ts';
import type { SubState } from '../operation/operation.ts';
import { isoTime } from '../payment/payment-answer.ts';
import { refText, type SuspenseCase, type SuspenseState, suspenseStateOf } from './suspense.ts';

/** `suspense show -o json`. */
export type SuspenseView = {
  readonly attempt: string;
  readonly state: SuspenseState;
  /** late: the order had failed; surplus: it had been charged already. */
  readonly cause: 'late' | 'surplus';
  readonly payment_id: string;
  readonly payment_order_id: string;
  readonly order_sub_state: SubState;
  readonly seller: string;
  readonly amount: string;
  readonly currency: string;
  readonly psp_account: string;
  readonly psp_reference: string | null;
  /** The latest refund of it. */
  readonly refund: {
    readonly refund_id: string;
    readonly operation_id: string;
    readonly sub_state: SubState;
  } | null;
  readonly dispute: string | null;
  readonly since: string;
};

export function suspenseView(one: SuspenseCase): SuspenseView {
  const currency = one.currency as Currency;
  const { refundId, refundOperationId, refundSubState } = one;
  const refund =
    refundId === null || refundOperationId === null || refundSubState === null
      ? null
      : {
          refund_id: refundId,
          operation_id: formatId('operation', refundOperationId),
          sub_state: refundSubState,
        };
  return {
    attempt: refText(one),
    state: suspenseStateOf(one),
    cause: one.cause,
    payment_id: formatId('payment', one.paymentId),
    payment_order_id: formatId('order', one.orderId),
    order_sub_state: one.subState,
    seller: one.seller,
    amount: formatAmount({ amountMinor: one.amountMinor, currency }),
    currency,
    psp_account: one.pspAccount,
    psp_reference: one.pspReference,
    refund,
    dispute: one.disputeReference,
    since: isoTime(one.since),
  };
}
