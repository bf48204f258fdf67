/**
 * The named scenario: a daemon with orders in flight is stopped for longer than its lease, another one rescues
 * them, and the first goes on. Half of them the other one has settled by then; half it still has in hand (the
 * sandbox is slow to answer it). The first must settle none of either; its late replies must be kept; and the
 * sandbox must have taken the money once.
 */
import type { Db } from '../src/core/db/connection.ts';
import { list } from '../src/core/db/connection.ts';
import { inFlightOf, lookUntil } from './census.ts';
import { type Eyes, openEyes } from './database.ts';
import { makePlan, type WavePlan } from './plan.ts';
import { pause } from './processes.ts';
import type { Progress } from './progress.ts';
import { createSubmissions, submitWave } from './submit.ts';
import { type World, withWorld } from './world.ts';

const ORDERS = 40;
/** Long enough to be stopped in the middle of a call, and far below the PSP time-out (ms). */
const LATENCY_MS = 1_500;
/** So long that a reply waiting in a stopped daemon's socket is still read afterwards (ms). */
const PSP_TIMEOUT_MS = 60_000;
/** How long the sandbox keeps the rescuer waiting for the contested half (ms). */
const CONTESTED_MS = 25_000;
/** Another daemon may rescue only when it has been steady for a whole lease of 6 s (ms). */
const STEADY_MS = 7_500;
const LIMIT_MS = 60_000;

export type SigstopResult = {
  readonly scenario: 'sigstop';
  readonly seed: number;
  readonly ok: boolean;
  /** Orders the stopped daemon had in flight. */
  readonly held: number;
  readonly rescued: number;
  readonly settled_by_others: number;
  /** Still in the rescuer's hands when the stopped one went on. */
  readonly contested: number;
  /** Of these, still open after the stopped one had told what it knew. */
  readonly contested_left_alone: number;
  readonly settled_by_the_stopped: number;
  readonly late_replies_kept: number;
  readonly late_replies_that_succeeded: number;
  readonly charged_once: number;
  readonly charged_twice: number;
  readonly not_charged: number;
  readonly entries: number;
  readonly stopped_s: number;
  readonly wrong: readonly string[];
};

export async function runSigstop(
  wishes: { readonly seed: number; readonly logFolder: string | null },
  progress: Progress,
): Promise<SigstopResult> {
  const worldWishes = {
    ...wishes,
    daemons: 2,
    latencyMs: LATENCY_MS,
    faults: 'off' as const,
    dataFolder: null,
    maxConcurrent: ORDERS / 4,
    pspTimeoutMs: PSP_TIMEOUT_MS,
  };
  return withWorld(worldWishes, async (world) => {
    const eyes = openEyes(world.database.owner);
    try {
      return await play(world, eyes, wishes.seed, progress);
    } finally {
      await eyes.close();
    }
  });
}

async function play(world: World, eyes: Eyes, seed: number, progress: Progress): Promise<SigstopResult> {
  const db = eyes.db();
  const [stopped] = world.daemons;
  if (stopped === undefined) throw new Error('there is no daemon');
  progress.say('waiting until both daemons are steady');
  await pause(STEADY_MS);
  const submissions = createSubmissions();
  const { folder, document, database, mark, log } = world;
  const wave = planWave(seed);
  const submitted = submitWave({ folder, document, connection: database.app, mark, log, submissions }, wave);

  const pid = stopped.pid();
  const census = await lookUntil(eyes, (seen) => inFlightOf(seen, [pid]) >= ORDERS / 8, LIMIT_MS);
  if (census === null) throw new Error('the daemon never had enough orders in flight');
  // The sandbox has the requests, and answers while the daemon is stopped.
  await pause(LATENCY_MS / 3);
  const stoppedAt = performance.now();
  stopped.stop();
  const held = await listHeld(db, pid);
  const contested = held.filter((_, i) => i % 2 === 0);
  await slowDown(world, db, contested);
  progress.say(`stopped a daemon with ${held.length} orders in flight`);
  await submitted;
  const uncontested = held.filter((_, i) => i % 2 === 1);
  const settledByOthers = await waitUntilEnded(db, uncontested, uncontested.length);
  await waitUntilClaimed(db, contested);
  const stoppedS = Math.round((performance.now() - stoppedAt) / 100) / 10;
  stopped.go();
  progress.say('it goes on');
  await waitForLateReplies(db, held);
  const leftAlone = contested.length - (await countEnded(db, contested));
  await lookUntil(eyes, (seen) => seen.jobs === 0, LIMIT_MS);
  const counts = { contested: contested.length, leftAlone, settledByOthers };
  return judge(world, db, { seed, held, ...counts, stoppedS, pid });
}

