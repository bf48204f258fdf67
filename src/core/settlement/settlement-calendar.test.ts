import { describe, expect, test } from 'vitest';
import { dueDays } from './settlement-calendar.ts';
import { DEFAULT_SETTLEMENT } from './settlement-policy.ts';

const due = (day: string, overrides: Partial<typeof DEFAULT_SETTLEMENT> = {}) =>
  dueDays({ ...DEFAULT_SETTLEMENT, settleDays: 2, graceDays: 0, ...overrides }, day, 1)[0]!.dueAt;

describe('an item is due', () => {
  test.each([
    ['at the end of the second business day after its own', '2026-11-23', {}, '2026-11-26T00:00:00.000Z'],
    ['after the weekend', '2026-11-26', {}, '2026-12-01T00:00:00.000Z'],
    ['counted from Monday, when it was booked on a Saturday', '2026-11-28', {}, '2026-12-03T00:00:00.000Z'],
    ['a day later for each day of grace', '2026-11-23', { graceDays: 1 }, '2026-11-27T00:00:00.000Z'],
    [
      'not on a holiday',
      '2026-12-23',
      { holidays: new Set(['2026-12-24', '2026-12-25']) },
      '2026-12-30T00:00:00.000Z',
    ],
    [
      'on its own day, when nothing is waited for',
      '2026-11-25',
      { settleDays: 0 },
      '2026-11-26T00:00:00.000Z',
    ],
    [
      'when the day ends in the zone of the PSP',
      '2026-11-23',
      { timeZone: 'America/New_York' },
      '2026-11-26T05:00:00.000Z',
    ],
    ['… in summer too', '2026-07-20', { timeZone: 'America/New_York' }, '2026-07-23T04:00:00.000Z'],
    [
      '… on the night that the clock goes back',
      '2026-10-21',
      { timeZone: 'Europe/Berlin' },
      '2026-10-23T22:00:00.000Z',
    ],
    ['… and after it', '2026-10-23', { timeZone: 'Europe/Berlin' }, '2026-10-27T23:00:00.000Z'],
  ])('%s', (_, day, overrides, expected) => {
    expect(due(day, overrides)).toBe(expected);
  });

  test('one day after the other, in their order', () => {
    expect(dueDays(DEFAULT_SETTLEMENT, '2026-11-29', 3).map(({ day }) => day)).toEqual([
      '2026-11-29',
      '2026-11-30',
      '2026-12-01',
    ]);
  });
});
