/** Sellers and payouts as an operator meets them: what is shown, asked, refused, and how it ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect, type Db } from '../core/db/connection.ts';
import { claimJobs } from '../core/queue/queue-store.ts';
import { insertDaemon } from '../core/queue/rescue-store.ts';
import { createTestHost, type TestHostOptions } from '../testing/cli-host.ts';
import { until } from '../testing/fixtures.ts';
import { fund } from '../testing/payout-fixtures.ts';
import { createTestDatabase, type TestDatabase } from '../testing/test-database.ts';
import { execute } from './main.ts';

const GOLDEN = '../../fixtures/cli';
const CONFIG = `
[psp.main]
psp = "stripe"

[payouts]
cooling_days = 2

[payouts.approval_limit]
EUR = "100"
`;

let database: TestDatabase;
let db: Db;
let folder = '';
let env: Readonly<Record<string, string>> = {};

beforeAll(async () => {
  database = await createTestDatabase();
  db = connect({ connection: database.appConnection, book: 'paygate', max: 2 });
  folder = mkdtempSync(join(tmpdir(), 'paygate-cli-'));
  writeFileSync(join(folder, 'paygate.toml'), CONFIG);
  const { user, database: name, host, port } = database.appConnection;
  env = { PAYGATE_DATABASE_URL: `postgres://${user}@/${name}?host=${String(host)}&port=${String(port)}` };
});
afterAll(async () => {
  await db.close();
  await database.drop();
  rmSync(folder, { recursive: true, force: true });
});

type Options = TestHostOptions & { readonly user?: string };

async function run(args: readonly string[], { user, ...options }: Options = {}) {
  const { host, out, err } = createTestHost({ cwd: folder, env, ...options });
  const code = await execute(args, { ...host, user: { name: user ?? 'ana', uid: 1000 } });
  return { code, out: out(), err: err() };
}

async function json(args: readonly string[], options: Options = {}) {
  const { code, out, err } = await run([...args, '-o', 'json'], options);
  return { code, out: out === '' ? null : JSON.parse(out), err: err === '' ? null : JSON.parse(err) };
}

/** Times differ from run to run; everything else is the contract. */
function steady(text: string): string {
  return text.replaceAll(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( UTC|Z)/g, '<time>');
}

function write(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return name;
}

const HEADER = 'item_ref,seller,amount,currency,destination,memo\n';

