import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect, type Db } from '../core/db/connection.ts';
import { claimJobs } from '../core/queue/queue-store.ts';
import { insertDaemon, stopDaemon } from '../core/queue/rescue-store.ts';
import { createTestHost, type TestHostOptions } from '../testing/cli-host.ts';
import { claim, REPLY, record, startTestDaemon, until } from '../testing/fixtures.ts';
import { createTestDatabase, type TestDatabase } from '../testing/test-database.ts';
import { execute } from './main.ts';

const GOLDEN = '../../fixtures/cli';
const CONFIG = `
[psp.main]
psp = "stripe"

[fees.EUR]
bps = 250
fixed = "0.25"

[risk]
blocked_buyers = ["Mallory"]

[risk.max_payment]
EUR = "500"
`;

let database: TestDatabase;
let db: Db;
let folder = '';
let env: Readonly<Record<string, string>> = {};

beforeAll(async () => {
  database = await createTestDatabase();
  db = connect({ connection: database.appConnection, book: 'paygate', max: 1 });
  folder = mkdtempSync(join(tmpdir(), 'paygate-cli-'));
  writeFileSync(join(folder, 'paygate.toml'), CONFIG);
  env = { PAYGATE_DATABASE_URL: urlOf(database.appConnection) };
});
afterAll(async () => {
  await db.close();
  await database.drop();
  rmSync(folder, { recursive: true, force: true });
});

function urlOf(connection: TestDatabase['connection']): string {
  return `postgres://${connection.user}@/${connection.database}?host=${String(connection.host)}&port=${String(connection.port)}`;
}

async function run(args: readonly string[], options: TestHostOptions = {}) {
  const { host, out, err } = createTestHost({ cwd: folder, env, ...options });
  const code = await execute(args, host);
  return { code, out: out(), err: err() };
}

async function json(args: readonly string[], options: TestHostOptions = {}) {
  const { code, out, err } = await run([...args, '-o', 'json'], options);
  return { code, out: out === '' ? null : JSON.parse(out), err: err === '' ? null : JSON.parse(err) };
}

/** Times differ from run to run; everything else is the contract. */
function steady(text: string): string {
  return text.replaceAll(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z/g, '<time>');
}

function write(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return name;
}

const HEADER = 'checkout_id,buyer,seller,amount,currency,payment_method\n';
const one = (checkout: string, ...more: string[]) => [
  'payments',
  'submit',
  '--checkout',
  checkout,
  '--buyer',
  'Ana Lima',
  '--seller',
  'Café Zoë',
  '--currency',
  'EUR',
  '--method',
  'pm_card_visa',
  ...more,
];

/** Sends nothing, but makes the book believe so: afterwards only evidence can end the order. */
async function claimAll(): Promise<void> {
  const daemonId = await insertDaemon(db, 'test/1');
  for (const lane of ['main/online', 'main/batch']) {
    await claimJobs(db, { lane, limit: 100, daemonId, principal: 'daemon:test', after: null });
  }
}

async function countPayments(prefix: string): Promise<number> {
  const [row] = await db.sql<{ count: number }[]>`
    select count(*)::integer as count from ${db.t.checkout} where starts_with(checkout_id, ${prefix})`;
  return row!.count;
}

async function cutConnections(): Promise<void> {
  // Other tests have the same cluster.
  await db.sql`
    select pg_terminate_backend(pid) from pg_stat_activity
     where application_name = 'paygate cli' and datname = current_database()`;
}

