/** What can be done about one break: only what would work if it were tried now. Decides only. */
import { BREAK_MEANINGS, type Offer } from './break-codes.ts';
import { type BreakStanding, decideResolution, isLinkable, type ResolutionAction } from './resolution.ts';

/** What is known beside the break itself. */
export type OfferFacts = {
  /** "op_12/2": an attempt of its operation whose money lies in suspense, undecided. */
  readonly suspended: string | null;
  /** "dl_3": open, of its operation. */
  readonly deadLetter: string | null;
  /** Items of the same source and currency are open, so that a line may be one of them. */
  readonly hasItems: boolean;
};

/** Most fitting first; nothing for a closed one. */
export function offersOf(one: BreakStanding, facts: OfferFacts): readonly Offer[] {
  if (one.state === 'resolved' || one.state === 'written_off') return [];
  return BREAK_MEANINGS[one.code].offers.filter((offer) => isPossible(one, facts, offer));
}

function isPossible(one: BreakStanding, facts: OfferFacts, offer: Offer): boolean {
  switch (offer) {
    case 'enquire':
    case 'answer_dispute':
      return true;
    case 'corrected_file':
      return one.isRefused;
    case 'adopt_suspended':
      // An order that is paid takes no second payment.
      return facts.suspended !== null && one.operationState !== 'succeeded';
    case 'refund_suspended':
      return facts.suspended !== null;
    case 'dead_letter':
      return facts.deadLetter !== null;
    case 'refund_at_psp':
      return one.openMinor < 0n;
    case 'link':
      return isLinkable(one) && (isDecided(one, offer) || facts.hasItems);
    case 'wait_for_psp':
      return one.state !== 'waiting_psp';
    default:
      return isDecided(one, offer);
  }
}

function isDecided(one: BreakStanding, action: ResolutionAction): boolean {
  return decideResolution(one, action).kind === 'decided';
}
