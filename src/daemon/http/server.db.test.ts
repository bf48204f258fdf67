/** The HTTP API against a real database: the idempotency table row by row, and bad input of every kind. */
import { request } from 'node:http';
import { connect } from 'node:net';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Db, openBook, transactOnce } from '../../core/db/connection.ts';
import { acceptPayments, fingerprint } from '../../core/payment/accept-payments.ts';
import { readPaymentRequest } from '../../core/payment/payment-request.ts';
import { laneOf } from '../../core/queue/job.ts';
import { createTestDatabase, type TestDatabase } from '../../testing/test-database.ts';
import type { HttpServer } from './server.ts';
import {
  type Answer,
  BOOK_KEY,
  type Body,
  bodyOf,
  call,
  exchange,
  POLICY,
  post,
  rawPost,
  startTestServer,
} from './test-server.ts';

let database: TestDatabase;
let db: Db;
let server: HttpServer;

beforeAll(async () => {
  database = await createTestDatabase();
  db = await openBook({ connection: database.appConnection, book: 'paygate', max: 4 });
  server = await startTestServer(db);
});

afterAll(async () => {
  await server?.close();
  await db?.close();
  await database?.drop();
});

function expectProblem(answer: Answer, status: number, code: string): void {
  expect(answer.json).toMatchObject({ type: `urn:paygate:problem:${code}`, status, code });
  expect(answer.status).toBe(status);
  expect(answer.headers['content-type']).toBe('application/problem+json');
  expect(answer.json.title).toEqual(expect.any(String));
  expect(answer.json.detail).toEqual(expect.any(String));
  expect(answer.text).not.toMatch(/node_modules|at .*\.[jt]s:\d/);
}

function faultsOf(answer: Answer): readonly string[] {
  return (answer.json.faults as { field: string; code: string }[]).map(
    (fault) => `${fault.field} ${fault.code}`,
  );
}

async function paymentCount(checkoutId: string): Promise<number> {
  const rows = await db.sql`select id from ${db.t.payment} where checkout_id = ${checkoutId}`;
  return rows.length;
}

async function keyIsFree(key: string): Promise<boolean> {
  const rows = await db.sql`select key from ${db.t.idempotencyKey} where key = ${key}`;
  return rows.length === 0;
}

