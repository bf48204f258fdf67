/**
 * Disputes and charges taken back, from the sandboxes' own webhooks over HTTP into the books, with the daemon's loops:
 * duplicated, reordered, lost and forged ones change nothing about the end.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { transact } from '../core/db/connection.ts';
import { ANY_DISPUTE, listDisputes } from '../core/dispute/dispute-store.ts';
import { verifyLedger } from '../core/ledger/verify-ledger.ts';
import { acceptPayments, fingerprint } from '../core/payment/accept-payments.ts';
import { createAdyenConnector } from '../core/psp/adyen-connector.ts';
import type { AdyenAccount, Connector, StripeAccount } from '../core/psp/psp.ts';
import { capabilitiesOf } from '../core/psp/request.ts';
import { createStripeConnector } from '../core/psp/stripe-connector.ts';
import { getBookKey } from '../core/queue/queue-store.ts';
import { recheckOperations } from '../core/queue/rescue-store.ts';
import { refundSuspense } from '../core/suspense/decide-suspense.ts';
import {
  acceptContext,
  applyOutside,
  balanceOf,
  makeDue,
  openTestBook,
  orderRequest,
  paymentRequest,
  standingOf,
  startTestDaemon,
  type TestBook,
  turn,
  uniqueName,
} from '../testing/fixtures.ts';
import type { HttpServer } from './http/server.ts';
import { startTestServer } from './http/test-server.ts';
import { openLog } from './log.ts';
import { startMaintenance } from './maintenance.ts';
import { type Sandbox, startSandbox } from './sandbox/main.ts';

/** The key of every sandbox, as its administration documents it. */
const ADYEN_KEY = 'AD'.repeat(32);
const SECRET = 'whsec_disputes';
/** Webhooks and the loops behind them take a moment. */
const PATIENT = { timeout: 20_000, interval: 50 };

let book: TestBook;
let sandbox: Sandbox;
let server: HttpServer;
let stopMaintenance: () => Promise<void>;
let stripeAccount: StripeAccount;
let adyenAccount: AdyenAccount;
let connectors: ReadonlyMap<string, Connector>;

beforeAll(async () => {
  book = await openTestBook();
  sandbox = await startSandbox({ port: 0, journalPath: null, seed: 5 });
  const settings = { baseUrl: sandbox.url, maxConcurrent: 4, timeoutMs: 5_000 };
  stripeAccount = { ...settings, name: uniqueName('stripe'), psp: 'stripe', apiKey: 'sk_test_abc' };
  adyenAccount = {
    ...settings,
    name: uniqueName('adyen'),
    psp: 'adyen',
    apiKey: 'adyen_test_abc',
    merchantAccount: 'MarketplaceEU',
    balanceAccountId: null,
    liveUrlPrefix: null,
  };
  connectors = new Map([
    [stripeAccount.name, createStripeConnector(stripeAccount)],
    [adyenAccount.name, createAdyenConnector(adyenAccount)],
  ] as const);
  const pspOf = (name: string) => (name === adyenAccount.name ? 'adyen' : 'stripe');
  server = await startTestServer(book.db, {
    webhooks: {
      accounts: [
        { ...stripeAccount, secret: SECRET, connector: connectors.get(stripeAccount.name)! },
        { ...adyenAccount, secret: ADYEN_KEY, connector: connectors.get(adyenAccount.name)! },
      ],
      findings: { capabilitiesOf: (name) => capabilitiesOf(pspOf(name)), random: () => 0.5 },
    },
  });
  const daemon = await startTestDaemon(book.db);
  const accounts = [...connectors].map(
    ([name, connector]) => [name, { connector, timeoutMs: 5_000 }] as const,
  );
  stopMaintenance = startMaintenance({
    db: book.db,
    daemonId: () => daemon.id,
    principal: 'daemon:test',
    resendDelayMs: 0,
    refunds: {
      policy: { fee: 'proportional', overdraw: 'allowed' },
      bookKey: 'testbook',
      principal: 'daemon:test',
      accountOf: () => ({ psp: 'stripe' }),
    },
    disputes: { policy: { lostFee: 'platform_fees' }, accounts: new Map(accounts) },
    settlement: { accounts: new Map(), writeOffLimits: new Map() },
    log: openLog('silent', {}),
    onWork: () => undefined,
  });
  await tell('config', { webhook_url: `${server.url}/v1/webhooks/stripe`, webhook_secret: SECRET });
});
afterAll(async () => {
  await stopMaintenance();
  await server.close();
  await sandbox.close();
  for (const connector of connectors.values()) await connector.close();
  expect((await verifyLedger(book.db)).verdict).toBe('balanced');
  await book.close();
});

