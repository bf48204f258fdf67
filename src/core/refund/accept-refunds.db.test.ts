/** Refunds on a real book: what is reserved, what goes back, and that never a minor unit too much leaves. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  acceptPolicy,
  applyOutside,
  balanceOf,
  claim,
  claimOne,
  makeDue,
  money,
  openTestBook,
  orderRequest,
  paymentRequest,
  queueCharge,
  queueCharges,
  REPLY,
  type ReplyKind,
  record,
  scriptedConnector,
  standingOf,
  startTestDaemon,
  type TestBook,
  turn,
  uniqueName,
} from '../../testing/fixtures.ts';
import { transact } from '../db/connection.ts';
import { postEntries } from '../ledger/ledger-store.ts';
import { payoutApproved } from '../ledger/posting-rules.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { retryOrder } from '../payment/retry-order.ts';
import { getBookKey } from '../queue/queue-store.ts';
import { releaseDueFunds } from '../wallet/release-funds.ts';
import { acceptRefunds, type RefundContext, type RefundResult } from './accept-refunds.ts';
import type { RefundRequest } from './refund.ts';
import { refundPartials } from './refund-partials.ts';
import { insertPartialWatches } from './refund-store.ts';
import { submitRefunds } from './submit-refunds.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(async () => {
  const { verdict } = await verifyLedger(book.db);
  expect(verdict).toBe('balanced');
  await book.close();
});

type Charged = {
  readonly account: string;
  readonly seller: string;
  readonly orderId: bigint;
  readonly paymentId: bigint;
};

/** A charge of 12.50 EUR with a fee of 1.25 that has succeeded, for a seller of its own. */
async function charged(releaseAfterDays: number | null = null): Promise<Charged> {
  const [account, seller] = [uniqueName('acct'), uniqueName('Seller')];
  const request = paymentRequest({ orders: [orderRequest({ seller, platformFeeMinor: 125n })] });
  const [charge] = await queueCharges(book.db, account, [request], { releaseAfterDays });
  await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY.succeeded]));
  return { account, seller, orderId: charge!.orderId, paymentId: charge!.paymentId };
}

async function context(policy: Partial<RefundContext['policy']> = {}): Promise<RefundContext> {
  return {
    policy: { fee: 'proportional', overdraw: 'allowed', ...policy },
    bookKey: await getBookKey(book.db),
    principal: 'test:refund',
    accountOf: () => ({ psp: 'stripe' }),
  };
}

function request(orderId: bigint, amount: string | null, refundId = uniqueName('refund')): RefundRequest {
  return { refundId, orderId, amount, reason: 'test', cause: 'request' };
}

async function ask(one: RefundRequest, policy: Partial<RefundContext['policy']> = {}): Promise<RefundResult> {
  const [result] = await submitRefunds(book.db, await context(policy), [one]);
  return result!;
}

/** Accepts it and gives its operation. */
async function accepted(one: RefundRequest): Promise<bigint> {
  const result = await ask(one);
  if (result.kind !== 'accepted') throw new Error(`${result.kind}, not accepted`);
  return result.refund.operationId;
}

async function sendRefund(account: string, reply: ReplyKind): Promise<void> {
  await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY[reply]]));
}

const wallet = async (seller: string) => ({
  pending: await balanceOf(book.db, `seller:${seller}:pending`, 'EUR'),
  available: await balanceOf(book.db, `seller:${seller}:available`, 'EUR'),
  inRefund: await balanceOf(book.db, `seller:${seller}:in_refund`, 'EUR'),
});

