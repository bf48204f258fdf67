import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  balanceOf,
  claim,
  money,
  openTestBook,
  orderRequest,
  paymentRequest,
  queueCharges,
  REPLY,
  startTestDaemon,
  type TestBook,
  uniqueName,
} from '../../testing/fixtures.ts';
import { transact } from '../db/connection.ts';
import { postEntries } from '../ledger/ledger-store.ts';
import { payoutApproved } from '../ledger/posting-rules.ts';
import { findingOf, recordFindings } from '../operation/execute-operations.ts';
import { takeDueReleases } from '../operation/operation-store.ts';
import { releaseDueFunds } from './release-funds.ts';
import { listWallets } from './wallet-store.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

const EUR = money('1', 'EUR').currency;

/** Charges that succeeded, one per seller. */
async function charged(
  sellers: readonly string[],
  releaseAfterDays: number | null,
): Promise<readonly bigint[]> {
  const account = uniqueName('acct');
  const orders = sellers.map((seller) => orderRequest({ seller, platformFeeMinor: 250n }));
  const charges = await queueCharges(book.db, account, [paymentRequest({ orders })], { releaseAfterDays });
  const daemon = await startTestDaemon(book.db);
  const tasks = await claim(daemon, account);
  await recordFindings(
    daemon.context,
    tasks.map((task) => findingOf(task, REPLY.succeeded)),
  );
  return charges.map((charge) => charge.operationId);
}

/** The release that was set for an operation comes due. */
async function comeDue(operationIds: readonly bigint[]): Promise<void> {
  await book.owner.sql`
    update ${book.owner.t.fundRelease} set due_at = now() - interval '1 second'
     where operation_id = any(${`{${operationIds.join(',')}}`}::bigint[])`;
}

async function wallet(seller: string) {
  const filter = { seller, currency: null, order: 'seller' as const, after: null, limit: 10 };
  const [first] = await listWallets(book.db, filter);
  return first;
}

async function releaseAll(): Promise<number> {
  let released = 0;
  for (;;) {
    const round = await releaseDueFunds(book.db, 'test');
    if (round === 0) return released;
    released += round;
  }
}

describe('funds', () => {
  test('are available at capture where the policy says so', async () => {
    const seller = uniqueName('Seller');
    await charged([seller], null);
    expect(await wallet(seller)).toMatchObject({
      pendingMinor: 0n,
      availableMinor: 1000n,
      totalMinor: 1000n,
    });
    expect(await releaseAll()).toBe(0);
  });

  test('wait until their day has come, then move from pending to available, once', async () => {
    const seller = uniqueName('Seller');
    const ids = await charged([seller], 7);
    expect(await wallet(seller)).toMatchObject({ pendingMinor: 1000n, availableMinor: 0n });
    expect(await releaseAll()).toBe(0);
    const [due] = await book.owner.sql<{ days: number }[]>`
      select round(extract(epoch from due_at - now()) / 86400)::integer as days
        from ${book.owner.t.fundRelease} where operation_id = ${ids[0]!}`;
    expect(due).toEqual({ days: 7 });
    await comeDue(ids);
    expect(await releaseAll()).toBe(1);
    expect(await wallet(seller)).toMatchObject({
      pendingMinor: 0n,
      availableMinor: 1000n,
      totalMinor: 1000n,
    });
    expect(await releaseAll()).toBe(0);
    expect(await wallet(seller)).toMatchObject({ pendingMinor: 0n, availableMinor: 1000n });
  });

  test('are released once by several daemons at once', async () => {
    const sellers = Array.from({ length: 20 }, () => uniqueName('Seller'));
    await comeDue(await charged(sellers, 1));
    const released = await Promise.all(Array.from({ length: 5 }, () => releaseAll()));
    expect(released.reduce((sum, count) => sum + count, 0)).toBe(20);
    for (const seller of sellers) {
      expect(await wallet(seller)).toMatchObject({ pendingMinor: 0n, availableMinor: 1000n });
    }
  });

  test('of one seller in many orders come together in one round', async () => {
    const seller = uniqueName('Seller');
    const sellers = Array.from({ length: 9 }, () => seller);
    await comeDue(await charged(sellers, 1));
    expect(await releaseDueFunds(book.db, 'test')).toBe(9);
    expect(await wallet(seller)).toMatchObject({ pendingMinor: 0n, availableMinor: 9_000n });
  });

  test('are not lost when the round fails in the middle', async () => {
    const seller = uniqueName('Seller');
    await comeDue(await charged([seller], 1));
    const failing = transact(book.db, async (tx) => {
      expect(await takeDueReleases(tx, 10)).toHaveLength(1);
      throw new Error('crash');
    });
    await expect(failing).rejects.toThrow('crash');
    expect(await releaseAll()).toBe(1);
    expect(await wallet(seller)).toMatchObject({ pendingMinor: 0n, availableMinor: 1000n });
  });

  test('of nothing (the whole amount was fee) are a release without an entry', async () => {
    const account = uniqueName('acct');
    const seller = uniqueName('Seller');
    const orders = [orderRequest({ seller, platformFeeMinor: 1250n })];
    const [charge] = await queueCharges(book.db, account, [paymentRequest({ orders })], {
      releaseAfterDays: 1,
    });
    const daemon = await startTestDaemon(book.db);
    const tasks = await claim(daemon, account);
    await recordFindings(
      daemon.context,
      tasks.map((task) => findingOf(task, REPLY.succeeded)),
    );
    await comeDue([charge!.operationId]);
    expect(await releaseAll()).toBe(1);
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(0n);
  });
});

