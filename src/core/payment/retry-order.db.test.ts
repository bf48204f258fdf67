/** Retries: another attempt only after a definitive no, once for each key, whoever asks at the same time. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  applyOutside,
  balanceOf,
  claim,
  claimOne,
  makeDue,
  openTestBook,
  orderRequest,
  paymentRequest,
  type QueuedCharge,
  queueCharge,
  queueCharges,
  REPLY,
  type ReplyKind,
  record,
  routeTo,
  standingOf,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import { transact } from '../db/connection.ts';
import { cancelOperation } from '../operation/cancel-operation.ts';
import { resolveOperation } from '../operation/resolve-operation.ts';
import { capabilitiesOf } from '../psp/request.ts';
import { getBookKey, lockJobs } from '../queue/queue-store.ts';
import { refundPartials } from '../refund/refund-partials.ts';
import { releaseDueFunds } from '../wallet/release-funds.ts';
import { acceptPayments, fingerprint } from './accept-payments.ts';
import type { RetryRequest } from './payment-retry.ts';
import { type RetryContext, type RetryResult, retryOrder } from './retry-order.ts';

const NO_RISK = {
  maxPaymentMinor: new Map(),
  blockedBuyers: new Set<string>(),
  blockedSellers: new Set<string>(),
};

let book: TestBook;
let daemon: TestDaemon;
let context: RetryContext;
beforeAll(async () => {
  book = await openTestBook();
  daemon = await startTestDaemon(book.db);
  context = {
    risk: NO_RISK,
    bookKey: await getBookKey(book.db),
    principal: 'http:shop',
    accountOf: () => ({ psp: 'stripe' }),
  };
});
afterAll(() => book.close());

type Charge = QueuedCharge & { readonly account: string };

/** An order whose first attempt was answered so. */
async function answered(kind: ReplyKind): Promise<Charge> {
  const account = uniqueName('acct');
  const charge = await queueCharge(book.db, account);
  await record(daemon, await claimOne(daemon, account), REPLY[kind]);
  return { ...charge, account };
}

function retry(
  { paymentId, orderId }: Charge,
  changes: Partial<RetryRequest> = {},
  risk = NO_RISK,
): Promise<RetryResult> {
  const request = { orderId, paymentMethod: 'pm_other', idempotencyKey: uniqueName('retry'), ...changes };
  return retryOrder(book.db, { ...context, risk }, paymentId, request);
}

async function attemptsOf({ operationId }: Charge) {
  return book.db.sql<{ number: number; idempotencyKey: string; request: string; state: string }[]>`
    select number, idempotency_key, request, state from ${book.db.t.attempt}
     where operation_id = ${operationId} order by number`;
}

