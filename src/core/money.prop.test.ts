import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Currency } from './money.ts';
import { feeOf, formatAmount, knownCurrencies, MAX_AMOUNT_MINOR, parseAmount, shareOf } from './money.ts';

const currencies = fc.constantFrom(...(knownCurrencies() as Currency[]));
const amounts = fc.bigInt({ min: 0n, max: MAX_AMOUNT_MINOR });

test('reading what was printed gives the amount back, in every currency', () => {
  fc.assert(
    fc.property(amounts, currencies, (amountMinor, currency) => {
      const parsed = parseAmount(formatAmount({ amountMinor, currency }), currency);
      expect(parsed).toEqual({ kind: 'ok', amountMinor });
    }),
  );
});

test('printing what was read is the same amount in its shortest full form', () => {
  const decimals = fc.stringMatching(/^[0-9]{1,15}(\.[0-9]{1,4})?$/);
  fc.assert(
    fc.property(decimals, currencies, (text, currency) => {
      const parsed = parseAmount(text, currency);
      if (parsed.kind === 'fault') return;
      const printed = formatAmount({ amountMinor: parsed.amountMinor, currency });
      const strip = (amount: string) => {
        const [whole = '', fraction = ''] = amount.split('.');
        return `${whole.replace(/^0+(?=\d)/, '')}.${fraction.replace(/0+$/, '')}`;
      };
      expect(strip(printed)).toBe(strip(text));
    }),
  );
});

test('any text is either an amount within the limit or a fault, and never an exception', () => {
  const texts = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: fc.constantFrom(...'0123456789.-+e, ') }),
  );
  fc.assert(
    fc.property(texts, currencies, (text, currency) => {
      const parsed = parseAmount(text, currency);
      if (parsed.kind === 'ok') {
        expect(text).toMatch(/^[0-9]+(\.[0-9]+)?$/);
        expect(parsed.amountMinor >= 0n && parsed.amountMinor <= MAX_AMOUNT_MINOR).toBe(true);
      }
    }),
    { numRuns: 1_000 },
  );
});

/** The same rounding in integers only: an independent oracle. */
function halfEven(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator;
  const twice = (numerator % denominator) * 2n;
  const roundsUp = twice > denominator || (twice === denominator && quotient % 2n === 1n);
  return roundsUp ? quotient + 1n : quotient;
}

test('a share is the exact quotient, rounded half to even', () => {
  const positive = fc.bigInt({ min: 1n, max: MAX_AMOUNT_MINOR });
  fc.assert(
    fc.property(amounts, amounts, positive, (amount, part, whole) => {
      expect(shareOf(amount, part, whole)).toBe(halfEven(amount * part, whole));
    }),
  );
});

test('a fee is the exact share and the fixed part, between nothing and the gross', () => {
  const fixed = fc.bigInt({ min: 0n, max: 1_000n });
  fc.assert(
    fc.property(amounts, fc.integer({ min: 0, max: 12_000 }), fixed, (gross, feeBps, fixedMinor) => {
      const fee = feeOf(gross, { feeBps, fixedMinor });
      const exact = halfEven(gross * BigInt(feeBps), 10_000n) + fixedMinor;
      expect(fee).toBe(exact > gross ? gross : exact);
    }),
  );
});
