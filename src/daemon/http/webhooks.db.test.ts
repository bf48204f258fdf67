/** Webhooks over HTTP: what is believed, and that each sandbox's own deliveries end what is open in the books. */
import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callPsp, claimTasks } from '../../core/operation/execute-operations.ts';
import { createAdyenConnector } from '../../core/psp/adyen-connector.ts';
import type { AdyenAccount, Connector, StripeAccount } from '../../core/psp/psp.ts';
import { capabilitiesOf } from '../../core/psp/request.ts';
import { createStripeConnector } from '../../core/psp/stripe-connector.ts';
import { laneOf } from '../../core/queue/job.ts';
import { submitRefunds } from '../../core/refund/submit-refunds.ts';
import {
  balanceOf,
  openTestBook,
  orderRequest,
  queueCharge,
  REPLY,
  record,
  scriptedConnector,
  standingOf,
  startTestDaemon,
  type TestBook,
  turn,
  uniqueName,
  until,
} from '../../testing/fixtures.ts';
import { type Sandbox, startSandbox } from '../sandbox/main.ts';
import type { HttpServer } from './server.ts';
import { type Answer, BOOK_KEY, type Call, call, startTestServer } from './test-server.ts';
import type { WebhookAccount } from './webhook-routes.ts';

/** The key of every sandbox, as its administration documents it. */
const ADYEN_KEY = 'AD'.repeat(32);

let book: TestBook;
let sandbox: Sandbox;
let server: HttpServer;
const first = uniqueName('acct');
const second = uniqueName('acct');
const undone = uniqueName('acct');
const adyen = uniqueName('acct');
let connectors: ReadonlyMap<string, Connector>;

beforeAll(async () => {
  book = await openTestBook();
  sandbox = await startSandbox({ port: 0, journalPath: null, seed: 3 });
  connectors = new Map([
    [first, createStripeConnector(stripeAccount(first))],
    [second, createStripeConnector(stripeAccount(second))],
    [undone, createStripeConnector(stripeAccount(undone))],
    [adyen, createAdyenConnector(adyenAccount(adyen))],
  ]);
  server = await startTestServer(book.db, {
    webhooks: {
      accounts: [
        taker(first, 'stripe', 'whsec_first'),
        taker(second, 'stripe', 'whsec_second'),
        taker(undone, 'stripe', 'whsec_undone'),
        taker(adyen, 'adyen', ADYEN_KEY),
      ],
      findings: {
        capabilitiesOf: (name) => capabilitiesOf(name === adyen ? 'adyen' : 'stripe'),
        random: () => 0.5,
      },
    },
  });
});
afterAll(async () => {
  await server.close();
  await sandbox.close();
  for (const connector of connectors.values()) await connector.close();
  await book.close();
});

const settings = { baseUrl: '', maxConcurrent: 4, timeoutMs: 5_000 };

function stripeAccount(name: string): StripeAccount {
  return { ...settings, name, psp: 'stripe', apiKey: 'sk_test_abc', baseUrl: sandbox.url };
}

function adyenAccount(name: string): AdyenAccount {
  return {
    ...settings,
    name,
    psp: 'adyen',
    apiKey: 'adyen_test_abc',
    baseUrl: sandbox.url,
    merchantAccount: 'MarketplaceEU',
    balanceAccountId: null,
    liveUrlPrefix: null,
  };
}

function taker(name: string, psp: WebhookAccount['psp'], secret: string): WebhookAccount {
  return { name, psp, secret, connector: connectors.get(name)! };
}

/** An event of Stripe about an operation. */
function eventOf(operationId: bigint, changes: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({
    id: uniqueName('evt'),
    object: 'event',
    type: 'payment_intent.succeeded',
    data: {
      object: { object: 'payment_intent', id: 'pi_1', metadata: { paygate_operation: `op_${operationId}` } },
    },
    ...changes,
  });
}

function signatureOf(body: string, secret: string, atS = Math.floor(Date.now() / 1_000)): string {
  return `t=${atS},v1=${createHmac('sha256', secret).update(`${atS}.${body}`).digest('hex')}`;
}

function deliver(psp: string, payload: string | Buffer, headers: Call['headers'] = {}): Promise<Answer> {
  const type = { 'content-type': 'application/json; charset=utf-8' };
  return call(server, {
    method: 'POST',
    path: `/v1/webhooks/${psp}`,
    headers: { ...type, ...headers },
    payload,
  });
}