async function tell<T>(path: string, body: unknown): Promise<T> {
  const response = await fetch(`${sandbox.url}/_sandbox/${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  return JSON.parse(text) as T;
}

type Charged = {
  readonly operationId: bigint;
  readonly paymentId: bigint;
  readonly pspReference: string;
  readonly seller: string;
};

/** A charge of 12.50 EUR with a fee of 1.25, for a seller of its own, made by the connector. */
async function charged(account: StripeAccount | AdyenAccount): Promise<Charged> {
  const seller = uniqueName('Seller');
  const paymentMethod = account.psp === 'stripe' ? 'pm_card_visa' : 'stored_authorised';
  const request = paymentRequest({
    orders: [orderRequest({ seller, paymentMethod, platformFeeMinor: 125n })],
  });
  const context = await acceptContext(book.db, { route: { rules: [], fallback: account } });
  await transact(book.db, (tx) => acceptPayments(tx, context, [fingerprint(request)]));
  const daemon = await startTestDaemon(book.db);
  const findings = { ...daemon.context, capabilitiesOf: () => capabilitiesOf(account.psp) };
  await turn({ ...daemon, context: findings }, account.name, connectors.get(account.name)!);
  const [row] = await book.db.sql<Charged[]>`
    select o.id as operation_id, o.payment_id, o.psp_reference, po.seller
      from ${book.db.t.operation} o join ${book.db.t.paymentOrder} po on po.id = o.payment_order_id
     where po.seller = ${seller}`;
  expect((await standingOf(book.db, row!.operationId)).subState).toBe('succeeded');
  return row!;
}

async function stateOf({ paymentId }: Charged): Promise<string | null> {
  const [row] = await listDisputes(book.db, { ...ANY_DISPUTE, paymentIds: [paymentId] });
  return row?.state ?? null;
}

const wallet = async ({ seller }: Charged) => ({
  available: await balanceOf(book.db, `seller:${seller}:available`, 'EUR'),
  inDispute: await balanceOf(book.db, `seller:${seller}:in_dispute`, 'EUR'),
});

describe('at Stripe', () => {
  test('a dispute is opened and won, told by webhooks that come twice and in another order', async () => {
    await tell('config', { webhook_rates: { duplicate: 0.5, reorder: 0.5 }, webhook_reorder_ms: 200 });
    const charge = await charged(stripeAccount);
    const { id } = await tell<{ id: string }>(`payment_intents/${charge.pspReference}/dispute`, {});
    await expect.poll(() => stateOf(charge), PATIENT).toBe('opened');
    expect(await wallet(charge)).toEqual({ available: 0n, inDispute: 1125n });
    await tell(`disputes/${id}/answer`, {});
    await tell(`disputes/${id}/close`, { result: 'won' });
    await expect.poll(() => stateOf(charge), PATIENT).toBe('won');
    expect(await wallet(charge)).toEqual({ available: 1125n, inDispute: 0n });
    await tell('config', { webhook_rates: {} });
  });

  test('a forged webhook asks nobody', async () => {
    await tell('config', { webhook_rates: { bad_signature: 1 } });
    const charge = await charged(stripeAccount);
    const { id } = await tell<{ id: string }>(`payment_intents/${charge.pspReference}/dispute`, {});
    await expect.poll(async () => (await status()).tries_failed, PATIENT).toBeGreaterThan(0);
    expect(await stateOf(charge)).toBeNull();
    await tell('config', { webhook_rates: {} });
    await tell(`disputes/${id}/close`, { result: 'lost' });
    await expect.poll(() => stateOf(charge), PATIENT).toBe('lost');
    expect(await wallet(charge)).toEqual({ available: 0n, inDispute: 0n });
  });

  test('a charge that bounces after it succeeded is found out and reversed', async () => {
    const charge = await charged(stripeAccount);
    await tell(`payment_intents/${charge.pspReference}/bounce`, {});
    const isWanted = async () => (await standingOf(book.db, charge.operationId)).job !== null;
    await expect.poll(isWanted, PATIENT).toBe(true);
    await makeDue(book.owner, stripeAccount.name);
    await turn(await startTestDaemon(book.db), stripeAccount.name, connectors.get(stripeAccount.name)!);
    expect(await standingOf(book.db, charge.operationId)).toMatchObject({
      subState: 'reversed',
      entries: ['charge_succeeded', 'charge_reversed'],
      deadLetters: ['reversed_after_success'],
    });
  });

  test('money that moved although a person had said no is found out, and really given back once', async () => {
    const seller = uniqueName('Seller');
    const order = orderRequest({ seller, paymentMethod: 'pm_card_visa' });
    const context = await acceptContext(book.db, { route: { rules: [], fallback: stripeAccount } });
    const request = fingerprint(paymentRequest({ orders: [order] }));
    await transact(book.db, (tx) => acceptPayments(tx, context, [request]));
    const [row] = await book.db.sql<{ operationId: bigint }[]>`
      select o.id as operation_id from ${book.db.t.operation} o
        join ${book.db.t.paymentOrder} po on po.id = o.payment_order_id where po.seller = ${seller}`;
    const { operationId } = row!;
    const match = { metadata: { paygate_operation: `op_${operationId}` } };
    // The answer is lost, and so is the webhook.
    await tell('config', { webhook_rates: { lose: 1 } });
    await tell('faults', { match, sequence: ['act_then_drop', 'act_then_drop', 'act_then_drop'] });
    const daemon = await startTestDaemon(book.db);
    const connector = connectors.get(stripeAccount.name)!;
    await turn(daemon, stripeAccount.name, connector);
    expect((await standingOf(book.db, operationId)).subState).toBe('unknown');
    const declined = {
      kind: 'declined',
      reason: 'not there',
      mayRetryAsNew: false,
      pspReference: null,
    } as const;
    const named = { operationId, attemptNumber: 1, held: null } as const;
    await applyOutside(book.db, [{ ...named, source: 'person', reply: declined }]);
    await transact(book.db, (tx) => recheckOperations(tx, [operationId]));
    await turn(daemon, stripeAccount.name, connector);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'declined',
      attemptState: 'succeeded_surplus',
      deadLetters: ['late_success'],
    });
    const refunder = {
      principal: 'os:ana',
      reason: 'the buyer paid elsewhere',
      bookKey: await getBookKey(book.db),
      accountOf: () => stripeAccount,
    };
    const ref = { operationId, attemptNumber: 1 };
    const asked = await refundSuspense(book.db, refunder, ref, uniqueName('suspense'));
    if (asked.kind !== 'accepted') throw new Error(asked.kind);
    await turn(daemon, stripeAccount.name, connector);
    const refund = await standingOf(book.db, asked.suspense.refundOperationId!);
    expect(refund).toMatchObject({ subState: 'succeeded', entries: ['suspense_refunded'] });
    expect((await standingOf(book.db, operationId)).deadLetters).toEqual([]);
    const response = await fetch(`${sandbox.url}/_sandbox/truth/refunds`);
    const { refunds } = (await response.json()) as { refunds: { id: string; moved: number }[] };
    expect(refunds.filter(({ id }) => id === refund.pspReference)).toMatchObject([{ moved: 1250 }]);
    await tell('config', { webhook_rates: {} });
  });

  async function status(): Promise<{ tries_failed: number }> {
    const response = await fetch(`${sandbox.url}/_sandbox/webhooks`);
    return (await response.json()) as { tries_failed: number };
  }
});

describe('at Adyen', () => {
  const happen = <T = unknown>(name: string, happening: string) =>
    tell<T>(`adyen/objects/${name}`, { happening });
  let pushed = 0;

  /** Delivers what happened since the last time, in whatever way. */
  async function push(way: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const url = `${server.url}/v1/webhooks/adyen`;
    await tell('adyen/webhooks/push', { url, after: pushed, ...way });
    if (way.signature === 'bad') return;
    const response = await fetch(`${sandbox.url}/_sandbox/adyen/webhooks?after=0`);
    pushed = ((await response.json()) as { webhooks: unknown[] }).webhooks.length;
  }

  async function disputed(charge: Charged): Promise<string> {
    const { object } = await happen<{ object: { name: string } }>(charge.pspReference, 'dispute_announced');
    await happen(object.name, 'dispute_opened');
    return object.name;
  }

  test('a dispute is opened, won and lost in the second round, word by word', async () => {
    const charge = await charged(adyenAccount);
    const name = await disputed(charge);
    await push({ signature: 'bad' });
    await push();
    await expect.poll(() => stateOf(charge), PATIENT).toBe('opened');
    expect(await wallet(charge)).toEqual({ available: 0n, inDispute: 1125n });
    await happen(name, 'dispute_won');
    await push({ copies: 3 });
    await expect.poll(() => stateOf(charge), PATIENT).toBe('won');
    await happen(name, 'dispute_lost');
    await push();
    await expect.poll(() => stateOf(charge), PATIENT).toBe('lost');
    expect(await wallet(charge)).toEqual({ available: 0n, inDispute: 0n });
  });

  test('one whose words all come backwards ends the same', async () => {
    const charge = await charged(adyenAccount);
    const name = await disputed(charge);
    await happen(name, 'dispute_won');
    await happen(name, 'dispute_lost');
    await push({ order: 'reversed', copies: 2 });
    await expect.poll(() => stateOf(charge), PATIENT).toBe('lost');
    expect(await wallet(charge)).toEqual({ available: 0n, inDispute: 0n });
    const response = await fetch(`${sandbox.url}/_sandbox/adyen/truth?reference=op_${charge.operationId}`);
    expect(await response.json()).toMatchObject({
      rows: [{ charged: 1, disputed: 1, moved_out: { EUR: 1250 } }],
    });
  });

  test('a capture that fails after the payment was authorised takes the charge back', async () => {
    const charge = await charged(adyenAccount);
    await happen(charge.pspReference, 'capture_fails');
    await push({ order: 'reversed', copies: 2 });
    expect(await standingOf(book.db, charge.operationId)).toMatchObject({
      subState: 'reversed',
      resolvedBy: 'webhook',
      entries: ['charge_succeeded', 'charge_reversed'],
      deadLetters: ['reversed_after_success'],
    });
  });
});
