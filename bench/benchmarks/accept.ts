/** accept: payments per second from a batch file to committed, against pgbench's TPC-B on the same server. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatAmount } from '../../src/core/money.ts';
import { type BenchContext, type Benchmark, type BenchReport, reportRatio, scaled } from '../benchmark.ts';
import { createBook, orderRequest } from '../book.ts';
import { againstPgbench, openPgbench } from '../pgbench.ts';
import { runProgram } from '../start-program.ts';

const PAYMENTS = 60_000;

export const accept: Benchmark = {
  name: 'accept',
  what: 'payments of one order: read from a CSV file, checked, risk-assessed, committed with job and events',
  run: measure,
};

async function measure(context: BenchContext): Promise<BenchReport> {
  const { server } = context;
  const book = await createBook(server, 'accept_ours');
  await book.close();
  const pgbench = await openPgbench(context);
  const payments = scaled(context, PAYMENTS, 1_000);
  const folder = await mkdtemp(join(tmpdir(), 'paygate-bench-file-'));
  try {
    const { ours, peer, notes } = await againstPgbench(context, pgbench, async (round) => {
      const file = join(folder, `${round}.csv`);
      await writeFile(file, csvOf(round * payments, payments));
      return runProgram('our-accept', {
        connection: book.connection,
        file,
        payments,
        postmasterPid: server.postmasterPid,
      });
    });
    return reportRatio({
      name: 'accept',
      unit: 'payments/s',
      goal: 6,
      floor: null,
      ours,
      peer,
      notes: [
        `a CSV file of ${payments} payments of one order each; the clock runs from opening the file to the last commit`,
        'the loop of `payments submit`: batches of 200 payments, several on their way at once; fingerprint, fee, risk and frozen PSP request included',
        'left out: starting the process, connecting, and the preview that the command shows before it asks',
        ...notes,
        ...server.notes,
      ],
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function csvOf(first: number, count: number): string {
  const lines = Array.from({ length: count }, (_, i) => {
    const { checkoutId, buyer, orders } = orderRequest(first + i);
    const { seller, money, paymentMethod } = orders[0]!;
    return [checkoutId, buyer, seller, formatAmount(money), money.currency, paymentMethod].join(',');
  });
  return `checkout_id,buyer,seller,amount,currency,payment_method\n${lines.join('\n')}\n`;
}