describe('after a definitive no', () => {
  test('opens an attempt with a number, a key and a method of its own; the order keeps its own', async () => {
    const charge = await answered('declined');
    const result = await retry(charge);
    expect(result).toMatchObject({
      kind: 'accepted',
      answer: {
        payment_id: `pay_${charge.paymentId}`,
        payment_order_id: `ord_${charge.orderId}`,
        payment_method: 'pm_other',
        status: 'NOT_STARTED',
        attempt_number: 2,
      },
    });
    const [first, second] = await attemptsOf(charge);
    expect(first).toMatchObject({ state: 'declined' });
    expect(second).toMatchObject({
      number: 2,
      state: 'created',
      idempotencyKey: `pg-${context.bookKey}-${charge.operationId}-2`,
    });
    expect(JSON.parse(second!.request)).toMatchObject({
      payment_method: 'pm_other',
      amount: 1250,
      metadata: { paygate_attempt: '2', paygate_key: second!.idempotencyKey },
    });
    const [order] = await book.db.sql<{ paymentMethod: string }[]>`
      select payment_method from ${book.db.t.paymentOrder} where id = ${charge.orderId}`;
    expect(order!.paymentMethod).toBe('pm_card_visa');
    const [operation] = await book.db.sql`
      select sub_state, reason, psp_reference from ${book.db.t.operation} where id = ${charge.operationId}`;
    expect(operation).toEqual({ subState: 'queued', reason: null, pspReference: null });
  });

  test('says in its event who asked, and for which method', async () => {
    const charge = await answered('declined');
    await retry(charge);
    const events = await book.db.sql`
      select principal, payment_id, data->>'payment_method' as payment_method, data->>'from' as from
        from ${book.db.t.event}
       where kind = 'order_retried' and data->>'operation' = ${charge.operationId.toString()}`;
    expect([...events]).toEqual([
      { principal: 'http:shop', paymentId: charge.paymentId, paymentMethod: 'pm_other', from: 'declined' },
    ]);
  });

  test('is charged and booked once, by the new attempt', async () => {
    const charge = await answered('declined');
    await retry(charge);
    const task = await claimOne(daemon, charge.account);
    expect(task.job).toMatchObject({ attemptNumber: 2, sends: 1 });
    await record(daemon, task, { kind: 'succeeded', pspReference: 'pi_2' });
    expect(await standingOf(book.db, charge.operationId)).toMatchObject({
      subState: 'succeeded',
      attempts: 2,
      pspReference: 'pi_2',
      entries: ['charge_succeeded'],
    });
    expect(await retry(charge)).toMatchObject({ kind: 'refused', code: 'already_succeeded' });
  });

  test('a refused request is retried too, and its dead letter is closed', async () => {
    const charge = await answered('rejected');
    expect(await retry(charge)).toMatchObject({ kind: 'accepted' });
    const letters = await book.db.sql`
      select state, close_reason from ${book.db.t.deadLetter} where operation_id = ${charge.operationId}`;
    expect([...letters]).toEqual([{ state: 'resolved', closeReason: 'retried as attempt 2' }]);
  });

  test('a canceled order is retried; so is one that a person called failed', async () => {
    const canceled = { ...(await queueCharge(book.db, 'canceled')), account: 'canceled' };
    await cancelOperation(book.db, canceled.operationId, { reason: 'wait', principal: 'os:ana' });
    expect(await retry(canceled)).toMatchObject({ kind: 'accepted' });
    const failed = await answered('unknown');
    await resolveOperation(book.db, {
      operationId: failed.operationId,
      verdict: 'failed',
      evidence: 'the dashboard shows nothing',
      pspReference: null,
      principal: 'os:ana',
      capabilitiesOf: () => capabilitiesOf('stripe'),
    });
    expect(await retry(failed)).toMatchObject({ kind: 'accepted' });
  });

  test('again and again: each decline may be followed by one attempt', async () => {
    const charge = await answered('declined');
    for (const number of [2, 3]) {
      expect(await retry(charge)).toMatchObject({ answer: { attempt_number: number } });
      await record(daemon, await claimOne(daemon, charge.account), REPLY.declined);
    }
    expect((await attemptsOf(charge)).map((attempt) => attempt.state)).toEqual([
      'declined',
      'declined',
      'declined',
    ]);
  });
});

