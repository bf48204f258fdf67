/** The way of one order through the executor's steps on a real database, replies by script. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  balanceOf,
  claim,
  claimOne,
  collectUncaught,
  lapse,
  makeDue,
  makeSteady,
  money,
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
  turn,
  uniqueName,
  untilBlocked,
} from '../../testing/fixtures.ts';
import { errorCode, transact } from '../db/connection.ts';
import { postEntries } from '../ledger/ledger-store.ts';
import { chargeSucceeded } from '../ledger/posting-rules.ts';
import type { Connector, EnquiryReply } from '../psp/psp.ts';
import { capabilitiesOf } from '../psp/request.ts';
import { MAX_BURNED, MAX_ENQUIRIES } from '../queue/job.ts';
import { callPsp, findingOf, recordFindings, type Task } from './execute-operations.ts';
import { giveBackOrphans, rescueOperations } from './rescue-operations.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

async function rescueFrom(victim: TestDaemon): Promise<TestDaemon> {
  const rescuer = await startTestDaemon(book.db);
  await lapse(book.owner, victim);
  await makeSteady(book.owner, rescuer);
  await rescueOperations(book.db, { daemonId: rescuer.id, principal: 'test', resendDelayMs: 0 });
  return rescuer;
}

/** Everything booked at the PSP of this account. */
function receivable(account: string): Promise<bigint> {
  return balanceOf(book.db, `psp:${account}:receivable`, 'EUR');
}

/** Takes the account's job through the replies one by one; returns the sub-state after each. */
async function through(
  daemon: TestDaemon,
  account: string,
  operationId: bigint,
  replies: readonly EnquiryReply[],
): Promise<readonly string[]> {
  const connector = scriptedConnector(replies);
  const states: string[] = [];
  for (let i = 0; i < replies.length; i += 1) {
    await makeDue(book.owner, account);
    await turn(daemon, account, connector);
    states.push((await standingOf(book.db, operationId)).subState);
  }
  return states;
}

describe('one order', () => {
  test('that succeeds is booked: receivable, seller and fee, in one entry; the job is gone', async () => {
    const account = uniqueName('acct');
    const seller = uniqueName('Seller');
    const orders = [orderRequest({ seller, platformFeeMinor: 250n })];
    const { operationId } = await queueCharge(book.db, account, { orders });
    const daemon = await startTestDaemon(book.db);
    const feesBefore = await balanceOf(book.db, 'platform:fees', 'EUR');
    const result = await turn(daemon, account, scriptedConnector([REPLY.succeeded]));
    expect(result).toMatchObject({
      right: 'settled',
      from: 'claimed',
      to: 'succeeded',
      outcome: 'succeeded',
    });
    expect(await standingOf(book.db, operationId)).toEqual({
      subState: 'succeeded',
      attemptState: 'succeeded',
      isOpen: false,
      maybeSent: true,
      sends: 1,
      attempts: 1,
      operationFence: 1,
      pspReference: 'pi_1',
      resolvedBy: 'reply',
      evidence: ['reply succeeded'],
      job: null,
      deadLetters: [],
      entries: ['charge_succeeded'],
    });
    expect(await receivable(account)).toBe(1250n);
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(1000n);
    expect((await balanceOf(book.db, 'platform:fees', 'EUR')) - feesBefore).toBe(250n);
  });

  test('that is declined has ended, and nothing is booked', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    await turn(daemon, account, scriptedConnector([REPLY.declined]));
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'declined',
      isOpen: false,
      job: null,
      deadLetters: [],
      entries: [],
    });
    expect(await receivable(account)).toBe(0n);
  });

  test('that the PSP rejects has failed, and a person is told', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    await turn(daemon, account, scriptedConnector([REPLY.rejected]));
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'rejected',
      isOpen: false,
      job: null,
      deadLetters: ['rejected'],
      entries: [],
    });
  });

  test('waits where the PSP is not reached or refuses to look, with the same attempt and the same key', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    const told = [REPLY.not_sent, REPLY.rate_limited, REPLY.config_error, REPLY.not_sent, REPLY.succeeded];
    const states = await through(daemon, account, operationId, told);
    expect(states).toEqual(['retry_wait', 'retry_wait', 'held_config', 'retry_wait', 'succeeded']);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      attempts: 1,
      sends: 5,
      entries: ['charge_succeeded'],
    });
  });

  test('that is pending is asked for, not sent again, until the PSP knows', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    const connector = scriptedConnector([REPLY.pending, REPLY.pending, REPLY.unknown, REPLY.succeeded]);
    const states: string[] = [];
    for (let i = 0; i < 4; i += 1) {
      await makeDue(book.owner, account);
      await turn(daemon, account, connector);
      states.push((await standingOf(book.db, operationId)).subState);
    }
    expect(states).toEqual(['pending_psp', 'pending_psp', 'pending_psp', 'succeeded']);
    expect(connector.calls).toEqual(['charge', 'enquire', 'enquire', 'enquire']);
    expect(await standingOf(book.db, operationId)).toMatchObject({ sends: 1, resolvedBy: 'enquiry' });
  });

  test('that is pending at a PSP that cannot be asked waits for word, and nobody is called meanwhile', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    const capabilities = capabilitiesOf('adyen');
    const adyen = { ...daemon, context: { ...daemon.context, capabilitiesOf: () => capabilities } };
    const connector = { ...scriptedConnector([REPLY.pending]), capabilities };
    for (let i = 0; i < 3; i += 1) {
      await makeDue(book.owner, account);
      await turn(adyen, account, connector);
    }
    expect(connector.calls).toEqual(['charge']);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'pending_psp',
      sends: 1,
      evidence: ['reply pending'],
      deadLetters: [],
    });
  });

  test('whose whole amount is fee gives the seller nothing and is booked all the same', async () => {
    const account = uniqueName('acct');
    const orders = [orderRequest({ seller: uniqueName('S'), platformFeeMinor: 1250n })];
    const { operationId } = await queueCharge(book.db, account, { orders });
    await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY.succeeded]));
    expect((await standingOf(book.db, operationId)).entries).toEqual(['charge_succeeded']);
    expect(await receivable(account)).toBe(1250n);
  });
});

