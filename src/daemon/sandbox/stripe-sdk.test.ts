import Stripe from 'stripe';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { errorOf, type StripeSandbox, startStripeSandbox } from '../../testing/stripe-sandbox.ts';

const HOUR_MS = 3_600_000;
let world: StripeSandbox;
let stripe: Stripe;

beforeAll(async () => {
  world = await startStripeSandbox('sk_test_one');
  stripe = world.stripe;
});
afterAll(() => world.sandbox.close());
beforeEach(() => admin('POST', 'reset'));

function admin<T>(method: string, path: string, body?: unknown): Promise<T> {
  return world.admin<T>(method, path, body);
}

function charge(more: Partial<Stripe.PaymentIntentCreateParams> = {}): Stripe.PaymentIntentCreateParams {
  return {
    amount: 1999,
    currency: 'eur',
    confirm: true,
    payment_method: 'pm_card_visa',
    off_session: true,
    error_on_requires_action: true,
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    metadata: { paygate_order: 'o1', paygate_attempt: 'ä & b=c [d]' },
    transfer_group: 'p1',
    ...more,
  };
}

describe('payment intents', () => {
  test('create and confirm takes the money and keeps what was sent', async () => {
    const intent = await stripe.paymentIntents.create(charge(), { idempotencyKey: 'k1' });
    expect(intent).toMatchObject({ object: 'payment_intent', status: 'succeeded', amount: 1999 });
    expect(intent).toMatchObject({ amount_received: 1999, currency: 'eur', transfer_group: 'p1' });
    expect(intent.metadata).toEqual({ paygate_order: 'o1', paygate_attempt: 'ä & b=c [d]' });
    expect(intent.latest_charge).toMatch(/^ch_/);
    expect(intent.lastResponse.requestId).toMatch(/^req_/);
    expect(intent.lastResponse.headers['idempotent-replayed']).toBeUndefined();
    const again = await stripe.paymentIntents.retrieve(intent.id, { expand: ['latest_charge'] });
    expect(again).toMatchObject({ latest_charge: { id: intent.latest_charge, amount_captured: 1999 } });
  });

  test.each([
    ['pm_card_visa_chargeDeclined', 'card_declined', 'generic_decline'],
    ['pm_card_visa_chargeDeclinedInsufficientFunds', 'card_declined', 'insufficient_funds'],
    ['pm_card_visa_chargeDeclinedLostCard', 'card_declined', 'lost_card'],
    ['pm_card_authenticationRequired', 'authentication_required', 'authentication_required'],
  ])('%s is a card error that shows the intent', async (card, code, decline) => {
    const error = await errorOf(stripe.paymentIntents.create(charge({ payment_method: card })));
    expect(error).toBeInstanceOf(Stripe.errors.StripeCardError);
    expect(error).toMatchObject({ statusCode: 402, code, decline_code: decline });
    expect(error.payment_intent).toMatchObject({ status: 'requires_payment_method', amount_received: 0 });
    const charges = await stripe.charges.list({ payment_intent: error.payment_intent?.id ?? '' });
    expect(error.charge).toBe(charges.data[0]?.id);
    expect(charges.data).toMatchObject([{ status: 'failed', paid: false, failure_code: code }]);
  });

  test('without off_session a challenge is an error only where one was asked for', async () => {
    const card = { payment_method: 'pm_card_authenticationRequired', off_session: false };
    const error = await errorOf(stripe.paymentIntents.create(charge(card)));
    expect(error.charge).toBeUndefined();
    expect(error).toMatchObject({
      code: 'authentication_required',
      decline_code: 'authentication_not_handled',
    });
    const waiting = await stripe.paymentIntents.create(charge({ ...card, error_on_requires_action: false }));
    expect(waiting).toMatchObject({ status: 'requires_action', latest_charge: null });
    expect(waiting.client_secret).toMatch(new RegExp(`^${waiting.id}_secret_`));
    await admin('POST', `payment_intents/${waiting.id}/authenticate`, { result: 'succeeded' });
    expect(await stripe.paymentIntents.retrieve(waiting.id)).toMatchObject({ status: 'succeeded' });
  });

  test('created, confirmed with a bad card, then with a good one', async () => {
    const intent = await stripe.paymentIntents.create({
      amount: 500,
      currency: 'usd',
      automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    });
    expect(intent.status).toBe('requires_payment_method');
    expect(await errorOf(stripe.paymentIntents.confirm(intent.id))).toMatchObject({
      code: 'payment_intent_unexpected_state',
    });
    const card = 'pm_card_visa_chargeDeclined';
    await errorOf(stripe.paymentIntents.confirm(intent.id, { payment_method: card }));
    const good = await stripe.paymentIntents.confirm(intent.id, { payment_method: 'pm_card_visa' });
    expect(good).toMatchObject({ status: 'succeeded', last_payment_error: null });
    const charges = await stripe.charges.list({ payment_intent: intent.id });
    expect(charges.data.map((one) => one.status)).toEqual(['succeeded', 'failed']);
    expect(await errorOf(stripe.paymentIntents.confirm(intent.id))).toMatchObject({ statusCode: 400 });
  });

  test('manual capture takes part of the money once', async () => {
    const intent = await stripe.paymentIntents.create(charge({ capture_method: 'manual' }));
    expect(intent).toMatchObject({ status: 'requires_capture', amount_capturable: 1999, amount_received: 0 });
    const error = await errorOf(stripe.paymentIntents.capture(intent.id, { amount_to_capture: 2000 }));
    expect(error.code).toBe('amount_too_large');
    const captured = await stripe.paymentIntents.capture(intent.id, { amount_to_capture: 1500 });
    expect(captured).toMatchObject({ status: 'succeeded', amount_received: 1500, amount_capturable: 0 });
    expect(await errorOf(stripe.paymentIntents.capture(intent.id))).toMatchObject({
      code: 'payment_intent_unexpected_state',
    });
    expect(await admin('GET', 'truth/summary')).toMatchObject({ eur: { received: 1500, succeeded: 1 } });
  });

  test('what has not succeeded can be canceled, what has cannot', async () => {
    const intent = await stripe.paymentIntents.create(charge({ capture_method: 'manual' }));
    const reason = { cancellation_reason: 'abandoned' } as const;
    expect(await stripe.paymentIntents.cancel(intent.id, reason)).toMatchObject({
      status: 'canceled',
      ...reason,
    });
    const charges = await stripe.charges.list({ payment_intent: intent.id });
    expect(charges.data).toMatchObject([{ refunded: true, captured: false, amount_captured: 0 }]);
    const paid = await stripe.paymentIntents.create(charge());
    expect((await errorOf(stripe.paymentIntents.cancel(paid.id))).message).toContain('status of succeeded');
    expect((await errorOf(stripe.paymentIntents.cancel(intent.id))).message).toContain('status of canceled');
  });

  test('pending payments end when their time has come, one way or the other', async () => {
    await admin('POST', 'faults', {
      sequence: [
        { fault: 'pending_then_succeed', ms: HOUR_MS },
        { fault: 'pending_then_fail', ms: 2 * HOUR_MS, decline: 'insufficient_funds' },
      ],
    });
    const first = await stripe.paymentIntents.create(charge());
    const second = await stripe.paymentIntents.create(charge());
    expect([first.status, second.status, first.latest_charge]).toEqual(['processing', 'processing', null]);
    expect((await stripe.charges.list({ transfer_group: 'p1' })).data).toEqual([]);
    expect((await errorOf(stripe.paymentIntents.cancel(first.id))).statusCode).toBe(400);
    await admin('POST', 'clock', { advance_ms: HOUR_MS });
    expect((await stripe.paymentIntents.retrieve(first.id)).status).toBe('succeeded');
    expect((await stripe.paymentIntents.retrieve(second.id)).status).toBe('processing');
    await admin('POST', 'clock', { advance_ms: HOUR_MS });
    expect(await stripe.paymentIntents.retrieve(second.id)).toMatchObject({
      status: 'requires_payment_method',
      last_payment_error: { decline_code: 'insufficient_funds' },
    });
  });
});

