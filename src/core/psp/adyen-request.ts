/**
 * What is sent to Adyen for a charge, a refund or a payout: built once at acceptance, stored as text, read back
 * for every send. Decides only. It never holds card data: the payment method is a token that Adyen stored.
 */

import type { Money } from '../money.ts';
import { toAdyenValue } from './adyen-minor-unit.ts';
import type { JsonObject } from './json.ts';
import { isJsonObject, parseJsonObject, textOrNull } from './json.ts';
import type {
  AdyenAccount,
  ChargeInstruction,
  ChargeTerms,
  FrozenRequest,
  PayoutInstruction,
  RefundInstruction,
} from './psp.ts';

/** Characters. Source: docs.adyen.com/development-resources/api-idempotency. */
const MAX_KEY_LENGTH = 64;

/** Characters of `shopperReference`. Source: docs.adyen.com/api-explorer/Checkout/72/post/payments. */
const MIN_SHOPPER_LENGTH = 3;
const MAX_SHOPPER_LENGTH = 256;

/** Adyen's prefixes: a balance account of the platform, and a bank account as transfer instrument. */
const BALANCE_ACCOUNT = /^BA\w+$/;
const TRANSFER_INSTRUMENT = /^SE\w+$/;

type Merchant = Pick<AdyenAccount, 'merchantAccount'>;
type Payer = Pick<AdyenAccount, 'balanceAccountId'>;

/** Why Adyen cannot take it, or null; what {@link freezeAdyenCharge} would say, without writing the request. */
export function findAdyenFault(terms: ChargeTerms): string | null {
  const value = toAdyenValue(terms.amountMinor, terms.currency);
  if (value.kind === 'rejected') return value.reason;
  if (terms.paymentMethod === '') return 'the payment method is empty';
  const { length } = terms.buyer;
  if (length >= MIN_SHOPPER_LENGTH && length <= MAX_SHOPPER_LENGTH) return null;
  return `the buyer has ${length} characters; Adyen takes ${MIN_SHOPPER_LENGTH} to ${MAX_SHOPPER_LENGTH}`;
}

/** Why Adyen cannot express an amount, or null. */
export function findAdyenAmountFault({ amountMinor, currency }: Money): string | null {
  const value = toAdyenValue(amountMinor, currency);
  return value.kind === 'rejected' ? value.reason : null;
}

/**
 * The request of a payment with a stored token as JSON text: stored once and sent unchanged with every resend.
 * Rejected with a reason where Adyen cannot express the amount or would refuse the identifiers.
 * Source: docs.adyen.com/online-payments/tokenization/make-token-payments.
 */
export function freezeAdyenCharge(account: Merchant, instruction: ChargeInstruction): FrozenRequest {
  const fault = findAdyenFault(instruction);
  if (fault !== null) return { kind: 'rejected', reason: fault };
  return freeze(instruction, (amount) => ({
    merchantAccount: account.merchantAccount,
    reference: instruction.operationId,
    amount,
    paymentMethod: { type: 'scheme', storedPaymentMethodId: instruction.paymentMethod },
    shopperReference: instruction.buyer,
    shopperInteraction: 'ContAuth',
    recurringProcessingModel: instruction.customerPresent ? PRESENT : 'UnscheduledCardOnFile',
    ...(instruction.customerPresent && instruction.returnUrl !== undefined
      ? { returnUrl: instruction.returnUrl }
      : {}),
    metadata: {
      paygate_order: instruction.orderId,
      paygate_attempt: String(instruction.attemptNumber),
      paygate_key: instruction.idempotencyKey,
    },
  }));
}

/** The buyer pays now with a card on file; only then can anybody pass a challenge. */
const PRESENT = 'CardOnFile';

/** The same charge for another attempt: only what names the attempt is new. */
export function refreezeAdyen(
  request: string,
  renewal: { readonly idempotencyKey: string; readonly attemptNumber: number },
): FrozenRequest {
  const body = parseJsonObject(request);
  if (body === null || !isJsonObject(body.metadata)) {
    return { kind: 'rejected', reason: 'the stored request is not a charge that can be renewed' };
  }
  const metadata = {
    ...body.metadata,
    paygate_attempt: String(renewal.attemptNumber),
    paygate_key: renewal.idempotencyKey,
  };
  return { kind: 'frozen', request: JSON.stringify({ ...body, metadata }) };
}

/**
 * The request of a refund as JSON text. The payment's own reference stands in the address and not in Adyen's body,
 * so it is stored beside it. Source: docs.adyen.com/api-explorer/Checkout/72/post/payments/(paymentPspReference)/refunds.
 */
export function freezeAdyenRefund(account: Merchant, instruction: RefundInstruction): FrozenRequest {
  if (!PSP_REFERENCE.test(instruction.chargeReference)) {
    return { kind: 'rejected', reason: 'the charge has no reference of Adyen' };
  }
  return freeze(instruction, (amount) => ({
    paymentPspReference: instruction.chargeReference,
    body: { merchantAccount: account.merchantAccount, amount, reference: instruction.operationId },
  }));
}

