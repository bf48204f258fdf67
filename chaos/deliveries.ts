/**
 * Delivers Adyen's webhooks as Adyen does, until somebody says 200: the sandbox lists what happened, and some of it
 * comes late, twice, badly signed, or not at all. And the news of both PSPs once more, as their dashboards offer it.
 */
import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { pause } from './processes.ts';
import { STRIPE_KEY, STRIPE_SECRET } from './psps.ts';
import type { Random } from './random.ts';
import type { AdyenWebhook, Sandbox } from './sandbox.ts';

const RATES = { lose: 0.06, late: 0.15, twice: 0.1, badly_signed: 0.06 } as const;
/** Between two looks for what happened (ms). */
const LOOK_EVERY_MS = 300;
/** How much later a late one comes, at most (ms). */
const LATE_MS = 4_000;
/** After a try that failed (ms). */
const AGAIN_MS = 500;
const TIMEOUT_MS = 5_000;
/** Deliveries at once. */
const MAX_AT_ONCE = 16;

export type Deliveries = {
  /** From now on nothing goes wrong; what was lost stays lost. */
  calmDown(): void;
  /** What waits for a try. */
  waiting(): number;
  /** What never arrived, oldest first. */
  lost(): readonly AdyenWebhook[];
  /** Sends what was lost after all, but for what `isWanted` refuses; those are forgotten. */
  sendLost(isWanted: (operation: string) => boolean): number;
  readonly counts: Readonly<Record<string, number>>;
  stop(): Promise<void>;
};

type Waiting = { readonly webhook: AdyenWebhook; dueAtMs: number; badly: boolean; again: boolean };

type Luck = {
  readonly lost: boolean;
  readonly lateMs: number;
  readonly again: boolean;
  readonly badly: boolean;
};

const GOOD_LUCK: Luck = { lost: false, lateMs: 0, again: false, badly: false };

function drawLuck(random: Random): Luck {
  return {
    lost: random.chance(RATES.lose),
    lateMs: random.chance(RATES.late) ? random.between(500, LATE_MS) : 0,
    again: random.chance(RATES.twice),
    badly: random.chance(RATES.badly_signed),
  };
}

/** @param url of the relay */
export function startDeliveries(sandbox: Sandbox, url: string, random: Random): Deliveries {
  const counts = {
    delivered: 0,
    tries_failed: 0,
    lost: 0,
    late: 0,
    twice: 0,
    badly_signed: 0,
    badly_taken: 0,
  };
  let waiting: Waiting[] = [];
  let lost: AdyenWebhook[] = [];
  let seen = 0;
  let calm = false;
  let stopped = false;

  const take = (webhook: AdyenWebhook): void => {
    seen = Math.max(seen, webhook.number);
    const luck = calm ? GOOD_LUCK : drawLuck(random);
    if (luck.lost) {
      counts.lost += 1;
      lost.push(webhook);
      return;
    }
    if (luck.lateMs > 0) counts.late += 1;
    const { badly, again, lateMs } = luck;
    waiting.push({ webhook, dueAtMs: performance.now() + lateMs, badly, again });
  };
  const deliver = async (one: Waiting): Promise<void> => {
    const { body, headers } = one.badly ? badlySigned(one.webhook) : signed(one.webhook);
    const status = await post(`${url}/v1/webhooks/adyen`, body, headers);
    if (one.badly) {
      counts.badly_signed += 1;
      if (status === 200) counts.badly_taken += 1;
      one.badly = false;
    } else if (status === 200) {
      counts.delivered += 1;
      if (!one.again) {
        waiting = waiting.filter((other) => other !== one);
        return;
      }
      counts.twice += 1;
      one.again = false;
    } else {
      counts.tries_failed += 1;
    }
    one.dueAtMs = performance.now() + AGAIN_MS;
  };
  const loop = async (): Promise<void> => {
    while (!stopped) {
      for (const webhook of await sandbox.adyenWebhooks(seen).catch(() => [])) take(webhook);
      const now = performance.now();
      const due = waiting.filter((one) => one.dueAtMs <= now).slice(0, MAX_AT_ONCE);
      await Promise.all(due.map(deliver));
      if (due.length < MAX_AT_ONCE) await pause(LOOK_EVERY_MS);
    }
  };
  const running = loop();
  return {
    calmDown: () => {
      calm = true;
    },
    waiting: () => waiting.length,
    lost: () => lost,
    sendLost: (isWanted) => {
      const wanted = lost.filter((webhook) => isWanted(operationOf(webhook)));
      lost = [];
      for (const webhook of wanted) waiting.push({ webhook, dueAtMs: 0, badly: false, again: false });
      return wanted.length;
    },
    counts,
    stop: async () => {
      stopped = true;
      await running;
    },
  };
}

