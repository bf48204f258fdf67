/** What a run says while it goes on: on standard error, one line a second at most. */
import type { Killed } from './kill.ts';

export type Progress = {
  /** A new phase. */
  say(text: string): void;
  kill(killed: Killed): void;
  /** Where the orders stand; printed with the latest news. */
  status(text: string): void;
};

const LINE_EVERY_MS = 1_000;

export function createProgress(kills: number, write: (line: string) => void): Progress {
  const startedAt = performance.now();
  let printedAt = Number.NEGATIVE_INFINITY;
  let news: string[] = [];
  let counted = 0;
  let status = '';

  const print = (): void => {
    const now = performance.now();
    if (now - printedAt < LINE_EVERY_MS) return;
    printedAt = now;
    const seconds = Math.round((now - startedAt) / 1000);
    write(
      `${String(seconds).padStart(4)} s  kills ${counted}/${kills}  ${[status, ...news].filter(Boolean).join('; ')}`,
    );
    news = [];
  };
  return {
    say: (text) => {
      news.push(text);
      print();
    },
    kill: (killed) => {
      if (killed.inFlight > 0) counted += 1;
      news.push(
        `${killed.kind} with ${killed.inFlight} in flight${killed.inFlight > 0 ? '' : ' (does not count)'}`,
      );
      print();
    },
    status: (text) => {
      status = text;
      print();
    },
  };
}
