/**
 * What a Transfer object, returned or found, says about the payout it was made for. Decides only; an object that is not
 * ours or makes no sense is doubt, never a result.
 */
import type { Reply } from './psp.ts';
import { readOwnObject, senseless } from './stripe-object.ts';
import type { ExpectedTransfer } from './stripe-request.ts';

/**
 * The evidence in a Transfer: the money moved when it was created (docs.stripe.com/api/transfers), unless all of it was
 * reversed since. It is in the seller's account at Stripe from that moment, and no later event tells of it: so the
 * payout has arrived. When that account pays its own bank is between the seller and Stripe.
 */
export function replyOfTransfer(answer: unknown, expected: ExpectedTransfer): Reply {
  const own = readOwnObject(answer, 'transfer', expected.references);
  if (own.kind === 'senseless') return own.reply;
  const { id, object } = own;
  if (object.amount !== expected.amount || object.currency !== expected.currency) {
    return senseless(
      `${id} is over ${object.amount} ${object.currency}, not ${expected.amount} ${expected.currency}`,
    );
  }
  if (object.destination !== expected.destination)
    return senseless(`${id} went to ${String(object.destination)}, not to ${expected.destination}`);
  if (typeof object.reversed !== 'boolean') return senseless(`${id} does not say whether it was reversed`);
  if (object.reversed)
    return { kind: 'declined', reason: 'reversed', mayRetryAsNew: false, pspReference: id, isUndone: true };
  return object.amount_reversed === undefined || object.amount_reversed === 0
    ? { kind: 'succeeded', pspReference: id, arrived: true }
    : {
        kind: 'succeeded',
        pspReference: id,
        arrived: true,
        reason: `${String(object.amount_reversed)} of ${expected.amount} ${expected.currency} were reversed since`,
      };
}