function deliverSigned(body: string, secret = 'whsec_first'): Promise<Answer> {
  return deliver('stripe', body, { 'stripe-signature': signatureOf(body, secret) });
}

/** A charge that its PSP keeps waiting. */
async function pendingCharge(account: string): Promise<bigint> {
  await book.db
    .sql`update ${book.db.t.job} set run_at = now() + interval '1 day' where starts_with(lane, ${account})`;
  const { operationId } = await queueCharge(book.db, account);
  await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY.pending]));
  return operationId;
}

async function storedEvents(account: string): Promise<readonly string[]> {
  const rows = await book.db.sql<{ effect: string }[]>`
    select effect from ${book.db.t.webhookEvent} where psp_account = ${account} order by id`;
  return rows.map((row) => row.effect);
}

async function isDue(operationId: bigint): Promise<boolean> {
  const rows = await book.db.sql`
    select 1 from ${book.db.t.job} where operation_id = ${operationId} and run_at <= now()`;
  return rows.length === 1;
}

describe('POST /v1/webhooks/stripe', () => {
  test('stores a signed event once and has its operation looked at', async () => {
    const operationId = await pendingCharge(first);
    const before = (await storedEvents(first)).length;
    expect(await isDue(operationId)).toBe(false);
    const body = eventOf(operationId);
    for (const _ of [1, 2, 3]) {
      expect(await deliverSigned(body)).toMatchObject({ status: 200, text: '[accepted]' });
    }
    expect((await storedEvents(first)).slice(before)).toEqual(['looks']);
    expect(await isDue(operationId)).toBe(true);
    expect((await standingOf(book.db, operationId)).subState).toBe('pending_psp');
  });

  test('is for the account whose secret fits, and for its operations only', async () => {
    const operationId = await pendingCharge(first);
    expect(await deliverSigned(eventOf(operationId), 'whsec_second')).toMatchObject({ status: 200 });
    expect((await storedEvents(second)).at(-1)).toBe('not_ours');
    expect(await isDue(operationId)).toBe(false);
  });

  test.each<[string, (body: string) => Record<string, string>]>([
    ['without a signature', () => ({})],
    ['with another secret', (body) => ({ 'stripe-signature': signatureOf(body, 'whsec_other') })],
    ['of an hour ago', (body) => ({ 'stripe-signature': signatureOf(body, 'whsec_first', 1_000) })],
    ['for another body', (body) => ({ 'stripe-signature': signatureOf(`${body} `, 'whsec_first') })],
  ])('refuses what comes %s, and stores nothing', async (_, headers) => {
    const before = await storedEvents(first);
    const body = eventOf(await pendingCharge(first));
    const answer = await deliver('stripe', body, headers(body));
    expect(answer.json).toMatchObject({ status: 400, code: 'webhook_refused' });
    expect(answer.text).not.toContain('whsec_');
    expect(await storedEvents(first)).toEqual(before);
  });

  test.each<[string, string | Buffer]>([
    ['nothing', ''],
    ['not JSON', '{"id":'],
    ['no event', '[]'],
    ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x00])],
  ])('refuses %s although it is signed', async (_, body) => {
    const text = body.toString('latin1');
    const signature = `t=${Math.floor(Date.now() / 1_000)}`;
    const digest = createHmac('sha256', 'whsec_first')
      .update(`${signature.slice(2)}.`)
      .update(body);
    const answer = await deliver('stripe', body, {
      'stripe-signature': `${signature},v1=${digest.digest('hex')}`,
    });
    expect(answer.json, text).toMatchObject({ status: 400, code: 'webhook_refused' });
  });

  test('refuses a body of more than 1 MB before it is read', async () => {
    const answer = await deliverSigned(eventOf(1n, { filler: 'x'.repeat(1_000_001) }));
    expect(answer.json).toMatchObject({ status: 413, code: 'body_too_large' });
  });

  test('knows no other method, and no PSP that has no account', async () => {
    const get = await call(server, { path: '/v1/webhooks/stripe' });
    expect(get).toMatchObject({ status: 405, headers: { allow: 'POST' } });
    expect((await deliver('paypal', '{}')).json).toMatchObject({ status: 404, code: 'not_found' });
    const bare = await startTestServer(book.db);
    try {
      const answer = await call(bare, { method: 'POST', path: '/v1/webhooks/stripe', payload: '{}' });
      expect(answer.json.detail).toContain('webhook_secret_file');
    } finally {
      await bare.close();
    }
  });

  test('a refund that the PSP undoes later is undone in the books, however its webhooks arrive', async () => {
    await tell('config', {
      webhook_url: `${server.url}/v1/webhooks/stripe`,
      webhook_secret: 'whsec_undone',
      webhook_rates: { duplicate: 0.5, lose: 0 },
      webhook_delay_ms: 0,
      pending_ms: 200,
    });
    const connector = connectors.get(undone)!;
    const daemon = await startTestDaemon(book.db);
    const { operationId: chargeId, orderId } = await queueCharge(book.db, undone);
    await turn(daemon, undone, connector);
    expect((await standingOf(book.db, chargeId)).subState).toBe('succeeded');
    const context = {
      policy: { fee: 'proportional', overdraw: 'allowed' } as const,
      bookKey: BOOK_KEY,
      principal: 'test:refund',
      accountOf: () => ({ psp: 'stripe' as const }),
    };
    const request = {
      refundId: uniqueName('r'),
      orderId,
      amount: null,
      cause: 'request' as const,
      reason: 'broken',
    };
    const [result] = await submitRefunds(book.db, context, [request]);
    if (result?.kind !== 'accepted') throw new Error('not accepted');
    const { operationId } = result.refund;
    await tell('faults', {
      match: { metadata: { paygate_operation: `op_${operationId}` } },
      sequence: ['undo_later'],
    });
    await turn(daemon, undone, connector);
    expect((await standingOf(book.db, operationId)).subState).toBe('succeeded');
    await until(async () => {
      // The sandbox lets happen what was due when it is asked.
      await fetch(`${sandbox.url}/_sandbox/truth/refunds`);
      // Several events tell of it: one that is being stored holds the job for a moment.
      const tasks = await claimTasks(daemon.context, laneOf(undone, 'online'), 10, connector);
      for (const task of tasks) await record(daemon, task, await callPsp(connector, task, 10_000));
      return (await standingOf(book.db, operationId)).subState === 'reversed';
    });
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'reversed',
      deadLetters: ['reversed_after_success'],
    });
    await tell('config', { webhook_url: null });
  });
});

