/** Starts a program of the benchmark in a process of its own and follows it to its end. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { Bug } from '../src/core/errors.ts';
import type { InputOf, OutputOf, ProgramMessage, ProgramName, ProgramOrder } from './programs.ts';

const CHILD = new URL('./child.ts', import.meta.url);
/** A service that does not end when asked is killed after this long (ms). */
const STOP_TIMEOUT_MS = 20_000;
/** Characters of a program's log that are kept to explain its end. */
const LOG_KEPT = 4_000;

export type Started<Name extends ProgramName> = {
  readonly pid: number;
  /** What a service says when it can be used; rejects when it fails before that. */
  readonly ready: Promise<{ readonly url: string | null }>;
  readonly result: Promise<OutputOf<Name>>;
  /** Asks for the end and waits for it. */
  stop(): Promise<void>;
  /** SIGKILL, as a crash would do it; resolves when the process is gone. */
  kill(): Promise<void>;
};

const running = new Set<ChildProcess>();
// A benchmark that fails half-way leaves no process behind.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export function startProgram<Name extends ProgramName>(
  program: Name,
  input: InputOf<Name>,
  onMessage: (message: ProgramMessage) => void = () => undefined,
): Started<Name> {
  const child = fork(CHILD, { serialization: 'advanced', stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  running.add(child);
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-LOG_KEPT);
  });
  const gone = once(child, 'exit').then(([code, signal]: unknown[]) => {
    running.delete(child);
    return `${signal === null ? `exit code ${String(code)}` : `signal ${String(signal)}`}\n${log}`;
  });
  const { ready, result } = follow(child, program, gone, onMessage);
  order(child, { kind: 'run', program, input });
  return {
    pid: child.pid ?? 0,
    ready,
    result: result as Promise<OutputOf<Name>>,
    stop: async () => {
      if (child.connected) order(child, { kind: 'stop' });
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await gone;
      clearTimeout(timer);
    },
    kill: async () => {
      child.kill('SIGKILL');
      await gone;
    },
  };
}

function order(child: ChildProcess, message: ProgramOrder): void {
  child.send(message);
}

function follow(
  child: ChildProcess,
  program: ProgramName,
  gone: Promise<string>,
  onMessage: (message: ProgramMessage) => void,
) {
  const ready = Promise.withResolvers<{ url: string | null }>();
  const result = Promise.withResolvers<unknown>();
  // Nobody may be waiting for one of the two.
  ready.promise.catch(() => undefined);
  result.promise.catch(() => undefined);
  const fail = (reason: string): void => {
    const error = new Bug(`${program} failed: ${reason}`);
    ready.reject(error);
    result.reject(error);
  };
  child.on('message', (message: ProgramMessage) => {
    if (message.kind === 'ready') ready.resolve({ url: message.url });
    else if (message.kind === 'result') result.resolve(message.result);
    else if (message.kind === 'failed') fail(message.reason);
    onMessage(message);
  });
  child.once('error', (error) => fail(error.message));
  void gone.then((how) => fail(`it ended without a result, ${how}`));
  return { ready: ready.promise, result: result.promise };
}

/** Runs a program to its end. */
export async function runProgram<Name extends ProgramName>(
  program: Name,
  input: InputOf<Name>,
): Promise<OutputOf<Name>> {
  return startProgram(program, input).result;
}
