/** A replay of thousands of letters in one command that is killed on its way: the same command goes on, nothing twice. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestHost } from '../testing/cli-host.ts';
import { openTestBook, paymentRequest, queueCharges, type TestBook, until } from '../testing/fixtures.ts';
import { execute } from './main.ts';

const BIN = fileURLToPath(new URL('../../bin/paygate.mjs', import.meta.url));
/** More than two pages of what a command reads at once. */
const LETTERS = 2_500;
const BATCH = 200;

let book: TestBook;
let folder = '';
let env: Readonly<Record<string, string>> = {};
beforeAll(async () => {
  book = await openTestBook();
  folder = mkdtempSync(join(tmpdir(), 'paygate-replay-'));
  writeFileSync(join(folder, 'paygate.toml'), '[psp.main]\npsp = "stripe"\n');
  const { user, database, host, port } = book.database.appConnection;
  env = {
    PAYGATE_DATABASE_URL: `postgres://${user}@/${database}?host=${String(host)}&port=${String(port)}`,
  };
});
afterAll(async () => {
  await book.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Charges that were sent once, are in doubt, and wait for a person. */
async function fillLetters(): Promise<void> {
  for (let made = 0; made < LETTERS; made += BATCH) {
    const requests = Array.from({ length: Math.min(BATCH, LETTERS - made) }, () => paymentRequest());
    await queueCharges(book.db, 'main', requests);
  }
  const { sql, t } = book.owner;
  await sql`delete from ${t.job}`;
  await sql`
    update ${t.attempt} set state = 'unknown', maybe_sent = true, sends = 1, first_sent_at = now(), last_sent_at = now()`;
  await sql`update ${t.operation} set sub_state = 'unknown', fence = 1`;
  await sql`
    insert into ${t.deadLetter} (operation_id, attempt_number, code, reason)
    select id, 1, 'enquiry_failed', 'still unknown after 20 tries' from ${t.operation}`;
  await sql.unsafe('analyze');
}

async function counts() {
  const { sql, t } = book.owner;
  const [row] = await sql<{ open: number; replayed: number; jobs: number; events: number; total: bigint }[]>`
    select (select count(*) from ${t.deadLetter} where state = 'open')::integer as open,
           (select count(*) from ${t.deadLetter} where state = 'replayed')::integer as replayed,
           (select count(*) from ${t.job})::integer as jobs,
           (select count(*) from ${t.event} where kind = 'dead_letter_replayed')::integer as events,
           (select coalesce(sum(amount_minor), 0) from ${t.deadLetter} where state = 'open')::bigint as total`;
  return row!;
}

async function replayArgs(): Promise<readonly string[]> {
  const { total } = await counts();
  const confirm = `${total / 100n}.${String(total % 100n).padStart(2, '0')}EUR`;
  const args = [
    'dlq',
    'replay',
    '--code',
    'enquiry_failed',
    '--rate',
    '1000/s',
    '--reason',
    'the PSP is back',
  ];
  return [...args, '--confirm', confirm];
}

test('killed half way, the same command replays the rest and no letter twice', async () => {
  await fillLetters();
  const args = [BIN, ...(await replayArgs()), '-o', 'json'];
  const child = spawn(process.execPath, args, {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: 'ignore',
  });
  const gone = once(child, 'exit');
  await until(async () => (await counts()).replayed >= LETTERS / 4);
  child.kill('SIGKILL');
  await gone;
  const half = await counts();
  expect(half.open).toBeGreaterThan(0);
  expect(half).toMatchObject({ replayed: half.events, jobs: half.events, open: LETTERS - half.events });

  const { host, out, err } = createTestHost({ cwd: folder, env });
  const code = await execute([...(await replayArgs())], host);
  expect({ code, err: err() }).toMatchObject({ code: 0 });
  expect(out().split('\n').length).toBeLessThan(300);
  expect(await counts()).toMatchObject({ open: 0, replayed: LETTERS, jobs: LETTERS, events: LETTERS });
}, 120_000);