describe('sellers', () => {
  test('are registered with a destination; the answer is a contract', async () => {
    const args = [
      'sellers',
      'create',
      'Café Zoë',
      '--destination',
      'acct_zoe',
      '--reason',
      'signed contract',
    ];
    const { code, out, err } = await run([...args, '-o', 'json']);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    await expect(steady(out)).toMatchFileSnapshot(`${GOLDEN}/sellers-create.json`);
    expect(await json(args)).toMatchObject({ code: 5, err: { error: { code: 'seller_exists' } } });
  });

  test('are frozen and unfrozen with a reason, which is kept', async () => {
    await run(['sellers', 'create', '海の店', '--destination', 'acct_umi']);
    expect(await json(['sellers', 'freeze', '海の店'])).toMatchObject({
      code: 2,
      err: { error: { code: 'reason_missing' } },
    });
    const freeze = ['sellers', 'freeze', '海の店', '--reason', 'complaints'];
    expect(await json(freeze, { user: 'ben' })).toMatchObject({ code: 0, out: { status: 'frozen' } });
    expect(await json(freeze)).toMatchObject({ code: 0, out: { changes: [{ kind: 'frozen' }, {}, {}] } });
    const { code, out } = await run(['sellers', 'show', '海の店', '-o', 'json']);
    expect(code).toBe(0);
    await expect(steady(out)).toMatchFileSnapshot(`${GOLDEN}/sellers-show.json`);
    const table = await run(['sellers', 'show', '海の店']);
    await expect(steady(table.out)).toMatchFileSnapshot(`${GOLDEN}/sellers-show.txt`);
    await run(['sellers', 'unfreeze', '海の店', '--reason', 'settled']);
  });

  test('whose destination changes are told from when on it is paid', async () => {
    await run(['sellers', 'create', 'Mover', '--destination', 'acct_old']);
    const move = ['sellers', 'destination', 'Mover', 'acct_new', '--reason', 'new bank, confirmed by phone'];
    expect(await json(move)).toMatchObject({
      code: 0,
      out: { destinations: [{ destination: 'acct_new', cooling_until: expect.any(String) }] },
    });
  });

  test('are listed page by page', async () => {
    const first = await json(['sellers', 'list', '--limit', '2']);
    expect(first).toMatchObject({ code: 0, out: { items: [{ seller: 'Café Zoë' }, { seller: 'Mover' }] } });
    const cursor = (first.out as { next_cursor: string }).next_cursor;
    expect(await json(['sellers', 'list', '--cursor', cursor])).toMatchObject({
      out: { items: [{ seller: '海の店' }], next_cursor: null },
    });
    expect(await json(['sellers', 'list', '--status', 'frozen'])).toMatchObject({ out: { items: [] } });
  });

  test.each([
    [['sellers', 'show', 'nobody'], 1],
    [['sellers', 'freeze', 'nobody', '--reason', 'x'], 1],
    [['sellers', 'create', 'a:b'], 2],
    [['sellers', 'create', '4111 1111 1111 1111'], 2],
    [['sellers', 'create', 'x', '--destination', '4111111111111111'], 2],
    [['sellers', 'destination', 'Mover', 'acct_3', '--reason', 'card 4111111111111111'], 2],
    [['sellers', 'destination', 'Mover', 'acct_3', '--reason', 'x', '--psp-account', 'other'], 2],
    [['sellers', 'freeze', 'Mover', '--reason', 'x', '--dry-run'], 2],
  ])('%j ends with %i', async (args, code) => {
    const answer = await run(args);
    expect(answer).toMatchObject({ code, out: '' });
    expect(answer.err).not.toContain('1111');
  });
});

