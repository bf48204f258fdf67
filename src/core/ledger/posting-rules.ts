/**
 * What each event of a charge, refund or payout books: the posting table of the domain, one pure function
 * per row. Disputes and settlement files have theirs beside this file. Decides only: it reads no balance;
 * what an overdraft means is the caller's policy and the database's guard.
 */
import { Bug } from '../errors.ts';
import { type Currency, shareOf } from '../money.ts';
import {
  type AccountCode,
  PLATFORM_FEES,
  pspAccount,
  sellerAccount,
  suspenseAccount,
} from './chart-of-accounts.ts';

/** One debit account, one credit account, one positive amount in minor units, one currency. */
export type Posting = {
  readonly debit: AccountCode;
  readonly credit: AccountCode;
  readonly currency: Currency;
  readonly amountMinor: bigint;
  /** `no_overdraw`: the database refuses the entry if the debited account would end below zero. */
  readonly guard: 'none' | 'no_overdraw';
};

/**
 * What a rule gives: one journal entry. `kind` is part of the entry's unique key (cause, kind). An entry
 * without postings (every pair was zero) says that there is nothing to post.
 */
export type Entry = { readonly kind: string; readonly postings: readonly Posting[] };

/** When a seller's share may be paid out: at capture (`available`), or later (`pending`). */
export type ReleasePolicy = 'pending' | 'available';

type AtPsp = { readonly pspAccount: string; readonly currency: Currency };
type OfSeller = { readonly seller: string; readonly currency: Currency };

/** Gross = seller's share + fee; 0 ≤ fee ≤ gross, gross above 0. */
type Charge = AtPsp & OfSeller & { readonly grossMinor: bigint; readonly feeMinor: bigint };

export function chargeSucceeded(event: Charge & { readonly release: ReleasePolicy }): Entry {
  const receivable = pspAccount(event.pspAccount, 'receivable');
  return { kind: 'charge_succeeded', postings: shareAndFee(receivable, event) };
}

/** The pairs of a charge from whatever holds the gross: the receivable, or suspense when adopted late. */
function shareAndFee(
  from: AccountCode,
  event: Charge & { readonly release: ReleasePolicy },
): readonly Posting[] {
  const { seller, currency, grossMinor, feeMinor, release } = event;
  requirePositive('gross', grossMinor);
  requireWithin('fee', feeMinor, 'gross', grossMinor);
  return [
    ...pair(from, sellerAccount(seller, release), currency, grossMinor - feeMinor),
    ...pair(from, PLATFORM_FEES, currency, feeMinor),
  ];
}

/** The release policy has come due for this much of the seller's pending money. */
export function fundsReleased(event: OfSeller & { readonly amountMinor: bigint }): Entry {
  const { seller, currency, amountMinor } = event;
  requirePositive('amount', amountMinor);
  const postings = pair(
    sellerAccount(seller, 'pending'),
    sellerAccount(seller, 'available'),
    currency,
    amountMinor,
  );
  return { kind: 'funds_released', postings };
}

/** The buyer gets `refundMinor`; the platform gives back `feeShareMinor` of it, the seller the rest. */
type Refund = OfSeller & { readonly refundMinor: bigint; readonly feeShareMinor: bigint };

/** Where the seller's part was taken from: available first, then pending; both together the whole part. */
type Reserved = Refund & { readonly fromAvailableMinor: bigint; readonly fromPendingMinor: bigint };

/** `overdraw: 'refused'` lets the database refuse a reservation that the wallet does not cover. */
export function refundReserved(event: Reserved & { readonly overdraw: 'allowed' | 'refused' }): Entry {
  const { seller, currency, overdraw } = event;
  requireReserved(event);
  const guard = overdraw === 'refused' ? 'no_overdraw' : 'none';
  const inRefund = sellerAccount(seller, 'in_refund');
  return {
    kind: 'refund_reserved',
    postings: [
      ...pair(sellerAccount(seller, 'available'), inRefund, currency, event.fromAvailableMinor, guard),
      ...pair(sellerAccount(seller, 'pending'), inRefund, currency, event.fromPendingMinor, guard),
    ],
  };
}

export function refundSucceeded(event: AtPsp & Refund): Entry {
  const { seller, currency } = event;
  const sellerPart = requireRefund(event);
  const receivable = pspAccount(event.pspAccount, 'receivable');
  return {
    kind: 'refund_succeeded',
    postings: [
      ...pair(sellerAccount(seller, 'in_refund'), receivable, currency, sellerPart),
      ...pair(PLATFORM_FEES, receivable, currency, event.feeShareMinor),
    ],
  };
}

