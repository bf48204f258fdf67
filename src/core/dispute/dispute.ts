/**
 * A dispute: what the bank says of it, which entries take it from one state to another, and what becomes of what is
 * stored when somebody has looked again. Decides only.
 */
import { Bug, unreachable } from '../errors.ts';
import { formatId } from '../ids.ts';
import {
  type BorneBy,
  disputeLossReversed,
  disputeLost,
  disputeOpened,
  disputeWon,
  feeShareOfDispute,
} from '../ledger/dispute-posting-rules.ts';
import type { NewEntry } from '../ledger/ledger-store.ts';
import type { Currency } from '../money.ts';
import type { AttemptState } from '../operation/evidence.ts';
import type { SubState } from '../operation/operation.ts';
import type { DisputeState } from '../psp/psp.ts';

export type DisputePolicy = {
  /** Who bears the platform's part of a lost dispute: its fees, or the expense account for write-offs. */
  readonly lostFee: Exclude<BorneBy, 'suspense'>;
};

/**
 * One thing learned of a dispute of one of our charges, from the PSP's own answer, a signed word, or a settlement line.
 * @property observation from `takeObservation`, before the PSP was read
 */
export type DisputeFact = {
  readonly pspAccount: string;
  readonly pspReference: string;
  readonly operationId: bigint;
  readonly attemptNumber: number;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly reason: string;
  readonly state: DisputeState;
  readonly observation: bigint;
};

/** A dispute as it is stored. */
export type Dispute = DisputeFact & {
  readonly id: bigint;
  readonly paymentId: bigint;
  readonly orderId: bigint;
  readonly seller: string;
  readonly holder: 'seller' | 'suspense';
  readonly sellerShareMinor: bigint;
  /** From 1; see {@link DisputeStep}. */
  readonly round: number;
  /** Of the last loss; null before. */
  readonly borneBy: BorneBy | null;
};

/** The charge behind it, its row locked, and what has been taken of it. */
export type DisputedCharge = {
  readonly operationId: bigint;
  readonly attemptNumber: number;
  readonly attemptState: AttemptState;
  /** Of the order's charge, as stored. */
  readonly subState: SubState;
  readonly pspAccount: string;
  readonly paymentId: bigint;
  readonly orderId: bigint;
  readonly seller: string;
  readonly grossMinor: bigint;
  readonly feeMinor: bigint;
  readonly currency: string;
  /** By refunds that have not failed, and open and lost disputes. */
  readonly takenMinor: bigint;
  readonly sharesGivenMinor: bigint;
  /** A refund out of suspense is under way or done. */
  readonly suspenseRefunded: boolean;
};

/** What is booked on the way from one state to another. */
type DisputeStep = 'opened' | 'won' | 'lost' | 'loss_reversed';

type Path = { readonly steps: readonly DisputeStep[]; readonly round: 'same' | 'next' };

const same = (...steps: readonly DisputeStep[]): Path => ({ steps, round: 'same' });
const next = (...steps: readonly DisputeStep[]): Path => ({ steps, round: 'next' });

/**
 * From state × to state. Whatever was missed on the way is booked too. A way back from an end opens another round,
 * because each cause posts each kind of entry once.
 */
export const DISPUTE_PATHS: Readonly<Record<DisputeState | 'none', Readonly<Record<DisputeState, Path>>>> = {
  none: { opened: same('opened'), won: same('opened', 'won'), lost: same('opened', 'lost') },
  opened: { opened: same(), won: same('won'), lost: same('lost') },
  won: { opened: next('opened'), won: same(), lost: next('opened', 'lost') },
  lost: { opened: next('loss_reversed'), won: next('loss_reversed', 'won'), lost: same() },
};

export type DisputeVerdict =
  /** It is new, or it moves; `entries` in order. */
  | {
      readonly kind: 'moves';
      readonly from: DisputeState | 'none';
      readonly dispute: Dispute;
      readonly entries: readonly NewEntry[];
    }
  /** It is as it was; remembered, so that nothing older can follow. */
  | { readonly kind: 'unchanged'; readonly dispute: Dispute }
  /** Somebody has looked later. */
  | { readonly kind: 'stale'; readonly dispute: Dispute }
  /** No charge of ours that has moved money is what it names: too early, or not ours. */
  | { readonly kind: 'unmatched'; readonly reason: string }
  /** The PSP names another amount or charge than before: a person must look. */
  | { readonly kind: 'differs'; readonly dispute: Dispute; readonly reason: string };

/**
 * @param id for a dispute that is not stored yet
 * @param charge null: there is no such attempt
 */
export function judgeDispute(
  stored: Dispute | null,
  fact: DisputeFact,
  charge: DisputedCharge | null,
  policy: DisputePolicy,
  id: bigint,
): DisputeVerdict {
  if (charge === null) return { kind: 'unmatched', reason: 'there is no such charge' };
  const mismatch = mismatchOf(stored, fact, charge);
  if (stored === null) {
    if (mismatch !== null) return { kind: 'unmatched', reason: mismatch };
    if (!hasMoved(charge.attemptState)) {
      return { kind: 'unmatched', reason: `its charge is ${charge.attemptState} here` };
    }
    return move(newDispute(fact, charge, id), 'none', fact, charge, policy);
  }
  if (fact.observation <= stored.observation) return { kind: 'stale', dispute: stored };
  if (mismatch !== null) return { kind: 'differs', dispute: stored, reason: mismatch };
  if (fact.state === stored.state) {
    return { kind: 'unchanged', dispute: { ...stored, observation: fact.observation } };
  }
  return move(stored, stored.state, fact, charge, policy);
}

