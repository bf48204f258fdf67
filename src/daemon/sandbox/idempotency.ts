/**
 * The table of idempotency keys, with Stripe's rules: the result is stored once execution has begun, whatever
 * it was, and is replayed for 24 hours; other parameters are an error; a key being worked on is in use.
 * Also counts how often each key was seen, which is what repeatable faults hang on. Knows no HTTP.
 */
import { hash } from 'node:crypto';
import type { Answer } from './write-call.ts';

/** Stripe prunes keys once they are at least this old, in seconds. */
const KEY_LIFETIME_S = 24 * 60 * 60;

/** Source: https://docs.stripe.com/api/idempotent_requests */
export const MAX_KEY_LENGTH = 255;

/**
 * @property seen how many requests came with the key, the one at hand included
 * @property faults how many of them a seeded fault hit
 * @property fingerprint of the first executed request's parameters; '' before that
 * @property storedAtS when execution began, seconds; 0 before that
 */
export interface KeyEntry {
  seen: number;
  faults: number;
  fingerprint: string;
  storedAtS: number;
  phase: 'new' | 'running' | 'done';
  answer: Answer | null;
}

export type KeyVerdict =
  | { readonly kind: 'fresh' }
  | { readonly kind: 'replay'; readonly answer: Answer }
  | { readonly kind: 'mismatch' }
  | { readonly kind: 'in_use' };

/** What two requests must have in common to count as the same: method, path and parameters in any order. */
export function fingerprintOf(method: string, path: string, canonicalParameters: string): string {
  return hash('sha1', `${method} ${path}\n${canonicalParameters}`, 'base64url');
}

export class KeyTable {
  private entries = new Map<string, KeyEntry>();

  get size(): number {
    return this.entries.size;
  }

  /** The entry of a key, made new when unknown or older than Stripe keeps it. */
  entry(key: string, nowS: number): KeyEntry {
    const found = this.entries.get(key);
    if (found !== undefined && !isPruned(found, nowS)) return found;
    const entry: KeyEntry = {
      seen: 0,
      faults: 0,
      fingerprint: '',
      storedAtS: 0,
      phase: 'new',
      answer: null,
    };
    this.entries.delete(key);
    this.entries.set(key, entry);
    return entry;
  }

  /** What is to be done with a request that carries the key of `entry`. */
  judge(entry: KeyEntry, fingerprint: string): KeyVerdict {
    if (entry.phase === 'new') return { kind: 'fresh' };
    if (entry.fingerprint !== fingerprint) return { kind: 'mismatch' };
    if (entry.answer === null) return { kind: 'in_use' };
    return { kind: 'replay', answer: entry.answer };
  }

  /** Execution begins: from here on the result will be stored. */
  start(entry: KeyEntry, fingerprint: string, nowS: number): void {
    entry.phase = 'running';
    entry.fingerprint = fingerprint;
    entry.storedAtS = nowS;
  }

  /** Drops every key that Stripe would have pruned by `nowS`; returns how many. */
  prune(nowS: number): number {
    let dropped = 0;
    for (const [key, entry] of this.entries) {
      if (!isPruned(entry, nowS)) continue;
      this.entries.delete(key);
      dropped++;
    }
    return dropped;
  }

  all(): IterableIterator<[string, KeyEntry]> {
    return this.entries.entries();
  }

  clear(): void {
    this.entries = new Map();
  }
}

function isPruned(entry: KeyEntry, nowS: number): boolean {
  return entry.phase === 'done' && nowS - entry.storedAtS >= KEY_LIFETIME_S;
}
