/**
 * Takes refunds in: idempotency, what is left of each order, the reservation in the seller's wallet, refund,
 * operation, attempt with its frozen request, job, entry and event, many at once in one transaction. Sends nothing.
 */
import { createHash } from 'node:crypto';
import { Decimal } from 'decimal.js';
import { insertEvents } from '../audit/event-store.ts';
import { type Tx, together } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { attemptKey, formatId } from '../ids.ts';
import { entryJson, insertEntries, insertPostings, type PostedEntry } from '../ledger/ledger-store.ts';
import { refundReserved } from '../ledger/posting-rules.ts';
import { parseAmount } from '../money.ts';
import { insertAttempts, insertOperations, type NewOperation } from '../operation/operation-store.ts';
import { takeIds } from '../payment/payment-store.ts';
import type { RequestAccount } from '../psp/psp.ts';
import { freezeRefund } from '../psp/request.ts';
import { laneOf } from '../queue/job.ts';
import { insertJobs, notifyLane } from '../queue/queue-store.ts';
import { listAvailable } from '../wallet/wallet-store.ts';
import {
  planRefund,
  type RefundPlan,
  type RefundPolicy,
  type RefundRefusal,
  type RefundRequest,
} from './refund.ts';
import {
  ANY_REFUND,
  insertRefunds,
  type LockedCharge,
  listRefunds,
  lockCharges,
  type NewRefund,
  type RefundRow,
  sumRefunds,
} from './refund-store.ts';

export type RefundContext = {
  readonly policy: RefundPolicy;
  readonly bookKey: string;
  /** Who was authenticated. */
  readonly principal: string;
  /** Null for an account that is not configured here. */
  readonly accountOf: (pspAccount: string) => RequestAccount | null;
};

export type RefundResult =
  | { readonly kind: 'accepted'; readonly refund: RefundRow }
  /** The same name with the same content was asked before. */
  | { readonly kind: 'replayed'; readonly refund: RefundRow }
  | { readonly kind: 'refund_id_reused' | 'order_not_found' | 'not_expressible'; readonly message: string }
  | RefundRefusal;

/** Refunds in one transaction: small, because each locks its order. */
export const MAX_REFUND_BATCH = 200;

/** Results stand in the order of the requests. Throws 23505 when a name was taken while we worked: the caller tries again. */
export async function acceptRefunds(
  tx: Tx,
  context: RefundContext,
  requests: readonly RefundRequest[],
): Promise<readonly RefundResult[]> {
  if (requests.length > MAX_REFUND_BATCH)
    throw new Bug(`${requests.length} refunds; the limit is ${MAX_REFUND_BATCH}`);
  if (new Set(requests.map((request) => request.refundId)).size !== requests.length)
    throw new Bug('two refunds of one name in one call');
  const orderIds = requests.map((request) => request.orderId);
  const charges = new Map((await lockCharges(tx, orderIds)).map((charge) => [charge.orderId, charge]));
  // After the locks, so that whoever held them before has committed.
  const known = await listRefunds(tx, {
    ...ANY_REFUND,
    refundIds: requests.map((request) => request.refundId),
  });
  const plans = await planAll(tx, context, requests, charges, known);
  const accepted = plans.filter((plan) => plan.kind === 'new');
  await store(tx, context, accepted);
  const rows = await listRefunds(tx, { ...ANY_REFUND, ids: accepted.map((plan) => plan.refund.id) });
  const rowOf = new Map(rows.map((row) => [row.id, row]));
  return plans.map((plan) =>
    plan.kind === 'new' ? { kind: 'accepted', refund: rowOf.get(plan.refund.id)! } : plan,
  );
}

/** A refund that will be stored, with everything that belongs to it. */
type Planned = {
  readonly kind: 'new';
  readonly refund: NewRefund;
  readonly charge: LockedCharge;
  readonly plan: RefundPlan;
  readonly request: string;
};

type Decided = Planned | Exclude<RefundResult, { kind: 'accepted' }>;