describe('a payout file', () => {
  const ROWS =
    `${HEADER}p-1,Café Zoë,40.00,EUR,acct_zoe,March\np-2,海の店,1200,JPY,,\np-3,海の店,30.00,EUR,acct_wrong,\n` +
    'p-4,Café Zoë,70.00,EUR,,\np-5,Mover,1.00,EUR,,\n';
  const CONFIRM = '141.00EUR,1200JPY';

  beforeAll(async () => {
    await fund(db, 'main', 'Café Zoë', '100.00');
    await fund(db, 'main', '海の店', '5000', 'JPY');
    await fund(db, 'main', '海の店', '50.00');
    await fund(db, 'main', 'Mover', '10.00');
  });

  test('with bad rows is refused whole, every fault told, exit 2', async () => {
    const file = write('bad.csv', `${HEADER}x-1,s,1.005,EUR,,\nx-1,s,1.00,EUR,,pay 4111111111111111\n`);
    const { code, out, err } = await run(['payouts', 'submit', file]);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    await expect(err).toMatchFileSnapshot(`${GOLDEN}/payouts-submit-bad-rows.txt`);
    expect(await json(['payouts', 'batches'])).toMatchObject({ out: { items: [] } });
  });

  test('on a dry run shows totals, refusals and each wallet before and after, and stores nothing', async () => {
    const args = ['payouts', 'submit', write('march.csv', ROWS), '--dry-run'];
    const { code, out, err } = await run([...args, '-o', 'json']);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    await expect(steady(out)).toMatchFileSnapshot(`${GOLDEN}/payouts-submit-dry-run.json`);
    await expect(steady((await run(args)).err)).toMatchFileSnapshot(`${GOLDEN}/payouts-submit-plan.txt`);
    expect(await json(['payouts', 'batches'])).toMatchObject({ out: { items: [] } });
  });

  test('is stored as drafts, and moves nothing; the same file again stores nothing', async () => {
    const { code, out } = await run(['payouts', 'submit', 'march.csv', '-o', 'json']);
    expect(code).toBe(0);
    await expect(steady(out)).toMatchFileSnapshot(`${GOLDEN}/payouts-submit.json`);
    expect(await json(['payouts', 'submit', write('renamed.csv', ROWS)])).toMatchObject({
      code: 0,
      out: { batch_id: null, state: 'nothing_new', accepted: 0, already_there: 5 },
    });
    expect(await json(['payouts', 'list', '--status', 'draft'])).toMatchObject({
      out: { items: [{}, {}, {}, {}, {}] },
    });
    expect(await json(['wallets', 'show', 'Café Zoë'])).toMatchObject({
      out: { wallets: [{ available: { amount: '100.00' }, in_payout: { amount: '0.00' } }] },
    });
  });

  test('above the limit is not approved by its submitter, whatever is typed', async () => {
    const batch = await batchId();
    expect(await json(['payouts', 'approve', batch, '--confirm', CONFIRM])).toMatchObject({
      code: 5,
      err: { error: { code: 'second_person_needed', details: { currencies: ['EUR', 'JPY'] } } },
    });
    expect(await json(['payouts', 'resume', batch], { user: 'ben' })).toMatchObject({
      code: 5,
      err: { error: { code: 'not_approved' } },
    });
  });

  test('is not approved by --yes, by the wrong total, or by nobody', async () => {
    const batch = await batchId();
    const approve = (...more: string[]) => json(['payouts', 'approve', batch, ...more], { user: 'ben' });
    expect(await approve('--yes')).toMatchObject({ code: 5, err: { error: { code: 'not_confirmed' } } });
    expect(await approve('--confirm', '141.00EUR')).toMatchObject({
      code: 5,
      err: { error: { code: 'confirm_differs' } },
    });
    expect(await approve()).toMatchObject({
      code: 5,
      err: { error: { details: { flag: `--confirm ${CONFIRM}` } } },
    });
    expect(await approve('--dry-run')).toMatchObject({ code: 0, out: { dry_run: true, payable: 2 } });
    expect(await json(['payouts', 'list', '--status', 'draft'])).toMatchObject({
      out: { items: [{}, {}, {}, {}, {}] },
    });
  });

  test('is approved by another person who types its total; what is refused is told, exit 1', async () => {
    const batch = await batchId();
    const asked: string[] = [];
    const answers = [CONFIRM];
    const { code, out } = await run(['payouts', 'approve', batch, '-o', 'json'], {
      user: 'ben',
      answers,
      onAsk: (question) => asked.push(question),
    });
    expect(code).toBe(1);
    expect(asked).toEqual([`Type the total (${CONFIRM}) to approve: `]);
    await expect(steady(out)).toMatchFileSnapshot(`${GOLDEN}/payouts-approve.json`);
    expect(await json(['wallets', 'show', 'Café Zoë'])).toMatchObject({
      out: { wallets: [{ available: { amount: '60.00' }, in_payout: { amount: '40.00' } }] },
    });
  });

  test('approved again, or resumed, has nothing to do: exit 0', async () => {
    const batch = await batchId();
    for (const verb of ['approve', 'resume']) {
      const again = await run(['payouts', verb, batch]);
      expect(again.code).toBe(0);
      expect(again.err).toBe(`${batch} is approved; nothing to do.\n`);
    }
  });

  test('corrected pays only what was not paid', async () => {
    const corrected = ROWS.replace('acct_wrong', 'acct_umi').replace(
      'p-4,Café Zoë,70.00',
      'p-4,Café Zoë,50.00',
    );
    const file = write('corrected.csv', corrected);
    const submitted = await json(['payouts', 'submit', file]);
    expect(submitted).toMatchObject({ code: 0, out: { accepted: 3, already_there: 2 } });
    const batch = (submitted.out as { batch_id: string }).batch_id;
    expect(await json(['payouts', 'approve', batch, '--confirm', '81.00EUR'])).toMatchObject({
      code: 1,
      out: {
        state: 'approved',
        statuses: [
          { status: 'refused', items: 1 },
          { status: 'approved', items: 2, totals: [{ amount: '80.00' }] },
        ],
        refusals: [{ item_ref: 'p-5', code: 'destination_cooling' }],
      },
    });
  });

  test('with a name that another payout has is told so, exit 5, and the rest is stored', async () => {
    const file = write('conflict.csv', `${HEADER}p-1,Café Zoë,41.00,EUR,,\np-9,Café Zoë,2.00,EUR,,\n`);
    expect(await json(['payouts', 'submit', file])).toMatchObject({
      code: 5,
      out: {
        accepted: 1,
        conflict_count: 1,
        conflicts: [{ line: 2, item_ref: 'p-1', differs: 'amount' }],
      },
    });
  });

  test('that looks like the same again is asked about', async () => {
    const file = write('again.csv', `${HEADER}a-1,Café Zoë,40.00,EUR,,\n`);
    const alone = await json(['payouts', 'submit', file]);
    expect(alone).toMatchObject({ code: 5, err: { error: { code: 'not_confirmed' } } });
    expect(await run(['payouts', 'submit', file], { answers: ['n'] })).toMatchObject({ code: 5 });
    expect(await json(['payouts', 'submit', file, '--yes'])).toMatchObject({
      code: 0,
      out: { accepted: 1, repeat_count: 1, repeats: [{ item_ref: 'a-1', same_as_line: null }] },
    });
  });

  test('from standard input asks on the terminal', async () => {
    const asked: string[] = [];
    const stdin = `${HEADER}i-1,Café Zoë,40.00,EUR,,\n`;
    const onAsk = (_: string, where: string) => asked.push(where);
    expect(await json(['payouts', 'submit', '-'], { stdin, answers: ['y'], onAsk })).toMatchObject({
      code: 0,
    });
    expect(asked).toEqual(['terminal']);
  });

  test('is canceled with a reason while it is a draft', async () => {
    const { out } = await json(['payouts', 'batches', '--status', 'draft']);
    const batch = (out as { items: { batch_id: string }[] }).items[0]!.batch_id;
    expect(await json(['payouts', 'cancel', batch])).toMatchObject({ code: 2 });
    expect(await json(['payouts', 'cancel', batch, '--reason', 'twice'])).toMatchObject({
      code: 0,
      out: { state: 'canceled', statuses: [{ status: 'canceled', items: 1 }] },
    });
    expect(await json(['payouts', 'approve', batch, '--confirm', '40.00EUR'])).toMatchObject({ code: 0 });
  });

  test('that was approved and never sent is canceled one by one; the money is back', async () => {
    const file = write('one.csv', `${HEADER}o-1,Café Zoë,1.25,EUR,,\n`);
    const submitted = await json(['payouts', 'submit', file]);
    const batch = (submitted.out as { batch_id: string }).batch_id;
    await fund(db, 'main', 'Café Zoë', '1.25');
    expect(await json(['payouts', 'cancel', 'o-1', '--reason', 'x', '--yes'])).toMatchObject({
      code: 5,
      err: { error: { code: 'not_approved' } },
    });
    expect(await json(['payouts', 'approve', batch, '--confirm', '1.25EUR'])).toMatchObject({ code: 0 });
    expect(await json(['payouts', 'cancel', 'o-1', '--reason', 'x'])).toMatchObject({ code: 5 });
    expect(await json(['payouts', 'cancel', 'o-1', '--reason', 'x', '--yes'])).toMatchObject({
      code: 0,
      out: { status: 'canceled', reason: 'x' },
    });
    expect(await json(['payouts', 'cancel', 'o-1', '--reason', 'x', '--yes'])).toMatchObject({ code: 5 });
  });

  test('in doubt is ended by a person, once, with evidence', async () => {
    const resolve = (...flags: string[]) =>
      json(['payouts', 'resolve', 'p-1', '--evidence', 'no such transfer in the dashboard', ...flags]);
    expect(await resolve('--as', 'failed', '--yes')).toMatchObject({
      code: 5,
      err: { error: { code: 'never_sent' } },
    });
    const daemonId = await insertDaemon(db, 'test/1');
    await claimJobs(db, { lane: 'main/batch', limit: 1, daemonId, principal: 'daemon:test', after: null });
    expect(await json(['payouts', 'show', 'p-1'])).toMatchObject({ out: { status: 'sent' } });
    expect(await resolve('--as', 'failed')).toMatchObject({
      code: 5,
      err: { error: { code: 'not_confirmed' } },
    });
    expect(await resolve('--as', 'failed', '--yes')).toMatchObject({ code: 0, out: { status: 'failed' } });
    expect(await resolve('--as', 'failed', '--yes')).toMatchObject({ code: 5 });
  });

  async function batchId(): Promise<string> {
    const { out } = await json(['payouts', 'batches']);
    return (out as { items: { batch_id: string }[] }).items.at(-1)!.batch_id;
  }

  test.each([
    ['payouts-show', ['payouts', 'show', 'p-1']],
    ['payouts-list', ['payouts', 'list', '--seller', '海の店']],
    ['payouts-batches', ['payouts', 'batches']],
  ])('%s is a contract in JSON, and readable', async (name, args) => {
    const asJson = await run([...args, '-o', 'json']);
    expect({ code: asJson.code, err: asJson.err }).toEqual({ code: 0, err: '' });
    await expect(steady(asJson.out)).toMatchFileSnapshot(`${GOLDEN}/${name}.json`);
    await expect(steady((await run(args)).out)).toMatchFileSnapshot(`${GOLDEN}/${name}.txt`);
  });

  test('a batch is shown by its sums', async () => {
    const { code, out } = await run(['payouts', 'show', await batchId()]);
    expect(code).toBe(0);
    await expect(steady(out)).toMatchFileSnapshot(`${GOLDEN}/payouts-show-batch.txt`);
  });

  test.each([
    [['payouts', 'show', 'nothing'], 1],
    [['payouts', 'show', 'pob_999'], 1],
    [['payouts', 'show', 'po_999'], 1],
    [['payouts', 'approve', 'pob_999'], 1],
    [['payouts', 'cancel', 'pob_999', '--reason', 'x'], 1],
    [['payouts', 'approve', 'x'], 2],
    [['payouts', 'list', '--cursor', 'x'], 2],
    [['payouts', 'submit', 'nope.csv'], 2],
    [['payouts', 'submit', 'march.csv', '--psp-account', 'other'], 2],
  ])('%j ends with %i', async (args, code) => {
    expect(await run(args)).toMatchObject({ code, out: '' });
  });
});