describe('the named sequence', () => {
  const SEQUENCE: readonly EnquiryReply[] = [
    REPLY.unknown,
    REPLY.not_sent,
    REPLY.config_error,
    REPLY.rate_limited,
    REPLY.succeeded,
  ];

  test('charged but timed out, refused, 401, 429, success: one attempt, one charge, no FAILED in between', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    const states = await through(daemon, account, operationId, SEQUENCE);
    expect(states).toEqual(['unknown', 'unknown', 'unknown', 'unknown', 'succeeded']);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      attempts: 1,
      sends: 5,
      maybeSent: true,
      evidence: [
        'reply unknown',
        'reply not_sent',
        'reply config_error',
        'reply rate_limited',
        'reply succeeded',
      ],
      deadLetters: [],
      entries: ['charge_succeeded'],
    });
    expect(await receivable(account)).toBe(1250n);
  });

  test('a 400 in the middle of it ends nothing either: it is only asked for from then on', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    const states = await through(daemon, account, operationId, [
      REPLY.unknown,
      REPLY.rejected,
      REPLY.succeeded,
    ]);
    expect(states).toEqual(['unknown', 'unknown', 'succeeded']);
    const { evidence, deadLetters } = await standingOf(book.db, operationId);
    expect(evidence).toEqual(['reply unknown', 'reply rejected', 'enquiry succeeded']);
    expect(deadLetters).toEqual([]);
  });

  test('maybe_sent stays true through everything that follows', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    for (const reply of [
      REPLY.unknown,
      REPLY.not_sent,
      REPLY.config_error,
      REPLY.rate_limited,
      REPLY.rejected,
    ]) {
      await makeDue(book.owner, account);
      await turn(daemon, account, scriptedConnector([reply]));
      expect(await standingOf(book.db, operationId)).toMatchObject({ maybeSent: true, isOpen: true });
    }
  });
});

