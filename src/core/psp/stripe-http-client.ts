/**
 * The HTTP client that the Stripe SDK is given: carries its requests over our own exchange and hands back only
 * answers that the SDK can handle. Everything else is thrown as CallFailed, which the SDK neither retries nor
 * takes for something it knows.
 */
import type { Stripe } from 'stripe';
import type { AnswerHeaders, CallFailure } from './classify.ts';
import { clean } from './classify.ts';
import type { ExchangeResult, HttpExchange } from './http-exchange.ts';
import type { JsonObject } from './json.ts';
import { isJsonObject, parseJsonObject } from './json.ts';

type StripeHttpClient = NonNullable<NonNullable<ConstructorParameters<typeof Stripe>[1]>['httpClient']>;
type StripeResponse = Awaited<ReturnType<StripeHttpClient['makeRequest']>>;

/** 1 MB: a payment intent has a few KB. */
const MAX_OBJECT_BYTES = 1_000_000;

/** 8 MB: a page of 100 payment intents, each with all the metadata that Stripe allows (50 × 540 characters). */
const MAX_PAGE_BYTES = 8_000_000;

/**
 * Internal to the Stripe connector, which catches it. It has no `code`: the SDK sends a request again, whatever
 * maxNetworkRetries says, when an error's code is ECONNRESET or EPIPE, and the second try's failure would then
 * hide that the first one may have arrived.
 */
export class CallFailed extends Error {
  override readonly name = 'CallFailed';
  readonly failure: CallFailure;

  constructor(failure: CallFailure) {
    super(failure.kind);
    this.failure = failure;
  }
}

/** An SDK client over the exchange. The SDK's `timeout` of a call is taken as its absolute deadline. */
export function createStripeHttpClient(http: HttpExchange): StripeHttpClient {
  return {
    getClientName: () => 'paygate',
    // Must not throw synchronously: the SDK would lose the error and its promise would never settle.
    async makeRequest(_host, _port, path, method, headers, requestData, _protocol, timeout) {
      const result = await http.exchange({
        method,
        path,
        headers: headers as Record<string, string | number | string[]>,
        body: requestData,
        deadlineMs: timeout,
        maxBodyBytes: method === 'GET' ? MAX_PAGE_BYTES : MAX_OBJECT_BYTES,
      });
      return readAnswer(result, headers['Idempotency-Key']);
    },
  };
}

function readAnswer(result: ExchangeResult, sentKey: unknown): StripeResponse {
  if (result.kind === 'failed') {
    const kind = result.sent === 'never' ? 'never_sent' : 'no_answer';
    throw new CallFailed({ kind, reason: clean(result.reason) });
  }
  const { statusCode, headers, body } = result;
  // Stripe repeats the key in its answer. Another key means an answer to another request, as a confused proxy
  // or a socket with a late answer in it would give.
  const answeredKey = headers['idempotency-key'];
  if (sentKey !== undefined && answeredKey !== undefined && answeredKey !== sentKey) {
    throw new CallFailed({ kind: 'mismatched', reason: 'the answer carries another idempotency key' });
  }
  const json = parseJsonObject(body);
  // The SDK writes into `error`, which must be an object then.
  if (json === null || (json.error !== undefined && json.error !== null && !isJsonObject(json.error))) {
    const reason = json === null ? describeUnreadable(body, headers) : 'an error that is not an object';
    throw new CallFailed({ kind: 'unreadable', statusCode, headers, reason });
  }
  return toSdkResponse(statusCode, headers, json);
}

function describeUnreadable(body: string, headers: AnswerHeaders): string {
  if (body === '') return 'an empty answer';
  return `an answer of ${body.length} characters that is not a JSON object (${headers['content-type'] ?? 'no content type'})`;
}

function toSdkResponse(statusCode: number, headers: AnswerHeaders, json: JsonObject): StripeResponse {
  const sdkHeaders = withoutNotice(headers) as Record<string, string>;
  // The SDK writes request id and the like into the raw response, so it must be an object of its own.
  const raw = { statusCode, headers: sdkHeaders };
  return {
    getStatusCode: () => statusCode,
    getHeaders: () => sdkHeaders,
    getRawResponse: () => raw,
    toStream: () => {
      throw new CallFailed({ kind: 'no_answer', reason: 'streaming is not supported' });
    },
    toJSON: () => Promise.resolve(json),
  };
}

/** The SDK prints what stands in `stripe-notice` to stderr, which belongs to the command that is running. */
function withoutNotice(headers: AnswerHeaders): AnswerHeaders {
  if (headers['stripe-notice'] === undefined) return headers;
  return { ...headers, 'stripe-notice': undefined };
}
