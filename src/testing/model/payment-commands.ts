/** What shops and sellers' money do: acceptance, review, retry, refunds, releases. For tests only. */
import fc from 'fast-check';
import { expect } from 'vitest';
import { errorCode, transact } from '../../core/db/connection.ts';
import { type Currency, formatAmount } from '../../core/money.ts';
import { acceptPayments, fingerprint } from '../../core/payment/accept-payments.ts';
import type { PaymentRequest } from '../../core/payment/payment-request.ts';
import { retryOrder } from '../../core/payment/retry-order.ts';
import { getBookKey } from '../../core/queue/queue-store.ts';
import type { RefundPolicy } from '../../core/refund/refund.ts';
import { refundPartials } from '../../core/refund/refund-partials.ts';
import { submitRefunds } from '../../core/refund/submit-refunds.ts';
import { parseRuleFile } from '../../core/risk/parse-rule-file.ts';
import { decideReview } from '../../core/risk/review-payments.ts';
import { releaseDueFunds } from '../../core/wallet/release-funds.ts';
import { acceptContext, routeTo, uniqueName } from '../fixtures.ts';
import * as model from './book-model.ts';
import { type Command, command, pick, WHO, which } from './command.ts';
import {
  currentAttempt,
  hasEnded,
  isOpen,
  type ModelOperation,
  movedMoney,
  newAttempt,
  newJob,
} from './operation-model.ts';
import type { World } from './world.ts';

const RULES = `name = "model"
[[lists.watched]]
value = "watched"
reason = "a test"
[[rules]]
id = "watch"
kind = "list"
party = "buyer"
list = "watched"
action = "review"
`;

function riskRules() {
  const parsed = parseRuleFile(Buffer.from(RULES));
  if (parsed.kind === 'bad') throw new Error(JSON.stringify(parsed.faults));
  const blockedBuyers = new Set(['blocked']);
  return {
    maxPaymentMinor: new Map(),
    blockedBuyers,
    blockedSellers: new Set<string>(),
    ruleSet: parsed.ruleSet,
  };
}
const RISK = riskRules();

type Buyer = 'buyer' | 'watched' | 'blocked';
type Order = {
  readonly seller: number;
  readonly currency: 'EUR' | 'JPY';
  readonly amountMinor: number;
  readonly fee: 'none' | 'some' | 'all';
};

const order: fc.Arbitrary<Order> = fc.record({
  seller: fc.nat({ max: 1 }),
  currency: fc.constantFrom('EUR' as const, 'EUR', 'EUR', 'JPY'),
  amountMinor: fc.integer({ min: 100, max: 5_000 }),
  fee: fc.constantFrom('some' as const, 'some', 'some', 'none', 'all'),
});

function feeOf({ amountMinor, fee }: Order): bigint {
  if (fee === 'none') return 0n;
  return BigInt(fee === 'all' ? amountMinor : Math.ceil(amountMinor / 7));
}

/** Sent twice: the second is the first one again. */
export const accept: fc.Arbitrary<Command> = fc
  .record({
    orders: fc.array(order, { minLength: 1, maxLength: 3 }),
    buyer: fc.constantFrom<Buyer>('buyer', 'buyer', 'buyer', 'buyer', 'buyer', 'watched', 'blocked'),
    onPartial: fc.constantFrom('refund' as const, 'keep'),
    releaseAfterDays: fc.constantFrom(null, 1, 1),
  })
  .map((asked) =>
    command(
      `accept ${JSON.stringify(asked)}`,
      () => true,
      async (world) => {
        const { book, account } = world;
        const name = uniqueName('co');
        const request: PaymentRequest = {
          checkoutId: name,
          idempotencyKey: `key-${name}`,
          buyer: asked.buyer,
          metadata: {},
          orders: asked.orders.map((one) => ({
            seller: world.sellers[one.seller]!,
            money: { amountMinor: BigInt(one.amountMinor), currency: one.currency as Currency },
            paymentMethod: 'pm_card_visa',
            platformFeeMinor: feeOf(one),
            orderRef: null,
            customerPresent: false,
            metadata: {},
          })),
        };
        const { onPartial, releaseAfterDays } = asked;
        const policy = { route: routeTo(account), onPartial, releaseAfterDays, risk: RISK };
        const context = await acceptContext(book.db, policy);
        const twins = [request, request].map(fingerprint);
        const results = await transact(book.db, (tx) => acceptPayments(tx, context, twins));
        expect(results.map((result) => result.kind)).toEqual(['accepted', 'replayed']);
        const ids = await idsOf(world, name);
        const charges = asked.orders.map((one, i) => newCharge(world, asked, one, ids[i]!));
        const payment = {
          id: ids[0]!.paymentId,
          onPartial: charges.length > 1 ? onPartial : ('keep' as const),
          charges,
          isWatched: charges.length > 1 && onPartial === 'refund',
        };
        world.model.payments.push(payment);
        if (asked.buyer === 'watched') world.model.openReviews.push(payment);
      },
    ),
  );

