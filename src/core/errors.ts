/**
 * The three things paygate throws. Expected results are values, not exceptions; only the executor loop,
 * the HTTP layer and the CLI catch these.
 */

/** What the person at the terminal should understand from the exit code; the CLI maps it to a number. */
export type OperatorErrorKind = 'usage' | 'answer_is_no' | 'failed' | 'unknown_outcome' | 'refused';

/**
 * A person can act on this, and the message says how. Never carries a stack trace to the screen.
 * @property code stable, snake_case, part of the JSON contract
 * @property kind decides the exit code (document "exit codes"): usage 2, answer_is_no 1, failed 3,
 *   unknown_outcome 4, refused 5
 * @property details further facts for `-o json`, never secrets
 */
export class OperatorError extends Error {
  override readonly name = 'OperatorError';
  readonly code: string;
  readonly kind: OperatorErrorKind;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: string,
    message: string,
    options: { kind?: OperatorErrorKind; details?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.kind = options.kind ?? 'usage';
    this.details = options.details ?? {};
  }
}

/** Trying again may help: a connection that went away, a deadlock, a lock that was not free in time. */
export class TransientError extends Error {
  override readonly name = 'TransientError';
  readonly code: string;

  constructor(code: string, message: string, options: { cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
  }
}

/** Our own mistake. Stop; do not try to go on with money in hand. */
export class Bug extends Error {
  override readonly name = 'Bug';
  readonly code = 'bug';
}

/** Ends every exhaustive switch: the compiler proves it is never reached. */
export function unreachable(value: never): never {
  throw new Bug(`unreachable value ${JSON.stringify(value)}`);
}
