import { describe, expect, test } from 'vitest';
import { Bug } from './errors.ts';
import type { Currency } from './money.ts';
import {
  exponentOf,
  feeOf,
  formatAmount,
  knownCurrencies,
  MAX_AMOUNT_MINOR,
  parseAmount,
  parseCurrency,
  shareOf,
  toMoneyJson,
} from './money.ts';

function currency(code: string): Currency {
  const parsed = parseCurrency(code);
  if (parsed === null) throw new Error(`${code} is not a currency`);
  return parsed;
}

describe('currencies', () => {
  test.each([
    ['JPY', 0],
    ['ISK', 0],
    ['CLP', 0],
    ['XAF', 0],
    ['USD', 2],
    ['EUR', 2],
    ['BRL', 2],
    ['KWD', 3],
    ['BHD', 3],
    ['CLF', 4],
  ])('%s has %i decimals', (code, exponent) => {
    expect(exponentOf(currency(code))).toBe(exponent);
  });

  test.each(['', 'eur', 'EURO', 'ZZZ', 'XXX', 'XTS', 'XAU', ' EUR', 'EUR\n', '__proto__'])(
    '%j is not a currency',
    (code) => {
      expect(parseCurrency(code)).toBeNull();
    },
  );

  test('a code that was never parsed is our own mistake', () => {
    expect(() => exponentOf('EURO' as Currency)).toThrow(Bug);
  });

  test('the list is sorted and every code on it parses', () => {
    const codes = knownCurrencies();
    expect(codes.length).toBeGreaterThan(150);
    expect(codes).toEqual([...codes].sort());
    for (const code of codes) expect(parseCurrency(code)).toBe(code);
  });
});

describe('amounts that are read', () => {
  test.each([
    ['12.50', 'EUR', 1250n],
    ['12.5', 'EUR', 1250n],
    ['12', 'EUR', 1200n],
    ['0', 'EUR', 0n],
    ['0.01', 'USD', 1n],
    ['007.50', 'EUR', 750n],
    ['1200', 'JPY', 1200n],
    ['1200', 'ISK', 1200n],
    ['990', 'CLP', 990n],
    ['1.234', 'KWD', 1234n],
    ['1.2', 'KWD', 1200n],
    ['0.0001', 'CLF', 1n],
    ['9007199254740.99', 'USD', 900_719_925_474_099n],
    ['9999999999999.99', 'USD', MAX_AMOUNT_MINOR],
    ['999999999999999', 'JPY', MAX_AMOUNT_MINOR],
    ['999999999999.999', 'KWD', MAX_AMOUNT_MINOR],
  ])('%s %s is %d minor units', (text, code, amountMinor) => {
    expect(parseAmount(text, currency(code))).toEqual({ kind: 'ok', amountMinor });
  });
});

