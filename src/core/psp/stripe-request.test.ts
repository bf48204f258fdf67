/** The frozen requests: their exact text, and that they are read back as they were written. */
import { describe, expect, test } from 'vitest';
import { parseCurrency } from '../money.ts';
import type { ChargeInstruction } from './psp.ts';
import {
  freezeStripeCharge,
  freezeStripeRefund,
  freezeStripeTransfer,
  parseStripeCharge,
  parseStripeRefund,
  parseStripeTransfer,
} from './stripe-request.ts';

const INSTRUCTION: ChargeInstruction = {
  idempotencyKey: 'b7f3-op_9-1',
  paymentId: 'pay_1',
  orderId: 'ord_2',
  operationId: 'op_9',
  attemptNumber: 1,
  amountMinor: 1250n,
  currency: parseCurrency('EUR')!,
  paymentMethod: 'pm_card_visa',
  buyer: 'buyer-77',
  customerPresent: false,
};

function frozen(instruction: ChargeInstruction): string {
  const result = freezeStripeCharge(instruction);
  if (result.kind === 'rejected') throw new Error(result.reason);
  return result.request;
}

describe('freezing', () => {
  test('writes every parameter, and nothing about the buyer', () => {
    expect(frozen(INSTRUCTION)).toBe(
      '{"amount":1250,"currency":"eur","payment_method":"pm_card_visa","confirm":true,' +
        '"automatic_payment_methods":{"enabled":true,"allow_redirects":"never"},' +
        '"off_session":true,"error_on_requires_action":true,"transfer_group":"ord_2",' +
        '"metadata":{"paygate_payment":"pay_1","paygate_order":"ord_2","paygate_operation":"op_9",' +
        '"paygate_attempt":"1","paygate_key":"b7f3-op_9-1"}}',
    );
  });

  test('leaves the challenge to the buyer who is present', () => {
    const request = JSON.parse(frozen({ ...INSTRUCTION, customerPresent: true }));
    expect(request).not.toHaveProperty('off_session');
    expect(request).not.toHaveProperty('error_on_requires_action');
  });

  test('gives the same text every time', () => {
    expect(frozen({ ...INSTRUCTION })).toBe(frozen(INSTRUCTION));
  });

  test.each([
    [
      'an amount that Stripe cannot express',
      { currency: parseCurrency('KWD')!, amountMinor: 1234n },
      /last digit/,
    ],
    ['an empty payment method', { paymentMethod: '' }, /payment method/],
    ['an empty key', { idempotencyKey: '' }, /0 characters/],
    ['a key of 256 characters', { idempotencyKey: 'k'.repeat(256) }, /256 characters/],
  ])('rejects %s', (_name, overrides, reason) => {
    expect(freezeStripeCharge({ ...INSTRUCTION, ...overrides })).toEqual({
      kind: 'rejected',
      reason: expect.stringMatching(reason),
    });
  });
});

describe('reading back', () => {
  test.each([true, false])(
    'gives the parameters and what to expect (customer present: %s)',
    (customerPresent) => {
      const text = frozen({ ...INSTRUCTION, customerPresent });
      const stored = parseStripeCharge(text);
      expect(JSON.stringify(stored?.parameters)).toBe(text);
      expect(stored?.expected).toMatchObject({
        amount: 1250,
        currency: 'eur',
        customerPresent,
        metadata: { paygate_operation: 'op_9', paygate_attempt: '1', paygate_key: 'b7f3-op_9-1' },
      });
    },
  );

  test.each(['', '{', '[]', 'null', '{}', '{"amount":1,"currency":"eur","metadata":{}}'])(
    'refuses %j',
    (text) => {
      expect(parseStripeCharge(text)).toBeNull();
    },
  );
});

const OPERATION = {
  idempotencyKey: 'b7f3-op_9-1',
  operationId: 'op_9',
  attemptNumber: 1,
  amountMinor: 500n,
  currency: parseCurrency('EUR')!,
};
const REFUND = { ...OPERATION, orderId: 'ord_2', chargeReference: 'pi_7' };
const PAYOUT = { ...OPERATION, destination: 'acct_7' };
const REFERENCES = { paygate_operation: 'op_9', paygate_attempt: '1', paygate_key: 'b7f3-op_9-1' };

describe('a refund', () => {
  const text =
    '{"payment_intent":"pi_7","amount":500,"metadata":{"paygate_order":"ord_2","paygate_operation":"op_9",' +
    '"paygate_attempt":"1","paygate_key":"b7f3-op_9-1"}}';

  test('is frozen and read back', () => {
    expect(freezeStripeRefund(REFUND)).toEqual({ kind: 'frozen', request: text });
    const stored = parseStripeRefund(text);
    expect(JSON.stringify(stored?.parameters)).toBe(text);
    expect(stored?.expected).toEqual({ amount: 500, paymentIntent: 'pi_7', references: REFERENCES });
  });

  test('of an amount that Stripe cannot express is rejected', () => {
    const dinar = { ...REFUND, currency: parseCurrency('KWD')!, amountMinor: 1234n };
    expect(freezeStripeRefund(dinar)).toMatchObject({ kind: 'rejected' });
  });
});

describe('a payout', () => {
  const text =
    '{"amount":500,"currency":"eur","destination":"acct_7","transfer_group":"op_9","metadata":{' +
    '"paygate_operation":"op_9","paygate_attempt":"1","paygate_key":"b7f3-op_9-1"}}';

  test('is frozen and read back', () => {
    expect(freezeStripeTransfer(PAYOUT)).toEqual({ kind: 'frozen', request: text });
    const stored = parseStripeTransfer(text);
    expect(JSON.stringify(stored?.parameters)).toBe(text);
    expect(stored?.expected).toEqual({
      amount: 500,
      currency: 'eur',
      destination: 'acct_7',
      transferGroup: 'op_9',
      references: REFERENCES,
    });
  });
});

test.each(['', '{', '[]', 'null', '{}', '{"amount":1,"payment_intent":"pi_1","metadata":{}}'])(
  'a stored refund or payout that is %j is refused',
  (text) => {
    expect(parseStripeRefund(text)).toBeNull();
    expect(parseStripeTransfer(text)).toBeNull();
  },
);
