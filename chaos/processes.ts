/** Starts the run's child processes and signals them, each by its own pid; hands on what they print, by lines. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ChildJob } from './child.ts';

/** The command line, built. */
const COMMAND = fileURLToPath(new URL('../bin/paygate.mjs', import.meta.url));
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

/** One of the run's own kinds of process. @param mark stands in the command line, for who clears up after us */
export function startChild(job: ChildJob, mark: string, lines: Lines): Child {
  const args = [MAIN, CHILD_FLAG, JSON.stringify(job), mark];
  return follow(spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'] }), lines);
}

/** The command line as it is installed. It has a channel to us and ends well when we are gone. */
export function startCommand(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  lines: Lines,
): Child {
  const command = spawn(process.execPath, [COMMAND, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: { ...process.env, ...env },
  });
  return follow(command, lines);
}

function follow(started: ChildProcess, lines: Lines): Child {
  if (started.pid === undefined) throw new Error(`${started.spawnfile} could not be started`);
  if (isOver) {
    started.kill('SIGKILL');
    throw new Error('the run is over: nothing is started any more');
  }
  running.add(started);
  // Nothing is ever written; the end of the pipe is what tells a child that we are gone.
  started.stdin?.on('error', () => undefined);
  started.on('error', () => undefined);
  if (started.stdout !== null) createInterface({ input: started.stdout }).on('line', lines.onStdout);
  if (started.stderr !== null) createInterface({ input: started.stderr }).on('line', lines.onStderr);
  const ended = new Promise<Ending>((resolve) => {
    started.once('exit', (code, signal) => {
      running.delete(started);
      resolve({ code, signal });
    });
  });
  return {
    pid: started.pid,
    ended,
    isRunning: () => running.has(started),
    signal: (name) => {
      if (running.has(started)) started.kill(name);
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
