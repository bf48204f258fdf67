/** What follows from news of an operation that had ended: a late fact, a reversal, a contradiction, or nothing. Decides only. */
import { decideRecheck, type Step } from './decide.ts';
import { hasMoved } from './evidence.ts';
import { type FindingContext, type Verdict, WOKEN } from './finding.ts';
import { isEnded, publicStateOf, transition } from './operation.ts';
import type { Subject } from './operation-store.ts';
import { lateEntry, reversalEntry, suspenseReversal } from './verdict-entries.ts';
import { letterOfReversal } from './verdict-letters.ts';

/**
 * The operation had ended: facts are booked all the same. Money that moved on a failed order goes to
 * suspense and to a person; evidence that contradicts a success goes to a person; equal evidence is a no-op.
 */
export function afterTheEnd(
  context: FindingContext,
  base: Omit<Verdict, 'step' | 'subState' | 'attemptState' | 'entries' | 'letter'>,
  before: { readonly contradicted: boolean; readonly amiss: Verdict['letter'] },
): Verdict {
  const { subject, outcome } = base;
  const step = base.right === 'held' ? lookAgain(context, base) : null;
  const unchanged = {
    ...base,
    step,
    subState: subject.subState,
    attemptState: subject.attemptState,
    entries: [],
    letter: step?.kind === 'bury' ? { code: step.code, reason: step.reason } : before.amiss,
  };
  const end = isEnded(subject.subState) ? subject.subState : subject.attemptState;
  const bookedBefore = ['succeeded', 'succeeded_surplus', 'reversed'].includes(subject.attemptState);
  if (hasMoved(outcome) && !bookedBefore) {
    const surplus = publicStateOf(subject.subState) === 'SUCCESS';
    const owner = subject.fromSuspense ? 'taken from suspense' : 'booked to the seller';
    const booked = subject.kind === 'charge' ? 'it is in suspense' : `it is ${owner}`;
    return {
      ...unchanged,
      attemptState: 'succeeded_surplus',
      entries: [lateEntry(subject, surplus)],
      letter: {
        code: surplus ? 'surplus_success' : 'late_success',
        reason: `the PSP moved the money although the ${subject.kind} had ended as ${end}; ${booked}`,
      },
    };
  }
  if (outcome.kind === 'reversed' && holdsMoney(subject)) {
    const isOurs = subject.attemptState === 'succeeded';
    return {
      ...unchanged,
      // What was in suspense never was the order's.
      subState: isOurs ? (transition(subject.subState, 'reversed') ?? subject.subState) : subject.subState,
      attemptState: 'reversed',
      entries: [isOurs || subject.kind !== 'charge' ? reversalEntry(subject) : suspenseReversal(subject)],
      letter: letterOfReversal(subject, outcome),
    };
  }
  const paid = outcome.kind === 'paid' ? transition(subject.subState, 'paid') : null;
  const standing = { ...unchanged, subState: paid ?? subject.subState };
  if (outcome.contradicted && !before.contradicted) {
    const reason = `the order ended as ${end}, and evidence says otherwise`;
    return { ...standing, letter: { code: 'contradicting_evidence', reason } };
  }
  return standing;
}

/** The attempt's money is booked: as was meant, or as a fact that came late (a charge's is in suspense). */
function holdsMoney({ attemptState, subState }: Subject): boolean {
  if (attemptState === 'succeeded') return transition(subState, 'reversed') !== null;
  return attemptState === 'succeeded_surplus';
}

/** The job that looked at an ended operation: does it go, or ask once more? */
function lookAgain(context: FindingContext, { finding }: Pick<Verdict, 'finding'>): Step {
  const { burned, waits } = finding.held!;
  return decideRecheck({ latest: finding.reply ?? WOKEN, burned, waits, random: context.random() });
}
