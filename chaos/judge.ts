/**
 * Judges each order: what the book says against what the sandbox knows, and what was submitted against what was
 * accepted. Pure.
 */
import { type Currency, formatAmount, parseAmount } from '../src/core/money.ts';
import { publicStateOf } from '../src/core/operation/operation.ts';
import type { OrderFact } from './facts.ts';
import type { PlannedPayment } from './plan.ts';
import { accountOf, amountAt } from './psps.ts';
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
    | 'kept'
    | 'wallets_below_zero'
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

/** The PSP moved it although the order had ended: in suspense, or not booked yet, and a person is told. */
const LATE: readonly string[] = ['late_success', 'surplus_success', 'contradicting_evidence', 'quarantined'];

/** One order against the payment intents that carry its name. */
function judgeOrder(order: OrderFact, intents: readonly TrueIntent[]): readonly Difference[] {
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
  const wanted = accountOf(order);
  for (const account of new Set([order.pspAccount, ...intents.map((intent) => intent.account)])) {
    if (account !== wanted) add('unexplained', `it went to ${account}, and the rules say ${wanted}`);
  }
  const unexplained = explain(order, paid.length > 0, intents);
  if (unexplained !== null) add('unexplained', unexplained);
  const isSuccess = order.subState === 'succeeded';
  if (order.successEntries !== (isSuccess ? 1 : 0)) {
    add('imbalance', `${order.subState} with ${order.successEntries} entries charge_succeeded`);
  }
  if (order.attempts > 1 + order.renewals || order.openAttempts > 1)
    add('second_attempts', `${order.attempts} attempts, ${order.renewals} of them asked for by a person`);
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
      const isTold = order.deadLetter?.split(', ').some((code) => LATE.includes(code)) ?? false;
      if (isTold || !(isPaid || couldStill)) return null;
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
  const wanted = amountAt(order.pspAccount, order.amountMinor, order.currency);
  return (
    intent.amount_received === wanted &&
    intent.amount === wanted &&
    intent.currency === order.currency.toLowerCase()
  );
}

function moneyOf(order: OrderFact): string {
  return `${formatAmount({ amountMinor: order.amountMinor, currency: order.currency as Currency })} ${order.currency}`;
}

/** Every order against its intents; intents that no order of the book owns are unexplained too. */
export function judgeCharges(
  orders: readonly OrderFact[],
  intents: readonly TrueIntent[],
): readonly Difference[] {
  const byOrder = Map.groupBy(intents, (intent) => intent.metadata.paygate_order ?? '');
  const found = orders.flatMap((order) => {
    const name = `ord_${order.orderId}`;
    const own = byOrder.get(name) ?? [];
    byOrder.delete(name);
    return judgeOrder(order, own);
  });
  for (const [name, strangers] of byOrder) {
    for (const intent of strangers) {
      found.push({
        measure: 'unexplained',
        what: `${intent.id} (${intent.status}) is for ${name || 'nobody'}, unknown here`,
      });
    }
  }
  return found;
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