describe('wallets', () => {
  test('show every purse of a seller, and their sum', async () => {
    const seller = uniqueName('Seller');
    await charged([seller], null);
    await charged([seller], 3);
    const payout = payoutApproved({ seller, currency: EUR, payoutMinor: 300n });
    await transact(book.db, (tx) => postEntries(tx, 'test', [{ cause: uniqueName('payout'), ...payout }]));
    expect(await wallet(seller)).toEqual({
      seller,
      currency: 'EUR',
      pendingMinor: 1000n,
      availableMinor: 700n,
      inPayoutMinor: 300n,
      inRefundMinor: 0n,
      inDisputeMinor: 0n,
      totalMinor: 2000n,
    });
  });

  test('are listed by name, page by page, without a gap and without a double', async () => {
    const prefix = uniqueName('Zebra');
    const sellers = ['é', 'a', 'Z', '鈴', 'b'].map((name) => `${prefix} ${name}`);
    await charged(sellers, null);
    const seen: string[] = [];
    let after: { seller: string; currency: string } | null = null;
    for (;;) {
      const page = await listWallets(book.db, {
        seller: null,
        currency: 'EUR',
        order: 'seller',
        after,
        limit: 2,
      });
      if (page.length === 0) break;
      seen.push(...page.map((item) => item.seller));
      const last = page.at(-1)!;
      after = { seller: last.seller, currency: last.currency };
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.filter((name) => name.startsWith(prefix)).sort()).toEqual([...sellers].sort());
  });

  test('can be listed by what they hold, the largest first', async () => {
    const top = await listWallets(book.db, {
      seller: null,
      currency: 'EUR',
      order: 'total',
      after: null,
      limit: 1000,
    });
    const totals = top.map((item) => item.totalMinor);
    expect(totals).toEqual([...totals].sort((a, b) => (a < b ? 1 : a > b ? -1 : 0)));
  });

  test('equal the postings of their accounts', async () => {
    const [difference] = await book.owner.sql<{ wallets: bigint; postings: bigint }[]>`
      select (select sum(b.credits - b.debits)::bigint from ${book.owner.t.account} a
                join ${book.owner.t.accountBalance} b on b.account_id = a.id where a.family = 'seller') as wallets,
             (select (sum(case when c.family = 'seller' then p.amount_minor else 0 end)
                      - sum(case when d.family = 'seller' then p.amount_minor else 0 end))::bigint
                from ${book.owner.t.posting} p
                join ${book.owner.t.account} d on d.id = p.debit_id
                join ${book.owner.t.account} c on c.id = p.credit_id) as postings`;
    expect(difference!.wallets).toBe(difference!.postings);
  });
});
