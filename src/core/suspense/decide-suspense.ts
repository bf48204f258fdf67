/**
 * A person decides about money in suspense: the order takes it, or the buyer gets it back. Both lock the charge, so
 * that one of two deciders finds the other's decision; the database holds that too. Sends nothing itself.
 */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, errorCode, type Tx, together, transact } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { attemptKey, formatId } from '../ids.ts';
import { entryJson, postEntries } from '../ledger/ledger-store.ts';
import { suspenseAdopted } from '../ledger/posting-rules.ts';
import type { Currency } from '../money.ts';
import { insertAttempts, insertFundReleases, insertOperations } from '../operation/operation-store.ts';
import { lockOperations } from '../operation/reopening-store.ts';
import { takeIds } from '../payment/payment-store.ts';
import type { RequestAccount } from '../psp/psp.ts';
import { freezeRefund } from '../psp/request.ts';
import { laneOf } from '../queue/job.ts';
import { insertJobs, lockJobs, notifyLane } from '../queue/queue-store.ts';
import {
  refText,
  refuseAdoption,
  refuseSuspenseRefund,
  type SuspenseCase,
  type SuspenseRef,
  type SuspenseRefusal,
} from './suspense.ts';
import {
  ANY_SUSPENSE,
  adoptAttempt,
  closeSuspenseLetters,
  findSuspenseRefund,
  insertDecision,
  listSuspense,
} from './suspense-store.ts';

export type SuspenseDecider = {
  /** Who was authenticated. */
  readonly principal: string;
  /** Why; stored with the decision. */
  readonly reason: string;
};

export type SuspenseRefunder = SuspenseDecider & {
  readonly bookKey: string;
  /** Null for an account that is not configured here. */
  readonly accountOf: (pspAccount: string) => RequestAccount | null;
};

export type AdoptionResult =
  | { readonly kind: 'adopted'; readonly suspense: SuspenseCase }
  | { readonly kind: 'not_found'; readonly message: string }
  | SuspenseRefusal;

export type SuspenseRefundResult =
  | { readonly kind: 'accepted' | 'replayed'; readonly suspense: SuspenseCase }
  | { readonly kind: 'not_found' | 'not_expressible' | 'refund_id_reused'; readonly message: string }
  | SuspenseRefusal;

/** The order takes the money: it is charged, and the seller is owed it from now on. */
export async function adoptSuspense(
  db: Db,
  decider: SuspenseDecider,
  ref: SuspenseRef,
): Promise<AdoptionResult> {
  return transact(db, async (tx) => {
    const one = await lockCase(tx, ref);
    if (one === null) return notFound(ref);
    const refusal = refuseAdoption(one);
    if (refusal !== null) return refusal;
    await writeAdoption(tx, decider, one);
    return { kind: 'adopted', suspense: (await findCase(tx, ref))! };
  });
}

/** Point of no return of an adoption, the hot balances last. */
async function writeAdoption(tx: Tx, decider: SuspenseDecider, one: SuspenseCase): Promise<void> {
  const { principal, reason } = decider;
  const [id] = await takeIds(tx, 1);
  await insertDecision(tx, principal, {
    ...refOf(one),
    id: id!,
    kind: 'adopt',
    refundId: null,
    refundOperationId: null,
    reason,
  });
  if (!(await adoptAttempt(tx, one, one.pspReference))) throw new Bug('an attempt moved under its own lock');
  const days = one.releaseAfterDays;
  if (days !== null) await insertFundReleases(tx, [{ operationId: one.operationId, days }]);
  await closeSuspenseLetters(tx, [one.operationId], { principal, reason: `adopted: ${reason}` });
  const entries = await postEntries(tx, principal, [
    {
      cause: refText(one),
      ...suspenseAdopted({
        pspAccount: one.pspAccount,
        seller: one.seller,
        currency: one.currency as Currency,
        grossMinor: one.amountMinor,
        feeMinor: one.feeMinor,
        release: days === null ? 'available' : 'pending',
      }),
    },
  ]);
  const data = JSON.stringify({
    ...decisionJson(id!, one, 'adopt', reason),
    from: one.subState,
    adoption: { psp_reference: one.pspReference },
    refund: null,
    entries: entries.map(entryJson),
  });
  await insertEvents(tx, principal, [{ kind: 'suspense_decided', paymentId: one.paymentId, data }]);
}

/** A name can be taken under our eyes only so often before something else is wrong. */
const MAX_RACES = 5;

/**
 * The buyer gets all of it back, by an operation that the daemon sends. The same name again gives the same refund.
 * @param refundId unique for ever among these refunds
 */
export async function refundSuspense(
  db: Db,
  refunder: SuspenseRefunder,
  ref: SuspenseRef,
  refundId: string,
): Promise<SuspenseRefundResult> {
  for (let race = 1; ; race += 1) {
    try {
      return await transact(db, (tx) => refundIn(tx, refunder, ref, refundId));
    } catch (error) {
      if (errorCode(error) !== '23505' || race >= MAX_RACES) throw error;
    }
  }
}