describe('is refused', () => {
  test.each<[ReplyKind, string]>([
    ['unknown', 'attempt_unresolved'],
    ['pending', 'attempt_unresolved'],
    ['awaiting_customer', 'attempt_unresolved'],
    ['not_sent', 'attempt_unresolved'],
    ['rate_limited', 'attempt_unresolved'],
    ['config_error', 'attempt_unresolved'],
    ['succeeded', 'already_succeeded'],
  ])('while the attempt is %s: %s', async (kind, code) => {
    const charge = await answered(kind);
    const key = uniqueName('retry');
    expect(await retry(charge, { idempotencyKey: key })).toMatchObject({ kind: 'refused', code });
    expect(await attemptsOf(charge)).toHaveLength(1);
    const keys = await book.db.sql`select 1 from ${book.db.t.idempotencyKey} where key = ${key}`;
    expect([...keys]).toEqual([]);
  });

  test('before the first attempt was claimed, and while it is a dead letter in doubt', async () => {
    const waiting = { ...(await queueCharge(book.db, 'waiting')), account: 'waiting' };
    expect(await retry(waiting)).toMatchObject({ code: 'attempt_unresolved' });
    const lost = await answered('unknown');
    await makeDue(book.owner, lost.account);
    await record(daemon, await claimOne(daemon, lost.account), REPLY.not_found);
    expect(await standingOf(book.db, lost.operationId)).toMatchObject({ job: null });
    expect(await retry(lost)).toMatchObject({ code: 'attempt_unresolved' });
  });

  test('where the risk check stopped the order', async () => {
    const blocked = { ...NO_RISK, blockedBuyers: new Set(['buyer-1']) };
    const charge = await queueCharge(book.db, 'stopped', {}, { risk: blocked });
    expect(await retry({ ...charge, account: 'stopped' })).toMatchObject({ code: 'not_retryable' });
  });

  test('when money moved after all, though the order had ended as declined', async () => {
    const account = uniqueName('acct');
    const charge = await queueCharge(book.db, account);
    const task = await claimOne(daemon, account);
    await record(daemon, task, REPLY.declined);
    await record(daemon, task, REPLY.succeeded);
    expect(await retry({ ...charge, account })).toMatchObject({ code: 'already_succeeded' });
  });

  test('for an order of another payment, or none', async () => {
    const [one, other] = [await answered('declined'), await answered('declined')];
    expect(await retry({ ...one, orderId: other.orderId })).toMatchObject({ kind: 'not_found' });
    expect(await retry({ ...one, paymentId: 999_999n })).toMatchObject({ kind: 'not_found' });
  });
});

describe('a decline for good', () => {
  const HARD = { ...REPLY.declined, reason: 'lost_card', mayRetryAsNew: false } as const;
  const hardlyDeclined = async (): Promise<Charge> => {
    const account = uniqueName('acct');
    const charge = await queueCharge(book.db, account);
    await record(daemon, await claimOne(daemon, account), HARD);
    return { ...charge, account };
  };

  test('refuses the same method, by its reason, and takes another', async () => {
    const charge = await hardlyDeclined();
    const same = await retry(charge, { paymentMethod: 'pm_card_visa' });
    expect(same).toMatchObject({
      kind: 'refused',
      code: 'hard_decline',
      message: expect.stringContaining('lost_card'),
    });
    expect(await attemptsOf(charge)).toHaveLength(1);
    expect(await retry(charge)).toMatchObject({ kind: 'accepted' });
  });

  test('is remembered over later attempts', async () => {
    const charge = await hardlyDeclined();
    await retry(charge);
    await record(daemon, await claimOne(daemon, charge.account), REPLY.declined);
    expect(await retry(charge, { paymentMethod: 'pm_card_visa' })).toMatchObject({ code: 'hard_decline' });
    expect(await retry(charge)).toMatchObject({ kind: 'accepted' });
  });

  test('is what the PSP advised, and not a soft decline or a person’s word', async () => {
    const soft = await answered('declined');
    expect(await retry(soft, { paymentMethod: 'pm_card_visa' })).toMatchObject({ kind: 'accepted' });
    const lost = await answered('unknown');
    await resolveOperation(book.db, {
      operationId: lost.operationId,
      verdict: 'failed',
      evidence: 'nothing in the dashboard',
      pspReference: null,
      principal: 'os:ana',
      capabilitiesOf: () => capabilitiesOf('stripe'),
    });
    expect(await retry(lost, { paymentMethod: 'pm_card_visa' })).toMatchObject({ kind: 'accepted' });
  });
});

