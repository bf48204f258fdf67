/**
 * A whole book in memory: what was asked for, and what every state, wallet and account must be because of it. Balances
 * are not kept but derived from where everything stands, so that nothing can be forgotten twice. For tests only.
 */
import { hasEnded, type ModelOperation, movedMoney, shownState } from './operation-model.ts';

export type ModelPayment = {
  readonly id: bigint;
  readonly onPartial: 'keep' | 'refund';
  /** Charges, by line. */
  readonly charges: readonly ModelOperation[];
  /** What is charged of it goes back if a part of it fails: looked at once, when nothing of it is under way any more. */
  isWatched: boolean;
};

type ModelRefund = {
  readonly refundId: string;
  readonly operation: ModelOperation;
  readonly charge: ModelOperation;
};

export type ModelPayout = {
  readonly itemRef: string;
  readonly batchId: bigint;
  readonly seller: string;
  readonly currency: 'EUR' | 'JPY';
  readonly amountMinor: bigint;
  /** What the batch decided of it. */
  decided: 'draft' | 'refused' | 'canceled' | 'approved';
  operation: ModelOperation | null;
};

export type ModelBook = {
  readonly payments: ModelPayment[];
  readonly refunds: ModelRefund[];
  readonly payouts: ModelPayout[];
  /** Batches that can still be approved or canceled. */
  readonly openBatches: bigint[];
  readonly openReviews: ModelPayment[];
  readonly frozenSellers: Set<string>;
  keyWindowIsOver: boolean;
};

export function emptyModel(): ModelBook {
  return {
    payments: [],
    refunds: [],
    payouts: [],
    openBatches: [],
    openReviews: [],
    frozenSellers: new Set(),
    keyWindowIsOver: false,
  };
}

export function chargesOf(book: ModelBook): readonly ModelOperation[] {
  return book.payments.flatMap((payment) => payment.charges);
}

export function operationsOf(book: ModelBook): readonly ModelOperation[] {
  return [
    ...chargesOf(book),
    ...book.refunds.map((refund) => refund.operation),
    ...book.payouts.flatMap((payout) => payout.operation ?? []),
  ];
}

export function chargeOf(book: ModelBook, operation: ModelOperation): ModelOperation | null {
  return book.refunds.find((refund) => refund.operation === operation)?.charge ?? null;
}

function sum(amounts: Iterable<bigint>): bigint {
  let total = 0n;
  for (const amount of amounts) total += amount;
  return total;
}

/** Took nothing in the end: its money counts as never refunded. */
function isFailed({ state }: ModelOperation): boolean {
  return ['declined', 'rejected', 'canceled', 'expired', 'reversed'].includes(state);
}

function sellersPart({ amountMinor, feeMinor }: ModelOperation): bigint {
  return amountMinor - feeMinor;
}

/** What the refunds of a charge have taken or may take; also what the PSP moved although it had said no. */
export function takenBy(book: ModelBook, charge: ModelOperation) {
  const own = book.refunds.filter((refund) => refund.charge === charge).map((refund) => refund.operation);
  const counted = own.filter((refund) => !isFailed(refund) || movedMoney(refund));
  return {
    refundedMinor: sum(counted.map((refund) => refund.amountMinor)),
    sharesMinor: sum(counted.map((refund) => refund.feeMinor)),
    fromPendingMinor: fromPendingOf(book, charge),
  };
}

/** Pending money that refunds took: one that failed gave it back, one that the PSP took back gave it to available. */
function fromPendingOf(book: ModelBook, charge: ModelOperation): bigint {
  return sum(
    book.refunds
      .filter(
        ({ charge: of, operation }) =>
          of === charge && (!isFailed(operation) || operation.state === 'reversed'),
      )
      .map(({ operation }) => operation.fromPendingMinor),
  );
}

/** Pending money of one charge that is still there. */
export function pendingOf(book: ModelBook, charge: ModelOperation): bigint {
  return charge.waitsForRelease ? sellersPart(charge) - fromPendingOf(book, charge) : 0n;
}

export type ModelWallet = {
  readonly pendingMinor: bigint;
  readonly availableMinor: bigint;
  readonly inPayoutMinor: bigint;
  readonly inRefundMinor: bigint;
};

/** What a seller is owed, from where everything stands. */
export function walletOf(book: ModelBook, seller: string, currency: string): ModelWallet {
  const own = operationsOf(book).filter((one) => one.seller === seller && one.currency === currency);
  const of = (kind: ModelOperation['kind']) => own.filter((one) => one.kind === kind);
  const total =
    sum(of('charge').map((one) => (one.state === 'succeeded' ? sellersPart(one) : 0n))) -
    sum([...of('refund'), ...of('payout')].filter(movedMoney).map(sellersPart));
  const pendingMinor =
    sum(of('charge').map((one) => pendingOf(book, one))) +
    sum(of('refund').map((one) => (one.waitsForRelease ? one.fromPendingMinor : 0n)));
  const reserved = (kind: 'refund' | 'payout') =>
    sum(of(kind).map((one) => (hasEnded(one) ? 0n : sellersPart(one))));
  const [inRefundMinor, inPayoutMinor] = [reserved('refund'), reserved('payout')];
  const availableMinor = total - pendingMinor - inRefundMinor - inPayoutMinor;
  return { pendingMinor, availableMinor, inPayoutMinor, inRefundMinor };
}

