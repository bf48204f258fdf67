/** Gathers what the books say moved at each PSP, ahead of the files that will show it: idempotent, and nobody waits for it. */
import { type Db, transact, workOnSets } from '../db/connection.ts';
import { gatherItems, insertPositions, listPspAccounts } from './open-item-store.ts';
import { getNow, tryLockSource } from './reconcile-run-store.ts';
import { calendarAt } from './settlement-calendar.ts';
import { type SettlementPolicy, settlementOf } from './settlement-policy.ts';
import { openAccount } from './settlement-posting.ts';

/** The first gathering of a large book takes a while (ms). */
const GATHER_TIMEOUT_MS = 600_000;

/** One round over all PSP accounts; an account with a run under way is left to that. Returns how many items were added. */
export async function gatherOpenItems(db: Db, policy: SettlementPolicy): Promise<number> {
  let added = 0;
  for (const name of await listPspAccounts(db)) {
    const settlement = settlementOf(policy, name);
    const calendar = calendarAt(settlement, await getNow(db));
    added += await transact(db, async (tx) => {
      await workOnSets(tx, GATHER_TIMEOUT_MS);
      const sourceId = await tryLockSource(tx, `psp:${name}`);
      if (sourceId === null) return 0;
      const accountCode = openAccount({ kind: 'psp', name, bank: settlement.bank });
      await insertPositions(tx, { id: sourceId, accountCode });
      return gatherItems(tx, sourceId, calendar);
    });
  }
  return added;
}
