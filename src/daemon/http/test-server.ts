/** What the tests of the HTTP API share: a server on a free port, bodies, and callers. For tests only. */
import { type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import type { Db } from '../../core/db/connection.ts';
import { type Currency, parseCurrency } from '../../core/money.ts';
import type { AcceptPolicy } from '../../core/payment/accept-payments.ts';
import { capabilitiesOf } from '../../core/psp/request.ts';
import { openLog } from '../log.ts';
import { type HttpOptions, type HttpServer, startHttp } from './server.ts';

const EUR = parseCurrency('EUR') as Currency;

export const POLICY: AcceptPolicy = {
  route: { rules: [], fallback: { name: 'stripe_main', psp: 'stripe' } },
  onPartial: 'keep',
  fees: new Map([[EUR, { feeBps: 250, fixedMinor: 30n }]]),
  risk: {
    maxPaymentMinor: new Map(),
    blockedBuyers: new Set(['blocked buyer']),
    blockedSellers: new Set(),
  },
  releaseAfterDays: null,
};

export const BOOK_KEY = 'testbook';

export function startTestServer(db: Db, changes: Partial<HttpOptions> = {}): Promise<HttpServer> {
  return startHttp({
    db,
    policy: POLICY,
    refunds: { policy: { fee: 'proportional', overdraw: 'allowed' }, accountOf: () => ({ psp: 'stripe' }) },
    webhooks: {
      accounts: [],
      findings: { capabilitiesOf: () => capabilitiesOf('stripe'), random: () => 0.5 },
    },
    bookKey: BOOK_KEY,
    host: '127.0.0.1',
    port: 0,
    log: openLog('silent', {}),
    principal: 'http:loopback',
    ...changes,
  });
}

export type Body = Readonly<Record<string, unknown>>;

/** A good body; its key and checkout are both `name`. */
export function bodyOf(name: string, changes: Body = {}): Body {
  return {
    buyer: 'buyer 1',
    checkout_id: name,
    idempotency_key: name,
    payment_orders: [
      { seller: 'seller 1', amount: '12.50', currency: 'EUR', payment_method: 'pm_card_visa' },
    ],
    ...changes,
  };
}

export type Answer = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly json: Record<string, unknown>;
};

export type Call = {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** Text or bytes of the body. */
  readonly payload?: string | Buffer;
};

/** One request on a connection of its own. */
export function call(server: HttpServer, what: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const url = new URL(what.path ?? '/v1/payments', server.url);
    const headers = { 'content-length': String(Buffer.byteLength(what.payload ?? '')), ...what.headers };
    const outgoing = request(url, { method: what.method ?? 'GET', headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const isJson = /json/.test(response.headers['content-type'] ?? '');
        const json = text === '' || !isJson ? {} : (JSON.parse(text) as Record<string, unknown>);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
      });
    });
    outgoing.on('error', reject);
    outgoing.end(what.payload);
  });
}

export function post(server: HttpServer, body: unknown, headers: Call['headers'] = {}): Promise<Answer> {
  return call(server, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    payload: JSON.stringify(body),
  });
}

/** Writes bytes on a bare connection and gives all that comes back until the server closes it. */
export function exchange(server: HttpServer, bytes: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.port, '127.0.0.1', () => socket.write(bytes));
    let text = '';
    socket.on('data', (chunk) => {
      text += String(chunk);
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
  });
}

/** A request as bytes, for pipelines. */
export function rawPost(body: unknown): string {
  const text = JSON.stringify(body);
  return (
    'POST /v1/payments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n' +
    `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
  );
}
