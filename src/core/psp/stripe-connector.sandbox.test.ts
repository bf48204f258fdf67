/** The Stripe connector against the sandbox, by the official SDK: the suite that every connector passes. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { Sandbox } from '../../daemon/sandbox/main.ts';
import { startSandbox } from '../../daemon/sandbox/main.ts';
import type {
  ConformanceFault,
  ConformanceHarness,
  ConformancePayer,
} from '../../testing/connector-conformance.ts';
import { connectorConformance, HANG_MS, RETRY_AFTER_S } from '../../testing/connector-conformance.ts';
import { parseCurrency } from '../money.ts';
import type { ChargeInstruction, Connector, FrozenRequest, OperationKind, StoredAttempt } from './psp.ts';
import { freezeCharge, freezePayout, freezeRefund } from './request.ts';
import { createStripeConnector } from './stripe-connector.ts';

const EUR = parseCurrency('EUR')!;
const SEK = parseCurrency('SEK')!;

/** What every charge here is over, in cents. */
const CHARGED = 1250n;

/** In cents; more than all payouts of a test. */
const FUNDS = 100_000_000;

const PAYMENT_METHODS: Readonly<Record<ConformancePayer, string>> = {
  pays: 'pm_card_visa',
  is_declined: 'pm_card_visa_chargeDeclinedInsufficientFunds',
  is_declined_for_ever: 'pm_card_visa_chargeDeclinedLostCard',
  must_authenticate: 'pm_card_authenticationRequired',
  must_authenticate_absent: 'pm_card_authenticationRequired',
};

let nextNumber = 1;

function attempt(overrides: Partial<ChargeInstruction> = {}): StoredAttempt {
  const operationId = overrides.operationId ?? `op_${nextNumber++}`;
  const idempotencyKey = `b7f3-${operationId}-1`;
  const frozen = freezeCharge(
    { psp: 'stripe' },
    {
      idempotencyKey,
      paymentId: `pay_${operationId}`,
      orderId: `ord_${operationId}`,
      operationId,
      attemptNumber: 1,
      amountMinor: CHARGED,
      currency: EUR,
      paymentMethod: PAYMENT_METHODS.pays,
      buyer: 'buyer-77',
      customerPresent: false,
      ...overrides,
    },
  );
  return stored('charge', operationId, frozen);
}

function stored(operationKind: OperationKind, operationId: string, frozen: FrozenRequest): StoredAttempt {
  if (frozen.kind === 'rejected') throw new Error(frozen.reason);
  const idempotencyKey = `b7f3-${operationId}-1`;
  return { operationKind, idempotencyKey, request: frozen.request, reference: operationId };
}

function refund(chargeReference: string, amountMinor = CHARGED, operationId = `op_${nextNumber++}`) {
  const frozen = freezeRefund(
    { psp: 'stripe' },
    {
      idempotencyKey: `b7f3-${operationId}-1`,
      operationId,
      orderId: `ord_of_${chargeReference}`,
      attemptNumber: 1,
      chargeReference,
      amountMinor,
      currency: EUR,
    },
  );
  return stored('refund', operationId, frozen);
}

function payout(currency = EUR, amountMinor = 700n, operationId = `op_${nextNumber++}`) {
  const frozen = freezePayout(
    { psp: 'stripe' },
    {
      idempotencyKey: `b7f3-${operationId}-1`,
      operationId,
      attemptNumber: 1,
      destination: 'acct_seller1',
      amountMinor,
      currency,
    },
  );
  return stored('payout', operationId, frozen);
}

/** An attempt of any kind that will be carried out; a refund gets a charge of its own first. */
async function attemptOf(kind: OperationKind, connector: Connector): Promise<StoredAttempt> {
  if (kind === 'charge') return attempt();
  if (kind === 'payout') return payout();
  return refund(await charged(connector));
}

/** The reference of a new charge that was paid. */
async function charged(connector: Connector): Promise<string> {
  const reply = await connector.charge(attempt(), 10_000);
  if (reply.kind !== 'succeeded') throw new Error(`the charge is ${reply.kind}`);
  return reply.pspReference;
}

