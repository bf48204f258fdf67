/** The real side of the model's test: one PSP account and two sellers of a real book, and how they are compared. */
import { expect } from 'vitest';
import { type Db, list } from '../../core/db/connection.ts';
import { verifyLedger } from '../../core/ledger/verify-ledger.ts';
import type { Task } from '../../core/operation/execute-operations.ts';
import { paymentView } from '../../core/payment/payment-answer.ts';
import { listPaymentRows } from '../../core/payment/payment-store.ts';
import { payoutStateOf } from '../../core/payout/payout.ts';
import { ANY_PAYOUT, listPayouts } from '../../core/payout/payout-list-store.ts';
import type { Capabilities } from '../../core/psp/psp.ts';
import { capabilitiesOf } from '../../core/psp/request.ts';
import { refundStateOf } from '../../core/refund/refund.ts';
import { ANY_REFUND, listRefunds } from '../../core/refund/refund-store.ts';
import { createSeller } from '../../core/seller/change-seller.ts';
import { listWallets, type Wallet } from '../../core/wallet/wallet-store.ts';
import { startTestDaemon, type TestBook, type TestDaemon, uniqueName } from '../fixtures.ts';
import * as model from './book-model.ts';
import { shownState } from './operation-model.ts';

const CURRENCIES = ['EUR', 'JPY'] as const;
const FEES = 'platform:fees';

export type World = {
  readonly book: TestBook;
  readonly account: string;
  readonly sellers: readonly string[];
  /** Claims and answers; another one takes its place when it dies. */
  daemon: TestDaemon;
  /** Every claim that was ever made, answered or not: any of them may answer late. */
  readonly tasks: Task[];
  /** The platform's fees before this run: the book is shared by the runs of one seed. */
  readonly feesBefore: ReadonlyMap<string, bigint>;
  readonly model: model.ModelBook;
};

export async function openWorld(book: TestBook): Promise<World> {
  const account = uniqueName('acct');
  const sellers = [uniqueName('Ana'), uniqueName('Bo')];
  for (const seller of sellers) {
    const place = { pspAccount: account, destination: 'acct_1' };
    await createSeller(book.db, { seller, place, reason: 'a test', principal: 'test:register' });
  }
  const before = await readBalances(book.db, [FEES]);
  const fees = new Map(CURRENCIES.map((currency) => [currency, before.get(`${FEES} ${currency}`) ?? 0n]));
  const world: World = {
    book,
    account,
    sellers,
    daemon: await startTestDaemon(book.db),
    tasks: [],
    feesBefore: fees,
    model: model.emptyModel(),
  };
  world.daemon = withRules(world, world.daemon);
  return world;
}

/** What the PSP can do now: a key window of no length is one that is over. */
export function capabilitiesNow(world: World): Capabilities {
  const stripe = capabilitiesOf('stripe');
  return world.model.keyWindowIsOver ? { ...stripe, keyWindowMs: 0 } : stripe;
}

export function withRules(world: World, daemon: TestDaemon): TestDaemon {
  return { ...daemon, context: { ...daemon.context, capabilitiesOf: () => capabilitiesNow(world) } };
}

/** All that can be seen of the real book must be what the model says. */
export async function compare(world: World): Promise<void> {
  const { book, model: expected } = world;
  const [verified, operations, payments, refunds, payouts, money] = await Promise.all([
    verifyLedger(book.db),
    readOperations(world),
    readPayments(world),
    readRefunds(world),
    readPayouts(world),
    readMoney(world),
  ]);
  expect({ operations, payments, refunds, payouts, money }).toEqual({
    operations: operationsOf(expected),
    payments: Object.fromEntries(
      expected.payments.map((one) => [one.id.toString(), model.viewOf(expected, one)]),
    ),
    refunds: Object.fromEntries(
      expected.refunds.map(({ refundId, operation }) => [refundId, model.refundStateOf(operation)]),
    ),
    payouts: expected.payouts.map((one) => `${one.itemRef} ${model.payoutStateOf(one)}`).sort(),
    money: moneyOf(world),
  });
  expect(verified.faults).toEqual([]);
}

function operationsOf(expected: model.ModelBook): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    model.operationsOf(expected).map((one) => [
      one.id.toString(),
      {
        kind: one.kind,
        state: shownState(one),
        attempts: one.attempts.map(
          ({ state, evidence }) => `${state}: ${evidence.map((item) => item.kind).join(' ')}`,
        ),
        job: one.job && `${one.job.heldBy === null ? 'ready' : 'leased'} ${one.job.lane} ${one.job.action}`,
        letters: [...one.letters.keys()].sort(),
        waitsForRelease: one.waitsForRelease,
      },
    ]),
  );
}

