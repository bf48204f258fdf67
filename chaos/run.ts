/**
 * One chaos run: submits in waves, kills once per wave, calms everything down, waits until nothing moves any
 * more, and has the books checked against the sandbox's truth.
 */
import { type Census, inFlightOf, look, lookUntil } from './census.ts';
import { type Checked, checkEverything } from './check.ts';
import { type Eyes, openEyes } from './database.ts';
import { type Killed, killPart } from './kill.ts';
import { createPayoutSubmissions, type PayoutSubmissions, payoutWave } from './payouts.ts';
import { type KillPlan, makePlan, type Plan, planKill, type WavePlan } from './plan.ts';
import { pause } from './processes.ts';
import type { Progress } from './progress.ts';
import { createRandom, type Random } from './random.ts';
import { createRefundSubmissions, type RefundSubmissions, refundWave } from './refunds.ts';
import { falsifyTruth, sabotage } from './sabotage.ts';
import { createSubmissions, type Submissions, submitWave } from './submit.ts';
import { type World, withWorld } from './world.ts';

/** Calls in flight at once per daemon: few, so that the work lasts while the killing goes on. */
const MAX_CONCURRENT = 8;
/** The daemons' PSP time-out for the run (ms): sandbox hangs outlast it. */
const PSP_TIMEOUT_MS = 2_000;
/** A wave would keep the daemons busy for about this long (ms), were there no faults and no kills. */
const WAVE_MS = 2_500;
const MIN_LATENCY_MS = 50;
const MAX_LATENCY_MS = 1_000;
/** Before a wave the ones before it should have ended, so that all of them are killed at; but not longer (ms). */
const BACKLOG_LIMIT_MS = 9_000;
/** Kills that met nothing in flight are made up for at most so often. */
const MAX_EXTRA_KILLS = 20;
/** Everything must have ended or come to rest within this time after the last kill (ms). */
const SETTLE_LIMIT_MS = 300_000;
/** Nothing moves any more: no event for longer than the longest pause between two tries, 60 s (ms). */
const QUIET_MS = 75_000;

export type RunWishes = {
  readonly seed: number;
  readonly orders: number;
  readonly kills: number;
  readonly daemons: number;
  readonly truth: 'kept' | 'falsified';
  readonly logFolder: string | null;
};

export type RunResult = {
  readonly plan: Plan;
  readonly kills: readonly Killed[];
  readonly submissions: Submissions;
  readonly refunds: RefundSubmissions;
  readonly payouts: PayoutSubmissions;
  readonly checked: Checked;
  readonly settling: Settling;
  readonly keys: { readonly seenAgain: number; readonly faultedOnce: number; readonly faultedAgain: number };
  readonly logCounts: Readonly<Record<string, number>>;
  readonly alarms: readonly string[];
  readonly unexpectedEnds: readonly string[];
  readonly uncleanStops: number;
  readonly durationS: number;
};

type Settling = {
  /** Orders that had ended when the faults were turned off. */
  readonly endedBefore: number;
  readonly end: 'queue_empty' | 'nothing_moves' | 'limit';
  readonly seconds: number;
  readonly jobsLeft: number;
};

export async function runChaos(wishes: RunWishes, progress: Progress): Promise<RunResult> {
  const plan = makePlan(wishes);
  const startedAt = performance.now();
  progress.say(`seed ${plan.seed}: starting Postgres, sandbox and ${wishes.daemons} daemons`);
  const worldWishes = {
    ...wishes,
    latencyMs: latencyOf(wishes, plan),
    faults: 'on' as const,
    maxConcurrent: MAX_CONCURRENT,
    pspTimeoutMs: PSP_TIMEOUT_MS,
    releaseAfterDays: plan.releaseAfterDays,
  };
  return withWorld(worldWishes, async (world) => {
    const eyes = openEyes(world.database.owner);
    const stopWatching = watch(eyes, progress, world);
    try {
      const submissions = createSubmissions();
      const refunds = createRefundSubmissions();
      const payouts = createPayoutSubmissions();
      const kills = await killAndSubmit(world, eyes, plan, submissions, refunds, payouts, progress);
      const settling = await settle(world, eyes, progress);
      const keys = await countKeys(world);
      const uncleanStops = await stopDaemons(world, progress);
      if (wishes.truth === 'falsified') await falsifyTruth(world);
      progress.say('checking the books against the truth of the sandbox');
      const checked = await checkEverything(world, eyes.db(), {
        plan,
        submissions,
        refundSubmissions: refunds,
        payoutNames: payouts.names,
        jobsMayBeLeft: settling.jobsLeft > 0,
      });
      const { log, unexpectedEnds } = world;
      const durationS = Math.round((performance.now() - startedAt) / 1000);
      return {
        plan,
        kills,
        submissions,
        refunds,
        payouts,
        checked,
        settling,
        keys,
        logCounts: log.counts(),
        alarms: log.alarms(),
        unexpectedEnds: [...unexpectedEnds],
        uncleanStops,
        durationS,
      };
    } finally {
      stopWatching();
      await eyes.close();
    }
  });
}

/** How slow the sandbox must be for a wave to last: all slots of all daemons busy for {@link WAVE_MS}. */
function latencyOf(wishes: RunWishes, plan: Plan): number {
  const perWave = Math.max(1, wishes.orders / plan.waves.length);
  const latencyMs = (WAVE_MS * wishes.daemons * MAX_CONCURRENT) / perWave;
  return Math.round(Math.min(Math.max(latencyMs, MIN_LATENCY_MS), MAX_LATENCY_MS));
}

