/**
 * Reconciliation from end to end: what a sandbox really moved, the files that it writes about it, the real commands, and the list
 * of what was planted. Found must be planted, code by code, amount by amount, name by name.
 * At full size: PAYGATE_PLANTED_CHARGES=100000 PAYGATE_PLANTED_SEEDS=1,2,3 npx vitest run --project db src/cli/reconcile.db.test.ts
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SaxesParser } from 'saxes';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BREAK_CODES } from '../core/settlement/reconcile-answer.ts';
import { openSettledShop, type SettledShop, trade } from '../testing/settled-shop.ts';
import { postdate } from '../testing/settlement-fixtures.ts';

const CHARGES = Number(process.env.PAYGATE_PLANTED_CHARGES ?? 160);
const SEEDS = (process.env.PAYGATE_PLANTED_SEEDS ?? '1,2').split(',').map(Number);
/** Long enough for 100,000 charges. */
const OPEN_TIMEOUT_MS = 60_000 + CHARGES * 10;
/** More of everything in a large file. */
const TIMES = Math.min(20, Math.ceil(CHARGES / 1_000));

const ROW_PLANTS = [
  ...[
    'missing_line',
    'extra_line',
    'wrong_amount',
    'wrong_fee',
    'wrong_currency',
    'duplicate_line',
    'status',
  ],
  ...['fx_variance', 'ambiguous', 'second_success', 'chargeback_reversed'],
  ...['missing_refund', 'extra_refund', 'chargeback', 'refund_and_chargeback', 'returned_payout'],
  ...['unclassified', 'late_adjustment', 'reserve'],
] as const;

/** Only a fee schedule finds the last one. */
const WITH_FEES = [...ROW_PLANTS, 'overcharge'] as const;

type MoneyJson = { readonly amount: string; readonly currency: string };
type Planted = {
  readonly plant: string;
  readonly code: string;
  readonly reference: string;
  readonly payment: string | null;
  readonly amount: MoneyJson;
};
type Side = { readonly reference: string | null } | null;
type Break = MoneyJson & {
  readonly break_id: string;
  readonly code: string;
  readonly external: Side;
  readonly internal: Side;
};
type Answer = {
  readonly status: string;
  readonly outcome: string;
  readonly break_count: number;
  readonly resolved_count: number;
  readonly proofs: readonly { readonly closes: boolean }[];
};

function plants(names: readonly string[], count = 1): readonly string[] {
  return names.flatMap((name) => ['--plant', `${name}=${count}`]);
}

function plantedIn(shop: SettledShop, folder: string): readonly Planted[] {
  const file = JSON.parse(readFileSync(join(shop.folder, folder, 'planted.json'), 'utf8')) as {
    planted: readonly Planted[];
  };
  return file.planted;
}

async function write(shop: SettledShop, folder: string, seed: number, more: readonly string[]) {
  const args = ['sandbox', 'files', folder, '--url', shop.sandbox.url, '--seed', String(seed), ...more];
  expect(await shop.json(args)).toMatchObject({ short: [] });
  const planted = plantedIn(shop, folder);
  // Only what the books charged on the row's own day may be proposed for it.
  const sameDay = planted.flatMap(({ plant, payment }) => (plant === 'ambiguous' ? (payment ?? []) : []));
  if (folder === 'files' && sameDay.length > 0) await postdate(shop.owner, sameDay, '10 days');
  return planted;
}

async function openBreaks(shop: SettledShop, more: readonly string[] = []): Promise<readonly Break[]> {
  const found: Break[] = [];
  for (let cursor: string | null = null; ; ) {
    const next: readonly string[] = cursor === null ? [] : ['--cursor', cursor];
    const page: { items: readonly Break[]; next_cursor: string | null } = await shop.json([
      ...['breaks', 'list', '--limit', '1000'],
      ...more,
      ...next,
    ]);
    found.push(...page.items);
    cursor = page.next_cursor;
    if (cursor === null) return found;
  }
}

const lineOf = (code: string, { amount, currency }: MoneyJson) => `${code} ${amount} ${currency}`;

