/**
 * Reads what POST /v1/payments and its retry were sent: the body, and the idempotency key that may stand in a header instead
 * (IETF draft "The Idempotency-Key HTTP Header Field"). Decides only; all faults are listed together.
 */
import { type PaymentRequest, readPaymentRequest } from '../../core/payment/payment-request.ts';
import { type RetryRequest, readRetryRequest } from '../../core/payment/payment-retry.ts';
import type { ProblemFault } from './problem.ts';

export const KEY_HEADER = 'idempotency-key';
const SHOWN_HEADER = 'Idempotency-Key';

export type BodyReading<Request> =
  | { readonly kind: 'ok'; readonly request: Request }
  | { readonly kind: 'bad'; readonly faults: readonly ProblemFault[] };

/**
 * @param body parsed JSON of any shape
 * @param headers every Idempotency-Key header of the request
 */
export function readPaymentBody(body: unknown, headers: readonly string[]): BodyReading<PaymentRequest> {
  return readWithKey(body, headers, readPaymentRequest);
}

/** The same for a retry. */
export function readRetryBody(body: unknown, headers: readonly string[]): BodyReading<RetryRequest> {
  return readWithKey(body, headers, readRetryRequest);
}

function readWithKey<Request>(
  body: unknown,
  headers: readonly string[],
  read: (body: unknown) => BodyReading<Request>,
): BodyReading<Request> {
  if (headers.length === 0 || !isObject(body)) return read(body);
  const given = body.idempotency_key ?? null;
  const header = readKeyHeader(headers);
  const key = given ?? (header.kind === 'ok' ? header.key : '-');
  const reading = read({ ...body, idempotency_key: key });
  const fault =
    header.kind === 'bad' ? header.fault : given === null || given === header.key ? null : KEYS_DIFFER;
  if (fault === null) return reading;
  return { kind: 'bad', faults: reading.kind === 'ok' ? [fault] : [fault, ...reading.faults] };
}

function isObject(body: unknown): body is Readonly<Record<string, unknown>> {
  return typeof body === 'object' && body !== null && !Array.isArray(body);
}

const KEYS_DIFFER: ProblemFault = {
  field: SHOWN_HEADER,
  code: 'keys_differ',
  message: 'is not the idempotency_key of the body; give one of them, or the same',
};

type KeyReading =
  | { readonly kind: 'ok'; readonly key: string }
  | { readonly kind: 'bad'; readonly fault: ProblemFault };

/** A string of RFC 9651 without parameters: "…" with \" and \\ inside. */
const QUOTED = /^"((?:[ !#-[\]-~]|\\["\\])*)"$/;
/** What most clients really send. */
const BARE = /^(?:[!#-~](?:[ -~]*[!-~])?)?$/;

/** One header: a structured-field string, or the bare key. Length and the rest are the request reader's. */
function readKeyHeader(headers: readonly string[]): KeyReading {
  const [text = ''] = headers;
  if (headers.length > 1) return badHeader('stands in several headers; send one');
  const quoted = QUOTED.exec(text)?.[1];
  if (quoted !== undefined) return { kind: 'ok', key: quoted.replace(/\\(.)/g, '$1') };
  if (BARE.test(text)) return { kind: 'ok', key: text };
  return badHeader('is neither a plain key in ASCII nor a string in quotes');
}

function badHeader(message: string): KeyReading {
  return { kind: 'bad', fault: { field: SHOWN_HEADER, code: 'malformed_header', message } };
}
