/**
 * Composition root of the command line: runs one command against a host and turns every end into an exit
 * code. Knows no command by itself.
 */
import { CommanderError, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { exitCodeOfSignal } from './exit-codes.ts';
import type { Host, Loaders } from './host.ts';
import type { Work } from './launch.ts';
import { createProgram } from './program.ts';
import { reportError, UsageError } from './report-error.ts';
import { createSession, type Globals } from './session.ts';

/** Thrown when a signal ends a command that has nothing to bring to an end. */
class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/**
 * Runs one command to its end.
 * @param args the words after the program's name
 * @returns the exit code
 */
export async function execute(args: readonly string[], host: Host): Promise<number> {
  let exitCode = 0;
  const messages = asksForJson(args) ? 'json' : 'text';
  const launch = async (globals: Globals, work: Work): Promise<void> => {
    exitCode = await untilInterrupted(host, work(createSession(host, globals)));
  };
  const program = createProgram({ host, messages, launch });
  try {
    await program.parseAsync([...args], { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof Interrupted) return exitCodeOfSignal(host.interrupt.signal.reason);
    const failure = usageErrorOf(error, program, args);
    if (failure === null) return 0;
    return reportError(failure, host.stderr, {
      format: messages,
      detail: program.opts().verbose === true ? 'stack' : 'message',
    });
  }
}

/** The command's exit code; a signal wins unless the command has said that it brings things to an end. */
async function untilInterrupted(host: Host, running: Promise<number>): Promise<number> {
  const { signal, isTakenOver } = host.interrupt;
  const interrupted = new Promise<never>((_, reject) => {
    const check = (): void => {
      if (!isTakenOver()) reject(new Interrupted());
    };
    if (signal.aborted) check();
    else signal.addEventListener('abort', check, { once: true });
  });
  return Promise.race([running, interrupted]);
}

/** What commander threw, in our words; null where it only showed help or the version. */
function usageErrorOf(error: unknown, program: CommandUnknownOpts, args: readonly string[]): unknown {
  if (!(error instanceof CommanderError)) return error;
  if (error.exitCode === 0) return null;
  const message =
    error.code === 'commander.help' ? 'a command is missing' : error.message.replace(/^error: /, '');
  return new UsageError(message, `See: ${commandOf(program, args)} --help`);
}

/** The command that was meant, as far as its words are known. */
function commandOf(program: CommandUnknownOpts, args: readonly string[]): string {
  let command = program;
  let path = program.name();
  for (const word of args) {
    const next = command.commands.find((candidate) => candidate.name() === word);
    if (next === undefined || next.name() === 'help') continue;
    command = next;
    path += ` ${word}`;
  }
  return path;
}

/** Looked for by hand, because it must be known even when the command line is not understood. */
function asksForJson(args: readonly string[]): boolean {
  return args.some((word, i) => {
    const value =
      word === '-o' || word === '--output' ? args[i + 1] : /^(?:-o=?|--output=)(.*)$/.exec(word)?.[1];
    return value === 'json' || value === 'ndjson';
  });
}

/** Entry of the process: everything that a terminal, a pipe or a signal can do to it is handled here. */
export async function run(loaders: Loaders): Promise<void> {
  const { openProcessHost } = await import('./process-host.ts');
  const host = openProcessHost(loaders);
  const args = process.argv.slice(2);
  process.on('uncaughtException', (error) => void endOnSurprise(error, args, host));
  const exitCode = await execute(args, host);
  process.exitCode = exitCode;
  // What is still open after a signal is not waited for; otherwise something forgot to close, and may not keep us.
  if (host.interrupt.signal.aborted) process.exit(exitCode);
  setTimeout(() => process.exit(exitCode), EXIT_GRACE_MS).unref();
}

/** What nobody awaited. Programs that stay write to a log, where the stack belongs. */
async function endOnSurprise(error: unknown, args: readonly string[], host: Host): Promise<void> {
  const isLog = args.includes('run') || args.includes('-v') || args.includes('--verbose');
  const exitCode = await reportError(error, host.stderr, {
    format: asksForJson(args) ? 'json' : 'text',
    detail: isLog ? 'stack' : 'message',
  });
  process.exit(exitCode);
}

/** After its last word a command has this long to close what it opened (ms). */
const EXIT_GRACE_MS = 5_000;
