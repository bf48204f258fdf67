/** Webhooks as a receiver sees them, verified by the official SDK, and everything that may go wrong on their way. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Stripe from 'stripe';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Sandbox, startSandbox } from './main.ts';
import type { SettingsPatch } from './settings.ts';

const SECRET = 'whsec_test';
/** A loaded machine may take its time. */
const PATIENT = { timeout: 20_000, interval: 10 };
const FAST = { webhook_delay_ms: 0, webhook_retry_ms: 1, webhook_reorder_ms: 100 };
const stripe = new Stripe('sk_test_x');
const cleanups: (() => unknown)[] = [];
let receiver: Receiver;

beforeEach(async () => {
  receiver = await startReceiver();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** @property received what the SDK took for genuine, or why it did not */
interface Receiver {
  readonly url: string;
  readonly received: ({ readonly id: string; readonly type: string; readonly object: unknown } | string)[];
  /** What it answers next; 200 once there is nothing left. */
  readonly answers: number[];
}

async function startReceiver(): Promise<Receiver> {
  const received: Receiver['received'] = [];
  const answers: number[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const signature = String(request.headers['stripe-signature']);
      try {
        const event = stripe.webhooks.constructEvent(Buffer.concat(chunks), signature, SECRET);
        received.push({ id: event.id, type: event.type, object: event.data.object });
        response.writeHead(answers.shift() ?? 200).end();
      } catch (error) {
        received.push((error as Error).message.split('\n')[0] ?? '');
        response.writeHead(400).end();
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks`, received, answers };
}

async function start(settings: SettingsPatch = {}, journalPath: string | null = null): Promise<Sandbox> {
  const sandbox = await startSandbox({
    port: 0,
    journalPath,
    seed: 1,
    settings: { webhook_url: receiver.url, webhook_secret: SECRET, ...FAST, ...settings },
  });
  cleanups.push(() => sandbox.close());
  return sandbox;
}

function sdk(sandbox: Sandbox): Stripe {
  return new Stripe('sk_test_x', {
    host: '127.0.0.1',
    port: sandbox.port,
    protocol: 'http',
    telemetry: false,
  });
}

async function admin<T>(sandbox: Sandbox, path: string, body?: unknown): Promise<T> {
  const init = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
  const response = await fetch(`${sandbox.url}/_sandbox/${path}`, init);
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as T;
}

function pay(sandbox: Sandbox, card = 'pm_card_visa'): Promise<Stripe.PaymentIntent> {
  return sdk(sandbox).paymentIntents.create({
    ...{ amount: 2000, currency: 'eur', confirm: true, payment_method: card },
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    metadata: { paygate_operation: 'op_1' },
  });
}

/** Types of genuine events in the order in which they came. */
const types = () => receiver.received.flatMap((one) => (typeof one === 'string' ? [] : [one.type]));
const ids = () => receiver.received.flatMap((one) => (typeof one === 'string' ? [] : [one.id]));

/** Waits until nothing is on its way any more. */
const untilQuiet = (sandbox: Sandbox) =>
  expect.poll(() => admin(sandbox, 'webhooks'), PATIENT).toMatchObject({ pending: 0, in_flight: 0 });

describe('events', () => {
  test('tell of everything that happens to money, signed as Stripe signs', async () => {
    const sandbox = await start();
    const api = sdk(sandbox);
    const intent = await pay(sandbox);
    await pay(sandbox, 'pm_card_visa_chargeDeclined').catch(() => undefined);
    await admin(sandbox, 'faults', { sequence: [{ fault: 'pending_then_succeed', ms: 1000 }] });
    await pay(sandbox);
    const refund = await api.refunds.create({ payment_intent: intent.id, amount: 500 });
    await admin(sandbox, `refunds/${refund.id}/move`, { to: 'failed' });
    const transfer = await api.transfers.create({ amount: 700, currency: 'eur', destination: 'acct_1' });
    await api.transfers.createReversal(transfer.id);
    const dispute = await admin<{ id: string }>(sandbox, `payment_intents/${intent.id}/dispute`, {});
    await admin(sandbox, `disputes/${dispute.id}/answer`, {});
    await admin(sandbox, `disputes/${dispute.id}/close`, { result: 'lost' });
    const bounced = await pay(sandbox);
    await admin(sandbox, `payment_intents/${bounced.id}/bounce`, {});
    await admin(sandbox, 'clock', { advance_ms: 1000 });
    await untilQuiet(sandbox);
    expect(types().sort()).toEqual(
      [
        ...['payment_intent.succeeded', 'payment_intent.payment_failed', 'payment_intent.processing'],
        ...['payment_intent.succeeded', 'refund.created', 'charge.refunded', 'refund.updated'],
        ...['refund.failed', 'transfer.created', 'transfer.reversed', 'charge.dispute.created'],
        ...['charge.dispute.funds_withdrawn', 'charge.dispute.updated', 'charge.dispute.closed'],
        ...['payment_intent.succeeded', 'charge.failed', 'payment_intent.payment_failed'],
      ].sort(),
    );
    expect(receiver.received).toContainEqual({
      id: expect.stringMatching(/^evt_/),
      type: 'charge.refunded',
      object: expect.objectContaining({ object: 'charge', payment_intent: intent.id, amount_refunded: 500 }),
    });
    expect(receiver.received).toContainEqual({
      id: expect.stringMatching(/^evt_/),
      type: 'refund.failed',
      object: expect.objectContaining({ id: refund.id, status: 'failed', failure_reason: 'declined' }),
    });
    expect(new Set(ids()).size).toBe(17);
  });

  test('can be read and listed, newest first, also where no webhook is sent', async () => {
    const sandbox = await start({ webhook_url: null });
    const api = sdk(sandbox);
    for (let n = 0; n < 5; n++) await pay(sandbox);
    const { id } = await api.refunds.create({ payment_intent: (await pay(sandbox)).id });
    const all = await api.events.list({ limit: 5 });
    expect(all).toMatchObject({ has_more: true, url: '/v1/events' });
    expect(all.data.map((event) => event.type).slice(0, 3)).toEqual([
      ...['charge.refunded', 'refund.created', 'payment_intent.succeeded'],
    ]);
    const rest = await api.events.list({ limit: 5, starting_after: all.data[4]!.id });
    expect(rest).toMatchObject({ has_more: false, data: { length: 3 } });
    const [created] = (await api.events.list({ type: 'refund.created' })).data;
    expect(await api.events.retrieve(created!.id)).toMatchObject({ data: { object: { id } } });
    expect((await api.events.list({ types: ['charge.refunded', 'refund.created'] })).data).toHaveLength(2);
    expect(receiver.received).toEqual([]);
    expect(await admin(sandbox, 'webhooks')).toMatchObject({ pending: 0, delivered: 0 });
  });

  test('only those after the address was given are sent', async () => {
    const sandbox = await start({ webhook_url: null });
    await pay(sandbox);
    await admin(sandbox, 'config', { webhook_url: receiver.url });
    await pay(sandbox, 'pm_card_visa_chargeDeclined').catch(() => undefined);
    await untilQuiet(sandbox);
    expect(types()).toEqual(['payment_intent.payment_failed']);
  });
});

describe('delivery', () => {
  test('is tried again until the receiver takes it', async () => {
    const sandbox = await start();
    receiver.answers.push(500, 404, 302);
    await pay(sandbox);
    await untilQuiet(sandbox);
    expect(ids()).toHaveLength(4);
    expect(new Set(ids()).size).toBe(1);
    expect(await admin(sandbox, 'webhooks')).toMatchObject({ delivered: 1, tries_failed: 3 });
  });

  test('is given up after its tries, and the event can still be read', async () => {
    const sandbox = await start({ webhook_retry_ms: 0 });
    receiver.answers.push(...Array.from({ length: 100 }, () => 500));
    await pay(sandbox);
    await untilQuiet(sandbox);
    expect(await admin(sandbox, 'webhooks')).toMatchObject({ delivered: 0, given_up: 1, tries_failed: 16 });
    expect((await sdk(sandbox).events.list()).data).toHaveLength(1);
  });

  test('goes on after a restart where it had stopped, with the same events', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sandbox-hooks-'));
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    const journal = join(folder, 'journal');
    const first = await start({}, journal);
    await pay(first);
    await untilQuiet(first);
    await admin(first, 'config', { webhook_delay_ms: 3_600_000 });
    const intent = await pay(first);
    await sdk(first).refunds.create({ payment_intent: intent.id });
    const events = (await sdk(first).events.list()).data.map(({ id, type, created }) => ({
      id,
      type,
      created,
    }));
    await first.close();
    const second = await start({}, journal);
    expect(
      (await sdk(second).events.list()).data.map(({ id, type, created }) => ({ id, type, created })),
    ).toEqual(events);
    await untilQuiet(second);
    expect([...ids()].sort()).toEqual(events.map(({ id }) => id).sort());
    await second.close();
    const third = await start({}, journal);
    await untilQuiet(third);
    expect(ids()).toHaveLength(4);
  });

  test.each(['http://192.0.2.1/hooks', 'https://example.com/hooks', 'http://127.0.0.1.example.com/'])(
    'to %s is refused unless it is asked for',
    async (url) => {
      const sandbox = await start();
      await expect(admin(sandbox, 'config', { webhook_url: url })).rejects.toThrow(/not on this machine/);
      const settings = { webhook_url: url };
      await expect(startSandbox({ port: 0, journalPath: null, seed: 1, settings })).rejects.toMatchObject({
        code: 'sandbox_settings_invalid',
      });
      await admin(sandbox, 'config', { webhook_url: url, webhook_targets: 'any' });
    },
  );
});

describe('faults on the way', () => {
  test('duplicate: twice, the same event', async () => {
    const sandbox = await start({ webhook_rates: { duplicate: 1 } });
    await pay(sandbox);
    await untilQuiet(sandbox);
    expect(ids()).toHaveLength(2);
    expect(new Set(ids()).size).toBe(1);
  });

  test('lose: never sent, but there to be read', async () => {
    const sandbox = await start({ webhook_rates: { lose: 1 } });
    await pay(sandbox);
    expect(await admin(sandbox, 'webhooks')).toMatchObject({ pending: 0, lost: 1 });
    expect((await sdk(sandbox).events.list()).data).toHaveLength(1);
    expect(receiver.received).toEqual([]);
  });

  test.each([
    ['bad_signature', /signatures/],
    ['stale', /tolerance/],
  ])('%s: refused first, right the second time', async (fault, complaint) => {
    const sandbox = await start({ webhook_rates: { [fault]: 1 } });
    await pay(sandbox);
    await untilQuiet(sandbox);
    expect(receiver.received).toEqual([expect.stringMatching(complaint), expect.objectContaining({})]);
  });

  test('early: there before the answer to the call', async () => {
    const sandbox = await start({ webhook_rates: { early: 1 } });
    for (let n = 1; n <= 5; n++) {
      await pay(sandbox);
      expect(types()).toHaveLength(n);
    }
  });

  test('early: a receiver that is down holds the answer up only for one try', async () => {
    const sandbox = await start({ webhook_rates: { early: 1 }, webhook_url: 'http://127.0.0.1:9/' });
    expect((await pay(sandbox)).status).toBe('succeeded');
  });

  test('reorder: later events overtake', async () => {
    const sandbox = await start({ webhook_rates: { reorder: 1 } });
    const intent = await pay(sandbox);
    await admin(sandbox, 'config', { webhook_rates: {} });
    await admin(sandbox, `payment_intents/${intent.id}/dispute`, {});
    await untilQuiet(sandbox);
    expect(types()).toEqual([
      'charge.dispute.created',
      'charge.dispute.funds_withdrawn',
      'payment_intent.succeeded',
    ]);
  });

  test('a reset forgets what waits', async () => {
    const sandbox = await start({ webhook_delay_ms: 3_600_000 });
    await pay(sandbox);
    expect(await admin(sandbox, 'webhooks')).toMatchObject({ pending: 1 });
    await admin(sandbox, 'reset', {});
    expect(await admin(sandbox, 'webhooks')).toMatchObject({ pending: 0 });
    expect((await sdk(sandbox).events.list()).data).toEqual([]);
  });
});
