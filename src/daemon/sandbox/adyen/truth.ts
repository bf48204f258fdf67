/**
 * The sandbox's own account of what Adyen really moved, per merchant reference, for tests to compare with. Reads
 * only; knows nothing of what the gateway believes.
 */
import type { AdyenRecord } from './records.ts';
import type { AdyenState } from './state.ts';

/**
 * What one reference moved.
 * @property charged payments that took the money: more than 1 is a double charge; refunded, paid_out likewise
 * @property disputed what banks took back and hold or keep; moved_out counts it
 * @property open objects that could still move money
 * @property moved_in, moved_out minor units per currency
 */
interface Truth {
  readonly reference: string;
  charged: number;
  refunded: number;
  paid_out: number;
  disputed: number;
  open: number;
  readonly moved_in: Record<string, number>;
  readonly moved_out: Record<string, number>;
  readonly objects: string[];
}

/** Every reference, or only the one asked for; a reference that nobody used has no row. */
export function truthOf(state: AdyenState, reference: string | null): readonly Truth[] {
  const records = reference === null ? state.all() : state.listByReference(reference);
  const rows = new Map<string, Truth>();
  for (const record of records) {
    const row = rows.get(record.reference) ?? emptyRow(record.reference);
    rows.set(record.reference, row);
    count(row, record);
  }
  return [...rows.values()];
}

function emptyRow(reference: string): Truth {
  return {
    reference,
    charged: 0,
    refunded: 0,
    paid_out: 0,
    disputed: 0,
    open: 0,
    moved_in: {},
    moved_out: {},
    objects: [],
  };
}

function count(row: Truth, record: AdyenRecord): void {
  row.objects.push(record.name);
  const isWaiting = record.kind === 'payment' && record.status === 'awaiting_shopper';
  if (record.settle !== null || isWaiting) row.open++;
  if (record.kind === 'payment' && record.status === 'authorised') {
    row.charged++;
    add(row.moved_in, record);
  }
  if (record.kind === 'modification' && record.status === 'succeeded') {
    if (record.type !== 'refund' && record.type !== 'reversal') return;
    row.refunded++;
    add(row.moved_out, record);
  }
  if (record.kind === 'dispute' && (record.status === 'opened' || record.status === 'lost')) {
    row.disputed++;
    add(row.moved_out, record);
  }
  if (record.kind === 'transfer' && record.status === 'booked') {
    row.paid_out++;
    add(row.moved_out, record);
  }
}

function add(sums: Record<string, number>, { amount }: AdyenRecord): void {
  sums[amount.currency] = (sums[amount.currency] ?? 0) + amount.value;
}
