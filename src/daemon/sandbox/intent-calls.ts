/**
 * The writing calls on payment intents: check the parameters, then say what to do.
 * Checking happens before execution begins (nothing is stored of a refusal); acting happens later, once.
 */

import {
  type Confirmation,
  checkPaymentMethod,
  checkRedirects,
  detach,
  onlyWithConfirm,
  readConfirmation,
  readExpansion,
  readExtras,
} from './confirmation.ts';
import { checkAmount, checkCurrency, internCurrency } from './currencies.ts';
import { forcedAttempt } from './forced.ts';
import type { FormMap } from './form.ts';
import {
  applyAttempt,
  cancelIntent,
  captureIntent,
  type IntentRecord,
  missingPaymentMethod,
  newIntent,
  refuseConfirm,
  type Step,
} from './intent.ts';
import { Params } from './params.ts';
import type { Expansion } from './render.ts';
import type { SandboxState } from './state.ts';
import { invalidRequest, noSuch, type StripeError } from './stripe-errors.ts';
import { attemptCard } from './test-cards.ts';
import { type ActContext, type Effect, type Prepared, refusedEffect } from './write-call.ts';

/** The writing calls on payment intents. */
export type IntentWrite = 'create' | 'confirm' | 'capture' | 'cancel';

/** Parameters Stripe has for both creating and confirming, and which this sandbox refuses by name. */
const UNMODELLED = [
  ...[
    'allowed_payment_method_types',
    'amount_details',
    'confirmation_token',
    'excluded_payment_method_types',
  ],
  ...['hooks', 'mandate', 'mandate_data', 'payment_details', 'payment_method_data', 'payment_method_options'],
  ...['radar_options', 'shipping'],
];
const UNMODELLED_ON_CREATE = [
  ...UNMODELLED,
  ...['application_fee_amount', 'customer_account', 'on_behalf_of', 'payment_method_configuration'],
  'transfer_data',
];
const UNMODELLED_ON_CONFIRM = [...UNMODELLED, 'amount_to_confirm', 'capture_method'];
const UNMODELLED_ON_CAPTURE = [
  ...['amount_details', 'application_fee_amount', 'final_capture', 'hooks', 'metadata', 'payment_details'],
  ...['statement_descriptor', 'statement_descriptor_suffix', 'transfer_data'],
];

const CANCELLATION_REASONS = ['abandoned', 'duplicate', 'fraudulent', 'requested_by_customer'] as const;

/**
 * Checks the parameters of a writing call.
 * @param id the intent's name from the path; null for `create`
 */
export function prepareIntentWrite(
  name: IntentWrite,
  form: FormMap,
  id: string | null,
  state: SandboxState,
): Prepared {
  if (name === 'create') return prepareCreate(form);
  const intent = state.intents.find(id ?? '');
  if (intent === null) return { kind: 'refused', error: noSuch('payment_intent', id ?? '', 'intent') };
  switch (name) {
    case 'confirm':
      return prepareConfirm(form, intent);
    case 'capture':
      return prepareCapture(form, intent);
    case 'cancel':
      return prepareCancel(form, intent);
  }
}

function prepareCreate(form: FormMap): Prepared {
  const params = new Params(form);
  const amount = params.requiredInteger('amount', 1);
  const currency = params.requiredText('currency').toLowerCase();
  const captureMethod = params.oneOf('capture_method', ['automatic', 'automatic_async', 'manual']);
  const metadataJson = params.metadata('metadata');
  const transferGroup = detach(params.text('transfer_group'));
  const confirm = params.flag('confirm');
  const confirmation = readConfirmation(params);
  const { extras, redirects } = readExtras(params);
  const expansion = readExpansion(params);
  params.refuseUnmodelled(UNMODELLED_ON_CREATE);
  const error =
    params.problem() ??
    checkCurrency(currency) ??
    checkAmount(amount, currency, 'amount') ??
    confirmation.error ??
    expansion.error ??
    (confirm ? checkPaymentMethod(confirmation) : onlyWithConfirm(confirmation)) ??
    (confirm ? checkRedirects(redirects, confirmation) : null);
  if (error !== null) return { kind: 'refused', error };
  return {
    kind: 'ready',
    act: (context) => {
      const intent = newIntent({
        ...context.state.intents.nextName(),
        created: context.nowS,
        amount,
        currency: internCurrency(currency),
        captureMethod: captureMethod ?? 'automatic_async',
        paymentMethod: confirmation.paymentMethod,
        metadataJson,
        transferGroup,
        key: context.key,
        extras,
      });
      if (!confirm) return effectOf({ kind: 'moved', intent, error: null }, intent, expansion.value);
      return effectOf(attempt(intent, confirmation, context), intent, expansion.value);
    },
  };
}

