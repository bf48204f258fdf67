/**
 * Judges refunds: what the book says against the refunds that the sandbox really made, order by order and payment by
 * payment. Pure.
 */
import { isEnded, publicStateOf } from '../src/core/operation/operation.ts';
import type { OrderFact } from './facts.ts';
import type { Difference } from './judge.ts';
import { amountAt } from './psps.ts';
import type { RefundFact } from './refund-facts.ts';
import type { AskedRefund, RefundSubmissions } from './refunds.ts';
import type { TrueIntent, TrueRefund } from './sandbox.ts';

export type RefundMaterial = {
  readonly orders: readonly OrderFact[];
  readonly refunds: readonly RefundFact[];
  readonly intents: readonly TrueIntent[];
  readonly trueRefunds: readonly TrueRefund[];
};

/** Every refund of the book against its own at the sandbox, and those at the sandbox that no refund owns. */
export function judgeRefunds(material: RefundMaterial): readonly Difference[] {
  const { orders, refunds, intents, trueRefunds } = material;
  const theirs = Map.groupBy(trueRefunds, (refund) => refund.metadata.paygate_operation ?? '');
  const orderOf = new Map(orders.map((order) => [order.orderId, order]));
  const intentOf = new Map(intents.map((intent) => [intent.id, intent]));
  const found = refunds.flatMap((refund) => {
    const operation = `op_${refund.operationId}`;
    const own = theirs.get(operation) ?? [];
    theirs.delete(operation);
    return judgeRefund(refund, orderOf.get(refund.orderId), own, intentOf);
  });
  for (const [name, strangers] of theirs) {
    for (const { id, status } of strangers) {
      found.push({
        measure: 'unexplained',
        what: `${id} (${status}) is for ${name || 'nobody'}, unknown here`,
      });
    }
  }
  const ofOrder = Map.groupBy(refunds, (refund) => refund.orderId);
  return [
    ...found,
    ...orders.flatMap((order) => judgeShares(order, ofOrder.get(order.orderId) ?? [])),
    ...judgeLimits(intents, trueRefunds),
    ...judgePartials(orders, ofOrder),
  ];
}

function judgeRefund(
  refund: RefundFact,
  order: OrderFact | undefined,
  own: readonly TrueRefund[],
  intentOf: ReadonlyMap<string, TrueIntent>,
): readonly Difference[] {
  const name = `rfd_${refund.id} (${refund.name}, op_${refund.operationId})`;
  const found: Difference[] = [];
  const add = (measure: Difference['measure'], what: string): void => {
    found.push({ measure, what: `${name}: ${what}` });
  };
  if (order !== undefined && order.pspAccount !== refund.pspAccount)
    add('unexplained', `it is asked of ${refund.pspAccount}, and ${order.pspAccount} has the charge`);
  if (order === undefined) add('unexplained', `its order ord_${refund.orderId} is not in the book`);
  // One that could still move counts: it is enough that the buyer may get the money twice.
  const holding = own.filter((one) => one.held > 0);
  if (holding.length > 1) add('refunded_twice', `${holding.map((one) => one.id).join(' and ')} give money`);
  for (const one of own) {
    const intent = intentOf.get(one.payment_intent);
    if (intent?.metadata.paygate_order !== `ord_${refund.orderId}`)
      add('unexplained', `${one.id} gives back ${one.payment_intent}, which is not its order's`);
    if (one.account !== refund.pspAccount)
      add('unexplained', `${one.id} is at ${one.account}, not at ${refund.pspAccount}`);
    const isSame = one.amount === amountAt(refund.pspAccount, refund.amountMinor, refund.currency);
    if (!isSame || one.currency !== refund.currency.toLowerCase())
      add(
        'unexplained',
        `${one.id} is over ${one.amount} ${one.currency}, not ${refund.amountMinor} ${refund.currency}`,
      );
  }
  const unexplained = explain(refund, own);
  if (unexplained !== null) add('unexplained', unexplained);
  if (refund.attempts > 1) add('second_attempts', `${refund.attempts} attempts`);
  return found;
}

