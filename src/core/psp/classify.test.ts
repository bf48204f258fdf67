/** Every row of the error-class table: what a failed call is evidence of. */
import { describe, expect, test } from 'vitest';
import type { AnswerHeaders, CallFailure, Refusal } from './classify.ts';
import { classifyFailure, clean, retryAfterMs } from './classify.ts';

function refused(
  statusCode: number,
  type: string | null,
  code: string | null = null,
  more: Partial<Refusal> = {},
): Refusal {
  return {
    kind: 'refused',
    statusCode,
    headers: {},
    type,
    code,
    declineCode: null,
    adviceCode: null,
    message: 'what Stripe said',
    intent: null,
    ...more,
  };
}

function unreadable(statusCode: number, headers: AnswerHeaders = {}): CallFailure {
  return { kind: 'unreadable', statusCode, headers, reason: 'an empty answer' };
}

const REPLAYED = { 'idempotent-replayed': 'true' };
const UNKNOWN_RESEND = { kind: 'unknown', next: 'resend' };
const UNKNOWN_ENQUIRE = { kind: 'unknown', next: 'enquire' };

describe('a call without an answer', () => {
  test.each<[string, CallFailure, object]>([
    [
      'never left this machine',
      { kind: 'never_sent', reason: 'ECONNREFUSED' },
      { kind: 'not_sent', reason: 'ECONNREFUSED' },
    ],
    ['reset or timed out after sending', { kind: 'no_answer', reason: 'ECONNRESET' }, UNKNOWN_RESEND],
    ['answer to another request', { kind: 'mismatched', reason: 'other key' }, UNKNOWN_ENQUIRE],
  ])('%s', (_name, failure, reply) => {
    expect(classifyFailure(failure)).toMatchObject(reply);
  });
});

describe('an answer that is not a JSON object', () => {
  test.each<[string, CallFailure, object]>([
    ['empty 200', unreadable(200), UNKNOWN_RESEND],
    ['302 from something in between', unreadable(302), UNKNOWN_RESEND],
    ['400 from something in between', unreadable(400), UNKNOWN_RESEND],
    ['402 from something in between', unreadable(402), UNKNOWN_RESEND],
    ['404 from something in between', unreadable(404), UNKNOWN_RESEND],
    ['502 with HTML', unreadable(502), UNKNOWN_RESEND],
    ['replayed 500', unreadable(500, REPLAYED), UNKNOWN_ENQUIRE],
    ['401', unreadable(401), { kind: 'config_error' }],
    ['403', unreadable(403), { kind: 'config_error' }],
    ['429', unreadable(429, { 'retry-after': '3' }), { kind: 'rate_limited', retryAfterMs: 3000 }],
    [
      '503 with Retry-After',
      unreadable(503, { 'retry-after': '7' }),
      { ...UNKNOWN_RESEND, retryAfterMs: 7000 },
    ],
  ])('%s', (_name, failure, reply) => {
    expect(classifyFailure(failure)).toMatchObject(reply);
  });
});

