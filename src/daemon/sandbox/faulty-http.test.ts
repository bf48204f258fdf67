import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import Stripe from 'stripe';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Sandbox, startSandbox } from './main.ts';

const FORM = 'application/x-www-form-urlencoded';
const CARD = 'confirm=true&payment_method=pm_card_visa&automatic_payment_methods[enabled]=true';
const BODY = `amount=1000&currency=usd&${CARD}&automatic_payment_methods[allow_redirects]=never`;
/** A loaded machine may take its time. */
const PATIENT = { timeout: 20_000, interval: 20 };
const agent = new Agent({ keepAlive: true });
let sandbox: Sandbox;

beforeAll(async () => {
  sandbox = await startSandbox({ port: 0, journalPath: null, seed: 1 });
});
afterAll(async () => {
  agent.destroy();
  await sandbox.close();
});
beforeEach(async () => {
  await admin('POST', 'reset');
  await admin('POST', 'config', { seed: 1, rates: {}, get_rates: {}, latency_ms: 0, max_faults_per_key: 3 });
});

interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** A call with a client that does nothing by itself; rejects with the socket's error. */
function call(method: string, path: string, more: { key?: string; body?: string } = {}): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const headers: Record<string, string> = { authorization: 'Bearer sk_test_x', 'content-type': FORM };
    if (more.key !== undefined) headers['idempotency-key'] = more.key;
    const outgoing = request(`${sandbox.url}${path}`, { method, headers, agent }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += String(chunk)));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
    });
    outgoing.on('error', reject);
    outgoing.end(more.body ?? '');
  });
}

function pay(key: string, body = BODY): Promise<Answered> {
  return call('POST', '/v1/payment_intents', { key, body });
}

async function admin<T>(method: string, path: string, body?: unknown): Promise<T> {
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
  const response = await fetch(`${sandbox.url}/_sandbox/${path}`, init);
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as T;
}

function queue(sequence: readonly unknown[], match: unknown = {}, repeat = 1): Promise<unknown> {
  return admin('POST', 'faults', { match, sequence, repeat });
}

interface Truth {
  readonly payment_intents: readonly { readonly status: string; readonly idempotency_key: string }[];
}

async function moved(): Promise<number> {
  const truth = await admin<Truth>('GET', 'truth');
  return truth.payment_intents.filter(({ status }) => status === 'succeeded').length;
}

const code = (answer: Answered): string => JSON.parse(answer.text).error?.code ?? 'none';

