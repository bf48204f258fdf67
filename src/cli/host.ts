/**
 * What the command line sees of the world: streams, environment, signals, a person to ask, and the two
 * programs that it can start. Types only, so that tests run commands without a process.
 */
import type { Config } from '../core/config.ts';
import type { ConnectionOptions } from '../core/db/connection.ts';
import type { ReconcileAnswer } from '../core/settlement/reconcile-answer.ts';

export type OutStream = {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
};

/** A person's answer to a question, or why there is none. */
export type Answer =
  | { readonly kind: 'answer'; readonly text: string }
  /** Nobody is there: no terminal to ask on. */
  | { readonly kind: 'no_terminal' }
  /** The terminal closed (Ctrl-D). */
  | { readonly kind: 'closed' };

export type Interrupt = {
  /** Aborted by SIGINT, SIGTERM or SIGHUP; the reason is the signal's name. */
  readonly signal: AbortSignal;
  /** From here on the command itself ends what it has begun; otherwise a signal ends the process at once. */
  takeOver(): void;
  isTakenOver(): boolean;
};

type DaemonModule = {
  /** Runs until it is told to stop by a signal to the process. */
  runDaemon(options: {
    readonly config: Config;
    readonly connection: ConnectionOptions;
    readonly listenConnection: ConnectionOptions | null;
    readonly renderReport: (answer: ReconcileAnswer) => Promise<string>;
  }): Promise<unknown>;
};

type SandboxModule = {
  startSandbox(options: {
    readonly port: number;
    readonly journalPath: string | null;
    readonly seed: number;
    readonly rates?: Readonly<Record<string, number>>;
    readonly latencyMs?: number;
    readonly apiKey?: string;
  }): Promise<{ readonly url: string; readonly port: number; close(): Promise<void> }>;
};

/** Loaded only by the commands that run them: they cost hundreds of milliseconds. */
export type Loaders = {
  readonly startDaemon: () => Promise<DaemonModule>;
  readonly startSandbox: () => Promise<SandboxModule>;
};

export type Host = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Operating-system user: name and number. */
  readonly user: { readonly name: string; readonly uid: number };
  readonly stdin: AsyncIterable<Buffer>;
  readonly stdout: OutStream;
  readonly stderr: OutStream;
  readonly interrupt: Interrupt;
  /** `terminal`: standard input is taken by data, so ask on the controlling terminal. */
  readonly ask: (question: string, where: 'stdin' | 'terminal') => Promise<Answer>;
  readonly loaders: Loaders;
};
