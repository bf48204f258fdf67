/**
 * A run that is cut off, wherever: the same file again goes on, and ends with the same lines, matches, entries, breaks and proof as
 * one that was left in peace. The connection is really killed, and so is the program.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  claim,
  openTestBook,
  paymentRequest,
  queueCharges,
  REPLY,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
  until,
} from '../../testing/fixtures.ts';
import {
  backdate,
  charged,
  line,
  lineOf,
  type MadeFile,
  reconcile,
  reconcileRequest,
} from '../../testing/settlement-fixtures.ts';
import { transact } from '../db/connection.ts';
import { pspAccount } from '../ledger/chart-of-accounts.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { findingOf, recordFindings } from '../operation/execute-operations.ts';
import { gatherOpenItems } from './gather-items.ts';
import { gatherItems, insertPositions } from './open-item-store.ts';
import { openSettlementFile } from './read-settlement.ts';
import type { ReconcileAnswer } from './reconcile-answer.ts';
import { type ReconcileProgress, reconcileFile } from './reconcile-file.ts';
import { getNow, lockSource } from './reconcile-run-store.ts';
import { calendarAt } from './settlement-calendar.ts';
import { DEFAULT_SETTLEMENT } from './settlement-policy.ts';

let book: TestBook;
let daemon: TestDaemon;
beforeAll(async () => {
  book = await openTestBook();
  daemon = await startTestDaemon(book.db);
});
afterAll(async () => {
  expect((await verifyLedger(book.db)).verdict).toBe('balanced');
  await book.close();
});

/** Charges, a doubt that the file ends, a line that nobody explains; large enough for two portions of reading. */
async function story(): Promise<{ account: string; file: MadeFile }> {
  const account = uniqueName('acct');
  const charges = await charged(book.db, daemon, account, 40);
  const [queued] = await queueCharges(book.db, account, [paymentRequest()]);
  const tasks = await claim(daemon, account);
  const doubtful = tasks.find(({ job }) => job.operationId === queued!.operationId)!;
  await recordFindings(daemon.context, [findingOf(doubtful, REPLY.unknown)]);
  const fees = Array.from({ length: 13_000 }, (_, i) =>
    line({ kind: 'fee', grossMinor: -1n, lineKey: `fee_${i}` }),
  );
  const lines = [
    ...charges.map((charge) => lineOf(charge, { feeMinor: 10n })),
    ...fees,
    line({
      grossMinor: 1_250n,
      paymentReference: uniqueName('pi'),
      ourReference: `op_${queued!.operationId}`,
    }),
    line({ grossMinor: 77n, paymentReference: uniqueName('pi_nobody') }),
  ];
  return { account, file: { lines } };
}

/** What must be equal, without names and numbers of things. */
async function traces(account: string, answer: ReconcileAnswer) {
  const { byCurrency, byCode, proofs, status, breakCount, resolvedCount } = answer;
  const [rows] = await book.owner.sql`
    with own as (select id from paygate.settlement_source where name = ${`psp:${account}`})
    select (select count(*) from paygate.settlement_file where source_id in (select id from own)) as files,
           (select count(*) from paygate.settlement_line where source_id in (select id from own)) as lines,
           (select count(*) from paygate.settlement_match m join paygate.settlement_line l on l.id = m.line_id
             where l.source_id in (select id from own)) as matches,
           (select count(*) from paygate.open_item where source_id in (select id from own)) as items,
           (select count(*) from paygate.recon_break where source_id in (select id from own)) as breaks,
           (select count(*) from paygate.journal_entry e join paygate.settlement_batch b on e.cause = 'settle:sbat_' || b.id
              join paygate.settlement_file f on f.id = b.file_id where f.source_id in (select id from own)) as entries`;
  const unnamed = proofs.map(({ pspAccount: _, ...proof }) => proof);
  return { byCurrency, byCode, proofs: unnamed, status, breakCount, resolvedCount, rows };
}

let peaceful: Awaited<ReturnType<typeof traces>>;
beforeAll(async () => {
  const { account, file } = await story();
  peaceful = await traces(account, await reconcile(book.db, `psp:${account}`, file));
  expect(peaceful).toMatchObject({ status: 'breaks', breakCount: 1, resolvedCount: 1 });
});

