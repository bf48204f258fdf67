import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Currency, exponentOf } from '../money.ts';
import { markShownBy, readAmount } from './amount-text.ts';

const currency = fc.constantFrom('EUR', 'JPY', 'KWD', 'ISK', 'CLF').map((code) => code as Currency);
const mark = fc.constantFrom('.' as const, ',' as const);

/** Digits in groups of three. */
function grouped(digits: string, separator: string): string {
  return digits.replace(/\B(?=(\d{3})+$)/g, separator);
}

test('what was written is what is read, in every style', () => {
  const minor = fc.bigInt({ min: -999_999_999_999_999_999n, max: 999_999_999_999_999_999n });
  const separator = fc.constantFrom('', 'other', ' ', "'", '\u00a0');
  const dress = fc.constantFrom('minus', 'parentheses', 'behind', 'code');
  fc.assert(
    fc.property(minor, currency, mark, separator, dress, (value, code, decimalMark, between, how) => {
      const exponent = exponentOf(code);
      const digits = (value < 0n ? -value : value).toString().padStart(exponent + 1, '0');
      const whole = digits.slice(0, digits.length - exponent);
      const other = decimalMark === '.' ? ',' : '.';
      const units = grouped(whole, between === 'other' ? other : between);
      const text = exponent === 0 ? units : `${units}${decimalMark}${digits.slice(-exponent)}`;
      const signed = {
        minus: `-${text}`,
        parentheses: `(${text})`,
        behind: `${text}-`,
        code: `-${code} ${text}`,
      }[how];
      const reading = readAmount(value < 0n ? signed : text, code, decimalMark, 'written');
      expect(reading).toEqual({ kind: 'ok', minor: value });
    }),
    { numRuns: 2_000 },
  );
});

test('no text whatever gives another value than its digits have', () => {
  const soup = fc.string({ unit: fc.constantFrom(..."0123456789.,-+eE()$€ 'x"), maxLength: 14 });
  const style = fc.constantFrom('plain' as const, 'written' as const);
  fc.assert(
    fc.property(soup, currency, mark, style, (text, code, decimalMark, how) => {
      const reading = readAmount(text, code, decimalMark, how);
      if (reading.kind === 'fault') {
        expect(reading.message).toMatch(/^[^\p{Cc}]+$/u);
        return;
      }
      const isNegative = /[-(]/.test(text);
      const kept = text
        .replace(/[^0-9.,]/g, '')
        .replaceAll(decimalMark === '.' ? ',' : '.', '')
        .replace(',', '.');
      const value = new Decimal(kept).times(new Decimal(10).pow(exponentOf(code)));
      expect((isNegative ? value.negated() : value).equals(reading.minor.toString())).toBe(true);
    }),
    { numRuns: 20_000 },
  );
});

test('an amount that shows a mark is not read with the other one, unless it could be both', () => {
  const soup = fc.string({ unit: fc.constantFrom(...'0123456789.,'), maxLength: 12 });
  fc.assert(
    fc.property(soup, mark, (text, decimalMark) => {
      const reading = readAmount(text, 'EUR' as Currency, decimalMark, 'written');
      if (reading.kind === 'fault') return;
      expect([decimalMark, 'either', 'none']).toContain(markShownBy(text));
    }),
    { numRuns: 20_000 },
  );
});
