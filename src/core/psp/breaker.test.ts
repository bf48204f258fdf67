import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { REPLY, REPLY_KINDS, type ReplyKind } from '../../testing/fixtures.ts';
import { allowance, type BreakerState, CLOSED, noteReply } from './breaker.ts';
import type { EnquiryReply } from './psp.ts';

/** The state after the replies, all at the same moment. */
function stateAfter(replies: readonly EnquiryReply[], nowMs = 0, from: BreakerState = CLOSED): BreakerState {
  return replies.reduce((state, reply) => noteReply(state, reply, nowMs), from);
}

const times = (count: number, kind: ReplyKind): readonly EnquiryReply[] =>
  Array.from({ length: count }, () => REPLY[kind]);

/** Opened by calls without an answer. */
const OPEN = stateAfter(times(12, 'unknown'));

describe('a closed breaker', () => {
  test('lets everything through', () => {
    expect(allowance(CLOSED, 0, 0)).toBe(Number.POSITIVE_INFINITY);
    expect(allowance(CLOSED, 1e9, 500)).toBe(Number.POSITIVE_INFINITY);
  });

  test.each(['unknown', 'not_sent'] as const)('opens at the twelfth %s in a row, and not before', (kind) => {
    expect(stateAfter(times(11, kind)).openUntilMs).toBeNull();
    expect(stateAfter(times(12, kind)).openUntilMs).toBe(500);
  });

  test('opens at the third 429 in a row', () => {
    expect(stateAfter(times(2, 'rate_limited')).openUntilMs).toBeNull();
    expect(stateAfter(times(3, 'rate_limited')).openUntilMs).toBe(500);
  });

  test('stays open for as long as the PSP asks, but for no more than a minute', () => {
    const asked = (retryAfterMs: number): EnquiryReply => ({ ...REPLY.rate_limited, retryAfterMs });
    expect(stateAfter([asked(7_000), asked(7_000), asked(7_000)]).openUntilMs).toBe(7_000);
    expect(stateAfter([asked(1e9), asked(1e9), asked(1e9)]).openUntilMs).toBe(60_000);
  });

  test('opens at once on a configuration error, and says what to fix', () => {
    const state = stateAfter(times(1, 'config_error'), 1_000);
    expect(state.openUntilMs).toBe(2_000);
    expect(state.reason).toBe('401: set the key');
  });

  test.each(['succeeded', 'declined', 'rejected', 'pending', 'awaiting_customer', 'not_found'] as const)(
    'forgets earlier failures at a %s: the PSP answers',
    (kind) => {
      expect(
        stateAfter([...times(11, 'unknown'), REPLY[kind], ...times(11, 'unknown')]).openUntilMs,
      ).toBeNull();
    },
  );
});

describe('an open breaker', () => {
  test('lets nothing through until its pause is over, then one probe at a time', () => {
    expect(allowance(OPEN, 0, 0)).toBe(0);
    expect(allowance(OPEN, 499, 0)).toBe(0);
    expect(allowance(OPEN, 500, 0)).toBe(1);
    expect(allowance(OPEN, 500, 1)).toBe(0);
    expect(allowance(OPEN, 1e9, 7)).toBe(0);
  });

  test('is not prolonged by calls that were under way when it opened', () => {
    const later = stateAfter(times(30, 'unknown'), 300, OPEN);
    expect(later.openUntilMs).toBe(500);
  });

  test('doubles its pause with each failed probe, up to a quarter of a minute', () => {
    const pauses: number[] = [];
    let state = OPEN;
    for (let i = 0; i < 8; i += 1) {
      const nowMs = state.openUntilMs!;
      state = noteReply(state, REPLY.not_sent, nowMs);
      pauses.push(state.openUntilMs! - nowMs);
    }
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000, 15_000]);
  });

  test('closes at the first probe that is answered, and starts again with the short pause', () => {
    const probing = noteReply(OPEN, REPLY.unknown, 500);
    const closed = noteReply(probing, REPLY.declined, 10_000);
    expect(closed).toEqual(CLOSED);
    expect(stateAfter(times(12, 'unknown'), 0, closed).openUntilMs).toBe(500);
  });

  test('on a configuration error looks again after a second, then every few seconds, with one call at a time', () => {
    const pauses: number[] = [];
    let state = stateAfter(times(1, 'config_error'));
    for (let i = 0; i < 6; i += 1) {
      const nowMs = state.openUntilMs!;
      expect(allowance(state, nowMs - 1, 0)).toBe(0);
      expect(allowance(state, nowMs, 0)).toBe(1);
      expect(allowance(state, nowMs, 1)).toBe(0);
      state = noteReply(state, REPLY.config_error, nowMs);
      pauses.push(state.openUntilMs! - nowMs);
    }
    expect(pauses).toEqual([2_000, 4_000, 5_000, 5_000, 5_000, 5_000]);
    expect(noteReply(state, REPLY.succeeded, 60_000)).toEqual(CLOSED);
  });

  test('is not prolonged by the 401s of calls that were under way when the first one came', () => {
    const state = stateAfter(times(1, 'config_error'));
    expect(stateAfter(times(30, 'config_error'), 900, state).openUntilMs).toBe(1_000);
  });

  test('is not opened earlier than the PSP asked by another kind of error that comes in meanwhile', () => {
    const asked: EnquiryReply = { ...REPLY.rate_limited, retryAfterMs: 60_000 };
    const throttled = stateAfter([asked, asked, asked]);
    expect(throttled.openUntilMs).toBe(60_000);
    expect(noteReply(throttled, REPLY.config_error, 1_000).openUntilMs).toBeGreaterThanOrEqual(60_000);
  });
});

test('whatever is answered, the breaker never stays open for ever and never forgets to allow a probe', () => {
  const step = fc.record({
    kind: fc.constantFrom(...REPLY_KINDS),
    waitMs: fc.integer({ min: 0, max: 100_000 }),
    retryAfterMs: fc.option(fc.nat({ max: 10_000_000 })),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let state = CLOSED;
      let nowMs = 0;
      for (const { kind, waitMs, retryAfterMs } of steps) {
        nowMs += waitMs;
        const reply = kind === 'rate_limited' ? { ...REPLY[kind], retryAfterMs } : REPLY[kind];
        state = noteReply(state, reply, nowMs);
        expect(state.openUntilMs ?? 0).toBeLessThanOrEqual(nowMs + 60_000);
        expect(state.pauseMs).toBeGreaterThanOrEqual(500);
        expect(allowance(state, nowMs + 60_000, 0)).toBeGreaterThanOrEqual(1);
      }
    }),
  );
});

test('a PSP that was throttled once does not pause longer for the rest of the day', () => {
  const asked: EnquiryReply = { ...REPLY.rate_limited, retryAfterMs: 60_000 };
  const throttled = stateAfter([asked, asked, asked]);
  // The probe fails for another reason: the pause doubles from what we chose, not from what was asked once.
  const probed = noteReply(throttled, REPLY.unknown, 60_000);
  expect(probed.openUntilMs! - 60_000).toBeLessThanOrEqual(15_000);
});
