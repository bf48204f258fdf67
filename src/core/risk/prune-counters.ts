/** Forgets what no rule can ask about any more: counters older than the longest window that a rule may have. */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, transact } from '../db/connection.ts';
import { pruneCounters, pruneRiskKeys } from './risk-store.ts';
import { MAX_WINDOW_S } from './rule-set.ts';

/** Counters in one transaction. */
const PRUNE_BATCH = 2_000;

/** A day more than any window, so that neither whole minutes nor "today" can reach over the edge (s). */
const MARGIN_S = 86_400;

/**
 * One round; returns how many counters went. By the rules' limit and not by the rules of today: a longer window that is
 * configured tomorrow finds its counts. The event names the last one, and replay forgets as much.
 */
export async function pruneRiskCounters(db: Db, principal: string): Promise<number> {
  return transact(db, async (tx) => {
    const pruned = await pruneCounters(tx, MAX_WINDOW_S + MARGIN_S, PRUNE_BATCH);
    if (pruned === null) return 0;
    await pruneRiskKeys(tx, pruned.keys);
    const { minute, key, currency, counters } = pruned;
    const data = JSON.stringify({ through: { minute, key, currency }, counters });
    await insertEvents(tx, principal, [{ kind: 'risk_counters_pruned', paymentId: null, data }]);
    return counters;
  });
}
