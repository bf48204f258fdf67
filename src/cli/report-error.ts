/**
 * The one place where a command's failure becomes words on standard error and an exit code. Never shows a
 * stack trace unasked, an escape sequence, or a card number from the command line.
 */
import { randomBytes } from 'node:crypto';
import { OperatorError, TransientError } from '../core/errors.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import type { OutStream } from './host.ts';
import { terminalText } from './render/terminal-text.ts';

/** A mistake in the command line itself; commander's words, and where to read on. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

export type ErrorStyle = { readonly format: 'text' | 'json'; readonly detail: 'message' | 'stack' };

/** Writes the error; returns the exit code. */
export async function reportError(error: unknown, stderr: OutStream, style: ErrorStyle): Promise<number> {
  const report = await describe(error);
  if (style.format === 'json') {
    const { code, message, exitCode, details } = report;
    stderr.write(`${JSON.stringify({ error: { code, message, exit_code: exitCode, details } })}\n`);
  } else {
    const lines = report.message.split('\n').map(terminalText);
    stderr.write(`error: ${lines.join('\n')}\n`);
    if (report.hint !== null) stderr.write(`${report.hint}\n`);
  }
  if (style.detail === 'stack' && error instanceof Error && !(error instanceof UsageError)) {
    stderr.write(`${stackOf(error)}\n`);
  }
  return report.exitCode;
}

type Report = {
  readonly code: string;
  readonly message: string;
  readonly exitCode: number;
  readonly details: Readonly<Record<string, unknown>>;
  readonly hint: string | null;
};

async function describe(error: unknown): Promise<Report> {
  if (error instanceof OperatorError) {
    const { code, message, details, kind } = error;
    return { code, message, exitCode: exitCodeOf(kind), details, hint: null };
  }
  if (error instanceof TransientError) {
    const message = `${error.message} Nothing is broken: try again.`;
    return { code: error.code, message, exitCode: EXIT.failed, details: {}, hint: null };
  }
  if (error instanceof UsageError) {
    // It repeats words of the command line, which may be anything.
    const { maskCardNumbers } = await import('../core/payment/card-number.ts');
    const message = maskCardNumbers(error.message);
    return { code: 'usage', message, exitCode: EXIT.usage, details: {}, hint: error.hint };
  }
  const id = randomBytes(4).toString('hex');
  return {
    code: 'internal_error',
    message: `internal error ${id}: this is a mistake in paygate, not yours.`,
    exitCode: EXIT.failed,
    details: { id },
    hint: 'Run the command again with -v to see where it happened, and report that.',
  };
}

function stackOf(error: Error): string {
  const own = error.stack ?? String(error);
  return error.cause instanceof Error ? `${own}\ncaused by: ${stackOf(error.cause)}` : own;
}
