/**
 * What a failed Stripe call is evidence of: the error-class table as a pure function of status, code and type.
 * Never looks at an error's class, never decides what becomes of the attempt (that is `merge`).
 */
import { unreachable } from '../errors.ts';
import type { Reply } from './psp.ts';

/** Answer headers, names in lower case. */
export type AnswerHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

/** How one call went wrong, as far as the transport and the SDK could tell. */
export type CallFailure =
  /** No byte of the request left this machine. */
  | { readonly kind: 'never_sent'; readonly reason: string }
  /** The request left, or may have, and no complete answer came back. */
  | { readonly kind: 'no_answer'; readonly reason: string }
  /** A complete answer that is not a JSON object: empty, HTML, cut off, too long. */
  | {
      readonly kind: 'unreadable';
      readonly statusCode: number;
      readonly headers: AnswerHeaders;
      readonly reason: string;
    }
  /** A complete answer, but to some other request. */
  | { readonly kind: 'mismatched'; readonly reason: string }
  | Refusal;

/** A complete answer with Stripe's error object in it. */
export type Refusal = {
  readonly kind: 'refused';
  readonly statusCode: number;
  readonly headers: AnswerHeaders;
  readonly type: string | null;
  readonly code: string | null;
  readonly declineCode: string | null;
  readonly adviceCode: string | null;
  readonly message: string;
  /** The payment intent that Stripe put into the error, if it did. */
  readonly intent: { readonly id: string; readonly status: string | null } | null;
};

/** The evidence of a failed call. */
export function classifyFailure(failure: CallFailure): Reply {
  switch (failure.kind) {
    case 'never_sent':
      return { kind: 'not_sent', reason: failure.reason };
    case 'no_answer':
      return unknown(failure.reason, 'resend', null);
    case 'mismatched':
      return unknown(failure.reason, 'enquire', null);
    case 'unreadable':
      return classifyUnreadable(failure.statusCode, failure.headers, failure.reason);
    case 'refused':
      return classifyRefusal(failure);
    default:
      return unreachable(failure);
  }
}

/**
 * Without Stripe's error object the status alone may come from something in between, so it never ends an
 * attempt: 401, 403 and 429 are believed because the same request is sent again either way.
 */
function classifyUnreadable(statusCode: number, headers: AnswerHeaders, why: string): Reply {
  const reason = `${statusCode}: ${why}`;
  if (statusCode === 401 || statusCode === 403) return configError(reason, statusCode);
  if (statusCode === 429) return { kind: 'rate_limited', reason, retryAfterMs: retryAfterMs(headers) };
  return unknown(reason, isStoredFailure(statusCode, headers) ? 'enquire' : 'resend', retryAfterMs(headers));
}

function classifyRefusal(refusal: Refusal): Reply {
  const { statusCode, code, type, headers } = refusal;
  const reason = describeRefusal(refusal);
  if (type === 'idempotency_error') return unknown(reason, 'enquire', null);
  if (mayHaveMovedMoney(refusal)) return unknown(reason, 'enquire', null);
  if (statusCode === 401 || statusCode === 403 || (code !== null && CONFIG_CODES.has(code))) {
    return configError(reason, statusCode);
  }
  if (statusCode === 429 || (statusCode === 400 && code === 'rate_limit')) {
    return { kind: 'rate_limited', reason, retryAfterMs: retryAfterMs(headers) };
  }
  if (isDecline(refusal)) return declined(refusal);
  if (isUnfunded(refusal)) {
    return { kind: 'declined', reason: BALANCE_INSUFFICIENT, mayRetryAsNew: true, pspReference: null };
  }
  if (isRejection(refusal)) return { kind: 'rejected', reason };
  // A success status with an error in it, 409 (the key is in use by a request in flight), 408, 424, 5xx, and
  // whatever nobody has thought of.
  const next = statusCode < 300 || isStoredFailure(statusCode, headers) ? 'enquire' : 'resend';
  return unknown(reason, next, retryAfterMs(headers));
}

/** An error that carries an intent which has, or still may have, the buyer's money is no refusal at all. */
function mayHaveMovedMoney(refusal: Refusal): boolean {
  const status = refusal.intent?.status ?? null;
  return status === 'succeeded' || status === 'processing' || status === 'requires_capture';
}

/**
 * Errors that hold for every call of this account until a person acts, though Stripe gives some of them
 * with status 400. Source: docs.stripe.com/error-codes.
 */
const CONFIG_CODES: ReadonlySet<string> = new Set([
  'account_invalid',
  'api_key_expired',
  'livemode_mismatch',
  'platform_account_required',
  'platform_api_key_expired',
  'secret_key_required',
  'testmode_charges_only',
  'tls_version_unsupported',
]);

function configError(reason: string, statusCode: number): Reply {
  const fix =
    statusCode === 403
      ? 'give the API key of this PSP account permission to write payment intents, refunds and transfers, and to read charges'
      : 'check the API key of this PSP account: not expired, not revoked, of the right mode (test or live)';
  return { kind: 'config_error', reason, fix };
}

