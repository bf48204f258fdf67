import { describe, expect, test } from 'vitest';
import {
  type AdyenFailure,
  classifyAdyenFailure,
  replyOfPayment,
  replyOfRefund,
  replyOfTransfer,
} from './adyen-classify.ts';
import type { AnswerHeaders } from './classify.ts';
import type { JsonObject } from './json.ts';

const EXPECTED = { reference: 'op_12', value: 1250, currency: 'EUR' };
const AMOUNT = { currency: 'EUR', value: 1250 };

function payment(answer: JsonObject, customerPresent = false) {
  const whole = { pspReference: 'P1', merchantReference: 'op_12', amount: AMOUNT, ...answer };
  return replyOfPayment(whole, EXPECTED, customerPresent);
}

describe('the answer to a payment', () => {
  test.each<[JsonObject, object]>([
    [{ resultCode: 'Authorised' }, { kind: 'succeeded', pspReference: 'P1' }],
    [{ resultCode: 'Pending' }, { kind: 'pending', pspReference: 'P1' }],
    [{ resultCode: 'Received' }, { kind: 'pending', pspReference: 'P1' }],
    [{ resultCode: 'Cancelled' }, { kind: 'declined', reason: 'cancelled', mayRetryAsNew: false }],
    [{ resultCode: 'Error' }, { kind: 'unknown', next: 'enquire' }],
    [{ resultCode: 'PartiallyAuthorised' }, { kind: 'unknown', next: 'enquire' }],
    [{}, { kind: 'unknown', next: 'resend' }],
    [
      { resultCode: 'Authorised', pspReference: undefined },
      { kind: 'unknown', next: 'enquire' },
    ],
    [
      { resultCode: 'Authorised', merchantReference: 'op_13' },
      { kind: 'unknown', next: 'enquire' },
    ],
    [
      { resultCode: 'Authorised', amount: { currency: 'EUR', value: 1300 } },
      { kind: 'unknown', next: 'enquire' },
    ],
    [
      { resultCode: 'Authorised', amount: { currency: 'USD', value: 1250 } },
      { kind: 'unknown', next: 'enquire' },
    ],
  ])('%j', (answer, expected) => {
    expect(payment(answer)).toMatchObject(expected);
  });

  test.each([
    ['12', 'Not enough balance', 'not_enough_balance', true],
    ['28', 'Withdrawal amount exceeded', 'withdrawal_amount_exceeded', true],
    ['29', 'Withdrawal count exceeded', 'withdrawal_count_exceeded', true],
    ['2', 'Refused', 'refused', false],
    ['5', 'Blocked Card', 'blocked_card', false],
    ['14', 'acquirer fraud', 'acquirer_fraud', false],
    ['20', 'FRAUD', 'fraud', false],
    ['22', 'FRAUD-CANCELLED', 'fraud_cancelled', false],
    ['25', 'Restricted Card', 'restricted_card', false],
    ['26', 'Revocation Of Auth', 'revocation_of_auth', false],
    ['31', 'Issuer Suspected Fraud', 'issuer_suspected_fraud', false],
    ['38', 'Authentication required', 'authentication_required', false],
    ['38', 'AUTH REQ', 'authentication_required', false],
  ])('refused with %s (%s): %s, may be tried again as new: %s', (code, text, reason, mayRetryAsNew) => {
    const answer = { resultCode: 'Refused', refusalReasonCode: code, refusalReason: text };
    expect(payment(answer)).toEqual({ kind: 'declined', reason, mayRetryAsNew, pspReference: 'P1' });
  });

  test.each(['RedirectShopper', 'ChallengeShopper', 'IdentifyShopper'])(
    '%s is handed to the buyer who is present, and a decline for one who is not',
    (resultCode) => {
      const action = { type: 'redirect', url: 'https://bank.example/3ds' };
      expect(payment({ resultCode, action }, true)).toEqual({
        kind: 'awaiting_customer',
        pspReference: 'P1',
        handOff: { type: 'redirect', url: action.url, method: 'GET', data: {} },
      });
      expect(payment({ resultCode, action })).toMatchObject({
        kind: 'declined',
        reason: 'authentication_required',
      });
      expect(payment({ resultCode }, true)).toMatchObject({ kind: 'unknown', next: 'enquire' });
    },
  );
});

describe('the answer to a refund', () => {
  const RECEIVED = {
    status: 'received',
    pspReference: 'R1',
    paymentPspReference: 'P1',
    reference: 'op_12',
    amount: AMOUNT,
  };

  test('"received" is pending: whether it succeeds comes by webhook', () => {
    expect(replyOfRefund(RECEIVED, EXPECTED, 'P1')).toEqual({ kind: 'pending', pspReference: 'R1' });
  });

  test.each<[JsonObject, string]>([
    [{ ...RECEIVED, status: 'succeeded' }, 'resend'],
    [{ ...RECEIVED, pspReference: undefined }, 'resend'],
    [{ ...RECEIVED, paymentPspReference: 'P2' }, 'enquire'],
    [{ ...RECEIVED, reference: 'op_13' }, 'enquire'],
    [{ ...RECEIVED, amount: { currency: 'EUR', value: 1 } }, 'enquire'],
  ])('%j is doubt', (answer, next) => {
    expect(replyOfRefund(answer, EXPECTED, 'P1')).toMatchObject({ kind: 'unknown', next });
  });
});

