/**
 * Adyen's HTTP side: reads a call, lets the decided fault happen to it, answers after the journal.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Counters } from '../counters.ts';
import { deliver, type Exchange } from '../delivery.ts';
import { type Ending, endingAfter, finishMode, whole } from '../endings.ts';
import type { Reply } from '../engine.ts';
import type { Fault } from '../faults.ts';
import type { Timers } from '../timers.ts';
import {
  INTERNAL_ERROR,
  KEY_IN_USE,
  RATE_LIMITED,
  refusal,
  type Surface,
  UNAUTHORIZED,
  validationError,
} from './answers.ts';
import type { AdyenCall, AdyenEngine, AdyenStarted } from './engine.ts';
import { listTransfers, readTransfer } from './listing.ts';
import { type Body, surfaceOf, type WriteRoute } from './operations.ts';

/** Source: docs.adyen.com/development-resources/api-idempotency. */
const MAX_KEY_LENGTH = 64;

const ANY_TEST_KEY = /^adyen_test_\w+$/;
const TRANSFERS = '/btl/v4/transfers';
const MODIFICATIONS = /^\/v72\/payments\/([^/]+)\/(captures|refunds|cancels|reversals)$/;
const MODIFICATION_TYPES = {
  captures: 'capture',
  refunds: 'refund',
  cancels: 'cancel',
  reversals: 'reversal',
} as const;

export interface AdyenParts {
  readonly engine: AdyenEngine;
  readonly counters: Counters;
  readonly timers: Timers;
}

/** Whether the address is one of Adyen's. */
export function isAdyenPath(url: string): boolean {
  return url.startsWith('/v72/') || url.startsWith('/btl/');
}

export class AdyenSide {
  private readonly parts: AdyenParts;

  constructor(parts: AdyenParts) {
    this.parts = parts;
  }

  handle(request: IncomingMessage, response: ServerResponse, body: string): void {
    const url = new URL(request.url ?? '/', 'http://sandbox');
    const exchange: Exchange = { request, response, requestId: '', headersOf: headersFor(request) };
    const surface: Surface = url.pathname.startsWith('/btl/') ? 'platform' : 'checkout';
    this.parts.counters.request(`${request.method} ${labelOf(url.pathname)}`);
    const refuse = (error: Parameters<typeof refusal>[0]) =>
      this.end(exchange, whole(refusal(error, surface)));
    if (!ANY_TEST_KEY.test(String(request.headers['x-api-key'] ?? ''))) {
      refuse(UNAUTHORIZED);
      return;
    }
    if (request.method === 'GET') {
      this.read(exchange, url);
      return;
    }
    const route = request.method === 'POST' ? findRoute(url.pathname) : null;
    if (route === null) {
      refuse({ ...validationError('30_404', 'There is no such call'), status: 404 });
      return;
    }
    const parsed = parseBody(body);
    const key = keyOf(request);
    if (parsed === null || (key !== null && key.length > MAX_KEY_LENGTH)) {
      refuse({
        ...validationError('702', 'The request is not valid JSON, or its key too long'),
        status: 400,
      });
      return;
    }
    this.write(exchange, { path: url.pathname, route, body: parsed, key });
  }

  private read(exchange: Exchange, url: URL): void {
    const { engine, counters, timers } = this.parts;
    const { settings } = engine.shared;
    const fault = engine.arriveToRead(url);
    if (fault.name !== 'ok') counters.fault(fault.name);
    const go = (): void => {
      const early = endingBefore(fault, engine, 'platform');
      if (early === null) this.endWith(exchange, this.readingReply(url, fault), fault);
      else engine.shared.whenWritten(() => this.end(exchange, early));
    };
    if (fault.name === 'hang_then_act') timers.after(fault.ms ?? settings.hangMs, go);
    else if (fault.name === 'slow') timers.after(fault.ms ?? settings.slowMs, go);
    else go();
  }

  private readingReply(url: URL, fault: Fault): Reply {
    const { state } = this.parts.engine;
    if (fault.name === 'fail_500' || fault.name === 'act_then_500')
      return refusal(INTERNAL_ERROR, 'platform');
    if (url.pathname === TRANSFERS) return listTransfers(state, url.searchParams);
    return readTransfer(state, url.pathname.slice(TRANSFERS.length + 1));
  }

  private write(exchange: Exchange, call: AdyenCall): void {
    const { engine, counters, timers } = this.parts;
    const fault = engine.arrive(call);
    if (fault.name !== 'ok') counters.fault(fault.name);
    if (fault.name !== 'hang_then_act') {
      this.meet(exchange, call, fault);
      return;
    }
    const { epoch } = engine.shared;
    timers.after(fault.ms ?? engine.shared.settings.hangMs, () => {
      if (engine.shared.epoch === epoch) this.meet(exchange, call, fault);
      else this.end(exchange, { kind: 'dropped' });
    });
  }

