/**
 * The Stripe connector: sends stored requests through the official SDK and says what each call is evidence of.
 * Never retries a call that moves money, never touches the database, never throws for a business result.
 */
import { Stripe } from 'stripe';
import { Bug, OperatorError, unreachable } from '../errors.ts';
import type { CallFailure } from './classify.ts';
import { classifyFailure, clean } from './classify.ts';
import { createHttpExchange } from './http-exchange.ts';
import { isJsonObject, type JsonObject, textOrNull } from './json.ts';
import type {
  Connector,
  EnquiryReply,
  OperationKind,
  Reply,
  SentWindow,
  StoredAttempt,
  StripeAccount,
} from './psp.ts';
import { capabilitiesOf } from './request.ts';
import { readStripeDispute } from './stripe-dispute.ts';
import { enquireStripe, type GetResult } from './stripe-enquiry.ts';
import { CallFailed, createStripeHttpClient } from './stripe-http-client.ts';
import { isIntentOf, replyOfIntent } from './stripe-intent.ts';
import { replyOfRefund } from './stripe-refund.ts';
import type { ExpectedIntent } from './stripe-request.ts';
import { parseStripeCharge, parseStripeRefund, parseStripeTransfer } from './stripe-request.ts';
import type { StripeSearch } from './stripe-search.ts';
import { searchForCharge, searchForRefund, searchForTransfer } from './stripe-search.ts';
import { replyOfTransfer } from './stripe-transfer.ts';
import { readStripeWebhook } from './stripe-webhook.ts';

const STRIPE_URL = 'https://api.stripe.com';

/**
 * A connector for one Stripe account; opens no connection until its first call.
 * @throws OperatorError `psp_account_invalid` for an address or a key that no request could be made with
 */
export function createStripeConnector(account: StripeAccount): Connector {
  const http = createHttpExchange(parseBaseUrl(account), account.maxConcurrent);
  const stripe = new Stripe(checkApiKey(account), {
    maxNetworkRetries: 0,
    telemetry: false,
    httpClient: createStripeHttpClient(http),
    timeout: account.timeoutMs,
  });
  return {
    capabilities: capabilitiesOf('stripe'),
    charge: (attempt, deadlineMs) => send(stripe, attempt, 'charge', deadlineMs),
    refund: (attempt, deadlineMs) => send(stripe, attempt, 'refund', deadlineMs),
    payout: (attempt, deadlineMs) => send(stripe, attempt, 'payout', deadlineMs),
    enquire: (attempt, sent, deadlineMs) => enquire(stripe, account, attempt, sent, deadlineMs),
    dispute: (reference, deadlineMs) =>
      readStripeDispute(reference, deadlineMs, (path, ms) => get(stripe, path, ms)),
    parseWebhook(rawBody, headers, secret, nowS) {
      const reading = readStripeWebhook(rawBody, headers, secret, nowS);
      if (reading.kind === 'refused') return reading;
      const { kind: _, disputeReference, ...event } = reading;
      const dispute =
        disputeReference === undefined ? {} : { dispute: { reference: disputeReference, word: null } };
      return { kind: 'news', news: [{ ...event, says: null, ...dispute }] };
    },
    async close() {
      http.close();
    },
  };
}

async function send(
  stripe: Stripe,
  attempt: StoredAttempt,
  kind: OperationKind,
  deadlineMs: number,
): Promise<Reply> {
  if (attempt.operationKind !== kind)
    throw new Bug(`a ${attempt.operationKind} was given to the ${kind} connector`);
  const sendable = readSendable(attempt);
  if (sendable === null) return { kind: 'rejected', reason: NOT_A_REQUEST };
  try {
    // Not paymentIntents.create and its like: the stored parameters go out as they are, whatever the types of the
    // SDK of the day say of them.
    const answer: unknown = await stripe.rawRequest('POST', sendable.path, sendable.parameters, {
      idempotencyKey: attempt.idempotencyKey,
      timeout: toTimeout(deadlineMs),
    });
    return sendable.replyOf(answer);
  } catch (error) {
    return classifyFailure(failureOf(error, sendable.intent));
  }
}

async function enquire(
  stripe: Stripe,
  account: StripeAccount,
  attempt: StoredAttempt,
  sent: SentWindow,
  deadlineMs: number,
): Promise<EnquiryReply> {
  const search = searchFor(attempt, sent, account.timeoutMs);
  if (search === null) return { kind: 'unknown', reason: NOT_A_REQUEST, next: 'enquire', retryAfterMs: null };
  return enquireStripe({
    search,
    deadlineMs,
    get: (path, callDeadlineMs) => get(stripe, path, callDeadlineMs),
  });
}

