/**
 * Builds the exact parameters of a Stripe PaymentIntent, Refund or Transfer once, and reads them back before they
 * are sent. Decides only: no SDK, no network; on the accept path, so it stays cheap (microseconds a call).
 */
import type { Money } from '../money.ts';
import type { JsonObject } from './json.ts';
import { isJsonObject, parseJsonObject } from './json.ts';
import type {
  ChargeInstruction,
  ChargeTerms,
  FrozenRequest,
  PayoutInstruction,
  RefundInstruction,
} from './psp.ts';
import { toStripeAmount } from './stripe-minor-unit.ts';
import { type References, readReferences } from './stripe-object.ts';

/** Characters. Source: docs.stripe.com/api/idempotent_requests. A metadata value may be 500 long, so the key fits there too. */
const MAX_KEY_LENGTH = 255;

/** What Stripe must answer with, for the answer to be about this attempt. */
export type ExpectedIntent = {
  /** In Stripe's minor unit. */
  readonly amount: number;
  /** ISO 4217 in lower case, as Stripe writes it. */
  readonly currency: string;
  readonly customerPresent: boolean;
  /** Every one of these must stand in the object's metadata. */
  readonly metadata: IntentMetadata;
};

/** Our references on a payment intent; ids only, nothing about the buyer. */
type IntentMetadata = References & {
  readonly paygate_payment: string;
  readonly paygate_order: string;
};

/** Create parameters of a PaymentIntent, as Stripe names them. */
type IntentParameters = {
  readonly amount: number;
  readonly currency: string;
  readonly payment_method: string;
  readonly confirm: true;
  readonly automatic_payment_methods: { readonly enabled: true; readonly allow_redirects: 'never' };
  readonly off_session?: true;
  readonly error_on_requires_action?: true;
  readonly return_url?: string;
  readonly transfer_group: string;
  readonly metadata: IntentMetadata;
};

/** Why Stripe cannot take it, or null; what {@link freezeStripeCharge} would say, without writing the request. */
export function findStripeFault(terms: ChargeTerms): string | null {
  const amount = toStripeAmount(terms.amountMinor, terms.currency);
  if (amount.kind === 'rejected') return amount.reason;
  return terms.paymentMethod === '' ? 'the payment method is empty' : null;
}

/** Why Stripe cannot express an amount, or null. */
export function findStripeAmountFault({ amountMinor, currency }: Money): string | null {
  const amount = toStripeAmount(amountMinor, currency);
  return amount.kind === 'rejected' ? amount.reason : null;
}

/**
 * The create-and-confirm request of a charge as JSON text: stored once and sent unchanged with every resend,
 * because Stripe refuses a key that comes back with other parameters.
 * Rejected with a reason where Stripe cannot express the amount or would refuse the identifiers.
 */
export function freezeStripeCharge(instruction: ChargeInstruction): FrozenRequest {
  const amount = toStripeAmount(instruction.amountMinor, instruction.currency);
  if (amount.kind === 'rejected') return amount;
  const fault = findStripeFault(instruction);
  if (fault !== null) return { kind: 'rejected', reason: fault };
  const keyLength = instruction.idempotencyKey.length;
  if (keyLength === 0 || keyLength > MAX_KEY_LENGTH) {
    return {
      kind: 'rejected',
      reason: `the idempotency key has ${keyLength} characters; Stripe takes 1 to 255`,
    };
  }
  const parameters: IntentParameters = {
    amount: amount.amount,
    currency: instruction.currency.toLowerCase(),
    payment_method: instruction.paymentMethod,
    confirm: true,
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    // Without the buyer nobody can pass a challenge: Stripe shall decline instead of waiting for one.
    ...(instruction.customerPresent
      ? withReturnUrl(instruction.returnUrl)
      : { off_session: true, error_on_requires_action: true }),
    transfer_group: instruction.orderId,
    metadata: {
      paygate_payment: instruction.paymentId,
      paygate_order: instruction.orderId,
      paygate_operation: instruction.operationId,
      paygate_attempt: String(instruction.attemptNumber),
      paygate_key: instruction.idempotencyKey,
    },
  };
  return { kind: 'frozen', request: JSON.stringify(parameters) };
}

function withReturnUrl(returnUrl: string | undefined): { readonly return_url?: string } {
  return returnUrl === undefined ? {} : { return_url: returnUrl };
}

/**
 * The create request of a Refund as JSON text. Stripe knows the charge's currency, so the amount stands alone; our
 * references make it findable. Source: docs.stripe.com/api/refunds/create.
 */
export function freezeStripeRefund(instruction: RefundInstruction): FrozenRequest {
  const amount = toStripeAmount(instruction.amountMinor, instruction.currency);
  if (amount.kind === 'rejected') return amount;
  const parameters = {
    payment_intent: instruction.chargeReference,
    amount: amount.amount,
    metadata: { paygate_order: instruction.orderId, ...referencesOf(instruction) },
  };
  return { kind: 'frozen', request: JSON.stringify(parameters) };
}

