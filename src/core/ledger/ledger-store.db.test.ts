/** What the database itself holds true of the books, whatever the application does. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  balanceOf,
  money,
  openTestBook,
  orderRequest,
  queueCharge,
  REPLY,
  scriptedConnector,
  startTestDaemon,
  type TestBook,
  turn,
  uniqueName,
} from '../../testing/fixtures.ts';
import { list, transact } from '../db/connection.ts';
import type { Currency } from '../money.ts';
import { pspAccount, sellerAccount } from './chart-of-accounts.ts';
import { listEntryPostings, trialBalance } from './ledger-queries-store.ts';
import { type NewEntry, type PostedEntry, postEntries } from './ledger-store.ts';
import { type Posting, payoutApproved } from './posting-rules.ts';
import { verifyLedger } from './verify-ledger.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

const EUR = money('1', 'EUR').currency;
const USD = money('1', 'USD').currency;

function posting(overrides: Partial<Posting> = {}): Posting {
  return {
    debit: pspAccount('main', 'receivable'),
    credit: sellerAccount('Ana', 'available'),
    currency: EUR,
    amountMinor: 100n,
    guard: 'none',
    ...overrides,
  };
}

function entry(postings: readonly Posting[], cause = uniqueName('cause')): NewEntry {
  return { cause, kind: 'test', postings };
}

function post(entries: readonly NewEntry[]): Promise<readonly PostedEntry[]> {
  return transact(book.db, (tx) => postEntries(tx, 'test', entries));
}

/** Ids of the accounts of one posting, opened. */
async function openPair(currency: Currency = EUR): Promise<{ debitId: bigint; creditId: bigint }> {
  const seller = uniqueName('Seller');
  const [posted] = await post([entry([posting({ credit: sellerAccount(seller, 'available'), currency })])]);
  return posted!.postings[0]!;
}

/** A line of an entry, as SQL may write it. */
type RawLine = {
  readonly line: number;
  readonly debitId: bigint;
  readonly creditId: bigint;
  readonly currency: string;
  readonly amount: bigint;
};

/** Writes a head and its lines by hand, each inner list in a statement of its own, in one transaction. */
function postRaw(postingCount: number, statements: readonly (readonly RawLine[])[]): Promise<void> {
  return transact(book.db, async (tx) => {
    const { sql, t } = tx;
    const [head] = await sql<{ id: bigint }[]>`
      insert into ${t.journalEntry} (id, cause, kind, posting_count)
      values (nextval('paygate.object_id'), ${uniqueName('head')}, 'test', ${postingCount}) returning id`;
    for (const lines of statements) {
      await sql`
        insert into ${t.posting} (entry_id, line, debit_id, credit_id, currency, amount_minor)
        select ${head!.id}, line, debit_id, credit_id, currency, amount
          from unnest(${list(lines.map((l) => l.line))}::smallint[],
                      ${list(lines.map((l) => l.debitId))}::bigint[],
                      ${list(lines.map((l) => l.creditId))}::bigint[],
                      ${list(lines.map((l) => l.currency))}::text[],
                      ${list(lines.map((l) => l.amount))}::bigint[])
               as l (line, debit_id, credit_id, currency, amount)`;
    }
  });
}

