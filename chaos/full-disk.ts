/**
 * The named scenario: the database's disk runs full while orders are charged. Daemons must go on running and say so at
 * a bounded rate, a command must say what is wrong and end with 3, nothing may be lost, and everything must go on by
 * itself when there is room again.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { look, lookUntil } from './census.ts';
import { checkEverything } from './check.ts';
import { type Eyes, openEyes } from './database.ts';
import { createPayoutSubmissions } from './payouts.ts';
import { makePlan, type Plan, type WavePlan } from './plan.ts';
import { pause } from './processes.ts';
import type { Progress } from './progress.ts';
import { accountOf, methodAt } from './psps.ts';
import { createRefundSubmissions } from './refunds.ts';
import { createSubmissions, submitWave } from './submit.ts';
import { urlOf, type World, withWorld } from './world.ts';

/** More than this is nobody's scratch file system (bytes). */
const MAX_DISK_BYTES = 1_000_000_000;
/** How long the disk stays full (ms): longer than two log lines are apart. */
const FULL_MS = 25_000;
const LIMIT_MS = 300_000;
const COMMAND = fileURLToPath(new URL('../bin/paygate.mjs', import.meta.url));
const CHUNK = Buffer.alloc(1_048_576, 1);

export type FullDiskResult = {
  readonly scenario: 'full-disk';
  readonly seed: number;
  readonly ok: boolean;
  readonly orders: number;
  /** When the disk was full, and when there was room again. */
  readonly ended_before: number;
  readonly ended_after_room: number;
  readonly in_hand_when_full: number;
  readonly postgres_survived: boolean;
  readonly lost: number;
  readonly charged_twice: number;
  readonly unexplained: number;
  readonly imbalance: number;
  readonly wallet_differences: number;
  readonly replay_differences: number;
  /** Lines of all daemons while the disk was full, and at most in one second. */
  readonly alarming_lines: number;
  readonly most_lines_in_a_second: number;
  readonly command_exit_code: number | null;
  readonly command_said: string;
  readonly daemons_that_ended: number;
  readonly log: Readonly<Record<string, number>>;
  readonly wrong: readonly string[];
};

type Wishes = {
  readonly seed: number;
  readonly orders: number;
  readonly disk: string;
  readonly logFolder: string | null;
};

export async function runFullDisk(wishes: Wishes, progress: Progress): Promise<FullDiskResult> {
  const { blocks, bsize } = await statfs(wishes.disk);
  if (blocks * bsize > MAX_DISK_BYTES)
    throw Object.assign(new Error(`${wishes.disk} is not a small file system of its own`), { code: 'disk' });
  const worldWishes = {
    ...wishes,
    daemons: 2,
    latencyMs: 20,
    faults: 'off' as const,
    dataFolder: await mkdtemp(join(wishes.disk, 'paygate-chaos-data-')),
    maxConcurrent: 8,
    pspTimeoutMs: 5_000,
  };
  return withWorld(worldWishes, async (world) => {
    const eyes = openEyes(world.database.owner);
    try {
      return await play(world, eyes, wishes, progress);
    } finally {
      await eyes.close();
    }
  });
}

async function play(world: World, eyes: Eyes, wishes: Wishes, progress: Progress): Promise<FullDiskResult> {
  const made = makePlan({ ...wishes, kills: 4 });
  const plan: Plan = { ...made, waves: made.waves.map(withoutCustomers) };
  const { folder, document, database, mark, log } = world;
  const submissions = createSubmissions();
  const context = { folder, document, connection: database.app, mark, log, submissions };
  const submitted = Promise.all(plan.waves.map((wave) => submitWave(context, wave)));
  await lookUntil(eyes, (seen) => seen.ended > wishes.orders / 10, LIMIT_MS);
  const endedBefore = (await look(eyes))?.ended ?? 0;
  const ballast = await fillDisk(wishes.disk);
  progress.say('the disk is full');
  const linesBefore = countLines(world);
  const rates = watchRate(world);
  await pause(FULL_MS / 2);
  const inHand = [...((await look(eyes))?.inFlight.values() ?? [])].reduce((sum, jobs) => sum + jobs, 0);
  const command = await runCommand(world);
  await pause(FULL_MS / 2);
  const mostInASecond = rates.stop();
  const alarming = countLines(world) - linesBefore;
  const survived = (await look(eyes)) !== null;
  await rm(ballast);
  progress.say('there is room again');
  if (!survived) await database.start();
  await submitted;
  await lookUntil(
    eyes,
    (seen) => seen.orders >= wishes.orders && seen.jobs === 0 && seen.watches === 0,
    LIMIT_MS,
  );
  const endedAfter = (await look(eyes))?.ended ?? 0;
  await Promise.all(world.daemons.map((daemon) => daemon.terminate()));
  const checked = await checkEverything(world, eyes.db(), {
    plan,
    submissions,
    refunds: createRefundSubmissions(),
    payouts: createPayoutSubmissions(),
  });
  const result = {
    scenario: 'full-disk' as const,
    seed: wishes.seed,
    orders: wishes.orders,
    ended_before: endedBefore,
    ended_after_room: endedAfter,
    in_hand_when_full: inHand,
    postgres_survived: survived,
    lost: checked.lost,
    charged_twice: checked.chargedTwice,
    unexplained: checked.unexplained,
    imbalance: checked.imbalance,
    wallet_differences: checked.walletDifferences,
    replay_differences: checked.replayDifferences,
    alarming_lines: alarming,
    most_lines_in_a_second: mostInASecond,
    command_exit_code: command.code,
    command_said: command.said,
    daemons_that_ended: world.unexpectedEnds.length,
    log: log.counts(),
  };
  const wrong = [...checked.names, ...wrongOf(result)];
  return { ...result, ok: wrong.length === 0, wrong };
}

