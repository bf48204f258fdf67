/** Webhooks on a real book: each event once, and never believed where the PSP can be asked. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  applyOutside,
  balanceOf,
  claimOne,
  makeDue,
  openTestBook,
  type QueuedCharge,
  queueCharge,
  REPLY,
  type ReplyKind,
  record,
  scriptedConnector,
  standingOf,
  startTestDaemon,
  type TestBook,
  turn,
  uniqueName,
} from '../../testing/fixtures.ts';
import { type Db, transact } from '../db/connection.ts';
import { applyFindings } from '../operation/apply-findings.ts';
import { callPsp, claimTasks, findingOf } from '../operation/execute-operations.ts';
import { newsOfAdyen } from '../psp/adyen-news.ts';
import { laneOf } from '../queue/job.ts';
import { getBookKey } from '../queue/queue-store.ts';
import { submitRefunds } from '../refund/submit-refunds.ts';
import { acceptWebhooks } from './accept-webhooks.ts';
import { attemptOf, effectOf, mayUndo, type WebhookEvent } from './webhook.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

function news(operationId: bigint | null, changes: Partial<WebhookEvent> = {}): WebhookEvent {
  return {
    eventId: uniqueName('evt'),
    type: 'payment_intent.succeeded',
    operationId,
    pspReference: 'pi_1',
    says: null,
    ...changes,
  };
}

async function deliver(account: string, ...events: WebhookEvent[]) {
  const daemon = await startTestDaemon(book.db);
  return acceptWebhooks(book.db, daemon.context, account, events);
}

/** A charge after one call that told `reply`. */
async function chargeThatTold(reply: ReplyKind): Promise<QueuedCharge & { account: string }> {
  const account = uniqueName('acct');
  const charge = await queueCharge(book.db, account);
  await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY[reply]]));
  return { ...charge, account };
}

/** A refund of a charge, after one call that told `reply`. */
async function refunded(reply: ReplyKind = 'succeeded'): Promise<{ account: string; operationId: bigint }> {
  const { account, orderId } = await chargeThatTold('succeeded');
  const context = {
    policy: { fee: 'proportional', overdraw: 'allowed' } as const,
    bookKey: await getBookKey(book.db),
    principal: 'test',
    accountOf: () => ({ psp: 'stripe' as const }),
  };
  const request = {
    refundId: uniqueName('r'),
    orderId,
    amount: null,
    reason: 'test',
    cause: 'request' as const,
  };
  const [result] = await submitRefunds(book.db, context, [request]);
  if (result?.kind !== 'accepted') throw new Error('not accepted');
  await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY[reply]]));
  return { account, operationId: result.refund.operationId };
}

test('news that meets an answer being recorded goes on from the fence and the sends that it leaves', async () => {
  const { account, operationId } = await refunded('pending');
  await makeDue(book.owner, account);
  const daemon = await startTestDaemon(book.db);
  const task = await claimOne(daemon, account);
  const isRecorded = Promise.withResolvers<void>();
  const mayCommit = Promise.withResolvers<void>();
  const recording = transact(book.db, async (tx) => {
    await applyFindings(tx, daemon.context, [findingOf(task, REPLY.succeeded)]);
    isRecorded.resolve();
    await mayCommit.promise;
  });
  await isRecorded.promise;
  const delivered = deliver(account, news(operationId, { type: 'refund.updated' }));
  await waitForLock(book.owner);
  mayCommit.resolve();
  await recording;
  expect(await delivered).toEqual({ fresh: 1, looks: 1 });
  const { t } = book.owner;
  const [left] = await book.owner.sql`
    select j.action, j.fence as job_fence, o.fence, j.sends as job_sends, a.sends
      from ${t.job} j
      join ${t.operation} o on o.id = j.operation_id
      join ${t.attempt} a on a.operation_id = o.id
     where o.id = ${operationId}`;
  const { fence } = task.job;
  expect(left).toEqual({ action: 'recheck', jobFence: fence, fence, jobSends: 1, sends: 1 });
});