function prepareConfirm(form: FormMap, seen: IntentRecord): Prepared {
  const params = new Params(form);
  const confirmation = readConfirmation(params);
  params.text('receipt_email');
  params.oneOf('setup_future_usage', ['off_session', 'on_session']);
  const expansion = readExpansion(params);
  params.refuseUnmodelled(UNMODELLED_ON_CONFIRM);
  const redirects = seen.extras?.allow_redirects === 'always' ? 'always' : 'never';
  const error =
    params.problem() ?? confirmation.error ?? expansion.error ?? checkRedirects(redirects, confirmation);
  if (error !== null) return { kind: 'refused', error };
  return {
    kind: 'ready',
    act: (context) => {
      const intent = context.state.intents.find(seen.id) ?? seen;
      const refusal = refuseConfirm(intent, confirmation.paymentMethod);
      const step: Step =
        refusal === null ? attempt(intent, confirmation, context) : { kind: 'refused', error: refusal };
      return effectOf(step, intent, expansion.value);
    },
  };
}

function prepareCapture(form: FormMap, seen: IntentRecord): Prepared {
  const params = new Params(form);
  const amount = params.integer('amount_to_capture', 1);
  const expansion = readExpansion(params);
  params.refuseUnmodelled(UNMODELLED_ON_CAPTURE);
  const error = params.problem() ?? expansion.error ?? checkCaptureAmount(amount, seen);
  if (error !== null) return { kind: 'refused', error };
  return {
    kind: 'ready',
    act: (context) => {
      const intent = context.state.intents.find(seen.id) ?? seen;
      return effectOf(captureIntent(intent, amount), intent, expansion.value);
    },
  };
}

function prepareCancel(form: FormMap, seen: IntentRecord): Prepared {
  const params = new Params(form);
  const reason = params.oneOf('cancellation_reason', CANCELLATION_REASONS);
  const expansion = readExpansion(params);
  const error = params.problem() ?? expansion.error;
  if (error !== null) return { kind: 'refused', error };
  return {
    kind: 'ready',
    act: (context) => {
      const intent = context.state.intents.find(seen.id) ?? seen;
      return effectOf(cancelIntent(intent, reason, context.nowS), intent, expansion.value);
    },
  };
}

/** The try to take the money: by the card's table, unless a fault forces the result. */
function attempt(intent: IntentRecord, confirmation: Confirmation, context: ActContext): Step {
  const paymentMethod = confirmation.paymentMethod ?? intent.paymentMethod;
  if (paymentMethod === null) return { kind: 'refused', error: missingPaymentMethod() };
  const outcome = forcedAttempt(context.forced) ?? attemptCard(paymentMethod, confirmation);
  return { kind: 'moved', ...applyAttempt(intent, paymentMethod, outcome, context.nowS) };
}

function effectOf(step: Step, before: IntentRecord, expansion: Expansion): Effect {
  if (step.kind === 'refused') return refusedEffect(step.error, { kind: 'intent', record: before });
  const shown = { kind: 'intent', record: step.intent } as const;
  const answer = { status: step.error?.status ?? 200, error: step.error, shown, expansion };
  return { changes: [shown], answer };
}

function checkCaptureAmount(amount: number | null, intent: IntentRecord): StripeError | null {
  if (amount === null || amount <= intent.amount) return null;
  return invalidRequest(
    `The amount_to_capture (${amount}) is greater than the amount that can be captured (${intent.amount}).`,
    { code: 'amount_too_large', param: 'amount_to_capture' },
  );
}
