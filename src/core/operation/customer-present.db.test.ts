/**
 * Charges that wait for their buyer, by the real connectors against the sandbox: what the shop is handed, how the buyer's
 * answer ends them, how they expire and are taken back. The sandbox says what moved.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../daemon/sandbox/main.ts';
import { startSandbox } from '../../daemon/sandbox/main.ts';
import {
  acceptContext,
  balanceOf,
  claimOne,
  makeDue,
  openTestBook,
  orderRequest,
  paymentRequest,
  REPLY,
  record,
  scriptedConnector,
  standingOf,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  turn,
  uniqueName,
} from '../../testing/fixtures.ts';
import { transact } from '../db/connection.ts';
import { parseId } from '../ids.ts';
import { acceptPayments, fingerprint } from '../payment/accept-payments.ts';
import { paymentDetail, paymentView, waitingCharges } from '../payment/payment-answer.ts';
import { listPaymentRows } from '../payment/payment-store.ts';
import { createAdyenConnector } from '../psp/adyen-connector.ts';
import type { Connector, PspAccount } from '../psp/psp.ts';
import { capabilitiesOf } from '../psp/request.ts';
import { createStripeConnector } from '../psp/stripe-connector.ts';
import { acceptWebhooks } from '../webhook/accept-webhooks.ts';
import { cancelOperation } from './cancel-operation.ts';
import { listHandOffs } from './hand-off-store.ts';

const WHY = { reason: 'the buyer ordered twice', principal: 'os:ana' };
const RETURN_URL = 'https://shop.example/back?order=1';

let book: TestBook;
let sandbox: Sandbox;
let daemon: TestDaemon;
beforeAll(async () => {
  book = await openTestBook();
  sandbox = await startSandbox({ port: 0, journalPath: null, seed: 1 });
  daemon = await startTestDaemon(book.db);
});
afterAll(async () => {
  await sandbox.close();
  await book.close();
});

/** One order that waits for its buyer, in a lane of its own, with what drives it. */
type Waiting = {
  readonly account: PspAccount;
  readonly connector: Connector;
  readonly daemon: TestDaemon;
  readonly operationId: bigint;
  readonly paymentId: bigint;
};

function accountOf(psp: PspAccount['psp'], name: string): PspAccount {
  const settings = { name, baseUrl: sandbox.url, maxConcurrent: 4, timeoutMs: 5_000 };
  if (psp === 'stripe') return { psp, apiKey: 'sk_test_abc', ...settings };
  const none = { balanceAccountId: null, liveUrlPrefix: null };
  return { psp, apiKey: 'adyen_test_abc', merchantAccount: 'MarketplaceEU', ...none, ...settings };
}

function open(account: PspAccount): Connector {
  return account.psp === 'stripe' ? createStripeConnector(account) : createAdyenConnector(account);
}

async function queueAt(psp: PspAccount['psp'], paymentMethod: string): Promise<Waiting> {
  const account = accountOf(psp, uniqueName('acct'));
  const context = await acceptContext(book.db, { route: { rules: [], fallback: account } });
  const order = orderRequest({ paymentMethod, customerPresent: true, returnUrl: RETURN_URL });
  const request = fingerprint(paymentRequest({ orders: [order] }));
  await transact(book.db, (tx) => acceptPayments(tx, context, [request]));
  const [row] = await book.db.sql<{ id: bigint; paymentId: bigint }[]>`
    select id, payment_id from ${book.db.t.operation} where psp_account = ${account.name}`;
  const capabilities = capabilitiesOf(psp);
  const ofPsp = { ...daemon, context: { ...daemon.context, capabilitiesOf: () => capabilities } };
  const { id: operationId, paymentId } = row!;
  return { account, connector: open(account), daemon: ofPsp, operationId, paymentId };
}

/** Sent, and now it waits. */
async function waitingAt(psp: PspAccount['psp']): Promise<Waiting> {
  const waiting = await queueAt(psp, psp === 'stripe' ? 'pm_card_authenticationRequired' : 'stored_redirect');
  await step(waiting);
  expect(await standingOf(book.db, waiting.operationId)).toMatchObject({ subState: 'awaiting_customer' });
  return waiting;
}

/** One turn of the executor, however long the job would have waited. */
async function step(one: Waiting, connector = one.connector) {
  await makeDue(book.owner, one.account.name);
  return turn(one.daemon, one.account.name, connector);
}

async function letExpire({ operationId }: Waiting): Promise<void> {
  await book.owner.sql`
    update ${book.owner.t.attempt} set customer_until = now() - interval '1 second' where operation_id = ${operationId}`;
}

async function detailOf({ paymentId }: Waiting) {
  const rows = await listPaymentRows(book.db, [paymentId]);
  return paymentDetail(rows, await listHandOffs(book.db, waitingCharges(rows)));
}

