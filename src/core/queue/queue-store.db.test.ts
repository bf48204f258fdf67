import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  claim,
  claimOne,
  lapse,
  makeDue,
  makeSteady,
  openTestBook,
  paymentRequest,
  type QueuedCharge,
  queueCharge,
  queueCharges,
  REPLY,
  record,
  setFirstSentBack,
  standingOf,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
  untilBlocked,
} from '../../testing/fixtures.ts';
import { transact } from '../db/connection.ts';
import { rescueOperations } from '../operation/rescue-operations.ts';
import { laneOf, MAX_RESCUES } from './job.ts';
import {
  buryHeldJobs,
  claimJobs,
  countLanes,
  endHeldJobs,
  type Hold,
  insertJobs,
  type LanePlace,
  nextDueInMs,
  openDeadLetters,
  rescheduleHeldJobs,
} from './queue-store.ts';
import {
  beat,
  buryPoisonJobs,
  listLiveDaemons,
  mayRescue,
  type RescuedJob,
  stopDaemon,
  takeBackJobs,
} from './rescue-store.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

/** One leased job with the fence that its holder has. */
async function leasedJob(): Promise<{ daemon: TestDaemon; lane: string; account: string; hold: Hold }> {
  const account = uniqueName('acct');
  const daemon = await startTestDaemon(book.db);
  await queueCharge(book.db, account);
  const { job } = await claimOne(daemon, account);
  const hold = { operationId: job.operationId, fence: job.fence };
  return { daemon, account, lane: laneOf(account, 'online'), hold };
}

async function jobRow(operationId: bigint): Promise<{ runAt: string }> {
  const [row] = await book.owner.sql<
    { runAt: string }[]
  >`select * from ${book.owner.t.job} where operation_id = ${operationId}`;
  return row!;
}

async function letters(operationId: bigint): Promise<readonly string[]> {
  const rows = await book.owner.sql<{ code: string }[]>`
    select code from ${book.owner.t.deadLetter} where operation_id = ${operationId} order by id`;
  return rows.map((row) => row.code);
}

const again = (hold: Hold) => ({ ...hold, action: 'enquire' as const, delayMs: 0, burned: 3, waits: 4 });
const letter = (hold: Hold) => ({ ...hold, attemptNumber: 1, code: 'rejected', reason: 'test' });
const poisonOf = (hold: Hold): RescuedJob => ({
  ...hold,
  attemptNumber: 1,
  action: 'send',
  rescues: MAX_RESCUES + 1,
  lane: 'any/online',
  sends: 1,
  firstSentAt: null,
  lastSentAt: null,
});