/** Succeeded here if and only if the buyer has it; failed only where nothing can move any more; else a named doubt. */
function explain(refund: RefundFact, own: readonly TrueRefund[]): string | null {
  const there = own.length === 0 ? 'nothing there' : own.map((one) => `${one.id} ${one.status}`).join(', ');
  const codes = refund.letters?.split(', ') ?? [];
  switch (publicStateOf(refund.subState)) {
    case 'SUCCESS':
      return own.some((one) => one.moved > 0) ? null : `succeeded here, ${there}`;
    case 'FAILED':
      // What was undone was there once, has nothing of the buyer's any more, and a person was told.
      if (refund.subState === 'reversed') {
        if (own.length === 0 || own.some((one) => one.held > 0)) return `undone here, ${there}`;
        return codes.includes('reversed_after_success') ? null : 'undone here, and no person is told';
      }
      // A decline is a refund there that came to nothing; where there is none, only a person can have said so.
      if (refund.subState === 'declined' && own.length === 0 && !refund.isResolved)
        return 'declined here, nothing there';
      if (refund.subState === 'declined' && !codes.includes('refund_declined')) {
        return 'declined here, and no person is told';
      }
      if (codes.some((code) => LATE.includes(code)) || own.every((one) => one.held === 0)) return null;
      return `${refund.subState} here, ${there}`;
    case 'NOT_STARTED':
    case 'EXECUTING':
      if (refund.deadLetter !== null || (refund.subState === 'unknown' && refund.job === 'ready'))
        return null;
      return `${refund.subState} here, its job is ${refund.job} and it has no dead letter, ${there}`;
  }
}

/** The PSP moved it although it had ended: booked, and a person is told. */
const LATE = ['late_success', 'surplus_success', 'contradicting_evidence', 'quarantined'];

/** Never more than was charged, whatever the book believes: told from the sandbox's truth alone. */
function judgeLimits(
  intents: readonly TrueIntent[],
  trueRefunds: readonly TrueRefund[],
): readonly Difference[] {
  const received = new Map(intents.map((intent) => [intent.id, intent.amount_received]));
  const ofIntent = Map.groupBy(trueRefunds, (refund) => refund.payment_intent);
  return [...ofIntent].flatMap(([intent, refunds]): readonly Difference[] => {
    const held = refunds.reduce((sum, refund) => sum + refund.held, 0);
    const took = received.get(intent) ?? 0;
    if (held <= took) return [];
    return [{ measure: 'over_refunded', what: `${intent} took ${took} and gives back ${held}` }];
  });
}

/**
 * The platform gives back its fee in proportion, rounded half to even over all that was given back so far, so that the
 * whole fee is given with the whole amount. Where a refund failed in between, each may be off by one.
 */
function judgeShares(order: OrderFact, refunds: readonly RefundFact[]): readonly Difference[] {
  const { amountMinor: gross, feeMinor: fee } = order;
  const tolerance = refunds.some(isOver) ? BigInt(refunds.length) : 0n;
  let refunded = 0n;
  let shares = 0n;
  for (const refund of refunds) {
    if (tolerance > 0n && isOver(refund)) continue;
    refunded += refund.amountMinor;
    shares += refund.feeShareMinor;
    const off = shares - halfEven(fee * refunded, gross);
    if (refunded > gross || shares > fee || off > tolerance || off < -tolerance) {
      const what = `rfd_${refund.id}: with it ${refunded} of ${gross} is given back, and ${shares} of the fee of ${fee}`;
      return [{ measure: 'imbalance', what }];
    }
  }
  return [];
}

function isOver(refund: RefundFact): boolean {
  return publicStateOf(refund.subState) === 'FAILED';
}

function halfEven(dividend: bigint, divisor: bigint): bigint {
  const down = dividend / divisor;
  const twice = 2n * (dividend % divisor);
  if (twice === divisor) return down + (down % 2n);
  return twice > divisor ? down + 1n : down;
}

/**
 * A payment that ended in part: each success is asked back once, for all that was left. One that succeeded whole, or has
 * not ended, is never asked back by itself.
 */
