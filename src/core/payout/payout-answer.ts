/** What callers are told about payouts and their batches: a contract. Decides only. */
import { formatId } from '../ids.ts';
import { type Currency, formatAmount, type MoneyJson, toMoneyJson } from '../money.ts';
import { isoTime } from '../payment/payment-answer.ts';
import { PAYOUT_STATES, type PayoutState, payoutStateOf } from './payout.ts';
import type { BatchSum, PayoutRow } from './payout-list-store.ts';
import type { PayoutBatch } from './payout-store.ts';

/** One payout. */
export function payoutView(row: PayoutRow) {
  const time = (text: string | null) => (text === null ? null : isoTime(text));
  return {
    payout_id: formatId('payout', row.id),
    batch_id: formatId('payoutBatch', row.batchId),
    line: row.line,
    item_ref: row.itemRef,
    seller: row.seller,
    amount: formatAmount({ amountMinor: row.amountMinor, currency: row.currency as Currency }),
    currency: row.currency,
    /** Where it is paid; of a draft what the file says, null for wherever the register says at approval. */
    destination: row.paidTo ?? row.destination,
    memo: row.memo,
    status: payoutStateOf(row.state, row.subState),
    sub_state: row.subState,
    code: row.code,
    reason: row.reason ?? row.operationReason,
    operation_id: row.operationId === null ? null : formatId('operation', row.operationId),
    psp_account: row.pspAccount,
    psp_reference: row.pspReference,
    created_at: isoTime(row.createdAt),
    decided_at: time(row.decidedAt),
    updated_at: isoTime(row.updatedAt),
  };
}
export type PayoutView = ReturnType<typeof payoutView>;

/** A batch, without its items. */
export function batchView(batch: PayoutBatch) {
  const time = (text: string | null) => (text === null ? null : isoTime(text));
  return {
    batch_id: formatId('payoutBatch', batch.id),
    state: batch.state,
    source: batch.source,
    psp_account: batch.pspAccount,
    items: batch.itemCount,
    submitted_by: batch.submittedBy,
    submitted_at: isoTime(batch.submittedAt),
    approved_by: batch.approvedBy,
    approved_at: time(batch.approvedAt),
    ended_at: time(batch.endedAt),
  };
}
export type BatchView = ReturnType<typeof batchView>;

export type StatusSum = {
  readonly status: PayoutState;
  readonly items: number;
  /** Sorted by currency code. */
  readonly totals: readonly MoneyJson[];
};

/** How many items stand where, in the order of a payout's life; states without items are left out. */
export function sumsByStatus(sums: readonly BatchSum[]): readonly StatusSum[] {
  return PAYOUT_STATES.flatMap((status) => {
    const here = sums.filter((sum) => payoutStateOf(sum.state, sum.subState) === status);
    if (here.length === 0) return [];
    const totals = new Map<Currency, bigint>();
    for (const { currency, amountMinor } of here)
      totals.set(currency as Currency, (totals.get(currency as Currency) ?? 0n) + amountMinor);
    return [
      {
        status,
        items: here.reduce((count, sum) => count + sum.items, 0),
        totals: [...totals]
          .sort(([left], [right]) => (left < right ? -1 : 1))
          .map(([currency, amountMinor]) => toMoneyJson({ amountMinor, currency })),
      },
    ];
  });
}