/** The accounts that are nobody's wallet, in one currency. */
export function accountsOf(book: ModelBook, currency: string) {
  const own = operationsOf(book).filter((one) => one.currency === currency);
  const gross = (kind: ModelOperation['kind']) =>
    own
      .filter((one) => one.kind === kind)
      .flatMap((one) => {
        const moved = one.attempts.filter(
          ({ state }) => state === 'succeeded' || state === 'succeeded_surplus',
        );
        return moved.map(() => one.amountMinor);
      });
  const charged = own.filter((one) => one.kind === 'charge' && one.state === 'succeeded');
  return {
    receivableMinor: sum(gross('charge')) - sum(gross('refund')) - sum(gross('payout')),
    suspenseMinor: sum(
      own
        .filter((one) => one.kind === 'charge')
        .flatMap((one) =>
          one.attempts.map(({ state }) => (state === 'succeeded_surplus' ? one.amountMinor : 0n)),
        ),
    ),
    feesMinor:
      sum(charged.map((one) => one.feeMinor)) -
      sum(own.filter((one) => one.kind === 'refund' && movedMoney(one)).map((one) => one.feeMinor)),
  };
}

/** What callers are told about a payment. */
export function viewOf(book: ModelBook, payment: ModelPayment) {
  const states = payment.charges.map((charge) => publicState(shownState(charge)));
  const refundedOf = (charge: ModelOperation) =>
    sum(
      book.refunds
        .filter((refund) => refund.charge === charge && refund.operation.state === 'succeeded')
        .map((refund) => refund.operation.amountMinor),
    );
  const isKept = payment.charges.some(
    (charge) => charge.state === 'succeeded' && refundedOf(charge) < charge.amountMinor,
  );
  const one = states.every((state) => state === states[0]) ? states[0]! : null;
  const isOn = states.includes('NOT_STARTED') || states.includes('EXECUTING');
  const derived = one ?? (isOn ? 'EXECUTING' : 'FAILED');
  // A charge that the PSP took back later has nothing given back.
  const hasFailed = payment.charges.some(
    (charge) => publicState(shownState(charge)) === 'FAILED' && charge.state !== 'reversed',
  );
  const isGivingBack = derived === 'FAILED' && payment.onPartial === 'refund' && isKept && hasFailed;
  return {
    status: isGivingBack ? 'EXECUTING' : derived,
    partial: states.includes('SUCCESS') && states.includes('FAILED'),
    subStates: payment.charges.map(shownState),
    charged: perCurrency(payment.charges, (charge) =>
      charge.state === 'succeeded' ? charge.amountMinor : 0n,
    ),
    refunded: perCurrency(payment.charges, refundedOf),
  };
}

function perCurrency(
  charges: readonly ModelOperation[],
  amountOf: (charge: ModelOperation) => bigint,
): Readonly<Record<string, bigint>> {
  const sums: Record<string, bigint> = {};
  for (const charge of charges) {
    const amount = amountOf(charge);
    if (amount > 0n) sums[charge.currency] = (sums[charge.currency] ?? 0n) + amount;
  }
  return sums;
}

function publicState(state: string): 'NOT_STARTED' | 'EXECUTING' | 'SUCCESS' | 'FAILED' {
  if (state === 'queued' || state === 'in_risk_review') return 'NOT_STARTED';
  if (state === 'succeeded') return 'SUCCESS';
  return ['declined', 'rejected', 'risk_blocked', 'canceled', 'expired', 'reversed'].includes(state)
    ? 'FAILED'
    : 'EXECUTING';
}

/** What callers are told about a refund. */
export function refundStateOf(operation: ModelOperation): string {
  const state = shownState(operation);
  if (['queued', 'retry_wait', 'held_config'].includes(state)) return 'requested';
  if (state === 'claimed' || state === 'unknown') return 'sent';
  if (state === 'pending_psp') return 'pending';
  return state === 'succeeded' || state === 'canceled' ? state : 'failed';
}

/** What callers are told about a payout. */
export function payoutStateOf({ decided, operation }: ModelPayout): string {
  if (operation === null) return decided;
  const state = shownState(operation);
  if (state === 'queued') return 'approved';
  if (state === 'succeeded') return 'accepted';
  if (state === 'reversed') return 'returned';
  if (state === 'canceled') return 'canceled';
  return hasEnded(operation) ? 'failed' : 'sent';
}

/** May the name be given to another payout? */
export function isNameFree({ decided, operation }: ModelPayout): boolean {
  if (operation === null) return decided === 'refused' || decided === 'canceled';
  return isFailed(operation) && operation.state !== 'reversed' && !movedMoney(operation);
}

/** part × amount ÷ whole, rounded half to even: by hand, so that it is not the program's own. */
export function shareHalfEven(part: bigint, amount: bigint, whole: bigint): bigint {
  const [quotient, rest] = [(part * amount) / whole, (part * amount) % whole];
  if (rest * 2n === whole) return quotient + (quotient % 2n);
  return rest * 2n > whole ? quotient + 1n : quotient;
}