describe('one payment', () => {
  test('its answer is a contract', async () => {
    const { code, out, err } = await run(
      one('one-1', '--amount', '12.50', '--order-ref', 'A-1', '--yes', '-o', 'json'),
    );
    expect({ code, err }).toEqual({ code: 0, err: '' });
    await expect(steady(out)).toMatchFileSnapshot(`${GOLDEN}/submit-one.json`);
  });

  test('the same again is the same payment, without a question, exit 0', async () => {
    const again = await json(one('one-1', '--amount', '12.50', '--order-ref', 'A-1'));
    expect(again).toMatchObject({ code: 0, out: { payment_id: 'pay_1', result: 'replayed' } });
    const otherKey = await json(one('one-1', '--amount', '12.50', '--order-ref', 'A-1', '--key', 'k2'));
    expect(otherKey).toMatchObject({ code: 0, out: { payment_id: 'pay_1', result: 'deduplicated' } });
  });

  test.each([
    ['another amount under the same key', ['--amount', '13.50', '--yes'], 'idempotency_key_reused'],
    ['another amount under another key', ['--amount', '13.50', '--key', 'k3', '--yes'], 'checkout_conflict'],
  ])('%s is refused, exit 5', async (_, flags, code) => {
    const answer = await json(one('one-1', '--order-ref', 'A-1', ...flags));
    expect(answer).toMatchObject({ code: 5, out: null, err: { error: { code, exit_code: 5 } } });
  });

  test('what the risk check stops is stored, shown, and ends with 5', async () => {
    const answer = await json(one('one-2', '--amount', '500.01', '--yes'));
    expect(answer).toMatchObject({ code: 5, out: { status: 'FAILED', risk: { decision: 'block' } } });
    expect(await json(['payments', 'show', 'one-2'])).toMatchObject({ code: 0, out: { status: 'FAILED' } });
  });

  test('is not submitted when nobody confirms it', async () => {
    expect(await json(one('one-3', '--amount', '1.00'))).toMatchObject({
      code: 5,
      err: { error: { code: 'not_confirmed', details: { flag: '--yes' } } },
    });
    expect(await run(one('one-3', '--amount', '1.00'), { answers: ['n'] })).toMatchObject({ code: 5 });
    expect(await run(one('one-3', '--amount', '1.00', '--dry-run'))).toMatchObject({ code: 0 });
    expect(await run(['payments', 'show', 'one-3'])).toMatchObject({ code: 1 });
  });

  test('every wrong flag is named, and a card number is not repeated', async () => {
    const { code, err } = await run([
      'payments',
      'submit',
      '--buyer',
      'b',
      '--amount',
      '1,5',
      '--method',
      '4111111111111111',
    ]);
    expect(code).toBe(2);
    for (const flag of ['--checkout', '--seller', '--currency', '--method'])
      expect(err).toContain(`  ${flag} `);
    expect(err).not.toContain('4111');
  });

  test('what the PSP cannot express is refused before anything is stored', async () => {
    const flags = [
      '--checkout',
      'kwd',
      '--buyer',
      'b',
      '--seller',
      's',
      '--amount',
      '1.005',
      '--currency',
      'KWD',
      '--method',
      'pm',
    ];
    expect(await json(['payments', 'submit', ...flags, '--yes'])).toMatchObject({
      code: 2,
      err: { error: { code: 'payment_invalid', details: { faults: [{ flag: '--amount' }] } } },
    });
  });
});

