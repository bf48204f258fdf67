/**
 * Stripe's lists: page size, cursor, window on `created`, newest first. Knows no object by its fields.
 */
import { firstSince, type Numbered, type Ordered } from './object-table.ts';
import type { Params } from './params.ts';
import { invalidRequest, type StripeError } from './stripe-errors.ts';

/** Stripe's page size when none is given, and the largest it gives. */
const DEFAULT_LIMIT = 10;
const MAX_LIMIT = 100;

export interface Page {
  readonly limit: number;
  readonly cursor: string | null;
  readonly cursorParam: 'starting_after' | 'ending_before';
  readonly direction: 'older' | 'newer';
  readonly error: StripeError | null;
}

export function readPage(params: Params): Page {
  const limit = params.integer('limit', 1) ?? DEFAULT_LIMIT;
  const after = params.text('starting_after');
  const before = params.text('ending_before');
  const error =
    limit > MAX_LIMIT
      ? invalidRequest(`Invalid integer: ${limit} must be at most ${MAX_LIMIT}`, { param: 'limit' })
      : after !== null && before !== null
        ? invalidRequest('You cannot parameterize both starting_after and ending_before.')
        : null;
  return {
    limit,
    cursor: after ?? before,
    cursorParam: before === null ? 'starting_after' : 'ending_before',
    direction: before === null ? 'older' : 'newer',
    error,
  };
}

/** A range of `created` as [fromS, beforeS), in seconds. */
export interface Created {
  readonly fromS: number;
  readonly beforeS: number;
}

export function readCreated(params: Params): Created {
  if (!params.isObject('created')) {
    const exact = params.integer('created', 0);
    return exact === null
      ? { fromS: 0, beforeS: Number.MAX_SAFE_INTEGER }
      : { fromS: exact, beforeS: exact + 1 };
  }
  const range = params.object('created');
  const gt = range.integer('gt', 0) ?? -1;
  const gte = range.integer('gte', 0) ?? 0;
  const lt = range.integer('lt', 0) ?? Number.MAX_SAFE_INTEGER;
  const lte = range.integer('lte', 0) ?? Number.MAX_SAFE_INTEGER - 1;
  return { fromS: Math.max(gt + 1, gte), beforeS: Math.min(lt, lte + 1) };
}

export interface Collected<T> {
  readonly items: T[];
  readonly more: 'has_more' | 'is_last';
}

/** Up to `limit` wanted items from index `first` to `last` (both included), and whether there is another. */
export function collect<T>(
  first: number,
  last: number,
  step: 1 | -1,
  limit: number,
  wanted: (index: number) => T | null,
): Collected<T> {
  const items: T[] = [];
  for (let index = first; step === 1 ? index <= last : index >= last; index += step) {
    const item = wanted(index);
    if (item === null) continue;
    if (items.length === limit) return { items, more: 'has_more' };
    items.push(item);
  }
  return { items, more: 'is_last' };
}

export function reversed<T>(found: Collected<T>): Collected<T> {
  return { items: found.items.reverse(), more: found.more };
}

/**
 * One page of objects.
 * @param positions where to look, oldest first; null looks at all objects
 * @param cursor the object that the page begins after, null at the end of the list
 */
export function pageOf<T extends Numbered>(
  objects: Ordered<T>,
  positions: readonly number[] | null,
  page: Page,
  created: Created,
  cursor: T | null,
  isWanted: (record: T) => boolean,
): Collected<T> {
  const older = page.direction === 'older';
  const from = Math.max(firstSince(objects, created.fromS), older ? objects.first : (cursor?.seq ?? -1) + 1);
  const before = Math.min(
    firstSince(objects, created.beforeS),
    older ? (cursor?.seq ?? objects.end) : objects.end,
  );
  const wanted = (seq: number): T | null => {
    if (seq < from || seq >= before) return null;
    const record = objects.at(seq);
    return isWanted(record) ? record : null;
  };
  if (positions === null) {
    return older
      ? collect(before - 1, from, -1, page.limit, wanted)
      : reversed(collect(from, before - 1, 1, page.limit, wanted));
  }
  const nth = (index: number): T | null => wanted(positions[index] ?? -1);
  const last = positions.length - 1;
  return older ? collect(last, 0, -1, page.limit, nth) : reversed(collect(0, last, 1, page.limit, nth));
}
