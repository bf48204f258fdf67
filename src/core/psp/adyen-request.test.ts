import { describe, expect, test } from 'vitest';
import { parseCurrency } from '../money.ts';
import {
  findAdyenFault,
  freezeAdyenCharge,
  freezeAdyenPayout,
  freezeAdyenRefund,
  parseAdyenCharge,
  parseAdyenPayout,
  parseAdyenRefund,
} from './adyen-request.ts';
import type { ChargeInstruction, FrozenRequest, PayoutInstruction, RefundInstruction } from './psp.ts';

const EUR = parseCurrency('EUR')!;
const ACCOUNT = { merchantAccount: 'MarketplaceEU', balanceAccountId: 'BA1' };
const EXPECTED = { reference: 'op_12', value: 1250, currency: 'EUR' };

const CHARGE: ChargeInstruction = {
  idempotencyKey: 'pg-b7f3-12-1',
  paymentId: 'pay_10',
  orderId: 'ord_11',
  operationId: 'op_12',
  attemptNumber: 1,
  amountMinor: 1250n,
  currency: EUR,
  paymentMethod: 'stored_authorised',
  buyer: 'buyer-77',
  customerPresent: false,
};

const REFUND: RefundInstruction = {
  idempotencyKey: 'pg-b7f3-12-1',
  operationId: 'op_12',
  orderId: 'ord_11',
  attemptNumber: 1,
  chargeReference: '883G5A7ZS4LK2PXM',
  amountMinor: 1250n,
  currency: EUR,
};

const PAYOUT: PayoutInstruction = {
  idempotencyKey: 'pg-b7f3-12-1',
  operationId: 'op_12',
  attemptNumber: 1,
  destination: 'BA2',
  amountMinor: 1250n,
  currency: EUR,
};

function textOf(frozen: FrozenRequest): string {
  if (frozen.kind === 'rejected') throw new Error(frozen.reason);
  return frozen.request;
}

describe('a charge', () => {
  test('is a payment with the stored token, under our operation as reference', () => {
    const request = textOf(freezeAdyenCharge(ACCOUNT, CHARGE));
    expect(request).toBe(
      '{"merchantAccount":"MarketplaceEU","reference":"op_12","amount":{"currency":"EUR","value":1250},' +
        '"paymentMethod":{"type":"scheme","storedPaymentMethodId":"stored_authorised"},' +
        '"shopperReference":"buyer-77","shopperInteraction":"ContAuth",' +
        '"recurringProcessingModel":"UnscheduledCardOnFile",' +
        '"metadata":{"paygate_order":"ord_11","paygate_attempt":"1","paygate_key":"pg-b7f3-12-1"}}',
    );
    expect(parseAdyenCharge(request)).toEqual({
      expected: EXPECTED,
      customerPresent: false,
      merchantAccount: 'MarketplaceEU',
    });
  });

  test('says when the buyer is there', () => {
    const request = textOf(freezeAdyenCharge(ACCOUNT, { ...CHARGE, customerPresent: true }));
    expect(request).toContain('"recurringProcessingModel":"CardOnFile"');
    expect(parseAdyenCharge(request)).toMatchObject({ customerPresent: true });
  });

  test('says where a buyer who is there comes back to, and nothing of it where nobody is sent away', () => {
    const returnUrl = 'https://shop.example/back?order=1';
    const request = (customerPresent: boolean) =>
      JSON.parse(textOf(freezeAdyenCharge(ACCOUNT, { ...CHARGE, returnUrl, customerPresent })));
    expect(request(true)).toMatchObject({ returnUrl });
    expect(request(false)).not.toHaveProperty('returnUrl');
  });

  test.each<[string, Partial<ChargeInstruction>, string]>([
    ['no payment method', { paymentMethod: '' }, 'payment method is empty'],
    ['a buyer that is too short', { buyer: 'ab' }, '2 characters'],
    ['a buyer that is too long', { buyer: 'b'.repeat(257) }, '257 characters'],
    ['half a rupiah', { amountMinor: 150n, currency: parseCurrency('IDR')! }, 'whole units'],
  ])('%s is a fault before anything is stored', (_, changes, reason) => {
    const instruction = { ...CHARGE, ...changes };
    expect(findAdyenFault(instruction)).toContain(reason);
    expect(freezeAdyenCharge(ACCOUNT, instruction)).toMatchObject({ kind: 'rejected' });
  });

  test.each(['', 'k'.repeat(65)])('a key that Adyen does not take is rejected', (idempotencyKey) => {
    expect(freezeAdyenCharge(ACCOUNT, { ...CHARGE, idempotencyKey })).toMatchObject({ kind: 'rejected' });
  });
});

describe('a refund', () => {
  test('names the payment beside the body that is sent', () => {
    expect(parseAdyenRefund(textOf(freezeAdyenRefund(ACCOUNT, REFUND)))).toEqual({
      expected: EXPECTED,
      paymentPspReference: '883G5A7ZS4LK2PXM',
      body: '{"merchantAccount":"MarketplaceEU","amount":{"currency":"EUR","value":1250},"reference":"op_12"}',
    });
  });

  test.each(['', '../883G', 'a b'])(
    'of a charge "%s" that Adyen cannot have is rejected',
    (chargeReference) => {
      expect(freezeAdyenRefund(ACCOUNT, { ...REFUND, chargeReference })).toMatchObject({ kind: 'rejected' });
    },
  );
});

describe('a payout', () => {
  test.each([
    ['BA2', '"category":"internal","counterparty":{"balanceAccountId":"BA2"}'],
    ['SE3', '"category":"bank","priority":"regular","counterparty":{"transferInstrumentId":"SE3"}'],
  ])('to %s is a transfer from the balance account', (destination, recipient) => {
    const request = textOf(freezeAdyenPayout(ACCOUNT, { ...PAYOUT, destination }));
    expect(request).toBe(
      `{"amount":{"currency":"EUR","value":1250},"balanceAccountId":"BA1",${recipient},` +
        '"reference":"op_12","description":"pg-b7f3-12-1"}',
    );
    expect(parseAdyenPayout(request)).toEqual({
      expected: EXPECTED,
      balanceAccountId: 'BA1',
      description: 'pg-b7f3-12-1',
    });
  });

  test('to an account of another PSP is rejected', () => {
    const frozen = freezeAdyenPayout(ACCOUNT, { ...PAYOUT, destination: 'acct_1' });
    expect(frozen).toMatchObject({ kind: 'rejected', reason: expect.stringContaining('acct_1') });
  });

  test('from a PSP account without a balance account is rejected', () => {
    const frozen = freezeAdyenPayout({ balanceAccountId: null }, PAYOUT);
    expect(frozen).toMatchObject({ kind: 'rejected', reason: expect.stringContaining('balance_account_id') });
  });
});

test.each(['', '{', '[]', '{}', '{"reference":"op_1"}', '{"body":{}}'])(
  'a stored text "%s" that we did not write is not read',
  (text) => {
    expect(parseAdyenCharge(text)).toBeNull();
    expect(parseAdyenRefund(text)).toBeNull();
    expect(parseAdyenPayout(text)).toBeNull();
  },
);
