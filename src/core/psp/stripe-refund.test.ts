/** What a refund says, status by status, and the ones that are not believed. */
import { describe, expect, test } from 'vitest';
import { replyOfRefund } from './stripe-refund.ts';
import type { ExpectedRefund } from './stripe-request.ts';

const REFERENCES = { paygate_operation: 'op_9', paygate_attempt: '1', paygate_key: 'b7f3-op_9-1' };
const EXPECTED: ExpectedRefund = { amount: 500, paymentIntent: 'pi_7', references: REFERENCES };

function refund(status: unknown, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    ...{ id: 're_1', object: 'refund', amount: 500, currency: 'eur', payment_intent: 'pi_7', status },
    metadata: { ...REFERENCES, paygate_order: 'ord_2' },
    ...more,
  };
}

const declined = (reason: string) => ({
  ...{ kind: 'declined', reason, mayRetryAsNew: false, pspReference: 're_1' },
});

test.each<[string, Record<string, unknown>, object]>([
  ['succeeded', refund('succeeded'), { kind: 'succeeded', pspReference: 're_1' }],
  ['pending', refund('pending'), { kind: 'pending', pspReference: 're_1' }],
  ['requires_action', refund('requires_action'), { kind: 'pending', pspReference: 're_1' }],
  ['failed', refund('failed', { failure_reason: 'lost_or_stolen_card' }), declined('lost_or_stolen_card')],
  ['failed without a word', refund('failed'), declined('failed')],
  ['canceled', refund('canceled'), declined('canceled')],
])('%s', (_name, object, reply) => {
  expect(replyOfRefund(object, EXPECTED)).toEqual(reply);
});

describe('an answer that makes no sense is doubt', () => {
  test.each<[string, unknown]>([
    ['null', null],
    ['no id', refund('succeeded', { id: undefined })],
    ['another kind of object', refund('succeeded', { object: 'charge' })],
    ['another amount', refund('succeeded', { amount: 501 })],
    ['the amount as text', refund('failed', { amount: '500' })],
    ['of another charge', refund('succeeded', { payment_intent: 'pi_8' })],
    ['no metadata', refund('failed', { metadata: undefined })],
    ['another operation', refund('failed', { metadata: { ...REFERENCES, paygate_operation: 'op_8' } })],
    ['another attempt', refund('failed', { metadata: { ...REFERENCES, paygate_attempt: '2' } })],
    ['another book', refund('failed', { metadata: { ...REFERENCES, paygate_key: 'ffff-op_9-1' } })],
    ['a status that nobody knows', refund('teleported')],
    ['no status', refund(undefined)],
  ])('%s', (_name, object) => {
    expect(replyOfRefund(object, EXPECTED)).toMatchObject({ kind: 'unknown', next: 'enquire' });
  });
});
