/**
 * What a person decides about a break: the entry that would be posted, shown before it is, and the decision itself with its reason,
 * who made it and, for a large write-off, who else agreed. Every step is kept in the break's history.
 */
import type { Db } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import type { Capabilities } from '../psp/psp.ts';
import type { BreakAnswer, BreakState } from './reconcile-answer.ts';
import type { SettlementPolicy } from './settlement-policy.ts';

/** What can be done about a break; which of them fit is in its `offers`. */
export type ResolutionAction =
  | 'acknowledge'
  | 'wait_for_psp'
  | 'assign'
  | 'accept'
  | 'suspense'
  | 'adjust'
  | 'expense'
  | 'write_off'
  | 'book_dispute'
  | 'link'
  | 'reverse'
  | 'reopen';

export type ResolutionRequest = {
  readonly breakId: bigint;
  readonly action: ResolutionAction;
  /** 10–2,000 characters for whatever posts or closes; may be empty to acknowledge. */
  readonly reason: string;
  /** The caller's name of this decision: the same again is a no-op. 1–255 characters. */
  readonly idempotencyKey: string;
  /** For `assign`. */
  readonly assignee: string | null;
  /** Who was authenticated; never a flag. */
  readonly principal: string;
  readonly policy: SettlementPolicy;
  readonly capabilitiesOf: (pspAccount: string) => Capabilities;
};

/** A posting as a person reads it; minor units. */
export type ProposedPosting = {
  readonly debit: string;
  readonly credit: string;
  readonly currency: string;
  readonly amountMinor: bigint;
};

export type ResolutionPlan = {
  readonly break: BreakAnswer;
  readonly action: ResolutionAction;
  readonly from: BreakState;
  readonly to: BreakState;
  /** What would be booked, under which cause; null: nothing. */
  readonly entry: {
    readonly cause: string;
    readonly kind: string;
    readonly postings: readonly ProposedPosting[];
  } | null;
  /** `needed`: over the write-off limit, another principal must resolve it once more. */
  readonly secondPerson: 'not_needed' | 'needed';
};

export type Resolved =
  | { readonly kind: 'resolved'; readonly plan: ResolutionPlan; readonly entryId: bigint | null }
  /** The same idempotency key again. */
  | { readonly kind: 'repeated'; readonly break: BreakAnswer }
  /** The proposal is kept; a second person must say the same. */
  | { readonly kind: 'second_person_needed'; readonly plan: ResolutionPlan };

/** Shows what {@link resolveBreak} would do; changes nothing. */
export async function planResolution(_db: Db, request: ResolutionRequest): Promise<ResolutionPlan> {
  throw new Bug(`the plan for break ${request.breakId} comes with the next commit`);
}

/**
 * @throws OperatorError break_unknown, break_closed, action_not_offered, reason_too_short, reason_too_long, key_reused,
 *   second_person_same
 */
export async function resolveBreak(_db: Db, request: ResolutionRequest): Promise<Resolved> {
  throw new Bug(`resolving break ${request.breakId} comes with the next commit`);
}
