/**
 * Money in suspense: a charge that moved the money although its order had failed, or had succeeded already. Says where
 * such money stands and what a person may decide about it. Decides only.
 */
import { formatId, parseId } from '../ids.ts';
import type { AttemptState } from '../operation/evidence.ts';
import { isEnded, publicStateOf, type SubState, transition } from '../operation/operation.ts';
import { FAILED_REFUND } from '../refund/refund.ts';

export type SuspenseRef = { readonly operationId: bigint; readonly attemptNumber: number };

/** One attempt with everything that forbids or allows a decision. */
export type SuspenseCase = SuspenseRef & {
  /** late: its order had failed; surplus: it had succeeded. */
  readonly cause: 'late' | 'surplus';
  readonly attemptState: AttemptState;
  readonly pspAccount: string;
  readonly pspReference: string | null;
  readonly paymentId: bigint;
  readonly orderId: bigint;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly feeMinor: bigint;
  readonly releaseAfterDays: number | null;
  /** Of the order's charge, as stored. */
  readonly subState: SubState;
  /** Another attempt of it is open, or a daemon works on it. */
  readonly isUnresolved: boolean;
  /** Its payment gives back what was charged when a part of it fails, and another part has failed. */
  readonly isPartRefunded: boolean;
  /** Somebody's decision to let the order take it. */
  readonly isAdopted: boolean;
  /** The latest refund of it. */
  readonly refundId: string | null;
  readonly refundOperationId: bigint | null;
  readonly refundSubState: SubState | null;
  /** The PSP's name of a dispute that is open or lost. */
  readonly disputeReference: string | null;
  /** When the money was booked into suspense. */
  readonly since: string;
};

export type SuspenseState = 'open' | 'refunding' | 'refunded' | 'adopted' | 'disputed' | 'reversed';

/** `open`: somebody must decide. */
export function suspenseStateOf(one: SuspenseCase): SuspenseState {
  if (one.isAdopted) return 'adopted';
  if (one.attemptState === 'reversed') return 'reversed';
  if (one.refundSubState === 'succeeded') return 'refunded';
  if (one.refundSubState !== null && !hasFailed(one.refundSubState)) return 'refunding';
  return one.disputeReference === null ? 'open' : 'disputed';
}

function hasFailed(subState: SubState): boolean {
  return (FAILED_REFUND as readonly string[]).includes(subState);
}

export type SuspenseRefusal = {
  readonly kind: 'refused';
  readonly code:
    | 'not_in_suspense'
    | 'order_succeeded'
    | 'attempt_unresolved'
    | 'part_refunded'
    | 'not_adoptable';
  readonly message: string;
};

/** Why the order may not take the money; null when it may. */
export function refuseAdoption(one: SuspenseCase): SuspenseRefusal | null {
  const closed = refuseClosed(one);
  if (closed !== null) return closed;
  const order = formatId('order', one.orderId);
  if (publicStateOf(one.subState) === 'SUCCESS') {
    return refuse(
      'order_succeeded',
      `${order} has been charged already: this is a second time, to be refunded.`,
    );
  }
  if (one.isUnresolved || !isEnded(one.subState)) {
    return refuse('attempt_unresolved', `${order} has another attempt that may still charge the buyer.`);
  }
  if (one.isPartRefunded) {
    const why = 'another order of its payment failed, and what is charged of such a payment is given back';
    return refuse('part_refunded', `${order} cannot take it: ${why}. Refund it.`);
  }
  if (transition(one.subState, 'adopted') !== null) return null;
  return refuse('not_adoptable', `${order} has ended as ${one.subState} and takes no money.`);
}

/** Why the buyer may not get it back (now); null when the refund may go out. */
export function refuseSuspenseRefund(one: SuspenseCase): SuspenseRefusal | null {
  const closed = refuseClosed(one);
  if (closed !== null || one.pspReference !== null) return closed;
  return refuse('not_in_suspense', `${refText(one)} has no name at the PSP: refund it there.`);
}

function refuseClosed(one: SuspenseCase): SuspenseRefusal | null {
  const name = refText(one);
  const state = suspenseStateOf(one);
  switch (state) {
    case 'open':
      return null;
    case 'disputed':
      return refuse(
        'not_in_suspense',
        `${name} is disputed (${one.disputeReference}): the bank decides about it.`,
      );
    case 'refunding':
    case 'refunded':
      return refuse('not_in_suspense', `${name} is ${state} as "${one.refundId}".`);
    default:
      return refuse('not_in_suspense', `${name} is ${state}.`);
  }
}

function refuse(code: SuspenseRefusal['code'], message: string): SuspenseRefusal {
  return { kind: 'refused', code, message };
}

/** "op_14/2": the second attempt of operation 14; also the cause of its entries. */
export function refText({ operationId, attemptNumber }: SuspenseRef): string {
  return `${formatId('operation', operationId)}/${attemptNumber}`;
}

/** Null for anything but "op_14/2". */
export function parseRef(text: string): SuspenseRef | null {
  const [operation = '', number = '', ...more] = text.split('/');
  const operationId = operation.startsWith('op_') ? parseId('operation', operation) : null;
  if (operationId === null || more.length > 0 || !/^[1-9]\d{0,3}$/.test(number)) return null;
  return { operationId, attemptNumber: Number(number) };
}
