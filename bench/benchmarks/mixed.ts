/** mixed: charges, refunds and payouts together through the real executor, against charges alone in the same book. */
import { Bug } from '../../src/core/errors.ts';
import { approveItems, startApproval } from '../../src/core/payout/approve-payouts.ts';
import { submitPayouts } from '../../src/core/payout/submit-payouts.ts';
import { MAX_REFUND_BATCH } from '../../src/core/refund/accept-refunds.ts';
import { submitRefunds } from '../../src/core/refund/submit-refunds.ts';
import { createSeller } from '../../src/core/seller/change-seller.ts';
import {
  type BenchContext,
  type Benchmark,
  type BenchReport,
  inTurn,
  type Measured,
  reportRatio,
  scaled,
} from '../benchmark.ts';
import { type BenchBook, BOOK, createBook, EUR, fillBook, PSP_ACCOUNT, SELLERS } from '../book.ts';
import { runProgram } from '../start-program.ts';

const OPERATIONS = 20_000;
/** Of a hundred. */
const SHARE = { charges: 60, refunds: 25, payouts: 15 } as const;
/** As many calls in flight as the executor's own benchmark. */
const MAX_CONCURRENT = 512;
const PAYOUT_MINOR = 100n;
const REFUND_AMOUNT = '1.00';

export const mixed: Benchmark = {
  name: 'mixed',
  what: 'operations: 60 % charges, 25 % refunds, 15 % payouts, sent at a PSP that costs nothing and recorded',
  run: measure,
};

/** @property orders how many orders the book has had so far: the next one's number */
type Work = { orders: number; readonly book: BenchBook };

async function measure(context: BenchContext): Promise<BenchReport> {
  const { server } = context;
  const operations = scaled(context, OPERATIONS, 1_000);
  const work: Work = { orders: 0, book: await createBook(server, 'mixed') };
  try {
    await registerSellers(work.book);
    const runs = await inTurn(
      context,
      (round) => runMix(context, work, operations, round),
      () => runCharges(context, work, operations),
    );
    return reportRatio({
      name: 'mixed',
      unit: 'operations/s',
      goal: 0.7,
      floor: 0.5,
      ours: runs.ours,
      peer: { name: 'our own executor with charges alone', runs: runs.peer },
      notes: [
        `${operations} operations a run on each side, in one book, over ${SELLERS} sellers; all accepted, reserved and approved before the clock starts`,
        `refunds of ${REFUND_AMOUNT} EUR, each of another charge of the same round; payouts of 1.00 EUR`,
        `one process, ${MAX_CONCURRENT} calls in flight, all constraints and triggers on`,
        'the peer is ourselves: the ratio says what a mix costs, not how fast it is',
        'left out: the network and the PSP, accepting, reserving and approving, a log line per operation',
        ...server.notes,
      ],
    });
  } finally {
    await work.book.close();
  }
}

async function registerSellers({ db }: BenchBook): Promise<void> {
  const place = { pspAccount: PSP_ACCOUNT, destination: 'acct_1' };
  for (let seller = 0; seller < SELLERS; seller += 1)
    await createSeller(db, { seller: `seller ${seller}`, place, reason: 'bench', principal: 'bench' });
}

async function runCharges(context: BenchContext, work: Work, operations: number): Promise<Measured> {
  await addOrders(context, work, operations);
  return execute(context, work, operations);
}

async function runMix(
  context: BenchContext,
  work: Work,
  operations: number,
  round: number,
): Promise<Measured> {
  const refunds = Math.round((operations * SHARE.refunds) / 100);
  const payouts = Math.round((operations * SHARE.payouts) / 100);
  // Charges that are refunded, and that fill the wallets: done before the clock starts.
  const firstOrder = work.orders;
  await addOrders(context, work, refunds);
  const before = await execute(context, work, refunds);
  if (before.dropped > 0) throw new Bug(`${before.dropped} charges of the preparation did not end well`);
  await addOrders(context, work, operations - refunds - payouts);
  await addRefunds(work, firstOrder, refunds);
  await addPayouts(work, payouts, round);
  await context.server.execute(work.book.database, ['vacuum (analyze)']);
  return execute(context, work, operations);
}