test('an approval whose connection is cut has an unknown outcome, and goes on without paying twice', async () => {
  await run(['sellers', 'create', 'Cut', '--destination', 'acct_cut']);
  await fund(db, 'main', 'Cut', '40.00');
  const rows = Array.from({ length: 4_000 }, (_, i) => `c-${i},Cut,0.01,EUR,,`).join('\n');
  const submitted = await json(['payouts', 'submit', write('cut.csv', `${HEADER}${rows}\n`), '--yes']);
  const batch = (submitted.out as { batch_id: string }).batch_id;
  const { host, err } = createTestHost({ cwd: folder, env });
  const takeOver = () => {
    host.interrupt.takeOver();
    void until(async () => (await countApproved('Cut')) > 0).then(cutConnections);
  };
  const args = ['payouts', 'approve', batch, '--confirm', '40.00EUR', '-o', 'json'];
  expect(await execute(args, { ...host, interrupt: { ...host.interrupt, takeOver } })).toBe(4);
  expect(JSON.parse(err())).toMatchObject({
    error: { code: 'approval_interrupted', details: { resume: `paygate payouts resume ${batch}` } },
  });
  expect(await json(['payouts', 'resume', batch])).toMatchObject({
    code: 0,
    out: { state: 'approved', statuses: [{ status: 'approved', items: 4_000 }] },
  });
  expect(await json(['wallets', 'show', 'Cut'])).toMatchObject({
    out: { wallets: [{ available: { amount: '0.00' }, in_payout: { amount: '40.00' } }] },
  });
});