async function handOffRows({ operationId }: Waiting): Promise<number> {
  const rows = await book.owner.sql`
    select 1 from ${book.owner.t.handOff} where operation_id = ${operationId}`;
  return rows.length;
}

async function jobOf({ operationId }: Waiting) {
  const [job] = await book.owner.sql<{ action: string; waits: number; delayMs: number }[]>`
    select action, waits, (extract(epoch from run_at - now()) * 1000)::float8 as delay_ms
      from ${book.owner.t.job} where operation_id = ${operationId}`;
  return job ?? null;
}

async function reasonOf({ operationId }: Waiting): Promise<string | null> {
  const [row] = await book.db.sql<{ reason: string | null }[]>`
    select reason from ${book.db.t.operation} where id = ${operationId}`;
  return row!.reason;
}

async function ask(method: 'GET' | 'POST', path: string, body?: object) {
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
  const response = await fetch(`${sandbox.url}/_sandbox/${path}`, init);
  return { ok: response.ok, value: (await response.json()) as never };
}

/** By the sandbox's own books: how often money moved for the order, and what could still move. */
async function truthOf({
  account,
  operationId,
}: Waiting): Promise<{ moved: number; open: number; object: string }> {
  const reference = `op_${operationId}`;
  if (account.psp === 'adyen') {
    const { value } = await ask('GET', `adyen/truth?reference=${reference}`);
    const [row] = (value as { rows: { charged: number; open: number; objects: string[] }[] }).rows;
    return { moved: row!.charged, open: row!.open, object: row!.objects[0]! };
  }
  const { value } = await ask('GET', `truth?metadata[paygate_operation]=${reference}`);
  const intents = (value as { payment_intents: { id: string; status: string }[] }).payment_intents;
  return {
    moved: intents.filter(({ status }) => status === 'succeeded').length,
    open: intents.filter(({ status }) => status !== 'succeeded' && status !== 'canceled').length,
    object: intents[0]!.id,
  };
}

/** The buyer's answer to the challenge; false: it comes too late. */
async function answer(one: Waiting, what: 'pays' | 'fails'): Promise<boolean> {
  const { object } = await truthOf(one);
  const { ok } =
    one.account.psp === 'stripe'
      ? await ask('POST', `payment_intents/${object}/authenticate`, {
          result: what === 'pays' ? 'succeeded' : 'failed',
        })
      : await ask('POST', `adyen/objects/${object}`, {
          happening: what === 'pays' ? 'shopper_pays' : 'shopper_fails',
        });
  return ok;
}

/** Delivers everything that Adyen has to tell, in the order given. */
async function deliver(one: Waiting, order: 'as_happened' | 'reversed' = 'as_happened'): Promise<void> {
  const { value } = await ask('GET', 'adyen/webhooks');
  const { hmac_key: key, webhooks } = value as { hmac_key: string; webhooks: { body: string }[] };
  const bodies = order === 'reversed' ? [...webhooks].reverse() : webhooks;
  for (const { body } of bodies) {
    const delivery = one.connector.parseWebhook(Buffer.from(body), {}, key, 0);
    if (delivery.kind === 'refused') throw new Error(delivery.reason);
    const events = delivery.news.map(({ id, operationReference, ...news }) => ({
      ...news,
      eventId: id,
      operationId: operationReference === null ? null : parseId('operation', operationReference),
    }));
    await acceptWebhooks(book.db, one.daemon.context, one.account.name, events);
  }
}