describe('append-only', () => {
  const TABLES = [
    'event',
    'account',
    'journal_entry',
    'posting',
    'payment',
    'checkout',
    'idempotency_key',
    'payment_order',
    'evidence',
    'settlement_file',
    'settlement_batch',
    'settlement_line',
    'settlement_line_seen',
    'break_event',
  ] as const;

  beforeAll(async () => {
    const account = uniqueName('acct');
    await queueCharge(book.db, account);
    await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY.succeeded]));
  });

  /** A column of the table that an update may name, and a statement of each kind that would change it. */
  function changes(table: string): readonly string[] {
    const column =
      { account: 'opened_at', posting: 'amount_minor', journal_entry: 'recorded_at' }[table] ?? null;
    const set = column === null ? 'ctid = ctid where false' : `${column} = ${column}`;
    const update =
      column === null
        ? `update paygate.${table} set ${firstColumn[table]} = ${firstColumn[table]}`
        : `update paygate.${table} set ${set}`;
    return [update, `delete from paygate.${table}`, `truncate paygate.${table} cascade`];
  }
  const firstColumn: Readonly<Record<string, string>> = {
    event: 'kind',
    payment: 'buyer',
    checkout: 'payment_id',
    idempotency_key: 'answer',
    payment_order: 'seller',
    evidence: 'reason',
    settlement_file: 'name',
    settlement_batch: 'refused',
    settlement_line: 'gross_minor',
    settlement_line_seen: 'line_id',
    break_event: 'reason',
  };

  test.each(TABLES)(
    '%s: the owner is stopped by a trigger, for update, delete and truncate',
    async (table) => {
      for (const statement of changes(table)) {
        await expect(book.owner.sql.unsafe(statement), statement).rejects.toMatchObject({ code: 'PG001' });
      }
    },
  );

  test.each(TABLES)('%s: the application has no right to update, delete or truncate', async (table) => {
    for (const statement of changes(table)) {
      await expect(book.db.sql.unsafe(statement), statement).rejects.toMatchObject({ code: '42501' });
    }
  });

  test.each([
    'update paygate.account_balance set debits = debits + 1',
    'insert into paygate.account_balance (account_id) values (0)',
    'delete from paygate.account_balance',
    'truncate paygate.account_balance',
    "update paygate.attempt set idempotency_key = 'x'",
    "update paygate.attempt set request = '{}'",
    'update paygate.attempt set number = 2',
    'delete from paygate.attempt',
    'update paygate.operation set amount_minor = 1',
    "update paygate.operation set currency = 'USD'",
    'delete from paygate.operation',
    "update paygate.batch set sha256 = 'x'",
    'delete from paygate.dead_letter',
    "update paygate.dead_letter set code = 'x', reason = 'x'",
    "update paygate.book set book_key = 'x'",
    'delete from paygate.migration',
    'delete from paygate.settlement_match',
    'update paygate.settlement_match set amount_minor = 1',
    'update paygate.open_item set amount_minor = 1',
    'delete from paygate.recon_break',
    "update paygate.recon_break set fingerprint = 'x'",
    "update paygate.reconcile_run set principal = 'x'",
    'alter table paygate.posting disable trigger all',
    'drop table paygate.posting',
    'create table paygate.mine (x int)',
    'create function paygate.mine() returns int language sql as $$ select 1 $$',
    'set session_replication_role = replica',
    "select setval('paygate.object_id', 1)",
  ])('the application may not: %s', async (statement) => {
    await expect(book.db.sql.unsafe(statement)).rejects.toMatchObject({ code: '42501' });
  });

  test('the application may do everything that the tests above do not refuse it: the list of its rights is short', async () => {
    const rows = await book.owner.sql<{ right: string }[]>`
      select table_name || ': ' || string_agg(distinct lower(privilege_type), ', ' order by lower(privilege_type)) as right
        from information_schema.table_privileges
       where table_schema = 'paygate' and grantee = 'paygate_app'
       group by table_name
      having bool_or(privilege_type in ('UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES'))
       order by table_name`;
    expect(rows.map((row) => row.right)).toEqual([
      'daemon: insert, select, update',
      'dispute_look: delete, insert, select, update',
      'fund_release: delete, insert, select, update',
      'hand_off: delete, insert, select, update',
      'job: delete, insert, select, update',
      'open_item: delete, insert, select',
      'partial_watch: delete, insert, select, update',
      // Old counters are pruned; a trigger keeps those that a rule can still ask about.
      'risk_counter: delete, insert, select',
      'risk_key: delete, insert, select',
    ]);
  });
});

