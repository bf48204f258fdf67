/** The Adyen connector against a server that answers as it is told: what is sent, and what is made of odd answers. */
import { once } from 'node:events';
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { Bug, OperatorError } from '../errors.ts';
import { parseCurrency } from '../money.ts';
import { createAdyenConnector } from './adyen-connector.ts';
import { createAdyenHttpClient } from './adyen-http-client.ts';
import type { AdyenAccount, Connector, FrozenRequest, OperationKind, StoredAttempt } from './psp.ts';
import { openConnectors } from './registry.ts';
import { freezeCharge, freezePayout, freezeRefund } from './request.ts';

const KEY = 'pg-b7f3-12-1';
const DEADLINE_MS = 5_000;
const COMMON = {
  idempotencyKey: KEY,
  operationId: 'op_12',
  orderId: 'ord_11',
  attemptNumber: 1,
  amountMinor: 1250n,
  currency: parseCurrency('EUR')!,
};

const AUTHORISED = {
  pspReference: 'P1',
  resultCode: 'Authorised',
  merchantReference: 'op_12',
  amount: { currency: 'EUR', value: 1250 },
};

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function accountOf(baseUrl: string | null, changes: Partial<AdyenAccount> = {}): AdyenAccount {
  return {
    name: 'adyen_eu',
    psp: 'adyen',
    apiKey: 'adyen_test_abc',
    baseUrl,
    maxConcurrent: 4,
    timeoutMs: 5_000,
    merchantAccount: 'MarketplaceEU',
    balanceAccountId: 'BA1',
    liveUrlPrefix: null,
    ...changes,
  };
}

function stored(operationKind: OperationKind, frozen: FrozenRequest): StoredAttempt {
  if (frozen.kind === 'rejected') throw new Error(frozen.reason);
  return { operationKind, idempotencyKey: KEY, request: frozen.request, reference: 'op_12' };
}

const ACCOUNT = accountOf(null);
const CHARGE = stored(
  'charge',
  freezeCharge(ACCOUNT, {
    ...COMMON,
    paymentId: 'pay_10',
    paymentMethod: 'stored_authorised',
    buyer: 'buyer-77',
    customerPresent: false,
  }),
);
const REFUND = stored('refund', freezeRefund(ACCOUNT, { ...COMMON, chargeReference: 'P1' }));
const PAYOUT = stored('payout', freezePayout(ACCOUNT, { ...COMMON, destination: 'BA2' }));

type Received = {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
};

/** A connector to a server that notes every request and answers as it is told. */
async function serve(
  answer: (response: ServerResponse, request: Received) => void,
): Promise<{ connector: Connector; port: number; received: Received[] }> {
  const received: Received[] = [];
  const server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += String(chunk);
    });
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      const one = { method, url, headers, body };
      received.push(one);
      answer(response, one);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const connector = createAdyenConnector(accountOf(`http://127.0.0.1:${port}`));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  cleanups.push(() => connector.close());
  return { connector, port, received };
}

