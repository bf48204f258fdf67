/** Refunds and disputes by the official SDK: what Stripe lets through, what it refuses, and what happens later. */
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

function pay(amount = 2000, currency = 'eur', card = 'pm_card_visa'): Promise<Stripe.PaymentIntent> {
  return stripe.paymentIntents.create({
    ...{ amount, currency, confirm: true, payment_method: card, metadata: { paygate_operation: 'op_1' } },
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
  });
}

async function amountRefunded(intent: string): Promise<number> {
  const { data } = await stripe.charges.list({ payment_intent: intent });
  return data.reduce((sum, charge) => sum + charge.amount_refunded, 0);
}

const queue = (...sequence: unknown[]) => world.admin('POST', 'faults', { sequence });
const later = (ms: number) => world.admin('POST', 'clock', { advance_ms: ms });

describe('a refund', () => {
  test('gives all of the charge back, in its currency, and can be read and listed', async () => {
    const intent = await pay();
    const metadata = { paygate_operation: 'op_2' };
    const refund = await stripe.refunds.create({ payment_intent: intent.id, metadata });
    expect(refund).toMatchObject({ object: 'refund', amount: 2000, currency: 'eur', status: 'succeeded' });
    expect(refund).toMatchObject({ payment_intent: intent.id, charge: intent.latest_charge, metadata });
    expect(await stripe.refunds.retrieve(refund.id)).toMatchObject({ id: refund.id, status: 'succeeded' });
    expect((await stripe.refunds.list({ charge: String(intent.latest_charge) })).data).toHaveLength(1);
    expect((await stripe.charges.list({ payment_intent: intent.id })).data).toMatchObject([
      { refunded: true, amount_refunded: 2000 },
    ]);
    expect((await stripe.balance.retrieve()).available).toMatchObject([{ currency: 'eur', amount: 0 }]);
  });

  test('in parts goes up to what was charged and no further', async () => {
    const intent = await pay();
    await stripe.refunds.create({ payment_intent: intent.id, amount: 1500 });
    const over = await errorOf(stripe.refunds.create({ payment_intent: intent.id, amount: 501 }));
    expect(over).toMatchObject({ statusCode: 400, param: 'amount' });
    expect(over.message).toContain('(5.01 eur) is greater than unrefunded amount on charge (5.00 eur)');
    expect((await stripe.refunds.create({ charge: String(intent.latest_charge) })).amount).toBe(500);
    const gone = await errorOf(stripe.refunds.create({ payment_intent: intent.id }));
    expect(gone).toMatchObject({ statusCode: 400, code: 'charge_already_refunded' });
    expect(await amountRefunded(intent.id)).toBe(2000);
  });

  test.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ['of nothing', {}, { code: 'parameter_missing' }],
    ['of an intent that is not there', { payment_intent: 'pi_x' }, { statusCode: 404 }],
    ['of a charge that is not there', { charge: 'ch_x' }, { statusCode: 404, param: 'charge' }],
    ['of no amount', { payment_intent: 'paid', amount: 0 }, { code: 'parameter_invalid_integer' }],
    ['with an unknown parameter', { payment_intent: 'paid', colour: 'red' }, { code: 'parameter_unknown' }],
    ['with another currency', { payment_intent: 'paid', currency: 'usd' }, { code: 'sandbox_not_modelled' }],
    ['for a reason of our own', { payment_intent: 'paid', reason: 'whim' }, { param: 'reason' }],
  ])('%s is refused', async (_name, params, error) => {
    const intent = await pay();
    const wanted = params.payment_intent === 'paid' ? { ...params, payment_intent: intent.id } : params;
    expect(await errorOf(stripe.refunds.create(wanted as Stripe.RefundCreateParams))).toMatchObject(error);
    expect(await amountRefunded(intent.id)).toBe(0);
  });

  test('of a charge that belongs to another intent is refused', async () => {
    const [one, two] = [await pay(), await pay()];
    const params = { payment_intent: one.id, charge: String(two.latest_charge) };
    expect(await errorOf(stripe.refunds.create(params))).toMatchObject({ statusCode: 400, param: 'charge' });
  });

  test('of an intent that took no money is refused', async () => {
    const error = await errorOf(pay(2000, 'eur', 'pm_card_visa_chargeDeclined'));
    const refused = await errorOf(stripe.refunds.create({ payment_intent: error.payment_intent?.id ?? '' }));
    expect(refused.message).toContain('does not have a successful charge');
  });

  test("has the last digits that the charge's currency wants", async () => {
    const intent = await pay(5_120, 'kwd');
    const params = { payment_intent: intent.id, amount: 1_234 };
    expect(await errorOf(stripe.refunds.create(params))).toMatchObject({ param: 'amount' });
    expect(await stripe.refunds.create({ ...params, amount: 1_230 })).toMatchObject({ currency: 'kwd' });
  });
});