describe('refusals', () => {
  test.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    [
      'an unknown parameter',
      { payment_method_types: ['card'] },
      { code: 'parameter_unknown', param: 'payment_method_types' },
    ],
    [
      'an unknown inner one',
      { automatic_payment_methods: { enabled: true, allow_redirects: 'never', x: 1 } },
      { param: 'automatic_payment_methods[x]' },
    ],
    ['a missing amount', { amount: undefined }, { code: 'parameter_missing', param: 'amount' }],
    ['a broken amount', { amount: '12.50' }, { code: 'parameter_invalid_integer', param: 'amount' }],
    ['a negative amount', { amount: -5 }, { code: 'parameter_invalid_integer' }],
    ['an amount too small', { amount: 49 }, { code: 'amount_too_small' }],
    ['an amount too large', { amount: 100_000_000 }, { code: 'amount_too_large' }],
    ['three decimals with a last digit', { currency: 'kwd', amount: 5124 }, { param: 'amount' }],
    ['a currency nobody has', { currency: 'zzz' }, { param: 'currency' }],
    ['an empty currency', { currency: '' }, { code: 'parameter_invalid_empty' }],
    ['a payment method that is not there', { payment_method: 'pm_nobody' }, { code: 'resource_missing' }],
    ['no payment method', { payment_method: undefined }, { code: 'payment_intent_unexpected_state' }],
    [
      'redirects without a way back',
      { automatic_payment_methods: { enabled: true } },
      { type: 'StripeInvalidRequestError' },
    ],
    ['off_session without confirm', { confirm: false }, { param: 'off_session' }],
    ['metadata with a long name', { metadata: { ['x'.repeat(41)]: '1' } }, { param: 'metadata' }],
    ['what the sandbox does not model', { shipping: { name: 'x' } }, { code: 'sandbox_not_modelled' }],
  ])('%s', async (_what, change, expected) => {
    const params = { ...charge(), ...change } as Stripe.PaymentIntentCreateParams;
    const options = { idempotencyKey: 'refused' };
    const error = await errorOf(stripe.paymentIntents.create(params, options));
    expect(error).toBeInstanceOf(Stripe.errors.StripeInvalidRequestError);
    expect(error).toMatchObject({ statusCode: 400, ...expected });
    // Nothing was executed, so nothing was stored: the same key may be used with good parameters.
    expect((await stripe.paymentIntents.create(charge(), options)).status).toBe('succeeded');
  });

  test('a name that does not exist is 404', async () => {
    const error = await errorOf(stripe.paymentIntents.retrieve('pi_nobody'));
    expect(error).toMatchObject({ statusCode: 404, code: 'resource_missing', param: 'intent' });
    const old = await stripe.paymentIntents.create(charge());
    await admin('POST', 'reset');
    await stripe.paymentIntents.create(charge());
    expect((await errorOf(stripe.paymentIntents.retrieve(old.id))).statusCode).toBe(404);
  });

  test('a wrong key is 401', async () => {
    const error = await errorOf(world.client('sk_test_another_key').paymentIntents.create(charge()));
    expect(error).toBeInstanceOf(Stripe.errors.StripeAuthenticationError);
    expect(error.message).toMatch(/^Invalid API Key provided: sk_test_\*+_key$/);
  });

  test('an address that does not exist is 404', async () => {
    const error = await errorOf(stripe.customers.create({ name: 'x' }));
    expect(error).toMatchObject({ statusCode: 404 });
    expect(error.message).toContain('Unrecognized request URL (POST: /v1/customers)');
  });
});