describe('a payment that is refunded when only a part succeeds', () => {
  /** Two orders; the replies of their first attempts. */
  const partial = async (first: ReplyKind, second: ReplyKind): Promise<readonly [Charge, Charge]> => {
    const account = uniqueName('acct');
    const request = paymentRequest({ orders: [orderRequest(), orderRequest()] });
    const [one, two] = await queueCharges(book.db, account, [request], { onPartial: 'refund' });
    const tasks = await claim(daemon, account);
    for (const [charge, kind] of [
      [one!, first],
      [two!, second],
    ] as const) {
      await record(daemon, tasks.find((task) => task.job.operationId === charge.operationId)!, REPLY[kind]);
    }
    return [
      { ...one!, account },
      { ...two!, account },
    ];
  };
  const giveBack = () =>
    refundPartials(book.db, {
      policy: { fee: 'proportional', overdraw: 'allowed' },
      bookKey: context.bookKey,
      principal: 'test',
      accountOf: () => ({ psp: 'stripe' }),
    });
  const refundsOf = async ({ orderId }: Charge): Promise<number> =>
    (await book.db.sql`select 1 from ${book.db.t.refund} where payment_order_id = ${orderId}`).length;

  test('is over once a part was given back: the buyer may have checked out again', async () => {
    const [paid, failed] = await partial('succeeded', 'declined');
    expect(await giveBack()).toMatchObject({ refunds: 1 });
    expect(await retry(failed)).toMatchObject({ kind: 'refused', code: 'payment_given_back' });
    expect(await attemptsOf(failed)).toHaveLength(1);
    expect(await refundsOf(paid)).toBe(1);
  });

  test('waits for the retry that came first, and is given back when that fails too', async () => {
    const [paid, failed] = await partial('succeeded', 'declined');
    expect(await retry(failed)).toMatchObject({ kind: 'accepted' });
    expect(await giveBack()).toEqual({ payments: 0, refunds: 0 });
    await record(daemon, await claimOne(daemon, failed.account), REPLY.declined);
    expect(await giveBack()).toEqual({ payments: 1, refunds: 1 });
    expect(await refundsOf(paid)).toBe(1);
  });

  test('is kept whole when the retry succeeds', async () => {
    const [paid, failed] = await partial('succeeded', 'declined');
    await retry(failed);
    await record(daemon, await claimOne(daemon, failed.account), REPLY.succeeded);
    expect(await giveBack()).toEqual({ payments: 1, refunds: 0 });
    expect([await refundsOf(paid), await refundsOf(failed)]).toEqual([0, 0]);
  });

  test('is watched again when its watch was over: one order that succeeds alone is given back', async () => {
    const [one, other] = await partial('declined', 'declined');
    expect(await giveBack()).toEqual({ payments: 1, refunds: 0 });
    expect(await retry(one)).toMatchObject({ kind: 'accepted' });
    await record(daemon, await claimOne(daemon, one.account), REPLY.succeeded);
    expect(await giveBack()).toEqual({ payments: 1, refunds: 1 });
    expect(await retry(other)).toMatchObject({ code: 'payment_given_back' });
  });

  test('is either given back or retried, never both, when both come at once', async () => {
    const seen = new Set<string>();
    for (let nth = 0; nth < 12; nth += 1) {
      const [paid, failed] = await partial('succeeded', 'declined');
      const pause = new Promise((resolve) => setTimeout(resolve, nth % 4));
      const [result] = await Promise.all([
        nth % 2 === 0 ? retry(failed) : pause.then(() => retry(failed)),
        nth % 2 === 0 ? pause.then(giveBack) : giveBack(),
      ]);
      expect(await refundsOf(paid)).toBe(result.kind === 'accepted' ? 0 : 1);
      expect(['accepted', 'refused']).toContain(result.kind);
      seen.add(result.kind);
      if (result.kind === 'accepted')
        await record(daemon, await claimOne(daemon, failed.account), REPLY.succeeded);
      await giveBack();
    }
    expect(seen.size).toBeGreaterThan(0);
  });

  test('two retries at once open one attempt', async () => {
    const [, failed] = await partial('succeeded', 'declined');
    const results = await Promise.all([retry(failed), retry(failed), retry(failed)]);
    expect(results.filter(({ kind }) => kind === 'accepted')).toHaveLength(1);
    expect(await attemptsOf(failed)).toHaveLength(2);
  });
});