describe('a batch file', () => {
  const ROWS = `${HEADER}b-1,Ana Lima,Café Zoë,40.00,EUR,pm_card_visa\nb-1,Ana Lima,海の店,1.50,EUR,pm_card_visa\nb-2,山田 花子,海の店,1200,JPY,pm_card_visa\n`;
  const CONFIRM = '41.50EUR,1200JPY';

  test('with bad rows: all of them are listed, nothing is submitted, exit 2', async () => {
    const file = write(
      'bad.csv',
      `${HEADER}x-1,b,s,1.005,EUR,pm\nx-2,b,s,1.00,EUR,4111111111111111\nx-3,b,s,1.00,EUR,pm\n`,
    );
    const { code, out, err } = await run(['payments', 'submit', file, '--confirm', '3EUR']);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    await expect(err).toMatchFileSnapshot(`${GOLDEN}/submit-bad-rows.txt`);
    const asJson = await json(['payments', 'submit', file]);
    expect(asJson.err).toMatchObject({
      error: { code: 'file_has_bad_rows', details: { fault_count: 2, row_count: 3 } },
    });
    expect(await run(['payments', 'show', 'x-3'])).toMatchObject({ code: 1 });
  });

  test('a dry run shows the plan as a contract and stores nothing', async () => {
    const { code, out } = await run(['payments', 'submit', write('b.csv', ROWS), '--dry-run', '-o', 'json']);
    expect(code).toBe(0);
    await expect(steady(out)).toMatchFileSnapshot(`${GOLDEN}/submit-dry-run.json`);
    expect(await run(['payments', 'show', 'b-1'])).toMatchObject({ code: 1 });
  });

  test('is not submitted by --yes, by the wrong total, or by nobody', async () => {
    const file = write('b.csv', ROWS);
    expect(await run(['payments', 'submit', file, '--yes'])).toMatchObject({ code: 5 });
    expect(await run(['payments', 'submit', file, '--confirm', '41.50EUR'])).toMatchObject({ code: 5 });
    const alone = await run(['payments', 'submit', file]);
    expect(alone).toMatchObject({ code: 5, out: '' });
    expect(alone.err).toContain(`--confirm ${CONFIRM}`);
    expect(await run(['payments', 'show', 'b-1'])).toMatchObject({ code: 1 });
  });

  test('is submitted by its total; its result is a contract', async () => {
    const { code, out, err } = await run([
      'payments',
      'submit',
      write('b.csv', ROWS),
      '--confirm',
      CONFIRM,
      '-o',
      'json',
    ]);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    await expect(steady(out)).toMatchFileSnapshot(`${GOLDEN}/submit-batch.json`);
  });

  test('again: nothing to do, no question, exit 0', async () => {
    const again = await run(['payments', 'submit', write('renamed.csv', ROWS)]);
    expect(again).toMatchObject({ code: 0 });
    expect(steady(again.err)).toBe('Already submitted as bat_1 at <time>; nothing to do.\n');
    expect(await json(['payments', 'submit', 'b.csv'])).toMatchObject({
      out: { state: 'already_submitted', accepted: 0, already_there: 2 },
    });
  });

  test('from standard input is confirmed on the terminal', async () => {
    const asked: string[] = [];
    const stdin = `${HEADER}p-1,b,s,2.00,EUR,pm\np-2,b,s,3.00,EUR,pm\n`;
    const options = { stdin, answers: ['5.00EUR'], onAsk: (_: string, where: string) => asked.push(where) };
    expect(await json(['payments', 'submit', '-'], options)).toMatchObject({ code: 0, out: { accepted: 2 } });
    expect(asked).toEqual(['terminal']);
  });

  test('with rows in conflict: the others are accepted, the conflicts listed, exit 5, and it stays open', async () => {
    const file = write('c.csv', `${HEADER}c-1,b,s,2.00,EUR,pm\nb-2,山田 花子,海の店,1300,JPY,pm_card_visa\n`);
    const args = ['payments', 'submit', file, '--confirm', '2.00EUR,1300JPY'];
    expect(await json(args)).toMatchObject({
      code: 5,
      out: {
        state: 'incomplete',
        accepted: 1,
        conflict_count: 1,
        conflicts: [{ line: 3, checkout_id: 'b-2' }],
      },
    });
    expect(await json(args)).toMatchObject({
      code: 5,
      out: { state: 'incomplete', accepted: 0, already_there: 1 },
    });
  });

  test('that was interrupted is gone on with by the same command', async () => {
    const rows = Array.from({ length: 1_000 }, (_, i) => `i-${i},b,s,1.00,EUR,pm_card_visa`).join('\n');
    const file = write('i.csv', `${HEADER}${rows}\n`);
    const args = ['payments', 'submit', file, '--confirm', '1000.00EUR', '-o', 'json'];
    const first = createTestHost({ cwd: folder, env });
    const { host } = first;
    // The signal comes when the command has just said that it brings things to an end by itself.
    const takeOver = () => {
      host.interrupt.takeOver();
      setImmediate(() => first.interrupt('SIGINT'));
    };
    const code = await execute(args, { ...host, interrupt: { ...host.interrupt, takeOver } });
    expect(code).toBe(130);
    const stopped = JSON.parse(first.out()) as { state: string; accepted: number };
    expect(stopped.state).toBe('interrupted');
    const second = await json(args.slice(0, -2));
    expect(second).toMatchObject({
      code: 0,
      out: { state: 'submitted', accepted: 1_000 - stopped.accepted, already_there: stopped.accepted },
    });
  });

  test('a row that the risk check stops is counted', async () => {
    const file = write('r.csv', `${HEADER}r-1,Mallory,s,2.00,EUR,pm\nr-2,b,s,2.00,EUR,pm\n`);
    expect(await json(['payments', 'submit', file, '--confirm', '4.00EUR'])).toMatchObject({
      code: 0,
      out: { accepted: 2, risk_blocked: 1 },
    });
  });

  test('a file that cannot be read is a usage error', async () => {
    expect(await json(['payments', 'submit', 'nope.csv'])).toMatchObject({
      code: 2,
      err: { error: { code: 'file_unreadable' } },
    });
    expect(await json(['payments', 'submit', '.'])).toMatchObject({
      code: 2,
      err: { error: { code: 'file_unreadable' } },
    });
    expect(await json(['payments', 'submit', '-'], { stdin: '' })).toMatchObject({ code: 2 });
    expect(await json(['payments', 'submit'])).toMatchObject({
      code: 2,
      err: { error: { code: 'input_missing' } },
    });
    expect(await json(['payments', 'submit', 'b.csv', '--buyer', 'x'])).toMatchObject({ code: 2 });
  });
});