describe('idempotency', () => {
  const options = { idempotencyKey: 'same' };

  test('a repeated call is answered as the first was, even after the intent changed', async () => {
    const first = await stripe.paymentIntents.create(charge({ capture_method: 'manual' }), options);
    await stripe.paymentIntents.capture(first.id);
    const second = await stripe.paymentIntents.create(charge({ capture_method: 'manual' }), options);
    expect(second).toEqual(first);
    expect(second.lastResponse.headers['idempotent-replayed']).toBe('true');
    expect((await stripe.paymentIntents.list()).data).toHaveLength(1);
  });

  test('a decline is replayed too', async () => {
    const params = charge({ payment_method: 'pm_card_visa_chargeDeclined' });
    const first = await errorOf(stripe.paymentIntents.create(params, options));
    const second = await errorOf(stripe.paymentIntents.create(params, options));
    expect(second.payment_intent).toEqual(first.payment_intent);
    expect(second.headers?.['idempotent-replayed']).toBe('true');
    expect((await stripe.charges.list({ transfer_group: 'p1' })).data).toHaveLength(1);
  });

  test('other parameters or another address are an idempotency error', async () => {
    const first = await stripe.paymentIntents.create(charge(), options);
    const changed = await errorOf(stripe.paymentIntents.create(charge({ amount: 2000 }), options));
    expect(changed).toBeInstanceOf(Stripe.errors.StripeIdempotencyError);
    expect(changed).toMatchObject({ statusCode: 400, rawType: 'idempotency_error' });
    const elsewhere = await errorOf(stripe.paymentIntents.cancel(first.id, {}, options));
    expect(elsewhere).toBeInstanceOf(Stripe.errors.StripeIdempotencyError);
  });

  test('a key is free again after 24 hours, not before', async () => {
    await stripe.paymentIntents.create(charge(), options);
    await admin('POST', 'clock', { advance_ms: 24 * HOUR_MS - 5000 });
    await stripe.paymentIntents.create(charge(), options);
    expect((await stripe.paymentIntents.list()).data).toHaveLength(1);
    await admin('POST', 'clock', { advance_ms: 5000 });
    await stripe.paymentIntents.create(charge(), options);
    expect((await stripe.paymentIntents.list()).data).toHaveLength(2);
  });

  test('a key of 256 characters is refused', async () => {
    const error = await errorOf(stripe.paymentIntents.create(charge(), { idempotencyKey: 'k'.repeat(256) }));
    expect(error.statusCode).toBe(400);
    const longest = { idempotencyKey: 'k'.repeat(255) };
    expect((await stripe.paymentIntents.create(charge(), longest)).status).toBe('succeeded');
  });

  test('a state refusal was executed and is replayed', async () => {
    const intent = await stripe.paymentIntents.create(charge());
    const first = await errorOf(stripe.paymentIntents.cancel(intent.id, {}, options));
    const second = await errorOf(stripe.paymentIntents.cancel(intent.id, {}, options));
    expect(first.headers?.['idempotent-replayed']).toBeUndefined();
    expect(second.headers?.['idempotent-replayed']).toBe('true');
    expect(second.payment_intent).toEqual(first.payment_intent);
  });
});

