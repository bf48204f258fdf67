import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BEAT_EVERY_MS, LEASE_MS, laneOf, MIN_LEASE_LEFT_MS, PRIORITIES, retryDelayMs } from './job.ts';

describe('leases', () => {
  test('a daemon that misses two heartbeats still holds its lease and may still send', () => {
    expect(LEASE_MS - 3 * BEAT_EVERY_MS).toBeGreaterThan(MIN_LEASE_LEFT_MS);
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