describe('the key window', () => {
  test('inside it a doubt is sent again with the stored request', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    await turn(daemon, account, scriptedConnector([REPLY.unknown]));
    await setFirstSentBack(book.owner, operationId, '19 hours 59 minutes');
    await makeDue(book.owner, account);
    const connector = scriptedConnector([REPLY.succeeded]);
    await turn(daemon, account, connector);
    expect(connector.calls).toEqual(['charge']);
  });

  test('past it nothing is sent: it is asked for; what the PSP knows ends it', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    await turn(daemon, account, scriptedConnector([REPLY.unknown]));
    await setFirstSentBack(book.owner, operationId, '20 hours');
    await makeDue(book.owner, account);
    const connector = scriptedConnector([REPLY.succeeded]);
    await turn(daemon, account, connector);
    expect(connector.calls).toEqual(['enquire']);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      resolvedBy: 'enquiry',
    });
  });

  test('a miss is a dead letter and stays unknown, never FAILED; a late success still books it', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    await turn(daemon, account, scriptedConnector([REPLY.unknown]));
    await setFirstSentBack(book.owner, operationId, '21 hours');
    await makeDue(book.owner, account);
    const task = await claimOne(daemon, account);
    await record(daemon, task, REPLY.not_found);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'unknown',
      attemptState: 'unknown',
      isOpen: true,
      job: null,
      deadLetters: ['unknown_unresolved'],
      entries: [],
    });
    expect(await record(daemon, task, REPLY.succeeded)).toMatchObject({ right: 'settled', to: 'succeeded' });
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      deadLetters: [],
      entries: ['charge_succeeded'],
    });
  });

  test('counts from the first send, whatever was sent since', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    await turn(daemon, account, scriptedConnector([REPLY.unknown]));
    await book.owner.sql`
      update ${book.owner.t.job} set first_sent_at = now() - interval '21 hours' where operation_id = ${operationId}`;
    await makeDue(book.owner, account);
    expect((await claimOne(daemon, account)).todo).toBe('enquire');
  });

  test('a wrong key over a long weekend does no harm: repaired, the order is charged, no person is needed', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    await turn(daemon, account, scriptedConnector([REPLY.config_error]));
    await setFirstSentBack(book.owner, operationId, '70 hours');
    // Nothing was ever accepted by the PSP, so an enquiry, if there is one, finds nothing.
    const repaired: Connector = {
      ...scriptedConnector([]),
      charge: async () => REPLY.succeeded,
      enquire: async () => REPLY.not_found,
    };
    await makeDue(book.owner, account);
    await turn(daemon, account, repaired);
    expect(await standingOf(book.db, operationId)).toMatchObject({ deadLetters: [] });
  });
});

describe('tries', () => {
  test('a doubt that never ends goes from sending to asking to a person, and is never FAILED', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    const replies = Array.from({ length: MAX_BURNED + MAX_ENQUIRIES }, () => REPLY.unknown);
    const connector = scriptedConnector(replies);
    for (let i = 0; i < replies.length; i += 1) {
      expect((await standingOf(book.db, operationId)).deadLetters).toEqual([]);
      await makeDue(book.owner, account);
      await turn(daemon, account, connector);
    }
    expect(connector.calls.filter((call) => call === 'charge')).toHaveLength(MAX_BURNED);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'unknown',
      isOpen: true,
      job: null,
      deadLetters: ['enquiry_failed'],
    });
  });

  test('a connector that throws is a doubt, and is asked instead of sent again', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    const broken: Connector = {
      ...scriptedConnector([]),
      charge: () => Promise.reject(new Error('broken')),
    };
    const reply = await callPsp(broken, await claimOne(daemon, account), 1_000);
    expect(reply).toMatchObject({ kind: 'unknown', next: 'enquire' });
    await makeDue(book.owner, account);
    expect((await standingOf(book.db, operationId)).attempts).toBe(1);
  });
});

