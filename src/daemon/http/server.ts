/**
 * The HTTP API: the same workflows as the command line, behind fastify. Knows only how to read a request and how
 * to answer it; decides nothing about payments and holds no SQL. Loopback only, as there are no tokens yet.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Db } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { formatId, parseId } from '../../core/ids.ts';
import { listHandOffs } from '../../core/operation/hand-off-store.ts';
import type { AcceptPolicy } from '../../core/payment/accept-payments.ts';
import { paymentDetail, waitingCharges } from '../../core/payment/payment-answer.ts';
import { listPaymentRows } from '../../core/payment/payment-store.ts';
import { type RetryContext, retryOrder } from '../../core/payment/retry-order.ts';
import type { RefundContext } from '../../core/refund/accept-refunds.ts';
import { refundView } from '../../core/refund/refund-answer.ts';
import { readRefundRequest } from '../../core/refund/refund-request.ts';
import { findRefund } from '../../core/refund/refund-store.ts';
import { submitRefunds } from '../../core/refund/submit-refunds.ts';
import type { Log } from '../log.ts';
import { type AcceptQueue, openAcceptQueue } from './accept-queue.ts';
import { type App, createApp, type Life, sendJson, sendProblem } from './http-app.ts';
import { listenAddress } from './loopback.ts';
import { KEY_HEADER, readPaymentBody, readRetryBody } from './payment-body.ts';
import { type PaymentResponse, paymentResponse, retryResponse } from './payment-response.ts';
import { invalidRequest, NO_SUCH_PAYMENT, NO_SUCH_REFUND, OVERLOADED } from './problem.ts';
import { refundResponse } from './refund-response.ts';
import { addWebhookRoute, type WebhookOptions } from './webhook-routes.ts';
import { within } from './within.ts';

/** Longer than the wait for somebody else's commit, shorter than the patience of usual clients (ms). */
const ANSWER_TIMEOUT_MS = 15_000;
/** The same for a question about readiness: whoever asks has a short time-out of its own (ms). */
const READY_TIMEOUT_MS = 2_000;
/** After this long (ms) closing cuts what is still open: a client that never ends its request, a lost database. */
const CLOSE_TIMEOUT_MS = 10_000;

export type HttpOptions = {
  readonly db: Db;
  readonly policy: AcceptPolicy;
  readonly refunds: Pick<RefundContext, 'policy' | 'accountOf'>;
  readonly webhooks: Pick<WebhookOptions, 'accounts' | 'findings'>;
  /** The book's own part of every key at a PSP. */
  readonly bookKey: string;
  /** 127.0.0.1, ::1 or localhost. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly log: Log;
  /** Who every caller is, as long as there are no tokens. */
  readonly principal: 'http:loopback';
  /** A request that came in whole has its answer after this long (ms), known or not; default 15 s. */
  readonly answerTimeoutMs?: number;
};

export type HttpServer = {
  readonly url: string;
  readonly port: number;
  /** Takes no more, answers what it has and then resolves; after 20 s at most, whatever is left. */
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
  addRefundRoutes(app, options);
  addRetryRoute(app, options);
  addWebhookRoute(app, { ...options.webhooks, db: options.db, log: options.log });
  addHealthRoutes(app, options);
  const port = await listen(app, host, options.port);
  options.log.info({ host, port }, 'http listening');
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    close: () => close(app, accept, life),
  };
}

const paymentParams = z.object({
  /** Null when it is no payment's id. */
  id: z.string().transform((text) => parseId('payment', text)),
});

function addPaymentRoutes(app: App, options: HttpOptions, accept: AcceptQueue): void {
  const timeoutMs = options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS;
  // The body is read here and not by a schema of the route: the key may come in a header, and the faults of both
  // are listed together.
  app.post('/v1/payments', async (request, reply) => {
    const reading = readPaymentBody(request.body, request.raw.headersDistinct[KEY_HEADER] ?? []);
    if (reading.kind === 'bad') return sendProblem(reply, invalidRequest(reading.faults));
    if (accept.isFull()) return sendProblem(reply, OVERLOADED);
    const response = paymentResponse(await within(timeoutMs, accept.submit(reading.request)));
    logResponse(options.log, response);
    return sendResponse(reply, response);
  });

  app.get('/v1/payments/:id', { schema: { params: paymentParams } }, async (request, reply) => {
    const { id } = request.params;
    const rows = id === null ? [] : await within(timeoutMs, listPaymentRows(options.db, [id]));
    if (rows.length === 0) return sendProblem(reply, NO_SUCH_PAYMENT);
    const handOffs = await within(timeoutMs, listHandOffs(options.db, waitingCharges(rows)));
    return sendJson(reply, 200, JSON.stringify(paymentDetail(rows, handOffs)));
  });
}

