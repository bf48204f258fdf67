/** `payments cancel`: takes back an order that no daemon has claimed yet. */
import { formatId } from '../../core/ids.ts';
import { cancelOperation } from '../../core/operation/cancel-operation.ts';
import { shownText } from '../../core/shown-text.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import { requireReason, type Session } from '../session.ts';
import { moneyOf, moneyText, requireId } from '../words.ts';
import { findOrderRow } from './find-order.ts';

/** Moves no money, so it asks nothing; exit 5 when the order may have been sent or has ended. */
export async function cancelOrder(session: Session, text: string): Promise<number> {
  const orderId = requireId('order', text);
  const reason = requireReason(session);
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
        to: 'canceled',
      },
      blocks: [{ kind: 'line', text: `${order}: ${row.subState} → canceled; nothing was sent` }],
    });
    return EXIT.done;
  });
}
