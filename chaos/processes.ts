/** Starts the run's child processes and signals them, each by its own pid; hands on what they print, by lines. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ChildJob } from './child.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));

/** The first argument of a child, before its job. */
export const CHILD_FLAG = '--child';

export type Ending = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

export type Child = {
  readonly pid: number;
  /** Resolves when the process is gone. */
  readonly ended: Promise<Ending>;
  isRunning(): boolean;
  /** To this process only, while it is ours to signal. */
  signal(name: NodeJS.Signals): void;
};

export type Lines = {
  readonly onStdout: (line: string) => void;
  readonly onStderr: (line: string) => void;
};

const running = new Set<ChildProcess>();
let isOver = false;

/** @param mark stands in the command line, so that a later run can tell what an earlier, killed one left */
export function startChild(job: ChildJob, mark: string, lines: Lines): Child {
  if (isOver) throw new Error('the run is over: nothing is started any more');
  const process_ = spawn(process.execPath, [MAIN, CHILD_FLAG, JSON.stringify(job), mark], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: process.env.NODE_OPTIONS ?? '' },
  });
  if (process_.pid === undefined) throw new Error(`a ${job.role} could not be started`);
  running.add(process_);
  // Writing is never done; the other side's end is what tells a child that we are gone.
  process_.stdin.on('error', () => undefined);
  createInterface({ input: process_.stdout }).on('line', lines.onStdout);
  createInterface({ input: process_.stderr }).on('line', lines.onStderr);
  const ended = new Promise<Ending>((resolve) => {
    process_.once('exit', (code, signal) => {
      running.delete(process_);
      resolve({ code, signal });
    });
  });
  return {
    pid: process_.pid,
    ended,
    isRunning: () => running.has(process_),
    signal: (name) => {
      if (running.has(process_)) process_.kill(name);
    },
  };
}

/** Ends every child that is left, stopped ones too; from here on none is started any more. */
export function endAllChildren(): void {
  isOver = true;
  for (const child of running) child.kill('SIGKILL');
}

/** Resolves with `late` after `limitMs`; the promise goes on. */
export async function within<T>(promise: Promise<T>, limitMs: number): Promise<T | 'late'> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
