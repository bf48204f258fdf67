/** Cancels what of a payout batch is still a draft. What was approved goes on: its request may be at the PSP. */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, transact } from '../db/connection.ts';
import { OperatorError } from '../errors.ts';
import { formatId } from '../ids.ts';
import { cancelDrafts, endBatch, lockPayoutBatch } from './payout-store.ts';

export type Cancellation = {
  readonly batchId: bigint;
  readonly principal: string;
  /** 1–500 characters; stored with the event. */
  readonly reason: string;
};

/**
 * Returns how many drafts were canceled: none where every item was decided before.
 * @throws OperatorError payout_batch_not_found
 */
export async function cancelPayouts(db: Db, cancellation: Cancellation): Promise<number> {
  const { batchId, principal, reason } = cancellation;
  return transact(db, async (tx) => {
    const batch = await lockPayoutBatch(tx, batchId);
    if (batch === null) {
      const name = formatId('payoutBatch', batchId);
      throw new OperatorError('payout_batch_not_found', `There is no payout batch ${name}.`, {
        kind: 'answer_is_no',
      });
    }
    if (batch.state !== 'draft' && batch.state !== 'approving') return 0;
    const canceled = await cancelDrafts(tx, batchId);
    const state = batch.state === 'draft' ? 'canceled' : 'approved';
    await endBatch(tx, batchId, state);
    const data = JSON.stringify({ id: batchId.toString(), state, canceled, reason });
    await insertEvents(tx, principal, [{ kind: 'payout_batch_ended', paymentId: null, data }]);
    return canceled;
  });
}
