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
/**
 * Pauses after a configuration error (ms): the first, and the longest that it doubles to. A single 401 may be the PSP's
 * own trouble, and a key that is repaired there should work at once; one refused call every five seconds burns no
 * attempt and no patience of the PSP. Longer pauses only keep a lane closed that works again.
 */
const FIRST_CONFIG_PAUSE_MS = 1_000;
const LONGEST_CONFIG_PAUSE_MS = 5_000;
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
      return noteConfigError(state, `${reply.reason}: ${reply.fix}`, nowMs);
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

/** Opens at once; calls that were under way when it opened do not prolong it, only a failed probe does. */
function noteConfigError(state: BreakerState, reason: string, nowMs: number): BreakerState {
  const { openUntilMs } = state;
  if (openUntilMs !== null && nowMs < openUntilMs) return { ...state, reason };
  const pauseMs =
    openUntilMs === null
      ? FIRST_CONFIG_PAUSE_MS
      : Math.min(Math.max(state.pauseMs * 2, FIRST_CONFIG_PAUSE_MS), LONGEST_CONFIG_PAUSE_MS);
  return { ...state, openUntilMs: nowMs + pauseMs, pauseMs, reason };
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
