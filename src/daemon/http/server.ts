/**
 * The HTTP API: the same workflows as the command line, behind fastify. Knows only how to read a request and how
 * to answer it; decides nothing about payments and holds no SQL. Loopback only, as there are no tokens yet.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { TextDecoder } from 'node:util';
import { errorCodes, type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Db } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { parseId } from '../../core/ids.ts';
import type { AcceptPolicy } from '../../core/payment/accept-payments.ts';
import { maskCardNumbers } from '../../core/payment/card-number.ts';
import { paymentView } from '../../core/payment/payment-answer.ts';
import { listPaymentRows } from '../../core/payment/payment-store.ts';
import type { Log } from '../log.ts';
import { type AcceptQueue, openAcceptQueue } from './accept-queue.ts';
import { createBrokenRequests } from './broken-requests.ts';
import { isLoopbackHostHeader, listenAddress } from './loopback.ts';
import { KEY_HEADER, readPaymentBody } from './payment-body.ts';
import { type PaymentResponse, paymentResponse } from './payment-response.ts';
import {
  invalidRequest,
  NO_SUCH_PAYMENT,
  NOT_FOUND,
  OVERLOADED,
  type Problem,
  problemOf,
  type RequestEffect,
  renderProblem,
  SHUTTING_DOWN,
} from './problem.ts';

/** Bytes of a body: 100 orders with 20 metadata values of 500 characters do not all fit, usual ones do by far. */
const BODY_LIMIT_BYTES = 256 * 1024;
/** Bytes of the request line and all headers. */
const HEADER_LIMIT_BYTES = 16 * 1024;
/** A client gets this long for its headers, and for the whole request (ms). */
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
/** How often Node looks for requests that are too slow (ms). */
const TIMEOUT_CHECK_MS = 1_000;
/** A request has its answer after this long, known or not (ms); longer than receiving it may take. */
const ANSWER_TIMEOUT_MS = 20_000;
/** The same for a question about readiness: whoever asks has a short time-out of its own (ms). */
const READY_TIMEOUT_MS = 2_000;
/** An idle connection is kept this long (ms); longer than clients keep theirs, so that they close first. */
const KEEP_ALIVE_MS = 75_000;
/** Connections at once; further ones are closed unread. */
const MAX_CONNECTIONS = 1_000;
/** After this long (ms) closing cuts what is still open: a client that never ends its request, a lost database. */
const CLOSE_TIMEOUT_MS = 10_000;

export type HttpOptions = {
  readonly db: Db;
  readonly policy: AcceptPolicy;
  /** The book's own part of every key at a PSP. */
  readonly bookKey: string;
  /** 127.0.0.1, ::1 or localhost. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly log: Log;
  /** Who every caller is, as long as there are no tokens. */
  readonly principal: 'http:loopback';
};

export type HttpServer = {
  readonly url: string;
  readonly port: number;
  /** Takes no more, answers what it has, then resolves; nothing of it uses the database afterwards. */
  close(): Promise<void>;
};

/**
 * Listens and serves.
 * @throws OperatorError http_not_loopback, http_port_unavailable
 */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const host = listenAddress(options.host);
  if (host === null) {
    throw new OperatorError(
      'http_not_loopback',
      'The HTTP API has no tokens yet and serves this machine only: set http.host to 127.0.0.1, ::1 or localhost.',
    );
  }
  const life: Life = { state: 'serving' };
  const accept = openAcceptQueue(options.db, {
    policy: options.policy,
    bookKey: options.bookKey,
    principal: options.principal,
    priority: 'online',
    batchId: null,
  });
  const app = createApp(options.log, life);
  addPaymentRoutes(app, options, accept);
  addHealthRoutes(app, options);
  const port = await listen(app, host, options.port);
  options.log.info({ host, port }, 'http listening');
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    close: () => close(app, accept, life),
  };
}

type Life = { state: 'serving' | 'closing' };

type App = ReturnType<typeof createApp>;

function createApp(log: Log, life: Life) {
  const broken = createBrokenRequests();
  const app = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    handlerTimeout: ANSWER_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    // Both would answer with something else than a problem document; answered below.
    return503OnClosing: false,
    http: {
      requireHostHeader: false,
      maxHeaderSize: HEADER_LIMIT_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    },
    clientErrorHandler: broken.answer,
    frameworkErrors: (error, request, reply) => answerError(error, request, reply, log),
  }).withTypeProvider<ZodTypeProvider>();
  app.server.maxConnections = MAX_CONNECTIONS;
  broken.watch(app.server);
  app.setValidatorCompiler(validatorCompiler);
  app.setErrorHandler((error, request, reply) => answerError(error, request, reply, log));
  addJsonParser(app);
  app.addHook('onRequest', async (request, reply) => {
    const problem = refusalOf(request, life);
    return problem === null ? undefined : sendProblem(reply, problem);
  });
  app.addHook('onSend', async (_request, reply) => {
    if (life.state === 'closing') reply.header('connection', 'close');
  });
  return app;
}

/** Only JSON, only UTF-8: a name in another encoding must not be kept garbled. */
function addJsonParser(app: FastifyInstance): void {
  const utf8 = new TextDecoder('utf-8', { fatal: true });
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    if ((request.headers['content-encoding'] ?? 'identity') !== 'identity') {
      done(new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE());
      return;
    }
    let text: string;
    try {
      text = utf8.decode(body as Buffer);
    } catch {
      done(new errorCodes.FST_ERR_CTP_INVALID_JSON_BODY());
      return;
    }
    void parseJson(request, text, done);
  });
}

