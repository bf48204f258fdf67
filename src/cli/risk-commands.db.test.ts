/** `paygate risk …` as a person runs it: its output is a contract. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestHost, type TestHostOptions } from '../testing/cli-host.ts';
import { openTestBook, type TestBook } from '../testing/fixtures.ts';
import { execute } from './main.ts';

const GOLDEN = '../../fixtures/cli';
const CONFIG = '[psp.main]\npsp = "stripe"\n[risk]\nrules_file = "risk.toml"\nblocked_buyers = ["Mallory"]\n';
const RULES = `name = "shop rules 7"
review_timeout = "12h"

[[lists.trusted]]
value = "Ana Lima"
reason = "long-standing customer"

[[lists.stolen]]
value = "pm_stolen"
reason = "reported by the issuer"
expires = 2999-01-31T00:00:00Z

[[rules]]
id = "large"
kind = "amount"
max = { EUR = "100.00" }
action = "review"

[[rules]]
id = "stolen-method"
kind = "list"
party = "payment_method"
list = "stolen"
action = "block"

[[rules]]
id = "buyer-burst"
kind = "velocity"
by = "buyer"
window = "10m"
max_count = 2
action = "block"
mode = "shadow"

[[rules]]
id = "trusted-buyer"
kind = "list"
party = "buyer"
list = "trusted"
action = "allow"
overrides = ["large"]
`;
const HEADER = 'checkout_id,buyer,seller,amount,currency,payment_method\n';
const ROWS = `${HEADER}t-1,Ana Lima,Café Zoë,500.00,EUR,pm_1
t-2,Bob,Café Zoë,500.00,EUR,pm_2
t-3,Bob,Café Zoë,5.00,EUR,pm_stolen
t-4,Mallory,Café Zoë,5.00,EUR,pm_3
t-5,Bob,Café Zoë,6.00,EUR,pm_2
t-6,Bob,Café Zoë,7.00,EUR,pm_2
`;

let book: TestBook;
let folder = '';
let env: Readonly<Record<string, string>> = {};
beforeAll(async () => {
  book = await openTestBook();
  folder = mkdtempSync(join(tmpdir(), 'paygate-cli-'));
  write('paygate.toml', CONFIG);
  write('risk.toml', RULES);
  write('t.csv', ROWS);
  const { user, database, host, port } = book.database.appConnection;
  env = { PAYGATE_DATABASE_URL: `postgres://${user}@/${database}?host=${String(host)}&port=${String(port)}` };
});
afterAll(async () => {
  await book.close();
  rmSync(folder, { recursive: true, force: true });
});

function write(name: string, text: string): void {
  writeFileSync(join(folder, name), text);
}

async function run(args: readonly string[], options: TestHostOptions = {}) {
  const { host, out, err } = createTestHost({ cwd: folder, env, ...options });
  const code = await execute(args, host);
  return { code, out: steady(out()), err: steady(err()) };
}

async function json(args: readonly string[], options: TestHostOptions = {}) {
  const { code, out, err } = await run([...args, '-o', 'json'], options);
  return { code, out: out === '' ? null : JSON.parse(out), err: err === '' ? null : JSON.parse(err) };
}

/** Times and the test's folder differ from run to run; everything else is the contract. */
function steady(text: string): string {
  return text
    .replaceAll(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z/g, '<time>')
    .replaceAll(folder, '<folder>');
}

async function isContract(name: string, args: readonly string[]): Promise<void> {
  const asJson = await run([...args, '-o', 'json']);
  expect({ code: asJson.code, err: asJson.err }).toEqual({ code: 0, err: '' });
  await expect(asJson.out).toMatchFileSnapshot(`${GOLDEN}/${name}.json`);
  const asTable = await run(args);
  expect(asTable.code).toBe(0);
  await expect(asTable.out).toMatchFileSnapshot(`${GOLDEN}/${name}.txt`);
}

const submit = (checkout: string, buyer: string, amount: string, ...more: string[]) => [
  ...['payments', 'submit', '--checkout', checkout, '--buyer', buyer, '--seller', 'Café Zoë'],
  ...['--amount', amount, '--currency', 'EUR', '--method', 'pm_1', '--yes', ...more],
];
const REASON = ['--reason', 'called the buyer, all fine'];

