/** Wallets that never go below zero, people who may not approve, and batches that are interrupted. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  balanceOf,
  money,
  openTestBook,
  REPLY,
  record,
  scriptedConnector,
  standingOf,
  startTestDaemon,
  type TestBook,
  uniqueName,
} from '../../testing/fixtures.ts';
import {
  approvalContext,
  approve,
  fund,
  fundedSeller,
  pay,
  payoutRequest,
  submit,
} from '../../testing/payout-fixtures.ts';
import { transact } from '../db/connection.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { claimTasks, type Task } from '../operation/execute-operations.ts';
import { laneOf } from '../queue/job.ts';
import { changeDestination, changeStatus } from '../seller/change-seller.ts';
import { approveItems, startApproval } from './approve-payouts.ts';
import { cancelPayouts } from './cancel-payouts.ts';
import { payoutStateOf } from './payout.ts';
import { ANY_PAYOUT, listPayouts, type PayoutRow } from './payout-list-store.ts';
import { findPayoutBatch } from './payout-store.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

const ALL = { ...ANY_PAYOUT, limit: 1000 };

/** The items of a batch, in the order of the file. */
async function items(batchId: bigint): Promise<readonly PayoutRow[]> {
  return (await listPayouts(book.db, { ...ALL, batchId })).toReversed();
}

async function states(batchId: bigint): Promise<readonly string[]> {
  return (await items(batchId)).map((item) => payoutStateOf(item.state, item.subState));
}

async function wallet(seller: string, currency = 'EUR'): Promise<readonly [bigint, bigint]> {
  return [
    await balanceOf(book.db, `seller:${seller}:available`, currency),
    await balanceOf(book.db, `seller:${seller}:in_payout`, currency),
  ];
}

async function claimBatch(account: string): Promise<{ tasks: readonly Task[]; daemon: Daemon }> {
  const daemon = await startTestDaemon(book.db);
  const connector = scriptedConnector([]);
  return { tasks: await claimTasks(daemon.context, laneOf(account, 'batch'), 500, connector), daemon };
}
type Daemon = Awaited<ReturnType<typeof startTestDaemon>>;

