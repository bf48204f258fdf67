/** What happens to evidence that comes late, from outside, or from a person; and what the database refuses. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  applyOutside,
  balanceOf,
  claimOne,
  lapse,
  makeDue,
  makeSteady,
  openTestBook,
  queueCharge,
  REPLY,
  record,
  scriptedConnector,
  standingOf,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  turn,
  uniqueName,
} from '../../testing/fixtures.ts';
import { transact } from '../db/connection.ts';
import type { EnquiryReply } from '../psp/psp.ts';
import { capabilitiesOf } from '../psp/request.ts';
import { lockJobs } from '../queue/queue-store.ts';
import { type Applied, applyFindings, MAX_FINDINGS } from './apply-findings.ts';
import { findingOf, recordFindings, type Task } from './execute-operations.ts';
import type { Finding } from './finding.ts';
import type { SubState } from './operation.ts';
import { type AttemptChange, insertAttempts, updateAttempts, updateOperations } from './operation-store.ts';
import { rescueOperations } from './rescue-operations.ts';
import { resolveOperation } from './resolve-operation.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

function resolve(
  operationId: bigint,
  verdict: 'succeeded' | 'failed',
  overrides: { evidence?: string; pspReference?: string | null } = {},
): Promise<Applied> {
  return resolveOperation(book.db, {
    operationId,
    verdict,
    evidence: 'seen in the dashboard of the PSP',
    pspReference: null,
    principal: 'os:ana',
    capabilitiesOf: () => capabilitiesOf('stripe'),
    ...overrides,
  });
}

function outside(operationId: bigint, reply: EnquiryReply): Finding {
  return { operationId, attemptNumber: 1, source: 'enquiry', reply, held: null };
}

/** An order whose outcome nobody knows; its job waits. */
async function doubtful(): Promise<{ account: string; operationId: bigint; daemon: TestDaemon; late: Task }> {
  const account = uniqueName('acct');
  const { operationId } = await queueCharge(book.db, account);
  const daemon = await startTestDaemon(book.db);
  const late = await claimOne(daemon, account);
  await record(daemon, late, REPLY.unknown);
  return { account, operationId, daemon, late };
}

async function ended(
  reply: EnquiryReply,
): Promise<{ account: string; operationId: bigint; daemon: TestDaemon }> {
  const account = uniqueName('acct');
  const { operationId } = await queueCharge(book.db, account);
  const daemon = await startTestDaemon(book.db);
  await turn(daemon, account, scriptedConnector([reply]));
  return { account, operationId, daemon };
}

const suspense = (account: string) => balanceOf(book.db, `suspense:${account}`, 'EUR');
const receivable = (account: string) => balanceOf(book.db, `psp:${account}:receivable`, 'EUR');

