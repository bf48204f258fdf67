/**
 * Replays and retries end to end: a real database, the real Stripe connector, and the sandbox as the judge of what was
 * charged, its idempotency keys pruned after a day as Stripe prunes them.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Sandbox, startSandbox } from '../../daemon/sandbox/main.ts';
import {
  claim,
  makeDue,
  openTestBook,
  orderRequest,
  queueCharge,
  REPLY,
  record,
  scriptedConnector,
  standingOf,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import { retryOrder } from '../payment/retry-order.ts';
import type { Connector } from '../psp/psp.ts';
import { createStripeConnector } from '../psp/stripe-connector.ts';
import { getBookKey } from '../queue/queue-store.ts';
import { callPsp, claimTasks, type Task } from './execute-operations.ts';
import type { ReplayAction } from './letter-plan.ts';
import { replayDeadLetters } from './replay-dead-letters.ts';

const DAY_MS = 86_400_000;

let book: TestBook;
let sandbox: Sandbox;
let connector: Connector;
let daemon: TestDaemon;

beforeAll(async () => {
  book = await openTestBook();
  daemon = await startTestDaemon(book.db);
  sandbox = await startSandbox({ port: 0, journalPath: null, seed: 1 });
  connector = createStripeConnector({
    name: 'main',
    psp: 'stripe',
    apiKey: 'sk_test_abc',
    baseUrl: `http://127.0.0.1:${sandbox.port}`,
    maxConcurrent: 4,
    timeoutMs: 5_000,
  });
});
afterAll(async () => {
  await connector.close();
  await sandbox.close();
  await book.close();
});

async function tell(path: string, body: unknown): Promise<void> {
  const response = await fetch(`${sandbox.url}/_sandbox/${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
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

async function claimAny(account: string): Promise<Task> {
  await makeDue(book.owner, account);
  const online = await claim(daemon, account);
  const batch = await claimTasks(daemon.context, `${account}/batch`, 100, connector);
  const tasks = [...online, ...batch];
  if (tasks.length !== 1) throw new Error(`${tasks.length} tasks claimed, not one`);
  return tasks[0]!;
}

/** One turn of the executor against the sandbox. */
async function turn(account: string): Promise<Task> {
  const task = await claimAny(account);
  await record(daemon, task, await callPsp(connector, task, 5_000));
  return task;
}

/** The PSP charged it and the answer was lost; an enquiry of the first minute saw nothing: a dead letter. */
async function chargedButLost() {
  const account = uniqueName('acct');
  const { operationId } = await queueCharge(book.db, account);
  const first = await claimAny(account);
  await tell('faults', {
    match: { key: first.job.idempotencyKey },
    sequence: ['act_then_drop'],
  });
  await record(daemon, first, await callPsp(connector, first, 5_000));
  const second = await claimAny(account);
  const blind = scriptedConnector([REPLY.not_found]);
  await record(daemon, second, await callPsp(blind, second, 5_000));
  const standing = await standingOf(book.db, operationId);
  expect(standing).toMatchObject({ subState: 'unknown', deadLetters: ['unknown_unresolved'], job: null });
  expect(await chargedAtSandbox(operationId)).toBe(1);
  return { account, operationId, attempt: first.job };
}

async function replay(operationId: bigint, action: ReplayAction | null) {
  const [letter] = await book.db.sql<{ id: bigint }[]>`
    select id from ${book.db.t.deadLetter} where operation_id = ${operationId} and state = 'open'`;
  const bookKey = await getBookKey(book.db);
  const context = {
    principal: 'os:ana',
    reason: 'tried again',
    action,
    bookKey,
    pspOf: () => 'stripe' as const,
  };
  return replayDeadLetters(book.db, context, [letter!.id]);
}

test('what was charged and lost is sent again under its key: found to be charged, once', async () => {
  const { account, operationId, attempt } = await chargedButLost();
  await replay(operationId, 'send');
  const task = await turn(account);
  expect(task).toMatchObject({ todo: 'send', job: { idempotencyKey: attempt.idempotencyKey } });
  expect(await standingOf(book.db, operationId)).toMatchObject({
    subState: 'succeeded',
    entries: ['charge_succeeded'],
  });
  expect(await chargedAtSandbox(operationId)).toBe(1);
});

test('a day later the PSP has forgotten the key: sending is refused, asking finds the charge', async () => {
  const { account, operationId, attempt } = await chargedButLost();
  await tell('clock', { advance_ms: DAY_MS + 3_600_000 });
  await book.owner.sql`
    update ${book.owner.t.attempt} set first_sent_at = first_sent_at - interval '25 hours'
     where operation_id = ${operationId}`;
  expect(await replay(operationId, 'send')).toMatchObject([{ code: 'key_window_passed' }]);
  await replay(operationId, 'enquire');
  expect((await turn(account)).todo).toBe('enquire');
  expect(await standingOf(book.db, operationId)).toMatchObject({
    subState: 'succeeded',
    entries: ['charge_succeeded'],
  });
  expect(await chargedAtSandbox(operationId)).toBe(1);
  // The test is not blind: had anybody sent it again now, the buyer would have paid twice.
  const { idempotencyKey, request } = attempt;
  const reference = `op_${operationId}`;
  await connector.charge({ operationKind: 'charge', idempotencyKey, request, reference }, 5_000);
  expect(await chargedAtSandbox(operationId)).toBe(2);
});

test('a declined card, then another one: charged once, by the second attempt', async () => {
  const account = uniqueName('acct');
  const declined = orderRequest({ paymentMethod: 'pm_card_visa_chargeDeclined' });
  const { paymentId, orderId, operationId } = await queueCharge(book.db, account, { orders: [declined] });
  await turn(account);
  expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'declined' });
  const risk = {
    maxPaymentMinor: new Map(),
    blockedBuyers: new Set<string>(),
    blockedSellers: new Set<string>(),
  };
  const context = {
    risk,
    bookKey: await getBookKey(book.db),
    principal: 'test',
    accountOf: () => ({ psp: 'stripe' as const }),
  };
  const request = { orderId, paymentMethod: 'pm_card_visa', idempotencyKey: uniqueName('retry') };
  await retryOrder(book.db, context, paymentId, request);
  await turn(account);
  expect(await standingOf(book.db, operationId)).toMatchObject({
    subState: 'succeeded',
    attempts: 2,
    entries: ['charge_succeeded'],
  });
  expect(await chargedAtSandbox(operationId)).toBe(1);
});
