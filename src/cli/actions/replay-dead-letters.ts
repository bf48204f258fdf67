/**
 * `dlq replay`: choose letters, show the plan, have it confirmed, move them. A dry run until told otherwise. Each
 * letter moves by itself, so the same command again goes on with those that are still open.
 */
import { pspOf } from '../../core/config.ts';
import { OperatorError, unreachable } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import type { ReplayAction } from '../../core/operation/letter-plan.ts';
import type { ReplayResult } from '../../core/operation/replay-dead-letters.ts';
import {
  type DeadLetter,
  type DeadLetterChoice,
  listDeadLetters,
} from '../../core/queue/dead-letter-store.ts';
import { getBookKey } from '../../core/queue/queue-store.ts';
import { confirmOne, confirmTotal } from '../confirm.ts';
import { EXIT, exitCodeOfSignal } from '../exit-codes.ts';
import { type Book, withBook } from '../open-book.ts';
import { startProgress } from '../progress.ts';
import { requireReason } from '../require-reason.ts';
import type { Session } from '../session.ts';
import { countText, moneyOf, sumUp, totalsCode } from '../words.ts';
import { chooseLetters, isUnchosen, type LetterFlags } from './choose-dead-letters.ts';
import { warnWithoutDaemon } from './follow-payments.ts';
import {
  letterTable,
  letterViews,
  outlookJson,
  outlookText,
  planReplay,
  type ReplayOutlook,
} from './plan-replay.ts';
import { type ReplayEnd, runReplay } from './run-replay.ts';

export type ReplayFlags = LetterFlags & {
  readonly ids: readonly string[];
  readonly action: ReplayAction | null;
  /** How many go first; 0: none. */
  readonly canary: number;
  readonly canaryTimeoutS: number;
  readonly perSecond: number;
};

/** Letters of one command; the same again goes on. */
const MAX_LETTERS = 20_000;
/** Letters read in one query. */
const PAGE = 1_000;
/** Rows of the table that a person is shown; `-o json` has them all. */
const MAX_ROWS = 200;

/**
 * Exit 0 all replayed, shown, or nothing to do; 1 a named letter is not there, or a canary is a dead letter again;
 * 4 the canaries did not end in time; 5 not confirmed, or letters were refused.
 */
export async function replayDeadLettersCommand(session: Session, flags: ReplayFlags): Promise<number> {
  const choice = chooseLetters(flags, flags.ids, flags.ids.length === 0 ? 'open' : null);
  if (isUnchosen(choice)) {
    throw new OperatorError(
      'nothing_chosen',
      'Say which letters: by id, or by a filter such as --fingerprint.',
    );
  }
  return withBook(session, async (book) => {
    const chosen = await readAll(book, choice);
    requireAll(choice, chosen);
    const outlook = await planReplay(book.db, book.config, chosen, flags.action);
    session.note(outlookText(outlook));
    if (chosen.length === MAX_LETTERS)
      session.note(`There may be more than these ${MAX_LETTERS}: the same command again goes on with them.`);
    if (outlook.ready.length === 0) return sayNothingToReplay(session, outlook);
    if (!isTold(session)) return showOnly(session, outlook);
    const reason = requireReason(session);
    await confirm(session, outlook);
    return replay(session, book, outlook, flags, reason);
  });
}

/** Page by page, newest first, up to the limit. */
async function readAll({ db }: Book, choice: DeadLetterChoice): Promise<readonly DeadLetter[]> {
  const chosen: DeadLetter[] = [];
  for (let beforeId: bigint | null = null; chosen.length < MAX_LETTERS; ) {
    const page: readonly DeadLetter[] = await listDeadLetters(db, { ...choice, beforeId, limit: PAGE });
    chosen.push(...page);
    if (page.length < PAGE) break;
    beforeId = page.at(-1)!.id;
  }
  return chosen;
}

/** A filter may leave out what was named; nothing else may be missing. */
function requireAll(choice: DeadLetterChoice, chosen: readonly DeadLetter[]): void {
  const found = new Set(chosen.map((letter) => letter.id));
  const missing = (choice.ids ?? []).filter((id) => !found.has(id)).map((id) => formatId('deadLetter', id));
  if (missing.length === 0) return;
  throw new OperatorError('dead_letter_not_found', `There is no such dead letter: ${missing.join(', ')}.`, {
    kind: 'answer_is_no',
    details: { dead_letter_ids: missing },
  });
}

