/**
 * What goes wrong with one event on its way to the receiver (pure). Drawn as the calls' faults are: by seed and origin.
 */

import { type EventRecord, originOf } from './events.ts';
import { drawByRate } from './faults.ts';

/**
 * duplicate: delivered, then delivered again. reorder: held back, so that later ones overtake it. lose: never sent, only
 * to be found in GET /v1/events. early: sent before the call that caused it is answered. bad_signature, stale: the first
 * try is signed with another secret, or as ten minutes ago; the tries after that are right.
 */
export const WEBHOOK_FAULT_NAMES = [
  'duplicate',
  'reorder',
  'lose',
  'early',
  'bad_signature',
  'stale',
] as const;

export type WebhookFault = (typeof WEBHOOK_FAULT_NAMES)[number];

/** Probabilities from 0 to 1, summing to 1 at most. */
export type WebhookFaultRates = Readonly<Partial<Record<WebhookFault, number>>>;

/** The same for the same seed, type, and key of the call that made the object; null for none. */
export function drawWebhookFault(
  rates: WebhookFaultRates,
  seed: number,
  event: EventRecord,
): WebhookFault | null {
  return drawByRate(WEBHOOK_FAULT_NAMES, rates, `${seed}\n${event.type}\n${originOf(event)}`);
}
