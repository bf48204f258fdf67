/**
 * Stripe's test payment methods and the ways a card payment can fail.
 * Only tables and a choice between them: no state, no time, no randomness.
 */
import type { StripeError } from './stripe-errors.ts';

/** How a card payment failed: what Stripe says in `code`, `decline_code` and `message`. */
interface Failure {
  readonly code: string;
  readonly declineCode: string | null;
  /** What the issuer advises; only where an answer of Stripe's test mode was seen to carry it. */
  readonly adviceCode: string | null;
  readonly message: string;
  /** Where Stripe never asked the card network there is no charge object. */
  readonly charge: 'failed' | 'none';
}

const DECLINED = 'Your card was declined.';

const FAILURES = {
  generic_decline: {
    ...card('card_declined', 'generic_decline', DECLINED),
    adviceCode: 'try_again_later',
  },
  insufficient_funds: card('card_declined', 'insufficient_funds', 'Your card has insufficient funds.'),
  lost_card: card('card_declined', 'lost_card', DECLINED),
  stolen_card: card('card_declined', 'stolen_card', DECLINED),
  do_not_honor: card('card_declined', 'do_not_honor', DECLINED),
  expired_card: card('expired_card', null, 'Your card has expired.'),
  processing_error: card(
    'processing_error',
    null,
    'An error occurred while processing your card. Try again in a little bit.',
  ),
  authentication_required: card(
    'authentication_required',
    'authentication_required',
    'Your card was declined. This transaction requires authentication.',
  ),
  authentication_not_handled: {
    ...card(
      'authentication_required',
      'authentication_not_handled',
      "This payment required an authentication action to complete, but `error_on_requires_action` was set. When you're ready, you can upgrade your integration to handle actions at https://stripe.com/docs/payments/payment-intents/upgrade-to-handle-actions.",
    ),
    charge: 'none',
  },
  authentication_failed: {
    ...card(
      'payment_intent_authentication_failure',
      null,
      'We are unable to authenticate your payment method. Please choose a different payment method and try again.',
    ),
    charge: 'none',
  },
} as const satisfies Record<string, Failure>;

export type FailureName = keyof typeof FAILURES;

/** Every failure there is, for the admin API's checks. */
export const FAILURE_NAMES = Object.keys(FAILURES) as FailureName[];

type CardBehaviour = 'succeeds' | 'needs_authentication' | FailureName;

/** Source: https://docs.stripe.com/testing. Any other name is answered with `resource_missing`. */
const TEST_CARDS: ReadonlyMap<string, CardBehaviour> = new Map<string, CardBehaviour>([
  ['pm_card_visa', 'succeeds'],
  ['pm_card_mastercard', 'succeeds'],
  ['pm_card_visa_chargeDeclined', 'generic_decline'],
  ['pm_card_visa_chargeDeclinedInsufficientFunds', 'insufficient_funds'],
  ['pm_card_visa_chargeDeclinedLostCard', 'lost_card'],
  ['pm_card_visa_chargeDeclinedStolenCard', 'stolen_card'],
  ['pm_card_chargeDeclinedExpiredCard', 'expired_card'],
  ['pm_card_chargeDeclinedProcessingError', 'processing_error'],
  ['pm_card_authenticationRequired', 'needs_authentication'],
]);

/** Our own copies of the names, so that a stored record does not hold on to the request it came in. */
const NAMES: ReadonlyMap<string, string> = new Map([...TEST_CARDS.keys()].map((name) => [name, name]));

/** What came of one try to take the money. */
export type Attempt =
  | { readonly kind: 'succeeded' }
  | { readonly kind: 'failed'; readonly failure: FailureName }
  | { readonly kind: 'requires_action' }
  | { readonly kind: 'processing'; readonly settleAtMs: number; readonly result: 'succeeded' | FailureName };

/** The stored spelling of a known test payment method, or null. */
export function findTestCard(name: string): string | null {
  return NAMES.get(name) ?? null;
}

/**
 * What the card does.
 * @param paymentMethod a name that `findTestCard` knows
 * @param presence whether the customer can be asked, and whether the caller wants an error instead
 */
export function attemptCard(
  paymentMethod: string,
  presence: { readonly offSession: boolean; readonly errorOnRequiresAction: boolean },
): Attempt {
  const behaviour = TEST_CARDS.get(paymentMethod) ?? 'generic_decline';
  if (behaviour === 'succeeds') return { kind: 'succeeded' };
  if (behaviour !== 'needs_authentication') return { kind: 'failed', failure: behaviour };
  if (presence.offSession) return { kind: 'failed', failure: 'authentication_required' };
  if (presence.errorOnRequiresAction) return { kind: 'failed', failure: 'authentication_not_handled' };
  return { kind: 'requires_action' };
}

/** The 402 for a failure; the caller adds the payment intent to the body. */
export function cardError(failure: FailureName): StripeError {
  const { code, declineCode, adviceCode, message } = failureOf(failure);
  return {
    status: 402,
    type: 'card_error',
    code,
    message,
    ...(declineCode === null ? {} : { decline_code: declineCode }),
    ...(adviceCode === null ? {} : { advice_code: adviceCode }),
  };
}

export function failureOf(failure: FailureName): Failure {
  return FAILURES[failure];
}

function card(code: string, declineCode: string | null, message: string): Failure {
  return { code, declineCode, adviceCode: null, message, charge: 'failed' };
}