/** Methods of each address. */
const ADDRESSES: readonly { readonly path: RegExp; readonly allow: string }[] = [
  { path: /^\/v1\/payments$/, allow: 'POST' },
  { path: /^\/v1\/payments\/[^/]+$/, allow: 'GET, HEAD' },
  { path: /^\/(?:livez|readyz)$/, allow: 'GET, HEAD' },
];

/** Why a request is refused before its body is read, or null. */
function refusalOf(request: FastifyRequest, life: Life): Problem | null {
  if (!isLoopbackHostHeader(request.headers.host)) {
    return {
      code: 'host_not_allowed',
      detail: 'The Host header must name this machine: localhost or 127.0.0.1.',
    };
  }
  if (life.state === 'closing') return SHUTTING_DOWN;
  if (!request.is404) return null;
  const [path = ''] = request.url.split('?', 1);
  const allow = ADDRESSES.find((address) => address.path.test(path))?.allow;
  if (allow === undefined) return NOT_FOUND;
  return { code: 'method_not_allowed', detail: `Allowed here: ${allow}.`, allow };
}

const paymentParams = z.object({
  /** Null when it is no payment's id. */
  id: z.string().transform((text) => parseId('payment', text)),
});

function addPaymentRoutes(app: App, options: HttpOptions, accept: AcceptQueue): void {
  // The body is read here and not by a schema of the route: the key may come in a header, and the faults of both
  // are listed together.
  app.post('/v1/payments', async (request, reply) => {
    const reading = readPaymentBody(request.body, request.raw.headersDistinct[KEY_HEADER] ?? []);
    if (reading.kind === 'bad') return sendProblem(reply, invalidRequest(reading.faults));
    if (accept.isFull()) return sendProblem(reply, OVERLOADED);
    const response = paymentResponse(await accept.submit(reading.request));
    logResponse(options.log, response);
    if (response.kind === 'problem') return sendProblem(reply, response.problem);
    if (response.replayed === 'replayed') reply.header('idempotent-replayed', 'true');
    reply.header('location', `/v1/payments/${response.paymentId}`);
    return sendJson(reply, response.status, response.body);
  });

  app.get('/v1/payments/:id', { schema: { params: paymentParams } }, async (request, reply) => {
    const { id } = request.params;
    const rows = id === null ? [] : await listPaymentRows(options.db, [id]);
    if (rows.length === 0) return sendProblem(reply, NO_SUCH_PAYMENT);
    return sendJson(reply, 200, JSON.stringify(paymentView(rows)));
  });
}

function addHealthRoutes(app: App, options: HttpOptions): void {
  const ok = JSON.stringify({ status: 'ok' });
  app.get('/livez', async (_request, reply) => sendJson(reply, 200, ok));
  app.get('/readyz', { handlerTimeout: READY_TIMEOUT_MS }, async (_request, reply) => {
    // Reads nothing, but by the role and from the tables that every request needs.
    await listPaymentRows(options.db, []);
    return sendJson(reply, 200, ok);
  });
}

function logResponse(log: Log, response: PaymentResponse): void {
  if (response.kind === 'problem') log.info({ code: response.problem.code }, 'payment refused');
  else if (response.status === 202 && response.replayed === 'first') {
    log.info({ payment: response.paymentId }, 'payment accepted');
  } else log.debug({ payment: response.paymentId }, 'payment answered again');
}

/** A reply that time-out or shutdown has answered already takes no second answer. */
function sendJson(reply: FastifyReply, status: number, body: string): FastifyReply {
  if (reply.sent) return reply;
  reply.header('cache-control', 'no-store').type('application/json; charset=utf-8');
  return reply.code(status).send(body);
}

function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  if (reply.sent) return reply;
  const { status, headers, body } = renderProblem(problem);
  // As bytes: to a text fastify adds a charset, which this media type does not have.
  return reply.code(status).headers(headers).send(Buffer.from(body));
}

/** The one place where what was thrown becomes an answer. */
function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply, log: Log): void {
  // Fastify closes after a refused body; Node reads the rest of it instead, so that the answer is not lost.
  if (reply.hasHeader('connection')) reply.removeHeader('connection');
  const effect: RequestEffect = request.method === 'POST' ? 'writes' : 'reads';
  const problem = problemOf(error, effect) ?? internalError(error, log);
  if (problem.code === 'database_unavailable') {
    log.warn({ path: request.routeOptions.url, error: shownError(error) }, 'database unavailable');
  }
  sendProblem(reply, problem);
}

/** The caller gets a number, the log the rest. */
function internalError(error: unknown, log: Log): Problem {
  const errorId = randomUUID();
  const stack = error instanceof Error ? error.stack : undefined;
  log.error({ errorId, error: shownError(error), stack: maskCardNumbers(stack ?? '') }, 'request failed');
  return {
    code: 'internal_error',
    detail: `The log names it ${errorId}. The same request may be sent again with the same key.`,
    errorId,
  };
}

function shownError(error: unknown): string {
  return maskCardNumbers(String(error));
}

async function listen(app: App, host: string, port: number): Promise<number> {
  try {
    await app.listen({ host, port });
  } catch (cause) {
    await app.close();
    throw new OperatorError(
      'http_port_unavailable',
      `The HTTP API cannot listen on ${host} port ${port}: stop what listens there, or set another http.port.`,
      { kind: 'failed', cause },
    );
  }
  const address = app.server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}

async function close(app: App, accept: AcceptQueue, life: Life): Promise<void> {
  life.state = 'closing';
  const cut = setTimeout(() => app.server.closeAllConnections(), CLOSE_TIMEOUT_MS);
  try {
    await app.close();
  } finally {
    clearTimeout(cut);
  }
  // A caller that hung up does not take its request with it.
  await Promise.race([accept.idle(), pause(CLOSE_TIMEOUT_MS, undefined, { ref: false })]);
}
