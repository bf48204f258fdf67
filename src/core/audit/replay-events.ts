/**
 * Rebuilds a book from its events alone: payments, orders, operations, attempts, jobs, accounts, entries and
 * with them balances and wallets. Writes into an empty, migrated book; reads the other one's event table only.
 */
import { type Db, type Queryable, type Tx, transactOnce } from '../db/connection.ts';
import { OperatorError, unreachable } from '../errors.ts';
import { type Bookings, createBookings } from './booking-order.ts';
import { listEvents, type StoredEvent } from './event-store.ts';
import * as doubt from './replay-doubt-store.ts';
import * as payouts from './replay-payouts-store.ts';
import * as rebuild from './replay-store.ts';

/** Events read and applied at once. */
const PAGE = 1_000;

/**
 * Applies all events of `from`, in order, in one transaction of `into`.
 * @returns how many events were applied
 * @throws OperatorError book_not_empty, no_events
 */
export async function replayEvents(from: Queryable, into: Db): Promise<number> {
  return transactOnce(into, async (tx) => {
    if (!(await rebuild.isEmptyBook(tx))) {
      throw new OperatorError('book_not_empty', 'Replay needs an empty book: migrate a new schema for it.');
    }
    const bookings = createBookings((at, entries) => rebuild.addEntries(tx, at, entries));
    let applied = 0;
    for (let afterId = 0n; ; ) {
      const events = await listEvents(from, { afterId, limit: PAGE });
      for (const event of events) await applyEvent(tx, bookings, event);
      applied += events.length;
      if (events.length < PAGE) break;
      afterId = events.at(-1)!.id;
    }
    await bookings.finish();
    if (applied === 0)
      throw new OperatorError('no_events', 'There are no events to replay: nothing is proven.');
    return applied;
  });
}

async function applyEvent(tx: Tx, bookings: Bookings, event: StoredEvent): Promise<void> {
  const data = JSON.parse(event.data);
  switch (event.kind) {
    case 'account_opened':
      bookings.open(data);
      return rebuild.addAccount(tx, event.at, data);
    case 'batch_opened':
      return rebuild.addBatch(tx, event, data);
    case 'batch_submitted':
      return rebuild.markBatch(tx, event.at, data);
    case 'payment_accepted':
      return rebuild.addPayment(tx, event, data);
    case 'key_answered':
      return rebuild.addAnsweredKey(tx, event, data);
    case 'jobs_claimed':
      return rebuild.applyClaims(tx, event.at, data);
    case 'job_rescued':
      return rebuild.applyRescue(tx, event.at, data);
    case 'operation_evidence':
      await rebuild.applyEvidence(tx, event.at, data);
      return bookings.add(event.at, data.entries);
    case 'operations_rechecked':
      return rebuild.applyRechecks(tx, event.at, data.operations, data.undone ?? []);
    case 'refund_accepted':
      await rebuild.addRefund(tx, event, data);
      return bookings.add(event.at, data.entries);
    case 'funds_released':
    case 'lines_posted':
    case 'break_resolved':
    case 'decisions_withdrawn':
      return bookings.add(event.at, data.entries);
    case 'charge_rerouted':
      await rebuild.applyReroute(tx, data);
      return rebuild.applyReopening(tx, event.at, data);
    case 'dead_letter_replayed':
    case 'order_retried':
      return rebuild.applyReopening(tx, event.at, data);
    // Letters are for people: no row that is rebuilt depends on one that was closed.
    case 'dead_letter_resolved':
      return;
    case 'cancel_requested':
      return rebuild.applyCancelRequest(tx, event.at, data);
    case 'operation_canceled':
      await rebuild.applyCancellation(tx, event.at, data);
      return bookings.add(event.at, data.entries);
    case 'seller_changed':
      return payouts.changeSeller(tx, event, data);
    case 'payout_batch_submitted':
      return payouts.addPayoutBatch(tx, event, data);
    case 'payouts_submitted':
      return payouts.addPayouts(tx, event.at, data);
    case 'payout_batch_approved':
      return payouts.approvePayoutBatch(tx, event, data);
    case 'payouts_decided':
      await payouts.decidePayouts(tx, event.at, data);
      return bookings.add(event.at, data.entries);
    case 'payout_batch_ended':
      return payouts.endPayoutBatch(tx, event.at, data);
    case 'risk_reviewed':
      return rebuild.applyReview(tx, event, data);
    case 'risk_counters_pruned':
      return rebuild.pruneCounters(tx, data.through);
    case 'settlement_alert':
      // Tells somebody of a file; changes no row.
      return;
    case 'dispute_changed':
      await doubt.changeDispute(tx, event.at, data);
      return bookings.add(event.at, data.entries);
    case 'dispute_unmatched':
      return;
    case 'suspense_decided':
      await doubt.decideSuspense(tx, event, data);
      return bookings.add(event.at, data.entries);
    default:
      return unreachable(event.kind);
  }
}
