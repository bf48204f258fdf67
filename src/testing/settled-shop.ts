/**
 * A marketplace with a sandbox as its PSP, charged by the real executor over HTTP: what reconciliation is tried on. Its
 * configuration is a file, so that the real commands work on it. For tests only.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execute } from '../cli/main.ts';
import { connect, type Db } from '../core/db/connection.ts';
import type { PspAccount } from '../core/psp/psp.ts';
import { createStripeConnector } from '../core/psp/stripe-connector.ts';
import { type Executor, startExecutor } from '../daemon/executor.ts';
import type { Log } from '../daemon/log.ts';
import { type Sandbox, startSandbox } from '../daemon/sandbox/main.ts';
import { createTestHost, type TestHostOptions } from './cli-host.ts';
import { startTestDaemon, until } from './fixtures.ts';
import { backdate } from './settlement-fixtures.ts';
import { createTestDatabase, type TestDatabase } from './test-database.ts';

export const ACCOUNT = 'checkout';

export const silentLog: Log = {
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  debug: () => undefined,
};

export type SettledShop = {
  readonly db: Db;
  readonly owner: Db;
  readonly database: TestDatabase;
  readonly folder: string;
  readonly sandbox: Sandbox;
  readonly env: Readonly<Record<string, string>>;
  /** Runs a real command; `user` is who gives it. */
  run(
    args: readonly string[],
    options?: TestHostOptions & { readonly user?: string },
  ): Promise<{ code: number; out: string; err: string }>;
  /** The same with `-o json`; throws when the exit code is another one. */
  json<T>(args: readonly string[], expected?: number): Promise<T>;
  close(): Promise<void>;
};

const settings = (sandboxUrl: string, more: string): string => `
[psp.${ACCOUNT}]
psp = "stripe"
base_url = "${sandboxUrl}"

[payouts]
cooling_days = 0

[payments]
on_partial = "keep"

[reconcile.accounts.${ACCOUNT}]
bank = "main"
${more}`;