describe('idempotency of refunds', () => {
  test('the same key gives the same refund, other parameters an error, and a refusal is replayed too', async () => {
    const intent = await pay();
    const params = { payment_intent: intent.id, amount: 1500 };
    const options = { idempotencyKey: 'r1' };
    const first = await stripe.refunds.create(params, options);
    const second = await stripe.refunds.create(params, options);
    expect(second.id).toBe(first.id);
    expect(second.lastResponse.headers['idempotent-replayed']).toBe('true');
    expect(await errorOf(stripe.refunds.create({ ...params, amount: 1 }, options))).toMatchObject({
      rawType: 'idempotency_error',
    });
    const over = { idempotencyKey: 'r2' };
    await errorOf(stripe.refunds.create({ ...params, amount: 600 }, over));
    const replayed = await errorOf(stripe.refunds.create({ ...params, amount: 600 }, over));
    expect(replayed.headers?.['idempotent-replayed']).toBe('true');
    expect(await amountRefunded(intent.id)).toBe(1500);
  });

  test('while one call is carried out its key is in use, and the refund is made once', async () => {
    const intent = await pay();
    await queue({ fault: 'slow', ms: 500 });
    const options = { idempotencyKey: 'r1' };
    const first = stripe.refunds.create({ payment_intent: intent.id, amount: 700 }, options);
    await expect
      .poll(() => world.admin('GET', 'keys?key=r1'), { timeout: 20_000, interval: 5 })
      .toMatchObject({ keys: [{ phase: 'running' }] });
    const second = await errorOf(stripe.refunds.create({ payment_intent: intent.id, amount: 700 }, options));
    expect(second).toMatchObject({ statusCode: 409, code: 'idempotency_key_in_use' });
    expect((await first).status).toBe('succeeded');
    expect(await amountRefunded(intent.id)).toBe(700);
  });

  test('a replay shows the refund as it was answered, not as it has become', async () => {
    const intent = await pay();
    const params = { payment_intent: intent.id };
    const options = { idempotencyKey: 'r1' };
    const { id } = await stripe.refunds.create(params, options);
    await world.admin('POST', `refunds/${id}/move`, { to: 'failed', failure: 'insufficient_funds' });
    expect(await stripe.refunds.create(params, options)).toMatchObject({ id, status: 'succeeded' });
    expect(await stripe.refunds.retrieve(id)).toMatchObject({
      status: 'failed',
      failure_reason: 'insufficient_funds',
    });
  });
});

