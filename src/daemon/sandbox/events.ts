/**
 * What Stripe would tell of a change, and the log of all of it (pure but for the log's own array). Events follow from
 * the changes alone, so a sandbox rebuilt from its journal has the same ones under the same names.
 */
import type { Change } from './balance.ts';
import type { DisputeRecord } from './dispute.ts';
import { type IntentRecord, paidCharge } from './intent.ts';
import { firstSince, type Numbered, type Ordered } from './object-table.ts';
import { nameOf, type Shown } from './shown.ts';
import { reversedOf } from './transfer.ts';

/** Source: https://docs.stripe.com/api/events/types; the ones a gateway for cards and sellers listens to. */
const EVENT_TYPES = [
  'payment_intent.succeeded',
  'payment_intent.payment_failed',
  'payment_intent.processing',
  'payment_intent.canceled',
  'charge.failed',
  'charge.refunded',
  'refund.created',
  'refund.updated',
  'refund.failed',
  'transfer.created',
  'transfer.reversed',
  'charge.dispute.created',
  'charge.dispute.funds_withdrawn',
  'charge.dispute.updated',
  'charge.dispute.closed',
  'charge.dispute.funds_reinstated',
] as const;
type EventType = (typeof EVENT_TYPES)[number];

/** The object an event shows, at the version that the change made. */
export type About =
  | Shown
  | { readonly kind: 'charge'; readonly record: IntentRecord; readonly number: number };

/** @property created seconds since 1970, sandbox time; when the call began or the time came */
export interface EventRecord extends Numbered {
  readonly type: EventType;
  readonly about: About;
}

/** Is told of every event; nobody is told while the sandbox is rebuilt. */
export interface EventListener {
  add(event: EventRecord): void;
  /** Calls back once nothing that must arrive before the answers is under way. */
  whenEarlySent(callback: () => void): void;
  /** Forgets what waits. */
  clear(): void;
}

/** Stripe keeps events for 30 days; this many are enough for any test, and bound the memory. */
const MAX_EVENTS = 20_000;

/** The last events, oldest first; positions count from the beginning of the journal. */
export class EventLog implements Ordered<EventRecord> {
  first = 0;
  private records: EventRecord[] = [];

  get end(): number {
    return this.first + this.records.length;
  }

  at(seq: number): EventRecord {
    const event = this.records[seq - this.first];
    if (event === undefined) throw new RangeError(`no event at position ${seq}`);
    return event;
  }

  find(id: string): EventRecord | null {
    const seq = seqOfEvent(id);
    const event = seq === null ? undefined : this.records[seq - this.first];
    return event?.id === id ? event : null;
  }

  firstSince(createdS: number): number {
    return firstSince(this, createdS);
  }

  /** Notes what follows from a change; returns the new events. */
  record(before: Change['record'] | null, change: Change, atS: number): readonly EventRecord[] {
    const types = typesOf(before, change);
    if (types.length === 0) return [];
    // A slow call began before others that have ended: the log keeps to the order of the ends.
    const created = Math.max(atS, this.records.at(-1)?.created ?? 0);
    const events = types.map((type, nth) => {
      const seq = this.end + nth;
      return { id: eventId(change.record.id, seq), seq, created, type, about: aboutOf(type, change) };
    });
    this.records.push(...events);
    if (this.records.length > 2 * MAX_EVENTS) {
      this.first += this.records.length - MAX_EVENTS;
      this.records = this.records.slice(-MAX_EVENTS);
    }
    return events;
  }

  clear(): void {
    this.first = 0;
    this.records = [];
  }
}

/** The idempotency key of the call that made the object; its name where it was made without one. */
export function originOf({ about }: EventRecord): string {
  const key = about.kind === 'dispute' ? null : about.record.key;
  return key ?? (about.kind === 'charge' ? about.record.id : nameOf(about));
}

const SEQ_DIGITS = 8;

/** Every name of an object has 13 characters from its fifth on that no other sandbox gives. */
function eventId(objectName: string, seq: number): string {
  return `evt_1${objectName.slice(4, 17)}${seq.toString(36).padStart(SEQ_DIGITS, '0')}`;
}

function seqOfEvent(id: string): number | null {
  return /^evt_1[0-9a-z]{21}$/.test(id) ? Number.parseInt(id.slice(-SEQ_DIGITS), 36) : null;
}

function aboutOf(type: EventType, change: Change): About {
  if (change.kind !== 'intent') return change;
  const { record } = change;
  if (type === 'charge.failed') {
    return { kind: 'charge', record, number: record.charges.findIndex((charge) => charge.bounced === true) };
  }
  return type === 'charge.refunded' ? { kind: 'charge', record, number: paidCharge(record) } : change;
}

const NONE: readonly EventType[] = [];

/** `before` is the version before, of the same kind; null for a new object. */
function typesOf(before: Change['record'] | null, change: Change): readonly EventType[] {
  switch (change.kind) {
    case 'intent':
      return intentTypes(before as IntentRecord | null, change.record);
    case 'refund': {
      const { status } = change.record;
      const failed: readonly EventType[] = status === 'failed' ? ['refund.failed'] : NONE;
      if (before === null) return ['refund.created', ...failed];
      return (before as typeof change.record).status === status ? NONE : ['refund.updated', ...failed];
    }
    case 'transfer': {
      if (before === null) return ['transfer.created'];
      const came = reversedOf(change.record) - reversedOf(before as typeof change.record);
      return came > 0 ? ['transfer.reversed'] : NONE;
    }
    case 'dispute':
      return disputeTypes(before as DisputeRecord | null, change.record);
  }
}

/** The money goes when it is opened, and comes back when it is won. */
function disputeTypes(before: DisputeRecord | null, after: DisputeRecord): readonly EventType[] {
  const opened: readonly EventType[] =
    before === null ? ['charge.dispute.created', 'charge.dispute.funds_withdrawn'] : NONE;
  switch (after.status) {
    case 'needs_response':
      return opened;
    case 'under_review':
      return [...opened, 'charge.dispute.updated'];
    case 'won':
      return [...opened, 'charge.dispute.closed', 'charge.dispute.funds_reinstated'];
    case 'lost':
      return [...opened, 'charge.dispute.closed'];
  }
}

function intentTypes(before: IntentRecord | null, after: IntentRecord): readonly EventType[] {
  const number = paidCharge(after);
  const refunded = after.charges[number]?.refunded ?? 0;
  if (refunded > (before?.charges[number]?.refunded ?? 0)) return ['charge.refunded'];
  const isSame = before?.status === after.status && before.charges.length === after.charges.length;
  if (isSame && before.failure === after.failure) return NONE;
  switch (after.status) {
    case 'succeeded':
      return before?.status === 'succeeded' ? NONE : ['payment_intent.succeeded'];
    case 'processing':
      return ['payment_intent.processing'];
    case 'canceled':
      return ['payment_intent.canceled'];
    case 'requires_payment_method':
      if (before?.status === 'succeeded') return ['charge.failed', 'payment_intent.payment_failed'];
      return after.failure === null ? NONE : ['payment_intent.payment_failed'];
    case 'requires_action':
    case 'requires_capture':
    case 'requires_confirmation':
      return NONE;
  }
}