describe('the fence', () => {
  test.each([
    ['of yesterday', -1],
    ['of tomorrow', +1],
  ])('a fence %s cannot end a job', async (_, by) => {
    const { hold } = await leasedJob();
    const before = await jobRow(hold.operationId);
    const stale = { ...hold, fence: hold.fence + by };
    expect(await transact(book.db, (tx) => endHeldJobs(tx, [stale]))).toEqual([]);
    expect(await jobRow(hold.operationId)).toEqual(before);
    expect(await transact(book.db, (tx) => endHeldJobs(tx, [hold]))).toEqual([hold.operationId]);
    expect(await jobRow(hold.operationId)).toBeUndefined();
  });

  test.each([
    ['of yesterday', -1],
    ['of tomorrow', +1],
  ])('a fence %s cannot give a job back for a later try', async (_, by) => {
    const { hold } = await leasedJob();
    const before = await jobRow(hold.operationId);
    const stale = { ...hold, fence: hold.fence + by };
    expect(await transact(book.db, (tx) => rescheduleHeldJobs(tx, [again(stale)]))).toEqual([]);
    expect(await jobRow(hold.operationId)).toEqual(before);
    expect(await transact(book.db, (tx) => rescheduleHeldJobs(tx, [again(hold)]))).toEqual([
      hold.operationId,
    ]);
    expect(await jobRow(hold.operationId)).toMatchObject({
      state: 'ready',
      daemonId: null,
      fence: hold.fence + 1,
      action: 'enquire',
      burned: 3,
      waits: 4,
    });
  });

  test.each([
    ['of yesterday', -1],
    ['of tomorrow', +1],
  ])('a fence %s cannot make a dead letter', async (_, by) => {
    const { hold } = await leasedJob();
    const before = await jobRow(hold.operationId);
    const stale = { ...hold, fence: hold.fence + by };
    expect(await transact(book.db, (tx) => buryHeldJobs(tx, [letter(stale)]))).toEqual([]);
    expect(await jobRow(hold.operationId)).toEqual(before);
    expect(await letters(hold.operationId)).toEqual([]);
    expect(await transact(book.db, (tx) => buryHeldJobs(tx, [letter(hold)]))).toEqual([hold.operationId]);
    expect(await jobRow(hold.operationId)).toBeUndefined();
    expect(await letters(hold.operationId)).toEqual(['rejected']);
  });

  test.each([
    ['of yesterday', -1],
    ['of tomorrow', +1],
  ])('a fence %s cannot bury a poison job', async (_, by) => {
    const { hold } = await leasedJob();
    await transact(book.db, (tx) => rescheduleHeldJobs(tx, [again(hold)]));
    const ready = { ...hold, fence: hold.fence + 1 };
    const before = await jobRow(hold.operationId);
    const stale = poisonOf({ ...ready, fence: ready.fence + by });
    expect(await transact(book.db, (tx) => buryPoisonJobs(tx, [stale]))).toEqual([]);
    expect(await jobRow(hold.operationId)).toEqual(before);
    expect(await letters(hold.operationId)).toEqual([]);
    expect(await transact(book.db, (tx) => buryPoisonJobs(tx, [poisonOf(ready)]))).toEqual([
      hold.operationId,
    ]);
    expect(await letters(hold.operationId)).toEqual(['rescued_too_often']);
  });

  test.each([
    ['of yesterday', -1],
    ['of tomorrow', +1],
  ])('a fence %s cannot take a job back from its holder', async (_, by) => {
    const { hold } = await leasedJob();
    const before = await jobRow(hold.operationId);
    const stale = { ...hold, fence: hold.fence + by };
    expect(await transact(book.db, (tx) => takeBackJobs(tx, [stale]))).toEqual([]);
    expect(await jobRow(hold.operationId)).toEqual(before);
    const taken = await transact(book.db, (tx) => takeBackJobs(tx, [hold]));
    expect(taken).toMatchObject([{ operationId: hold.operationId, fence: hold.fence + 1, rescues: 1 }]);
    expect(await jobRow(hold.operationId)).toMatchObject({
      state: 'ready',
      daemonId: null,
      fence: hold.fence + 1,
    });
  });

  test('a poison job that somebody claimed meanwhile is not buried under his hands', async () => {
    const { hold } = await leasedJob();
    expect(await transact(book.db, (tx) => buryPoisonJobs(tx, [poisonOf(hold)]))).toEqual([]);
    expect(await letters(hold.operationId)).toEqual([]);
  });

  test('in one call the stale ones stay and only the held ones are settled', async () => {
    const [one, two] = [await leasedJob(), await leasedJob()];
    const holds = [{ ...one.hold, fence: one.hold.fence - 1 }, two.hold];
    expect(await transact(book.db, (tx) => endHeldJobs(tx, holds))).toEqual([two.hold.operationId]);
    expect(await jobRow(one.hold.operationId)).toBeDefined();
  });

  test('rises with every claim, every return and every rescue, and never falls', async () => {
    const { account, hold, daemon } = await leasedJob();
    const fences = [hold.fence];
    await transact(book.db, (tx) => rescheduleHeldJobs(tx, [again(hold)]));
    fences.push((await standingOf(book.db, hold.operationId)).job!.fence);
    fences.push((await claimOne(daemon, account)).job.fence);
    const rescuer = await steadyDaemon();
    await lapse(book.owner, daemon);
    await rescueOperations(book.db, { daemonId: rescuer.id, principal: 'test', resendDelayMs: 0 });
    fences.push((await standingOf(book.db, hold.operationId)).job!.fence);
    fences.push((await claimOne(rescuer, account)).job.fence);
    expect(fences).toEqual([1, 2, 3, 4, 5]);
  });

  test('a fence is good only while its job is leased: one given back is not settled by its old holder', async () => {
    const { hold } = await leasedJob();
    await transact(book.db, (tx) => rescheduleHeldJobs(tx, [again(hold)]));
    expect(await transact(book.db, (tx) => endHeldJobs(tx, [hold]))).toEqual([]);
    expect(await transact(book.db, (tx) => rescheduleHeldJobs(tx, [again(hold)]))).toEqual([]);
    expect(await transact(book.db, (tx) => buryHeldJobs(tx, [letter(hold)]))).toEqual([]);
  });
});