async function readOperations({ book, account }: World): Promise<Readonly<Record<string, unknown>>> {
  const { sql, t } = book.db;
  const rows = await sql<{ id: bigint; found: unknown }[]>`
    select o.id, json_build_object(
      'kind', o.kind, 'state', ${t.shownSubState}(o.sub_state, j.state),
      'attempts', (select coalesce(json_agg(a.state || ': ' || coalesce((
                            select string_agg(e.kind, ' ' order by e.id) from ${t.evidence} e
                             where e.operation_id = a.operation_id and e.attempt_number = a.number), '')
                            order by a.number), '[]')
                     from ${t.attempt} a where a.operation_id = o.id),
      'job', j.state || ' ' || split_part(j.lane, '/', 2) || ' ' || j.action,
      'letters', (select coalesce(json_agg(d.code order by d.code), '[]')
                    from ${t.deadLetter} d where d.operation_id = o.id and d.state = 'open'),
      'waitsForRelease', exists (select 1 from ${t.fundRelease} f where f.operation_id = o.id)) as found
      from ${t.operation} o
      left join ${t.job} j on j.operation_id = o.id
     where o.psp_account = ${account}`;
  return Object.fromEntries(rows.map((row) => [row.id.toString(), row.found]));
}

async function readPayments({ book, model: expected }: World): Promise<Readonly<Record<string, unknown>>> {
  const rows = await listPaymentRows(
    book.db,
    expected.payments.map((payment) => payment.id),
  );
  const minor = (amount: string, currency: string) =>
    BigInt(currency === 'JPY' ? amount : amount.replace('.', ''));
  const sums = (all: readonly { amount: string; currency: string }[]) =>
    Object.fromEntries(all.map((one) => [one.currency, minor(one.amount, one.currency)]));
  return Object.fromEntries(
    [...Map.groupBy(rows, (row) => row.id)].map(([id, orders]) => {
      const view = paymentView(orders);
      return [
        id.toString(),
        {
          status: view.status,
          partial: view.partial,
          subStates: view.payment_orders.map((order) => order.sub_state),
          charged: sums(view.charged),
          refunded: sums(view.refunded),
        },
      ];
    }),
  );
}

async function readRefunds({ book, account }: World): Promise<Readonly<Record<string, string>>> {
  const { sql, t } = book.db;
  const own = await sql<{ id: bigint }[]>`
    select r.id from ${t.refund} r join ${t.operation} o on o.id = r.operation_id where o.psp_account = ${account}`;
  if (own.length === 0) return {};
  const rows = await listRefunds(book.db, { ...ANY_REFUND, ids: own.map((row) => row.id) });
  return Object.fromEntries(rows.map((row) => [row.refundId, refundStateOf(row.subState)]));
}

async function readPayouts({ book, sellers }: World): Promise<readonly string[]> {
  const rows = await Promise.all(
    sellers.map((seller) => listPayouts(book.db, { ...ANY_PAYOUT, seller, limit: 1_000 })),
  );
  return rows
    .flat()
    .map((row) => `${row.itemRef} ${payoutStateOf(row.state, row.subState)}`)
    .sort();
}

async function readMoney({
  book,
  account,
  sellers,
  feesBefore,
}: World): Promise<Readonly<Record<string, unknown>>> {
  const codes = [`psp:${account}:receivable`, `suspense:${account}`, FEES];
  const [balances, ...wallets] = await Promise.all([
    readBalances(book.db, codes),
    ...sellers.map((seller) => readWallets(book.db, seller)),
  ]);
  const money: Record<string, unknown> = {};
  for (const currency of CURRENCIES) {
    const [receivableMinor, suspenseMinor, fees] = codes.map(
      (code) => balances.get(`${code} ${currency}`) ?? 0n,
    );
    const feesMinor = (fees ?? 0n) - (feesBefore.get(currency) ?? 0n);
    money[currency] = { receivableMinor, suspenseMinor, feesMinor };
    for (const [i, seller] of sellers.entries()) {
      const wallet = wallets[i]!.find((one) => one.currency === currency);
      money[`${seller} ${currency}`] = {
        pendingMinor: wallet?.pendingMinor ?? 0n,
        availableMinor: wallet?.availableMinor ?? 0n,
        inPayoutMinor: wallet?.inPayoutMinor ?? 0n,
        inRefundMinor: wallet?.inRefundMinor ?? 0n,
      };
    }
  }
  return money;
}

function readWallets(db: Db, seller: string): Promise<readonly Wallet[]> {
  return listWallets(db, { seller, currency: null, order: 'seller', after: null, limit: 10 });
}

/** By code and currency, on the account's normal side. */
async function readBalances({ sql, t }: Db, codes: readonly string[]): Promise<ReadonlyMap<string, bigint>> {
  const rows = await sql<{ code: string; currency: string; balance: bigint }[]>`
    select a.code, a.currency,
           case a.normal_balance when 'debit' then b.debits - b.credits else b.credits - b.debits end as balance
      from ${t.account} a
      join ${t.accountBalance} b on b.account_id = a.id
     where a.code = any(${list(codes)}::text[])`;
  return new Map(rows.map((row) => [`${row.code} ${row.currency}`, row.balance]));
}

function moneyOf({ model: expected, sellers }: World): Readonly<Record<string, unknown>> {
  const money: Record<string, unknown> = {};
  for (const currency of CURRENCIES) {
    for (const seller of sellers) money[`${seller} ${currency}`] = model.walletOf(expected, seller, currency);
    money[currency] = model.accountsOf(expected, currency);
  }
  return money;
}