describe('amounts that are refused', () => {
  test.each([
    ['', 'EUR', 'empty'],
    ['-12.50', 'EUR', 'negative'],
    ['-0', 'EUR', 'negative'],
    ['-0.00', 'EUR', 'negative'],
    ['+12.50', 'EUR', 'not_a_decimal'],
    ['1e3', 'EUR', 'not_a_decimal'],
    ['0x10', 'EUR', 'not_a_decimal'],
    ['１２', 'EUR', 'not_a_decimal'],
    ['١٢', 'EUR', 'not_a_decimal'],
    ['12,50', 'EUR', 'not_a_decimal'],
    ['1,250.00', 'EUR', 'not_a_decimal'],
    ['1 250', 'EUR', 'not_a_decimal'],
    ['1_250', 'EUR', 'not_a_decimal'],
    [' 12.50', 'EUR', 'not_a_decimal'],
    ['12.50 ', 'EUR', 'not_a_decimal'],
    ['12.50\n', 'EUR', 'not_a_decimal'],
    ['12.', 'EUR', 'not_a_decimal'],
    ['.50', 'EUR', 'not_a_decimal'],
    ['12.5.0', 'EUR', 'not_a_decimal'],
    ['€12.50', 'EUR', 'not_a_decimal'],
    ['NaN', 'EUR', 'not_a_decimal'],
    ['Infinity', 'EUR', 'not_a_decimal'],
    ['--1', 'EUR', 'not_a_decimal'],
    ['12.505', 'EUR', 'too_many_decimals'],
    ['12.500', 'EUR', 'too_many_decimals'],
    ['12.0', 'JPY', 'too_many_decimals'],
    ['12.5', 'ISK', 'too_many_decimals'],
    ['12.5', 'CLP', 'too_many_decimals'],
    ['1.2345', 'KWD', 'too_many_decimals'],
    ['10000000000000.00', 'USD', 'too_large'],
    ['90071992547409.93', 'USD', 'too_large'],
    ['18446744073709551616', 'JPY', 'too_large'],
    ['1000000000000000', 'JPY', 'too_large'],
    ['9'.repeat(40), 'USD', 'too_large'],
    ['9'.repeat(41), 'USD', 'not_a_decimal'],
    ['9'.repeat(100_000), 'USD', 'not_a_decimal'],
  ])('%s %s: %s', (text, code, fault) => {
    expect(parseAmount(text, currency(code))).toMatchObject({ kind: 'fault', fault });
  });

  test.each(['4111111111111111', '4111 1111 1111 1111', '4111111111111111.5555'])(
    'a card number in the place of an amount is not repeated: %s',
    (text) => {
      const parsed = parseAmount(text, currency('EUR'));
      expect(parsed.kind === 'fault' ? parsed.message : '').toMatch(/^"\[card number\]/);
    },
  );

  test('the message is short and shows no control character', () => {
    const parsed = parseAmount(`\u001b[2J${'x'.repeat(1_000)}`, currency('EUR'));
    expect(parsed).toMatchObject({ message: expect.stringMatching(/^"\\u001b\[2Jx{36}…" is not a decimal/) });
  });
});

describe('amounts as text', () => {
  test.each([
    [1250n, 'EUR', '12.50'],
    [5n, 'EUR', '0.05'],
    [0n, 'EUR', '0.00'],
    [-5n, 'EUR', '-0.05'],
    [-1250n, 'EUR', '-12.50'],
    [1200n, 'JPY', '1200'],
    [-7n, 'JPY', '-7'],
    [1n, 'KWD', '0.001'],
    [2n ** 80n, 'USD', '12089258196146291747061.76'],
  ])('%d %s is %s', (amountMinor, code, text) => {
    expect(formatAmount({ amountMinor, currency: currency(code) })).toBe(text);
    expect(toMoneyJson({ amountMinor, currency: currency(code) })).toEqual({ amount: text, currency: code });
  });
});

describe('fees', () => {
  test.each([
    ['2.9 % and 30', 10_000n, { feeBps: 290, fixedMinor: 30n }, 320n],
    ['a half rounds to the even cent below', 50n, { feeBps: 100, fixedMinor: 0n }, 0n],
    ['a half rounds to the even cent above', 150n, { feeBps: 100, fixedMinor: 0n }, 2n],
    ['never more than the gross', 20n, { feeBps: 290, fixedMinor: 30n }, 20n],
    ['all of it', 777n, { feeBps: 10_000, fixedMinor: 0n }, 777n],
    ['nothing', 777n, { feeBps: 0, fixedMinor: 0n }, 0n],
    ['half a basis point', 1_000_000n, { feeBps: 0.5, fixedMinor: 0n }, 50n],
    ['beyond 2^53', 999_999_999_999_999n, { feeBps: 9_999, fixedMinor: 0n }, 999_899_999_999_999n],
  ])('%s', (_name, gross, rate, fee) => {
    expect(feeOf(gross, rate)).toBe(fee);
  });

  test.each([
    ['gross', -1n, { feeBps: 290, fixedMinor: 0n }],
    ['basis points', 1n, { feeBps: -1, fixedMinor: 0n }],
    ['fixed part', 1n, { feeBps: 1, fixedMinor: -1n }],
    ['basis points that are no number', 1n, { feeBps: Number.NaN, fixedMinor: 0n }],
  ])('negative %s is our own mistake', (_name, gross, rate) => {
    expect(() => feeOf(gross, rate)).toThrow(Bug);
  });

  test('a share of nothing is our own mistake', () => {
    expect(() => shareOf(1n, 1n, 0n)).toThrow(Bug);
  });
});
