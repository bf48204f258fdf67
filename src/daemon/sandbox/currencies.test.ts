import { describe, expect, test } from 'vitest';
import { checkAmount, checkCurrency, decimalsOf } from './currencies.ts';

describe("Stripe's amounts", () => {
  test.each([
    ['usd', 50, null],
    ['usd', 49, 'amount_too_small'],
    ['usd', 99_999_999, null],
    ['usd', 100_000_000, 'amount_too_large'],
    ['gbp', 29, 'amount_too_small'],
    ['gbp', 30, null],
    ['jpy', 50, null],
    ['jpy', 49, 'amount_too_small'],
    ['huf', 17_499, 'amount_too_small'],
    ['huf', 17_501, null],
    ['kwd', 5120, null],
    ['kwd', 5124, 'parameter_invalid_integer'],
    ['isk', 500, null],
    ['isk', 550, 'parameter_invalid_integer'],
    ['ugx', 50, 'parameter_invalid_integer'],
    ['ugx', 50_000, null],
    ['idr', 999_999_999_999, null],
    ['cop', 9_999_999_999, null],
    ['inr', 1_000_000_000, 'amount_too_large'],
  ])('%s %d → %s', (currency, amount, code) => {
    expect(checkAmount(amount, currency, 'amount')?.code ?? null).toBe(code);
  });

  test('says the limit in major units', () => {
    expect(checkAmount(1, 'usd', 'amount')?.message).toBe('Amount must be at least 0.50 usd');
    expect(checkAmount(1, 'jpy', 'amount')?.message).toBe('Amount must be at least 50 jpy');
  });

  test('knows decimals by its own list', () => {
    expect(['jpy', 'ugx', 'isk', 'kwd', 'eur'].map(decimalsOf)).toEqual([0, 2, 2, 3, 2]);
    expect(['eur', 'xxx', 'EUR'].map((name) => checkCurrency(name) === null)).toEqual([true, false, false]);
  });
});