/** Until somebody waits for a lock of this database. */
async function waitForLock(owner: Db): Promise<void> {
  for (let look = 0; look < 200; look += 1) {
    const [row] = await owner.sql<{ waiting: number }[]>`
      select count(*)::integer as waiting
        from pg_stat_activity
       where datname = current_database() and wait_event_type = 'Lock'`;
    if (row!.waiting > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error('nobody waits');
}

test('news that may undo a refund in doubt has it asked for, not sent again: the PSP would repeat its first answer', async () => {
  const { account, operationId } = await refunded('unknown');
  expect((await standingOf(book.db, operationId)).job).toMatchObject({ state: 'ready', action: 'send' });
  await deliver(account, news(operationId, { type: 'refund.failed', pspReference: 're_1' }));
  const connector = scriptedConnector([REPLY.declined]);
  await turn(await startTestDaemon(book.db), account, connector);
  expect(connector.calls).toEqual(['enquire']);
  const asked = await standingOf(book.db, operationId);
  expect(asked).toMatchObject({ subState: 'declined', entries: ['refund_reserved', 'refund_failed'] });
});

describe('a refund that an enquiry found failed after doubt', () => {
  async function foundFailed(): Promise<{ account: string; operationId: bigint }> {
    const refund = await refunded('unknown');
    await deliver(refund.account, news(refund.operationId, { type: 'refund.failed', pspReference: 're_1' }));
    await turn(await startTestDaemon(book.db), refund.account, scriptedConnector([REPLY.declined]));
    expect(await standingOf(book.db, refund.operationId)).toMatchObject({
      subState: 'declined',
      entries: ['refund_reserved', 'refund_failed'],
      deadLetters: ['refund_declined'],
    });
    return refund;
  }
  const receivable = (account: string) => balanceOf(book.db, `psp:${account}:receivable`, 'EUR');

  test('and that a later look finds done is booked, and a person hears of it', async () => {
    const { account, operationId } = await foundFailed();
    expect(await receivable(account)).toBe(1250n);
    await deliver(account, news(operationId, { type: 'refund.updated', pspReference: 're_1' }));
    await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY.succeeded]));
    expect(await standingOf(book.db, operationId)).toMatchObject({
      attemptState: 'succeeded_surplus',
      entries: ['refund_reserved', 'refund_failed', 'late_refund'],
      deadLetters: ['late_success'],
      job: null,
    });
    expect(await receivable(account)).toBe(0n);
  });

  test('and of which the first answer comes last, that it was done, has left and come back', async () => {
    const { account, operationId } = await foundFailed();
    const reply = REPLY.succeeded;
    await applyOutside(book.db, [{ operationId, attemptNumber: 1, source: 'reply', reply, held: null }]);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'declined',
      attemptState: 'reversed',
      entries: ['refund_reserved', 'refund_failed', 'late_refund', 'refund_failed_after_success'],
      deadLetters: ['refund_declined', 'reversed_after_success'],
    });
    expect(await receivable(account)).toBe(1250n);
  });
});

test('that a refund was undone stands, also when the word that it was done comes after', async () => {
  const { account, operationId } = await refunded('pending');
  const { pspReference } = await standingOf(book.db, operationId);
  const told = (type: string, success: boolean) => {
    const event = { id: 'e', operationReference: null, originalReference: null, amount: null, reason: null };
    const { says } = newsOfAdyen({ ...event, type, success, pspReference: pspReference! });
    return news(operationId, { type, says, pspReference });
  };
  await deliver(account, told('REFUND_FAILED', true));
  const undone = await standingOf(book.db, operationId);
  expect(undone).toMatchObject({ subState: 'reversed', attemptState: 'reversed' });
  await deliver(account, told('REFUND', true));
  const { subState, entries } = await standingOf(book.db, operationId);
  expect({ subState, entries }).toEqual({
    subState: 'reversed',
    entries: ['refund_reserved', 'refund_succeeded', 'refund_failed_after_success'],
  });
});

