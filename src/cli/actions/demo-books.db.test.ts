/** What the demo takes for booked, on a real book. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatId } from '../../core/ids.ts';
import { claimTasks } from '../../core/operation/execute-operations.ts';
import { laneOf } from '../../core/queue/job.ts';
import { getBookKey } from '../../core/queue/queue-store.ts';
import { submitRefunds } from '../../core/refund/submit-refunds.ts';
import {
  openTestBook,
  orderRequest,
  paymentRequest,
  queueCharges,
  REPLY,
  type ReplyKind,
  record,
  scriptedConnector,
  startTestDaemon,
  type TestBook,
  turn,
  uniqueName,
} from '../../testing/fixtures.ts';
import { fundedSeller, pay, payoutRequest } from '../../testing/payout-fixtures.ts';
import { listCharged, listPaidOut, listRefunded } from './demo-books.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

const account = uniqueName('acct');

async function charge(reply: ReplyKind): Promise<bigint> {
  const request = paymentRequest({ orders: [orderRequest()] });
  const [queued] = await queueCharges(book.db, account, [request]);
  await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY[reply]]));
  return queued!.orderId;
}

test('only what has succeeded has moved; a refund stands beside its charge', async () => {
  const [paid, declined] = [await charge('succeeded'), await charge('declined')];
  const named = (orderId: bigint) => ({
    name: formatId('order', orderId),
    reference: formatId('order', orderId),
  });
  expect(await listCharged(book.db)).toEqual([
    { ...named(declined), moved: 'nothing' },
    { ...named(paid), moved: '1250 eur' },
  ]);

  await submitRefunds(
    book.db,
    {
      policy: { fee: 'proportional', overdraw: 'allowed' },
      bookKey: await getBookKey(book.db),
      principal: 'test:demo',
      accountOf: () => ({ psp: 'stripe' }),
    },
    [{ refundId: 'return-1', orderId: paid, amount: '5.00', reason: 'test', cause: 'request' }],
  );
  expect(await listRefunded(book.db)).toMatchObject([{ moved: 'nothing' }]);
  await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY.succeeded]));
  const [refund] = await listRefunded(book.db);
  expect(refund).toMatchObject({ moved: '500 eur', reference: expect.stringMatching(/^op_\d+$/) });
  expect(await listCharged(book.db)).toContainEqual({ ...named(paid), moved: '1250 eur' });
});

test('a payout that was refused has no place in the comparison, a sent one has when it was paid', async () => {
  const seller = await fundedSeller(book.db, account, '20.00');
  await pay(book.db, account, [payoutRequest(seller, '5.00'), payoutRequest(seller, '900.00')]);
  expect(await listPaidOut(book.db)).toMatchObject([{ moved: 'nothing' }]);
  const daemon = await startTestDaemon(book.db);
  const tasks = await claimTasks(daemon.context, laneOf(account, 'batch'), 2, scriptedConnector([]));
  expect(tasks).toHaveLength(1);
  await record(daemon, tasks[0]!, REPLY.succeeded);
  expect(await listPaidOut(book.db)).toMatchObject([{ moved: '500 eur' }]);
});