describe('what the shop is handed', () => {
  test('Stripe: client secret and payment intent, for a day, to who asks for this payment', async () => {
    const waiting = await waitingAt('stripe');
    const { object } = await truthOf(waiting);
    const [order] = (await detailOf(waiting)).payment_orders;
    expect(order).toMatchObject({
      sub_state: 'awaiting_customer',
      hand_off: {
        type: 'stripe_client_secret',
        payment_intent: object,
        client_secret: expect.stringMatching(/_secret_/),
      },
    });
    const leftMs = Date.parse(order!.hand_off!.expires_at) - Date.now();
    expect(Math.abs(leftMs - 24 * 3_600_000)).toBeLessThan(60_000);
  });

  test('Adyen: where to send the buyer, and how', async () => {
    const waiting = await waitingAt('adyen');
    const { object } = await truthOf(waiting);
    const [order] = (await detailOf(waiting)).payment_orders;
    expect(order!.hand_off).toMatchObject({
      type: 'redirect',
      url: `https://bank.example/challenge/${object}`,
      method: 'GET',
      data: {},
    });
  });

  test.each(['stripe', 'adyen'] as const)(
    '%s: it stands in no event, no evidence and no list',
    async (psp) => {
      const waiting = await waitingAt(psp);
      const { db, owner } = book;
      const secret = psp === 'stripe' ? '_secret_' : 'bank.example';
      expect(JSON.stringify(await detailOf(waiting))).toContain(secret);
      const { sql, t } = owner;
      const leaks = await sql`
      select 1 from ${t.event} where position(${secret} in data::text) > 0
      union all
      select 1 from ${t.evidence} where position(${secret} in coalesce(detail, '') || coalesce(reason, '')) > 0`;
      expect(leaks).toEqual([]);
      const rows = await listPaymentRows(db, [waiting.paymentId]);
      expect(JSON.stringify(paymentView(rows))).not.toContain(secret);
    },
  );

  test('a late answer brings it too', async () => {
    const waiting = await queueAt('stripe', 'pm_card_authenticationRequired');
    const task = await claimOne(waiting.daemon, waiting.account.name);
    await book.owner.sql`
      update ${book.owner.t.job} set state = 'ready', daemon_id = null, fence = fence + 1
       where operation_id = ${waiting.operationId}`;
    await record(waiting.daemon, task, REPLY.awaiting_customer);
    expect(await handOffRows(waiting)).toBe(1);
  });
});

describe.each(['stripe', 'adyen'] as const)('a charge that waits for its buyer at %s', (psp) => {
  /** The PSP's word reaches us: by asking, or by webhook. */
  const learn = async (waiting: Waiting): Promise<void> => {
    if (psp === 'stripe') await step(waiting);
    else await deliver(waiting);
  };

  test('is booked once when the buyer has paid, and the hand-off is gone', async () => {
    const waiting = await waitingAt(psp);
    expect(await answer(waiting, 'pays')).toBe(true);
    await learn(waiting);
    expect(await standingOf(book.db, waiting.operationId)).toMatchObject({
      subState: 'succeeded',
      job: null,
      entries: ['charge_succeeded'],
    });
    expect(await handOffRows(waiting)).toBe(0);
    expect((await detailOf(waiting)).payment_orders[0]).not.toHaveProperty('hand_off');
    expect((await truthOf(waiting)).moved).toBe(1);
    expect(await balanceOf(book.db, `psp:${waiting.account.name}:receivable`, 'EUR')).toBe(1250n);
  });

  test('is declined when the buyer fails, and can be paid no more', async () => {
    const waiting = await waitingAt(psp);
    expect(await answer(waiting, 'fails')).toBe(true);
    await learn(waiting);
    // Whoever has a client secret could try another card: Stripe is asked to cancel first.
    if (psp === 'stripe') {
      expect(await standingOf(book.db, waiting.operationId)).toMatchObject({
        subState: 'awaiting_customer',
        job: { action: 'cancel' },
      });
      expect((await detailOf(waiting)).payment_orders[0]).not.toHaveProperty('hand_off');
      await step(waiting);
    }
    expect(await standingOf(book.db, waiting.operationId)).toMatchObject({ subState: 'declined', job: null });
    expect(await truthOf(waiting)).toMatchObject({ moved: 0, open: 0 });
    expect(await handOffRows(waiting)).toBe(0);
    expect(await reasonOf(waiting)).not.toContain('canceled');
  });

  test('expires only when the PSP says that it is canceled', async () => {
    const waiting = await waitingAt(psp);
    await letExpire(waiting);
    await step(waiting);
    expect(await jobOf(waiting)).toMatchObject({ action: 'cancel' });
    expect(await standingOf(book.db, waiting.operationId)).toMatchObject({ subState: 'awaiting_customer' });
    await step(waiting);
    if (psp === 'adyen') {
      // Adyen has taken it in; its webhook tells.
      expect(await standingOf(book.db, waiting.operationId)).toMatchObject({ subState: 'awaiting_customer' });
      await deliver(waiting);
    }
    expect(await standingOf(book.db, waiting.operationId)).toMatchObject({
      subState: 'expired',
      attemptState: 'declined',
      job: null,
      deadLetters: [],
      entries: [],
    });
    expect(await reasonOf(waiting)).toBe('the customer did not finish in time');
    expect(await answer(waiting, 'pays')).toBe(false);
    expect(await truthOf(waiting)).toMatchObject({ moved: 0, open: 0 });
    expect(await handOffRows(waiting)).toBe(0);
  });

  test('that was paid while it expired has succeeded, and nobody is told otherwise', async () => {
    const waiting = await waitingAt(psp);
    await letExpire(waiting);
    await step(waiting);
    expect(await answer(waiting, 'pays')).toBe(true);
    await step(waiting);
    if (psp === 'adyen') await deliver(waiting, 'reversed');
    expect(await standingOf(book.db, waiting.operationId)).toMatchObject({
      subState: 'succeeded',
      deadLetters: [],
      entries: ['charge_succeeded'],
    });
    expect((await truthOf(waiting)).moved).toBe(1);
  });

  test('is canceled by a person through the PSP, with their reason', async () => {
    const waiting = await waitingAt(psp);
    const canceled = await cancelOperation(book.db, waiting.operationId, WHY);
    expect(canceled).toMatchObject({ how: 'asked', attemptNumber: 1 });
    expect(await standingOf(book.db, waiting.operationId)).toMatchObject({ subState: 'awaiting_customer' });
    expect((await detailOf(waiting)).payment_orders[0]).not.toHaveProperty('hand_off');
    expect(await cancelOperation(book.db, waiting.operationId, { ...WHY, reason: 'other' })).toEqual(
      canceled,
    );
    expect((await jobOf(waiting))!.delayMs).toBeLessThanOrEqual(0);
    await step(waiting);
    await step(waiting);
    if (psp === 'adyen') await deliver(waiting);
    expect(await standingOf(book.db, waiting.operationId)).toMatchObject({ subState: 'canceled', job: null });
    expect(await reasonOf(waiting)).toBe(WHY.reason);
    expect(await truthOf(waiting)).toMatchObject({ moved: 0, open: 0 });
    await expect(cancelOperation(book.db, waiting.operationId, WHY)).rejects.toMatchObject({
      code: 'already_ended',
    });
  });

  test('that is canceled while a daemon has it in hand is canceled next', async () => {
    const waiting = await waitingAt(psp);
    await makeDue(book.owner, waiting.account.name);
    const task = await claimOne(waiting.daemon, waiting.account.name);
    await cancelOperation(book.db, waiting.operationId, WHY);
    await record(waiting.daemon, task, null);
    expect(await jobOf(waiting)).toMatchObject({ action: 'cancel' });
  });

  test('ends as the PSP has it, whoever is faster, buyer or cancellation', async () => {
    const outcomes = new Set<string>();
    for (let nth = 0; nth < 12; nth += 1) {
      const waiting = await waitingAt(psp);
      await letExpire(waiting);
      await step(waiting);
      await makeDue(book.owner, waiting.account.name);
      const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
      await Promise.all([
        pause(nth % 4).then(() => answer(waiting, 'pays')),
        pause((nth + 2) % 4).then(() => turn(waiting.daemon, waiting.account.name, waiting.connector)),
      ]);
      if (psp === 'adyen') await deliver(waiting, nth % 2 === 0 ? 'reversed' : 'as_happened');
      const { subState, deadLetters } = await standingOf(book.db, waiting.operationId);
      const { moved, open } = await truthOf(waiting);
      expect([subState, deadLetters, open]).toEqual([moved === 1 ? 'succeeded' : 'expired', [], 0]);
      outcomes.add(subState);
    }
    expect(outcomes.size).toBeGreaterThan(0);
  });
});

