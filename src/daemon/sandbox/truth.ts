/**
 * The sandbox's own account of what really happened, for tests to compare with: every object, what was moved
 * per currency and per reference. Reads only; knows nothing of what the gateway believes.
 */
import type { DisputeRecord } from './dispute.ts';
import { chargeId } from './ids.ts';
import type { IntentRecord } from './intent.ts';
import { heldByRefund, type RefundRecord } from './refund.ts';
import { failureOf } from './test-cards.ts';
import { reversedOf, type TransferRecord } from './transfer.ts';

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
      amount_refunded: charge.refunded,
      disputed: charge.disputed,
      created: charge.created,
    })),
  });
  return `${fields.slice(0, -1)},"metadata":${intent.metadataJson}}`;
}

/** One refund. `moved` has reached the buyer and stayed there; `held` also counts what is under way. */
export function refundLine(refund: RefundRecord): string {
  const fields = JSON.stringify({
    id: refund.id,
    payment_intent: refund.intentId,
    charge: chargeId(refund.intentId, refund.chargeNumber),
    amount: refund.amount,
    currency: refund.currency,
    status: refund.status,
    failure: refund.failure,
    ever_succeeded: refund.reached,
    moved: refundMovement(refund).moved,
    held: heldByRefund(refund),
    created: refund.created,
    idempotency_key: refund.key,
  });
  return `${fields.slice(0, -1)},"metadata":${refund.metadataJson}}`;
}

/** One transfer. `moved` is what the connected account still has of it. */
export function transferLine(transfer: TransferRecord): string {
  const fields = JSON.stringify({
    id: transfer.id,
    amount: transfer.amount,
    amount_reversed: reversedOf(transfer),
    moved: transfer.amount - reversedOf(transfer),
    currency: transfer.currency,
    destination: transfer.destination,
    transfer_group: transfer.transferGroup,
    created: transfer.created,
    idempotency_key: transfer.key,
  });
  return `${fields.slice(0, -1)},"metadata":${transfer.metadataJson}}`;
}

export function disputeLine(dispute: DisputeRecord): string {
  return JSON.stringify({
    id: dispute.id,
    payment_intent: dispute.intentId,
    charge: chargeId(dispute.intentId, dispute.chargeNumber),
    amount: dispute.amount,
    currency: dispute.currency,
    status: dispute.status,
    reason: dispute.reason,
    created: dispute.created,
  });
}

export function matchesFilter(intent: IntentRecord, filter: TruthFilter): boolean {
  if (filter.transferGroup !== null && intent.transferGroup !== filter.transferGroup) return false;
  return matchesMetadata(intent.metadataJson, filter.metadata);
}

