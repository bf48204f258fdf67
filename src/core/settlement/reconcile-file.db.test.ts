/** What a settlement file does to the books: imported once, matched by names, posted, proven; and what it does not do. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  balanceOf,
  openTestBook,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import { charged, line, lineOf, reconcile } from '../../testing/settlement-fixtures.ts';

let book: TestBook;
let daemon: TestDaemon;
beforeAll(async () => {
  book = await openTestBook();
  daemon = await startTestDaemon(book.db);
});
afterAll(() => book.close());

const count = async (table: 'settlementLine' | 'settlementMatch' | 'journalEntry' | 'openItem') => {
  const [row] = await book.owner.sql<
    { n: number }[]
  >`select count(*)::integer as n from ${book.owner.t[table]}`;
  return row!.n;
};

describe('a file that shows everything', () => {
  test('is matched, posted and proven; the receivable is zero, the mirror is what the PSP paid', async () => {
    const account = uniqueName('acct');
    const charges = await charged(book.db, daemon, account, 30);
    const lines = charges.map((charge) => lineOf(charge, { feeMinor: 30n }));
    const gross = charges.reduce((sum, one) => sum + one.amountMinor, 0n);
    const net = gross - 900n;
    const file = {
      lines: [
        ...lines,
        line({ kind: 'fee', grossMinor: -55n, reference: 'fee_1' }),
        line({ kind: 'deposit', grossMinor: -1_000n, reference: 'po_first' }),
      ],
    };
    const answer = await reconcile(book.db, `psp:${account}`, file);
    expect(answer).toMatchObject({ status: 'closed', breakCount: 0, outcome: 'imported' });
    expect(answer.byCurrency).toEqual([
      {
        currency: 'EUR',
        matched: { count: 30, grossMinor: gross },
        inTransit: { count: 0, grossMinor: 0n },
        breaks: { count: 0, grossMinor: 0n },
      },
    ]);
    expect(answer.proofs).toEqual([
      {
        pspAccount: account,
        currency: 'EUR',
        receivable: { openingMinor: 0n, factsMinor: gross, linesMinor: -gross, closingMinor: 0n },
        closing: { inTransitMinor: 0n, breaks: [], residualMinor: 0n },
        balance: { mirrorMinor: net - 1_055n, linesMinor: net - 1_055n, statedMinor: null },
        bank: null,
        closes: true,
      },
    ]);
    expect(await balanceOf(book.db, `psp:${account}:receivable`, 'EUR')).toBe(0n);
    expect(await balanceOf(book.db, `psp:${account}:balance`, 'EUR')).toBe(net - 1_055n);
    expect(await balanceOf(book.db, 'bank:main:in_transit', 'EUR')).toBe(1_000n);
  });

  test('again is already imported: the same answer, and not one row more', async () => {
    const account = uniqueName('acct');
    const [charge] = await charged(book.db, daemon, account, 1);
    const file = { lines: [lineOf(charge!)] };
    const first = await reconcile(book.db, `psp:${account}`, file);
    const before = [
      await count('settlementLine'),
      await count('settlementMatch'),
      await count('journalEntry'),
    ];
    const open = () => Promise.reject(new Error('a known file must not be read'));
    const again = await reconcile(book.db, `psp:${account}`, file, { open });
    expect(again).toEqual({ ...first, outcome: 'already_imported' });
    const streamed = await reconcile(book.db, `psp:${account}`, file, { sha256: null });
    expect(streamed).toEqual({ ...first, outcome: 'already_imported' });
    expect([
      await count('settlementLine'),
      await count('settlementMatch'),
      await count('journalEntry'),
    ]).toEqual(before);
  });
});
