/** The reason that a command is given for: stored with what it does. Decides only. */
import { OperatorError } from '../core/errors.ts';
import { containsCardNumber } from '../core/payment/card-number.ts';
import type { Session } from './session.ts';

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
