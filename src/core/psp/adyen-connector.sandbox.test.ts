/** The Adyen connector against the sandbox, by the official library: the suite that every connector passes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../daemon/sandbox/main.ts';
import { startSandbox } from '../../daemon/sandbox/main.ts';
import type {
  ConformanceFault,
  ConformanceHarness,
  ConformancePayer,
} from '../../testing/connector-conformance.ts';
import { connectorConformance, HANG_MS, RETRY_AFTER_S } from '../../testing/connector-conformance.ts';
import { parseCurrency } from '../money.ts';
import { createAdyenConnector } from './adyen-connector.ts';
import { parseAdyenWebhook } from './adyen-webhook.ts';
import type {
  ChargeInstruction,
  Connector,
  FrozenRequest,
  OperationKind,
  Reply,
  StoredAttempt,
} from './psp.ts';
import { freezeCharge, freezePayout, freezeRefund } from './request.ts';

const EUR = parseCurrency('EUR')!;
const ACCOUNT = { psp: 'adyen', merchantAccount: 'MarketplaceEU', balanceAccountId: 'BA1' } as const;
const DEADLINE_MS = 10_000;

const TOKENS: Readonly<Record<ConformancePayer, string>> = {
  pays: 'stored_authorised',
  is_declined: 'stored_not_enough_balance',
  is_declined_for_ever: 'stored_fraud',
  must_authenticate: 'stored_redirect',
  must_authenticate_absent: 'stored_redirect',
};

let nextNumber = 1;

function stored(
  operationKind: OperationKind,
  reference: string,
  freeze: (idempotencyKey: string) => FrozenRequest,
): StoredAttempt {
  const idempotencyKey = `b7f3-${reference}-1`;
  const frozen = freeze(idempotencyKey);
  if (frozen.kind === 'rejected') throw new Error(frozen.reason);
  return { operationKind, idempotencyKey, request: frozen.request, reference };
}

function chargeOf(overrides: Partial<ChargeInstruction> = {}): StoredAttempt {
  const operationId = overrides.operationId ?? `op_${nextNumber++}`;
  return stored('charge', operationId, (idempotencyKey) =>
    freezeCharge(ACCOUNT, {
      idempotencyKey,
      paymentId: `pay_${operationId}`,
      orderId: `ord_${operationId}`,
      operationId,
      attemptNumber: 1,
      amountMinor: 1250n,
      currency: EUR,
      paymentMethod: TOKENS.pays,
      buyer: 'buyer-77',
      customerPresent: false,
      ...overrides,
    }),
  );
}

function refundOf(chargeReference: string, amountMinor = 500n): StoredAttempt {
  const operationId = `op_${nextNumber++}`;
  const instruction = { operationId, orderId: 'ord_1', attemptNumber: 1, currency: EUR };
  return stored('refund', operationId, (idempotencyKey) =>
    freezeRefund(ACCOUNT, { ...instruction, idempotencyKey, chargeReference, amountMinor }),
  );
}

function payoutOf(destination = 'BA2', balanceAccountId = 'BA1'): StoredAttempt {
  const operationId = `op_${nextNumber++}`;
  const instruction = { operationId, attemptNumber: 1, destination, amountMinor: 700n, currency: EUR };
  return stored('payout', operationId, (idempotencyKey) =>
    freezePayout({ ...ACCOUNT, balanceAccountId }, { ...instruction, idempotencyKey }),
  );
}

function connect(port: number, maxConcurrent = 4): Connector {
  return createAdyenConnector({
    ...ACCOUNT,
    name: 'adyen_eu',
    apiKey: 'adyen_test_abc',
    baseUrl: `http://127.0.0.1:${port}`,
    maxConcurrent,
    timeoutMs: 10_000,
    liveUrlPrefix: null,
  });
}

async function tell(sandbox: Sandbox, path: string, body: unknown): Promise<void> {
  const response = await fetch(`${sandbox.url}/_sandbox/${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
}

type Row = {
  readonly charged: number;
  readonly refunded: number;
  readonly paid_out: number;
  readonly objects: readonly string[];
};

async function truthOf(sandbox: Sandbox, reference: string): Promise<Row> {
  const response = await fetch(`${sandbox.url}/_sandbox/adyen/truth?reference=${reference}`);
  const { rows } = (await response.json()) as { rows: readonly Row[] };
  return rows[0] ?? { charged: 0, refunded: 0, paid_out: 0, objects: [] };
}

/** What the first webhook about the operation that says anything is evidence of. */
async function toldByWebhook(sandbox: Sandbox, reference: string): Promise<Reply | null> {
  const connector = connect(sandbox.port);
  const response = await fetch(`${sandbox.url}/_sandbox/adyen/webhooks`);
  const listed = (await response.json()) as { hmac_key: string; webhooks: { body: string }[] };
  const said = listed.webhooks.flatMap(({ body }) => {
    const delivery = connector.parseWebhook(Buffer.from(body), {}, listed.hmac_key, 0);
    const news = delivery.kind === 'news' ? delivery.news : [];
    return news.flatMap((one) => (one.operationReference === reference ? (one.says ?? []) : []));
  });
  await connector.close();
  return said[0] ?? null;
}