function watch(eyes: Eyes, progress: Progress, world: World): () => void {
  let last: Census | null = null;
  let stopped = false;
  const loop = async (): Promise<void> => {
    while (!stopped) {
      last = await look(eyes);
      if (stopped) return;
      const pids = world.daemons.map((daemon) => daemon.pid());
      progress.status(
        last === null
          ? 'database away'
          : `${last.orders} accepted, ${last.ended} ended, ${inFlightOf(last, pids)} in flight, ${last.jobs} jobs`,
      );
      await pause(1_000);
    }
  };
  void loop();
  return () => {
    stopped = true;
  };
}

async function killAndSubmit(
  world: World,
  eyes: Eyes,
  plan: Plan,
  submissions: Submissions,
  refunds: RefundSubmissions,
  payouts: PayoutSubmissions,
  progress: Progress,
): Promise<readonly Killed[]> {
  const { folder, document, database, mark, log } = world;
  const context = {
    folder,
    document,
    connection: database.app,
    mark,
    log,
    submissions,
    refunds,
    payouts,
    eyes,
  };
  const random = createRandom(plan.seed ^ 0x5eed);
  const waves: Promise<void>[] = [];
  const kills: Killed[] = [];
  const startWave = (wave: WavePlan): void => {
    waves.push(submitWave(context, wave), refundWave(context, wave, createRandom(plan.seed + wave.number)));
    // What is pending until tomorrow cannot be paid out today.
    if (plan.releaseAfterDays === 0)
      waves.push(payoutWave(context, wave, createRandom(plan.seed ^ wave.number)));
    void sabotage(world, eyes, wave, random).catch((error: unknown) => log.note('saboteur', String(error)));
  };
  const queue: KillPlan[] = [...plan.kills];
  let extra = 0;
  for (let number = 0; number < queue.length || number < plan.waves.length; number += 1) {
    const wave = plan.waves[number];
    const few = plan.orders / plan.waves.length / 2;
    if (number > 0) await lookUntil(eyes, (seen) => seen.jobs <= few, BACKLOG_LIMIT_MS);
    if (wave !== undefined) startWave(wave);
    const planned = queue[number];
    if (planned === undefined) continue;
    const killed = await killOnce(world, eyes, planned, progress);
    kills.push(killed);
    if (killed.inFlight === 0 && extra < MAX_EXTRA_KILLS) {
      extra += 1;
      queue.push(planKill(random, planned.kind));
    }
  }
  await Promise.all([...waves, ...kills.map((killed) => killed.done)]);
  return kills;
}

async function killOnce(world: World, eyes: Eyes, plan: KillPlan, progress: Progress): Promise<Killed> {
  await pause(plan.afterMs);
  const killed = await killPart(world, eyes, plan);
  progress.kill(killed);
  if (killed.note !== null) world.log.note('kill', killed.note);
  await pause(plan.restMs);
  return killed;
}

/** Faults off, customers answer, and everybody works until the queue is empty or nothing moves any more. */
async function settle(world: World, eyes: Eyes, progress: Progress): Promise<Settling> {
  progress.say('faults off; waiting until nothing moves any more');
  const endedBefore = (await look(eyes))?.ended ?? 0;
  await world.sandbox.calmDown();
  const random = createRandom(1);
  const startedAt = performance.now();
  let moved = { event: -1n, at: startedAt };
  for (;;) {
    await answerChallenges(world, random);
    const census = await look(eyes);
    const now = performance.now();
    const seconds = Math.round((now - startedAt) / 1000);
    if (census !== null) {
      if (census.jobs === 0 && census.watches === 0)
        return { end: 'queue_empty', endedBefore, seconds, jobsLeft: 0 };
      if (census.lastEvent !== moved.event) moved = { event: census.lastEvent, at: now };
    }
    const jobsLeft = census?.jobs ?? -1;
    if (now - moved.at > QUIET_MS) return { end: 'nothing_moves', endedBefore, seconds, jobsLeft };
    if (now - startedAt > SETTLE_LIMIT_MS) return { end: 'limit', endedBefore, seconds, jobsLeft };
    await pause(1_000);
  }
}

/** The customers who were asked to authenticate do so; one in four fails. */
async function answerChallenges(world: World, random: Random): Promise<void> {
  for (const intent of await world.sandbox.truth()) {
    if (intent.status !== 'requires_action') continue;
    const result = random.chance(0.75) ? 'succeeded' : 'failed';
    await world.sandbox.post(`payment_intents/${intent.id}/authenticate`, { result });
  }
}

async function countKeys(world: World): Promise<RunResult['keys']> {
  const keys = await world.sandbox.keys();
  return {
    seenAgain: keys.filter((key) => key.seen > 1).length,
    faultedOnce: keys.filter((key) => key.faults > 0).length,
    faultedAgain: keys.filter((key) => key.faults > 1).length,
  };
}

/** Before the books are read: a daemon that has nothing to do ends well when asked. */
async function stopDaemons(world: World, progress: Progress): Promise<number> {
  progress.say('stopping the daemons');
  const endings = await Promise.all(world.daemons.map((daemon) => daemon.terminate()));
  return endings.filter((ending) => ending === 'unclean').length;
}
