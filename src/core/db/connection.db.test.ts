import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { collectUncaught, openTestBook, type TestBook, untilBlocked } from '../../testing/fixtures.ts';
import { connect, errorCode, list, openBook, transact, transactOnce } from './connection.ts';
import { migrate } from './migrate.ts';
import { LATEST_VERSION } from './schema-version.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

function open(overrides: { book?: string; connection?: Partial<TestBook['database']['connection']> } = {}) {
  const connection = { ...book.database.appConnection, ...overrides.connection };
  return openBook({ connection, book: overrides.book ?? 'paygate', max: 1 });
}

describe('opening a book', () => {
  test.each<[string, Parameters<typeof open>[0], string, RegExp]>([
    ['no server at the port', { connection: { port: 1 } }, 'database_unreachable', /No database answers/],
    ['no socket folder', { connection: { host: '/nowhere' } }, 'database_unreachable', /No database answers/],
    [
      'no such database',
      { connection: { database: 'nowhere' } },
      'database_unreachable',
      /no database "nowhere"/,
    ],
    ['no such user', { connection: { user: 'nobody' } }, 'database_unreachable', /refused user "nobody"/],
    ['no such book', { book: 'elsewhere' }, 'database_not_migrated', /paygate db migrate/],
  ])('%s', async (_, where, code, words) => {
    const error: unknown = await open(where).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'OperatorError', code });
    expect((error as Error).message).toMatch(words);
  });

  test('a newer schema, and an older one, is refused with what to do about it', async () => {
    const connection = book.database.connection;
    await migrate({ connection, book: 'other_version', appRole: 'paygate_app' });
    const other = connect({ connection, book: 'other_version', max: 1 });
    try {
      await other.sql`insert into ${other.t.migration} values (${LATEST_VERSION + 1}, 'future', 'x', now())`;
      await expect(open({ book: 'other_version' })).rejects.toMatchObject({ code: 'database_newer' });
      await other.sql`delete from ${other.t.migration} where version >= ${LATEST_VERSION}`;
      await expect(open({ book: 'other_version' })).rejects.toMatchObject({ code: 'database_older' });
      await other.sql`delete from ${other.t.migration}`;
      await expect(open({ book: 'other_version' })).rejects.toMatchObject({ code: 'database_older' });
    } finally {
      await other.close();
    }
  });

  test('a database that loses commits is refused', async () => {
    const { name } = book.database;
    await book.owner.sql.unsafe(`alter role paygate_app in database "${name}" set synchronous_commit = off`);
    try {
      await expect(open()).rejects.toMatchObject({ code: 'database_not_durable' });
    } finally {
      await book.owner.sql.unsafe(`alter role paygate_app in database "${name}" reset synchronous_commit`);
    }
    await (await open()).close();
  });
});

