/**
 * Stores a checked payout file as drafts, in one transaction: the names it takes, the batch, the items, the events.
 * Reserves nothing and sends nothing; that is for the approval.
 */
import { insertEvents, type NewEvent } from '../audit/event-store.ts';
import { type Db, type Tx, transact } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { takeIds } from '../payment/payment-store.ts';
import { type NameUse, nameUseOf, type PayoutRequest } from './payout.ts';
import {
  insertPayoutBatch,
  insertPayoutItems,
  listBearers,
  lockNames,
  type NewPayoutBatch,
  type NewPayoutItem,
  passNames,
  takeNames,
} from './payout-store.ts';

export type PayoutSubmission = {
  readonly principal: string;
  /** Name of the PSP account that pays. */
  readonly pspAccount: string;
  readonly sha256: string;
  /** Where the rows came from, for people. */
  readonly source: string;
};

/** Most items of one batch, and so of one transaction. */
const MAX_ITEMS = 50_000;
/** Rows in one statement. */
const STATEMENT_ROWS = 5_000;
/** Items that one event names. */
const EVENT_ITEMS = 1_000;

export type Submitted = {
  /** Null: nothing of it is new, and nothing was stored. */
  readonly batchId: bigint | null;
  readonly accepted: readonly PayoutRequest[];
  /** The requests whose names are taken, in the order of the file. */
  readonly taken: readonly {
    readonly request: PayoutRequest;
    readonly use: Exclude<NameUse, { kind: 'free' }>;
  }[];
};

/**
 * Whoever comes first with a name has it: the same file twice at once is stored once. A name whose payout ended without
 * money is free again, so that a corrected file pays what was not paid, and only that.
 */
export async function submitPayouts(
  db: Db,
  submission: PayoutSubmission,
  requests: readonly PayoutRequest[],
): Promise<Submitted> {
  if (requests.length > MAX_ITEMS) throw new Bug(`${requests.length} payouts; the limit is ${MAX_ITEMS}`);
  if (new Set(requests.map((request) => request.itemRef)).size !== requests.length)
    throw new Bug('two payouts of one name in one file');
  return transact(db, async (tx) => {
    const [batchId, ...ids] = await takeIds(tx, requests.length + 1);
    const uses = await claimNames(tx, requests, ids);
    const accepted = requests.filter((_, i) => uses[i]!.kind === 'free');
    const taken = requests.flatMap((request, i) => {
      const use = uses[i]!;
      return use.kind === 'free' ? [] : [{ request, use }];
    });
    if (accepted.length === 0) return { batchId: null, accepted, taken };
    const { pspAccount, sha256, source } = submission;
    const batch = { id: batchId!, sha256, source, pspAccount, itemCount: accepted.length };
    const items = requests.flatMap((request, i) =>
      uses[i]!.kind === 'free' ? [itemOf(request, ids[i]!, batchId!)] : [],
    );
    await store(tx, submission.principal, batch, items);
    return { batchId: batchId!, accepted, taken };
  });
}

/** Gives every request its name where it may have it; the others are told who has it. */
async function claimNames(
  tx: Tx,
  requests: readonly PayoutRequest[],
  ids: readonly bigint[],
): Promise<readonly NameUse[]> {
  const names = requests.map(({ itemRef }, i) => ({ itemRef, payoutId: ids[i]! }));
  const isNew = await takeNames(tx, names);
  const known = requests.filter((request) => !isNew.has(request.itemRef)).map((request) => request.itemRef);
  if (known.length === 0) return requests.map(() => FREE);
  await lockNames(tx, known);
  const bearers = new Map((await listBearers(tx, known)).map((bearer) => [bearer.itemRef, bearer]));
  const uses = requests.map((request) =>
    isNew.has(request.itemRef) ? FREE : nameUseOf(request, bearers.get(request.itemRef)),
  );
  await passNames(
    tx,
    names.filter(({ itemRef }, i) => !isNew.has(itemRef) && uses[i]!.kind === 'free'),
  );
  return uses;
}

const FREE: NameUse = { kind: 'free' };

function itemOf(request: PayoutRequest, id: bigint, batchId: bigint): NewPayoutItem {
  const { line, itemRef, seller, money, destination, memo } = request;
  return { id, batchId, line, itemRef, seller, ...money, destination, memo };
}

async function store(
  tx: Tx,
  principal: string,
  batch: NewPayoutBatch,
  items: readonly NewPayoutItem[],
): Promise<void> {
  await insertPayoutBatch(tx, principal, batch);
  for (let start = 0; start < items.length; start += STATEMENT_ROWS)
    await insertPayoutItems(tx, items.slice(start, start + STATEMENT_ROWS));
  const events: NewEvent[] = [{ kind: 'payout_batch_submitted', paymentId: null, data: batchEvent(batch) }];
  for (let start = 0; start < items.length; start += EVENT_ITEMS) {
    const data = itemsEvent(batch.id, items.slice(start, start + EVENT_ITEMS));
    events.push({ kind: 'payouts_submitted', paymentId: null, data });
  }
  await insertEvents(tx, principal, events);
}

function batchEvent(batch: NewPayoutBatch): string {
  return JSON.stringify({
    id: batch.id.toString(),
    sha256: batch.sha256,
    source: batch.source,
    psp_account: batch.pspAccount,
    item_count: batch.itemCount,
  });
}

function itemsEvent(batchId: bigint, items: readonly NewPayoutItem[]): string {
  return JSON.stringify({
    batch: batchId.toString(),
    items: items.map((item) => ({
      id: item.id.toString(),
      line: item.line,
      item_ref: item.itemRef,
      seller: item.seller,
      amount_minor: item.amountMinor.toString(),
      currency: item.currency,
      destination: item.destination,
      memo: item.memo,
    })),
  });
}