describe('a stalled daemon', () => {
  test('whose job another has settled cannot settle it: its late success is kept, and booked once', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const stalled = await startTestDaemon(book.db);
    const task = await claimOne(stalled, account);
    const rescuer = await rescueFrom(stalled);
    await turn(rescuer, account, scriptedConnector([REPLY.succeeded]));
    const settled = await standingOf(book.db, operationId);
    await record(stalled, task, REPLY.succeeded);
    expect(await standingOf(book.db, operationId)).toEqual({
      ...settled,
      evidence: ['lapse unknown', 'reply succeeded', 'late_reply succeeded'],
    });
    expect(settled.entries).toEqual(['charge_succeeded']);
    expect(await receivable(account)).toBe(1250n);
  });

  test.each(['unknown', 'not_sent', 'rejected', 'config_error', 'rate_limited'] as const)(
    'cannot turn a settled success back with a late %s',
    async (kind) => {
      const account = uniqueName('acct');
      const { operationId } = await queueCharge(book.db, account);
      const stalled = await startTestDaemon(book.db);
      const task = await claimOne(stalled, account);
      const rescuer = await rescueFrom(stalled);
      await turn(rescuer, account, scriptedConnector([REPLY.succeeded]));
      const settled = await standingOf(book.db, operationId);
      await record(stalled, task, REPLY[kind]);
      const { evidence, ...after } = await standingOf(book.db, operationId);
      expect(evidence.at(-1)).toBe(`late_reply ${kind}`);
      expect({ ...after, evidence: settled.evidence }).toEqual(settled);
    },
  );

  test('cannot settle, return or bury a job that another has in hand', async () => {
    for (const kind of ['succeeded', 'declined', 'rejected', 'not_sent', 'unknown', 'not_found'] as const) {
      const account = uniqueName('acct');
      const { operationId } = await queueCharge(book.db, account);
      const stalled = await startTestDaemon(book.db);
      const task = await claimOne(stalled, account);
      const rescuer = await rescueFrom(stalled);
      const inHand = await claimOne(rescuer, account);
      expect(inHand.todo).toBe('send');
      const before = await standingOf(book.db, operationId);
      expect(await record(stalled, task, REPLY[kind])).toMatchObject({ right: 'fenced' });
      const after = await standingOf(book.db, operationId);
      expect(after).toEqual({ ...before, evidence: ['lapse unknown', `late_reply ${kind}`] });
      expect(after.job).toMatchObject({ state: 'leased', fence: inHand.job.fence });
    }
  });

  test('that succeeded before the next daemon claims spares the second send: it is folded', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const stalled = await startTestDaemon(book.db);
    const task = await claimOne(stalled, account);
    const rescuer = await rescueFrom(stalled);
    expect(await record(stalled, task, REPLY.succeeded)).toMatchObject({ right: 'fenced' });
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'unknown', entries: [] });
    const connector = scriptedConnector([]);
    expect(await turn(rescuer, account, connector)).toMatchObject({ right: 'settled', to: 'succeeded' });
    expect(connector.calls).toEqual([]);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      resolvedBy: 'late_reply',
      entries: ['charge_succeeded'],
      job: null,
    });
    expect(await receivable(account)).toBe(1250n);
  });

  test('whose late answer says that the PSP has it in hand: the next daemon asks and does not send', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const stalled = await startTestDaemon(book.db);
    const task = await claimOne(stalled, account);
    const rescuer = await rescueFrom(stalled);
    await record(stalled, task, REPLY.pending);
    const connector = scriptedConnector([REPLY.succeeded]);
    await turn(rescuer, account, connector);
    expect(connector.calls).toEqual(['enquire']);
    expect((await standingOf(book.db, operationId)).subState).toBe('succeeded');
  });

  test('whose late success arrives while the next one is calling: that one folds it, even if it learns nothing', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const stalled = await startTestDaemon(book.db);
    const late = await claimOne(stalled, account);
    const rescuer = await rescueFrom(stalled);
    const task = await claimOne(rescuer, account);
    await record(stalled, late, REPLY.succeeded);
    expect(await record(rescuer, task, REPLY.unknown)).toMatchObject({ right: 'settled', to: 'succeeded' });
    expect(await standingOf(book.db, operationId)).toMatchObject({
      entries: ['charge_succeeded'],
      job: null,
    });
  });

  test('wakes a job that waits for its next try', async () => {
    const account = uniqueName('acct');
    await queueCharge(book.db, account);
    const stalled = await startTestDaemon(book.db);
    const late = await claimOne(stalled, account);
    const rescuer = await rescueFrom(stalled);
    await record(rescuer, await claimOne(rescuer, account), { ...REPLY.unknown, retryAfterMs: 3_000_000 });
    expect(await claim(rescuer, account)).toEqual([]);
    await record(stalled, late, REPLY.succeeded);
    expect((await claimOne(rescuer, account)).todo).toBe('fold');
  });

  test('that had not even sent tells so too late: the doubt of its lapse stays', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const stalled = await startTestDaemon(book.db);
    const late = await claimOne(stalled, account);
    await rescueFrom(stalled);
    await record(stalled, late, REPLY.not_sent);
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'unknown', maybeSent: true });
  });

  test('whose job was buried as poison: its late success is booked and the dead letter closed', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const stalled = await startTestDaemon(book.db);
    const late = await claimOne(stalled, account);
    await book.owner.sql`update ${book.owner.t.job} set rescues = 5 where operation_id = ${operationId}`;
    await rescueFrom(stalled);
    expect((await standingOf(book.db, operationId)).deadLetters).toEqual(['rescued_too_often']);
    await record(stalled, late, REPLY.succeeded);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      deadLetters: [],
      entries: ['charge_succeeded'],
    });
  });
});