describe('a new job of an old operation', () => {
  /** What the operation remembers is what a new job starts from. */
  async function rememberedFence(operationId: bigint): Promise<number> {
    return (await standingOf(book.db, operationId)).operationFence;
  }

  test.each(['rejected', 'not_found', 'succeeded'] as const)(
    'starts above every fence that was ever given out (ended by %s)',
    async (kind) => {
      const account = uniqueName('acct');
      const daemon = await startTestDaemon(book.db);
      const { operationId } = await queueCharge(book.db, account);
      const first = await claimOne(daemon, account);
      await record(daemon, first, REPLY.unknown);
      await makeDue(book.owner, account);
      const second = await claimOne(daemon, account);
      await record(daemon, second, REPLY[kind]);
      expect(await rememberedFence(operationId)).toBeGreaterThanOrEqual(first.job.fence);
      if (kind === 'rejected') return;
      expect(await rememberedFence(operationId)).toBeGreaterThanOrEqual(second.job.fence);
      const fence = await rememberedFence(operationId);
      const lane = laneOf(account, 'online');
      await transact(book.db, (tx) =>
        insertJobs(tx, [{ operationId, kind: 'charge', attemptNumber: 1, lane, fence }]),
      );
      expect((await claimOne(daemon, account)).job.fence).toBeGreaterThan(second.job.fence);
    },
  );

  test('starts above every fence that was ever given out (buried as poison)', async () => {
    const { operationId, fences } = await poisonJob();
    expect(await rememberedFence(operationId)).toBeGreaterThanOrEqual(Math.max(...fences));
  });
});

