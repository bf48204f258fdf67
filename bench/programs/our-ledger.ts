/**
 * Our side of ledger: entries of two pairs each through postEntries, every constraint and trigger on. All
 * debits hit one account, half of the credits another.
 */
import { type Db, openBook, transact } from '../../src/core/db/connection.ts';
import { postEntries } from '../../src/core/ledger/ledger-store.ts';
import { chargeSucceeded } from '../../src/core/ledger/posting-rules.ts';
import type { Measured } from '../benchmark.ts';
import { BOOK, EUR, PSP_ACCOUNT, SELLERS } from '../book.ts';
import { processorTimeBetween, readProcessorTime } from '../processor-time.ts';
import type { BenchConnection } from '../server.ts';

export type OurLedgerInput = {
  readonly connection: BenchConnection;
  readonly durationMs: number;
  /** Part of every entry's cause, so that no two runs post the same. */
  readonly round: number;
  readonly postmasterPid: number | null;
};

/** Entries of one transaction. */
const BATCH = 500;
const CONNECTIONS = 2;
/** The seller's share and our fee: one transfer each. */
const PAIRS = 2;

export async function run(input: OurLedgerInput): Promise<Measured> {
  const db = await openBook({ connection: input.connection, book: BOOK, max: CONNECTIONS });
  let batches = 0;
  const before = readProcessorTime(input.postmasterPid);
  const startedMs = performance.now();
  const work = async (): Promise<number> => {
    let posted = 0;
    while (performance.now() - startedMs < input.durationMs) {
      const first = batches * BATCH;
      batches += 1;
      posted += await postBatch(db, input.round, first);
    }
    return posted;
  };
  const posted = await Promise.all(Array.from({ length: CONNECTIONS }, work));
  const elapsedMs = performance.now() - startedMs;
  const after = readProcessorTime(input.postmasterPid);
  await db.close();
  const done = posted.reduce((sum, count) => sum + count, 0);
  const dropped = batches * BATCH * PAIRS - done;
  return { done, dropped, elapsedMs, ...processorTimeBetween(before, after) };
}

/** Returns how many pairs were posted. */
async function postBatch(db: Db, round: number, first: number): Promise<number> {
  const entries = Array.from({ length: BATCH }, (_, i) => ({
    cause: `run_${round}/${first + i}`,
    ...chargeSucceeded({
      pspAccount: PSP_ACCOUNT,
      seller: `seller ${(first + i) % SELLERS}`,
      currency: EUR,
      grossMinor: 10_000n,
      feeMinor: 280n,
      release: 'available',
    }),
  }));
  const posted = await transact(db, (tx) => postEntries(tx, 'bench', entries));
  return posted.reduce((sum, entry) => sum + (entry.status === 'posted' ? entry.postings.length : 0), 0);
}