/** Failed or canceled before it succeeded: the money goes back as it was reserved. */
export function refundFailed(event: Reserved): Entry {
  const { seller, currency } = event;
  requireReserved(event);
  const inRefund = sellerAccount(seller, 'in_refund');
  return {
    kind: 'refund_failed',
    postings: [
      ...pair(inRefund, sellerAccount(seller, 'available'), currency, event.fromAvailableMinor),
      ...pair(inRefund, sellerAccount(seller, 'pending'), currency, event.fromPendingMinor),
    ],
  };
}

/** The PSP took the money back to our balance after it had reported the refund as done. */
export function refundFailedAfterSuccess(event: AtPsp & Refund): Entry {
  const { seller, currency } = event;
  const sellerPart = requireRefund(event);
  const receivable = pspAccount(event.pspAccount, 'receivable');
  return {
    kind: 'refund_failed_after_success',
    postings: [
      ...pair(receivable, sellerAccount(seller, 'available'), currency, sellerPart),
      ...pair(receivable, PLATFORM_FEES, currency, event.feeShareMinor),
    ],
  };
}

/** A charge that had succeeded was taken back by the PSP. A fact: may take the wallet below zero. */
export function chargeReversed(event: Charge): Entry {
  const { seller, currency, grossMinor, feeMinor } = event;
  requirePositive('gross', grossMinor);
  requireWithin('fee', feeMinor, 'gross', grossMinor);
  const receivable = pspAccount(event.pspAccount, 'receivable');
  return {
    kind: 'charge_reversed',
    postings: [
      ...pair(sellerAccount(seller, 'available'), receivable, currency, grossMinor - feeMinor),
      ...pair(PLATFORM_FEES, receivable, currency, feeMinor),
    ],
  };
}

type Payout = OfSeller & { readonly payoutMinor: bigint };

/** Reserves a payout; the one intention that the database always refuses to let overdraw. */
export function payoutApproved(event: Payout): Entry {
  const [available, inPayout] = payoutAccounts(event);
  const postings = pair(available, inPayout, event.currency, event.payoutMinor, 'no_overdraw');
  return { kind: 'payout_approved', postings };
}

/** The PSP moved the money to the seller. */
export function payoutAccepted(event: AtPsp & Payout): Entry {
  const [, inPayout] = payoutAccounts(event);
  const receivable = pspAccount(event.pspAccount, 'receivable');
  return { kind: 'payout_accepted', postings: pair(inPayout, receivable, event.currency, event.payoutMinor) };
}

/** Failed or canceled before the PSP accepted it. */
export function payoutFailed(event: Payout): Entry {
  const [available, inPayout] = payoutAccounts(event);
  return { kind: 'payout_failed', postings: pair(inPayout, available, event.currency, event.payoutMinor) };
}

/** Failed or returned after the PSP had accepted it. */
export function payoutReturned(event: AtPsp & Payout): Entry {
  const [available] = payoutAccounts(event);
  const receivable = pspAccount(event.pspAccount, 'receivable');
  return {
    kind: 'payout_returned',
    postings: pair(receivable, available, event.currency, event.payoutMinor),
  };
}

function payoutAccounts(event: Payout): readonly [AccountCode, AccountCode] {
  requirePositive('payout', event.payoutMinor);
  return [sellerAccount(event.seller, 'available'), sellerAccount(event.seller, 'in_payout')];
}

/** The PSP refunded although the refund had ended as failed. A fact: may take the wallet below zero. */
export function lateRefund(event: AtPsp & Refund): Entry {
  const { seller, currency } = event;
  const sellerPart = requireRefund(event);
  const receivable = pspAccount(event.pspAccount, 'receivable');
  return {
    kind: 'late_refund',
    postings: [
      ...pair(sellerAccount(seller, 'available'), receivable, currency, sellerPart),
      ...pair(PLATFORM_FEES, receivable, currency, event.feeShareMinor),
    ],
  };
}

/** The PSP paid the seller although the payout had ended as failed. A fact: may take the wallet below zero. */
export function latePayout(event: AtPsp & Payout): Entry {
  const [available] = payoutAccounts(event);
  const receivable = pspAccount(event.pspAccount, 'receivable');
  return { kind: 'late_payout', postings: pair(available, receivable, event.currency, event.payoutMinor) };
}

type Unowned = AtPsp & { readonly grossMinor: bigint };

/** The PSP moved money for an order that had ended as failed. */
export function lateSuccess(event: Unowned): Entry {
  return { kind: 'late_success', postings: toSuspense(event) };
}

/** The PSP moved money a second time for an order that had succeeded. */
export function surplusSuccess(event: Unowned): Entry {
  return { kind: 'surplus_success', postings: toSuspense(event) };
}

