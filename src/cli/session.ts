/**
 * One run of one command: the global options as they were given, and how to speak. Results go to standard
 * output, everything else to standard error. Knows no command.
 */
import { OperatorError } from '../core/errors.ts';
import { containsCardNumber } from '../core/payment/card-number.ts';
import type { Host } from './host.ts';
import { type Result, renderResult } from './render/render-result.ts';
import type { Block } from './render/table.ts';
import { terminalText } from './render/terminal-text.ts';

export const OUTPUT_FORMATS = ['table', 'json', 'ndjson', 'csv'] as const;
type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** The global options. */
export type Globals = {
  readonly output: OutputFormat;
  readonly color: boolean;
  readonly input: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly configPath: string | null;
  readonly env: 'development' | 'production' | null;
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly confirm: string | null;
  readonly reason: string | null;
};

export type Session = {
  readonly host: Host;
  readonly globals: Globals;
  /** Escape sequences are welcome on standard error: a real terminal, and nobody said no. */
  readonly isScreen: boolean;
  /** The result, in the format that was asked for. */
  print(result: Result): Promise<void>;
  /** What went wrong in detail, for people, on standard error; JSON has it in the error. */
  show(blocks: readonly Block[]): Promise<void>;
  /** A remark for the person watching. Dropped by --quiet, and under JSON where nobody watches. */
  note(text: string): void;
  /** Where a long work stands, for a log: a line of text, or of JSON under JSON. */
  progressLine(text: string, facts: Readonly<Record<string, unknown>>): void;
};

/** Binds the global options to the host; decides once where colours and remarks are welcome. */
export function createSession(host: Host, globals: Globals): Session {
  const isJson = globals.output === 'json' || globals.output === 'ndjson';
  const allowsEscapes = globals.color && !host.env.NO_COLOR && host.env.TERM !== 'dumb';
  const isHeard = !globals.quiet && (!isJson || host.stderr.isTTY === true || globals.verbose);
  const tell = (text: string) => host.stderr.write(`${text}\n`);
  return {
    host,
    globals,
    isScreen: allowsEscapes && host.stderr.isTTY === true,
    print: async (result) => {
      const text = await renderResult(result, globals.output, {
        width: host.stdout.isTTY === true ? (host.stdout.columns ?? 80) : null,
        color: allowsEscapes && host.stdout.isTTY === true,
      });
      host.stdout.write(text);
    },
    show: async (blocks) => {
      if (isJson) return;
      const { renderBlocks } = await import('./render/table.ts');
      const width = host.stderr.isTTY === true ? (host.stderr.columns ?? 80) : null;
      host.stderr.write(renderBlocks(blocks, { width, color: allowsEscapes && host.stderr.isTTY === true }));
    },
    note: (text) => {
      if (!isHeard) return;
      const isPlain = !isJson || host.stderr.isTTY === true;
      tell(isPlain ? text.split('\n').map(terminalText).join('\n') : JSON.stringify({ note: text }));
    },
    progressLine: (text, facts) => {
      if (!globals.quiet) tell(isJson ? JSON.stringify({ progress: facts }) : text);
    },
  };
}

/** For commands that change something and have no plan to show: never do it when only asked to show. */
export function refuseDryRun(session: Session): void {
  if (!session.globals.dryRun) return;
  throw new OperatorError('no_dry_run', 'This command has no dry run. Nothing was done.');
}

/** Longest reason for a command (characters). */
const MAX_REASON = 500;

/**
 * Why the command is given: stored with what it does, so it must be said.
 * @throws OperatorError reason_missing, reason_invalid
 */
export function requireReason(session: Session): string {
  const reason = session.globals.reason?.trim() ?? '';
  if (reason === '') {
    throw new OperatorError('reason_missing', 'Say why, for those who read it later: --reason "…"');
  }
  const isText = reason.length <= MAX_REASON && reason.isWellFormed() && !/\p{Cc}/u.test(reason);
  if (isText && !containsCardNumber(reason)) return reason;
  throw new OperatorError(
    'reason_invalid',
    `The reason must be one line of at most ${MAX_REASON} characters, without a card number.`,
  );
}