describe('claiming', () => {
  test('two daemons never get the same job, however many claim at once', async () => {
    const account = uniqueName('acct');
    const requests = Array.from({ length: 120 }, () => paymentRequest());
    await queueCharges(book.db, account, requests);
    const daemons = await Promise.all(Array.from({ length: 6 }, () => startTestDaemon(book.db)));
    const claims = daemons.flatMap((daemon) => [claim(daemon, account, 10), claim(daemon, account, 10)]);
    const ids = (await Promise.all(claims)).flat().map((task) => task.job.operationId);
    expect(ids.length).toBe(120);
    expect(new Set(ids).size).toBe(120);
  });

  test('jobs that another transaction holds are passed over, not waited for', async () => {
    const account = uniqueName('acct');
    const charges = await queueCharges(book.db, account, [
      paymentRequest(),
      paymentRequest(),
      paymentRequest(),
    ]);
    const daemon = await startTestDaemon(book.db);
    const claimed = await transact(book.db, async (tx) => {
      await tx.sql`
        select 1 from ${tx.t.job} where operation_id = ${charges[0]!.operationId} for update`;
      return claim(daemon, account);
    });
    expect(claimed.map((task) => task.job.operationId)).toEqual(charges.slice(1).map((c) => c.operationId));
  });

  test('in order of time, then of acceptance; never more than asked for', async () => {
    const account = uniqueName('acct');
    const charges = await queueCharges(
      book.db,
      account,
      Array.from({ length: 6 }, () => paymentRequest()),
    );
    const ids = charges.map((charge) => charge.operationId);
    await book.owner.sql`
      update ${book.owner.t.job} set run_at = now() - interval '1 minute' where operation_id = ${ids[4]!}`;
    const daemon = await startTestDaemon(book.db);
    const first = await claim(daemon, account, 3);
    expect(new Set(first.map((task) => task.job.operationId))).toEqual(new Set([ids[4], ids[0], ids[1]]));
    const rest = await claim(daemon, account, 100);
    expect(new Set(rest.map((task) => task.job.operationId))).toEqual(new Set([ids[2], ids[3], ids[5]]));
  });

  test('a job that is not due, and a job of another lane, is left', async () => {
    const [account, other] = [uniqueName('acct'), uniqueName('acct')];
    const { operationId } = await queueCharge(book.db, account);
    await queueCharge(book.db, other);
    await book.owner.sql`
      update ${book.owner.t.job} set run_at = now() + interval '1 hour' where operation_id = ${operationId}`;
    const daemon = await startTestDaemon(book.db);
    expect(await claim(daemon, account)).toEqual([]);
    const online = laneOf(account, 'online');
    expect(await nextDueInMs(book.db, [online])).toBeGreaterThan(3_500_000);
    expect(await nextDueInMs(book.db, [laneOf(account, 'batch')])).toBeNull();
    const lanes = await countLanes(book.db);
    expect(lanes.find((lane) => lane.lane === online)).toMatchObject({ ready: 0, waiting: 1, leased: 0 });
    expect(lanes.find((lane) => lane.lane === laneOf(other, 'online'))).toMatchObject({
      ready: 1,
      waiting: 0,
    });
  });

  test.each<[string, (daemon: TestDaemon) => Promise<unknown>]>([
    ['was declared dead', (daemon) => stopDaemon(book.owner, daemon.id)],
    ['has an old heartbeat', (daemon) => lapse(book.owner, daemon)],
    [
      'was never registered',
      (daemon) => book.owner.sql`delete from ${book.owner.t.daemon} where id = ${daemon.id}`,
    ],
  ])('a daemon that %s claims nothing', async (_, spoil) => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    await spoil(daemon);
    expect(await claim(daemon, account)).toEqual([]);
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'queued', sends: 0 });
  });

  test('marks the attempt as sent: number of sends, times of the first and the last', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    const first = await claimOne(daemon, account);
    expect(first.job).toMatchObject({ sends: 1, action: 'send', attemptNumber: 1 });
    expect(first.job.firstSentAt).toBe(first.job.lastSentAt);
    await record(daemon, first, REPLY.unknown);
    await makeDue(book.owner, account);
    const second = await claimOne(daemon, account);
    expect(second.job).toMatchObject({ sends: 2, firstSentAt: first.job.firstSentAt });
    expect(second.job.lastSentAt > first.job.lastSentAt).toBe(true);
    expect(second.job.request).toBe(first.job.request);
    expect(second.job.idempotencyKey).toBe(first.job.idempotencyKey);
    expect((await standingOf(book.db, operationId)).attempts).toBe(1);
  });

  test('an enquiry is not a send: it leaves the number and the time of the last send alone', async () => {
    const account = uniqueName('acct');
    await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    const first = await claimOne(daemon, account);
    await record(daemon, first, { ...REPLY.unknown, next: 'enquire' });
    await makeDue(book.owner, account);
    const second = await claimOne(daemon, account);
    expect(second.job).toMatchObject({ action: 'enquire', sends: 1, lastSentAt: first.job.lastSentAt });
  });

  test.each(['24 days', '25 days', '400 days'])(
    'an attempt that was first sent %s ago can still be claimed, and does not hold up its lane',
    async (age) => {
      const account = uniqueName('acct');
      const [old, young] = await queueCharges(book.db, account, [paymentRequest(), paymentRequest()]);
      const daemon = await startTestDaemon(book.db);
      const tasks = await claim(daemon, account);
      for (const task of tasks) await record(daemon, task, REPLY.pending);
      await setFirstSentBack(book.owner, old!.operationId, age);
      await makeDue(book.owner, account);
      const again = await claim(daemon, account);
      expect(again.map((task) => task.job.operationId)).toEqual([old!.operationId, young!.operationId]);
    },
  );

  test('an attempt that waited for a wrong key through thousands of tries can still be claimed', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    await record(daemon, await claimOne(daemon, account), REPLY.config_error);
    await book.owner.sql`update ${book.owner.t.job} set sends = 32767 where operation_id = ${operationId}`;
    await makeDue(book.owner, account);
    expect((await claim(daemon, account)).length).toBe(1);
  });
});

/** A job that was rescued more often than allowed, and every fence under which it was held. */
async function poisonJob(): Promise<{ operationId: bigint; fences: readonly number[] }> {
  const account = uniqueName('acct');
  const { operationId } = await queueCharge(book.db, account);
  const fences: number[] = [];
  for (let round = 0; round <= MAX_RESCUES; round += 1) {
    const [victim, rescuer] = [await startTestDaemon(book.db), await startTestDaemon(book.db)];
    await makeSteady(book.owner, rescuer);
    fences.push((await claimOne(victim, account)).job.fence);
    await lapse(book.owner, victim);
    await rescueOperations(book.db, { daemonId: rescuer.id, principal: 'test', resendDelayMs: 0 });
  }
  return { operationId, fences };
}