function toSuspense(event: Unowned): readonly Posting[] {
  requirePositive('gross', event.grossMinor);
  const receivable = pspAccount(event.pspAccount, 'receivable');
  return pair(receivable, suspenseAccount(event.pspAccount), event.currency, event.grossMinor);
}

/** Money in suspense turned out to be a seller's after all. */
export function suspenseAdopted(event: Charge & { readonly release: ReleasePolicy }): Entry {
  return { kind: 'suspense_adopted', postings: shareAndFee(suspenseAccount(event.pspAccount), event) };
}

/** Money in suspense went back to the buyer. */
export function suspenseRefunded(event: Unowned): Entry {
  requirePositive('gross', event.grossMinor);
  const receivable = pspAccount(event.pspAccount, 'receivable');
  const postings = pair(suspenseAccount(event.pspAccount), receivable, event.currency, event.grossMinor);
  return { kind: 'suspense_refunded', postings };
}

/** The PSP took its refund back after it had reported it as done: the money is in suspense again. */
export function suspenseRefundFailed(event: Unowned): Entry {
  return { kind: 'suspense_refund_failed', postings: toSuspense(event) };
}

/** The PSP took back a charge that was in suspense. A fact: suspense may end below zero. */
export function suspenseReversed(event: Unowned): Entry {
  return { ...suspenseRefunded(event), kind: 'suspense_reversed' };
}

/** An entry's opposite: the same pairs with debit and credit exchanged. A fact, so without guards. */
export function reversalOf(postings: readonly Posting[]): readonly Posting[] {
  return postings.map(({ debit, credit, currency, amountMinor }) => {
    return { debit: credit, credit: debit, currency, amountMinor, guard: 'none' };
  });
}

/**
 * The share of the platform fee that the next refund of a charge gives back:
 * round(fee × refunded so far ÷ gross) − shares already given, half to even, within [0, refund].
 * "So far" counts this refund and every earlier one that is reserved or done; shares likewise. When all of
 * the gross is refunded, the shares are the whole fee. Throws Bug when the refunds exceed the gross.
 */
export function feeShareOfRefund(charge: {
  readonly grossMinor: bigint;
  readonly feeMinor: bigint;
  readonly refundedBeforeMinor: bigint;
  readonly sharesGivenMinor: bigint;
  readonly refundMinor: bigint;
}): bigint {
  const { grossMinor, feeMinor, refundMinor } = charge;
  const refundedMinor = charge.refundedBeforeMinor + refundMinor;
  requirePositive('gross', grossMinor);
  requirePositive('refund', refundMinor);
  requireWithin('fee', feeMinor, 'gross', grossMinor);
  requireWithin('refunded before', charge.refundedBeforeMinor, 'gross', grossMinor);
  requireWithin('refunded', refundedMinor, 'gross', grossMinor);
  requireWithin('shares given', charge.sharesGivenMinor, 'fee', feeMinor);
  const share = shareOf(feeMinor, refundedMinor, grossMinor) - charge.sharesGivenMinor;
  if (share < 0n) return 0n;
  return share > refundMinor ? refundMinor : share;
}

/** The pair as a list of one, or of none when the amount is zero. Throws Bug for a negative amount. */
export function pair(
  debit: AccountCode,
  credit: AccountCode,
  currency: Currency,
  amountMinor: bigint,
  guard: Posting['guard'] = 'none',
): readonly Posting[] {
  if (amountMinor < 0n) throw new Bug(`a posting of ${amountMinor} from ${debit} to ${credit}`);
  return amountMinor === 0n ? [] : [{ debit, credit, currency, amountMinor, guard }];
}

export function requirePositive(name: string, amountMinor: bigint): void {
  if (amountMinor <= 0n) throw new Bug(`the ${name} must be above zero, not ${amountMinor}`);
}

export function requireWithin(
  name: string,
  amountMinor: bigint,
  limitName: string,
  limitMinor: bigint,
): void {
  if (amountMinor >= 0n && amountMinor <= limitMinor) return;
  throw new Bug(`the ${name} of ${amountMinor} is not between zero and the ${limitName} of ${limitMinor}`);
}

/** Checks a refund and returns the seller's part of it. */
function requireRefund(event: Refund): bigint {
  requirePositive('refund', event.refundMinor);
  requireWithin('fee share', event.feeShareMinor, 'refund', event.refundMinor);
  return event.refundMinor - event.feeShareMinor;
}

function requireReserved(event: Reserved): void {
  const sellerPart = requireRefund(event);
  requireWithin('part from available', event.fromAvailableMinor, "seller's part", sellerPart);
  if (event.fromAvailableMinor + event.fromPendingMinor === sellerPart) return;
  throw new Bug(
    `${event.fromAvailableMinor} from available and ${event.fromPendingMinor} from pending are not ${sellerPart}`,
  );
}
