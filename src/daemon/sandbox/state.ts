/**
 * Everything the sandbox knows of payment intents, in memory: by position, by transfer group, by due time.
 * Holds truth only; who may change it, and that it is on disk first, is the engine's business.
 */
import { Bug } from '../../core/errors.ts';
import { intentId, newInstance, seqOfIntent } from './ids.ts';
import type { IntentRecord } from './intent.ts';

/** An intent that is still processing and when that ends. */
interface Due {
  readonly atMs: number;
  readonly seq: number;
}

export class SandboxState {
  private records: IntentRecord[] = [];
  private byTransferGroup = new Map<string, number | number[]>();
  private dues: Due[] = [];
  private receivedByCurrency = new Map<string, number>();
  private instance = newInstance();

  /** How many intents there are. */
  get size(): number {
    return this.records.length;
  }

  /** Minor units really moved, by lower-case currency. */
  get received(): ReadonlyMap<string, number> {
    return this.receivedByCurrency;
  }

  find(id: string): IntentRecord | null {
    const seq = seqOfIntent(id);
    const record = seq === null ? undefined : this.records[seq];
    return record?.id === id ? record : null;
  }

  /** The intent at a position; the caller keeps 0 <= seq < size. */
  at(seq: number): IntentRecord {
    const record = this.records[seq];
    if (record === undefined) throw new Bug(`no intent at position ${seq}`);
    return record;
  }

  /** All intents in the order of creation, as they are now; later changes do not show in the copy. */
  snapshot(): readonly IntentRecord[] {
    return this.records.slice();
  }

  /** Positions of the intents of one transfer group, oldest first. */
  inTransferGroup(group: string): readonly number[] {
    const found = this.byTransferGroup.get(group);
    if (found === undefined) return [];
    return typeof found === 'number' ? [found] : found;
  }

  /** The first position whose intent was created at `createdS` (seconds) or later; `size` when there is none. */
  firstSince(createdS: number): number {
    let low = 0;
    let high = this.records.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.at(middle).created < createdS) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The name of the next intent to be created. */
  nextName(): { readonly id: string; readonly seq: number } {
    const seq = this.records.length;
    return { id: intentId(this.instance, seq), seq };
  }

  /** Puts a new intent or a new version of one; positions are given without gaps. */
  put(record: IntentRecord): void {
    const before = this.records[record.seq];
    if (before === undefined && record.seq !== this.records.length)
      throw new Bug(`intent ${record.id} skips a position`);
    this.records[record.seq] = record;
    if (before === undefined) this.index(record);
    const moved = record.received - (before?.received ?? 0);
    if (moved !== 0) {
      const total = this.receivedByCurrency.get(record.currency) ?? 0;
      this.receivedByCurrency.set(record.currency, total + moved);
    }
    if (record.settle !== null) this.addDue({ atMs: record.settle.atMs, seq: record.seq });
  }

  /** Takes out and returns one intent whose processing ended by `nowMs`; null when none is due. */
  takeDue(nowMs: number): IntentRecord | null {
    for (;;) {
      const due = this.dues[0];
      if (due === undefined || due.atMs > nowMs) return null;
      this.dues.shift();
      const record = this.at(due.seq);
      if (record.settle?.atMs === due.atMs) return record;
    }
  }

  /** Forgets everything; names given before are not given again. */
  clear(): void {
    this.records = [];
    this.byTransferGroup = new Map();
    this.dues = [];
    this.receivedByCurrency = new Map();
    this.instance = newInstance();
  }

  private index(record: IntentRecord): void {
    const group = record.transferGroup;
    if (group === null) return;
    const found = this.byTransferGroup.get(group);
    if (found === undefined) this.byTransferGroup.set(group, record.seq);
    else if (typeof found === 'number') this.byTransferGroup.set(group, [found, record.seq]);
    else found.push(record.seq);
  }

  private addDue(due: Due): void {
    let place = this.dues.length;
    while (place > 0 && (this.dues[place - 1]?.atMs ?? 0) > due.atMs) place--;
    this.dues.splice(place, 0, due);
  }
}
