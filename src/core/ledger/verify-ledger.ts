/** `ledger verify`: recomputes the books from their postings in one snapshot. Changes nothing. */
import { type Db, readSnapshot } from '../db/connection.ts';
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
  return readSnapshot(db, VERIFY_TIMEOUT_MS, async (tx) => {
    const counts = await countLedger(tx);
    const faults = await findLedgerFaults(tx, MAX_FAULTS);
    const verdict = faults.length > 0 ? 'faulty' : counts.postings === 0n ? 'empty' : 'balanced';
    return { ...counts, verdict, faults };
  });
}