describe('approval', () => {
  test('reserves the wallet and queues the operation with its frozen request, in one go', async () => {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '100.00');
    const { batchId, tally } = await pay(book.db, account, [payoutRequest(seller, '60.00')]);
    expect(tally).toEqual({ approved: 1, refused: 0 });
    expect(await wallet(seller)).toEqual([4000n, 6000n]);
    const [item] = await items(batchId);
    expect(item).toMatchObject({ state: 'approved', subState: 'queued', paidTo: 'acct_1' });
    expect(await standingOf(book.db, item!.operationId!)).toMatchObject({
      subState: 'queued',
      attemptState: 'created',
      entries: ['payout_approved'],
      job: { state: 'ready', action: 'send' },
    });
    const [{ request, idempotencyKey }] = await book.db.sql<[{ request: string; idempotencyKey: string }]>`
      select request, idempotency_key from ${book.db.t.attempt} where operation_id = ${item!.operationId!}`;
    expect(JSON.parse(request)).toMatchObject({
      amount: 6000,
      currency: 'eur',
      destination: 'acct_1',
      transfer_group: `op_${item!.operationId}`,
      metadata: { paygate_key: idempotencyKey },
    });
    expect(await findPayoutBatch(book.db, batchId)).toMatchObject({
      state: 'approved',
      submittedBy: 'test:submitter',
      approvedBy: 'test:approver',
    });
  });

  test('refuses what the wallet does not cover, in the order of the file, and nothing else', async () => {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '100.00');
    const other = await fundedSeller(book.db, account, '5.00');
    const amounts = ['70.00', '40.00', '30.00', '0.01'];
    const { batchId, tally } = await pay(book.db, account, [
      ...amounts.map((amount) => payoutRequest(seller, amount)),
      payoutRequest(other, '5.00'),
    ]);
    expect(tally).toEqual({ approved: 3, refused: 2 });
    expect(await states(batchId)).toEqual(['approved', 'refused', 'approved', 'refused', 'approved']);
    expect((await items(batchId))[1]).toMatchObject({ code: 'not_covered', operationId: null });
    expect(await wallet(seller)).toEqual([0n, 10000n]);
    expect(await wallet(other)).toEqual([0n, 500n]);
  });

  test('does not count pending money, another currency or another seller', async () => {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '10.00', 'EUR');
    const yen = payoutRequest(seller, '1.00', { money: money('10', 'JPY') });
    expect((await pay(book.db, account, [yen])).tally).toEqual({ approved: 0, refused: 1 });
    expect(await wallet(seller)).toEqual([1000n, 0n]);
  });

  test('refuses by the register, item by item, with a reason', async () => {
    const account = uniqueName('acct');
    const seller = () => fundedSeller(book.db, account, '10.00');
    const [frozen, moved, differs, elsewhere, good] = [
      await seller(),
      await seller(),
      await seller(),
      await fundedSeller(book.db, uniqueName('acct'), '10.00'),
      await seller(),
    ];
    const who = { reason: 'a test', principal: 'test:risk' };
    await changeStatus(book.db, { seller: frozen, status: 'frozen', ...who });
    await changeDestination(book.db, { seller: moved, pspAccount: account, destination: 'acct_2', ...who });
    const { batchId } = await pay(book.db, account, [
      payoutRequest(frozen, '1.00'),
      payoutRequest(moved, '1.00'),
      payoutRequest(differs, '1.00', { destination: 'acct_9' }),
      payoutRequest(elsewhere, '1.00'),
      payoutRequest('Nobody', '1.00'),
      payoutRequest(good, '1.00', { money: money('1.005', 'KWD') }),
      payoutRequest(good, '1.00', { destination: 'acct_1' }),
    ]);
    expect((await items(batchId)).map((item) => item.code)).toEqual([
      'seller_frozen',
      'destination_cooling',
      'destination_differs',
      'no_destination',
      'seller_unknown',
      'not_expressible',
      null,
    ]);
    for (const seller of [frozen, moved, differs, elsewhere])
      expect(await wallet(seller)).toEqual([1000n, 0n]);
  });

  test('pays a changed destination once its cooling period is over', async () => {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '10.00');
    const change = { seller, pspAccount: account, reason: 'a test', principal: 'test:risk' };
    await changeDestination(book.db, { ...change, destination: 'acct_2' });
    const first = await submit(book.db, account, [payoutRequest(seller, '1.00')]);
    await book.owner.sql`
      update ${book.owner.t.sellerDestination} set changed_at = now() - interval '3 days' where seller = ${seller}`;
    expect(await approve(book.db, first.batchId!)).toEqual({ approved: 1, refused: 0 });
    expect((await items(first.batchId!))[0]).toMatchObject({ paidTo: 'acct_2' });
  });

  test('of fifty batches on one wallet at once pays what it holds, and never a minor unit too much', async () => {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '20.50');
    const batches = await Promise.all(
      Array.from({ length: 50 }, () => submit(book.db, account, [payoutRequest(seller, '1.00')])),
    );
    const tallies = await Promise.all(batches.map((batch) => approve(book.db, batch.batchId!)));
    expect(tallies.filter((tally) => tally.approved === 1)).toHaveLength(20);
    expect(tallies.filter((tally) => tally.refused === 1)).toHaveLength(30);
    expect(await wallet(seller)).toEqual([50n, 2000n]);
    expect((await verifyLedger(book.db)).verdict).toBe('balanced');
  });

  test('is not disturbed by buyers who pay meanwhile', async () => {
    const account = uniqueName('acct');
    const sellers = await Promise.all(
      Array.from({ length: 4 }, () => fundedSeller(book.db, account, '10.00')),
    );
    const batches = await Promise.all(
      Array.from({ length: 8 }, () =>
        submit(
          book.db,
          account,
          sellers.map((seller) => payoutRequest(seller, '1.00')),
        ),
      ),
    );
    const paying = batches.map((batch) => approve(book.db, batch.batchId!));
    const funding = sellers.flatMap((seller) =>
      Array.from({ length: 4 }, () => fund(book.db, account, seller, '1.00')),
    );
    const tallies = await Promise.all(paying);
    await Promise.all(funding);
    expect(tallies.every((tally) => tally.approved === 4)).toBe(true);
    for (const seller of sellers) expect(await wallet(seller)).toEqual([600n, 800n]);
  });

  test('is refused by the database itself where a wallet would be overdrawn', async () => {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '1.00');
    const { batchId } = await submit(book.db, account, [payoutRequest(seller, '1.00')]);
    // Somebody who can replace the function makes the check lie: the guard on the posting still holds.
    const lie = `create or replace function paygate.lock_available(sellers text[], currencies text[])
      returns table (seller text, currency text, available_minor bigint) language sql
      as $$ select sellers[1], currencies[1], 1000000::bigint $$`;
    const [{ truth }] = await book.owner.sql<[{ truth: string }]>`
      select pg_get_functiondef('paygate.lock_available'::regproc) as truth`;
    await fund(book.db, account, seller, '0.50');
    const more = await submit(book.db, account, [payoutRequest(seller, '1.51')]);
    await book.owner.sql.unsafe(lie);
    try {
      await expect(approve(book.db, more.batchId!)).rejects.toMatchObject({ code: 'PG003' });
    } finally {
      await book.owner.sql.unsafe(truth);
    }
    expect(await states(more.batchId!)).toEqual(['draft']);
    expect(await approve(book.db, batchId!)).toEqual({ approved: 1, refused: 0 });
    expect(await wallet(seller)).toEqual([50n, 100n]);
  });
});