type ChargeIds = { readonly paymentId: bigint; readonly orderId: bigint; readonly operationId: bigint };

/** Only the numbers come from the real book: the rest is what was asked for. */
async function idsOf({ book }: World, checkoutId: string): Promise<readonly ChargeIds[]> {
  const { sql, t } = book.db;
  return sql<ChargeIds[]>`
    select c.payment_id, po.id as order_id, o.id as operation_id
      from ${t.checkout} c
      join ${t.paymentOrder} po on po.payment_id = c.payment_id
      join ${t.operation} o on o.payment_order_id = po.id
     where c.checkout_id = ${checkoutId}
     order by po.line`;
}

const FIRST_STATE = { buyer: 'queued', watched: 'in_risk_review', blocked: 'risk_blocked' } as const;

function newCharge(
  world: World,
  asked: { readonly buyer: Buyer; readonly releaseAfterDays: number | null },
  one: Order,
  { operationId: id, orderId, paymentId }: ChargeIds,
): ModelOperation {
  return {
    id,
    kind: 'charge',
    paymentId,
    orderId,
    seller: world.sellers[one.seller]!,
    currency: one.currency,
    amountMinor: BigInt(one.amountMinor),
    feeMinor: feeOf(one),
    fromPendingMinor: 0n,
    releasesLater: asked.releaseAfterDays !== null,
    state: FIRST_STATE[asked.buyer],
    attempts: asked.buyer === 'blocked' ? [] : [newAttempt()],
    job: asked.buyer === 'buyer' ? newJob(1, 'online') : null,
    letters: new Map(),
    waitsForRelease: false,
  };
}

export const review: fc.Arbitrary<Command> = fc
  .record({ which, verdict: fc.constantFrom('approved' as const, 'rejected') })
  .map((asked) =>
    command(
      `review ${JSON.stringify(asked)}`,
      (expected) => expected.openReviews.length > 0,
      async ({ book, model: expected }) => {
        const payment = pick(expected.openReviews, asked.which);
        const decision = { paymentId: payment.id, verdict: asked.verdict, ...WHO, rules: RISK };
        expect(await decideReview(book.db, decision)).toBe(payment.charges.length);
        await expect(decideReview(book.db, decision)).rejects.toMatchObject({ code: 'already_decided' });
        expected.openReviews.splice(expected.openReviews.indexOf(payment), 1);
        for (const charge of payment.charges) {
          if (asked.verdict === 'approved') {
            charge.state = 'queued';
            charge.job = newJob(1, 'online');
          } else {
            charge.state = 'risk_blocked';
            charge.attempts[0]!.state = 'not_sent';
          }
        }
      },
    ),
  );

export const retry: fc.Arbitrary<Command> = fc.record({ which }).map((asked) =>
  command(
    `retry ${JSON.stringify(asked)}`,
    (expected) => model.chargesOf(expected).length > 0,
    async ({ book, model: expected }) => {
      const all = model.chargesOf(expected);
      const may = all.filter((one) => retryRefusal(expected, one) === null);
      // Mostly one that may be retried, or hardly any would be.
      const charge = pick(may.length > 0 && asked.which % 4 > 0 ? may : all, asked.which);
      const context = {
        risk: RISK,
        bookKey: await getBookKey(book.db),
        principal: 'test:retry',
        accountOf: () => ({ psp: 'stripe' as const }),
      };
      const request = {
        orderId: charge.orderId!,
        paymentMethod: 'pm_other',
        idempotencyKey: uniqueName('retry'),
      };
      const result = await retryOrder(book.db, context, charge.paymentId!, request);
      const refusal = retryRefusal(expected, charge);
      expect(result).toMatchObject(
        refusal === null ? { kind: 'accepted' } : { kind: 'refused', code: refusal },
      );
      if (refusal !== null) return;
      charge.attempts.push(newAttempt());
      charge.job = newJob(charge.attempts.length, 'online');
      charge.state = 'queued';
      charge.letters.clear();
      watchAgain(expected, charge);
      const again = await retryOrder(book.db, context, charge.paymentId!, request);
      expect(again.kind).toBe('replayed');
    },
  ),
);

