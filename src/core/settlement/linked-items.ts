/** Items that a person names for a line: which are meant, how much of them, and how they are shown. Decides only. */
import { OperatorError } from '../errors.ts';
import { formatId, parseId } from '../ids.ts';
import { type Currency, formatAmount } from '../money.ts';
import { shownText } from '../shown-text.ts';
import type { Link } from './resolution.ts';
import type { ItemNames, OpenItem } from './resolution-store.ts';

/** An open item as people and programs see it; signed minor units, as the source's line would show it. */
export type OpenItemAnswer = {
  /** "ent_12": the entry that booked it; of a bank, "line_12": the PSP's line that announced it. */
  readonly id: string;
  readonly kind: string;
  readonly currency: Currency;
  readonly amountMinor: bigint;
  /** What no line has shown yet. */
  readonly remainingMinor: bigint;
  readonly reference: string | null;
  /** "op_12"; null where it is none of ours. */
  readonly operationId: string | null;
  readonly bookedAt: string;
};

/** @property items amounts in minor units above zero: the sign is the item's; null: all that is left */
export type Named = {
  readonly items: readonly { readonly name: string; readonly amountMinor: bigint | null }[];
};

/** More at once is a mistake. */
const MAX_ITEMS = 1_000;

/** What to look for. @throws OperatorError items_too_many */
export function namesOf({ items }: Named): ItemNames {
  if (items.length > MAX_ITEMS)
    throw new OperatorError('items_too_many', `At most ${MAX_ITEMS} items are linked at once.`);
  const names = items.map(({ name }) => name);
  const parsed = (kind: 'entry' | 'settlementLine' | 'operation', prefix: string) =>
    names.filter((name) => name.startsWith(prefix)).flatMap((name) => parseId(kind, name) ?? []);
  return {
    ids: [...parsed('entry', 'ent_'), ...parsed('settlementLine', 'line_')],
    operationIds: parsed('operation', 'op_'),
    references: names,
  };
}

/**
 * @param found every open item of the source that has one of the names
 * @returns each item once, with how much of it the line shows
 * @throws OperatorError item_unknown, item_ambiguous, item_unfit
 */
export function linksOf(
  row: { readonly source: string; readonly currency: string },
  link: Named,
  found: readonly OpenItem[],
): readonly Link[] {
  const links = link.items.map(({ name, amountMinor }) => {
    const item = theOne(name, row.source, found);
    if (item.currency !== row.currency)
      throw unfit(`${shownText(name)} is in ${item.currency}, and the line in ${row.currency}.`);
    const sign = item.remainingMinor < 0n ? -1n : 1n;
    const linked = amountMinor === null ? item.remainingMinor : sign * amountMinor;
    requirePart(name, item, linked);
    return { itemId: item.id, remainingMinor: item.remainingMinor, amountMinor: linked };
  });
  if (new Set(links.map(({ itemId }) => itemId)).size < links.length) throw unfit('An item is named twice.');
  return links;
}

function theOne(name: string, source: string, found: readonly OpenItem[]): OpenItem {
  const fitting = found.filter(
    ({ id, operationId, reference }) =>
      [formatId('entry', id), formatId('settlementLine', id)].includes(name) ||
      (operationId !== null && formatId('operation', operationId) === name) ||
      reference === name,
  );
  const [item, ...more] = fitting;
  if (item === undefined) {
    throw new OperatorError(
      'item_unknown',
      `Nothing that is open at ${source} is called ${shownText(name)}. See "paygate breaks items".`,
      { kind: 'refused' },
    );
  }
  if (more.length === 0) return item;
  const ids = fitting.map((one) => answerOfItem(one, source).id).join(', ');
  throw new OperatorError('item_ambiguous', `${shownText(name)} is ${ids}: name one of them.`, {
    kind: 'refused',
  });
}

function requirePart(name: string, item: OpenItem, minor: bigint): void {
  const { remainingMinor } = item;
  if (minor !== 0n && size(minor) <= size(remainingMinor)) return;
  const currency = item.currency as Currency;
  const left = formatAmount({ amountMinor: remainingMinor, currency });
  throw unfit(`Of ${shownText(name)} ${left} ${currency} is left: link all of that or a part of it.`);
}

function size(minor: bigint): bigint {
  return minor < 0n ? -minor : minor;
}

function unfit(why: string): OperatorError {
  return new OperatorError('item_unfit', why, { kind: 'refused' });
}

export function answerOfItem(item: OpenItem, source: string): OpenItemAnswer {
  return {
    ...item,
    id: formatId(source.startsWith('bank:') ? 'settlementLine' : 'entry', item.id),
    currency: item.currency as Currency,
    operationId: item.operationId === null ? null : formatId('operation', item.operationId),
  };
}