describe('an entry', () => {
  test('is a set of pairs: each moves as much out of one account as into another', async () => {
    const before = await trialBalance(book.db);
    await post([
      entry([
        posting({ amountMinor: 7n }),
        posting({ amountMinor: 5n, credit: pspAccount('main', 'balance') }),
      ]),
    ]);
    for (const rows of [before, await trialBalance(book.db)]) {
      for (const currency of new Set(rows.map((row) => row.currency))) {
        const of = rows.filter((row) => row.currency === currency);
        const sum = (side: 'debits' | 'credits') => of.reduce((total, row) => total + row[side], 0n);
        expect(sum('debits')).toBe(sum('credits'));
      }
    }
  });

  test.each<[string, number, number[][]]>([
    ['with fewer postings than it says', 2, [[1]]],
    ['with more postings than it says', 1, [[1, 2]]],
    ['with a gap in its lines', 2, [[1, 3]]],
    ['without its first line', 2, [[2]]],
    ['in two statements', 2, [[1], [2]]],
  ])('%s is refused', async (_, count, parts) => {
    const pair = await openPair();
    const statements = parts.map((lines) =>
      lines.map((line) => ({ line, ...pair, currency: 'EUR', amount: 1n })),
    );
    await expect(postRaw(count, statements)).rejects.toMatchObject({ code: 'PG002' });
  });

  test('that does not exist has no postings either', async () => {
    const { debitId, creditId } = await openPair();
    const write = book.db.sql`
      insert into ${book.db.t.posting} (entry_id, line, debit_id, credit_id, currency, amount_minor)
      values (999999999, 1, ${debitId}, ${creditId}, 'EUR', 1)`;
    await expect(write).rejects.toMatchObject({ code: 'PG002' });
  });

  test('cannot be extended later, neither by a new line nor by one it has', async () => {
    const [posted] = await post([entry([posting()])]);
    const { debitId, creditId } = posted!.postings[0]!;
    const extend = (line: number) => book.db.sql`
      insert into ${book.db.t.posting} (entry_id, line, debit_id, credit_id, currency, amount_minor)
      values (${posted!.id}, ${line}, ${debitId}, ${creditId}, 'EUR', 1)`;
    await expect(extend(2)).rejects.toMatchObject({ code: 'PG002' });
    await expect(extend(1)).rejects.toMatchObject({ code: '23505' });
    await expect(extend(0)).rejects.toMatchObject({ code: '23514' });
  });

  test.each([
    ['of nothing', 0n],
    ['below zero', -1n],
  ])('with a posting %s is refused', async (_, amount) => {
    const pair = await openPair();
    const write = postRaw(1, [[{ line: 1, ...pair, currency: 'EUR', amount }]]);
    await expect(write).rejects.toMatchObject({ code: '23514' });
  });

  test('from an account to itself is refused', async () => {
    const same = pspAccount('main', 'balance');
    await expect(post([entry([posting({ debit: same, credit: same })])])).rejects.toMatchObject({
      constraint_name: 'posting_moves_money',
    });
  });

  test('in a currency that one of its accounts does not have, or without an account, is refused', async () => {
    const [euro, dollar] = [await openPair(EUR), await openPair(USD)];
    for (const [debitId, creditId, currency] of [
      [euro.debitId, dollar.creditId, 'EUR'],
      [euro.debitId, dollar.creditId, 'USD'],
      [euro.debitId, euro.creditId, 'USD'],
      [euro.debitId, 999_999_999n, 'EUR'],
      [999_999_999n, euro.creditId, 'EUR'],
    ] as const) {
      const write = postRaw(1, [[{ line: 1, debitId, creditId, currency, amount: 1n }]]);
      await expect(write).rejects.toMatchObject({ code: 'PG004' });
    }
  });

  test('that would take a balance beyond bigint is refused whole', async () => {
    const seller = uniqueName('Seller');
    const huge = posting({
      debit: pspAccount('huge', 'receivable'),
      credit: sellerAccount(seller, 'available'),
      amountMinor: 2n ** 62n,
    });
    await post([entry([huge])]);
    await expect(post([entry([huge])])).rejects.toMatchObject({ code: '22003' });
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(2n ** 62n);
  });
});

