/**
 * Reads one dispute at Stripe and says what it is evidence of. A charge of ours is known by the references on its
 * payment intent, never by the intent's name alone: another book may share the account.
 */
import { type Currency, parseCurrency } from '../money.ts';
import { type CallFailure, classifyFailure } from './classify.ts';
import { isJsonObject, textOrNull } from './json.ts';
import type { DisputeReply, DisputeState } from './psp.ts';
import type { GetResult } from './stripe-enquiry.ts';
import { fromStripeAmount } from './stripe-minor-unit.ts';
import { readReferences } from './stripe-object.ts';

/** Stripe's names of disputes; anything else could lead the address astray. */
const DISPUTE_NAME = /^\w{1,100}$/;

/** @param get one GET; never throws for a failed call */
export async function readStripeDispute(
  reference: string,
  deadlineMs: number,
  get: (path: string, deadlineMs: number) => Promise<GetResult>,
): Promise<DisputeReply> {
  if (!DISPUTE_NAME.test(reference)) return nothing('its name is none of a dispute at Stripe');
  const result = await get(`/v1/disputes/${reference}?expand[]=payment_intent`, deadlineMs);
  return result.kind === 'answered'
    ? replyOfDispute(result.answer, reference)
    : replyOfFailure(result.failure);
}

/** Only "there is no such dispute" is an answer; every other failure says nothing. */
function replyOfFailure(failure: CallFailure): DisputeReply {
  if (failure.kind === 'refused' && failure.code === 'resource_missing') {
    return nothing('the PSP has no such dispute');
  }
  const reply = classifyFailure(failure);
  return failed(
    'reason' in reply && reply.reason !== undefined ? reply.reason : reply.kind,
    'retryAfterMs' in reply ? reply.retryAfterMs : null,
  );
}

/**
 * The evidence in a Dispute with its payment intent expanded. Statuses: docs.stripe.com/api/disputes/object; what only
 * warns has taken nothing, and what was prevented never will.
 */
export function replyOfDispute(answer: unknown, reference: string): DisputeReply {
  if (!isJsonObject(answer) || answer.object !== 'dispute' || answer.id !== reference) {
    return failed('the answer is not that dispute');
  }
  const state = stateOf(textOrNull(answer.status));
  if (state === 'unknown')
    return failed(`it has the status ${String(answer.status)}, which is not known here`);
  if (state === null) return nothing(`it is ${String(answer.status)}: nothing was taken`);
  const intent = answer.payment_intent;
  const references = isJsonObject(intent) ? readReferences(intent.metadata) : null;
  if (references === null) return nothing('its charge carries no references of ours');
  const currency = currencyOf(answer.currency);
  const amountMinor =
    currency === null || typeof answer.amount !== 'number' ? null : fromStripeAmount(answer.amount, currency);
  if (currency === null || amountMinor === null) {
    return failed(`it is over ${String(answer.amount)} ${String(answer.currency)}, which is no amount here`);
  }
  return {
    kind: 'found',
    state,
    reason: textOrNull(answer.reason) ?? 'no reason given',
    amountMinor,
    currency,
    idempotencyKey: references.paygate_key,
    operationReference: references.paygate_operation,
  };
}

function stateOf(status: string | null): DisputeState | null | 'unknown' {
  switch (status) {
    case 'needs_response':
    case 'under_review':
      return 'opened';
    case 'won':
    case 'lost':
      return status;
    case 'warning_needs_response':
    case 'warning_under_review':
    case 'warning_closed':
    case 'prevented':
      return null;
    default:
      return 'unknown';
  }
}

function currencyOf(code: unknown): Currency | null {
  return typeof code === 'string' ? parseCurrency(code.toUpperCase()) : null;
}

function nothing(reason: string): DisputeReply {
  return { kind: 'nothing', reason };
}

function failed(reason: string, retryAfterMs: number | null = null): DisputeReply {
  return { kind: 'failed', reason, retryAfterMs };
}
