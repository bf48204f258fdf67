/**
 * Everything the sandbox knows of Adyen's objects, keys and webhooks, in memory. Holds truth only; who may change
 * it, and that it is on disk first, is the engine's business.
 */
import { randomBytes } from 'node:crypto';
import type { AdyenEvent, AdyenRecord, Change } from './records.ts';

/** Adyen keeps a key for at least this long, in milliseconds; here not a moment longer. */
const KEY_LIFETIME_MS = 7 * 24 * 60 * 60 * 1000;

/** Letters and digits of a pspReference. */
const NAME_LENGTH = 16;

/**
 * @property seen how many requests came with the key, the one at hand included
 * @property faults how many of them a seeded fault hit
 * @property startedMs when execution began; 0 before that
 */
export interface AdyenKey {
  seen: number;
  faults: number;
  startedMs: number;
  phase: 'new' | 'running' | 'done';
  answer: { readonly status: number; readonly body: string } | null;
}

/** An event with its place in the order of happening, from 1. */
export interface NumberedEvent extends AdyenEvent {
  readonly number: number;
}

export class AdyenState {
  private records = new Map<string, AdyenRecord>();
  private byReference = new Map<string, string[]>();
  private byPayment = new Map<string, string[]>();
  private waiting = new Set<string>();
  private happened: NumberedEvent[] = [];
  private keys = new Map<string, AdyenKey>();
  private instance = newInstance();

  find(name: string): AdyenRecord | null {
    return this.records.get(name) ?? null;
  }

  /** Objects of one merchant reference, oldest first. */
  listByReference(reference: string): readonly AdyenRecord[] {
    return this.named(this.byReference.get(reference));
  }

  /** Everything that was asked to change a payment, oldest first. */
  listByPayment(payment: string): readonly AdyenRecord[] {
    return this.named(this.byPayment.get(payment));
  }

  all(): Iterable<AdyenRecord> {
    return this.records.values();
  }

  get events(): readonly NumberedEvent[] {
    return this.happened;
  }

  /** The pspReference of the next object; never given twice, also by another start. */
  nextName(): string {
    const number = this.records.size.toString(36).toUpperCase();
    return this.instance + number.padStart(NAME_LENGTH - this.instance.length, '0');
  }

  /** Puts a new record or a new version of one, and what happened to it. */
  apply({ record, events }: Change): void {
    if (!this.records.has(record.name)) this.index(record);
    this.records.set(record.name, record);
    if (record.settle === null) this.waiting.delete(record.name);
    else this.waiting.add(record.name);
    for (const event of events) this.happened.push({ ...event, number: this.happened.length + 1 });
  }

  /** Takes out one record whose waiting ended by `nowMs`; null when none has. */
  takeDue(nowMs: number): AdyenRecord | null {
    for (const name of this.waiting) {
      const record = this.records.get(name);
      if (record === undefined || record.settle === null || record.settle.atMs > nowMs) continue;
      this.waiting.delete(name);
      return record;
    }
    return null;
  }

  /** The entry of a key, made new when unknown or older than Adyen keeps it. */
  key(key: string, nowMs: number): AdyenKey {
    const found = this.keys.get(key);
    if (found !== undefined && !(found.phase === 'done' && nowMs - found.startedMs >= KEY_LIFETIME_MS))
      return found;
    const entry: AdyenKey = { seen: 0, faults: 0, startedMs: 0, phase: 'new', answer: null };
    this.keys.set(key, entry);
    return entry;
  }

  /** Forgets everything; names given before are not given again. */
  clear(): void {
    this.records = new Map();
    this.byReference = new Map();
    this.byPayment = new Map();
    this.waiting = new Set();
    this.happened = [];
    this.keys = new Map();
    this.instance = newInstance();
  }

  private index(record: AdyenRecord): void {
    addTo(this.byReference, record.reference, record.name);
    if (record.kind === 'modification' || record.kind === 'dispute')
      addTo(this.byPayment, record.payment, record.name);
  }

  private named(names: readonly string[] | undefined): readonly AdyenRecord[] {
    return (names ?? []).flatMap((name) => this.records.get(name) ?? []);
  }
}

function addTo(index: Map<string, string[]>, key: string, name: string): void {
  const names = index.get(key);
  if (names === undefined) index.set(key, [name]);
  else names.push(name);
}

/** 10 letters and digits, different for each start. */
function newInstance(): string {
  return randomBytes(5).toString('hex').toUpperCase();
}