describe('a cause', () => {
  test('posts once: the same content again finds the first entry and moves nothing', async () => {
    const seller = uniqueName('Seller');
    const same = entry([posting({ credit: sellerAccount(seller, 'available') })]);
    const [first] = await post([same]);
    const [again] = await post([same]);
    expect([first!.status, again!.status]).toEqual(['posted', 'existing']);
    expect(again!.id).toBe(first!.id);
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(100n);
  });

  test('may post several kinds', async () => {
    const one = entry([posting()]);
    const posted = await post([one, { ...one, kind: 'another' }]);
    expect(posted.map((item) => item.status)).toEqual(['posted', 'posted']);
  });

  test.each<[string, readonly Posting[], RegExp]>([
    ['another amount', [posting({ amountMinor: 101n })], /amountMinor on line 1/],
    ['another debit', [posting({ debit: pspAccount('main', 'balance') })], /debitId on line 1/],
    ['another credit', [posting({ credit: sellerAccount('Bob', 'available') })], /creditId on line 1/],
    [
      'a guard',
      [
        posting({
          guard: 'no_overdraw',
          debit: sellerAccount('Rich', 'available'),
          credit: sellerAccount('Rich', 'in_payout'),
        }),
      ],
      /on line 1/,
    ],
    [
      'one more posting',
      [posting(), posting({ credit: sellerAccount('Bob', 'available') })],
      /number of postings/,
    ],
  ])('cannot post with %s: the field is named, nothing moves', async (_, postings, words) => {
    const first = entry([posting()]);
    await post([first]);
    const before = await trialBalance(book.db);
    const conflict = post([{ ...first, postings }]);
    await expect(conflict).rejects.toMatchObject({
      name: 'OperatorError',
      code: 'entry_conflict',
      kind: 'refused',
    });
    await expect(conflict).rejects.toThrow(words);
    expect((await trialBalance(book.db)).map((row) => [row.debits, row.credits])).toEqual(
      before.map((row) => [row.debits, row.credits]),
    );
  });

  test('posted by two at once posts once', async () => {
    const seller = uniqueName('Seller');
    const same = entry([posting({ credit: sellerAccount(seller, 'available') })]);
    const results = (await Promise.all(Array.from({ length: 8 }, () => post([same])))).flat();
    expect(results.filter((item) => item.status === 'posted')).toHaveLength(1);
    expect(new Set(results.map((item) => item.id)).size).toBe(1);
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(100n);
  });
});

describe('accounts', () => {
  test('are opened once, by whoever needs them first, however many do at once', async () => {
    const seller = uniqueName('Seller');
    const entries = Array.from({ length: 12 }, () =>
      entry([posting({ credit: sellerAccount(seller, 'available') })]),
    );
    await Promise.all(entries.map((item) => post([item])));
    const rows = await book.owner.sql`
      select 1 from ${book.owner.t.account} where party = ${seller}`;
    expect(rows).toHaveLength(1);
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(1_200n);
    const events = await book.owner.sql`
      select 1 from ${book.owner.t.event} where kind = 'account_opened' and data->>'party' = ${seller}`;
    expect(events).toHaveLength(1);
  });

  test('opened by a transaction that rolled back are not remembered', async () => {
    const credit = sellerAccount(uniqueName('Seller'), 'available');
    const failing = transact(book.db, async (tx) => {
      await postEntries(tx, 'test', [entry([posting({ credit })])]);
      await postEntries(tx, 'test', [entry([posting({ credit })])]);
      throw new Error('rolled back');
    });
    await expect(failing).rejects.toThrow('rolled back');
    await post([entry([posting({ credit })])]);
    expect(await balanceOf(book.db, credit, 'EUR')).toBe(100n);
  });

  test('one code in two currencies is two accounts', async () => {
    const seller = uniqueName('Seller');
    const credit = sellerAccount(seller, 'available');
    await post([entry([posting({ credit }), posting({ credit, currency: USD, amountMinor: 3n })])]);
    expect(await balanceOf(book.db, credit, 'EUR')).toBe(100n);
    expect(await balanceOf(book.db, credit, 'USD')).toBe(3n);
  });
});

describe('no_overdraw', () => {
  const payout = (seller: string, payoutMinor: bigint): NewEntry => ({
    cause: uniqueName('payout'),
    ...payoutApproved({ seller, currency: EUR, payoutMinor }),
  });
  const fund = (seller: string, amountMinor: bigint) =>
    post([entry([posting({ credit: sellerAccount(seller, 'available'), amountMinor })])]);

  test('all of it may go, not one cent more', async () => {
    const seller = uniqueName('Seller');
    await fund(seller, 100n);
    await expect(post([payout(seller, 101n)])).rejects.toMatchObject({ code: 'PG003' });
    await post([payout(seller, 100n)]);
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(0n);
    await expect(post([payout(seller, 1n)])).rejects.toMatchObject({ code: 'PG003' });
  });

  test('of many at once exactly as many go through as the wallet covers', async () => {
    const seller = uniqueName('Seller');
    await fund(seller, 100n);
    const results = await Promise.allSettled(Array.from({ length: 12 }, () => post([payout(seller, 30n)])));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(3);
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(10n);
    expect(await balanceOf(book.db, `seller:${seller}:in_payout`, 'EUR')).toBe(90n);
  });

  test('several in one statement are judged together', async () => {
    const seller = uniqueName('Seller');
    await fund(seller, 100n);
    await expect(post([payout(seller, 60n), payout(seller, 60n)])).rejects.toMatchObject({ code: 'PG003' });
    await post([payout(seller, 60n), payout(seller, 40n)]);
  });

  test('does not hold back facts: a wallet may go below zero without the guard, and says so', async () => {
    const seller = uniqueName('Seller');
    const available = sellerAccount(seller, 'available');
    await post([
      entry([posting({ debit: available, credit: pspAccount('main', 'receivable'), amountMinor: 5n })]),
    ]);
    expect(await balanceOf(book.db, available, 'EUR')).toBe(-5n);
    await expect(post([payout(seller, 1n)])).rejects.toMatchObject({ code: 'PG003' });
  });
});

