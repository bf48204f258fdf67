/**
 * What an answer of Adyen, or the lack of one, is evidence of: result codes, refusal reasons and errors as pure
 * functions. Never looks at an error's class, never decides what becomes of the attempt (that is `merge`).
 */
import { unreachable } from '../errors.ts';
import type { ExpectedAnswer } from './adyen-request.ts';
import { type AnswerHeaders, clean, retryAfterMs } from './classify.ts';
import { isJsonObject, type JsonObject, textOrNull } from './json.ts';
import type { HandOff, Reply } from './psp.ts';

/** How one call went wrong, as far as the transport could tell. */
export type AdyenFailure =
  /** No byte of the request left this machine. */
  | { readonly kind: 'never_sent'; readonly reason: string }
  /** The request left, or may have, and no complete answer came back. */
  | { readonly kind: 'no_answer'; readonly reason: string }
  /** A complete answer, but to some other request. */
  | { readonly kind: 'mismatched'; readonly reason: string }
  /** A complete answer that is an error, or no JSON object at all (`body` is null then, `reason` says what it was). */
  | {
      readonly kind: 'answered';
      readonly statusCode: number;
      readonly headers: AnswerHeaders;
      readonly body: JsonObject | null;
      readonly reason: string;
    };

type Answered = Extract<AdyenFailure, { kind: 'answered' }>;

/** The evidence of a failed call. */
export function classifyAdyenFailure(failure: AdyenFailure): Reply {
  switch (failure.kind) {
    case 'never_sent':
      return { kind: 'not_sent', reason: failure.reason };
    case 'no_answer':
      return doubt(failure.reason, 'resend');
    case 'mismatched':
      return doubt(failure.reason, 'enquire');
    case 'answered':
      return classifyError(failure);
    default:
      return unreachable(failure);
  }
}

/** "Request already processed or in progress": the key is in use. Source: docs.adyen.com/development-resources/api-idempotency. */
const KEY_IN_USE = '704';

/** "Required resource temporarily unavailable": the store of the keys is down, nothing was looked at. Same source. */
const KEY_STORE_DOWN = '703';

/** Statuses with which Adyen says that it looked at the request and did nothing; only with its error code. */
const REJECTING_STATUSES: ReadonlySet<number> = new Set([400, 404, 405, 413, 415, 422]);

function classifyError(error: Answered): Reply {
  const { statusCode, headers } = error;
  const code = textOrNull(error.body?.errorCode);
  const reason = describe(error, code);
  if (statusCode === 401 || statusCode === 403) return configError(reason, statusCode);
  if (statusCode === 429 || (statusCode === 500 && saysTooManyRequests(error))) {
    return { kind: 'rate_limited', reason, retryAfterMs: retryAfterMs(headers) };
  }
  const sameKeyAgain =
    headers['transient-error'] === 'true' || code === KEY_IN_USE || code === KEY_STORE_DOWN;
  if (sameKeyAgain) return doubt(reason, 'resend', retryAfterMs(headers));
  // Without Adyen's error code the status alone may come from something in between, so it ends nothing.
  if (code !== null && REJECTING_STATUSES.has(statusCode)) return { kind: 'rejected', reason };
  // Where Adyen says of an error that it will not pass, the same key again is taken to bring nothing new.
  const next = headers['transient-error'] === 'false' ? 'enquire' : 'resend';
  return doubt(reason, next, retryAfterMs(headers));
}

/** Adyen's old servers have no 429. Source: docs.adyen.com/development-resources/response-handling. */
function saysTooManyRequests(error: Answered): boolean {
  return /too many requests/i.test(messageOf(error.body));
}

function configError(reason: string, statusCode: number): Reply {
  const fix =
    statusCode === 403
      ? 'give the API key of this PSP account the roles for its merchant account, and check merchant_account and balance_account_id'
      : 'check the API key of this PSP account: not expired, not replaced, of the right environment (test or live)';
  return { kind: 'config_error', reason, fix };
}

function describe(error: Answered, code: string | null): string {
  const message = messageOf(error.body);
  return clean(`${error.statusCode} ${code ?? 'error'}: ${message === '' ? error.reason : message}`);
}

/** Checkout says it in `message`, the balance platform in `detail` or `title` (RFC 7807). */
function messageOf(body: JsonObject | null): string {
  return textOrNull(body?.message) ?? textOrNull(body?.detail) ?? textOrNull(body?.title) ?? '';
}