/** Statuses with which Stripe says that it looked at the request and did nothing. */
const REJECTING_STATUSES: ReadonlySet<number> = new Set([400, 404, 405, 410, 413, 414, 415, 422]);

function isRejection(refusal: Refusal): boolean {
  return refusal.type === 'invalid_request_error' && REJECTING_STATUSES.has(refusal.statusCode);
}

/**
 * "The associated account does not have a sufficient balance available" (docs.stripe.com/error-codes). Stripe looked at
 * the balance, so it has executed the request and replays this answer under its key: funded, it needs a new key.
 */
const BALANCE_INSUFFICIENT = 'balance_insufficient';

function isUnfunded(refusal: Refusal): boolean {
  return isRejection(refusal) && refusal.code === BALANCE_INSUFFICIENT;
}

/** 402 means "the parameters were valid but the request failed" (docs.stripe.com/api/errors). */
function isDecline(refusal: Refusal): boolean {
  if (refusal.statusCode === 402)
    return refusal.type === 'card_error' || refusal.type === 'invalid_request_error';
  return refusal.statusCode === 400 && refusal.type === 'card_error';
}

function declined(refusal: Refusal): Reply {
  const reason = declineReason(refusal.code, refusal.declineCode);
  return {
    kind: 'declined',
    reason,
    mayRetryAsNew: isSoftDecline(reason, refusal.adviceCode),
    pspReference: refusal.intent?.id ?? null,
  };
}

/**
 * One word for a decline. Stripe gives the finer word in `decline_code`, except that a challenge nobody could
 * pass has several there (`authentication_not_handled`, …) and one name in `code`.
 */
export function declineReason(code: string | null, declineCode: string | null): string {
  if (code === 'authentication_required') return code;
  return declineCode ?? code ?? 'declined';
}

/**
 * Decline codes for which Stripe says that the payment may be attempted again as it is, or that lack of funds
 * or a limit stood in the way. Source: docs.stripe.com/declines/codes.
 */
const SOFT_DECLINES: ReadonlySet<string> = new Set([
  'approve_with_id',
  'card_velocity_exceeded',
  'insufficient_funds',
  'issuer_not_available',
  // Nobody refused the card: its holder did not pass the challenge, and may try again.
  'payment_intent_authentication_failure',
  'processing_error',
  'reenter_transaction',
  'try_again_later',
  'withdrawal_count_limit_exceeded',
]);

/** The issuer's advice wins (docs.stripe.com/declines/card, `advice_code`); without it a list of known codes. */
export function isSoftDecline(declineCode: string, adviceCode: string | null): boolean {
  if (adviceCode !== null) return adviceCode === 'try_again_later';
  return SOFT_DECLINES.has(declineCode);
}

/**
 * True for a failure that the same key would only replay: Stripe stores a 500 under the key, says so when it
 * replays it (`idempotent-replayed`), and says beforehand that a retry is of no use (`stripe-should-retry`).
 */
function isStoredFailure(statusCode: number, headers: AnswerHeaders): boolean {
  if (statusCode < 500) return false;
  return headers['idempotent-replayed'] === 'true' || headers['stripe-should-retry'] === 'false';
}

/** One hour: a longer `Retry-After` is a mistake of somebody's, and must not park an account for a day. */
const MAX_RETRY_AFTER_MS = 3_600_000;

/**
 * `Retry-After` in ms, 0 to {@link MAX_RETRY_AFTER_MS}; null when absent or unreadable. A date is measured
 * against the answer's own `Date`, so no clock of ours is needed.
 */
export function retryAfterMs(headers: AnswerHeaders): number | null {
  const value = headers['retry-after'];
  if (typeof value !== 'string') return null;
  const waitMs = /^\d+(\.\d+)?$/.test(value)
    ? Number(value) * 1000
    : Date.parse(value) - Date.parse(typeof headers.date === 'string' ? headers.date : '');
  if (Number.isNaN(waitMs)) return null;
  return Math.round(Math.min(Math.max(waitMs, 0), MAX_RETRY_AFTER_MS));
}

function unknown(reason: string, next: 'resend' | 'enquire', retryMs: number | null): Reply {
  return { kind: 'unknown', reason, next, retryAfterMs: retryMs };
}

function describeRefusal(refusal: Refusal): string {
  const name = refusal.code ?? refusal.type ?? 'error';
  const replayed = refusal.headers['idempotent-replayed'] === 'true' ? ', replayed' : '';
  return clean(`${refusal.statusCode} ${name}${replayed}: ${refusal.message}`);
}

/** Long enough for Stripe's sentences, short enough for a table. */
const MAX_REASON_LENGTH = 300;

/** One line of bounded length without API keys or client secrets: reasons are stored, logged and shown. */
export function clean(text: string): string {
  const oneLine = text.replace(/\s+/g, ' ').trim();
  const hidden = oneLine.replace(/\b([srp]k_(?:live|test)_)[\w*]+/g, '$1…').replace(/(_secret_)\w+/g, '$1…');
  return hidden.length > MAX_REASON_LENGTH ? `${hidden.slice(0, MAX_REASON_LENGTH)}…` : hidden;
}
