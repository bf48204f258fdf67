/** A verdict as changes of rows: attempt, operation, hand-off, what is to be released. Decides only. */
import { isOpenAttempt, weightOf } from './evidence.ts';
import { hasEnded, type Verdict } from './finding.ts';
import type { NewHandOff } from './hand-off-store.ts';
import { isEnded, publicStateOf } from './operation.ts';
import type { AttemptChange, OperationChange } from './operation-store.ts';

/** Null where the row stays as it is: fenced evidence, or equal evidence after the end. */
export function attemptChange(verdict: Verdict): AttemptChange | null {
  const { subject, outcome, attemptState, evidence, step } = verdict;
  if (verdict.right === 'fenced') return null;
  if (hasEnded(subject) && attemptState === subject.attemptState) return null;
  const doubt =
    evidence !== null && ['doubt', 'held', 'moved', 'refused', 'reversed'].includes(weightOf(evidence.kind));
  return {
    operationId: subject.operationId,
    attemptNumber: subject.attemptNumber,
    sent: verdict.job ?? null,
    state: attemptState,
    isOpen: isOpenAttempt(attemptState),
    maybeSent: doubt,
    pspReference: outcome.pspReference,
    reason: outcome.reason,
    resolvedBy: isOpenAttempt(attemptState) ? null : outcome.decidedBy,
    ...(attemptState === 'awaiting_customer' ? { customerLimitS: verdict.customerLimitMs / 1_000 } : {}),
    ...(step?.kind === 'again' && step.cancel !== undefined ? { cancel: step.cancel } : {}),
  };
}

/**
 * Null where the row stays as it is: fenced evidence, or an attempt that had ended (a reversal or a retry moves on).
 * The fence it remembers is the job's; one more where the job is ended from outside.
 */
export function operationChange(verdict: Verdict): OperationChange | null {
  const { subject, outcome, subState, job } = verdict;
  if (verdict.right === 'fenced' || (hasEnded(subject) && subState === subject.subState)) return null;
  const fence = (job?.fence ?? 0) + (verdict.right === 'outside' ? 1 : 0);
  return {
    operationId: subject.operationId,
    subState,
    reason: subState === subject.cancelAs ? subject.cancelReason : outcome.reason,
    pspReference: outcome.pspReference,
    fence: Math.max(fence, subject.operationFence),
  };
}

/** What the buyer is to be handed, as long as it can still help. */
export function handOffOf(verdict: Verdict): readonly NewHandOff[] {
  const { finding, attemptState } = verdict;
  const { operationId, attemptNumber, reply } = finding;
  if (reply?.kind !== 'awaiting_customer' || reply.handOff === null || !isOpenAttempt(attemptState))
    return [];
  return [{ operationId, attemptNumber, data: JSON.stringify(reply.handOff) }];
}

/** An attempt that is over needs no buyer any more. */
export function uselessHandOff({ finding, attemptState, mayHaveHandOff }: Verdict): readonly bigint[] {
  return mayHaveHandOff && !isOpenAttempt(attemptState) ? [finding.operationId] : [];
}

/** A refund that fails now with pending money in it: that must still be released one day. */
export function failedRefund(verdict: Verdict): readonly bigint[] {
  const { subject, entries, subState } = verdict;
  const failed = subject.kind === 'refund' && publicStateOf(subState) === 'FAILED' && entries.length > 0;
  // One that had failed before gave it back then; what is booked now is that the PSP moved it after all.
  if (!failed || isEnded(subject.subState)) return [];
  return subject.fromPendingMinor > 0n ? [subject.operationId] : [];
}

/** The seller's share of a charge that succeeds now; a surplus success is nobody's, and is not released. */
export function fundRelease(verdict: Verdict): readonly { operationId: bigint; days: number }[] {
  const { subject, attemptState, entries } = verdict;
  const days = subject.releaseAfterDays;
  if (subject.kind !== 'charge' || attemptState !== 'succeeded' || entries.length === 0 || days === null)
    return [];
  return [{ operationId: subject.operationId, days }];
}

/** The hold of a job that looked at an operation which had ended: its fence is remembered all the same. */
export function lookedAgain(verdict: Verdict): readonly { operationId: bigint; fence: number }[] {
  const { subject, finding, right } = verdict;
  if (right !== 'held' || !isEnded(subject.subState)) return [];
  return [{ operationId: subject.operationId, fence: finding.held!.fence }];
}
