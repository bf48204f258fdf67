/** Our side of accept: a CSV file, read and checked whole, then submitted in batches, several on their way. */
import { createReadStream } from 'node:fs';
import { type Db, openBook, transact } from '../../src/core/db/connection.ts';
import { Bug } from '../../src/core/errors.ts';
import { type AcceptContext, fingerprint, MAX_ACCEPT_BATCH } from '../../src/core/payment/accept-payments.ts';
import { parsePaymentFile } from '../../src/core/payment/parse-payment-file.ts';
import type { FilePayment } from '../../src/core/payment/payment-collector.ts';
import { markBatchSubmitted, openBatch } from '../../src/core/payment/payment-store.ts';
import { submitPayments } from '../../src/core/payment/submit-payments.ts';
import { getBookKey } from '../../src/core/queue/queue-store.ts';
import type { Measured } from '../benchmark.ts';
import { BOOK, POLICY } from '../book.ts';
import { processorTimeBetween, readProcessorTime } from '../processor-time.ts';
import type { BenchConnection } from '../server.ts';

export type OurAcceptInput = {
  readonly connection: BenchConnection;
  readonly file: string;
  /** Payments in the file. */
  readonly payments: number;
  readonly postmasterPid: number | null;
};

/** Batches on their way at once, each on a connection of its own. */
const IN_FLIGHT = 4;

export async function run(input: OurAcceptInput): Promise<Measured> {
  const db = await openBook({ connection: input.connection, book: BOOK, max: IN_FLIGHT });
  const before = readProcessorTime(input.postmasterPid);
  const startedMs = performance.now();
  const file = await parsePaymentFile(createReadStream(input.file));
  if (file.kind === 'bad')
    throw new Bug(`the benchmark's file has faults: ${JSON.stringify(file.faults[0])}`);
  const facts = {
    sha256: file.sha256,
    source: 'bench.csv',
    rowCount: file.rowCount,
    paymentCount: file.payments.length,
    principal: 'bench',
  };
  const batch = await transact(db, (tx) => openBatch(tx, facts));
  const context: AcceptContext = {
    policy: POLICY,
    bookKey: await getBookKey(db),
    principal: 'bench',
    priority: 'batch',
    batchId: batch.id,
  };
  const done = await submitAll(db, context, file.payments);
  await transact(db, (tx) => markBatchSubmitted(tx, batch.id, 'bench'));
  const elapsedMs = performance.now() - startedMs;
  const after = readProcessorTime(input.postmasterPid);
  await db.close();
  return { done, dropped: input.payments - done, elapsedMs, ...processorTimeBetween(before, after) };
}

/** Returns how many were accepted. */
async function submitAll(db: Db, context: AcceptContext, payments: readonly FilePayment[]): Promise<number> {
  let next = 0;
  const submitNext = async (): Promise<number> => {
    let accepted = 0;
    while (next < payments.length) {
      const chunk = payments.slice(next, next + MAX_ACCEPT_BATCH);
      next += chunk.length;
      const results = await submitPayments(
        db,
        context,
        chunk.map(({ request }) => fingerprint(request)),
      );
      accepted += results.filter((result) => result.kind === 'accepted').length;
    }
    return accepted;
  };
  const counts = await Promise.all(Array.from({ length: IN_FLIGHT }, submitNext));
  return counts.reduce((sum, count) => sum + count, 0);
}