/** A lapsed daemon with one job in hand, and whoever may rescue it. */
async function lapsedDaemon(): Promise<{ victim: TestDaemon; charge: QueuedCharge; account: string }> {
  const account = uniqueName('acct');
  const charge = await queueCharge(book.db, account);
  const victim = await startTestDaemon(book.db);
  await claimOne(victim, account);
  await lapse(book.owner, victim);
  return { victim, charge, account };
}

/** One round of rescue; true when it took this job back. */
async function rescues(rescuer: TestDaemon, operationId: bigint): Promise<boolean> {
  const jobs = await rescueOperations(book.db, { daemonId: rescuer.id, principal: 'test', resendDelayMs: 0 });
  return jobs.some((job) => job.operationId === operationId);
}

async function steadyDaemon(): Promise<TestDaemon> {
  const daemon = await startTestDaemon(book.db);
  await makeSteady(book.owner, daemon);
  return daemon;
}

describe('rescue', () => {
  test('raises the fence, makes the job ready at once, and the send in hand becomes doubt for ever', async () => {
    const { charge } = await lapsedDaemon();
    const before = await standingOf(book.db, charge.operationId);
    const rescuer = await steadyDaemon();
    expect(await rescues(rescuer, charge.operationId)).toBe(true);
    expect(await standingOf(book.db, charge.operationId)).toMatchObject({
      subState: 'unknown',
      attemptState: 'unknown',
      maybeSent: true,
      isOpen: true,
      evidence: ['lapse unknown'],
      job: { state: 'ready', action: 'send', fence: before.job!.fence + 1 },
      deadLetters: [],
    });
    expect(await rescues(rescuer, charge.operationId)).toBe(false);
  });

  test('waits before the next send where the PSP is not safe against two at once', async () => {
    const { charge, account } = await lapsedDaemon();
    const rescuer = await steadyDaemon();
    await rescueOperations(book.db, { daemonId: rescuer.id, principal: 'test', resendDelayMs: 600_000 });
    expect(await claim(rescuer, account)).toEqual([]);
    await makeDue(book.owner, account);
    expect((await claimOne(rescuer, account)).job.operationId).toBe(charge.operationId);
  });

  test.each<[string, (rescuer: TestDaemon) => Promise<unknown>]>([
    ['has only just started', async () => undefined],
    [
      'has only just reconnected: its own heartbeat had a gap',
      async (rescuer) => {
        await makeSteady(book.owner, rescuer);
        await lapse(book.owner, rescuer);
        expect(await beat(book.db, rescuer.id)).toBe(true);
      },
    ],
    [
      'has lapsed itself',
      async (rescuer) => {
        await makeSteady(book.owner, rescuer);
        await lapse(book.owner, rescuer);
      },
    ],
    [
      'was declared dead itself',
      async (rescuer) => {
        await makeSteady(book.owner, rescuer);
        await stopDaemon(book.db, rescuer.id);
      },
    ],
  ])('a daemon that %s rescues nobody', async (_, spoil) => {
    const { charge } = await lapsedDaemon();
    const rescuer = await startTestDaemon(book.db);
    await spoil(rescuer);
    expect(await rescues(rescuer, charge.operationId)).toBe(false);
    const standing = await standingOf(book.db, charge.operationId);
    expect(standing).toMatchObject({ subState: 'claimed', job: { state: 'leased', fence: 1 } });
    expect(await rescues(await steadyDaemon(), charge.operationId)).toBe(true);
  });

  test('a daemon whose own heartbeat had a gap of almost a lease rescues nobody who is a moment behind', async () => {
    // The database was away for 5 of the 6 s: everybody's last heartbeat is old, and who beats first must wait.
    const rescuer = await steadyDaemon();
    const { hold, daemon: other } = await leasedJob();
    const { sql, t } = book.owner;
    await sql`update ${t.daemon} set beat_at = now() - interval '5.4 seconds' where id = ${rescuer.id}`;
    await sql`update ${t.daemon} set beat_at = now() - interval '6.3 seconds' where id = ${other.id}`;
    expect(await beat(book.db, rescuer.id)).toBe(true);
    expect(await rescues(rescuer, hold.operationId)).toBe(false);
  });

  test('a heartbeat without a gap does not make a daemon unsteady', async () => {
    const daemon = await startTestDaemon(book.db);
    await makeSteady(book.owner, daemon);
    await book.owner.sql`update ${book.owner.t.daemon} set beat_at = now() where id = ${daemon.id}`;
    expect(await beat(book.db, daemon.id)).toBe(true);
    expect(await mayRescue(book.db, daemon.id)).toBe(true);
  });

  test('a daemon that was declared dead is told so by its next heartbeat', async () => {
    const { victim, charge } = await lapsedDaemon();
    const rescuer = await steadyDaemon();
    expect(await rescues(rescuer, charge.operationId)).toBe(true);
    expect(await beat(book.db, victim.id)).toBe(false);
    const alive = (await listLiveDaemons(book.db)).map((daemon) => daemon.id);
    expect(alive).toContain(rescuer.id);
    expect(alive).not.toContain(victim.id);
  });

  test('a living daemon keeps its jobs', async () => {
    const { hold, daemon } = await leasedJob();
    const rescuer = await steadyDaemon();
    await beat(book.db, daemon.id);
    expect(await rescues(rescuer, hold.operationId)).toBe(false);
  });

  test('two rescuers at once: each job is rescued once', async () => {
    const { charge } = await lapsedDaemon();
    const rescuers = [await steadyDaemon(), await steadyDaemon()];
    const rescued = await Promise.all(rescuers.map((rescuer) => rescues(rescuer, charge.operationId)));
    expect(rescued.filter(Boolean)).toHaveLength(1);
    expect((await standingOf(book.db, charge.operationId)).job!.fence).toBe(2);
  });

  test('a rescuer that is slow does not take a job from the living daemon that has it meanwhile', async () => {
    const { victim, charge, account } = await lapsedDaemon();
    await stopDaemon(book.db, victim.id);
    const [slow, fast, living] = [await steadyDaemon(), await steadyDaemon(), await startTestDaemon(book.db)];
    const { sql } = book.owner;
    // A policy that waits holds the slow rescuer between its snapshot and its row locks.
    await sql.unsafe(`
      create function paygate.hold_scan() returns boolean language plpgsql as $$
      begin
        if current_setting('paygate_test.hold', true) = 'on' and current_query() like '%with lost%' then perform pg_advisory_xact_lock_shared(4711); end if;
        return true;
      end $$;
      create policy hold_scan on paygate.job using (paygate.hold_scan());
      alter table paygate.job enable row level security`);
    const pool = book.connect(1);
    try {
      await pool.sql.unsafe("set paygate_test.hold = 'on'");
      const held = await transact(book.owner, async (tx) => {
        await tx.sql`select pg_advisory_xact_lock(4711)`;
        const late = rescueOperations(pool, { daemonId: slow.id, principal: 'slow', resendDelayMs: 0 });
        await untilBlocked(book.owner, 'with lost as materialized');
        expect(await rescues(fast, charge.operationId)).toBe(true);
        return { late, task: await claimOne(living, account) };
      });
      const taken = (await held.late).map((job) => job.operationId);
      expect(taken).not.toContain(charge.operationId);
      const { job } = await standingOf(book.db, charge.operationId);
      expect(job).toMatchObject({ state: 'leased', fence: held.task.job.fence });
    } finally {
      await sql.unsafe(`
        alter table paygate.job disable row level security;
        drop policy hold_scan on paygate.job;
        drop function paygate.hold_scan()`);
    }
  });

  test('an enquiry in hand is rescued without a new doubt: it moved no money', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    await record(daemon, await claimOne(daemon, account), REPLY.pending);
    await makeDue(book.owner, account);
    expect((await claimOne(daemon, account)).todo).toBe('enquire');
    await lapse(book.owner, daemon);
    const rescuer = await steadyDaemon();
    expect(await rescues(rescuer, operationId)).toBe(true);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'pending_psp',
      evidence: ['reply pending'],
      job: { state: 'ready', action: 'enquire' },
    });
  });

  test('a job that was rescued too often becomes a dead letter, still in doubt', async () => {
    const { operationId } = await poisonJob();
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'unknown',
      attemptState: 'unknown',
      isOpen: true,
      maybeSent: true,
      job: null,
      deadLetters: ['rescued_too_often'],
    });
  });

  test('a claim that commits just after its daemon was declared dead leaves its job to be rescued', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const [victim, rescuer] = [await startTestDaemon(book.db), await steadyDaemon()];
    // A trigger that waits holds the claim between its snapshot and its end.
    await book.owner.sql.unsafe(`
      create function paygate.hold_claim() returns trigger language plpgsql as $$
      begin
        perform pg_advisory_xact_lock_shared(4712);
        return new;
      end $$;
      create trigger hold_claim before insert on paygate.event for each row when (new.kind = 'jobs_claimed')
        execute function paygate.hold_claim()`);
    const claiming = await transact(book.owner, async (tx) => {
      await tx.sql`select pg_advisory_xact_lock(4712)`;
      const late = claim(victim, account);
      await untilBlocked(book.owner, 'with due as materialized');
      await lapse(book.owner, victim);
      expect(await rescues(rescuer, operationId)).toBe(false);
      return { late };
    });
    expect(await claiming.late).toHaveLength(1);
    await book.owner.sql.unsafe('drop function paygate.hold_claim() cascade');
    expect(await beat(book.db, victim.id)).toBe(false);
    expect(await rescues(rescuer, operationId)).toBe(true);
  });

  test('a job of a daemon that left with the job in hand is rescued', async () => {
    const { charge, victim } = await lapsedDaemon();
    await stopDaemon(book.db, victim.id);
    const rescuer = await steadyDaemon();
    expect(await rescues(rescuer, charge.operationId)).toBe(true);
  });

  test('a job of a daemon that nobody knows is rescued', async () => {
    const { charge, victim } = await lapsedDaemon();
    await book.owner.sql`delete from ${book.owner.t.daemon} where id = ${victim.id}`;
    const rescuer = await steadyDaemon();
    expect(await rescues(rescuer, charge.operationId)).toBe(true);
  });
});

