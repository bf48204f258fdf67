/**
 * Gives back what was charged of a payment of which another part failed (policy on_partial "refund"): afterwards
 * FAILED means that the buyer can safely check out again. Each order is refunded under a name made from it, so that
 * doing this twice does it once.
 */
import { type Db, transact } from '../db/connection.ts';
import { formatId } from '../ids.ts';
import { acceptRefunds, MAX_REFUND_BATCH, type RefundContext } from './accept-refunds.ts';
import { listPartialSuccesses, takeEndedWatches } from './refund-store.ts';

/** Payments looked at in one transaction; their orders are refunded in it. */
const PAYMENTS_A_ROUND = 50;

/** One round; returns how many payments have ended, and how many of their orders are given back. */
export async function refundPartials(
  db: Db,
  context: RefundContext,
): Promise<{ readonly payments: number; readonly refunds: number }> {
  return transact(db, async (tx) => {
    const payments = await takeEndedWatches(tx, PAYMENTS_A_ROUND);
    if (payments.length === 0) return { payments: 0, refunds: 0 };
    const orders = await listPartialSuccesses(tx, payments);
    let refunds = 0;
    for (let start = 0; start < orders.length; start += MAX_REFUND_BATCH) {
      const results = await acceptRefunds(
        tx,
        context,
        orders.slice(start, start + MAX_REFUND_BATCH).map((orderId) => ({
          refundId: `partial:${formatId('order', orderId)}`,
          orderId,
          amount: null,
          reason: 'another order of the same payment failed',
          cause: 'partial' as const,
        })),
      );
      refunds += results.filter((result) => result.kind === 'accepted').length;
    }
    return { payments: payments.length, refunds };
  });
}
