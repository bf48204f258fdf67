/**
 * What accepting a payment needs to know of a PSP: its frozen request and its capabilities. Pure and light;
 * loads no SDK, because it runs on the accept path and in every short-lived command.
 */
import { unreachable } from '../errors.ts';
import type { Money } from '../money.ts';
import type {
  Capabilities,
  ChargeInstruction,
  FrozenRequest,
  PayoutInstruction,
  PspAccount,
  RefundInstruction,
} from './psp.ts';
import {
  type ChargeTerms,
  findStripeAmountFault,
  findStripeFault,
  freezeStripeCharge,
  freezeStripeRefund,
  freezeStripeTransfer,
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
  canEnquire: true,
};

/** The request text of a charge, exactly as it will be stored and sent, or why this PSP cannot take it. */
export function freezeCharge(psp: PspAccount['psp'], instruction: ChargeInstruction): FrozenRequest {
  switch (psp) {
    case 'stripe':
      return freezeStripeCharge(instruction);
    default:
      return unreachable(psp);
  }
}

/** The request text of a refund, or why this PSP cannot take it. */
export function freezeRefund(psp: PspAccount['psp'], instruction: RefundInstruction): FrozenRequest {
  switch (psp) {
    case 'stripe':
      return freezeStripeRefund(instruction);
    default:
      return unreachable(psp);
  }
}

/** The request text of a payout, or why this PSP cannot take it. */
export function freezePayout(psp: PspAccount['psp'], instruction: PayoutInstruction): FrozenRequest {
  switch (psp) {
    case 'stripe':
      return freezeStripeTransfer(instruction);
    default:
      return unreachable(psp);
  }
}

/** Why this PSP cannot take such a charge, or null: asked before anything is stored. */
export function findChargeFault(psp: PspAccount['psp'], terms: ChargeTerms): string | null {
  switch (psp) {
    case 'stripe':
      return findStripeFault(terms);
    default:
      return unreachable(psp);
  }
}

/** Why this PSP cannot take such a payout, or null: asked before anything is stored. */
export function findPayoutFault(psp: PspAccount['psp'], money: Money): string | null {
  switch (psp) {
    case 'stripe':
      return findStripeAmountFault(money);
    default:
      return unreachable(psp);
  }
}

/** What may be done with attempts at this PSP; the same for every account of it. */
export function capabilitiesOf(psp: PspAccount['psp']): Capabilities {
  switch (psp) {
    case 'stripe':
      return STRIPE_CAPABILITIES;
    default:
      return unreachable(psp);
  }
}
