/** Replays of dead letters: what goes on keeps its key and the record of its sends; nothing is charged twice. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  applyOutside,
  balanceOf,
  claim,
  lapse,
  makeDue,
  makeSteady,
  openTestBook,
  orderRequest,
  paymentRequest,
  queueCharge,
  queueCharges,
  REPLY,
  record,
  scriptedConnector,
  setFirstSentBack,
  standingOf,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import { laneOf } from '../queue/job.ts';
import { getBookKey } from '../queue/queue-store.ts';
import { refundPartials } from '../refund/refund-partials.ts';
import { callPsp, claimTasks, type Task } from './execute-operations.ts';
import type { ReplayAction } from './letter-plan.ts';
import { type ReplayContext, type ReplayResult, replayDeadLetters } from './replay-dead-letters.ts';
import { rescueOperations } from './rescue-operations.ts';

let book: TestBook;
let daemon: TestDaemon;
let bookKey = '';
beforeAll(async () => {
  book = await openTestBook();
  daemon = await startTestDaemon(book.db);
  bookKey = await getBookKey(book.db);
});
afterAll(() => book.close());

type Charge = { readonly account: string; readonly operationId: bigint };

async function charge(): Promise<Charge> {
  const account = uniqueName('acct');
  const { operationId } = await queueCharge(book.db, account);
  return { account, operationId };
}

/** From both lanes: replays stand in the one for batches. */
async function claimAny({ account }: Charge): Promise<Task> {
  await makeDue(book.owner, account);
  const online = await claim(daemon, account);
  const batch = await claimTasks(daemon.context, laneOf(account, 'batch'), 100, scriptedConnector([]));
  const tasks = [...online, ...batch];
  if (tasks.length !== 1) throw new Error(`${tasks.length} tasks claimed, not one`);
  return tasks[0]!;
}

/** Sent, in doubt, asked for in vain: nothing moves it on any more. */
async function lostInDoubt(): Promise<Charge> {
  const lost = await charge();
  await record(daemon, await claimAny(lost), REPLY.unknown);
  await record(daemon, await claimAny(lost), REPLY.not_found);
  expect(await standingOf(book.db, lost.operationId)).toMatchObject({
    subState: 'unknown',
    job: null,
    deadLetters: ['unknown_unresolved'],
  });
  return lost;
}

async function rejected(): Promise<Charge> {
  const one = await charge();
  await record(daemon, await claimAny(one), REPLY.rejected);
  return one;
}

async function lettersOf({ operationId }: Charge) {
  return book.db.sql<{ id: bigint; code: string; state: string; closedBy: string; closeReason: string }[]>`
    select id, code, state, closed_by, close_reason from ${book.db.t.deadLetter}
     where operation_id = ${operationId} order by id`;
}

async function attemptsOf({ operationId }: Charge) {
  return book.db.sql<
    {
      number: number;
      idempotencyKey: string;
      request: string;
      state: string;
      sends: number;
      firstSentAt: string | null;
      lastSentAt: string | null;
    }[]
  >`
    select number, idempotency_key, request, state, sends, first_sent_at, last_sent_at
      from ${book.db.t.attempt} where operation_id = ${operationId} order by number`;
}

async function replayIds(
  ids: readonly bigint[],
  action: ReplayAction | null = null,
): Promise<readonly ReplayResult[]> {
  const context: ReplayContext = {
    principal: 'os:ana',
    reason: 'the PSP is back',
    action,
    bookKey,
    pspOf: () => 'stripe',
  };
  return replayDeadLetters(book.db, context, ids);
}

/** All open letters of it. */
async function replay(of: Charge, action: ReplayAction | null = null): Promise<readonly ReplayResult[]> {
  const open = (await lettersOf(of)).filter((letter) => letter.state === 'open');
  return replayIds(
    open.map((letter) => letter.id),
    action,
  );
}