describe('the risk check', () => {
  test('that blocks now is answered, uses up the key, and opens nothing', async () => {
    const charge = await answered('declined');
    const blocked = { ...NO_RISK, blockedBuyers: new Set(['buyer-1']) };
    const key = uniqueName('retry');
    const first = await retry(charge, { idempotencyKey: key }, blocked);
    expect(first).toMatchObject({
      kind: 'accepted',
      answer: { status: 'FAILED', attempt_number: null, risk: { decision: 'block' } },
    });
    expect(await attemptsOf(charge)).toHaveLength(1);
    // The same request gets the same answer, whatever the lists say by then.
    expect(await retry(charge, { idempotencyKey: key })).toMatchObject({
      kind: 'replayed',
      answer: { status: 'FAILED' },
    });
    expect(await retry(charge)).toMatchObject({ kind: 'accepted', answer: { attempt_number: 2 } });
  });

  test('looks at the whole payment', async () => {
    const account = uniqueName('acct');
    const orders = [orderRequest(), orderRequest({ seller: 'Shady' })];
    const [charge] = await queueCharges(book.db, account, [paymentRequest({ orders })]);
    for (const task of await claim(daemon, account)) await record(daemon, task, REPLY.declined);
    const blocked = { ...NO_RISK, blockedSellers: new Set(['Shady']) };
    expect(await retry({ ...charge!, account }, {}, blocked)).toMatchObject({
      answer: { risk: { decision: 'block' } },
    });
  });
});

describe('idempotency', () => {
  test('same key, same body: the same bytes, however the order stands by then', async () => {
    const charge = await answered('declined');
    const key = uniqueName('retry');
    const first = await retry(charge, { idempotencyKey: key });
    const again = await retry(charge, { idempotencyKey: key });
    await record(daemon, await claimOne(daemon, charge.account), REPLY.succeeded);
    const later = await retry(charge, { idempotencyKey: key });
    for (const replayed of [again, later]) {
      expect(replayed.kind).toBe('replayed');
      expect(replayed).toMatchObject({ body: 'body' in first ? first.body : '' });
    }
    expect(await attemptsOf(charge)).toHaveLength(2);
  });

  test('same key, other body: refused', async () => {
    const [one, other] = [await answered('declined'), await answered('declined')];
    const key = uniqueName('retry');
    await retry(one, { idempotencyKey: key });
    for (const result of [
      await retry(one, { idempotencyKey: key, paymentMethod: 'pm_third' }),
      await retry(other, { idempotencyKey: key }),
    ]) {
      expect(result).toMatchObject({ kind: 'idempotency_key_reused' });
    }
  });

  test('keys of payments and of retries are the same names', async () => {
    const charge = await answered('declined');
    const [payment] = await book.db.sql<{ idempotencyKey: string }[]>`
      select idempotency_key from ${book.db.t.payment} where id = ${charge.paymentId}`;
    expect(await retry(charge, { idempotencyKey: payment!.idempotencyKey })).toMatchObject({
      kind: 'idempotency_key_reused',
    });
    const key = uniqueName('retry');
    await retry(charge, { idempotencyKey: key });
    const [accepted] = await transact(book.db, async (tx) =>
      acceptPayments(
        tx,
        {
          policy: {
            route: routeTo('main'),
            onPartial: 'keep',
            fees: new Map(),
            risk: NO_RISK,
            releaseAfterDays: null,
          },
          bookKey: context.bookKey,
          principal: 'test',
          priority: 'online',
          batchId: null,
        },
        [fingerprint(paymentRequest({ idempotencyKey: key }))],
      ),
    );
    expect(accepted).toMatchObject({ kind: 'idempotency_key_reused' });
  });

  test('the same request ten times at once: one attempt, ten equal answers', async () => {
    const charge = await answered('declined');
    const key = uniqueName('retry');
    const results = await Promise.all(
      Array.from({ length: 10 }, () => retry(charge, { idempotencyKey: key })),
    );
    expect(new Set(results.map((result) => ('body' in result ? result.body : result.kind))).size).toBe(1);
    expect(results.filter((result) => result.kind === 'accepted')).toHaveLength(1);
    expect(await attemptsOf(charge)).toHaveLength(2);
  });

  test('ten requests with keys of their own at once: one attempt, nine refusals', async () => {
    const charge = await answered('declined');
    const results = await Promise.all(Array.from({ length: 10 }, () => retry(charge)));
    const kinds = results.map((result) => (result.kind === 'refused' ? result.code : result.kind));
    expect(kinds.toSorted()).toEqual(['accepted', ...Array.from({ length: 9 }, () => 'attempt_unresolved')]);
    expect(await attemptsOf(charge)).toHaveLength(2);
  });

  test('one key for two orders at once: one attempt, one refusal of the key', async () => {
    const [one, other] = [await answered('declined'), await answered('declined')];
    const key = uniqueName('retry');
    const results = await Promise.all([
      retry(one, { idempotencyKey: key }),
      retry(other, { idempotencyKey: key }),
    ]);
    expect(results.map((result) => result.kind).toSorted()).toEqual(['accepted', 'idempotency_key_reused']);
  });

  test('an order that somebody holds is answered "in progress", not waited for', async () => {
    const charge = await answered('declined');
    const other = book.connect(1);
    await transact(other, async (tx) => {
      await lockJobs(tx, [charge.operationId]);
      await tx.sql`select 1 from ${tx.t.operation} where id = ${charge.operationId} for update`;
      expect(await retry(charge)).toMatchObject({ kind: 'request_in_progress' });
    });
    expect(await retry(charge)).toMatchObject({ kind: 'accepted' });
  });
});

