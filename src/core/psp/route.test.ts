import { describe, expect, test } from 'vitest';
import { parseCurrency } from '../money.ts';
import {
  accountAfterDecline,
  type RoutableOrder,
  type RoutedAccount,
  type RoutingRule,
  routeOrder,
} from './route.ts';

const EUR = parseCurrency('EUR')!;
const KWD = parseCurrency('KWD')!;
const JPY = parseCurrency('JPY')!;
const STRIPE: RoutedAccount = { name: 'stripe_main', psp: 'stripe' };
const ADYEN: RoutedAccount = {
  name: 'adyen_eu',
  psp: 'adyen',
  merchantAccount: 'MarketplaceEU',
  balanceAccountId: null,
};
const OTHER: RoutedAccount = { name: 'stripe_two', psp: 'stripe' };
const ANY = { minMinor: null, maxMinor: null };

function rule(changes: Partial<RoutingRule> = {}): RoutingRule {
  return { account: ADYEN, sellers: null, currencies: null, share: 100, ...changes };
}

function route(rules: readonly RoutingRule[], changes: Partial<RoutableOrder> = {}): string {
  const order = { checkoutId: 'co-1', seller: 'seller-1', amountMinor: 1250n, currency: EUR, ...changes };
  return routeOrder({ rules, fallback: STRIPE }, order).name;
}

/** How many of 2,000 checkouts go to each account. */
function countBy(rules: readonly RoutingRule[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let nth = 0; nth < 2_000; nth += 1) {
    const name = route(rules, { checkoutId: `co-${nth}` });
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

describe('an order goes', () => {
  test('to the default account when no rule takes it', () => {
    expect(route([])).toBe('stripe_main');
    expect(route([rule({ sellers: new Set(['seller-2']) })])).toBe('stripe_main');
  });

  test('to the account of the first rule that takes it', () => {
    expect(route([rule({ sellers: new Set(['seller-1']) }), rule({ account: OTHER })])).toBe('adyen_eu');
    expect(route([rule({ account: OTHER }), rule()])).toBe('stripe_two');
  });

  test('where every condition holds', () => {
    const both = rule({ sellers: new Set(['seller-1']), currencies: new Map([[EUR, ANY]]) });
    expect(route([both])).toBe('adyen_eu');
    expect(route([both], { currency: JPY })).toBe('stripe_main');
    expect(route([both], { seller: 'seller-2' })).toBe('stripe_main');
  });

  test.each([
    [EUR, 999n, 'stripe_main'],
    [EUR, 1_000n, 'adyen_eu'],
    [EUR, 2_000n, 'adyen_eu'],
    [EUR, 2_001n, 'stripe_main'],
    [KWD, 1_000n, 'stripe_main'],
    [KWD, 10_000n, 'adyen_eu'],
  ])('by its amount in its own currency: %s %i to %s', (currency, amountMinor, account) => {
    const currencies = new Map([
      [EUR, { minMinor: 1_000n, maxMinor: 2_000n }],
      [KWD, { minMinor: 10_000n, maxMinor: 20_000n }],
    ]);
    expect(route([rule({ currencies })], { currency, amountMinor })).toBe(account);
  });
});

describe('a share', () => {
  test('decides by the checkout alone, every time the same', () => {
    const rules = [rule({ share: 50 })];
    for (const checkoutId of ['co-1', 'co-2', 'co-3', 'co-4']) {
      const first = route(rules, { checkoutId });
      expect(route(rules, { checkoutId, seller: 'seller-9', amountMinor: 1n })).toBe(first);
    }
  });

  test('is about so many percent of the checkouts', () => {
    const counts = countBy([rule({ share: 30 })]);
    expect(counts.adyen_eu).toBeGreaterThan(520);
    expect(counts.adyen_eu).toBeLessThan(680);
  });

  test('of a later rule is taken from what the earlier ones left', () => {
    const counts = countBy([rule({ share: 50 }), rule({ account: OTHER, share: 50 })]);
    expect(counts.stripe_two).toBeGreaterThan(420);
    expect(counts.stripe_two).toBeLessThan(580);
  });
});

describe('after a soft decline an order goes', () => {
  const next = (
    rules: readonly RoutingRule[],
    tried: readonly string[],
    changes: Partial<RoutableOrder> = {},
  ) => {
    const order = { checkoutId: 'co-1', seller: 'seller-1', amountMinor: 1250n, currency: EUR, ...changes };
    return accountAfterDecline({ rules, fallback: STRIPE }, order, new Set(tried))?.name ?? null;
  };
  const listed = rule({ onSoftDecline: [OTHER, STRIPE] });

  test('nowhere, unless its rule says so', () => {
    expect(next([], ['stripe_main'])).toBeNull();
    expect(next([rule()], ['adyen_eu'])).toBeNull();
    expect(next([rule({ ...listed, currencies: new Map([[JPY, ANY]]) })], ['adyen_eu'])).toBeNull();
  });

  test('to the accounts of the list in turn, each once', () => {
    expect(next([listed], ['adyen_eu'])).toBe('stripe_two');
    expect(next([listed], ['adyen_eu', 'stripe_two'])).toBe('stripe_main');
    expect(next([listed], ['adyen_eu', 'stripe_two', 'stripe_main'])).toBeNull();
  });

  test('by the rule that took it, not by a later one', () => {
    expect(next([rule(), listed], ['adyen_eu'])).toBeNull();
  });
});