async function get(stripe: Stripe, path: string, deadlineMs: number): Promise<GetResult> {
  try {
    const answer: unknown = await stripe.rawRequest('GET', path, undefined, {
      timeout: toTimeout(deadlineMs),
    });
    return { kind: 'answered', answer };
  } catch (error) {
    return { kind: 'failed', failure: failureOf(error, null) };
  }
}

const NOT_A_REQUEST = 'the stored request is not one that this connector wrote';

/** A stored request with where it goes and how its answer is read. */
type Sendable = {
  readonly path: string;
  readonly parameters: JsonObject;
  readonly replyOf: (answer: unknown) => Reply;
  /** What a payment intent inside an error must be; null where errors are not about one. */
  readonly intent: ExpectedIntent | null;
};

/** Null when the text is not a request that this connector wrote. */
function readSendable({ operationKind, request }: StoredAttempt): Sendable | null {
  switch (operationKind) {
    case 'charge': {
      const stored = parseStripeCharge(request);
      if (stored === null) return null;
      const { parameters, expected } = stored;
      const replyOf = (answer: unknown) => replyOfIntent(answer, expected);
      return { path: '/v1/payment_intents', parameters, replyOf, intent: expected };
    }
    case 'refund': {
      const stored = parseStripeRefund(request);
      if (stored === null) return null;
      const replyOf = (answer: unknown) => replyOfRefund(answer, stored.expected);
      return { path: '/v1/refunds', parameters: stored.parameters, replyOf, intent: null };
    }
    case 'payout': {
      const stored = parseStripeTransfer(request);
      if (stored === null) return null;
      const replyOf = (answer: unknown) => replyOfTransfer(answer, stored.expected);
      return { path: '/v1/transfers', parameters: stored.parameters, replyOf, intent: null };
    }
    default:
      return unreachable(operationKind);
  }
}

/** Null when the text is not a request that this connector wrote. */
function searchFor(
  { operationKind, request }: StoredAttempt,
  sent: SentWindow,
  timeoutMs: number,
): StripeSearch | null {
  switch (operationKind) {
    case 'charge': {
      const stored = parseStripeCharge(request);
      return stored === null ? null : searchForCharge(stored, sent, timeoutMs);
    }
    case 'refund': {
      const stored = parseStripeRefund(request);
      return stored === null ? null : searchForRefund(stored);
    }
    case 'payout': {
      const stored = parseStripeTransfer(request);
      return stored === null ? null : searchForTransfer(stored);
    }
    default:
      return unreachable(operationKind);
  }
}

/** The SDK ignores a time-out that is not a whole number, and takes 0 for "the default of 80 s". */
function toTimeout(deadlineMs: number): number {
  return Math.max(1, Math.ceil(deadlineMs));
}

/** What the SDK threw, without its class names: facts for {@link classifyFailure}. */
function failureOf(error: unknown, expected: ExpectedIntent | null): CallFailure {
  if (!(error instanceof Stripe.errors.StripeError)) {
    return { kind: 'no_answer', reason: `unexpected: ${clean(String(error))}` };
  }
  // Transport failures come wrapped in a StripeConnectionError.
  const detail: unknown = error.detail;
  if (detail instanceof CallFailed) return detail.failure;
  if (typeof error.statusCode !== 'number') return { kind: 'no_answer', reason: clean(error.message) };
  // A refund's error may show the payment intent that is refunded, which says nothing about the refund.
  const intent: unknown = expected === null ? null : error.payment_intent;
  if (expected !== null && isJsonObject(intent) && !isIntentOf(intent, expected)) {
    return {
      kind: 'mismatched',
      reason: `${error.statusCode}: the error is about another attempt's payment intent`,
    };
  }
  return {
    kind: 'refused',
    statusCode: error.statusCode,
    headers: error.headers ?? {},
    type: textOrNull(error.rawType),
    code: textOrNull(error.code),
    declineCode: textOrNull(error.decline_code),
    adviceCode: textOrNull(error.advice_code),
    message: error.message,
    intent: readIntent(intent),
  };
}

function readIntent(intent: unknown): { id: string; status: string | null } | null {
  if (!isJsonObject(intent)) return null;
  const id = textOrNull(intent.id);
  return id === null ? null : { id, status: textOrNull(intent.status) };
}

function parseBaseUrl(account: StripeAccount): URL {
  const text = account.baseUrl ?? STRIPE_URL;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.pathname !== '/') {
    throw new OperatorError(
      'psp_account_invalid',
      `PSP account ${account.name}: "${text}" is not http(s)://host[:port]`,
    );
  }
  return url;
}

/** A key with a line break in it, as a secrets file gives, would fail in every call. */
function checkApiKey(account: StripeAccount): string {
  if (/^[\x21-\x7e]+$/.test(account.apiKey)) return account.apiKey;
  throw new OperatorError(
    'psp_account_invalid',
    `PSP account ${account.name}: the API key is empty or has spaces or line breaks in it`,
  );
}
