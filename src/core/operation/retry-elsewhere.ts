/**
 * A step: charges that were softly declined go on at the next PSP account, as a new attempt with a key and a frozen request
 * of its own, in the transaction that records the decline. So nobody ever sees them as failed in between: a buyer who is
 * told FAILED can safely check out again.
 */
import { insertEvents, type NewEvent } from '../audit/event-store.ts';
import { type Tx, together } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { attemptKey, formatId } from '../ids.ts';
import type { Currency } from '../money.ts';
import { freezeCharge, methodOfCharge } from '../psp/request.ts';
import type { RoutedAccount } from '../psp/route.ts';
import { laneOf } from '../queue/job.ts';
import { insertJobs, type NewJob, notifyLane } from '../queue/queue-store.ts';
import type { FindingContext, Reroute, Verdict } from './finding.ts';
import { insertAttempts, type NewAttempt } from './operation-store.ts';
import { listDeclinedCharges, moveOperations, requeueOperations } from './reopening-store.ts';
import { type DeclinedCharge, isSoftlyDeclined, nextAccount } from './reroute.ts';

type Move = {
  readonly charge: DeclinedCharge;
  readonly account: RoutedAccount;
  readonly attempt: NewAttempt;
  readonly job: NewJob;
  readonly event: NewEvent;
};

/**
 * Takes verdicts as they were written; the caller holds the operations' locks.
 * @returns operations that go on
 */
export async function retryElsewhere(
  tx: Tx,
  { reroute, principal }: Pick<FindingContext, 'reroute' | 'principal'>,
  verdicts: readonly Verdict[],
): Promise<ReadonlySet<bigint>> {
  if (reroute === undefined || !reroute.route.rules.some((rule) => rule.onSoftDecline !== undefined)) {
    return new Set();
  }
  const declined = verdicts.filter(isSoftlyDeclined);
  if (declined.length === 0) return new Set();
  const charges = await listDeclinedCharges(
    tx,
    declined.map((verdict) => verdict.subject.operationId),
  );
  const moves = charges.flatMap((charge) => moveOf(reroute, charge) ?? []);
  if (moves.length > 0) await write(tx, principal, moves);
  return new Set(moves.map(({ charge }) => charge.operationId));
}

/** Null: there is nowhere to go on, or the payment method cannot be told. */
function moveOf(reroute: Reroute, charge: DeclinedCharge): Move | null {
  const paymentMethod = methodOfCharge(charge.request);
  const account = paymentMethod === null ? null : nextAccount(reroute, charge, paymentMethod);
  if (paymentMethod === null || account === null) return null;
  const { operationId } = charge;
  const number = charge.attemptNumber + 1;
  const idempotencyKey = attemptKey(reroute.bookKey, operationId, number);
  const frozen = freezeCharge(account, {
    idempotencyKey,
    paymentId: formatId('payment', charge.paymentId),
    orderId: formatId('order', charge.orderId),
    operationId: formatId('operation', operationId),
    attemptNumber: number,
    amountMinor: charge.amountMinor,
    currency: charge.currency as Currency,
    paymentMethod,
    buyer: charge.buyer,
    customerPresent: charge.customerPresent,
    ...(charge.returnUrl === null ? {} : { returnUrl: charge.returnUrl }),
  });
  if (frozen.kind === 'rejected') return null;
  const attempt = { operationId, number, idempotencyKey, request: frozen.request };
  const job: NewJob = {
    operationId,
    kind: 'charge',
    attemptNumber: number,
    lane: laneOf(account.name, 'online'),
    fence: charge.operationFence,
  };
  return { charge, account, attempt, job, event: reroutedEvent(charge, account, attempt, job) };
}

/** Point of no return: they wait again, for their new attempts. */
async function write(tx: Tx, principal: string, moves: readonly Move[]): Promise<void> {
  const ids = moves.map(({ charge }) => charge.operationId);
  const [requeued] = await together([
    requeueOperations(tx, ids),
    moveOperations(
      tx,
      moves.map(({ charge, account }) => ({ ...charge, toAccount: account.name })),
    ),
    insertAttempts(
      tx,
      moves.map(({ attempt }) => attempt),
    ),
    insertJobs(
      tx,
      moves.map(({ job }) => job),
    ),
    insertEvents(
      tx,
      principal,
      moves.map(({ event }) => event),
    ),
    ...[...new Set(moves.map(({ job }) => job.lane))].map((lane) => notifyLane(tx, lane)),
  ]);
  if (requeued.length !== ids.length) throw new Bug('a declined operation moved under its own lock');
}

/** Everything that replay needs to rebuild both attempts, operation and job; the request goes in as it is. */
function reroutedEvent(
  charge: DeclinedCharge,
  account: RoutedAccount,
  attempt: NewAttempt,
  job: NewJob,
): NewEvent {
  const fields = JSON.stringify({
    order: formatId('order', charge.orderId),
    operation: charge.operationId.toString(),
    attempt: attempt.number,
    from_account: charge.pspAccount,
    to_account: account.name,
    job: {
      lane: job.lane,
      action: 'send',
      fence: job.fence,
      sends: 0,
      first_sent_at: null,
      last_sent_at: null,
    },
  });
  const row = `{"idempotency_key":${JSON.stringify(attempt.idempotencyKey)},"request":${attempt.request}}`;
  return {
    kind: 'charge_rerouted',
    paymentId: charge.paymentId,
    data: `${fields.slice(0, -1)},"attempt_row":${row}}`,
  };
}
