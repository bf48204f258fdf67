/**
 * The named sequence end to end: a real database, the real Stripe connector, the real sandbox as the judge of
 * what was charged.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Sandbox, startSandbox } from '../../daemon/sandbox/main.ts';
import {
  balanceOf,
  claimOne,
  lapse,
  makeDue,
  makeSteady,
  openTestBook,
  queueCharge,
  record,
  setFirstSentBack,
  standingOf,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import type { Connector } from '../psp/psp.ts';
import { createStripeConnector } from '../psp/stripe-connector.ts';
import { callPsp, type Task } from './execute-operations.ts';
import { rescueOperations } from './rescue-operations.ts';

let book: TestBook;
let sandbox: Sandbox;
let connector: Connector;
/** Where nobody listens: a connection is refused. */
let refused: Connector;

beforeAll(async () => {
  book = await openTestBook();
  sandbox = await startSandbox({
    port: 0,
    journalPath: null,
    seed: 1,
    settings: { hang_ms: 60_000, retry_after_s: 1 },
  });
  const closed = await startSandbox({ port: 0, journalPath: null, seed: 1 });
  await closed.close();
  [connector, refused] = [connectTo(sandbox.port), connectTo(closed.port)];
});
afterAll(async () => {
  await connector.close();
  await refused.close();
  await sandbox.close();
  await book.close();
});

function connectTo(port: number): Connector {
  return createStripeConnector({
    name: 'main',
    psp: 'stripe',
    apiKey: 'sk_test_abc',
    baseUrl: `http://127.0.0.1:${port}`,
    maxConcurrent: 4,
    timeoutMs: 5_000,
  });
}

type Fault = string | { readonly fault: string; readonly ms?: number };

/** The next requests with the attempt's key meet these faults, one by one. */
async function queueFaults(key: string, sequence: readonly Fault[]): Promise<void> {
  const response = await fetch(`${sandbox.url}/_sandbox/faults`, {
    method: 'POST',
    body: JSON.stringify({ match: { key }, sequence }),
  });
  if (!response.ok) throw new Error(await response.text());
}

/** How often the sandbox really moved money for the operation. */
async function chargedAtSandbox(operationId: bigint): Promise<number> {
  const query = new URLSearchParams({ 'metadata[paygate_operation]': `op_${operationId}` });
  const response = await fetch(`${sandbox.url}/_sandbox/truth?${query}`);
  const truth = (await response.json()) as { summary: Record<string, { succeeded: number }> };
  return Object.values(truth.summary).reduce((sum, currency) => sum + currency.succeeded, 0);
}

type Order = { readonly account: string; readonly operationId: bigint; readonly daemon: TestDaemon };

async function order(): Promise<Order & { readonly first: Task }> {
  const account = uniqueName('acct');
  const { operationId } = await queueCharge(book.db, account);
  const daemon = await startTestDaemon(book.db);
  return { account, operationId, daemon, first: await claimOne(daemon, account) };
}

async function send(one: Order, task: Task, by: Connector, deadlineMs = 5_000): Promise<string> {
  await record(one.daemon, task, await callPsp(by, task, deadlineMs));
  return (await standingOf(book.db, one.operationId)).subState;
}

async function next(one: Order, by: Connector): Promise<string> {
  await makeDue(book.owner, one.account);
  return send(one, await claimOne(one.daemon, one.account), by);
}

const booked = ({ account }: Order) => balanceOf(book.db, `psp:${account}:receivable`, 'EUR');

