/**
 * Ends an operation of which nothing was ever sent, because a person says so: an order that waits for its first
 * claim, or a dead letter of such a one. A claim and this meet at the job's row lock: one of them wins, and the other
 * finds it so. What a refund or payout had reserved goes back. A charge that waits for its buyer could still succeed: the
 * wish is noted, the executor has the PSP cancel it, and what the PSP says ends it.
 */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, type Tx, together, transact } from '../db/connection.ts';
import { Bug, OperatorError } from '../errors.ts';
import { formatId } from '../ids.ts';
import { entryJson, insertEntries, insertPostings } from '../ledger/ledger-store.ts';
import { ANY_LETTER, closeLettersAs, listDeadLetters, lockDeadLetters } from '../queue/dead-letter-store.ts';
import { laneOf, PRIORITIES } from '../queue/job.ts';
import { lockJobs, notifyLane } from '../queue/queue-store.ts';
import { endJobsFromOutside, wakeJobs } from '../queue/rescue-store.ts';
import { isEnded, transition } from './operation.ts';
import { insertReleasesOfFailedRefunds, lockSubjects } from './operation-store.ts';
import {
  cancelUnsent,
  listStandings,
  lockOperations,
  type Standing,
  wishCanceled,
} from './reopening-store.ts';
import { releaseEntries } from './verdict-entries.ts';

export type Cancellation = {
  /** Why; stored with the operation and in the event. */
  readonly reason: string;
  /** Who was authenticated. */
  readonly principal: string;
};

export type Canceled = { readonly operationId: bigint; readonly attemptNumber: number };

/** `asked`: it waits for its buyer, and ends when the PSP says that it is canceled. */
export type CancelResult = Canceled & { readonly how: 'canceled' | 'asked' };

/**
 * Cancels an operation, or has a charge that waits for its buyer canceled.
 * @throws OperatorError already_claimed, already_ended, in_risk_review
 */
export async function cancelOperation(
  db: Db,
  operationId: bigint,
  cancellation: Cancellation,
): Promise<CancelResult> {
  return transact(db, async (tx) => {
    const standing = await lockStanding(tx, operationId);
    if (waitsForBuyer(standing)) return askToCancel(tx, standing, cancellation);
    return { ...(await cancelLocked(tx, standing, cancellation, null)), how: 'canceled' };
  });
}

/** Somebody drives it: what lies with a person is theirs to end. */
function waitsForBuyer({ subState, attemptState, hasJob }: Standing): boolean {
  return subState === 'awaiting_customer' && attemptState === 'awaiting_customer' && hasJob;
}

/** Whoever holds the job or claims it next finds the wish. Asked twice it is asked once, for the first reason. */
async function askToCancel(
  tx: Tx,
  { operationId, attemptNumber, paymentId, pspAccount }: Standing,
  { reason, principal }: Cancellation,
): Promise<CancelResult> {
  const wished = await wishCanceled(tx, [{ operationId, attemptNumber, reason }]);
  if (wished.length > 0) {
    const data = JSON.stringify({ operation: operationId.toString(), attempt: attemptNumber, reason });
    await together([
      wakeJobs(tx, [operationId]),
      insertEvents(tx, principal, [{ kind: 'cancel_requested', paymentId, data }]),
      ...PRIORITIES.map((priority) => notifyLane(tx, laneOf(pspAccount, priority))),
    ]);
  }
  return { operationId, attemptNumber, how: 'asked' };
}

/**
 * Closes a dead letter as discarded and cancels its operation.
 * @throws OperatorError dead_letter_not_found, dead_letter_closed, already_claimed, already_ended
 */