/** Refusal reasons. Source: docs.adyen.com/development-resources/refusal-reasons. */
const NOT_ENOUGH_BALANCE = '12';
const WITHDRAWAL_AMOUNT_EXCEEDED = '28';
const WITHDRAWAL_COUNT_EXCEEDED = '29';
const AUTHENTICATION_REQUIRED = '38';

/**
 * Refusals after which the same card may be tried again as it is. All others are final, above all those that card
 * schemes fine for trying again: 5, 14, 20, 22, 25, 26, 31.
 */
const SOFT_REFUSALS: ReadonlySet<string> = new Set([
  NOT_ENOUGH_BALANCE,
  WITHDRAWAL_AMOUNT_EXCEEDED,
  WITHDRAWAL_COUNT_EXCEEDED,
]);

/** The evidence in the answer to a payment. Result codes: docs.adyen.com/online-payments/build-your-integration/payment-result-codes. */
export function replyOfPayment(
  answer: JsonObject,
  expected: ExpectedAnswer,
  customerPresent: boolean,
): Reply {
  const foreign = findMismatch(answer, 'merchantReference', expected);
  if (foreign !== null) return doubt(foreign, 'enquire');
  const pspReference = textOrNull(answer.pspReference);
  const resultCode = textOrNull(answer.resultCode);
  switch (resultCode) {
    case null:
      return doubt('an answer without a result code', 'resend');
    case 'Refused':
    case 'Cancelled':
      return declined(answer, resultCode, pspReference);
    case 'RedirectShopper':
    case 'ChallengeShopper':
    case 'IdentifyShopper':
      return handOver(answer, customerPresent);
  }
  if (pspReference === null) return doubt(`${resultCode} without a pspReference`, 'enquire');
  switch (resultCode) {
    case 'Authorised':
      return { kind: 'succeeded', pspReference };
    case 'Pending':
    case 'Received':
      return { kind: 'pending', pspReference };
    default:
      // Error, PartiallyAuthorised, and what nobody has thought of: the webhook will say.
      return doubt(`${pspReference} has the result code ${clean(resultCode)}`, 'enquire');
  }
}

function declined(answer: JsonObject, resultCode: string, pspReference: string | null): Reply {
  const code = textOrNull(answer.refusalReasonCode);
  const reason =
    code === AUTHENTICATION_REQUIRED
      ? 'authentication_required'
      : wordOf(textOrNull(answer.refusalReason) ?? resultCode);
  return {
    kind: 'declined',
    reason,
    mayRetryAsNew: code !== null && SOFT_REFUSALS.has(code),
    pspReference,
  };
}

/** "Not enough balance" is not_enough_balance: one word, as for every PSP. */
function wordOf(sentence: string): string {
  const word = sentence.toLowerCase().replace(/[^a-z0-9]+/g, '_');
  return word.replace(/^_|_$/g, '') || 'refused';
}

function handOver(answer: JsonObject, customerPresent: boolean): Reply {
  const pspReference = textOrNull(answer.pspReference);
  if (!customerPresent) {
    return { kind: 'declined', reason: 'authentication_required', mayRetryAsNew: false, pspReference };
  }
  const { action } = answer;
  if (!isJsonObject(action)) return doubt('a challenge without an action for the buyer', 'enquire');
  // A redirect has no reference of Adyen's before the buyer comes back: the webhook brings it, and is told by having one
  // that no attempt is known by.
  return { kind: 'awaiting_customer', pspReference, handOff: handOffOf(action) };
}

/** Where to send the buyer, or, for what only Adyen's scripts can do, the action as it came. */
function handOffOf(action: JsonObject): HandOff {
  const { type, url, method = 'GET', data } = action;
  const isRedirect =
    type === 'redirect' && typeof url === 'string' && (method === 'GET' || method === 'POST');
  if (!isRedirect) return { type: 'adyen_action', action };
  const fields = isJsonObject(data) ? Object.entries(data) : [];
  const texts = fields.filter((field): field is [string, string] => typeof field[1] === 'string');
  return { type: 'redirect', url, method, data: Object.fromEntries(texts) };
}

