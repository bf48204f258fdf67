/**
 * The sandbox's own account of what really happened, for tests to compare with: every intent, what was moved
 * per currency and per reference. Reads only; knows nothing of what the gateway believes.
 */
import { chargeId } from './ids.ts';
import type { IntentRecord } from './intent.ts';
import { failureOf } from './test-cards.ts';

/** Which intents are wanted; empty means all. */
export interface TruthFilter {
  readonly metadata: Readonly<Record<string, string>>;
  readonly transferGroup: string | null;
}

/** One intent as a JSON text without a newline. Amounts in minor units, times in seconds since 1970. */
export function truthLine(intent: IntentRecord): string {
  const fields = JSON.stringify({
    id: intent.id,
    transfer_group: intent.transferGroup,
    amount: intent.amount,
    currency: intent.currency,
    status: intent.status,
    amount_received: intent.received,
    created: intent.created,
    idempotency_key: intent.key,
    charges: intent.charges.map((charge, number) => ({
      id: chargeId(intent.id, number),
      status: charge.failure === null ? 'succeeded' : 'failed',
      failure: charge.failure === null ? null : failureOf(charge.failure).code,
      amount_captured: charge.captured,
      created: charge.created,
    })),
  });
  return `${fields.slice(0, -1)},"metadata":${intent.metadataJson}}`;
}

export function matchesFilter(intent: IntentRecord, filter: TruthFilter): boolean {
  if (filter.transferGroup !== null && intent.transferGroup !== filter.transferGroup) return false;
  const wanted = Object.entries(filter.metadata);
  if (wanted.length === 0) return true;
  const metadata = metadataOf(intent);
  return wanted.every(([name, value]) => metadata[name] === value);
}

/** @property received minor units really moved; amount is what was asked for, by all intents */
interface CurrencySummary {
  intents: number;
  amount: number;
  received: number;
  succeeded: number;
  by_status: Record<string, number>;
}

/** Totals per lower-case currency. */
export function summarize(intents: Iterable<IntentRecord>): Record<string, CurrencySummary> {
  const summaries: Record<string, CurrencySummary> = {};
  for (const intent of intents) {
    summaries[intent.currency] ??= { intents: 0, amount: 0, received: 0, succeeded: 0, by_status: {} };
    const summary = summaries[intent.currency]!;
    summary.intents++;
    summary.amount += intent.amount;
    summary.received += intent.received;
    if (intent.status === 'succeeded') summary.succeeded++;
    summary.by_status[intent.status] = (summary.by_status[intent.status] ?? 0) + 1;
  }
  return summaries;
}

/**
 * What one reference was charged.
 * @property succeeded how many intents took money for it: more than 1 is a double charge
 * @property open intents that could still take money (processing, waiting for customer or capture)
 */
interface Moved {
  readonly reference: string;
  succeeded: number;
  open: number;
  readonly moved: Record<string, number>;
  readonly intents: string[];
}

/** Everything moved, per value of a metadata name, or per transfer group. Intents without one are left out. */
export function movedBy(
  intents: Iterable<IntentRecord>,
  by: { readonly kind: 'metadata'; readonly name: string } | { readonly kind: 'transfer_group' },
): Moved[] {
  const found = new Map<string, Moved>();
  for (const intent of intents) {
    const reference = by.kind === 'metadata' ? metadataOf(intent)[by.name] : intent.transferGroup;
    if (reference === undefined || reference === null) continue;
    let entry = found.get(reference);
    if (entry === undefined) {
      entry = { reference, succeeded: 0, open: 0, moved: {}, intents: [] };
      found.set(reference, entry);
    }
    entry.intents.push(intent.id);
    if (intent.status === 'succeeded') entry.succeeded++;
    if (isOpen(intent)) entry.open++;
    if (intent.received > 0)
      entry.moved[intent.currency] = (entry.moved[intent.currency] ?? 0) + intent.received;
  }
  return [...found.values()];
}

function isOpen(intent: IntentRecord): boolean {
  return (
    intent.status === 'processing' ||
    intent.status === 'requires_action' ||
    intent.status === 'requires_capture'
  );
}

function metadataOf(intent: IntentRecord): Readonly<Record<string, string>> {
  return JSON.parse(intent.metadataJson) as Record<string, string>;
}