function start(): Promise<Sandbox> {
  return startSandbox({
    port: 0,
    journalPath: null,
    seed: 1,
    settings: { hang_ms: HANG_MS, drip_ms: HANG_MS, retry_after_s: RETRY_AFTER_S },
  });
}

/** Refunds at Adyen end by webhook and payouts by enquiry: their tests are below. */
function notInTheSuite(): Error {
  return new Error('the suite runs for charges only');
}

async function startHarness(): Promise<ConformanceHarness> {
  const sandbox = await start();
  return {
    port: sandbox.port,
    connect: ({ port, maxConcurrent }) => connect(port, maxConcurrent),
    attempt: (payer) =>
      chargeOf({ paymentMethod: TOKENS[payer], customerPresent: payer === 'must_authenticate' }),
    attemptOf: async (kind) => {
      if (kind !== 'charge') throw notInTheSuite();
      return chargeOf({ paymentMethod: TOKENS.pays });
    },
    overRefund: () => Promise.reject(notInTheSuite()),
    unfundedPayout: () => {
      throw notInTheSuite();
    },
    complete: () => Promise.reject(notInTheSuite()),
    answerChallenge: async (one, answer) => {
      const { objects } = await truthOf(sandbox, one.reference);
      const happening = answer === 'pays' ? 'shopper_pays' : 'shopper_fails';
      await tell(sandbox, `adyen/objects/${objects[0]}`, { happening });
    },
    told: (one) => toldByWebhook(sandbox, one.reference),
    undo: () => Promise.reject(notInTheSuite()),
    withOtherParameters: (one) => chargeOf({ operationId: one.reference, amountMinor: 1300n }),
    queueFault: (one, fault: ConformanceFault) =>
      tell(sandbox, 'faults', { match: { key: one.idempotencyKey }, sequence: [fault] }),
    queueEnquiryFault: (fault) =>
      tell(sandbox, 'faults', { match: { method: 'GET', path_prefix: '/btl/' }, sequence: [fault] }),
    movements: async (one) => (await truthOf(sandbox, one.reference)).charged,
    stop: () => sandbox.close(),
  };
}

connectorConformance('Adyen', { kinds: ['charge'], findable: [] }, startHarness);

