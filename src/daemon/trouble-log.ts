/**
 * Tells of trouble that lasts, at a bounded rate: its first failure at once, then one line now and then with how many
 * there were, and its end. A database that is away for an hour must not fill the disk with the news of it.
 */
import type { Log } from './log.ts';

/** Between two lines about the same thing (ms). */
const LINE_EVERY_MS = 10_000;

export type TroubleLog = {
  /** It failed once more. `error`: nobody expects this kind of failure. */
  failed(level: 'warn' | 'error', error: unknown, facts?: Readonly<Record<string, unknown>>): void;
  /** It worked: says so where trouble had been told. */
  worked(): void;
};

/**
 * @param words of a line that tells of a failure, and of the one that tells of its end
 * @param nowMs monotonic, ms
 */
export function createTroubleLog(
  log: Pick<Log, 'info' | 'warn' | 'error'>,
  words: { readonly failed: string; readonly worksAgain: string },
  facts: Readonly<Record<string, unknown>> = {},
  nowMs: () => number = () => performance.now(),
): TroubleLog {
  let lineAtMs = Number.NEGATIVE_INFINITY;
  /** Since the last line. */
  let untold = 0;
  let trouble: { readonly sinceMs: number; tries: number; isTold: boolean } | null = null;
  return {
    failed: (level, error, more) => {
      const now = nowMs();
      trouble ??= { sinceMs: now, tries: 0, isTold: false };
      trouble.tries += 1;
      untold += 1;
      if (now - lineAtMs < LINE_EVERY_MS) return;
      const lasts = untold > 1 ? { times: untold, forS: seconds(now - trouble.sinceMs) } : {};
      log[level]({ ...facts, ...more, ...lasts, error: String(error) }, words.failed);
      lineAtMs = now;
      untold = 0;
      trouble.isTold = true;
    },
    worked: () => {
      if (trouble === null) return;
      const { sinceMs, tries, isTold } = trouble;
      trouble = null;
      if (!isTold) return;
      log.info({ ...facts, afterS: seconds(nowMs() - sinceMs), tries }, words.worksAgain);
    },
  };
}

function seconds(ms: number): number {
  return Math.round(ms / 100) / 10;
}
