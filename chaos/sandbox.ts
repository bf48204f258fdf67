/** The run's PSP sandbox: a process of its own on one port, rebuilt from its journal after every kill. */
import { z } from 'zod';
import type { FaultRates } from '../src/daemon/sandbox/faults.ts';
import type { SandboxOptions } from '../src/daemon/sandbox/main.ts';
import { type AdyenRecord, recordsSchema } from './adyen-truth.ts';
import { type Child, type Ending, pause, startChild, within } from './processes.ts';
import { STRIPE_ACCOUNT } from './psps.ts';

const START_TIMEOUT_MS = 20_000;
const ADMIN_TIMEOUT_MS = 10_000;
/** An admin call that meets a sandbox just killed is tried again. */
const ADMIN_TRIES = 20;
const ADMIN_PAUSE_MS = 500;

/**
 * Chances per request that carries an idempotency key. About a third is hit; up to MAX_FAULTS_PER_KEY times.
 */
const RATES: FaultRates = {
  act_then_drop: 0.03,
  act_then_truncate: 0.02,
  act_then_empty: 0.01,
  act_then_drip: 0.01,
  act_then_500: 0.02,
  act_then_bad_gateway: 0.015,
  drop_before_acting: 0.03,
  fail_500: 0.003,
  bad_gateway: 0.02,
  hang_then_act: 0.02,
  slow: 0.02,
  rate_limited: 0.03,
  key_in_use: 0.02,
  unauthorized: 0.004,
  decline: 0.02,
  pending_then_succeed: 0.02,
  pending_then_fail: 0.01,
  undo_later: 0.04,
};

/** What goes wrong with Stripe's webhooks; the rest arrives as it should. */
const WEBHOOK_RATES = {
  duplicate: 0.1,
  reorder: 0.1,
  lose: 0.08,
  early: 0.03,
  bad_signature: 0.05,
  stale: 0.05,
};
/** How much later a reordered event comes (ms). */
const REORDER_MS = 3_000;
/** After the first try that failed (ms); doubles. */
const WEBHOOK_RETRY_MS = 200;

/** The same for GETs: enquiries meet trouble too. */
const GET_RATES: FaultRates = {
  drop_before_acting: 0.03,
  bad_gateway: 0.03,
  fail_500: 0.02,
  rate_limited: 0.02,
  unauthorized: 0.005,
  hang_then_act: 0.01,
};

const MAX_FAULTS_PER_KEY = 6;
/** Longer than the daemons' PSP time-out of 2 s (ms). */
const HANG_MS = 3_000;
const SLOW_MS = 1_000;
const PENDING_MS = 4_000;

const intentSchema = z.object({
  id: z.string(),
  account: z.string().default(STRIPE_ACCOUNT),
  amount: z.number(),
  currency: z.string(),
  status: z.string(),
  amount_received: z.number(),
  metadata: z.record(z.string(), z.string()),
});
/** A payment intent as the sandbox's own truth has it; amounts in its PSP's minor unit. */
export type TrueIntent = z.infer<typeof intentSchema>;

const refundSchema = z.object({
  id: z.string(),
  account: z.string().default(STRIPE_ACCOUNT),
  payment_intent: z.string(),
  amount: z.number(),
  currency: z.string(),
  status: z.string(),
  /** Has reached the buyer and stayed there. */
  moved: z.number(),
  /** The same with what is under way. */
  held: z.number(),
  metadata: z.record(z.string(), z.string()),
});
/** A refund as the sandbox's own truth has it; amounts in its PSP's minor unit. */
export type TrueRefund = z.infer<typeof refundSchema>;

const transferSchema = z.object({
  id: z.string(),
  account: z.string().default(STRIPE_ACCOUNT),
  amount: z.number(),
  currency: z.string(),
  destination: z.string(),
  /** What the connected account still has of it. */
  moved: z.number(),
  metadata: z.record(z.string(), z.string()),
});
/** A transfer as the sandbox's own truth has it; amounts in its PSP's minor unit. */
export type TrueTransfer = z.infer<typeof transferSchema>;

const adyenWebhooksSchema = z.object({
  webhooks: z.array(
    z.object({
      number: z.number(),
      event_code: z.string(),
      body: z.string(),
      /** Of a transfer's webhook, which carries it beside its body; null: it stands in the body. */
      signature: z.string().nullable(),
    }),
  ),
});
/** A webhook of Adyen's as it would be sent: signed, numbered in the order of happening. */
export type AdyenWebhook = z.infer<typeof adyenWebhooksSchema>['webhooks'][number];

const deliveriesSchema = z.object({ pending: z.number(), lost: z.number(), delivered: z.number() });

const keySchema = z.object({ seen: z.number(), faults: z.number() });
const keysSchema = z.object({ total: z.number(), keys: z.array(keySchema) });

