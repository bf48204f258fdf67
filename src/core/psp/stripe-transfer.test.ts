/** What a transfer says about a payout, and the ones that are not believed. */
import { describe, expect, test } from 'vitest';
import type { ExpectedTransfer } from './stripe-request.ts';
import { replyOfTransfer } from './stripe-transfer.ts';

const REFERENCES = { paygate_operation: 'op_9', paygate_attempt: '1', paygate_key: 'b7f3-op_9-1' };
const EXPECTED: ExpectedTransfer = {
  ...{ amount: 700, currency: 'eur', destination: 'acct_7', transferGroup: 'op_9' },
  references: REFERENCES,
};

function transfer(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    ...{ id: 'tr_1', object: 'transfer', amount: 700, amount_reversed: 0, currency: 'eur' },
    ...{ destination: 'acct_7', reversed: false, metadata: REFERENCES },
    ...more,
  };
}

test('created is succeeded, and has arrived: no later event tells of it', () => {
  expect(replyOfTransfer(transfer(), EXPECTED)).toEqual({
    kind: 'succeeded',
    pspReference: 'tr_1',
    arrived: true,
  });
});

test('reversed in full is declined, and had moved before', () => {
  expect(replyOfTransfer(transfer({ reversed: true, amount_reversed: 700 }), EXPECTED)).toEqual({
    ...{ kind: 'declined', reason: 'reversed', mayRetryAsNew: false, pspReference: 'tr_1' },
    isUndone: true,
  });
});

test('reversed in part has succeeded, with a word for a person', () => {
  expect(replyOfTransfer(transfer({ amount_reversed: 200 }), EXPECTED)).toEqual({
    ...{ kind: 'succeeded', pspReference: 'tr_1', reason: '200 of 700 eur were reversed since' },
    arrived: true,
  });
});

describe('an answer that makes no sense is doubt', () => {
  test.each<[string, unknown]>([
    ['a list', []],
    ['an empty id', transfer({ id: '' })],
    ['another kind of object', transfer({ object: 'payout' })],
    ['another amount', transfer({ amount: 701 })],
    ['another currency', transfer({ currency: 'usd' })],
    ['another seller', transfer({ destination: 'acct_8' })],
    ['no word on reversal', transfer({ reversed: undefined })],
    ['another operation', transfer({ metadata: { ...REFERENCES, paygate_operation: 'op_8' } })],
    ['another book', transfer({ metadata: { ...REFERENCES, paygate_key: 'ffff' } })],
  ])('%s', (_name, object) => {
    expect(replyOfTransfer(object, EXPECTED)).toMatchObject({ kind: 'unknown', next: 'enquire' });
  });
});
