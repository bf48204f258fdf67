/** Moves sellers' shares from pending to available when their day has come. Idempotent: each releases once. */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, transact } from '../db/connection.ts';
import { formatId } from '../ids.ts';
import { entryJson, insertEntries, insertPostings } from '../ledger/ledger-store.ts';
import { fundsReleased } from '../ledger/posting-rules.ts';
import type { Currency } from '../money.ts';
import { takeDueReleases } from '../operation/operation-store.ts';

/** Releases in one transaction. */
const RELEASE_BATCH = 500;

/** One round; returns how many were released. */
export async function releaseDueFunds(db: Db, principal: string): Promise<number> {
  return transact(db, async (tx) => {
    const due = await takeDueReleases(tx, RELEASE_BATCH);
    const owed = due.filter((release) => release.amountMinor > 0n);
    const entries = await insertEntries(
      tx,
      principal,
      owed.map((release) => ({
        cause: formatId('operation', release.operationId),
        ...fundsReleased({
          seller: release.seller,
          currency: release.currency as Currency,
          amountMinor: release.amountMinor,
        }),
      })),
    );
    await insertEvents(
      tx,
      principal,
      owed.map((release, i) => ({
        kind: 'funds_released' as const,
        paymentId: release.paymentId,
        data: JSON.stringify({
          operation: release.operationId.toString(),
          entries: [entryJson(entries[i]!)],
        }),
      })),
    );
    await insertPostings(tx, entries);
    return due.length;
  });
}
