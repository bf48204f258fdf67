/** The driver must outlive its connections: what bin/patch-postgres.mjs mends, on a real server. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { collectUncaught } from '../../testing/fixtures.ts';
import { createTestDatabase, type TestDatabase } from '../../testing/test-database.ts';
import { connect, type Db, isConnectionError, transactOnce } from './connection.ts';

let database: TestDatabase;
let victim: Db;
let killer: Db;

beforeAll(async () => {
  database = await createTestDatabase();
  victim = connect({ connection: database.connection, book: 'paygate', max: 2 });
  killer = connect({ connection: database.connection, book: 'paygate', max: 1 });
});

afterAll(async () => {
  await victim.close();
  await killer.close();
  await database.drop();
});

async function killedInATransaction(text: string, settle: number): Promise<unknown> {
  return transactOnce(victim, async (tx) => {
    const [row] = await tx.sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
    await killer.sql`select pg_terminate_backend(${row!.pid})`;
    for (let turn = 0; turn < settle; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    await tx.sql`select ${text}::text`.catch(() => undefined);
    await Promise.all([tx.sql`select 1`, tx.sql`select ${text}::text`]);
  }).then(
    () => 'committed',
    (error: unknown) => error,
  );
}

test('a transaction whose connection dies is rejected, and the pool stays whole', async () => {
  // Short and long texts take different ways through the driver's write buffer; so do the turns in between.
  for (let round = 0; round < 40; round += 1) {
    const error = await killedInATransaction(round % 2 === 0 ? 's' : 'x'.repeat(3_000), round % 5);
    expect(isConnectionError(error)).toBe(true);
    const answers = await Promise.all(
      [1, 2, 3].map((n) =>
        victim.sql<{ n: number }[]>`select ${n}::integer as n`.then(
          (rows) => rows[0]!.n === n,
          (cause: unknown) => isConnectionError(cause),
        ),
      ),
    );
    expect(answers).toEqual([true, true, true]);
  }
});

test('a connection that dies while it opens is the failure of its query, and of nothing else', async () => {
  const { connection } = database;
  const closing: Promise<void>[] = [];
  const uncaught = await collectUncaught(async () => {
    for (let round = 0; round < 20; round += 1) {
      const db = connect({ connection, book: 'paygate', max: 1, applicationName: 'opens and dies' });
      let answered = false;
      const answer = db.sql`select 1 as n`.then(
        (rows) => rows.length === 1,
        (error: unknown) => isConnectionError(error),
      );
      void answer.finally(() => {
        answered = true;
      });
      let killed = 0;
      while (!answered && killed === 0) {
        const rows = await killer.sql`
          select pg_terminate_backend(pid) from pg_stat_activity
           where application_name = 'opens and dies' and datname = current_database()`;
        killed = rows.length;
      }
      expect(await answer).toBe(true);
      closing.push(db.close());
    }
    await Promise.all(closing);
  });
  expect(uncaught).toEqual([]);
});