describe('a person', () => {
  test('who saw that it succeeded ends the doubt: it is booked, the job is gone, the fence has risen', async () => {
    const { account, operationId } = await doubtful();
    const before = await standingOf(book.db, operationId);
    const applied = await resolve(operationId, 'succeeded', { pspReference: 'pi_seen' });
    expect(applied).toMatchObject({ right: 'settled', from: 'unknown', to: 'succeeded' });
    const after = await standingOf(book.db, operationId);
    expect(after).toMatchObject({
      subState: 'succeeded',
      attemptState: 'succeeded',
      resolvedBy: 'person',
      pspReference: 'pi_seen',
      job: null,
      entries: ['charge_succeeded'],
      evidence: ['reply unknown', 'person succeeded'],
    });
    expect(after.operationFence).toBeGreaterThan(before.job!.fence);
    expect(await receivable(account)).toBe(1250n);
  });

  test('who saw that it failed ends the doubt, and nothing is booked', async () => {
    const { account, operationId } = await doubtful();
    await resolve(operationId, 'failed');
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'declined',
      resolvedBy: 'person',
      job: null,
      entries: [],
    });
    expect(await receivable(account)).toBe(0n);
  });

  test('who names no reference keeps the one that is known', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    await turn(
      await startTestDaemon(book.db),
      account,
      scriptedConnector([{ ...REPLY.pending, pspReference: 'pi_known' }]),
    );
    await resolve(operationId, 'succeeded');
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      pspReference: 'pi_known',
    });
  });

  test('who names no reference, where none is known, leaves it unknown', async () => {
    const { operationId } = await doubtful();
    await resolve(operationId, 'succeeded');
    expect((await standingOf(book.db, operationId)).pspReference).toBeNull();
  });

  test('closes the dead letter of what he resolved', async () => {
    const { operationId, account, daemon } = await doubtful();
    await makeDue(book.owner, account);
    await record(daemon, await claimOne(daemon, account), REPLY.not_found);
    expect((await standingOf(book.db, operationId)).deadLetters).toEqual(['unknown_unresolved']);
    await resolve(operationId, 'failed');
    const [letter] = await book.owner.sql`
      select state, closed_by, close_reason from ${book.owner.t.deadLetter} where operation_id = ${operationId}`;
    expect(letter).toEqual({ state: 'resolved', closedBy: 'os:ana', closeReason: 'settled by evidence' });
  });

  test('while a daemon has it in hand: the reply of the daemon settles nothing any more', async () => {
    const { account, operationId, daemon } = await doubtful();
    await makeDue(book.owner, account);
    const task = await claimOne(daemon, account);
    await resolve(operationId, 'succeeded');
    const settled = await standingOf(book.db, operationId);
    await record(daemon, task, REPLY.succeeded);
    expect(await standingOf(book.db, operationId)).toEqual({
      ...settled,
      evidence: [...settled.evidence, 'late_reply succeeded'],
    });
    expect(await receivable(account)).toBe(1250n);
  });

  test.each<[string, () => Promise<bigint>, string]>([
    [
      'was never sent',
      async () => (await queueCharge(book.db, uniqueName('acct'))).operationId,
      'never_sent',
    ],
    ['has succeeded', async () => (await ended(REPLY.succeeded)).operationId, 'already_ended'],
    ['has failed', async () => (await ended(REPLY.declined)).operationId, 'already_ended'],
    ['does not exist', async () => 999_999_999n, 'never_sent'],
  ])('cannot resolve what %s', async (_, make, code) => {
    const operationId = await make();
    await expect(resolve(operationId, 'failed')).rejects.toMatchObject({ name: 'OperatorError', code });
  });

  test('must say what he saw, in a few words and not in a book', async () => {
    const { operationId } = await doubtful();
    const before = await standingOf(book.db, operationId);
    for (const [evidence, code] of [
      ['', 'evidence_too_short'],
      ['      ok      ', 'evidence_too_short'],
      ['x'.repeat(2_001), 'evidence_too_long'],
    ] as const) {
      await expect(resolve(operationId, 'failed', { evidence })).rejects.toMatchObject({ code });
    }
    expect(await standingOf(book.db, operationId)).toEqual(before);
  });

  test('and another who says the opposite at the same moment: one of them decides, the order is not torn', async () => {
    const { account, operationId } = await doubtful();
    const results = await Promise.allSettled([
      resolve(operationId, 'succeeded'),
      resolve(operationId, 'failed'),
    ]);
    expect(results.some((result) => result.status === 'fulfilled')).toBe(true);
    const { subState, entries } = await standingOf(book.db, operationId);
    // Where "failed" came first, the other word is a late success: in suspense, never lost.
    const expected = subState === 'succeeded' ? [['charge_succeeded']] : [[], ['late_success']];
    expect(expected).toContainEqual(entries);
    expect(await receivable(account)).toBe(1250n * BigInt(entries.length));
  });
});