describe('risk lint', () => {
  test('of a usable file is a contract', () => isContract('risk-lint', ['risk', 'lint', 'risk.toml']));

  test('without a file looks at the configured one', async () => {
    expect(await json(['risk', 'lint'])).toMatchObject({ code: 0, out: { review_timeout_s: 43_200 } });
  });

  test('the configured one stands beside the configuration, wherever the command runs', async () => {
    mkdirSync(join(folder, 'etc'), { recursive: true });
    write('etc/paygate.toml', CONFIG.replace('risk.toml', 'own.toml'));
    write('etc/own.toml', 'name = "beside"\n');
    expect(await json(['risk', 'lint', '--config', 'etc/paygate.toml'])).toMatchObject({
      code: 0,
      out: { rules_version: expect.stringMatching(/^beside /) },
    });
    const shown = await json(['config', 'show', '--config', 'etc/paygate.toml']);
    expect((shown.out as { settings: unknown[] }).settings).toContainEqual({
      name: 'risk.rules_file',
      value: expect.stringMatching(/^beside /),
    });
  });

  test('says what is probably not meant, and ends with 0 all the same', async () => {
    write('odd.toml', 'name = "odd"\n[[lists.unused]]\nvalue = "x"\nreason = "none"\n');
    expect(await json(['risk', 'lint', 'odd.toml'])).toMatchObject({
      code: 0,
      out: { warnings: [{ path: 'lists.unused' }, { path: 'rules' }] },
    });
  });

  test('names every fault with its place: exit 2', async () => {
    write(
      'bad.toml',
      'name = "bad"\n[[rules]]\nid = "a"\nkind = "amount"\nmax = { EUR = "1.005" }\naction = "stop"\n',
    );
    const { code, err } = await json(['risk', 'lint', 'bad.toml']);
    expect(code).toBe(2);
    expect(err.error).toMatchObject({
      code: 'rules_invalid',
      details: { faults: [{ path: 'rules[0].action' }, { path: 'rules[0].max.EUR' }] },
    });
  });

  test.each([
    ['that is not there', 'nope.toml', 'rules_unreadable'],
    ['that is a folder', '.', 'rules_unreadable'],
  ])('of a file %s is a usage error', async (_, file, code) => {
    expect(await json(['risk', 'lint', file])).toMatchObject({ code: 2, err: { error: { code } } });
  });
});

test('a broken rule file is a configuration error of every command that needs the configuration', async () => {
  write('broken.toml', CONFIG.replace('risk.toml', 'bad-rules.toml'));
  write('bad-rules.toml', 'name = "x"\nrules = 1\n');
  expect(await json(['payments', 'list', '--config', 'broken.toml'])).toMatchObject({
    code: 2,
    err: { error: { code: 'rules_invalid' } },
  });
});

