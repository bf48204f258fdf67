/** A charge that the PSP takes back after it succeeded: by its own word, or found out by looking again. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  applyOutside,
  balanceOf,
  claimOne,
  openTestBook,
  orderRequest,
  paymentRequest,
  type QueuedCharge,
  queueCharges,
  REPLY,
  record,
  scriptedConnector,
  standingOf,
  startTestDaemon,
  type TestBook,
  turn,
  uniqueName,
} from '../../testing/fixtures.ts';
import { transact } from '../db/connection.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { paymentView } from '../payment/payment-answer.ts';
import { listPaymentRows } from '../payment/payment-store.ts';
import { getBookKey, recheckOperations } from '../queue/queue-store.ts';
import { submitRefunds } from '../refund/submit-refunds.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(async () => {
  const { verdict } = await verifyLedger(book.db);
  expect(verdict).toBe('balanced');
  await book.close();
});

type Charged = QueuedCharge & { readonly account: string; readonly seller: string };

async function charged(reply: 'succeeded' | 'pending' | 'unknown' = 'succeeded'): Promise<Charged> {
  const [account, seller] = [uniqueName('acct'), uniqueName('Seller')];
  const request = paymentRequest({ orders: [orderRequest({ seller, platformFeeMinor: 125n })] });
  const [charge] = await queueCharges(book.db, account, [request], { onPartial: 'refund' });
  await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY[reply]]));
  return { ...charge!, account, seller };
}

async function hear(charge: Charged, reply: 'succeeded' | 'declined' | 'reversed'): Promise<void> {
  const { operationId } = charge;
  await applyOutside(book.db, [
    { operationId, attemptNumber: 1, source: 'webhook', reply: REPLY[reply], held: null },
  ]);
}

const REVERSED = {
  subState: 'reversed',
  attemptState: 'reversed',
  entries: ['charge_succeeded', 'charge_reversed'],
  deadLetters: ['reversed_after_success'],
  job: null,
};

async function expectNothingLeft({ account, seller }: Charged): Promise<void> {
  expect(await balanceOf(book.db, `psp:${account}:receivable`, 'EUR')).toBe(0n);
  expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(0n);
}

describe('a charge that was done', () => {
  test('and that the PSP says it took back is reversed, once', async () => {
    const charge = await charged();
    await hear(charge, 'reversed');
    await hear(charge, 'reversed');
    expect(await standingOf(book.db, charge.operationId)).toMatchObject(REVERSED);
    await expectNothingLeft(charge);
  });

  test('and that is found declined by a look that began afterwards is reversed', async () => {
    const charge = await charged();
    await transact(book.db, (tx) => recheckOperations(tx, [charge.operationId]));
    await turn(await startTestDaemon(book.db), charge.account, scriptedConnector([REPLY.declined]));
    expect(await standingOf(book.db, charge.operationId)).toMatchObject(REVERSED);
    await expectNothingLeft(charge);
  });

  test('is only contradicted by a word that may be of before: a person looks, nothing is booked', async () => {
    const charge = await charged();
    await hear(charge, 'declined');
    expect(await standingOf(book.db, charge.operationId)).toMatchObject({
      subState: 'succeeded',
      deadLetters: ['contradicting_evidence'],
      entries: ['charge_succeeded'],
    });
  });

  test('is not undone by the answer of a look that began before it was done', async () => {
    const charge = await charged('unknown');
    const daemon = await startTestDaemon(book.db);
    await book.owner.sql`
      update ${book.owner.t.job} set action = 'recheck', run_at = now() where operation_id = ${charge.operationId}`;
    const task = await claimOne(daemon, charge.account);
    await hear(charge, 'succeeded');
    await record(daemon, task, REPLY.declined);
    expect((await standingOf(book.db, charge.operationId)).subState).toBe('succeeded');
  });

  test('counts as charged no more, and its payment waits for no refund', async () => {
    const charge = await charged();
    const shown = async () => paymentView(await listPaymentRows(book.db, [charge.paymentId]));
    expect(await shown()).toMatchObject({ status: 'SUCCESS', charged: [{ amount: '12.50' }] });
    await hear(charge, 'reversed');
    expect(await shown()).toMatchObject({ status: 'FAILED', charged: [] });
  });

  test('as one of two leaves the other one charged: the payment is partial, and nobody refunds it unasked', async () => {
    const account = uniqueName('acct');
    const orders = [orderRequest(), orderRequest()];
    const charges = await queueCharges(book.db, account, [paymentRequest({ orders })], {
      onPartial: 'refund',
    });
    for (const { operationId } of charges) {
      await book.owner
        .sql`update ${book.owner.t.operation} set sub_state = 'unknown' where id = ${operationId}`;
      await hear({ operationId } as Charged, 'succeeded');
    }
    await hear(charges[0] as Charged, 'reversed');
    const view = paymentView(await listPaymentRows(book.db, [charges[0]!.paymentId]));
    expect(view).toMatchObject({ status: 'FAILED', partial: true, charged: [{ amount: '12.50' }] });
  });

  test('is not refunded afterwards', async () => {
    const charge = await charged();
    await hear(charge, 'reversed');
    const context = {
      policy: { fee: 'proportional', overdraw: 'allowed' } as const,
      bookKey: await getBookKey(book.db),
      principal: 'test',
      accountOf: () => ({ psp: 'stripe' as const }),
    };
    const { orderId } = charge;
    const request = {
      refundId: uniqueName('r'),
      orderId,
      amount: null,
      reason: 'x',
      cause: 'request',
    } as const;
    expect(await submitRefunds(book.db, context, [request])).toMatchObject([
      { kind: 'not_refundable', message: expect.stringContaining('took the charge back') },
    ]);
  });
});

describe('a charge that was taken back before we heard that it was done', () => {
  test.each(['pending', 'unknown'] as const)(
    'and is %s ends as declined, also when its success is told later',
    async (reply) => {
      const charge = await charged(reply);
      await hear(charge, 'reversed');
      await hear(charge, 'succeeded');
      expect(await standingOf(book.db, charge.operationId)).toMatchObject({
        subState: 'declined',
        attemptState: 'reversed',
        entries: [],
        deadLetters: [],
        job: null,
      });
    },
  );
});
