/**
 * A payout item: what is asked for, and its states, from what the batch decided and what became of its operation.
 * Decides only.
 */
import { unreachable } from '../errors.ts';
import type { Money } from '../money.ts';
import { SUB_STATES, type SubState } from '../operation/operation.ts';

/** One row of a payout file, checked. */
export type PayoutRequest = {
  /** Line of the file, from 1. */
  readonly line: number;
  /** The caller's name of it, unique for ever in the book. */
  readonly itemRef: string;
  readonly seller: string;
  readonly money: Money;
  /** Must equal the register's; null: wherever the register says. */
  readonly destination: string | null;
  readonly memo: string | null;
};

/** What the batch decided of an item, as it is stored. */
export type ItemState = 'draft' | 'approved' | 'refused' | 'canceled';

export const PAYOUT_STATES = [
  'draft',
  'refused',
  'canceled',
  'approved',
  'sent',
  'accepted',
  'paid',
  'failed',
  'returned',
] as const;
/**
 * draft → approved (the wallet is reserved) → sent (a request may be at the PSP; doubt stays here) → accepted (the PSP
 * moved it) → paid (the PSP says that the seller has it) → returned. `refused`: not approved, for a reason; `failed`: definitely not paid, the reservation is back.
 */
export type PayoutState = (typeof PAYOUT_STATES)[number];

/**
 * The state that people see.
 * @param subState of the item's operation; null where there is none
 */
export function payoutStateOf(item: ItemState, subState: SubState | null): PayoutState {
  if (item !== 'approved' || subState === null) return item;
  switch (subState) {
    case 'queued':
    case 'in_risk_review':
      return 'approved';
    case 'claimed':
    case 'pending_psp':
    case 'awaiting_customer':
    case 'retry_wait':
    case 'unknown':
    case 'held_config':
      return 'sent';
    case 'succeeded':
      return 'accepted';
    case 'paid':
      return 'paid';
    case 'reversed':
      return 'returned';
    case 'declined':
    case 'rejected':
    case 'risk_blocked':
    case 'expired':
      return 'failed';
    case 'canceled':
      return 'canceled';
    default:
      return unreachable(subState);
  }
}

/** What is stored behind a state that people see: the item alone, or an approved item with one of these operations. */
export function storedBehind(state: PayoutState): {
  readonly items: readonly ItemState[];
  readonly operations: readonly SubState[];
} {
  const items: readonly ItemState[] = ['draft', 'refused', 'canceled'];
  return {
    items: items.filter((item) => item === state),
    operations: SUB_STATES.filter((subState) => payoutStateOf('approved', subState) === state),
  };
}

/** Who bears a name at present. */
export type Bearer = {
  readonly payoutId: bigint;
  readonly batchId: bigint;
  readonly itemRef: string;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly destination: string | null;
  readonly memo: string | null;
  readonly state: ItemState;
  readonly subState: SubState | null;
  /** The PSP moved money for it after it had ended without: a person must look before anything is paid again. */
  readonly hasSurplus: boolean;
};

export type NameUse =
  /** Nobody bears it, or its bearer ended without money: it may be paid. */
  | { readonly kind: 'free' }
  /** The same payout, on its way or done: it is not paid again. */
  | { readonly kind: 'there'; readonly payoutId: bigint; readonly state: PayoutState }
  /** Another payout of that name: one of the two is a mistake. */
  | { readonly kind: 'conflict'; readonly payoutId: bigint; readonly differs: string };

/** What the name of a request means, given who bears it. A returned payout was paid: its name stays taken. */
export function nameUseOf(request: PayoutRequest, bearer: Bearer | undefined): NameUse {
  if (bearer === undefined) return { kind: 'free' };
  const state = payoutStateOf(bearer.state, bearer.subState);
  const isUnpaid = state === 'refused' || state === 'canceled' || state === 'failed';
  if (isUnpaid && !bearer.hasSurplus) return { kind: 'free' };
  const differs = firstDifference(request, bearer);
  return differs === null
    ? { kind: 'there', payoutId: bearer.payoutId, state }
    : { kind: 'conflict', payoutId: bearer.payoutId, differs };
}

function firstDifference(request: PayoutRequest, bearer: Bearer): string | null {
  if (request.seller !== bearer.seller) return 'seller';
  if (request.money.currency !== bearer.currency) return 'currency';
  if (request.money.amountMinor !== bearer.amountMinor) return 'amount';
  const { destination } = request;
  if (destination !== null && bearer.destination !== null && destination !== bearer.destination)
    return 'destination';
  return null;
}
