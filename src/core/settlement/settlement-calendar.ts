/**
 * When a booked movement must have been shown by its PSP: business days from the PSP's own day, whose end is its cut-off.
 * Decides only.
 */
import type { AccountSettlement } from './settlement-policy.ts';

const DAY_MS = 86_400_000;
/** A year without a business day is no calendar. */
const MAX_DAYS_OFF = 366;

/** Days that a calendar looks back; an older item is long due. */
const CALENDAR_DAYS = 500;

/** Day of booking in the PSP's zone, after its cut-off rule → the instant from which on its line is missing. */
export type DueDay = { readonly day: string; readonly dueAt: string };

/** An account's calendar as statements take it. */
export type Calendar = {
  readonly timeZone: string;
  readonly cutOffMinute: number;
  readonly days: readonly DueDay[];
};

/** @param now an instant in ISO form; the calendar reaches from {@link CALENDAR_DAYS} before it to a few days after */
export function calendarAt(settlement: AccountSettlement, now: string): Calendar {
  const firstDay = dateOf(Date.parse(now) - CALENDAR_DAYS * DAY_MS);
  const { timeZone, cutOffMinute } = settlement;
  return { timeZone, cutOffMinute, days: dueDays(settlement, firstDay, CALENDAR_DAYS + 3) };
}

/**
 * The due instants of `count` days from `firstDay` ("2026-11-25") on. An item is due when the day ends that is settleDays +
 * graceDays business days after its own; a day off counts as the next business day.
 */
export function dueDays(calendar: AccountSettlement, firstDay: string, count: number): readonly DueDay[] {
  const start = Date.parse(`${firstDay}T00:00:00.000Z`);
  return Array.from({ length: count }, (_, i) => {
    const day = start + i * DAY_MS;
    let due = nextBusinessDay(calendar, day);
    for (let n = 0; n < calendar.settleDays + calendar.graceDays; n += 1) {
      due = nextBusinessDay(calendar, due + DAY_MS);
    }
    return { day: dateOf(day), dueAt: new Date(endOfDay(calendar.timeZone, due)).toISOString() };
  });
}

function dateOf(utcMidnight: number): string {
  return new Date(utcMidnight).toISOString().slice(0, 10);
}

/** The day itself when it is one. */
function nextBusinessDay(calendar: AccountSettlement, from: number): number {
  let day = from;
  for (let tries = 0; tries < MAX_DAYS_OFF; tries += 1, day += DAY_MS) {
    const weekday = new Date(day).getUTCDay();
    if (weekday !== 0 && weekday !== 6 && !calendar.holidays.has(dateOf(day))) return day;
  }
  return day;
}

/** The instant at which the calendar day (given as its UTC midnight) ends in the zone. */
function endOfDay(timeZone: string, utcMidnight: number): number {
  const wanted = utcMidnight + DAY_MS;
  const guess = wanted - offsetAt(timeZone, wanted);
  // The offset may change between the guess and the answer (summer time): once more from there.
  return wanted - offsetAt(timeZone, guess);
}

const FORMATS = new Map<string, Intl.DateTimeFormat>();

/** Minutes and so on that the zone is ahead of UTC at an instant (ms). */
function offsetAt(timeZone: string, instant: number): number {
  let format = FORMATS.get(timeZone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-GB', {
      timeZone,
      hourCycle: 'h23',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
    });
    FORMATS.set(timeZone, format);
  }
  const parts = new Map(format.formatToParts(instant).map((part) => [part.type, Number(part.value)]));
  const local = Date.UTC(
    parts.get('year')!,
    parts.get('month')! - 1,
    parts.get('day')!,
    parts.get('hour')!,
    parts.get('minute')!,
    parts.get('second')!,
  );
  return local - Math.floor(instant / 1000) * 1000;
}