describe('what becomes of orders', () => {
  test('waiting in vain ends with 4 and says what to look at', async () => {
    const { code, err } = await run(
      one('one-1', '--amount', '12.50', '--order-ref', 'A-1', '--wait', '--wait-timeout', '1'),
    );
    expect(code).toBe(4);
    expect(err).toContain('No daemon is alive');
    expect(err).toContain('paygate payments show pay_1');
  });

  test('a person ends a doubt, once, with evidence', async () => {
    await claimAll();
    const refused = await json([
      'payments',
      'resolve',
      'ord_2',
      '--as',
      'succeeded',
      '--evidence',
      'seen in the dashboard',
    ]);
    expect(refused).toMatchObject({ code: 5, err: { error: { code: 'not_confirmed' } } });
    const flags = [
      '--as',
      'succeeded',
      '--evidence',
      'seen in the dashboard',
      '--psp-reference',
      'pi_1',
      '--yes',
    ];
    expect(await json(['payments', 'resolve', 'ord_2', ...flags])).toMatchObject({
      code: 0,
      out: { payment_order_id: 'ord_2', to: 'succeeded' },
    });
    expect(await json(['payments', 'resolve', 'ord_2', ...flags])).toMatchObject({
      code: 5,
      err: { error: { code: 'already_ended' } },
    });
  });

  test('after the end, waiting is over at once: 0 for charged, 1 for not charged', async () => {
    expect(await json(one('one-1', '--amount', '12.50', '--order-ref', 'A-1', '--wait'))).toMatchObject({
      code: 0,
      out: { status: 'SUCCESS', charged: [{ amount: '12.50', currency: 'EUR' }] },
    });
    const { out } = await json(['payments', 'show', 'b-2']);
    const order = (out as { payment_orders: { payment_order_id: string }[] }).payment_orders[0]!
      .payment_order_id;
    await run([
      'payments',
      'resolve',
      order,
      '--as',
      'failed',
      '--evidence',
      'the PSP has no such charge',
      '--yes',
    ]);
    expect(await json(['payments', 'show', 'b-2'])).toMatchObject({ out: { status: 'FAILED' } });
    // What has ended is neither promised to be booked nor said to have been charged.
    const word = ['--evidence', 'seen in the dashboard'];
    const booked = await run(['payments', 'resolve', order, '--as', 'succeeded', ...word]);
    expect(booked).toMatchObject({ code: 5, err: `error: ${order} has ended as declined.\n` });
    const refunded = await run(['refunds', 'create', order, '--refund-id', 'never-charged']);
    expect(refunded).toMatchObject({ code: 5 });
    expect(refunded.err).toBe(`error: ${order} is declined: nothing was charged for it.\n`);
    const short = await run(['payments', 'resolve', 'ord_2', '--as', 'failed', '--evidence', 'seen']);
    expect(short).toMatchObject({ code: 2 });
    expect(short.err).not.toContain('this will');
  });
});

