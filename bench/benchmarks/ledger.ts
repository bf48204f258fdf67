/** ledger: transfers per second with hot accounts, against pgbench's TPC-B on the same server. */
import { type BenchContext, type Benchmark, type BenchReport, reportRatio, scaled } from '../benchmark.ts';
import { createBook, SELLERS } from '../book.ts';
import { againstPgbench, openPgbench } from '../pgbench.ts';
import { runProgram } from '../start-program.ts';

const DURATION_MS = 12_000;

export const ledger: Benchmark = {
  name: 'ledger',
  what: 'transfers: one debit, one credit, one amount; two an entry, one account in all of them',
  run: measure,
};

async function measure(context: BenchContext): Promise<BenchReport> {
  const { server } = context;
  const book = await createBook(server, 'ledger_ours');
  await book.close();
  const pgbench = await openPgbench(context);
  const durationMs = scaled(context, DURATION_MS, 1_000);
  const { ours, peer, notes } = await againstPgbench(context, pgbench, (round) =>
    runProgram('our-ledger', {
      connection: book.connection,
      durationMs,
      round,
      postmasterPid: server.postmasterPid,
    }),
  );
  return reportRatio({
    name: 'ledger',
    unit: 'transfers/s',
    goal: 10,
    floor: null,
    ours,
    peer,
    notes: [
      `postEntries, batches of 500 entries of two transfers on 2 connections, ${durationMs / 1000} s a run; one account is in every transfer, our fees in half, ${SELLERS} sellers share the rest`,
      'all constraints and triggers on: whole entries only, balances kept by the database, append-only tables',
      'a TPC-B transaction is one transfer of its own kind, committed alone; ours commits 1,000 at a time, which is the point',
      ...notes,
      ...server.notes,
    ],
  });
}