describe('faults on one call', () => {
  test('act, then drop: the money moved, the same key is replayed', async () => {
    await queue(['act_then_drop']);
    await expect(pay('k')).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(await moved()).toBe(1);
    const again = await pay('k');
    expect([again.status, again.headers['idempotent-replayed']]).toEqual([200, 'true']);
    expect(await moved()).toBe(1);
  });

  test('drop before acting: nothing moved', async () => {
    await queue(['drop_before_acting']);
    await expect(pay('k')).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(await moved()).toBe(0);
    expect((await pay('k')).headers['idempotent-replayed']).toBeUndefined();
  });

  test('a method that is not activated is refused, and nothing is kept under the key', async () => {
    await queue(['not_activated']);
    const refused = await pay('k');
    expect([refused.status, JSON.parse(refused.text).error.code]).toEqual([
      400,
      'payment_method_unactivated',
    ]);
    expect(await moved()).toBe(0);
    expect((await pay('k')).status).toBe(200);
  });

  test('a truncated body breaks off in the middle', async () => {
    await queue(['act_then_truncate']);
    await expect(pay('k')).rejects.toMatchObject({ message: 'aborted' });
    expect(await moved()).toBe(1);
  });

  test('an empty body comes with status 200', async () => {
    await queue(['act_then_empty']);
    expect(await pay('k')).toMatchObject({ status: 200, text: '' });
    expect(await moved()).toBe(1);
  });

  test('a dripped body is whole in the end', async () => {
    await queue([{ fault: 'act_then_drip', ms: 1 }]);
    expect(JSON.parse((await pay('k')).text).status).toBe('succeeded');
  });

  test.each([
    ['act_then_500', 1],
    ['fail_500', 0],
  ])('%s: stored and replayed, %d payments', async (fault, payments) => {
    await queue([fault]);
    const first = await pay('k');
    const second = await pay('k');
    expect([first.status, second.status]).toEqual([500, 500]);
    expect(second.text).toBe(first.text);
    expect(first.headers['idempotent-replayed']).toBeUndefined();
    expect(second.headers['idempotent-replayed']).toBe('true');
    expect(await moved()).toBe(payments);
    expect(await admin('GET', 'keys?key=k')).toMatchObject({ keys: [{ seen: 2, status: 500 }] });
  });

  test.each([
    ['act_then_bad_gateway', 1],
    ['bad_gateway', 0],
  ])('%s: HTML, not stored, %d payments', async (fault, payments) => {
    await queue([fault]);
    const answer = await pay('k');
    expect([answer.status, answer.headers['content-type']]).toEqual([502, 'text/html']);
    expect(answer.headers['request-id']).toBeUndefined();
    expect(await moved()).toBe(payments);
    expect((await pay('k')).status).toBe(200);
    expect(await moved()).toBe(1);
  });

  test.each([
    ['rate_limited', 429, 'rate_limit'],
    ['unauthorized', 401, 'api_key_expired'],
    ['key_in_use', 409, 'idempotency_key_in_use'],
  ])('%s: nothing done, nothing stored', async (fault, status, expected) => {
    await queue([fault]);
    const answer = await pay('k');
    expect([answer.status, code(answer)]).toEqual([status, expected]);
    expect(await moved()).toBe(0);
    expect((await pay('k')).headers['idempotent-replayed']).toBeUndefined();
  });

  test('429 says how long to wait', async () => {
    await queue([{ fault: 'rate_limited', retry_after_s: 7 }]);
    expect((await pay('k')).headers['retry-after']).toBe('7');
  });

  test('a forced decline is stored as one', async () => {
    await queue([{ fault: 'decline', decline: 'lost_card' }]);
    const answer = await pay('k');
    expect(JSON.parse(answer.text).error).toMatchObject({ code: 'card_declined', decline_code: 'lost_card' });
    expect((await pay('k')).text).toBe(answer.text);
    expect(await moved()).toBe(0);
  });

  test('reads are hit too, and nothing is stored of them', async () => {
    const { id } = JSON.parse((await pay('k')).text) as { id: string };
    await queue(['fail_500', 'act_then_500', 'bad_gateway', 'rate_limited'], { method: 'GET' });
    const statuses: number[] = [];
    for (let n = 0; n < 5; n++) statuses.push((await call('GET', `/v1/payment_intents/${id}`)).status);
    expect(statuses).toEqual([500, 500, 502, 429, 200]);
  });
});

describe('late and concurrent calls', () => {
  test('a call that hangs acts after its caller gave up, and after a retry is only replayed', async () => {
    await queue([{ fault: 'hang_then_act', ms: 1000 }]);
    const socket = connect(sandbox.port, '127.0.0.1');
    const head = `POST /v1/payment_intents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk_test_x\r\ncontent-type: ${FORM}`;
    socket.write(`${head}\r\nidempotency-key: k\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`);
    await expect
      .poll(() => admin('GET', 'requests'), PATIENT)
      .toMatchObject({ by_fault: { hang_then_act: 1 } });
    socket.destroy();
    expect(await moved()).toBe(0);
    await expect.poll(moved, PATIENT).toBe(1);
    expect((await pay('k')).headers['idempotent-replayed']).toBe('true');
    expect(await moved()).toBe(1);
  });

  test('while a hanging call is not looked at, its key is free; while a slow one runs, it is in use', async () => {
    await queue([{ fault: 'hang_then_act', ms: 1000 }], { key: 'a' });
    await queue([{ fault: 'slow', ms: 1000 }], { key: 'b' });
    const late = [pay('a'), pay('b')];
    await expect
      .poll(() => admin('GET', 'requests'))
      .toMatchObject({ by_fault: { hang_then_act: 1, slow: 1 } });
    const [early, conflict] = await Promise.all([pay('a'), pay('b')]);
    expect([early.status, early.headers['idempotent-replayed']]).toEqual([200, undefined]);
    expect([conflict.status, code(conflict)]).toEqual([409, 'idempotency_key_in_use']);
    const [hung, slow] = await Promise.all(late);
    expect(hung?.headers['idempotent-replayed']).toBe('true');
    expect(slow?.headers['idempotent-replayed']).toBeUndefined();
    expect(await moved()).toBe(2);
  });

  test('many calls at once with one key move the money once', async () => {
    await admin('POST', 'config', { latency_ms: 200 });
    const answers = await Promise.all(Array.from({ length: 40 }, () => pay('k')));
    const statuses = new Set(answers.map(({ status }) => status));
    expect([...statuses].sort()).toEqual([200, 409]);
    expect(await moved()).toBe(1);
  });

  test.each([
    ['confirm', 'amount=1000&currency=usd&payment_method=pm_card_visa'],
    ['capture', `${BODY}&capture_method=manual`],
  ])(
    'two calls to %s at once under two keys: one moves the money, the other is refused',
    async (action, body) => {
      const { id } = JSON.parse((await pay('k', body)).text) as { id: string };
      await admin('POST', 'config', { latency_ms: 50 });
      const path = `/v1/payment_intents/${id}/${action}`;
      const returning = action === 'confirm' ? 'return_url=https://shop.example' : '';
      const answers = await Promise.all(
        ['a', 'b'].map((key) => call('POST', path, { key, body: returning })),
      );
      expect(answers.map((answer) => [answer.status, code(answer)])).toEqual([
        [200, 'none'],
        [400, 'payment_intent_unexpected_state'],
      ]);
      expect(await admin('GET', 'truth/summary')).toMatchObject({ usd: { received: 1000, succeeded: 1 } });
    },
  );

  test('after a reset, what hung before no longer acts', async () => {
    await queue([{ fault: 'hang_then_act', ms: 1000 }]);
    const late = pay('k');
    const ended = expect(late).rejects.toMatchObject({ code: 'ECONNRESET' });
    await expect
      .poll(() => admin('GET', 'requests'), PATIENT)
      .toMatchObject({ by_fault: { hang_then_act: 1 } });
    await admin('POST', 'reset');
    await ended;
    expect(await moved()).toBe(0);
  });

  test('a request cut short has done nothing', async () => {
    const socket = connect(sandbox.port, '127.0.0.1');
    const head = `POST /v1/payment_intents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk_test_x\r\ncontent-type: ${FORM}`;
    const half = BODY.slice(0, BODY.length - 5);
    await new Promise((sent) => {
      socket.write(`${head}\r\ncontent-length: ${BODY.length}\r\n\r\n${half}`, sent);
    });
    socket.destroy();
    expect((await pay('other')).status).toBe(200);
    expect(await moved()).toBe(1);
  });
});

