/**
 * What a PaymentIntent object, returned or found, says about the attempt it was made for. Decides only;
 * an object that is not ours or makes no sense is doubt, never a result.
 */
import { declineReason, isSoftDecline } from './classify.ts';
import { isJsonObject, type JsonObject, textOrNull } from './json.ts';
import type { Reply } from './psp.ts';
import { carriesReferences, readOwnObject, senseless } from './stripe-object.ts';
import type { ExpectedIntent } from './stripe-request.ts';

/** True when the object carries our references of exactly this attempt. */
export function isIntentOf(object: unknown, expected: ExpectedIntent): boolean {
  return carriesReferences(object, expected.metadata);
}

/** The evidence in a PaymentIntent. Statuses: docs.stripe.com/payments/paymentintents/lifecycle. */
export function replyOfIntent(answer: unknown, expected: ExpectedIntent): Reply {
  const own = readOwnObject(answer, 'payment_intent', expected.metadata);
  if (own.kind === 'senseless') return own.reply;
  const { id, object } = own;
  if (object.amount !== expected.amount || object.currency !== expected.currency) {
    return senseless(
      `${id} is over ${object.amount} ${object.currency}, not ${expected.amount} ${expected.currency}`,
    );
  }
  switch (object.status) {
    case 'succeeded':
      // Only a partial capture makes these differ, and we never ask for one.
      return object.amount_received === undefined || object.amount_received === expected.amount
        ? { kind: 'succeeded', pspReference: id }
        : senseless(`${id} succeeded but received ${object.amount_received}, not ${expected.amount}`);
    case 'processing':
      return { kind: 'pending', pspReference: id };
    case 'requires_action':
      return waitingForCustomer(id, textOrNull(object.client_secret), expected);
    case 'requires_payment_method':
      return expected.customerPresent
        ? failedInHand(id, object.last_payment_error)
        : declinedIntent(id, object.last_payment_error);
    case 'canceled':
      return canceledIntent(id, object);
    case 'requires_capture':
      return {
        kind: 'config_error',
        reason: `${id} is authorised but not captured: capture is set to manual at the PSP`,
        fix: 'set capture to automatic for this PSP account, and cancel or capture this payment intent there',
      };
    case 'requires_confirmation':
      return senseless(
        `${id} exists but was never confirmed; it could still succeed, so it must be canceled`,
      );
    default:
      return senseless(`${id} has the status ${String(object.status)}, which is not known here`);
  }
}

function waitingForCustomer(id: string, clientSecret: string | null, expected: ExpectedIntent): Reply {
  if (!expected.customerPresent) return declined(id, 'authentication_required', false);
  if (clientSecret === null) return senseless(`${id} requires an action but has no client secret`);
  const handOff = { type: 'stripe_client_secret', payment_intent: id, client_secret: clientSecret } as const;
  return { kind: 'awaiting_customer', pspReference: id, handOff };
}

/**
 * Whoever has the client secret can confirm such an intent again with another card: after a hand-off a failed try ends
 * nothing until the intent is canceled. (The refusal of our own call comes as an error, and was never handed over.)
 */
function failedInHand(id: string, lastError: unknown): Reply {
  return { kind: 'awaiting_customer', pspReference: id, handOff: null, reason: failureOf(lastError).reason };
}

/** Why the buyer could not pay, where that was known before; Stripe keeps it on a canceled intent. */
function canceledIntent(id: string, object: JsonObject): Reply {
  if (isJsonObject(object.last_payment_error)) return declinedIntent(id, object.last_payment_error);
  return declined(id, `canceled: ${textOrNull(object.cancellation_reason) ?? 'no reason given'}`, false);
}

function declinedIntent(id: string, lastError: unknown): Reply {
  const { reason, mayRetryAsNew } = failureOf(lastError);
  return declined(id, reason, mayRetryAsNew);
}

function failureOf(lastError: unknown): { readonly reason: string; readonly mayRetryAsNew: boolean } {
  if (!isJsonObject(lastError)) return { reason: 'declined', mayRetryAsNew: false };
  const reason = declineReason(textOrNull(lastError.code), textOrNull(lastError.decline_code));
  return { reason, mayRetryAsNew: isSoftDecline(reason, textOrNull(lastError.advice_code)) };
}

function declined(pspReference: string, reason: string, mayRetryAsNew: boolean): Reply {
  return { kind: 'declined', reason, mayRetryAsNew, pspReference };
}