describe('four eyes', () => {
  const limits = new Map([[money('1', 'EUR').currency, 10_000n]]);

  async function batchOf(amount: string, code = 'EUR') {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '1000', code);
    const request = payoutRequest(seller, '1', { money: money(amount, code) });
    const { batchId } = await submit(book.db, account, [request], 'os:ana');
    return batchId!;
  }
  const begin = async (batchId: bigint, principal: string, approvalLimits = limits) =>
    startApproval(book.db, await approvalContext(book.db, { approvalLimits }, principal), batchId, 'approve');

  test('above the limit only another person approves', async () => {
    const batchId = await batchOf('100.01');
    expect(await begin(batchId, 'os:ana')).toEqual({ kind: 'second_person_needed', currencies: ['EUR'] });
    expect(await findPayoutBatch(book.db, batchId)).toMatchObject({ state: 'draft', approvedBy: null });
    expect(await begin(batchId, 'os:ben')).toMatchObject({ kind: 'approving' });
  });

  test('at the limit one person is enough; without any limit nobody asked for two', async () => {
    expect(await begin(await batchOf('100.00'), 'os:ana')).toMatchObject({ kind: 'approving' });
    expect(await begin(await batchOf('999.00'), 'os:ana', new Map())).toMatchObject({ kind: 'approving' });
  });

  test('a currency without a limit has none of it where others have one', async () => {
    const batchId = await batchOf('1', 'JPY');
    expect(await begin(batchId, 'os:ana')).toEqual({ kind: 'second_person_needed', currencies: ['JPY'] });
  });

  test('nobody resumes what was never approved', async () => {
    const context = await approvalContext(book.db, { approvalLimits: limits }, 'os:ben');
    const batchId = await batchOf('100.01');
    await expect(startApproval(book.db, context, batchId, 'resume')).rejects.toMatchObject({
      code: 'not_approved',
    });
  });
});

