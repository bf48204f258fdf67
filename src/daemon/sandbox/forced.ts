/**
 * What a fault makes of the money itself, for each resource to translate (pure): a charge is declined, a refund fails,
 * a transfer finds the balance empty.
 */
import type { Fault } from './faults.ts';
import type { Settings } from './settings.ts';
import type { Attempt, FailureName } from './test-cards.ts';

/** `atMs` is sandbox time. `undo_later` succeeds now and is undone then; charges do not know it. */
export type Forced =
  | { readonly kind: 'none' }
  | { readonly kind: 'decline'; readonly failure: FailureName }
  | { readonly kind: 'pending'; readonly atMs: number; readonly result: 'succeeded' | FailureName }
  | { readonly kind: 'undo_later'; readonly atMs: number };

const NONE: Forced = { kind: 'none' };

/** @param nowMs sandbox time */
export function forcedBy(fault: Fault, settings: Settings, nowMs: number): Forced {
  const failure = fault.decline ?? settings.decline;
  const atMs = nowMs + (fault.ms ?? settings.pendingMs);
  switch (fault.name) {
    case 'decline':
      return { kind: 'decline', failure };
    case 'pending_then_succeed':
      return { kind: 'pending', atMs, result: 'succeeded' };
    case 'pending_then_fail':
      return { kind: 'pending', atMs, result: failure };
    case 'undo_later':
      return { kind: 'undo_later', atMs };
    default:
      return NONE;
  }
}

/** What it makes of a try to take the money; null leaves it to the card. */
export function forcedAttempt(forced: Forced): Attempt | null {
  switch (forced.kind) {
    case 'decline':
      return { kind: 'failed', failure: forced.failure };
    case 'pending':
      return { kind: 'processing', settleAtMs: forced.atMs, result: forced.result };
    case 'none':
    case 'undo_later':
      return null;
  }
}
