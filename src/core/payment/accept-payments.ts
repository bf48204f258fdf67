/**
 * Takes payments in: idempotency, risk, payment, orders, operations, attempts with their frozen requests,
 * jobs and events, many at once in one transaction. Sends nothing.
 */
import { createHash } from 'node:crypto';
import { insertEvents, type NewEvent } from '../audit/event-store.ts';
import { type Tx, together } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { attemptKey, formatId } from '../ids.ts';
import { type Currency, type FeeRate, feeOf } from '../money.ts';
import { findChargeFault, freezeCharge } from '../psp/request.ts';
import { type RoutedAccount, type Routing, routeOrder } from '../psp/route.ts';
import { laneOf, type Priority } from '../queue/job.ts';
import { notifyLane } from '../queue/queue-store.ts';
import { insertPartialWatches } from '../refund/refund-store.ts';
import {
  type Assessed,
  assessPayments,
  type PaymentRisk,
  riskEvent,
  storeAssessed,
} from '../risk/assess-payments.ts';
import type { Assessment } from '../risk/assessment.ts';
import type { RiskRules } from '../risk/risk.ts';
import { type AcceptedAnswer, acceptedAnswer } from './payment-answer.ts';
import { canonicalPaymentText, type PaymentOrderRequest, type PaymentRequest } from './payment-request.ts';
import {
  findKnownRequests,
  insertAnsweredKeys,
  insertCharges,
  insertPayments,
  type KnownRequest,
  listPaymentRows,
  type NewCharge,
  type NewPayment,
  type PaymentRow,
  takeIds,
} from './payment-store.ts';

/** What the configuration says about every payment; frozen on the orders at acceptance. */
export type AcceptPolicy = {
  /** Which PSP account serves an order. */
  readonly route: Routing;
  /** Platform fee where the order names none; no entry: no fee. */
  readonly fees: ReadonlyMap<Currency, FeeRate>;
  readonly risk: RiskRules;
  /** What becomes of a payment of which some orders succeed and some fail; with one order there is nothing partial. */
  readonly onPartial: 'keep' | 'refund';
  /** Null: the seller's share is available at capture; 0: when its charge is settled; else after so many days (1–365). */
  readonly releaseAfterDays: number | null;
};

export type AcceptContext = {
  readonly policy: AcceptPolicy;
  readonly bookKey: string;
  /** Who was authenticated. */
  readonly principal: string;
  readonly priority: Priority;
  readonly batchId: bigint | null;
};

/** What idempotency level 1 answers (table in the domain document). */
export type AcceptResult =
  | { readonly kind: 'accepted'; readonly answer: AcceptedAnswer }
  /** The first answer to this key again, byte for byte. */
  | {
      readonly kind: 'replayed';
      readonly status: 200 | 202;
      readonly body: string;
      readonly answer: AcceptedAnswer;
    }
  /** Another key, the same checkout with the same content: the existing payment. */
  | { readonly kind: 'deduplicated'; readonly body: string; readonly answer: AcceptedAnswer }
  | { readonly kind: 'idempotency_key_reused'; readonly message: string }
  | { readonly kind: 'checkout_conflict'; readonly message: string; readonly paymentId: string }
  | { readonly kind: 'not_expressible'; readonly message: string };

/** Requests in one transaction: small, so that a duplicate elsewhere never waits long. */
export const MAX_ACCEPT_BATCH = 200;

/** A request with its fingerprint, computed once whatever the number of tries. */
export type FingerprintedRequest = { readonly request: PaymentRequest; readonly fingerprintHex: string };

/** SHA-256 over the canonical semantic fields. */
export function fingerprint(request: PaymentRequest): FingerprintedRequest {
  return {
    request,
    fingerprintHex: createHash('sha256').update(canonicalPaymentText(request)).digest('hex'),
  };
}

/** Why the PSP could not be asked for this order exactly, or null: found out before anything is stored. */
export function findInexpressible(request: PaymentRequest, policy: AcceptPolicy): string | null {
  for (const [i, order] of request.orders.entries()) {
    const { amountMinor, currency } = order.money;
    const terms = { amountMinor, currency, paymentMethod: order.paymentMethod, buyer: request.buyer };
    const fault = findChargeFault(accountOf(policy, request, order), terms);
    if (fault !== null) return `payment_orders[${i}]: ${fault}`;
  }
  return null;
}

