/**
 * The fastify of the HTTP API: its limits, what it refuses before a route sees it, and every error as a problem
 * document. Knows no route and nothing of payments.
 */
import { randomUUID } from 'node:crypto';
import { TextDecoder } from 'node:util';
import { errorCodes, type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { maskCardNumbers } from '../../core/payment/card-number.ts';
import type { Log } from '../log.ts';
import { createTroubleLog, type TroubleLog } from '../trouble-log.ts';
import { createBrokenRequests } from './broken-requests.ts';
import { isLoopbackHostHeader } from './loopback.ts';
import {
  NOT_FOUND,
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
/** An idle connection is kept this long (ms); longer than clients keep theirs, so that they close first. */
const KEEP_ALIVE_MS = 75_000;
/** Connections at once; further ones are closed unread. */
const MAX_CONNECTIONS = 1_000;

/** Set to `closing`, every new request is refused. */
export type Life = { state: 'serving' | 'closing' };

export type App = ReturnType<typeof createApp>;

/** A fastify without routes, not yet listening. */
export function createApp(log: Log, life: Life) {
  const broken = createBrokenRequests();
  const words = { failed: 'database unavailable', worksAgain: 'database available again' };
  const tell = { log, trouble: createTroubleLog(log, words) };
  const app = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    // These two would answer with something else than a problem document; refused below.
    return503OnClosing: false,
    http: {
      requireHostHeader: false,
      maxHeaderSize: HEADER_LIMIT_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
    },
    clientErrorHandler: broken.answer,
    frameworkErrors: (error, request, reply) => answerError(error, request, reply, tell),
  }).withTypeProvider<ZodTypeProvider>();
  app.server.maxConnections = MAX_CONNECTIONS;
  broken.watch(app.server);
  app.setValidatorCompiler(validatorCompiler);
  app.setErrorHandler((error, request, reply) => answerError(error, request, reply, tell));
  app.addHook('onResponse', async (request, reply) => {
    if (reply.statusCode < 300 && request.url.startsWith('/v1/')) tell.trouble.worked();
  });
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
  { path: /^\/v1\/payments\/[^/]+\/retry$/, allow: 'POST' },
  { path: /^\/v1\/refunds$/, allow: 'POST' },
  { path: /^\/v1\/refunds\/[^/]+$/, allow: 'GET, HEAD' },
  { path: /^\/v1\/webhooks\/[^/]+$/, allow: 'POST' },
  { path: /^\/(?:livez|readyz)$/, allow: 'GET, HEAD' },
];

/** A request target with a host of its own, which then counts instead of the header (RFC 9112, 3.2.2). */
const ABSOLUTE_TARGET = /^https?:\/\/([^/?]*)/i;

/** Why a request is refused before its body is read, or null. */
function refusalOf(request: FastifyRequest, life: Life): Problem | null {
  const inTarget = ABSOLUTE_TARGET.exec(request.url)?.[1];
  if (!isLoopbackHostHeader(inTarget ?? request.headers.host)) {
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

/** Answers with JSON text as it is. */
export function sendJson(reply: FastifyReply, status: number, body: string): FastifyReply {
  reply.header('cache-control', 'no-store').type('application/json; charset=utf-8');
  return reply.code(status).send(body);
}

/** Answers with a problem document. */
export function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  const { status, headers, body } = renderProblem(problem);
  // As bytes: to a text fastify adds a charset, which this media type does not have.
  return reply.code(status).headers(headers).send(Buffer.from(body));
}

/** The one place where what was thrown becomes an answer. */
function answerError(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  { log, trouble }: { readonly log: Log; readonly trouble: TroubleLog },
): void {
  // Fastify closes after a refused body; Node reads the rest of it instead, so that the answer is not lost.
  if (reply.hasHeader('connection')) reply.removeHeader('connection');
  const effect: RequestEffect = request.method === 'POST' ? 'writes' : 'reads';
  const problem = problemOf(error, effect) ?? internalError(error, log);
  if (problem.code === 'database_unavailable') {
    trouble.failed('warn', shownError(error), { path: request.routeOptions.url });
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
