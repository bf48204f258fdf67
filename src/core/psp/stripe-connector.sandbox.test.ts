/** The Stripe connector against the sandbox, by the official SDK: the suite that every connector passes. */
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
import type { ChargeInstruction, Connector, StoredAttempt } from './psp.ts';
import { freezeCharge } from './request.ts';
import { createStripeConnector } from './stripe-connector.ts';

const EUR = parseCurrency('EUR')!;
const STRIPE = { psp: 'stripe' } as const;

const PAYMENT_METHODS: Readonly<Record<ConformancePayer, string>> = {
  pays: 'pm_card_visa',
  is_declined: 'pm_card_visa_chargeDeclinedInsufficientFunds',
  must_authenticate: 'pm_card_authenticationRequired',
  must_authenticate_absent: 'pm_card_authenticationRequired',
};

let nextNumber = 1;

function attempt(overrides: Partial<ChargeInstruction> = {}): StoredAttempt {
  const operationId = overrides.operationId ?? `op_${nextNumber++}`;
  const idempotencyKey = `b7f3-${operationId}-1`;
  const frozen = freezeCharge(STRIPE, {
    idempotencyKey,
    paymentId: `pay_${operationId}`,
    orderId: `ord_${operationId}`,
    operationId,
    attemptNumber: 1,
    amountMinor: 1250n,
    currency: EUR,
    paymentMethod: PAYMENT_METHODS.pays,
    buyer: 'buyer-77',
    customerPresent: false,
    ...overrides,
  });
  if (frozen.kind === 'rejected') throw new Error(frozen.reason);
  return { operationKind: 'charge', idempotencyKey, request: frozen.request, reference: operationId };
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

type Truth = { readonly summary: Readonly<Record<string, { readonly succeeded: number }>> };

async function movements(sandbox: Sandbox, reference: string): Promise<number> {
  const query = new URLSearchParams({ 'metadata[paygate_operation]': reference });
  const response = await fetch(`${sandbox.url}/_sandbox/truth?${query}`);
  const truth = (await response.json()) as Truth;
  return Object.values(truth.summary).reduce((sum, currency) => sum + currency.succeeded, 0);
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
  return {
    port: sandbox.port,
    connect: ({ port, maxConcurrent }) => connect(port, maxConcurrent),
    attempt: (payer) =>
      attempt({ paymentMethod: PAYMENT_METHODS[payer], customerPresent: payer === 'must_authenticate' }),
    withOtherParameters: (one) => attempt({ operationId: one.reference, amountMinor: 1300n }),
    queueFault: (one, fault: ConformanceFault) =>
      tell(sandbox, 'faults', { match: { key: one.idempotencyKey }, sequence: [fault] }),
    queueEnquiryFault: (fault) =>
      tell(sandbox, 'faults', { match: { method: 'GET', path_prefix: '/v1/' }, sequence: [fault] }),
    movements: (one) => movements(sandbox, one.reference),
    stop: () => sandbox.close(),
  };
}

connectorConformance('Stripe', 'can_be_found', startHarness);

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

test('under a storm of faults no reply contradicts what really moved', async () => {
  const rates = Object.fromEntries(STORM.map((fault) => [fault, 0.06]));
  const sandbox = await startSandbox({
    port: 0,
    journalPath: null,
    seed: 7,
    rates,
    settings: { hang_ms: 400, drip_ms: 400 },
  });
  // Fewer sockets than callers, so that some calls never get one.
  const connector = connect(sandbox.port, 24);
  try {
    const seen = await Promise.all(
      Array.from({ length: STORM_ATTEMPTS }, async () => {
        const one = attempt();
        const kinds: string[] = [];
        for (let send = 0; send < 3; send += 1) kinds.push((await connector.charge(one, 250)).kind);
        return { one, kinds };
      }),
    );
    // What hung is executed by now.
    await new Promise((resolve) => setTimeout(resolve, 600));
    const counts: Record<string, number> = {};
    for (const { one, kinds } of seen) {
      for (const kind of kinds) counts[kind] = (counts[kind] ?? 0) + 1;
      const moved = await movements(sandbox, one.reference);
      const story = `${one.reference}: ${kinds.join(', ')}`;
      expect(moved, story).toBeLessThanOrEqual(1);
      if (kinds.includes('succeeded')) expect(moved, story).toBe(1);
      if (kinds.includes('declined')) expect(moved, story).toBe(0);
      if (kinds.every((kind) => HARMLESS.has(kind))) expect(moved, story).toBe(0);
    }
    // An empty storm would prove nothing.
    for (const kind of ['succeeded', 'declined', 'unknown', 'rate_limited', 'config_error']) {
      expect(counts[kind], kind).toBeGreaterThan(0);
    }
  } finally {
    await connector.close();
    await sandbox.close();
  }
});

/** Enough for every fault to come up many times, and over within seconds. */
const STORM_ATTEMPTS = 400;

const STORM: readonly (ConformanceFault | 'decline')[] = [
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