/** Every planted one found, nothing else found, and each names what it is about. */
function expectExactly(found: readonly Break[], planted: readonly Planted[]): void {
  expect(found.map((one) => lineOf(one.code, one)).sort()).toEqual(
    planted.map((one) => lineOf(one.code, one.amount)).sort(),
  );
  const names = new Map<string, readonly (string | null)[]>();
  for (const one of found) {
    const key = lineOf(one.code, one);
    const sides = [one.external?.reference ?? null, one.internal?.reference ?? null];
    names.set(key, [...(names.get(key) ?? []), ...sides]);
  }
  for (const one of planted) {
    const known = names.get(lineOf(one.code, one.amount)) ?? [];
    expect(known.includes(one.reference) || known.includes(one.payment)).toBe(true);
  }
}

/** As if days had passed since the PSP said that it paid us. */
async function letDaysPass({ owner }: SettledShop): Promise<void> {
  await owner.sql`
    update ${owner.t.openItem} set due_at = now() - interval '1 day'
     where source_id in (select id from ${owner.t.settlementSource} where name = 'bank:main')`;
}

/** The sandbox's own fee. Of a wrong amount it is off by two cents at most. */
const FEES = `
[reconcile.accounts.checkout.fees.EUR]
percent = "1.5"
fixed = "0.25"
tolerance = "0.02"
`;

describe.each(SEEDS)('seed %i', (seed) => {
  let shop: SettledShop;
  beforeAll(async () => {
    shop = await openSettledShop(FEES);
    const more = { declined: 6 * TIMES, retried: 2 * TIMES, refunds: 6 * TIMES, payouts: 6 * TIMES };
    await trade(shop, { charges: CHARGES, ...more });
  }, OPEN_TIMEOUT_MS);
  afterAll(() => shop.close());

  test(
    'the PSP’s file: found is planted, the proofs close, and the page is whole',
    async () => {
      const planted = await write(shop, 'files', seed, plants(WITH_FEES, TIMES));
      expect(planted).toHaveLength(WITH_FEES.length * TIMES);
      const args = ['reconcile', 'files/stripe-balance.csv', '--report', 'report.html'];
      const answer = await shop.json<Answer>(args, 1);
      expect(answer).toMatchObject({
        status: 'breaks',
        outcome: 'imported',
        break_count: planted.length,
      });
      expect(answer.proofs.length).toBeGreaterThanOrEqual(5);
      expect(answer.proofs.every(({ closes }) => closes)).toBe(true);
      expectExactly(await openBreaks(shop), planted);
      const page = readFileSync(join(shop.folder, 'report.html'), 'utf8');
      new SaxesParser({ xmlns: true }).write(page).close();
      const listed = page.match(/<tr id="brk_\d+">/g) ?? [];
      expect(listed).toHaveLength(Math.min(planted.length, 1_000));
    },
    OPEN_TIMEOUT_MS,
  );

  test(
    'the bank’s statement: a deposit that never came and one that came short',
    async () => {
      await letDaysPass(shop);
      const planted = await write(shop, 'bank', seed, [
        ...plants(WITH_FEES, TIMES),
        ...plants(['deposit_missing', 'deposit_differs']),
      ]);
      const answer = await shop.json<Answer>(['reconcile', 'bank/bank.camt053.xml'], 1);
      expect(answer.proofs.every(({ closes }) => closes)).toBe(true);
      const ofBank = planted.filter(({ code }) => code.startsWith('deposit_'));
      expect(ofBank).toHaveLength(2);
      expectExactly(await openBreaks(shop, ['--bank', 'main']), ofBank);
    },
    OPEN_TIMEOUT_MS,
  );

  test(
    'the same bytes again change nothing and end as before',
    async () => {
      const before = await openBreaks(shop);
      const again = await shop.json<Answer>(['reconcile', 'files/stripe-balance.csv'], 1);
      expect(again).toMatchObject({ outcome: 'already_imported', status: 'breaks' });
      expect(await openBreaks(shop)).toEqual(before);
    },
    OPEN_TIMEOUT_MS,
  );

  test(
    'a corrected file explains by itself what was missing or wrong',
    async () => {
      await write(shop, 'corrected', seed, []);
      const answer = await shop.json<Answer>(['reconcile', 'corrected/stripe-balance.csv'], 1);
      expect(answer.resolved_count).toBeGreaterThanOrEqual(6 * TIMES);
      // A row that comes back in its right currency moves the sums of two.
      expect(answer.proofs.every(({ closes }) => closes)).toBe(true);
      const left = new Set((await openBreaks(shop, ['--account', 'checkout'])).map(({ code }) => code));
      for (const code of [
        'missing_external',
        'refund_missing',
        'amount_mismatch',
        'fx_variance',
        'fee_mismatch',
      ])
        expect([...left]).not.toContain(code);
      // What a file once said stays said: only a person takes it back.
      expect([...left]).toContain('missing_internal');
      expect(await shop.json(['ledger', 'verify'])).toMatchObject({ verdict: 'balanced' });
    },
    OPEN_TIMEOUT_MS,
  );
});

