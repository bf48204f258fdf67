/**
 * What accepting a payment needs to know of a PSP: its frozen request and its capabilities. Pure and light;
 * loads no SDK, because it runs on the accept path and in every short-lived command.
 */
import { unreachable } from '../errors.ts';
import type { Money } from '../money.ts';
import {
  findAdyenAmountFault,
  findAdyenFault,
  freezeAdyenCharge,
  freezeAdyenPayout,
  freezeAdyenRefund,
  refreezeAdyen,
} from './adyen-request.ts';
import { isJsonObject, parseJsonObject, textOrNull } from './json.ts';
import type {
  Capabilities,
  ChargeInstruction,
  ChargeTerms,
  FrozenRequest,
  PayoutInstruction,
  PspAccount,
  RefundInstruction,
  RequestAccount,
} from './psp.ts';
import {
  findStripeAmountFault,
  findStripeFault,
  freezeStripeCharge,
  freezeStripeRefund,
  freezeStripeTransfer,
  refreezeStripe,
} from './stripe-request.ts';

/**
 * 20 hours in ms. Stripe may prune an idempotency key once it is 24 hours old
 * (docs.stripe.com/api/idempotent_requests); the rest is for clock differences and requests on their way.
 */
const STRIPE_KEY_WINDOW_MS = 20 * 60 * 60 * 1000;

const STRIPE_CAPABILITIES: Capabilities = {
  keyWindowMs: STRIPE_KEY_WINDOW_MS,
  // A second request with a key in use is refused with 409 `idempotency_key_in_use`.
  concurrentResendIsSafe: true,
  canEnquire: { charge: true, refund: true, payout: true },
};

/**
 * 6 days in ms. Adyen keeps an idempotency key for at least 7 days
 * (docs.adyen.com/development-resources/api-idempotency); the rest is for clock differences.
 */
const ADYEN_KEY_WINDOW_MS = 6 * 24 * 60 * 60 * 1000;

const ADYEN_CAPABILITIES: Capabilities = {
  keyWindowMs: ADYEN_KEY_WINDOW_MS,
  // A second request with a key in use is refused with error 704.
  concurrentResendIsSafe: true,
  // Checkout has no "get payment by reference": the same key, a webhook or a person ends a doubt.
  canEnquire: { charge: false, refund: false, payout: true },
};

/** The request text of a charge, exactly as it will be stored and sent, or why this PSP cannot take it. */
export function freezeCharge(account: RequestAccount, instruction: ChargeInstruction): FrozenRequest {
  switch (account.psp) {
    case 'stripe':
      return freezeStripeCharge(instruction);
    case 'adyen':
      return freezeAdyenCharge(account, instruction);
    default:
      return unreachable(account);
  }
}

/** The request text of a refund, or why this PSP cannot take it. */
export function freezeRefund(account: RequestAccount, instruction: RefundInstruction): FrozenRequest {
  switch (account.psp) {
    case 'stripe':
      return freezeStripeRefund(instruction);
    case 'adyen':
      return freezeAdyenRefund(account, instruction);
    default:
      return unreachable(account);
  }
}

/** The request text of a payout, or why this PSP cannot take it. */
export function freezePayout(account: RequestAccount, instruction: PayoutInstruction): FrozenRequest {
  switch (account.psp) {
    case 'stripe':
      return freezeStripeTransfer(instruction);
    case 'adyen':
      return freezeAdyenPayout(account, instruction);
    default:
      return unreachable(account);
  }
}

/** What a new attempt asks anew of a request that an earlier one asked in vain. */
export type Renewal = { readonly idempotencyKey: string; readonly attemptNumber: number };

/** The same request for a new attempt: its own key and number, everything else as it was. */
export function refreeze(psp: PspAccount['psp'], request: string, renewal: Renewal): FrozenRequest {
  switch (psp) {
    case 'stripe':
      return refreezeStripe(request, renewal);
    case 'adyen':
      return refreezeAdyen(request, renewal);
    default:
      return unreachable(psp);
  }
}

/** The payment method in the stored request of a charge, whichever PSP it is for; null when it cannot be read back. */
export function methodOfCharge(request: string): string | null {
  const stored = parseJsonObject(request);
  const ofAdyen = isJsonObject(stored?.paymentMethod) ? stored.paymentMethod.storedPaymentMethodId : null;
  return textOrNull(stored?.payment_method) ?? textOrNull(ofAdyen);
}

/** Why this PSP cannot take such a charge, or null: asked before anything is stored. */
export function findChargeFault(account: RequestAccount, terms: ChargeTerms): string | null {
  switch (account.psp) {
    case 'stripe':
      return findStripeFault(terms);
    case 'adyen':
      return findAdyenFault(terms);
    default:
      return unreachable(account);
  }
}

/** Why this PSP cannot take such a payout, or null: asked before anything is stored. */
export function findPayoutFault(account: RequestAccount, money: Money): string | null {
  switch (account.psp) {
    case 'stripe':
      return findStripeAmountFault(money);
    case 'adyen':
      return findAdyenAmountFault(money);
    default:
      return unreachable(account);
  }
}

/** What may be done with attempts at this PSP; the same for every account of it. */
export function capabilitiesOf(psp: PspAccount['psp']): Capabilities {
  switch (psp) {
    case 'stripe':
      return STRIPE_CAPABILITIES;
    case 'adyen':
      return ADYEN_CAPABILITIES;
    default:
      return unreachable(psp);
  }
}
