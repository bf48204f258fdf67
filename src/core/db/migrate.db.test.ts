import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestBook, type TestBook } from '../../testing/fixtures.ts';
import { openBook } from './connection.ts';
import { migrate, readMigrations } from './migrate.ts';
import { LATEST_VERSION } from './schema-version.ts';

let book: TestBook;
let owner: postgres.Sql;
beforeAll(async () => {
  book = await openTestBook();
  owner = postgres({ ...book.database.connection, max: 2, onnotice: () => undefined } as object);
});
afterAll(async () => {
  await owner.end({ timeout: 1 });
  await book.close();
});

const migrateBook = (name: string, appRole = 'paygate_app') =>
  migrate({ connection: book.database.connection, book: name, appRole });

describe('migrations', () => {
  test('are numbered without a gap, and the program knows the last one', async () => {
    const migrations = await readMigrations();
    expect(migrations.map((migration) => migration.version)).toEqual(migrations.map((_, index) => index + 1));
    expect(LATEST_VERSION).toBe(migrations.length);
  });

  test('each begin with a comment that says why', async () => {
    for (const { text } of await readMigrations()) expect(text).toMatch(/^-- \w/);
  });

  test('a second run finds nothing to do', async () => {
    const first = await migrateBook('fresh');
    expect(first).toMatchObject({ from: 0, to: LATEST_VERSION });
    expect(first.applied).toHaveLength(LATEST_VERSION);
    expect(await migrateBook('fresh')).toEqual({ from: LATEST_VERSION, to: LATEST_VERSION, applied: [] });
  });

  test('several at once: one does the work, the others wait for it', async () => {
    const results = await Promise.all(Array.from({ length: 4 }, () => migrateBook('crowded')));
    expect(results.map((result) => result.applied.length).sort()).toEqual([0, 0, 0, LATEST_VERSION]);
    const db = await openBook({ connection: book.database.appConnection, book: 'crowded', max: 1 });
    await db.close();
  });

  test('one that was changed after it had been applied is refused by name, and nothing is done', async () => {
    await migrateBook('edited');
    await owner`update edited.migration set checksum = 'other' where version = 2`;
    const error: unknown = await migrateBook('edited').catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'OperatorError', code: 'migration_edited' });
    expect((error as Error).message).toContain('Migration 2 (ledger)');
  });

  test('a schema that is newer than the program is refused, with the two versions', async () => {
    await migrateBook('newer');
    await owner`insert into newer.migration values (${LATEST_VERSION + 3}, 'future', 'x', now())`;
    const error: unknown = await migrateBook('newer').catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'OperatorError', code: 'database_newer' });
    expect((error as Error).message).toContain(`version ${LATEST_VERSION + 3}`);
    expect((error as Error).message).toContain(`knows ${LATEST_VERSION}`);
  });

  test('one that fails leaves the versions before it and nothing of itself; the next run goes on', async () => {
    // A table that the third migration wants to create is in its way.
    await owner.unsafe('create schema broken; create table broken.payment (id bigint)');
    await expect(migrateBook('broken')).rejects.toMatchObject({ code: '42P07' });
    const done = await owner<{ version: number }[]>`select version from broken.migration order by version`;
    expect(done.map((row) => row.version)).toEqual([1, 2]);
    const leftovers = await owner`
      select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where n.nspname = 'broken' and c.relname = 'batch'`;
    expect(leftovers).toHaveLength(0);
    await owner.unsafe('drop table broken.payment');
    expect(await migrateBook('broken')).toMatchObject({ from: 2, to: LATEST_VERSION });
  });

  test.each(['Paygate', 'a b', 'x"; drop schema paygate; --', '', 'a'.repeat(41), '1st'])(
    '%j cannot name a book',
    async (name) => {
      await expect(migrateBook(name)).rejects.toMatchObject({ code: 'book_name_invalid' });
    },
  );

  test.each(['App', 'a"b', '', 'a'.repeat(64)])('%j cannot name a role', async (role) => {
    await expect(migrateBook('fresh', role)).rejects.toMatchObject({ code: 'role_name_invalid' });
  });

  test('no server is told in words', async () => {
    const connection = { ...book.database.connection, port: 1 };
    await expect(migrate({ connection, book: 'x', appRole: 'paygate_app' })).rejects.toMatchObject({
      code: 'database_unreachable',
    });
  });
});

describe('a book', () => {
  test('leaves nothing outside its own schema', async () => {
    const count = () => owner<{ things: number }[]>`
      select count(*)::integer as things
        from (select oid from pg_class where relnamespace = 'public'::regnamespace
              union all select oid from pg_proc where pronamespace = 'public'::regnamespace
              union all select oid from pg_type where typnamespace = 'public'::regnamespace) t`;
    const before = await count();
    await migrateBook('tidy');
    expect(await count()).toEqual(before);
  });

  test('has a key of its own: no two books ever use the same idempotency keys at a PSP', async () => {
    await Promise.all([migrateBook('book_a'), migrateBook('book_b')]);
    const [keys] = await owner<{ a: string; b: string }[]>`
      select (select book_key from book_a.book) as a, (select book_key from book_b.book) as b`;
    expect(keys!.a).toMatch(/^[0-9a-f]{12}$/);
    expect(keys!.a).not.toBe(keys!.b);
  });

  test('pins the search path of every function that runs with the rights of the owner', async () => {
    const loose = await owner`
      select proname from pg_proc
       where pronamespace = 'paygate'::regnamespace and prosecdef
         and not coalesce(array_to_string(proconfig, ',') like '%search_path=paygate, pg_temp%', false)`;
    expect(loose.map((row) => row.proname)).toEqual([]);
  });
});