describe('balances', () => {
  test('equal the postings after any postings, many at once, on few accounts', async () => {
    const psp = uniqueName('psp');
    const codes = [
      pspAccount(psp, 'receivable'),
      pspAccount(psp, 'balance'),
      sellerAccount(psp, 'available'),
      sellerAccount(psp, 'pending'),
    ];
    const pairOf = fc
      .record({
        debit: fc.constantFrom(...codes),
        credit: fc.constantFrom(...codes),
        currency: fc.constantFrom(EUR, USD),
        amountMinor: fc.bigInt({ min: 1n, max: 10n ** 15n }),
        guard: fc.constant('none' as const),
      })
      .filter((pair) => pair.debit !== pair.credit);
    const entries = fc.array(fc.array(pairOf, { minLength: 1, maxLength: 5 }), {
      minLength: 1,
      maxLength: 8,
    });
    const model = new Map<string, bigint>();
    const book2 = (pair: Posting) => {
      for (const [code, sign] of [
        [pair.debit, 1n],
        [pair.credit, -1n],
      ] as const) {
        const key = `${code} ${pair.currency}`;
        model.set(key, (model.get(key) ?? 0n) + sign * pair.amountMinor);
      }
    };
    await fc.assert(
      fc.asyncProperty(entries, async (all) => {
        await Promise.all(all.map((postings) => post([entry(postings)])));
        all.flat().forEach(book2);
        const rows = await book.db.sql<{ key: string; net: bigint }[]>`
          select a.code || ' ' || a.currency as key, b.debits - b.credits as net
            from ${book.db.t.account} a join ${book.db.t.accountBalance} b on b.account_id = a.id
           where a.party = ${psp}`;
        expect(new Map(rows.map((row) => [row.key, row.net]))).toEqual(model);
      }),
      { numRuns: 25 },
    );
    expect(await verifyLedger(book.db)).toMatchObject({ verdict: 'balanced', faults: [] });
  });
});

describe('entries as they are read', () => {
  test('are found by cause and by what hangs on it, and by account', async () => {
    const seller = uniqueName('Seller');
    const cause = uniqueName('cause');
    const credit = sellerAccount(seller, 'available');
    await post([
      entry([posting({ credit })], cause),
      entry([posting({ credit })], `${cause}/2`),
      entry([posting({ credit })], `${cause}2`),
    ]);
    const page = { beforeId: null, limit: 10 };
    const byCause = await listEntryPostings(book.db, { ...page, cause, account: null });
    expect(byCause.map((row) => row.cause)).toEqual([`${cause}/2`, cause]);
    const byAccount = await listEntryPostings(book.db, {
      ...page,
      cause: null,
      account: { code: credit, currency: 'EUR' },
    });
    expect(byAccount).toHaveLength(3);
    expect(
      await listEntryPostings(book.db, { ...page, cause: null, account: { code: credit, currency: 'USD' } }),
    ).toEqual([]);
  });
});

test('the application can post through the trigger although it cannot touch a balance', async () => {
  const [privilege] = await book.db.sql`
    select has_table_privilege('paygate.account_balance', 'update') as may, current_user::text as me`;
  expect(privilege).toEqual({ may: false, me: 'paygate_app' });
  const seller = uniqueName('Seller');
  await queueCharge(book.db, 'main', { orders: [orderRequest({ seller })] });
  await post([entry([posting({ credit: sellerAccount(seller, 'available') })])]);
  expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(100n);
});