/** Another attempt may make a partial success of a payment that had failed altogether. */
export function watchAgain(expected: model.ModelBook, charge: ModelOperation): void {
  const payment = expected.payments.find((one) => one.charges.includes(charge))!;
  payment.isWatched = payment.onPartial === 'refund';
}

function retryRefusal(expected: model.ModelBook, charge: ModelOperation): string | null {
  const attempt = currentAttempt(charge);
  if (attempt === undefined) return 'not_retryable';
  if (charge.state === 'succeeded' || movedMoney(charge)) return 'already_succeeded';
  if (charge.job !== null || isOpen(attempt) || !hasEnded(charge)) return 'attempt_unresolved';
  if ([...charge.letters.keys()].some((code) => code !== 'rejected')) return 'needs_a_person';
  if (charge.state === 'risk_blocked') return 'not_retryable';
  return isGivenBack(expected, charge) ? 'payment_given_back' : null;
}

/** The buyer was told that the payment failed, and may have checked out again. */
export function isGivenBack(expected: model.ModelBook, charge: ModelOperation): boolean {
  const payment = expected.payments.find((one) => one.charges.includes(charge))!;
  return expected.refunds.some(
    (one) => payment.charges.includes(one.charge) && one.refundId.startsWith('partial:'),
  );
}

// --- refunds ---

export const refund: fc.Arbitrary<Command> = fc
  .record({
    which,
    /** Of 100 parts of the order; null: all that is left. More than 100 is too much. */
    percent: fc.oneof(fc.constant(null), fc.constantFrom(10, 25, 33, 50, 75, 100, 101)),
    fee: fc.constantFrom('proportional' as const, 'proportional', 'kept'),
    overdraw: fc.constantFrom('allowed' as const, 'refused'),
  })
  .map((asked) =>
    command(
      `refund ${JSON.stringify(asked)}`,
      (expected) => model.chargesOf(expected).length > 0,
      async (world) => {
        const all = model.chargesOf(world.model);
        const done = all.filter((charge) => charge.state === 'succeeded');
        const charge = pick(done.length > 0 && asked.which % 8 > 0 ? done : all, asked.which);
        const wantedMinor =
          asked.percent === null ? null : (charge.amountMinor * BigInt(asked.percent) + 99n) / 100n;
        await refundOne(world, charge, wantedMinor, { fee: asked.fee, overdraw: asked.overdraw });
      },
    ),
  );

async function refundContext(world: World, policy: RefundPolicy) {
  return {
    policy,
    bookKey: await getBookKey(world.book.db),
    principal: 'os:ana',
    accountOf: () => ({ psp: 'stripe' as const }),
  };
}

async function refundOne(
  world: World,
  charge: ModelOperation,
  wantedMinor: bigint | null,
  policy: RefundPolicy,
): Promise<void> {
  const { db } = world.book;
  const currency = charge.currency as Currency;
  const request = {
    refundId: uniqueName('rf'),
    orderId: charge.orderId!,
    amount: wantedMinor === null ? null : formatAmount({ amountMinor: wantedMinor, currency }),
    reason: 'a test',
    cause: 'request' as const,
  };
  const context = await refundContext(world, policy);
  const plan = planRefund(world.model, charge, wantedMinor, policy);
  const ask = async () => {
    try {
      const [result] = await submitRefunds(db, context, [request]);
      return result!.kind;
    } catch (error) {
      return errorCode(error) ?? String(error);
    }
  };
  expect(await ask()).toBe(plan.kind);
  if (plan.kind !== 'accepted') return;
  await rememberRefund(world, charge, request.refundId, plan);
  // The same name again is the same refund.
  expect(await ask()).toBe('replayed');
}

type RefundPlan =
  | { readonly kind: 'not_refundable' | 'over_refund' | 'PG003' }
  | {
      readonly kind: 'accepted';
      readonly amountMinor: bigint;
      readonly feeMinor: bigint;
      readonly fromPendingMinor: bigint;
    };

