/**
 * What callers are told about payments: the answer to an acceptance (from unchanging facts only, so that
 * it can be given again byte for byte) and the full view of where a payment stands. Decides only.
 */
import { formatId } from '../ids.ts';
import { type Currency, formatAmount, type MoneyJson, toMoneyJson } from '../money.ts';
import { type PublicState, paymentStateOf, publicStateOf, type SubState } from '../operation/operation.ts';
import type { PaymentRow } from './payment-store.ts';

/** The body of 202. */
export type AcceptedAnswer = {
  readonly payment_id: string;
  readonly checkout_id: string;
  /** At acceptance: NOT_STARTED, or FAILED where the risk check blocked it. */
  readonly status: PublicState;
  readonly risk: { readonly decision: string; readonly reason: string };
  readonly payment_orders: readonly {
    readonly payment_order_id: string;
    readonly seller: string;
    readonly amount: string;
    readonly currency: string;
    readonly platform_fee: string;
    readonly order_ref: string | null;
  }[];
};

type AcceptedFacts = Pick<
  PaymentRow,
  | 'id'
  | 'checkoutId'
  | 'riskDecision'
  | 'riskReason'
  | 'orderId'
  | 'seller'
  | 'amountMinor'
  | 'currency'
  | 'platformFeeMinor'
  | 'orderRef'
>;

/** @param orders rows of one payment, by line; at least one */
export function acceptedAnswer(orders: readonly AcceptedFacts[]): AcceptedAnswer {
  const first = orders[0]!;
  return {
    payment_id: formatId('payment', first.id),
    checkout_id: first.checkoutId,
    status: first.riskDecision === 'block' ? 'FAILED' : 'NOT_STARTED',
    risk: { decision: first.riskDecision, reason: first.riskReason },
    payment_orders: orders.map((order) => ({
      payment_order_id: formatId('order', order.orderId),
      seller: order.seller,
      amount: formatAmount({ amountMinor: order.amountMinor, currency: order.currency as Currency }),
      currency: order.currency,
      platform_fee: formatAmount({
        amountMinor: order.platformFeeMinor,
        currency: order.currency as Currency,
      }),
      order_ref: order.orderRef,
    })),
  };
}

/** `GET /v1/payments/{id}` and `payments show -o json`. */
export type PaymentView = {
  readonly payment_id: string;
  readonly checkout_id: string;
  readonly idempotency_key: string;
  readonly buyer: string;
  readonly status: PublicState;
  /** True when some orders succeeded and some failed. */
  readonly partial: boolean;
  readonly on_partial: 'keep' | 'refund';
  readonly charged: readonly MoneyJson[];
  readonly refunded: readonly MoneyJson[];
  /** What the buyer's bank took back, or holds while it decides. */
  readonly disputed: readonly MoneyJson[];
  readonly risk: { readonly decision: string; readonly reason: string };
  readonly accepted_at: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly payment_orders: readonly PaymentOrderView[];
};

type PaymentOrderView = {
  readonly payment_order_id: string;
  readonly seller: string;
  readonly amount: string;
  readonly currency: string;
  readonly platform_fee: string;
  /** What the buyer got back of it. */
  readonly refunded: string;
  /** What open and lost disputes took of it. */
  readonly disputed: string;
  readonly status: PublicState;
  readonly sub_state: SubState;
  readonly reason: string | null;
  readonly operation_id: string;
  readonly psp_account: string;
  readonly psp_reference: string | null;
  readonly order_ref: string | null;
  readonly updated_at: string;
  readonly metadata: Readonly<Record<string, string>>;
};

/** @param orders rows of one payment, by line; at least one */
export function paymentView(orders: readonly PaymentRow[]): PaymentView {
  const first = orders[0]!;
  const states = orders.map((order) => publicStateOf(order.subState));
  return {
    payment_id: formatId('payment', first.id),
    checkout_id: first.checkoutId,
    idempotency_key: first.idempotencyKey,
    buyer: first.buyer,
    status: shownStateOf(orders),
    partial: states.includes('SUCCESS') && states.includes('FAILED'),
    on_partial: first.onPartial,
    charged: sumPerCurrency(
      orders.map((order) => [order, order.subState === 'succeeded' ? order.amountMinor : 0n]),
    ),
    refunded: sumPerCurrency(orders.map((order) => [order, order.refundedMinor])),
    disputed: sumPerCurrency(orders.map((order) => [order, order.disputedMinor])),
    risk: { decision: first.riskDecision, reason: first.riskReason },
    accepted_at: isoTime(first.acceptedAt),
    metadata: first.metadata,
    payment_orders: orders.map(orderView),
  };
}

function orderView(order: PaymentRow): PaymentOrderView {
  const currency = order.currency as Currency;
  return {
    payment_order_id: formatId('order', order.orderId),
    seller: order.seller,
    amount: formatAmount({ amountMinor: order.amountMinor, currency }),
    currency,
    platform_fee: formatAmount({ amountMinor: order.platformFeeMinor, currency }),
    refunded: formatAmount({ amountMinor: order.refundedMinor, currency }),
    disputed: formatAmount({ amountMinor: order.disputedMinor, currency }),
    status: publicStateOf(order.subState),
    sub_state: order.subState,
    reason: order.reason,
    operation_id: formatId('operation', order.operationId),
    psp_account: order.pspAccount,
    psp_reference: order.pspReference,
    order_ref: order.orderRef,
    updated_at: isoTime(order.updatedAt),
    metadata: order.orderMetadata,
  };
}

/**
 * As the orders say; but a payment that is given back because a part of it failed is only FAILED when that has ended:
 * then the buyer can safely check out again. A charge that the PSP took back later has nothing given back: what else was
 * sold may be long delivered.
 */
function shownStateOf(orders: readonly PaymentRow[]): PublicState {
  const state = paymentStateOf(orders.map((order) => order.subState));
  if (state !== 'FAILED' || orders[0]!.onPartial !== 'refund') return state;
  const failed = orders.filter((order) => publicStateOf(order.subState) === 'FAILED');
  if (failed.every((order) => order.subState === 'reversed')) return state;
  const isKept = orders.some(
    (order) =>
      order.subState === 'succeeded' && order.refundedMinor + order.disputedMinor < order.amountMinor,
  );
  return isKept ? 'EXECUTING' : state;
}

function sumPerCurrency(amounts: readonly (readonly [PaymentRow, bigint])[]): readonly MoneyJson[] {
  const sums = new Map<Currency, bigint>();
  for (const [order, amountMinor] of amounts) {
    if (amountMinor === 0n) continue;
    const currency = order.currency as Currency;
    sums.set(currency, (sums.get(currency) ?? 0n) + amountMinor);
  }
  return [...sums]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([currency, amountMinor]) => toMoneyJson({ amountMinor, currency }));
}

/** PostgreSQL's "2026-11-23 02:12:21.123456+00" as ISO 8601, no microsecond lost. */
export function isoTime(text: string): string {
  return text.replace(' ', 'T').replace(/\+00$/, 'Z');
}
