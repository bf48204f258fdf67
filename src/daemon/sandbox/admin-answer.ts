/**
 * How the admin API answers: JSON, or a stream of lines at the reader's pace. Knows no endpoint.
 */
import type { ServerResponse } from 'node:http';
import { z } from 'zod';

/** Streams write this many lines before they look whether the reader keeps up. */
const LINES_PER_WRITE = 500;

/** What an endpoint answers; a stream writes by itself. */
export type Answer =
  | { readonly kind: 'json'; readonly status: number; readonly value: unknown }
  | { readonly kind: 'stream'; readonly write: (response: ServerResponse) => void };

export function withBody<T>(body: string, schema: z.ZodType<T>, then: (input: T) => Answer): Answer {
  let value: unknown;
  try {
    value = body === '' ? {} : JSON.parse(body);
  } catch {
    return failure(400, 'The body is not JSON.');
  }
  const parsed = schema.safeParse(value);
  return parsed.success ? then(parsed.data) : failure(400, z.prettifyError(parsed.error));
}

export function json(value: unknown): Answer {
  return { kind: 'json', status: 200, value };
}

export function failure(status: number, message: string): Answer {
  return { kind: 'json', status, value: { error: message } };
}

/** One line of JSON per item. */
export function ndjson<T>(items: readonly T[], print: (item: T) => string): Answer {
  return {
    kind: 'stream',
    write: (response) => {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      writeAll(response, items, print, '\n', items.length === 0 ? '' : '\n');
    },
  };
}

/** One JSON object whose last field `name` is the list of the items; `before` is JSON text of the fields before it. */
export function jsonList<T>(
  before: string,
  name: string,
  items: readonly T[],
  print: (item: T) => string,
): Answer {
  return {
    kind: 'stream',
    write: (response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write(`{${before}"${name}":[`);
      writeAll(response, items, print, ',', ']}\n');
    },
  };
}

/** Writes all items with `separator` between them and `last` at the end, at the reader's pace. */
function writeAll<T>(
  response: ServerResponse,
  items: readonly T[],
  print: (item: T) => string,
  separator: string,
  last: string,
): void {
  let next = 0;
  const more = (): void => {
    if (response.destroyed) return;
    while (next < items.length) {
      const lines = items.slice(next, next + LINES_PER_WRITE).map(print);
      const lead = next === 0 ? '' : separator;
      next += LINES_PER_WRITE;
      if (!response.write(`${lead}${lines.join(separator)}`)) {
        response.once('drain', more);
        return;
      }
    }
    response.end(last);
  };
  more();
}