/**
 * The create request of a Transfer as JSON text: a payout to a seller is a transfer to the seller's connected account;
 * the operation is its group, by which an enquiry finds it. Source: docs.stripe.com/api/transfers/create.
 */
export function freezeStripeTransfer(instruction: PayoutInstruction): FrozenRequest {
  const amount = toStripeAmount(instruction.amountMinor, instruction.currency);
  if (amount.kind === 'rejected') return amount;
  const parameters = {
    amount: amount.amount,
    currency: instruction.currency.toLowerCase(),
    destination: instruction.destination,
    transfer_group: instruction.operationId,
    metadata: referencesOf(instruction),
  };
  return { kind: 'frozen', request: JSON.stringify(parameters) };
}

/** The same request, of any kind, for another attempt: only what names the attempt is new. */
export function refreezeStripe(
  request: string,
  renewal: { readonly idempotencyKey: string; readonly attemptNumber: number },
): FrozenRequest {
  const parameters = parseJsonObject(request);
  if (parameters === null || !isJsonObject(parameters.metadata)) {
    return { kind: 'rejected', reason: 'the stored request cannot be read back' };
  }
  const metadata = {
    ...parameters.metadata,
    paygate_attempt: String(renewal.attemptNumber),
    paygate_key: renewal.idempotencyKey,
  };
  return { kind: 'frozen', request: JSON.stringify({ ...parameters, metadata }) };
}

function referencesOf(instruction: RefundInstruction | PayoutInstruction): References {
  return {
    paygate_operation: instruction.operationId,
    paygate_attempt: String(instruction.attemptNumber),
    paygate_key: instruction.idempotencyKey,
  };
}

export type StoredCharge = {
  /** The stored parameters, nothing added and nothing left out. */
  readonly parameters: JsonObject;
  readonly expected: ExpectedIntent;
};

/** Reads a stored request back; null when the text is not one that {@link freezeStripeCharge} wrote. */
export function parseStripeCharge(request: string): StoredCharge | null {
  const parameters = parseJsonObject(request);
  if (parameters === null || !isJsonObject(parameters.metadata)) return null;
  const { amount, currency, metadata } = parameters;
  const known =
    typeof amount === 'number' &&
    typeof currency === 'string' &&
    METADATA_FIELDS.every((field) => typeof metadata[field] === 'string');
  if (!known) return null;
  const customerPresent = parameters.off_session !== true;
  return {
    parameters,
    expected: { amount, currency, customerPresent, metadata: metadata as IntentMetadata },
  };
}

const METADATA_FIELDS = [
  'paygate_payment',
  'paygate_order',
  'paygate_operation',
  'paygate_attempt',
  'paygate_key',
] as const satisfies readonly (keyof IntentMetadata)[];

/** What Stripe must answer with, for a refund to be this attempt's. Its currency is the charge's. */
export type ExpectedRefund = {
  /** In Stripe's minor unit. */
  readonly amount: number;
  readonly paymentIntent: string;
  readonly references: References;
};

export type StoredRefund = {
  /** The stored parameters, nothing added and nothing left out. */
  readonly parameters: JsonObject;
  readonly expected: ExpectedRefund;
};

/** Reads a stored request back; null when the text is not one that {@link freezeStripeRefund} wrote. */
export function parseStripeRefund(request: string): StoredRefund | null {
  const parameters = parseJsonObject(request);
  const references = readReferences(parameters?.metadata);
  if (parameters === null || references === null) return null;
  const { amount, payment_intent: paymentIntent } = parameters;
  if (typeof amount !== 'number' || typeof paymentIntent !== 'string') return null;
  return { parameters, expected: { amount, paymentIntent, references } };
}

/** What Stripe must answer with, for a transfer to be this attempt's. */
export type ExpectedTransfer = {
  /** In Stripe's minor unit. */
  readonly amount: number;
  /** ISO 4217 in lower case, as Stripe writes it. */
  readonly currency: string;
  readonly destination: string;
  readonly transferGroup: string;
  readonly references: References;
};

export type StoredTransfer = {
  /** The stored parameters, nothing added and nothing left out. */
  readonly parameters: JsonObject;
  readonly expected: ExpectedTransfer;
};

/** Reads a stored request back; null when the text is not one that {@link freezeStripeTransfer} wrote. */
export function parseStripeTransfer(request: string): StoredTransfer | null {
  const parameters = parseJsonObject(request);
  const references = readReferences(parameters?.metadata);
  if (parameters === null || references === null) return null;
  const { amount, currency, destination, transfer_group: transferGroup } = parameters;
  const known =
    typeof amount === 'number' &&
    typeof currency === 'string' &&
    typeof destination === 'string' &&
    typeof transferGroup === 'string';
  if (!known) return null;
  return { parameters, expected: { amount, currency, destination, transferGroup, references } };
}
