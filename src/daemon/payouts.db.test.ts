/** Payouts all the way: approved, sent by the executor over HTTP to a PSP that misbehaves, booked; its truth is asked. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { verifyLedger } from '../core/ledger/verify-ledger.ts';
import { payoutStateOf } from '../core/payout/payout.ts';
import { ANY_PAYOUT, listPayouts } from '../core/payout/payout-list-store.ts';
import type { PspAccount } from '../core/psp/psp.ts';
import { createStripeConnector } from '../core/psp/stripe-connector.ts';
import { acceptWebhooks } from '../core/webhook/accept-webhooks.ts';
import {
  balanceOf,
  openTestBook,
  startTestDaemon,
  type TestBook,
  uniqueName,
  until,
} from '../testing/fixtures.ts';
import { fundedSeller, pay, payoutRequest, submit } from '../testing/payout-fixtures.ts';
import { type Executor, startExecutor } from './executor.ts';
import type { Log } from './log.ts';
import { type Sandbox, startSandbox } from './sandbox/main.ts';

let book: TestBook;
const ends: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  book = await openTestBook();
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(() => book.close());

const silent: Log = {
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  debug: () => undefined,
};

/** A PSP with this much of our money, which does this to requests. */
async function openPsp(topUp: number, rates: Readonly<Record<string, number>>): Promise<Sandbox> {
  const sandbox = await startSandbox({ port: 0, journalPath: null, seed: 7, rates });
  ends.push(() => sandbox.close());
  const response = await fetch(`${sandbox.url}/_sandbox/balance/top_up`, {
    method: 'POST',
    body: JSON.stringify({ currency: 'eur', amount: topUp }),
  });
  if (!response.ok) throw new Error(await response.text());
  return sandbox;
}

async function startDaemon(sandbox: Sandbox, name: string): Promise<Executor> {
  const account: PspAccount = {
    name,
    psp: 'stripe',
    apiKey: 'sk_test_abc',
    baseUrl: sandbox.url,
    maxConcurrent: 8,
    timeoutMs: 2_000,
  };
  const connector = createStripeConnector(account);
  const daemon = await startTestDaemon(book.db);
  const executor = startExecutor({
    context: daemon.context,
    lease: {
      daemonId: () => daemon.id,
      leftMs: () => 6_000,
      allowsSend: () => true,
      end: async () => undefined,
    },
    accounts: [account],
    connectors: new Map([[name, connector]]),
    log: silent,
  });
  ends.push(
    () => connector.close(),
    () => executor.drain(),
  );
  return executor;
}

/** Minor units that the PSP moved for each operation, and how many transfers it took. */
async function truthOf(sandbox: Sandbox): Promise<ReadonlyMap<string, readonly number[]>> {
  const text = await (await fetch(`${sandbox.url}/_sandbox/truth/transfers?format=ndjson`)).text();
  const lines = text.split('\n').filter((line) => line !== '');
  const transfers = lines.map(
    (line) => JSON.parse(line) as { transfer_group: string; moved: number; destination: string },
  );
  const groups = Map.groupBy(transfers, (transfer) => transfer.transfer_group);
  return new Map([...groups].map(([name, group]) => [name, group.map((transfer) => transfer.moved)]));
}

async function isQuiet(account: string): Promise<boolean> {
  const rows = await book.db.sql`
    select 1 from ${book.db.t.job} where starts_with(lane, ${`${account}/`}) limit 1`;
  return rows.length === 0;
}

async function payouts(batchId: bigint) {
  return listPayouts(book.db, { ...ANY_PAYOUT, batchId, limit: 1_000 });
}