describe('risk test', () => {
  test('says what each payment would get, as a contract, and writes nothing', async () => {
    await isContract('risk-test', ['risk', 'test', 't.csv']);
    for (const table of [book.db.t.payment, book.db.t.riskCounter, book.db.t.riskKey, book.db.t.event]) {
      expect(await book.db.sql`select 1 from ${table}`).toEqual([]);
    }
  });

  test('of rules that need nothing opens no database', async () => {
    write(
      'plain.toml',
      'name = "plain"\n[[rules]]\nid = "a"\nkind = "amount"\nmax = { EUR = "1" }\naction = "block"\n',
    );
    const nowhere = { env: { PAYGATE_DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nothing' } };
    expect(await json(['risk', 'test', 't.csv', '--rules', 'plain.toml'], nowhere)).toMatchObject({
      code: 0,
      out: { block: 6, allow: 0 },
    });
  });

  test('of a file with bad rows ends with 2', async () => {
    write('rows.csv', `${HEADER}x-1,b,s,1.005,EUR,pm\n`);
    expect(await json(['risk', 'test', 'rows.csv'])).toMatchObject({
      code: 2,
      err: { error: { code: 'file_has_bad_rows' } },
    });
  });
});

describe('a payment sent to review', () => {
  test('is accepted, exit 0, and says so', async () => {
    const answer = await json(submit('r-1', 'Bob', '150.00'));
    expect(answer).toMatchObject({
      code: 0,
      out: {
        status: 'NOT_STARTED',
        risk: { decision: 'review', reason: 'large: the payment is over 100.00 EUR' },
      },
    });
    expect((await run(submit('r-1', 'Bob', '150.00'))).out).toContain('waits for a risk review');
  });

  test('is not waited for: exit 4, it needs a person', async () => {
    expect(await run(submit('r-1', 'Bob', '150.00', '--wait'))).toMatchObject({ code: 4 });
  });

  test('is listed, as a contract', async () => {
    await isContract('risk-review-list', ['risk', 'review', 'list']);
  });

  test('is not decided without a reason, by nobody, or in a dry run', async () => {
    expect(await json(['risk', 'review', 'approve', 'pay_1'])).toMatchObject({
      code: 2,
      err: { error: { code: 'reason_missing' } },
    });
    expect(await json(['risk', 'review', 'approve', 'pay_1', '--reason', 'short', '--yes'])).toMatchObject({
      code: 2,
      err: { error: { code: 'reason_too_short' } },
    });
    expect(await json(['risk', 'review', 'approve', 'pay_1', ...REASON])).toMatchObject({
      code: 5,
      err: { error: { code: 'not_confirmed' } },
    });
    expect(await run(['risk', 'review', 'approve', 'pay_1', ...REASON, '--dry-run'])).toMatchObject({
      code: 0,
    });
    expect(await json(['risk', 'review', 'list'])).toMatchObject({ out: { items: [{ state: 'open' }] } });
  });

  test('is approved once; the second decider is refused, exit 5', async () => {
    expect(await json(['risk', 'review', 'approve', 'pay_1', ...REASON, '--yes'])).toMatchObject({
      code: 0,
      out: { payment_id: 'pay_1', state: 'approved', charges: 1 },
    });
    expect(await json(['risk', 'review', 'reject', 'pay_1', ...REASON])).toMatchObject({
      code: 5,
      err: { error: { code: 'already_decided' } },
    });
    // What is decided is neither promised nor asked about again.
    const late = await run(['risk', 'review', 'approve', 'pay_1', ...REASON]);
    expect(late.code).toBe(5);
    expect(late.err).toContain('The review of pay_1 was approved by');
    expect(late.err).not.toContain('this will charge');
    expect(await json(['risk', 'review', 'list'])).toMatchObject({ out: { items: [] } });
    expect(await json(['risk', 'review', 'list', '--state', 'approved'])).toMatchObject({
      out: { items: [{ payment_id: 'pay_1', decide_reason: 'called the buyer, all fine' }] },
    });
  });

  test('is rejected: the payment has failed, and says why', async () => {
    const { out } = await json(submit('r-2', 'Carl', '150.00'));
    const { payment_id: id } = out as { payment_id: string };
    expect(await run(['risk', 'review', 'reject', id, ...REASON])).toMatchObject({ code: 0 });
    expect(await json(['payments', 'show', id])).toMatchObject({
      out: {
        status: 'FAILED',
        payment_orders: [{ sub_state: 'risk_blocked', reason: 'risk review: called the buyer, all fine' }],
      },
    });
  });

  test('in a batch is counted', async () => {
    const args = ['payments', 'submit', 't.csv', '--confirm', '1023.00EUR'];
    expect(await json(args)).toMatchObject({
      code: 0,
      out: { accepted: 6, risk_blocked: 2, in_risk_review: 1 },
    });
  });

  test.each([
    [['risk', 'review', 'approve', 'pay_9999', ...REASON], 1],
    [['risk', 'review', 'approve', 'ord_1', ...REASON], 2],
    [['risk', 'review', 'list', '--cursor', 'x'], 2],
    [['risk', 'review', 'list', '--state', 'lost'], 2],
  ])('%j ends with %d', async (args, code) => {
    expect(await run(args)).toMatchObject({ code, out: '' });
  });
});
