/** Finds the open items that a person names for a line, or may choose from. Reads only. */
import type { Queryable } from '../db/connection.ts';
import { answerOfItem, linksOf, type Named, namesOf, type OpenItemAnswer } from './linked-items.ts';
import type { Link } from './resolution.ts';
import * as store from './resolution-store.ts';

/** @throws OperatorError items_too_many, item_unknown, item_ambiguous, item_unfit */
export async function itemsOf(
  on: Queryable,
  row: { readonly sourceId: number; readonly source: string; readonly currency: string },
  link: Named | null,
): Promise<readonly Link[]> {
  if (link === null || link.items.length === 0) return [];
  return linksOf(row, link, await store.listNamedItems(on, row.sourceId, namesOf(link)));
}

/** Items that the line of a break may show, for a person to choose from; the likeliest first, at most `limit`. */
export async function listLinkable(
  on: Queryable,
  one: { readonly breakId: bigint; readonly source: string },
  limit: number,
): Promise<readonly OpenItemAnswer[]> {
  const items = await store.listItemsFor(on, one.breakId, limit);
  return items.map((item) => answerOfItem(item, one.source));
}

/** The links of a plan with what a person knows the items by. */
export async function plannedLinks(
  on: Queryable,
  row: { readonly sourceId: number; readonly source: string },
  links: readonly Link[],
): Promise<
  readonly { readonly item: OpenItemAnswer; readonly amountMinor: bigint; readonly leftMinor: bigint }[]
> {
  const ids = links.map(({ itemId }) => itemId);
  const items = await store.listNamedItems(on, row.sourceId, { ids, operationIds: [], references: [] });
  const byId = new Map(items.map((item) => [item.id, item]));
  return links.flatMap(({ itemId, amountMinor, remainingMinor }) => {
    const item = byId.get(itemId);
    if (item === undefined) return [];
    return [{ item: answerOfItem(item, row.source), amountMinor, leftMinor: remainingMinor - amountMinor }];
  });
}
