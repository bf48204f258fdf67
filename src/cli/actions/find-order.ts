/** Finds the order that a command names. Reads only. */
import { OperatorError } from '../../core/errors.ts';
import { findOrder, listPaymentRows, type PaymentRow } from '../../core/payment/payment-store.ts';
import { shownText } from '../../core/shown-text.ts';
import type { Book } from '../open-book.ts';

/**
 * The order's row as it stands.
 * @throws OperatorError order_not_found
 */
export async function findOrderRow({ db }: Book, orderId: bigint, text: string): Promise<PaymentRow> {
  const order = await findOrder(db, orderId);
  const rows = order === null ? [] : await listPaymentRows(db, [order.paymentId]);
  const row = rows.find((candidate) => candidate.orderId === orderId);
  if (row !== undefined) return row;
  throw new OperatorError('order_not_found', `There is no order ${shownText(text)}.`, {
    kind: 'answer_is_no',
  });
}
