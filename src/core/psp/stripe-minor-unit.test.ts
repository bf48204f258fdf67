/** Amounts as Stripe counts them, currency by currency, and the amounts it cannot express. */
import { describe, expect, test } from 'vitest';
import type { Currency } from '../money.ts';
import { knownCurrencies, parseAmount, parseCurrency } from '../money.ts';
import { toStripeAmount } from './stripe-minor-unit.ts';

function convert(amount: string, code: string) {
  const currency = parseCurrency(code) as Currency;
  const parsed = parseAmount(amount, currency);
  if (parsed.kind === 'fault') throw new Error(parsed.message);
  return toStripeAmount(parsed.amountMinor, currency);
}

describe('an amount that Stripe can express', () => {
  test.each([
    // Two decimals at ISO and at Stripe.
    ['12.50', 'EUR', 1250],
    ['0.01', 'USD', 1],
    ['10.45', 'HUF', 1045],
    ['800.45', 'TWD', 80045],
    ['100000.00', 'IDR', 10_000_000],
    // No decimals at either.
    ['500', 'JPY', 500],
    ['990', 'CLP', 990],
    ['655', 'XOF', 655],
    ['655', 'XAF', 655],
    ['119', 'XPF', 119],
    ['1', 'KRW', 1],
    ['25000', 'VND', 25000],
    // No decimals at ISO, two that are always 00 at Stripe.
    ['100', 'ISK', 10000],
    ['5', 'ISK', 500],
    ['5', 'UGX', 500],
    // Two decimals at ISO, none at Stripe.
    ['5000.00', 'MGA', 5000],
    // Three decimals, the last one 0.
    ['5.120', 'KWD', 5120],
    ['1.230', 'BHD', 1230],
    ['0.010', 'JOD', 10],
    ['7.000', 'OMR', 7000],
    ['99.990', 'TND', 99990],
    // The largest.
    ['9999999999.99', 'IDR', 999_999_999_999],
    ['9999999999.99', 'EUR', 999_999_999_999],
  ])('%s %s is %i', (amount, currency, expected) => {
    expect(convert(amount, currency)).toEqual({ kind: 'ok', amount: expected });
  });
});

describe('an amount that Stripe cannot express is rejected with the reason', () => {
  test.each([
    ['1.234', 'KWD', /^1\.234 KWD has a last digit that is not 0/],
    ['5.001', 'BHD', /last digit/],
    ['0.001', 'JOD', /last digit/],
    ['0.005', 'OMR', /last digit/],
    ['0.009', 'TND', /last digit/],
    ['5000.20', 'MGA', /^5000\.20 MGA has a fraction; Stripe counts MGA in whole units/],
    ['0', 'EUR', /not more than zero/],
    ['1.000', 'IQD', /has 3 decimals, which Stripe does not document/],
    ['1.000', 'LYD', /has 3 decimals/],
    ['1.0000', 'CLF', /has 4 decimals/],
    ['1', 'UYI', /has 0 decimals/],
    ['10000000000.00', 'EUR', /more than the 12 digits/],
    ['1000000000000', 'JPY', /more than the 12 digits/],
    // 12 digits in whole krónur are 14 in what Stripe is sent.
    ['10000000000', 'ISK', /more than the 12 digits/],
  ])('%s %s', (amount, currency, reason) => {
    const converted = convert(amount, currency);
    expect(converted).toEqual({ kind: 'rejected', reason: expect.stringMatching(reason) });
  });

  test('a negative amount', () => {
    expect(toStripeAmount(-1n, parseCurrency('EUR') as Currency).kind).toBe('rejected');
  });
});

test('no currency is ever rounded: what is accepted converts back to the same amount', () => {
  for (const code of knownCurrencies()) {
    const currency = parseCurrency(code) as Currency;
    const one = toStripeAmount(1_000_000n, currency);
    const two = toStripeAmount(2_000_000n, currency);
    if (one.kind === 'rejected' || two.kind === 'rejected') continue;
    expect(Number.isSafeInteger(one.amount)).toBe(true);
    expect(two.amount, code).toBe(one.amount * 2);
  }
});
