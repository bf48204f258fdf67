/** pickup: from the commit of a payment on an idle system to the PSP receiving its charge. */
import { setTimeout as pause } from 'node:timers/promises';
import { transactOnce } from '../../src/core/db/connection.ts';
import { Bug } from '../../src/core/errors.ts';
import { acceptPayments, fingerprint } from '../../src/core/payment/accept-payments.ts';
import { type BenchContext, type Benchmark, type BenchReport, scaled } from '../benchmark.ts';
import { type BenchBook, countDropped, createBook, orderRequest } from '../book.ts';
import { untilSteady, untilTrue } from '../daemons.ts';
import { startProgram } from '../start-program.ts';
import { percentile, rounded, shown } from '../statistics.ts';

const SAMPLES = 400;
/** Not counted: connections, prepared statements and compiled code come with the first ones. */
const WARM_UP = 20;
const GOAL_MS = 25;
/** Between a settled order and the next, at random, so that no timer's beat is measured (ms). */
const PAUSE_MS = { least: 20, most: 120 };
const CALL_TIMEOUT_MS = 10_000;

export const pickup: Benchmark = {
  name: 'pickup',
  what: 'ms from sending the commit of a payment on an idle system to the PSP receiving the charge, p99',
  run: measure,
};

async function measure(context: BenchContext): Promise<BenchReport> {
  const { server } = context;
  const book = await createBook(server, 'pickup');
  let onCall: (atNs: bigint) => void = () => undefined;
  const sandbox = startProgram('sandbox', { latencyMs: 0, trace: 'calls' }, (message) => {
    if (message.kind === 'call') onCall(message.atNs);
  });
  const sandboxUrl = (await sandbox.ready).url!;
  const daemon = startProgram('daemon', { connection: book.connection, sandboxUrl, maxConcurrent: 32 });
  try {
    await Promise.race([untilSteady(book.db, 1), daemon.result.then(() => endedEarly())]);
    const samples = scaled(context, SAMPLES, 50);
    const waits: number[] = [];
    let dropped = 0;
    for (let i = 0; i < WARM_UP + samples; i += 1) {
      const call = new Promise<bigint>((resolve) => {
        onCall = resolve;
      });
      const waited = await measureOne(book, i, call);
      if (waited === null) dropped += 1;
      else if (i >= WARM_UP) waits.push(waited);
      if (i % 100 === 0) context.progress(`sample ${i} of ${WARM_UP + samples}`);
      await pause(PAUSE_MS.least + Math.random() * (PAUSE_MS.most - PAUSE_MS.least));
    }
    const unfinished = await unfinishedAfterAll(book, WARM_UP + samples);
    return report(context, waits, Math.max(dropped, unfinished));
  } finally {
    await daemon.kill();
    await sandbox.stop();
    await book.close();
  }
}

function endedEarly(): never {
  throw new Bug('the daemon ended before the benchmark did');
}

/** Milliseconds; null when no call came. */
async function measureOne(book: BenchBook, number: number, call: Promise<bigint>): Promise<number | null> {
  const context = book.accept('online');
  const commitAtNs = await transactOnce(book.db, async (tx) => {
    const [result] = await acceptPayments(tx, context, [fingerprint(orderRequest(number))]);
    if (result?.kind !== 'accepted') throw new Bug(`order ${number} was not accepted: ${result?.kind}`);
    // What comes next is the commit itself: its write to the disk is part of the wait.
    return process.hrtime.bigint();
  });
  const calledAtNs = await Promise.race([call, pause(CALL_TIMEOUT_MS, null, { ref: false })]);
  return calledAtNs === null ? null : Number(calledAtNs - commitAtNs) / 1e6;
}

async function unfinishedAfterAll(book: BenchBook, orders: number): Promise<number> {
  await untilTrue(async () => (await countDropped(book.db.sql, orders)) === 0, CALL_TIMEOUT_MS);
  return countDropped(book.db.sql, orders);
}

function report(context: BenchContext, waits: readonly number[], dropped: number): BenchReport {
  const p99 = percentile(waits, 99);
  const at = (percent: number): string => `p${percent} ${shown(percentile(waits, percent), 1)}`;
  return {
    name: 'pickup',
    value: rounded(p99, 2),
    unit: 'ms',
    better: 'lower',
    peer: null,
    peer_value: null,
    ratio: null,
    goal: GOAL_MS,
    floor: null,
    goal_kind: 'absolute',
    met: p99 <= GOAL_MS && dropped === 0,
    runs: 1,
    dropped,
    notes: [
      `${waits.length} payments, one at a time, after ${WARM_UP} that are not counted; p99 is the value`,
      `${at(50)}, ${at(90)}, ${at(99)}, p100 ${shown(Math.max(...waits), 1)} ms`,
      'from just before COMMIT is sent (its write to the disk included) to the sandbox having read the head of the charge request, both by the machine’s monotonic clock',
      'real daemon, sandbox and this program in processes of their own',
      'no peer: measured against an absolute goal',
      ...context.server.notes,
    ],
  };
}