describe('the idempotency table', () => {
  it('answers the first request with 202 and stores payment, job and event', async () => {
    const answer = await post(server, bodyOf('first'));
    expect(answer.status).toBe(202);
    expect(answer.headers['content-type']).toBe('application/json; charset=utf-8');
    expect(answer.headers['idempotent-replayed']).toBeUndefined();
    expect(answer.headers.location).toBe(`/v1/payments/${answer.json.payment_id}`);
    expect(answer.json).toMatchObject({ checkout_id: 'first', status: 'NOT_STARTED' });
    const jobs = await db.sql`
      select j.lane
        from ${db.t.payment} p
        join ${db.t.operation} o on o.payment_id = p.id
        join ${db.t.job} j on j.operation_id = o.id
       where p.checkout_id = 'first' and p.principal = 'http:loopback'`;
    expect(jobs.map((job) => job.lane)).toEqual([laneOf('stripe_main', 'online')]);
  });

  it('answers the same key with the same body byte for byte, and says so', async () => {
    const body = bodyOf('same', {
      metadata: { b: '2', a: '1' },
      payment_orders: [
        { seller: 'Ærø ☕', amount: '1000', currency: 'JPY', payment_method: 'pm_1', order_ref: 'r1' },
        { seller: 'seller 2', amount: '0.5', currency: 'EUR', payment_method: 'pm_1', platform_fee: '0.10' },
      ],
    });
    const first = await post(server, body);
    const second = await post(server, { ...body, metadata: { a: '1', b: '2' } });
    expect([first.status, second.status]).toEqual([202, 202]);
    expect(second.text).toBe(first.text);
    expect(second.headers['idempotent-replayed']).toBe('true');
    expect(await paymentCount('same')).toBe(1);
  });

  it('refuses the same key with another body', async () => {
    await post(server, bodyOf('reused'));
    const answer = await post(server, bodyOf('reused', { buyer: 'buyer 2' }));
    expectProblem(answer, 422, 'idempotency_key_reused');
    expect(await paymentCount('reused')).toBe(1);
  });

  it('answers a new key for the same checkout and body with the existing payment, and that again', async () => {
    const first = await post(server, bodyOf('dedup'));
    const second = await post(server, bodyOf('dedup', { idempotency_key: 'dedup 2' }));
    expect(second.status).toBe(200);
    expect(second.json).toEqual({ ...first.json, deduplicated: true });
    expect(second.headers['idempotent-replayed']).toBeUndefined();
    const third = await post(server, bodyOf('dedup', { idempotency_key: 'dedup 2' }));
    expect([third.status, third.text]).toEqual([200, second.text]);
    expect(third.headers['idempotent-replayed']).toBe('true');
    expect(await paymentCount('dedup')).toBe(1);
  });

  it('refuses a new key for the same checkout with another body, and leaves that key free', async () => {
    const first = await post(server, bodyOf('conflict'));
    const answer = await post(
      server,
      bodyOf('conflict', { idempotency_key: 'conflict 2', buyer: 'buyer 2' }),
    );
    expectProblem(answer, 422, 'checkout_conflict');
    expect(answer.json.payment_id).toBe(first.json.payment_id);
    expect(await keyIsFree('conflict 2')).toBe(true);
  });

  it.each<[string, Body, string]>([
    ['missing', { idempotency_key: undefined }, 'idempotency_key missing'],
    ['null', { idempotency_key: null }, 'idempotency_key missing'],
    ['empty', { idempotency_key: '' }, 'idempotency_key empty'],
    ['over 255 characters', { idempotency_key: 'k'.repeat(256) }, 'idempotency_key too_long'],
    ['no string', { idempotency_key: 7 }, 'idempotency_key wrong_type'],
  ])('refuses a key that is %s', async (_name, changes, fault) => {
    const answer = await post(server, bodyOf('bad key', changes));
    expectProblem(answer, 400, 'invalid_request');
    expect(faultsOf(answer)).toEqual([fault]);
    expect(await paymentCount('bad key')).toBe(0);
  });

  it('takes a key of 255 characters', async () => {
    const answer = await post(server, bodyOf('long key', { idempotency_key: 'k'.repeat(255) }));
    expect(answer.status).toBe(202);
  });

  it('lists every fault of a bad body and does not use up the key', async () => {
    const answer = await post(server, {
      ...bodyOf('all faults', { buyer: '', colour: 'red' }),
      payment_orders: [
        { seller: 'seller:1', amount: '1.234', currency: 'EUR', payment_method: 'pm_1' },
        { seller: 'seller 1', amount: 12.5, currency: 'eur', payment_method: 'pm_1' },
      ],
    });
    expectProblem(answer, 400, 'invalid_request');
    expect([...faultsOf(answer)].sort()).toEqual([
      'buyer empty',
      'colour unknown_field',
      'payment_orders[0].amount too_many_decimals',
      'payment_orders[0].seller not_a_seller_name',
      'payment_orders[1].amount wrong_type',
    ]);
    expect(await keyIsFree('all faults')).toBe(true);
    expect((await post(server, bodyOf('all faults'))).status).toBe(202);
  });

  it('refuses an amount that the PSP cannot express, and leaves the key free', async () => {
    const orders = [{ seller: 'seller 1', amount: '5.124', currency: 'KWD', payment_method: 'pm_1' }];
    const answer = await post(server, bodyOf('kwd', { payment_orders: orders }));
    expectProblem(answer, 422, 'not_expressible');
    expect(await keyIsFree('kwd')).toBe(true);
    const corrected = [{ ...orders[0], amount: '5.120' }];
    expect((await post(server, bodyOf('kwd', { payment_orders: corrected }))).status).toBe(202);
  });

  it('stores what risk blocked as FAILED, and answers 202', async () => {
    const answer = await post(server, bodyOf('risk', { buyer: 'blocked buyer' }));
    expect(answer.status).toBe(202);
    expect(answer.json).toMatchObject({ status: 'FAILED', risk: { decision: 'block' } });
    const shown = await call(server, { path: `/v1/payments/${answer.json.payment_id}` });
    expect(shown.json).toMatchObject({ status: 'FAILED', payment_orders: [{ sub_state: 'risk_blocked' }] });
  });

  it('answers 409 while another transaction holds the key, and the first answer afterwards', async () => {
    const held = await holdAcceptance(bodyOf('held'));
    const busy = await post(server, bodyOf('held'));
    expectProblem(busy, 409, 'request_in_progress');
    expect(busy.headers['retry-after']).toBe('2');
    await held.commit();
    const after = await post(server, bodyOf('held'));
    expect([after.status, after.text]).toEqual([202, held.body]);
    expect(after.headers['idempotent-replayed']).toBe('true');
  });

  it('answers for itself when the transaction that held the key gives up', async () => {
    const held = await holdAcceptance(bodyOf('given up'));
    expectProblem(await post(server, bodyOf('given up')), 409, 'request_in_progress');
    await held.rollback();
    const after = await post(server, bodyOf('given up'));
    expect(after.status).toBe(202);
    expect(after.headers['idempotent-replayed']).toBeUndefined();
  });

  it('waits for the transaction that holds the key, and gives its answer', async () => {
    const held = await holdAcceptance(bodyOf('waited for'));
    const waiting = post(server, bodyOf('waited for'));
    await untilSomebodyWaits();
    await held.commit();
    const first = await waiting;
    // Where this machine stood still for longer than the wait, the caller does as 409 says.
    const answer = first.status === 409 ? await post(server, bodyOf('waited for')) : first;
    expect([answer.status, answer.text]).toEqual([202, held.body]);
    expect(answer.headers['idempotent-replayed']).toBe('true');
    expect(await paymentCount('waited for')).toBe(1);
  });

  it('gives strangers in the same batch their answers while one key is held', async () => {
    const held = await holdAcceptance(bodyOf('held among others'));
    const names = Array.from({ length: 8 }, (_, i) => `beside held ${i}`);
    const answers = await Promise.all(
      ['held among others', ...names].map((name) => post(server, bodyOf(name))),
    );
    await held.rollback();
    expect(answers.map((answer) => answer.status)).toEqual([409, ...names.map(() => 202)]);
  });
});