describe('a refund', () => {
  test('reserves the seller’s part, is sent, and takes it with the platform’s share', async () => {
    const { account, seller, orderId } = await charged();
    const operationId = await accepted(request(orderId, '5.00'));
    expect(await wallet(seller)).toEqual({ pending: 0n, available: 1125n - 450n, inRefund: 450n });
    await sendRefund(account, 'succeeded');
    expect(await wallet(seller)).toEqual({ pending: 0n, available: 675n, inRefund: 0n });
    expect(await balanceOf(book.db, `psp:${account}:receivable`, 'EUR')).toBe(750n);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      entries: ['refund_reserved', 'refund_succeeded'],
      job: null,
    });
  });

  test('in parts gives back the whole fee and the whole charge, to the last unit', async () => {
    const { account, seller, orderId } = await charged();
    for (const amount of ['3.33', '3.33', '0.01', null]) {
      await accepted(request(orderId, amount));
      await sendRefund(account, 'succeeded');
    }
    expect(await wallet(seller)).toEqual({ pending: 0n, available: 0n, inRefund: 0n });
    expect(await balanceOf(book.db, `psp:${account}:receivable`, 'EUR')).toBe(0n);
    expect(await ask(request(orderId, null))).toMatchObject({ kind: 'over_refund' });
  });

  test('can leave the fee with the platform: the seller pays all of it, below zero if need be', async () => {
    const { account, seller, orderId } = await charged();
    expect(await ask(request(orderId, null), { fee: 'kept' })).toMatchObject({ kind: 'accepted' });
    await sendRefund(account, 'succeeded');
    expect(await wallet(seller)).toMatchObject({ available: -125n });
  });

  test('that the wallet does not cover is refused by the database where the policy says so', async () => {
    const { orderId } = await charged();
    const all = request(orderId, null);
    await expect(ask(all, { fee: 'kept', overdraw: 'refused' })).rejects.toMatchObject({ code: 'PG003' });
    expect(await ask(all)).toMatchObject({ kind: 'accepted' });
  });

  test.each<ReplyKind>(['declined', 'rejected'])(
    'that is %s gives back what it had reserved',
    async (reply) => {
      const { account, seller, orderId } = await charged();
      const operationId = await accepted(request(orderId, '5.00'));
      await sendRefund(account, reply);
      expect(await wallet(seller)).toEqual({ pending: 0n, available: 1125n, inRefund: 0n });
      expect((await standingOf(book.db, operationId)).entries).toEqual(['refund_reserved', 'refund_failed']);
      expect(await ask(request(orderId, '12.50'))).toMatchObject({ kind: 'accepted' });
    },
  );

  test('in doubt keeps its reservation, and its money cannot be refunded again', async () => {
    const { account, seller, orderId } = await charged();
    await accepted(request(orderId, '10.00'));
    await sendRefund(account, 'unknown');
    expect(await wallet(seller)).toMatchObject({ inRefund: 900n });
    expect(await ask(request(orderId, '2.51'))).toMatchObject({ kind: 'over_refund' });
  });

  test('that is pending ends by what the PSP says later', async () => {
    const { account, seller, orderId } = await charged();
    const operationId = await accepted(request(orderId, '5.00'));
    await sendRefund(account, 'pending');
    await makeDue(book.owner, account);
    await sendRefund(account, 'succeeded');
    expect(await wallet(seller)).toMatchObject({ available: 675n, inRefund: 0n });
    expect((await standingOf(book.db, operationId)).subState).toBe('succeeded');
  });

  test('that fails after it had succeeded is booked back and told to a person', async () => {
    const { account, seller, orderId } = await charged();
    const operationId = await accepted(request(orderId, '5.00'));
    await sendRefund(account, 'succeeded');
    const late = {
      operationId,
      attemptNumber: 1,
      source: 'enquiry' as const,
      reply: REPLY.declined,
      held: null,
    };
    await applyOutside(book.db, [late]);
    await applyOutside(book.db, [late]);
    expect(await wallet(seller)).toEqual({ pending: 0n, available: 1125n, inRefund: 0n });
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'reversed',
      attemptState: 'reversed',
      entries: ['refund_reserved', 'refund_succeeded', 'refund_failed_after_success'],
      deadLetters: ['reversed_after_success'],
    });
    await applyOutside(book.db, [{ ...late, reply: REPLY.succeeded }]);
    expect((await standingOf(book.db, operationId)).subState).toBe('reversed');
    expect(await ask(request(orderId, '12.50'))).toMatchObject({ kind: 'accepted' });
  });

  test('that succeeds after it had failed is booked as the fact it is', async () => {
    const { account, seller, orderId } = await charged();
    const operationId = await accepted(request(orderId, '5.00'));
    await sendRefund(account, 'declined');
    await applyOutside(book.db, [
      { operationId, attemptNumber: 1, source: 'enquiry', reply: REPLY.succeeded, held: null },
    ]);
    expect(await wallet(seller)).toEqual({ pending: 0n, available: 675n, inRefund: 0n });
    expect(await standingOf(book.db, operationId)).toMatchObject({
      entries: ['refund_reserved', 'refund_failed', 'late_refund'],
      deadLetters: ['late_success'],
    });
    const letters = await book.db.sql`
      select code, state, close_reason from ${book.db.t.deadLetter} where operation_id = ${operationId} order by id`;
    expect(letters).toMatchObject([
      { code: 'refund_declined', state: 'resolved', closeReason: 'the PSP gave the money back after all' },
      { code: 'late_success', state: 'open' },
    ]);
    // The buyer has it: it counts as refunded, for amounts and fee shares.
    expect(await ask(request(orderId, '7.51'))).toMatchObject({ kind: 'over_refund' });
    expect(await ask(request(orderId, null))).toMatchObject({
      refund: { amountMinor: 750n, feeShareMinor: 75n },
    });
    expect(await ask(request(orderId, null))).toMatchObject({ kind: 'over_refund' });
  });

  test('that succeeds after all, when the same was refunded again meanwhile, leaves nothing to refund', async () => {
    const { account, orderId } = await charged();
    const operationId = await accepted(request(orderId, '5.00'));
    await sendRefund(account, 'declined');
    await accepted(request(orderId, null));
    await applyOutside(book.db, [
      { operationId, attemptNumber: 1, source: 'enquiry', reply: REPLY.succeeded, held: null },
    ]);
    expect(await ask(request(orderId, null))).toMatchObject({
      kind: 'over_refund',
      message: expect.stringContaining('only 0.00 EUR is left'),
    });
  });

  test('that is all platform fee reserves nothing, and can fail', async () => {
    const account = uniqueName('acct');
    const orders = [orderRequest({ seller: uniqueName('Seller'), platformFeeMinor: 1250n })];
    const charge = await queueCharge(book.db, account, { orders });
    await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY.succeeded]));
    const operationId = await accepted(request(charge.orderId, '5.00'));
    await sendRefund(account, 'declined');
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'declined',
      entries: [],
      deadLetters: ['refund_declined'],
    });
  });
});

