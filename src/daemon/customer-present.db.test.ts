/**
 * Buyers all the way: charges wait for them in a real executor, while they pay, fail, stay away and are taken back, at a PSP
 * that loses requests and answers. Its truth is asked; nothing of what they are handed is logged.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { verifyLedger } from '../core/ledger/verify-ledger.ts';
import { cancelOperation } from '../core/operation/cancel-operation.ts';
import type { PspAccount } from '../core/psp/psp.ts';
import { createStripeConnector } from '../core/psp/stripe-connector.ts';
import {
  openTestBook,
  orderRequest,
  paymentRequest,
  queueCharges,
  startTestDaemon,
  type TestBook,
  uniqueName,
  until,
} from '../testing/fixtures.ts';
import { startExecutor } from './executor.ts';
import type { Log } from './log.ts';
import { startSandbox } from './sandbox/main.ts';

const CHARGES = 60;
/** Long enough for some buyers, short enough for a test (ms). */
const CUSTOMER_LIMIT_MS = 3_000;
const ANSWERS = ['pays', 'pays', 'fails', 'stays away', 'is taken back', 'pays late'] as const;

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

type Intent = {
  readonly id: string;
  readonly status: string;
  readonly metadata: Readonly<Record<string, string>>;
};

test('every order ends as the PSP has it, once, and no secret is logged', { timeout: 180_000 }, async () => {
  const rates = { act_then_drop: 0.1, drop_before_acting: 0.1, bad_gateway: 0.1, act_then_truncate: 0.05 };
  const sandbox = await startSandbox({ port: 0, journalPath: null, seed: 11, rates });
  const account: PspAccount = {
    ...{ name: uniqueName('acct'), psp: 'stripe', apiKey: 'sk_test_abc', baseUrl: sandbox.url },
    ...{ maxConcurrent: 8, timeoutMs: 2_000 },
  };
  const logged: string[] = [];
  const write = (...parts: readonly unknown[]) =>
    logged.push(JSON.stringify(parts, (_, v) => (typeof v === 'bigint' ? `${v}` : v)));
  const log: Log = { info: write, warn: write, error: write, debug: write };
  const order = orderRequest({ paymentMethod: 'pm_card_authenticationRequired', customerPresent: true });
  const requests = Array.from({ length: CHARGES }, () => paymentRequest({ orders: [order] }));
  const charges = await queueCharges(book.db, account.name, requests);
  const daemon = await startTestDaemon(book.db);
  const connector = createStripeConnector(account);
  const executor = startExecutor({
    context: { ...daemon.context, customerLimitMs: CUSTOMER_LIMIT_MS, random: Math.random },
    lease: {
      daemonId: () => daemon.id,
      leftMs: () => 6_000,
      allowsSend: () => true,
      end: async () => undefined,
    },
    accounts: [account],
    connectors: new Map([[account.name, connector]]),
    log,
  });
  const intents = async (): Promise<readonly Intent[]> => {
    const text = await (await fetch(`${sandbox.url}/_sandbox/truth?format=ndjson`)).text();
    return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Intent]));
  };
  const intentOf = async (operationId: bigint) =>
    (await intents()).find(({ metadata }) => metadata.paygate_operation === `op_${operationId}`);
  const answer = (id: string, result: string) =>
    fetch(`${sandbox.url}/_sandbox/payment_intents/${id}/authenticate`, {
      method: 'POST',
      body: JSON.stringify({ result }),
    });

  const buyers = charges.map(async ({ operationId }, nth) => {
    const what = ANSWERS[nth % ANSWERS.length]!;
    await until(async () => (await intentOf(operationId))?.status === 'requires_action');
    // Around the moment at which the time is over, for those who are late.
    await pause(what === 'pays late' ? CUSTOMER_LIMIT_MS - 200 + nth * 15 : nth * 10);
    const { id } = (await intentOf(operationId))!;
    if (what === 'fails') await answer(id, 'failed');
    else if (what.startsWith('pays')) await answer(id, 'succeeded');
    else if (what === 'is taken back') {
      await cancelOperation(book.db, operationId, { reason: 'ordered twice', principal: 'os:ana' }).catch(
        (error: unknown) => expect(error).toMatchObject({ code: expect.stringMatching(/^already_/) }),
      );
    }
  });
  await Promise.all(buyers);
  await until(async () => {
    const rows = await book.db.sql`
      select 1 from ${book.db.t.job} where starts_with(lane, ${`${account.name}/`}) limit 1`;
    return rows.length === 0;
  });
  await executor.drain();
  await connector.close();

  const states = await book.db.sql<{ id: bigint; subState: string }[]>`
    select id, sub_state from ${book.db.t.operation} where psp_account = ${account.name}`;
  const letters = await book.db.sql`select operation_id, code, reason from ${book.db.t.deadLetter}`;
  expect([...letters]).toEqual([]);
  const truth = Map.groupBy(await intents(), ({ metadata }) => metadata.paygate_operation);
  for (const { id, subState } of states) {
    const seen = truth.get(`op_${id}`)!.map(({ status }) => status);
    expect([id, subState, seen]).toEqual([
      id,
      subState,
      [subState === 'succeeded' ? 'succeeded' : 'canceled'],
    ]);
  }
  const kinds = new Set(states.map(({ subState }) => subState));
  expect(kinds).toEqual(new Set(['succeeded', 'declined', 'expired', 'canceled']));
  expect((await verifyLedger(book.db)).verdict).toBe('balanced');
  expect(logged.length).toBeGreaterThan(CHARGES);
  expect(logged.filter((line) => line.includes('_secret_'))).toEqual([]);
  const left = await book.owner.sql`select 1 from ${book.owner.t.handOff}`;
  expect(left).toHaveLength(0);
  await sandbox.close();
});
