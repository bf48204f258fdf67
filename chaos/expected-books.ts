/**
 * What must be posted, order by order and refund by refund, if the sandbox tells the truth: the domain's posting table
 * written down a second time, without the product's rules. Pure.
 */
import { publicStateOf } from '../src/core/operation/operation.ts';
import type { OrderFact } from './facts.ts';
import type { PayoutFact } from './judge-payouts.ts';
import type { PostingFact, RefundFact } from './refund-facts.ts';

const FEES = 'platform:fees';

/** What our facts say moved at a PSP account. */
function receivableOf({ pspAccount }: { readonly pspAccount: string | null }): string {
  return `psp:${pspAccount}:receivable`;
}

type Pair = readonly [kind: string, debit: string, credit: string, amountMinor: bigint];

/**
 * The entries of a charge. One that took money belongs to its seller; where the order had ended before, to suspense
 * and a person; where it is still in doubt here, nothing is booked yet.
 */
export function expectedOfOrder(
  order: OrderFact,
  isPaid: boolean,
  release: 'pending' | 'available',
): readonly PostingFact[] {
  if (!isPaid) return [];
  const receivable = receivableOf(order);
  const share = order.amountMinor - order.feeMinor;
  const toSeller = `seller:${order.seller}:${release}`;
  switch (publicStateOf(order.subState)) {
    case 'SUCCESS':
      return toPostings(order, [
        ['charge_succeeded', receivable, toSeller, share],
        ['charge_succeeded', receivable, FEES, order.feeMinor],
      ]);
    case 'FAILED':
      // A person was asked before anything could be booked.
      if (order.deadLetter !== null && order.suspenseEntries === 0) return [];
      return toPostings(order, [
        ['late_success', receivable, `suspense:${order.pspAccount}`, order.amountMinor],
      ]);
    case 'NOT_STARTED':
    case 'EXECUTING':
      return [];
  }
}

/** The entries of a refund: reserved when it was asked for, then given to the buyer or put back. */
export function expectedOfRefund(refund: RefundFact, isMoved: boolean): readonly PostingFact[] {
  const receivable = receivableOf(refund);
  const { seller, amountMinor, feeShareMinor, fromPendingMinor } = refund;
  const [pending, available, inRefund] = ['pending', 'available', 'in_refund'].map(
    (purpose) => `seller:${seller}:${purpose}`,
  ) as [string, string, string];
  const part = amountMinor - feeShareMinor;
  const fromAvailable = part - fromPendingMinor;
  const reserved: readonly Pair[] = [
    ['refund_reserved', available, inRefund, fromAvailable],
    ['refund_reserved', pending, inRefund, fromPendingMinor],
  ];
  const given = (kind: string, from: string): readonly Pair[] => [
    [kind, from, receivable, part],
    [kind, FEES, receivable, feeShareMinor],
  ];
  switch (publicStateOf(refund.subState)) {
    case 'SUCCESS':
      return toPostings(refund, [...reserved, ...(isMoved ? given('refund_succeeded', inRefund) : [])]);
    case 'FAILED': {
      if (refund.subState === 'reversed') {
        const takenBack: readonly Pair[] = [
          ['refund_failed_after_success', receivable, available, part],
          ['refund_failed_after_success', receivable, FEES, feeShareMinor],
        ];
        return toPostings(refund, [...reserved, ...given('refund_succeeded', inRefund), ...takenBack]);
      }
      const putBack: readonly Pair[] = [
        ['refund_failed', inRefund, available, fromAvailable],
        ['refund_failed', inRefund, pending, fromPendingMinor],
      ];
      return toPostings(refund, [
        ...reserved,
        ...putBack,
        ...(isMoved ? given('late_refund', available) : []),
      ]);
    }
    case 'NOT_STARTED':
    case 'EXECUTING':
      return toPostings(refund, reserved);
  }
}

/** The entries of a payout: reserved when it was approved, then paid or put back. */
export function expectedOfPayout(payout: PayoutFact, isMoved: boolean): readonly PostingFact[] {
  const receivable = receivableOf(payout);
  const { seller, amountMinor, subState } = payout;
  if (subState === null) return [];
  const available = `seller:${seller}:available`;
  const inPayout = `seller:${seller}:in_payout`;
  const reserved: Pair = ['payout_approved', available, inPayout, amountMinor];
  switch (publicStateOf(subState)) {
    case 'SUCCESS':
      return toPostings(payout, [
        reserved,
        ...(isMoved ? [['payout_accepted', inPayout, receivable, amountMinor] as const] : []),
      ]);
    case 'FAILED':
      if (subState === 'reversed') {
        return toPostings(payout, [
          reserved,
          ['payout_accepted', inPayout, receivable, amountMinor],
          ['payout_returned', receivable, available, amountMinor],
        ]);
      }
      return toPostings(payout, [
        reserved,
        ['payout_failed', inPayout, available, amountMinor],
        ...(isMoved ? [['late_payout', available, receivable, amountMinor] as const] : []),
      ]);
    case 'NOT_STARTED':
    case 'EXECUTING':
      return toPostings(payout, [reserved]);
  }
}

function toPostings(
  { operationId, currency }: { readonly operationId: bigint; readonly currency: string },
  pairs: readonly Pair[],
): readonly PostingFact[] {
  return pairs
    .filter(([, , , amountMinor]) => amountMinor !== 0n)
    .map(([kind, debit, credit, amountMinor]) => ({
      operationId,
      kind,
      debit,
      credit,
      currency,
      amountMinor,
    }));
}

/** Money that only changes its day of availability. When depends on the clock; {@link balancesOf} adds both up. */
const RELEASED = 'funds_released';

/** Every line that one side has and the other has not. */
export function comparePostings(
  expected: readonly PostingFact[],
  found: readonly PostingFact[],
): readonly string[] {
  const left = new Map<string, number>();
  const count = (posting: PostingFact, by: number): void => {
    const { operationId, kind, debit, credit, amountMinor, currency } = posting;
    const line = `op_${operationId} ${kind} from ${debit} to ${credit}: ${amountMinor} ${currency}`;
    left.set(line, (left.get(line) ?? 0) + by);
  };
  for (const posting of expected) count(posting, 1);
  for (const posting of found) if (posting.kind !== RELEASED) count(posting, -1);
  return [...left].flatMap(([line, times]) => {
    if (times === 0) return [];
    return [times > 0 ? `${line} is not booked` : `${line} is booked without a cause at the sandbox`];
  });
}

/** Credits less debits by account and currency; a seller's pending and available money counts together. */
export function balancesOf(postings: readonly PostingFact[]): ReadonlyMap<string, bigint> {
  const balances = new Map<string, bigint>();
  const add = (code: string, currency: string, amount: bigint): void => {
    const key = `${spendable(code)} ${currency}`;
    balances.set(key, (balances.get(key) ?? 0n) + amount);
  };
  for (const { debit, credit, currency, amountMinor } of postings) {
    add(debit, currency, -amountMinor);
    add(credit, currency, amountMinor);
  }
  return balances;
}

/** The name under which {@link balancesOf} counts an account. */
export function spendable(code: string): string {
  return code.startsWith('seller:') ? code.replace(/:(pending|available)$/, ':spendable') : code;
}