/** An acceptance of the same body in a transaction of somebody else that has not ended yet. */
async function holdAcceptance(body: Body) {
  const reading = readPaymentRequest(body);
  if (reading.kind === 'bad') throw new Error('the body is meant to be good');
  const stored = Promise.withResolvers<string>();
  const end = Promise.withResolvers<'commit' | 'rollback'>();
  const context = {
    policy: POLICY,
    bookKey: BOOK_KEY,
    principal: 'somebody else',
    priority: 'online',
    batchId: null,
  } as const;
  const transaction = transactOnce(db, async (tx) => {
    const [result] = await acceptPayments(tx, context, [fingerprint(reading.request)]);
    stored.resolve(result?.kind === 'accepted' ? JSON.stringify(result.answer) : '');
    if ((await end.promise) === 'rollback') throw new Error('given up');
  }).catch(stored.reject);
  const finish = async (how: 'commit' | 'rollback') => {
    end.resolve(how);
    await transaction;
  };
  return { body: await stored.promise, commit: () => finish('commit'), rollback: () => finish('rollback') };
}

async function untilSomebodyWaits(): Promise<void> {
  for (;;) {
    const [locks] = await db.sql<{ waiting: number }[]>`
      select count(*)::integer as waiting
        from pg_locks l
        join pg_stat_activity a using (pid)
       where not l.granted
         and a.datname = current_database()`;
    if (locks!.waiting > 0) return;
  }
}

describe('the key in a header', () => {
  const withoutKey = (name: string) => bodyOf(name, { idempotency_key: undefined });

  it.each([
    ['bare', 'header bare', 'header bare'],
    ['a quoted string', '"header quoted"', 'header quoted'],
    ['a quoted string with escapes', '"header \\"x\\" \\\\"', 'header "x" \\'],
  ])('may be %s', async (_name, header, key) => {
    const first = await post(server, withoutKey(key), { 'idempotency-key': header });
    expect(first.status).toBe(202);
    const second = await post(server, bodyOf(key), { 'idempotency-key': header });
    expect([second.status, second.text]).toEqual([202, first.text]);
    expect(await keyIsFree(key)).toBe(false);
  });

  it('must be the one of the body where both are given', async () => {
    const answer = await post(server, bodyOf('two keys', { buyer: '' }), { 'idempotency-key': '"other"' });
    expectProblem(answer, 400, 'invalid_request');
    expect(faultsOf(answer)).toEqual(['Idempotency-Key keys_differ', 'buyer empty']);
    expect(await keyIsFree('other')).toBe(true);
  });

  it.each<[string, string | readonly string[], string]>([
    ['empty', '', 'idempotency_key empty'],
    ['an empty string', '""', 'idempotency_key empty'],
    ['too long', 'k'.repeat(256), 'idempotency_key too_long'],
    ['half quoted', '"abc', 'Idempotency-Key malformed_header'],
    ['followed by parameters', '"abc";a=1', 'Idempotency-Key malformed_header'],
    ['not ASCII', 'caf\u00e9', 'Idempotency-Key malformed_header'],
    ['given twice', ['abc', 'abc'], 'Idempotency-Key malformed_header'],
    ['a card number', '4111 1111 1111 1111', 'idempotency_key card_number'],
  ])('is refused when it is %s', async (_name, header, fault) => {
    const answer = await post(server, withoutKey('bad header'), { 'idempotency-key': header });
    expectProblem(answer, 400, 'invalid_request');
    expect(faultsOf(answer)).toEqual([fault]);
    expect(answer.text).not.toContain('4111');
  });
});