function addRefundRoutes(app: App, options: HttpOptions): void {
  const { db, bookKey, principal, log } = options;
  const timeoutMs = options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS;
  const context = { ...options.refunds, bookKey, principal };
  app.post('/v1/refunds', async (request, reply) => {
    const reading = readRefundRequest(request.body);
    if (reading.kind === 'bad') return sendProblem(reply, invalidRequest(reading.faults));
    const [result] = await within(timeoutMs, submitRefunds(db, context, [reading.request]));
    const response = refundResponse(result!);
    if (response.kind === 'problem') {
      log.info({ code: response.problem.code }, 'refund refused');
      return sendProblem(reply, response.problem);
    }
    if (response.replayed === 'replayed') reply.header('idempotent-replayed', 'true');
    else log.info({ refund: response.id }, 'refund accepted');
    reply.header('location', `/v1/refunds/${response.id}`);
    return sendJson(reply, 202, response.body);
  });

  app.get('/v1/refunds/:id', { schema: { params: refundParams } }, async (request, reply) => {
    const row = await within(timeoutMs, findRefund(db, request.params.id));
    if (row === null) return sendProblem(reply, NO_SUCH_REFUND);
    return sendJson(reply, 200, JSON.stringify(refundView(row)));
  });
}

/** Our id of it, or the caller's own name. */
const refundParams = z.object({ id: z.string().max(255) });

/** Seldom enough to have a transaction of its own. */
function addRetryRoute(app: App, options: HttpOptions): void {
  const { db, policy, bookKey, principal, refunds, log } = options;
  const context: RetryContext = { risk: policy.risk, bookKey, principal, accountOf: refunds.accountOf };
  const timeoutMs = options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS;
  app.post('/v1/payments/:id/retry', { schema: { params: paymentParams } }, async (request, reply) => {
    const { id } = request.params;
    if (id === null) return sendProblem(reply, NO_SUCH_PAYMENT);
    const reading = readRetryBody(request.body, request.raw.headersDistinct[KEY_HEADER] ?? []);
    if (reading.kind === 'bad') return sendProblem(reply, invalidRequest(reading.faults));
    const result = await within(timeoutMs, retryOrder(db, context, id, reading.request));
    log.info({ payment: formatId('payment', id), result: result.kind }, 'retry answered');
    return sendResponse(reply, retryResponse(result));
  });
}

function sendResponse(reply: FastifyReply, response: PaymentResponse): FastifyReply {
  if (response.kind === 'problem') return sendProblem(reply, response.problem);
  if (response.replayed === 'replayed') reply.header('idempotent-replayed', 'true');
  reply.header('location', `/v1/payments/${response.paymentId}`);
  return sendJson(reply, response.status, response.body);
}

function addHealthRoutes(app: App, options: HttpOptions): void {
  const ok = JSON.stringify({ status: 'ok' });
  const timeoutMs = Math.min(READY_TIMEOUT_MS, options.answerTimeoutMs ?? READY_TIMEOUT_MS);
  app.get('/livez', async (_request, reply) => sendJson(reply, 200, ok));
  app.get('/readyz', async (_request, reply) => {
    // Reads nothing, but by the role and from the tables that every request needs.
    await within(timeoutMs, listPaymentRows(options.db, []));
    return sendJson(reply, 200, ok);
  });
}

function logResponse(log: Log, response: PaymentResponse): void {
  if (response.kind === 'problem') log.info({ code: response.problem.code }, 'payment refused');
  else if (response.status === 202 && response.replayed === 'first') {
    log.info({ payment: response.paymentId }, 'payment accepted');
  } else log.debug({ payment: response.paymentId }, 'payment answered again');
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
