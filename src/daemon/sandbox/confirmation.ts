/**
 * Reads the groups of parameters that creating and confirming share, and checks each group by itself.
 * Touches no intent and decides no outcome.
 */
import { type IntentExtras, missingPaymentMethod } from './intent.ts';
import type { Params } from './params.ts';
import type { Expansion } from './render.ts';
import { invalidRequest, type StripeError } from './stripe-errors.ts';
import { findTestCard } from './test-cards.ts';

/** What a call says about the confirmation it asks for. */
export interface Confirmation {
  readonly paymentMethod: string | null;
  readonly offSession: boolean;
  readonly errorOnRequiresAction: boolean;
  readonly hasReturnUrl: boolean;
  readonly error: StripeError | null;
}

/** Reads the payment method and whether the customer is there. */
export function readConfirmation(params: Params): Confirmation {
  const name = params.text('payment_method');
  const offSession = params.oneOf('off_session', ['true', 'false', 'one_off', 'recurring']);
  const errorOnRequiresAction = params.flag('error_on_requires_action');
  const hasReturnUrl = params.text('return_url') !== null;
  params.flag('use_stripe_sdk');
  const paymentMethod = name === null ? null : findTestCard(name);
  const error =
    name !== null && paymentMethod === null
      ? invalidRequest(`No such PaymentMethod: '${name}'`, {
          code: 'resource_missing',
          param: 'payment_method',
        })
      : null;
  return {
    paymentMethod,
    offSession: offSession !== null && offSession !== 'false',
    errorOnRequiresAction,
    hasReturnUrl,
    error,
  };
}

/** The seldom used fields, and whether the intent accepts methods that redirect. */
export function readExtras(params: Params): { extras: IntentExtras | null; redirects: 'always' | 'never' } {
  const methods = params.isObject('automatic_payment_methods');
  const automatic = params.object('automatic_payment_methods');
  const enabled = automatic.oneOf('enabled', ['true', 'false']) ?? (methods ? 'false' : 'true');
  const allowed = automatic.oneOf('allow_redirects', ['always', 'never']) ?? 'always';
  const redirects = enabled === 'true' ? allowed : 'never';
  const texts: [string, string | null][] = [
    ['allow_redirects', redirects === 'always' ? redirects : null],
    ['confirmation_method', params.oneOf('confirmation_method', ['automatic', 'manual'])],
    ['customer', params.text('customer')],
    ['description', params.text('description')],
    ['receipt_email', params.text('receipt_email')],
    ['setup_future_usage', params.oneOf('setup_future_usage', ['off_session', 'on_session'])],
    ['statement_descriptor', params.text('statement_descriptor', 22)],
    ['statement_descriptor_suffix', params.text('statement_descriptor_suffix', 22)],
  ];
  const given = texts.flatMap(([name, text]) => (text === null ? [] : [[name, detach(text) ?? ''] as const]));
  return { extras: given.length === 0 ? null : Object.fromEntries(given), redirects };
}

/** Reads `expand[]`; only the latest charge can be expanded here. */
export function readExpansion(
  params: Params,
  prefix = '',
): { readonly value: Expansion; readonly error: StripeError | null } {
  const names = params.list('expand');
  const foreign = names.find((name) => name !== `${prefix}latest_charge`);
  if (foreign !== undefined) {
    const error = invalidRequest(`This property cannot be expanded (${foreign}).`, { param: 'expand' });
    return { value: 'none', error };
  }
  return { value: names.length === 0 ? 'none' : 'latest_charge', error: null };
}

/** Confirming on the server with methods that may redirect needs somewhere to come back to. */
export function checkRedirects(
  redirects: 'always' | 'never',
  confirmation: Confirmation,
): StripeError | null {
  if (redirects === 'never' || confirmation.hasReturnUrl) return null;
  return invalidRequest(
    "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of these payment methods might redirect your customer off of your page, you must provide a `return_url`. If you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to `true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and Payment Intents.",
  );
}

/** Creating without confirming takes none of the parameters that speak of the confirmation. */
export function onlyWithConfirm(confirmation: Confirmation): StripeError | null {
  const name = confirmation.offSession
    ? 'off_session'
    : confirmation.errorOnRequiresAction
      ? 'error_on_requires_action'
      : confirmation.hasReturnUrl
        ? 'return_url'
        : null;
  if (name === null) return null;
  return invalidRequest(`The parameter '${name}' can only be passed when 'confirm' is 'true'.`, {
    param: name,
  });
}

/** Creating and confirming in one call needs the payment method in that call. */
export function checkPaymentMethod(confirmation: Confirmation): StripeError | null {
  if (confirmation.paymentMethod !== null) return null;
  return missingPaymentMethod();
}

/** A copy of a text that does not keep the whole request body alive. */
export function detach(text: string | null): string | null {
  return text === null ? null : Buffer.from(text, 'utf8').toString('utf8');
}