describe('dead letters', () => {
  test('an operation has one open dead letter at most', async () => {
    const { hold } = await leasedJob();
    const one = { operationId: hold.operationId, attemptNumber: 1, code: 'late_success', reason: 'first' };
    await transact(book.db, (tx) => openDeadLetters(tx, [one]));
    await transact(book.db, (tx) => openDeadLetters(tx, [{ ...one, reason: 'second' }]));
    expect(await letters(hold.operationId)).toEqual(['late_success']);
  });
});

test('a claim goes on behind a place of the lane; what lies before it is seen from the front', async () => {
  const account = uniqueName('acct');
  const charges = await queueCharges(
    book.db,
    account,
    Array.from({ length: 5 }, () => paymentRequest()),
  );
  const ids = charges.map((charge) => charge.operationId);
  const daemon = await startTestDaemon(book.db);
  const claimAfter = (after: LanePlace | null, limit: number) =>
    claimJobs(book.db, {
      lane: laneOf(account, 'online'),
      limit,
      daemonId: daemon.id,
      principal: 'test',
      after,
    });
  const second = { runAt: (await jobRow(ids[1]!)).runAt, operationId: ids[1]! };
  const behind = await claimAfter(second, 2);
  expect(behind.map((job) => job.operationId)).toEqual([ids[2], ids[3]]);
  const last = await claimAfter(behind.at(-1)!, 10);
  expect(last.map((job) => job.operationId)).toEqual([ids[4]]);
  const front = await claimAfter(null, 10);
  expect(front.map((job) => job.operationId)).toEqual([ids[0], ids[1]]);
});

test('a claim writes its event in the same statement, one for all of its jobs', async () => {
  const account = uniqueName('acct');
  const { operationId } = await queueCharge(book.db, account);
  const daemon = await startTestDaemon(book.db);
  const lane = laneOf(account, 'online');
  const [job] = await claimJobs(book.db, {
    lane,
    limit: 1,
    daemonId: daemon.id,
    principal: 'test:claim',
    after: null,
  });
  const rows = await book.owner.sql<{ principal: string; data: unknown; at: string; sentAt: string }[]>`
    select e.principal, e.data, e.at, j.first_sent_at as sent_at
      from ${book.owner.t.event} e
      join ${book.owner.t.job} j on j.operation_id = ${operationId}
     where e.kind = 'jobs_claimed' and e.data->>'daemon' = ${String(daemon.id)}`;
  expect(rows).toHaveLength(1);
  expect(rows[0]).toMatchObject({
    principal: 'test:claim',
    data: {
      daemon: String(daemon.id),
      operations: [String(operationId)],
      fences: [job!.fence],
      actions: ['send'],
      sends: [1],
    },
  });
  expect(rows[0]!.at).toBe(rows[0]!.sentAt);
});