describe('asking', () => {
  test('twice under one name is one refund; the same name for something else is refused', async () => {
    const { orderId } = await charged();
    const one = request(orderId, '5');
    const first = await ask(one);
    const again = await ask({ ...one, amount: '5.00' });
    expect(again).toMatchObject({ kind: 'replayed' });
    expect('refund' in first && 'refund' in again && first.refund.id === again.refund.id).toBe(true);
    expect(await ask({ ...one, amount: '5.01' })).toMatchObject({ kind: 'refund_id_reused' });
    expect(await ask({ ...one, amount: null })).toMatchObject({ kind: 'refund_id_reused' });
  });

  test.each<[string, string, string]>([
    ['more decimals than the currency has', '1.001', 'wrong_amount'],
    ['zero', '0', 'wrong_amount'],
    ['a minus sign', '-1', 'wrong_amount'],
    ['more than was charged', '12.51', 'over_refund'],
    ['an amount beyond every number type', '9'.repeat(39), 'wrong_amount'],
  ])('%s is refused, and stores nothing', async (_, amount, kind) => {
    const { orderId, seller } = await charged();
    expect(await ask(request(orderId, amount))).toMatchObject({ kind });
    expect(await wallet(seller)).toMatchObject({ available: 1125n, inRefund: 0n });
  });

  test('for what was never charged, or is not known, is refused', async () => {
    const account = uniqueName('acct');
    const { orderId } = await queueCharge(book.db, account);
    expect(await ask(request(orderId, null))).toMatchObject({ kind: 'not_refundable' });
    await sendRefund(account, 'declined');
    expect(await ask(request(orderId, null))).toMatchObject({ kind: 'not_refundable' });
    expect(await ask(request(999_999_999n, null))).toMatchObject({ kind: 'order_not_found' });
  });

  test('50 at once for one order never give back a minor unit too much', async () => {
    const { account, seller, orderId } = await charged();
    const results = await Promise.all(Array.from({ length: 50 }, () => ask(request(orderId, '0.49'))));
    const kinds = Map.groupBy(results, (result) => result.kind);
    expect(kinds.get('accepted')).toHaveLength(25);
    expect(kinds.get('over_refund')).toHaveLength(25);
    const daemon = await startTestDaemon(book.db);
    for (const task of await claim(daemon, account)) await record(daemon, task, REPLY.succeeded);
    expect(await balanceOf(book.db, `psp:${account}:receivable`, 'EUR')).toBe(25n);
    expect((await wallet(seller)).inRefund).toBe(0n);
  });

  test('the same name from ten callers at once gives one refund', async () => {
    const { orderId } = await charged();
    const one = request(orderId, '5.00');
    const results = await Promise.all(Array.from({ length: 10 }, () => ask(one)));
    expect(results.map((result) => result.kind).sort()).toEqual([
      'accepted',
      ...Array.from({ length: 9 }, () => 'replayed'),
    ]);
  });

  test('several of one order in one call see each other', async () => {
    const { orderId } = await charged();
    const asked = ['10.00', '2.50', '0.01'].map((amount) => request(orderId, amount));
    const all = await context();
    const results = await transact(book.db, (tx) => acceptRefunds(tx, all, asked));
    expect(results.map((result) => result.kind)).toEqual(['accepted', 'accepted', 'over_refund']);
  });

  test('the database itself refuses more than was captured, whoever inserts it', async () => {
    const { orderId } = await charged();
    const operationId = await accepted(request(orderId, '12.50'));
    const { sql, t } = book.owner;
    await expect(
      sql`insert into ${t.refund} select nextval('paygate.object_id'), 'forged', fingerprint, payment_id,
            payment_order_id, operation_id + 1000000, amount_minor, currency, fee_share_minor, cause, reason, principal
          from ${t.refund} where operation_id = ${operationId}`,
    ).rejects.toMatchObject({ code: expect.stringMatching(/^(PG005|23503)$/) });
  });
});