describe('a cancellation that the PSP does not answer', () => {
  test('is tried again, ever more seldom, and ends nothing', async () => {
    const waiting = await waitingAt('stripe');
    await letExpire(waiting);
    await step(waiting);
    const delays: number[] = [];
    for (let nth = 0; nth < 15; nth += 1) {
      await step(waiting, scriptedConnector([{ ...REPLY.unknown, next: 'enquire' }]));
      delays.push((await jobOf(waiting))!.delayMs);
    }
    expect(await jobOf(waiting)).toMatchObject({ action: 'cancel', waits: 15 });
    expect(await standingOf(book.db, waiting.operationId)).toMatchObject({
      subState: 'awaiting_customer',
      deadLetters: [],
    });
    expect(delays[0]).toBeLessThan(3_000);
    expect(delays.at(-1)).toBeGreaterThan(3_500_000);
    await step(waiting);
    expect(await standingOf(book.db, waiting.operationId)).toMatchObject({ subState: 'expired' });
  });
});

describe('where the buyer comes back to', () => {
  test('is stored with the order and sent to the PSP', async () => {
    for (const [psp, field] of [
      ['stripe', 'return_url'],
      ['adyen', 'returnUrl'],
    ] as const) {
      const waiting = await waitingAt(psp);
      const [row] = await book.db.sql<{ request: string; returnUrl: string }[]>`
        select a.request, po.return_url
          from ${book.db.t.attempt} a
          join ${book.db.t.paymentOrder} po on po.payment_id = ${waiting.paymentId}
         where a.operation_id = ${waiting.operationId}`;
      expect(row!.returnUrl).toBe(RETURN_URL);
      expect(JSON.parse(row!.request)).toMatchObject({ [field]: RETURN_URL });
    }
  });
});
