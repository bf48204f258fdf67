/**
 * One kind of the sandbox's objects in memory: by position, by name, by group. Positions are the order of
 * creation and are part of the name, so neither needs an index. Knows nothing of what the objects mean.
 */
import { Bug } from '../../core/errors.ts';
import { newInstance, type ObjectPrefix, objectId, seqOfObject } from './ids.ts';

/**
 * @property seq position in the order of creation, from 0
 * @property created seconds since 1970, never less than that of the object before
 */
export interface Numbered {
  readonly id: string;
  readonly seq: number;
  readonly created: number;
}

/** Objects at consecutive positions from `first` to before `end`. */
export interface Ordered<T extends Numbered> {
  readonly first: number;
  readonly end: number;
  at(seq: number): T;
  /** The first position created at `createdS` (seconds) or later; `end` when there is none. */
  firstSince(createdS: number): number;
}

export class ObjectTable<T extends Numbered> implements Ordered<T> {
  readonly first = 0;
  private readonly prefix: ObjectPrefix;
  private readonly groupOf: (record: T) => string | null;
  private records: T[] = [];
  private byGroup = new Map<string, number | number[]>();
  private instance = newInstance();

  /** @param groupOf what the object is found by beside its name; never changes for an object */
  constructor(prefix: ObjectPrefix, groupOf: (record: T) => string | null) {
    this.prefix = prefix;
    this.groupOf = groupOf;
  }

  /** How many objects there are. */
  get end(): number {
    return this.records.length;
  }

  find(id: string): T | null {
    const seq = seqOfObject(this.prefix, id);
    const record = seq === null ? undefined : this.records[seq];
    return record?.id === id ? record : null;
  }

  /** The object at a position; the caller keeps 0 <= seq < end. */
  at(seq: number): T {
    const record = this.records[seq];
    if (record === undefined) throw new Bug(`no ${this.prefix} at position ${seq}`);
    return record;
  }

  /** All objects in the order of creation, as they are now; later changes do not show in the copy. */
  snapshot(): readonly T[] {
    return this.records.slice();
  }

  /** Positions of the objects of one group, oldest first. */
  inGroup(group: string): readonly number[] {
    const found = this.byGroup.get(group);
    if (found === undefined) return [];
    return typeof found === 'number' ? [found] : found;
  }

  firstSince(createdS: number): number {
    return firstSince(this, createdS);
  }

  /** The name of the next object to be created. */
  nextName(): { readonly id: string; readonly seq: number } {
    const seq = this.records.length;
    return { id: objectId(this.prefix, this.instance, seq), seq };
  }

  /** Puts a new object or a new version of one, and returns the version before; positions have no gaps. */
  put(record: T): T | null {
    const before = this.records[record.seq];
    if (before === undefined && record.seq !== this.records.length)
      throw new Bug(`${record.id} skips a position`);
    this.records[record.seq] = record;
    if (before === undefined) this.index(record);
    return before ?? null;
  }

  /** Forgets everything; names given before are not given again. */
  clear(): void {
    this.records = [];
    this.byGroup = new Map();
    this.instance = newInstance();
  }

  private index(record: T): void {
    const group = this.groupOf(record);
    if (group === null) return;
    const found = this.byGroup.get(group);
    if (found === undefined) this.byGroup.set(group, record.seq);
    else if (typeof found === 'number') this.byGroup.set(group, [found, record.seq]);
    else found.push(record.seq);
  }
}

/** See {@link Ordered.firstSince}; found by halving. */
export function firstSince<T extends Numbered>(objects: Ordered<T>, createdS: number): number {
  let low = objects.first;
  let high = objects.end;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (objects.at(middle).created < createdS) low = middle + 1;
    else high = middle;
  }
  return low;
}