/** The command in a process of its own, to be killed. */
function spawnCommand(args: readonly string[]): ChildProcess {
  const at = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
  const script = `import { execute } from ${at('./main.ts')};
    import { createTestHost } from ${at('../testing/cli-host.ts')};
    const [args, options] = process.argv.slice(1).map((text) => JSON.parse(text));
    await execute(args, createTestHost(options).host);`;
  const options = JSON.stringify({ cwd: folder, env });
  return spawn(process.execPath, ['--input-type=module', '--eval', script, JSON.stringify(args), options], {
    stdio: 'ignore',
  });
}

test('an approval that is killed in the middle goes on without paying twice', async () => {
  await run(['sellers', 'create', 'Killed', '--destination', 'acct_killed']);
  await fund(db, 'main', 'Killed', '60.00');
  const rows = Array.from({ length: 6_000 }, (_, i) => `k-${i},Killed,0.01,EUR,,`).join('\n');
  const submitted = await json(['payouts', 'submit', write('killed.csv', `${HEADER}${rows}\n`), '--yes']);
  const batch = (submitted.out as { batch_id: string }).batch_id;
  const child = spawnCommand(['payouts', 'approve', batch, '--confirm', '60.00EUR']);
  await until(async () => (await countApproved('Killed')) > 0);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(await json(['payouts', 'show', batch])).toMatchObject({ out: { state: 'approving' } });
  expect(await json(['payouts', 'resume', batch])).toMatchObject({
    code: 0,
    out: { state: 'approved', statuses: [{ status: 'approved', items: 6_000 }] },
  });
  expect(await json(['wallets', 'show', 'Killed'])).toMatchObject({
    out: { wallets: [{ available: { amount: '0.00' }, in_payout: { amount: '60.00' } }] },
  });
});

