/**
 * Opens a new attempt at an order that was definitely not charged: a key of its own, another payment method, the risk
 * check once more. Idempotent by its key, in the same table as payments. Sends nothing.
 */
import { createHash } from 'node:crypto';
import { insertEvents, type NewEvent } from '../audit/event-store.ts';
import { type Db, errorCode, limitLockWait, type Tx, together, transactOnce } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { attemptKey, formatId } from '../ids.ts';
import type { Currency } from '../money.ts';
import { insertAttempts } from '../operation/operation-store.ts';
import {
  listHardDeclines,
  listStandings,
  lockOperations,
  requeueOperations,
  type Standing,
} from '../operation/reopening-store.ts';
import type { RequestAccount } from '../psp/psp.ts';
import { findChargeFault, freezeCharge, methodOfCharge } from '../psp/request.ts';
import { laneOf } from '../queue/job.ts';
import { closeDeadLetters, insertJobs, lockJobs, type NewJob, notifyLane } from '../queue/queue-store.ts';
import { rewatchPartials } from '../refund/refund-store.ts';
import { assessListsAgain } from '../risk/assess-payments.ts';
import type { RiskRules } from '../risk/risk.ts';
import {
  canonicalRetryText,
  findHardDecline,
  findRetryRefusal,
  GIVEN_BACK,
  type RetryAnswer,
  type RetryRefusal,
  type RetryRequest,
  type RetryRisk,
  retryAnswer,
} from './payment-retry.ts';
import {
  type AnsweredKey,
  findAnsweredKey,
  insertAnsweredKeys,
  listPaymentRows,
  type PaymentRow,
} from './payment-store.ts';

export type RetryContext = {
  readonly risk: RiskRules;
  readonly bookKey: string;
  /** Who was authenticated. */
  readonly principal: string;
  /** Null for an account that is not configured here. */
  readonly accountOf: (pspAccount: string) => RequestAccount | null;
};

export type RetryResult =
  | { readonly kind: 'accepted' | 'replayed'; readonly body: string; readonly answer: RetryAnswer }
  | { readonly kind: 'idempotency_key_reused' | 'not_found' | 'not_expressible'; readonly message: string }
  | ({ readonly kind: 'refused' } & RetryRefusal)
  /** Somebody works on the same key or order just now: ask again after `retryAfterMs`. */
  | { readonly kind: 'request_in_progress'; readonly retryAfterMs: number };

/** How long a retry waits for a name or an order that another transaction holds (ms). */
const LOCK_TIMEOUT_MS = 2_000;
/** A key can be taken under our eyes only so often before something else is wrong. */
const MAX_RACES = 5;

/** One transaction; a key taken by a winner that has committed meanwhile is looked up in the next try. */
export async function retryOrder(
  db: Db,
  context: RetryContext,
  paymentId: bigint,
  request: RetryRequest,
): Promise<RetryResult> {
  for (let race = 1; ; race += 1) {
    try {
      return await transactOnce(db, async (tx) => {
        await limitLockWait(tx, LOCK_TIMEOUT_MS);
        return retryIn(tx, context, paymentId, request);
      });
    } catch (error) {
      const code = errorCode(error);
      // The lock was not free in time, or we were chosen to end a deadlock.
      if (code === '55P03' || code === '40P01')
        return { kind: 'request_in_progress', retryAfterMs: LOCK_TIMEOUT_MS };
      if (code !== '23505' || race >= MAX_RACES) throw error;
    }
  }
}

type Retry = {
  readonly paymentId: bigint;
  readonly request: RetryRequest;
  readonly fingerprintHex: string;
  readonly order: PaymentRow;
  readonly account: RequestAccount;
  readonly standing: Standing;
  readonly risk: RetryRisk;
};

/** Guards in order: found, known by its key, allowed as it stands, risk, expressible. Lock order: job, operation. */
async function retryIn(
  tx: Tx,
  context: RetryContext,
  paymentId: bigint,
  request: RetryRequest,
): Promise<RetryResult> {
  const rows = await listPaymentRows(tx, [paymentId]);
  const order = rows.find((row) => row.orderId === request.orderId);
  if (order === undefined) return { kind: 'not_found', message: 'The payment has no such order.' };
  await lockJobs(tx, [order.operationId]);
  await lockOperations(tx, [order.operationId]);
  // Under the lock: the first request with this key has committed its answer, or there is none.
  const [known, standings] = await together([
    findAnsweredKey(tx, request.idempotencyKey),
    listStandings(tx, [order.operationId]),
  ]);
  const fingerprintHex = createHash('sha256').update(canonicalRetryText(paymentId, request)).digest('hex');
  if (known !== null) return answerAgain(known, fingerprintHex, request);
  const [standing] = standings;
  const refusal = findRetryRefusal(standing);
  if (refusal !== null || standing === undefined)
    return { kind: 'refused', ...(refusal ?? { code: 'not_retryable', message: '' }) };
  const currency = order.currency as Currency;
  const terms = { amountMinor: order.amountMinor, currency, paymentMethod: request.paymentMethod };
  const account = context.accountOf(order.pspAccount);
  if (account === null) {
    return { kind: 'not_expressible', message: `PSP account ${order.pspAccount} is not configured here.` };
  }
  const hard = findHardDecline(await hardDeclines(tx, order.operationId), request.paymentMethod);
  if (hard !== null) return { kind: 'refused', ...hard };
  const fault = findChargeFault(account, { ...terms, buyer: order.buyer });
  if (fault !== null) return { kind: 'not_expressible', message: fault };
  const asked = rows.map((row) => (row === order ? { ...row, paymentMethod: request.paymentMethod } : row));
  const { decision, reason } = await assessListsAgain(tx, asked, context.risk);
  const risk: RetryRisk = { decision: decision === 'allow' ? 'allow' : 'block', reason };
  const retry: Retry = { paymentId, request, fingerprintHex, order, account, standing, risk };
  return risk.decision === 'block' ? storeAnswer(tx, context, retry, null) : openAttempt(tx, context, retry);
}

