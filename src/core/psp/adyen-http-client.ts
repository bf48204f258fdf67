/**
 * The HTTP client that the Adyen library is given: carries its requests over our own exchange, with the idempotency
 * key, and hands back only good answers. Everything else is thrown as AdyenCallFailed. Never retries.
 */
import type { Client } from '@adyen/api-library';
import type { AdyenFailure } from './adyen-classify.ts';
import { clean } from './classify.ts';
import type { ExchangeResult, HttpExchange } from './http-exchange.ts';
import { createHttpExchange } from './http-exchange.ts';
import { parseJsonObject } from './json.ts';

type AdyenHttpClient = Client['httpClient'];

/** 1 MB: a payment has a few KB, a page of 100 transfers some hundred. */
const MAX_ANSWER_BYTES = 1_000_000;

/** Internal to the Adyen connector, which catches it. */
export class AdyenCallFailed extends Error {
  override readonly name = 'AdyenCallFailed';
  readonly failure: AdyenFailure;

  constructor(failure: AdyenFailure) {
    super(failure.kind);
    this.failure = failure;
  }
}

/**
 * A client for the library, and how to end it. Adyen has an address per interface: each gets its own sockets.
 * The library's `timeout` of a call is taken as its absolute deadline, in ms.
 * @param baseUrl where everything goes instead of Adyen's addresses; null for those
 */
export function createAdyenHttpClient(
  baseUrl: URL | null,
  maxConcurrent: number,
): { readonly client: AdyenHttpClient; readonly close: () => void } {
  const exchanges = new Map<string, HttpExchange>();
  let closed = false;
  const exchangeFor = (endpoint: URL): HttpExchange => {
    const { origin } = baseUrl ?? endpoint;
    const known = exchanges.get(origin);
    if (known !== undefined) return known;
    const made = createHttpExchange(new URL(origin), maxConcurrent);
    if (closed) made.close();
    exchanges.set(origin, made);
    return made;
  };
  const client: AdyenHttpClient = {
    async request(endpoint, json, config, _isApiKeyRequired, options = {}) {
      const url = new URL(endpoint);
      const key = options.idempotencyKey;
      const body = String(json);
      const result = await exchangeFor(url).exchange({
        method: options.method ?? 'POST',
        path: `${url.pathname}${queryOf(options.params)}`,
        headers: headersOf(config.apiKey ?? '', key, body),
        body,
        deadlineMs: options.timeout ?? 0,
        maxBodyBytes: MAX_ANSWER_BYTES,
      });
      return readAnswer(result, key);
    },
  };
  return {
    client,
    close() {
      closed = true;
      for (const exchange of exchanges.values()) exchange.close();
    },
  };
}

function queryOf(params: ConstructorParameters<typeof URLSearchParams>[0]): string {
  return params === undefined ? '' : `?${new URLSearchParams(params)}`;
}

function headersOf(apiKey: string, key: string | undefined, body: string): Record<string, string | number> {
  return {
    'x-api-key': apiKey,
    accept: 'application/json',
    ...(body === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
    ...(key === undefined ? {} : { 'idempotency-key': key }),
  };
}

/** The text of a good answer, which is a JSON object. */
function readAnswer(result: ExchangeResult, sentKey: string | undefined): string {
  if (result.kind === 'failed') {
    const kind = result.sent === 'never' ? 'never_sent' : 'no_answer';
    throw new AdyenCallFailed({ kind, reason: clean(result.reason) });
  }
  const { statusCode, headers, body } = result;
  // Adyen repeats the key in its answer. Another key means an answer to another request.
  const answeredKey = headers['idempotency-key'];
  if (sentKey !== undefined && answeredKey !== undefined && answeredKey !== sentKey) {
    throw new AdyenCallFailed({ kind: 'mismatched', reason: 'the answer carries another idempotency key' });
  }
  const json = parseJsonObject(body);
  if (json !== null && statusCode >= 200 && statusCode < 300) return body;
  const reason = body === '' ? 'an empty answer' : `an answer of ${body.length} characters, not understood`;
  throw new AdyenCallFailed({ kind: 'answered', statusCode, headers, body: json, reason });
}
