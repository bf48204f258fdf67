/** The real side of the model's test: one PSP account and two sellers of a real book, and how they are compared. */
import { expect } from 'vitest';
import type { Db } from '../../core/db/connection.ts';
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
import { listWallets } from '../../core/wallet/wallet-store.ts';
import { balanceOf, startTestDaemon, type TestBook, type TestDaemon, uniqueName } from '../fixtures.ts';
import * as model from './book-model.ts';
import { shownState } from './operation-model.ts';

export const CURRENCIES = ['EUR', 'JPY'] as const;

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
  const fees = new Map<string, bigint>();
  for (const currency of CURRENCIES) fees.set(currency, await balanceOf(book.db, 'platform:fees', currency));
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
  const [operations, payments, refunds, payouts, money] = await Promise.all([
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
  const verified = await verifyLedger(book.db);
  expect(verified.faults).toEqual([]);
}

function operationsOf(expected: model.ModelBook): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    model.operationsOf(expected).map((one) => [
      one.id.toString(),
      {
        kind: one.kind,
        state: shownState(one),
        attempts: one.attempts.map(({ state, evidence }) => `${state}: ${evidence.join(' ')}`),
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

async function readMoney(world: World): Promise<Readonly<Record<string, unknown>>> {
  const { book, account, sellers, feesBefore } = world;
  const money: Record<string, unknown> = {};
  for (const currency of CURRENCIES) {
    for (const seller of sellers)
      money[`${seller} ${currency}`] = await readWallet(book.db, seller, currency);
    const fees = await balanceOf(book.db, 'platform:fees', currency);
    money[currency] = {
      receivableMinor: await balanceOf(book.db, `psp:${account}:receivable`, currency),
      suspenseMinor: await balanceOf(book.db, `suspense:${account}`, currency),
      feesMinor: fees - feesBefore.get(currency)!,
    };
  }
  return money;
}

async function readWallet(db: Db, seller: string, currency: string): Promise<model.ModelWallet> {
  const filter = { seller, currency, order: 'seller', after: null, limit: 1 } as const;
  const [wallet] = await listWallets(db, filter);
  return {
    pendingMinor: wallet?.pendingMinor ?? 0n,
    availableMinor: wallet?.availableMinor ?? 0n,
    inPayoutMinor: wallet?.inPayoutMinor ?? 0n,
    inRefundMinor: wallet?.inRefundMinor ?? 0n,
  };
}

function moneyOf({ model: expected, sellers }: World): Readonly<Record<string, unknown>> {
  const money: Record<string, unknown> = {};
  for (const currency of CURRENCIES) {
    for (const seller of sellers) money[`${seller} ${currency}`] = model.walletOf(expected, seller, currency);
    money[currency] = model.accountsOf(expected, currency);
  }
  return money;
}
