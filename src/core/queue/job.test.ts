import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BEAT_EVERY_MS,
  cancelDelayMs,
  LEASE_MS,
  laneOf,
  MIN_LEASE_LEFT_MS,
  PRIORITIES,
  RECHECK_SCHEDULE,
  recheckDelayMs,
  retryDelayMs,
} from './job.ts';

describe('leases', () => {
  test('a daemon that misses two heartbeats still holds its lease and may still send', () => {
    expect(LEASE_MS - 3 * BEAT_EVERY_MS).toBeGreaterThan(MIN_LEASE_LEFT_MS);
  });
});

describe('what the PSP is still working on', () => {
  test.each([
    [0, 2_000],
    [59_999, 2_000],
    [60_000, 15_000],
    [10 * 60_000, 60_000],
    [3_600_000, 300_000],
    [6 * 3_600_000, 900_000],
    [24 * 3_600_000, 3_600_000],
    [400 * 24 * 3_600_000, 3_600_000],
  ])('%i ms after it was sent it is asked for every %i ms', (ageMs, everyMs) => {
    expect(recheckDelayMs(ageMs, 0)).toBe(everyMs);
    expect(recheckDelayMs(ageMs, 0.999)).toBeLessThan(everyMs * 1.25);
  });

  test('is asked for ever more seldom, and never not at all', () => {
    const pauses = RECHECK_SCHEDULE.map(({ everyMs }) => everyMs);
    expect(pauses).toEqual([...pauses].sort((a, b) => a - b));
    expect(RECHECK_SCHEDULE.at(-1)!.youngerThanMs).toBe(Number.POSITIVE_INFINITY);
  });

  test('is asked to be canceled after two seconds, then twice as long each time, up to an hour', () => {
    expect([0, 1, 2, 10, 11, 30_000].map(cancelDelayMs)).toEqual([
      2_000, 4_000, 8_000, 2_048_000, 3_600_000, 3_600_000,
    ]);
  });
});

describe('lanes', () => {
  test('two accounts or two priorities never share a lane', () => {
    const name = fc.stringMatching(/^[a-z0-9_]{1,40}$/);
    const lane = fc.record({ account: name, priority: fc.constantFrom(...PRIORITIES) });
    fc.assert(
      fc.property(lane, lane, (one, two) => {
        const same = one.account === two.account && one.priority === two.priority;
        expect(laneOf(one.account, one.priority) === laneOf(two.account, two.priority)).toBe(same);
      }),
    );
  });

  test('single payments of a waiting shop go before files', () => {
    expect(PRIORITIES).toEqual(['online', 'batch']);
  });
});

describe('retry delays', () => {
  const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

  test('stay within the cap, are whole, and never come before the PSP allows', () => {
    const retryAfter = fc.option(fc.integer({ min: 0, max: 10_000_000 }));
    fc.assert(
      fc.property(fc.nat({ max: 40_000 }), random, retryAfter, (tries, chance, retryAfterMs) => {
        const delayMs = retryDelayMs(tries, chance, retryAfterMs);
        expect(Number.isInteger(delayMs)).toBe(true);
        expect(delayMs).toBeGreaterThanOrEqual(Math.min(retryAfterMs ?? 0, 3_600_000));
        expect(delayMs).toBeLessThanOrEqual(Math.max(60_000, Math.min(retryAfterMs ?? 0, 3_600_000)));
      }),
    );
  });

  test('have full jitter: chance alone decides where in the range', () => {
    fc.assert(
      fc.property(fc.nat({ max: 20 }), random, random, (tries, low, high) => {
        fc.pre(low <= high);
        expect(retryDelayMs(tries, low, null)).toBeLessThanOrEqual(retryDelayMs(tries, high, null));
        expect(retryDelayMs(tries, 0, null)).toBe(0);
      }),
    );
  });
});
