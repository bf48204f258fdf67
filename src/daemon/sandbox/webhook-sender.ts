/**
 * Sends events to the configured address, signed as Stripe signs them, at least once: an event is done when the
 * receiver answers 2xx, when its tries are used up, or when it was to be lost. Every queue and loop is bounded.
 */
import { createHmac } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import type { EventListener, EventRecord } from './events.ts';
import { renderEvent } from './render.ts';
import type { Settings } from './settings.ts';
import type { Timers } from './timers.ts';
import { drawWebhookFault, type WebhookFault } from './webhook-faults.ts';

/** Events that wait or are under way; more are dropped from the queue, and stand in GET /v1/events only. */
const MAX_PENDING = 10_000;

const MAX_IN_FLIGHT = 16;

/** A receiver that is down for a while gets its events; Stripe goes on for three days. */
const MAX_TRIES = 16;

/** Pauses double up to this, in milliseconds. */
const MAX_RETRY_MS = 60_000;

/** How long the receiver may take, in milliseconds, and how long an early event may hold up the answers. */
const TIMEOUT_MS = 5_000;

/** How old a stale signature is, in seconds: twice Stripe's tolerance. */
const STALE_S = 600;

interface Delivery {
  readonly event: EventRecord;
  readonly fault: WebhookFault | null;
  tries: number;
  repeats: number;
}

/** What came of everything so far; numbers of events, but `tries_failed`. */
export interface WebhookCounts {
  delivered: number;
  repeated: number;
  lost: number;
  given_up: number;
  overflowed: number;
  tries_failed: number;
}

/**
 * @property settings as they are now
 * @property whenWritten calls back once everything done so far is in the journal
 * @property onDone the event needs no more tries, also after a restart
 */
export interface WebhookParts {
  readonly timers: Timers;
  readonly settings: () => Settings;
  readonly whenWritten: (callback: () => void) => void;
  readonly onDone: (event: EventRecord) => void;
}

export class WebhookSender implements EventListener {
  private readonly parts: WebhookParts;
  private readonly pending = new Set<Delivery>();
  private readonly early = new Set<Delivery>();
  private ready: Delivery[] = [];
  private heldAnswers: (() => void)[] = [];
  private inFlight = 0;
  private counts = noCounts();
  private readonly agents = {
    http: new http.Agent({ keepAlive: true, maxSockets: MAX_IN_FLIGHT }),
    https: new https.Agent({ keepAlive: true, maxSockets: MAX_IN_FLIGHT }),
  };

  constructor(parts: WebhookParts) {
    this.parts = parts;
  }

  add(event: EventRecord): void {
    const settings = this.parts.settings();
    if (settings.webhookUrl === null) return;
    const fault = drawWebhookFault(settings.webhookRates, settings.seed, event);
    if (fault === 'lose') {
      this.counts.lost++;
      this.parts.onDone(event);
      return;
    }
    if (this.pending.size >= MAX_PENDING) {
      this.counts.overflowed++;
      this.parts.onDone(event);
      return;
    }
    const delivery: Delivery = { event, fault, tries: 0, repeats: fault === 'duplicate' ? 1 : 0 };
    this.pending.add(delivery);
    if (fault === 'early') {
      this.early.add(delivery);
      this.parts.whenWritten(() => this.enqueue(delivery));
      return;
    }
    const holdMs = fault === 'reorder' ? settings.webhookReorderMs : 0;
    this.later(settings.webhookDelayMs + holdMs, delivery);
  }

  whenEarlySent(callback: () => void): void {
    if (this.early.size === 0) callback();
    else this.heldAnswers.push(callback);
  }

  /** What was under way is not tried again; whoever waits for it is let go. */
  clear(): void {
    this.pending.clear();
    this.ready = [];
    this.counts = noCounts();
    for (const delivery of [...this.early]) this.letGo(delivery);
  }

  close(): void {
    this.clear();
    this.agents.http.destroy();
    this.agents.https.destroy();
  }

  describe(): Record<string, number> {
    return { pending: this.pending.size, in_flight: this.inFlight, ...this.counts };
  }