async function countApproved(seller: string): Promise<number> {
  const [row] = await db.sql<{ count: number }[]>`
    select count(*)::integer as count from ${db.t.payoutItem} where seller = ${seller} and state = 'approved'`;
  return row!.count;
}

async function cutConnections(): Promise<void> {
  // Other tests have the same cluster.
  await db.sql`
    select pg_terminate_backend(pid) from pg_stat_activity
     where application_name = 'paygate cli' and datname = current_database()`;
}

test('an approval that is interrupted says how to go on, and goes on', async () => {
  await run(['sellers', 'create', 'Many', '--destination', 'acct_many']);
  await fund(db, 'main', 'Many', '12.00');
  const rows = Array.from({ length: 1_200 }, (_, i) => `m-${i},Many,0.01,EUR,,`).join('\n');
  const file = write('many.csv', `${HEADER}${rows}\n`);
  const submitted = await json(['payouts', 'submit', file, '--yes']);
  const batch = (submitted.out as { batch_id: string }).batch_id;
  const { host, out, interrupt } = createTestHost({ cwd: folder, env });
  // The signal comes when the command has just said that it brings things to an end by itself.
  const takeOver = () => {
    host.interrupt.takeOver();
    interrupt('SIGINT');
  };
  const args = ['payouts', 'approve', batch, '--confirm', '12.00EUR', '-o', 'json'];
  expect(await execute(args, { ...host, interrupt: { ...host.interrupt, takeOver } })).toBe(130);
  expect(JSON.parse(out())).toMatchObject({
    state: 'approving',
    statuses: [{ status: 'draft', items: 1_200 }],
  });
  expect(await json(['payouts', 'resume', batch])).toMatchObject({
    code: 0,
    out: { state: 'approved', statuses: [{ status: 'approved', items: 1_200 }] },
  });
});
