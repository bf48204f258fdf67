/**
 * From an HTTP request to a call under /v1/: authorization, address, parameters, idempotency key.
 * Refuses as Stripe does; executes nothing.
 */
import type { IncomingMessage } from 'node:http';
import type { Call } from './engine.ts';
import { parseForm } from './form.ts';
import { MAX_KEY_LENGTH } from './idempotency.ts';
import { findRoute } from './routes.ts';
import {
  invalidApiKey,
  invalidRequest,
  missingApiKey,
  type StripeError,
  unrecognizedUrl,
} from './stripe-errors.ts';

/** @property label method and path for the counters */
export type ReadCall =
  | { readonly kind: 'refused'; readonly label: string; readonly error: StripeError }
  | { readonly kind: 'call'; readonly label: string; readonly call: Call };

const ANY_TEST_KEY = /^sk_test_\w+$/;

/** @param apiKey the only key that is taken; null takes every `sk_test_…` */
export function readCall(request: IncomingMessage, body: string, apiKey: string | null): ReadCall {
  const url = request.url ?? '/';
  const method = request.method ?? 'GET';
  const question = url.indexOf('?');
  const path = question === -1 ? url : url.slice(0, question);
  const route = findRoute(method, path);
  const label = route?.label ?? 'other';
  const refused = (error: StripeError): ReadCall => ({ kind: 'refused', label, error });
  const unauthorized = checkKey(request, apiKey);
  if (unauthorized !== null) return refused(unauthorized);
  if (route === null) return refused(unrecognizedUrl(method, path));
  if (method === 'POST' && body !== '' && !isForm(request))
    return refused(invalidRequest('Invalid request: the body must be form-encoded.'));
  const form = parseForm(method === 'POST' ? body : question === -1 ? '' : url.slice(question + 1));
  if (form.kind === 'malformed') return refused(invalidRequest(form.message));
  const header = method === 'POST' ? request.headers['idempotency-key'] : undefined;
  const key = typeof header === 'string' && header !== '' ? header : null;
  if (key !== null && key.length > MAX_KEY_LENGTH)
    return refused(invalidRequest(`Idempotency keys can be up to ${MAX_KEY_LENGTH} characters long.`));
  const verb = method === 'POST' ? 'POST' : 'GET';
  return { kind: 'call', label, call: { method: verb, path, url, route, form, key } };
}

/** The API key from `Bearer …`, or from Basic as curl sends it; '' without either. */
export function apiKeyOf(request: IncomingMessage): string {
  const [scheme = '', value = ''] = (request.headers.authorization ?? '').split(' ');
  if (scheme.toLowerCase() === 'bearer') return value;
  if (scheme.toLowerCase() !== 'basic') return '';
  return Buffer.from(value, 'base64').toString('utf8').split(':')[0] ?? '';
}

function checkKey(request: IncomingMessage, apiKey: string | null): StripeError | null {
  const given = apiKeyOf(request);
  if (given === '') return missingApiKey();
  const known = apiKey === null ? ANY_TEST_KEY.test(given) : given === apiKey;
  return known ? null : invalidApiKey(given);
}

function isForm(request: IncomingMessage): boolean {
  return (request.headers['content-type'] ?? '').startsWith('application/x-www-form-urlencoded');
}
