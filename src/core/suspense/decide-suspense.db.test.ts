/** Money in suspense on a real book: it goes one way, once, whoever decides at the same time. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  applyOutside,
  balanceOf,
  openTestBook,
  orderRequest,
  paymentRequest,
  type QueuedCharge,
  queueCharges,
  REPLY,
  type ReplyKind,
  scriptedConnector,
  standingOf,
  startTestDaemon,
  type TestBook,
  turn,
  uniqueName,
} from '../../testing/fixtures.ts';
import { transact } from '../db/connection.ts';
import { applyDisputes } from '../dispute/apply-disputes.ts';
import { takeObservation } from '../dispute/dispute-store.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { retryOrder } from '../payment/retry-order.ts';
import { getBookKey } from '../queue/queue-store.ts';
import { submitRefunds } from '../refund/submit-refunds.ts';
import { adoptSuspense, refundSuspense } from './decide-suspense.ts';
import { suspenseStateOf } from './suspense.ts';
import { ANY_SUSPENSE, listSuspense } from './suspense-store.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(async () => {
  const { verdict } = await verifyLedger(book.db);
  expect(verdict).toBe('balanced');
  await book.close();
});

type Suspended = QueuedCharge & { readonly account: string; readonly seller: string };
type Options = { readonly releaseAfterDays?: number; readonly onPartial?: 'keep' | 'refund' };

/** What the PSP tells of an attempt, from outside the queue. */
async function hear(operationId: bigint, attemptNumber: number, reply: ReplyKind): Promise<void> {
  await applyOutside(book.db, [
    { operationId, attemptNumber, source: 'webhook', reply: REPLY[reply], held: null },
  ]);
}

/** A charge of 12.50 EUR, fee 1.25, that failed and moved the money after all. */
async function late(options: Options = {}): Promise<Suspended> {
  const [account, seller] = [uniqueName('acct'), uniqueName('Seller')];
  const request = paymentRequest({ orders: [orderRequest({ seller, platformFeeMinor: 125n })] });
  const [charge] = await queueCharges(book.db, account, [request], options);
  await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY.declined]));
  await hear(charge!.operationId, 1, 'succeeded');
  return { ...charge!, account, seller };
}

/** A charge that failed, succeeded in its second attempt, and then in the first one too. */
async function surplus(): Promise<Suspended> {
  const [account, seller] = [uniqueName('acct'), uniqueName('Seller')];
  const request = paymentRequest({ orders: [orderRequest({ seller, platformFeeMinor: 125n })] });
  const [charge] = await queueCharges(book.db, account, [request]);
  const daemon = await startTestDaemon(book.db);
  await turn(daemon, account, scriptedConnector([REPLY.declined]));
  const risk = {
    maxPaymentMinor: new Map(),
    blockedBuyers: new Set<string>(),
    blockedSellers: new Set<string>(),
  };
  const context = {
    risk,
    bookKey: await getBookKey(book.db),
    principal: 'test',
    accountOf: () => ({ psp: 'stripe' as const }),
  };
  const retry = {
    orderId: charge!.orderId,
    paymentMethod: 'pm_card_visa',
    idempotencyKey: uniqueName('key'),
  };
  expect((await retryOrder(book.db, context, charge!.paymentId, retry)).kind).toBe('accepted');
  await turn(daemon, account, scriptedConnector([{ kind: 'succeeded', pspReference: 'pi_2' }]));
  await hear(charge!.operationId, 1, 'succeeded');
  return { ...charge!, account, seller };
}

const ref = ({ operationId }: QueuedCharge) => ({ operationId, attemptNumber: 1 });
const DECIDER = { principal: 'os:ana', reason: 'the shop delivers' };

function adopt(charge: QueuedCharge) {
  return adoptSuspense(book.db, DECIDER, ref(charge));
}