function judgePartials(
  orders: readonly OrderFact[],
  ofOrder: ReadonlyMap<bigint, readonly RefundFact[]>,
): readonly Difference[] {
  const payments = Map.groupBy(orders, (order) => order.paymentId);
  return [...payments.values()].flatMap((all): readonly Difference[] => {
    const hasEnded = all.every((order) => isEnded(order.subState));
    const hasFailed = all.some((order) => publicStateOf(order.subState) === 'FAILED');
    return all.flatMap((order): readonly Difference[] => {
      const refunds = ofOrder.get(order.orderId) ?? [];
      const partials = refunds.filter((refund) => refund.cause === 'partial').length;
      const isPartial = hasEnded && hasFailed && order.subState === 'succeeded';
      const name = `ord_${order.orderId} (pay_${order.paymentId})`;
      if (partials > 0 && !isPartial) {
        return [
          { measure: 'unexplained', what: `${name} is given back although its payment did not end in part` },
        ];
      }
      // Failed ones too: what was asked for was asked for, and what became of it is told elsewhere.
      const asked = refunds.reduce((sum, refund) => sum + refund.amountMinor, 0n);
      if (!isPartial || partials === 1 || (partials === 0 && asked >= order.amountMinor)) return [];
      const what = `${name} succeeded in a payment that failed, with ${partials} refunds for that`;
      return [{ measure: partials > 1 ? 'refunded_twice' : 'refunds_missing', what }];
    });
  });
}

/**
 * Succeeded orders of failed payments whose buyer has not got everything back. A person was told of every refund that
 * was declined or undone, and asked for it anew: in the end nobody's money is kept.
 */
export function judgeKept({
  orders,
  intents,
  trueRefunds,
}: Pick<RefundMaterial, 'orders' | 'intents' | 'trueRefunds'>): readonly Difference[] {
  const ofIntent = Map.groupBy(trueRefunds, (refund) => refund.payment_intent);
  const kept = new Set(
    intents
      .filter((intent) => {
        const refunds = ofIntent.get(intent.id) ?? [];
        return intent.amount_received > refunds.reduce((sum, refund) => sum + refund.held, 0);
      })
      .map((intent) => intent.metadata.paygate_order),
  );
  const payments = Map.groupBy(orders, (order) => order.paymentId);
  return [...payments.values()]
    .filter((all) => all.every((order) => isEnded(order.subState)))
    .filter((all) => all.some((order) => publicStateOf(order.subState) === 'FAILED'))
    .flat()
    .filter((order) => order.subState === 'succeeded' && kept.has(`ord_${order.orderId}`))
    .map(({ orderId, paymentId }) => ({
      measure: 'kept' as const,
      what: `ord_${orderId} is charged although pay_${paymentId} failed`,
    }));
}

/** Every refund that was asked for stands as it was answered; a refusal had its reason, and left nothing behind. */
export function judgeRefundAnswers(
  { asked, answers, refusals }: Pick<RefundSubmissions, 'asked' | 'answers' | 'refusals'>,
  refunds: readonly RefundFact[],
  orders: readonly OrderFact[],
): readonly Difference[] {
  const byName = new Map(refunds.map((refund) => [refund.name, refund]));
  const orderOf = new Map(orders.map((order) => [order.orderId, order]));
  const found: Difference[] = [];
  for (const [name, wanted] of asked) {
    const refund = byName.get(name);
    const answer = answers.get(name);
    const refusal = refusals.get(name);
    if (answer === undefined) {
      const what = `${name} was answered with ${refusal ?? 'nothing'} and is rfd_${refund?.id}`;
      if (refund !== undefined) found.push({ measure: 'unexplained', what });
      else if (refusal === undefined) found.push({ measure: 'lost', what: `${name} was never answered` });
      else if (refusal !== 'over_refund' || !isTooMuch(wanted, orderOf.get(wanted.orderId), refunds))
        found.push({ measure: 'lost', what: `${name} was refused without a reason: ${refusal}` });
      continue;
    }
    const isSame =
      refund !== undefined &&
      `rfd_${refund.id}` === answer &&
      refund.orderId === wanted.orderId &&
      (wanted.amountMinor === null || wanted.amountMinor === refund.amountMinor);
    if (!isSame) {
      const what = `${name} was answered as ${answer}, and the book has rfd_${refund?.id ?? ' nothing'}`;
      found.push({ measure: 'lost', what });
    }
  }
  for (const { name, id, cause } of refunds) {
    if (cause === 'request' && !asked.has(name))
      found.push({ measure: 'unexplained', what: `rfd_${id} (${name}) was never asked for` });
  }
  return found;
}

/** With what else was ever asked of the order, failed or not: when it was refused, some may not have failed yet. */
function isTooMuch(
  wanted: AskedRefund,
  order: OrderFact | undefined,
  refunds: readonly RefundFact[],
): boolean {
  if (order === undefined) return false;
  const others = refunds.filter((refund) => refund.orderId === wanted.orderId);
  const asked = others.reduce((sum, refund) => sum + refund.amountMinor, 0n);
  return asked + (wanted.amountMinor ?? 1n) > order.amountMinor;
}
