/**
 * A payment intent and its charges as records, and what may happen to them (pure).
 * Records are never changed in place: a stored answer keeps the version it was made of.
 */
import { type StripeError, unexpectedState } from './stripe-errors.ts';
import { type Attempt, cardError, type FailureName, failureOf } from './test-cards.ts';

type IntentStatus =
  | 'requires_payment_method'
  | 'requires_confirmation'
  | 'requires_action'
  | 'processing'
  | 'requires_capture'
  | 'succeeded'
  | 'canceled';

type CaptureMethod = 'automatic' | 'automatic_async' | 'manual';

/**
 * One try to take the money. Amounts in minor units, times in seconds since 1970.
 * @property captured money really moved; 0 while only authorised, and for a failed charge
 * @property released the authorisation was let go (the intent was canceled)
 * @property refunded held by refunds that are under way or done, minor units
 * @property disputed whether there ever was a dispute of it
 * @property bounced it had taken the money, and failed afterwards
 */
export interface ChargeRecord {
  readonly created: number;
  readonly captured: number;
  readonly released: boolean;
  readonly refunded: number;
  readonly disputed: boolean;
  readonly bounced?: true;
  readonly failure: FailureName | null;
  readonly paymentMethod: string;
}

/** Rarely used fields, kept apart so that a million ordinary intents stay small. */
export type IntentExtras = Readonly<Record<string, string>>;

/**
 * @property seq position in the order of creation, from 0
 * @property created seconds since 1970, sandbox time
 * @property amount minor units; `received` is what was really moved
 * @property metadataJson a JSON object as text, put into answers as it is
 * @property key the idempotency key of the call that created it, null without one
 * @property failure why the last try failed; null when it did not
 * @property settle only while `processing`: when it ends and how
 * @property canceled only when `canceled`
 */
export interface IntentRecord {
  readonly id: string;
  readonly seq: number;
  readonly created: number;
  readonly amount: number;
  readonly received: number;
  readonly currency: string;
  readonly status: IntentStatus;
  readonly captureMethod: CaptureMethod;
  readonly paymentMethod: string | null;
  readonly metadataJson: string;
  readonly transferGroup: string | null;
  readonly key: string | null;
  readonly failure: FailureName | null;
  readonly charges: readonly ChargeRecord[];
  readonly settle: { readonly atMs: number; readonly result: 'succeeded' | FailureName } | null;
  readonly canceled: { readonly at: number; readonly reason: string | null } | null;
  readonly extras: IntentExtras | null;
}

/** A step on an intent: the new version, or Stripe's refusal. */
export type Step =
  | { readonly kind: 'moved'; readonly intent: IntentRecord; readonly error: StripeError | null }
  | { readonly kind: 'refused'; readonly error: StripeError };

const NO_CHARGES: readonly ChargeRecord[] = [];

/** A new intent before any confirmation. */
export function newIntent(
  fields: Pick<
    IntentRecord,
    | 'id'
    | 'seq'
    | 'created'
    | 'amount'
    | 'currency'
    | 'captureMethod'
    | 'paymentMethod'
    | 'metadataJson'
    | 'transferGroup'
    | 'key'
    | 'extras'
  >,
): IntentRecord {
  return {
    ...fields,
    received: 0,
    status: fields.paymentMethod === null ? 'requires_payment_method' : 'requires_confirmation',
    failure: null,
    charges: NO_CHARGES,
    settle: null,
    canceled: null,
  };
}

/** Whether `confirm` may be called now; null when it may. `paymentMethod` is the one the call brings. */
export function refuseConfirm(intent: IntentRecord, paymentMethod: string | null): StripeError | null {
  switch (intent.status) {
    case 'succeeded':
      return unexpectedState(
        'You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.',
      );
    case 'canceled':
    case 'processing':
    case 'requires_capture':
      return unexpectedState(
        `You cannot confirm this PaymentIntent because it has a status of ${intent.status}. Only a PaymentIntent with one of the following statuses may be confirmed: requires_confirmation, requires_action, requires_payment_method.`,
      );
    case 'requires_payment_method':
    case 'requires_confirmation':
    case 'requires_action':
      return (paymentMethod ?? intent.paymentMethod) === null ? missingPaymentMethod() : null;
  }
}

/** Stripe's words when there is nothing to charge. */
export function missingPaymentMethod(): StripeError {
  return unexpectedState(
    "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment method or ConfirmationToken.",
  );
}

/** The intent after a try to take the money; `at` in seconds. The caller has asked `refuseConfirm` first. */
export function applyAttempt(
  intent: IntentRecord,
  paymentMethod: string,
  attempt: Attempt,
  at: number,
): { readonly intent: IntentRecord; readonly error: StripeError | null } {
  const base = { ...intent, paymentMethod, failure: null, settle: null };
  switch (attempt.kind) {
    case 'succeeded':
      return { intent: succeed(base, at), error: null };
    case 'failed':
      return { intent: fail(base, attempt.failure, at), error: cardError(attempt.failure) };
    case 'requires_action':
      return { intent: { ...base, status: 'requires_action' }, error: null };
    case 'processing': {
      const settle = { atMs: attempt.settleAtMs, result: attempt.result };
      return { intent: { ...base, status: 'processing', settle }, error: null };
    }
  }
}

