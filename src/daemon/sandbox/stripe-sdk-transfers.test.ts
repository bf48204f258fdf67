/** Transfers, their reversals and the balance by the official SDK, and the faults that hit everything that moves money. */
import type Stripe from 'stripe';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { errorOf, type StripeSandbox, startStripeSandbox } from '../../testing/stripe-sandbox.ts';

let world: StripeSandbox;
let stripe: Stripe;

beforeAll(async () => {
  world = await startStripeSandbox();
  stripe = world.stripe;
});
afterAll(() => world.sandbox.close());
beforeEach(() => world.admin('POST', 'reset'));

const topUp = (amount: number, currency = 'eur') =>
  world.admin('POST', 'balance/top_up', { currency, amount });

function transfer(more: Partial<Stripe.TransferCreateParams> = {}): Stripe.TransferCreateParams {
  return {
    ...{ amount: 700, currency: 'eur', destination: 'acct_1', transfer_group: 'op_3' },
    metadata: { paygate_operation: 'op_3' },
    ...more,
  };
}

async function available(): Promise<Record<string, number>> {
  const balance = await stripe.balance.retrieve();
  return Object.fromEntries(balance.available.map((one) => [one.currency, one.amount]));
}

describe('a transfer', () => {
  test('moves money from the balance, and can be read', async () => {
    await topUp(1000);
    const made = await stripe.transfers.create(transfer());
    expect(made).toMatchObject({ object: 'transfer', amount: 700, amount_reversed: 0, reversed: false });
    expect(made).toMatchObject({ destination: 'acct_1', transfer_group: 'op_3', currency: 'eur' });
    expect(await stripe.transfers.retrieve(made.id)).toMatchObject({ id: made.id, metadata: made.metadata });
    expect(await available()).toEqual({ eur: 300 });
  });

  test('is paid from charges as well, each currency by itself', async () => {
    await stripe.paymentIntents.create({
      ...{ amount: 800, currency: 'usd', confirm: true, payment_method: 'pm_card_visa' },
      automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    });
    expect(await errorOf(stripe.transfers.create(transfer()))).toMatchObject({
      code: 'balance_insufficient',
    });
    await stripe.transfers.create(transfer({ currency: 'usd' }));
    expect(await available()).toEqual({ usd: 100 });
  });

  test('that the balance does not cover is refused, and the key says so for good', async () => {
    const options = { idempotencyKey: 't1' };
    const refused = await errorOf(stripe.transfers.create(transfer(), options));
    expect(refused).toMatchObject({ statusCode: 400, code: 'balance_insufficient' });
    await topUp(1000);
    const replayed = await errorOf(stripe.transfers.create(transfer(), options));
    expect(replayed).toMatchObject({ code: 'balance_insufficient' });
    expect(replayed.headers?.['idempotent-replayed']).toBe('true');
    await stripe.transfers.create(transfer(), { idempotencyKey: 't2' });
    expect(await available()).toEqual({ eur: 300 });
  });

  test('comes back under its key, and other parameters do not pass', async () => {
    await topUp(1000);
    const options = { idempotencyKey: 't1' };
    const first = await stripe.transfers.create(transfer(), options);
    expect((await stripe.transfers.create(transfer(), options)).id).toBe(first.id);
    expect(await errorOf(stripe.transfers.create(transfer({ amount: 1 }), options))).toMatchObject({
      rawType: 'idempotency_error',
    });
    expect(await available()).toEqual({ eur: 300 });
  });

  test.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ['to nobody', { destination: 'seller 7' }, { code: 'resource_missing', param: 'destination' }],
    ['without a destination', { destination: undefined }, { code: 'parameter_missing' }],
    ['in a currency that Stripe does not have', { currency: 'xxx' }, { param: 'currency' }],
    ['with an unknown parameter', { colour: 'red' }, { code: 'parameter_unknown' }],
    ['from one charge', { source_transaction: 'ch_1' }, { code: 'sandbox_not_modelled' }],
    ['with a last digit', { currency: 'kwd', amount: 1234 }, { param: 'amount' }],
  ])('%s is refused', async (_name, more, error) => {
    await topUp(1000);
    const params = transfer(more as Partial<Stripe.TransferCreateParams>);
    expect(await errorOf(stripe.transfers.create(params))).toMatchObject(error);
    expect(await available()).toEqual({ eur: 1000 });
  });
});