export async function discardDeadLetter(
  db: Db,
  letterId: bigint,
  cancellation: Cancellation,
): Promise<Canceled> {
  const name = formatId('deadLetter', letterId);
  const [named] = await listDeadLetters(db, { ...ANY_LETTER, ids: [letterId], beforeId: null, limit: 1 });
  if (named === undefined) {
    throw new OperatorError('dead_letter_not_found', `There is no dead letter ${name}.`, {
      kind: 'answer_is_no',
    });
  }
  return transact(db, async (tx) => {
    const standing = await lockStanding(tx, named.operationId);
    const [letter] = await lockDeadLetters(tx, [letterId]);
    if (letter?.state !== 'open') {
      throw new OperatorError('dead_letter_closed', `${name} is ${letter?.state} already.`, {
        kind: 'refused',
      });
    }
    const canceled = await cancelLocked(tx, standing, cancellation, letterId);
    await closeLettersAs(tx, [letterId], { state: 'discarded', ...cancellation });
    return canceled;
  });
}

/** Lock order: job, then operation. A claim that holds the job is waited for, and seen. */
async function lockStanding(tx: Tx, operationId: bigint): Promise<Standing> {
  await lockJobs(tx, [operationId]);
  await lockOperations(tx, [operationId]);
  const [standing] = await listStandings(tx, [operationId]);
  if (standing !== undefined) return standing;
  throw new OperatorError('already_ended', 'It was stopped by the risk check: there is nothing to cancel.', {
    kind: 'refused',
  });
}

async function cancelLocked(
  tx: Tx,
  standing: Standing,
  { reason, principal }: Cancellation,
  letterId: bigint | null,
): Promise<Canceled> {
  refuseUnlessUnsent(standing);
  const { operationId, attemptNumber, paymentId } = standing;
  const [subject] = await lockSubjects(tx, [{ operationId, attemptNumber }]);
  const entries = await insertEntries(tx, principal, releaseEntries(subject!, 'canceled'));
  const [, canceled] = await together([
    endJobsFromOutside(tx, [operationId]),
    cancelUnsent(tx, [{ operationId, attemptNumber, reason }]),
    insertEvents(tx, principal, [
      {
        kind: 'operation_canceled',
        paymentId,
        data: JSON.stringify({
          operation: operationId.toString(),
          attempt: attemptNumber,
          from: standing.subState,
          reason,
          dead_letter: letterId === null ? null : formatId('deadLetter', letterId),
          entries: entries.map(entryJson),
        }),
      },
    ]),
    insertReleasesOfFailedRefunds(tx, subject!.fromPendingMinor > 0n ? [operationId] : []),
    insertPostings(tx, entries),
  ]);
  if (canceled.length !== 1) throw new Bug('an unsent operation moved under its own lock');
  return { operationId, attemptNumber };
}

/** Every claim dates the first send before anything can be sent: no date, no send. */
function refuseUnlessUnsent(standing: Standing): void {
  const name = formatId('operation', standing.operationId);
  const { subState, sends, firstSentAgoMs, maybeSent, isLeased } = standing;
  if (isEnded(subState)) {
    throw new OperatorError('already_ended', `${name} has ended as ${subState}.`, { kind: 'refused' });
  }
  if (subState === 'in_risk_review') {
    const how = `paygate risk review reject ${formatId('payment', standing.paymentId!)} --reason "…"`;
    throw new OperatorError('in_risk_review', `${name} waits for a risk review, which ends it: ${how}`, {
      kind: 'refused',
    });
  }
  const isUnsent = sends === 0 && firstSentAgoMs === null && !maybeSent && !isLeased;
  if (isUnsent && transition(subState, 'canceled') !== null) return;
  throw new OperatorError(
    'already_claimed',
    `${name} may have been sent to the PSP (it is ${subState}): it cannot be taken back. Only evidence ends it: ` +
      `${resolveCommand(standing)} --as succeeded|failed --evidence "what you saw and where"`,
    { kind: 'refused' },
  );
}

function resolveCommand({ kind, orderId, operationId }: Standing): string {
  if (kind === 'payout') return `paygate payouts resolve ${formatId('operation', operationId)}`;
  return `paygate payments resolve${orderId === null ? '' : ` ${formatId('order', orderId)}`}`;
}
