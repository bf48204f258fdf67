import { describe, expect, test } from 'vitest';
import { expectedFee } from './expected-fee.ts';

const fee = (percent: string, fixedMinor = 0n) => ({ percent, fixedMinor, toleranceMinor: 0n });

describe('an expected fee', () => {
  test.each([
    [10_000n, '1.4', 25n, 165n],
    [50n, '1', 0n, 1n],
    [49n, '1', 0n, 0n],
    [0n, '2.9', 30n, 30n],
    [1n, '100', 0n, 1n],
    [900_719_925_474_099_301n, '0.000001', 0n, 9_007_199_255n],
  ])('of %s at %s%% and %s is %s', (gross, percent, fixed, expected) => {
    expect(expectedFee(gross, fee(percent, fixed))).toBe(expected);
  });

  test('of a gross below zero is a mistake of ours', () => {
    expect(() => expectedFee(-1n, fee('1'))).toThrow('a fee of a gross of -1');
  });
});