/** The same attempt over one cent less, so that the PSP would carry it out under another key. */
function withOtherParameters(one: StoredAttempt): StoredAttempt {
  const parameters = JSON.parse(one.request) as { readonly amount: number };
  return { ...one, request: JSON.stringify({ ...parameters, amount: parameters.amount - 1 }) };
}

function connect(port: number, maxConcurrent: number): Connector {
  return createStripeConnector({
    name: 'main',
    psp: 'stripe',
    apiKey: 'sk_test_abc',
    baseUrl: `http://127.0.0.1:${port}`,
    maxConcurrent,
    timeoutMs: 10_000,
  });
}

async function tell(sandbox: Sandbox, path: string, body: unknown): Promise<void> {
  const response = await fetch(`${sandbox.url}/_sandbox/${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
}

/** What the sandbox says of one object, as far as it is looked at here. */
type True = { readonly id?: string; readonly reference?: string; readonly succeeded?: number };

async function trueLines(sandbox: Sandbox, path: string): Promise<readonly True[]> {
  const text = await (
    await fetch(`${sandbox.url}/_sandbox/truth${path === '' || path.startsWith('?') ? path : `/${path}`}`)
  ).text();
  return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as True]));
}

const TRUTHS: Readonly<Record<OperationKind, { readonly moved: string; readonly objects: string }>> = {
  charge: { moved: 'moved', objects: '' },
  refund: { moved: 'refunded', objects: 'refunds' },
  payout: { moved: 'transferred', objects: 'transfers' },
};

/** How many objects moved money for the operation, and still do. */
async function movements(sandbox: Sandbox, { operationKind, reference }: StoredAttempt): Promise<number> {
  const rows = await trueLines(sandbox, `${TRUTHS[operationKind].moved}?by=paygate_operation`);
  return rows.find((row) => row.reference === reference)?.succeeded ?? 0;
}

/** The name of the one refund or transfer of the attempt. */
async function objectOf(sandbox: Sandbox, { operationKind, reference }: StoredAttempt): Promise<string> {
  const query = new URLSearchParams({ 'metadata[paygate_operation]': reference, format: 'ndjson' });
  const [found, ...others] = await trueLines(sandbox, `${TRUTHS[operationKind].objects}?${query}`);
  if (found?.id === undefined || others.length > 0) throw new Error(`${reference} is not one object`);
  return found.id;
}

function start(): Promise<Sandbox> {
  return startSandbox({
    port: 0,
    journalPath: null,
    seed: 1,
    settings: { hang_ms: HANG_MS, drip_ms: HANG_MS, retry_after_s: RETRY_AFTER_S },
  });
}

async function startHarness(): Promise<ConformanceHarness> {
  const sandbox = await start();
  await tell(sandbox, 'balance/top_up', { currency: 'eur', amount: FUNDS });
  const helper = connect(sandbox.port, 4);
  return {
    port: sandbox.port,
    connect: ({ port, maxConcurrent }) => connect(port, maxConcurrent),
    attempt: (payer) =>
      attempt({ paymentMethod: PAYMENT_METHODS[payer], customerPresent: payer === 'must_authenticate' }),
    attemptOf: (kind) => attemptOf(kind, helper),
    overRefund: async () => refund(await charged(helper), CHARGED + 1n),
    unfundedPayout: () => payout(SEK),
    complete: async (one) =>
      tell(sandbox, `refunds/${await objectOf(sandbox, one)}/move`, { to: 'succeeded' }),
    answerChallenge: async (one, answer) => {
      const id = await objectOf(sandbox, one);
      const result = answer === 'pays' ? 'succeeded' : 'failed';
      await tell(sandbox, `payment_intents/${id}/authenticate`, { result });
    },
    told: async (_one, answer) => answer,
    undo: async (one) => {
      const id = await objectOf(sandbox, one);
      if (one.operationKind === 'payout') await tell(sandbox, `transfers/${id}/reverse`, {});
      else await tell(sandbox, `refunds/${id}/move`, { to: 'failed' });
    },
    withOtherParameters,
    queueFault: (one, fault: ConformanceFault) =>
      tell(sandbox, 'faults', { match: { key: one.idempotencyKey }, sequence: [fault] }),
    queueEnquiryFault: (fault) =>
      tell(sandbox, 'faults', { match: { method: 'GET', path_prefix: '/v1/' }, sequence: [fault] }),
    movements: (one) => movements(sandbox, one),
    stop: async () => {
      await helper.close();
      await sandbox.close();
    },
  };
}

const KINDS = ['charge', 'refund', 'payout'] as const;

connectorConformance('Stripe', { kinds: KINDS, findable: KINDS }, startHarness);

describe('the Stripe enquiry against the sandbox', () => {
  test('reads every page of the window', async () => {
    const sandbox = await start();
    const connector = connect(sandbox.port, 16);
    try {
      const sent = { firstSentAt: new Date().toISOString(), lastSentAt: new Date().toISOString() };
      const wanted = attempt();
      await tell(sandbox, 'faults', {
        match: { key: wanted.idempotencyKey },
        sequence: ['pending_then_succeed'],
      });
      expect(await connector.charge(wanted, 10_000)).toMatchObject({ kind: 'pending' });
      const others = Array.from({ length: 250 }, () => connector.charge(attempt(), 10_000));
      for (const reply of await Promise.all(others)) expect(reply).toMatchObject({ kind: 'succeeded' });
      // Listed newest first, the wanted one stands on the third page; being unfinished it has no charge to be found by.
      expect(await connector.enquire(wanted, sent, 10_000)).toMatchObject({ kind: 'pending' });
      const missing = attempt();
      expect(await connector.enquire(missing, sent, 10_000)).toMatchObject({ kind: 'not_found' });
      const before = { firstSentAt: '2020-01-01T00:00:00Z', lastSentAt: '2020-01-01T00:00:00Z' };
      expect(await connector.enquire(wanted, before, 10_000)).toMatchObject({ kind: 'not_found' });
    } finally {
      await connector.close();
      await sandbox.close();
    }
  });

  test('reads every page of the refunds of a charge', async () => {
    const sandbox = await start();
    const connector = connect(sandbox.port, 4);
    try {
      const sent = { firstSentAt: new Date().toISOString(), lastSentAt: new Date().toISOString() };
      const reference = await charged(connector);
      const attempts = Array.from({ length: 250 }, () => refund(reference, 5n));
      for (const one of attempts)
        expect(await connector.refund(one, 10_000)).toMatchObject({ kind: 'succeeded' });
      // Listed newest first, the oldest stands on the third page.
      const oldest = attempts[0]!;
      expect(await connector.enquire(oldest, sent, 10_000)).toEqual(await connector.refund(oldest, 10_000));
      expect(await connector.enquire(refund(reference), sent, 10_000)).toMatchObject({ kind: 'not_found' });
    } finally {
      await connector.close();
      await sandbox.close();
    }
  });

  test.each([
    ['ISK', 100n],
    ['KWD', 1230n],
    ['JPY', 500n],
    ['MGA', 500_000n],
    ['XOF', 655n],
    ['CLP', 990n],
  ])('an amount in %s goes through as Stripe counts it', async (code, amountMinor) => {
    const sandbox = await start();
    const connector = connect(sandbox.port, 1);
    try {
      const one = attempt({ currency: parseCurrency(code)!, amountMinor });
      expect(await connector.charge(one, 10_000)).toMatchObject({ kind: 'succeeded' });
    } finally {
      await connector.close();
      await sandbox.close();
    }
  });
});

test('webhooks of the sandbox are read as events of our operations', async () => {
  const deliveries: { readonly body: Buffer; readonly headers: IncomingHttpHeaders }[] = [];
  const receiver = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      deliveries.push({ body: Buffer.concat(chunks), headers: request.headers });
      response.end();
    });
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const address = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
  const sandbox = await start();
  const connector = connect(sandbox.port, 4);
  try {
    await tell(sandbox, 'config', { webhook_url: address, webhook_secret: 'whsec_a', webhook_delay_ms: 0 });
    const one = refund(await charged(connector));
    const done = await connector.refund(one, 10_000);
    await expect.poll(() => deliveries.length, { timeout: 20_000 }).toBe(3);
    const nowS = Math.floor(Date.now() / 1000);
    const readings = deliveries.map(({ body, headers }) =>
      connector.parseWebhook(body, headers, 'whsec_a', nowS),
    );
    const news = readings.flatMap((reading) => (reading.kind === 'news' ? reading.news : []));
    expect(news).toHaveLength(3);
    expect(news).toContainEqual({
      says: null,
      id: expect.stringMatching(/^evt_/),
      type: 'refund.created',
      operationReference: one.reference,
      pspReference: (done as { pspReference: string }).pspReference,
    });
    for (const { body, headers } of deliveries)
      expect(connector.parseWebhook(body, headers, 'whsec_b', nowS)).toMatchObject({ kind: 'refused' });
  } finally {
    await connector.close();
    await sandbox.close();
    receiver.closeAllConnections();
    receiver.close();
  }
});

test.each<OperationKind>(['charge', 'refund', 'payout'])(
  'under a storm of faults no reply to a %s contradicts what really moved',
  async (kind) => {
    const sandbox = await startSandbox({
      port: 0,
      journalPath: null,
      seed: 7,
      settings: { hang_ms: 400, drip_ms: 400 },
    });
    // Fewer sockets than callers, so that some calls never get one.
    const connector = connect(sandbox.port, 24);
    try {
      await tell(sandbox, 'balance/top_up', { currency: 'eur', amount: FUNDS });
      const attempts = await Promise.all(
        Array.from({ length: STORM_ATTEMPTS }, () => attemptOf(kind, connector)),
      );
      await tell(sandbox, 'config', { rates: Object.fromEntries(STORM.map((fault) => [fault, 0.06])) });
      const seen = await Promise.all(
        attempts.map(async (one) => {
          const kinds: string[] = [];
          for (let send = 0; send < 3; send += 1) kinds.push((await connector[kind](one, 250)).kind);
          return { one, kinds };
        }),
      );
      // What hung is executed by now.
      await new Promise((resolve) => setTimeout(resolve, 600));
      const counts: Record<string, number> = {};
      for (const { one, kinds } of seen) {
        for (const reply of kinds) counts[reply] = (counts[reply] ?? 0) + 1;
        const moved = await movements(sandbox, one);
        const story = `${one.reference}: ${kinds.join(', ')}`;
        expect(moved, story).toBeLessThanOrEqual(1);
        if (kinds.includes('succeeded')) expect(moved, story).toBe(1);
        if (kinds.includes('declined')) expect(moved, story).toBe(0);
        if (kinds.every((reply) => HARMLESS.has(reply))) expect(moved, story).toBe(0);
      }
      // An empty storm would prove nothing.
      for (const reply of ['succeeded', 'declined', 'unknown', 'rate_limited', 'config_error']) {
        expect(counts[reply], reply).toBeGreaterThan(0);
      }
    } finally {
      await connector.close();
      await sandbox.close();
    }
  },
);

/** Enough for every fault to come up many times, and over within seconds. */
const STORM_ATTEMPTS = 400;

const STORM: readonly ConformanceFault[] = [
  'act_then_drop',
  'act_then_truncate',
  'act_then_empty',
  'act_then_drip',
  'act_then_500',
  'act_then_bad_gateway',
  'drop_before_acting',
  'fail_500',
  'bad_gateway',
  'hang_then_act',
  'rate_limited',
  'key_in_use',
  'unauthorized',
  'decline',
];

/** Replies that say of their own request that it did nothing. */
const HARMLESS: ReadonlySet<string> = new Set(['not_sent', 'rejected', 'rate_limited', 'config_error']);