test('a late success of the first attempt is booked as that, and the second one, not yet claimed, is stopped', async () => {
  const charge = await answered('declined');
  await retry(charge);
  await applyOutside(book.db, [
    {
      operationId: charge.operationId,
      attemptNumber: 1,
      source: 'enquiry',
      reply: REPLY.succeeded,
      held: null,
    },
  ]);
  const [first, second] = await attemptsOf(charge);
  expect([first!.state, second!.state]).toEqual(['succeeded_surplus', 'not_sent']);
  expect(await standingOf(book.db, charge.operationId)).toMatchObject({
    subState: 'canceled',
    job: null,
    deadLetters: ['late_success'],
    entries: ['late_success'],
  });
  expect(await retry(charge)).toMatchObject({ kind: 'refused', code: 'already_succeeded' });
});

test.each(['waits', 'is over'] as const)(
  'a surplus success of the first attempt, while the release of the share %s, releases nothing more',
  async (release) => {
    const account = uniqueName('acct');
    const seller = uniqueName('Seller');
    const orders = [orderRequest({ seller })];
    const [charge] = await queueCharges(book.db, account, [paymentRequest({ orders })], {
      releaseAfterDays: 1,
    });
    const first = await claimOne(daemon, account);
    await record(daemon, first, REPLY.declined);
    await retry({ ...charge!, account });
    await record(daemon, await claimOne(daemon, account), { kind: 'succeeded', pspReference: 'pi_2' });
    const releaseNow = async () => {
      await book.owner.sql`
        update ${book.owner.t.fundRelease} set due_at = now() where operation_id = ${charge!.operationId}`;
      await releaseDueFunds(book.db, 'test:release');
    };
    if (release === 'is over') await releaseNow();
    expect(await record(daemon, first, REPLY.succeeded)).toMatchObject({
      right: 'settled',
      deadLetter: 'surplus_success',
    });
    await releaseNow();
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(1250n);
    expect(await balanceOf(book.db, `seller:${seller}:pending`, 'EUR')).toBe(0n);
    const left = await book.owner.sql`
      select 1 from ${book.owner.t.fundRelease} where operation_id = ${charge!.operationId}`;
    expect([...left]).toEqual([]);
  },
);
