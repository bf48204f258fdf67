/**
 * The sandbox's HTTP side: reads a request, lets the decided fault happen to it, answers after the journal.
 * node:http and not fastify: the faults need the socket itself, and nothing here needs a router or schemas.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AdyenSide, isAdyenPath } from './adyen/http.ts';
import type { Counters } from './counters.ts';
import { deliver, type Exchange } from './delivery.ts';
import { type Ending, endingAfter, endingBefore, finishMode, whole } from './endings.ts';
import type { Call, Engine, Started } from './engine.ts';
import { refusal } from './engine.ts';
import type { Fault } from './faults.ts';
import { newInstance, requestId } from './ids.ts';
import { apiKeyOf, readCall } from './read-call.ts';
import type { Timers } from './timers.ts';

/** Far above any call of the API; a larger body is refused without being read. */
const MAX_BODY_BYTES = 1024 * 1024;

/** Longer than any pause of a client between two calls, so that idle connections are not cut under it. */
const KEEP_ALIVE_MS = 120_000;

export const ADMIN_PREFIX = '/_sandbox/';
export const ADYEN_ADMIN_PREFIX = `${ADMIN_PREFIX}adyen/`;

export type AdminHandler = (request: IncomingMessage, response: ServerResponse, body: string) => void;

/** @property apiKey the only key that is taken; null takes every `sk_test_…` */
export interface HttpParts {
  readonly engine: Engine;
  readonly counters: Counters;
  readonly timers: Timers;
  readonly apiKey: string | null;
  readonly admin: AdminHandler;
  readonly adyen: AdyenSide;
  readonly adyenAdmin: AdminHandler;
}

/** The server, not yet listening. */
export function createSandboxServer(parts: HttpParts): Server {
  const stripe = new StripeSide(parts);
  const server = createServer((request, response) => {
    readBody(request, response, (body) => {
      const url = request.url ?? '/';
      if (url.startsWith(ADYEN_ADMIN_PREFIX)) parts.adyenAdmin(request, response, body);
      else if (url.startsWith(ADMIN_PREFIX)) parts.admin(request, response, body);
      else if (isAdyenPath(url)) parts.adyen.handle(request, response, body);
      else stripe.handle(request, response, body);
    });
  });
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.requestTimeout = 0;
  server.on('clientError', (_error, socket) => socket.destroy());
  return server;
}

/** Only a request that came in whole is handled: one cut short has done nothing. */
function readBody(request: IncomingMessage, response: ServerResponse, done: (body: string) => void): void {
  const chunks: Buffer[] = [];
  let size = 0;
  request.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= MAX_BODY_BYTES) chunks.push(chunk);
    else request.socket.destroy();
  });
  request.on('end', () => done(chunks.length === 1 ? String(chunks[0]) : Buffer.concat(chunks).toString()));
  response.on('error', () => request.socket.destroy());
}

class StripeSide {
  private readonly parts: HttpParts;
  private readonly instance = newInstance();
  private count = 0;

  constructor(parts: HttpParts) {
    this.parts = parts;
  }

  handle(request: IncomingMessage, response: ServerResponse, body: string): void {
    const { engine, timers, counters, apiKey } = this.parts;
    const exchange = { request, response, requestId: requestId(this.instance, this.count++) };
    const read = readCall(request, body, apiKey);
    counters.request(read.label);
    if (read.kind === 'refused') {
      this.end(exchange, whole(refusal(read.error)));
      return;
    }
    const { call } = read;
    const fault = engine.arrive(call);
    if (fault.name !== 'ok') counters.fault(fault.name);
    if (fault.name !== 'hang_then_act') {
      this.meet(exchange, call, fault);
      return;
    }
    const { epoch } = engine;
    timers.after(fault.ms ?? engine.settings.hangMs, () => {
      if (engine.epoch === epoch) this.meet(exchange, call, fault);
      else this.end(exchange, { kind: 'dropped' });
    });
  }

  private meet(exchange: Exchange, call: Call, fault: Fault): void {
    const { engine } = this.parts;
    const early = endingBefore(call, fault, engine.settings, apiKeyOf(exchange.request));
    if (early === null) this.execute(exchange, call, fault);
    else engine.whenWritten(() => this.end(exchange, early));
  }

  private execute(exchange: Exchange, call: Call, fault: Fault): void {
    const { engine, timers } = this.parts;
    const begun = engine.begin(call);
    const go = (): void => {
      if (begun.kind === 'started') this.finish(exchange, begun.started, fault);
      else
        engine.whenWritten(() => this.end(exchange, endingAfter(call, begun.reply, fault, engine.settings)));
    };
    const slowMs = fault.name === 'slow' ? (fault.ms ?? engine.settings.slowMs) : 0;
    const delayMs = slowMs + engine.settings.latencyMs;
    if (delayMs === 0) go();
    else timers.after(delayMs, go);
  }

  private finish(exchange: Exchange, started: Started, fault: Fault): void {
    const { engine } = this.parts;
    if (engine.epoch !== started.epoch) {
      this.end(exchange, { kind: 'dropped' });
      return;
    }
    const reply = engine.finish(started, finishMode(fault), fault);
    engine.whenAnswerable(() => {
      this.end(exchange, endingAfter(started.call, reply, fault, engine.settings));
    });
  }

  private end(exchange: Exchange, ending: Ending): void {
    const { counters, timers } = this.parts;
    const gone = exchange.request.socket.destroyed;
    counters.answer(gone ? 'dropped' : deliver(exchange, ending, (ms, then) => timers.after(ms, then)));
  }
}
