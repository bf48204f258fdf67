import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { containsCardNumber, maskCardNumbers } from './card-number.ts';

describe('card-like numbers are found', () => {
  test.each([
    ['Visa', '4111111111111111'],
    ['Visa of 13 digits', '4222222222222'],
    ['Mastercard', '5555555555554444'],
    ['Mastercard of the 2-series', '2223003122003222'],
    ['American Express', '378282246310005'],
    ['Diners', '30569309025904'],
    ['UnionPay of 19 digits', '6205500000000000004'],
    ['no known network', '1234567812345670'],
    ['zeros', '0000000000000'],
    ['spaces', '4111 1111 1111 1111'],
    ['dashes', '4111-1111-1111-1111'],
    ['American Express, grouped', '3782 822463 10005'],
    ['Diners, grouped', '3056 930902 5904'],
    ['19 digits, grouped', '6205 5000 0000 0000 004'],
    ['no known network, grouped', '1234 5678 1234 5670'],
    ['a separator after each digit', '4-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1'],
    ['two halves', '41111111 11111111'],
    ['typographic dashes', '4111–1111–1111–1111'],
    ['no-break spaces', '4111\u00a01111\u00a01111\u00a01111'],
    ['spaced dashes', '4111 - 1111 - 1111 - 1111'],
    ['full-width digits', '４１１１１１１１１１１１１１１１'],
    ['Arabic-Indic digits', '٤١١١١١١١١١١١١١١١'],
    ['Devanagari digits', '४१११११११११११११११'],
    ['inside words', 'card4111111111111111x'],
    ['with an expiry date behind it', 'pay 4111 1111 1111 1111 12/27 please'],
    ['with an order number before it', '77 4111 1111 1111 1111'],
    ['in JSON', '{"pan":"5105105105105100"}'],
  ])('%s', (_name, text) => {
    expect(containsCardNumber(text)).toBe(true);
    expect(maskCardNumbers(text)).not.toMatch(/\d{4}\D?\d{4}/);
  });
});

describe('what is no card number passes', () => {
  test.each([
    ['an order id that fails the Luhn check', '1000000000000'],
    ['one digit wrong', '4111111111111112'],
    ['12 digits', '424242424242'],
    ['a run of 20 digits', '41111111111111111110'],
    ['a card number inside a run of 32 digits', '00000000411111111111111110000000'],
    ['a UUID', '550e8400-e29b-41d4-a716-446655440000'],
    ['a UUID with card-like groups', 'ab411111-1111-4111-8111-111111111111'],
    ['a digest', 'a94a8fe5ccb19ba61c4c0873d391e987982fbbd3'],
    ['a card-like run in a digest', 'a4111111111111111cb19ba61c4c0873d391e987'],
    ['a date and a serial number that pass Luhn', '20260801-123452'],
    ['a telephone number', '+44 20 7946 0958'],
    ['a time', '2026-08-01 12:34:56.789012'],
    ['a payment method', 'pm_1MqLiJLkdIwHu7ixUEgbFdYF'],
    ['groups too far apart', '4111 1111, then 1111 1111'],
    ['nothing', ''],
  ])('%s', (_name, text) => {
    expect(containsCardNumber(text)).toBe(false);
    expect(maskCardNumbers(text)).toBe(text);
  });
});

test('masking leaves the rest of the text alone', () => {
  expect(maskCardNumbers('a 4111 1111 1111 1111 b 5555555555554444 c')).toBe(
    'a [card number] b [card number] c',
  );
});

/** Appends the digit that makes the Luhn sum a multiple of ten. */
function withCheckDigit(digits: readonly number[]): string {
  const sum = digits.toReversed().reduce((total, digit, index) => {
    const doubled = digit * 2;
    return total + (index % 2 === 1 ? digit : doubled > 9 ? doubled - 9 : doubled);
  }, 0);
  return `${digits.join('')}${(10 - (sum % 10)) % 10}`;
}

test('every Luhn-valid number of 13 to 19 digits is found, whatever words stand around it', () => {
  const digits = fc.array(fc.nat(9), { minLength: 12, maxLength: 18 });
  const words = fc.stringMatching(/^[g-z :,]{0,10}$/);
  fc.assert(
    fc.property(digits, words, words, (payload, before, after) => {
      const number = withCheckDigit(payload);
      const text = `${before}${number}${after}`;
      expect(containsCardNumber(text)).toBe(true);
      expect(maskCardNumbers(text)).not.toContain(number);
    }),
  );
});

test('masked text has no card number left', () => {
  const soup = fc.string({ unit: fc.constantFrom(...'0123456789 -g'), maxLength: 80 });
  fc.assert(
    fc.property(soup, (text) => {
      expect(containsCardNumber(maskCardNumbers(text))).toBe(false);
    }),
    { numRuns: 1_000 },
  );
});

test('the time grows with the length of the text, not faster: hostile texts of 200 kB', () => {
  for (const piece of ['1 ', '4-', '41111111111111111111', '4111 1111 1111 1112 ', 'a1']) {
    const text = piece.repeat(200_000 / piece.length);
    const startedAt = performance.now();
    containsCardNumber(text);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  }
});