/** Whether the metadata has every wanted name with its value. */
export function matchesMetadata(metadataJson: string, wanted: Readonly<Record<string, string>>): boolean {
  const entries = Object.entries(wanted);
  if (entries.length === 0) return true;
  const metadata = parseMetadata(metadataJson);
  return entries.every(([name, value]) => metadata[name] === value);
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
 * What one object did to money, whatever it is.
 * @property state `moved` has moved it and it has stayed; `open` could still move it; `undone` had moved it and it
 *   went back; `none` never did
 * @property moved minor units that have moved and stayed
 * @property groups what the object is grouped by beside its metadata, under their query names
 */
export interface Movement {
  readonly id: string;
  readonly state: 'moved' | 'open' | 'undone' | 'none';
  readonly moved: number;
  readonly currency: string;
  readonly metadataJson: string;
  readonly groups: Readonly<Record<string, string | null>>;
}

/** Every payment intent as a movement from its buyer. */
export function chargesOf(intents: readonly IntentRecord[]): readonly Movement[] {
  return intents.map((intent) => ({
    id: intent.id,
    state: stateOfIntent(intent),
    moved: intent.received,
    currency: intent.currency,
    metadataJson: intent.metadataJson,
    groups: { transfer_group: intent.transferGroup },
  }));
}

function stateOfIntent(intent: IntentRecord): Movement['state'] {
  if (intent.status === 'succeeded') return 'moved';
  if (isOpen(intent)) return 'open';
  return intent.charges.some((charge) => charge.bounced === true) ? 'undone' : 'none';
}

/** A dispute as a movement to its buyer, known by the references of its charge; one that was won is undone. */
export function disputeMovement(dispute: DisputeRecord, intent: IntentRecord): Movement {
  const { id, status, amount, currency } = dispute;
  const groups = { payment_intent: intent.id, transfer_group: intent.transferGroup };
  const state = status === 'won' ? 'undone' : status === 'lost' ? 'moved' : 'open';
  return {
    id,
    state,
    moved: status === 'won' ? 0 : amount,
    currency,
    metadataJson: intent.metadataJson,
    groups,
  };
}

/** A refund as a movement to its buyer. */
export function refundMovement(refund: RefundRecord): Movement {
  const { id, status, currency, metadataJson } = refund;
  const isOpen = status === 'pending' || status === 'requires_action';
  const groups = {
    payment_intent: refund.intentId,
    charge: chargeId(refund.intentId, refund.chargeNumber),
  };
  if (status === 'succeeded')
    return { id, state: 'moved', moved: refund.amount, currency, metadataJson, groups };
  const state = isOpen ? 'open' : refund.reached ? 'undone' : 'none';
  return { id, state, moved: 0, currency, metadataJson, groups };
}

/** A transfer as a movement to its connected account; one that was reversed in full is undone. */
export function transferMovement(transfer: TransferRecord): Movement {
  const { id, currency, metadataJson } = transfer;
  const moved = transfer.amount - reversedOf(transfer);
  const groups = { transfer_group: transfer.transferGroup, destination: transfer.destination };
  return { id, state: moved === 0 ? 'undone' : 'moved', moved, currency, metadataJson, groups };
}

/** How a row names its objects. */
export type Shape = 'intents' | 'objects';

/**
 * What moved for one reference.
 * @property succeeded how many objects moved money for it that stayed: more than 1 is a double charge, refund or payout
 * @property open objects that could still move money
 * @property undone objects that moved it and gave it back
 */
interface Moved {
  readonly reference: string;
  succeeded: number;
  open: number;
  undone: number;
  readonly moved: Record<string, number>;
  readonly ids: string[];
}

/** Everything moved, per value of a group or of a metadata name. Objects without one are left out. */
export function movedBy(
  movements: Iterable<Movement>,
  by: string,
  shape: Shape,
): readonly (Omit<Moved, 'ids'> & { readonly [name in Shape]?: readonly string[] })[] {
  const found = new Map<string, Moved>();
  for (const movement of movements) {
    const { groups, currency, moved, state } = movement;
    const reference = Object.hasOwn(groups, by) ? groups[by] : parseMetadata(movement.metadataJson)[by];
    if (reference === undefined || reference === null) continue;
    let entry = found.get(reference);
    if (entry === undefined) {
      entry = { reference, succeeded: 0, open: 0, undone: 0, moved: {}, ids: [] };
      found.set(reference, entry);
    }
    entry.ids.push(movement.id);
    if (state === 'moved') entry.succeeded++;
    if (state === 'open') entry.open++;
    if (state === 'undone') entry.undone++;
    if (moved > 0) entry.moved[currency] = (entry.moved[currency] ?? 0) + moved;
  }
  return [...found.values()].map(({ ids, ...row }) => ({ ...row, [shape]: ids }));
}

function isOpen(intent: IntentRecord): boolean {
  return (
    intent.status === 'processing' ||
    intent.status === 'requires_action' ||
    intent.status === 'requires_capture'
  );
}

function parseMetadata(metadataJson: string): Readonly<Record<string, string>> {
  return JSON.parse(metadataJson) as Record<string, string>;
}
