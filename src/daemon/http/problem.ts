/**
 * Every refusal of the HTTP API as a problem document (RFC 9457): one table of codes, and which of them an error
 * means. Decides only; a detail never repeats what the caller sent, and never shows a stack.
 */
import { errorCode, isConnectionError, isRetryableError } from '../../core/db/connection.ts';

/** Status and title of each code; the code is the contract, the title is for people. */
const PROBLEMS = {
  invalid_request: [400, 'The request is not valid'],
  invalid_json: [400, 'The body is not JSON'],
  invalid_url: [400, 'The address is not valid'],
  invalid_http: [400, 'The request is not HTTP'],
  webhook_refused: [400, 'The webhook is not believed'],
  not_found: [404, 'Not found'],
  method_not_allowed: [405, 'The method is not allowed here'],
  request_timeout: [408, 'The request did not arrive in time'],
  request_in_progress: [409, 'The first request with this key is still being worked on'],
  not_refundable: [409, 'Nothing was charged for this order'],
  body_too_large: [413, 'The body is too large'],
  unsupported_media_type: [415, 'The media type is not supported'],
  expectation_failed: [417, 'The expectation cannot be met'],
  host_not_allowed: [421, 'The request was meant for another host'],
  already_succeeded: [409, 'The order has been charged'],
  attempt_unresolved: [409, 'An attempt is not resolved yet'],
  needs_a_person: [409, 'The order needs a person first'],
  not_retryable: [409, 'The order is not tried again'],
  hard_decline: [409, 'The payment method is not to be tried again'],
  payment_given_back: [409, 'The payment was given back'],
  idempotency_key_reused: [422, 'The idempotency key was used for another request'],
  checkout_conflict: [422, 'The checkout exists with other content'],
  not_expressible: [422, 'The PSP cannot take this amount'],
  refund_id_reused: [422, 'The refund_id was used for another refund'],
  over_refund: [422, 'More than what is left to be refunded'],
  headers_too_large: [431, 'The headers are too large'],
  internal_error: [500, 'Something went wrong here'],
  database_unavailable: [503, 'The database does not answer'],
  overloaded: [503, 'Too many requests are waiting'],
  shutting_down: [503, 'The server is shutting down'],
} as const satisfies Readonly<Record<string, readonly [status: number, title: string]>>;

type ProblemCode = keyof typeof PROBLEMS;

/** A field that is wrong; `code` is part of the contract. */
export type ProblemFault = { readonly field: string; readonly code: string; readonly message: string };

export type Problem = {
  readonly code: ProblemCode;
  readonly detail: string;
  /** Seconds until it is worth trying again. */
  readonly retryAfterS?: number;
  /** Methods that the address knows (405). */
  readonly allow?: string;
  readonly faults?: readonly ProblemFault[];
  /** The payment in question (422 checkout_conflict). */
  readonly paymentId?: string;
  /** Finds the log line of a 500. */
  readonly errorId?: string;
};

const PROBLEM_MEDIA_TYPE = 'application/problem+json';

/** How the same problem looks on the wire. */
export type RenderedProblem = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

/** Status, headers and JSON text of a problem. */
export function renderProblem(problem: Problem): RenderedProblem {
  const [status, title] = PROBLEMS[problem.code];
  return {
    status,
    headers: {
      'content-type': PROBLEM_MEDIA_TYPE,
      'cache-control': 'no-store',
      ...(problem.retryAfterS === undefined ? {} : { 'retry-after': String(problem.retryAfterS) }),
      ...(problem.allow === undefined ? {} : { allow: problem.allow }),
    },
    body: JSON.stringify({
      type: `urn:paygate:problem:${problem.code}`,
      title,
      status,
      detail: problem.detail,
      code: problem.code,
      faults: problem.faults,
      payment_id: problem.paymentId,
      error_id: problem.errorId,
    }),
  };
}

/** 400 with every fault of the body and the key. */
export function invalidRequest(faults: readonly ProblemFault[]): Problem {
  const count = faults.length === 1 ? 'one fault' : `${faults.length} faults`;
  return {
    code: 'invalid_request',
    detail: `The request has ${count}; nothing was stored and the key is not used up.`,
    faults,
  };
}

export const NOT_FOUND: Problem = { code: 'not_found', detail: 'There is nothing at this address.' };
export const NO_SUCH_PAYMENT: Problem = { code: 'not_found', detail: 'There is no payment with this id.' };

