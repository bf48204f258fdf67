import { describe, expect, test } from 'vitest';
import { compileDatePattern } from './date-pattern.ts';
import {
  findNamedZone,
  findZone,
  instantAtOffset,
  offsetMinutesOf,
  readLocalTime,
  utcInstant,
} from './date-text.ts';

test.each([
  ['2026-11-25 16:05:09', '2026-11-25T16:05:09.000Z'],
  ['2026-11-25T16:05:09Z', '2026-11-25T16:05:09.000Z'],
  ['2026-11-25 16:05:09.1234', '2026-11-25T16:05:09.123Z'],
  ['2026-11-25', '2026-11-25T00:00:00.000Z'],
  ['2024-02-29 00:00:00', '2024-02-29T00:00:00.000Z'],
  ['2026-02-29 00:00:00', null],
  ['2026-13-01 00:00:00', null],
  ['2026-11-31', null],
  ['2026-11-25 24:00:00', null],
  ['2026-11-25 16:60:00', null],
  ['2026-11-25 16:05', null],
  ['25.11.2026', null],
  ['2026-11-25 16:05:09+0100', null],
  ['', null],
])('%j is the instant %s', (text, expected) => {
  expect(utcInstant(text)).toBe(expected);
});

describe('zones by letters', () => {
  test.each([
    ['2026-01-15 12:00:00', 'CET', '2026-01-15T11:00:00.000Z'],
    ['2026-07-15 12:00:00', 'CEST', '2026-07-15T10:00:00.000Z'],
    ['2026-07-15 12:00:00', 'CET', '2026-07-15T10:00:00.000Z'],
    ['2026-10-25 02:30:00', 'CEST', '2026-10-25T00:30:00.000Z'],
    ['2026-10-25 02:30:00', 'CET', '2026-10-25T01:30:00.000Z'],
    ['2026-03-29 02:30:00', 'CET', '2026-03-29T01:30:00.000Z'],
    ['2026-07-15 12:00:00', 'GMT', '2026-07-15T12:00:00.000Z'],
    ['2026-07-15 12:00:00', 'BST', '2026-07-15T11:00:00.000Z'],
    ['2026-07-15 12:00:00', 'PDT', '2026-07-15T19:00:00.000Z'],
    ['2026-01-15 12:00:00', 'EST', '2026-01-15T17:00:00.000Z'],
    ['2026-01-15 12:00:00', 'AEDT', '2026-01-15T01:00:00.000Z'],
    ['2026-01-15 12:00:00', 'Asia/Kolkata', '2026-01-15T06:30:00.000Z'],
  ])('%s %s is %s', (text, name, expected) => {
    const found = findNamedZone(name);
    expect(found?.zone.instantOf(readLocalTime(text)!, found.hint)).toBe(expected);
  });

  test('a name that nobody knows is no zone', () => {
    expect(findNamedZone('XYZ')).toBeNull();
    expect(findZone('Mars/Olympus')).toBeNull();
  });
});

test.each([
  ['-0800', -480],
  ['+05:30', 330],
  ['Z', 0],
  ['+1500', null],
  ['0800', null],
])('%s is %s minutes', (text, expected) => {
  expect(offsetMinutesOf(text)).toBe(expected);
});

test('a local time with its offset', () => {
  const time = readLocalTime('2026/12/31 20:00:05')!;
  expect(instantAtOffset(time, -480)).toBe('2027-01-01T04:00:05.000Z');
});

describe('patterns of mapping files', () => {
  const read = (pattern: string, text: string) => {
    const compiled = compileDatePattern(pattern);
    if (typeof compiled === 'string') return compiled;
    const found = compiled.read(text);
    return found === null ? null : instantAtOffset(found.time, found.offsetMinutes ?? 0);
  };
  test.each([
    ['dd.MM.yyyy', '24.11.2026', '2026-11-24T00:00:00.000Z'],
    ['dd.MM.yyyy', '24/11/2026', null],
    ['M/d/yy', '1/9/26', '2026-01-09T00:00:00.000Z'],
    ['MM/dd/yyyy hh:mm a', '11/24/2026 12:05 AM', '2026-11-24T00:05:00.000Z'],
    ['MM/dd/yyyy hh:mm a', '11/24/2026 12:05 PM', '2026-11-24T12:05:00.000Z'],
    ['MM/dd/yyyy hh:mm a', '11/24/2026 13:05 PM', null],
    ['dd MMM yyyy', '24 Nov 2026', '2026-11-24T00:00:00.000Z'],
    ['dd MMM yyyy', '24 Nvo 2026', null],
    ["yyyy-MM-dd'T'HH:mm:ssXXX", '2026-11-24T10:00:00+02:00', '2026-11-24T08:00:00.000Z'],
    ['yyyyMMdd', '20261124', '2026-11-24T00:00:00.000Z'],
    ['yyyyMMdd', '20261131', null],
    ['yyyy-MM', '2026-11', 'needs a year, a month and a day'],
    ['yyyy-MM-dd yyyy', '', 'has a part twice'],
  ])('%s reads %s', (pattern, text, expected) => {
    expect(read(pattern, text)).toBe(expected);
  });
  test('letters that are no token are refused', () => {
    expect(compileDatePattern('yyyy-QQ-dd')).toMatch(/^knows yyyy/);
  });
});