async function addOrders(context: BenchContext, work: Work, count: number): Promise<void> {
  await fillBook(context.server, work.book, work.orders, count);
  work.orders += count;
}

async function addRefunds({ book }: Work, firstOrder: number, count: number): Promise<void> {
  const { db } = book;
  const names = Array.from({ length: count }, (_, i) => `checkout-${firstOrder + i}`);
  const { policy, bookKey, principal } = book.accept('batch');
  const context = {
    policy: { fee: 'proportional', overdraw: 'allowed' } as const,
    bookKey,
    principal,
    accountOf: () => policy.route.fallback,
  };
  for (let start = 0; start < count; start += MAX_REFUND_BATCH) {
    const some = names.slice(start, start + MAX_REFUND_BATCH);
    const orders = await db.sql<{ id: bigint; checkoutId: string }[]>`
      select po.id, p.checkout_id
        from ${db.t.payment} p
        join ${db.t.paymentOrder} po on po.payment_id = p.id
       where p.checkout_id = any(${`{${some.join(',')}}`}::text[])`;
    const requests = orders.map(({ id, checkoutId }) => ({
      refundId: `refund-${checkoutId}`,
      orderId: id,
      amount: REFUND_AMOUNT,
      reason: 'bench',
      cause: 'request' as const,
    }));
    const results = await submitRefunds(db, context, requests);
    const refused = results.find((result) => result.kind !== 'accepted');
    if (refused !== undefined || results.length !== some.length)
      throw new Bug(`a refund of the benchmark was not accepted: ${refused?.kind ?? 'no order'}`);
  }
}

async function addPayouts({ book }: Work, count: number, round: number): Promise<void> {
  const { db } = book;
  const { policy, bookKey } = book.accept('batch');
  const requests = Array.from({ length: count }, (_, i) => ({
    line: i + 2,
    itemRef: `payout-${round}-${i}`,
    seller: `seller ${i % SELLERS}`,
    money: { amountMinor: PAYOUT_MINOR, currency: EUR },
    destination: null,
    memo: null,
  }));
  const submission = {
    principal: 'bench',
    pspAccount: PSP_ACCOUNT,
    sha256: `round ${round}`,
    source: 'bench',
  };
  const { batchId } = await submitPayouts(db, submission, requests);
  const context = {
    bookKey,
    principal: 'bench:approver',
    accountOf: () => policy.route.fallback,
    policy: { coolingDays: 3, repeatDays: 7, approvalLimits: new Map() },
  };
  const start = await startApproval(db, context, batchId!, 'approve');
  if (start.kind !== 'approving') throw new Bug(`the payouts were not approved: ${start.kind}`);
  let approved = 0;
  const { signal } = new AbortController();
  await approveItems(db, context, start.batch, {
    signal,
    onProgress: (tally) => {
      approved = tally.approved;
    },
  });
  if (approved !== count) throw new Bug(`${approved} payouts of ${count} were approved`);
}

/** Everything that waits in the book goes through the executor; the books have the last word on what is done. */
async function execute(context: BenchContext, { book }: Work, operations: number): Promise<Measured> {
  const before = await countDone(book);
  const run = await runProgram('our-executor', {
    connection: book.connection,
    orders: operations,
    sandboxUrl: null,
    maxConcurrent: MAX_CONCURRENT,
    postmasterPid: context.server.postmasterPid,
  });
  const done = (await countDone(book)) - before;
  return { ...run, done, dropped: operations - done };
}

/** Operations that succeeded and are booked; none of them where the books do not add up. */
async function countDone({ db }: BenchBook): Promise<number> {
  const { sql } = db;
  const [facts] = await sql<{ done: number; booked: number; balanced: boolean }[]>`
    select (select count(*) from ${sql(`${BOOK}.operation`)} where sub_state = 'succeeded')::integer as done,
           (select count(*) from ${sql(`${BOOK}.journal_entry`)}
             where kind in ('charge_succeeded', 'refund_succeeded', 'payout_accepted'))::integer as booked,
           (select coalesce(sum(debits) = sum(credits), true) from ${sql(`${BOOK}.account_balance`)}) as balanced`;
  if (facts === undefined || !facts.balanced || facts.booked !== facts.done) return 0;
  return facts.done;
}