describe('many at once', () => {
  it('makes one payment of 20 equal requests and gives 20 equal bodies', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => post(server, bodyOf('twenty'))));
    expect(new Set(answers.map((answer) => answer.status))).toEqual(new Set([202]));
    expect(new Set(answers.map((answer) => answer.text)).size).toBe(1);
    expect(answers.filter((answer) => answer.headers['idempotent-replayed'] === undefined)).toHaveLength(1);
    expect(await paymentCount('twenty')).toBe(1);
  });

  it('answers each request of a mixed crowd for itself', async () => {
    await post(server, bodyOf('crowd known'));
    const answers = await Promise.all([
      post(server, bodyOf('crowd 1')),
      post(server, bodyOf('crowd bad', { payment_orders: [] })),
      post(server, bodyOf('crowd known', { buyer: 'other' })),
      post(server, bodyOf('crowd 2')),
      post(server, bodyOf('crowd known')),
      post(server, bodyOf('crowd known', { idempotency_key: 'crowd 3' })),
    ]);
    expect(answers.map((answer) => answer.status)).toEqual([202, 400, 422, 202, 202, 200]);
  });

  it('lets no request fail because of a stranger whose row the database refuses', async () => {
    await asOwner(`
      create function paygate.refuse_poison() returns trigger language plpgsql as
        $$ begin raise exception 'poison 4111111111111111' using errcode = 'XX000'; end $$;
      create trigger refuse_poison before insert on paygate.payment
        for each row when (new.buyer = 'poison') execute function paygate.refuse_poison()`);
    const lines: string[] = [];
    const note = (line: object) => lines.push(JSON.stringify(line));
    const log = { info: () => undefined, warn: note, debug: () => undefined, error: note };
    const other = await startTestServer(db, { log: log as never });
    const names = Array.from({ length: 9 }, (_, i) => `beside poison ${i}`);
    const answers = await Promise.all([
      post(other, bodyOf('poison', { buyer: 'poison' })),
      ...names.map((name) => post(other, bodyOf(name))),
    ]);
    await other.close();
    await asOwner('drop trigger refuse_poison on paygate.payment');
    const [poisoned, ...rest] = answers;
    expectProblem(poisoned!, 500, 'internal_error');
    expect(poisoned!.text).not.toContain('poison');
    expect(rest.map((answer) => answer.status)).toEqual(names.map(() => 202));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(poisoned!.json.error_id);
    expect(lines[0]).not.toContain('4111111111111111');
    expect((await post(server, bodyOf('poison', { buyer: 'poison' }))).status).toBe(202);
  });

  async function asOwner(text: string): Promise<void> {
    const sql = postgres({ ...database.connection, max: 1, onnotice: () => undefined });
    await sql.unsafe(text);
    await sql.end();
  }
});

describe('GET /v1/payments/{id}', () => {
  it('shows where a payment stands', async () => {
    const accepted = await post(server, bodyOf('shown'));
    const answer = await call(server, { path: `/v1/payments/${accepted.json.payment_id}` });
    expect(answer.status).toBe(200);
    expect(answer.json).toMatchObject({
      payment_id: accepted.json.payment_id,
      checkout_id: 'shown',
      status: 'NOT_STARTED',
      charged: [],
      refunded: [],
      partial: false,
      payment_orders: [{ seller: 'seller 1', amount: '12.50', currency: 'EUR', platform_fee: '0.61' }],
    });
  });

  it.each([
    'pay_999999999',
    'pay_0',
    'pay_',
    'ord_1',
    'nonsense',
    'pay_1%00',
    `pay_${'1'.repeat(300)}`,
    'pay_-1',
  ])('answers 404 for %s', async (id) => {
    expectProblem(await call(server, { path: `/v1/payments/${id}` }), 404, 'not_found');
  });
});

