/** The Stripe connector against raw servers: what the SDK sends, and what it must not be allowed to do. */
import { once } from 'node:events';
import type { IncomingHttpHeaders, Server, ServerResponse } from 'node:http';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { parseCurrency } from '../money.ts';
import type { Connector, StoredAttempt, StripeAccount } from './psp.ts';
import { openConnectors } from './registry.ts';
import { freezeCharge, freezePayout, freezeRefund } from './request.ts';
import { createStripeConnector } from './stripe-connector.ts';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const KEY = 'b7f3-op_9-1';
const STRIPE = { psp: 'stripe' } as const;

function attempt(customerPresent = false): StoredAttempt {
  const frozen = freezeCharge(STRIPE, {
    idempotencyKey: KEY,
    paymentId: 'pay_1',
    orderId: 'ord_2',
    operationId: 'op_9',
    attemptNumber: 1,
    amountMinor: 1250n,
    currency: parseCurrency('EUR')!,
    paymentMethod: 'pm_card_visa',
    buyer: 'buyer-77',
    customerPresent,
  });
  if (frozen.kind === 'rejected') throw new Error(frozen.reason);
  return { operationKind: 'charge', idempotencyKey: KEY, request: frozen.request, reference: 'op_9' };
}

const METADATA = {
  paygate_payment: 'pay_1',
  paygate_order: 'ord_2',
  paygate_operation: 'op_9',
  paygate_attempt: '1',
  paygate_key: KEY,
};

const INTENT = {
  id: 'pi_1',
  object: 'payment_intent',
  amount: 1250,
  amount_received: 1250,
  currency: 'eur',
  status: 'succeeded',
  metadata: METADATA,
};

function account(port: number, overrides: Partial<StripeAccount> = {}): StripeAccount {
  return {
    name: 'main',
    psp: 'stripe',
    apiKey: 'sk_test_abc',
    baseUrl: `http://127.0.0.1:${port}`,
    maxConcurrent: 4,
    timeoutMs: 5_000,
    ...overrides,
  };
}

function connect(port: number, overrides: Partial<StripeAccount> = {}): Connector {
  const connector = createStripeConnector(account(port, overrides));
  cleanups.push(() => connector.close());
  return connector;
}

type Received = {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
};

/** A server that notes every request and answers as it is told. */
async function serve(
  answer: (response: ServerResponse, nth: number) => void,
): Promise<{ port: number; received: Received[] }> {
  const received: Received[] = [];
  const server: Server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      received.push({ method, url, headers, body: Buffer.concat(chunks).toString() });
      answer(response, received.length);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, received };
}

function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

describe('what is sent', () => {
  test('the stored parameters, the stored key, the account key, and no telemetry', async () => {
    const { port, received } = await serve((response) => json(response, 200, INTENT));
    const connector = connect(port);
    await connector.charge(attempt(), 5_000);
    await connector.charge(attempt(), 5_000);
    expect(received).toHaveLength(2);
    for (const { method, url, headers, body } of received) {
      expect([method, url]).toEqual(['POST', '/v1/payment_intents']);
      expect(headers.authorization).toBe('Bearer sk_test_abc');
      expect(headers['idempotency-key']).toBe(KEY);
      expect(headers).not.toHaveProperty('x-stripe-client-telemetry');
      expect(decodeURIComponent(body).split('&')).toEqual([
        'amount=1250',
        'currency=eur',
        'payment_method=pm_card_visa',
        'confirm=true',
        'automatic_payment_methods[enabled]=true',
        'automatic_payment_methods[allow_redirects]=never',
        'off_session=true',
        'error_on_requires_action=true',
        'transfer_group=ord_2',
        'metadata[paygate_payment]=pay_1',
        'metadata[paygate_order]=ord_2',
        'metadata[paygate_operation]=op_9',
        'metadata[paygate_attempt]=1',
        `metadata[paygate_key]=${KEY}`,
      ]);
    }
  });
});

