/** Our side of accept: a CSV file, read and checked whole, then submitted by the loop of `payments submit`. */
import { createReadStream } from 'node:fs';
import { emptyTally, IN_FLIGHT, runSubmission } from '../../src/cli/actions/run-submission.ts';
import { openBook, transact } from '../../src/core/db/connection.ts';
import { Bug } from '../../src/core/errors.ts';
import { type AcceptContext, fingerprint } from '../../src/core/payment/accept-payments.ts';
import { parsePaymentFile } from '../../src/core/payment/parse-payment-file.ts';
import { markBatchSubmitted, openBatch } from '../../src/core/payment/payment-store.ts';
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
  const tally = emptyTally();
  const options = { db, context, signal: new AbortController().signal, onProgress: () => undefined };
  const items = file.payments.map(({ request, line }) => ({ ...fingerprint(request), line }));
  await runSubmission(options, items, tally);
  await transact(db, (tx) => markBatchSubmitted(tx, batch.id, 'bench'));
  const elapsedMs = performance.now() - startedMs;
  const after = readProcessorTime(input.postmasterPid);
  await db.close();
  const done = tally.accepted;
  return { done, dropped: input.payments - done, elapsedMs, ...processorTimeBetween(before, after) };
}
