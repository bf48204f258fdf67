/**
 * A person's decision on a payment that the rules sent to review, or the lack of one: approved payments get their
 * jobs, others end unsent. One decision only, under the review's row lock, with its event in the same transaction.
 */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, type Tx, together, transact } from '../db/connection.ts';
import { OperatorError } from '../errors.ts';
import { formatId } from '../ids.ts';
import { updateAttempts, updateOperations } from '../operation/operation-store.ts';
import { listPaymentRows } from '../payment/payment-store.ts';
import { laneOf } from '../queue/job.ts';
import { insertJobs, notifyLane } from '../queue/queue-store.ts';
import { assessListsAgain } from './assess-payments.ts';
import type { RiskRules } from './risk.ts';
import {
  closeReviews,
  type HeldCharge,
  lockDueReviews,
  lockHeldCharges,
  lockReview,
  type Review,
  type ReviewState,
} from './risk-store.ts';

export type ReviewDecision = {
  readonly paymentId: bigint;
  readonly verdict: 'approved' | 'rejected';
  /** Why, 10–2,000 characters. */
  readonly reason: string;
  /** Who was authenticated; never a flag. */
  readonly principal: string;
  /** The rules in force now: an approval asks their block lists again. */
  readonly rules: RiskRules;
};

const MIN_REASON = 10;
const MAX_REASON = 2_000;
/** Reviews that time out in one transaction. */
const EXPIRY_BATCH = 200;

/**
 * Decides an open review.
 * @returns how many charges were queued or ended
 * @throws OperatorError reason_too_short, reason_too_long, not_in_review, already_decided, review_timed_out,
 *   on_block_list
 */
export async function decideReview(db: Db, decision: ReviewDecision): Promise<number> {
  const reason = checkReason(decision.reason);
  const { paymentId, principal, verdict } = decision;
  return transact(db, async (tx) => {
    const review = await lockReview(tx, paymentId);
    const name = formatId('payment', paymentId);
    if (review === null) {
      throw new OperatorError('not_in_review', `${name} was never sent to a risk review.`, {
        kind: 'refused',
      });
    }
    if (review.state !== 'open') throw alreadyDecided(name, review);
    if (verdict === 'approved') {
      refuseOverdue(name, review);
      await refuseListed(tx, decision);
    }
    const closing = {
      state: verdict,
      principal,
      reason,
      rulesVersion: decision.rules.ruleSet?.version ?? null,
    };
    return settle(tx, [review], closing);
  });
}

function checkReason(text: string): string {
  const reason = text.trim();
  if (reason.length < MIN_REASON) {
    throw new OperatorError('reason_too_short', `Say why, in at least ${MIN_REASON} characters.`);
  }
  if (reason.length > MAX_REASON) {
    throw new OperatorError('reason_too_long', `The reason is longer than ${MAX_REASON} characters.`);
  }
  return reason;
}

function alreadyDecided(name: string, review: Review): OperatorError {
  const by = `${review.decidedBy} at ${review.decidedAt}`;
  return new OperatorError('already_decided', `The review of ${name} was ${review.state} by ${by}.`, {
    kind: 'refused',
    details: { state: review.state, decided_by: review.decidedBy },
  });
}

/** The daemon will reject it in a moment; a person must not win that race. */
function refuseOverdue(name: string, review: Review): void {
  if (!review.isOverdue) return;
  throw new OperatorError('review_timed_out', `The time to review ${name} is over; it is being rejected.`, {
    kind: 'refused',
  });
}

/** Whoever came onto a block list since the acceptance stays blocked, whatever the person says. */
async function refuseListed(tx: Tx, { paymentId, rules }: ReviewDecision): Promise<void> {
  const found = await assessListsAgain(tx, await listPaymentRows(tx, [paymentId]), rules);
  if (found.decision === 'allow') return;
  throw new OperatorError(
    'on_block_list',
    `Not approved: ${found.reason}. Reject the payment, or take the name off the list first.`,
    { kind: 'refused', details: { rules: found.hits.map((hit) => hit.rule) } },
  );
}

/** One round: rejects reviews whose time is up. Returns how many. */
export async function expireReviews(db: Db, principal: string): Promise<number> {
  return transact(db, async (tx) => {
    const due = await lockDueReviews(tx, EXPIRY_BATCH);
    const reason = 'nobody decided in time';
    if (due.length > 0) await settle(tx, due, { state: 'timed_out', principal, reason, rulesVersion: null });
    return due.length;
  });
}

type Closing = {
  readonly state: Exclude<ReviewState, 'open'>;
  readonly principal: string;
  readonly reason: string;
  readonly rulesVersion: string | null;
};

async function settle(tx: Tx, reviews: readonly Review[], closing: Closing): Promise<number> {
  const ids = reviews.map((review) => review.paymentId);
  const [, charges] = await together([closeReviews(tx, ids, closing), lockHeldCharges(tx, ids)]);
  if (closing.state === 'approved') await queueCharges(tx, reviews, charges);
  else await endCharges(tx, charges, `risk review: ${closing.reason}`);
  const byPayment = Map.groupBy(charges, (charge) => charge.paymentId);
  await insertEvents(
    tx,
    closing.principal,
    reviews.map(({ paymentId, priority }) => ({
      kind: 'risk_reviewed' as const,
      paymentId,
      data: JSON.stringify({
        payment: paymentId.toString(),
        state: closing.state,
        reason: closing.reason,
        rules_version: closing.rulesVersion,
        charges: (byPayment.get(paymentId) ?? []).map((charge) => ({
          lane: laneOf(charge.pspAccount, priority),
          operation: charge.operationId.toString(),
          attempt: charge.attemptNumber,
          fence: charge.fence,
        })),
      }),
    })),
  );
  return charges.length;
}

async function queueCharges(
  tx: Tx,
  reviews: readonly Review[],
  charges: readonly HeldCharge[],
): Promise<void> {
  const priorities = new Map(reviews.map((review) => [review.paymentId, review.priority]));
  const laneFor = (charge: HeldCharge) => laneOf(charge.pspAccount, priorities.get(charge.paymentId)!);
  await together([
    insertJobs(
      tx,
      charges.map((charge) => ({
        operationId: charge.operationId,
        kind: 'charge' as const,
        attemptNumber: charge.attemptNumber,
        lane: laneFor(charge),
        fence: charge.fence,
      })),
    ),
    updateOperations(
      tx,
      charges.map((charge) => ({ ...charge, subState: 'queued' as const, reason: null, pspReference: null })),
    ),
    ...[...new Set(charges.map(laneFor))].map((lane) => notifyLane(tx, lane)),
  ]);
}

/** Never sent, and never will be: its attempt is closed, so that no job can be made of it. */
async function endCharges(tx: Tx, charges: readonly HeldCharge[], reason: string): Promise<void> {
  await together([
    updateAttempts(
      tx,
      charges.map((charge) => ({
        ...charge,
        sent: null,
        state: 'not_sent' as const,
        isOpen: false,
        maybeSent: false,
        pspReference: null,
        reason,
        resolvedBy: null,
      })),
    ),
    updateOperations(
      tx,
      charges.map((charge) => ({ ...charge, subState: 'risk_blocked' as const, reason, pspReference: null })),
    ),
  ]);
}