async function giveBack(charge: QueuedCharge, refundId = `suspense:${charge.operationId}`) {
  const bookKey = await getBookKey(book.db);
  const refunder = { ...DECIDER, bookKey, accountOf: () => ({ psp: 'stripe' as const }) };
  return refundSuspense(book.db, refunder, ref(charge), refundId);
}

/** The operation of an accepted refund. */
async function refundOperation(charge: QueuedCharge, refundId?: string): Promise<bigint> {
  const result = await giveBack(charge, refundId);
  if (result.kind !== 'accepted') throw new Error(result.kind);
  return result.suspense.refundOperationId!;
}

async function send(charge: Suspended, reply: ReplyKind): Promise<void> {
  await turn(await startTestDaemon(book.db), charge.account, scriptedConnector([REPLY[reply]]));
}

async function stateOf(charge: QueuedCharge): Promise<string> {
  const [one] = await listSuspense(book.db, { ...ANY_SUSPENSE, refs: [ref(charge)] });
  return suspenseStateOf(one!);
}

const inSuspense = ({ account }: Suspended) => balanceOf(book.db, `suspense:${account}`, 'EUR');
const receivable = ({ account }: Suspended) => balanceOf(book.db, `psp:${account}:receivable`, 'EUR');
const owed = ({ seller }: Suspended, purpose = 'available') =>
  balanceOf(book.db, `seller:${seller}:${purpose}`, 'EUR');