describe('money that is not released yet', () => {
  test('is refunded from pending, and only the rest is released later', async () => {
    const { account, seller, orderId } = await charged(7);
    await accepted(request(orderId, '5.00'));
    expect(await wallet(seller)).toEqual({ pending: 675n, available: 0n, inRefund: 450n });
    await sendRefund(account, 'succeeded');
    await book.owner.sql`update ${book.owner.t.fundRelease} set due_at = now() - interval '1 hour'`;
    await releaseDueFunds(book.db, 'test');
    expect(await wallet(seller)).toEqual({ pending: 0n, available: 675n, inRefund: 0n });
  });

  test.each(['before', 'after'] as const)(
    'of a refund that fails %s its order was released becomes available all the same',
    async (when) => {
      const { account, seller, orderId } = await charged(7);
      await accepted(request(orderId, '5.00'));
      const release = async () => {
        await book.owner.sql`update ${book.owner.t.fundRelease} set due_at = now() - interval '1 hour'`;
        await releaseDueFunds(book.db, 'test');
      };
      if (when === 'after') await release();
      await sendRefund(account, 'declined');
      await release();
      expect(await wallet(seller)).toEqual({ pending: 0n, available: 1125n, inRefund: 0n });
    },
  );
});

/** Takes what is available out of the wallet, as a payout would. */
async function payOut(seller: string): Promise<void> {
  const { available } = await wallet(seller);
  await transact(book.db, async (tx) => {
    const payout = { seller, currency: money('1', 'EUR').currency, payoutMinor: available };
    await postEntries(tx, 'test:payout', [{ cause: uniqueName('payout'), ...payoutApproved(payout) }]);
  });
}