describe('an attempt in doubt', () => {
  test('goes on under its original key and request; its sends and their times go on with it', async () => {
    const lost = await lostInDoubt();
    const [before] = await attemptsOf(lost);
    expect(before!.sends).toBe(2);
    const [result] = await replay(lost);
    expect(result).toMatchObject({
      kind: 'replayed',
      how: 'resume',
      job: { action: 'send', attemptNumber: 1, sends: 2, firstSentAt: before!.firstSentAt },
    });
    const { job } = await claimAny(lost);
    expect(job).toMatchObject({
      idempotencyKey: before!.idempotencyKey,
      request: before!.request,
      sends: 3,
      firstSentAt: before!.firstSentAt,
    });
    expect(await attemptsOf(lost)).toHaveLength(1);
  });

  test('names the person and the reason, in the letter and in the event', async () => {
    const lost = await lostInDoubt();
    await replay(lost);
    expect(await lettersOf(lost)).toMatchObject([
      { state: 'replayed', closedBy: 'os:ana', closeReason: 'the PSP is back' },
    ]);
    const events = await book.db.sql<{ principal: string; data: Record<string, unknown> }[]>`
      select principal, data from ${book.db.t.event}
       where kind = 'dead_letter_replayed' and data->>'operation' = ${lost.operationId.toString()}`;
    expect([...events]).toMatchObject([
      { principal: 'os:ana', data: { reason: 'the PSP is back', code: 'unknown_unresolved', attempt: 1 } },
    ]);
  });

  test('past the key window is not sent: the message says how to ask instead', async () => {
    const lost = await lostInDoubt();
    await setFirstSentBack(book.owner, lost.operationId, '21 hours');
    const [refused] = await replay(lost, 'send');
    expect(refused).toMatchObject({ kind: 'refused', code: 'key_window_passed' });
    expect(refused).toMatchObject({ message: expect.stringMatching(/21 h.*--action enquire/) });
    expect(await standingOf(book.db, lost.operationId)).toMatchObject({
      job: null,
      deadLetters: ['unknown_unresolved'],
    });
  });

  test('past the key window may be asked for: the claim enquires, over the whole time of its sends', async () => {
    const lost = await lostInDoubt();
    await setFirstSentBack(book.owner, lost.operationId, '21 hours');
    const [before] = await attemptsOf(lost);
    await replay(lost, 'enquire');
    const task = await claimAny(lost);
    expect(task).toMatchObject({
      todo: 'enquire',
      job: { firstSentAt: before!.firstSentAt, lastSentAt: before!.lastSentAt, sends: 2 },
    });
    await record(daemon, task, REPLY.succeeded);
    expect(await standingOf(book.db, lost.operationId)).toMatchObject({
      subState: 'succeeded',
      entries: ['charge_succeeded'],
    });
  });

  test('whose key window ends between the replay and the claim is asked for, not sent', async () => {
    const lost = await lostInDoubt();
    await replay(lost, 'send');
    await setFirstSentBack(book.owner, lost.operationId, '20 hours');
    const task = await claimAny(lost);
    expect(task.todo).toBe('enquire');
    const connector = scriptedConnector([REPLY.declined]);
    await record(daemon, task, await callPsp(connector, task, 1_000));
    expect(connector.calls).toEqual(['enquire']);
  });

  test('that may have been sent at a time nobody knows counts as past the window', async () => {
    const lost = await lostInDoubt();
    await book.owner.sql`
      update ${book.owner.t.attempt} set first_sent_at = null where operation_id = ${lost.operationId}`;
    expect(await replay(lost, 'send')).toMatchObject([{ kind: 'refused', code: 'key_window_passed' }]);
  });

  test('keeps its fence: who held it before cannot settle it', async () => {
    const lost = await charge();
    const stale = await claimAny(lost);
    await record(daemon, stale, REPLY.unknown);
    await record(daemon, await claimAny(lost), REPLY.not_found);
    await replay(lost);
    const before = await standingOf(book.db, lost.operationId);
    expect(before.job!.fence).toBeGreaterThan(stale.job.fence);
    expect(await record(daemon, stale, REPLY.succeeded)).toMatchObject({ right: 'fenced' });
    const task = await claimAny(lost);
    // What the late reply told is looked at before anything is sent again.
    expect(task.todo).toBe('fold');
    expect(task.job.fence).toBe(before.job!.fence + 1);
  });

  test('that is lost again gets a new letter; the old one stays replayed', async () => {
    const lost = await lostInDoubt();
    await replay(lost, 'enquire');
    await record(daemon, await claimAny(lost), REPLY.not_found);
    expect(await lettersOf(lost)).toMatchObject([
      { code: 'unknown_unresolved', state: 'replayed' },
      { code: 'unknown_unresolved', state: 'open' },
    ]);
  });

  test('and pending at the PSP is looked at, whatever was asked for', async () => {
    const lost = await charge();
    await record(daemon, await claimAny(lost), REPLY.pending);
    await book.owner.sql`update ${book.owner.t.job} set rescues = 5 where operation_id = ${lost.operationId}`;
    await claimAny(lost);
    await rescueFrom(daemon);
    expect(await standingOf(book.db, lost.operationId)).toMatchObject({
      subState: 'pending_psp',
      deadLetters: ['rescued_too_often'],
    });
    await replay(lost, 'send');
    expect((await claimAny(lost)).todo).toBe('enquire');
  });

  test('that was rescued too often may be rescued again as often', async () => {
    const lost = await charge();
    await book.owner.sql`update ${book.owner.t.job} set rescues = 5 where operation_id = ${lost.operationId}`;
    await claimAny(lost);
    const [sent] = await book.db.sql<{ firstSentAt: string }[]>`
      select first_sent_at from ${book.db.t.job} where operation_id = ${lost.operationId}`;
    await rescueFrom(daemon);
    await replay(lost);
    const [job] = await book.db.sql<{ rescues: number; firstSentAt: string; sends: number }[]>`
      select rescues, first_sent_at, sends from ${book.db.t.job} where operation_id = ${lost.operationId}`;
    expect(job).toEqual({ rescues: 0, firstSentAt: sent!.firstSentAt, sends: 1 });
  });

  test('replayed by two people at once goes on once', async () => {
    const lost = await lostInDoubt();
    const ids = (await lettersOf(lost)).map((letter) => letter.id);
    const results = (await Promise.all([replayIds(ids), replayIds(ids), replayIds(ids)])).flat();
    expect(results.map((result) => result.kind).toSorted()).toEqual(['refused', 'refused', 'replayed']);
    expect(await lettersOf(lost)).toHaveLength(1);
  });
});