describe('after the end', () => {
  test('a late success of what a person had failed goes to suspense, and to a person', async () => {
    const { account, operationId, daemon, late } = await doubtful();
    await resolve(operationId, 'failed');
    await record(daemon, late, REPLY.succeeded);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'declined',
      attemptState: 'succeeded_surplus',
      isOpen: false,
      entries: ['late_success'],
      deadLetters: ['late_success'],
    });
    expect([await receivable(account), await suspense(account)]).toEqual([1250n, 1250n]);
  });

  test('the same late success again is a no-op in the books', async () => {
    const { account, operationId, daemon, late } = await doubtful();
    await resolve(operationId, 'failed');
    await record(daemon, late, REPLY.succeeded);
    const once = await standingOf(book.db, operationId);
    await record(daemon, late, REPLY.succeeded);
    const { evidence, ...twice } = await standingOf(book.db, operationId);
    expect({ ...twice, evidence: once.evidence }).toEqual(once);
    expect(evidence).toHaveLength(once.evidence.length + 1);
    expect(await suspense(account)).toBe(1250n);
  });

  test('a decline of what a person had seen succeed is a contradiction for a person; the books stay', async () => {
    const { account, operationId, daemon, late } = await doubtful();
    await resolve(operationId, 'succeeded');
    await record(daemon, late, REPLY.declined);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      attemptState: 'succeeded',
      entries: ['charge_succeeded'],
      deadLetters: ['contradicting_evidence'],
    });
    expect(await receivable(account)).toBe(1250n);
  });

  test.each(['failed', 'succeeded'] as const)(
    'what a person who had seen it %s has dealt with is not told again by the same evidence',
    async (verdict) => {
      const { operationId, daemon, late } = await doubtful();
      await resolve(operationId, verdict);
      const otherwise = verdict === 'failed' ? REPLY.succeeded : REPLY.declined;
      await record(daemon, late, otherwise);
      expect((await standingOf(book.db, operationId)).deadLetters).toHaveLength(1);
      const { sql, t } = book.owner;
      await sql`
        update ${t.deadLetter} set state = 'resolved', closed_at = now(), closed_by = 'ana', close_reason = 'done'
         where operation_id = ${operationId}`;
      await record(daemon, late, otherwise);
      await applyOutside(book.db, [outside(operationId, otherwise)]);
      expect((await standingOf(book.db, operationId)).deadLetters).toEqual([]);
    },
  );

  test('a late success of a declined order, without any doubt before, goes to suspense as well', async () => {
    const { account, operationId } = await ended(REPLY.declined);
    await applyOutside(book.db, [outside(operationId, REPLY.succeeded)]);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'declined',
      entries: ['late_success'],
      deadLetters: ['late_success'],
    });
    expect(await suspense(account)).toBe(1250n);
  });

  test('a late success of a rejected order is told to a person, though its rejection still waits for one', async () => {
    const { account, operationId } = await ended(REPLY.rejected);
    expect((await standingOf(book.db, operationId)).deadLetters).toEqual(['rejected']);
    await applyOutside(book.db, [outside(operationId, REPLY.succeeded)]);
    expect(await suspense(account)).toBe(1250n);
    expect((await standingOf(book.db, operationId)).deadLetters).toContain('late_success');
  });

  test.each([
    'unknown',
    'not_found',
    'not_sent',
    'rejected',
    'rate_limited',
    'config_error',
    'pending',
  ] as const)('a late %s changes nothing, whatever the end was', async (kind) => {
    for (const end of [REPLY.succeeded, REPLY.declined]) {
      const { operationId } = await ended(end);
      const before = await standingOf(book.db, operationId);
      await applyOutside(book.db, [outside(operationId, REPLY[kind])]);
      const { evidence, ...after } = await standingOf(book.db, operationId);
      expect({ ...after, evidence: before.evidence }).toEqual(before);
      expect(evidence.at(-1)).toBe(`enquiry ${kind}`);
    }
  });

  test('equal evidence is a no-op in the books, however often it comes', async () => {
    for (const end of [REPLY.succeeded, REPLY.declined]) {
      const { account, operationId } = await ended(end);
      const before = await standingOf(book.db, operationId);
      const booked = await receivable(account);
      for (let i = 0; i < 3; i += 1) await applyOutside(book.db, [outside(operationId, end)]);
      const { evidence, ...after } = await standingOf(book.db, operationId);
      expect({ ...after, evidence: before.evidence }).toEqual(before);
      expect(evidence).toHaveLength(before.evidence.length + 3);
      expect(await receivable(account)).toBe(booked);
    }
  });
});