describe('a late success', () => {
  test('is adopted: the order is charged, the seller is owed it, and the letter is closed', async () => {
    const charge = await late();
    expect(await inSuspense(charge)).toBe(1250n);
    expect(await adopt(charge)).toMatchObject({ kind: 'adopted', suspense: { isAdopted: true } });
    expect(await inSuspense(charge)).toBe(0n);
    expect(await owed(charge)).toBe(1125n);
    expect(await standingOf(book.db, charge.operationId)).toMatchObject({
      subState: 'succeeded',
      attemptState: 'succeeded',
      pspReference: 'pi_1',
      entries: ['late_success', 'suspense_adopted'],
      deadLetters: [],
    });
    expect(await adopt(charge)).toMatchObject({ kind: 'refused', code: 'not_in_suspense' });
    expect(await giveBack(charge)).toMatchObject({ kind: 'refused', code: 'not_in_suspense' });
  });

  test('that is adopted waits to be released as the order’s policy says, and can be refunded like any other', async () => {
    const charge = await late({ releaseAfterDays: 3 });
    await adopt(charge);
    expect([await owed(charge, 'pending'), await owed(charge)]).toEqual([1125n, 0n]);
    const context = {
      policy: { fee: 'proportional', overdraw: 'allowed' } as const,
      bookKey: await getBookKey(book.db),
      principal: 'test',
      accountOf: () => ({ psp: 'stripe' as const }),
    };
    const request = {
      refundId: uniqueName('r'),
      orderId: charge.orderId,
      amount: null,
      reason: 'x',
      cause: 'request',
    };
    const [result] = await submitRefunds(book.db, context, [
      request as Parameters<typeof submitRefunds>[2][number],
    ]);
    expect(result).toMatchObject({ kind: 'accepted', refund: { amountMinor: 1250n } });
  });

  test('is given back: once, by an operation of its own, and never booked before it is done', async () => {
    const charge = await late();
    const operationId = await refundOperation(charge);
    expect([await inSuspense(charge), await stateOf(charge)]).toEqual([1250n, 'refunding']);
    expect(await giveBack(charge)).toMatchObject({ kind: 'replayed' });
    expect(await giveBack(charge, 'another')).toMatchObject({ kind: 'refused', code: 'not_in_suspense' });
    expect(await adopt(charge)).toMatchObject({ kind: 'refused', code: 'not_in_suspense' });
    await send(charge, 'succeeded');
    expect([await inSuspense(charge), await receivable(charge), await stateOf(charge)]).toEqual([
      0n,
      0n,
      'refunded',
    ]);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      entries: ['suspense_refunded'],
    });
    expect((await standingOf(book.db, charge.operationId)).deadLetters).toEqual([]);
    expect(await owed(charge)).toBe(0n);
    expect(await giveBack(charge, 'another')).toMatchObject({ kind: 'refused' });
  });

  test('whose refund the PSP declines stays in suspense, with a letter; another name tries again', async () => {
    const charge = await late();
    const first = await refundOperation(charge);
    await send(charge, 'declined');
    expect((await standingOf(book.db, first)).deadLetters).toEqual(['refund_declined']);
    expect([await inSuspense(charge), await stateOf(charge)]).toEqual([1250n, 'open']);
    expect(await giveBack(charge)).toMatchObject({
      kind: 'replayed',
      suspense: { refundSubState: 'declined' },
    });
    await refundOperation(charge, uniqueName('again'));
    await send(charge, 'succeeded');
    expect([await inSuspense(charge), await stateOf(charge)]).toEqual([0n, 'refunded']);
  });

  test('whose refund fails after it was done is in suspense again', async () => {
    const charge = await late();
    const operationId = await refundOperation(charge);
    await send(charge, 'succeeded');
    await hear(operationId, 1, 'declined');
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'reversed',
      deadLetters: ['reversed_after_success'],
    });
    expect([await inSuspense(charge), await stateOf(charge)]).toEqual([1250n, 'open']);
    expect((await adopt(charge)).kind).toBe('adopted');
  });

  test('that the PSP takes back before anybody decided leaves suspense, and the order as it was', async () => {
    const charge = await late();
    await hear(charge.operationId, 1, 'reversed');
    expect([await inSuspense(charge), await receivable(charge)]).toEqual([0n, 0n]);
    expect(await standingOf(book.db, charge.operationId)).toMatchObject({
      subState: 'declined',
      attemptState: 'reversed',
    });
    expect(await adopt(charge)).toMatchObject({ kind: 'not_found' });
  });

  test('that was adopted can be taken back by the PSP like any charge', async () => {
    const charge = await late();
    await adopt(charge);
    await hear(charge.operationId, 1, 'reversed');
    expect(await standingOf(book.db, charge.operationId)).toMatchObject({
      subState: 'reversed',
      entries: ['late_success', 'suspense_adopted', 'charge_reversed'],
    });
    expect([await owed(charge), await receivable(charge)]).toEqual([0n, 0n]);
  });

  test('of a part of a payment whose other part failed is not adopted: what is charged of it is given back', async () => {
    const account = uniqueName('acct');
    const orders = [orderRequest(), orderRequest()];
    const charges = await queueCharges(book.db, account, [paymentRequest({ orders })], {
      onPartial: 'refund',
    });
    for (const charge of charges) await hearUnsent(charge.operationId);
    await hear(charges[0]!.operationId, 1, 'succeeded');
    expect(await adopt(charges[0]!)).toMatchObject({ kind: 'refused', code: 'part_refunded' });
  });
});

/** The PSP tells of a charge that no daemon has seen through. */
async function hearUnsent(operationId: bigint): Promise<void> {
  await book.owner.sql`
    update ${book.owner.t.operation} set sub_state = 'unknown' where id = ${operationId}`;
  await hear(operationId, 1, 'declined');
}

describe('a surplus success', () => {
  test('is never adopted, and given back without touching what the order was charged', async () => {
    const charge = await surplus();
    expect(await adopt(charge)).toMatchObject({ kind: 'refused', code: 'order_succeeded' });
    await refundOperation(charge);
    await send(charge, 'succeeded');
    expect([await inSuspense(charge), await receivable(charge), await owed(charge)]).toEqual([
      0n,
      1250n,
      1125n,
    ]);
    expect(await standingOf(book.db, charge.operationId)).toMatchObject({
      subState: 'succeeded',
      attemptState: 'succeeded',
      deadLetters: [],
    });
  });

  test('that the PSP takes back leaves the order charged', async () => {
    const charge = await surplus();
    await hear(charge.operationId, 1, 'reversed');
    expect([await inSuspense(charge), await owed(charge)]).toEqual([0n, 1125n]);
    expect((await standingOf(book.db, charge.operationId)).subState).toBe('succeeded');
  });
});