describe('refunds, payouts and webhooks against the sandbox', () => {
  let sandbox: Sandbox;
  let connector: Connector;
  beforeAll(async () => {
    sandbox = await start();
    connector = connect(sandbox.port);
  });
  afterAll(async () => {
    await connector.close();
    await sandbox.close();
  });

  async function chargeSucceeded(): Promise<string> {
    const reply = await connector.charge(chargeOf(), DEADLINE_MS);
    if (reply.kind !== 'succeeded') throw new Error(`the charge is ${reply.kind}`);
    return reply.pspReference;
  }

  function sentNow() {
    const now = new Date().toISOString();
    return { firstSentAt: now, lastSentAt: now };
  }

  const queueFault = (attempt: StoredAttempt, fault: string) =>
    tell(sandbox, 'faults', { match: { key: attempt.idempotencyKey }, sequence: [fault] });

  test('a refund is pending, again and again, and moves money once', async () => {
    const attempt = refundOf(await chargeSucceeded());
    const first = await connector.refund(attempt, DEADLINE_MS);
    expect(first).toMatchObject({ kind: 'pending', pspReference: expect.stringMatching(/./) });
    expect(await connector.refund(attempt, DEADLINE_MS)).toEqual(first);
    expect(await truthOf(sandbox, attempt.reference)).toMatchObject({ refunded: 1 });
  });

  test('a refund whose answer was lost is sent again under its key', async () => {
    const attempt = refundOf(await chargeSucceeded());
    await queueFault(attempt, 'act_then_drop');
    const lost = { kind: 'unknown', next: 'resend' };
    expect(await connector.refund(attempt, DEADLINE_MS)).toMatchObject(lost);
    expect(await connector.refund(attempt, DEADLINE_MS)).toMatchObject({ kind: 'pending' });
    expect(await truthOf(sandbox, attempt.reference)).toMatchObject({ refunded: 1 });
  });

  test('the refund of a payment that is not there is rejected', async () => {
    const attempt = refundOf('0000000000000000');
    const expected = { kind: 'rejected', reason: expect.stringContaining('167') };
    expect(await connector.refund(attempt, DEADLINE_MS)).toMatchObject(expected);
  });

  test('the webhook of a refund, verified, names our operation and says how it ended', async () => {
    const good = refundOf(await chargeSucceeded());
    const tooMuch = refundOf(await chargeSucceeded(), 9_999n);
    await connector.refund(good, DEADLINE_MS);
    await connector.refund(tooMuch, DEADLINE_MS);
    const response = await fetch(`${sandbox.url}/_sandbox/adyen/webhooks`);
    const listed = (await response.json()) as { hmac_key: string; webhooks: { body: string }[] };
    const events = listed.webhooks.flatMap(({ body }) => {
      const parsed = parseAdyenWebhook(body, listed.hmac_key);
      return parsed.kind === 'verified' ? parsed.events : [];
    });
    expect(events).toHaveLength(listed.webhooks.length);
    for (const [attempt, success] of [
      [good, true],
      [tooMuch, false],
    ] as const) {
      const about = events.filter((event) => event.operationReference === attempt.reference);
      expect(about).toMatchObject([{ type: 'REFUND', success }]);
    }
  });

  test('a payout is pending until the enquiry finds it booked', async () => {
    const attempt = payoutOf();
    const sent = sentNow();
    expect(await connector.payout(attempt, DEADLINE_MS)).toMatchObject({ kind: 'pending' });
    expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject({ kind: 'succeeded' });
    expect(await truthOf(sandbox, attempt.reference)).toMatchObject({ paid_out: 1 });
  });

  test('a payout whose answer was lost is found, and one that was never sent is not', async () => {
    const attempt = payoutOf();
    const sent = sentNow();
    await queueFault(attempt, 'act_then_drop');
    expect(await connector.payout(attempt, DEADLINE_MS)).toMatchObject({ kind: 'unknown' });
    expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject({ kind: 'succeeded' });
    expect(await connector.enquire(payoutOf(), sent, DEADLINE_MS)).toMatchObject({ kind: 'not_found' });
  });

  test('another book’s payout under the same reference is not ours', async () => {
    const attempt = payoutOf();
    const request = attempt.request.replace('b7f3-', 'c8a4-');
    const other = { ...attempt, idempotencyKey: attempt.idempotencyKey.replace('b7f3-', 'c8a4-'), request };
    const sent = sentNow();
    await connector.payout(other, DEADLINE_MS);
    expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject({ kind: 'not_found' });
  });

  test('a payout without funds is not made, and may be made again as new', async () => {
    const attempt = payoutOf('BA2', 'BA_EMPTY');
    expect(await connector.payout(attempt, DEADLINE_MS)).toMatchObject({
      kind: 'declined',
      reason: 'notEnoughBalance',
      mayRetryAsNew: true,
    });
    expect(await truthOf(sandbox, attempt.reference)).toMatchObject({ paid_out: 0 });
  });

  test.each<[string, object]>([
    ['rate_limited', { kind: 'rate_limited', retryAfterMs: RETRY_AFTER_S * 1000 }],
    ['unauthorized', { kind: 'config_error' }],
  ])('an enquiry that is refused (%s) says so and nothing about the payout', async (fault, expected) => {
    const match = { method: 'GET', path_prefix: '/btl/' };
    await tell(sandbox, 'faults', { match, sequence: [fault] });
    expect(await connector.enquire(payoutOf(), sentNow(), DEADLINE_MS)).toMatchObject(expected);
  });

  test('an enquiry that meets a dropped connection tries again', async () => {
    const attempt = payoutOf();
    const sent = sentNow();
    await connector.payout(attempt, DEADLINE_MS);
    const match = { method: 'GET', path_prefix: '/btl/' };
    await tell(sandbox, 'faults', { match, sequence: ['drop_before_acting'] });
    expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject({ kind: 'succeeded' });
  });

  test.each([
    ['ISK', 5n, { ISK: 500 }],
    ['CLP', 990n, { CLP: 99_000 }],
    ['IDR', 1_500_000n, { IDR: 15_000 }],
    ['KWD', 1234n, { KWD: 1234 }],
  ])('an amount in %s goes through as Adyen counts it', async (code, amountMinor, moved) => {
    const attempt = chargeOf({ currency: parseCurrency(code)!, amountMinor });
    expect(await connector.charge(attempt, DEADLINE_MS)).toMatchObject({ kind: 'succeeded' });
    expect(await truthOf(sandbox, attempt.reference)).toMatchObject({ moved_in: moved });
  });
});