/** One file of orders that all succeed, so that every one of them is charged. */
function planWave(seed: number): WavePlan {
  const [wave] = makePlan({ seed, orders: ORDERS, kills: 1 }).waves;
  if (wave === undefined) throw new Error('the plan has no wave');
  const payments = wave.payments.map((payment) => ({
    ...payment,
    buyer: 'buyer-1',
    orders: payment.orders.map((order) => ({ ...order, ...AT_STRIPE, customerPresent: false })),
  }));
  return { ...wave, payments, mode: 'once', submitterKills: [], burst: 'none', releaseAfterDays: 0 };
}

/** One PSP account is enough to see what the lease does. */
const AT_STRIPE = {
  seller: 'market-hall',
  currency: 'EUR',
  amount: '10.00',
  method: 'pm_card_visa',
} as const;

/** The next request for each of these, which is the rescuer's, gets its answer only after a long time. */
async function slowDown(world: World, db: Db, jobs: readonly Held[]): Promise<void> {
  const keys = await db.sql<{ key: string }[]>`
    select idempotency_key as key from ${db.t.attempt} where operation_id = any(${idsOf(jobs)}::bigint[])`;
  for (const { key } of keys) {
    const sequence = [{ fault: 'slow', ms: CONTESTED_MS }];
    await world.sandbox.post('faults', { match: { key }, sequence });
  }
}

type Held = { readonly operationId: bigint; readonly fence: number };

async function listHeld(db: Db, pid: number): Promise<readonly Held[]> {
  return db.sql<Held[]>`
    select j.operation_id, j.fence
      from ${db.t.job} j
      join ${db.t.daemon} d on d.id = j.daemon_id
     where j.state = 'leased'
       and d.name like ${`%/${pid}`}
     order by j.operation_id`;
}

function idsOf(jobs: readonly Held[]): string {
  return list(jobs.map((job) => job.operationId));
}

async function countEnded(db: Db, jobs: readonly Held[]): Promise<number> {
  const [row] = await db.sql<{ ended: number }[]>`
    select count(*)::integer as ended
      from ${db.t.attempt}
     where operation_id = any(${idsOf(jobs)}::bigint[])
       and not is_open`;
  return row?.ended ?? 0;
}

async function waitUntilEnded(db: Db, jobs: readonly Held[], wanted: number): Promise<number> {
  const deadline = performance.now() + LIMIT_MS;
  for (;;) {
    const ended = await countEnded(db, jobs);
    if (ended >= wanted || performance.now() > deadline) return ended;
    await pause(200);
  }
}

/** Another daemon has each of them in hand: leased again, under a higher fence. */
async function waitUntilClaimed(db: Db, jobs: readonly Held[]): Promise<void> {
  const deadline = performance.now() + LIMIT_MS;
  for (;;) {
    const [row] = await db.sql<{ claimed: number }[]>`
      select count(*)::integer as claimed
        from unnest(${idsOf(jobs)}::bigint[], ${list(jobs.map((job) => job.fence))}::integer[])
             as h (operation_id, fence)
        join ${db.t.job} j on j.operation_id = h.operation_id
       where j.state = 'leased'
         and j.fence > h.fence`;
    if (row?.claimed === jobs.length || performance.now() > deadline) return;
    await pause(200);
  }
}

async function waitForLateReplies(db: Db, held: readonly Held[]): Promise<void> {
  const deadline = performance.now() + 15_000;
  while ((await countLate(db, held)).kept < held.length && performance.now() < deadline) await pause(200);
}

