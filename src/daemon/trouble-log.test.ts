import { expect, test } from 'vitest';
import { createTroubleLog } from './trouble-log.ts';

type Line = { readonly level: string; readonly message: string } & Readonly<Record<string, unknown>>;

function setUp() {
  const lines: Line[] = [];
  const clock = { nowMs: 0 };
  const write = (level: string) => (facts: object, message: string) => {
    lines.push({ level, message, ...facts });
  };
  const log = { info: write('info'), warn: write('warn'), error: write('error') } as never;
  const words = { failed: 'recording failed, trying again', worksAgain: 'recording works again' };
  return { lines, clock, trouble: createTroubleLog(log, words, {}, () => clock.nowMs) };
}

test('an outage of an hour with two tries a second is told every ten seconds, with what was not told', () => {
  const { lines, clock, trouble } = setUp();
  for (; clock.nowMs < 3_600_000; clock.nowMs += 500) trouble.failed('warn', new Error('away'));
  trouble.worked();
  expect(lines).toHaveLength(361);
  expect(lines[0]).toEqual({
    level: 'warn',
    message: 'recording failed, trying again',
    error: 'Error: away',
  });
  expect(lines[1]).toMatchObject({ times: 20, forS: 10 });
  expect(lines.at(-1)).toEqual({
    level: 'info',
    message: 'recording works again',
    afterS: 3_600,
    tries: 7_200,
  });
});

test('failures between successes are told at the same rate, and only an end whose beginning was told', () => {
  const { lines, clock, trouble } = setUp();
  for (; clock.nowMs < 100_000; clock.nowMs += 500) {
    trouble.failed('error', 'no room');
    trouble.worked();
  }
  expect(lines.filter((line) => line.level === 'error')).toHaveLength(10);
  expect(lines.filter((line) => line.level === 'info')).toHaveLength(10);
  expect(lines.filter((line) => line.level === 'error').at(-1)).toMatchObject({ times: 20 });
});

test('what always works says nothing', () => {
  const { lines, trouble } = setUp();
  trouble.worked();
  trouble.worked();
  expect(lines).toEqual([]);
});