function oneCent(account: string, seller: string) {
  return chargeSucceeded({
    pspAccount: account,
    seller,
    currency: money('1', 'EUR').currency,
    grossMinor: 1n,
    feeMinor: 0n,
    release: 'available',
  });
}

/** A batch of tasks in one lane, claimed. */
async function claimedBatch(
  size: number,
): Promise<{ account: string; daemon: TestDaemon; tasks: readonly Task[] }> {
  const account = uniqueName('acct');
  await queueCharges(
    book.db,
    account,
    Array.from({ length: size }, () => paymentRequest()),
  );
  const daemon = await startTestDaemon(book.db);
  const tasks = await claim(daemon, account);
  expect(tasks).toHaveLength(size);
  return { account, daemon, tasks };
}

describe('a batch of replies', () => {
  test('is answered in the order of its items', async () => {
    const { daemon, tasks } = await claimedBatch(5);
    const reversed = [...tasks].reverse();
    const results = await recordFindings(
      daemon.context,
      reversed.map((task) => findingOf(task, REPLY.succeeded)),
    );
    expect(results.map((result) => result.operationId)).toEqual(reversed.map((task) => task.job.operationId));
  });

  test('with one item that the books refuse: the others are recorded, that one waits for a person', async () => {
    const { account, daemon, tasks } = await claimedBatch(7);
    const offender = tasks[4]!;
    const cause = `op_${offender.job.operationId}`;
    await transact(book.db, (tx) =>
      postEntries(tx, 'test', [{ cause, ...oneCent(account, 'Somebody else') }]),
    );
    const results = await recordFindings(
      daemon.context,
      tasks.map((task) => findingOf(task, REPLY.succeeded)),
    );
    expect(results.map((result) => result.right)).toEqual(
      tasks.map((task) => (task === offender ? 'quarantined' : 'settled')),
    );
    for (const task of tasks) {
      const standing = await standingOf(book.db, task.job.operationId);
      if (task === offender) {
        expect(standing).toMatchObject({
          subState: 'unknown',
          isOpen: true,
          maybeSent: true,
          evidence: ['reply succeeded'],
          job: null,
          deadLetters: ['quarantined'],
        });
      } else {
        expect(standing).toMatchObject({
          subState: 'succeeded',
          entries: ['charge_succeeded'],
          deadLetters: [],
        });
      }
    }
    expect(await receivable(account)).toBe(6n * 1250n + 1n);
  });

  test('whatever characters a PSP sends, its answer is stored and the batch goes through', async () => {
    const reasons = [
      'card\u0000declined',
      'half a \ud83d pair',
      '{NULL,"\\"}',
      'a'.repeat(100_000),
      'line\nline',
    ];
    const { daemon, tasks } = await claimedBatch(reasons.length + 1);
    const findings = tasks.map((task, i) => {
      const reason = reasons[i];
      if (reason === undefined) return findingOf(task, REPLY.succeeded);
      return findingOf(task, { kind: 'declined', reason, mayRetryAsNew: false, pspReference: reason });
    });
    await recordFindings(daemon.context, findings);
    const states = await Promise.all(tasks.map((task) => standingOf(book.db, task.job.operationId)));
    expect(states.map((standing) => [standing.subState, standing.evidence.length])).toEqual([
      ...reasons.map(() => ['declined', 1]),
      ['succeeded', 1],
    ]);
  });

  test('with two replies of one operation (its stale holder and its new one) records both', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const stalled = await startTestDaemon(book.db);
    const late = await claimOne(stalled, account);
    const rescuer = await rescueFrom(stalled);
    const task = await claimOne(rescuer, account);
    const results = await recordFindings(rescuer.context, [
      findingOf(late, REPLY.succeeded),
      findingOf(task, REPLY.unknown),
    ]);
    expect(results.map((result) => result.right)).toEqual(['fenced', 'settled']);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      evidence: ['lapse unknown', 'late_reply succeeded', 'reply unknown'],
      entries: ['charge_succeeded'],
    });
  });

  test('recorded twice, because the answer of the first commit was lost, changes nothing in the books', async () => {
    const { account, daemon, tasks } = await claimedBatch(4);
    const replies = [REPLY.succeeded, REPLY.declined, REPLY.unknown, REPLY.rejected];
    const findings = tasks.map((task, i) => findingOf(task, replies[i]!));
    await recordFindings(daemon.context, findings);
    const ids = tasks.map((task) => task.job.operationId);
    const standings = () => Promise.all(ids.map((id) => standingOf(book.db, id)));
    const before = await standings();
    await recordFindings(daemon.context, findings);
    const after = await standings();
    expect(after.map((standing) => ({ ...standing, evidence: [] }))).toEqual(
      before.map((standing) => ({ ...standing, evidence: [] })),
    );
    expect(await receivable(account)).toBe(1250n);
  });

  test('whose connection is lost in the middle leaves nothing half-written, and a second try records it', async () => {
    const { account, daemon, tasks } = await claimedBatch(4);
    const standings = () => Promise.all(tasks.map((task) => standingOf(book.db, task.job.operationId)));
    const before = await standings();
    const findings = tasks.map((task) => findingOf(task, REPLY.succeeded));
    await transact(book.db, (tx) =>
      postEntries(tx, 'test', [{ cause: uniqueName('cause'), ...oneCent(account, 'Café Ana') }]),
    );
    // Its last step waits for a balance that we hold; then its connection is cut. That a cut connection must
    // not end the process either is a test of its own, beside the connection.
    await collectUncaught(() =>
      transact(book.owner, async (tx) => {
        await tx.sql`
          select 1 from ${tx.t.accountBalance} b
            join ${tx.t.account} a on a.id = b.account_id
           where a.code = ${`psp:${account}:receivable`} for update of b`;
        const recording = recordFindings(daemon.context, findings).then(
          () => null,
          (reason: unknown) => reason,
        );
        await untilBlocked(book.owner, 'insert into "paygate"."posting"');
        await tx.sql`
          select pg_terminate_backend(pid) from pg_stat_activity
           where wait_event_type = 'Lock' and position('insert into "paygate"."posting"' in query) > 0
             and datname = current_database() and pid <> pg_backend_pid()`;
        expect(['57P01', 'CONNECTION_CLOSED', 'ECONNRESET']).toContain(errorCode(await recording));
      }),
    );
    expect(await standings()).toEqual(before);
    const results = await recordFindings(daemon.context, findings);
    expect(results.every((result) => result.right === 'settled')).toBe(true);
    expect(await receivable(account)).toBe(4n * 1250n + 1n);
  });

  test('of two daemons in opposite order end both: nobody waits in a circle', async () => {
    const accounts = [uniqueName('acct'), uniqueName('acct')];
    const sellers = Array.from({ length: 12 }, () => uniqueName('Seller'));
    for (let round = 0; round < 5; round += 1) {
      const batches = await Promise.all(
        accounts.map(async (account, which) => {
          const order = which === 0 ? sellers : [...sellers].reverse();
          const requests = order.map((seller) => paymentRequest({ orders: [orderRequest({ seller })] }));
          await queueCharges(book.db, account, requests);
          const daemon = await startTestDaemon(book.db);
          return { daemon, tasks: await claim(daemon, account) };
        }),
      );
      const results = await Promise.all(
        batches.map(({ daemon, tasks }, which) => {
          const findings = tasks.map((task) => findingOf(task, REPLY.succeeded));
          return recordFindings(daemon.context, which === 0 ? findings : [...findings].reverse());
        }),
      );
      expect(results.flat().every((result) => result.right === 'settled')).toBe(true);
    }
    expect((await receivable(accounts[0]!)) + (await receivable(accounts[1]!))).toBe(2n * 5n * 12n * 1250n);
  });

  test('about the same operations, by a stale holder and the new one, in opposite order: both end', async () => {
    const { account, daemon, tasks } = await claimedBatch(10);
    const rescuer = await rescueFrom(daemon);
    const inHand = await claim(rescuer, account);
    const late = tasks.map((task) => findingOf(task, REPLY.succeeded));
    const current = inHand.map((task) => findingOf(task, REPLY.succeeded)).reverse();
    await Promise.all([recordFindings(daemon.context, late), recordFindings(rescuer.context, current)]);
    for (const task of tasks) {
      const standing = await standingOf(book.db, task.job.operationId);
      expect(standing).toMatchObject({ subState: 'succeeded', entries: ['charge_succeeded'], job: null });
    }
    expect(await receivable(account)).toBe(10n * 1250n);
  });
});

