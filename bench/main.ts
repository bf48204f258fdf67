/**
 * `npm run bench -- NAME [--json] [--runs N] [--scale X]`: runs one benchmark, or all of them and writes
 * docs/benchmarks. Progress goes to stderr; the last line of stdout is the result.
 */
import { parseArgs } from 'node:util';
import { OperatorError } from '../src/core/errors.ts';
import type { Benchmark, BenchReport } from './benchmark.ts';
import { accept } from './benchmarks/accept.ts';
import { dlq } from './benchmarks/dlq.ts';
import { executor, executorHttp } from './benchmarks/executor.ts';
import { ledger } from './benchmarks/ledger.ts';
import { mixed } from './benchmarks/mixed.ts';
import { pickup } from './benchmarks/pickup.ts';
import { queue } from './benchmarks/queue.ts';
import { reconcile } from './benchmarks/reconcile.ts';
import { recovery } from './benchmarks/recovery.ts';
import { readMachine } from './machine.ts';
import { renderReport } from './render-report.ts';
import { openServer } from './server.ts';
import { writeResults } from './write-results.ts';

const BENCHMARKS: readonly Benchmark[] = [
  executor,
  executorHttp,
  queue,
  ledger,
  accept,
  pickup,
  recovery,
  dlq,
  mixed,
  reconcile,
];
const DEFAULT_RUNS = 3;
const MAX_RUNS = 50;
const EXIT_USAGE = 2;
const EXIT_FAILED = 3;

const USAGE = `usage: npm run bench -- NAME [--json] [--runs N] [--scale X]

${BENCHMARKS.map((one) => `  ${one.name.padEnd(14)} ${one.what}`).join('\n')}
  ${'all'.padEnd(14)} all of them; writes docs/benchmarks (not with a scale below 1)

  --json     the last line of stdout is one JSON object
  --runs N   runs of each side, in turn (default ${DEFAULT_RUNS})
  --scale X  amount of work in a run (default 1); less than 1 to try things out, not for figures that count

PAYGATE_BENCH_URL names a Postgres to use (its user must be able to create databases); default: a fresh one.
`;

type Wanted = {
  readonly benchmarks: readonly Benchmark[];
  readonly all: boolean;
  readonly json: boolean;
  readonly runs: number;
  readonly scale: number;
};

/** Null: the usage is what is wanted. */
function readWanted(args: readonly string[]): Wanted | null {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      runs: { type: 'string', default: String(DEFAULT_RUNS) },
      scale: { type: 'string', default: '1' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const [name] = positionals;
  if (values.help || name === undefined || positionals.length !== 1) return null;
  const benchmarks = name === 'all' ? BENCHMARKS : BENCHMARKS.filter((one) => one.name === name);
  const runs = Number(values.runs);
  const scale = Number(values.scale);
  if (benchmarks.length === 0)
    throw new OperatorError('bench_unknown', `There is no benchmark "${name}".\n\n${USAGE}`);
  if (!Number.isInteger(runs) || runs < 1 || runs > MAX_RUNS)
    throw new OperatorError('bench_runs', `--runs takes 1 to ${MAX_RUNS}.`);
  if (!(scale > 0 && scale <= 100))
    throw new OperatorError('bench_scale', '--scale takes a number above 0, at most 100.');
  return { benchmarks, all: name === 'all', json: values.json, runs, scale };
}

/** One benchmark on a fresh server: what another left behind (log to be written, vacuum) does not slow it. */
async function runOne(benchmark: Benchmark, wanted: Wanted): Promise<BenchReport> {
  const progress = (text: string): void => {
    process.stderr.write(`${benchmark.name}: ${text}\n`);
  };
  progress('starting Postgres');
  const server = await openServer();
  try {
    const { runs, scale } = wanted;
    const report = await benchmark.run({ server, runs, scale, progress });
    const machine = await readMachine(server.version);
    const command = commandOf(benchmark.name, wanted);
    if (wanted.all && scale >= 1) await writeResults(report, machine, command, benchmark.what);
    if (!wanted.json) process.stdout.write(renderReport(report, machine, command, benchmark.what));
    return report;
  } finally {
    await server.close();
  }
}

/** A benchmark that fails does not keep the others from running; it fails the command in the end. */
async function runAll(wanted: Wanted): Promise<number> {
  const reports: BenchReport[] = [];
  let failed = 0;
  for (const benchmark of wanted.benchmarks) {
    try {
      reports.push(await runOne(benchmark, wanted));
    } catch (error) {
      failed += 1;
      explain(error);
    }
  }
  if (wanted.json && (wanted.all || failed === 0)) {
    process.stdout.write(`${JSON.stringify(wanted.all ? { benchmarks: reports, failed } : reports[0])}\n`);
  }
  return failed === 0 ? 0 : EXIT_FAILED;
}

function commandOf(name: string, wanted: Wanted): string {
  const runs = wanted.runs === DEFAULT_RUNS ? '' : ` --runs ${wanted.runs}`;
  const scale = wanted.scale === 1 ? '' : ` --scale ${wanted.scale}`;
  return `npm run bench -- ${name} --json${runs}${scale}`;
}

async function main(): Promise<number> {
  const wanted = readWanted(process.argv.slice(2));
  if (wanted === null) {
    process.stdout.write(USAGE);
    return process.argv.length > 2 ? 0 : EXIT_USAGE;
  }
  return runAll(wanted);
}

function explain(error: unknown): void {
  const text = error instanceof Error && !(error instanceof OperatorError) ? error.stack : undefined;
  process.stderr.write(`${text ?? (error instanceof Error ? error.message : String(error))}\n`);
}

try {
  process.exitCode = await main();
} catch (error) {
  const isUsage =
    error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS');
  if (isUsage) process.stderr.write(`${error.message}\n\n${USAGE}`);
  else explain(error);
  process.exitCode = EXIT_USAGE;
}