  private meet(exchange: Exchange, call: AdyenCall, fault: Fault): void {
    const { engine } = this.parts;
    const early = endingBefore(fault, engine, surfaceOf(call.route));
    if (early === null) this.execute(exchange, call, fault);
    else engine.shared.whenWritten(() => this.end(exchange, early));
  }

  private execute(exchange: Exchange, call: AdyenCall, fault: Fault): void {
    const { engine, timers } = this.parts;
    const { settings } = engine.shared;
    const begun = engine.begin(call);
    const go = (): void => {
      if (begun.kind === 'started') this.finish(exchange, begun.started, fault);
      else this.endWith(exchange, begun.reply, fault);
    };
    const slowMs = fault.name === 'slow' ? (fault.ms ?? settings.slowMs) : 0;
    const delayMs = slowMs + settings.latencyMs;
    if (delayMs === 0) go();
    else timers.after(delayMs, go);
  }

  private finish(exchange: Exchange, started: AdyenStarted, fault: Fault): void {
    const { engine } = this.parts;
    if (engine.shared.epoch !== started.epoch) this.end(exchange, { kind: 'dropped' });
    else this.endWith(exchange, engine.finish(started, finishMode(fault), fault), fault);
  }

  private endWith(exchange: Exchange, reply: Reply, fault: Fault): void {
    const { shared } = this.parts.engine;
    shared.whenWritten(() => this.end(exchange, endingAfter(AS_IT_IS, reply, fault, shared.settings)));
  }

  private end(exchange: Exchange, ending: Ending): void {
    const { counters, timers } = this.parts;
    const gone = exchange.request.socket.destroyed;
    counters.answer(gone ? 'dropped' : deliver(exchange, ending, (ms, then) => timers.after(ms, then)));
  }
}

/** A GET's 500 would be Stripe's there; ours is the reply already, for reading calls too. */
const AS_IT_IS = { method: 'POST' } as const;

/** The ending of a call that a fault stops before anything is done; null when it is to be executed. */
function endingBefore(fault: Fault, engine: AdyenEngine, surface: Surface): Ending | null {
  switch (fault.name) {
    case 'drop_before_acting':
      return { kind: 'dropped' };
    case 'bad_gateway':
      return { kind: 'bad_gateway' };
    case 'rate_limited': {
      const seconds = String(fault.retryAfterS ?? engine.shared.settings.retryAfterS);
      return { kind: 'whole', reply: refusal(RATE_LIMITED, surface), headers: ['retry-after', seconds] };
    }
    case 'unauthorized':
      return whole(refusal(UNAUTHORIZED, surface));
    case 'key_in_use':
      return whole(refusal(KEY_IN_USE, surface));
    default:
      return null;
  }
}

function findRoute(path: string): WriteRoute | null {
  if (path === '/v72/payments') return { name: 'payment' };
  if (path === TRANSFERS) return { name: 'transfer' };
  if (path === '/v72/cancels') return { name: 'modification', type: 'technical_cancel', payment: null };
  const [, payment, plural] = MODIFICATIONS.exec(path) ?? [];
  if (payment === undefined || plural === undefined) return null;
  return {
    name: 'modification',
    type: MODIFICATION_TYPES[plural as keyof typeof MODIFICATION_TYPES],
    payment: decodeURIComponent(payment),
  };
}

/** The address with `{id}` in place of names, for the counters. */
function labelOf(path: string): string {
  return path.replace(/^(\/v72\/payments|\/btl\/v4\/transfers)\/[^/]+/, '$1/{id}');
}

function keyOf(request: IncomingMessage): string | null {
  const key = request.headers['idempotency-key'];
  return typeof key === 'string' && key !== '' ? key : null;
}

function parseBody(body: string): Body | null {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Body) : null;
  } catch {
    return null;
  }
}

/**
 * Adyen repeats the key and says `transient-error: true` where the same key may be sent again
 * (docs.adyen.com/development-resources/api-idempotency); here `false` marks an error that is kept under the key.
 */
function headersFor(request: IncomingMessage): (reply: Reply, length: number) => string[] {
  const key = keyOf(request);
  return (reply, length) => {
    const list = ['content-type', 'application/json', 'content-length', String(length)];
    if (key !== null) list.push('idempotency-key', key);
    if (reply.status >= 500) list.push('transient-error', String(reply.origin === 'refused'));
    else if (reply.body.includes(`"errorCode":"${KEY_IN_USE.errorCode}"`))
      list.push('transient-error', 'true');
    return list;
  };
}
