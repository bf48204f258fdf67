/**
 * What a dispute books: opened, lost, won. Part of the posting table of the domain. Decides only.
 */
import type { Currency } from '../money.ts';
import { expenseAccount, PLATFORM_FEES, pspAccount, sellerAccount } from './chart-of-accounts.ts';
import { type Entry, pair, requirePositive, requireWithin } from './posting-rules.ts';

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

/** By policy the platform bears what the seller does not: out of its fees, or as a write-off. */
export function disputeLost(
  event: Dispute & { readonly remainderBorneBy: 'platform_fees' | 'write_off' },
): Entry {
  const { seller, currency, sellerShareMinor } = event;
  requireDispute(event);
  const disputes = pspAccount(event.pspAccount, 'disputes');
  const platform = event.remainderBorneBy === 'platform_fees' ? PLATFORM_FEES : expenseAccount('write_off');
  return {
    kind: 'dispute_lost',
    postings: [
      ...pair(sellerAccount(seller, 'in_dispute'), disputes, currency, sellerShareMinor),
      ...pair(platform, disputes, currency, event.disputedMinor - sellerShareMinor),
    ],
  };
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

function requireDispute(event: Dispute): void {
  requirePositive('disputed amount', event.disputedMinor);
  requireWithin("seller's share", event.sellerShareMinor, 'disputed amount', event.disputedMinor);
}