describe('a transfer', () => {
  test.each([
    ['booked', { kind: 'succeeded', pspReference: 'T1' }],
    ['authorised', { kind: 'pending', pspReference: 'T1' }],
    ['received', { kind: 'pending', pspReference: 'T1' }],
    ['failed', { kind: 'declined', reason: 'failed', mayRetryAsNew: false, pspReference: 'T1' }],
    ['returned', { kind: 'declined', reason: 'returned' }],
    ['chargeback', { kind: 'unknown', next: 'enquire' }],
  ])('that is %s', (status, expected) => {
    const answer = { id: 'T1', status, reference: 'op_12', amount: AMOUNT };
    expect(replyOfTransfer(answer, EXPECTED)).toMatchObject(expected);
  });

  test.each([
    ['booked to a balance account of the platform', { status: 'booked', category: 'internal' }, true],
    ['booked to a bank', { status: 'booked', category: 'bank' }, undefined],
    [
      'on its way, with a time',
      { status: 'booked', category: 'bank', tracking: { type: 'estimation', estimatedArrivalTime: 'x' } },
      undefined,
    ],
    [
      'tracked to its bank',
      { status: 'booked', category: 'bank', tracking: { type: 'confirmation', status: 'credited' } },
      true,
    ],
    ['credited', { status: 'credited', category: 'bank' }, true],
  ])('%s', (_, answer, arrived) => {
    const reply = replyOfTransfer({ id: 'T1', reference: 'op_12', ...answer }, EXPECTED);
    expect(reply).toEqual({ kind: 'succeeded', pspReference: 'T1', ...(arrived ? { arrived } : {}) });
  });

  test.each([
    ['returned', [], true],
    ['failed', [{ status: 'authorised' }], undefined],
    ['failed', [{ status: 'authorised' }, { status: 'booked' }], true],
  ])('that is %s after %j had moved before: %s', (status, events, isUndone) => {
    const reply = replyOfTransfer({ id: 'T1', reference: 'op_12', status, events }, EXPECTED);
    expect(reply).toMatchObject({ kind: 'declined' });
    expect('isUndone' in reply ? reply.isUndone : undefined).toBe(isUndone);
  });

  test('refused for lack of funds may be made again when there are some', () => {
    const answer = { id: 'T1', status: 'refused', reason: 'notEnoughBalance', reference: 'op_12' };
    expect(replyOfTransfer(answer, EXPECTED)).toMatchObject({
      reason: 'notEnoughBalance',
      mayRetryAsNew: true,
    });
  });

  test.each<[JsonObject, string]>([
    [{}, 'resend'],
    [{ id: 'T1', status: 'booked', reference: 'op_13' }, 'enquire'],
  ])('%j is doubt', (answer, next) => {
    expect(replyOfTransfer(answer, EXPECTED)).toMatchObject({ kind: 'unknown', next });
  });
});

describe('a call that failed', () => {
  test.each<[AdyenFailure, object]>([
    [{ kind: 'never_sent', reason: 'ECONNREFUSED' }, { kind: 'not_sent' }],
    [
      { kind: 'no_answer', reason: 'ECONNRESET' },
      { kind: 'unknown', next: 'resend' },
    ],
    [
      { kind: 'mismatched', reason: 'another key' },
      { kind: 'unknown', next: 'enquire' },
    ],
  ])('%j', (failure, expected) => {
    expect(classifyAdyenFailure(failure)).toMatchObject(expected);
  });

  const validation = { errorCode: '130', message: 'Reference missing', errorType: 'validation' };

  test.each<[number, JsonObject | null, AnswerHeaders, object]>([
    [200, null, {}, { kind: 'unknown', next: 'resend' }],
    [400, { errorCode: '702', message: 'Invalid JSON' }, {}, { kind: 'rejected' }],
    [422, validation, {}, { kind: 'rejected', reason: '422 130: Reference missing' }],
    [422, null, {}, { kind: 'unknown', next: 'resend' }],
    [422, validation, { 'transient-error': 'true' }, { kind: 'unknown', next: 'resend' }],
    [409, { errorCode: '704', message: 'in progress' }, {}, { kind: 'unknown', next: 'resend' }],
    [422, { errorCode: '704', message: 'in progress' }, {}, { kind: 'unknown', next: 'resend' }],
    [503, { errorCode: '703', message: 'unavailable' }, {}, { kind: 'unknown', next: 'resend' }],
    [401, null, {}, { kind: 'config_error', fix: expect.stringContaining('API key') }],
    [403, { errorCode: '901', message: 'Invalid Merchant Account' }, {}, { kind: 'config_error' }],
    [429, null, { 'retry-after': '7' }, { kind: 'rate_limited', retryAfterMs: 7_000 }],
    [
      500,
      { errorCode: '000', message: 'Too many requests' },
      {},
      { kind: 'rate_limited', retryAfterMs: null },
    ],
    [500, { errorCode: '905', message: 'Oops' }, {}, { kind: 'unknown', next: 'resend' }],
    [500, { errorCode: '905' }, { 'transient-error': 'false' }, { kind: 'unknown', next: 'enquire' }],
    [502, null, {}, { kind: 'unknown', next: 'resend' }],
    [422, { errorCode: '1_000', detail: 'Invalid field' }, {}, { reason: '422 1_000: Invalid field' }],
  ])('%i %j %j', (statusCode, body, headers, expected) => {
    const failure: AdyenFailure = { kind: 'answered', statusCode, headers, body, reason: 'an empty answer' };
    expect(classifyAdyenFailure(failure)).toMatchObject(expected);
  });
});