describe('news of a pending charge', () => {
  test('has it looked at now, once, whatever the webhook says', async () => {
    const { account, operationId } = await chargeThatTold('pending');
    const event = news(operationId);
    expect(await deliver(account, event)).toEqual({ fresh: 1, looks: 1 });
    expect(await deliver(account, event)).toEqual({ fresh: 0, looks: 0 });
    expect((await standingOf(book.db, operationId)).subState).toBe('pending_psp');
    const connector = scriptedConnector([REPLY.declined]);
    await turn(await startTestDaemon(book.db), account, connector);
    expect(connector.calls).toEqual(['enquire']);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'declined',
      resolvedBy: 'enquiry',
    });
  });

  test('that is in somebody’s hands leaves it there', async () => {
    const { account, operationId } = await chargeThatTold('pending');
    await makeDue(book.owner, account);
    const daemon = await startTestDaemon(book.db);
    const task = await claimOne(daemon, account);
    expect(await deliver(account, news(operationId))).toEqual({ fresh: 1, looks: 0 });
    await record(daemon, task, REPLY.succeeded);
    expect((await standingOf(book.db, operationId)).subState).toBe('succeeded');
  });
});

test('news of what a person was waiting for finds the end of it, and closes the letter', async () => {
  const { account, operationId } = await chargeThatTold('unknown');
  const daemon = await startTestDaemon(book.db);
  await book.owner.sql`
    update ${book.owner.t.job} set action = 'enquire', burned = 10, run_at = now() where operation_id = ${operationId}`;
  await turn(daemon, account, scriptedConnector([REPLY.not_found]));
  const before = await standingOf(book.db, operationId);
  expect(before).toMatchObject({ subState: 'unknown', job: null, deadLetters: ['unknown_unresolved'] });
  await deliver(account, news(operationId));
  const task = await claimOne(daemon, account);
  expect(task.job.fence).toBeGreaterThan(before.operationFence);
  expect(task.job.sends).toBe(1);
  expect(task.todo).toBe('enquire');
  await record(daemon, task, REPLY.succeeded);
  expect(await standingOf(book.db, operationId)).toMatchObject({
    subState: 'succeeded',
    entries: ['charge_succeeded'],
    deadLetters: [],
    job: null,
  });
});

test('news of what a person was waiting for that ends in the same doubt leaves one letter, and no other', async () => {
  const { account, operationId } = await chargeThatTold('unknown');
  const daemon = await startTestDaemon(book.db);
  await book.owner.sql`
    update ${book.owner.t.job} set action = 'enquire', run_at = now() where operation_id = ${operationId}`;
  await turn(daemon, account, scriptedConnector([REPLY.not_found]));
  await deliver(account, news(operationId));
  const again = await turn(daemon, account, scriptedConnector([REPLY.not_found]));
  expect(again.right).toBe('settled');
  expect(await standingOf(book.db, operationId)).toMatchObject({
    subState: 'unknown',
    job: null,
    deadLetters: ['unknown_unresolved'],
  });
});

