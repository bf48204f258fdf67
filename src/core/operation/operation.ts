/**
 * An operation's states and the events that move it, as data: the docs' diagram and the tests are made
 * from this table. Decides only.
 */
import { unreachable } from '../errors.ts';

/** What the contract shows of payments and orders. */
export type PublicState = 'NOT_STARTED' | 'EXECUTING' | 'SUCCESS' | 'FAILED';

export const SUB_STATES = [
  'queued',
  'in_risk_review',
  'claimed',
  'pending_psp',
  'awaiting_customer',
  'retry_wait',
  'unknown',
  'held_config',
  'succeeded',
  'declined',
  'rejected',
  'risk_blocked',
  'canceled',
  'expired',
  'reversed',
] as const;
export type SubState = (typeof SUB_STATES)[number];

export function publicStateOf(subState: SubState): PublicState {
  switch (subState) {
    case 'queued':
    case 'in_risk_review':
      return 'NOT_STARTED';
    case 'claimed':
    case 'pending_psp':
    case 'awaiting_customer':
    case 'retry_wait':
    case 'unknown':
    case 'held_config':
      return 'EXECUTING';
    case 'succeeded':
      return 'SUCCESS';
    case 'declined':
    case 'rejected':
    case 'risk_blocked':
    case 'canceled':
    case 'expired':
    case 'reversed':
      return 'FAILED';
    default:
      return unreachable(subState);
  }
}

/** The sub-states behind a public state, for filters. */
export function subStatesOf(state: PublicState): readonly SubState[] {
  return SUB_STATES.filter((subState) => publicStateOf(subState) === state);
}

/**
 * A payment's state, derived from its orders: not started until one starts, executing until all have
 * ended, success when all succeeded, otherwise failed.
 */
export function paymentStateOf(orders: readonly SubState[]): PublicState {
  const states = new Set(orders.map(publicStateOf));
  if (states.size === 1) return [...states][0]!;
  if (states.has('NOT_STARTED') || states.has('EXECUTING')) return 'EXECUTING';
  return 'FAILED';
}

export function isEnded(subState: SubState): boolean {
  const state = publicStateOf(subState);
  return state === 'SUCCESS' || state === 'FAILED';
}

/** What can happen to an operation. */
export const OPERATION_EVENTS = [
  'claimed',
  'succeeded',
  'declined',
  'rejected',
  'pending',
  'awaiting_customer',
  'unknown',
  'not_sent',
  'config_error',
  'reversed',
  // By a person's command: never after a doubt, and never while anything may have been sent.
  'canceled',
  'retried',
  // By a person's decision about money that moved all the same.
  'adopted',
] as const;
export type OperationEvent = (typeof OPERATION_EVENTS)[number];

const FROM_A_CALL = {
  succeeded: 'succeeded',
  declined: 'declined',
  rejected: 'rejected',
  pending: 'pending_psp',
  awaiting_customer: 'awaiting_customer',
  unknown: 'unknown',
  not_sent: 'retry_wait',
  config_error: 'held_config',
  // Done and taken back before we heard of either.
  reversed: 'declined',
} as const;

/** After doubt or a pending answer only evidence about the attempt moves on; a claim shows nothing new. */
const FROM_DOUBT = {
  succeeded: 'succeeded',
  declined: 'declined',
  pending: 'pending_psp',
  awaiting_customer: 'awaiting_customer',
  unknown: 'unknown',
  reversed: 'declined',
} as const;

/**
 * Nothing was charged, for certain: another attempt may be made, with a key of its own. If one had moved the money after
 * all, the order can take it.
 */
const FROM_A_DEFINITIVE_NO = { retried: 'queued', adopted: 'succeeded' } as const;

/** event × state. A cell that is not here is illegal, and the database row stays as it is. */
export const TRANSITIONS: Readonly<Record<SubState, Partial<Readonly<Record<OperationEvent, SubState>>>>> = {
  queued: { claimed: 'claimed', canceled: 'canceled' },
  in_risk_review: {},
  claimed: FROM_A_CALL,
  retry_wait: { ...FROM_A_CALL, claimed: 'claimed' },
  held_config: { ...FROM_A_CALL, claimed: 'claimed' },
  unknown: { ...FROM_DOUBT, claimed: 'unknown' },
  pending_psp: { ...FROM_DOUBT, claimed: 'pending_psp' },
  awaiting_customer: { ...FROM_DOUBT, claimed: 'awaiting_customer' },
  // The PSP can take back what it had done: a charge that bounces, a refund that fails after all, a returned payout.
  succeeded: { reversed: 'reversed' },
  declined: FROM_A_DEFINITIVE_NO,
  rejected: FROM_A_DEFINITIVE_NO,
  risk_blocked: {},
  canceled: FROM_A_DEFINITIVE_NO,
  expired: FROM_A_DEFINITIVE_NO,
  reversed: {},
};

/**
 * What a person sees of it: a job in somebody's hands makes it `claimed`. Nobody stores that: a claim writes the job
 * alone. The same rule stands in the database, as shown_sub_state.
 */
export function shownSubState(stored: SubState, job: 'ready' | 'leased' | null): SubState {
  return job === 'leased' ? (transition(stored, 'claimed') ?? stored) : stored;
}

/** The state after the event, or null where the table has no such cell. */
export function transition(from: SubState, event: OperationEvent): SubState | null {
  return TRANSITIONS[from][event] ?? null;
}