describe('seeded faults', () => {
  const rates = { act_then_drop: 0.1, drop_before_acting: 0.1, act_then_500: 0.1, rate_limited: 0.1 };

  async function run(keys: readonly string[]): Promise<Record<string, string>> {
    await admin('POST', 'reset');
    await admin('POST', 'config', { seed: 42, rates });
    const outcomes: [string, string][] = [];
    for (const key of keys) {
      const answer = await pay(key).then(
        ({ status }) => String(status),
        () => 'reset',
      );
      outcomes.push([key, answer]);
    }
    return Object.fromEntries(outcomes);
  }

  test('two runs agree call by call, whatever their order', async () => {
    const keys = Array.from({ length: 200 }, (_, index) => `key-${index}`);
    const first = await run(keys);
    const second = await run([...keys].reverse());
    expect(second).toEqual(first);
    expect(new Set(Object.values(first))).toEqual(new Set(['200', '429', '500', 'reset']));
  });

  test('no key is hit more often than allowed', async () => {
    await admin('POST', 'config', { rates: { rate_limited: 1 }, max_faults_per_key: 2 });
    const statuses: number[] = [];
    for (let n = 0; n < 4; n++) statuses.push((await pay('k')).status);
    expect(statuses).toEqual([429, 429, 200, 200]);
    expect(await admin('GET', 'keys')).toMatchObject({ total: 1, keys: [{ seen: 4, faults: 2 }] });
  });
});

describe('queued faults over HTTP', () => {
  test('a sequence for one order follows its key through every retry', async () => {
    const sequence = [
      'drop_before_acting',
      'unauthorized',
      'rate_limited',
      'act_then_drop',
      'key_in_use',
      'ok',
    ];
    await queue(sequence, { metadata: { paygate_order: '7' } });
    const body = `${BODY}&metadata[paygate_order]=7`;
    const seen: string[] = [];
    for (let n = 0; n < 7; n++) {
      seen.push(
        await pay('k', body).then(
          ({ status }) => String(status),
          () => 'reset',
        ),
      );
      expect((await pay(`other-${n}`)).status).toBe(200);
    }
    expect(seen).toEqual(['reset', '401', '429', 'reset', '409', '200', '200']);
    expect(await admin('GET', 'truth/moved?by=paygate_order')).toMatchObject({
      reference: '7',
      succeeded: 1,
      moved: { usd: 1000 },
    });
    expect(await admin('GET', 'faults')).toEqual({ rules: [] });
  });

  test("the metadata of the intent counts for calls on it, the SDK's own retry is one more call", async () => {
    const stripe = new Stripe('sk_test_x', {
      host: '127.0.0.1',
      port: sandbox.port,
      protocol: 'http',
      telemetry: false,
      maxNetworkRetries: 0,
    });
    const { id } = await stripe.paymentIntents.create({
      amount: 1000,
      currency: 'usd',
      metadata: { paygate_order: '8' },
      automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    });
    await queue(['act_then_drop', 'act_then_drop'], { metadata: { paygate_order: '8' } });
    const confirmation = stripe.paymentIntents.confirm(id, { payment_method: 'pm_card_visa' });
    await expect(confirmation).rejects.toBeInstanceOf(Stripe.errors.StripeConnectionError);
    expect(await admin('GET', 'requests')).toMatchObject({
      by_path: { 'POST /v1/payment_intents/{id}/confirm': 2 },
      by_fault: { act_then_drop: 2 },
      by_status: { dropped: 2 },
    });
    expect(await moved()).toBe(1);
  });
});