async function countLate(db: Db, held: readonly Held[]): Promise<{ kept: number; succeeded: number }> {
  const [row] = await db.sql<{ kept: number; succeeded: number }[]>`
    select count(*)::integer as kept, count(*) filter (where e.kind = 'succeeded')::integer as succeeded
      from unnest(${list(held.map((job) => job.operationId))}::bigint[],
                  ${list(held.map((job) => job.fence))}::integer[]) as h (operation_id, fence)
      join ${db.t.evidence} e on e.operation_id = h.operation_id and e.fence = h.fence and e.source = 'late_reply'`;
  return row!;
}

type Played = {
  readonly seed: number;
  readonly held: readonly Held[];
  readonly settledByOthers: number;
  readonly contested: number;
  readonly leftAlone: number;
  readonly stoppedS: number;
  readonly pid: number;
};

async function judge(world: World, db: Db, played: Played): Promise<SigstopResult> {
  const { held, pid } = played;
  const ids = idsOf(held);
  const { t } = db;
  const [counts] = await db.sql<{ rescued: number; settledByTheStopped: number; entries: number }[]>`
    select (select count(distinct data->>'operation') from ${t.event}
             where kind = 'job_rescued' and (data->>'operation')::bigint = any(${ids}::bigint[]))::integer as rescued,
           (select count(*) from ${t.event}
             where kind = 'operation_evidence' and (data->>'operation')::bigint = any(${ids}::bigint[])
               and json_typeof(data->'operation_row') = 'object' and principal like ${`%/${pid}`})::integer
             as settled_by_the_stopped,
           (select count(*) from ${t.journalEntry}
             where cause in (select 'op_' || id from unnest(${ids}::bigint[]) as h (id)))::integer as entries`;
  const late = await countLate(db, held);
  const charges = await countCharges(world, db, ids);
  const result = {
    scenario: 'sigstop' as const,
    seed: played.seed,
    held: held.length,
    rescued: counts!.rescued,
    settled_by_others: played.settledByOthers,
    contested: played.contested,
    contested_left_alone: played.leftAlone,
    settled_by_the_stopped: counts!.settledByTheStopped,
    late_replies_kept: late.kept,
    late_replies_that_succeeded: late.succeeded,
    charged_once: charges.once,
    charged_twice: charges.twice,
    not_charged: charges.never,
    entries: counts!.entries,
    stopped_s: played.stoppedS,
  };
  const wrong = [
    held.length === 0 ? 'nothing was in flight' : null,
    result.rescued === held.length ? null : 'not every order was rescued',
    result.settled_by_others + result.contested === held.length
      ? null
      : 'not every order was settled by the other daemon',
    result.contested_left_alone === result.contested
      ? null
      : 'the stopped daemon ended what another had in hand',
    result.charged_once === held.length ? null : 'not every order was charged',
    result.settled_by_the_stopped === 0 ? null : 'the stopped daemon settled an order',
    result.late_replies_kept === held.length ? null : 'not every late reply was kept',
    result.charged_twice === 0 ? null : 'an order was charged twice',
    result.entries === result.charged_once ? null : 'entries differ from charges',
  ].filter((line) => line !== null);
  return { ...result, ok: wrong.length === 0, wrong };
}

/** How often the sandbox took the money of each order; declined ones never. */
async function countCharges(
  world: World,
  db: Db,
  ids: string,
): Promise<{ once: number; twice: number; never: number }> {
  const orders = await db.sql<{ name: string }[]>`
    select 'ord_' || payment_order_id as name from ${db.t.operation} where id = any(${ids}::bigint[])`;
  const intents = (await world.sandbox.truth()).filter((intent) => intent.status === 'succeeded');
  const counts = { once: 0, twice: 0, never: 0 };
  for (const { name } of orders) {
    const charged = intents.filter((intent) => intent.metadata.paygate_order === name).length;
    if (charged === 0) counts.never += 1;
    else if (charged === 1) counts.once += 1;
    else counts.twice += 1;
  }
  return counts;
}