test('under a storm of faults no reply contradicts what really moved', async () => {
  const rates = Object.fromEntries(STORM.map((fault) => [fault, 0.06]));
  const sandbox = await startSandbox({
    port: 0,
    journalPath: null,
    seed: 7,
    rates,
    settings: { hang_ms: STORM_HANG_MS, drip_ms: STORM_HANG_MS },
  });
  const connector = connect(sandbox.port, STORM_CALLERS);
  const seen: { one: StoredAttempt; kinds: string[] }[] = [];
  const send = async (): Promise<void> => {
    const one = chargeOf();
    const kinds: string[] = [];
    for (let nth = 0; nth < 3; nth += 1) kinds.push((await connector.charge(one, STORM_DEADLINE_MS)).kind);
    seen.push({ one, kinds });
  };
  try {
    const callers = Array.from({ length: STORM_CALLERS }, async () => {
      for (let nth = 0; nth < STORM_ATTEMPTS_EACH; nth += 1) await send();
    });
    await Promise.all(callers);
    // What hung is executed by now.
    await new Promise((resolve) => setTimeout(resolve, STORM_HANG_MS));
    const counts: Record<string, number> = {};
    for (const { one, kinds } of seen) {
      for (const kind of kinds) counts[kind] = (counts[kind] ?? 0) + 1;
      const { charged } = await truthOf(sandbox, one.reference);
      const story = `${one.reference}: ${kinds.join(', ')}`;
      expect(charged, story).toBeLessThanOrEqual(1);
      if (kinds.includes('succeeded')) expect(charged, story).toBe(1);
      if (kinds.includes('declined')) expect(charged, story).toBe(0);
      if (kinds.every((kind) => HARMLESS.has(kind))) expect(charged, story).toBe(0);
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

/** Enough for every fault to come up many times, and over within seconds. Each caller has a socket of its own. */
const STORM_CALLERS = 32;
const STORM_ATTEMPTS_EACH = 8;

/** Long enough for a busy machine to answer what does not hang (ms). */
const STORM_DEADLINE_MS = 600;
const STORM_HANG_MS = 900;

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
