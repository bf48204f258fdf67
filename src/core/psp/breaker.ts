/**
 * Circuit breaker of one PSP account in one daemon: an open breaker stops claiming, so that a PSP that is
 * down burns no attempts. Decides only; time comes in (monotonic ms).
 */
import type { EnquiryReply } from './psp.ts';

/** Calls in a row without a usable answer that open it. */
const FAILURES_TO_OPEN = 12;
/** One 429 may be about one object; a few in a row are about the account. */
const RATE_LIMIT_WEIGHT = 4;
/** First pause (ms); doubles with each failed probe. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
/** A wrong key does not heal by itself: look again only this often (ms). */
const CONFIG_PAUSE_MS = 10_000;
/** Longest pause that a PSP may ask for by Retry-After (ms). */
const LONGEST_RETRY_AFTER_MS = 60_000;

export type BreakerState = {
  readonly failures: number;
  /** Null: closed. Until then nothing is claimed; after it, one probe. */
  readonly openUntilMs: number | null;
  readonly pauseMs: number;
  /** Why it is open, for people. */
  readonly reason: string | null;
};

export const CLOSED: BreakerState = { failures: 0, openUntilMs: null, pauseMs: FIRST_PAUSE_MS, reason: null };

/** How many calls may start now: none while open, one probe when the pause is over, else all. */
export function allowance(state: BreakerState, nowMs: number, inFlight: number): number {
  if (state.openUntilMs === null) return Number.POSITIVE_INFINITY;
  if (nowMs < state.openUntilMs) return 0;
  return inFlight === 0 ? 1 : 0;
}

/** The state after a reply. */
export function noteReply(state: BreakerState, reply: EnquiryReply, nowMs: number): BreakerState {
  switch (reply.kind) {
    case 'config_error':
      return {
        ...state,
        openUntilMs: Math.max(state.openUntilMs ?? 0, nowMs + CONFIG_PAUSE_MS),
        reason: `${reply.reason}: ${reply.fix}`,
      };
    case 'rate_limited': {
      const askedMs = Math.min(reply.retryAfterMs ?? FIRST_PAUSE_MS, LONGEST_RETRY_AFTER_MS);
      return noteFailure(state, reply.reason, nowMs, RATE_LIMIT_WEIGHT, askedMs);
    }
    case 'not_sent':
    case 'unknown':
      return noteFailure(state, reply.reason, nowMs, 1, 0);
    default:
      return CLOSED;
  }
}

function noteFailure(
  state: BreakerState,
  reason: string,
  nowMs: number,
  weight: number,
  atLeastMs: number,
): BreakerState {
  const failures = state.failures + weight;
  const probing = state.openUntilMs !== null && nowMs >= state.openUntilMs;
  if (!probing && (failures < FAILURES_TO_OPEN || state.openUntilMs !== null)) return { ...state, failures };
  const pauseMs = Math.max(
    probing ? Math.min(state.pauseMs * 2, LONGEST_PAUSE_MS) : state.pauseMs,
    atLeastMs,
  );
  return { failures, openUntilMs: nowMs + pauseMs, pauseMs, reason };
}