  private later(ms: number, delivery: Delivery): void {
    this.parts.timers.after(ms, () => this.parts.whenWritten(() => this.enqueue(delivery)));
  }

  private enqueue(delivery: Delivery): void {
    if (!this.pending.has(delivery)) return;
    this.ready.push(delivery);
    this.pump();
  }

  private pump(): void {
    while (this.inFlight < MAX_IN_FLIGHT) {
      const delivery = this.ready.shift();
      if (delivery === undefined) return;
      const url = this.parts.settings().webhookUrl;
      if (url === null) {
        this.done(delivery);
        continue;
      }
      this.inFlight++;
      delivery.tries++;
      this.post(url, delivery, (result) => {
        this.inFlight--;
        this.letGo(delivery);
        this.conclude(delivery, result);
        this.pump();
      });
    }
  }

  private conclude(delivery: Delivery, result: 'accepted' | 'failed'): void {
    if (!this.pending.has(delivery)) return;
    const { webhookRetryMs } = this.parts.settings();
    if (result === 'failed') {
      this.counts.tries_failed++;
      if (delivery.tries < MAX_TRIES) {
        this.later(Math.min(MAX_RETRY_MS, webhookRetryMs * 2 ** (delivery.tries - 1)), delivery);
        return;
      }
      this.counts.given_up++;
      this.done(delivery);
      return;
    }
    if (delivery.repeats > 0) {
      delivery.repeats--;
      this.counts.repeated++;
      this.enqueue(delivery);
      return;
    }
    this.counts.delivered++;
    this.done(delivery);
  }

  private done(delivery: Delivery): void {
    this.letGo(delivery);
    this.pending.delete(delivery);
    this.parts.onDone(delivery.event);
  }

  /** The first try of an early event has ended: the answers may go. */
  private letGo(delivery: Delivery): void {
    if (!this.early.delete(delivery) || this.early.size > 0) return;
    const held = this.heldAnswers;
    this.heldAnswers = [];
    for (const callback of held) callback();
  }

  /** One try; calls back exactly once. */
  private post(url: string, delivery: Delivery, ended: (result: 'accepted' | 'failed') => void): void {
    const body = renderEvent(delivery.event);
    const isHttps = url.startsWith('https:');
    const end = once(ended);
    const request = (isHttps ? https : http).request(
      url,
      {
        method: 'POST',
        agent: isHttps ? this.agents.https : this.agents.http,
        timeout: TIMEOUT_MS,
        headers: {
          'content-type': 'application/json; charset=utf-8',
          'content-length': Buffer.byteLength(body),
          'stripe-signature': this.sign(body, delivery),
          'user-agent': 'Stripe/1.0 (sandbox)',
        },
      },
      (response) => {
        const { statusCode = 0 } = response;
        response.resume();
        response.on('end', () => end(statusCode >= 200 && statusCode < 300 ? 'accepted' : 'failed'));
        response.on('close', () => end('failed'));
      },
    );
    const deadline = setTimeout(() => request.destroy(), TIMEOUT_MS);
    request.on('error', () => end('failed'));
    request.on('close', () => {
      clearTimeout(deadline);
      end('failed');
    });
    request.end(body);
  }

  /**
   * Source: https://docs.stripe.com/webhooks/signature. By the machine's clock: the receiver's is not moved either.
   */
  private sign(body: string, { fault, tries }: Delivery): string {
    const { webhookSecret } = this.parts.settings();
    const isFirst = tries === 1;
    const t = Math.floor(Date.now() / 1000) - (isFirst && fault === 'stale' ? STALE_S : 0);
    const secret = isFirst && fault === 'bad_signature' ? `${webhookSecret}_other` : webhookSecret;
    return `t=${t},v1=${createHmac('sha256', secret).update(`${t}.${body}`).digest('hex')}`;
  }
}

function noCounts(): WebhookCounts {
  return { delivered: 0, repeated: 0, lost: 0, given_up: 0, overflowed: 0, tries_failed: 0 };
}

function once<T>(callback: (value: T) => void): (value: T) => void {
  let called = false;
  return (value) => {
    if (called) return;
    called = true;
    callback(value);
  };
}
