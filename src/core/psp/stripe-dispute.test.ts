/** What a dispute at Stripe is evidence of, and that a failed look is evidence of nothing. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type StripeSandbox, startStripeSandbox } from '../../testing/stripe-sandbox.ts';
import type { Connector } from './psp.ts';
import { createStripeConnector } from './stripe-connector.ts';
import { readStripeDispute, replyOfDispute } from './stripe-dispute.ts';

const REFERENCES = { paygate_operation: 'op_12', paygate_attempt: '1', paygate_key: 'pg-b7f3-12-1' };
const DISPUTE = {
  id: 'du_1',
  object: 'dispute',
  amount: 1250,
  currency: 'eur',
  reason: 'fraudulent',
  status: 'needs_response',
  payment_intent: { id: 'pi_1', object: 'payment_intent', metadata: REFERENCES },
};

const read = (changes: object) => replyOfDispute({ ...DISPUTE, ...changes }, 'du_1');

describe('a dispute', () => {
  test.each([
    ['needs_response', 'opened'],
    ['under_review', 'opened'],
    ['won', 'won'],
    ['lost', 'lost'],
  ])('that is %s is %s', (status, state) => {
    expect(read({ status })).toEqual({
      kind: 'found',
      state,
      reason: 'fraudulent',
      amountMinor: 1250n,
      currency: 'EUR',
      idempotencyKey: 'pg-b7f3-12-1',
      operationReference: 'op_12',
    });
  });

  test.each(['warning_needs_response', 'warning_under_review', 'warning_closed', 'prevented'])(
    'that is %s takes nothing',
    (status) => {
      expect(read({ status })).toMatchObject({ kind: 'nothing' });
    },
  );

  test.each([
    ['of a charge without our references', { payment_intent: { metadata: {} } }],
    ['whose payment intent is only named', { payment_intent: 'pi_1' }],
    ['of a charge without a payment intent', { payment_intent: null }],
  ])('%s is not ours', (_, changes) => {
    expect(read(changes)).toMatchObject({ kind: 'nothing' });
  });

  test.each([
    ['of another name', { id: 'du_2' }],
    ['of another kind', { object: 'charge' }],
    ['in a status nobody knows', { status: 'paused' }],
    ['in no currency', { currency: 'xyz' }],
    ['over no amount', { amount: '1250' }],
    ['over a fraction of a króna', { currency: 'isk', amount: 1250 }],
  ])('%s says nothing: ask again', (_, changes) => {
    expect(read(changes)).toMatchObject({ kind: 'failed' });
  });

  test.each([
    ['isk', 1200, 12n],
    ['kwd', 12_340, 12_340n],
    ['jpy', 12, 12n],
  ])('in %s is counted as the currency counts', (currency, amount, amountMinor) => {
    expect(read({ currency, amount })).toMatchObject({ kind: 'found', amountMinor });
  });

  test('whose name could lead the address astray is not asked for', async () => {
    const never = () => Promise.reject(new Error('asked'));
    expect(await readStripeDispute('du_1/../../payouts', 1_000, never)).toMatchObject({ kind: 'nothing' });
  });
});

describe('at the sandbox, by the official SDK', () => {
  let world: StripeSandbox;
  let connector: Connector;
  beforeAll(async () => {
    world = await startStripeSandbox();
    const { url } = world.sandbox;
    const limits = { maxConcurrent: 8, timeoutMs: 5_000 };
    connector = createStripeConnector({
      psp: 'stripe',
      name: 'main',
      apiKey: 'sk_test_one',
      baseUrl: url,
      ...limits,
    });
  });
  afterAll(async () => {
    await connector.close();
    await world.sandbox.close();
  });

  async function dispute(): Promise<string> {
    const intent = await world.stripe.paymentIntents.create({
      amount: 1250,
      currency: 'eur',
      confirm: true,
      payment_method: 'pm_card_visa',
      automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
      metadata: REFERENCES,
    });
    const opened = await world.admin<{ id: string }>('POST', `payment_intents/${intent.id}/dispute`, {});
    return opened.id;
  }

  test('it is found open, answered, won', async () => {
    const id = await dispute();
    expect(await connector.dispute(id, 5_000)).toMatchObject({
      kind: 'found',
      state: 'opened',
      amountMinor: 1250n,
    });
    await world.admin('POST', `disputes/${id}/answer`, {});
    expect(await connector.dispute(id, 5_000)).toMatchObject({ kind: 'found', state: 'opened' });
    await world.admin('POST', `disputes/${id}/close`, { result: 'won' });
    expect(await connector.dispute(id, 5_000)).toMatchObject({ kind: 'found', state: 'won' });
    const [row] = await world.adminLines<object>('truth/disputed');
    expect(row).toMatchObject({ reference: 'op_12', undone: 1, moved: {} });
  });

  test('one that is not there is an answer; a failure is not', async () => {
    expect(await connector.dispute('du_none', 5_000)).toMatchObject({ kind: 'nothing' });
    const id = await dispute();
    for (const fault of ['fail_500', 'rate_limited', 'unauthorized', 'drop_before_acting']) {
      await world.admin('POST', 'faults', { match: { path_prefix: '/v1/disputes' }, sequence: [fault] });
      expect(await connector.dispute(id, 5_000), fault).toMatchObject({ kind: 'failed' });
    }
    expect(await connector.dispute(id, 5_000)).toMatchObject({ kind: 'found' });
  });
});