export type Sandbox = {
  readonly url: string;
  readonly pid: () => number;
  start(): Promise<void>;
  kill(): Promise<void>;
  /** Refuses connections for so long (ms). */
  leave(ms: number): Promise<void>;
  post(path: string, body: unknown): Promise<unknown>;
  truth(): Promise<readonly TrueIntent[]>;
  refunds(): Promise<readonly TrueRefund[]>;
  transfers(): Promise<readonly TrueTransfer[]>;
  /** Everything that Adyen's side knows. */
  adyen(): Promise<readonly AdyenRecord[]>;
  /** What happened at Adyen after that number. */
  adyenWebhooks(after: number): Promise<readonly AdyenWebhook[]>;
  /** How Stripe's webhooks fare: waiting for a try, never sent, taken. */
  deliveries(): Promise<z.infer<typeof deliveriesSchema>>;
  /** How often each idempotency key was seen, and hit by a drawn fault. */
  keys(): Promise<readonly z.infer<typeof keySchema>[]>;
  /** Forgets what was queued; drawn faults go on. */
  clearFaults(): Promise<void>;
  /** No fault and no waiting any more, also for connections under way. */
  calmDown(): Promise<void>;
};

export type SandboxWishes = {
  readonly journalPath: string;
  readonly seed: number;
  readonly latencyMs: number;
  readonly faults: 'on' | 'off';
  readonly mark: string;
  /** Where Stripe's webhooks go. */
  readonly webhookUrl: string;
  readonly onLog: (line: string) => void;
  /** It ended although nobody had killed it. */
  readonly onUnexpectedEnd: (ending: Ending) => void;
};

export async function createSandbox(wishes: SandboxWishes): Promise<Sandbox> {
  let port = 0;
  let child: Child | null = null;
  const ended = new WeakSet<Child>();

  const start = async (): Promise<void> => {
    const started = await launch(wishes, port);
    port = started.port;
    child = started.child;
    void started.child.ended.then((ending) => {
      if (!ended.has(started.child)) wishes.onUnexpectedEnd(ending);
    });
  };
  await start();
  const url = `http://127.0.0.1:${port}`;
  const call = (method: string, path: string, body?: unknown) => callAdmin(url, method, path, body);
  const post = async (path: string, body: unknown) => JSON.parse(await call('POST', path, body)) as unknown;
  return {
    url,
    pid: () => child?.pid ?? 0,
    start,
    kill: async () => {
      if (child === null) return;
      ended.add(child);
      child.signal('SIGKILL');
      await child.ended;
    },
    leave: async (ms) => {
      await post('outage', { ms });
    },
    post,
    truth: async () => linesOf(await call('GET', 'truth?format=ndjson'), intentSchema),
    refunds: async () => linesOf(await call('GET', 'truth/refunds?format=ndjson'), refundSchema),
    transfers: async () => linesOf(await call('GET', 'truth/transfers?format=ndjson'), transferSchema),
    adyen: async () => recordsSchema.parse(JSON.parse(await call('GET', 'adyen/records'))).records,
    adyenWebhooks: async (after) =>
      adyenWebhooksSchema.parse(JSON.parse(await call('GET', `adyen/webhooks?after=${after}`))).webhooks,
    deliveries: async () => deliveriesSchema.parse(JSON.parse(await call('GET', 'webhooks'))),
    keys: async () => keysSchema.parse(JSON.parse(await call('GET', 'keys?limit=1000000'))).keys,
    clearFaults: async () => {
      await call('DELETE', 'faults');
    },
    calmDown: async () => {
      await call('DELETE', 'faults');
      await post('config', { rates: {}, get_rates: {}, webhook_rates: {}, latency_ms: 0 });
    },
  };
}

function linesOf<T>(text: string, schema: z.ZodType<T>): readonly T[] {
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line) => schema.parse(JSON.parse(line)));
}

async function launch(wishes: SandboxWishes, port: number): Promise<{ child: Child; port: number }> {
  const faulty = {
    max_faults_per_key: MAX_FAULTS_PER_KEY,
    hang_ms: HANG_MS,
    slow_ms: SLOW_MS,
    pending_ms: PENDING_MS,
    webhook_rates: WEBHOOK_RATES,
    webhook_reorder_ms: REORDER_MS,
    webhook_retry_ms: WEBHOOK_RETRY_MS,
    webhook_url: wishes.webhookUrl,
  };
  const options: SandboxOptions = {
    port,
    journalPath: wishes.journalPath,
    seed: wishes.seed,
    latencyMs: wishes.latencyMs,
    ...(wishes.faults === 'on' ? { rates: RATES, settings: { ...faulty, get_rates: GET_RATES } } : {}),
  };
  let ready: (port: number) => void = () => undefined;
  const listening = new Promise<number>((resolve) => {
    ready = resolve;
  });
  const child = startChild({ role: 'sandbox', options }, wishes.mark, {
    onStdout: (line) => ready(z.object({ port: z.number() }).parse(JSON.parse(line)).port),
    onStderr: wishes.onLog,
  });
  const first = await within(Promise.race([listening, child.ended]), START_TIMEOUT_MS);
  if (typeof first === 'number') return { child, port: first };
  throw new Error(`the sandbox did not start: ${JSON.stringify(first)}`);
}

async function callAdmin(url: string, method: string, path: string, body: unknown): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const response = await fetch(`${url}/_sandbox/${path}`, {
        method,
        // A kept connection would be one to a sandbox that was killed meanwhile.
        headers: { connection: 'close' },
        signal: AbortSignal.timeout(ADMIN_TIMEOUT_MS),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      if (response.ok || response.status === 409) return text;
      throw new Error(`${method} ${path}: ${response.status} ${text}`);
    } catch (error) {
      if (attempt >= ADMIN_TRIES) throw error;
      await pause(ADMIN_PAUSE_MS);
    }
  }
}
