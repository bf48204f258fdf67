/**
 * The errors Stripe answers with, as values: status, type, code and words.
 * Says nothing about when they happen, and throws nothing.
 */

type StripeErrorType = 'api_error' | 'card_error' | 'idempotency_error' | 'invalid_request_error';

/**
 * One Stripe error. `status` is the HTTP status; the other fields go into the body under `error`.
 * Source: https://docs.stripe.com/api/errors and https://docs.stripe.com/error-codes
 */
export interface StripeError {
  readonly status: number;
  readonly type: StripeErrorType;
  readonly message: string;
  readonly code?: string;
  readonly param?: string;
  readonly decline_code?: string;
  readonly advice_code?: string;
}

/** The body fields of an error, in Stripe's order of fields; `status` is not one of them. */
export function errorFields(error: StripeError): Record<string, string> {
  const fields: Record<string, string> = {};
  if (error.advice_code !== undefined) fields.advice_code = error.advice_code;
  if (error.code !== undefined) {
    fields.code = error.code;
    fields.doc_url = `https://stripe.com/docs/error-codes/${error.code.replaceAll('_', '-')}`;
  }
  if (error.decline_code !== undefined) fields.decline_code = error.decline_code;
  fields.message = error.message;
  if (error.param !== undefined) fields.param = error.param;
  fields.type = error.type;
  return fields;
}

/** A 400 about the request itself. `code` is left out where Stripe documents none. */
export function invalidRequest(
  message: string,
  more: { code?: string; param?: string; status?: number } = {},
): StripeError {
  return {
    status: more.status ?? 400,
    type: 'invalid_request_error',
    message,
    ...(more.code === undefined ? {} : { code: more.code }),
    ...(more.param === undefined ? {} : { param: more.param }),
  };
}

/** 400 `parameter_unknown`; `names` holds at least one full name such as `automatic_payment_methods[foo]`. */
export function unknownParameters(names: readonly string[]): StripeError {
  const what = names.length === 1 ? 'parameter' : 'parameters';
  return invalidRequest(`Received unknown ${what}: ${names.join(', ')}`, {
    code: 'parameter_unknown',
    param: names[0] ?? '',
  });
}

/**
 * 400 with a code that Stripe does not have: Stripe knows the parameter, this sandbox does not act on it.
 * Taking it silently would let a test pass that means nothing.
 */
export function notModelled(name: string): StripeError {
  return invalidRequest(`The sandbox does not model the parameter ${name}.`, {
    code: 'sandbox_not_modelled',
    param: name,
  });
}

export function missingParameter(name: string): StripeError {
  return invalidRequest(`Missing required param: ${name}.`, { code: 'parameter_missing', param: name });
}

/** 404 `resource_missing`; `what` is Stripe's word for the object, such as `payment_intent`. */
export function noSuch(what: string, id: string, param: string): StripeError {
  return invalidRequest(`No such ${what}: '${id}'`, { code: 'resource_missing', param, status: 404 });
}

export function unrecognizedUrl(method: string, path: string): StripeError {
  return invalidRequest(
    `Unrecognized request URL (${method}: ${path}). Please see https://stripe.com/docs or we can help at https://support.stripe.com/.`,
    { status: 404 },
  );
}

/** 400 `payment_intent_unexpected_state`: the call came too late or too early for the intent's status. */
export function unexpectedState(message: string): StripeError {
  return invalidRequest(message, { code: 'payment_intent_unexpected_state' });
}

/** 400 `balance_insufficient`: the platform's own balance does not cover a transfer. */
export function insufficientBalance(): StripeError {
  return invalidRequest(
    'You have insufficient available funds in your Stripe account. Try adding funds directly to your available balance by creating Charges using the 4000000000000077 test card. See: https://stripe.com/docs/testing#available-balance',
    { code: 'balance_insufficient' },
  );
}

/** 400 `idempotency_error`: the key was first used with something else. */
export function idempotencyMismatch(key: string): StripeError {
  return {
    status: 400,
    type: 'idempotency_error',
    message: `Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '${key}' if you meant to execute a different request.`,
  };
}

/** 409: the same key is being worked on. The type is not `idempotency_error` (seen in recorded answers). */
export function keyInUse(key: string): StripeError {
  return invalidRequest(
    `There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through): ${key}. Please try again later.`,
    { code: 'idempotency_key_in_use', status: 409 },
  );
}

export function rateLimited(): StripeError {
  return invalidRequest(
    'Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.',
    { code: 'rate_limit', status: 429 },
  );
}

/** Source: docs.stripe.com/error-codes#payment-method-unactivated. */
export function notActivated(): StripeError {
  return invalidRequest(
    'The charge could not be made because the payment method is not activated. Activate it in the Dashboard and try again.',
    { code: 'payment_method_unactivated' },
  );
}

/** 401 for a key that is not ours; all but the last four characters are hidden, as Stripe does. */
export function invalidApiKey(apiKey: string): StripeError {
  const hidden = apiKey.length <= 12 ? '*'.repeat(apiKey.length) : maskKey(apiKey);
  return invalidRequest(`Invalid API Key provided: ${hidden}`, { status: 401 });
}

export function expiredApiKey(apiKey: string): StripeError {
  return invalidRequest(`Expired API Key provided: ${maskKey(apiKey)}`, {
    code: 'api_key_expired',
    status: 401,
  });
}

export function missingApiKey(): StripeError {
  return invalidRequest(
    "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
    { status: 401 },
  );
}

/** 500 as Stripe words it. */
export function apiError(): StripeError {
  return { status: 500, type: 'api_error', message: 'An unknown error occurred' };
}

function maskKey(apiKey: string): string {
  return `${apiKey.slice(0, 8)}${'*'.repeat(Math.max(0, apiKey.length - 12))}${apiKey.slice(-4)}`;
}
