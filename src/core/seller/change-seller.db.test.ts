import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestBook, type TestBook, uniqueName } from '../../testing/fixtures.ts';
import { changeDestination, changeStatus, createSeller } from './change-seller.ts';
import { findSeller, listDestinations, listPayees, listSellerChanges, listSellers } from './seller-store.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

const who = { reason: 'checked by phone', principal: 'os:ana' };

async function register(destination: string | null = null): Promise<string> {
  const seller = uniqueName('Verkäufer');
  const place = destination === null ? null : { pspAccount: 'main', destination };
  expect(await createSeller(book.db, { seller, place, ...who })).toBe('created');
  return seller;
}

async function payee(seller: string, coolingDays = 3) {
  const [found] = await listPayees(book.db, { sellers: [seller], pspAccount: 'main', coolingDays });
  return found;
}

describe('the register', () => {
  test('has a seller once; registering it again changes nothing', async () => {
    const seller = await register('acct_1');
    const place = { pspAccount: 'main', destination: 'acct_2' };
    expect(await createSeller(book.db, { seller, place, ...who })).toBe('exists');
    expect(await payee(seller)).toMatchObject({ status: 'active', destination: 'acct_1' });
  });

  test('freezes and unfreezes, and says when there was nothing to change', async () => {
    const seller = await register();
    const change = (status: 'active' | 'frozen') => changeStatus(book.db, { seller, status, ...who });
    expect([await change('active'), await change('frozen'), await change('frozen')]).toEqual([
      'unchanged',
      'changed',
      'unchanged',
    ]);
    expect(await findSeller(book.db, seller)).toMatchObject({ status: 'frozen' });
    expect(await change('active')).toBe('changed');
  });

  test('lets a first destination be paid at once, and another one only after the cooling period', async () => {
    const seller = await register();
    const set = (destination: string) =>
      changeDestination(book.db, { seller, pspAccount: 'main', destination, ...who });
    await set('acct_1');
    expect(await payee(seller)).toMatchObject({ destination: 'acct_1', coolingUntil: null });
    expect(await set('acct_1')).toBe('unchanged');
    expect(await set('acct_2')).toBe('changed');
    expect((await payee(seller))!.coolingUntil).not.toBeNull();
    expect((await payee(seller, 0))!.coolingUntil).toBeNull();
    // Back again is a change too.
    expect(await set('acct_1')).toBe('changed');
    expect(await payee(seller)).toMatchObject({ destination: 'acct_1', coolingUntil: expect.any(String) });
    expect(await listDestinations(book.db, seller, 3)).toHaveLength(1);
  });

  test('keeps every change with its reason and its principal, and lets nobody rewrite it', async () => {
    const seller = await register('acct_1');
    await changeStatus(book.db, { seller, status: 'frozen', ...who });
    await changeDestination(book.db, { seller, pspAccount: 'main', destination: 'acct_2', ...who });
    const changes = await listSellerChanges(book.db, seller, 10);
    expect(changes.map((change) => [change.kind, change.destination, change.reason])).toEqual([
      ['destination', 'acct_2', who.reason],
      ['frozen', null, who.reason],
      ['destination', 'acct_1', who.reason],
      ['created', null, who.reason],
    ]);
    expect(new Set(changes.map((change) => change.principal))).toEqual(new Set(['os:ana']));
    await expect(book.owner.sql`update ${book.owner.t.sellerChange} set reason = 'x'`).rejects.toMatchObject({
      code: 'PG001',
    });
  });

  test('does not know a seller that was never registered', async () => {
    const change = { seller: 'Nobody', ...who };
    await expect(changeStatus(book.db, { ...change, status: 'frozen' })).rejects.toMatchObject({
      code: 'seller_not_found',
    });
    await expect(
      changeDestination(book.db, { ...change, pspAccount: 'main', destination: 'acct_1' }),
    ).rejects.toMatchObject({ code: 'seller_not_found' });
    expect(await payee('Nobody')).toBeUndefined();
  });

  test('is listed by name, page by page', async () => {
    await Promise.all(Array.from({ length: 5 }, () => register()));
    const all = await listSellers(book.db, { status: null, after: null, limit: 1000 });
    const paged: string[] = [];
    for (let after: string | null = null; ; ) {
      const page: readonly { name: string }[] = await listSellers(book.db, {
        status: null,
        after,
        limit: 2,
      });
      paged.push(...page.map((one) => one.name));
      if (page.length < 2) break;
      after = page.at(-1)!.name;
    }
    expect(paged).toEqual(all.map((one) => one.name));
  });
});