describe('an approval that is interrupted', () => {
  test('goes on with what is left, and pays nothing twice', async () => {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '2000.00');
    const requests = Array.from({ length: 1_200 }, () => payoutRequest(seller, '1.00'));
    const { batchId } = await submit(book.db, account, requests);
    const context = await approvalContext(book.db);
    const started = await startApproval(book.db, context, batchId!, 'approve');
    if (started.kind !== 'approving') throw new Error(started.kind);
    const stop = new AbortController();
    const run = { signal: stop.signal, onProgress: () => stop.abort() };
    expect(await approveItems(book.db, context, started.batch, run)).toBe('stopped');
    expect(await wallet(seller)).toEqual([150_000n, 50_000n]);
    expect(await findPayoutBatch(book.db, batchId!)).toMatchObject({ state: 'approving' });
    const other = await approvalContext(book.db, {}, 'test:somebody');
    const again = await startApproval(book.db, other, batchId!, 'resume');
    expect(again).toMatchObject({ kind: 'approving', drafts: 700 });
    expect(await approve(book.db, batchId!)).toEqual({ approved: 700, refused: 0 });
    expect(await startApproval(book.db, other, batchId!, 'approve')).toMatchObject({ kind: 'ended' });
    expect(await wallet(seller)).toEqual([80_000n, 120_000n]);
    expect(await findPayoutBatch(book.db, batchId!)).toMatchObject({
      state: 'approved',
      approvedBy: 'test:approver',
    });
  });

  test('by two people at once pays every item once', async () => {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '2000.00');
    const requests = Array.from({ length: 1_100 }, () => payoutRequest(seller, '1.00'));
    const { batchId } = await submit(book.db, account, requests);
    const tallies = await Promise.all([1, 2, 3].map(() => approve(book.db, batchId!).catch(() => null)));
    const approved = tallies.reduce((sum, tally) => sum + (tally?.approved ?? 0), 0);
    expect(approved).toBe(1_100);
    expect(await wallet(seller)).toEqual([90_000n, 110_000n]);
    const operations = await book.db.sql`select 1 from ${book.db.t.operation} where psp_account = ${account}`;
    expect(operations).toHaveLength(1_100);
  });

  test('and rolled back in the middle of a chunk leaves drafts and an untouched wallet', async () => {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '10.00');
    const { batchId } = await submit(book.db, account, [payoutRequest(seller, '1.00')]);
    await book.owner.sql.unsafe(`
      alter table paygate.payout_item add constraint broken check (state <> 'approved' or batch_id <> ${batchId})`);
    try {
      await expect(approve(book.db, batchId!)).rejects.toMatchObject({ code: '23514' });
    } finally {
      await book.owner.sql.unsafe('alter table paygate.payout_item drop constraint broken');
    }
    expect(await states(batchId!)).toEqual(['draft']);
    expect(await wallet(seller)).toEqual([1000n, 0n]);
    expect(await approve(book.db, batchId!)).toEqual({ approved: 1, refused: 0 });
  });
});

describe('cancellation', () => {
  test('ends drafts, whose names are free again', async () => {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '10.00');
    const request = payoutRequest(seller, '1.00');
    const { batchId } = await submit(book.db, account, [request]);
    const cancellation = { batchId: batchId!, principal: 'os:ana', reason: 'a mistake' };
    expect(await cancelPayouts(book.db, cancellation)).toBe(1);
    expect(await cancelPayouts(book.db, cancellation)).toBe(0);
    expect(await states(batchId!)).toEqual(['canceled']);
    const context = await approvalContext(book.db);
    expect(await startApproval(book.db, context, batchId!, 'approve')).toMatchObject({ kind: 'ended' });
    expect((await submit(book.db, account, [request])).accepted).toHaveLength(1);
  });

  test('of a batch that is half approved leaves what was approved', async () => {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '1000.00');
    const requests = Array.from({ length: 501 }, () => payoutRequest(seller, '1.00'));
    const { batchId } = await submit(book.db, account, requests);
    const context = await approvalContext(book.db);
    const started = await startApproval(book.db, context, batchId!, 'approve');
    if (started.kind !== 'approving') throw new Error(started.kind);
    const stop = new AbortController();
    await approveItems(book.db, context, started.batch, {
      signal: stop.signal,
      onProgress: () => stop.abort(),
    });
    const cancellation = { batchId: batchId!, principal: 'os:ana', reason: 'enough' };
    expect(await cancelPayouts(book.db, cancellation)).toBe(1);
    expect(await wallet(seller)).toEqual([50_000n, 50_000n]);
    expect(await findPayoutBatch(book.db, batchId!)).toMatchObject({ state: 'approved' });
  });
});

