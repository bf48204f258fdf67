/**
 * `payments submit`: check everything, show the plan, have it confirmed, accept, say what became of it.
 * Nothing is stored before the confirmation; afterwards the same command again is always safe.
 */
import { isConnectionError, transact } from '../../core/db/connection.ts';
import { Bug, OperatorError, TransientError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { type AcceptContext, type AcceptPolicy, fingerprint } from '../../core/payment/accept-payments.ts';
import { isoTime } from '../../core/payment/payment-answer.ts';
import { findBatch } from '../../core/payment/payment-progress-store.ts';
import { type Batch, markBatchSubmitted, openBatch } from '../../core/payment/payment-store.ts';
import { getBookKey } from '../../core/queue/queue-store.ts';
import { type AskWhere, confirmOne, confirmTotal } from '../confirm.ts';
import { EXIT, exitCodeOfSignal } from '../exit-codes.ts';
import { requirePolicy } from '../load-config.ts';
import { type Book, explainDatabaseError, withBook } from '../open-book.ts';
import { startProgress } from '../progress.ts';
import { terminalText } from '../render/terminal-text.ts';
import type { Session } from '../session.ts';
import { countText, timeText, totalsCode, totalsText } from '../words.ts';
import { exitCodeOfFollowed, type Followed, followPayments } from './follow-payments.ts';
import { type Plan, planJson, planSubmission, planText } from './plan-submission.ts';
import { type PaymentInput, readPaymentInput, type SubmitFlags } from './read-payment-input.ts';
import {
  doneOf,
  emptyTally,
  IN_FLIGHT,
  runSubmission,
  type SubmissionItem,
  type Tally,
} from './run-submission.ts';
import { alreadySubmittedResult, type BatchEnd, batchResult, singleResult } from './submission-result.ts';

/** A submission on its way: what was checked, and where it goes. */
type Submission = {
  readonly session: Session;
  readonly book: Book;
  readonly policy: AcceptPolicy;
  readonly input: PaymentInput;
  readonly items: readonly SubmissionItem[];
  readonly plan: Plan;
  readonly flags: SubmitFlags;
};

/** Exit 0 accepted or there already, 2 bad input, 5 not confirmed, conflict or blocked; with --wait also 1 and 4. */
export async function submitPaymentsCommand(session: Session, flags: SubmitFlags): Promise<number> {
  const policy = requirePolicy(session);
  const input = await readPaymentInput(session, flags, policy);
  return withBook(
    session,
    async (book) => {
      const items = input.payments.map(({ request, line }) => ({ ...fingerprint(request), line }));
      const plan = await planSubmission(book.db, input, items);
      return submit({ session, book, policy, input, items, plan, flags });
    },
    { max: input.payments.length > 1 ? IN_FLIGHT : 1 },
  );
}

async function submit(submission: Submission): Promise<number> {
  const { session, book, input, plan } = submission;
  const earlier = input.file === null ? null : await findBatch(book.db, input.file.sha256);
  if (earlier !== null && earlier.submittedAt !== null) return sayAlreadySubmitted(submission, earlier);
  if (earlier !== null) session.note(`${batchName(earlier)} was interrupted; this resumes it.`);
  session.note(planText(plan, input));
  if (session.globals.dryRun) {
    const advice = plan.fresh === 0 ? '' : ` To submit unasked: --confirm ${totalsCode(plan.totals)}`;
    await session.print({
      json: { dry_run: true, ...planJson(plan) },
      blocks: [{ kind: 'line', text: `Dry run: nothing was submitted.${advice}` }],
    });
    return EXIT.done;
  }
  // What is there already is not charged again: there is nothing to confirm.
  if (plan.fresh > 0) await confirm(submission);
  return accept(submission);
}

async function sayAlreadySubmitted(submission: Submission, batch: Batch): Promise<number> {
  const { session, book, plan, flags } = submission;
  session.note(
    `Already submitted as ${batchName(batch)} at ${timeText(isoTime(batch.submittedAt!))}; nothing to do.`,
  );
  const followed =
    flags.waitS === null ? null : await followPayments(session, book.db, plan.knownPaymentIds, flags.waitS);
  await session.print(alreadySubmittedResult(batch, plan, followed));
  return followed === null ? EXIT.done : exitCodeAfterWait(session, followed, lookUpOf(batch));
}

function lookUpOf(batch: Batch): string {
  return `paygate payments list --batch ${batchName(batch)} --status EXECUTING`;
}

function batchName(batch: Batch): string {
  return formatId('batch', batch.id);
}

async function confirm({ session, input, plan, flags }: Submission): Promise<void> {
  const where: AskWhere = flags.file === '-' ? 'terminal' : 'stdin';
  if (plan.payments > 1) return confirmTotal(session, plan.totals, where);
  const { buyer } = input.payments[0]!.request;
  await confirmOne(
    session,
    `Charge ${totalsText(plan.totals)} to ${terminalText(buyer)}?`,
    plan.totals,
    where,
  );
}

async function accept(submission: Submission): Promise<number> {
  const { session, book, input, items } = submission;
  const batch = input.file === null ? null : await openBatchOf(book, input);
  const context = await contextOf(submission, batch);
  const tally = emptyTally();
  const { interrupt } = session.host;
  // From here on a signal stops between two transactions, so that what is said at the end is true.
  interrupt.takeOver();
  const progress = startProgress(session, { label: 'accepted', noun: 'payment', total: items.length });
  let end: 'complete' | 'stopped';
  try {
    const options = { db: book.db, context, signal: interrupt.signal, onProgress: progress.update };
    end = await runSubmission(options, items, tally);
  } catch (error) {
    throw interruptedBy(error, submission, tally);
  } finally {
    await progress.end();
  }
  const isWhole = end === 'complete' && tally.conflicts.length === 0;
  if (batch !== null && isWhole) {
    await transact(book.db, (tx) => markBatchSubmitted(tx, batch.id, book.principal));
  }
  if (batch === null) return finishSingle(submission, tally);
  return finishBatch(
    submission,
    batch,
    tally,
    end === 'stopped' ? 'interrupted' : isWhole ? 'submitted' : 'incomplete',
  );
}

async function openBatchOf({ db, principal }: Book, input: PaymentInput): Promise<Batch> {
  const { sha256, source, rowCount } = input.file!;
  const paymentCount = input.payments.length;
  return transact(db, (tx) => openBatch(tx, { sha256, source, rowCount, paymentCount, principal }));
}

async function contextOf({ book, policy }: Submission, batch: Batch | null): Promise<AcceptContext> {
  return {
    policy,
    bookKey: await getBookKey(book.db),
    principal: book.principal,
    priority: batch === null ? 'online' : 'batch',
    batchId: batch?.id ?? null,
  };
}

/** What was accepted stays accepted: the message says how much, and that going on is safe. */
function interruptedBy(error: unknown, submission: Submission, tally: Tally): unknown {
  const { book, input, items } = submission;
  const isConnection = isConnectionError(error);
  const explained = explainDatabaseError(error, book.connection);
  const isOurs = explained instanceof OperatorError || explained instanceof TransientError;
  if (explained instanceof Bug || !(isOurs || isConnection)) return error;
  const lost = 'The connection to the database was lost.';
  const cause = isConnection || !(explained instanceof Error) ? lost : explained.message;
  const lookUp =
    input.file === null ? `paygate payments show ${input.payments[0]!.request.checkoutId}` : null;
  const how =
    lookUp === null
      ? `At least ${doneOf(tally)} of ${countText(items.length, 'payment')} are accepted. Run the same command again to go on: nothing is charged twice.`
      : `It is not known whether the payment was accepted. Look it up: ${lookUp}\nRunning the same command again is safe: nothing is charged twice.`;
  return new OperatorError('submit_interrupted', `${cause}\n${how}`, {
    kind: isConnection ? 'unknown_outcome' : 'failed',
    details: { accepted: doneOf(tally), payments: items.length, look_up: lookUp },
    cause: error,
  });
}

async function finishSingle(submission: Submission, tally: Tally): Promise<number> {
  const { session, book, flags } = submission;
  const conflict = tally.conflicts[0];
  if (conflict !== undefined) {
    const isHeld = conflict.code === 'request_in_progress';
    throw new OperatorError(conflict.code, conflict.message, {
      kind: isHeld ? 'failed' : 'refused',
      details: { checkout_id: conflict.checkoutId, payment_id: conflict.paymentId },
    });
  }
  const { answer } = tally;
  if (answer === null) return exitCodeOfSignal(session.host.interrupt.signal.reason);
  const isBlocked = answer.risk.decision === 'block';
  const followed =
    flags.waitS === null || isBlocked
      ? null
      : await followPayments(session, book.db, tally.paymentIds, flags.waitS);
  await session.print(
    await singleResult(book.db, answer, tally, followed === null ? 'accepted' : 'followed'),
  );
  if (isBlocked) {
    session.note(`Stopped by the risk check: ${answer.risk.reason}.`);
    return EXIT.refused;
  }
  return followed === null
    ? EXIT.done
    : exitCodeAfterWait(session, followed, `paygate payments show ${answer.payment_id}`);
}

async function finishBatch(
  submission: Submission,
  batch: Batch,
  tally: Tally,
  state: BatchEnd,
): Promise<number> {
  const { session, book, flags, items, plan } = submission;
  const { signal } = session.host.interrupt;
  const wants = flags.waitS !== null && state !== 'interrupted';
  const followed = wants ? await followPayments(session, book.db, tally.paymentIds, flags.waitS) : null;
  await session.print(batchResult(batch, plan, tally, state, followed));
  if (state === 'interrupted') {
    session.note(
      `Interrupted: ${doneOf(tally)} of ${countText(items.length, 'payment')} are accepted as ${batchName(batch)}. ` +
        'Run the same command again to go on: nothing is charged twice.',
    );
    return exitCodeOfSignal(signal.reason);
  }
  if (tally.conflicts.some((conflict) => conflict.code !== 'request_in_progress')) return EXIT.refused;
  if (tally.conflicts.length > 0) return EXIT.failed;
  if (items.length === 1 && tally.riskBlocked === 1) return EXIT.refused;
  return followed === null ? EXIT.done : exitCodeAfterWait(session, followed, lookUpOf(batch));
}

/** A signal during the wait ends only the wait. */
function exitCodeAfterWait(session: Session, followed: Followed, lookUp: string): number {
  if (followed.end === 'stopped') {
    session.note(`Stopped waiting; the payments go on. Look: ${lookUp}`);
    return exitCodeOfSignal(session.host.interrupt.signal.reason);
  }
  if (followed.open > 0) session.note(`${countText(followed.open, 'order')} not settled. Look: ${lookUp}`);
  return exitCodeOfFollowed(followed);
}
