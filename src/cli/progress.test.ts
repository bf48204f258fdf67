import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createTestHost } from '../testing/cli-host.ts';
import { startProgress } from './progress.ts';
import { paceOf, progressText } from './progress-text.ts';
import { createSession, type Globals } from './session.ts';

const PLAN = { label: 'accepted', noun: 'payment', total: 5_000 };
const GLOBALS: Globals = {
  output: 'table',
  color: true,
  input: true,
  quiet: false,
  verbose: false,
  configPath: null,
  env: null,
  dryRun: false,
  yes: false,
  confirm: null,
  reason: null,
};

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

test('without a terminal there is a plain line every ten seconds, and none for a short work', async () => {
  const { host, err } = createTestHost();
  const progress = startProgress(createSession(host, GLOBALS), PLAN);
  progress.update(400);
  vi.advanceTimersByTime(9_900);
  expect(err()).toBe('');
  progress.update(1_000);
  vi.advanceTimersByTime(200);
  expect(err()).toBe('1000 of 5000 payments accepted, 20%, 100/s, about 40 s left\n');
  await progress.end();
  vi.advanceTimersByTime(60_000);
  expect(err().split('\n')).toHaveLength(2);
});

test('under JSON the line is JSON; --quiet says nothing', async () => {
  const loud = createTestHost();
  const progress = startProgress(createSession(loud.host, { ...GLOBALS, output: 'json' }), PLAN);
  progress.update(1_000);
  vi.advanceTimersByTime(10_000);
  await progress.end();
  expect(JSON.parse(loud.err())).toEqual({
    progress: { accepted: 1_000, total: 5_000, per_second: 100, seconds_left: 40 },
  });
  const silent = createTestHost();
  startProgress(createSession(silent.host, { ...GLOBALS, quiet: true }), PLAN).update(1);
  vi.advanceTimersByTime(10_000);
  expect(silent.err()).toBe('');
});

test('long times are said in minutes and hours', () => {
  const text = (done: number, elapsedMs: number) =>
    progressText(PLAN, done, paceOf(done, PLAN.total, elapsedMs));
  expect(text(10, 1_000)).toContain('about 8 min left');
  expect(text(1, 10_000)).toContain('about 14 h left');
  expect(text(5_000, 10_000)).not.toContain('left');
});
