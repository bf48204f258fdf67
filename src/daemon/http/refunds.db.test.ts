/** Refunds over HTTP, against a real database: the idempotency of a name, and what is refused. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  openTestBook,
  queueCharge,
  REPLY,
  scriptedConnector,
  startTestDaemon,
  type TestBook,
  turn,
  uniqueName,
} from '../../testing/fixtures.ts';
import type { HttpServer } from './server.ts';
import { type Answer, type Body, call, startTestServer } from './test-server.ts';

let book: TestBook;
let server: HttpServer;
beforeAll(async () => {
  book = await openTestBook();
  server = await startTestServer(book.db);
});
afterAll(async () => {
  await server?.close();
  await book?.close();
});

/** An order of 12.50 EUR that was charged. */
async function chargedOrder(): Promise<{ order: string; account: string }> {
  const account = uniqueName('acct');
  const { orderId } = await queueCharge(book.db, account);
  await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY.succeeded]));
  return { order: `ord_${orderId}`, account };
}

function post(body: Body): Promise<Answer> {
  return call(server, {
    method: 'POST',
    path: '/v1/refunds',
    headers: { 'content-type': 'application/json' },
    payload: JSON.stringify(body),
  });
}

const get = (id: string) => call(server, { path: `/v1/refunds/${encodeURIComponent(id)}` });

describe('POST /v1/refunds', () => {
  test('answers 202, and the same bytes whenever the same name asks again', async () => {
    const { order, account } = await chargedOrder();
    const body = { payment_order_id: order, amount: '5.00', refund_id: uniqueName('return') };
    const first = await post(body);
    expect(first.status).toBe(202);
    expect(first.headers['idempotent-replayed']).toBeUndefined();
    expect(first.headers.location).toBe(`/v1/refunds/${first.json.id}`);
    expect(first.json).toMatchObject({ refund_id: body.refund_id, status: 'requested', amount: '5.00' });
    await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY.succeeded]));
    const again = await post(body);
    expect([again.status, again.text]).toEqual([202, first.text]);
    expect(again.headers['idempotent-replayed']).toBe('true');
  });

  test('takes idempotency_key as another word for refund_id, and both only when they agree', async () => {
    const { order } = await chargedOrder();
    const key = uniqueName('return');
    expect(await post({ payment_order_id: order, idempotency_key: key })).toMatchObject({ status: 202 });
    const both = { payment_order_id: order, idempotency_key: key, refund_id: 'another' };
    expect((await post(both)).json).toMatchObject({ status: 400, code: 'invalid_request' });
  });

  test.each<[string, (order: string) => Body, number, string]>([
    ['no name', (order) => ({ payment_order_id: order }), 400, 'invalid_request'],
    ['no order', () => ({ refund_id: 'x' }), 400, 'invalid_request'],
    [
      'an order that is not one',
      () => ({ payment_order_id: 'pay_1', refund_id: 'x' }),
      400,
      'invalid_request',
    ],
    [
      'an unknown field',
      (order) => ({ payment_order_id: order, refund_id: 'x', a: 1 }),
      400,
      'invalid_request',
    ],
    [
      'a number for the amount',
      (order) => ({ payment_order_id: order, refund_id: 'x', amount: 5 }),
      400,
      'invalid_request',
    ],
    [
      'too many decimals',
      (order) => ({ payment_order_id: order, refund_id: 'x', amount: '1.001' }),
      400,
      'invalid_request',
    ],
    [
      'more than was charged',
      (order) => ({ payment_order_id: order, refund_id: 'x', amount: '12.51' }),
      422,
      'over_refund',
    ],
    [
      'an order nobody knows',
      () => ({ payment_order_id: 'ord_999999999', refund_id: 'x' }),
      404,
      'not_found',
    ],
  ])('refuses %s, and does not use up the name', async (_, bodyFor, status, code) => {
    const { order } = await chargedOrder();
    const answer = await post(bodyFor(order));
    expect(answer.json).toMatchObject({ status, code });
    expect((await get('x')).status).toBe(404);
  });

  test('refuses an order that was never charged, and a name that was used for something else', async () => {
    const { orderId } = await queueCharge(book.db, uniqueName('acct'));
    const never = await post({ payment_order_id: `ord_${orderId}`, refund_id: uniqueName('return') });
    expect(never.json).toMatchObject({ status: 409, code: 'not_refundable' });
    const { order } = await chargedOrder();
    const name = uniqueName('return');
    await post({ payment_order_id: order, refund_id: name, amount: '1.00' });
    const other = await post({ payment_order_id: order, refund_id: name, amount: '2.00' });
    expect(other.json).toMatchObject({ status: 422, code: 'refund_id_reused' });
  });
});

describe('GET /v1/refunds/{id}', () => {
  test('knows a refund by our id and by its own name, and says where it stands', async () => {
    const { order, account } = await chargedOrder();
    const name = uniqueName('return 返金/');
    const { json } = await post({ payment_order_id: order, refund_id: name });
    expect((await get(name)).json).toMatchObject({ id: json.id, status: 'requested', amount: '12.50' });
    await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY.pending]));
    expect((await get(String(json.id))).json).toMatchObject({ status: 'pending', refund_id: name });
    expect((await get('rfd_999999999')).json).toMatchObject({ status: 404, code: 'not_found' });
  });

  test('and the payment shows what was given back', async () => {
    const { order, account } = await chargedOrder();
    const { json } = await post({ payment_order_id: order, refund_id: uniqueName('return'), amount: '4.00' });
    await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY.succeeded]));
    const payment = await call(server, { path: `/v1/payments/${String(json.payment_id)}` });
    expect(payment.json).toMatchObject({
      status: 'SUCCESS',
      charged: [{ amount: '12.50', currency: 'EUR' }],
      refunded: [{ amount: '4.00', currency: 'EUR' }],
    });
  });
});