describe('news of a refund that was done', () => {
  test('that it failed after all: the PSP is asked, and then it is booked back', async () => {
    const { account, operationId } = await refunded();
    expect(await deliver(account, news(operationId, { type: 'refund.failed' }))).toMatchObject({ looks: 1 });
    expect((await standingOf(book.db, operationId)).subState).toBe('succeeded');
    const connector = scriptedConnector([REPLY.declined]);
    await turn(await startTestDaemon(book.db), account, connector);
    expect(connector.calls).toEqual(['enquire']);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'reversed',
      deadLetters: ['reversed_after_success'],
      job: null,
    });
    expect(await balanceOf(book.db, `psp:${account}:receivable`, 'EUR')).toBe(1250n);
  });

  test('that is not true changes nothing, and its fence is never given out again', async () => {
    const { account, operationId } = await refunded();
    const daemon = await startTestDaemon(book.db);
    const fences: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      await deliver(account, news(operationId, { type: 'refund.failed' }));
      const task = await claimOne(daemon, account);
      fences.push(task.job.fence);
      await record(daemon, task, REPLY.succeeded);
      expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'succeeded', job: null });
    }
    expect([...fences].sort((a, b) => a - b)).toEqual(fences);
    expect(new Set(fences).size).toBe(3);
  });

  test('that comes while it is asked for is not taken, and not lost: the PSP delivers it again', async () => {
    const { account, operationId } = await refunded();
    const daemon = await startTestDaemon(book.db);
    await deliver(account, news(operationId, { type: 'refund.updated' }));
    const task = await claimOne(daemon, account);
    const failed = news(operationId, { type: 'refund.failed' });
    await expect(deliver(account, failed)).rejects.toMatchObject({ code: 'webhook_busy' });
    // The answer is of before the news.
    await record(daemon, task, REPLY.succeeded);
    expect(await deliver(account, failed)).toEqual({ fresh: 1, looks: 1 });
    await record(daemon, await claimOne(daemon, account), REPLY.declined);
    expect((await standingOf(book.db, operationId)).subState).toBe('reversed');
  });

  test('when the PSP cannot be asked is asked again, in the end by a person', async () => {
    const { account, operationId } = await refunded();
    await deliver(account, news(operationId, { type: 'refund.failed' }));
    const daemon = await startTestDaemon(book.db);
    for (let tries = 0; tries < 20; tries += 1) {
      await makeDue(book.owner, account);
      const connector = scriptedConnector([{ ...REPLY.unknown, next: 'enquire' }]);
      const [task] = await claimTasks(daemon.context, laneOf(account, 'online'), 10, connector);
      if (task === undefined) break;
      await record(daemon, task, await callPsp(connector, task, 1_000));
    }
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      job: null,
      deadLetters: ['enquiry_failed'],
    });
  });
});

describe('does no harm', () => {
  test('news of nothing, of nobody’s operation, of another account’s, of what was never sent', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const other = await chargeThatTold('pending');
    const events = [news(null), news(999_999_999n), news(other.operationId), news(operationId)];
    expect(await deliver(account, ...events)).toEqual({ fresh: 4, looks: 0 });
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'queued', sends: 0 });
  });

  test('the success of a charge that we know: nobody asks the PSP again', async () => {
    const { account, operationId } = await chargeThatTold('succeeded');
    expect(await deliver(account, news(operationId))).toEqual({ fresh: 1, looks: 0 });
    expect((await standingOf(book.db, operationId)).job).toBeNull();
  });
});

describe('of a PSP that cannot be asked', () => {
  test('the signed word is evidence; the opposite word later is a contradiction for a person', async () => {
    const { account, operationId } = await chargeThatTold('pending');
    await deliver(account, news(operationId, { says: REPLY.succeeded }));
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      resolvedBy: 'webhook',
      entries: ['charge_succeeded'],
      job: null,
    });
    await deliver(account, news(operationId, { type: 'failed', says: REPLY.declined }));
    expect((await standingOf(book.db, operationId)).deadLetters).toEqual(['contradicting_evidence']);
  });

  test('all words of one delivery count, in whatever order they stand there', async () => {
    const { account, operationId } = await chargeThatTold('pending');
    const taken = { type: 'CAPTURE_FAILED', says: REPLY.reversed };
    await deliver(account, news(operationId, taken), news(operationId, { says: REPLY.succeeded }));
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'declined',
      attemptState: 'declined',
    });
    const other = await chargeThatTold('pending');
    const events = [news(other.operationId, { says: REPLY.succeeded }), news(other.operationId, taken)];
    expect(await deliver(other.account, ...events)).toEqual({ fresh: 2, looks: 1 });
    expect((await standingOf(book.db, other.operationId)).entries).toEqual([
      'charge_succeeded',
      'charge_reversed',
    ]);
  });

  test('two of one operation in one delivery count as the later one; both are stored', async () => {
    const { account, operationId } = await chargeThatTold('pending');
    const events = [news(operationId, { says: REPLY.pending }), news(operationId, { says: REPLY.succeeded })];
    expect(await deliver(account, ...events)).toEqual({ fresh: 2, looks: 1 });
    expect((await standingOf(book.db, operationId)).subState).toBe('succeeded');
    await applyOutside(book.db, []);
  });
});