describe('reading', () => {
  test.each([
    ['payments-show', ['payments', 'show', 'pay_1'], 0],
    ['payments-list', ['payments', 'list', '--batch', 'bat_1'], 0],
    ['wallets-list', ['wallets', 'list'], 0],
    ['wallets-show', ['wallets', 'show', 'Café Zoë'], 0],
    ['ledger-accounts', ['ledger', 'accounts', 'psp:*'], 0],
    ['ledger-balance', ['ledger', 'balance'], 0],
    ['ledger-entries', ['ledger', 'entries'], 0],
    ['ledger-verify', ['ledger', 'verify'], 0],
    ['dlq-list', ['dlq', 'list'], 0],
  ])('%s is a contract in JSON, and readable', async (name, args, expected) => {
    const asJson = await run([...args, '-o', 'json']);
    expect({ code: asJson.code, err: asJson.err }).toEqual({ code: expected, err: '' });
    await expect(steady(asJson.out)).toMatchFileSnapshot(`${GOLDEN}/${name}.json`);
    const asTable = await run(args);
    expect(asTable.code).toBe(expected);
    await expect(steady(asTable.out)).toMatchFileSnapshot(`${GOLDEN}/${name}.txt`);
  });

  test('pages hang together without a gap or a double', async () => {
    const whole = await json(['payments', 'list', '--limit', '1000']);
    const ids: string[] = [];
    let cursor: string[] = [];
    for (let page = 0; page < 20; page += 1) {
      const { out } = await json(['payments', 'list', '--limit', '77', ...cursor]);
      const { items, next_cursor: next } = out as {
        items: { payment_id: string }[];
        next_cursor: string | null;
      };
      ids.push(...items.map((item) => item.payment_id));
      if (next === null) break;
      cursor = ['--cursor', next];
    }
    const all = (whole.out as { items: { payment_id: string }[] }).items.map((item) => item.payment_id);
    expect(ids.slice(0, all.length)).toEqual(all);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.length).toBeGreaterThanOrEqual(all.length);
  });

  test('filters narrow', async () => {
    const count = async (...flags: string[]) =>
      ((await json(['payments', 'list', ...flags])).out as { items: unknown[] }).items.length;
    expect(await count('--seller', '海の店')).toBe(2);
    expect(await count('--buyer', 'Mallory')).toBe(1);
    expect(await count('--status', 'SUCCESS')).toBe(1);
    expect(await count('--buyer', 'nobody')).toBe(0);
  });

  test.each([
    [['payments', 'show', 'nothing']],
    [['wallets', 'show', 'nobody']],
    [['ledger', 'balance', 'seller:nobody:available']],
    [['dlq', 'show', 'dl_99']],
  ])('%j is answered no: exit 1', async (args) => {
    expect(await run(args)).toMatchObject({ code: 1 });
  });

  test.each([
    [['payments', 'list', '--cursor', 'x']],
    [['wallets', 'list', '--cursor', 'x']],
    [['wallets', 'list', '--currency', 'EURO']],
    [['ledger', 'balance', 'assets']],
    [['ledger', 'entries', '--currency', 'EUR']],
    [['dlq', 'show', '../x']],
    [['payments', 'resolve', 'pay_1', '--as', 'failed', '--evidence', 'x']],
  ])('%j is a usage error: exit 2', async (args) => {
    expect(await run(args)).toMatchObject({ code: 2, out: '' });
  });

  test('ndjson has one line for each item, csv one row', async () => {
    const lines = (await run(['wallets', 'list', '-o', 'ndjson'])).out.trimEnd().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { seller: string }).seller)).toEqual(['Café Zoë']);
    const csv = (await run(['wallets', 'list', '-o', 'csv'])).out;
    expect(csv.split('\r\n')[0]).toMatch(/^seller,currency,pending_amount,pending_currency,available_amount/);
  });

  test('a name with escape sequences cannot play with the terminal', async () => {
    await run([
      'payments',
      'submit',
      '--checkout',
      'evil',
      '--buyer',
      'b',
      '--seller',
      's',
      '--amount',
      '1.00',
      '--currency',
      'EUR',
      '--method',
      'pm',
      '--metadata',
      'note=line\n2',
      '--yes',
    ]);
    const { out } = await run(['payments', 'show', 'evil'], { terminal: 80, env: { ...env, NO_COLOR: '1' } });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that none gets through is the point
    expect(out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  });
});

describe('colours', () => {
  test('on a terminal, and nowhere else', async () => {
    const list = ['payments', 'list', '--limit', '5'];
    expect((await run(list, { terminal: 100 })).out).toContain('\u001b[');
    expect((await run(list)).out).not.toContain('\u001b');
    expect((await run([...list, '--no-color'], { terminal: 100 })).out).not.toContain('\u001b');
    expect((await run(list, { terminal: 100, env: { ...env, NO_COLOR: '1' } })).out).not.toContain('\u001b');
    expect((await run(list, { terminal: 100, env: { ...env, TERM: 'dumb' } })).out).not.toContain('\u001b');
  });
});