/** The evidence in the answer to a refund: Adyen only ever says that it received it; the truth comes by webhook. */
export function replyOfRefund(
  answer: JsonObject,
  expected: ExpectedAnswer,
  paymentPspReference: string,
): Reply {
  const foreign = findMismatch(answer, 'reference', expected);
  if (foreign !== null) return doubt(foreign, 'enquire');
  if (answer.paymentPspReference !== paymentPspReference) {
    return doubt('the answer is about the refund of another payment', 'enquire');
  }
  const pspReference = textOrNull(answer.pspReference);
  if (answer.status !== 'received' || pspReference === null) {
    return doubt('an answer to a refund that does not say "received"', 'resend');
  }
  return { kind: 'pending', pspReference };
}

/** Statuses after which a transfer moves nothing any more. Source: docs.adyen.com/api-explorer/transfers/4. */
const FAILED_TRANSFERS: ReadonlySet<string> = new Set([
  'cancelled',
  'error',
  'expired',
  'failed',
  'refused',
  'rejected',
  'returned',
  'reversed',
]);

/** Statuses of a transfer whose money has left our balance account. */
const BOOKED_TRANSFERS: ReadonlySet<string> = new Set([
  'booked',
  'bankTransfer',
  'credited',
  'internalTransfer',
]);

/** Statuses of a transfer that Adyen has and has not ended. */
const OPEN_TRANSFERS: ReadonlySet<string> = new Set([
  'approvalPending',
  'authorised',
  'bankTransferPending',
  'bookingPending',
  'internalTransferPending',
  'pending',
  'pendingApproval',
  'pendingExecution',
  'received',
]);

/** Statuses that only a transfer whose money had left our balance account comes to. */
const CAME_BACK: ReadonlySet<string> = new Set(['returned', 'reversed']);

/**
 * Whether the recipient has it: a balance account of the platform once it is booked, a bank account when Adyen tracked
 * it there. Only instant transfers are tracked that far; a regular one is booked, and nobody says more.
 * Source: docs.adyen.com/payouts/payout-service/payout-lifecycle.
 */
function hasArrived(answer: JsonObject, status: string): boolean {
  if (status === 'credited' || answer.category === 'internal') return true;
  const { tracking } = answer;
  return isJsonObject(tracking) && tracking.type === 'confirmation' && tracking.status === 'credited';
}

/** What led to its status, where the transfer says so: it had been booked. */
function wasBooked({ events }: JsonObject): boolean {
  return Array.isArray(events) && events.some((event) => isJsonObject(event) && event.status === 'booked');
}

/** The evidence in a transfer, returned or found. A lack of funds may be tried again as new, under a new key. */
export function replyOfTransfer(answer: JsonObject, expected: ExpectedAnswer): Reply {
  const foreign = findMismatch(answer, 'reference', expected);
  if (foreign !== null) return doubt(foreign, 'enquire');
  const pspReference = textOrNull(answer.id);
  const status = textOrNull(answer.status);
  if (pspReference === null || status === null) {
    return doubt('an answer without a transfer in it', 'resend');
  }
  if (BOOKED_TRANSFERS.has(status)) {
    return hasArrived(answer, status)
      ? { kind: 'succeeded', pspReference, arrived: true }
      : { kind: 'succeeded', pspReference };
  }
  if (OPEN_TRANSFERS.has(status)) return { kind: 'pending', pspReference };
  if (!FAILED_TRANSFERS.has(status)) {
    return doubt(`transfer ${pspReference} is ${clean(status)}`, 'enquire');
  }
  const reason = textOrNull(answer.reason) ?? status;
  return {
    kind: 'declined',
    reason: clean(reason),
    mayRetryAsNew: reason === 'notEnoughBalance',
    pspReference,
    ...(CAME_BACK.has(status) || wasBooked(answer) ? { isUndone: true } : {}),
  };
}

/** Why the answer cannot be about this attempt, or null. What an answer leaves out is not held against it. */
function findMismatch(answer: JsonObject, referenceField: string, expected: ExpectedAnswer): string | null {
  const reference = answer[referenceField];
  if (reference !== undefined && reference !== expected.reference) {
    return 'the answer carries the reference of another operation';
  }
  const { amount } = answer;
  if (!isJsonObject(amount)) return null;
  if (amount.value === expected.value && amount.currency === expected.currency) return null;
  return clean(
    `the answer is over ${amount.value} ${amount.currency}, not ${expected.value} ${expected.currency}`,
  );
}

function doubt(reason: string, next: 'resend' | 'enquire', waitMs: number | null = null): Reply {
  return { kind: 'unknown', reason, next, retryAfterMs: waitMs };
}
