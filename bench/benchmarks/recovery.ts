/** recovery: one of two daemons is killed with charges in flight; how long until the other resumed them all. */
import { setTimeout as pause } from 'node:timers/promises';
import { list } from '../../src/core/db/connection.ts';
import { Bug } from '../../src/core/errors.ts';
import { fingerprint } from '../../src/core/payment/accept-payments.ts';
import { submitPayments } from '../../src/core/payment/submit-payments.ts';
import type { BenchContext, Benchmark, BenchReport } from '../benchmark.ts';
import { type BenchBook, countDropped, createBook, orderRequest } from '../book.ts';
import { untilSteady, untilTrue } from '../daemons.ts';
import { type Started, startProgram } from '../start-program.ts';
import { rounded, shown } from '../statistics.ts';

const GOAL_S = 10;
/** Orders in flight, and slots of each daemon: the survivor always has room for all of them. */
const ORDERS = 100;
/** A charge takes longer than the lease, so that none of them ends before it is resumed (ms). */
const LATENCY_MS = 12_000;
/** Short enough that no charge ends before the kill. */
const MAX_PAUSE_MS = 2_000;
const CLAIM_TIMEOUT_MS = 20_000;
const RESUME_TIMEOUT_MS = 60_000;
const FINISH_TIMEOUT_MS = 120_000;

export const recovery: Benchmark = {
  name: 'recovery',
  what: 's from kill -9 of a daemon until another has resumed all of its charges, worst run',
  run: measure,
};

type Recovered = { readonly resumedMs: number; readonly jobs: number; readonly dropped: number };

async function measure(context: BenchContext): Promise<BenchReport> {
  const runs: Recovered[] = [];
  for (let round = 0; round < context.runs; round += 1) {
    context.progress(`run ${round + 1} of ${context.runs}`);
    runs.push(await measureOnce(context, round));
  }
  const worstS = Math.max(...runs.map((run) => run.resumedMs)) / 1000;
  const dropped = runs.reduce((sum, run) => sum + run.dropped, 0);
  return {
    name: 'recovery',
    value: rounded(worstS, 2),
    unit: 's',
    better: 'lower',
    peer: null,
    peer_value: null,
    ratio: null,
    goal: GOAL_S,
    floor: null,
    goal_kind: 'absolute',
    met: worstS <= GOAL_S && dropped === 0,
    runs: runs.length,
    dropped,
    notes: [
      `value = the worst run; all runs: ${runs.map((run) => shown(run.resumedMs / 1000, 2)).join(', ')} s, with ${runs.map((run) => run.jobs).join(', ')} jobs in flight in the killed daemon`,
      'from SIGKILL until the last of its jobs has been claimed anew (its fence raised by rescue and claim)',
      `two real daemons, both steady for a lease; ${ORDERS} orders at a sandbox that takes ${LATENCY_MS / 1000} s for each charge`,
      'afterwards every order must end as SUCCESS, with one charge each at the sandbox; what does not is dropped',
      'no peer: by default graphile-worker takes 4 hours, River 1 hour, pg-boss 15 minutes (their documentation)',
      ...context.server.notes,
    ],
  };
}

async function measureOnce(context: BenchContext, round: number): Promise<Recovered> {
  const book = await createBook(context.server, `recovery_${round}`);
  const sandbox = startProgram('sandbox', { latencyMs: LATENCY_MS, trace: 'nothing' });
  const sandboxUrl = (await sandbox.ready).url!;
  const daemons = [0, 1].map(() =>
    startProgram('daemon', { connection: book.connection, sandboxUrl, maxConcurrent: ORDERS }),
  );
  try {
    const endedEarly = daemons.map(async (daemon) => {
      await daemon.result;
      throw new Bug('a daemon ended before it was killed');
    });
    await Promise.race([untilSteady(book.db, daemons.length), ...endedEarly]);
    await submitAll(book);
    const victim = await findBusiest(book, daemons);
    const resumedMs = await killAndWait(book, victim);
    await untilTrue(async () => (await countDropped(book.db.sql, ORDERS)) === 0, FINISH_TIMEOUT_MS);
    const dropped = Math.max(await countDropped(book.db.sql, ORDERS), await countMischarged(sandboxUrl));
    return { resumedMs, jobs: victim.jobs.length, dropped };
  } finally {
    for (const daemon of daemons) await daemon.kill();
    await sandbox.stop();
    await book.close();
  }
}

async function submitAll(book: BenchBook): Promise<void> {
  const requests = Array.from({ length: ORDERS }, (_, i) => fingerprint(orderRequest(i)));
  await submitPayments(book.db, book.accept('online'), requests);
  const claimed = await untilTrue(async () => {
    const [row] = await book.db.sql<{ waiting: number }[]>`
      select count(*)::integer as waiting from ${book.db.t.job} where state <> 'leased'`;
    return row?.waiting === 0;
  }, CLAIM_TIMEOUT_MS);
  if (!claimed) throw new Bug('the orders were not claimed');
}

type Job = { readonly operationId: bigint; readonly fence: number };
type Victim = { readonly process: Started<'daemon'>; readonly jobs: readonly Job[] };

/** The daemon that holds the most jobs, with those jobs. */
async function findBusiest(book: BenchBook, daemons: readonly Started<'daemon'>[]): Promise<Victim> {
  const { sql, t } = book.db;
  const rows = await sql<(Job & { name: string })[]>`
    select j.operation_id, j.fence, d.name
      from ${t.job} j
      join ${t.daemon} d on d.id = j.daemon_id`;
  const byName = [...Map.groupBy(rows, (row) => row.name)].sort((a, b) => b[1].length - a[1].length);
  const [name, jobs] = byName[0] ?? ['', []];
  const process = daemons.find((daemon) => name.endsWith(`/${daemon.pid}`));
  if (process === undefined) throw new Bug(`no process of the benchmark is the daemon ${name}`);
  return { process, jobs };
}

/** Milliseconds from the kill until each of its jobs was claimed again: a rescue and a claim raise the fence once each. */
async function killAndWait(book: BenchBook, victim: Victim): Promise<number> {
  const { sql, t } = book.db;
  // Daemons beat and look once a second from when they started: the kill must not keep step with them.
  await pause(Math.random() * MAX_PAUSE_MS);
  const killedAtMs = performance.now();
  void victim.process.kill();
  const resumed = await untilTrue(async () => {
    const [row] = await sql<{ waiting: number }[]>`
      select count(*)::integer as waiting
        from unnest(${list(victim.jobs.map((job) => job.operationId))}::bigint[],
                    ${list(victim.jobs.map((job) => job.fence))}::integer[]) as held (operation_id, fence)
        join ${t.job} j using (operation_id)
       where j.fence < held.fence + 2`;
    return row?.waiting === 0;
  }, RESUME_TIMEOUT_MS);
  if (!resumed)
    throw new Bug(`jobs of the killed daemon were not resumed within ${RESUME_TIMEOUT_MS / 1000} s`);
  return performance.now() - killedAtMs;
}

/** Orders that the sandbox charged more than once or not at all. */
async function countMischarged(sandboxUrl: string): Promise<number> {
  const response = await fetch(`${sandboxUrl}/_sandbox/truth/moved?by=paygate_order`);
  const lines = (await response.text()).split('\n').filter((line) => line !== '');
  const orders = lines.map((line) => JSON.parse(line) as { succeeded: number });
  return ORDERS - orders.filter((order) => order.succeeded === 1).length;
}