/** Decides request by request; each sees what the ones before it in the same call take. */
async function planAll(
  tx: Tx,
  context: RefundContext,
  requests: readonly RefundRequest[],
  charges: ReadonlyMap<bigint, LockedCharge>,
  known: readonly RefundRow[],
): Promise<readonly Decided[]> {
  const wallets = [...charges.values()].map(({ seller, currency }) => ({ seller, currency }));
  const [sumRows, availableRows, ids] = await together([
    sumRefunds(tx, [...charges.keys()]),
    listAvailable(tx, wallets),
    takeIds(tx, 2 * requests.length),
  ]);
  const sums = new Map(sumRows.map((row) => [row.orderId, row]));
  const available = new Map(
    availableRows.map((row) => [`${row.seller} ${row.currency}`, row.availableMinor]),
  );
  const knownOf = new Map(known.map((row) => [row.refundId, row]));
  return requests.map((request, i): Decided => {
    const earlier = knownOf.get(request.refundId);
    const fingerprintHex = fingerprintOf(request);
    if (earlier !== undefined) return answerKnown(request, earlier, fingerprintHex);
    const charge = charges.get(request.orderId);
    if (charge === undefined) {
      const order = formatId('order', request.orderId);
      return { kind: 'order_not_found', message: `There is no order ${order}.` };
    }
    const wanted = readAmount(request, charge);
    if (typeof wanted === 'object' && wanted !== null) return wanted;
    const none = { refundedMinor: 0n, disputedMinor: 0n, sharesGivenMinor: 0n, fromPendingMinor: 0n };
    const sum = sums.get(charge.orderId) ?? { orderId: charge.orderId, ...none };
    const wallet = `${charge.seller} ${charge.currency}`;
    const plan = planRefund(wanted, { ...charge, ...sum }, context.policy, available.get(wallet) ?? 0n);
    if (plan.kind !== 'ok') return plan;
    const planned = toPlanned(context, request, fingerprintHex, charge, plan, [ids[2 * i]!, ids[2 * i + 1]!]);
    if (planned.kind !== 'new') return planned;
    sums.set(charge.orderId, {
      ...sum,
      refundedMinor: sum.refundedMinor + plan.amountMinor,
      sharesGivenMinor: sum.sharesGivenMinor + plan.feeShareMinor,
      fromPendingMinor: sum.fromPendingMinor + plan.fromPendingMinor,
    });
    available.set(wallet, (available.get(wallet) ?? 0n) - plan.fromAvailableMinor);
    return planned;
  });
}

/** SHA-256 over what is asked for: "5" and "5.00" are the same, "all that is left" is not the same as an amount. */
function fingerprintOf(request: RefundRequest): string {
  const amount = request.amount === null ? null : canonicalAmount(request.amount);
  return createHash('sha256')
    .update(JSON.stringify([request.orderId.toString(), amount]))
    .digest('hex');
}

const DECIMAL_TEXT = /^\d{1,40}(?:\.\d{1,40})?$/;

function canonicalAmount(text: string): string {
  return DECIMAL_TEXT.test(text) ? new Decimal(text).toFixed() : text;
}

function answerKnown(request: RefundRequest, earlier: RefundRow, fingerprintHex: string): Decided {
  if (earlier.fingerprint.toString('hex') === fingerprintHex) return { kind: 'replayed', refund: earlier };
  return {
    kind: 'refund_id_reused',
    message: `refund_id "${request.refundId}" was used for another refund; choose a new one.`,
  };
}

/** Minor units, null for all that is left, or what is wrong with the amount. */
function readAmount(request: RefundRequest, charge: LockedCharge): bigint | null | RefundRefusal {
  if (request.amount === null) return null;
  const amount = parseAmount(request.amount, charge.currency);
  if (amount.kind === 'fault') return { kind: 'wrong_amount', message: `amount: ${amount.message}` };
  if (amount.amountMinor === 0n) return { kind: 'wrong_amount', message: 'amount: must be more than zero' };
  return amount.amountMinor;
}

function toPlanned(
  context: RefundContext,
  request: RefundRequest,
  fingerprintHex: string,
  charge: LockedCharge,
  plan: RefundPlan,
  [id, operationId]: readonly [bigint, bigint],
): Planned | { readonly kind: 'not_expressible'; readonly message: string } {
  if (charge.pspReference === null)
    throw new Bug(`a charge that succeeded without a reference: ${charge.orderId}`);
  const account = context.accountOf(charge.pspAccount);
  if (account === null)
    return { kind: 'not_expressible', message: `PSP account ${charge.pspAccount} is not configured here.` };
  const frozen = freezeRefund(account, {
    idempotencyKey: attemptKey(context.bookKey, operationId, 1),
    operationId: formatId('operation', operationId),
    orderId: formatId('order', charge.orderId),
    attemptNumber: 1,
    chargeReference: charge.pspReference,
    amountMinor: plan.amountMinor,
    currency: charge.currency,
  });
  if (frozen.kind === 'rejected') return { kind: 'not_expressible', message: frozen.reason };
  const refund: NewRefund = {
    id,
    refundId: request.refundId,
    fingerprintHex,
    paymentId: charge.paymentId,
    orderId: charge.orderId,
    operationId,
    amountMinor: plan.amountMinor,
    currency: charge.currency,
    feeShareMinor: plan.feeShareMinor,
    cause: request.cause,
    reason: request.reason,
  };
  return { kind: 'new', refund, charge, plan, request: frozen.request };
}

