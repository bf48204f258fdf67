/**
 * A retry: another attempt at an order that was definitely not charged, usually with another payment method. How it is
 * read, what it means, when it is refused, and its answer. Decides only.
 */
import { z } from 'zod';
import { formatId, parseId } from '../ids.ts';
import { isOpenAttempt } from '../operation/evidence.ts';
import {
  isEnded,
  type PublicState,
  publicStateOf,
  type SubState,
  transition,
} from '../operation/operation.ts';
import type { Standing } from '../operation/reopening-store.ts';
import { normalText } from './payment-fields.ts';
import { addFault, faultsOf, nameSchema, type RequestFault } from './payment-request.ts';

export type RetryRequest = {
  readonly orderId: bigint;
  readonly paymentMethod: string;
  readonly idempotencyKey: string;
};

export type RetryReading =
  | { readonly kind: 'ok'; readonly request: RetryRequest }
  | { readonly kind: 'bad'; readonly faults: readonly RequestFault[] };

/** Body of POST /v1/payments/{id}/retry. */
const retryBodySchema = z.strictObject({
  payment_order_id: z.string().superRefine((text, sink) => {
    if (parseId('order', text) !== null) return;
    addFault(sink, [], { code: 'not_an_id', message: 'is not an id like ord_13' });
  }),
  payment_method: nameSchema('payment_method', "The PSP's name of the method to try now."),
  idempotency_key: nameSchema('idempotency_key', 'Names this request: sent again, it gets the first answer.'),
});

/** Reads a body of any type; never throws, gives either the retry or all faults of the body. */
export function readRetryRequest(body: unknown): RetryReading {
  const parsed = retryBodySchema.safeParse(body);
  if (!parsed.success) {
    return { kind: 'bad', faults: parsed.error.issues.flatMap((issue) => faultsOf(issue, body, 'a retry')) };
  }
  const { payment_order_id: order, payment_method: method, idempotency_key: key } = parsed.data;
  return {
    kind: 'ok',
    request: {
      orderId: parseId('order', order)!,
      paymentMethod: normalText(method),
      idempotencyKey: normalText(key),
    },
  };
}

/** The deterministic text of what a retry means; its SHA-256 is the fingerprint. Never that of a payment. */
export function canonicalRetryText(paymentId: bigint, request: RetryRequest): string {
  const { orderId, paymentMethod } = request;
  return JSON.stringify(['retry.1', paymentId.toString(), orderId.toString(), paymentMethod]);
}

export type RetryRefusal = {
  readonly code:
    | 'already_succeeded'
    | 'attempt_unresolved'
    | 'needs_a_person'
    | 'not_retryable'
    | 'hard_decline'
    | 'payment_given_back';
  readonly message: string;
};

/**
 * Why there may be no new attempt now, or null. Money that moved, whatever was booked for it, comes first.
 * @param standing undefined for an order that never had an attempt
 */
export function findRetryRefusal(standing: Standing | undefined): RetryRefusal | null {
  if (standing === undefined) {
    return { code: 'not_retryable', message: 'The risk check stopped the order; it is not tried again.' };
  }
  const { attemptNumber, attemptState, subState } = standing;
  if (subState === 'succeeded' || standing.movedMoney) {
    return { code: 'already_succeeded', message: 'The buyer has been charged for the order already.' };
  }
  if (standing.hasJob || isOpenAttempt(attemptState) || !isEnded(subState)) {
    return {
      code: 'attempt_unresolved',
      message: `Attempt ${attemptNumber} is not resolved (${subState}): it may still charge the buyer.`,
    };
  }
  const letter = standing.openLetters.find((code) => code !== 'rejected');
  if (letter !== undefined) {
    return { code: 'needs_a_person', message: `The order has an open dead letter (${letter}).` };
  }
  if (transition(subState, 'retried') !== null) return null;
  return { code: 'not_retryable', message: `The order has ended as ${subState}; it is not tried again.` };
}

/** Why this method may not be tried again, or null: its issuer said no for good, in whichever attempt that was. */
export function findHardDecline(
  declines: readonly { readonly reason: string | null; readonly method: string | null }[],
  paymentMethod: string,
): RetryRefusal | null {
  const decline = declines.findLast(({ method }) => method === paymentMethod);
  if (decline === undefined) return null;
  const why = decline.reason ?? 'no reason given';
  return {
    code: 'hard_decline',
    message: `This payment method was declined for good (${why}); give another one.`,
  };
}

/** The buyer was told that the payment has failed, and may have checked out again. */
export const GIVEN_BACK: RetryRefusal = {
  code: 'payment_given_back',
  message: 'The rest of the payment was given back because this order failed; let the buyer check out again.',
};

/** What the block lists say at the time of the retry; what can't be told counts as a no. */
export type RetryRisk = { readonly decision: 'allow' | 'block'; readonly reason: string };

/** The body of 202; stored, and given again byte for byte. */
export type RetryAnswer = {
  readonly payment_id: string;
  readonly payment_order_id: string;
  readonly payment_method: string;
  /** The order's; FAILED as before where the risk check stopped the new attempt. */
  readonly status: PublicState;
  /** Of the new attempt, from 2; null where there is none. */
  readonly attempt_number: number | null;
  readonly risk: RetryRisk;
};

export function retryAnswer(
  paymentId: bigint,
  request: RetryRequest,
  subState: SubState,
  attemptNumber: number | null,
  risk: RetryRisk,
): RetryAnswer {
  return {
    payment_id: formatId('payment', paymentId),
    payment_order_id: formatId('order', request.orderId),
    payment_method: request.paymentMethod,
    status: publicStateOf(subState),
    attempt_number: attemptNumber,
    risk: { decision: risk.decision, reason: risk.reason },
  };
}