describe('health', () => {
  it('is alive and ready', async () => {
    expect(await call(server, { path: '/livez' })).toMatchObject({ status: 200, json: { status: 'ok' } });
    expect(await call(server, { path: '/readyz' })).toMatchObject({ status: 200, json: { status: 'ok' } });
  });
});

describe('bad requests', () => {
  const json = { 'content-type': 'application/json' };

  it.each<[string, string | Buffer]>([
    ['no JSON', '{"buyer": 4111111111111111, oops'],
    ['empty', ''],
    ['cut short', '{"buyer":"b'],
    ['not UTF-8', Buffer.from('{"buyer":"Zo\xeb"}', 'latin1')],
    ['a changed prototype', '{"__proto__": {"buyer": "b"}}'],
    ['binary', Buffer.from([0, 255, 1, 254])],
  ])('refuses a body that is %s', async (_name, payload) => {
    const answer = await call(server, { method: 'POST', headers: json, payload });
    expectProblem(answer, 400, 'invalid_json');
    expect(answer.text).not.toContain('4111');
  });

  it.each([
    ['null', 'null'],
    ['a number', '7'],
    ['a text', '"text"'],
    ['a list', '[]'],
    ['very deep', `${'['.repeat(50_000)}${']'.repeat(50_000)}`],
  ])('refuses JSON that is no payment: %s', async (_name, payload) => {
    expectProblem(await call(server, { method: 'POST', headers: json, payload }), 400, 'invalid_request');
    const withKey = { ...json, 'idempotency-key': 'k' };
    expectProblem(await call(server, { method: 'POST', headers: withKey, payload }), 400, 'invalid_request');
  });

  it.each([
    ['text/plain', {}],
    ['application/x-www-form-urlencoded', {}],
    ['application/jsonx', {}],
    ['nonsense', {}],
    ['application/json', { 'content-encoding': 'gzip' }],
  ])('refuses the media type %s %o', async (type, headers) => {
    const payload = JSON.stringify(bodyOf('media type'));
    const answer = await call(server, {
      method: 'POST',
      headers: { 'content-type': type, ...headers },
      payload,
    });
    expectProblem(answer, 415, 'unsupported_media_type');
  });

  it('refuses a body without a media type, and takes one with a charset', async () => {
    const payload = JSON.stringify(bodyOf('charset'));
    expectProblem(await call(server, { method: 'POST', payload }), 415, 'unsupported_media_type');
    const headers = { 'content-type': 'application/json; charset=utf-8' };
    expect((await call(server, { method: 'POST', headers, payload })).status).toBe(202);
  });

  it('refuses a huge body, announced or not, with an answer that arrives', async () => {
    const payload = JSON.stringify(bodyOf('huge', { metadata: { note: 'x'.repeat(8_000_000) } }));
    expectProblem(await call(server, { method: 'POST', headers: json, payload }), 413, 'body_too_large');
    expectProblem(await postChunked(payload), 413, 'body_too_large');
    expect(await paymentCount('huge')).toBe(0);
  });

  function postChunked(payload: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const outgoing = request(`${server.url}/v1/payments`, { method: 'POST', headers: json, agent: false });
      outgoing.on('error', reject);
      outgoing.on('response', (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += String(chunk);
        });
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            json: JSON.parse(text),
          }),
        );
      });
      for (let at = 0; at < payload.length; at += 65_536) outgoing.write(payload.slice(at, at + 65_536));
      outgoing.end();
    });
  }

  it.each([
    ['DELETE', '/v1/payments', 'POST'],
    ['PUT', '/v1/payments', 'POST'],
    ['PROPFIND', '/v1/payments?a=b', 'POST'],
    ['GET', '/v1/payments', 'POST'],
    ['OPTIONS', '/v1/payments', 'POST'],
    ['POST', '/v1/payments/pay_1', 'GET, HEAD'],
    ['POST', '/livez', 'GET, HEAD'],
  ])('says what is allowed instead of %s %s', async (method, path, allow) => {
    const answer = await call(server, { method, path, headers: { 'content-type': 'text/plain' } });
    expectProblem(answer, 405, 'method_not_allowed');
    expect(answer.headers.allow).toBe(allow);
  });

  it('answers 404 and 400 for addresses that are not there', async () => {
    expectProblem(await call(server, { path: '/' }), 404, 'not_found');
    expectProblem(
      await call(server, { method: 'POST', path: '/v2/payments', payload: 'x' }),
      404,
      'not_found',
    );
    expectProblem(await call(server, { path: '/v1/payments/%zz' }), 400, 'invalid_url');
  });

  it.each([
    'evil.example',
    'evil.example:80',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '10.0.0.1',
    '[::2]',
  ])('refuses the host %s', async (host) => {
    expectProblem(await post(server, bodyOf('rebound'), { host }), 421, 'host_not_allowed');
    expect(await paymentCount('rebound')).toBe(0);
  });

  it.each(['localhost', 'LOCALHOST:1', '127.0.0.1:8080', '[::1]:8080', '127.1.2.3'])(
    'takes the host %s',
    async (host) => {
      expect((await call(server, { path: '/livez', headers: { host } })).status).toBe(200);
    },
  );

  it('refuses card numbers without repeating them', async () => {
    const answer = await post(server, bodyOf('card', { buyer: '4111 1111 1111 1111' }));
    expectProblem(answer, 400, 'invalid_request');
    expect(faultsOf(answer)).toEqual(['buyer card_number']);
    expect(answer.text).not.toContain('1111');
  });
});