/** The operation that a webhook of Adyen's names. */
function operationOf({ body }: AdyenWebhook): string {
  return /"(?:merchantReference|reference)":"([^"]*)"/.exec(body)?.[1] ?? '';
}

type Letter = { readonly body: string; readonly headers: Readonly<Record<string, string>> };

function signed({ body, signature }: Pick<AdyenWebhook, 'body' | 'signature'>): Letter {
  return { body, headers: signature === null ? {} : { HmacSignature: signature, Protocol: 'HmacSHA256' } };
}

function badlySigned({ body, signature }: AdyenWebhook): Letter {
  return signature === null
    ? signed({ body: body.replace(/"hmacSignature":"..../, '"hmacSignature":"AAAA'), signature })
    : signed({ body, signature: `AAAA${signature.slice(4)}` });
}

/** The status, 0 without an answer. */
async function post(url: string, body: string, headers: Readonly<Record<string, string>>): Promise<number> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close', ...headers },
      signal: AbortSignal.timeout(TIMEOUT_MS),
      body,
    });
    await response.text();
    return response.status;
  } catch {
    return 0;
  }
}

const eventsSchema = z.object({ data: z.array(z.looseObject({ id: z.string() })), has_more: z.boolean() });
const PAGE = 100;
const MAX_PAGES = 200;
/** News of what had succeeded; the sandbox loses some, and the PSP itself repeats none of those. */
const NEWS = ['refund.failed', 'transfer.reversed'] as const;
const MAX_TRIES = 20;

/**
 * What Stripe's dashboard offers after an outage: every event that tells of something undone, once more.
 * @returns how many were taken
 */
export async function resendStripeNews(sandboxUrl: string, relayUrl: string): Promise<number> {
  let taken = 0;
  for (const type of NEWS) {
    for (const event of await listEvents(sandboxUrl, type)) {
      const body = JSON.stringify(event);
      for (let attempt = 1; ; attempt += 1) {
        const t = Math.floor(Date.now() / 1_000);
        const v1 = createHmac('sha256', STRIPE_SECRET).update(`${t}.${body}`).digest('hex');
        const signed = { 'stripe-signature': `t=${t},v1=${v1}` };
        const status = await post(`${relayUrl}/v1/webhooks/stripe`, body, signed);
        if (status === 200) break;
        if (attempt >= MAX_TRIES) throw new Error(`${type} was not taken: ${status}`);
        await pause(AGAIN_MS);
      }
      taken += 1;
    }
  }
  return taken;
}

async function listEvents(sandboxUrl: string, type: string): Promise<readonly { readonly id: string }[]> {
  const events: { readonly id: string }[] = [];
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const last = events.at(-1);
    const query = new URLSearchParams({
      type,
      limit: String(PAGE),
      ...(last === undefined ? {} : { starting_after: last.id }),
    });
    const response = await fetch(`${sandboxUrl}/v1/events?${query}`, {
      headers: { authorization: `Bearer ${STRIPE_KEY}`, connection: 'close' },
    });
    const { data, has_more: hasMore } = eventsSchema.parse(await response.json());
    events.push(...data);
    if (!hasMore) break;
  }
  return events.reverse();
}