/** Takes an authorised amount, all of it when `amountMinor` is null; the rest is let go. */
export function captureIntent(intent: IntentRecord, amountMinor: number | null): Step {
  if (intent.status !== 'requires_capture') {
    const error = unexpectedState(
      `This PaymentIntent could not be captured because it has a status of ${intent.status}. Only a PaymentIntent with one of the following statuses may be captured: requires_capture.`,
    );
    return { kind: 'refused', error };
  }
  const amount = amountMinor ?? intent.amount;
  const charges = intent.charges.map((charge, index) =>
    index === intent.charges.length - 1 ? { ...charge, captured: amount } : charge,
  );
  return {
    kind: 'moved',
    intent: { ...intent, status: 'succeeded', received: amount, charges },
    error: null,
  };
}

/** Cancels an intent that has not succeeded; a processing one can no longer be stopped. */
export function cancelIntent(intent: IntentRecord, reason: string | null, at: number): Step {
  if (intent.status === 'succeeded' || intent.status === 'canceled' || intent.status === 'processing') {
    const error = unexpectedState(
      `You cannot cancel this PaymentIntent because it has a status of ${intent.status}. Only a PaymentIntent with one of the following statuses may be canceled: requires_payment_method, requires_capture, requires_confirmation, requires_action.`,
    );
    return { kind: 'refused', error };
  }
  const charges = intent.charges.map((charge) =>
    charge.failure === null ? { ...charge, released: true } : charge,
  );
  return {
    kind: 'moved',
    intent: { ...intent, status: 'canceled', canceled: { at, reason }, charges },
    error: null,
  };
}

/** Ends `processing` as was decided when it began. Any other status is left as it is. */
export function settleIntent(intent: IntentRecord): IntentRecord {
  if (intent.settle === null) return intent;
  const at = Math.floor(intent.settle.atMs / 1000);
  const { result } = intent.settle;
  const base = { ...intent, settle: null };
  return result === 'succeeded' ? succeed(base, at) : fail(base, result, at);
}

/** The customer answered the challenge; only from `requires_action`. */
export function authenticateIntent(
  intent: IntentRecord,
  result: 'succeeded' | 'failed',
  at: number,
): IntentRecord | null {
  if (intent.status !== 'requires_action') return null;
  return result === 'succeeded' ? succeed(intent, at) : fail(intent, 'authentication_failed', at);
}

function succeed(intent: IntentRecord, at: number): IntentRecord {
  const manual = intent.captureMethod === 'manual';
  const received = manual ? 0 : intent.amount;
  return {
    ...intent,
    status: manual ? 'requires_capture' : 'succeeded',
    received,
    charges: withCharge(intent, { created: at, captured: received, failure: null }),
  };
}

/** A failed payment method is detached: the next confirmation must bring one. */
function fail(intent: IntentRecord, failure: FailureName, at: number): IntentRecord {
  const charges =
    failureOf(failure).charge === 'none'
      ? intent.charges
      : withCharge(intent, { created: at, captured: 0, failure });
  return { ...intent, status: 'requires_payment_method', paymentMethod: null, failure, charges };
}

function withCharge(
  intent: IntentRecord,
  charge: Pick<ChargeRecord, 'created' | 'captured' | 'failure'>,
): readonly ChargeRecord[] {
  const rest = { released: false, refunded: 0, disputed: false, paymentMethod: intent.paymentMethod ?? '' };
  return [...intent.charges, { ...charge, ...rest }];
}

/** The intent with something changed on the charge at place `number`. */
export function withChargeChanged(
  intent: IntentRecord,
  number: number,
  changed: Partial<Pick<ChargeRecord, 'refunded' | 'disputed'>>,
): IntentRecord {
  const charges = intent.charges.map((charge, at) => (at === number ? { ...charge, ...changed } : charge));
  return { ...intent, charges };
}

/**
 * A charge that took the money fails after all: a debit that the bank returns. Null when there is none, or when the
 * money has gone on already (a refund, a dispute).
 */
export function bounceIntent(intent: IntentRecord): IntentRecord | null {
  const number = paidCharge(intent);
  const charge = intent.charges[number];
  if (intent.status !== 'succeeded' || charge === undefined) return null;
  if (charge.refunded > 0 || charge.disputed) return null;
  const failure = 'insufficient_funds' as const;
  const charges = intent.charges.map((one, at) =>
    at === number ? { ...one, captured: 0, failure, bounced: true as const } : one,
  );
  return { ...intent, status: 'requires_payment_method', received: 0, paymentMethod: null, failure, charges };
}

/** The place of the charge that took the money, from 0; -1 when none did. */
export function paidCharge(intent: IntentRecord): number {
  return intent.charges.findIndex((charge) => charge.captured > 0);
}