async function hardDeclines(tx: Tx, operationId: bigint) {
  const declines = await listHardDeclines(tx, operationId);
  return declines.map((one) => ({ reason: one.reason, method: methodOfCharge(one.request) }));
}

function answerAgain(known: AnsweredKey, fingerprintHex: string, request: RetryRequest): RetryResult {
  if (known.answer === null || known.fingerprint.toString('hex') !== fingerprintHex) {
    return {
      kind: 'idempotency_key_reused',
      message: `idempotency_key "${request.idempotencyKey}" was used for another request; choose a new one.`,
    };
  }
  return { kind: 'replayed', body: known.answer, answer: JSON.parse(known.answer) as RetryAnswer };
}

/** The key is used up by this answer, and by no refusal. */
async function storeAnswer(
  tx: Tx,
  context: RetryContext,
  retry: Retry,
  attemptNumber: number | null,
): Promise<RetryResult> {
  const { paymentId, request, fingerprintHex, standing, risk } = retry;
  const subState = attemptNumber === null ? standing.subState : 'queued';
  const answer = retryAnswer(paymentId, request, subState, attemptNumber, risk);
  const body = JSON.stringify(answer);
  const key = { key: request.idempotencyKey, fingerprintHex, paymentId, answer: body };
  await insertAnsweredKeys(tx, context.principal, [key]);
  return { kind: 'accepted', body, answer };
}

/**
 * Refused where the rest of the payment was given back meanwhile; else the payment is watched again, so that it does not
 * stay charged in part against its policy whatever becomes of this attempt. From there on no return: the operation waits
 * again, for its new attempt.
 */
async function openAttempt(tx: Tx, context: RetryContext, retry: Retry): Promise<RetryResult> {
  const { order, standing } = retry;
  const givenBack = await rewatchPartials(tx, [retry.paymentId]);
  if (givenBack.size > 0) return { kind: 'refused', ...GIVEN_BACK };
  const { operationId } = standing;
  const number = standing.attemptNumber + 1;
  const idempotencyKey = attemptKey(context.bookKey, operationId, number);
  const request = freeze(retry, idempotencyKey, number);
  const job: NewJob = {
    operationId,
    kind: standing.kind,
    attemptNumber: number,
    lane: laneOf(order.pspAccount, 'online'),
    fence: standing.operationFence,
  };
  const [requeued] = await together([
    requeueOperations(tx, [operationId]),
    insertAttempts(tx, [{ operationId, number, idempotencyKey, request }]),
    insertJobs(tx, [job]),
    closeDeadLetters(tx, [operationId], {
      principal: context.principal,
      reason: `retried as attempt ${number}`,
    }),
    insertEvents(tx, context.principal, [retriedEvent(retry, job, idempotencyKey, request)]),
    notifyLane(tx, job.lane),
  ]);
  if (requeued.length !== 1) throw new Bug('an operation moved under its own lock');
  return storeAnswer(tx, context, retry, number);
}

function freeze(
  { account, order, paymentId, standing, request }: Retry,
  idempotencyKey: string,
  attemptNumber: number,
): string {
  const frozen = freezeCharge(account, {
    idempotencyKey,
    paymentId: formatId('payment', paymentId),
    orderId: formatId('order', order.orderId),
    operationId: formatId('operation', standing.operationId),
    attemptNumber,
    amountMinor: order.amountMinor,
    currency: order.currency as Currency,
    paymentMethod: request.paymentMethod,
    buyer: order.buyer,
    customerPresent: order.customerPresent,
    ...(order.returnUrl === null ? {} : { returnUrl: order.returnUrl }),
  });
  if (frozen.kind === 'rejected') throw new Bug(`a checked charge could not be frozen: ${frozen.reason}`);
  return frozen.request;
}

/**
 * Everything that replay needs to rebuild attempt, operation and job. The method is the attempt's: the order keeps the
 * one that it was accepted with.
 */
function retriedEvent(retry: Retry, job: NewJob, idempotencyKey: string, request: string): NewEvent {
  const { standing, risk } = retry;
  const fields = JSON.stringify({
    order: formatId('order', retry.order.orderId),
    operation: job.operationId.toString(),
    attempt: job.attemptNumber,
    from: standing.subState,
    payment_method: retry.request.paymentMethod,
    risk_decision: risk.decision,
    risk_reason: risk.reason,
    job: {
      lane: job.lane,
      action: 'send',
      fence: job.fence,
      sends: 0,
      first_sent_at: null,
      last_sent_at: null,
    },
  });
  const row = `{"idempotency_key":${JSON.stringify(idempotencyKey)},"request":${request}}`;
  return {
    kind: 'order_retried',
    paymentId: retry.paymentId,
    data: `${fields.slice(0, -1)},"attempt_row":${row}}`,
  };
}