describe('what becomes of a payout', () => {
  async function sent(amount = '4.00') {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '10.00');
    const request = payoutRequest(seller, amount);
    const { batchId } = await pay(book.db, account, [request]);
    const { tasks, daemon } = await claimBatch(account);
    return { account, seller, request, batchId, task: tasks[0]!, daemon };
  }

  test('it is sent, and accepted once the PSP has moved the money', async () => {
    const { seller, batchId, task, daemon, account } = await sent();
    expect(await states(batchId)).toEqual(['sent']);
    await record(daemon, task, REPLY.succeeded);
    expect(await states(batchId)).toEqual(['accepted']);
    expect(await wallet(seller)).toEqual([600n, 0n]);
    expect(await balanceOf(book.db, `psp:${account}:receivable`, 'EUR')).toBe(600n);
  });

  test('doubt stays "sent" and keeps the reservation', async () => {
    const { seller, batchId, task, daemon } = await sent();
    await record(daemon, task, REPLY.unknown);
    expect(await states(batchId)).toEqual(['sent']);
    expect(await wallet(seller)).toEqual([600n, 400n]);
  });

  test('refused by the PSP it has failed, the reservation is back, and its name may be paid again', async () => {
    const { seller, batchId, task, daemon, request, account } = await sent();
    await record(daemon, task, REPLY.rejected);
    expect(await states(batchId)).toEqual(['failed']);
    expect(await wallet(seller)).toEqual([1000n, 0n]);
    const { batchId: second, tally } = await pay(book.db, account, [{ ...request, line: 2 }]);
    expect(tally.approved).toBe(1);
    expect(await states(second)).toEqual(['approved']);
  });

  test('returned after it was accepted: the money is available again, its name is not', async () => {
    const { seller, batchId, task, daemon, request, account } = await sent();
    await record(daemon, task, REPLY.succeeded);
    await record(daemon, task, REPLY.declined);
    expect(await states(batchId)).toEqual(['returned']);
    expect(await wallet(seller)).toEqual([1000n, 0n]);
    expect((await submit(book.db, account, [request])).taken[0]!.use).toMatchObject({
      kind: 'there',
      state: 'returned',
    });
  });

  test('that failed and succeeded after all is never paid again under its name', async () => {
    const { task, daemon, request, account } = await sent();
    await record(daemon, task, REPLY.rejected);
    await record(daemon, task, REPLY.succeeded);
    expect((await submit(book.db, account, [request])).accepted).toEqual([]);
  });
});

test('an item is decided once, and what it asks for never changes', async () => {
  const account = uniqueName('acct');
  const seller = await fundedSeller(book.db, account, '10.00');
  const { batchId } = await pay(book.db, account, [payoutRequest(seller, '1.00')]);
  const t = book.db.t;
  await expect(
    book.db.sql`update ${t.payoutItem} set decided_at = now() where batch_id = ${batchId}`,
  ).rejects.toMatchObject({ code: 'PG001' });
  await expect(
    book.db.sql`update ${t.payoutItem} set amount_minor = 5 where batch_id = ${batchId}`,
  ).rejects.toMatchObject({ code: '42501' });
  await expect(
    transact(book.owner, (tx) => tx.sql`delete from ${tx.t.payoutItem} where batch_id = ${batchId}`),
  ).rejects.toMatchObject({ code: 'PG001' });
  await expect(book.db.sql`
    select 1 from ${t.accountBalance} for update`).rejects.toMatchObject({ code: '42501' });
});