describe('against the sandbox', () => {
  test('timed out having charged, refused, 401, 429, success by the same key: one charge, never FAILED', async () => {
    const one = await order();
    // The answer to the executed charge drips for longer than we wait.
    await queueFaults(one.first.job.idempotencyKey, [
      { fault: 'act_then_drip', ms: 2_000 },
      'unauthorized',
      'rate_limited',
    ]);
    const states = [await send(one, one.first, connector, 300)];
    expect(await chargedAtSandbox(one.operationId)).toBe(1);
    states.push(
      await next(one, refused),
      await next(one, connector),
      await next(one, connector),
      await next(one, connector),
    );
    expect(states).toEqual(['unknown', 'unknown', 'unknown', 'unknown', 'succeeded']);
    expect(await chargedAtSandbox(one.operationId)).toBe(1);
    expect(await standingOf(book.db, one.operationId)).toMatchObject({
      attempts: 1,
      sends: 5,
      evidence: [
        'reply unknown',
        'reply not_sent',
        'reply config_error',
        'reply rate_limited',
        'reply succeeded',
      ],
      deadLetters: [],
      entries: ['charge_succeeded'],
      job: null,
    });
    expect(await booked(one)).toBe(1250n);
  });

  test('answered 500 having charged: the key replays the 500, the enquiry finds the charge', async () => {
    const one = await order();
    await queueFaults(one.first.job.idempotencyKey, ['act_then_500']);
    const states = [await send(one, one.first, connector)];
    while (states.at(-1) === 'unknown' && states.length < 6) states.push(await next(one, connector));
    expect(states.at(-1)).toBe('succeeded');
    expect((await standingOf(book.db, one.operationId)).resolvedBy).toBe('enquiry');
    expect(await chargedAtSandbox(one.operationId)).toBe(1);
    expect(await booked(one)).toBe(1250n);
  });

  test('answered 500 without having charged: a person is needed, nothing is FAILED, nothing is charged', async () => {
    const one = await order();
    await queueFaults(one.first.job.idempotencyKey, ['fail_500']);
    const states = [await send(one, one.first, connector)];
    while ((await standingOf(book.db, one.operationId)).job !== null && states.length < 6) {
      states.push(await next(one, connector));
    }
    expect(new Set(states)).toEqual(new Set(['unknown']));
    expect((await standingOf(book.db, one.operationId)).deadLetters).toEqual(['unknown_unresolved']);
    expect(await chargedAtSandbox(one.operationId)).toBe(0);
  });

  test('dropped before it was executed: the same key charges once', async () => {
    const one = await order();
    await queueFaults(one.first.job.idempotencyKey, ['drop_before_acting', 'drop_before_acting']);
    const states = [await send(one, one.first, connector)];
    while (states.at(-1) === 'unknown' && states.length < 6) states.push(await next(one, connector));
    expect(states.at(-1)).toBe('succeeded');
    expect(await chargedAtSandbox(one.operationId)).toBe(1);
  });

  test('sent by a daemon that stalled, and again by its rescuer: one charge, and the stalled one cannot settle', async () => {
    const one = await order();
    const late = await callPsp(connector, one.first, 5_000);
    const rescuer = await startTestDaemon(book.db);
    await lapse(book.owner, one.daemon);
    await makeSteady(book.owner, rescuer);
    await rescueOperations(book.db, { daemonId: rescuer.id, principal: 'test', resendDelayMs: 0 });
    expect(await next({ ...one, daemon: rescuer }, connector)).toBe('succeeded');
    const settled = await standingOf(book.db, one.operationId);
    await record(one.daemon, one.first, late);
    expect(await standingOf(book.db, one.operationId)).toEqual({
      ...settled,
      evidence: ['lapse unknown', 'reply succeeded', 'late_reply succeeded'],
    });
    expect(await chargedAtSandbox(one.operationId)).toBe(1);
    expect(await booked(one)).toBe(1250n);
  });

  test('past the key window the enquiry finds what the lost answer had charged', async () => {
    const one = await order();
    await queueFaults(one.first.job.idempotencyKey, ['act_then_drop', 'act_then_drop']);
    expect(await send(one, one.first, connector)).toBe('unknown');
    await book.owner.sql`
      update ${book.owner.t.job} set first_sent_at = now() - interval '21 hours' where operation_id = ${one.operationId}`;
    expect(await next(one, connector)).toBe('succeeded');
    expect(await standingOf(book.db, one.operationId)).toMatchObject({ sends: 2, resolvedBy: 'enquiry' });
    expect(await chargedAtSandbox(one.operationId)).toBe(1);
  });

  test('past the key window a miss is told to a person, and stays in doubt', async () => {
    const one = await order();
    expect(
      await send(one, one.first, {
        ...refused,
        charge: async () => ({ kind: 'unknown', reason: 'lost', next: 'resend', retryAfterMs: null }),
      }),
    ).toBe('unknown');
    await setFirstSentBack(book.owner, one.operationId, '21 hours');
    expect(await next(one, connector)).toBe('unknown');
    expect((await standingOf(book.db, one.operationId)).deadLetters).toEqual(['unknown_unresolved']);
    expect(await chargedAtSandbox(one.operationId)).toBe(0);
  });
});
