/** Names that are paid once, whatever file, batch or moment they come in. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { money, openTestBook, type TestBook, uniqueName } from '../../testing/fixtures.ts';
import { approve, fundedSeller, pay, payoutRequest, submit } from '../../testing/payout-fixtures.ts';
import { transact } from '../db/connection.ts';
import { cancelPayouts } from './cancel-payouts.ts';
import { ANY_PAYOUT, listPayouts, listRepeats } from './payout-list-store.ts';
import { passNames } from './payout-store.ts';
import { planNames, planPayouts } from './plan-payouts.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

const ALL = { ...ANY_PAYOUT, limit: 1000 };

async function seller(available = '100.00'): Promise<{ account: string; name: string }> {
  const account = uniqueName('acct');
  return { account, name: await fundedSeller(book.db, account, available) };
}

describe('a name', () => {
  test('stores one payout: the same file again, and again at once, stores nothing', async () => {
    const { account, name } = await seller();
    const requests = Array.from({ length: 20 }, () => payoutRequest(name, '1.00'));
    const first = await Promise.all(
      Array.from({ length: 6 }, (_, i) =>
        submit(book.db, account, i % 2 === 0 ? requests : requests.toReversed()),
      ),
    );
    expect(first.filter((one) => one.batchId !== null)).toHaveLength(1);
    const again = await submit(book.db, account, requests);
    expect(again).toMatchObject({ batchId: null, accepted: [] });
    expect(again.taken.map(({ use }) => use.kind)).toEqual(Array(20).fill('there'));
    expect(await listPayouts(book.db, { ...ALL, seller: name })).toHaveLength(20);
  });

  test('with other content is a conflict, and is told what differs', async () => {
    const { account, name } = await seller();
    const request = payoutRequest(name, '1.00', { destination: 'acct_1' });
    await submit(book.db, account, [request]);
    const others = [
      { ...request, money: money('1.01', 'EUR') },
      { ...request, money: money('100', 'JPY') },
      { ...request, seller: 'Somebody else' },
      { ...request, destination: 'acct_2' },
    ];
    for (const [i, differs] of ['amount', 'currency', 'seller', 'destination'].entries()) {
      const { batchId, taken } = await submit(book.db, account, [others[i]!]);
      expect(batchId).toBeNull();
      expect(taken[0]!.use).toMatchObject({ kind: 'conflict', differs });
    }
  });

  test('of a corrected file: only what was not paid is paid', async () => {
    const { account, name } = await seller('10.00');
    const requests = ['4.00', '5.00', '6.00'].map((amount) => payoutRequest(name, amount));
    await pay(book.db, account, requests);
    const corrected = [
      ...requests.slice(0, 2),
      { ...requests[2]!, money: money('1.00', 'EUR') },
      payoutRequest(name, '0.50'),
    ];
    const second = await submit(book.db, account, corrected);
    expect(second.accepted.map((request) => request.itemRef)).toEqual([
      requests[2]!.itemRef,
      corrected[3]!.itemRef,
    ]);
    expect(await approve(book.db, second.batchId!)).toEqual({ approved: 1, refused: 1 });
    const refs = (await listPayouts(book.db, { ...ALL, seller: name, state: 'approved' })).map(
      (item) => item.itemRef,
    );
    expect(new Set(refs).size).toBe(refs.length);
  });

  test('is kept by the database where its payout is a draft, on its way or paid', async () => {
    const { account, name } = await seller();
    const requests = [payoutRequest(name, '1.00'), payoutRequest(name, '2.00')];
    await pay(book.db, account, [requests[0]!]);
    await submit(book.db, account, [requests[1]!]);
    for (const { itemRef } of requests) {
      await expect(
        transact(book.db, (tx) => passNames(tx, [{ itemRef, payoutId: 1n }])),
      ).rejects.toMatchObject({ code: 'PG006' });
    }
  });

  test('that was canceled is taken over by one of two files that come at once', async () => {
    const { account, name } = await seller();
    const request = payoutRequest(name, '1.00');
    const { batchId } = await submit(book.db, account, [request]);
    await cancelPayouts(book.db, { batchId: batchId!, principal: 'os:ana', reason: 'a mistake' });
    const both = await Promise.all(Array.from({ length: 8 }, () => submit(book.db, account, [request])));
    expect(both.filter((one) => one.batchId !== null)).toHaveLength(1);
    const bearer = await listPayouts(book.db, { ...ALL, itemRef: request.itemRef });
    expect(bearer).toMatchObject([{ batchId: both.find((one) => one.batchId !== null)!.batchId }]);
  });
});

describe('a plan', () => {
  const context = (account: string) => ({
    pspAccount: { name: account, psp: 'stripe' as const },
    coolingDays: 3,
    repeatDays: 7,
    batchId: null,
  });

  test('says what would be refused, each wallet before and after, and stores nothing', async () => {
    const { account, name } = await seller('10.00');
    const requests = [
      payoutRequest(name, '7.00'),
      payoutRequest(name, '4.00'),
      payoutRequest('Nobody', '1.00'),
      payoutRequest(name, '3.00'),
    ];
    const plan = await planPayouts(book.db, context(account), requests);
    expect(plan.refusals.map(({ request, refusal }) => [request, refusal.code])).toEqual([
      [requests[1], 'not_covered'],
      [requests[2], 'seller_unknown'],
    ]);
    expect([...plan.payable]).toEqual([['EUR', 1000n]]);
    expect(plan.wallets).toEqual([
      { seller: 'Nobody', currency: 'EUR', beforeMinor: 0n, payoutMinor: 0n, afterMinor: 0n },
      { seller: name, currency: 'EUR', beforeMinor: 1000n, payoutMinor: 1000n, afterMinor: 0n },
    ]);
    expect((await planNames(book.db, requests)).every(({ use }) => use.kind === 'free')).toBe(true);
  });

  test('asks about the same seller and amount of the last days, in another batch or in the same file', async () => {
    const { account, name } = await seller();
    const earlier = payoutRequest(name, '1.00');
    await submit(book.db, account, [earlier]);
    const [bearer] = await listPayouts(book.db, { ...ALL, itemRef: earlier.itemRef });
    const requests = [
      payoutRequest(name, '1.00'),
      payoutRequest(name, '2.00'),
      payoutRequest(name, '2.00'),
      payoutRequest(name, '1.00', { money: money('100', 'JPY') }),
    ];
    const { repeats } = await planPayouts(book.db, context(account), requests);
    expect(repeats).toEqual([
      { request: requests[0], payoutId: bearer!.id, line: null },
      { request: requests[2], payoutId: null, line: requests[1]!.line },
    ]);
    const never = { ...context(account), repeatDays: 0 };
    expect((await planPayouts(book.db, never, requests)).repeats).toEqual([]);
  });

  test('does not ask about what was refused or canceled, or is long ago', async () => {
    const { account, name } = await seller('1.00');
    const item = { seller: name, currency: 'EUR', amountMinor: 500n };
    const wanted = { items: [item], days: 7, exceptBatchId: null };
    await pay(book.db, account, [payoutRequest(name, '5.00')]);
    const { batchId } = await submit(book.db, account, [payoutRequest(name, '5.00')]);
    expect(await listRepeats(book.db, wanted)).toMatchObject([{ index: 0 }]);
    expect(await listRepeats(book.db, { ...wanted, exceptBatchId: batchId })).toEqual([]);
    await cancelPayouts(book.db, { batchId: batchId!, principal: 'os:ana', reason: 'a mistake' });
    expect(await listRepeats(book.db, wanted)).toEqual([]);
    await submit(book.db, account, [payoutRequest(name, '5.00')]);
    await book.owner.sql.unsafe(`
      alter table paygate.payout_item disable trigger payout_item_is_decided_once;
      update paygate.payout_item set created_at = now() - interval '8 days';
      alter table paygate.payout_item enable trigger payout_item_is_decided_once`);
    expect(await listRepeats(book.db, wanted)).toEqual([]);
  });
});
