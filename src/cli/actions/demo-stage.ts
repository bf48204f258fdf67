/**
 * The demo's stage: a folder of its own, the real commands as processes, and a clean exit whatever happens.
 * Knows nothing of payments.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OperatorError } from '../../core/errors.ts';
import type { Session } from '../session.ts';

const ENTRY = fileURLToPath(new URL('../../../bin/paygate.mjs', import.meta.url));
/** A background program gets this long to end in good order (ms) before it is killed. */
const STOP_TIMEOUT_MS = 15_000;

export type Stage = {
  /** Shows and runs a command; what it prints goes to the screen. */
  run(args: readonly string[], expected?: readonly number[]): Promise<void>;
  /** Shows and runs a command whose output the next one sums up; it is not shown. */
  quietly(args: readonly string[], expected?: readonly number[]): Promise<void>;
  /** Runs a command unseen and returns what it printed. */
  read(args: readonly string[]): Promise<string>;
  /** Shows and starts a program that stays; its output goes to a log file in the folder. */
  start(name: string, args: readonly string[]): void;
  /** Ends a program that was started, in good order. */
  stop(name: string): Promise<void>;
  /** Ends what is left, last first. */
  stopAll(): Promise<void>;
};

type Output = 'shown' | 'dropped';

export function openStage(session: Session, folder: string, env: Readonly<Record<string, string>>): Stage {
  const environment = { ...process.env, ...env };
  const running: { name: string; child: ChildProcess }[] = [];
  let shownLast: Output = 'shown';
  /** Commands without output stand one below the other. */
  const show = (args: readonly string[], output: Output = 'shown') => {
    const gap = output === 'dropped' && shownLast === 'dropped' ? '' : '\n';
    session.host.stdout.write(`${gap}$ paygate ${args.map(quoted).join(' ')}\n`);
    shownLast = output;
  };

  const launch = (args: readonly string[], stdio: 'inherit' | 'pipe') =>
    // The locked Node directly, never the wrapper: it would survive a kill of itself.
    spawn(process.execPath, [ENTRY, ...args], {
      env: environment,
      stdio: ['ignore', stdio, stdio === 'pipe' ? 'pipe' : 'inherit'],
    });

  const read = async (args: readonly string[], expected: readonly number[] = [0]) => {
    const child = launch(args, 'pipe');
    let out = '';
    let err = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text));
    const code = await ended(child);
    if (!expected.includes(code)) throw failed(args, code, err);
    return out;
  };

  return {
    read: (args) => read(args),
    run: async (args, expected = [0]) => {
      show(args);
      const code = await ended(launch(args, 'inherit'));
      if (!expected.includes(code)) throw failed(args, code, '');
    },
    quietly: async (args, expected) => {
      show(args, 'dropped');
      await read(args, expected);
    },
    start: (name, args) => {
      show([...args, '&']);
      const log = createWriteStream(join(folder, `${name}.log`), { flags: 'a' });
      const child = launch(args, 'pipe');
      child.stdout?.pipe(log, { end: false });
      child.stderr?.pipe(log, { end: false });
      running.push({ name, child });
    },
    stop: async (name) => {
      for (const { child } of running.filter((program) => program.name === name)) await stop(child);
    },
    stopAll: async () => {
      for (const { child } of running.toReversed()) await stop(child);
      running.length = 0;
    },
  };
}

function quoted(arg: string): string {
  return /^[\w@%+=:,./&-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`;
}

function failed(args: readonly string[], code: number, output: string): OperatorError {
  const said = output.trim() === '' ? '' : `:\n${output.trim()}`;
  return new OperatorError(
    'demo_step_failed',
    `"paygate ${args.join(' ')}" ended with exit code ${code}${said}`,
    {
      kind: 'failed',
    },
  );
}

function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = ended(child);
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await gone;
  clearTimeout(timer);
}

/** A port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        typeof address === 'object' && address !== null
          ? resolve(address.port)
          : reject(new Error('no port')),
      );
    });
  });
}