describe('a transaction', () => {
  test('that fails leaves nothing', async () => {
    const failing = transact(book.db, async (tx) => {
      await tx.sql`insert into ${tx.t.daemon} (name) values ('gone')`;
      throw new Error('changed my mind');
    });
    await expect(failing).rejects.toThrow('changed my mind');
    expect(await book.db.sql`select 1 from ${book.db.t.daemon} where name = 'gone'`).toHaveLength(0);
  });

  test('that loses a deadlock is tried again, so that both end', async () => {
    const [one] = await book.db.sql<{ id: bigint }[]>`
      insert into ${book.db.t.daemon} (name) values ('one') returning id`;
    const [two] = await book.db.sql<{ id: bigint }[]>`
      insert into ${book.db.t.daemon} (name) values ('two') returning id`;
    let arrived = 0;
    let open: () => void = () => undefined;
    const bothHere = new Promise<void>((resolve) => {
      open = resolve;
    });
    const touch = (first: bigint, second: bigint) =>
      transact(book.db, async (tx) => {
        await tx.sql`update ${tx.t.daemon} set name = name || '.' where id = ${first}`;
        arrived += 1;
        if (arrived >= 2) open();
        await bothHere;
        await tx.sql`update ${tx.t.daemon} set name = name || '.' where id = ${second}`;
      });
    await Promise.all([touch(one!.id, two!.id), touch(two!.id, one!.id)]);
    const rows = await book.db.sql<{ name: string }[]>`
      select name from ${book.db.t.daemon} where id in (${one!.id}, ${two!.id}) order by id`;
    expect(rows.map((row) => row.name)).toEqual(['one..', 'two..']);
    expect(arrived).toBeGreaterThanOrEqual(3);
  });

  test('is tried once where the caller wants it so', async () => {
    let tries = 0;
    const failing = transactOnce(book.db, async () => {
      tries += 1;
      throw Object.assign(new Error('busy'), { code: '40001' });
    });
    await expect(failing).rejects.toThrow('busy');
    expect(tries).toBe(1);
  });

  test('whose deadlocks never end gives up after a few tries', async () => {
    let tries = 0;
    const failing = transact(book.db, async () => {
      tries += 1;
      throw Object.assign(new Error('busy'), { code: '40P01' });
    });
    await expect(failing).rejects.toThrow('busy');
    expect(tries).toBe(5);
  });

  test('whose connection is cut fails by itself; the process and the pool live on', async () => {
    const db = book.connect(1);
    const uncaught = await collectUncaught(async () => {
      const cut = await transact(book.owner, async (tx) => {
        await tx.sql`lock table ${tx.t.daemon} in access exclusive mode`;
        const waiting = transact(db, (own) => own.sql`select count(*) from ${own.t.daemon}`).then(
          () => null,
          (error: unknown) => error,
        );
        await untilBlocked(book.owner, 'select count(*) from "paygate"."daemon"');
        await tx.sql`
          select pg_terminate_backend(pid) from pg_stat_activity
           where wait_event_type = 'Lock' and position('select count(*) from "paygate"."daemon"' in query) > 0
             and datname = current_database() and pid <> pg_backend_pid()`;
        return waiting;
      });
      expect(['57P01', 'CONNECTION_CLOSED', 'ECONNRESET']).toContain(errorCode(cut));
    });
    expect(uncaught).toEqual([]);
    // The driver gives the first query after a reconnect the old error again; the next one is itself.
    const alive = () => db.sql`select 1 as alive`;
    expect(await alive().catch(alive)).toEqual([{ alive: 1 }]);
  });

  test('whose connection was cut between two statements is over: a later one is refused, not run outside of it', async () => {
    const db = book.connect(1);
    let later: unknown = 'never asked';
    await collectUncaught(async () => {
      let tell: () => void = () => undefined;
      const told = new Promise<void>((resolve) => {
        tell = resolve;
      });
      const cut = transact(db, async (tx) => {
        const [own] = await tx.sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
        await book.owner.sql`select pg_terminate_backend(${own!.pid}, 5000)`;
        // The pool has replaced the connection by now; the work does not know that it is over.
        await db.sql`select 1`;
        try {
          await tx.sql`insert into ${tx.t.daemon} (name) values ('stray')`;
          later = 'done';
        } catch (error) {
          later = error;
        } finally {
          tell();
        }
      });
      await expect(cut).rejects.toThrow();
      await told;
    });
    expect(later).toBeInstanceOf(Error);
    expect(await db.sql`select 1 from ${db.t.daemon} where name = 'stray'`).toHaveLength(0);
  });
});

describe('values', () => {
  test('keep every microsecond, every digit of a bigint, and text as it is', async () => {
    const [row] = await book.db.sql<{ at: string; big: bigint; plain: string; nothing: null }[]>`
      select '2026-01-02 03:04:05.123456+00'::timestamptz as at, 9223372036854775807 as big,
             'NULL' as plain, null::bigint as nothing`;
    expect(row).toEqual({
      at: '2026-01-02 03:04:05.123456+00',
      big: 9_223_372_036_854_775_807n,
      plain: 'NULL',
      nothing: null,
    });
  });

  test('any texts and nulls come back from a list as they were', async () => {
    const awkward = fc.constantFrom(
      'NULL',
      'null',
      '{}',
      '{NULL}',
      '',
      ' ',
      ',',
      '"',
      '\\',
      '\\"',
      "'",
      '\n',
      '\t',
      '\\x00',
    );
    const text = fc.oneof(
      awkward,
      fc.string({ unit: 'grapheme' }).filter((value) => value.isWellFormed()),
      fc.string({ unit: fc.constantFrom('"', '\\', '{', '}', ',', "'", '\n', 'é', '🦊', 'N') }),
    );
    const texts = fc.array(fc.option(text.map((value) => value.replaceAll('\0', ''))), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(texts, async (values) => {
        const rows = await book.db.sql<{ value: string | null }[]>`
          select value from unnest(${list(values)}::text[]) with ordinality as v (value, n) order by n`;
        expect(rows.map((row) => row.value)).toEqual(values);
      }),
      { numRuns: 300 },
    );
  });

  test('any bigints, booleans and nulls come back from a list as they were', async () => {
    const bigint = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    const rows = fc.array(fc.tuple(fc.option(bigint), fc.option(fc.boolean())), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(rows, async (values) => {
        const found = await book.db.sql<{ number: bigint | null; truth: boolean | null }[]>`
          select number, truth
            from unnest(${list(values.map(([number]) => number))}::bigint[],
                        ${list(values.map(([, truth]) => truth))}::boolean[]) with ordinality as v (number, truth, n)
           order by n`;
        expect(found.map(({ number, truth }) => [number, truth])).toEqual(values);
      }),
      { numRuns: 100 },
    );
  });
});
