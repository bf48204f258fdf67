/**
 * Dates and times as files write them, to instants in UTC ("2026-11-25T16:05:00.000Z"). Decides only; a time whose zone nobody
 * knows is null, never our own clock's zone.
 */

const ZERO = 0x30;

/** The two digits at a position, or NaN. */
function pairAt(text: string, at: number): number {
  const tens = text.charCodeAt(at) - ZERO;
  const ones = text.charCodeAt(at + 1) - ZERO;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : Number.NaN;
}

/** True for a day of the calendar, written "2026-11-25". */
export function isCalendarDay(text: string): boolean {
  if (text.length !== 10 || text[4] !== '-' || text[7] !== '-') return false;
  const year = pairAt(text, 0) * 100 + pairAt(text, 2);
  const month = pairAt(text, 5);
  const day = pairAt(text, 8);
  if (!(year >= 1970 && month >= 1 && month <= 12 && day >= 1)) return false;
  return day <= new Date(Date.UTC(year, month, 0)).getUTCDate();
}

/** Days that the calendar was asked for already: a file's rows are of few days. */
const goodDays = new Set<string>();
const MAX_KEPT_DAYS = 1_000;

/** "16:05:00" at a position. */
function isTimeAt(text: string, at: number): boolean {
  return (
    pairAt(text, at) <= 23 &&
    text.charCodeAt(at + 2) === 0x3a &&
    pairAt(text, at + 3) <= 59 &&
    text.charCodeAt(at + 5) === 0x3a &&
    pairAt(text, at + 6) <= 59
  );
}

/**
 * The instant of a text that is known to be in UTC: "2026-11-25 16:05:00", with T, Z and fractions too, or a day alone (its
 * midnight). Null when it is none.
 */
export function utcInstant(text: string): string | null {
  const day = text.slice(0, 10);
  if (!goodDays.has(day)) {
    if (!isCalendarDay(day)) return null;
    if (goodDays.size >= MAX_KEPT_DAYS) goodDays.clear();
    goodDays.add(day);
  }
  if (text.length === 10) return `${day}T00:00:00.000Z`;
  const separator = text.charCodeAt(10);
  if ((separator !== 0x20 && separator !== 0x54) || !isTimeAt(text, 11)) return null;
  if (text.length === 19) return `${day}T${text.slice(11)}.000Z`;
  const [, fraction = ''] = /^(?:\.(\d{1,9}))?(?:Z|\+00:?00| UTC)?$/.exec(text.slice(19)) ?? [null, null];
  if (fraction === null) return null;
  return `${day}T${text.slice(11, 19)}.${fraction.padEnd(3, '0').slice(0, 3)}Z`;
}

/** A moment without a zone. `month` from 1. */
export type LocalTime = {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
};