/** Nobody is killed here, and no order waits for a customer to answer. */
function withoutCustomers(wave: WavePlan): WavePlan {
  const payments = wave.payments.map((payment) => ({
    ...payment,
    orders: payment.orders.map((order) => ({
      ...order,
      method: methodAt(accountOf(order), 'pm_card_visa'),
      customerPresent: false,
    })),
  }));
  return { ...wave, payments, submitterKills: [] };
}

/** A daemon may say so many alarming things in one second while its database has no room. */
const MAX_LINES_PER_SECOND = 20;

function wrongOf(result: Omit<FullDiskResult, 'ok' | 'wrong'>): readonly string[] {
  const checks: readonly (readonly [boolean, string])[] = [
    [result.ended_before < result.orders, 'everything had ended before the disk was full'],
    [result.ended_after_room === result.orders, 'not every order ended when there was room again'],
    [result.daemons_that_ended === 0, 'a daemon ended'],
    [result.command_exit_code === 3, `the command ended with ${result.command_exit_code}`],
    [result.alarming_lines > 0, 'nobody said that the disk is full'],
    [result.most_lines_in_a_second <= MAX_LINES_PER_SECOND, 'the log is not bounded'],
  ];
  return checks.filter(([holds]) => !holds).map(([, what]) => what);
}

/** Fills the file system to the last block; the file that does. */
async function fillDisk(disk: string): Promise<string> {
  const path = join(disk, 'ballast');
  const file = await open(path, 'w');
  try {
    for (let size = CHUNK.length; size >= 1; ) {
      // What others free meanwhile is taken too.
      const { bytesWritten } = await file.write(CHUNK.subarray(0, size)).catch(() => ({ bytesWritten: 0 }));
      if (bytesWritten < size) size >>= 1;
    }
  } finally {
    await file.close();
  }
  return path;
}

function countLines({ log }: World): number {
  return Object.entries(log.counts()).reduce(
    (sum, [message, lines]) => sum + (message.includes('given its file again') ? 0 : lines),
    0,
  );
}

function watchRate(world: World): { stop(): number } {
  let last = countLines(world);
  let most = 0;
  const timer = setInterval(() => {
    const now = countLines(world);
    most = Math.max(most, now - last);
    last = now;
  }, 1_000);
  return {
    stop: () => {
      clearInterval(timer);
      return most;
    },
  };
}

/** What a person at a terminal gets who submits a payment now. */
function runCommand(world: World): Promise<{ code: number | null; said: string }> {
  const { configPath, env } = world.command;
  const payment = { checkout: 'full-disk-1', buyer: 'buyer-1', seller: 'market-hall', amount: '1.00' };
  const flags = Object.entries({ ...payment, currency: 'EUR', method: 'pm_card_visa' });
  const args = [
    ...[COMMAND, '--config', configPath, 'payments', 'submit'],
    ...flags.flatMap(([name, value]) => [`--${name}`, value]),
    ...['--confirm', '1.00EUR'],
  ];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env, PAYGATE_DATABASE_URL: urlOf(world.database.app) },
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = `${said}${chunk.toString()}`.slice(-1_000);
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
  return new Promise((resolve) => {
    child.once('exit', (code) => {
      clearTimeout(timer);
      resolve({ code, said: said.trim() });
    });
  });
}
