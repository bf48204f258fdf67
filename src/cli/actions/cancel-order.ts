/** `payments cancel`: takes back an order that no daemon has claimed yet, or that waits for its buyer. */
import { formatId } from '../../core/ids.ts';
import { type CancelResult, cancelOperation } from '../../core/operation/cancel-operation.ts';
import type { PaymentRow } from '../../core/payment/payment-store.ts';
import { shownText } from '../../core/shown-text.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import { requireReason } from '../require-reason.ts';
import type { Session } from '../session.ts';
import { moneyOf, moneyText, requireId } from '../words.ts';
import { findOrderRow } from './find-order.ts';

function toldText({ orderId, id, subState }: PaymentRow, how: CancelResult['how']): string {
  const order = formatId('order', orderId);
  if (how === 'canceled') return `${order}: ${subState} → canceled; nothing was sent`;
  const look = `paygate payments show ${formatId('payment', id)}`;
  return `${order} waits for its buyer: the PSP is asked to cancel it, and its answer ends the order; look: ${look}`;
}

/** Moves no money, so it asks nothing; exit 5 when the order may have been sent or has ended. */
export async function cancelOrder(session: Session, text: string): Promise<number> {
  const orderId = requireId('order', text);
  const reason = session.globals.dryRun ? '' : requireReason(session);
  return withBook(session, async (book) => {
    const row = await findOrderRow(book, orderId, text);
    const order = formatId('order', orderId);
    if (session.globals.dryRun) {
      session.note(
        `${order} is ${row.subState} (${moneyText(moneyOf(row))} for ${shownText(row.seller)}); this would cancel it.`,
      );
      return EXIT.done;
    }
    const canceled = await cancelOperation(book.db, row.operationId, { reason, principal: book.principal });
    await session.print({
      json: {
        payment_order_id: order,
        operation_id: formatId('operation', canceled.operationId),
        attempt_number: canceled.attemptNumber,
        from: row.subState,
        to: canceled.how === 'canceled' ? 'canceled' : 'awaiting_customer',
        ...(canceled.how === 'asked' ? { cancel: 'requested' } : {}),
      },
      blocks: [{ kind: 'line', text: toldText(row, canceled.how) }],
    });
    return EXIT.done;
  });
}