describe("an answer with Stripe's error object", () => {
  const card = (code: string, more: Partial<Refusal> = {}) => refused(402, 'card_error', code, more);
  const soft = { kind: 'declined', mayRetryAsNew: true };
  const hard = { kind: 'declined', mayRetryAsNew: false };
  const intent = { id: 'pi_1', status: 'requires_payment_method' };
  test.each<[string, Refusal, object]>([
    // Declined.
    [
      'decline without a word',
      card('card_declined'),
      { ...hard, reason: 'card_declined', pspReference: null },
    ],
    [
      'decline code',
      card('card_declined', { declineCode: 'lost_card', intent }),
      { ...hard, reason: 'lost_card', pspReference: 'pi_1' },
    ],
    [
      'soft by its code',
      card('card_declined', { declineCode: 'insufficient_funds' }),
      { ...soft, reason: 'insufficient_funds' },
    ],
    ['processing error', card('processing_error'), soft],
    [
      'soft by advice',
      card('card_declined', { declineCode: 'generic_decline', adviceCode: 'try_again_later' }),
      soft,
    ],
    [
      'hard by advice',
      card('card_declined', { declineCode: 'insufficient_funds', adviceCode: 'do_not_try_again' }),
      hard,
    ],
    [
      'other card data wanted',
      card('card_declined', { declineCode: 'try_again_later', adviceCode: 'confirm_card_data' }),
      hard,
    ],
    [
      'challenge, buyer absent',
      card('authentication_required', { declineCode: 'authentication_not_handled' }),
      { ...hard, reason: 'authentication_required' },
    ],
    [
      '402 that is no card error',
      refused(402, 'invalid_request_error', 'payment_intent_payment_attempt_failed'),
      hard,
    ],
    ['card error with 400', refused(400, 'card_error', 'invalid_number'), hard],
    ['replayed decline', card('card_declined', { headers: REPLAYED }), hard],
    // Rejected.
    [
      '400',
      refused(400, 'invalid_request_error', 'parameter_unknown'),
      { kind: 'rejected', reason: '400 parameter_unknown: what Stripe said' },
    ],
    ['400 without code', refused(400, 'invalid_request_error'), { kind: 'rejected' }],
    ['404', refused(404, 'invalid_request_error', 'resource_missing'), { kind: 'rejected' }],
    ['amount too small', refused(400, 'invalid_request_error', 'amount_too_small'), { kind: 'rejected' }],
    // A payout that our balance does not cover, however it is worded.
    [
      'balance insufficient',
      refused(400, 'invalid_request_error', 'balance_insufficient'),
      { ...soft, reason: 'balance_insufficient', pspReference: null },
    ],
    [
      'balance insufficient, replayed',
      refused(400, 'invalid_request_error', 'balance_insufficient', { headers: REPLAYED }),
      { ...soft, reason: 'balance_insufficient' },
    ],
    ['balance insufficient with 500', refused(500, 'api_error', 'balance_insufficient'), UNKNOWN_RESEND],
    [
      'refund of a refunded charge',
      refused(400, 'invalid_request_error', 'charge_already_refunded'),
      { kind: 'rejected' },
    ],
    // Keys.
    ['other parameters, same key', refused(400, 'idempotency_error'), UNKNOWN_ENQUIRE],
    ['key in use', refused(409, 'invalid_request_error', 'idempotency_key_in_use'), UNKNOWN_RESEND],
    [
      '409 with Retry-After',
      refused(409, 'api_error', null, { headers: { 'retry-after': '1' } }),
      { ...UNKNOWN_RESEND, retryAfterMs: 1000 },
    ],
    // Rate limits.
    [
      '429',
      refused(429, 'invalid_request_error', 'rate_limit'),
      { kind: 'rate_limited', retryAfterMs: null },
    ],
    [
      '429 with Retry-After',
      refused(429, null, null, { headers: { 'retry-after': '2' } }),
      { kind: 'rate_limited', retryAfterMs: 2000 },
    ],
    ['429 lock_timeout', refused(429, 'invalid_request_error', 'lock_timeout'), { kind: 'rate_limited' }],
    ['400 rate_limit', refused(400, 'invalid_request_error', 'rate_limit'), { kind: 'rate_limited' }],
    // Configuration.
    [
      '401',
      refused(401, 'invalid_request_error'),
      { kind: 'config_error', fix: expect.stringContaining('API key') },
    ],
    ['401 expired key', refused(401, 'invalid_request_error', 'api_key_expired'), { kind: 'config_error' }],
    [
      '403',
      refused(403, 'invalid_request_error'),
      { kind: 'config_error', fix: expect.stringContaining('permission') },
    ],
    ['wrong mode', refused(400, 'invalid_request_error', 'livemode_mismatch'), { kind: 'config_error' }],
    [
      'account not activated',
      refused(400, 'invalid_request_error', 'testmode_charges_only'),
      { kind: 'config_error' },
    ],
    [
      'publishable key',
      refused(400, 'invalid_request_error', 'secret_key_required'),
      { kind: 'config_error' },
    ],
    // Doubt.
    ['500', refused(500, 'api_error'), UNKNOWN_RESEND],
    ['503', refused(503, 'api_error'), UNKNOWN_RESEND],
    ['replayed 500', refused(500, 'api_error', null, { headers: REPLAYED }), UNKNOWN_ENQUIRE],
    [
      '500 that says not to retry',
      refused(500, 'api_error', null, { headers: { 'stripe-should-retry': 'false' } }),
      UNKNOWN_ENQUIRE,
    ],
    ['424', refused(424, 'api_error'), UNKNOWN_RESEND],
    ['408', refused(408, 'invalid_request_error'), UNKNOWN_RESEND],
    ['400 api_error', refused(400, 'api_error'), UNKNOWN_RESEND],
    ['400 without type', refused(400, null), UNKNOWN_RESEND],
    ['402 api_error', refused(402, 'api_error'), UNKNOWN_RESEND],
    ['card error with 500', refused(500, 'card_error', 'card_declined'), UNKNOWN_RESEND],
    ['error in a 200', refused(200, 'card_error', 'card_declined'), UNKNOWN_ENQUIRE],
    // An error that shows the money is or may be taken.
    [
      'refusal with a succeeded intent',
      refused(400, 'invalid_request_error', 'payment_intent_unexpected_state', {
        intent: { id: 'pi_1', status: 'succeeded' },
      }),
      UNKNOWN_ENQUIRE,
    ],
    [
      'decline with a processing intent',
      card('card_declined', { intent: { id: 'pi_1', status: 'processing' } }),
      UNKNOWN_ENQUIRE,
    ],
  ])('%s', (_name, refusal, reply) => {
    expect(classifyFailure(refusal)).toMatchObject(reply);
  });

  test('says the status, the code and that it was replayed', () => {
    expect(classifyFailure(refused(500, 'api_error', null, { headers: REPLAYED }))).toMatchObject({
      reason: '500 api_error, replayed: what Stripe said',
    });
  });
});

describe('Retry-After', () => {
  const date = 'Mon, 23 Nov 2026 10:00:00 GMT';
  test.each<[AnswerHeaders, number | null]>([
    [{}, null],
    [{ 'retry-after': '0' }, 0],
    [{ 'retry-after': '1.5' }, 1500],
    [{ 'retry-after': '30' }, 30_000],
    [{ 'retry-after': '999999' }, 3_600_000],
    [{ 'retry-after': '-5' }, null],
    [{ 'retry-after': 'soon' }, null],
    [{ 'retry-after': ['1', '2'] }, null],
    [{ 'retry-after': 'Mon, 23 Nov 2026 10:00:20 GMT', date }, 20_000],
    [{ 'retry-after': 'Mon, 23 Nov 2026 09:00:00 GMT', date }, 0],
    [{ 'retry-after': 'Mon, 23 Nov 2026 10:00:20 GMT' }, null],
  ])('%j is %s', (headers, expected) => {
    expect(retryAfterMs(headers)).toBe(expected);
  });
});

test('a reason is one line, of bounded length, without keys or client secrets', () => {
  expect(clean('Invalid API Key:\n  sk_live_4eC39HqLyjW')).toBe('Invalid API Key: sk_live_…');
  expect(clean('No such intent pi_3Abc_secret_XyZ9')).toBe('No such intent pi_3Abc_secret_…');
  expect(clean('x'.repeat(1000)).length).toBe(301);
});
