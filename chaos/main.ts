/**
 * `npm run chaos`: real daemons, real sandbox and real Postgres, killed and starved while they work; afterwards
 * every order is accounted for. Reads the arguments; the run is in run.ts, the scenario in sigstop.ts.
 */
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { ChildJob } from './child.ts';
import { CHILD_FLAG } from './processes.ts';

const USAGE = `npm run chaos -- [--orders 5000 | --operations 10000] [--kills 30] [--seed 7] [--daemons 3] [--json] [--logs FOLDER] [--falsify]
npm run chaos -- --scenario sigstop [--seed 7] [--json] [--logs FOLDER]
npm run chaos -- --scenario full-disk --disk FOLDER [--orders 2000] [--seed 7] [--json] [--logs FOLDER]

Exit code 0: nothing lost, charged, refunded or paid out twice, unexplained or out of balance, and every kill found
orders in flight. 1: it did not hold; the differences are named. 2: wrong arguments.
--operations counts charges, refunds and payouts: about so many are made, of fewer orders.
full-disk fills the file system of FOLDER, which must be a small one of its own (mount -t tmpfs -o size=400m), while
orders are charged on a database there.
--falsify moves money at the sandbox behind everybody's back when the run is over: the judge must name it (exit code 1).`;

/** The daemons run from here. */
const BUILT = new URL('../dist/cli/main.js', import.meta.url);

const EXIT_NOT_OK = 1;
const EXIT_USAGE = 2;
const MAX_DAEMONS = 8;
/** Charges, refunds and payouts that come of one order, measured over runs. */
const OPERATIONS_PER_ORDER = 1.55;

type Wishes = {
  readonly seed: number;
  readonly orders: number;
  readonly kills: number;
  readonly daemons: number;
  readonly truth: 'kept' | 'falsified';
  readonly json: boolean;
  readonly scenario: 'sigstop' | 'full-disk' | null;
  readonly disk: string | null;
  readonly logFolder: string | null;
};

if (process.argv[2] === CHILD_FLAG) await runAsChild(process.argv[3] ?? '');
else process.exitCode = await runAsParent(process.argv.slice(2)).catch(sayWhy);

/** The run itself could not be done or finished: that proves nothing, so it is not 0. */
function sayWhy(error: unknown): number {
  const isForPeople = error instanceof Error && 'code' in error;
  console.error(isForPeople ? error.message : error);
  return EXIT_NOT_OK;
}

async function runAsChild(job: string): Promise<void> {
  const { runChild } = await import('./child.ts');
  try {
    await runChild(JSON.parse(job) as ChildJob);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exit(EXIT_NOT_OK);
  }
}

async function runAsParent(args: readonly string[]): Promise<number> {
  const wishes = readWishes(args);
  if (typeof wishes === 'string') {
    console.error(`${wishes}\n\n${USAGE}`);
    return EXIT_USAGE;
  }
  if (!existsSync(BUILT)) {
    console.error('paygate is not built yet: there is no dist/ folder. Run: npm run build');
    return EXIT_USAGE;
  }
  const { createProgress } = await import('./progress.ts');
  const progress = createProgress(wishes.kills, (line) => process.stderr.write(`${line}\n`));
  if (wishes.scenario === 'sigstop') {
    const { runSigstop } = await import('./sigstop.ts');
    const result = await runSigstop(wishes, progress);
    for (const line of result.wrong) process.stderr.write(`${line}\n`);
    process.stdout.write(`${wishes.json ? JSON.stringify(result) : JSON.stringify(result, null, 2)}\n`);
    return result.ok ? 0 : EXIT_NOT_OK;
  }
  if (wishes.scenario === 'full-disk') {
    const { runFullDisk } = await import('./full-disk.ts');
    const result = await runFullDisk({ ...wishes, disk: wishes.disk ?? '' }, progress);
    for (const line of result.wrong) process.stderr.write(`${line}\n`);
    process.stdout.write(`${wishes.json ? JSON.stringify(result) : JSON.stringify(result, null, 2)}\n`);
    return result.ok ? 0 : EXIT_NOT_OK;
  }
  const { runChaos } = await import('./run.ts');
  const { detailsText, isOk, resultJson, summaryText } = await import('./report.ts');
  const result = await runChaos(wishes, progress);
  const details = detailsText(result);
  if (details !== '') process.stderr.write(`${details}\n`);
  const shown = wishes.json
    ? JSON.stringify(resultJson(result, wishes.kills))
    : summaryText(result, wishes.kills);
  process.stdout.write(`${shown}\n`);
  return isOk(result, wishes.kills) ? 0 : EXIT_NOT_OK;
}

/** The arguments, or what is wrong with them. */
function readWishes(args: readonly string[]): Wishes | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        orders: { type: 'string' },
        operations: { type: 'string' },
        kills: { type: 'string', default: '30' },
        seed: { type: 'string', default: '1' },
        daemons: { type: 'string', default: '3' },
        falsify: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        scenario: { type: 'string' },
        disk: { type: 'string' },
        logs: { type: 'string' },
      },
    });
    const { scenario = null } = values;
    if (scenario !== null && scenario !== 'sigstop' && scenario !== 'full-disk')
      return `there is no scenario ${scenario}`;
    if ((scenario === 'full-disk') !== (values.disk !== undefined))
      return 'the scenario full-disk needs --disk, and nothing else does';
    return {
      seed: readNumber('seed', values.seed, 0, 2 ** 31),
      orders: readOrders(values.orders, values.operations),
      kills: readNumber('kills', values.kills, 0, 10_000),
      daemons: readNumber('daemons', values.daemons, 2, MAX_DAEMONS),
      truth: values.falsify ? 'falsified' : 'kept',
      json: values.json,
      scenario,
      disk: values.disk ?? null,
      logFolder: values.logs ?? null,
    };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function readOrders(orders: string | undefined, operations: string | undefined): number {
  if (operations === undefined) return readNumber('orders', orders ?? '5000', 1, 1_000_000);
  if (orders !== undefined) throw new Error('give --orders or --operations, not both');
  return Math.ceil(readNumber('operations', operations, 2, 1_000_000) / OPERATIONS_PER_ORDER);
}

function readNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new Error(`--${name} ${text} is not a whole number from ${least} to ${most}`);
}