/** 16 letters and digits today; anything that fits into an address unescaped is taken. */
const PSP_REFERENCE = /^\w{1,64}$/;

/**
 * The request of a transfer as JSON text: to a balance account of the platform, or to a seller's bank account. The
 * key stands in the description, because two books that share a platform share the references.
 * Source: docs.adyen.com/api-explorer/transfers/4/post/transfers.
 */
export function freezeAdyenPayout(account: Payer, instruction: PayoutInstruction): FrozenRequest {
  const { balanceAccountId } = account;
  if (balanceAccountId === null) {
    return { kind: 'rejected', reason: 'the PSP account has no balance_account_id to pay from' };
  }
  const { destination } = instruction;
  const recipient = recipientOf(destination);
  if (recipient === null) {
    return { kind: 'rejected', reason: `"${destination}" is neither a balance account nor a bank account` };
  }
  return freeze(instruction, (amount) => ({
    amount,
    balanceAccountId,
    ...recipient,
    reference: instruction.operationId,
    description: instruction.idempotencyKey,
  }));
}

function recipientOf(destination: string): JsonObject | null {
  if (BALANCE_ACCOUNT.test(destination)) {
    return { category: 'internal', counterparty: { balanceAccountId: destination } };
  }
  if (!TRANSFER_INSTRUMENT.test(destination)) return null;
  return { category: 'bank', priority: 'regular', counterparty: { transferInstrumentId: destination } };
}

type Instruction = ChargeInstruction | RefundInstruction | PayoutInstruction;

function freeze(
  instruction: Instruction,
  build: (amount: { readonly currency: string; readonly value: number }) => object,
): FrozenRequest {
  const value = toAdyenValue(instruction.amountMinor, instruction.currency);
  if (value.kind === 'rejected') return value;
  const { length } = instruction.idempotencyKey;
  if (length === 0 || length > MAX_KEY_LENGTH) {
    const reason = `the idempotency key has ${length} characters; Adyen takes 1 to ${MAX_KEY_LENGTH}`;
    return { kind: 'rejected', reason };
  }
  const request = JSON.stringify(build({ currency: instruction.currency, value: value.value }));
  return { kind: 'frozen', request };
}

/** What Adyen must answer with, for the answer to be about this attempt. */
export type ExpectedAnswer = {
  readonly reference: string;
  /** In Adyen's minor unit. */
  readonly value: number;
  readonly currency: string;
};

export type AdyenCharge = {
  readonly expected: ExpectedAnswer;
  readonly customerPresent: boolean;
  readonly merchantAccount: string;
};

/** Reads a stored charge back; null when the text is not one that {@link freezeAdyenCharge} wrote. */
export function parseAdyenCharge(request: string): AdyenCharge | null {
  const parsed = parseJsonObject(request);
  const expected = parsed === null ? null : readExpected(parsed);
  const merchantAccount = textOrNull(parsed?.merchantAccount);
  if (expected === null || merchantAccount === null || !isJsonObject(parsed?.paymentMethod)) return null;
  return { expected, customerPresent: parsed.recurringProcessingModel === PRESENT, merchantAccount };
}

export type AdyenRefund = {
  readonly expected: ExpectedAnswer;
  readonly paymentPspReference: string;
  /** What is sent. */
  readonly body: string;
};

/** Reads a stored refund back; null when the text is not one that {@link freezeAdyenRefund} wrote. */
export function parseAdyenRefund(request: string): AdyenRefund | null {
  const parsed = parseJsonObject(request);
  if (parsed === null || !isJsonObject(parsed.body)) return null;
  const expected = readExpected(parsed.body);
  const paymentPspReference = textOrNull(parsed.paymentPspReference);
  if (expected === null || paymentPspReference === null) return null;
  return { expected, paymentPspReference, body: JSON.stringify(parsed.body) };
}

export type AdyenPayout = {
  readonly expected: ExpectedAnswer;
  readonly balanceAccountId: string;
  readonly description: string;
};

/** Reads a stored payout back; null when the text is not one that {@link freezeAdyenPayout} wrote. */
export function parseAdyenPayout(request: string): AdyenPayout | null {
  const parsed = parseJsonObject(request);
  const expected = parsed === null ? null : readExpected(parsed);
  const balanceAccountId = textOrNull(parsed?.balanceAccountId);
  const description = textOrNull(parsed?.description);
  if (expected === null || balanceAccountId === null || description === null) return null;
  return { expected, balanceAccountId, description };
}

function readExpected(body: JsonObject): ExpectedAnswer | null {
  const reference = textOrNull(body.reference);
  if (reference === null || !isJsonObject(body.amount)) return null;
  const { value, currency } = body.amount;
  if (typeof value !== 'number' || typeof currency !== 'string') return null;
  return { reference, value, currency };
}
