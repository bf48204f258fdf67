/** `ledger verify`: recomputes the books from their postings in one snapshot. Changes nothing. */
import type { Db, Tx } from '../db/connection.ts';
import {
  countLedger,
  findLedgerFaults,
  type LedgerCounts,
  type LedgerFault,
} from './ledger-queries-store.ts';

export type LedgerVerification = LedgerCounts & {
  /** `empty` is an answer of its own: nothing was proven. */
  readonly verdict: 'balanced' | 'faulty' | 'empty';
  /** The first 1,000. */
  readonly faults: readonly LedgerFault[];
};

const MAX_FAULTS = 1_000;
/** Verification reads every posting; it may take this long (ms). */
const VERIFY_TIMEOUT_MS = 3_600_000;

export async function verifyLedger(db: Db): Promise<LedgerVerification> {
  return (await db.sql.begin('isolation level repeatable read read only', async (sql) => {
    const tx: Tx = { ...db, sql: sql as unknown as Tx['sql'], inTransaction: true };
    await tx.sql`select set_config('statement_timeout', ${`${VERIFY_TIMEOUT_MS}ms`}, true),
                        set_config('enable_seqscan', 'on', true), set_config('random_page_cost', '4', true)`;
    const counts = await countLedger(tx);
    const faults = await findLedgerFaults(tx, MAX_FAULTS);
    const verdict = faults.length > 0 ? 'faulty' : counts.postings === 0n ? 'empty' : 'balanced';
    return { ...counts, verdict, faults };
  })) as LedgerVerification;
}
