/**
 * Reads `application/x-www-form-urlencoded` text with brackets, as Stripe's API takes it, into nested maps.
 * Knows no parameter by name and never builds plain objects (a key such as `__proto__` is only a key).
 */

export type FormValue = string | FormMap;
export type FormMap = Map<string, FormValue>;

/**
 * @property root nested values; an array is a map with the keys '0', '1', …
 * @property pairs the decoded pairs as they stood in the text, keys with their brackets
 */
export interface Form {
  readonly kind: 'form';
  readonly root: FormMap;
  readonly pairs: readonly (readonly [string, string])[];
}

export interface MalformedForm {
  readonly kind: 'malformed';
  readonly message: string;
}

/** Far more than any payment intent has; stops a hostile body from costing us the process. */
const MAX_PAIRS = 1000;
const MAX_DEPTH = 8;

/** Parses form text. Later pairs win over earlier ones of the same name; `a[]` appends. */
export function parseForm(text: string): Form | MalformedForm {
  const root: FormMap = new Map();
  const pairs: [string, string][] = [];
  for (const piece of text === '' ? [] : text.split('&')) {
    if (piece === '') continue;
    if (pairs.length === MAX_PAIRS) return malformed(`More than ${MAX_PAIRS} parameters.`);
    const equals = piece.indexOf('=');
    const name = decode(equals === -1 ? piece : piece.slice(0, equals));
    const value = equals === -1 ? '' : decode(piece.slice(equals + 1));
    if (name === null || value === null) return malformed('Invalid percent-encoding in the request.');
    const path = splitName(name);
    if (path.length > MAX_DEPTH) return malformed(`Parameters nested deeper than ${MAX_DEPTH}: ${name}`);
    const problem = put(root, path, value, name);
    if (problem !== null) return malformed(problem);
    pairs.push([name, value]);
  }
  return { kind: 'form', root, pairs };
}

/**
 * The parameters as one text that does not depend on their order: what an idempotency key is compared by.
 * Two forms with the same pairs in another order give the same text.
 */
export function canonicalText(form: Form): string {
  const sorted = [...form.pairs].sort((a, b) => compare(a[0], b[0]) || compare(a[1], b[1]));
  return JSON.stringify(sorted);
}

/** `a[b][c]` → a, b, c. A name whose brackets do not match is one plain name (and so an unknown one). */
function splitName(name: string): string[] {
  const open = name.indexOf('[');
  if (open <= 0) return [name];
  const path = [name.slice(0, open)];
  let at = open;
  while (at < name.length) {
    const close = name.indexOf(']', at);
    if (name[at] !== '[' || close === -1) return [name];
    path.push(name.slice(at + 1, close));
    at = close + 1;
  }
  return path;
}

/** Returns what is wrong, or null. */
function put(root: FormMap, path: readonly string[], value: string, name: string): string | null {
  let map = root;
  const last = path.length - 1;
  for (let depth = 0; depth < last; depth++) {
    const key = stepName(map, path[depth] ?? '');
    let next = map.get(key);
    if (typeof next === 'string') return `Invalid object: ${name} is given both as a value and as an object.`;
    if (next === undefined) {
      next = new Map();
      map.set(key, next);
    }
    map = next;
  }
  const key = stepName(map, path[last] ?? '');
  if (map.get(key) instanceof Map)
    return `Invalid string: ${name} is given both as a value and as an object.`;
  map.set(key, value);
  return null;
}

/** The empty step of `a[]` is the next free index. */
function stepName(map: FormMap, step: string): string {
  return step === '' ? String(map.size) : step;
}

function decode(text: string): string | null {
  if (!text.includes('%') && !text.includes('+')) return text;
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return null;
  }
}

function malformed(message: string): MalformedForm {
  return { kind: 'malformed', message };
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
