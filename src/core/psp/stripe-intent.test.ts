/** What a payment intent says, status by status, and the ones that are not believed. */
import { describe, expect, test } from 'vitest';
import { isIntentOf, replyOfIntent } from './stripe-intent.ts';
import type { ExpectedIntent } from './stripe-request.ts';

const METADATA = {
  paygate_payment: 'pay_1',
  paygate_order: 'ord_2',
  paygate_operation: 'op_9',
  paygate_attempt: '1',
  paygate_key: 'b7f3-op_9-1',
};

const ABSENT: ExpectedIntent = { amount: 1250, currency: 'eur', customerPresent: false, metadata: METADATA };
const PRESENT: ExpectedIntent = { ...ABSENT, customerPresent: true };

function intent(status: unknown, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: 'pi_1',
    object: 'payment_intent',
    amount: 1250,
    currency: 'eur',
    metadata: METADATA,
    status,
    ...more,
  };
}

const DOUBT = { kind: 'unknown', next: 'enquire' };

describe('the status', () => {
  test.each<[string, Record<string, unknown>, ExpectedIntent, object]>([
    [
      'succeeded',
      intent('succeeded', { amount_received: 1250 }),
      ABSENT,
      { kind: 'succeeded', pspReference: 'pi_1' },
    ],
    ['processing', intent('processing'), ABSENT, { kind: 'pending', pspReference: 'pi_1' }],
    [
      'requires_action, present',
      intent('requires_action', { client_secret: 'pi_1_secret_x' }),
      PRESENT,
      {
        kind: 'awaiting_customer',
        pspReference: 'pi_1',
        handOff: { type: 'stripe_client_secret', payment_intent: 'pi_1', client_secret: 'pi_1_secret_x' },
      },
    ],
    ['requires_action, no secret', intent('requires_action'), PRESENT, DOUBT],
    [
      'requires_action, absent',
      intent('requires_action', { client_secret: 's' }),
      ABSENT,
      { kind: 'declined', reason: 'authentication_required', mayRetryAsNew: false, pspReference: 'pi_1' },
    ],
    [
      'requires_payment_method',
      intent('requires_payment_method', {
        last_payment_error: { code: 'card_declined', decline_code: 'insufficient_funds' },
      }),
      ABSENT,
      { kind: 'declined', reason: 'insufficient_funds', mayRetryAsNew: true, pspReference: 'pi_1' },
    ],
    [
      'requires_payment_method, challenge',
      intent('requires_payment_method', {
        last_payment_error: { code: 'authentication_required', decline_code: 'authentication_not_handled' },
      }),
      ABSENT,
      { kind: 'declined', reason: 'authentication_required', mayRetryAsNew: false },
    ],
    [
      'requires_payment_method, no word',
      intent('requires_payment_method', { last_payment_error: null }),
      ABSENT,
      { kind: 'declined', reason: 'declined', mayRetryAsNew: false },
    ],
    [
      'requires_payment_method, present: whoever has the secret may try again',
      intent('requires_payment_method', { last_payment_error: { code: 'expired_card' }, client_secret: 's' }),
      PRESENT,
      { kind: 'awaiting_customer', pspReference: 'pi_1', handOff: null, reason: 'expired_card' },
    ],
    [
      'canceled after a failed try',
      intent('canceled', {
        last_payment_error: { code: 'card_declined', decline_code: 'insufficient_funds' },
        cancellation_reason: 'abandoned',
      }),
      PRESENT,
      { kind: 'declined', reason: 'insufficient_funds', mayRetryAsNew: true, pspReference: 'pi_1' },
    ],
    [
      'canceled',
      intent('canceled', { cancellation_reason: 'abandoned' }),
      ABSENT,
      { kind: 'declined', reason: 'canceled: abandoned', mayRetryAsNew: false },
    ],
    [
      'requires_capture',
      intent('requires_capture'),
      ABSENT,
      { kind: 'config_error', fix: expect.stringContaining('automatic') },
    ],
    ['requires_confirmation', intent('requires_confirmation'), ABSENT, DOUBT],
    ['one that nobody knows', intent('teleported'), ABSENT, DOUBT],
    ['none', intent(undefined), ABSENT, DOUBT],
  ])('%s', (_name, object, expected, reply) => {
    expect(replyOfIntent(object, expected)).toMatchObject(reply);
  });
});

describe('an answer that makes no sense is doubt', () => {
  test.each<[string, unknown]>([
    ['null', null],
    ['a list', []],
    ['no id', intent('succeeded', { id: undefined })],
    ['an empty id', intent('succeeded', { id: '' })],
    ['another kind of object', intent('succeeded', { object: 'charge' })],
    ['another amount', intent('succeeded', { amount: 1251 })],
    ['the amount as text', intent('succeeded', { amount: '1250' })],
    ['another currency', intent('succeeded', { currency: 'usd' })],
    ['less received than asked', intent('succeeded', { amount_received: 1000 })],
    ['no metadata', intent('succeeded', { metadata: undefined })],
    ['another operation', intent('succeeded', { metadata: { ...METADATA, paygate_operation: 'op_8' } })],
    ['another attempt', intent('succeeded', { metadata: { ...METADATA, paygate_attempt: '2' } })],
    ['another book', intent('succeeded', { metadata: { ...METADATA, paygate_key: 'ffff-op_9-1' } })],
  ])('%s', (_name, object) => {
    expect(replyOfIntent(object, ABSENT)).toMatchObject(DOUBT);
  });
});

test('an intent is ours by operation, attempt and key together', () => {
  expect(isIntentOf(intent('processing'), ABSENT)).toBe(true);
  expect(
    isIntentOf(
      intent('processing', { metadata: { paygate_operation: 'op_9', paygate_attempt: '1' } }),
      ABSENT,
    ),
  ).toBe(false);
  expect(isIntentOf('pi_1', ABSENT)).toBe(false);
});
