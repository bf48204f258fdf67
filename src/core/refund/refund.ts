/**
 * A refund: what may be asked for, what of it the wallet and the platform give, and how it is shown. Decides
 * only; the sums of what was refunded before come in.
 */
import { unreachable } from '../errors.ts';
import { formatId, parseId } from '../ids.ts';
import { feeShareOfRefund } from '../ledger/posting-rules.ts';
import { type Currency, formatAmount } from '../money.ts';
import type { SubState } from '../operation/operation.ts';

export type RefundRequest = {
  /** The caller's name of it: unique for ever. */
  readonly refundId: string;
  readonly orderId: bigint;
  /** In major units, "12.50", read in the order's currency; null: all that is left. */
  readonly amount: string | null;
  readonly reason: string;
  /** partial: the rest of the payment failed, and the buyer gets back what was charged. */
  readonly cause: 'request' | 'partial';
};

export type RefundPolicy = {
  /** proportional: the platform gives back its fee with the refund; kept: the seller pays all of it. */
  readonly fee: 'proportional' | 'kept';
  /** What happens when the wallet does not cover the seller's part. */
  readonly overdraw: 'allowed' | 'refused';
};

/** The charge behind an order, and what refunds and disputes took so far: what failed or was won does not count. */
export type Refundable = {
  readonly orderId: bigint;
  readonly subState: SubState;
  readonly grossMinor: bigint;
  readonly feeMinor: bigint;
  readonly currency: Currency;
  /** By refunds and disputes together. */
  readonly refundedMinor: bigint;
  readonly disputedMinor: bigint;
  readonly sharesGivenMinor: bigint;
  readonly fromPendingMinor: bigint;
  /** True while the seller's share of this order waits to be released. */
  readonly isPending: boolean;
};

export type RefundPlan = {
  readonly kind: 'ok';
  readonly amountMinor: bigint;
  readonly feeShareMinor: bigint;
  readonly fromAvailableMinor: bigint;
  readonly fromPendingMinor: bigint;
};

export type RefundRefusal = {
  readonly kind: 'not_refundable' | 'over_refund' | 'wrong_amount';
  readonly message: string;
};

/**
 * What a refund takes from where. The seller's part comes from available money as far as there is some, then from what
 * this very order still has pending (never from another order's, whose release would miss it), and the rest from
 * available money below zero.
 * @param wantedMinor null: all that is left
 * @param availableMinor the seller's available balance before
 */
export function planRefund(
  wantedMinor: bigint | null,
  charge: Refundable,
  policy: RefundPolicy,
  availableMinor: bigint,
): RefundPlan | RefundRefusal {
  const order = formatId('order', charge.orderId);
  if (charge.subState !== 'succeeded') {
    const why =
      charge.subState === 'reversed' ? 'the PSP took the charge back' : 'nothing was charged for it';
    return { kind: 'not_refundable', message: `${order} is ${charge.subState}: ${why}.` };
  }
  const takenMinor = least(charge.refundedMinor, charge.grossMinor);
  const leftMinor = charge.grossMinor - takenMinor;
  const amountMinor = wantedMinor ?? leftMinor;
  if (amountMinor > leftMinor || leftMinor === 0n) {
    const left = formatAmount({ amountMinor: leftMinor, currency: charge.currency });
    const text = `${left} ${charge.currency}`;
    const disputed = formatAmount({ amountMinor: charge.disputedMinor, currency: charge.currency });
    const because = charge.disputedMinor === 0n ? '' : `; ${disputed} ${charge.currency} of it is disputed`;
    return { kind: 'over_refund', message: `Of ${order} only ${text} is left to be refunded${because}.` };
  }
  const feeShareMinor = policy.fee === 'kept' ? 0n : feeShare(charge, amountMinor);
  const sellerPart = amountMinor - feeShareMinor;
  const covered = least(sellerPart, availableMinor > 0n ? availableMinor : 0n);
  const fromPendingMinor = least(sellerPart - covered, pendingOf(charge));
  return {
    kind: 'ok',
    amountMinor,
    feeShareMinor,
    fromPendingMinor,
    fromAvailableMinor: sellerPart - fromPendingMinor,
  };
}

function feeShare(charge: Refundable, refundMinor: bigint): bigint {
  return feeShareOfRefund({
    grossMinor: charge.grossMinor,
    feeMinor: charge.feeMinor,
    refundedBeforeMinor: charge.refundedMinor,
    sharesGivenMinor: charge.sharesGivenMinor,
    refundMinor,
  });
}

function pendingOf(charge: Refundable): bigint {
  if (!charge.isPending) return 0n;
  const left = charge.grossMinor - charge.feeMinor - charge.fromPendingMinor;
  return left > 0n ? left : 0n;
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

/** What callers see of a refund. */
export type RefundState = 'requested' | 'sent' | 'pending' | 'succeeded' | 'failed' | 'canceled';

/** `failed` also after it had succeeded: the PSP took it back. */
export function refundStateOf(subState: SubState): RefundState {
  switch (subState) {
    case 'queued':
    case 'in_risk_review':
    case 'retry_wait':
    case 'held_config':
      return 'requested';
    case 'claimed':
    case 'unknown':
      return 'sent';
    case 'pending_psp':
    case 'awaiting_customer':
      return 'pending';
    case 'succeeded':
      return 'succeeded';
    case 'declined':
    case 'rejected':
    case 'risk_blocked':
    case 'expired':
    case 'reversed':
      return 'failed';
    case 'canceled':
      return 'canceled';
    default:
      return unreachable(subState);
  }
}

/** Sub-states of a refund that took nothing in the end: their money counts as never refunded. */
export const FAILED_REFUND = ['declined', 'rejected', 'canceled', 'expired', 'reversed'] as const;

/** The number in our own id of a refund ("rfd_12"); null for a caller's name of one. */
export function refundNumberOf(name: string): bigint | null {
  return name.startsWith(formatId('refund', 1n).slice(0, -1)) ? parseId('refund', name) : null;
}
