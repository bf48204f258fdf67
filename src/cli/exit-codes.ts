/** The numbers a command ends with, and what they mean: `paygate help exit-codes`. Decides only. */
import { type OperatorErrorKind, unreachable } from '../core/errors.ts';

export const EXIT = {
  done: 0,
  answerIsNo: 1,
  usage: 2,
  failed: 3,
  unknownOutcome: 4,
  refused: 5,
} as const;

/** The exit code of a message for the operator. */
export function exitCodeOf(kind: OperatorErrorKind): number {
  switch (kind) {
    case 'usage':
      return EXIT.usage;
    case 'answer_is_no':
      return EXIT.answerIsNo;
    case 'failed':
      return EXIT.failed;
    case 'unknown_outcome':
      return EXIT.unknownOutcome;
    case 'refused':
      return EXIT.refused;
    default:
      return unreachable(kind);
  }
}

/** 128 plus the signal's number, as shells count. */
export function exitCodeOfSignal(signal: unknown): number {
  if (signal === 'SIGINT') return 130;
  return signal === 'SIGHUP' ? 129 : 143;
}

export const EXIT_CODES_HELP = `Exit codes

    0  done, matched, nothing to do
    1  ran well, the answer is no: breaks, rejected rows, declined, not found, verification failed
    2  usage, file or configuration invalid; nothing happened
    3  failed; no money moved
    4  outcome unknown; the message names the command that looks it up
    5  refused: not confirmed, over a limit, a second person needed, stopped by the risk check,
       a name already taken
  130  stopped by Ctrl-C (143: by SIGTERM, 129: by SIGHUP); what was interrupted can be resumed

A batch with bad rows ends with 2 and submits nothing. The same file again ends with 0 and resumes
what was unfinished.
`;
