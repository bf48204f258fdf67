import { describe, expect, test } from 'vitest';
import type { Currency } from '../money.ts';
import { type AmountStyle, type DecimalMark, markShownBy, plainMinor, readAmount } from './amount-text.ts';

const read = (text: string, currency: string, mark: DecimalMark, style: AmountStyle) => {
  const reading = readAmount(text, currency as Currency, mark, style);
  return reading.kind === 'ok' ? reading.minor : reading.code;
};

describe('amounts of a PSP’s own export', () => {
  test.each([
    ['12.50', 'EUR', 1250n],
    ['-12.5', 'EUR', -1250n],
    ['+12.50', 'EUR', 1250n],
    ['0', 'EUR', 0n],
    ['-0.00', 'EUR', 0n],
    ['007.10', 'EUR', 710n],
    ['1200', 'JPY', 1200n],
    ['1200.00', 'JPY', 1200n],
    ['5000.00', 'ISK', 5000n],
    ['12.345', 'KWD', 12345n],
    ['12.3', 'KWD', 12300n],
    ['9999999999999999.99', 'EUR', 999_999_999_999_999_999n],
    ['-9999999999999999.99', 'EUR', -999_999_999_999_999_999n],
    ['10000000000000000.00', 'EUR', 'amount_too_large'],
    ['1.005', 'EUR', 'amount_too_precise'],
    ['1200.50', 'JPY', 'amount_too_precise'],
    ['12.3456', 'KWD', 'amount_too_precise'],
    ['', 'EUR', 'amount_missing'],
    [' ', 'EUR', 'amount_missing'],
    ['1e3', 'EUR', 'amount_power_of_ten'],
    ['1.5E+10', 'EUR', 'amount_power_of_ten'],
    ['12,50', 'EUR', 'amount_unreadable'],
    ['1,234.50', 'EUR', 'amount_unreadable'],
    ['12.', 'EUR', 'amount_unreadable'],
    ['.50', 'EUR', 'amount_unreadable'],
    ['1.2.3', 'EUR', 'amount_unreadable'],
    ['--1', 'EUR', 'amount_unreadable'],
    ['(12.50)', 'EUR', 'amount_unreadable'],
    ['$12.50', 'USD', 'amount_unreadable'],
    ['\u0661\u0662', 'EUR', 'amount_unreadable'],
    ['0x10', 'EUR', 'amount_unreadable'],
    ['NaN', 'EUR', 'amount_unreadable'],
    ['Infinity', 'EUR', 'amount_unreadable'],
  ])('%j in %s', (text, currency, expected) => {
    expect(read(text, currency, '.', 'plain')).toEqual(expected);
  });
});

describe('amounts as people and banks write them', () => {
  test.each([
    ['1.234,56', 'EUR', ',', 123456n],
    ['1234,5', 'EUR', ',', 123450n],
    ['1.234', 'EUR', ',', 123400n],
    ['1 234 567,89', 'EUR', ',', 123456789n],
    ['1\u00a0234,00', 'EUR', ',', 123400n],
    ['1\u202f234,00', 'EUR', ',', 123400n],
    ["1'234.50", 'CHF', '.', 123450n],
    ['1\u2019234.50', 'CHF', '.', 123450n],
    ['1,234,567', 'USD', '.', 123456700n],
    ['(12.50)', 'USD', '.', -1250n],
    ['($1,234.50)', 'USD', '.', -123450n],
    ['$21.83', 'USD', '.', 2183n],
    ['-$21.83', 'USD', '.', -2183n],
    ['$-21.83', 'USD', '.', -2183n],
    ['21.83-', 'USD', '.', -2183n],
    ['\u221221.83', 'USD', '.', -2183n],
    ['€ 12,50', 'EUR', ',', 1250n],
    ['12,50 €', 'EUR', ',', 1250n],
    ['EUR 12,50', 'EUR', ',', 1250n],
    ['12,50 EUR', 'EUR', ',', 1250n],
    ['.50', 'USD', '.', 50n],
    ['€ 12,50', 'USD', ',', 'amount_other_currency'],
    ['$12.50', 'EUR', '.', 'amount_other_currency'],
    ['USD 12.50', 'EUR', '.', 'amount_other_currency'],
    ['(-12.50)', 'USD', '.', 'amount_unreadable'],
    ['-12.50-', 'USD', '.', 'amount_unreadable'],
    ['1,23', 'USD', '.', 'amount_unreadable'],
    ['12,34.50', 'USD', '.', 'amount_unreadable'],
    ['1,234 567.00', 'USD', '.', 'amount_unreadable'],
    ['1234,567.00', 'USD', '.', 'amount_unreadable'],
    ['1.234,56', 'USD', '.', 'amount_unreadable'],
    ['12 DR', 'USD', '.', 'amount_unreadable'],
    ['()', 'USD', '.', 'amount_unreadable'],
    ['$', 'USD', '.', 'amount_unreadable'],
  ] as const)('%j in %s with mark %s', (text, currency, mark, expected) => {
    expect(read(text, currency, mark, 'written')).toEqual(expected);
  });
});

test.each([
  ['12.50', '.'],
  ['12,5', ','],
  ['1.234,56', ','],
  ['1,234.56', '.'],
  ['1,234,567', '.'],
  ['1.234.567', ','],
  ['1,234', 'either'],
  ['-1.234', 'either'],
  ['($123,456)', 'either'],
  ['1234.567', '.'],
  ['0.123', '.'],
  ['.123', '.'],
  ['1 234,567', ','],
  ['12.3456', '.'],
  ['1234', 'none'],
  ['', 'none'],
  ['abc', 'none'],
  ['a.b,c', 'none'],
])('%j shows the mark %s', (text, expected) => {
  expect(markShownBy(text)).toBe(expected);
});

test('the short way gives up instead of losing digits', () => {
  expect(plainMinor('9999999999999.99', 2, '.')).toBe(999_999_999_999_999n);
  expect(plainMinor('99999999999999.99', 2, '.')).toBeNull();
});