function hasMoved(state: AttemptState): boolean {
  return state === 'succeeded' || state === 'succeeded_surplus' || state === 'reversed';
}

function mismatchOf(stored: Dispute | null, fact: DisputeFact, charge: DisputedCharge): string | null {
  if (fact.pspAccount !== charge.pspAccount) return 'its charge is of another PSP account';
  if (fact.currency !== charge.currency) {
    return `it is in ${fact.currency}, its charge in ${charge.currency}`;
  }
  if (stored === null) return null;
  if (stored.operationId !== fact.operationId || stored.attemptNumber !== fact.attemptNumber) {
    return `it was of ${formatId('operation', stored.operationId)}/${stored.attemptNumber} before`;
  }
  if (stored.amountMinor === fact.amountMinor) return null;
  return `it is over ${fact.amountMinor} minor units now, and was over ${stored.amountMinor}`;
}

/** The seller's share is settled when it is first seen, and never again. */
function newDispute(fact: DisputeFact, charge: DisputedCharge, id: bigint): Dispute {
  const { paymentId, orderId, seller, grossMinor, feeMinor, takenMinor, sharesGivenMinor } = charge;
  const inSuspense = isUnowned(charge);
  const feeShare = feeShareOfDispute({
    grossMinor,
    feeMinor,
    takenBeforeMinor: takenMinor,
    sharesGivenMinor,
    disputedMinor: fact.amountMinor,
  });
  return {
    ...fact,
    id,
    paymentId,
    orderId,
    seller,
    holder: inSuspense ? 'suspense' : 'seller',
    sellerShareMinor: inSuspense ? 0n : fact.amountMinor - feeShare,
    round: 1,
    borneBy: null,
  };
}

/** It never was the order's: it is in suspense, or was when the PSP took it back. */
function isUnowned({ attemptState, subState }: DisputedCharge): boolean {
  return attemptState === 'succeeded_surplus' || (attemptState === 'reversed' && subState !== 'reversed');
}

function move(
  stored: Dispute,
  from: DisputeState | 'none',
  fact: DisputeFact,
  charge: DisputedCharge,
  policy: DisputePolicy,
): DisputeVerdict {
  const path = DISPUTE_PATHS[from][fact.state];
  const round = path.round === 'next' ? stored.round + 1 : stored.round;
  const borneBy = path.steps.includes('lost') ? bearerOf(stored, charge, policy) : stored.borneBy;
  const cause = round === 1 ? formatId('dispute', stored.id) : `${formatId('dispute', stored.id)}/${round}`;
  const entries = path.steps.map((step) => ({ cause, ...entryOf(step, stored, borneBy) }));
  const { state, observation } = fact;
  return { kind: 'moves', from, dispute: { ...stored, state, observation, round, borneBy }, entries };
}

/** What suspense has given back to the buyer already, it cannot bear once more. */
function bearerOf(dispute: Dispute, charge: DisputedCharge, policy: DisputePolicy): BorneBy {
  if (dispute.holder === 'seller') return policy.lostFee;
  const isThere = charge.attemptState === 'succeeded_surplus' && !charge.suspenseRefunded;
  return isThere ? 'suspense' : 'write_off';
}

function entryOf(step: DisputeStep, dispute: Dispute, borneBy: BorneBy | null) {
  const event = {
    pspAccount: dispute.pspAccount,
    seller: dispute.seller,
    currency: dispute.currency as Currency,
    disputedMinor: dispute.amountMinor,
    sellerShareMinor: dispute.sellerShareMinor,
  };
  switch (step) {
    case 'opened':
      return disputeOpened(event);
    case 'won':
      return disputeWon(event);
    case 'lost':
      return disputeLost({ ...event, remainderBorneBy: known(borneBy) });
    case 'loss_reversed':
      return disputeLossReversed({ ...event, remainderBorneBy: known(borneBy) });
    default:
      return unreachable(step);
  }
}

function known(borneBy: BorneBy | null): BorneBy {
  if (borneBy === null) throw new Bug('a lost dispute that nobody bears');
  return borneBy;
}

/** Longest reason that is kept (characters). */
const MAX_REASON = 500;

/** A PSP's text must never be why its word is lost: PostgreSQL takes no NUL. */
export function storableReason(text: string): string {
  return text.replaceAll('\0', '').slice(0, MAX_REASON) || 'no reason given';
}

/** Whether what the dispute took is away from the order: it counts like a refund. */
export function holdsMoney(state: DisputeState): boolean {
  return state !== 'won';
}

/**
 * What all words of a dispute (Adyen's event codes) add up to, in whatever order they came: the later stage of the bank's procedure decides.
 * Null: nothing has been taken yet, the bank has only announced it or asked.
 */
export function stateOfWords(words: ReadonlySet<string>): DisputeState | null {
  if (words.has('SECOND_CHARGEBACK') || words.has('PREARBITRATION_LOST')) return 'lost';
  if (words.has('CHARGEBACK_REVERSED') || words.has('PREARBITRATION_WON')) return 'won';
  if (!words.has('CHARGEBACK')) return null;
  return words.has('DISPUTE_DEFENSE_PERIOD_ENDED') ? 'lost' : 'opened';
}
