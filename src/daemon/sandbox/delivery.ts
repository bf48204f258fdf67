/**
 * The ways an answer leaves the sandbox, the broken ones included. Looks at no payment.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Ending } from './endings.ts';
import type { Reply } from './engine.ts';
import { STRIPE_VERSION } from './render.ts';

/**
 * One request and its response, with what Stripe echoes in the headers.
 * @property headersOf the headers of another PSP's answer, given its length in bytes; left out: Stripe's
 */
export interface Exchange {
  readonly headersOf?: (reply: Reply, length: number) => string[];
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
}

/** How many pieces a dripped answer is cut into. */
const DRIP_PIECES = 10;

const BAD_GATEWAY =
  '<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n';

/**
 * Ends an exchange. Returns the status for the counters: `dropped` where the caller gets no whole answer.
 * @param later runs a callback after so many milliseconds
 */
export function deliver(
  exchange: Exchange,
  ending: Ending,
  later: (ms: number, callback: () => void) => void,
): number | 'dropped' {
  switch (ending.kind) {
    case 'whole':
      send(exchange, ending.reply, ending.headers);
      return ending.reply.status;
    case 'empty':
      exchange.response.writeHead(ending.reply.status, headersOf(exchange, ending.reply, 0));
      exchange.response.end();
      return ending.reply.status;
    case 'dripped':
      drip(exchange, ending.reply, (callback) => later(ending.pauseMs, callback));
      return ending.reply.status;
    case 'truncated':
      truncate(exchange, ending.reply);
      return 'dropped';
    case 'bad_gateway':
      sendBadGateway(exchange);
      return 502;
    case 'dropped':
      exchange.request.socket.resetAndDestroy();
      return 'dropped';
  }
}

function send(exchange: Exchange, reply: Reply, more: readonly string[]): void {
  const body = Buffer.from(reply.body, 'utf8');
  exchange.response.writeHead(reply.status, [...headersOf(exchange, reply, body.length), ...more]);
  exchange.response.end(body);
}

/** Promises the whole body, sends half of it, and closes. */
function truncate(exchange: Exchange, reply: Reply): void {
  const body = Buffer.from(reply.body, 'utf8');
  exchange.response.writeHead(reply.status, headersOf(exchange, reply, body.length));
  exchange.response.write(body.subarray(0, body.length >>> 1), () => exchange.response.destroy());
}

/** What a proxy in front of Stripe says: 502 and HTML, no request id. */
function sendBadGateway(exchange: Exchange): void {
  const headers = ['content-type', 'text/html', 'content-length', String(BAD_GATEWAY.length)];
  exchange.response.writeHead(502, headers);
  exchange.response.end(BAD_GATEWAY);
}

/** Sends the body in pieces; `later` runs its callback after one pause. */
function drip(exchange: Exchange, reply: Reply, later: (callback: () => void) => void): void {
  const body = Buffer.from(reply.body, 'utf8');
  const size = Math.ceil(body.length / DRIP_PIECES);
  exchange.response.writeHead(reply.status, headersOf(exchange, reply, body.length));
  const next = (from: number): void => {
    if (exchange.response.destroyed) return;
    exchange.response.write(body.subarray(from, from + size));
    if (from + size >= body.length) exchange.response.end();
    else later(() => next(from + size));
  };
  next(0);
}

function headersOf(exchange: Exchange, reply: Reply, length: number): string[] {
  if (exchange.headersOf !== undefined) return exchange.headersOf(reply, length);
  const { headers } = exchange.request;
  const version = headers['stripe-version'];
  const key = headers['idempotency-key'];
  const list = [
    'content-type',
    'application/json',
    'content-length',
    String(length),
    'request-id',
    exchange.requestId,
    'stripe-version',
    typeof version === 'string' ? version : STRIPE_VERSION,
  ];
  if (typeof key === 'string') list.push('idempotency-key', key);
  if (reply.origin === 'replayed') list.push('idempotent-replayed', 'true');
  if (reply.status === 409) list.push('stripe-should-retry', 'true');
  if (reply.status >= 500) list.push('stripe-should-retry', 'false');
  return list;
}
