/** `sellers show` and `sellers list`. Reads only. */
import type { Config } from '../../core/config.ts';
import type { Queryable } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { isoTime } from '../../core/payment/payment-answer.ts';
import {
  findSeller,
  listDestinations,
  listSellerChanges,
  listSellers,
  type Seller,
  type SellerChange,
  type SellerDestination,
  type SellerStatus,
} from '../../core/seller/seller-store.ts';
import { shownText } from '../../core/shown-text.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import type { Result } from '../render/render-result.ts';
import type { Block } from '../render/table.ts';
import type { Session } from '../session.ts';
import { timeText } from '../words.ts';
import { askFor, decodeCursor, encodeCursor, listResult, pageOf } from './page.ts';

/** A person looks at the latest changes. */
const MAX_SHOWN_CHANGES = 100;

/** Exit 1 when the register does not have the seller. */
export async function showSeller(session: Session, name: string): Promise<number> {
  return withBook(session, async ({ db, config }) => {
    await session.print(await sellerResult(db, config, name.normalize('NFC')));
    return EXIT.done;
  });
}

/** A seller with destinations and the latest changes. @throws OperatorError seller_not_found */
export async function sellerResult(on: Queryable, config: Config, name: string): Promise<Result> {
  const seller = await findSeller(on, name);
  if (seller === null) {
    throw new OperatorError('seller_not_found', `The register has no seller ${shownText(name)}.`, {
      kind: 'answer_is_no',
    });
  }
  const destinations = await listDestinations(on, name, config.payouts.coolingDays);
  const changes = await listSellerChanges(on, name, MAX_SHOWN_CHANGES);
  return {
    json: {
      ...sellerView(seller),
      destinations: destinations.map(destinationView),
      changes: changes.map(changeView),
    },
    blocks: [factsOf(seller), destinationTable(destinations), changeTable(changes)],
  };
}

function sellerView(seller: Seller) {
  return { seller: seller.name, status: seller.status, created_at: isoTime(seller.createdAt) };
}

function destinationView(place: SellerDestination) {
  return {
    psp_account: place.pspAccount,
    destination: place.destination,
    set_at: isoTime(place.setAt),
    cooling_until: place.coolingUntil === null ? null : isoTime(place.coolingUntil),
  };
}

function changeView(change: SellerChange) {
  return {
    kind: change.kind,
    psp_account: change.pspAccount,
    destination: change.destination,
    reason: change.reason,
    principal: change.principal,
    changed_at: isoTime(change.changedAt),
  };
}

function factsOf(seller: Seller): Block {
  return {
    kind: 'facts',
    facts: [
      ['seller', seller.name],
      ['status', { text: seller.status, tone: seller.status === 'frozen' ? 'bad' : 'good' }],
      ['registered', timeText(isoTime(seller.createdAt))],
    ],
  };
}

function destinationTable(places: readonly SellerDestination[]): Block {
  return {
    kind: 'table',
    empty: 'no destination: this seller cannot be paid',
    columns: [{ title: 'PSP' }, { title: 'DESTINATION', shrink: true }, { title: 'SET' }, { title: 'PAID' }],
    rows: places.map((place) => [
      place.pspAccount,
      place.destination,
      timeText(isoTime(place.setAt)),
      place.coolingUntil === null
        ? { text: 'yes', tone: 'good' }
        : { text: `from ${timeText(isoTime(place.coolingUntil))}`, tone: 'warn' },
    ]),
  };
}

function changeTable(changes: readonly SellerChange[]): Block {
  return {
    kind: 'table',
    empty: 'no changes',
    columns: [
      { title: 'CHANGED' },
      { title: 'WHAT' },
      { title: 'TO', shrink: true },
      { title: 'BY', shrink: true },
      { title: 'WHY', shrink: true },
    ],
    rows: changes.map((change) => [
      timeText(isoTime(change.changedAt)),
      change.kind,
      change.destination ?? '',
      change.principal,
      change.reason,
    ]),
  };
}

export type SellerListFlags = {
  readonly status: SellerStatus | null;
  readonly limit: number;
  readonly cursor: string | null;
};

/** One page, by name. */
export async function listSellersCommand(session: Session, flags: SellerListFlags): Promise<number> {
  const after = flags.cursor === null ? null : decodeCursor(flags.cursor)[0];
  return withBook(session, async ({ db }) => {
    const found = await listSellers(db, { status: flags.status, after, limit: askFor(flags.limit) });
    const page = pageOf(found, flags.limit);
    const cursor = page.next === null ? null : encodeCursor([page.next.name, '']);
    const table: Block = {
      kind: 'table',
      empty: 'no sellers',
      columns: [{ title: 'SELLER', shrink: true }, { title: 'STATUS' }, { title: 'REGISTERED' }],
      rows: page.items.map((seller) => [
        seller.name,
        { text: seller.status, tone: seller.status === 'frozen' ? 'bad' : null },
        timeText(isoTime(seller.createdAt)),
      ]),
    };
    await session.print(listResult(page.items.map(sellerView), cursor, [table]));
    return EXIT.done;
  });
}
