/**
 * What a replay of a dead letter may do, given where its operation stands: go on with the same attempt under its
 * original key, make a new attempt, book what is known, or nothing, and then what a person must do instead. Decides
 * only.
 */
import { Bug } from '../errors.ts';
import { formatId } from '../ids.ts';
import type { Capabilities } from '../psp/psp.ts';
import type { LockedLetter } from '../queue/dead-letter-store.ts';
import { isPastKeyWindow } from './decide.ts';
import { isOpenAttempt } from './evidence.ts';
import type { Standing } from './reopening-store.ts';

export type ReplayAction = 'send' | 'enquire';

type LetterFacts = {
  readonly state: string;
  readonly code: string;
  readonly attemptNumber: number;
};

export type ReplayPlan =
  /** The open attempt goes on: the same key, the same stored request, the record of its sends. */
  | { readonly kind: 'resume'; readonly action: ReplayAction }
  /** The attempt is closed and moved nothing: another one, with a key of its own. */
  | { readonly kind: 'renew' }
  /** The attempt is over and its stored evidence was not booked: that is tried again, and nothing is sent. */
  | { readonly kind: 'fold' }
  | { readonly kind: 'refused'; readonly code: ReplayRefusal; readonly message: string };

type ReplayRefusal =
  | 'letter_closed'
  | 'needs_a_decision'
  | 'already_working'
  | 'superseded'
  | 'key_window_passed'
  | 'cannot_enquire'
  | 'money_moved'
  | 'still_refused'
  | 'nothing_to_replay';

/**
 * @param wanted null: what suits the letter (sending again, except where only looking makes sense)
 */
export function planReplay(
  letter: LetterFacts,
  standing: Standing,
  wanted: ReplayAction | null,
  capabilities: Capabilities,
): ReplayPlan {
  if (letter.state !== 'open') return refuse('letter_closed', `it is ${letter.state} already`);
  const decision = decisionNeeded(letter.code, standing);
  if (decision !== null) return refuse('needs_a_decision', decision);
  if (letter.code === 'quarantined' && isOver(letter, standing)) return { kind: 'fold' };
  if (standing.hasJob) return refuse('already_working', 'its operation is being worked on already');
  if (standing.attemptNumber !== letter.attemptNumber) {
    return refuse('superseded', `attempt ${standing.attemptNumber} of its operation came after it`);
  }
  return isOpenAttempt(standing.attemptState)
    ? resume(letter, standing, wanted, capabilities)
    : renew(standing, wanted);
}

function refuse(code: ReplayRefusal, message: string): ReplayPlan {
  return { kind: 'refused', code, message };
}

/** Letters that trying again cannot answer: what a person must do instead; null for all others. */
function decisionNeeded(code: string, standing: Standing): string | null {
  switch (code) {
    case 'late_success':
    case 'surplus_success':
      return 'the PSP moved the money and it is in suspense: decide whether the order takes it (paygate suspense adopt) or the buyer gets it back (paygate suspense refund)';
    case 'refund_and_dispute':
      return 'the buyer has the money back by refund and by dispute: answer the dispute at the PSP with the refund as evidence';
    case 'reversed_after_success':
      return 'the PSP took it back: agree with whom it concerns, and ask anew under another name';
    case 'refund_declined':
      return 'the PSP will not give this money back: refund under another name (paygate refunds create, or suspense refund), or pay the buyer by other means and discard the letter';
    case 'contradicting_evidence':
      return `the PSP said two things: look ${formatId('operation', standing.operationId)} up there, then correct the books`;
    default:
      return null;
  }
}

/** The letter's attempt is closed: it ended, or a later one was made, which needs that. */
function isOver(letter: LetterFacts, standing: Standing): boolean {
  return letter.attemptNumber !== standing.attemptNumber || !isOpenAttempt(standing.attemptState);
}

function resume(
  letter: LetterFacts,
  standing: Standing,
  wanted: ReplayAction | null,
  capabilities: Capabilities,
): ReplayPlan {
  // Its answer is stored already: looking at it again sends nothing where it tells the end.
  const action = letter.code === 'quarantined' ? 'enquire' : (wanted ?? 'send');
  if (action === 'enquire') {
    return capabilities.canEnquire[standing.kind]
      ? { kind: 'resume', action }
      : refuse('cannot_enquire', 'this PSP cannot be asked what became of it');
  }
  const { firstSentAgoMs, maybeSent } = standing;
  // Something may have been sent and nobody knows when: the window must be taken for over.
  const isForgotten = firstSentAgoMs === null ? maybeSent : isPastKeyWindow(firstSentAgoMs, capabilities);
  if (!isForgotten) return { kind: 'resume', action };
  const hours = firstSentAgoMs === null ? 'too long' : `${Math.floor(firstSentAgoMs / 3_600_000)} h`;
  return refuse(
    'key_window_passed',
    `it was first sent ${hours} ago, so the PSP may have forgotten its key and charge again: ask with --action enquire`,
  );
}

function renew(standing: Standing, wanted: ReplayAction | null): ReplayPlan {
  if (standing.kind !== 'charge') {
    const again = `what this ${standing.kind} had reserved was given back: ask for it anew, under another name`;
    return refuse('nothing_to_replay', again);
  }
  if (standing.movedMoney) return refuse('money_moved', 'an attempt of its operation moved the money');
  // Evidence that was not booked, two facts that contradict: a person looks before anything is sent anew.
  const other = standing.openLetters.find((code) => code !== 'rejected');
  if (other !== undefined) {
    return refuse('needs_a_decision', `its operation has another open dead letter (${other})`);
  }
  if (!isRenewable(standing)) {
    return refuse('nothing_to_replay', `its operation has ended as ${standing.subState}`);
  }
  if (wanted === 'enquire') {
    return refuse('nothing_to_replay', 'the PSP refused it: there is nothing to ask, only to send anew');
  }
  return { kind: 'renew' };
}

/** Refused for certain, for a reason that may be gone now. A decline of a card is for the buyer: `payments retry`. */
function isRenewable({ attemptState }: Standing): boolean {
  return attemptState === 'rejected';
}

/** A letter with where its operation stands and what its replay would do. */
export type PlannedReplay = {
  readonly letter: LockedLetter;
  readonly standing: Standing;
  readonly plan: ReplayPlan;
};

/** The decision about letters as they stand; `standings` of all their operations. */
export function planReplays(
  letters: readonly LockedLetter[],
  standings: readonly Standing[],
  action: ReplayAction | null,
  capabilities: (pspAccount: string) => Capabilities,
): readonly PlannedReplay[] {
  const standingOf = new Map(standings.map((standing) => [standing.operationId, standing]));
  const taken = new Set<bigint>();
  return letters.map((letter) => {
    const standing = standingOf.get(letter.operationId);
    if (standing === undefined) throw new Bug(`dead letter ${letter.id} of an operation without an attempt`);
    // Two letters of one operation: the first one moves it, the second one then finds it moving.
    const seen = taken.has(letter.operationId) ? { ...standing, hasJob: true } : standing;
    const plan = planReplay(letter, seen, action, capabilities(standing.pspAccount));
    if (plan.kind === 'resume' || plan.kind === 'renew') taken.add(letter.operationId);
    return { letter, standing, plan };
  });
}
