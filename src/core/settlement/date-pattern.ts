/** Date patterns of mapping files, such as "dd.MM.yyyy HH:mm". Decides only; a text that does not fit the pattern is no date. */
import { checkedTime, type LocalTime, offsetMinutesOf } from './date-text.ts';

/** A time as the pattern read it; offset null where the pattern has none. */
type PatternTime = { readonly time: LocalTime; readonly offsetMinutes: number | null };

export type DatePattern = { readonly read: (text: string) => PatternTime | null };

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

/** What each token matches, and the part of a time that it is. */
const TOKENS: ReadonlyMap<string, readonly [string, string]> = new Map<string, readonly [string, string]>([
  ['yyyy', ['(\\d{4})', 'year']],
  ['yy', ['(\\d{2})', 'shortYear']],
  ['MMM', ['([A-Za-z]{3})', 'monthName']],
  ['MM', ['(\\d{2})', 'month']],
  ['M', ['(\\d{1,2})', 'month']],
  ['dd', ['(\\d{2})', 'day']],
  ['d', ['(\\d{1,2})', 'day']],
  ['HH', ['(\\d{2})', 'hour']],
  ['H', ['(\\d{1,2})', 'hour']],
  ['hh', ['(\\d{2})', 'halfHour']],
  ['h', ['(\\d{1,2})', 'halfHour']],
  ['a', ['([AaPp][Mm])', 'half']],
  ['mm', ['(\\d{2})', 'minute']],
  ['ss', ['(\\d{2})', 'second']],
  ['SSS', ['(\\d{1,9})', 'fraction']],
  ['XXX', ['(Z|[+-]\\d{2}:?\\d{2})', 'offset']],
]);

const TOKEN = /yyyy|yy|MMM|MM|M|dd|d|HH|H|hh|h|a|mm|ss|SSS|XXX|'[^']*'|[^A-Za-z']/g;

/** The compiled pattern, or a sentence on what is wrong with it. */
export function compileDatePattern(pattern: string): DatePattern | string {
  const tokens = pattern.match(TOKEN) ?? [];
  if (tokens.join('') !== pattern) {
    return 'knows yyyy yy MMM MM M dd d HH H hh h a mm ss SSS XXX; other letters stand in quotes: "yyyy-MM-dd\'T\'HH:mm:ss"';
  }
  const parts: string[] = [];
  const source = tokens.map((token) => {
    const known = TOKENS.get(token);
    if (known === undefined) return token.replaceAll("'", '').replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
    parts.push(known[1]);
    return known[0];
  });
  const has = (...names: readonly string[]) => names.some((name) => parts.includes(name));
  if (!has('year', 'shortYear') || !has('month', 'monthName') || !has('day')) {
    return 'needs a year, a month and a day';
  }
  if (new Set(parts).size !== parts.length) return 'has a part twice';
  const expression = new RegExp(`^${source.join('')}$`);
  return { read: (text) => readBy(expression, parts, text) };
}

function readBy(expression: RegExp, parts: readonly string[], text: string): PatternTime | null {
  const match = expression.exec(text);
  if (match === null) return null;
  const found = new Map(parts.map((part, index) => [part, match[index + 1] ?? '']));
  const number = (part: string): number => Number(found.get(part) ?? 0);
  const monthName = found.get('monthName');
  const month = monthName === undefined ? number('month') : MONTHS.indexOf(monthName.toLowerCase()) + 1;
  const year = found.has('shortYear') ? 2000 + number('shortYear') : number('year');
  const half = found.get('half')?.toLowerCase();
  const halfHour = number('halfHour');
  if (found.has('halfHour') && (halfHour < 1 || halfHour > 12)) return null;
  const hour = found.has('halfHour') ? (halfHour % 12) + (half === 'pm' ? 12 : 0) : number('hour');
  const time = checkedTime({
    year,
    month,
    day: number('day'),
    hour,
    minute: number('minute'),
    second: number('second'),
  });
  const offset = found.get('offset');
  const offsetMinutes = offset === undefined ? null : offsetMinutesOf(offset);
  if (time === null || (offset !== undefined && offsetMinutes === null)) return null;
  return { time, offsetMinutes };
}