test('daemon status says who is alive, and ends with 1 when nobody is', async () => {
  await db.sql`update ${db.t.daemon} set beat_at = now() where id = 1`;
  expect(await json(['daemon', 'status'])).toMatchObject({ code: 0, out: { daemons: [{ name: 'test/1' }] } });
  await stopDaemon(db, 1n);
  const { code, out } = await run(['daemon', 'status']);
  expect(code).toBe(1);
  expect(out).toContain('paygate daemon run');
});

describe('the database', () => {
  test('of one’s own: status, url and migrate work, start and stop are refused', async () => {
    expect(await json(['db', 'status'])).toMatchObject({ code: 0, out: { kind: 'own', state: 'running' } });
    expect(await json(['db', 'url'])).toMatchObject({ code: 0, out: { url: env.PAYGATE_DATABASE_URL } });
    for (const verb of ['start', 'stop']) {
      expect(await json(['db', verb])).toMatchObject({
        code: 2,
        err: { error: { code: 'database_not_embedded' } },
      });
    }
    const owner = { env: { ...env, PAYGATE_DATABASE_OWNER_URL: urlOf(database.connection) } };
    expect(await json(['db', 'migrate'], owner)).toMatchObject({ code: 0, out: { applied: [] } });
    expect(await json(['db', 'migrate'])).toMatchObject({
      code: 3,
      err: { error: { code: 'database_forbidden' } },
    });
  });

  test('without a book says how to make one, and nothing is made on its own', async () => {
    const options = { env: { ...env, PAYGATE_BOOK: 'elsewhere' } };
    expect(await json(['payments', 'list'], options)).toMatchObject({
      code: 2,
      err: { error: { code: 'database_not_migrated' } },
    });
  });
});

describe('refunds', () => {
  const ask = (...flags: string[]) => ['refunds', 'create', 'ord_2', '--refund-id', 'return-1', ...flags];

  test('without a terminal need a name and a yes; -n only says what would happen', async () => {
    expect(await json(['refunds', 'create', 'ord_2', '--yes'])).toMatchObject({
      code: 2,
      err: { error: { code: 'refund_id_missing' } },
    });
    expect(await json(ask('--amount', '5.00'))).toMatchObject({
      code: 5,
      err: { error: { code: 'not_confirmed' } },
    });
    expect((await run(ask('--amount', '5.00', '-n'))).err).toContain('This will refund 5.00 EUR');
    expect(await json(['refunds', 'list'])).toMatchObject({ code: 0, out: { items: [] } });
  });

  test('are asked for once under one name, and never beyond what was charged', async () => {
    const first = await json(ask('--amount', '5.00', '--yes', '--reason', 'a cup was broken'));
    expect(first).toMatchObject({
      code: 0,
      out: { status: 'requested', request_reason: 'a cup was broken' },
    });
    const again = await json(ask('--amount', '5', '--yes'));
    expect(again).toMatchObject({ code: 0, out: { id: (first.out as { id: string }).id } });
    expect(await json(ask('--amount', '6.00', '--yes'))).toMatchObject({
      code: 5,
      err: { error: { code: 'refund_id_reused' } },
    });
    const known = await run(ask('--amount', '5.00', '-n'));
    expect(known.err).toContain('A refund "return-1" was asked for before.');
    expect(known.err).not.toContain('This will refund');
    const more = ['refunds', 'create', 'ord_2', '--refund-id', 'return-2', '--amount', '7.51', '--yes'];
    expect(await json(more)).toMatchObject({ code: 5, err: { error: { code: 'over_refund' } } });
  });

  test.each([
    ['an order that is not known', ['refunds', 'create', 'ord_999', '--refund-id', 'x', '--yes'], 1],
    ['an amount that is none', ask('--amount', 'five', '--yes'), 2],
    ['a confirmation of something else', ask('--confirm', '1.00EUR'), 5],
    ['a refund that is not known', ['refunds', 'show', 'return-9'], 1],
  ])('%s is refused in words', async (_, args, expected) => {
    const { code, err } = await run(args);
    expect(code).toBe(expected);
    expect(err).not.toMatch(/node_modules|at .*\.[jt]s:\d/);
  });

  test.each([
    ['refunds-show', ['refunds', 'show', 'return-1']],
    ['refunds-list', ['refunds', 'list', '--order', 'ord_2']],
  ])('%s is a contract in JSON, and readable', async (name, args) => {
    const numberless = (text: string) => steady(text).replace(/\b(rfd|op)_\d+/g, '$1_<n>');
    const asJson = numberless((await run([...args, '-o', 'json'])).out);
    await expect(asJson).toMatchFileSnapshot(`${GOLDEN}/${name}.json`);
    await expect(numberless((await run(args)).out)).toMatchFileSnapshot(`${GOLDEN}/${name}.txt`);
  });
});