/** The daemon stalls, another one takes back what it had, and the first one begins anew. */
async function rescueFrom(victim: TestDaemon): Promise<void> {
  const rescuer = await startTestDaemon(book.db);
  await lapse(book.owner, victim);
  await makeSteady(book.owner, rescuer);
  await rescueOperations(book.db, { daemonId: rescuer.id, principal: 'test', resendDelayMs: 0 });
  daemon = await startTestDaemon(book.db);
}

describe('an attempt that the PSP refused', () => {
  test('is closed: another one is made, with a number and a key of its own and the same request', async () => {
    const one = await rejected();
    expect(await replay(one)).toMatchObject([
      {
        kind: 'replayed',
        how: 'renew',
        job: { attemptNumber: 2, action: 'send', sends: 0, firstSentAt: null },
      },
    ]);
    const [first, second] = await attemptsOf(one);
    expect(second).toMatchObject({ number: 2, state: 'created', sends: 0, firstSentAt: null });
    expect(second!.idempotencyKey).toBe(`pg-${bookKey}-${one.operationId}-2`);
    const [was, is] = [first!, second!].map((attempt) => JSON.parse(attempt.request));
    expect(is).toEqual({
      ...was,
      metadata: { ...was.metadata, paygate_attempt: '2', paygate_key: second!.idempotencyKey },
    });
    expect(await standingOf(book.db, one.operationId)).toMatchObject({ subState: 'queued', isOpen: true });
  });

  test('and then goes through is booked once', async () => {
    const one = await rejected();
    await replay(one);
    await record(daemon, await claimAny(one), REPLY.succeeded);
    expect(await standingOf(book.db, one.operationId)).toMatchObject({
      subState: 'succeeded',
      attempts: 2,
      entries: ['charge_succeeded'],
      deadLetters: [],
    });
  });

  test('and is refused again may be replayed again: attempt 3', async () => {
    const one = await rejected();
    await replay(one);
    await record(daemon, await claimAny(one), REPLY.rejected);
    expect(await lettersOf(one)).toMatchObject([{ state: 'replayed' }, { state: 'open', code: 'rejected' }]);
    expect(await replay(one)).toMatchObject([{ how: 'renew', job: { attemptNumber: 3 } }]);
  });

  test('cannot be asked for: there is nothing to find', async () => {
    const one = await rejected();
    expect(await replay(one, 'enquire')).toMatchObject([{ kind: 'refused', code: 'nothing_to_replay' }]);
  });

  test('is not tried again when money moved after all, whatever else is open', async () => {
    const one = await charge();
    const task = await claimAny(one);
    await record(daemon, task, REPLY.rejected);
    await record(daemon, task, REPLY.succeeded);
    const results = await replay(one);
    expect(results.map((result) => result.kind === 'refused' && result.code)).toEqual([
      'money_moved',
      'needs_a_decision',
    ]);
    expect(await attemptsOf(one)).toHaveLength(1);
  });

  test('and comes late as a success while the next attempt waits: booked, told, and not charged again', async () => {
    const one = await charge();
    const stale = await claimAny(one);
    await record(daemon, stale, REPLY.rejected);
    await replay(one);
    const account = `suspense:${one.account}`;
    expect(await record(daemon, stale, REPLY.succeeded)).toMatchObject({
      right: 'settled',
      deadLetter: 'late_success',
    });
    expect(await balanceOf(book.db, account, 'EUR')).toBe(1250n);
    const [first, second] = await attemptsOf(one);
    expect(first).toMatchObject({ state: 'succeeded_surplus' });
    expect(second).toMatchObject({ state: 'not_sent', sends: 0, firstSentAt: null });
    expect(await standingOf(book.db, one.operationId)).toMatchObject({
      subState: 'canceled',
      job: null,
      deadLetters: ['late_success'],
    });
    // The same again changes nothing.
    await record(daemon, stale, REPLY.succeeded);
    expect(await balanceOf(book.db, account, 'EUR')).toBe(1250n);
  });
});

