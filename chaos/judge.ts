/**
 * Judges each order: what the book says against what the sandbox knows, and what was submitted against what was
 * accepted. Pure.
 */
import { type Currency, formatAmount, parseAmount } from '../src/core/money.ts';
import { publicStateOf } from '../src/core/operation/operation.ts';
import { toStripeAmount } from '../src/core/psp/stripe-minor-unit.ts';
import type { OrderFact } from './facts.ts';
import type { PlannedPayment } from './plan.ts';
import type { TrueIntent } from './sandbox.ts';

/** What is wrong, by the measure of the result that it counts into. */
export type Difference = {
  readonly measure:
    | 'lost'
    | 'charged_twice'
    | 'refunded_twice'
    | 'over_refunded'
    | 'refunds_missing'
    | 'paid_twice'
    | 'unexplained'
    | 'imbalance'
    | 'second_attempts';
  readonly what: string;
};

/** What still could take the buyer's money. */
const OPEN_STATUSES: ReadonlySet<string> = new Set([
  'processing',
  'requires_action',
  'requires_capture',
  'requires_confirmation',
]);

/** One order against the payment intents that carry its name. */
export function judgeOrder(order: OrderFact, intents: readonly TrueIntent[]): readonly Difference[] {
  const name = `ord_${order.orderId} (${order.checkoutId} line ${order.line})`;
  const found: Difference[] = [];
  const add = (measure: Difference['measure'], what: string): void => {
    found.push({ measure, what: `${name}: ${what}` });
  };
  const paid = intents.filter((intent) => intent.amount_received > 0 || intent.status === 'succeeded');
  if (paid.length > 1) add('charged_twice', `${paid.map((intent) => intent.id).join(' and ')} took money`);
  for (const intent of paid) {
    if (!isSameMoney(order, intent)) {
      add(
        'unexplained',
        `${intent.id} took ${intent.amount_received} ${intent.currency}, not ${moneyOf(order)}`,
      );
    }
  }
  const unexplained = explain(order, paid.length > 0, intents);
  if (unexplained !== null) add('unexplained', unexplained);
  const isSuccess = order.subState === 'succeeded';
  if (order.successEntries !== (isSuccess ? 1 : 0)) {
    add('imbalance', `${order.subState} with ${order.successEntries} entries charge_succeeded`);
  }
  if (order.attempts > 1 || order.openAttempts > 1) add('second_attempts', `${order.attempts} attempts`);
  return found;
}

/** SUCCESS here if and only if money there; everything else must be open as unknown or in the dead letters. */
function explain(order: OrderFact, isPaid: boolean, intents: readonly TrueIntent[]): string | null {
  const there = intents.length === 0 ? 'nothing there' : intents.map((i) => `${i.id} ${i.status}`).join(', ');
  const state = publicStateOf(order.subState);
  switch (state) {
    case 'SUCCESS':
      return isPaid ? null : `SUCCESS here, ${there}`;
    case 'FAILED': {
      const couldStill = intents.some((intent) => OPEN_STATUSES.has(intent.status));
      if (order.deadLetter !== null || !(isPaid || couldStill)) return null;
      return `FAILED (${order.subState}) here, ${there}`;
    }
    case 'NOT_STARTED':
    case 'EXECUTING':
      return explainOpen(order, there);
  }
}

function explainOpen(order: OrderFact, there: string): string | null {
  if (order.deadLetter !== null) return null;
  if (order.subState === 'unknown' && order.job === 'ready') return null;
  const job = order.job === 'none' ? 'no job and no dead letter' : `its job is still ${order.job}`;
  return `${order.subState} here with ${job}, ${there}`;
}

function isSameMoney(order: OrderFact, intent: TrueIntent): boolean {
  const wanted = toStripeAmount(order.amountMinor, order.currency as Currency);
  return (
    wanted.kind === 'ok' &&
    intent.amount_received === wanted.amount &&
    intent.amount === wanted.amount &&
    intent.currency === order.currency.toLowerCase()
  );
}

function moneyOf(order: OrderFact): string {
  return `${formatAmount({ amountMinor: order.amountMinor, currency: order.currency as Currency })} ${order.currency}`;
}

/** Every submitted checkout is there exactly once, as it was submitted and as it was answered. */
export function judgeAcceptance(
  submitted: readonly PlannedPayment[],
  answers: ReadonlyMap<string, string>,
  orders: readonly OrderFact[],
): readonly Difference[] {
  const found: Difference[] = [];
  const lost = (what: string): void => {
    found.push({ measure: 'lost', what });
  };
  const accepted = Map.groupBy(orders, (order) => order.checkoutId);
  for (const payment of submitted) {
    const rows = accepted.get(payment.checkoutId) ?? [];
    const answer = answers.get(payment.checkoutId);
    if (rows.length === 0) {
      for (const _ of payment.orders) lost(`${payment.checkoutId} is not in the book`);
    } else if (answer === undefined) lost(`${payment.checkoutId} is in the book but was never answered`);
    else if (rows.some((row) => `pay_${row.paymentId}` !== answer)) {
      lost(`${payment.checkoutId} was answered as ${answer} and is pay_${rows[0]!.paymentId}`);
    } else if (!isAsSubmitted(payment, rows)) lost(`${payment.checkoutId} differs from what was submitted`);
    accepted.delete(payment.checkoutId);
  }
  for (const checkout of accepted.keys()) {
    found.push({ measure: 'unexplained', what: `${checkout} is in the book and was never submitted` });
  }
  return found;
}

function isAsSubmitted(payment: PlannedPayment, rows: readonly OrderFact[]): boolean {
  if (rows.length !== payment.orders.length) return false;
  return payment.orders.every((order, i) => {
    const row = rows.find((one) => one.line === i + 1);
    if (row === undefined || row.currency !== order.currency) return false;
    const amount = parseAmount(order.amount, order.currency as Currency);
    return (
      amount.kind === 'ok' &&
      amount.amountMinor === row.amountMinor &&
      row.seller === order.seller.normalize('NFC')
    );
  });
}