async function refundIn(
  tx: Tx,
  refunder: SuspenseRefunder,
  ref: SuspenseRef,
  refundId: string,
): Promise<SuspenseRefundResult> {
  const one = await lockCase(tx, ref);
  if (one === null) return notFound(ref);
  const named = await findSuspenseRefund(tx, refundId);
  if (named !== null) {
    const isSame = named.operationId === ref.operationId && named.attemptNumber === ref.attemptNumber;
    if (isSame && one.refundId === refundId) return { kind: 'replayed', suspense: one };
    const why = isSame ? 'for a refund of it that failed' : `for ${refText(named)}`;
    return { kind: 'refund_id_reused', message: `"${refundId}" was used ${why}; choose a new name.` };
  }
  const refusal = refuseSuspenseRefund(one);
  if (refusal !== null) return refusal;
  const [id, operationId] = await takeIds(tx, 2);
  const account = refunder.accountOf(one.pspAccount);
  if (account === null) {
    return { kind: 'not_expressible', message: `PSP account ${one.pspAccount} is not configured here.` };
  }
  const idempotencyKey = attemptKey(refunder.bookKey, operationId!, 1);
  const frozen = freezeRefund(account, {
    idempotencyKey,
    operationId: formatId('operation', operationId!),
    orderId: formatId('order', one.orderId),
    attemptNumber: 1,
    chargeReference: one.pspReference!,
    amountMinor: one.amountMinor,
    currency: one.currency as Currency,
  });
  if (frozen.kind === 'rejected') return { kind: 'not_expressible', message: frozen.reason };
  const planned = { id: id!, operationId: operationId!, refundId, idempotencyKey, request: frozen.request };
  await writeRefund(tx, refunder, one, planned);
  return { kind: 'accepted', suspense: (await findCase(tx, ref))! };
}

type PlannedRefund = {
  readonly id: bigint;
  readonly operationId: bigint;
  readonly refundId: string;
  readonly idempotencyKey: string;
  readonly request: string;
};

/** Point of no return of a refund. Nothing is booked before it is done: until then the money is in suspense. */
async function writeRefund(
  tx: Tx,
  refunder: SuspenseRefunder,
  one: SuspenseCase,
  planned: PlannedRefund,
): Promise<void> {
  const { principal, reason } = refunder;
  const { id, operationId, refundId, idempotencyKey, request } = planned;
  const lane = laneOf(one.pspAccount, 'online');
  await insertOperations(tx, [
    {
      id: operationId,
      kind: 'refund',
      paymentId: one.paymentId,
      paymentOrderId: one.orderId,
      pspAccount: one.pspAccount,
      amountMinor: one.amountMinor,
      currency: one.currency,
      subState: 'queued',
      reason: null,
      seller: one.seller,
      feeShareMinor: 0n,
      fromPendingMinor: 0n,
    },
  ]);
  await together([
    insertDecision(tx, principal, {
      ...refOf(one),
      id,
      kind: 'refund',
      refundId,
      refundOperationId: operationId,
      reason,
    }),
    insertAttempts(tx, [{ operationId, number: 1, idempotencyKey, request }]),
    insertJobs(tx, [{ operationId, kind: 'refund', attemptNumber: 1, lane, fence: 0 }]),
    insertEvents(tx, principal, [
      { kind: 'suspense_decided', paymentId: one.paymentId, data: refundEvent(one, planned, reason, lane) },
    ]),
    notifyLane(tx, lane),
  ]);
}

/** Everything that replay needs to rebuild the rows; the request goes in as it is. */
function refundEvent(one: SuspenseCase, planned: PlannedRefund, reason: string, lane: string): string {
  const fields = JSON.stringify({
    refund_id: planned.refundId,
    operation: planned.operationId.toString(),
    payment: one.paymentId.toString(),
    order: one.orderId.toString(),
    psp_account: one.pspAccount,
    seller: one.seller,
    amount_minor: one.amountMinor.toString(),
    currency: one.currency,
    lane,
    idempotency_key: planned.idempotencyKey,
  });
  const refund = `${fields.slice(0, -1)},"request":${planned.request}}`;
  const rest = JSON.stringify({
    ...decisionJson(planned.id, one, 'refund', reason),
    adoption: null,
    entries: [],
  });
  return `${rest.slice(0, -1)},"refund":${refund}}`;
}

function decisionJson(id: bigint, one: SuspenseRef, kind: 'adopt' | 'refund', reason: string) {
  return {
    id: id.toString(),
    operation: one.operationId.toString(),
    attempt: one.attemptNumber,
    kind,
    reason,
  };
}

/** Lock order: job, then operation. A daemon that works on another attempt of it is waited for, and seen. */
async function lockCase(tx: Tx, ref: SuspenseRef): Promise<SuspenseCase | null> {
  await lockJobs(tx, [ref.operationId]);
  await lockOperations(tx, [ref.operationId]);
  return findCase(tx, ref);
}

async function findCase(tx: Tx, ref: SuspenseRef): Promise<SuspenseCase | null> {
  const [one] = await listSuspense(tx, { ...ANY_SUSPENSE, refs: [refOf(ref)], limit: 1 });
  return one ?? null;
}

function refOf({ operationId, attemptNumber }: SuspenseRef): SuspenseRef {
  return { operationId, attemptNumber };
}

function notFound(ref: SuspenseRef) {
  return { kind: 'not_found' as const, message: `${refText(ref)} has no money in suspense.` };
}