describe('bytes that are not HTTP', () => {
  const lastProblem = (text: string): string => text.slice(text.lastIndexOf('HTTP/1.1'));

  it.each([
    ['garbage', '\x16\x03\x01garbage\r\n\r\n', 400, 'invalid_http'],
    [
      'two lengths',
      'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
      400,
      'invalid_http',
    ],
    [
      'a chunk of no length',
      'POST /v1/payments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
      400,
      'invalid_http',
    ],
    [
      'huge headers',
      `GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
      431,
      'headers_too_large',
    ],
    ['no host', 'GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n', 421, 'host_not_allowed'],
    [
      'another host in the target',
      'GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
      421,
      'host_not_allowed',
    ],
    [
      'an expectation',
      'GET /livez HTTP/1.1\r\nHost: localhost\r\nExpect: tea\r\n\r\n',
      417,
      'expectation_failed',
    ],
  ])('answers %s with a problem', async (_name, bytes, status, code) => {
    const text = await exchange(server, bytes);
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(text.toLowerCase()).toContain('content-type: application/problem+json\r\n');
    expect(text).toContain(`"code":"${code}"`);
  });

  it('answers the payment first when garbage follows it on the same connection', async () => {
    const text = await exchange(
      server,
      `${rawPost(bodyOf('pipelined'))}${rawPost(bodyOf('pipelined'))}\x00garbage\r\n\r\n`,
    );
    const statuses = text.match(/HTTP\/1\.1 \d+/g);
    expect(statuses).toEqual(['HTTP/1.1 202', 'HTTP/1.1 202', 'HTTP/1.1 400']);
    expect(lastProblem(text)).toContain('"code":"invalid_http"');
    expect(await paymentCount('pipelined')).toBe(1);
  });

  it('keeps the payment of a caller who hangs up before the answer', async () => {
    const socket = connect(server.port, '127.0.0.1', () => socket.end(rawPost(bodyOf('hung up'))));
    await new Promise((resolve) => socket.on('close', resolve).resume());
    const answer = await post(server, bodyOf('hung up'));
    expect(answer.status).toBe(202);
    expect(await paymentCount('hung up')).toBe(1);
  });
});

describe('listening', () => {
  it.each(['0.0.0.0', '::', '192.168.1.1', 'example.org', ''])('refuses the host %s', async (host) => {
    await expect(startTestServer(db, { host })).rejects.toMatchObject({ code: 'http_not_loopback' });
  });

  it('says which port is taken', async () => {
    await expect(startTestServer(db, { port: server.port })).rejects.toMatchObject({
      code: 'http_port_unavailable',
      kind: 'failed',
    });
  });

  it('answers what it has before it closes, and nothing afterwards', async () => {
    const other = await startTestServer(db);
    const answers = Array.from({ length: 10 }, (_, i) => post(other, bodyOf(`closing ${i}`)));
    await Promise.race(answers);
    await other.close();
    for (const { status } of await Promise.all(answers)) expect([202, 503]).toContain(status);
    await expect(post(other, bodyOf('closed'))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});
