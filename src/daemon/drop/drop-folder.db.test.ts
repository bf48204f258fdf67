/** The drop folder on a real book: whole files are taken, once, by one daemon at a time; what is wrong with a file is told. */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readConfig } from '../../core/config.ts';
import { connect, type Db } from '../../core/db/connection.ts';
import { enterDropFolder, getUtcNow, leaveDropFolder } from '../../core/settlement/drop-folder-store.ts';
import { ACCOUNT, openSettledShop, type SettledShop, trade } from '../../testing/settled-shop.ts';
import type { Log } from '../log.ts';
import { type DropFolderOptions, DropWatch, startDropFolder } from './drop-folder.ts';
import { STABLE_MS } from './dropped-files.ts';

let shop: SettledShop;
let lock: Db;
let csv = '';
let bank = '';
beforeAll(async () => {
  shop = await openSettledShop();
  await trade(shop, { charges: 24, declined: 0, refunds: 1, payouts: 0 });
  await shop.json(['sandbox', 'files', 'files', '--url', shop.sandbox.url]);
  csv = readFileSync(join(shop.folder, 'files/stripe-balance.csv'), 'utf8');
  bank = readFileSync(join(shop.folder, 'files/bank.camt053.xml'), 'utf8');
  lock = connect({ connection: shop.database.appConnection, book: 'paygate', max: 1 });
}, 60_000);
afterAll(async () => {
  await lock.close();
  await shop.close();
});

const logged: { level: string; facts: Record<string, unknown> }[] = [];
const note = (level: string) => (facts: unknown) => {
  logged.push({ level, facts: facts as Record<string, unknown> });
};
const log = { info: note('info'), warn: note('warn'), error: note('error'), debug: note('debug') } as Log;

let folder = '';
beforeEach(() => {
  logged.length = 0;
  folder = join(shop.folder, 'drop');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
});

function options(overrides: Partial<DropFolderOptions> = {}): DropFolderOptions {
  const document = {
    psp: { [ACCOUNT]: { psp: 'stripe' } },
    reconcile: { accounts: { [ACCOUNT]: { bank: 'main' } } },
  };
  const config = readConfig({
    env: 'development',
    document,
    origin: 'test',
    environment: {},
    readSecret: () => '',
    readText: () => '',
    readRules: () => {
      throw new Error('no rules here');
    },
  });
  return {
    db: shop.db,
    lock,
    folder,
    config,
    principal: 'daemon:test',
    nightlyMinute: null,
    renderReport: async (answer) => `<html>${answer.file.name} ${answer.status}</html>`,
    log,
    ...overrides,
  };
}

const never = () => false;

/** Looks twice, far enough apart that what lies there is whole. */
async function settle(watch: DropWatch, fromMs = 0): Promise<void> {
  await watch.look(fromMs, never);
  await watch.look(fromMs + STABLE_MS, never);
}

const names = (where: string) => readdirSync(join(folder, where)).sort();
const drop = (name: string, text: string) => writeFileSync(join(folder, name), text);

async function alerts(): Promise<readonly { code: string; file: string | null }[]> {
  const rows = await shop.db.sql<{ data: string }[]>`
    select data::text as data from ${shop.db.t.event} where kind = 'settlement_alert' order by id`;
  return rows.map(({ data }) => JSON.parse(data) as { code: string; file: string | null });
}

