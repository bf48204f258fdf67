/** A host for running commands inside a test: strings instead of streams, answers instead of a person. */
import { tmpdir } from 'node:os';
import type { Answer, Host, Loaders } from '../cli/host.ts';

export type TestHostOptions = {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: string;
  /** Both outputs are a terminal of this width. */
  readonly terminal?: number;
  /** What the person types, question by question; then the terminal is closed. Left out: nobody is there. */
  readonly answers?: readonly string[];
  readonly loaders?: Partial<Loaders>;
  /** Called whenever the command asks. */
  readonly onAsk?: (question: string, where: 'stdin' | 'terminal') => void;
};

export type TestHost = {
  readonly host: Host;
  readonly out: () => string;
  readonly err: () => string;
  readonly interrupt: (signal: 'SIGINT' | 'SIGTERM') => void;
};

export function createTestHost(options: TestHostOptions = {}): TestHost {
  const written = { out: '', err: '' };
  const stream = (name: 'out' | 'err') => ({
    write: (text: string) => {
      written[name] += text;
    },
    isTTY: options.terminal !== undefined,
    columns: options.terminal,
  });
  const controller = new AbortController();
  let takenOver = false;
  const answers = options.answers?.values();
  const host: Host = {
    // A home that has no configuration, so that the machine's own is never read.
    env: { HOME: '/nonexistent', ...options.env },
    cwd: options.cwd ?? tmpdir(),
    user: { name: 'tester', uid: 1000 },
    stdin: bytesOf(options.stdin ?? ''),
    stdout: stream('out'),
    stderr: stream('err'),
    interrupt: {
      signal: controller.signal,
      takeOver: () => {
        takenOver = true;
      },
      isTakenOver: () => takenOver,
    },
    ask: async (question, where): Promise<Answer> => {
      options.onAsk?.(question, where);
      if (answers === undefined) return { kind: 'no_terminal' };
      const next = answers.next();
      return next.done === true ? { kind: 'closed' } : { kind: 'answer', text: next.value };
    },
    loaders: { startDaemon: notHere, startSandbox: notHere, ...options.loaders },
  };
  return {
    host,
    out: () => written.out,
    err: () => written.err,
    interrupt: (signal) => controller.abort(signal),
  };
}

async function* bytesOf(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text);
}

function notHere(): never {
  throw new Error('this test starts no program');
}