describe('an answer that came after the end and that the books refused', () => {
  async function notBooked(kind: 'declined' | 'rejected'): Promise<Charge> {
    const one = await charge();
    const task = await claimAny(one);
    await record(daemon, task, REPLY[kind]);
    await setCurrency(one, 'eur');
    expect(await record(daemon, task, REPLY.succeeded)).toMatchObject({ right: 'quarantined' });
    return one;
  }

  const setCurrency = (one: Charge, currency: string) =>
    book.owner.sql`update ${book.owner.t.operation} set currency = ${currency} where id = ${one.operationId}`;

  test('is booked by the replay, as the late fact that it is; nothing is sent', async () => {
    const one = await notBooked('declined');
    await setCurrency(one, 'EUR');
    expect(await replay(one)).toMatchObject([{ kind: 'replayed', how: 'fold', job: null }]);
    expect(await standingOf(book.db, one.operationId)).toMatchObject({
      subState: 'declined',
      attemptState: 'succeeded_surplus',
      job: null,
      entries: ['late_success'],
      deadLetters: ['late_success'],
    });
  });

  test('and that they refuse still stays as it is', async () => {
    const one = await notBooked('declined');
    expect(await replay(one)).toMatchObject([{ kind: 'refused', code: 'still_refused' }]);
    expect(await lettersOf(one)).toMatchObject([{ code: 'quarantined', state: 'open' }]);
    await setCurrency(one, 'EUR');
  });

  test('keeps a refused request from being sent anew: the money may have moved', async () => {
    const one = await notBooked('rejected');
    const rejected = (await lettersOf(one)).filter((letter) => letter.code === 'rejected');
    expect(await replayIds(rejected.map((letter) => letter.id))).toMatchObject([
      { kind: 'refused', code: 'needs_a_decision', message: expect.stringContaining('quarantined') },
    ]);
    await setCurrency(one, 'EUR');
  });
});

describe('a late success of an attempt that counted as over', () => {
  test('cannot stop the next one once that is claimed: both are booked, and a person is told', async () => {
    const one = await charge();
    const stale = await claimAny(one);
    await record(daemon, stale, REPLY.rejected);
    await replay(one);
    const next = await claimAny(one);
    await record(daemon, stale, REPLY.succeeded);
    expect(await standingOf(book.db, one.operationId)).toMatchObject({
      subState: 'claimed',
      sends: 1,
      job: { state: 'leased' },
      deadLetters: ['late_success'],
    });
    await record(daemon, next, { kind: 'succeeded', pspReference: 'pi_2' });
    expect(await standingOf(book.db, one.operationId)).toMatchObject({
      subState: 'succeeded',
      attemptState: 'succeeded',
      entries: ['late_success', 'charge_succeeded'],
      deadLetters: ['late_success'],
    });
  });
});