/** Reconciles on a connection that is killed when `when` says so; true when the run failed of it. */
async function cutOff(
  account: string,
  file: MadeFile,
  when: (progress: ReconcileProgress, seen: number) => boolean,
): Promise<boolean> {
  const pool = book.connect(1);
  const [backend] = await pool.sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  let seen = 0;
  let killed: Promise<unknown> = Promise.resolve();
  const onProgress = (progress: ReconcileProgress): void => {
    seen += 1;
    if (when(progress, seen))
      killed = book.owner.sql`select pg_terminate_backend(${backend!.pid})`.catch(() => undefined);
  };
  const outcome = await reconcileFile(pool, reconcileRequest(`psp:${account}`, file, { onProgress })).then(
    () => 'done',
    () => 'failed',
  );
  await killed;
  return outcome === 'failed';
}

describe('a run whose connection is killed', () => {
  test.each<[string, (progress: ReconcileProgress, seen: number) => boolean]>([
    ['while it reads', ({ phase }) => phase === 'reading'],
    ['while it matches', ({ phase }) => phase === 'matching'],
    ['before it posts', ({ phase }) => phase === 'posting'],
  ])('%s', async (_, when) => {
    const { account, file } = await story();
    let failed = 0;
    for (let i = 0; i < 3; i += 1) if (await cutOff(account, file, when)) failed += 1;
    const answer = await reconcile(book.db, `psp:${account}`, file);
    expect(await traces(account, answer)).toEqual(peaceful);
    // A kill may come a moment too late for one run, not for three.
    expect(failed).toBeGreaterThan(0);
  });

  test('between two portions of evidence', async () => {
    const { account, file } = await story();
    const secondMatching = ({ phase }: ReconcileProgress, seen: number) => phase === 'matching' && seen >= 3;
    await cutOff(account, file, secondMatching);
    const [known] = await book.owner.sql<{ state: string }[]>`
      select r.state from paygate.reconcile_run r join paygate.settlement_source s on s.id = r.source_id
       where s.name = ${`psp:${account}`}`;
    expect(['loaded', 'matched', 'finished']).toContain(known?.state);
    const answer = await reconcile(book.db, `psp:${account}`, file);
    expect(await traces(account, answer)).toEqual(peaceful);
  });
});

const BIN = fileURLToPath(new URL('../../../bin/paygate.mjs', import.meta.url));

function decimal(minor: bigint): string {
  const text = String(minor < 0n ? -minor : minor).padStart(3, '0');
  return `${minor < 0n ? '-' : ''}${text.slice(0, -2)}.${text.slice(-2)}`;
}

/** The same lines as Stripe would write them. */
function stripeText({ lines }: MadeFile): string {
  const header =
    'balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,source_id,payment_intent_id,payment_metadata[paygate_operation]';
  const rows = lines.map((one) => {
    const amounts = [one.grossMinor, one.feeMinor, one.netMinor].map(decimal).join(',');
    const names = [one.reference, one.paymentReference, one.ourReference].map((name) => name ?? '').join(',');
    return `txn_${one.lineKey},2026-11-20 10:00:00,eur,${amounts},${one.rawType},${names}`;
  });
  return `${[header, ...rows].join('\n')}\n`;
}

/** Starts `paygate reconcile`, and kills it while it waits to write into a table that somebody else holds. */
async function killAt(folder: string, account: string, path: string, table: string): Promise<void> {
  const { user, database, host, port } = book.database.appConnection;
  const url = `postgres://${user}@/${database}?host=${String(host)}&port=${String(port)}&application_name=${account}`;
  await book.owner.sql.begin(async (sql) => {
    // Whoever reads goes on, whoever writes waits.
    await sql`lock table ${sql(`paygate.${table}`)} in share row exclusive mode`;
    const child = spawn(process.execPath, [BIN, 'reconcile', path, '--account', account], {
      cwd: folder,
      env: { ...process.env, PAYGATE_DATABASE_URL: url },
      stdio: 'ignore',
    });
    const gone = once(child, 'exit');
    await until(async () => {
      const [row] = await sql<{ waiting: number }[]>`
        select count(*)::integer as waiting from pg_locks l join pg_class c on c.oid = l.relation
         where not l.granted and c.relname = ${table} and c.relnamespace = 'paygate'::regnamespace
           and l.database = (select oid from pg_database where datname = current_database())`;
      return row!.waiting > 0;
    });
    child.kill('SIGKILL');
    expect(await gone).toEqual([null, 'SIGKILL']);
  });
}