function planRefund(
  expected: model.ModelBook,
  charge: ModelOperation,
  wantedMinor: bigint | null,
  policy: RefundPolicy,
): RefundPlan {
  if (charge.state !== 'succeeded') return { kind: 'not_refundable' };
  const taken = model.takenBy(expected, charge);
  const leftMinor = charge.amountMinor - taken.refundedMinor;
  const amountMinor = wantedMinor ?? leftMinor;
  if (leftMinor <= 0n || amountMinor > leftMinor) return { kind: 'over_refund' };
  const shares =
    model.shareHalfEven(charge.feeMinor, taken.refundedMinor + amountMinor, charge.amountMinor) -
    taken.sharesMinor;
  const feeMinor = policy.fee === 'kept' || shares < 0n ? 0n : shares > amountMinor ? amountMinor : shares;
  const part = amountMinor - feeMinor;
  const { availableMinor } = model.walletOf(expected, charge.seller, charge.currency);
  const covered = least(part, availableMinor > 0n ? availableMinor : 0n);
  const fromPendingMinor = least(part - covered, model.pendingOf(expected, charge));
  const fromAvailable = part - fromPendingMinor;
  if (policy.overdraw === 'refused' && fromAvailable > 0n && fromAvailable > availableMinor)
    return { kind: 'PG003' };
  return { kind: 'accepted', amountMinor, feeMinor, fromPendingMinor };
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

async function rememberRefund(
  { book, model: expected }: World,
  charge: ModelOperation,
  refundId: string,
  plan: Extract<RefundPlan, { kind: 'accepted' }>,
): Promise<void> {
  const { sql, t } = book.db;
  const [row] = await sql<{ id: bigint }[]>`
    select operation_id as id from ${t.refund} where refund_id = ${refundId}`;
  const operation: ModelOperation = {
    id: row!.id,
    kind: 'refund',
    paymentId: charge.paymentId,
    orderId: charge.orderId,
    seller: charge.seller,
    currency: charge.currency,
    amountMinor: plan.amountMinor,
    feeMinor: plan.feeMinor,
    fromPendingMinor: plan.fromPendingMinor,
    releasesLater: false,
    state: 'queued',
    attempts: [newAttempt()],
    job: newJob(1, 'online'),
    letters: new Map(),
    waitsForRelease: false,
  };
  expected.refunds.push({ refundId, operation, charge });
}

const PARTIAL_POLICY = { fee: 'proportional', overdraw: 'allowed' } as const;

/** What was charged of a payment of which a part failed goes back, once. */
export const partials: fc.Arbitrary<Command> = fc.constant(
  command(
    'partials',
    (expected) => expected.payments.length > 0,
    async (world) => {
      const context = await refundContext(world, PARTIAL_POLICY);
      while ((await refundPartials(world.book.db, context)).payments > 0);
      for (const payment of world.model.payments) await givePartialBack(world, payment);
    },
  ),
);

async function givePartialBack(world: World, payment: model.ModelPayment): Promise<void> {
  const { charges } = payment;
  const refunds = world.model.refunds.filter((one) => charges.includes(one.charge));
  if (!payment.isWatched || ![...charges, ...refunds.map((one) => one.operation)].every(hasEnded)) return;
  payment.isWatched = false;
  const done = charges.filter((charge) => charge.state === 'succeeded');
  if (done.length === charges.length) return;
  for (const charge of done) {
    const refundId = `partial:ord_${charge.orderId}`;
    if (refunds.some((one) => one.refundId === refundId)) continue;
    const plan = planRefund(world.model, charge, null, PARTIAL_POLICY);
    if (plan.kind === 'accepted') await rememberRefund(world, charge, refundId, plan);
  }
}

/** The day has come for all that waits. */
export const release: fc.Arbitrary<Command> = fc.constant(
  command(
    'release',
    (expected) => model.operationsOf(expected).some((one) => one.waitsForRelease),
    async ({ book, account, model: expected }) => {
      const { sql, t } = book.owner;
      await sql`
        update ${t.fundRelease} f set due_at = now() - interval '1 second'
          from ${t.operation} o where o.id = f.operation_id and o.psp_account = ${account}`;
      while ((await releaseDueFunds(book.db, 'test:release')) > 0);
      for (const one of model.operationsOf(expected)) one.waitsForRelease = false;
    },
  ),
);
