/** POST /v1/payments/{id}/retry against a real database: every answer that it can give. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  claim,
  openTestBook,
  REPLY,
  type ReplyKind,
  record,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import type { HttpServer } from './server.ts';
import { type Answer, type Body, bodyOf, call, post, startTestServer } from './test-server.ts';

let book: TestBook;
let daemon: TestDaemon;
let server: HttpServer;
beforeAll(async () => {
  book = await openTestBook();
  daemon = await startTestDaemon(book.db);
  server = await startTestServer(book.db);
});
afterAll(async () => {
  await server.close();
  await book.close();
});

type Payment = { readonly paymentId: string; readonly orderId: string };

/** A payment whose one attempt was answered so. */
async function answered(kind: ReplyKind): Promise<Payment> {
  const { json } = await post(server, bodyOf(uniqueName('co')));
  for (const task of await claim(daemon, 'stripe_main')) await record(daemon, task, REPLY[kind]);
  const [order] = json.payment_orders as { payment_order_id: string }[];
  return { paymentId: String(json.payment_id), orderId: order!.payment_order_id };
}

function retry(payment: Payment, changes: Body = {}, headers: Record<string, string> = {}): Promise<Answer> {
  const body = {
    payment_order_id: payment.orderId,
    payment_method: 'pm_other',
    idempotency_key: uniqueName('retry'),
    ...changes,
  };
  return call(server, {
    method: 'POST',
    path: `/v1/payments/${payment.paymentId}/retry`,
    headers: { 'content-type': 'application/json', ...headers },
    payload: JSON.stringify(body),
  });
}

describe('a retry after a decline', () => {
  test('is answered 202 with the new attempt; the same again gets the same bytes', async () => {
    const payment = await answered('declined');
    const key = uniqueName('retry');
    const first = await retry(payment, { idempotency_key: key });
    expect(first).toMatchObject({
      status: 202,
      json: {
        payment_id: payment.paymentId,
        payment_order_id: payment.orderId,
        payment_method: 'pm_other',
        status: 'NOT_STARTED',
        attempt_number: 2,
        risk: { decision: 'allow' },
      },
    });
    expect(first.headers).toMatchObject({
      'content-type': 'application/json; charset=utf-8',
      location: `/v1/payments/${payment.paymentId}`,
    });
    expect(first.headers['idempotent-replayed']).toBeUndefined();
    const again = await retry(payment, { idempotency_key: key });
    expect(again).toMatchObject({ status: 202, text: first.text });
    expect(again.headers['idempotent-replayed']).toBe('true');
    const view = await call(server, { path: `/v1/payments/${payment.paymentId}` });
    expect(view.json).toMatchObject({ status: 'NOT_STARTED', payment_orders: [{ sub_state: 'queued' }] });
  });

  test('takes its key from the header too', async () => {
    const payment = await answered('declined');
    const key = uniqueName('retry');
    const headers = { 'idempotency-key': `"${key}"` };
    expect(await retry(payment, { idempotency_key: undefined }, headers)).toMatchObject({ status: 202 });
    expect(await retry(payment, { idempotency_key: key }, headers)).toMatchObject({ status: 202 });
    expect(await retry(payment, { idempotency_key: 'another' }, headers)).toMatchObject({
      status: 400,
      json: { faults: [{ field: 'Idempotency-Key', code: 'keys_differ' }] },
    });
  });

  test('with the key of another request is 422', async () => {
    const payment = await answered('declined');
    const key = uniqueName('retry');
    await retry(payment, { idempotency_key: key });
    expect(await retry(payment, { idempotency_key: key, payment_method: 'pm_third' })).toMatchObject({
      status: 422,
      json: { code: 'idempotency_key_reused' },
    });
  });
});

describe('a retry that may not be', () => {
  test.each<[ReplyKind, string]>([
    ['unknown', 'attempt_unresolved'],
    ['pending', 'attempt_unresolved'],
    ['succeeded', 'already_succeeded'],
  ])('after %s is 409 %s, a problem document', async (kind, code) => {
    const answer = await retry(await answered(kind));
    expect(answer).toMatchObject({
      status: 409,
      json: { code, status: 409, type: `urn:paygate:problem:${code}` },
    });
    expect(answer.headers['content-type']).toBe('application/problem+json');
  });

  test('by a method that was declined for good is 409 hard_decline', async () => {
    const { json } = await post(server, bodyOf(uniqueName('co')));
    const lost = { ...REPLY.declined, reason: 'lost_card', mayRetryAsNew: false };
    const tasks = await claim(daemon, 'stripe_main');
    for (const task of tasks) await record(daemon, task, lost);
    const [order] = json.payment_orders as { payment_order_id: string }[];
    const payment = { paymentId: String(json.payment_id), orderId: order!.payment_order_id };
    const { payment_method: method } = JSON.parse(tasks[0]!.job.request) as { payment_method: string };
    expect(await retry(payment, { payment_method: method })).toMatchObject({
      status: 409,
      json: { code: 'hard_decline' },
    });
    expect(await retry(payment)).toMatchObject({ status: 202 });
  });

  test('of a payment that the risk check stopped is 409', async () => {
    const { json } = await post(server, bodyOf(uniqueName('co'), { buyer: 'blocked buyer' }));
    const [order] = json.payment_orders as { payment_order_id: string }[];
    const payment = { paymentId: String(json.payment_id), orderId: order!.payment_order_id };
    expect(await retry(payment)).toMatchObject({ status: 409, json: { code: 'not_retryable' } });
  });

  test('of what is not there is 404', async () => {
    const payment = await answered('declined');
    for (const other of [
      { ...payment, orderId: 'ord_999999' },
      { ...payment, paymentId: 'pay_999999' },
      { ...payment, paymentId: 'nothing' },
    ]) {
      expect(await retry(other)).toMatchObject({ status: 404, json: { code: 'not_found' } });
    }
  });

  test('with a bad body is 400 with every fault, and the key is not used up', async () => {
    const payment = await answered('declined');
    const bad = { payment_order_id: '../x', payment_method: '4111111111111111', extra: 1 };
    const answer = await retry(payment, { ...bad, idempotency_key: 'kept' });
    expect(answer.status).toBe(400);
    expect(answer.text).not.toContain('4111');
    const faults = answer.json.faults as { field: string; code: string }[];
    expect(faults.map(({ field, code }) => `${field} ${code}`)).toEqual([
      'payment_order_id not_an_id',
      'payment_method card_number',
      'extra unknown_field',
    ]);
    const missing = await retry(payment, { payment_method: undefined, idempotency_key: undefined });
    expect((missing.json.faults as { code: string }[]).map((fault) => fault.code)).toEqual([
      'missing',
      'missing',
    ]);
    expect(await retry(payment, { idempotency_key: 'kept' })).toMatchObject({ status: 202 });
  });

  test('is for POST alone', async () => {
    const answer = await call(server, { path: '/v1/payments/pay_1/retry' });
    expect(answer).toMatchObject({ status: 405, headers: { allow: 'POST' } });
  });
});

test('a payment that waits for its buyer carries what the shop hands over, and for how long', async () => {
  const waiting = await answered('awaiting_customer');
  const view = await call(server, { path: `/v1/payments/${waiting.paymentId}` });
  expect(view.json).toMatchObject({
    status: 'EXECUTING',
    payment_orders: [
      {
        sub_state: 'awaiting_customer',
        hand_off: { ...REPLY.awaiting_customer.handOff, expires_at: expect.stringMatching(/^\d{4}-.*Z$/) },
      },
    ],
  });
  expect(view.headers['cache-control']).toBe('no-store');
});
