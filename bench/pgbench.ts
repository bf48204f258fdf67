/**
 * The yardstick for ledger and accept: pgbench's TPC-B of this very server. Comes with Debian's Postgres;
 * where it is missing the benchmark says so.
 */
import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Bug } from '../src/core/errors.ts';
import { type BenchContext, inTurn, type Measured, type RatioInput, scaled } from './benchmark.ts';
import { processorTimeBetween, readProcessorTime } from './processor-time.ts';
import type { BenchConnection } from './server.ts';

const run = promisify(execFile);

/** One unit is 100,000 accounts (about 15 MB): all of it stays in memory. */
const SCALE = 10;
const CLIENTS = 8;
const THREADS = 2;
const SECONDS = 15;
const TIMEOUT_MS = 300_000;

const PGBENCH_NAME = `pgbench TPC-B, scale ${SCALE}, ${CLIENTS} clients, ${THREADS} threads, prepared`;
const PGBENCH_MISSING =
  'pgbench was not found here (pg_config --bindir names no folder that has it), so there is no peer';

type Pgbench = { run(): Promise<Measured> };

/** Fills a database for it; null where pgbench is not installed. */
export async function openPgbench(context: BenchContext): Promise<Pgbench | null> {
  const program = await findPgbench();
  if (program === null) return null;
  const { server } = context;
  const connection = server.connection(await server.createDatabase('tpcb'), 'owner');
  context.progress(`peer: filling TPC-B at scale ${SCALE}`);
  await call(program, connection, ['--initialize', `--scale=${SCALE}`, '--quiet']);
  const seconds = scaled(context, SECONDS, 2);
  return {
    run: async () => {
      const before = readProcessorTime(server.postmasterPid);
      const output = await call(program, connection, [
        `--client=${CLIENTS}`,
        `--jobs=${THREADS}`,
        '--protocol=prepared',
        `--time=${seconds}`,
      ]);
      const { postgresCpuMs } = processorTimeBetween(before, readProcessorTime(server.postmasterPid));
      return { ...readResult(output), postgresCpuMs };
    },
  };
}

/** Runs of ours and of pgbench in turn; ours alone where it is missing. */
export async function againstPgbench(
  context: BenchContext,
  pgbench: Pgbench | null,
  ours: (round: number) => Promise<Measured>,
): Promise<Pick<RatioInput, 'ours' | 'peer' | 'notes'>> {
  const runs = await inTurn(context, ours, async () => (await pgbench?.run()) ?? null);
  if (pgbench === null) return { ours: runs.ours, peer: null, notes: [PGBENCH_MISSING] };
  const peerRuns = runs.peer.filter((run) => run !== null);
  return { ours: runs.ours, peer: { name: PGBENCH_NAME, runs: peerRuns }, notes: [] };
}

async function findPgbench(): Promise<string | null> {
  try {
    const { stdout } = await run('pg_config', ['--bindir'], { timeout: TIMEOUT_MS });
    const program = join(stdout.trim(), 'pgbench');
    await access(program);
    return program;
  } catch {
    return null;
  }
}

async function call(program: string, connection: BenchConnection, args: readonly string[]): Promise<string> {
  const environment = {
    PATH: process.env.PATH,
    LC_ALL: 'C',
    PGHOST: connection.host,
    PGPORT: String(connection.port),
    PGUSER: connection.user,
    PGDATABASE: connection.database,
    ...(connection.password === undefined ? {} : { PGPASSWORD: connection.password }),
  };
  const { stdout } = await run(program, [...args], { env: environment, timeout: TIMEOUT_MS });
  return stdout;
}

function readResult(output: string): Measured {
  const done = Number(/^number of transactions actually processed: (\d+)/m.exec(output)?.[1]);
  const failed = Number(/^number of failed transactions: (\d+)/m.exec(output)?.[1] ?? 0);
  const perSecond = Number(/^tps = ([\d.]+)/m.exec(output)?.[1]);
  if (!(done > 0) || !(perSecond > 0)) throw new Bug(`pgbench said something new:\n${output}`);
  return {
    done,
    dropped: failed,
    elapsedMs: (done / perSecond) * 1000,
    programCpuMs: null,
    postgresCpuMs: null,
  };
}
