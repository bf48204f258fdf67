/**
 * Our side's database: a migrated book, the policy that payments are accepted under, and orders to work on.
 */
import { type Db, openBook, type Sql } from '../src/core/db/connection.ts';
import { migrate } from '../src/core/db/migrate.ts';
import { Bug } from '../src/core/errors.ts';
import { type Currency, parseCurrency } from '../src/core/money.ts';
import { type AcceptContext, fingerprint, MAX_ACCEPT_BATCH } from '../src/core/payment/accept-payments.ts';
import type { PaymentRequest } from '../src/core/payment/payment-request.ts';
import { submitPayments } from '../src/core/payment/submit-payments.ts';
import type { PspAccount } from '../src/core/psp/psp.ts';
import { getBookKey } from '../src/core/queue/queue-store.ts';
import type { BenchConnection, BenchServer } from './server.ts';

export const BOOK = 'paygate';
export const PSP_ACCOUNT = 'stripe_main';
/** Sellers whose wallets the orders are spread over. */
export const SELLERS = 1_000;
/** Batches of payments on their way at once when a book is filled. */
const SUBMITS_IN_FLIGHT = 3;
/** As many connections as a daemon has by default. */
export const POOL_SIZE = 8;

export const EUR = knownCurrency('EUR');

function knownCurrency(code: string): Currency {
  const parsed = parseCurrency(code);
  if (parsed === null) throw new Bug(`${code} is no currency`);
  return parsed;
}

/** A fee of 2.5 % + 0.30 EUR: every order books a pair for the seller and one for the platform. */
export const POLICY: AcceptContext['policy'] = {
  route: { rules: [], fallback: { name: PSP_ACCOUNT, psp: 'stripe' } },
  onPartial: 'keep',
  fees: new Map([[EUR, { feeBps: 250, fixedMinor: 30n }]]),
  risk: { maxPaymentMinor: new Map(), blockedBuyers: new Set(), blockedSellers: new Set() },
  releaseAfterDays: null,
};

/** @param baseUrl of the sandbox; null where nothing is called */
export function pspAccount(baseUrl: string | null, maxConcurrent: number): PspAccount {
  return {
    name: PSP_ACCOUNT,
    psp: 'stripe',
    apiKey: 'sk_test_bench',
    baseUrl,
    maxConcurrent,
    timeoutMs: 30_000,
  };
}

export type BenchBook = {
  readonly database: string;
  readonly db: Db;
  /** What a program needs to open the same book. */
  readonly connection: BenchConnection;
  accept(priority: AcceptContext['priority']): AcceptContext;
  close(): Promise<void>;
};

export async function createBook(server: BenchServer, label: string): Promise<BenchBook> {
  const database = await server.createDatabase(label);
  await migrate({ connection: server.connection(database, 'owner'), book: BOOK, appRole: server.appRole });
  const connection = server.connection(database, 'app');
  const db = await openBook({ connection, book: BOOK, max: SUBMITS_IN_FLIGHT + 1 });
  const bookKey = await getBookKey(db);
  return {
    database,
    db,
    connection,
    accept: (priority) => ({ policy: POLICY, bookKey, principal: 'bench', priority, batchId: null }),
    close: () => db.close(),
  };
}

/** The order with this number: one per checkout, 10.00 to 60.00 EUR. */
export function orderRequest(number: number): PaymentRequest {
  return {
    checkoutId: `checkout-${number}`,
    idempotencyKey: `checkout-${number}`,
    buyer: `buyer ${number % 5_000}`,
    orders: [
      {
        seller: `seller ${number % SELLERS}`,
        money: { amountMinor: 1_000n + BigInt(number % 5_000), currency: EUR },
        paymentMethod: 'pm_card_visa',
        platformFeeMinor: null,
        orderRef: null,
        customerPresent: false,
        metadata: {},
      },
    ],
    metadata: {},
  };
}

/** Accepts `count` payments of one order each, numbered from `first`, then tidies the database. */
export async function fillBook(
  server: BenchServer,
  book: BenchBook,
  first: number,
  count: number,
): Promise<void> {
  const context = book.accept('batch');
  let next = first;
  const submitNext = async (): Promise<void> => {
    while (next < first + count) {
      const start = next;
      next = Math.min(first + count, start + MAX_ACCEPT_BATCH);
      const requests = Array.from({ length: next - start }, (_, i) => fingerprint(orderRequest(start + i)));
      const results = await submitPayments(book.db, context, requests);
      const refused = results.find((result) => result.kind !== 'accepted');
      if (refused !== undefined) throw new Bug(`an order of the benchmark was not accepted: ${refused.kind}`);
    }
  };
  await Promise.all(Array.from({ length: SUBMITS_IN_FLIGHT }, submitNext));
  await server.execute(book.database, ['vacuum (analyze)']);
}

/**
 * Orders among the first `count` that did not end as SUCCESS with everything booked, or, where the books
 * do not add up, all of them.
 */
export async function countDropped(sql: Sql, count: number): Promise<number> {
  const [facts] = await sql<{ succeeded: bigint; booked: bigint; balanced: boolean; jobs: bigint }[]>`
    select (select count(*) from ${sql(`${BOOK}.operation`)} where sub_state = 'succeeded') as succeeded,
           (select count(*) from ${sql(`${BOOK}.journal_entry`)} where kind = 'charge_succeeded') as booked,
           (select count(*) from ${sql(`${BOOK}.job`)}) as jobs,
           (select sum(debits) = sum(credits)
                   and sum(debits) = (select sum(amount_minor) from ${sql(`${BOOK}.posting`)})
              from ${sql(`${BOOK}.account_balance`)}) as balanced`;
  if (facts === undefined || !facts.balanced || facts.booked !== facts.succeeded) return count;
  return count - Number(facts.succeeded);
}
