/** Whatever is submitted, approved, canceled and answered, in whatever order: no name is paid twice, no wallet overdrawn. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  balanceOf,
  makeDue,
  openTestBook,
  REPLY,
  record,
  scriptedConnector,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import { approvalContext, fundedSeller, payoutRequest, submit } from '../../testing/payout-fixtures.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { claimTasks } from '../operation/execute-operations.ts';
import { approveItems, startApproval } from './approve-payouts.ts';
import { cancelPayouts } from './cancel-payouts.ts';
import { type PayoutRequest, type PayoutState, payoutStateOf } from './payout.ts';
import { ANY_PAYOUT, listPayoutBatches, listPayouts } from './payout-list-store.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

type Step =
  | { readonly kind: 'submit'; readonly names: readonly number[] }
  | { readonly kind: 'approve' | 'cancel'; readonly batch: number }
  | { readonly kind: 'answer'; readonly reply: (typeof REPLIES)[number]; readonly count: number };

const REPLIES = ['succeeded', 'rejected', 'declined', 'unknown', 'not_sent'] as const;

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('submit' as const),
    names: fc.uniqueArray(fc.nat({ max: 7 }), { minLength: 1, maxLength: 6 }),
  }),
  fc.record({ kind: fc.constantFrom('approve' as const, 'approve', 'cancel'), batch: fc.nat({ max: 5 }) }),
  fc.record({
    kind: fc.constant('answer' as const),
    reply: fc.constantFrom(...REPLIES),
    count: fc.integer({ min: 1, max: 4 }),
  }),
);

/** One seller with 20.00 and eight names, each of its own amount: more than the wallet holds. */
type World = {
  readonly account: string;
  readonly seller: string;
  readonly requests: readonly PayoutRequest[];
  readonly daemon: TestDaemon;
  /** Minor units that the PSP says it moved. */
  paidMinor: bigint;
};

async function openWorld(): Promise<World> {
  const account = uniqueName('acct');
  const seller = await fundedSeller(book.db, account, '20.00');
  const requests = Array.from({ length: 8 }, (_, i) => payoutRequest(seller, `${i + 1}.00`));
  return { account, seller, requests, daemon: await startTestDaemon(book.db), paidMinor: 0n };
}

async function batchesOf(world: World): Promise<readonly bigint[]> {
  const all = await listPayoutBatches(book.db, { beforeId: null, state: null, limit: 1_000 });
  return all.filter((batch) => batch.pspAccount === world.account).map((batch) => batch.id);
}

async function take(world: World, one: Step): Promise<void> {
  switch (one.kind) {
    case 'submit':
      await submit(
        book.db,
        world.account,
        one.names.map((name) => world.requests[name]!),
      );
      return;
    case 'approve':
    case 'cancel': {
      const batchId = (await batchesOf(world))[one.batch];
      if (batchId === undefined) return;
      if (one.kind === 'cancel')
        await cancelPayouts(book.db, { batchId, principal: 'os:ana', reason: 'a test' });
      // Twice at once: one of them may find that it has ended.
      else await Promise.all([approveIfOpen(batchId), approveIfOpen(batchId)]);
      return;
    }
    case 'answer': {
      await makeDue(book.owner, world.account);
      const lane = `${world.account}/batch`;
      const tasks = await claimTasks(world.daemon.context, lane, one.count, scriptedConnector([]));
      for (const task of tasks) {
        const recorded = await record(world.daemon, task, REPLY[one.reply]);
        const isPaid = recorded.right === 'settled' && recorded.to === 'succeeded';
        if (isPaid && recorded.from !== 'succeeded') world.paidMinor += await amountOf(task.job.operationId);
      }
    }
  }
}

async function approveIfOpen(batchId: bigint): Promise<void> {
  const context = await approvalContext(book.db);
  const start = await startApproval(book.db, context, batchId, 'approve');
  if (start.kind !== 'approving') return;
  const run = { signal: new AbortController().signal, onProgress: () => undefined };
  await approveItems(book.db, context, start.batch, run);
}

async function amountOf(operationId: bigint): Promise<bigint> {
  const [row] = await listPayouts(book.db, { ...ANY_PAYOUT, operationId });
  return row!.amountMinor;
}

const LIVE: readonly PayoutState[] = ['draft', 'approved', 'sent', 'accepted', 'returned'];

async function check(world: World): Promise<readonly PayoutState[]> {
  const rows = await listPayouts(book.db, { ...ANY_PAYOUT, seller: world.seller, limit: 1_000 });
  const live = rows.filter((row) => LIVE.includes(payoutStateOf(row.state, row.subState)));
  expect(new Set(live.map((row) => row.itemRef)).size).toBe(live.length);
  const inPayoutMinor = rows
    .filter((row) => ['approved', 'sent'].includes(payoutStateOf(row.state, row.subState)))
    .reduce((sum, row) => sum + row.amountMinor, 0n);
  const availableMinor = await balanceOf(book.db, `seller:${world.seller}:available`, 'EUR');
  expect(await balanceOf(book.db, `seller:${world.seller}:in_payout`, 'EUR')).toBe(inPayoutMinor);
  expect(availableMinor >= 0n).toBe(true);
  expect(availableMinor + inPayoutMinor + world.paidMinor).toBe(2_000n);
  return rows.map((row) => payoutStateOf(row.state, row.subState));
}

test('no name is paid twice, and every minor unit is where the books say', async () => {
  const seen = new Set<PayoutState>();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
      const world = await openWorld();
      for (const one of steps) {
        await take(world, one);
        for (const state of await check(world)) seen.add(state);
      }
    }),
    { numRuns: 100 },
  );
  // The runs went everywhere that matters, or this has shown nothing.
  expect([...seen]).toEqual(
    expect.arrayContaining(['draft', 'refused', 'canceled', 'approved', 'sent', 'accepted', 'failed']),
  );
  expect((await verifyLedger(book.db)).verdict).toBe('balanced');
});
