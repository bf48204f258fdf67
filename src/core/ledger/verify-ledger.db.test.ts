/** `ledger verify` must notice what somebody with all rights did to the books behind the triggers' back. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { money, openTestBook, type TestBook, uniqueName } from '../../testing/fixtures.ts';
import { transact, transactOnce } from '../db/connection.ts';
import { pspAccount, sellerAccount } from './chart-of-accounts.ts';
import { findLedgerFaults, type LedgerFault } from './ledger-queries-store.ts';
import { postEntries } from './ledger-store.ts';
import { verifyLedger } from './verify-ledger.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

/** Entries of two pairs each: EUR and USD, one seller. */
async function fill(): Promise<void> {
  const entries = [EUR_USD, EUR_USD].map((postings) => ({
    cause: uniqueName('cause'),
    kind: 'test',
    postings,
  }));
  await transact(book.db, (tx) => postEntries(tx, 'test', entries));
}

const EUR_USD = (['EUR', 'USD'] as const).map((code) => ({
  debit: pspAccount('main', 'receivable'),
  credit: sellerAccount('Ana', 'available'),
  ...money('1.00', code),
  guard: 'none' as const,
}));

class Undo extends Error {}

/**
 * What verification finds when somebody with all rights has changed the books, in a session that runs no
 * triggers and checks no foreign keys. The change is undone afterwards.
 */
async function faultsAfter(statements: readonly string[]): Promise<readonly LedgerFault[]> {
  let faults: readonly LedgerFault[] = [];
  const changed = transactOnce(book.owner, async (tx) => {
    await tx.sql`select set_config('session_replication_role', 'replica', true), set_config('search_path', 'paygate', true)`;
    for (const statement of statements) await tx.sql.unsafe(statement);
    faults = await findLedgerFaults(tx, 100);
    throw new Undo();
  });
  await expect(changed).rejects.toBeInstanceOf(Undo);
  return faults;
}

describe('ledger verify', () => {
  test('proves nothing about empty books: that is an answer of its own', async () => {
    expect(await verifyLedger(book.db)).toMatchObject({ verdict: 'empty', postings: 0n, faults: [] });
  });

  test('passes books that are right, and says how much it looked at', async () => {
    await fill();
    expect(await verifyLedger(book.db)).toEqual({
      verdict: 'balanced',
      accounts: 4n,
      entries: 2n,
      postings: 4n,
      faults: [],
    });
  });

  const FIRST = '(select min(id) from journal_entry)';
  const PLANTED: readonly [string, readonly string[], string][] = [
    [
      'a changed amount',
      [`update posting set amount_minor = amount_minor + 1 where entry_id = ${FIRST} and line = 1`],
      'balance_differs',
    ],
    ['a deleted posting', [`delete from posting where entry_id = ${FIRST} and line = 1`], 'entry_incomplete'],
    [
      'a deleted posting whose balances were put right too',
      [
        `update account_balance set debits = debits - 100 where account_id =
           (select debit_id from posting where entry_id = ${FIRST} and line = 1)`,
        `update account_balance set credits = credits - 100 where account_id =
           (select credit_id from posting where entry_id = ${FIRST} and line = 1)`,
        `delete from posting where entry_id = ${FIRST} and line = 1`,
      ],
      'entry_incomplete',
    ],
    [
      'a changed balance',
      ['update account_balance set credits = credits + 1 where account_id = (select min(id) from account)'],
      'balance_differs',
    ],
    [
      'balances changed on both sides, so that the trial balance is even',
      [
        "update account_balance set debits = debits + 1, credits = credits + 1 where account_id in (select id from account where currency = 'EUR')",
      ],
      'balance_differs',
    ],
    [
      'a posting turned round',
      [
        `update posting set debit_id = credit_id, credit_id = debit_id where entry_id = ${FIRST} and line = 1`,
      ],
      'balance_differs',
    ],
    [
      'a missing balance',
      ['delete from account_balance where account_id = (select min(id) from account)'],
      'account_without_balance',
    ],
    [
      'an entry without postings',
      [
        "insert into journal_entry (id, cause, kind, posting_count) values (nextval('object_id'), 'x', 'x', 1)",
      ],
      'entry_incomplete',
    ],
    [
      'a posting added behind the back of the trigger',
      [
        `insert into posting (entry_id, line, debit_id, credit_id, currency, amount_minor)
         select entry_id, 3, debit_id, credit_id, currency, 1 from posting where entry_id = ${FIRST} and line = 1`,
      ],
      'balance_differs',
    ],
    [
      'money moved between two currencies',
      [
        `update posting set credit_id = (select id from account where currency = 'USD' and family = 'seller')
          where entry_id = ${FIRST} and currency = 'EUR'`,
        "update account_balance set credits = credits - 100 where account_id = (select id from account where currency = 'EUR' and family = 'seller')",
        "update account_balance set credits = credits + 100 where account_id = (select id from account where currency = 'USD' and family = 'seller')",
      ],
      'currency_out_of_balance',
    ],
  ];

  test.each(PLANTED)('finds %s', async (_, statements, code) => {
    const faults = await faultsAfter(statements);
    expect(faults.map((fault) => fault.code)).toContain(code);
  });

  /** Faults that leave every balance and every count right: only a look at the rows themselves finds them. */
  const HIDDEN: readonly [string, readonly string[]][] = [
    [
      'a posting that names another currency than its accounts have',
      [`update posting set currency = 'CHF' where entry_id = ${FIRST} and line = 1`],
    ],
    [
      'a posting whose entry does not exist',
      [
        `insert into posting (entry_id, line, debit_id, credit_id, currency, amount_minor)
         select 999999999, 1, debit_id, credit_id, currency, 100 from posting where entry_id = ${FIRST} and line = 1`,
        `update account_balance set debits = debits + 100 where account_id = (select debit_id from posting where entry_id = 999999999)`,
        `update account_balance set credits = credits + 100 where account_id = (select credit_id from posting where entry_id = 999999999)`,
      ],
    ],
    [
      'an account whose normal side was turned round',
      ["update account set normal_balance = 'debit' where family = 'seller' and currency = 'EUR'"],
    ],
  ];

  test.each(HIDDEN)('finds %s', async (_, statements) => {
    expect(await faultsAfter(statements)).not.toEqual([]);
  });

  test('names account, currency, what it expected and what it found', async () => {
    const faults = await faultsAfter([
      "update account_balance set credits = credits + 7 where account_id = (select id from account where family = 'seller' and currency = 'EUR')",
    ]);
    expect(faults).toContainEqual({
      code: 'balance_differs',
      subject: 'seller:Ana:available',
      currency: 'EUR',
      expected: '0 / 200',
      found: '0 / 207',
    });
  });

  test('says "faulty" of books that stay wrong', async () => {
    expect((await verifyLedger(book.db)).verdict).toBe('balanced');
    await book.owner.sql`update ${book.owner.t.accountBalance} set debits = debits + 1 where account_id = 1`;
    const { verdict, faults } = await verifyLedger(book.db);
    expect(verdict).toBe('faulty');
    expect(faults.map((fault) => fault.code).sort()).toEqual(['balance_differs', 'currency_out_of_balance']);
    await book.owner.sql`update ${book.owner.t.accountBalance} set debits = debits - 1 where account_id = 1`;
    expect((await verifyLedger(book.db)).verdict).toBe('balanced');
  });
});