describe('exactly one of two', () => {
  test('who adopt and refund at once', async () => {
    for (let round = 0; round < 5; round += 1) {
      const charge = await late();
      const [adoption, refund] = await Promise.all([adopt(charge), giveBack(charge)]);
      expect([adoption.kind, refund.kind].filter((kind) => kind === 'refused')).toHaveLength(1);
    }
  });

  test('who refund it under two names at once; the same name twice is one refund', async () => {
    const charge = await late();
    const results = await Promise.all([giveBack(charge, uniqueName('a')), giveBack(charge, uniqueName('b'))]);
    expect(results.map((result) => result.kind).sort()).toEqual(['accepted', 'refused']);
    const other = await late();
    const twice = await Promise.all([giveBack(other), giveBack(other)]);
    expect(twice.map((result) => result.kind).sort()).toEqual(['accepted', 'replayed']);
  });

  test('a name belongs to one refund for ever', async () => {
    const [one, two] = [await late(), await late()];
    const name = uniqueName('name');
    await giveBack(one, name);
    expect(await giveBack(two, name)).toMatchObject({ kind: 'refund_id_reused' });
  });

  test('the database refuses a second decision, whatever the program believes', async () => {
    const charge = await late();
    await giveBack(charge);
    const insert = book.db.sql`
      insert into ${book.db.t.suspenseDecision} (id, operation_id, attempt_number, kind, reason, principal)
      values (nextval('paygate.object_id'), ${charge.operationId}, 1, 'adopt', 'x', 'x')`;
    await expect(insert).rejects.toMatchObject({ code: 'PG007' });
  });

  test('the bank decides about what is disputed', async () => {
    const charge = await late();
    const observation = await takeObservation(book.db);
    const fact = {
      pspAccount: charge.account,
      pspReference: uniqueName('du'),
      ...ref(charge),
      amountMinor: 1250n,
      currency: 'EUR',
      reason: 'fraudulent',
    };
    const context = { principal: 'test', policy: { lostFee: 'platform_fees' } } as const;
    await transact(book.db, (tx) => applyDisputes(tx, context, [{ ...fact, state: 'opened', observation }]));
    expect(await stateOf(charge)).toBe('disputed');
    expect(await adopt(charge)).toMatchObject({ kind: 'refused', code: 'not_in_suspense' });
    expect(await giveBack(charge)).toMatchObject({ kind: 'refused', code: 'not_in_suspense' });
    const later = await takeObservation(book.db);
    await transact(book.db, (tx) =>
      applyDisputes(tx, context, [{ ...fact, state: 'won', observation: later }]),
    );
    expect((await adopt(charge)).kind).toBe('adopted');
  });
});

describe('is refused', () => {
  test('what is not there', async () => {
    expect(await adopt({ operationId: 999_999_999n } as QueuedCharge)).toMatchObject({ kind: 'not_found' });
    const account = uniqueName('acct');
    const [charge] = await queueCharges(book.db, account, [paymentRequest()]);
    expect(await giveBack(charge!)).toMatchObject({ kind: 'not_found' });
  });

  test('an adoption while another attempt may still charge the buyer', async () => {
    const charge = await late();
    await book.owner.sql`
      insert into ${book.owner.t.attempt} (operation_id, number, idempotency_key, request, state)
      values (${charge.operationId}, 2, ${uniqueName('k')}, '{}', 'unknown')`;
    expect(await adopt(charge)).toMatchObject({ kind: 'refused', code: 'attempt_unresolved' });
    expect((await giveBack(charge)).kind).toBe('accepted');
  });
});