/** A tenth of a charge is below them, a whole one above. */
const LIMITS = `[reconcile.write_off_limit]
EUR = "10"
USD = "10"
JPY = "500"
KWD = "10"
ISK = "500"
`;

describe('the command', () => {
  let shop: SettledShop;
  beforeAll(async () => {
    shop = await openSettledShop(LIMITS);
    await trade(shop, { charges: 60, declined: 1, refunds: 2, payouts: 2 });
  }, 60_000);
  afterAll(() => shop.close());

  test('a dry run says what would be found and leaves nothing', async () => {
    await write(shop, 'files', 5, plants(['extra_line', 'wrong_fee', 'unclassified']));
    const dry = await shop.json<Answer>(['reconcile', 'files/stripe-balance.csv', '--dry-run'], 1);
    expect(dry).toMatchObject({ outcome: 'dry_run', break_count: 3 });
    expect(await openBreaks(shop)).toEqual([]);
  });

  test('a file that is no settlement file, or has bad rows, ends with 2 and leaves nothing', async () => {
    writeFileSync(join(shop.folder, 'poem.txt'), 'roses are red\n');
    const poem = await shop.run(['reconcile', 'poem.txt', '-o', 'json']);
    expect(poem).toMatchObject({ code: 2, out: '' });
    expect(JSON.parse(poem.err)).toMatchObject({ error: { code: 'settlement_format_unknown' } });
    const good = readFileSync(join(shop.folder, 'files/stripe-balance.csv'), 'utf8');
    writeFileSync(join(shop.folder, 'bad.csv'), good.replace(/,eur,[\d.]+,/, ',eur,12.3x4,'));
    const bad = await shop.run(['reconcile', 'bad.csv']);
    expect(bad).toMatchObject({ code: 2, out: '' });
    expect(bad.err).toMatch(/gross/);
    expect(bad.err).toMatch(/1 fault in \d+ rows; nothing was imported/);
    expect(await openBreaks(shop)).toEqual([]);
  });

  test.each([
    [['reconcile', 'nowhere.csv'], 2, 'file_unreadable'],
    [['reconcile', 'files/stripe-balance.csv', '--account', 'other'], 2, 'psp_account_missing'],
    [['reconcile', 'files/bank.camt053.xml', '--bank', 'other'], 2, 'bank_missing'],
    [['reconcile', 'files/stripe-balance.csv', '--report', 'no/where.html'], 2, 'report_unwritable'],
    [['reconcile', 'files/stripe-balance.csv', '--mapping', 'poem.txt'], 2, 'mapping_invalid'],
    [['sandbox', 'files', 'x', '--url', 'http://127.0.0.1:9'], 3, 'sandbox_unreachable'],
    [['reconcile'], 2, 'file_or_run'],
    [['reconcile', 'files/stripe-balance.csv', '--run', 'run_1'], 2, 'file_or_run'],
    [['reconcile', '--run', 'run_1'], 1, 'run_not_found'],
    [['breaks', 'show', 'brk_1'], 1, 'break_not_found'],
    [['breaks', 'resolve', 'brk_1', '--as', 'acknowledge'], 1, 'break_not_found'],
    [['breaks', 'resolve', 'brk_1', '--as', 'write_off'], 2, 'reason_missing'],
    [['breaks', 'resolve', 'brk_1', '--as', 'assign'], 2, 'assignee_misplaced'],
  ])('%j ends with %i: %s', async (args, code, error) => {
    const ended = await shop.run([...args, '-o', 'json']);
    expect(ended).toMatchObject({ code, out: '' });
    expect(JSON.parse(ended.err)).toMatchObject({ error: { code: error } });
  });

  test('standard input is taken; breaks are shown with both sides and their history', async () => {
    const text = readFileSync(join(shop.folder, 'files/stripe-balance.csv'), 'utf8');
    const done = await shop.run(['reconcile', '-', '--account', 'checkout', '-o', 'json'], { stdin: text });
    expect(done.code).toBe(1);
    expect(JSON.parse(done.out)).toMatchObject({ file: { name: 'standard input' }, break_count: 3 });
    const found = await openBreaks(shop, ['--code', 'fee_mismatch']);
    const shown = await shop.run(['breaks', 'show', found[0]!.break_id]);
    expect(shown.code).toBe(0);
    expect(shown.out).toMatch(/code +fee mismatch/);
    expect(shown.out).toMatch(/standard input line \d+/);
    expect(shown.out).toMatch(/opened +open +cli:ana\//);
    expect(shown.out).toContain('--as accept');
  });

  test('an earlier run is shown again, also as a page', async () => {
    const { run_id: run, ...first } = await shop.json<{ run_id: string }>(
      ['reconcile', 'files/stripe-balance.csv'],
      1,
    );
    const again = await shop.json<{ run_id: string }>(
      ['reconcile', '--run', run, '--report', 'again.html'],
      1,
    );
    expect(again).toMatchObject({ run_id: run, break_count: 3, file: { name: 'standard input' } });
    expect(first).toMatchObject({ break_count: 3 });
    expect(readFileSync(join(shop.folder, 'again.html'), 'utf8')).toContain('standard input');
  });

  test('who looks at it is said without confirmation', async () => {
    const [one] = await openBreaks(shop, ['--code', 'unclassified_line']);
    const assign = ['breaks', 'resolve', one!.break_id, '--as', 'assign', '--assignee', 'ben'];
    expect(await shop.json(assign)).toMatchObject({ outcome: 'resolved', entry_id: null });
    expect(await openBreaks(shop, ['--assignee', 'ben'])).toHaveLength(1);
    expect(await openBreaks(shop, ['--assignee', 'zoe'])).toEqual([]);
    expect(await openBreaks(shop, ['--older-than', '2d'])).toEqual([]);
  });

  test('a correction is shown first, confirmed, and booked once', async () => {
    const [one] = await openBreaks(shop, ['--code', 'unclassified_line']);
    const reason = ['--reason', 'a fee by another name, says the PSP'];
    const expense = ['breaks', 'resolve', one!.break_id, '--as', 'expense', ...reason];
    const plan = await shop.json<{ entry: { postings: readonly MoneyJson[] } }>([...expense, '--dry-run']);
    expect(plan).toMatchObject({ dry_run: true, from: 'open', to: 'resolved' });
    expect(plan.entry.postings).toHaveLength(1);
    const refused = await shop.run([...expense, '-o', 'json']);
    expect(refused.code).toBe(5);
    expect(JSON.parse(refused.err)).toMatchObject({ error: { code: 'not_confirmed' } });
    const keyed = [...expense, '--key', 'decision-1', '--yes'];
    expect(await shop.json(keyed)).toMatchObject({
      outcome: 'resolved',
      entry_id: expect.stringMatching(/^ent_/),
    });
    expect(await shop.json(keyed)).toMatchObject({ outcome: 'repeated', entry_id: null });
    expect(await shop.json(['ledger', 'verify'])).toMatchObject({ verdict: 'balanced' });
  });

  test('a large write-off has its total typed, and waits for another person', async () => {
    const [one] = await openBreaks(shop, ['--code', 'missing_internal']);
    const args = [
      'breaks',
      'resolve',
      one!.break_id,
      '--as',
      'write_off',
      '--reason',
      'nobody knows it, agreed',
    ];
    const yes = await shop.run([...args, '--yes', '-o', 'json']);
    expect(yes.code).toBe(5);
    const { confirm } = (JSON.parse(yes.err) as { error: { details: { confirm: string } } }).error.details;
    expect(confirm).toMatch(/^\d+(\.\d+)?[A-Z]{3}$/);
    const confirmed = [...args, '--confirm', confirm, '-o', 'json'];
    const first = await shop.run(confirmed);
    expect(first.code).toBe(5);
    expect(JSON.parse(first.out)).toMatchObject({ outcome: 'second_person_needed' });
    const alone = await shop.run(confirmed);
    expect(alone.code).toBe(5);
    expect(JSON.parse(alone.err)).toMatchObject({ error: { code: 'second_person_same' } });
    const second = await shop.run(confirmed, { user: 'ben' });
    expect(second.code).toBe(0);
    expect(JSON.parse(second.out)).toMatchObject({ outcome: 'resolved', break: { state: 'written_off' } });
    const all = await openBreaks(shop, ['--state', 'written_off']);
    expect(all.map(({ break_id }) => break_id)).toEqual([one!.break_id]);
  });
});

describe('a batch', () => {
  test('that does not add up is found by the file that lists its lines, and only there', async () => {
    const shop = await openSettledShop();
    await trade(shop, { charges: 30, declined: 0, refunds: 1, payouts: 1 });
    const planted = await write(shop, 'files', 1, plants(['batch_out_of_balance']));
    expect(await shop.json(['reconcile', 'files/stripe-balance.csv'])).toMatchObject({ status: 'closed' });
    const args = ['reconcile', 'files/stripe-payouts.csv'];
    expect(await shop.json(args, 1)).toMatchObject({ status: 'breaks', break_count: 1 });
    const found = await openBreaks(shop);
    expectExactly(found, planted);
    // Its lines are posted, so that a person may find that it is right; a file that is right does so by itself.
    expect(await offeredCommands(shop, found[0]!.break_id)).toContainEqual([
      ...['breaks', 'resolve', found[0]!.break_id, '--as', 'accept', '--dry-run'],
    ]);
    await write(shop, 'corrected', 1, []);
    expect(await shop.json(['reconcile', 'corrected/stripe-balance.csv'])).toMatchObject({
      status: 'closed',
      resolved_count: 1,
    });
    await shop.close();
  }, 60_000);

  test('with a line of the wrong sign is not posted at all, and the run is incomplete', async () => {
    const shop = await openSettledShop();
    await trade(shop, { charges: 30, declined: 0, refunds: 1, payouts: 1 });
    const planted = await write(shop, 'files', 1, plants(['direction']));
    const args = ['reconcile', 'files/stripe-balance.csv'];
    expect(await shop.json(args, 1)).toMatchObject({ status: 'incomplete' });
    const signs = await openBreaks(shop, ['--code', 'direction_mismatch']);
    expectExactly(signs, planted);
    // Nothing here can be decided: the only way out is another file.
    const { break_id: id } = signs[0]!;
    expect(await offeredCommands(shop, id)).toEqual([['breaks', 'resolve', id, '--as', 'wait_for_psp']]);
    const accept = ['breaks', 'resolve', id, '--as', 'accept', ...REASON, '--yes', '-o', 'json'];
    expect(JSON.parse((await shop.run(accept)).err)).toMatchObject({ error: { code: 'action_not_offered' } });
    await write(shop, 'corrected', 1, []);
    const corrected = await shop.json<Answer>(['reconcile', 'corrected/stripe-balance.csv']);
    expect(corrected).toMatchObject({ status: 'closed', break_count: 0 });
    expect(corrected.resolved_count).toBeGreaterThan(0);
    expect(await shop.json(['ledger', 'verify'])).toMatchObject({ verdict: 'balanced' });
    await shop.close();
  }, 60_000);
});

/** What docs/reconciliation.md says to do about each, after what lies elsewhere. */
const FIXES: Readonly<Record<string, { readonly as: string; readonly before?: RegExp }>> = {
  missing_internal: { as: 'suspense' },
  missing_external: { as: 'write_off' },
  amount_mismatch: { as: 'adjust' },
  currency_mismatch: { as: 'suspense' },
  fx_variance: { as: 'adjust' },
  fee_mismatch: { as: 'accept' },
  status_mismatch: { as: 'accept', before: /suspense adopt op_\d+\/1/ },
  duplicate_internal: { as: 'accept', before: /suspense refund op_\d+\/1/ },
  duplicate_external: { as: 'suspense' },
  refund_missing: { as: 'reverse' },
  refund_unexpected: { as: 'write_off' },
  chargeback_unbooked: { as: 'suspense' },
  chargeback_reversed: { as: 'suspense' },
  refund_and_chargeback: { as: 'accept' },
  returned_payout: { as: 'suspense' },
  ambiguous: { as: 'link' },
  unclassified_line: { as: 'expense' },
  late_adjustment: { as: 'expense' },
  reserve_movement: { as: 'accept' },
  deposit_missing_at_bank: { as: 'write_off' },
  deposit_amount_differs: { as: 'adjust' },
};
/** Nothing of them is posted, so they stay open until a file comes that is right: the tests of batches above. */
const WAIT_FOR_A_FILE = ['direction_mismatch', 'batch_out_of_balance'];
const REASON = ['--reason', 'as the page says to do'];

/** The commands that a break's screen offers, ready to be given. */
async function offeredCommands(shop: SettledShop, id: string): Promise<readonly (readonly string[])[]> {
  const { out } = await shop.run(['breaks', 'show', id]);
  return [...out.matchAll(/^ {2}paygate (.+)$/gm)].map(([, command]) =>
    command!.replace(' --reason "…"', '').split(' '),
  );
}

describe('one break of each kind', () => {
  let shop: SettledShop;
  beforeAll(async () => {
    shop = await openSettledShop();
    await trade(shop, { charges: 80, declined: 3, retried: 1, refunds: 4, payouts: 2 });
    await write(shop, 'files', 3, plants([...ROW_PLANTS, 'deposit_missing', 'deposit_differs']));
    await shop.json(['reconcile', 'files/stripe-balance.csv'], 1);
    await letDaysPass(shop);
    await shop.json(['reconcile', 'files/bank.camt053.xml'], 1);
  }, 60_000);
  afterAll(() => shop.close());

  test('every code has its fix here, or waits for a file', () => {
    expect([...Object.keys(FIXES), ...WAIT_FOR_A_FILE].sort()).toEqual([...BREAK_CODES].sort());
  });

  test.each(Object.keys(FIXES))('%s: whatever its screen offers works when it is tried', async (code) => {
    const [one] = await openBreaks(shop, ['--code', code]);
    const commands = await offeredCommands(shop, one!.break_id);
    expect(commands.length).toBeGreaterThan(0);
    for (const command of commands) {
      const isLook = command.includes('--dry-run');
      const { code: exit, err } = await shop.run([...command, ...(isLook ? REASON : [])]);
      expect({ command: command.join(' '), exit, err: exit === 0 ? '' : err }).toMatchObject({ exit: 0 });
    }
  });

  test.each(Object.entries(FIXES))('%s is fixed by $as', async (code, { as, before }) => {
    const [one, ...more] = await openBreaks(shop, ['--code', code]);
    expect(more).toEqual([]);
    const offered = await offeredCommands(shop, one!.break_id);
    if (before !== undefined) {
      const first = offered.find((command) => before.test(command.join(' ')))!;
      await shop.json([...first.filter((part) => part !== '--dry-run'), ...REASON, '--yes']);
    }
    const fix = offered.find((command) => command.includes('--as') && command.includes(as))!;
    const plan = await shop.json<{ confirm: string }>([...fix, ...REASON]);
    const args = [...fix.filter((part) => part !== '--dry-run'), ...REASON, '--confirm', plan.confirm];
    expect(await shop.json(args)).toMatchObject({ outcome: 'resolved' });
  });

  test('then nothing is open, the books balance, and the next file closes', async () => {
    expect(await openBreaks(shop)).toEqual([]);
    expect(await shop.json(['ledger', 'verify'])).toMatchObject({ verdict: 'balanced' });
    // A further day of which nothing is wrong.
    const text = readFileSync(join(shop.folder, 'files/stripe-balance.csv'), 'utf8');
    const [header, first] = text.split('\n');
    const row = first!
      .replace(/txn_\w+/, 'txn_note1')
      .replace(/,charge,/, ',fee,')
      .split(',');
    writeFileSync(join(shop.folder, 'next.csv'), `${header}\n${row.join(',')}\n`);
    const next = await shop.json<Answer>(['reconcile', 'next.csv']);
    expect(next).toMatchObject({ status: 'closed', break_count: 0 });
    expect(next.proofs.every(({ closes }) => closes)).toBe(true);
  });
});
