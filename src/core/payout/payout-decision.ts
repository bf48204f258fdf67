/**
 * Whether a payout may be approved: the seller and its destination by the register, the amount by the wallet, the batch
 * by who approves it. Decides only; the database refuses an overdraft all the same.
 */
import { type Currency, formatAmount, type Money } from '../money.ts';
import type { Payee } from '../seller/seller-store.ts';
import { shownText } from '../shown-text.ts';

type RefusalCode =
  | 'seller_unknown'
  | 'seller_frozen'
  | 'no_destination'
  | 'destination_differs'
  | 'destination_cooling'
  | 'not_covered'
  | 'not_expressible';

/** Why an item is not approved; the others of its batch are not touched by it. */
export type Refusal = { readonly code: RefusalCode; readonly reason: string };

type Wanted = {
  readonly seller: string;
  readonly money: Money;
  readonly destination: string | null;
};

export type Payability =
  | { readonly kind: 'payable'; readonly destination: string }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** By the register alone; the first thing that is wrong. */
export function judgePayee(item: Wanted, payee: Payee | undefined): Payability {
  const seller = shownText(item.seller);
  if (payee === undefined) return refused('seller_unknown', `the register has no seller ${seller}`);
  if (payee.status === 'frozen') return refused('seller_frozen', `${seller} is frozen`);
  if (payee.destination === null)
    return refused('no_destination', `the register has no destination of ${seller}`);
  if (item.destination !== null && item.destination !== payee.destination)
    return refused(
      'destination_differs',
      `${shownText(item.destination)} is not the destination of ${seller} in the register`,
    );
  if (payee.coolingUntil !== null)
    return refused(
      'destination_cooling',
      `the destination of ${seller} was changed; it is paid from ${dayOf(payee.coolingUntil)} on`,
    );
  return { kind: 'payable', destination: payee.destination };
}

function refused(code: RefusalCode, reason: string): Payability {
  return { kind: 'refused', refusal: { code, reason } };
}

/** "2026-11-25 14:02 UTC" of a database time. */
function dayOf(time: string): string {
  return `${time.slice(0, 16)} UTC`;
}

/** Names a wallet: one seller in one currency. */
export function walletKey(seller: string, currency: string): string {
  return `${currency} ${seller}`;
}

/**
 * Which amounts the wallets cover, taken one after the other in the order given: what does not fit is passed over, and
 * a later, smaller one may still fit. A wallet that is not in the map has nothing.
 */
export function coverInOrder(
  items: readonly { readonly seller: string; readonly money: Money }[],
  availableMinor: ReadonlyMap<string, bigint>,
): readonly boolean[] {
  const left = new Map(availableMinor);
  return items.map(({ seller, money }) => {
    const key = walletKey(seller, money.currency);
    const rest = (left.get(key) ?? 0n) - money.amountMinor;
    if (rest < 0n) return false;
    left.set(key, rest);
    return true;
  });
}

export function notCovered(item: { readonly seller: string; readonly money: Money }): Refusal {
  const amount = `${formatAmount(item.money)} ${item.money.currency}`;
  return {
    code: 'not_covered',
    reason: `the available money of ${shownText(item.seller)} does not cover ${amount}`,
  };
}

/** What the configuration says about payouts. */
export type PayoutPolicy = {
  /** How long a changed destination is not paid (days, 0–365). */
  readonly coolingDays: number;
  /** The same seller and amount so recently is asked about (days, 0–365; 0: never). */
  readonly repeatDays: number;
  readonly approvalLimits: ApprovalLimits;
};

/** Above which total per currency a second person approves. */
type ApprovalLimits = ReadonlyMap<Currency, bigint>;

/**
 * The currencies in which this person may not approve, because the total is above the limit and the batch is the
 * person's own. No limits at all: nobody asked for a second person. With limits, a currency without one has limit zero.
 */
export function needsSecondPerson(
  batch: { readonly submittedBy: string; readonly totals: ReadonlyMap<Currency, bigint> },
  approver: string,
  limits: ApprovalLimits,
): readonly Currency[] {
  if (limits.size === 0 || batch.submittedBy !== approver) return [];
  return [...batch.totals]
    .filter(([currency, totalMinor]) => totalMinor > (limits.get(currency) ?? 0n))
    .map(([currency]) => currency);
}
