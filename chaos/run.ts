/**
 * One chaos run: submits in waves, kills once per wave, calms everything down, waits until nothing moves any
 * more, and has the books checked against the sandbox's truth.
 */
import { type Census, inFlightOf, look, lookUntil } from './census.ts';
import { type Checked, checkEverything } from './check.ts';
import { type Eyes, openEyes } from './database.ts';
import { type Deliveries, startDeliveries } from './deliveries.ts';
import { type Killed, killPart } from './kill.ts';
import { undoSome } from './misfortune.ts';
import { createPayoutSubmissions, type PayoutSubmissions, payoutWave } from './payouts.ts';
import { createPeople, type People, type PeopleContext, replayWave } from './people.ts';
import { type KillPlan, makePlan, type Plan, planKill, type WavePlan } from './plan.ts';
import { pause } from './processes.ts';
import type { Progress } from './progress.ts';
import { createRandom, type Random } from './random.ts';
import { createRefundSubmissions, type RefundSubmissions, refundWave } from './refunds.ts';
import { falsifyTruth, sabotage } from './sabotage.ts';
import { type Settling, settle } from './settle.ts';
import { createSubmissions, type Submissions, type SubmitContext, submitWave } from './submit.ts';
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
/** The same where the machine is slow: a backlog of so many waves is waited for, as long as it moves at all (ms). */
const LONG_BACKLOG_WAVES = 3;
const LONG_BACKLOG_LIMIT_MS = 300_000;
/** Kills that met nothing in flight are made up for at most so often, or as often as there are kills. */
const MAX_EXTRA_KILLS = 20;
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
  readonly people: People;
  /** What became of the PSPs' own messages. */
  readonly webhooks: {
    readonly lost: number;
    readonly answers: Readonly<Record<string, number>>;
    readonly adyen: Deliveries['counts'];
  };
  readonly checked: Checked;
  readonly settling: Settling;
  readonly keys: { readonly seenAgain: number; readonly faultedOnce: number; readonly faultedAgain: number };
  readonly logCounts: Readonly<Record<string, number>>;
  readonly alarms: readonly string[];
  readonly unexpectedEnds: readonly string[];
  readonly uncleanStops: number;
  readonly durationS: number;
};

export async function runChaos(wishes: RunWishes, progress: Progress): Promise<RunResult> {
  const plan = makePlan(wishes);
  const startedAt = performance.now();
  progress.say(`seed ${plan.seed}: starting Postgres, sandbox and ${wishes.daemons} daemons`);
  const worldWishes = {
    ...wishes,
    latencyMs: latencyOf(wishes, plan),
    faults: 'on' as const,
    dataFolder: null,
    maxConcurrent: MAX_CONCURRENT,
    pspTimeoutMs: PSP_TIMEOUT_MS,
  };
  return withWorld(worldWishes, async (world) => {
    const eyes = openEyes(world.database.owner);
    const stopWatching = watch(eyes, progress, world);
    const random = createRandom(plan.seed ^ 0xadd);
    const deliveries = startDeliveries(world.sandbox, world.relay.url, random);
    try {
      const made = openSubmissions(world, eyes);
      const kills = await killAndSubmit(world, made, plan, progress);
      const settling = await settle(world, made, deliveries, progress);
      const keys = await countKeys(world);
      await deliveries.stop();
      const { lost } = await world.sandbox.deliveries();
      const uncleanStops = await stopDaemons(world, progress);
      if (wishes.truth === 'falsified') await falsifyTruth(world);
      progress.say('checking the books against the truth of the sandbox');
      const checked = await checkEverything(world, eyes.db(), { plan, ...made });
      const { log, unexpectedEnds } = world;
      const durationS = Math.round((performance.now() - startedAt) / 1000);
      return {
        ...made,
        plan,
        kills,
        checked,
        settling,
        keys,
        webhooks: {
          lost: lost + deliveries.counts.lost!,
          answers: world.relay.counts(),
          adyen: deliveries.counts,
        },
        logCounts: log.counts(),
        alarms: log.alarms(),
        unexpectedEnds: [...unexpectedEnds],
        uncleanStops,
        durationS,
      };
    } finally {
      stopWatching();
      await deliveries.stop();
      await eyes.close();
    }
  });
}

/** What the run asks for, and how it was answered; with all that those who ask need. */
type Made = SubmitContext &
  PeopleContext & {
    readonly payouts: PayoutSubmissions;
    /** Refunds of Adyen's that were in danger of failing after all. */
    readonly spared: Set<string>;
  };

function openSubmissions({ folder, document, database, mark, log }: World, eyes: Eyes): Made {
  return {
    folder,
    document,
    connection: database.app,
    mark,
    log,
    eyes,
    submissions: createSubmissions(),
    refunds: createRefundSubmissions(),
    payouts: createPayoutSubmissions(),
    people: createPeople(),
    spared: new Set(),
  };
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
  made: Made,
  plan: Plan,
  progress: Progress,
): Promise<readonly Killed[]> {
  const { eyes } = made;
  const random = createRandom(plan.seed ^ 0x5eed);
  const waves: Promise<void>[] = [];
  let openWaves = 0;
  const kills: Killed[] = [];
  const startWave = (wave: WavePlan): void => {
    const own = (salt: number): Random => createRandom((plan.seed ^ salt) + wave.number);
    const work = [
      submitWave(made, wave),
      refundWave(made, wave, own(0)),
      payoutWave(made, wave, own(0xa)),
      replayWave(made, wave, own(0xb)),
    ];
    openWaves += 1;
    const whole = Promise.all(work).then(() => {
      openWaves -= 1;
    });
    // Awaited at the end; until then a failure is not nobody's.
    whole.catch(() => undefined);
    waves.push(whole);
    const trouble = [sabotage(world, eyes, wave, random), undoSome(world, own(0xc), made.spared)];
    for (const one of trouble) void one.catch((error: unknown) => world.log.note('saboteur', String(error)));
  };
  const queue: KillPlan[] = [...plan.kills];
  const mostExtra = Math.max(MAX_EXTRA_KILLS, plan.kills.length);
  let extra = 0;
  for (let number = 0; number < queue.length || number < plan.waves.length; number += 1) {
    const wave = plan.waves[number];
    const few = plan.orders / plan.waves.length / 2;
    if (number > 0) await lookUntil(eyes, (seen) => seen.jobs <= few, BACKLOG_LIMIT_MS);
    const deadline = performance.now() + LONG_BACKLOG_LIMIT_MS;
    while (openWaves > LONG_BACKLOG_WAVES && performance.now() < deadline) await pause(500);
    await lookUntil(eyes, (seen) => seen.jobs <= 2 * few * LONG_BACKLOG_WAVES, LONG_BACKLOG_LIMIT_MS);
    if (wave !== undefined) startWave(wave);
    const planned = queue[number];
    if (planned === undefined) continue;
    const killed = await killOnce(world, eyes, planned, progress);
    kills.push(killed);
    if (killed.inFlight === 0 && extra < mostExtra) {
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
