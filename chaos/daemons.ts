/**
 * The run's daemons, each `paygate daemon run` in a process of its own and a numbered place; a place whose daemon
 * ended gets a new one.
 */
import type { LogBook } from './log-book.ts';
import { type Child, type Ending, startCommand, within } from './processes.ts';

/** A daemon waits up to 30 s for a database that is away. */
const READY_TIMEOUT_MS = 60_000;
/** Longest graceful stop (ms): the longest call and the daemon's own grace. */
const STOP_TIMEOUT_MS = 30_000;

export type Daemon = {
  readonly place: number;
  readonly pid: () => number;
  /** `busy`: being killed, stopped or started; nobody else may touch it. */
  state: 'running' | 'busy';
  start(): Promise<void>;
  kill(): Promise<void>;
  /** SIGSTOP: it holds what it holds and notices nothing. */
  stop(): void;
  /** SIGCONT. */
  go(): void;
  /** @returns whether it ended by itself and well */
  terminate(): Promise<'clean' | 'unclean'>;
};

export type DaemonWishes = {
  readonly configPath: string;
  /** Where the database is, and the key of the PSP account. */
  readonly env: Readonly<Record<string, string>>;
  readonly log: LogBook;
  readonly onUnexpectedEnd: (place: number, ending: Ending) => void;
};

export function createDaemon(place: number, wishes: DaemonWishes): Daemon {
  let child: Child | null = null;
  let stopped: Child | null = null;
  const expected = new WeakSet<Child>();

  const start = async (): Promise<void> => {
    const { configPath, env, log } = wishes;
    let ready: () => void = () => undefined;
    const isReady = new Promise<'ready'>((resolve) => {
      ready = () => resolve('ready');
    });
    const started = startCommand(['--config', configPath, 'daemon', 'run'], env, {
      onStdout: (line) => log.note(`daemon ${place}`, line),
      onStderr: (line) => {
        if (log.noteJson(`daemon ${place}`, line) === 'ready') ready();
      },
    });
    child = started;
    void started.ended.then((ending) => {
      if (!expected.has(started)) wishes.onUnexpectedEnd(place, ending);
    });
    const first = await within(Promise.race([isReady, started.ended]), READY_TIMEOUT_MS);
    if (first === 'late') log.note(`daemon ${place}`, `not ready within ${READY_TIMEOUT_MS} ms`);
  };
  const current = (): Child => {
    if (child === null) throw new Error(`there is no daemon in place ${place}`);
    return child;
  };
  return {
    place,
    pid: () => child?.pid ?? 0,
    state: 'running',
    start,
    kill: async () => {
      expected.add(current());
      current().signal('SIGKILL');
      await current().ended;
    },
    stop: () => {
      stopped = current();
      stopped.signal('SIGSTOP');
    },
    go: () => stopped?.signal('SIGCONT'),
    terminate: async () => {
      const asked = current();
      expected.add(asked);
      asked.signal('SIGTERM');
      const ending = await within(asked.ended, STOP_TIMEOUT_MS);
      if (ending === 'late') {
        asked.signal('SIGKILL');
        await asked.ended;
        wishes.log.note(`daemon ${place}`, `did not end within ${STOP_TIMEOUT_MS} ms of SIGTERM`);
        return 'unclean';
      }
      if (ending.code === 0) return 'clean';
      wishes.log.note(`daemon ${place}`, `ended after SIGTERM with ${JSON.stringify(ending)}`);
      return 'unclean';
    },
  };
}