describe('the effect of a webhook', () => {
  const canEnquire = { charge: true, refund: true, payout: true };

  test.each([
    ['payment_intent.succeeded', 'unknown', 'looks'],
    ['payment_intent.succeeded', 'claimed', 'known'],
    ['payment_intent.succeeded', 'queued', 'known'],
    ['payment_intent.succeeded', 'in_risk_review', 'known'],
    ['payment_intent.succeeded', 'succeeded', 'known'],
    ['refund.failed', 'succeeded', 'looks'],
    ['transfer.reversed', 'succeeded', 'looks'],
    ['refund.failed', 'reversed', 'known'],
    ['payment_intent.succeeded', 'declined', 'looks'],
  ] as const)('%s for an operation that is %s: %s', (type, subState, effect) => {
    const event = { type, says: null };
    expect(effectOf(event, { kind: 'refund', subState }, canEnquire)).toBe(effect);
    expect(effectOf(event, null, canEnquire)).toBe('not_ours');
  });

  test.each([
    ['payment_intent.payment_failed', 'succeeded', 'looks'],
    ['charge.failed', 'succeeded', 'looks'],
    ['charge.failed', 'claimed', 'known'],
    ['charge.failed', 'reversed', 'looks'],
  ] as const)('%s for a charge that is %s: %s', (type, subState, effect) => {
    expect(effectOf({ type, says: null }, { kind: 'charge', subState }, canEnquire)).toBe(effect);
    expect(mayUndo({ type }, { kind: 'charge', subState })).toBe(subState === 'succeeded');
  });

  test('about a dispute is a look at it: where the PSP can be asked in any case, a word only where it names ours', () => {
    const named = { kind: 'charge', subState: 'succeeded' } as const;
    const event = { type: 'charge.dispute.created', says: null, dispute: { reference: 'du_1', word: null } };
    expect(effectOf(event, null, canEnquire)).toBe('looks');
    const word = { code: 'CHARGEBACK', chargeReference: 'P1', money: null, reason: 'x' };
    const signed = { ...event, dispute: { reference: 'D1', word } };
    expect(effectOf(signed, null, canEnquire)).toBe('not_ours');
    expect(effectOf(signed, named, canEnquire)).toBe('looks');
  });

  test('is none where it says nothing and nobody can be asked', () => {
    const event = { type: 'CAPTURE_FAILED', says: null };
    const named = { kind: 'charge', subState: 'succeeded' } as const;
    expect(effectOf(event, named, canEnquire)).toBe('looks');
    expect(effectOf(event, named, { ...canEnquire, charge: false })).toBe('known');
  });
});

describe('which attempt an event is about', () => {
  const attempts = [
    { attemptNumber: 1, pspReference: 'first' },
    { attemptNumber: 2, pspReference: null },
  ];
  test.each([
    ['the one that carries its reference', 'first', attempts, 1],
    ['the latest, which has none yet', 'second', attempts, 2],
    ['none, when the latest is known by another', 'third', attempts.slice(0, 1), null],
    ['none, when there is none', 'first', [], null],
    ['the latest, when the event has no reference', null, attempts, 2],
  ])('%s', (_, pspReference, known, expected) => {
    expect(attemptOf({ pspReference }, known)).toBe(expected);
  });
});