describe('lists', () => {
  test('pages run from new to old, whole and without repeats', async () => {
    const made: string[] = [];
    for (let n = 0; n < 25; n++) {
      const intent = await stripe.paymentIntents.create(charge({ metadata: { n: String(n) } }));
      made.unshift(intent.id);
    }
    const seen: string[] = [];
    for await (const intent of stripe.paymentIntents.list({ limit: 10 })) seen.push(intent.id);
    expect(seen).toEqual(made);
    const page = await stripe.paymentIntents.list({ limit: 10, starting_after: made[9]! });
    expect(page).toMatchObject({ object: 'list', url: '/v1/payment_intents', has_more: true });
    expect(page.data.map(({ id }) => id)).toEqual(made.slice(10, 20));
    const back = await stripe.paymentIntents.list({ limit: 5, ending_before: made[9]! });
    expect(back.data.map(({ id }) => id)).toEqual(made.slice(4, 9));
    expect((await stripe.paymentIntents.list({ limit: 25 })).has_more).toBe(false);
    const unknown = await errorOf(stripe.paymentIntents.list({ starting_after: 'pi_nobody' }));
    expect(unknown).toMatchObject({ statusCode: 404, param: 'starting_after' });
    expect((await errorOf(stripe.paymentIntents.list({ limit: 101 }))).statusCode).toBe(400);
  });

  test('the window on created includes and excludes as asked', async () => {
    const made: Stripe.PaymentIntent[] = [];
    for (let n = 0; n < 3; n++) {
      made.push(await stripe.paymentIntents.create(charge()));
      await admin('POST', 'clock', { advance_ms: 10_000 });
    }
    const [first, second, third] = made as [Stripe.PaymentIntent, Stripe.PaymentIntent, Stripe.PaymentIntent];
    const ids = async (created: Stripe.RangeQueryParam | number) =>
      (await stripe.paymentIntents.list({ created })).data.map(({ id }) => id);
    expect(await ids({ gte: second.created })).toEqual([third.id, second.id]);
    expect(await ids({ gt: second.created })).toEqual([third.id]);
    expect(await ids({ lte: second.created })).toEqual([second.id, first.id]);
    expect(await ids({ lt: second.created })).toEqual([first.id]);
    expect(await ids({ gte: first.created, lt: third.created })).toEqual([second.id, first.id]);
    expect(await ids(second.created)).toEqual([second.id]);
  });

  test('charges by transfer group, and the balance', async () => {
    const one = await stripe.paymentIntents.create(charge({ transfer_group: 'g1' }));
    await stripe.paymentIntents.create(charge({ transfer_group: 'g2' }));
    const two = await stripe.paymentIntents.create(charge({ transfer_group: 'g1' }));
    const charges = await stripe.charges.list({ transfer_group: 'g1' });
    expect(charges.data.map((found) => found.payment_intent)).toEqual([two.id, one.id]);
    const rest = await stripe.charges.list({ transfer_group: 'g1', starting_after: charges.data[0]!.id });
    expect(rest).toMatchObject({ has_more: false, data: [{ payment_intent: one.id }] });
    expect((await stripe.balance.retrieve()).available).toMatchObject([
      { currency: 'eur', amount: 3 * 1999 },
    ]);
  });
});
