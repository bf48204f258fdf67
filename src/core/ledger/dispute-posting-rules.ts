/**
 * What a dispute books: opened, lost, won. Part of the posting table of the domain. Decides only.
 */
import { unreachable } from '../errors.ts';
import type { Currency } from '../money.ts';
import {
  type AccountCode,
  expenseAccount,
  PLATFORM_FEES,
  pspAccount,
  sellerAccount,
  suspenseAccount,
} from './chart-of-accounts.ts';
import {
  type Entry,
  feeShareOfRefund,
  pair,
  requirePositive,
  requireWithin,
  reversalOf,
} from './posting-rules.ts';

/** The bank disputes `disputedMinor`; `sellerShareMinor` of it is held against the seller. */
type Dispute = {
  readonly pspAccount: string;
  readonly seller: string;
  readonly currency: Currency;
  readonly disputedMinor: bigint;
  readonly sellerShareMinor: bigint;
};

/** A fact: may take the wallet below zero. */
export function disputeOpened(event: Dispute): Entry {
  const { seller, currency } = event;
  requireDispute(event);
  const receivable = pspAccount(event.pspAccount, 'receivable');
  const [available, inDispute] = [sellerAccount(seller, 'available'), sellerAccount(seller, 'in_dispute')];
  return {
    kind: 'dispute_opened',
    postings: [
      ...pair(pspAccount(event.pspAccount, 'disputes'), receivable, currency, event.disputedMinor),
      ...pair(available, inDispute, currency, event.sellerShareMinor),
    ],
  };
}

/**
 * Who bears what the seller does not, once the dispute is lost: the platform out of its fees or as a write-off, or
 * suspense, where the money was nobody's yet.
 */
export type BorneBy = 'platform_fees' | 'write_off' | 'suspense';

type LostDispute = Dispute & { readonly remainderBorneBy: BorneBy };

export function disputeLost(event: LostDispute): Entry {
  const { seller, currency, sellerShareMinor } = event;
  requireDispute(event);
  const disputes = pspAccount(event.pspAccount, 'disputes');
  return {
    kind: 'dispute_lost',
    postings: [
      ...pair(sellerAccount(seller, 'in_dispute'), disputes, currency, sellerShareMinor),
      ...pair(accountOfBearer(event), disputes, currency, event.disputedMinor - sellerShareMinor),
    ],
  };
}

function accountOfBearer({ pspAccount: account, remainderBorneBy }: LostDispute): AccountCode {
  switch (remainderBorneBy) {
    case 'platform_fees':
      return PLATFORM_FEES;
    case 'write_off':
      return expenseAccount('write_off');
    case 'suspense':
      return suspenseAccount(account);
    default:
      return unreachable(remainderBorneBy);
  }
}

/** The bank took its decision for the buyer back: the dispute stands as if it were open. */
export function disputeLossReversed(event: LostDispute): Entry {
  return { kind: 'dispute_loss_reversed', postings: reversalOf(disputeLost(event).postings) };
}

export function disputeWon(event: Dispute): Entry {
  const { seller, currency } = event;
  requireDispute(event);
  const receivable = pspAccount(event.pspAccount, 'receivable');
  const [available, inDispute] = [sellerAccount(seller, 'available'), sellerAccount(seller, 'in_dispute')];
  return {
    kind: 'dispute_won',
    postings: [
      ...pair(receivable, pspAccount(event.pspAccount, 'disputes'), currency, event.disputedMinor),
      ...pair(inDispute, available, currency, event.sellerShareMinor),
    ],
  };
}

/**
 * The platform's part of a disputed amount: its fee goes the way it goes with refunds, and never twice. A bank may take
 * back more than is left of the charge; of that the platform bears nothing.
 * @param charge what refunds and other disputes have taken of it before, and the shares of the fee in that
 */
export function feeShareOfDispute(charge: {
  readonly grossMinor: bigint;
  readonly feeMinor: bigint;
  readonly takenBeforeMinor: bigint;
  readonly sharesGivenMinor: bigint;
  readonly disputedMinor: bigint;
}): bigint {
  const { grossMinor, feeMinor, sharesGivenMinor, disputedMinor } = charge;
  requirePositive('disputed amount', disputedMinor);
  const leftMinor = grossMinor > charge.takenBeforeMinor ? grossMinor - charge.takenBeforeMinor : 0n;
  const countedMinor = disputedMinor < leftMinor ? disputedMinor : leftMinor;
  if (countedMinor === 0n) return 0n;
  const refundedBeforeMinor = grossMinor - leftMinor;
  return feeShareOfRefund({
    grossMinor,
    feeMinor,
    refundedBeforeMinor,
    sharesGivenMinor,
    refundMinor: countedMinor,
  });
}

function requireDispute(event: Dispute): void {
  requirePositive('disputed amount', event.disputedMinor);
  requireWithin("seller's share", event.sellerShareMinor, 'disputed amount', event.disputedMinor);
}