function operationOf({ refund, charge, plan }: Planned): NewOperation {
  return {
    id: refund.operationId,
    kind: 'refund',
    paymentId: refund.paymentId,
    paymentOrderId: refund.orderId,
    pspAccount: charge.pspAccount,
    amountMinor: refund.amountMinor,
    currency: refund.currency,
    subState: 'queued',
    reason: null,
    seller: charge.seller,
    feeShareMinor: plan.feeShareMinor,
    fromPendingMinor: plan.fromPendingMinor,
  };
}

/** Point of no return: from here on only writing, the hot balances last. */
async function store(tx: Tx, context: RefundContext, planned: readonly Planned[]): Promise<void> {
  if (planned.length === 0) return;
  const { principal, policy } = context;
  const lanes = planned.map(({ charge }) => laneOf(charge.pspAccount, 'online'));
  const entries = await insertEntries(
    tx,
    principal,
    planned.flatMap((one) => reservationOf(one, policy)),
  );
  const operations = planned.map(operationOf);
  await together([
    insertOperations(tx, operations),
    insertRefunds(
      tx,
      principal,
      planned.map(({ refund }) => refund),
    ),
    insertAttempts(
      tx,
      planned.map(({ refund, request }) => ({
        operationId: refund.operationId,
        number: 1,
        idempotencyKey: attemptKey(context.bookKey, refund.operationId, 1),
        request,
      })),
    ),
    insertJobs(
      tx,
      planned.map(({ refund }, i) => ({
        operationId: refund.operationId,
        kind: 'refund' as const,
        attemptNumber: 1,
        lane: lanes[i]!,
        fence: 0,
      })),
    ),
    insertEvents(
      tx,
      principal,
      planned.map((one, i) => ({
        kind: 'refund_accepted' as const,
        paymentId: one.refund.paymentId,
        data: acceptedEvent(context, one, lanes[i]!, entries),
      })),
    ),
    insertPostings(tx, entries),
    ...[...new Set(lanes)].map((lane) => notifyLane(tx, lane)),
  ]);
}

/** Nothing to reserve where the platform's fee share is all of it. */
function reservationOf({ refund, charge, plan }: Planned, policy: RefundPolicy) {
  if (plan.fromAvailableMinor + plan.fromPendingMinor === 0n) return [];
  const rule = refundReserved({
    seller: charge.seller,
    currency: charge.currency,
    refundMinor: refund.amountMinor,
    feeShareMinor: plan.feeShareMinor,
    fromAvailableMinor: plan.fromAvailableMinor,
    fromPendingMinor: plan.fromPendingMinor,
    overdraw: policy.overdraw,
  });
  return [{ cause: formatId('operation', refund.operationId), ...rule }];
}

/** Everything that replay needs to rebuild the rows of one refund. Numbers stay exact: text. */
function acceptedEvent(
  context: RefundContext,
  one: Planned,
  lane: string,
  entries: readonly PostedEntry[],
): string {
  const { refund, charge, plan, request } = one;
  const cause = formatId('operation', refund.operationId);
  const fields = JSON.stringify({
    id: refund.id.toString(),
    refund_id: refund.refundId,
    fingerprint: refund.fingerprintHex,
    payment: refund.paymentId.toString(),
    order: refund.orderId.toString(),
    operation: refund.operationId.toString(),
    psp_account: charge.pspAccount,
    seller: charge.seller,
    amount_minor: refund.amountMinor.toString(),
    currency: refund.currency,
    fee_share_minor: plan.feeShareMinor.toString(),
    from_pending_minor: plan.fromPendingMinor.toString(),
    cause: refund.cause,
    reason: refund.reason,
    lane,
    idempotency_key: attemptKey(context.bookKey, refund.operationId, 1),
    entries: entries.filter((entry) => entry.cause === cause).map(entryJson),
  });
  return `${fields.slice(0, -1)},"request":${request}}`;
}
