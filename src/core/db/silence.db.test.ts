/** A database that falls silent without closing its connections: no statement waits for it for ever. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type SilentProxy, startSilentProxy } from '../../testing/silent-proxy.ts';
import { createTestDatabase, type TestDatabase } from '../../testing/test-database.ts';
import { connect, type Db, errorCode, isConnectionError, readSnapshot, transactOnce } from './connection.ts';

const LIMIT_MS = 1_000;
let database: TestDatabase;
let proxy: SilentProxy;
let db: Db;

beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await startSilentProxy(database.connection);
});
beforeEach(async () => {
  const { connection } = proxy;
  db = connect({ connection, book: 'paygate', max: 2, silenceLimitMs: LIMIT_MS });
  await db.sql`select 1`;
});
afterEach(() => db.close());
afterAll(async () => {
  proxy.close();
  await database.drop();
});

async function failureOf(work: Promise<unknown>): Promise<{ code: string | null; afterMs: number }> {
  const startedAt = performance.now();
  const error = await work.then(
    () => new Error('it was answered'),
    (cause: unknown) => cause,
  );
  expect(isConnectionError(error)).toBe(true);
  return { code: errorCode(error), afterMs: performance.now() - startedAt };
}

test('a statement is given up when the limit has passed, and the next one has a connection', async () => {
  proxy.swallow();
  const { code, afterMs } = await failureOf(db.sql`select 1`);
  expect(code).toBe('CONNECTION_SILENT');
  expect(afterMs).toBeGreaterThanOrEqual(LIMIT_MS);
  expect(await db.sql`select 2 as n`).toEqual([{ n: 2 }]);
});

test('a transaction is given up in the middle, and what follows in it is not sent elsewhere', async () => {
  const work = transactOnce(db, async (tx) => {
    await tx.sql`create temporary table half_open (n integer)`;
    proxy.swallow();
    await tx.sql`insert into half_open values (1)`.catch(() => undefined);
    await tx.sql`insert into half_open values (2)`;
  });
  await failureOf(work);
  expect(await db.sql`select to_regclass('pg_temp.half_open') as left`).toEqual([{ left: null }]);
});

test('more statements on a silent connection do not put its end off', async () => {
  const { connection } = proxy;
  const single = connect({ connection, book: 'paygate', max: 1, silenceLimitMs: LIMIT_MS });
  await single.sql`select 1`;
  proxy.swallow();
  const startedAt = performance.now();
  const first = failureOf(single.sql`select 1`);
  let isOver = false;
  void first.finally(() => {
    isOver = true;
  });
  const others: Promise<unknown>[] = [];
  while (!isOver && performance.now() - startedAt < 20 * LIMIT_MS) {
    others.push(single.sql`select 2`.catch(() => undefined));
    await new Promise((resolve) => setTimeout(resolve, LIMIT_MS / 10));
  }
  expect((await first).code).toBe('CONNECTION_SILENT');
  expect(others.length).toBeGreaterThan(2);
  await Promise.all(others);
  await single.close();
});

test('a connection that has been idle for longer than the limit is as good as new', async () => {
  await new Promise((resolve) => setTimeout(resolve, 2 * LIMIT_MS));
  expect(await db.sql`select pg_sleep(0.1), 3 as n`).toMatchObject([{ n: 3 }]);
});

test('a report that may take its time is waited for', async () => {
  const seconds = (3 * LIMIT_MS) / 1_000;
  const rows = await readSnapshot(db, 30_000, (tx) => tx.sql`select pg_sleep(${seconds}), 4 as n`);
  expect(rows).toMatchObject([{ n: 4 }]);
  expect(db.silence.limitMs).toBe(LIMIT_MS);
});
