/**
 * Which calls there are under /v1/. A new resource is a new line here and a file beside this one.
 */

import type { WriteName } from './operations.ts';
import type { ReadName } from './queries.ts';

/**
 * @property label method and path with `{id}`, for the counters
 * @property id the name in the path, null when the path has none
 */
export type Route =
  | {
      readonly kind: 'write';
      readonly name: WriteName;
      readonly id: string | null;
      readonly label: string;
    }
  | { readonly kind: 'read'; readonly name: ReadName; readonly id: string | null; readonly label: string };

const INTENTS = '/v1/payment_intents';

/** The call behind a method and a path (without its query), or null when there is none. */
export function findRoute(method: string, path: string): Route | null {
  if (path === INTENTS) {
    if (method === 'POST') return { kind: 'write', name: 'create', id: null, label: `POST ${INTENTS}` };
    return method === 'GET' ? { kind: 'read', name: 'list', id: null, label: `GET ${INTENTS}` } : null;
  }
  if (path.startsWith(`${INTENTS}/`)) return intentRoute(method, path.slice(INTENTS.length + 1));
  if (method !== 'GET') return null;
  if (path === '/v1/charges') return { kind: 'read', name: 'charges', id: null, label: 'GET /v1/charges' };
  if (path === '/v1/balance') return { kind: 'read', name: 'balance', id: null, label: 'GET /v1/balance' };
  return null;
}

function intentRoute(method: string, rest: string): Route | null {
  const [id = '', action, ...more] = rest.split('/');
  if (id === '' || more.length > 0) return null;
  if (action === undefined) {
    return method === 'GET' ? { kind: 'read', name: 'retrieve', id, label: `GET ${INTENTS}/{id}` } : null;
  }
  if (method !== 'POST') return null;
  if (action !== 'confirm' && action !== 'capture' && action !== 'cancel') return null;
  return { kind: 'write', name: action, id, label: `POST ${INTENTS}/{id}/${action}` };
}