describe('a batch of payouts', () => {
  test('is paid by a PSP that loses requests and answers: each payout once, and the books say what it did', async () => {
    const account = uniqueName('acct');
    const sandbox = await openPsp(1_000_000, {
      act_then_drop: 0.1,
      act_then_500: 0.05,
      act_then_truncate: 0.05,
      drop_before_acting: 0.1,
      bad_gateway: 0.1,
      decline: 0.1,
    });
    const sellers = await Promise.all(
      Array.from({ length: 5 }, () => fundedSeller(book.db, account, '500.00')),
    );
    const requests = Array.from({ length: 120 }, (_, i) =>
      payoutRequest(sellers[i % 5]!, `${1 + (i % 7)}.${10 + i}`.slice(0, 4)),
    );
    const { batchId } = await pay(book.db, account, requests);
    await startDaemon(sandbox, account);
    await until(() => isQuiet(account));

    const truth = await truthOf(sandbox);
    const rows = await payouts(batchId);
    for (const row of rows) {
      const moved = truth.get(`op_${row.operationId}`) ?? [];
      const state = payoutStateOf(row.state, row.subState);
      expect([state, moved]).toEqual(state === 'paid' ? ['paid', [Number(row.amountMinor)]] : ['failed', []]);
    }
    const states = rows.map((row) => payoutStateOf(row.state, row.subState));
    expect(new Set(states)).toEqual(new Set(['paid', 'failed']));
    const paidMinor = [...truth.values()].flat().reduce((sum, moved) => sum + moved, 0);
    let owedMinor = 0n;
    for (const seller of sellers) {
      expect(await balanceOf(book.db, `seller:${seller}:in_payout`, 'EUR')).toBe(0n);
      owedMinor += await balanceOf(book.db, `seller:${seller}:available`, 'EUR');
    }
    expect(owedMinor).toBe(250_000n - BigInt(paidMinor));
    expect((await verifyLedger(book.db)).verdict).toBe('balanced');
  });

  test('again after it failed: the same names are paid once the PSP has our money', async () => {
    const account = uniqueName('acct');
    const sandbox = await openPsp(1, {});
    const seller = await fundedSeller(book.db, account, '10.00');
    const requests = [payoutRequest(seller, '4.00'), payoutRequest(seller, '3.00')];
    const first = await pay(book.db, account, requests);
    await startDaemon(sandbox, account);
    await until(() => isQuiet(account));
    expect((await payouts(first.batchId)).map((row) => payoutStateOf(row.state, row.subState))).toEqual([
      'failed',
      'failed',
    ]);
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(1_000n);
    await fetch(`${sandbox.url}/_sandbox/balance/top_up`, {
      method: 'POST',
      body: JSON.stringify({ currency: 'eur', amount: 10_000 }),
    });
    await pay(book.db, account, requests);
    await until(() => isQuiet(account));
    expect([...(await truthOf(sandbox)).values()].flat().toSorted()).toEqual([300, 400]);
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(300n);
    expect((await submit(book.db, account, requests)).accepted).toEqual([]);
  });

  test('whose transfer is reversed at the PSP is booked back once, however often its webhook comes', async () => {
    const account = uniqueName('acct');
    const sandbox = await openPsp(10_000, {});
    const seller = await fundedSeller(book.db, account, '10.00');
    const { batchId } = await pay(book.db, account, [payoutRequest(seller, '4.00')]);
    await startDaemon(sandbox, account);
    await until(() => isQuiet(account));
    const [paid] = await payouts(batchId);
    expect(payoutStateOf(paid!.state, paid!.subState)).toBe('paid');
    await fetch(`${sandbox.url}/_sandbox/transfers/${paid!.pspReference}/reverse`, {
      method: 'POST',
      body: '{}',
    });
    const daemon = await startTestDaemon(book.db);
    for (const type of ['transfer.reversed', 'transfer.updated', 'transfer.reversed']) {
      const event = {
        eventId: uniqueName('evt'),
        type,
        operationId: paid!.operationId!,
        pspReference: paid!.pspReference,
        says: null,
      };
      await acceptWebhooks(book.db, daemon.context, account, [event, event]);
      await until(() => isQuiet(account));
    }
    const [back] = await payouts(batchId);
    expect(payoutStateOf(back!.state, back!.subState)).toBe('returned');
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(1_000n);
    expect(await balanceOf(book.db, `psp:${account}:receivable`, 'EUR')).toBe(1_000n);
    const entries = await book.db.sql<{ kind: string }[]>`
      select kind from ${book.db.t.journalEntry} where cause = ${`op_${paid!.operationId}`} order by id`;
    expect(entries.map((entry) => entry.kind)).toEqual([
      'payout_approved',
      'payout_accepted',
      'payout_returned',
    ]);
  });
});
