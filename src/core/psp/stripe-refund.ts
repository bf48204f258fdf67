/**
 * What a Refund object, returned or found, says about the attempt it was made for. Decides only; an object that is not
 * ours or makes no sense is doubt, never a result.
 */
import { clean } from './classify.ts';
import { textOrNull } from './json.ts';
import type { Reply } from './psp.ts';
import { readOwnObject, senseless } from './stripe-object.ts';
import type { ExpectedRefund } from './stripe-request.ts';

/**
 * The evidence in a Refund. A refund that failed or was canceled is a decline, also after it had succeeded: the money
 * is back with us, and nobody but a person knows whether the buyer can be reached another way.
 * Statuses: docs.stripe.com/api/refunds/object.
 */
export function replyOfRefund(answer: unknown, expected: ExpectedRefund): Reply {
  const own = readOwnObject(answer, 'refund', expected.references);
  if (own.kind === 'senseless') return own.reply;
  const { id, object } = own;
  if (object.amount !== expected.amount)
    return senseless(`${id} is over ${object.amount}, not ${expected.amount}`);
  if (object.payment_intent !== expected.paymentIntent)
    return senseless(`${id} is of ${String(object.payment_intent)}, not of ${expected.paymentIntent}`);
  switch (object.status) {
    case 'succeeded':
      return { kind: 'succeeded', pspReference: id };
    case 'pending':
    // Stripe waits for the buyer, by mail; we have nobody to hand anything to.
    case 'requires_action':
      return { kind: 'pending', pspReference: id };
    case 'failed':
      return declined(id, clean(textOrNull(object.failure_reason) ?? 'failed'));
    case 'canceled':
      return declined(id, 'canceled');
    default:
      return senseless(`${id} has the status ${String(object.status)}, which is not known here`);
  }
}

/** Whether another try makes sense is a person's to say: most failures are of the buyer's account. */
function declined(pspReference: string, reason: string): Reply {
  return { kind: 'declined', reason, mayRetryAsNew: false, pspReference };
}