test('the daemon is handed its configuration and the place of the database', async () => {
  const seen: unknown[] = [];
  const runDaemon = async (options: unknown) => {
    seen.push(options);
  };
  const { host } = createTestHost({
    cwd: folder,
    env,
    loaders: { startDaemon: async () => ({ runDaemon }) },
  });
  expect(await execute(['daemon', 'run'], host)).toBe(0);
  expect(seen).toMatchObject([
    {
      config: { database: { book: 'paygate' } },
      connection: { database: database.name },
      listenConnection: null,
    },
  ]);
});

test('when the connections are cut: outcome unknown, and the same command goes on', async () => {
  const rows = Array.from({ length: 4_000 }, (_, i) => `cut-${i},b,s,1.00,EUR,pm_card_visa`).join('\n');
  const args = ['payments', 'submit', write('cut.csv', `${HEADER}${rows}\n`), '--confirm', '4000.00EUR'];
  const { host, err } = createTestHost({ cwd: folder, env });
  const takeOver = () => {
    host.interrupt.takeOver();
    void until(async () => (await countPayments('cut-')) >= 200).then(cutConnections);
  };
  const interrupt = { ...host.interrupt, takeOver };
  expect(await execute([...args, '-o', 'json'], { ...host, interrupt })).toBe(4);
  expect(JSON.parse(err())).toMatchObject({ error: { code: 'submit_interrupted', exit_code: 4 } });
  const again = await json(args);
  expect(again).toMatchObject({ code: 0, out: { state: 'submitted', payments: 4_000 } });
  const { accepted, already_there: there } = again.out as { accepted: number; already_there: number };
  expect(accepted + there).toBe(4_000);
  expect(accepted).toBeGreaterThan(0);
});

/** Ids depend on what other tests have used up. */
function unnumbered(text: string): string {
  return steady(text).replaceAll(/\b(pay|ord|op)_\d+/g, '$1_N');
}

describe('an order that waits for its buyer', () => {
  test('shows what the shop hands over, and is canceled through the PSP', async () => {
    const args = one('waits-1', '--amount', '12.50', '--yes', '--customer-present');
    const submitted = await json([...args, '--return-url', 'https://shop.example/back?order=1']);
    expect(submitted.code).toBe(0);
    const daemon = await startTestDaemon(db);
    const url = 'https://bank.example/3ds?token=x';
    const handOff = { type: 'redirect', url, method: 'POST', data: { MD: 'x' } } as const;
    for (const task of await claim(daemon, 'main')) {
      await record(daemon, task, { ...REPLY.awaiting_customer, handOff });
    }
    const show = await run(['payments', 'show', 'waits-1', '-o', 'json']);
    await expect(unnumbered(show.out)).toMatchFileSnapshot(`${GOLDEN}/payments-show-waiting.json`);
    const text = await run(['payments', 'show', 'waits-1']);
    await expect(unnumbered(text.out)).toMatchFileSnapshot(`${GOLDEN}/payments-show-waiting.txt`);
    expect((await run(['payments', 'list', '-o', 'json'])).out).not.toContain('bank.example');
    const order = JSON.parse(show.out).payment_orders[0].payment_order_id as string;
    const why = ['--reason', 'the buyer ordered twice'];
    const canceled = await run(['payments', 'cancel', order, ...why, '-o', 'json']);
    expect({ code: canceled.code, err: canceled.err }).toEqual({ code: 0, err: '' });
    await expect(unnumbered(canceled.out)).toMatchFileSnapshot(`${GOLDEN}/payments-cancel-waiting.json`);
    expect((await run(['payments', 'show', 'waits-1', '-o', 'json'])).out).not.toContain('bank.example');
    await stopDaemon(db, daemon.id);
  });

  test('an address that is none is named by its flag', async () => {
    const args = one('waits-2', '--amount', '12.50', '--yes', '--return-url', 'shop.example');
    const { code, err } = await json(args);
    expect(code).toBe(2);
    expect(err.error.details.faults).toMatchObject([{ flag: '--return-url', code: 'not_a_url' }]);
  });
});
