/**
 * Which PSP account serves an order: the configuration's rules, first match wins, the default account last. Decides
 * only, from the order alone, so that the same order goes the same way whoever asks. Asked at acceptance, and after a soft
 * decline where the rule names accounts to go on at.
 */
import { hash } from 'node:crypto';
import type { Currency } from '../money.ts';
import type { PspAccount, RequestAccount } from './psp.ts';

/** An account as far as acceptance knows it. */
export type RoutedAccount = Pick<PspAccount, 'name'> & RequestAccount;

/** Both ends included, in the currency's minor unit; null: open at that end. */
export type AmountRange = { readonly minMinor: bigint | null; readonly maxMinor: bigint | null };

/** Every condition that is there must hold. */
export type RoutingRule = {
  readonly account: RoutedAccount;
  readonly sellers: ReadonlySet<string> | null;
  /** Only these currencies, each with its range; null: all of them. */
  readonly currencies: ReadonlyMap<Currency, AmountRange> | null;
  /** Percent of the checkouts that come so far (1–100); 100 is all of them. */
  readonly share: number;
  /** Where to try next after a soft decline, in this order; left out: nowhere. */
  readonly onSoftDecline?: readonly RoutedAccount[];
};

export type Routing = { readonly rules: readonly RoutingRule[]; readonly fallback: RoutedAccount };

/** What of an order decides its way. */
export type RoutableOrder = {
  readonly checkoutId: string;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: Currency;
};

/** The account of the first rule that takes the order, else the default one. */
export function routeOrder(routing: Routing, order: RoutableOrder): RoutedAccount {
  for (const [place, rule] of routing.rules.entries()) {
    if (takes(rule, place, order)) return rule.account;
  }
  return routing.fallback;
}

/**
 * Where an order that was declined softly is tried next: the first account of its rule's list that it has not been at.
 * Null: nowhere. Each account at most once, so the list bounds the attempts.
 * @param tried names of the accounts that it has been at
 */
export function accountAfterDecline(
  routing: Routing,
  order: RoutableOrder,
  tried: ReadonlySet<string>,
): RoutedAccount | null {
  const rule = routing.rules.find((one, place) => takes(one, place, order));
  return rule?.onSoftDecline?.find(({ name }) => !tried.has(name)) ?? null;
}

function takes(rule: RoutingRule, place: number, order: RoutableOrder): boolean {
  if (rule.sellers !== null && !rule.sellers.has(order.seller)) return false;
  if (rule.currencies !== null) {
    const range = rule.currencies.get(order.currency);
    if (range === undefined || !isWithin(order.amountMinor, range)) return false;
  }
  return rule.share >= 100 || bucketOf(order.checkoutId, place) < rule.share;
}

function isWithin(amountMinor: bigint, { minMinor, maxMinor }: AmountRange): boolean {
  return (minMinor === null || amountMinor >= minMinor) && (maxMinor === null || amountMinor <= maxMinor);
}

/** 32 bits of a SHA-256: the remainder by 100 favours no bucket by more than a hundred-millionth. */
const HASH_DIGITS = 8;

/**
 * 0 to 99 by the checkout, so that the orders of one checkout stay together. The rule's place is hashed too: the
 * second of two rules gets its share of what the first one left, and not always the same checkouts.
 */
function bucketOf(checkoutId: string, place: number): number {
  return Number.parseInt(hash('sha256', `${place}\n${checkoutId}`).slice(0, HASH_DIGITS), 16) % 100;
}
