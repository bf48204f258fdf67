/**
 * Which calls there are under /v1/. A new resource is a new entry here, its calls a file beside this one.
 */
import type { ReadName } from './queries.ts';
import type { WriteName } from './writes.ts';

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

/** One resource: its path, and the call behind each way to address it. */
interface Resource {
  readonly path: string;
  readonly create?: WriteName;
  readonly list?: ReadName;
  readonly retrieve?: ReadName;
  /** POST {path}/{id}/{action} */
  readonly actions?: Readonly<Record<string, WriteName>>;
}

const RESOURCES: ReadonlyMap<string, Resource> = new Map(
  (
    [
      {
        path: '/v1/payment_intents',
        create: 'create',
        list: 'list',
        retrieve: 'retrieve',
        actions: { confirm: 'confirm', capture: 'capture', cancel: 'cancel' },
      },
      {
        path: '/v1/refunds',
        create: 'create_refund',
        list: 'list_refunds',
        retrieve: 'retrieve_refund',
        actions: { cancel: 'cancel_refund' },
      },
      {
        path: '/v1/transfers',
        create: 'create_transfer',
        list: 'list_transfers',
        retrieve: 'retrieve_transfer',
        actions: { reversals: 'reverse_transfer' },
      },
      { path: '/v1/disputes', list: 'list_disputes', retrieve: 'retrieve_dispute' },
      { path: '/v1/events', list: 'list_events', retrieve: 'retrieve_event' },
      { path: '/v1/charges', list: 'charges' },
      { path: '/v1/balance', list: 'balance' },
    ] satisfies Resource[]
  ).map((resource) => [resource.path, resource]),
);

/** The call behind a method and a path (without its query), or null when there is none. */
export function findRoute(method: string, path: string): Route | null {
  const whole = RESOURCES.get(path);
  if (whole !== undefined) return collectionRoute(method, whole);
  const slash = path.indexOf('/', '/v1/'.length);
  const resource = slash === -1 ? undefined : RESOURCES.get(path.slice(0, slash));
  return resource === undefined ? null : objectRoute(method, resource, path.slice(slash + 1));
}

function collectionRoute(method: string, { path, create, list }: Resource): Route | null {
  if (method === 'POST' && create !== undefined)
    return { kind: 'write', name: create, id: null, label: `POST ${path}` };
  if (method === 'GET' && list !== undefined)
    return { kind: 'read', name: list, id: null, label: `GET ${path}` };
  return null;
}

function objectRoute(method: string, { path, retrieve, actions }: Resource, rest: string): Route | null {
  const [id = '', action, ...more] = rest.split('/');
  if (id === '' || more.length > 0) return null;
  if (action === undefined) {
    if (method !== 'GET' || retrieve === undefined) return null;
    return { kind: 'read', name: retrieve, id, label: `GET ${path}/{id}` };
  }
  const name = actions !== undefined && Object.hasOwn(actions, action) ? actions[action] : undefined;
  if (method !== 'POST' || name === undefined) return null;
  return { kind: 'write', name, id, label: `POST ${path}/{id}/${action}` };
}
