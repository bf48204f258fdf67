/**
 * What follows from news of an operation that had ended: a late fact, a reversal, a contradiction, or nothing. Decides
 * only. Nothing that differs from the end is merely stored: it is booked, or a person hears of it.
 */
import type { NewEntry } from '../ledger/ledger-store.ts';
import { decideRecheck, type Step } from './decide.ts';
import { type AttemptState, type Evidence, hasMoved, weightOf } from './evidence.ts';
import { type FindingContext, type Verdict, WOKEN } from './finding.ts';
import { isEnded, publicStateOf, type SubState, transition } from './operation.ts';
import type { Subject } from './operation-store.ts';
import { lateEntry, reversalEntry, suspenseReversal } from './verdict-entries.ts';
import { letterOfReversal } from './verdict-letters.ts';

type Base = Omit<Verdict, 'step' | 'subState' | 'attemptState' | 'entries' | 'letter'>;

/** What is known of the attempt without this finding. */
type Before = {
  readonly evidence: readonly Evidence[];
  readonly contradicted: boolean;
  /** It moved, but not as it was asked to; null: nothing of that kind is new. */
  readonly amiss: Verdict['letter'];
};

/** What the finding changes; what it leaves out stays as it is. */
type Change = {
  readonly subState?: SubState;
  readonly attemptState?: AttemptState;
  readonly entries?: readonly NewEntry[];
  readonly letter?: Verdict['letter'];
};

/** The operation had ended: facts are booked all the same, and equal evidence is a no-op. */
export function afterTheEnd(context: FindingContext, base: Base, before: Before): Verdict {
  const { subject } = base;
  const step = base.right === 'held' ? lookAgain(context, base) : null;
  const letter = step?.kind === 'bury' ? { code: step.code, reason: step.reason } : before.amiss;
  return {
    ...base,
    step,
    subState: subject.subState,
    attemptState: subject.attemptState,
    entries: [],
    letter,
    ...changeBy(base, before),
  };
}

function changeBy(base: Base, before: Before): Change {
  switch (bookingOf(base.subject)) {
    case 'none':
      return changeOfUnbooked(base, before) ?? contradiction(base, before);
    case 'held':
      return base.outcome.kind === 'reversed' ? takenBack(base) : stillDone(base, before);
    default:
      return contradiction(base, before);
  }
}

/** What the books have of the attempt's money: nothing, all of it, or that it moved and came back. */
function bookingOf({ attemptState, subState }: Subject): 'none' | 'held' | 'undone' {
  if (attemptState === 'succeeded_surplus') return 'held';
  if (attemptState === 'succeeded') return transition(subState, 'reversed') === null ? 'undone' : 'held';
  return attemptState === 'reversed' ? 'undone' : 'none';
}

/** Money that moved although nothing is booked; null: none did. */
function changeOfUnbooked({ subject, outcome, evidence }: Base, before: Before): Change | null {
  if (hasMoved(outcome)) return lateFact(subject);
  if (outcome.kind !== 'reversed' || subject.kind === 'charge') return null;
  // That it failed came first, and that it had been done came after: both happened, whoever was told what when.
  const told = evidence === null ? before.evidence : [...before.evidence, evidence];
  if (evidence?.saysUndone !== true && !told.some((item) => weightOf(item.kind) === 'moved')) return null;
  return {
    attemptState: 'reversed',
    entries: [lateEntry(subject, isSurplus(subject)), reversalEntry(subject)],
    letter: letterOfReversal(subject, outcome),
  };
}

/** Another attempt of it has moved the money already. */
function isSurplus({ subState }: Subject): boolean {
  return publicStateOf(subState) === 'SUCCESS';
}

/** A charge's money goes to suspense; what left by a refund or payout is taken from where it belonged. */
function lateFact(subject: Subject): Change {
  const owner = subject.fromSuspense ? 'taken from suspense' : 'booked to the seller';
  const booked = subject.kind === 'charge' ? 'it is in suspense' : `it is ${owner}`;
  return {
    attemptState: 'succeeded_surplus',
    entries: [lateEntry(subject, isSurplus(subject))],
    letter: {
      code: isSurplus(subject) ? 'surplus_success' : 'late_success',
      reason: `the PSP moved the money although the ${subject.kind} had ended as ${endOf(subject)}; ${booked}`,
    },
  };
}

function takenBack({ subject, outcome }: Base): Change {
  const isOurs = subject.attemptState === 'succeeded';
  return {
    // What was in suspense never was the order's.
    ...(isOurs ? { subState: transition(subject.subState, 'reversed') ?? subject.subState } : {}),
    attemptState: 'reversed',
    entries: [isOurs || subject.kind !== 'charge' ? reversalEntry(subject) : suspenseReversal(subject)],
    letter: letterOfReversal(subject, outcome),
  };
}

function stillDone(base: Base, before: Before): Change {
  const paid = base.outcome.kind === 'paid' ? transition(base.subject.subState, 'paid') : null;
  return { ...(paid === null ? {} : { subState: paid }), ...contradiction(base, before) };
}

/** What was told cannot be true together with the end, and nothing can be booked from it alone: a person looks. */
function contradiction(base: Base, before: Before): Change {
  const isNew = base.outcome.contradicted && !before.contradicted;
  const reason = seenOtherwise(base) ?? (isNew ? 'evidence says otherwise' : null);
  if (reason === null) return {};
  const { subject } = base;
  return {
    letter: {
      code: 'contradicting_evidence',
      reason: `the ${subject.kind} ended as ${endOf(subject)}, and ${reason}`,
    },
  };
}

/**
 * What somebody sees to be different now: a look that began after the end, a file, a person. An answer of before is no
 * contradiction: what is still open, or not there yet, comes before every end.
 */
function seenOtherwise({ subject, right, evidence }: Base): string | null {
  if (evidence === null) return null;
  const booking = bookingOf(subject);
  const weight = weightOf(evidence.kind);
  if (evidence.source === 'settlement' || evidence.source === 'person')
    return booking === 'held' && weight === 'refused' ? 'its money is said not to have moved' : null;
  if (right !== 'held') return null;
  if (weight === 'held') return 'the PSP is still at work on it';
  if (weight === 'moved') return booking === 'undone' ? 'the PSP shows it as done again' : null;
  return booking === 'held' && evidence.kind === 'not_found' ? 'the PSP shows no trace of it' : null;
}

function endOf({ subState, attemptState }: Subject): string {
  return isEnded(subState) ? subState : attemptState;
}

/** The job that looked at an ended operation: does it go, or ask once more? */
function lookAgain(context: FindingContext, { finding }: Pick<Verdict, 'finding'>): Step {
  const { burned, waits } = finding.held!;
  return decideRecheck({ latest: finding.reply ?? WOKEN, burned, waits, random: context.random() });
}