describe('what happens to a refund later', () => {
  test.each([
    ['pending_then_succeed', 'pending', 'succeeded', 2000],
    ['pending_then_fail', 'pending', 'failed', 0],
    ['undo_later', 'succeeded', 'failed', 0],
  ])('%s', async (fault, first, last, refunded) => {
    const intent = await pay();
    await queue({ fault, ms: 60_000 });
    const refund = await stripe.refunds.create({ payment_intent: intent.id });
    expect(refund.status).toBe(first);
    expect(await amountRefunded(intent.id)).toBe(2000);
    await later(60_000);
    expect((await stripe.refunds.retrieve(refund.id)).status).toBe(last);
    expect(await amountRefunded(intent.id)).toBe(refunded);
    const [row] = await world.adminLines<{ moved: unknown }>('truth/refunded?by=payment_intent');
    expect(row?.moved).toEqual(refunded === 0 ? {} : { eur: refunded });
  });

  test('a refund that fails at once holds nothing of the charge', async () => {
    const intent = await pay();
    await queue('decline');
    const refund = await stripe.refunds.create({ payment_intent: intent.id });
    expect(refund).toMatchObject({ status: 'failed', failure_reason: 'declined' });
    expect(await amountRefunded(intent.id)).toBe(0);
    expect((await stripe.refunds.create({ payment_intent: intent.id })).status).toBe('succeeded');
  });

  test('only one that waits for the customer can be canceled, and no end is undone', async () => {
    const intent = await pay();
    await queue({ fault: 'pending_then_succeed', ms: 60_000 });
    const { id } = await stripe.refunds.create({ payment_intent: intent.id });
    expect((await errorOf(stripe.refunds.cancel(id))).message).toContain('requires_action');
    await world.admin('POST', `refunds/${id}/move`, { to: 'requires_action' });
    expect((await stripe.refunds.cancel(id)).status).toBe('canceled');
    expect(await amountRefunded(intent.id)).toBe(0);
    await expect(world.admin('POST', `refunds/${id}/move`, { to: 'succeeded' })).rejects.toThrow(/canceled/);
    await later(60_000);
    expect((await stripe.refunds.retrieve(id)).status).toBe('canceled');
    expect(await errorOf(stripe.refunds.cancel('re_x'))).toMatchObject({ statusCode: 404 });
  });
});

test('refunds are listed newest first, page by page, by charge and by time', async () => {
  const [intent, other] = [await pay(), await pay()];
  const made: string[] = [];
  for (let n = 0; n < 25; n++) {
    made.unshift((await stripe.refunds.create({ payment_intent: intent.id, amount: 10 })).id);
    if (n % 5 === 0) await stripe.refunds.create({ payment_intent: other.id, amount: 10 });
  }
  const seen: string[] = [];
  for await (const one of stripe.refunds.list({ payment_intent: intent.id, limit: 10 })) seen.push(one.id);
  expect(seen).toEqual(made);
  const back = await stripe.refunds.list({ payment_intent: intent.id, limit: 5, ending_before: made[9]! });
  expect(back).toMatchObject({ has_more: true, url: '/v1/refunds' });
  expect(back.data.map(({ id }) => id)).toEqual(made.slice(4, 9));
  expect((await stripe.refunds.list({ limit: 100 })).data).toHaveLength(30);
  const { created } = await stripe.refunds.retrieve(made[0]!);
  await later(10_000);
  const late = await stripe.refunds.create({ payment_intent: intent.id, amount: 10 });
  const since = await stripe.refunds.list({ payment_intent: intent.id, created: { gt: created + 5 } });
  expect(since.data.map(({ id }) => id)).toEqual([late.id]);
  expect(await errorOf(stripe.refunds.list({ payment_intent: 'pi_x' }))).toMatchObject({ statusCode: 404 });
});

describe('disputes', () => {
  test('one that is opened takes the money, and gives it back when it is won', async () => {
    const intent = await pay();
    const { id } = await world.admin<{ id: string }>('POST', `payment_intents/${intent.id}/dispute`, {});
    expect(await stripe.disputes.retrieve(id)).toMatchObject({ status: 'needs_response', amount: 2000 });
    expect((await stripe.balance.retrieve()).available).toMatchObject([{ amount: 0 }]);
    expect(await errorOf(stripe.refunds.create({ payment_intent: intent.id }))).toMatchObject({
      code: 'charge_disputed',
    });
    await world.admin('POST', `disputes/${id}/close`, { result: 'won' });
    expect((await stripe.balance.retrieve()).available).toMatchObject([{ amount: 2000 }]);
    await expect(world.admin('POST', `disputes/${id}/close`, { result: 'lost' })).rejects.toThrow(/not open/);
  });

  test('a charge that bounces after it succeeded is a dispute that is lost from the start', async () => {
    const intent = await pay();
    await world.admin('POST', `payment_intents/${intent.id}/reverse`);
    const { data } = await stripe.disputes.list({ payment_intent: intent.id });
    expect(data).toMatchObject([
      { status: 'lost', reason: 'insufficient_funds', is_charge_refundable: false },
    ]);
    expect((await stripe.balance.retrieve()).available).toMatchObject([{ amount: 0 }]);
    await expect(world.admin('POST', `payment_intents/${intent.id}/dispute`, {})).rejects.toThrow(
      /no charge/,
    );
  });
});
