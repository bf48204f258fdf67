/**
 * Adyen's webhooks: signed bodies of what happened, and their way to an endpoint, also a bad way. Signs by itself
 * and shares no code with who verifies.
 */
import { createHmac } from 'node:crypto';
import http from 'node:http';
import type { Amount } from './records.ts';
import type { AdyenState, NumberedEvent } from './state.ts';

/** The key of every sandbox; obviously of no account. */
export const SANDBOX_HMAC_KEY = 'AD'.repeat(32);

/** An endpoint has this long to answer, in milliseconds; Adyen's own limit is 10 s. */
const PUSH_TIMEOUT_MS = 10_000;

/** @property number the event's place in the order of happening, from 1 */
export interface Webhook {
  readonly number: number;
  readonly event_code: string;
  readonly body: string;
}

export type Signature = 'good' | 'bad';

/** The webhooks of everything that happened after `after`, oldest first. */
export function listWebhooks(state: AdyenState, after: number, signature: Signature): readonly Webhook[] {
  return state.events
    .filter((event) => event.number > after)
    .map((event) => ({
      number: event.number,
      event_code: event.eventCode,
      body: bodyOf(state, event, signature),
    }));
}

function bodyOf(state: AdyenState, event: NumberedEvent, signature: Signature): string {
  const record = state.find(event.subject);
  const item = {
    pspReference: event.subject,
    originalReference: record?.kind === 'modification' || record?.kind === 'dispute' ? record.payment : '',
    merchantAccountCode: record === null || record.kind === 'transfer' ? '' : record.merchantAccount,
    merchantReference: record?.reference ?? '',
    amount: record?.amount ?? { currency: 'EUR', value: 0 },
    eventCode: event.eventCode,
    success: String(event.success),
    eventDate: new Date(event.atMs).toISOString(),
    reason: '',
  };
  const hmacSignature = sign(item, signature === 'good' ? SANDBOX_HMAC_KEY : 'BA'.repeat(32));
  const signed = { ...item, additionalData: { hmacSignature } };
  return JSON.stringify({ live: 'false', notificationItems: [{ NotificationRequestItem: signed }] });
}

interface SignedFields {
  readonly pspReference: string;
  readonly originalReference: string;
  readonly merchantAccountCode: string;
  readonly merchantReference: string;
  readonly amount: Amount;
  readonly eventCode: string;
  readonly success: string;
}

function sign(item: SignedFields, keyHex: string): string {
  const { pspReference, originalReference, merchantAccountCode, merchantReference, amount } = item;
  const references = `${pspReference}:${originalReference}:${merchantAccountCode}:${merchantReference}`;
  const text = `${references}:${amount.value}:${amount.currency}:${item.eventCode}:${item.success}`;
  return createHmac('sha256', Buffer.from(keyHex, 'hex')).update(text).digest('base64');
}

/** Posts one body; the status of the answer, or null without one. Never throws. */
export function push(url: URL, body: string): Promise<number | null> {
  return new Promise((resolve) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const request = http.request(url, { method: 'POST', headers, agent: false }, (response) => {
      response.resume();
      response.on('error', () => resolve(null));
      response.on('end', () => resolve(response.statusCode ?? null));
    });
    request.setTimeout(PUSH_TIMEOUT_MS, () => request.destroy());
    request.on('error', () => resolve(null));
    request.on('close', () => resolve(null));
    request.end(body);
  });
}