describe('POST /v1/webhooks/adyen', () => {
  test('its signed word ends what Adyen cannot be asked about', async () => {
    const name = adyen;
    const { operationId } = await queueCharge(
      book.db,
      name,
      { orders: [orderRequest({ paymentMethod: 'stored_authorised' })] },
      { route: { rules: [], fallback: adyenAccount(name) } },
    );
    await tell('faults', {
      match: { metadata: { reference: `op_${operationId}` } },
      sequence: ['act_then_500'],
    });
    const daemon = await startTestDaemon(book.db);
    const context = { ...daemon.context, capabilitiesOf: () => capabilitiesOf('adyen') };
    await turn({ ...daemon, context }, name, connectors.get(name)!);
    expect((await standingOf(book.db, operationId)).subState).toBe('unknown');

    expect(await pushAdyen({ signature: 'bad' })).toEqual([400]);
    expect((await standingOf(book.db, operationId)).subState).toBe('unknown');
    expect(await pushAdyen({ signature: 'good', copies: 3 })).toEqual([200, 200, 200]);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      resolvedBy: 'webhook',
      entries: ['charge_succeeded'],
    });
    expect(await balanceOf(book.db, `psp:${name}:receivable`, 'EUR')).toBe(1250n);
  });
});

/** Has Adyen deliver all that has happened; the status of each answer. */
async function pushAdyen(how: { signature: 'good' | 'bad'; copies?: number }): Promise<readonly number[]> {
  const answer = await tell('adyen/webhooks/push', { url: `${server.url}/v1/webhooks/adyen`, ...how });
  return (answer as { pushed: { status: number }[] }).pushed.map((one) => one.status);
}

async function tell(what: string, body: unknown): Promise<unknown> {
  const response = await fetch(`${sandbox.url}/_sandbox/${what}`, {
    method: 'POST',
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}