export const NO_SUCH_REFUND: Problem = { code: 'not_found', detail: 'There is no refund with this id.' };
/** A PSP delivers again for days: time to set it right. */
export const NO_WEBHOOKS: Problem = {
  code: 'not_found',
  detail: 'No account of such a PSP takes webhooks. Set webhook_secret_file in its [psp.NAME] table.',
};
export const NO_SUCH_ORDER: Problem = { code: 'not_found', detail: 'The payment has no such order.' };

export const SHUTTING_DOWN: Problem = {
  code: 'shutting_down',
  detail: 'Nothing was stored. Send the request again, to another daemon or in a moment.',
  retryAfterS: 1,
};

export const OVERLOADED: Problem = {
  code: 'overloaded',
  detail: 'Nothing was stored. Send the request again in a moment.',
  retryAfterS: 1,
};

/** What a caller does who does not know what became of its request. */
const SEND_AGAIN =
  'It is not known whether this was accepted. Send the same request again with the same idempotency key: it is done ' +
  'once at most.';

/** Whether the request could have stored something before it failed. */
export type RequestEffect = 'reads' | 'writes';

function databaseUnavailable(effect: RequestEffect): Problem {
  return {
    code: 'database_unavailable',
    detail: effect === 'writes' ? SEND_AGAIN : 'Try again in a moment.',
    retryAfterS: 2,
  };
}

/** Fastify's own refusals, by its codes. What is not here goes by its status. */
const FASTIFY_PROBLEMS: ReadonlyMap<string, Problem> = new Map<string, Problem>([
  ['FST_ERR_NOT_FOUND', NOT_FOUND],
  ['FST_ERR_MAX_PARAM_LENGTH', NOT_FOUND],
  ['FST_ERR_BAD_URL', { code: 'invalid_url', detail: 'The path is not correctly percent-encoded.' }],
  ['FST_ERR_CTP_EMPTY_JSON_BODY', { code: 'invalid_json', detail: 'The body is empty.' }],
  ['FST_ERR_CTP_INVALID_JSON_BODY', { code: 'invalid_json', detail: 'The body is not JSON in UTF-8.' }],
]);

const PROBLEMS_BY_STATUS: ReadonlyMap<number, Problem> = new Map<number, Problem>([
  [404, NOT_FOUND],
  [408, { code: 'request_timeout', detail: 'The request did not arrive in time.' }],
  [413, { code: 'body_too_large', detail: 'The body has more than 256 KB.' }],
  [415, { code: 'unsupported_media_type', detail: 'Send application/json, not compressed.' }],
]);

/** The problem that an error means, or null: it is our own mistake (500). */
export function problemOf(error: unknown, effect: RequestEffect): Problem | null {
  const code = errorCode(error);
  if (isDatabaseTrouble(error)) return databaseUnavailable(effect);
  const known = FASTIFY_PROBLEMS.get(code ?? '');
  if (known !== undefined) return known;
  const status = statusOf(error);
  if (status < 400 || status > 499) return null;
  return (
    PROBLEMS_BY_STATUS.get(status) ?? { code: 'invalid_http', detail: 'The request was not understood.' }
  );
}

function statusOf(error: unknown): number {
  if (typeof error !== 'object' || error === null || !('statusCode' in error)) return 0;
  return typeof error.statusCode === 'number' ? error.statusCode : 0;
}

/**
 * SQLSTATEs, beyond a lost connection, that say something about the server and nothing about the request: no
 * such role or database, read-only after a failover, out of disk or memory, cancelled, input or output error.
 */
const SERVER_TROUBLE = /^(?:28|3D|25006|53|57|58)/;

/** True when the same request may well work later, because the database and not the request is the trouble. */
export function isDatabaseTrouble(error: unknown): boolean {
  if (statusOf(error) !== 0) return false;
  return isConnectionError(error) || isRetryableError(error) || SERVER_TROUBLE.test(errorCode(error) ?? '');
}

/** What Node's own parser refuses, before there is a request. */
const PARSER_PROBLEMS: ReadonlyMap<string, Problem> = new Map<string, Problem>([
  ['HPE_HEADER_OVERFLOW', { code: 'headers_too_large', detail: 'The headers have more than 16 KB.' }],
  [
    'HPE_CHUNK_EXTENSIONS_OVERFLOW',
    { code: 'body_too_large', detail: 'The chunk extensions are too large.' },
  ],
  ['ERR_HTTP_REQUEST_TIMEOUT', { code: 'request_timeout', detail: 'The request did not arrive in time.' }],
]);

/** The problem that an error of Node's HTTP parser means. */
export function parserProblem(error: unknown): Problem {
  return (
    PARSER_PROBLEMS.get(errorCode(error) ?? '') ?? {
      code: 'invalid_http',
      detail: 'The bytes sent are not HTTP/1.1.',
    }
  );
}