describe('the admin API', () => {
  test.each([
    ['POST', 'config', { rates: { act_then_drop: 0.6, slow: 0.6 } }, /add up/],
    ['POST', 'config', { rates: { no_such_fault: 0.1 } }, /no_such_fault/],
    ['POST', 'config', { hang: 5 }, /hang/],
    ['POST', 'faults', { sequence: [] }, /sequence/],
    ['POST', 'faults', { sequence: ['no_such_fault'] }, /sequence/],
    ['POST', 'clock', { advance_ms: -1 }, /advance_ms/],
    ['POST', 'payment_intents/pi_x/authenticate', { result: 'succeeded' }, /does not wait/],
    ['GET', 'nothing', undefined, /no GET nothing/],
  ])('%s %s %j is refused with a reason', async (method, path, body, reason) => {
    await expect(admin(method, path, body)).rejects.toThrow(reason);
  });

  test('settings, time and health can be read back', async () => {
    await admin('POST', 'config', { slow_ms: 123 });
    expect(await admin('GET', 'config')).toMatchObject({ slow_ms: 123, seed: 1, max_faults_per_key: 3 });
    const before = await admin<{ offset_ms: number }>('GET', 'clock');
    await admin('POST', 'clock', { advance_ms: 60_000 });
    expect(await admin('GET', 'clock')).toMatchObject({ offset_ms: before.offset_ms + 60_000 });
    expect(await admin('GET', 'health')).toMatchObject({
      status: 'ok',
      payment_intents: 0,
      journal_bytes: null,
    });
  });

  test('truth as lines is the truth as JSON, filtered alike', async () => {
    for (let n = 0; n < 1203; n++) await pay(`k${n}`, `${BODY}&metadata[n]=${n % 3}&transfer_group=g${n}`);
    const lines = await (await fetch(`${sandbox.url}/_sandbox/truth?format=ndjson`)).text();
    const parsed = lines
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    const { payment_intents } = await admin<Truth>('GET', 'truth');
    expect(parsed).toHaveLength(1203);
    expect(parsed).toEqual(payment_intents);
    expect((await admin<Truth>('GET', 'truth?metadata[n]=1')).payment_intents).toHaveLength(401);
    expect((await admin<Truth>('GET', 'truth?transfer_group=g7')).payment_intents).toMatchObject([
      { idempotency_key: 'k7', amount_received: 1000, charges: [{ status: 'succeeded' }] },
    ]);
    expect(await admin('GET', 'truth/summary')).toEqual({
      usd: {
        intents: 1203,
        amount: 1_203_000,
        received: 1_203_000,
        succeeded: 1203,
        by_status: { succeeded: 1203 },
      },
    });
  });

  test('an outage refuses connections, then serves again on the same port with the same truth', async () => {
    await pay('k');
    await admin('POST', 'outage', { ms: 1000 });
    const attempt = () =>
      pay('k').then(
        ({ status }) => status,
        (error: NodeJS.ErrnoException) => error.code,
      );
    await expect.poll(attempt, PATIENT).toBe('ECONNREFUSED');
    await expect.poll(attempt, PATIENT).toBe(200);
    expect(await moved()).toBe(1);
  });
});

describe('starting', () => {
  test('a taken port is an error a person can act on', async () => {
    const start = startSandbox({ port: sandbox.port, journalPath: null, seed: 1 });
    await expect(start).rejects.toMatchObject({ code: 'sandbox_port_unavailable' });
  });

  test('impossible rates are refused', async () => {
    const start = startSandbox({ port: 0, journalPath: null, seed: 1, rates: { slow: 2 } });
    await expect(start).rejects.toMatchObject({ code: 'sandbox_settings_invalid' });
    // As a command line gives them.
    const rates = JSON.parse('{ "fail_5000": 0.1 }');
    await expect(startSandbox({ port: 0, journalPath: null, seed: 1, rates })).rejects.toThrow(
      'there is no fault "fail_5000"; there are act_then_drop, ',
    );
  });
});