describe('reversals', () => {
  test('give back up to what was transferred', async () => {
    await topUp(700);
    const { id } = await stripe.transfers.create(transfer());
    const first = await stripe.transfers.createReversal(id, { amount: 200, metadata: { a: 'b' } });
    expect(first).toMatchObject({ object: 'transfer_reversal', amount: 200, transfer: id });
    expect(await stripe.transfers.retrieve(id)).toMatchObject({ amount_reversed: 200, reversed: false });
    expect(await errorOf(stripe.transfers.createReversal(id, { amount: 501 }))).toMatchObject({
      param: 'amount',
    });
    expect((await stripe.transfers.createReversal(id)).amount).toBe(500);
    const whole = await stripe.transfers.retrieve(id);
    expect(whole).toMatchObject({ amount_reversed: 700, reversed: true });
    expect(whole.reversals.data.map((one) => one.amount)).toEqual([500, 200]);
    expect((await errorOf(stripe.transfers.createReversal(id))).message).toContain('already fully reversed');
    expect(await available()).toEqual({ eur: 700 });
  });

  test('a transfer can come back by itself, or by the admin', async () => {
    await topUp(1400);
    await world.admin('POST', 'faults', { sequence: [{ fault: 'undo_later', ms: 60_000 }] });
    const one = await stripe.transfers.create(transfer());
    const two = await stripe.transfers.create(transfer());
    expect(one.reversed).toBe(false);
    await world.admin('POST', 'clock', { advance_ms: 60_000 });
    await world.admin('POST', `transfers/${two.id}/reverse`, { amount: 100 });
    expect(await stripe.transfers.retrieve(one.id)).toMatchObject({ reversed: true });
    const [row] = await world.adminLines('truth/transferred');
    expect(row).toMatchObject({ reference: 'op_3', succeeded: 1, undone: 1, moved: { eur: 600 } });
  });
});

test('transfers are listed by group, by destination and by time', async () => {
  await topUp(100_000);
  const made: string[] = [];
  for (let n = 0; n < 12; n++) {
    made.unshift((await stripe.transfers.create(transfer())).id);
    await stripe.transfers.create(transfer({ transfer_group: `op_${n}0`, destination: 'acct_2' }));
  }
  const seen: string[] = [];
  for await (const one of stripe.transfers.list({ transfer_group: 'op_3', limit: 5 })) seen.push(one.id);
  expect(seen).toEqual(made);
  expect((await stripe.transfers.list({ destination: 'acct_2', limit: 100 })).data).toHaveLength(12);
  const page = await stripe.transfers.list({ destination: 'acct_1', limit: 5, starting_after: made[4]! });
  expect(page.data.map(({ id }) => id)).toEqual(made.slice(5, 10));
  expect(page.has_more).toBe(true);
  await world.admin('POST', 'clock', { advance_ms: 10_000 });
  const late = await stripe.transfers.create(transfer());
  const since = await stripe.transfers.list({ created: { gte: late.created } });
  expect(since.data.map(({ id }) => id)).toEqual([late.id]);
});

describe('a fault on a call that moves money out moves it at most once, and the truth says how often', () => {
  const faults: [string, number][] = [
    ['act_then_drop', 1],
    ['act_then_truncate', 1],
    ['act_then_empty', 1],
    ['act_then_bad_gateway', 1],
    ['act_then_500', 1],
    ['drop_before_acting', 0],
    ['bad_gateway', 0],
    ['fail_500', 0],
    ['rate_limited', 0],
    ['key_in_use', 0],
    ['unauthorized', 0],
  ];
  test.each(faults)('%s: %i before the resend', async (fault, moved) => {
    const intent = await stripe.paymentIntents.create({
      ...{ amount: 2000, currency: 'eur', confirm: true, payment_method: 'pm_card_visa' },
      automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    });
    const metadata = 'metadata[paygate_operation]=op';
    const calls = [
      ['refunds', `payment_intent=${intent.id}&amount=500&${metadata}`, 'truth/refunded'],
      ['transfers', `amount=500&currency=eur&destination=acct_1&${metadata}`, 'truth/transferred'],
    ] as const;
    const isStored = fault === 'fail_500' || fault === 'act_then_500';
    for (const [resource, body, truth] of calls) {
      const objects = async () =>
        (await world.adminLines<{ succeeded: number }>(truth)).map(({ succeeded }) => succeeded);
      await world.admin('POST', 'faults', { sequence: [fault], match: { method: 'POST' } });
      expect(await post(resource, body)).not.toMatchObject({ id: expect.anything() });
      expect(await objects()).toEqual(moved === 1 ? [1] : []);
      const again = await post(resource, body);
      if (isStored) expect(again).toMatchObject({ error: { type: 'api_error' } });
      else expect(again).toMatchObject({ id: expect.stringMatching(/./) });
      expect(await objects()).toEqual(isStored && moved === 0 ? [] : [1]);
    }
  });
});

/** Without the SDK, which sends once more by itself when the connection is reset; null without a whole JSON answer. */
async function post(resource: string, body: string): Promise<unknown> {
  const headers = {
    authorization: 'Bearer sk_test_one',
    'content-type': 'application/x-www-form-urlencoded',
    'idempotency-key': resource,
  };
  const url = `${world.sandbox.url}/v1/${resource}`;
  return fetch(url, { method: 'POST', headers, body })
    .then((response) => response.json())
    .catch(() => null);
}
