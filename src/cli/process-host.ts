/**
 * The real process as the command line's host: its streams, its signals, and the person at its terminal.
 * Knows no command.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { userInfo } from 'node:os';
import { createInterface } from 'node:readline';
import { ReadStream } from 'node:tty';
import { EXIT, exitCodeOfSignal } from './exit-codes.ts';
import type { Answer, Host, Interrupt, Loaders } from './host.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Takes over signals and output errors of this process; once per process. */
export function openProcessHost(loaders: Loaders): Host {
  endQuietlyOnBrokenPipe();
  const interrupt = watchSignals();
  return {
    env: process.env,
    cwd: process.cwd(),
    user: currentUser(),
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    interrupt,
    ask: (question, where) =>
      where === 'stdin' ? askOnStdin(question, interrupt.signal) : askOnTerminal(question, interrupt.signal),
    loaders,
  };
}

/** A reader that has seen enough (`| head`) is no error; a full disk is, and what was done stays done. */
function endQuietlyOnBrokenPipe(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.done);
    process.stderr.write(
      `error: The result can't be written (${error.code}); what the command did is done.\n`,
    );
    process.exit(EXIT.failed);
  });
  // A log that is gone is not worth a crash.
  process.stderr.on('error', () => undefined);
}

/** The first signal asks, the second one ends the process at once. */
function watchSignals(): Interrupt {
  const controller = new AbortController();
  let takenOver = false;
  for (const name of SIGNALS) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(exitCodeOfSignal(name));
      controller.abort(name);
    });
  }
  return {
    signal: controller.signal,
    takeOver: () => {
      takenOver = true;
    },
    isTakenOver: () => takenOver,
  };
}

function currentUser(): Host['user'] {
  const uid = process.getuid?.() ?? 0;
  try {
    return { name: userInfo().username, uid };
  } catch {
    // A container may run as a number without a passwd entry.
    return { name: `uid-${uid}`, uid };
  }
}

function askOnStdin(question: string, signal: AbortSignal): Promise<Answer> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return Promise.resolve({ kind: 'no_terminal' });
  process.stderr.write(question);
  return readLine(process.stdin, signal).finally(() => process.stdin.pause());
}

async function askOnTerminal(question: string, signal: AbortSignal): Promise<Answer> {
  let input: ReadStream;
  try {
    const output = openSync('/dev/tty', 'w');
    writeSync(output, question);
    closeSync(output);
    input = new ReadStream(openSync('/dev/tty', 'r'));
  } catch {
    return { kind: 'no_terminal' };
  }
  return readLine(input, signal).finally(() => input.destroy());
}

/** The terminal itself does the line editing, so that Ctrl-C stays a signal. */
function readLine(input: NodeJS.ReadableStream, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve) => {
    const lines = createInterface({ input, terminal: false });
    const onAbort = (): void => lines.close();
    let answered = false;
    lines.once('line', (text) => {
      answered = true;
      resolve({ kind: 'answer', text });
      lines.close();
    });
    lines.once('close', () => {
      signal.removeEventListener('abort', onAbort);
      // After Ctrl-C or Ctrl-D the cursor still stands behind the question.
      if (!answered) process.stderr.write('\n');
      resolve({ kind: 'closed' });
    });
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
