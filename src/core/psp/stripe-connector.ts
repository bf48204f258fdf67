/**
 * The Stripe connector: sends stored charges through the official SDK and says what each call is evidence of.
 * Never retries a charge, never touches the database, never throws for a business result.
 */
import { Stripe } from 'stripe';
import { Bug, OperatorError } from '../errors.ts';
import type { CallFailure } from './classify.ts';
import { classifyFailure, clean } from './classify.ts';
import { createHttpExchange } from './http-exchange.ts';
import { isJsonObject, textOrNull } from './json.ts';
import type { Connector, EnquiryReply, Reply, SentWindow, StoredAttempt, StripeAccount } from './psp.ts';
import { capabilitiesOf } from './request.ts';
import { enquireStripe } from './stripe-enquiry.ts';
import { CallFailed, createStripeHttpClient } from './stripe-http-client.ts';
import { isIntentOf, replyOfIntent } from './stripe-intent.ts';
import type { ExpectedIntent, StoredCharge } from './stripe-request.ts';
import { parseStripeCharge } from './stripe-request.ts';

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
    charge: (attempt, deadlineMs) => charge(stripe, attempt, deadlineMs),
    refund: async () => ({ kind: 'rejected', reason: 'refunds come with the next commit' }),
    payout: async () => ({ kind: 'rejected', reason: 'payouts come with the next commit' }),
    enquire: (attempt, sent, deadlineMs) => enquire(stripe, account, attempt, sent, deadlineMs),
    async close() {
      http.close();
    },
  };
}

async function charge(stripe: Stripe, attempt: StoredAttempt, deadlineMs: number): Promise<Reply> {
  const stored = readStored(attempt);
  if (stored === null) return { kind: 'rejected', reason: NOT_A_REQUEST };
  try {
    // Not paymentIntents.create: the stored parameters go out as they are, whatever the types of the SDK of the
    // day say of them.
    const intent: unknown = await stripe.rawRequest('POST', '/v1/payment_intents', stored.parameters, {
      idempotencyKey: attempt.idempotencyKey,
      timeout: toTimeout(deadlineMs),
    });
    return replyOfIntent(intent, stored.expected);
  } catch (error) {
    return classifyFailure(failureOf(error, stored.expected));
  }
}

async function enquire(
  stripe: Stripe,
  account: StripeAccount,
  attempt: StoredAttempt,
  sent: SentWindow,
  deadlineMs: number,
): Promise<EnquiryReply> {
  const stored = readStored(attempt);
  if (stored === null) return { kind: 'unknown', reason: NOT_A_REQUEST, next: 'enquire', retryAfterMs: null };
  return enquireStripe({
    expected: stored.expected,
    transferGroup: stored.expected.metadata.paygate_order,
    sent,
    timeoutMs: account.timeoutMs,
    deadlineMs,
    async get(path, callDeadlineMs) {
      try {
        const answer: unknown = await stripe.rawRequest('GET', path, undefined, {
          timeout: toTimeout(callDeadlineMs),
        });
        return { kind: 'answered', answer };
      } catch (error) {
        return { kind: 'failed', failure: failureOf(error, null) };
      }
    },
  });
}

const NOT_A_REQUEST = 'the stored request is not one that this connector wrote';

function readStored(attempt: StoredAttempt): StoredCharge | null {
  if (attempt.operationKind !== 'charge')
    throw new Bug(`a ${attempt.operationKind} was given to the charge connector`);
  return parseStripeCharge(attempt.request);
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
  const intent: unknown = error.payment_intent;
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