describe('evidence from outside the queue', () => {
  test('that ends an operation ends its job and raises its fence', async () => {
    const { account, operationId } = await doubtful();
    const before = await standingOf(book.db, operationId);
    await applyOutside(book.db, [outside(operationId, REPLY.succeeded)]);
    const after = await standingOf(book.db, operationId);
    expect(after).toMatchObject({ subState: 'succeeded', resolvedBy: 'enquiry', job: null });
    expect(after.operationFence).toBeGreaterThan(before.job!.fence);
    expect(await receivable(account)).toBe(1250n);
  });

  test('that ends nothing leaves the job to whoever has it', async () => {
    const { operationId } = await doubtful();
    const { job } = await standingOf(book.db, operationId);
    await applyOutside(book.db, [outside(operationId, REPLY.pending)]);
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'pending_psp', job });
  });

  test('about an operation that was never sent is a bug, and changes nothing', async () => {
    const { operationId } = await queueCharge(book.db, uniqueName('acct'));
    const before = await standingOf(book.db, operationId);
    await expect(applyOutside(book.db, [outside(operationId, REPLY.succeeded)])).rejects.toThrow(
      'cannot happen to an operation that is queued',
    );
    expect(await standingOf(book.db, operationId)).toEqual(before);
  });

  test('racing with the reply of the holder: one books it, once', async () => {
    for (let round = 0; round < 8; round += 1) {
      const account = uniqueName('acct');
      const { operationId } = await queueCharge(book.db, account);
      const daemon = await startTestDaemon(book.db);
      const task = await claimOne(daemon, account);
      await Promise.all([
        record(daemon, task, REPLY.succeeded),
        applyOutside(book.db, [outside(operationId, REPLY.succeeded)]),
      ]);
      expect(await standingOf(book.db, operationId)).toMatchObject({
        subState: 'succeeded',
        entries: ['charge_succeeded'],
        deadLetters: [],
        job: null,
      });
      expect(await receivable(account)).toBe(1250n);
    }
  });
});

describe('the step', () => {
  test('applies nothing when there is nothing', async () => {
    expect(await applyOutside(book.db, [])).toEqual([]);
  });

  test('refuses two findings of one operation, and too many', async () => {
    const { operationId } = await doubtful();
    const finding = outside(operationId, REPLY.unknown);
    await expect(applyOutside(book.db, [finding, finding])).rejects.toThrow('two findings');
    const many = Array.from({ length: MAX_FINDINGS + 1 }, (_, i) => ({ ...finding, operationId: BigInt(i) }));
    await expect(applyOutside(book.db, many)).rejects.toThrow('the limit is');
  });

  test('writes one event per finding, in the same transaction', async () => {
    const { operationId } = await doubtful();
    const events = () => book.owner.sql<{ kind: string }[]>`
      select kind from ${book.owner.t.event} where data->>'operation' = ${String(operationId)} order by id`;
    const before = (await events()).length;
    const failing = transact(book.db, async (tx) => {
      const context = { principal: 'test', capabilitiesOf: () => capabilitiesOf('stripe'), random: () => 0 };
      await applyFindings(tx, context, [outside(operationId, REPLY.succeeded)]);
      throw new Error('rolled back');
    });
    await expect(failing).rejects.toThrow('rolled back');
    expect((await events()).length).toBe(before);
    await applyOutside(book.db, [outside(operationId, REPLY.succeeded)]);
    expect((await events()).slice(before).map((event) => event.kind)).toEqual(['operation_evidence']);
  });

  test('keeps the whole answer, with what has no column', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const reply: EnquiryReply = {
      kind: 'declined',
      reason: 'insufficient_funds',
      mayRetryAsNew: true,
      pspReference: 'pi_9',
    };
    await turn(await startTestDaemon(book.db), account, scriptedConnector([reply]));
    const [row] = await book.owner.sql`
      select kind, reason, psp_reference, detail, fence, principal from ${book.owner.t.evidence} where operation_id = ${operationId}`;
    expect(row).toMatchObject({
      kind: 'declined',
      reason: 'insufficient_funds',
      pspReference: 'pi_9',
      fence: 1,
    });
    expect(JSON.parse(row!.detail)).toMatchObject({ mayRetryAsNew: true });
  });

  test('locks jobs before it reads evidence: what was stored while it waited is folded', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const stalled = await startTestDaemon(book.db);
    const late = await claimOne(stalled, account);
    const rescuer = await startTestDaemon(book.db);
    await lapse(book.owner, stalled);
    await makeSteady(book.owner, rescuer);
    await rescueOperations(book.db, { daemonId: rescuer.id, principal: 'test', resendDelayMs: 0 });
    const task = await claimOne(rescuer, account);
    const waiting = await transact(book.db, async (tx) => {
      await lockJobs(tx, [operationId]);
      const recording = recordFindings(rescuer.context, [findingOf(task, REPLY.unknown)]);
      await applyFindings(tx, stalled.context, [findingOf(late, REPLY.succeeded)]);
      return { recording };
    });
    expect(await waiting.recording).toMatchObject([{ right: 'settled', to: 'succeeded' }]);
    expect((await standingOf(book.db, operationId)).entries).toEqual(['charge_succeeded']);
  });
});

