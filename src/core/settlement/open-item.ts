/**
 * Which facts of the ledger wait for a settlement line, and which kinds of line can show them. Decides only.
 */
import type { LineKind } from './settlement-line.ts';

/**
 * What booked it → the kind of line that shows it. An entry of another kind that moves the receivable is waited for all the
 * same, as an `adjustment`: the proof must not lose it.
 */
export const KIND_OF_FACT: Readonly<Record<string, LineKind>> = {
  charge_succeeded: 'charge',
  late_success: 'charge',
  surplus_success: 'charge',
  charge_reversed: 'charge_reversed',
  refund_succeeded: 'refund',
  late_refund: 'refund',
  suspense_refunded: 'refund',
  refund_failed_after_success: 'refund_failed',
  payout_accepted: 'payout',
  late_payout: 'payout',
  payout_returned: 'payout_returned',
  dispute_opened: 'dispute',
  dispute_won: 'dispute_reversed',
  suspense_refund_failed: 'refund_failed',
  suspense_reversed: 'charge_reversed',
};

/** Lines that move what we are owed at the PSP, and so must be explained by a fact. */
export const EXPLAINED_KINDS = [
  'charge',
  'charge_reversed',
  'refund',
  'refund_failed',
  'payout',
  'payout_returned',
  'dispute',
  'dispute_reversed',
  'adjustment',
  'unclassified',
] as const satisfies readonly LineKind[];

/** Lines of a bank's statement: all of them move money that is on its way. */
export const EXPLAINED_AT_BANK = [
  ...EXPLAINED_KINDS,
  'fee',
  'deposit',
  'deposit_returned',
  'top_up',
  'reserve_held',
  'reserve_released',
] as const satisfies readonly LineKind[];

/** The sign that a kind's gross must have at a PSP; kinds that may have either are not here. */
export const SIGN_OF_KIND: Readonly<Partial<Record<LineKind, 1 | -1>>> = {
  charge: 1,
  charge_reversed: -1,
  refund: -1,
  refund_failed: 1,
  payout: -1,
  payout_returned: 1,
  dispute: -1,
  dispute_reversed: 1,
  deposit: -1,
  deposit_returned: 1,
  top_up: 1,
  reserve_held: -1,
  reserve_released: 1,
};

/** The operation that a line names as ours: by the operation's id, or by an attempt's key of this book. Null: it names none. */
export function operationNamed(ourReference: string | null, bookKey: string): bigint | null {
  if (ourReference === null) return null;
  const text = ourReference.startsWith('op_')
    ? ourReference.slice(3)
    : ourReference.startsWith(`pg-${bookKey}-`)
      ? ourReference.slice(bookKey.length + 4).replace(/-\d{1,5}$/, '')
      : '';
  return /^[1-9]\d{0,17}$/.test(text) ? BigInt(text) : null;
}