/** The parts of "2026-11-25 16:05:00", "2026/11/25 16:05" or a day alone; null when it is none. */
export function readLocalTime(text: string): LocalTime | null {
  const match = /^(\d{4})[-/](\d{2})[-/](\d{2})(?:[ T](\d{2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?)?$/.exec(text);
  if (match === null) return null;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1)
    .map((part) => Number(part ?? 0));
  return checkedTime({ year, month, day, hour, minute, second });
}

/** The same, or null when the calendar or the clock has no such moment. */
export function checkedTime(time: LocalTime): LocalTime | null {
  const { year, month, day, hour, minute, second } = time;
  const pad = (value: number, width: number) => String(value).padStart(width, '0');
  const isDay = isCalendarDay(`${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}`);
  return isDay && hour <= 23 && minute <= 59 && second <= 59 ? time : null;
}

/** The instant of a local time so many minutes east of UTC. */
export function instantAtOffset(time: LocalTime, offsetMinutes: number): string {
  const utc = Date.UTC(
    time.year,
    time.month - 1,
    time.day,
    time.hour,
    time.minute - offsetMinutes,
    time.second,
  );
  return new Date(utc).toISOString();
}

/** "+0200", "-07:00", "Z" in minutes; null when it is none. */
export function offsetMinutesOf(text: string): number | null {
  if (text === 'Z') return 0;
  const match = /^([+-])(\d{2}):?(\d{2})$/.exec(text);
  if (match === null) return null;
  const minutes = Number(match[2]) * 60 + Number(match[3]);
  if (minutes > 14 * 60 || Number(match[3]) > 59) return null;
  return match[1] === '-' ? -minutes : minutes;
}

/** Which of two equal local times is meant when clocks go back, and which offset a name has. */
export type ZoneHint = 'standard' | 'daylight' | null;

export type Zone = {
  /**
   * The instant of a local time in this zone. In the hour that clocks repeat the hint decides, without one the earlier; a time that
   * clocks skip is read with the offset before the gap.
   */
  readonly instantOf: (time: LocalTime, hint: ZoneHint) => string;
};

const zones = new Map<string, Zone | null>();

/** Zones of one process: far more than any file names. */
const MAX_ZONES = 1_000;

/** An IANA zone such as "Europe/Amsterdam"; null when there is none of that name. */
export function findZone(name: string): Zone | null {
  const known = zones.get(name);
  if (known !== undefined) return known;
  if (zones.size >= MAX_ZONES) zones.clear();
  const zone = openZone(name);
  zones.set(name, zone);
  return zone;
}

/** Offsets are kept by the hour; a file of years has some ten thousand hours. */
const MAX_KEPT_HOURS = 20_000;

function openZone(name: string): Zone | null {
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', { timeZone: name, timeZoneName: 'longOffset' });
  } catch {
    return null;
  }
  const kept = new Map<number, number>();
  const offsetAt = (utc: number): number => {
    const hour = Math.floor(utc / 900_000);
    const known = kept.get(hour);
    if (known !== undefined) return known;
    const text =
      format.formatToParts(new Date(utc)).find((part) => part.type === 'timeZoneName')?.value ?? '';
    const offset = offsetMinutesOf(text.replace(/^GMT/, '') || 'Z') ?? 0;
    if (kept.size >= MAX_KEPT_HOURS) kept.clear();
    kept.set(hour, offset);
    return offset;
  };
  return {
    instantOf: (time, hint) => {
      const asUtc = Date.UTC(time.year, time.month - 1, time.day, time.hour, time.minute, time.second);
      const before = offsetAt(asUtc - 86_400_000);
      const after = offsetAt(asUtc + 86_400_000);
      const fits = [...new Set([before, after])].filter(
        (offset) => offsetAt(asUtc - offset * 60_000) === offset,
      );
      const offset = fits.length === 0 ? before : chosenOffset(fits, hint);
      return instantAtOffset(time, offset);
    },
  };
}

/** Daylight time is east of standard time; without a hint the earlier instant. */
function chosenOffset(offsets: readonly number[], hint: ZoneHint): number {
  return hint === 'standard' ? Math.min(...offsets) : Math.max(...offsets);
}

/**
 * The zones that PSPs name by letters without an offset, by the region whose clocks they follow. Some files say CET or PST all
 * year round; GMT, EST and MST never move, because the moving zones of those places have another name in summer.
 */
const NAMED_ZONES: ReadonlyMap<string, readonly [string, ZoneHint]> = new Map<
  string,
  readonly [string, ZoneHint]
>([
  ['UTC', ['UTC', null]],
  ['GMT', ['UTC', null]],
  ['BST', ['Europe/London', 'daylight']],
  ['WET', ['Europe/Lisbon', 'standard']],
  ['WEST', ['Europe/Lisbon', 'daylight']],
  ['CET', ['Europe/Amsterdam', 'standard']],
  ['CEST', ['Europe/Amsterdam', 'daylight']],
  ['EET', ['Europe/Helsinki', 'standard']],
  ['EEST', ['Europe/Helsinki', 'daylight']],
  ['MSK', ['Europe/Moscow', null]],
  ['EST', ['Etc/GMT+5', null]],
  ['EDT', ['America/New_York', 'daylight']],
  ['CST', ['America/Chicago', 'standard']],
  ['CDT', ['America/Chicago', 'daylight']],
  ['MST', ['Etc/GMT+7', null]],
  ['MDT', ['America/Denver', 'daylight']],
  ['PST', ['America/Los_Angeles', 'standard']],
  ['PDT', ['America/Los_Angeles', 'daylight']],
  ['BRT', ['America/Sao_Paulo', 'standard']],
  ['BRST', ['America/Sao_Paulo', 'daylight']],
  ['SGT', ['Asia/Singapore', null]],
  ['HKT', ['Asia/Hong_Kong', null]],
  ['JST', ['Asia/Tokyo', null]],
  ['GST', ['Asia/Dubai', null]],
  ['AEST', ['Australia/Sydney', 'standard']],
  ['AEDT', ['Australia/Sydney', 'daylight']],
  ['NZST', ['Pacific/Auckland', 'standard']],
  ['NZDT', ['Pacific/Auckland', 'daylight']],
]);

/** A zone by letters ("CEST") or by its IANA name; null when neither. */
export function findNamedZone(name: string): { readonly zone: Zone; readonly hint: ZoneHint } | null {
  const [region, hint] = NAMED_ZONES.get(name) ?? [name, null];
  const zone = findZone(region);
  return zone === null ? null : { zone, hint };
}