function json(
  response: ServerResponse,
  body: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

describe('what is sent', () => {
  test('a charge: the stored text, byte for byte, with the stored key and the account’s', async () => {
    const { connector, received } = await serve((response) => json(response, AUTHORISED));
    await connector.charge(CHARGE, DEADLINE_MS);
    await connector.charge(CHARGE, DEADLINE_MS);
    expect(received).toHaveLength(2);
    for (const { method, url, headers, body } of received) {
      expect([method, url]).toEqual(['POST', '/v72/payments']);
      expect(headers).toMatchObject({
        'x-api-key': 'adyen_test_abc',
        'idempotency-key': KEY,
        'content-type': 'application/json',
      });
      expect(body).toBe(CHARGE.request);
    }
  });

  test('a refund goes to its payment', async () => {
    const { connector, received } = await serve((response) => json(response, {}));
    await connector.refund(REFUND, DEADLINE_MS);
    expect(received).toMatchObject([{ method: 'POST', url: '/v72/payments/P1/refunds' }]);
    expect(received[0]?.headers['idempotency-key']).toBe(KEY);
    expect(JSON.parse(received[0]?.body ?? '')).toMatchObject({ reference: 'op_12' });
  });

  test('a payout is a transfer, and is looked for by its reference in a window around its sends', async () => {
    const { connector, received } = await serve((response) => json(response, { data: [] }));
    await connector.payout(PAYOUT, DEADLINE_MS);
    const sent = { firstSentAt: '2026-01-01T12:00:00Z', lastSentAt: '2026-01-01T13:00:00Z' };
    expect(await connector.enquire(PAYOUT, sent, DEADLINE_MS)).toMatchObject({ kind: 'not_found' });
    expect(received[0]).toMatchObject({ method: 'POST', url: '/btl/v4/transfers', body: PAYOUT.request });
    expect(received[1]).toMatchObject({ method: 'GET', body: '' });
    const query = new URLSearchParams(received[1]?.url.split('?')[1]);
    expect(Object.fromEntries(query)).toEqual({
      balanceAccountId: 'BA1',
      reference: 'op_12',
      createdSince: '2026-01-01T11:55:00.000Z',
      createdUntil: '2026-01-01T13:05:05.000Z',
      limit: '100',
    });
    expect(received[1]?.headers).not.toHaveProperty('idempotency-key');
  });

  test('nothing, for an operation of another kind', async () => {
    const { connector, received } = await serve((response) => json(response, AUTHORISED));
    await expect(connector.charge(REFUND, DEADLINE_MS)).rejects.toThrow(Bug);
    await expect(connector.refund(PAYOUT, DEADLINE_MS)).rejects.toThrow(Bug);
    await expect(connector.payout(CHARGE, DEADLINE_MS)).rejects.toThrow(Bug);
    expect(received).toEqual([]);
  });

  test('nothing, for a stored text that nobody can read', async () => {
    const { connector, received } = await serve((response) => json(response, AUTHORISED));
    const broken = { request: '{"amount":' };
    for (const reply of [
      await connector.charge({ ...CHARGE, ...broken }, DEADLINE_MS),
      await connector.refund({ ...REFUND, ...broken }, DEADLINE_MS),
      await connector.payout({ ...PAYOUT, ...broken }, DEADLINE_MS),
    ]) {
      expect(reply).toMatchObject({ kind: 'rejected' });
    }
    expect(received).toEqual([]);
  });
});

describe('an answer that makes no sense is doubt', () => {
  test.each<[string, (response: ServerResponse) => void, 'resend' | 'enquire']>([
    ['empty', (response) => json(response, ''), 'resend'],
    ['HTML', (response) => json(response, '<html></html>'), 'resend'],
    ['a list', (response) => json(response, '[]'), 'resend'],
    ['an empty object', (response) => json(response, {}), 'resend'],
    ['an error page', (response) => json(response, '<html></html>', 502), 'resend'],
    ['a redirect', (response) => json(response, '', 308, { location: 'http://127.0.0.1:1/' }), 'resend'],
    ['about another operation', (r) => json(r, { ...AUTHORISED, merchantReference: 'op_9' }), 'enquire'],
    ['under another key', (r) => json(r, AUTHORISED, 200, { 'idempotency-key': 'k9' }), 'enquire'],
    ['longer than any', (response) => json(response, { x: 'x'.repeat(1_100_000) }), 'resend'],
  ])('%s', async (_, answer, next) => {
    const { connector } = await serve(answer);
    expect(await connector.charge(CHARGE, DEADLINE_MS)).toMatchObject({ kind: 'unknown', next });
  });

  test.each<[string, unknown]>([
    ['no list', {}],
    ['a list of something else', { data: ['x'] }],
    ['more pages, but nobody knows where', { data: [], _links: { next: { href: 'https://x.example/' } } }],
  ])('%s, as a listing of transfers', async (_, answer) => {
    const { connector } = await serve((response) => json(response, answer));
    const sent = { firstSentAt: '2026-01-01T12:00:00Z', lastSentAt: '2026-01-01T12:00:00Z' };
    const doubt = { kind: 'unknown', next: 'enquire' };
    expect(await connector.enquire(PAYOUT, sent, DEADLINE_MS)).toMatchObject(doubt);
  });
});

describe('an enquiry about a payout', () => {
  const sent = { firstSentAt: '2026-01-01T12:00:00Z', lastSentAt: '2026-01-01T12:00:00Z' };
  const transfer = { id: 'T1', reference: 'op_12', description: KEY, status: 'booked' };

  test('reads every page', async () => {
    const { connector, received } = await serve((response, { url }) => {
      const isLast = url.includes('cursor=c2');
      const next = {
        next: { href: 'https://balanceplatform-api-test.adyen.com/btl/v4/transfers?cursor=c2' },
      };
      json(response, isLast ? { data: [transfer], _links: {} } : { data: [], _links: next });
    });
    expect(await connector.enquire(PAYOUT, sent, DEADLINE_MS)).toEqual({
      kind: 'succeeded',
      pspReference: 'T1',
    });
    expect(received).toHaveLength(2);
  });

  test('says so when several transfers carry the key', async () => {
    const twice = { data: [{ ...transfer, id: 'T0', status: 'failed' }, transfer] };
    const { connector } = await serve((response) => json(response, twice));
    expect(await connector.enquire(PAYOUT, sent, DEADLINE_MS)).toMatchObject({
      kind: 'succeeded',
      reason: expect.stringContaining('2 transfers'),
    });
  });

  test('ends when the pages never do', async () => {
    const { connector, received } = await serve((response) =>
      json(response, { data: [], _links: { next: { href: 'https://x.example/?cursor=again' } } }),
    );
    const doubt = { kind: 'unknown', next: 'enquire' };
    expect(await connector.enquire(PAYOUT, sent, DEADLINE_MS)).toMatchObject(doubt);
    expect(received).toHaveLength(10);
  });
});

describe('an account', () => {
  test.each<[string, Partial<AdyenAccount>]>([
    ['without a key', { apiKey: '' }],
    ['with a line break in its key', { apiKey: 'adyen_test\n' }],
    ['with an address that has a path', { baseUrl: 'http://127.0.0.1:1/v72' }],
    ['with an address that is none', { baseUrl: 'adyen' }],
  ])('%s is refused', (_, changes) => {
    expect(() => createAdyenConnector(accountOf(null, changes))).toThrow(OperatorError);
  });

  test('is opened by its PSP’s name', async () => {
    const { received, port } = await serve((response) => json(response, AUTHORISED));
    const connectors = await openConnectors([accountOf(`http://127.0.0.1:${port}`)]);
    const connector = connectors.get('adyen_eu');
    cleanups.push(() => connector?.close());
    expect(await connector?.charge(CHARGE, DEADLINE_MS)).toMatchObject({ kind: 'succeeded' });
    expect(received).toHaveLength(1);
  });
});

test('in the live environment payments go to the company’s own address', async () => {
  const { port, received } = await serve((response) => json(response, AUTHORISED));
  const account = accountOf(`http://127.0.0.1:${port}`, { liveUrlPrefix: '1797a841fbb37ca7-Market' });
  const connector = createAdyenConnector(account);
  cleanups.push(() => connector.close());
  await connector.charge(CHARGE, DEADLINE_MS);
  expect(received).toMatchObject([{ url: '/checkout/v72/payments' }]);
});

test('without a sandbox each interface is called at the address that the library gives', async () => {
  const { client, close } = createAdyenHttpClient(null, 1);
  cleanups.push(close);
  const config = { apiKey: 'adyen_test_abc' } as Parameters<typeof client.request>[2];
  for (const name of ['checkout', 'transfers']) {
    const { port } = await serve((response) => json(response, { name }));
    const options = { timeout: DEADLINE_MS };
    const answer = await client.request(`http://127.0.0.1:${port}/${name}`, '{}', config, true, options);
    expect(JSON.parse(answer)).toEqual({ name });
  }
});