/** @param more further lines of the configuration */
export async function openSettledShop(more = ''): Promise<SettledShop> {
  const database = await createTestDatabase();
  const db = connect({ connection: database.appConnection, book: 'paygate', max: 8 });
  const owner = connect({ connection: database.connection, book: 'paygate', max: 1 });
  const folder = mkdtempSync(join(tmpdir(), 'paygate-shop-'));
  const sandbox = await startSandbox({ port: 0, journalPath: null, seed: 7 });
  writeFileSync(join(folder, 'paygate.toml'), settings(sandbox.url, more));
  const { user, database: name, host, port } = database.appConnection;
  const env = {
    PAYGATE_DATABASE_URL: `postgres://${user}@/${name}?host=${String(host)}&port=${String(port)}`,
  };
  const run: SettledShop['run'] = async (args, { user: who, ...options } = {}) => {
    const test = createTestHost({ cwd: folder, env, ...options });
    const code = await execute(args, { ...test.host, user: { name: who ?? 'ana', uid: 1000 } });
    return { code, out: test.out(), err: test.err() };
  };
  return {
    db,
    owner,
    database,
    folder,
    sandbox,
    env,
    run,
    json: async <T>(args: readonly string[], expected = 0) => {
      const { code, out, err } = await run([...args, '-o', 'json']);
      if (code !== expected) throw new Error(`${args.join(' ')} ended with ${code}: ${err}`);
      return JSON.parse(out) as T;
    },
    close: async () => {
      await sandbox.close();
      await db.close();
      await owner.close();
      await database.drop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export type Trade = {
  readonly charges: number;
  readonly declined: number;
  /** Of those, how many are then charged by another payment method. */
  readonly retried?: number;
  readonly refunds: number;
  readonly payouts: number;
};

/** Currencies with 2, 0 and 3 decimals, and one that Stripe counts in another way; most charges are in the first. */
const CURRENCIES = ['EUR', 'EUR', 'EUR', 'EUR', 'USD', 'JPY', 'KWD', 'ISK'] as const;
const DECIMALS: Readonly<Record<string, number>> = { EUR: 2, USD: 2, JPY: 0, KWD: 2, ISK: 0 };

/** Charges, refunds and pays out, all of it through the executor; then everything is ten days old. */
export async function trade(shop: SettledShop, wanted: Trade): Promise<void> {
  const executor = await startShopExecutor(shop);
  try {
    await submit(shop, wanted);
    await untilIdle(shop);
    await retry(shop, wanted.retried ?? 0);
    await refund(shop, wanted.refunds);
    await payOut(shop, wanted.payouts);
    await untilIdle(shop);
  } finally {
    await executor.end();
  }
  await backdate(shop.owner, ACCOUNT, '10 days');
}

async function submit({ folder, json, run }: SettledShop, { charges, declined }: Trade): Promise<void> {
  const rows = Array.from({ length: charges + declined }, (_, i) => {
    const isDeclined = i >= charges;
    const currency = isDeclined ? 'EUR' : CURRENCIES[i % CURRENCIES.length]!;
    const decimals = DECIMALS[currency]!;
    const amount = decimals === 0 ? String(1_000 + i) : (50 + i / 100).toFixed(decimals);
    const method = isDeclined ? 'pm_card_visa_chargeDeclined' : 'pm_card_visa';
    return `shop-${i},buyer ${i},seller ${i % 5},${amount},${currency},${method}`;
  });
  const header = 'checkout_id,buyer,seller,amount,currency,payment_method';
  writeFileSync(join(folder, 'payments.csv'), `${[header, ...rows].join('\n')}\n`);
  const plan = await json<{ confirm: string }>(['payments', 'submit', 'payments.csv', '--dry-run']);
  const done = await run(['payments', 'submit', 'payments.csv', '--confirm', plan.confirm]);
  if (done.code !== 0) throw new Error(done.err);
}

async function retry({ db, json }: SettledShop, count: number): Promise<void> {
  const orders = await db.sql<{ id: bigint }[]>`
    select payment_order_id as id from ${db.t.operation} where kind = 'charge' and sub_state = 'declined' order by id limit ${count}`;
  for (const { id } of orders)
    await json(['payments', 'retry', `ord_${id}`, '--method', 'pm_card_visa', '--yes']);
}

async function refund({ db, json }: SettledShop, count: number): Promise<void> {
  const orders = await db.sql<{ id: bigint }[]>`
    select payment_order_id as id from ${db.t.operation}
     where kind = 'charge' and sub_state = 'succeeded' and currency = 'EUR' and amount_minor > 5000 order by id limit ${count}`;
  for (const [i, { id }] of orders.entries()) {
    const name = ['refunds', 'create', `ord_${id}`, '--refund-id', `back-${i}`];
    await json([...name, '--amount', `${3 + (i % 40)}.00`, '--reason', 'came back', '--yes']);
  }
}

async function payOut({ folder, json }: SettledShop, count: number): Promise<void> {
  if (count === 0) return;
  for (let i = 0; i < 5; i += 1)
    await json(['sellers', 'create', `seller ${i}`, '--destination', `acct_${i}`]);
  const rows = Array.from({ length: count }, (_, i) => `payout-${i},seller ${i % 5},${5 + i}.00,EUR`);
  writeFileSync(join(folder, 'payouts.csv'), `${['item_ref,seller,amount,currency', ...rows].join('\n')}\n`);
  const { batch_id: batch } = await json<{ batch_id: string }>(['payouts', 'submit', 'payouts.csv', '--yes']);
  const plan = await json<{ confirm: string }>(['payouts', 'approve', batch, '--dry-run']);
  await json(['payouts', 'approve', batch, '--confirm', plan.confirm]);
}

async function untilIdle({ db }: SettledShop): Promise<void> {
  await until(async () => {
    const [row] = await db.sql<{ busy: boolean }[]>`select exists (select from ${db.t.job}) as busy`;
    if (row!.busy) await new Promise((resolve) => setTimeout(resolve, 50));
    return !row!.busy;
  });
}

/** One executor on the shop's account, until its `end`. */
async function startShopExecutor({ db, sandbox }: SettledShop): Promise<{ end(): Promise<void> }> {
  const account: PspAccount = {
    name: ACCOUNT,
    psp: 'stripe',
    apiKey: 'sk_test_shop',
    baseUrl: sandbox.url,
    maxConcurrent: 16,
    timeoutMs: 5_000,
  };
  const connector = createStripeConnector(account);
  const daemon = await startTestDaemon(db);
  const executor: Executor = startExecutor({
    context: daemon.context,
    lease: {
      daemonId: () => daemon.id,
      leftMs: () => 6_000,
      allowsSend: () => true,
      end: async () => undefined,
    },
    accounts: [account],
    connectors: new Map([[ACCOUNT, connector]]),
    log: silentLog,
  });
  return {
    end: async () => {
      await executor.drain();
      await connector.close();
    },
  };
}