describe('the database refuses', () => {
  test('a second open attempt of an operation', async () => {
    const { operationId } = await doubtful();
    const second = { operationId, number: 2, idempotencyKey: 'second', request: '{}' };
    await expect(transact(book.db, (tx) => insertAttempts(tx, [second]))).rejects.toMatchObject({
      code: '23505',
      constraint_name: 'one_open_attempt',
    });
  });

  test('nothing when the first attempt has been closed', async () => {
    const { operationId } = await ended(REPLY.declined);
    const second = { operationId, number: 2, idempotencyKey: 'second', request: '{}' };
    await transact(book.db, (tx) => insertAttempts(tx, [second]));
  });

  test('a second charge of an order', async () => {
    const { operationId } = await doubtful();
    const { sql, t } = book.owner;
    const copy = sql`
      insert into ${t.operation} (id, kind, payment_id, payment_order_id, psp_account, amount_minor, currency, sub_state)
      select nextval('paygate.object_id'), kind, payment_id, payment_order_id, psp_account, amount_minor, currency, sub_state
        from ${t.operation} where id = ${operationId}`;
    await expect(copy).rejects.toMatchObject({ constraint_name: 'one_charge_per_order' });
  });

  test('a charge without an order, and an amount of nothing', async () => {
    const { sql, t } = book.owner;
    const insert = (amount: number) => sql`
      insert into ${t.operation} (id, kind, psp_account, amount_minor, currency, sub_state)
      values (nextval('paygate.object_id'), 'charge', 'main', ${amount}, 'EUR', 'queued')`;
    await expect(insert(1)).rejects.toMatchObject({ constraint_name: 'charge_has_an_order' });
    await expect(insert(0)).rejects.toMatchObject({ code: '23514' });
  });
});

describe('what is remembered', () => {
  test('a reference at the PSP, once known, is kept when a later answer has none', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const daemon = await startTestDaemon(book.db);
    await turn(daemon, account, scriptedConnector([{ ...REPLY.pending, pspReference: 'pi_known' }]));
    await makeDue(book.owner, account);
    await turn(daemon, account, scriptedConnector([{ ...REPLY.declined, pspReference: null }]));
    const standing = await standingOf(book.db, operationId);
    expect(standing).toMatchObject({ subState: 'declined', pspReference: 'pi_known' });
    const [attempt] = await book.owner.sql`
      select psp_reference from ${book.owner.t.attempt} where operation_id = ${operationId}`;
    expect(attempt).toEqual({ pspReference: 'pi_known' });
  });

  test("an operation's highest fence never falls", async () => {
    const { operationId } = await ended(REPLY.succeeded);
    const { operationFence, subState } = await standingOf(book.db, operationId);
    const change = {
      operationId,
      subState: subState as SubState,
      reason: null,
      pspReference: null,
      fence: 0,
    };
    await transact(book.db, (tx) => updateOperations(tx, [change]));
    expect((await standingOf(book.db, operationId)).operationFence).toBe(operationFence);
  });
});

describe('maybe_sent', () => {
  test('never goes back, whoever updates the attempt', async () => {
    const { operationId } = await doubtful();
    const change: AttemptChange = {
      operationId,
      attemptNumber: 1,
      sent: null,
      state: 'sent',
      isOpen: true,
      maybeSent: false,
      pspReference: null,
      reason: null,
      resolvedBy: null,
    };
    await transact(book.db, (tx) => updateAttempts(tx, [change]));
    expect((await standingOf(book.db, operationId)).maybeSent).toBe(true);
  });

  test('does not rise by an answer that proves that nothing arrived', async () => {
    for (const kind of ['not_sent', 'rate_limited', 'config_error'] as const) {
      const account = uniqueName('acct');
      const { operationId } = await queueCharge(book.db, account);
      await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY[kind]]));
      expect((await standingOf(book.db, operationId)).maybeSent).toBe(false);
    }
  });
});
