/** Pages of lists: `{items, next_cursor}`, and cursors that carry where a page ended. Decides only. */
import { OperatorError } from '../../core/errors.ts';
import { MAX_LIMIT } from '../commands/options.ts';
import type { Result } from '../render/render-result.ts';
import type { Block } from '../render/table.ts';

/** One more than shown, to know whether there is more; the stores give 1,000 at most. */
export function askFor(limit: number): number {
  return Math.min(limit + 1, MAX_LIMIT);
}

export type Page<Item> = { readonly items: readonly Item[]; readonly next: Item | null };

/** Cuts what was asked for by {@link askFor} to the page; `next` is the last item shown when there is more. */
export function pageOf<Item>(found: readonly Item[], limit: number): Page<Item> {
  const items = found.slice(0, limit);
  const isMore = found.length > limit || found.length === MAX_LIMIT;
  return { items, next: isMore ? (items.at(-1) ?? null) : null };
}

/** A list in all formats. */
export function listResult(
  items: readonly object[],
  nextCursor: string | null,
  blocks: readonly Block[],
): Result {
  const more: readonly Block[] =
    nextCursor === null
      ? []
      : [{ kind: 'line', text: { text: `more: --cursor ${nextCursor}`, tone: 'dim' } }];
  return { json: { items, next_cursor: nextCursor }, records: items, blocks: [...blocks, ...more] };
}

/** Two texts as one cursor without special characters. */
export function encodeCursor(parts: readonly [string, string]): string {
  return Buffer.from(JSON.stringify(parts)).toString('base64url');
}

/** @throws OperatorError cursor_invalid */
export function decodeCursor(cursor: string): readonly [string, string] {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (Array.isArray(parts) && parts.length === 2 && parts.every((part) => typeof part === 'string')) {
      return [parts[0] as string, parts[1] as string];
    }
  } catch {
    // Said below.
  }
  throw new OperatorError('cursor_invalid', 'The cursor is not the next_cursor of such a list.');
}
