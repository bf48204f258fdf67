/** What the run's processes said: counted by message, the alarming lines kept; all of it in files on request. */
import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

/** Lines kept for the end of the run. */
const MAX_ALARMS = 40;
const PINO_WARN = 40;
const PINO_ERROR = 50;

export type LogBook = {
  /** A line that nobody expected: kept. */
  note(who: string, line: string): void;
  /** A line that troubles explain: only counted, by the words given. */
  count(who: string, line: string, as: string): void;
  /** A line of pino; returns its message. What is no JSON is kept. */
  noteJson(who: string, line: string): string | null;
  /** Warnings and errors by message. */
  counts(): Readonly<Record<string, number>>;
  alarms(): readonly string[];
};

/** @param folder where every line goes, one file per process; null keeps none */
export function createLogBook(folder: string | null): LogBook {
  const counts = new Map<string, number>();
  const alarms: string[] = [];
  if (folder !== null) mkdirSync(folder, { recursive: true });

  const write = (who: string, line: string): void => {
    if (folder !== null) appendFileSync(join(folder, `${who.replaceAll(' ', '-')}.log`), `${line}\n`);
  };
  const alarm = (who: string, line: string): void => {
    if (alarms.length < MAX_ALARMS) alarms.push(`${who}: ${line.slice(0, 500)}`);
  };
  return {
    note: (who, line) => {
      write(who, line);
      alarm(who, line);
    },
    count: (who, line, as) => {
      write(who, line);
      counts.set(as, (counts.get(as) ?? 0) + 1);
    },
    noteJson: (who, line) => {
      write(who, line);
      const entry = readLine(line);
      if (entry === null) {
        alarm(who, line);
        return null;
      }
      if (entry.level >= PINO_WARN) counts.set(entry.msg, (counts.get(entry.msg) ?? 0) + 1);
      if (entry.level >= PINO_ERROR) alarm(who, line);
      return entry.msg;
    },
    counts: () => Object.fromEntries([...counts].sort(([, left], [, right]) => right - left)),
    alarms: () => alarms,
  };
}

function readLine(line: string): { level: number; msg: string } | null {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== 'object' || value === null || !('level' in value) || !('msg' in value)) return null;
    return typeof value.level === 'number' && typeof value.msg === 'string'
      ? { level: value.level, msg: value.msg }
      : null;
  } catch {
    return null;
  }
}