describe('pending money of a refund', () => {
  test('that was taken back after it was done is available, and not pending a second time', async () => {
    const { account, seller, orderId } = await charged(7);
    const operationId = await accepted(request(orderId, '5.00'));
    await sendRefund(account, 'succeeded');
    await applyOutside(book.db, [
      { operationId, attemptNumber: 1, source: 'enquiry', reply: REPLY.declined, held: null },
    ]);
    expect(await wallet(seller)).toEqual({ pending: 675n, available: 450n, inRefund: 0n });
    await payOut(seller);
    await accepted(request(orderId, null));
    expect(await wallet(seller)).toEqual({ pending: 0n, available: -450n, inRefund: 1125n });
  });

  test('that failed is released once, also when the PSP then moves it after all', async () => {
    const { account, seller, orderId } = await charged(7);
    const operationId = await accepted(request(orderId, '5.00'));
    await book.owner.sql`update ${book.owner.t.fundRelease} set due_at = now() - interval '1 hour'`;
    await releaseDueFunds(book.db, 'test');
    await sendRefund(account, 'declined');
    await applyOutside(book.db, [
      { operationId, attemptNumber: 1, source: 'enquiry', reply: REPLY.succeeded, held: null },
    ]);
    await book.owner.sql`update ${book.owner.t.fundRelease} set due_at = now() - interval '1 hour'`;
    await releaseDueFunds(book.db, 'test');
    expect(await wallet(seller)).toEqual({ pending: 0n, available: 675n, inRefund: 0n });
  });
});

describe('a payment of which only a part succeeded', () => {
  test('whose other part somebody is refunding is given back when that fails', async () => {
    const account = uniqueName('acct');
    const orders = [orderRequest(), orderRequest()];
    const policy = { onPartial: 'refund' } as const;
    const [first] = await queueCharges(book.db, account, [paymentRequest({ orders })], policy);
    const daemon = await startTestDaemon(book.db);
    for (const task of await claim(daemon, account)) {
      const isFirst = task.job.operationId === first!.operationId;
      await record(daemon, task, isFirst ? REPLY.succeeded : REPLY.declined);
    }
    await accepted(request(first!.orderId, null));
    expect(await refundPartials(book.db, await context())).toEqual({ payments: 0, refunds: 0 });
    await sendRefund(account, 'rejected');
    expect(await refundPartials(book.db, await context())).toEqual({ payments: 1, refunds: 1 });
    await sendRefund(account, 'succeeded');
    expect(await refundPartials(book.db, await context())).toEqual({ payments: 0, refunds: 0 });
  });

  test('is given back also when that comes of a retry, long after all of it had failed', async () => {
    const account = uniqueName('acct');
    const orders = [orderRequest(), orderRequest()];
    const policy = { onPartial: 'refund' } as const;
    const [first] = await queueCharges(book.db, account, [paymentRequest({ orders })], policy);
    const daemon = await startTestDaemon(book.db);
    for (const task of await claim(daemon, account)) await record(daemon, task, REPLY.declined);
    expect(await refundPartials(book.db, await context())).toEqual({ payments: 1, refunds: 0 });
    const { risk } = acceptPolicy();
    const retrying = { risk, bookKey: await getBookKey(book.db), principal: 'test:retry' };
    await retryOrder(book.db, { ...retrying, accountOf: () => ({ psp: 'stripe' }) }, first!.paymentId, {
      orderId: first!.orderId,
      paymentMethod: 'pm_other',
      idempotencyKey: uniqueName('retry'),
    });
    await turn(daemon, account, scriptedConnector([REPLY.succeeded]));
    expect(await refundPartials(book.db, await context())).toEqual({ payments: 1, refunds: 1 });
  });

  test('is given back, once, when all of its orders have ended', async () => {
    const account = uniqueName('acct');
    const orders = [orderRequest(), orderRequest({ money: money('7.00', 'EUR') })];
    const [first, second] = await queueCharges(book.db, account, [paymentRequest({ orders })], {
      onPartial: 'refund',
    });
    const daemon = await startTestDaemon(book.db);
    const tasks = await claim(daemon, account);
    const taskOf = (operationId: bigint) => tasks.find((task) => task.job.operationId === operationId)!;
    await record(daemon, taskOf(first!.operationId), REPLY.succeeded);
    expect((await refundPartials(book.db, await context())).refunds).toBe(0);
    await record(daemon, taskOf(second!.operationId), REPLY.declined);
    expect((await refundPartials(book.db, await context())).refunds).toBe(1);
    await transact(book.owner, (tx) => insertPartialWatches(tx, [first!.paymentId]));
    expect((await refundPartials(book.db, await context())).refunds).toBe(0);
    const refund = await claimOne(daemon, account);
    expect(refund.job.operationKind).toBe('refund');
    await record(daemon, refund, REPLY.succeeded);
    expect(await balanceOf(book.db, `psp:${account}:receivable`, 'EUR')).toBe(0n);
  });
});
