/**
 * What a marketplace decides about reconciliation: how each PSP account settles, which bank it pays, and from which amount on
 * a write-off needs a second person. Decides only.
 */
import type { DisputePolicy } from '../dispute/dispute.ts';
import type { Currency } from '../money.ts';
import type { ExpectedFee } from './expected-fee.ts';

/** How one PSP account settles. */
export type AccountSettlement = {
  /** IANA name of the zone in which the PSP's days begin and end. */
  readonly timeZone: string;
  /** What is booked from this minute of the PSP's day on belongs to its next day (0–1440; 1440: midnight). */
  readonly cutOffMinute: number;
  /** Business days from the day of booking until its line must have been shown (0–30). */
  readonly settleDays: number;
  /** Further business days before we call it missing (0–30). */
  readonly graceDays: number;
  /** Days off besides Saturday and Sunday, as "2026-12-25". */
  readonly holidays: ReadonlySet<string>;
  /** The bank that its deposits go to: the name in `bank:{name}`. */
  readonly bank: string;
  /** What the PSP's contract says that a charge costs, by settlement currency; empty: fees are believed. */
  readonly fees: ReadonlyMap<Currency, ExpectedFee>;
};

export type SettlementPolicy = {
  /** By PSP account; one that is not named settles as {@link DEFAULT_SETTLEMENT} says. */
  readonly accounts: ReadonlyMap<string, AccountSettlement>;
  /** Per currency: a larger write-off is posted by another person than the one who proposed it. Without a limit: any. */
  readonly writeOffLimits: ReadonlyMap<Currency, bigint>;
  /** What disputes that a file tells of are booked by; left out: the platform's part of a lost one is borne by its fees. */
  readonly disputes?: DisputePolicy;
};

export const DEFAULT_SETTLEMENT: AccountSettlement = {
  timeZone: 'UTC',
  cutOffMinute: 1440,
  settleDays: 2,
  graceDays: 1,
  holidays: new Set(),
  bank: 'main',
  fees: new Map(),
};

export function settlementOf(policy: SettlementPolicy, pspAccount: string): AccountSettlement {
  return policy.accounts.get(pspAccount) ?? DEFAULT_SETTLEMENT;
}

/** "psp:stripe_main" or "bank:main", taken apart; null when it is neither. */
export function parseSource(source: string): { readonly kind: 'psp' | 'bank'; readonly name: string } | null {
  const match = /^(psp|bank):([a-z0-9_]{1,40})$/.exec(source);
  return match === null ? null : { kind: match[1] as 'psp' | 'bank', name: match[2]! };
}