/** Decided by the order alone, so that checking and storing agree. */
function accountOf(
  policy: AcceptPolicy,
  request: PaymentRequest,
  { seller, money }: PaymentOrderRequest,
): RoutedAccount {
  const { amountMinor, currency } = money;
  return routeOrder(policy.route, { checkoutId: request.checkoutId, seller, amountMinor, currency });
}

/**
 * Accepts up to {@link MAX_ACCEPT_BATCH} requests. Results stand in the order of the requests. Throws 23505 when
 * a name was taken while we worked, 55P03 when its holder did not finish in time: the caller tries again.
 */
export async function acceptPayments(
  tx: Tx,
  context: AcceptContext,
  requests: readonly FingerprintedRequest[],
): Promise<readonly AcceptResult[]> {
  if (requests.length > MAX_ACCEPT_BATCH)
    throw new Bug(`${requests.length} requests; the limit is ${MAX_ACCEPT_BATCH}`);
  const results: (AcceptResult | undefined)[] = new Array(requests.length);
  let pending = requests.map((_, index) => index);
  // Twins inside one batch are answered in a second round, when the first of them is known.
  while (pending.length > 0) {
    const { round, later } = splitTwins(requests, pending);
    const answers = await acceptDistinct(
      tx,
      context,
      round.map((index) => requests[index]!),
    );
    for (const [i, index] of round.entries()) results[index] = answers[i];
    pending = later;
  }
  return results as AcceptResult[];
}

function splitTwins(requests: readonly FingerprintedRequest[], pending: readonly number[]) {
  const keys = new Set<string>();
  const checkouts = new Set<string>();
  const round: number[] = [];
  const later: number[] = [];
  for (const index of pending) {
    const { idempotencyKey, checkoutId } = requests[index]!.request;
    if (keys.has(idempotencyKey) || checkouts.has(checkoutId)) later.push(index);
    else round.push(index);
    keys.add(idempotencyKey);
    checkouts.add(checkoutId);
  }
  return { round, later };
}

