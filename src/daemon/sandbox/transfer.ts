/**
 * A transfer to a connected account, with its reversals, as a record (pure). Final when created; what is given back
 * is a reversal. Records are never changed in place.
 */
import type { Numbered } from './object-table.ts';

/** Amounts in minor units, times in seconds since 1970. */
export interface Reversal {
  readonly created: number;
  readonly amount: number;
  readonly metadataJson: string;
}

/**
 * @property destination the connected account, `acct_…`
 * @property undoAtMs when it is reversed by itself, sandbox time; null when it is not
 * @property key the idempotency key of the call that created it, null without one
 */
export interface TransferRecord extends Numbered {
  readonly amount: number;
  readonly currency: string;
  readonly destination: string;
  readonly transferGroup: string | null;
  readonly description: string | null;
  readonly metadataJson: string;
  readonly reversals: readonly Reversal[];
  readonly undoAtMs: number | null;
  readonly key: string | null;
}

/** Minor units that came back. */
export function reversedOf(transfer: TransferRecord): number {
  return transfer.reversals.reduce((sum, { amount }) => sum + amount, 0);
}

/** The transfer with one reversal more; the caller keeps `amount` within what is left. */
export function reverseTransfer(transfer: TransferRecord, reversal: Reversal): TransferRecord {
  return { ...transfer, reversals: [...transfer.reversals, reversal], undoAtMs: null };
}

/** Everything that is left comes back, at `created` seconds; unchanged when nothing is left. */
export function undoTransfer(transfer: TransferRecord, created: number): TransferRecord {
  const left = transfer.amount - reversedOf(transfer);
  if (left === 0) return { ...transfer, undoAtMs: null };
  return reverseTransfer(transfer, { created, amount: left, metadataJson: '{}' });
}