async function sayNothingToReplay(session: Session, outlook: ReplayOutlook): Promise<number> {
  await print(session, outlook, new Map(), { state: 'nothing_to_replay' });
  return outlook.refused.length > 0 ? EXIT.refused : EXIT.done;
}

/** Somebody confirms it in the command, or sits there to be asked. */
function isTold({ globals, host }: Session): boolean {
  if (globals.dryRun) return false;
  return globals.confirm !== null || globals.yes || (globals.input && host.stderr.isTTY === true);
}

async function showOnly(session: Session, outlook: ReplayOutlook): Promise<number> {
  await print(session, outlook, new Map(), { state: 'dry_run' });
  const how = outlook.ready.length === 1 ? '--yes' : `--confirm ${totalsCode(outlook.totals)}`;
  session.note(`Dry run: nothing was replayed. To replay: ${how} --reason "…"`);
  return EXIT.done;
}

async function confirm(session: Session, outlook: ReplayOutlook): Promise<void> {
  if (outlook.ready.length > 1) return confirmTotal(session, outlook.totals, 'stdin', 'replay');
  return confirmOne(session, 'Replay it?', outlook.totals);
}

/** Point of no return. */
async function replay(
  session: Session,
  book: Book,
  outlook: ReplayOutlook,
  flags: ReplayFlags,
  reason: string,
): Promise<number> {
  const { db, config, principal } = book;
  const { interrupt } = session.host;
  const results = new Map<bigint, ReplayResult>();
  const bookKey = await getBookKey(db);
  interrupt.takeOver();
  const progress = startProgress(session, {
    label: 'replayed',
    noun: 'letter',
    total: outlook.ready.length,
  });
  let end: ReplayEnd;
  try {
    end = await runReplay(
      {
        db,
        context: { principal, reason, action: flags.action, bookKey, pspOf: pspOf(config) },
        signal: interrupt.signal,
        perSecond: flags.perSecond,
        canary: flags.canary,
        canaryTimeoutMs: flags.canaryTimeoutS * 1_000,
        onCanary: () => warnWithoutDaemon(session, db),
        onProgress: (done) => progress.update(done),
      },
      outlook.ready.map(({ letter }) => letter.id),
      results,
    );
  } finally {
    await progress.end();
  }
  await print(session, outlook, results, { state: end });
  return exitCodeOfReplay(session, outlook, results, end);
}

function exitCodeOfReplay(
  session: Session,
  outlook: ReplayOutlook,
  results: ReadonlyMap<bigint, ReplayResult>,
  end: ReplayEnd,
): number {
  const open = outlook.ready
    .filter(({ letter }) => !results.has(letter.id))
    .map(({ letter }) => moneyOf(letter));
  const left = `${countText(open.length, 'letter')} left (${totalsCode(sumUp(open))})`;
  switch (end) {
    case 'complete': {
      const isRefused = outlook.refused.length > 0 || [...results.values()].some((r) => r.kind === 'refused');
      return isRefused ? EXIT.refused : EXIT.done;
    }
    case 'canary_failed':
      session.note(`A canary is a dead letter again: stopped, ${left}. Look: paygate dlq list`);
      return EXIT.answerIsNo;
    case 'canary_timed_out':
      session.note(
        `The canaries have not ended in time: stopped, ${left}. The same command goes on with them.`,
      );
      return EXIT.unknownOutcome;
    case 'interrupted':
      session.note(`Interrupted, ${left}. The same command again goes on with them.`);
      return exitCodeOfSignal(session.host.interrupt.signal.reason);
    default:
      return unreachable(end);
  }
}

async function print(
  session: Session,
  outlook: ReplayOutlook,
  results: ReadonlyMap<bigint, ReplayResult>,
  { state }: { readonly state: ReplayEnd | 'dry_run' | 'nothing_to_replay' },
): Promise<void> {
  const letters = letterViews(outlook, results);
  if (letters.length > MAX_ROWS)
    session.note(
      `The table shows ${MAX_ROWS} of ${countText(letters.length, 'letter')}, refused ones first; -o json has all.`,
    );
  const replayed = [...results.values()].filter((result) => result.kind === 'replayed').length;
  await session.print({
    json: { state, ...outlookJson(outlook), replayed, letters },
    records: letters,
    blocks: [letterTable(outlook, results, MAX_ROWS)],
  });
}
