import { describe, expect, test } from 'vitest';
import { Bug } from '../errors.ts';
import {
  type AccountCode,
  bankAccount,
  describeAccount,
  expenseAccount,
  fxAccount,
  isPspOrBankName,
  isSellerName,
  PLATFORM_FEES,
  parseAccountCode,
  pspAccount,
  sellerAccount,
  suspenseAccount,
} from './chart-of-accounts.ts';

describe('every account of the chart', () => {
  test.each([
    [pspAccount('stripe_eu', 'receivable'), 'psp', 'receivable', 'asset', 'debit', 'stripe_eu'],
    [pspAccount('stripe_eu', 'balance'), 'psp', 'balance', 'asset', 'debit', 'stripe_eu'],
    [pspAccount('stripe_eu', 'reserve'), 'psp', 'reserve', 'asset', 'debit', 'stripe_eu'],
    [pspAccount('stripe_eu', 'disputes'), 'psp', 'disputes', 'asset', 'debit', 'stripe_eu'],
    [bankAccount('main', 'cash'), 'bank', 'cash', 'asset', 'debit', 'main'],
    [bankAccount('main', 'in_transit'), 'bank', 'in_transit', 'asset', 'debit', 'main'],
    [fxAccount('adyen'), 'fx', 'conversion', 'asset', 'debit', 'adyen'],
    [sellerAccount('Ana', 'pending'), 'seller', 'pending', 'liability', 'credit', 'Ana'],
    [sellerAccount('Ana', 'available'), 'seller', 'available', 'liability', 'credit', 'Ana'],
    [sellerAccount('Ana', 'in_payout'), 'seller', 'in_payout', 'liability', 'credit', 'Ana'],
    [sellerAccount('Ana', 'in_refund'), 'seller', 'in_refund', 'liability', 'credit', 'Ana'],
    [sellerAccount('Ana', 'in_dispute'), 'seller', 'in_dispute', 'liability', 'credit', 'Ana'],
    [PLATFORM_FEES, 'platform', 'fees', 'income', 'credit', null],
    [expenseAccount('psp_fees'), 'expense', 'psp_fees', 'expense', 'debit', null],
    [expenseAccount('dispute_fees'), 'expense', 'dispute_fees', 'expense', 'debit', null],
    [expenseAccount('fx'), 'expense', 'fx', 'expense', 'debit', null],
    [expenseAccount('write_off'), 'expense', 'write_off', 'expense', 'debit', null],
    [suspenseAccount('adyen'), 'suspense', 'unexplained', 'liability', 'credit', 'adyen'],
  ])('%s', (code, family, purpose, type, normalBalance, party) => {
    expect(describeAccount(code)).toEqual({ code, family, purpose, type, normalBalance, party });
  });

  test('codes are written as the domain document writes them', () => {
    expect(sellerAccount('海の店', 'in_payout')).toBe('seller:海の店:in_payout');
    expect(fxAccount('adyen')).toBe('fx:adyen');
    expect(PLATFORM_FEES).toBe('platform:fees');
    expect(suspenseAccount('adyen')).toBe('suspense:adyen');
  });
});

test.each([
  '',
  'psp',
  'psp:stripe',
  'psp:{}:receivable',
  'psp:Stripe:receivable',
  'psp:stripe:pending',
  'psp:stripe:receivable:x',
  'psp::receivable',
  'seller:Ana',
  'seller::available',
  'seller:a:b:available',
  'seller: Ana:available',
  'seller:{}',
  'fx:{}',
  'platform:fees:x',
  'platform:other',
  'expense:',
  'constructor:x:y',
])('%j is not in the chart', (text) => {
  expect(parseAccountCode(text)).toBeNull();
  expect(() => describeAccount(text as AccountCode)).toThrow(Bug);
});

describe('seller names', () => {
  test.each([
    'a',
    'Ana',
    '{}',
    'Café Ana',
    'Лавка Ивана',
    'متجر سارة',
    'आशा की दुकान',
    '海の店',
    'Καφενείο',
    'חנות',
    'ร้านค้า',
    'می\u200cخواهم',
    'x'.repeat(128),
    '😀'.repeat(128),
  ])('%s is a name', (name) => {
    expect(isSellerName(name)).toBe(true);
    expect(parseAccountCode(sellerAccount(name, 'available'))?.party).toBe(name);
  });

  test.each([
    ['empty', ''],
    ['a space', ' '],
    ['a leading space', ' Ana'],
    ['a trailing space', 'Ana '],
    ['a trailing no-break space', 'Ana\u00a0'],
    ['a colon', 'Ana:x'],
    ['a control character', 'Ana\u0007'],
    ['a C1 control character', 'Ana\u009bx'],
    ['a newline', 'Ana\nx'],
    ['a direction override', 'Ana\u202ex'],
    ['a byte order mark', 'A\ufeffna'],
    ['a lone surrogate', 'Ana\ud83d'],
    ['not normalised', 'Cafe\u0301'],
    ['129 characters', 'x'.repeat(129)],
    ['129 characters outside the basic plane', '😀'.repeat(129)],
  ])('%s is no name', (_what, name) => {
    expect(isSellerName(name)).toBe(false);
    expect(() => sellerAccount(name, 'available')).toThrow(Bug);
  });
});

test.each(['', 'Stripe', 'stripe-eu', 'stripe eu', 'a:b', 'ß', 'x'.repeat(41)])(
  '%j names no PSP account and no bank',
  (name) => {
    expect(isPspOrBankName(name)).toBe(false);
    expect(() => pspAccount(name, 'balance')).toThrow(Bug);
    expect(() => bankAccount(name, 'cash')).toThrow(Bug);
    expect(() => fxAccount(name)).toThrow(Bug);
    expect(() => suspenseAccount(name)).toThrow(Bug);
  },
);