describe('a charge is sent once, whatever the SDK would like', () => {
  test.each<[string, (response: ServerResponse) => void]>([
    ['a reset, which the SDK would send again', (response) => response.socket?.resetAndDestroy()],
    ['a closed connection', (response) => response.socket?.end()],
    ['409', (response) => json(response, 409, { error: { code: 'idempotency_key_in_use', message: 'm' } })],
    ['500', (response) => json(response, 500, { error: { type: 'api_error', message: 'm' } })],
    [
      '503 that asks for a retry',
      (response) =>
        json(
          response,
          503,
          { error: { type: 'api_error', message: 'm' } },
          { 'Stripe-Should-Retry': 'true' },
        ),
    ],
    ['429', (response) => json(response, 429, { error: { message: 'm' } })],
  ])('%s', async (_name, answer) => {
    const { port, received } = await serve(answer);
    const reply = await connect(port).charge(attempt(), 5_000);
    expect(['unknown', 'rate_limited']).toContain(reply.kind);
    // Longer than the SDK's first pause (500 ms).
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(received).toHaveLength(1);
  });

  test('a reset followed by a server that is gone is unknown, not "not sent"', async () => {
    const server = net.createServer((socket) => {
      socket.on('data', () => {
        server.close();
        socket.resetAndDestroy();
      });
      socket.on('error', () => {});
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const reply = await connect((server.address() as AddressInfo).port).charge(attempt(), 5_000);
    expect(reply).toMatchObject({ kind: 'unknown', next: 'resend' });
  });
});

describe('a 200 that is not believed', () => {
  const bodies: [string, string, object][] = [
    ['empty', '', { kind: 'unknown', next: 'resend' }],
    ['HTML', '<html>ok</html>', { kind: 'unknown', next: 'resend' }],
    ['JSON cut off', JSON.stringify(INTENT).slice(0, 40), { kind: 'unknown', next: 'resend' }],
    // Each of these made the SDK lose its promise or throw a TypeError of its own.
    ['null', 'null', { kind: 'unknown', next: 'resend' }],
    ['a number', '42', { kind: 'unknown', next: 'resend' }],
    ['a text', '"ok"', { kind: 'unknown', next: 'resend' }],
    ['a list', '[]', { kind: 'unknown', next: 'resend' }],
    ['an error that is a text', '{"error":"bad_gateway"}', { kind: 'unknown', next: 'resend' }],
    ['an error that is true', '{"error":true}', { kind: 'unknown', next: 'resend' }],
    ['an empty object', '{}', { kind: 'unknown', next: 'enquire' }],
    [
      'an error object',
      '{"error":{"type":"card_error","code":"card_declined","message":"m"}}',
      { kind: 'unknown', next: 'enquire' },
    ],
    ['another amount', JSON.stringify({ ...INTENT, amount: 1 }), { kind: 'unknown', next: 'enquire' }],
    [
      'another attempt',
      JSON.stringify({ ...INTENT, metadata: { ...METADATA, paygate_attempt: '2' } }),
      { kind: 'unknown', next: 'enquire' },
    ],
  ];
  test.each(bodies)('%s', async (_name, body, expected) => {
    const { port } = await serve((response) => json(response, 200, body));
    expect(await connect(port).charge(attempt(), 5_000)).toMatchObject(expected);
  });

  test('one that carries another idempotency key', async () => {
    const { port } = await serve((response) => json(response, 200, INTENT, { 'Idempotency-Key': 'other' }));
    expect(await connect(port).charge(attempt(), 5_000)).toMatchObject({ kind: 'unknown', next: 'enquire' });
  });

  test('one of more than a megabyte', async () => {
    const { port } = await serve((response) =>
      json(response, 200, { ...INTENT, padding: 'x'.repeat(1_100_000) }),
    );
    expect(await connect(port).charge(attempt(), 5_000)).toMatchObject({
      kind: 'unknown',
      reason: expect.stringContaining('1000000 bytes'),
    });
  });
});

describe('a refusal keeps its status, whatever its body', () => {
  test.each<[number, string, Record<string, string>, object]>([
    [
      502,
      '<html>Bad Gateway</html>',
      {},
      { kind: 'unknown', next: 'resend', reason: expect.stringContaining('502') },
    ],
    [401, '<html>', {}, { kind: 'config_error' }],
    [429, '', { 'Retry-After': '7' }, { kind: 'rate_limited', retryAfterMs: 7_000 }],
    [500, '', { 'Idempotent-Replayed': 'true' }, { kind: 'unknown', next: 'enquire' }],
    [400, '', {}, { kind: 'unknown', next: 'resend' }],
    [
      402,
      '{"error":{"type":"card_error","code":"card_declined","decline_code":"lost_card","message":"m"}}',
      {},
      { kind: 'declined', reason: 'lost_card' },
    ],
    [
      400,
      '{"error":{"type":"invalid_request_error","code":"parameter_unknown","message":"m"}}',
      {},
      { kind: 'rejected' },
    ],
    [400, '{"error":{"type":"idempotency_error","message":"m"}}', {}, { kind: 'unknown', next: 'enquire' }],
    [
      403,
      '{"error":{"type":"invalid_request_error","message":"key sk_test_abc may not"}}',
      {},
      { kind: 'config_error', reason: expect.not.stringContaining('abc') },
    ],
  ])('%i %s', async (status, body, headers, expected) => {
    const { port } = await serve((response) => json(response, status, body, headers));
    expect(await connect(port).charge(attempt(), 5_000)).toMatchObject(expected);
  });

  test("a decline that is about another attempt's intent is doubt", async () => {
    const other = {
      ...INTENT,
      status: 'requires_payment_method',
      metadata: { ...METADATA, paygate_key: 'ffff' },
    };
    const error = { type: 'card_error', code: 'card_declined', message: 'm', payment_intent: other };
    const { port } = await serve((response) => json(response, 402, { error }));
    expect(await connect(port).charge(attempt(), 5_000)).toMatchObject({ kind: 'unknown', next: 'enquire' });
  });
});

describe('an account that no request could be made with is refused at once', () => {
  test.each<[string, Partial<StripeAccount>]>([
    ['no address', { baseUrl: 'localhost:4242' }],
    ['another protocol', { baseUrl: 'ftp://127.0.0.1' }],
    ['a path', { baseUrl: 'http://127.0.0.1/v1' }],
    ['an empty key', { apiKey: '' }],
    ['a key with a line break', { apiKey: 'sk_test_abc\n' }],
  ])('%s', async (_name, overrides) => {
    await expect(openConnectors([account(1, overrides)])).rejects.toMatchObject({
      code: 'psp_account_invalid',
    });
  });

  test('two accounts of one name', async () => {
    await expect(openConnectors([account(1), account(2)])).rejects.toMatchObject({
      code: 'psp_account_duplicate',
    });
  });

  test('the key is never in the message', async () => {
    const error = await openConnectors([account(1, { apiKey: 'sk_live_x y' })]).catch(
      (caught: Error) => caught,
    );
    expect(String((error as Error).message)).not.toContain('sk_live');
  });
});

test('connectors are found by account name', async () => {
  const connectors = await openConnectors([account(1), account(2, { name: 'other', baseUrl: null })]);
  cleanups.push(() => Promise.all([...connectors.values()].map((connector) => connector.close())));
  expect([...connectors.keys()]).toEqual(['main', 'other']);
  expect(connectors.get('other')?.capabilities).toMatchObject({
    canEnquire: { charge: true, refund: true, payout: true },
    concurrentResendIsSafe: true,
  });
});

const OPERATION = {
  ...{ idempotencyKey: KEY, operationId: 'op_9', attemptNumber: 1, amountMinor: 500n },
  currency: parseCurrency('EUR')!,
};
const REFERENCES = { paygate_operation: 'op_9', paygate_attempt: '1', paygate_key: KEY };

function moneyOut(kind: 'refund' | 'payout'): StoredAttempt {
  const frozen =
    kind === 'refund'
      ? freezeRefund({ psp: 'stripe' }, { ...OPERATION, orderId: 'ord_2', chargeReference: 'pi_7' })
      : freezePayout({ psp: 'stripe' }, { ...OPERATION, destination: 'acct_7' });
  if (frozen.kind === 'rejected') throw new Error(frozen.reason);
  return { operationKind: kind, idempotencyKey: KEY, request: frozen.request, reference: 'op_9' };
}

describe('refunds and payouts', () => {
  const refund = {
    ...{ id: 're_1', object: 'refund', amount: 500, payment_intent: 'pi_7', status: 'succeeded' },
    metadata: REFERENCES,
  };
  const transfer = {
    ...{ id: 'tr_1', object: 'transfer', amount: 500, currency: 'eur', destination: 'acct_7' },
    ...{ reversed: false, metadata: REFERENCES },
  };
  const metadata =
    'metadata[paygate_operation]=op_9&metadata[paygate_attempt]=1&metadata[paygate_key]=b7f3-op_9-1';

  test.each([
    [
      'refund' as const,
      refund,
      '/v1/refunds',
      `payment_intent=pi_7&amount=500&metadata[paygate_order]=ord_2&${metadata}`,
    ],
    [
      'payout' as const,
      transfer,
      '/v1/transfers',
      `amount=500&currency=eur&destination=acct_7&transfer_group=op_9&${metadata}`,
    ],
  ])('a %s goes out as it is stored', async (kind, object, path, body) => {
    const { port, received } = await serve((response) => json(response, 200, object));
    expect(await connect(port)[kind](moneyOut(kind), 5_000)).toEqual({
      kind: 'succeeded',
      pspReference: object.id,
      ...(kind === 'payout' ? { arrived: true } : {}),
    });
    expect(received).toHaveLength(1);
    expect(received[0]).toMatchObject({ method: 'POST', url: path, headers: { 'idempotency-key': KEY } });
    expect(decodeURIComponent(received[0]!.body)).toBe(body);
  });

  test.each(['refund', 'payout'] as const)(
    "a %s that is answered with the other's object is doubt",
    async (kind) => {
      const { port } = await serve((response) => json(response, 200, kind === 'refund' ? transfer : refund));
      expect(await connect(port)[kind](moneyOut(kind), 5_000)).toMatchObject({
        kind: 'unknown',
        next: 'enquire',
      });
    },
  );

  test('the payment intent in the error of a refund is not taken for what became of the refund', async () => {
    const error = {
      ...{ type: 'invalid_request_error', code: 'charge_already_refunded', message: 'm' },
      payment_intent: INTENT,
    };
    const { port } = await serve((response) => json(response, 400, { error }));
    expect(await connect(port).refund(moneyOut('refund'), 5_000)).toMatchObject({ kind: 'rejected' });
  });

  test.each(['refund', 'payout'] as const)('a stored %s that nobody can read', async (kind) => {
    const broken = { ...moneyOut(kind), request: '{}' };
    const connector = connect(1);
    expect(await connector[kind](broken, 5_000)).toMatchObject({ kind: 'rejected' });
    const sent = { firstSentAt: '2026-11-25T10:00:00Z', lastSentAt: '2026-11-25T10:00:00Z' };
    expect(await connector.enquire(broken, sent, 5_000)).toMatchObject({ kind: 'unknown', next: 'enquire' });
  });
});

test('an unsigned webhook is refused', () => {
  expect(connect(1).parseWebhook(Buffer.from('{}'), {}, 'whsec_x', 0)).toMatchObject({ kind: 'refused' });
});

test('an attempt of another kind is a bug of ours', async () => {
  await expect(connect(1).charge({ ...attempt(), operationKind: 'refund' }, 5_000)).rejects.toThrow(/refund/);
});