describe('what trying again cannot answer', () => {
  test('money in suspense needs a decision', async () => {
    const one = await charge();
    const task = await claimAny(one);
    await record(daemon, task, REPLY.declined);
    await record(daemon, task, REPLY.succeeded);
    const refusals = (await replay(one)).map((result) => result.kind === 'refused' && result.code);
    expect(new Set(refusals)).toEqual(new Set(['needs_a_decision']));
  });

  test('evidence that contradicts itself needs a look', async () => {
    const one = await charge();
    await record(daemon, await claimAny(one), REPLY.succeeded);
    await applyOutside(book.db, [
      {
        operationId: one.operationId,
        attemptNumber: 1,
        source: 'enquiry',
        reply: REPLY.declined,
        held: null,
      },
    ]);
    expect(await replay(one)).toMatchObject([
      {
        kind: 'refused',
        code: 'needs_a_decision',
        message: expect.stringContaining(`op_${one.operationId}`),
      },
    ]);
  });

  test('a letter that is closed stays closed', async () => {
    const lost = await lostInDoubt();
    const ids = (await lettersOf(lost)).map((letter) => letter.id);
    await replay(lost);
    expect(await replayIds(ids)).toMatchObject([{ kind: 'refused', code: 'letter_closed' }]);
    expect(await replayIds([999_999n])).toEqual([]);
  });
});

describe('an answer that the books refused', () => {
  test('is stored, and the replay books it without asking the PSP again', async () => {
    const one = await charge();
    const task = await claimAny(one);
    // As if a mistake of ours had kept the entry from being stored.
    await book.owner.sql`
      update ${book.owner.t.operation} set currency = 'eur' where id = ${one.operationId}`;
    expect(await record(daemon, task, REPLY.succeeded)).toMatchObject({ right: 'quarantined' });
    await book.owner.sql`
      update ${book.owner.t.operation} set currency = 'EUR' where id = ${one.operationId}`;
    expect(await replay(one, 'send')).toMatchObject([{ kind: 'replayed', job: { action: 'enquire' } }]);
    const again = await claimAny(one);
    expect(again.todo).toBe('fold');
    await record(daemon, again, null);
    expect(await standingOf(book.db, one.operationId)).toMatchObject({
      subState: 'succeeded',
      entries: ['charge_succeeded'],
      deadLetters: [],
    });
  });
});

describe('a rejected order of a payment that is refunded when only a part succeeds', () => {
  const giveBack = () =>
    refundPartials(book.db, {
      policy: { fee: 'proportional', overdraw: 'allowed' },
      bookKey,
      principal: 'test',
      accountOf: () => ({ psp: 'stripe' }),
    });
  const partial = async (): Promise<Charge> => {
    const account = uniqueName('acct');
    const request = paymentRequest({ orders: [orderRequest(), orderRequest()] });
    const [, failed] = await queueCharges(book.db, account, [request], { onPartial: 'refund' });
    for (const task of await claim(daemon, account)) {
      const isFailed = task.job.operationId === failed!.operationId;
      await record(daemon, task, isFailed ? REPLY.rejected : REPLY.succeeded);
    }
    return { account, operationId: failed!.operationId };
  };

  test('is not tried again once the rest was given back', async () => {
    const one = await partial();
    expect(await giveBack()).toMatchObject({ refunds: 1 });
    expect(await replay(one)).toMatchObject([{ kind: 'refused', code: 'nothing_to_replay' }]);
    expect(await standingOf(book.db, one.operationId)).toMatchObject({
      attempts: 1,
      subState: 'rejected',
      deadLetters: ['rejected'],
    });
  });

  test('tried again before that, the payment is watched: nothing is given back meanwhile', async () => {
    const one = await partial();
    expect(await replay(one)).toMatchObject([{ how: 'renew' }]);
    expect(await giveBack()).toEqual({ payments: 0, refunds: 0 });
    await record(daemon, await claimAny(one), REPLY.succeeded);
    expect(await giveBack()).toEqual({ payments: 1, refunds: 0 });
  });
});