async function acceptDistinct(
  tx: Tx,
  context: AcceptContext,
  requests: readonly FingerprintedRequest[],
): Promise<readonly AcceptResult[]> {
  const known = await findKnownRequests(
    tx,
    requests.map((r) => r.request),
  );
  const results: (AcceptResult | undefined)[] = new Array(requests.length);
  await answerKnown(tx, context.principal, requests, known, results);
  const fresh = requests.flatMap((item, index) => {
    if (results[index] !== undefined) return [];
    const reason = findInexpressible(item.request, context.policy);
    if (reason === null) return [{ ...item, index }];
    results[index] = { kind: 'not_expressible', message: reason };
    return [];
  });
  // Key order: two batches that share names wait for each other in one direction only.
  fresh.sort((a, b) => compareText(a.request.idempotencyKey, b.request.idempotencyKey));
  const answers = await store(tx, context, fresh);
  for (const [i, { index }] of fresh.entries()) results[index] = { kind: 'accepted', answer: answers[i]! };
  return results as AcceptResult[];
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Answers the requests whose key or checkout the book knows already. */
async function answerKnown(
  tx: Tx,
  principal: string,
  requests: readonly FingerprintedRequest[],
  known: readonly KnownRequest[],
  results: (AcceptResult | undefined)[],
): Promise<void> {
  if (known.length === 0) return;
  const ids = known.flatMap((k) => k.keyPaymentId ?? k.checkoutPaymentId ?? []);
  const rows = Map.groupBy(await listPaymentRows(tx, ids), (row) => row.id);
  const furtherKeys = [];
  for (const hit of known) {
    const { request, fingerprintHex } = requests[hit.index]!;
    const result = answerFor(hit, request, fingerprintHex, rows);
    results[hit.index] = result;
    if (result.kind === 'deduplicated') {
      const paymentId = hit.checkoutPaymentId!;
      furtherKeys.push({ key: request.idempotencyKey, fingerprintHex, paymentId, answer: result.body });
    }
  }
  await insertAnsweredKeys(tx, principal, furtherKeys);
}

function answerFor(
  hit: KnownRequest,
  request: PaymentRequest,
  fingerprintHex: string,
  rows: ReadonlyMap<bigint, readonly PaymentRow[]>,
): AcceptResult {
  const sameAs = (stored: Buffer | null) => stored !== null && stored.toString('hex') === fingerprintHex;
  if (hit.keyPaymentId !== null) {
    if (!sameAs(hit.keyFingerprint)) {
      return {
        kind: 'idempotency_key_reused',
        message: `idempotency_key "${request.idempotencyKey}" was used for another request; choose a new one.`,
      };
    }
    const answer = acceptedAnswer(rows.get(hit.keyPaymentId)!);
    return hit.keyAnswer === null
      ? { kind: 'replayed', status: 202, body: JSON.stringify(answer), answer }
      : { kind: 'replayed', status: 200, body: hit.keyAnswer, answer };
  }
  const paymentId = hit.checkoutPaymentId!;
  if (!sameAs(hit.checkoutFingerprint)) {
    return {
      kind: 'checkout_conflict',
      message: `checkout_id "${request.checkoutId}" is payment ${formatId('payment', paymentId)}, with other content.`,
      paymentId: formatId('payment', paymentId),
    };
  }
  const answer = acceptedAnswer(rows.get(paymentId)!);
  return { kind: 'deduplicated', body: JSON.stringify({ ...answer, deduplicated: true }), answer };
}

type Fresh = FingerprintedRequest & { readonly index: number };

/** All rows of new payments, ready to be inserted. */
type Rows = {
  readonly payments: NewPayment[];
  readonly charges: NewCharge[];
  readonly risks: PaymentRisk[];
  readonly events: NewEvent[];
  readonly answers: AcceptedAnswer[];
};

async function store(
  tx: Tx,
  context: AcceptContext,
  fresh: readonly Fresh[],
): Promise<readonly AcceptedAnswer[]> {
  if (fresh.length === 0) return [];
  const assessed = await assessInTurn(tx, context.policy.risk, fresh);
  const count = fresh.reduce((sum, item) => sum + 1 + 2 * item.request.orders.length, 0);
  const ids = (await takeIds(tx, count)).values();
  const rows: Rows = { payments: [], charges: [], risks: [], events: [], answers: [] };
  for (const item of fresh) addRows(rows, context, item, assessed.get(item.index)!, () => ids.next().value!);
  const lane = rows.charges.find((charge) => charge.lane !== null)?.lane ?? null;
  await together([
    insertPayments(tx, context.principal, rows.payments),
    insertCharges(tx, rows.charges),
    storeAssessed(tx, rows.risks),
    insertEvents(tx, context.principal, rows.events),
    insertPartialWatches(
      tx,
      rows.payments.filter((payment) => payment.onPartial === 'refund').map((payment) => payment.id),
    ),
    lane === null ? undefined : notifyLane(tx, lane),
  ]);
  return rows.answers;
}

/** In the order of the requests, whatever the order of their keys: an earlier one counts for a later one. */
async function assessInTurn(
  tx: Tx,
  rules: RiskRules,
  fresh: readonly Fresh[],
): Promise<ReadonlyMap<number, Assessed>> {
  const inTurn = [...fresh].sort((a, b) => a.index - b.index);
  const assessed = await assessPayments(
    tx,
    rules,
    inTurn.map((item) => item.request),
  );
  return new Map(inTurn.map((item, i) => [item.index, assessed[i]!]));
}

/** The rows of one payment. Pure but for the ids it takes. */
function addRows(
  rows: Rows,
  context: AcceptContext,
  item: Fresh,
  { assessment: risk, record }: Assessed,
  nextId: () => bigint,
): void {
  const { request } = item;
  const payment: NewPayment = {
    id: nextId(),
    checkoutId: request.checkoutId,
    idempotencyKey: request.idempotencyKey,
    fingerprintHex: item.fingerprintHex,
    buyer: request.buyer,
    onPartial: request.orders.length > 1 ? context.policy.onPartial : 'keep',
    riskDecision: risk.decision,
    riskReason: risk.reason,
    metadata: JSON.stringify(request.metadata),
    batchId: context.batchId,
  };
  const made = request.orders.map((order, i) =>
    chargeOf(context, payment, request, order, i + 1, risk, nextId),
  );
  rows.payments.push(payment);
  rows.charges.push(...made);
  rows.answers.push(
    acceptedAnswer(made.map((charge) => ({ ...payment, ...charge, id: payment.id, orderId: charge.id }))),
  );
  const { priority } = context;
  const paymentRisk = record === null ? null : { paymentId: payment.id, record, priority };
  if (paymentRisk !== null) rows.risks.push(paymentRisk);
  const data = acceptedEvent(payment, made, paymentRisk);
  rows.events.push({ kind: 'payment_accepted', paymentId: payment.id, data });
}

/** An order of a payment, and how it is charged. Pure but for the ids it takes. */
function chargeOf(
  context: AcceptContext,
  payment: NewPayment,
  request: PaymentRequest,
  item: PaymentOrderRequest,
  line: number,
  risk: Assessment,
  nextId: () => bigint,
): NewCharge {
  const { policy, priority } = context;
  const { amountMinor, currency } = item.money;
  const rate = policy.fees.get(currency);
  const account = accountOf(policy, request, item);
  const charge: NewCharge = {
    id: nextId(),
    paymentId: payment.id,
    line,
    seller: item.seller,
    amountMinor,
    currency,
    platformFeeMinor: item.platformFeeMinor ?? (rate === undefined ? 0n : feeOf(amountMinor, rate)),
    paymentMethod: item.paymentMethod,
    customerPresent: item.customerPresent,
    releaseAfterDays: policy.releaseAfterDays,
    orderRef: item.orderRef,
    returnUrl: item.returnUrl ?? null,
    metadata: JSON.stringify(item.metadata),
    operationId: nextId(),
    pspAccount: account.name,
    subState: SUB_STATE_AFTER[risk.decision],
    reason: risk.decision === 'allow' ? null : risk.reason,
    attempt: null,
    lane: risk.decision === 'allow' ? laneOf(account.name, priority) : null,
  };
  if (risk.decision === 'block') return charge;
  const idempotencyKey = attemptKey(context.bookKey, charge.operationId, 1);
  const frozen = freezeCharge(account, {
    idempotencyKey,
    paymentId: formatId('payment', payment.id),
    orderId: formatId('order', charge.id),
    operationId: formatId('operation', charge.operationId),
    attemptNumber: 1,
    ...chargeFields(request, item),
  });
  if (frozen.kind === 'rejected') throw new Bug(`a checked charge could not be frozen: ${frozen.reason}`);
  return { ...charge, attempt: { idempotencyKey, request: frozen.request } };
}

const SUB_STATE_AFTER = { allow: 'queued', review: 'in_risk_review', block: 'risk_blocked' } as const;

function chargeFields(request: PaymentRequest, order: PaymentOrderRequest) {
  return {
    amountMinor: order.money.amountMinor,
    currency: order.money.currency,
    paymentMethod: order.paymentMethod,
    buyer: request.buyer,
    customerPresent: order.customerPresent,
    returnUrl: order.returnUrl,
  };
}

/**
 * Everything that replay needs to rebuild the rows of one acceptance. Numbers stay exact: text. What is JSON already
 * (metadata, the frozen request) goes in as it is.
 */
function acceptedEvent(payment: NewPayment, made: readonly NewCharge[], risk: PaymentRisk | null): string {
  const fields = JSON.stringify({
    id: payment.id.toString(),
    checkout_id: payment.checkoutId,
    idempotency_key: payment.idempotencyKey,
    fingerprint: payment.fingerprintHex,
    buyer: payment.buyer,
    on_partial: payment.onPartial,
    risk_decision: payment.riskDecision,
    risk_reason: payment.riskReason,
    batch_id: payment.batchId?.toString() ?? null,
  });
  const orders = made.map(acceptedOrder).join(',');
  const further = risk === null ? '' : `,"risk":${riskEvent(risk)}`;
  return `${fields.slice(0, -1)},"metadata":${payment.metadata},"orders":[${orders}]${further}}`;
}

function acceptedOrder(charge: NewCharge): string {
  const { attempt } = charge;
  const fields = JSON.stringify({
    id: charge.id.toString(),
    seller: charge.seller,
    amount_minor: charge.amountMinor.toString(),
    currency: charge.currency,
    platform_fee_minor: charge.platformFeeMinor.toString(),
    payment_method: charge.paymentMethod,
    customer_present: charge.customerPresent,
    release_after_days: charge.releaseAfterDays,
    order_ref: charge.orderRef,
    ...(charge.returnUrl === null ? {} : { return_url: charge.returnUrl }),
    operation: charge.operationId.toString(),
    psp_account: charge.pspAccount,
    sub_state: charge.subState,
    reason: charge.reason,
  });
  const sent =
    attempt === null
      ? 'null'
      : `{"idempotency_key":"${attempt.idempotencyKey}","lane":${JSON.stringify(charge.lane)},"request":${attempt.request}}`;
  return `${fields.slice(0, -1)},"metadata":${charge.metadata},"attempt":${sent}}`;
}
