import { describe, expect, test } from 'vitest';
import { parseCurrency } from '../money.ts';
import { toAdyenValue } from './adyen-minor-unit.ts';

describe('an amount as Adyen counts it', () => {
  test.each([
    ['EUR', 1250n, 1250],
    ['JPY', 500n, 500],
    ['KWD', 1234n, 1234],
    ['CLP', 990n, 99_000],
    ['ISK', 5n, 500],
    ['IDR', 1_500_000n, 15_000],
    ['CVE', 2_000n, 20],
    ['EUR', 999_999_999_999_999n, 999_999_999_999_999],
  ])('%s %i is %i', (code, amountMinor, value) => {
    expect(toAdyenValue(amountMinor, parseCurrency(code)!)).toEqual({ kind: 'ok', value });
  });

  test.each([
    ['EUR', 0n, 'not more than zero'],
    ['EUR', -1n, 'not more than zero'],
    ['IDR', 1_500_050n, 'whole units'],
    ['CVE', 2_001n, 'whole units'],
    ['CLF', 10_000n, '4 decimals'],
    ['ISK', 999_999_999_999_999n, '15 digits'],
  ])('%s %i is rejected: %s', (code, amountMinor, reason) => {
    const result = toAdyenValue(amountMinor, parseCurrency(code)!);
    expect(result).toMatchObject({ kind: 'rejected', reason: expect.stringContaining(reason) });
  });
});