describe('a claim whose answer was lost', () => {
  /** A second claim fails after it was committed: what is stored of its jobs cannot be read. */
  async function lostClaim(): Promise<{ account: string; daemon: TestDaemon; operationId: bigint }> {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    await record(daemon, await claimOne(daemon, account), REPLY.unknown);
    await makeDue(book.owner, account);
    await book.owner.sql`revoke select on ${book.owner.t.evidence} from paygate_app`;
    try {
      await expect(claim(daemon, account)).rejects.toMatchObject({ code: '42501' });
    } finally {
      await book.owner.sql`grant select on ${book.owner.t.evidence} to paygate_app`;
    }
    return { account, daemon, operationId };
  }

  function giveBack(
    daemon: TestDaemon,
    account: string,
    holds: (operationId: bigint, fence: number) => boolean,
  ) {
    const lanes = [`${account}/online`, `${account}/batch`];
    return giveBackOrphans(book.db, { daemonId: daemon.id, principal: 'test', lanes, holds });
  }

  test('leaves jobs that the daemon gives back, in doubt, under a new fence', async () => {
    const { account, daemon, operationId } = await lostClaim();
    const before = await standingOf(book.db, operationId);
    expect(before.job).toMatchObject({ state: 'leased' });
    const jobs = await giveBack(daemon, account, () => false);
    expect(jobs.map((job) => job.operationId)).toEqual([operationId]);
    const after = await standingOf(book.db, operationId);
    expect(after).toMatchObject({ subState: 'unknown', maybeSent: true, isOpen: true });
    expect(after.evidence).toEqual(['reply unknown', 'lapse unknown']);
    expect(after.job).toMatchObject({ state: 'ready', fence: before.job!.fence + 1 });
    expect((await claimOne(daemon, account)).job.operationId).toBe(operationId);
  });

  test('what the daemon has in hand stays in its hand', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    const { job } = await claimOne(daemon, account);
    const held = (id: bigint, fence: number) => id === operationId && fence === job.fence;
    expect(await giveBack(daemon, account, held)).toEqual([]);
    const older = (id: bigint, fence: number) => id === operationId && fence === job.fence - 1;
    expect(await giveBack(daemon, account, older)).toHaveLength(1);
  });

  test("another daemon's jobs are not given back", async () => {
    const account = uniqueName('acct');
    await queueCharge(book.db, account);
    const [daemon, other] = [await startTestDaemon(book.db), await startTestDaemon(book.db)];
    await claimOne(other, account);
    expect(await giveBack(daemon, account, () => false)).toEqual([]);
  });

  test('a job given back too often becomes a dead letter', async () => {
    const { account, daemon, operationId } = await lostClaim();
    await book.owner.sql`update ${book.owner.t.job} set rescues = 5 where operation_id = ${operationId}`;
    await giveBack(daemon, account, () => false);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'unknown',
      job: null,
      deadLetters: ['rescued_too_often'],
    });
  });
});
