/** What our books say has moved, in the sandbox's own units: charges by order, the rest by operation. Reads only. */
import type { Db } from '../../core/db/connection.ts';
import { formatId } from '../../core/ids.ts';
import type { Currency } from '../../core/money.ts';
import { publicStateOf, type SubState } from '../../core/operation/operation.ts';
import { listPaymentIds, listPaymentRows } from '../../core/payment/payment-store.ts';
import { ANY_PAYOUT, listPayouts } from '../../core/payout/payout-list-store.ts';
import { toStripeAmount } from '../../core/psp/stripe-minor-unit.ts';
import { ANY_REFUND, listRefunds } from '../../core/refund/refund-store.ts';

const PAGE = 1_000;

export const NOTHING = 'nothing';

/**
 * @property name as our commands show it: ord_13, rfd_16, po_18
 * @property reference as the sandbox's object names it
 * @property moved "1250 eur", or NOTHING
 */
export type Booked = { readonly name: string; readonly reference: string; readonly moved: string };

export async function listCharged(db: Db): Promise<readonly Booked[]> {
  const filter = { limit: PAGE, buyer: null, seller: null, batchId: null, subStates: null };
  const payments = await readPages(async (beforeId) =>
    (await listPaymentIds(db, { ...filter, beforeId })).map((id) => ({ id })),
  );
  const rows = await listPaymentRows(
    db,
    payments.map(({ id }) => id),
  );
  return rows.map((row) => {
    const name = formatId('order', row.orderId);
    return { name, reference: name, moved: movedBy(row) };
  });
}

export async function listRefunded(db: Db): Promise<readonly Booked[]> {
  const rows = await readPages((beforeId) => listRefunds(db, { ...ANY_REFUND, beforeId, limit: PAGE }));
  return rows.map((row) => ({
    name: formatId('refund', row.id),
    reference: formatId('operation', row.operationId),
    moved: movedBy(row),
  }));
}

/** Without those that were never approved: they have no operation. */
export async function listPaidOut(db: Db): Promise<readonly Booked[]> {
  const rows = await readPages((beforeId) => listPayouts(db, { ...ANY_PAYOUT, beforeId, limit: PAGE }));
  return rows.flatMap((row) => {
    if (row.operationId === null) return [];
    const reference = formatId('operation', row.operationId);
    return [{ name: formatId('payout', row.id), reference, moved: movedBy(row) }];
  });
}

/** All rows of a list that goes on before an id. */
async function readPages<Row extends { readonly id: bigint }>(
  read: (beforeId: bigint | null) => Promise<readonly Row[]>,
): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (let beforeId: bigint | null = null; ; beforeId = rows.at(-1)!.id) {
    const page: readonly Row[] = await read(beforeId);
    rows.push(...page);
    if (page.length < PAGE) return rows;
  }
}

type Moving = { readonly subState: SubState | null; readonly amountMinor: bigint; readonly currency: string };

function movedBy({ subState, amountMinor, currency }: Moving): string {
  if (subState === null || publicStateOf(subState) !== 'SUCCESS') return NOTHING;
  const amount = toStripeAmount(amountMinor, currency as Currency);
  return amount.kind === 'ok' ? `${amount.amount} ${currency.toLowerCase()}` : 'not expressible';
}