describe('a program that is killed', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'paygate-reconcile-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each([
    ['before its first line is there', ['settlement_line']],
    ['while it matches', ['settlement_match']],
    ['when all lines are there', ['settlement_batch']],
    ['while it writes down evidence', ['evidence']],
    ['while it opens breaks', ['recon_break']],
    ['while it posts', ['journal_entry', 'posting']],
    ['at one point after the other', ['settlement_match', 'settlement_file', 'recon_break', 'posting']],
  ])('%s', { timeout: 60_000 }, async (_, tables) => {
    const { account, file } = await story();
    const path = join(folder, `${account}.csv`);
    writeFileSync(path, stripeText(file));
    writeFileSync(join(folder, 'paygate.toml'), `[psp.${account}]\npsp = "stripe"\n`);
    for (const table of tables) await killAt(folder, account, path, table);
    const answer = await reconcile(book.db, `psp:${account}`, file, {
      sha256: null,
      open: () => openSettlementFile(createReadStream(path), { format: null, mapping: null, timeZone: null }),
    });
    expect(await traces(account, answer)).toEqual(peaceful);
  });
});

test('the same file from several processes at once is imported once, and all get the same answer', async () => {
  const { account, file } = await story();
  const answers = await Promise.all(
    Array.from({ length: 4 }, () => reconcile(book.connect(2), `psp:${account}`, file)),
  );
  expect(await traces(account, answers[0]!)).toEqual(peaceful);
  for (const answer of answers)
    expect({ ...answer, outcome: 'imported' }).toEqual({ ...answers[0]!, outcome: 'imported' });
});

test('gathering ahead, again and beside each other adds every fact once, and the run is the same', async () => {
  const { account, file } = await story();
  const policy = { accounts: new Map(), writeOffLimits: new Map() };
  const added = await Promise.all(Array.from({ length: 4 }, () => gatherOpenItems(book.connect(1), policy)));
  const rest = await gatherOpenItems(book.db, policy);
  expect(added.reduce((sum, one) => sum + one, rest)).toBe(40);
  expect(await gatherOpenItems(book.db, policy)).toBe(0);
  expect(await traces(account, await reconcile(book.db, `psp:${account}`, file))).toEqual(peaceful);
});

test('gathering in portions of a few entries adds each fact once, and goes on behind the last of them', async () => {
  const account = uniqueName('acct');
  const calendar = calendarAt(DEFAULT_SETTLEMENT, await getNow(book.db));
  const gather = () =>
    transact(book.db, async (tx) => {
      const sourceId = await lockSource(tx, `psp:${account}`);
      await insertPositions(tx, { id: sourceId, accountCode: pspAccount(account, 'receivable') });
      return gatherItems(tx, sourceId, calendar, 7);
    });
  await charged(book.db, daemon, account, 23);
  expect(await gather()).toBe(23);
  expect(await gather()).toBe(0);
  await backdate(book.owner, account, '1 day');
  await charged(book.db, daemon, account, 15);
  expect(await gather()).toBe(15);
  expect(await gather()).toBe(0);
  const { sql, t } = book.owner;
  const [row] = await sql<{ facts: bigint; items: bigint; moved: boolean }[]>`
    select p.facts_minor as facts, (select sum(i.amount_minor) from ${t.openItem} i where i.source_id = p.source_id)::bigint as items,
           p.gathered_to > 0 as moved
      from ${t.reconcilePosition} p
     where p.source_id = (select id from ${t.settlementSource} where name = ${`psp:${account}`})`;
  expect(row).toMatchObject({ facts: row!.items, moved: true });
});