describe('a file', () => {
  test('is left while it grows, then reconciled and moved with its report', async () => {
    const watch = new DropWatch(options());
    drop('stripe.csv', csv.slice(0, 500));
    await watch.look(0, never);
    appendFileSync(join(folder, 'stripe.csv'), csv.slice(500));
    await watch.look(STABLE_MS, never);
    await watch.look(2 * STABLE_MS - 1, never);
    expect(existsSync(join(folder, 'stripe.csv'))).toBe(true);
    await watch.look(2 * STABLE_MS, never);
    expect(existsSync(join(folder, 'stripe.csv'))).toBe(false);
    const [file, report] = names('done');
    expect(file).toMatch(/^run_\d+-stripe\.csv$/);
    expect(report).toBe(`${file}.html`);
    expect(readFileSync(join(folder, 'done', report!), 'utf8')).toBe('<html>stripe.csv closed</html>');
    expect(logged).toMatchObject([
      { level: 'info', facts: { source: `psp:${ACCOUNT}`, status: 'closed', outcome: 'imported' } },
    ]);
  });

  test('under the same bytes again changes nothing, whatever its name', async () => {
    const count = async () => {
      const [row] = await shop.db.sql<{ count: number }[]>`
        select count(*)::int as count from ${shop.db.t.settlementLine}`;
      return row!.count;
    };
    const before = await count();
    drop('copy.csv', csv);
    await settle(new DropWatch(options()));
    expect(names('.')).toEqual(['done', 'rejected']);
    expect(logged).toMatchObject([{ facts: { outcome: 'already_imported' } }]);
    expect(await count()).toBe(before);
  });

  test('that an earlier daemon reconciled but could not move is moved by the next', async () => {
    await shop.json(['reconcile', 'files/bank.camt053.xml']);
    drop('bank.xml', bank);
    await settle(new DropWatch(options()));
    expect(names('done').filter((name) => name.endsWith('.xml'))).toHaveLength(1);
  });

  test('in the folder of an account or a bank is that one’s', async () => {
    mkdirSync(join(folder, 'bank-main'));
    drop('bank-main/statement.xml', bank);
    await settle(new DropWatch(options()));
    expect(logged).toMatchObject([{ facts: { source: 'bank:main' } }]);
  });

  test.each([
    ['poem.txt', 'roses are red\n', 'settlement_format_unknown'],
    ['bad.csv', 'BAD', 'file_has_bad_rows'],
    ["x'; rm -rf .csv", 'roses are red\n', 'settlement_format_unknown'],
  ])('%j that is not usable is moved away with what is wrong, and told', async (name, text, code) => {
    const before = (await alerts()).length;
    drop(name, text === 'BAD' ? csv.replace(/,eur,[\d.]+,/, ',eur,x,') : text);
    await settle(new DropWatch(options()));
    const [file, why] = names('rejected');
    expect(file).toMatch(/^[0-9a-f]{12}-[\w.-]+$/);
    expect(readFileSync(join(folder, 'rejected', why!), 'utf8')).toContain(code);
    expect(logged).toMatchObject([{ level: 'error', facts: { code, file: name } }]);
    expect((await alerts()).slice(before)).toMatchObject([{ code, file: name }]);
  });

  test('of an account that nobody configured is rejected', async () => {
    mkdirSync(join(folder, 'psp-other'));
    drop('psp-other/stripe.csv', csv);
    await settle(new DropWatch(options()));
    expect(logged).toMatchObject([{ facts: { code: 'psp_account_missing' } }]);
  });

  test('stays where it is when the fault is not its own, is told once, and is tried again later', async () => {
    const before = (await alerts()).length;
    drop('later.csv', csv);
    let broken = true;
    const renderReport = async () => {
      if (broken) throw new Error('no space left');
      return '';
    };
    const watch = new DropWatch(options({ renderReport }));
    await settle(watch);
    await watch.look(STABLE_MS + 1_000, never);
    expect(logged).toHaveLength(1);
    await watch.look(STABLE_MS + 61_000, never);
    expect(logged).toHaveLength(2);
    expect(existsSync(join(folder, 'later.csv'))).toBe(true);
    expect((await alerts()).slice(before)).toMatchObject([{ code: 'not_reconciled', file: 'later.csv' }]);
    broken = false;
    await watch.look(STABLE_MS + 200_000, never);
    expect(existsSync(join(folder, 'later.csv'))).toBe(false);
  });

  test('that is hidden, still being copied, or a link is left alone', async () => {
    for (const name of ['.hidden.csv', 'a.csv.part', 'b.tmp']) drop(name, csv);
    await settle(new DropWatch(options()));
    expect(names('.')).toEqual(['.hidden.csv', 'a.csv.part', 'b.tmp', 'done', 'rejected']);
  });
});

describe('several daemons', () => {
  test('one at a time: the others leave the folder alone', async () => {
    const other = connect({ connection: shop.database.appConnection, book: 'paygate', max: 1 });
    expect(await enterDropFolder(other)).toBe(true);
    drop('stripe.csv', csv);
    const watch = new DropWatch(options());
    await settle(watch);
    expect(existsSync(join(folder, 'stripe.csv'))).toBe(true);
    await leaveDropFolder(other);
    await watch.look(2 * STABLE_MS, never);
    expect(existsSync(join(folder, 'stripe.csv'))).toBe(false);
    await other.close();
  });
});

describe('by night', () => {
  test('files wait until it is time, and later ones for the next night', async () => {
    const { minute } = await getUtcNow(shop.db);
    drop('stripe.csv', csv);
    if (minute < 1_438) {
      await settle(new DropWatch(options({ nightlyMinute: minute + 2 })));
      expect(existsSync(join(folder, 'stripe.csv'))).toBe(true);
    }
    const watch = new DropWatch(options({ nightlyMinute: 0 }));
    const before = (await alerts()).length;
    await watch.look(0, never);
    await watch.look(STABLE_MS, never);
    expect(existsSync(join(folder, 'stripe.csv'))).toBe(false);
    drop('late.csv', csv);
    await settle(watch, 2 * STABLE_MS);
    expect(existsSync(join(folder, 'late.csv'))).toBe(true);
    expect(await alerts()).toHaveLength(before);
  });

  test('a night without any file is told once', async () => {
    const before = (await alerts()).length;
    await settle(new DropWatch(options({ nightlyMinute: 0 })));
    await settle(new DropWatch(options({ nightlyMinute: 0 })));
    expect((await alerts()).slice(before)).toMatchObject([{ code: 'no_file_arrived' }]);
  });
});

test('the loop takes a file by itself and stops in good order', async () => {
  drop('stripe.csv', csv);
  const stop = startDropFolder(options({ everyMs: 50 }));
  await expect.poll(() => existsSync(join(folder, 'stripe.csv')), { timeout: 20_000 }).toBe(false);
  await stop();
});
