/** Disputes on a real book: what the bank takes is booked once, in any order, and never refunded as well. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  applyOutside,
  balanceOf,
  claimOne,
  openTestBook,
  orderRequest,
  paymentRequest,
  queueCharges,
  REPLY,
  scriptedConnector,
  standingOf,
  startTestDaemon,
  type TestBook,
  turn,
  uniqueName,
  untilBlocked,
} from '../../testing/fixtures.ts';
import { transact } from '../db/connection.ts';
import { formatId } from '../ids.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { type Currency, parseCurrency } from '../money.ts';
import type { DisputeReply, DisputeState } from '../psp/psp.ts';
import { getBookKey } from '../queue/queue-store.ts';
import { acceptRefunds, type RefundContext, type RefundResult } from '../refund/accept-refunds.ts';
import { submitRefunds } from '../refund/submit-refunds.ts';
import { acceptWebhooks } from '../webhook/accept-webhooks.ts';
import { type AppliedDispute, applyDisputes } from './apply-disputes.ts';
import type { DisputeFact } from './dispute.ts';
import { ANY_DISPUTE, listDisputes, takeObservation } from './dispute-store.ts';
import { type Looked, lookAtDisputes } from './look-at-disputes.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(async () => {
  const { verdict } = await verifyLedger(book.db);
  expect(verdict).toBe('balanced');
  await book.close();
});

const EUR = parseCurrency('EUR') as Currency;
const CONTEXT = { principal: 'test:dispute', policy: { lostFee: 'platform_fees' } } as const;

type Charged = {
  readonly account: string;
  readonly seller: string;
  readonly orderId: bigint;
  readonly operationId: bigint;
};

/** A charge of 12.50 EUR with a fee of 1.25 that has succeeded, for a seller of its own. */
async function charged(reply: 'succeeded' | 'pending' = 'succeeded'): Promise<Charged> {
  const [account, seller] = [uniqueName('acct'), uniqueName('Seller')];
  const request = paymentRequest({ orders: [orderRequest({ seller, platformFeeMinor: 125n })] });
  const [charge] = await queueCharges(book.db, account, [request]);
  await turn(await startTestDaemon(book.db), account, scriptedConnector([REPLY[reply]]));
  return { account, seller, ...charge! };
}

async function fact(charge: Charged, changes: Partial<DisputeFact> = {}): Promise<DisputeFact> {
  return {
    pspAccount: charge.account,
    pspReference: `du_${charge.operationId}`,
    operationId: charge.operationId,
    attemptNumber: 1,
    amountMinor: 1250n,
    currency: 'EUR',
    reason: 'fraudulent',
    state: 'opened',
    observation: await takeObservation(book.db),
    ...changes,
  };
}

async function tell(charge: Charged, changes: Partial<DisputeFact> = {}): Promise<AppliedDispute> {
  const one = await fact(charge, changes);
  const [applied] = await transact(book.db, (tx) => applyDisputes(tx, CONTEXT, [one]));
  return applied!;
}

const books = async ({ account, seller }: Charged) => ({
  available: await balanceOf(book.db, `seller:${seller}:available`, 'EUR'),
  inDispute: await balanceOf(book.db, `seller:${seller}:in_dispute`, 'EUR'),
  inRefund: await balanceOf(book.db, `seller:${seller}:in_refund`, 'EUR'),
  disputes: await balanceOf(book.db, `psp:${account}:disputes`, 'EUR'),
  receivable: await balanceOf(book.db, `psp:${account}:receivable`, 'EUR'),
});

const OPEN = { available: 0n, inDispute: 1125n, inRefund: 0n, disputes: 1250n, receivable: 0n };
const WON = { available: 1125n, inDispute: 0n, inRefund: 0n, disputes: 0n, receivable: 1250n };
const LOST = { available: 0n, inDispute: 0n, inRefund: 0n, disputes: 0n, receivable: 0n };

async function entriesOf(pspReference: string): Promise<readonly string[]> {
  const [dispute] = await listDisputes(book.db, { ...ANY_DISPUTE, pspReference });
  const name = formatId('dispute', dispute!.id);
  const rows = await book.db.sql<{ entry: string }[]>`
    select cause || ' ' || kind as entry from ${book.db.t.journalEntry}
     where cause = ${name} or starts_with(cause, ${`${name}/`}) order by id`;
  return rows.map((row) => row.entry.replace(name, 'dsp'));
}

async function refundContext(): Promise<RefundContext> {
  return {
    policy: { fee: 'proportional', overdraw: 'allowed' },
    bookKey: await getBookKey(book.db),
    principal: 'test:refund',
    accountOf: () => ({ psp: 'stripe' }),
  };
}

const refundOf = (charge: Charged, amount: string | null) =>
  ({ refundId: uniqueName('r'), orderId: charge.orderId, amount, reason: 'test', cause: 'request' }) as const;

async function refund(charge: Charged, amount: string | null): Promise<RefundResult> {
  const [result] = await submitRefunds(book.db, await refundContext(), [refundOf(charge, amount)]);
  return result!;
}

describe('a dispute', () => {
  test('holds the money while it is open, and is won', async () => {
    const charge = await charged();
    expect((await tell(charge)).verdict).toMatchObject({ kind: 'moves', from: 'none' });
    expect(await books(charge)).toEqual(OPEN);
    await tell(charge, { state: 'won' });
    expect(await books(charge)).toEqual(WON);
    expect(await entriesOf(`du_${charge.operationId}`)).toEqual(['dsp dispute_opened', 'dsp dispute_won']);
  });

  test('that is lost takes the seller’s share, and by policy the platform’s fee', async () => {
    const charge = await charged();
    const before = await balanceOf(book.db, 'platform:fees', 'EUR');
    await tell(charge);
    await tell(charge, { state: 'lost' });
    expect(await books(charge)).toEqual(LOST);
    expect(await balanceOf(book.db, 'platform:fees', 'EUR')).toBe(before - 125n);
    const [row] = await listDisputes(book.db, { ...ANY_DISPUTE, orderId: charge.orderId });
    expect(row).toMatchObject({
      state: 'lost',
      borneBy: 'platform_fees',
      sellerShareMinor: 1125n,
      holder: 'seller',
    });
  });

  test('is written off instead where the policy says so', async () => {
    const charge = await charged();
    const before = await balanceOf(book.db, 'expense:write_off', 'EUR');
    const one = await fact(charge, { state: 'lost' });
    const context = { principal: 'test', policy: { lostFee: 'write_off' } } as const;
    await transact(book.db, (tx) => applyDisputes(tx, context, [one]));
    expect(await balanceOf(book.db, 'expense:write_off', 'EUR')).toBe(before + 125n);
  });

  test('of which only the end was ever heard books the beginning too', async () => {
    const charge = await charged();
    await tell(charge, { state: 'lost' });
    expect(await books(charge)).toEqual(LOST);
    expect(await entriesOf(`du_${charge.operationId}`)).toEqual(['dsp dispute_opened', 'dsp dispute_lost']);
  });

  test('takes the wallet below zero when the seller has nothing left', async () => {
    const charge = await charged();
    await refund(charge, '10.00');
    await turn(await startTestDaemon(book.db), charge.account, scriptedConnector([REPLY.succeeded]));
    expect((await tell(charge)).isPaidTwice).toBe(true);
    expect((await books(charge)).available).toBeLessThan(0n);
    expect((await standingOf(book.db, charge.operationId)).deadLetters).toEqual(['refund_and_dispute']);
  });

  test('that goes back and forth ends as if it had gone straight', async () => {
    const charge = await charged();
    for (const state of ['opened', 'won', 'lost', 'won', 'opened', 'lost', 'opened', 'won'] as const)
      await tell(charge, { state });
    expect(await books(charge)).toEqual(WON);
    expect(await balanceOf(book.db, `psp:${charge.account}:disputes`, 'EUR')).toBe(0n);
  });

  test('of a part shares the fee in proportion; two of them never share it twice', async () => {
    const charge = await charged();
    await tell(charge, { amountMinor: 500n, pspReference: 'du_part_1', state: 'lost' });
    await tell(charge, { amountMinor: 750n, pspReference: 'du_part_2', state: 'lost' });
    expect(await books(charge)).toEqual(LOST);
  });
});

describe('does no harm', () => {
  test('the same thing told again', async () => {
    const charge = await charged();
    await tell(charge);
    expect((await tell(charge)).verdict.kind).toBe('unchanged');
    expect(await books(charge)).toEqual(OPEN);
  });

  test('what was read earlier and comes later', async () => {
    const charge = await charged();
    const early = await fact(charge);
    await tell(charge, { state: 'won' });
    const [applied] = await transact(book.db, (tx) => applyDisputes(tx, CONTEXT, [early]));
    expect(applied!.verdict.kind).toBe('stale');
    expect(await books(charge)).toEqual(WON);
  });

  test('an older read behind a newer one that found nothing new', async () => {
    const charge = await charged();
    await tell(charge, { state: 'won' });
    const old = await fact(charge, { state: 'lost' });
    await tell(charge, { state: 'won' });
    const [applied] = await transact(book.db, (tx) => applyDisputes(tx, CONTEXT, [old]));
    expect(applied!.verdict.kind).toBe('stale');
  });

  test('two daemons that read the same new dispute at once', async () => {
    const charge = await charged();
    const facts = [await fact(charge), await fact(charge)];
    const kinds = await Promise.all(
      facts.map((one) => transact(book.db, (tx) => applyDisputes(tx, CONTEXT, [one]))),
    );
    expect(kinds.flat().map((one) => one.verdict.kind)).toContain('moves');
    expect(await books(charge)).toEqual(OPEN);
  });

  test('a dispute of nothing of ours, of another account’s charge, in another currency, too early', async () => {
    const [charge, pending] = [await charged(), await charged('pending')];
    for (const [one, changes] of [
      [charge, { operationId: 999_999_999n }],
      [charge, { attemptNumber: 7 }],
      [charge, { pspAccount: 'another' }],
      [charge, { currency: 'USD' }],
      [pending, {}],
    ] as const) {
      expect((await tell(one, changes)).verdict.kind).toBe('unmatched');
    }
    expect(await books(charge)).toEqual(WON);
  });

  test('another amount than before: a person looks', async () => {
    const charge = await charged();
    await tell(charge);
    expect((await tell(charge, { amountMinor: 1000n, state: 'lost' })).verdict.kind).toBe('differs');
    expect(await books(charge)).toEqual(OPEN);
    expect((await standingOf(book.db, charge.operationId)).deadLetters).toEqual(['contradicting_evidence']);
  });
});

describe('what is disputed is not refunded as well', () => {
  test('a refund beyond what the bank left is refused, and one after a win is not', async () => {
    const charge = await charged();
    await tell(charge, { amountMinor: 1000n });
    expect(await refund(charge, '2.51')).toMatchObject({
      kind: 'over_refund',
      message: expect.stringContaining('10.00 EUR of it is disputed'),
    });
    expect((await refund(charge, '2.50')).kind).toBe('accepted');
    await tell(charge, { amountMinor: 1000n, state: 'lost' });
    expect((await refund(charge, null)).kind).toBe('over_refund');
    const other = await charged();
    await tell(other);
    expect((await refund(other, null)).kind).toBe('over_refund');
    await tell(other, { state: 'won' });
    expect((await refund(other, null)).kind).toBe('accepted');
  });

  test('a refund that nobody has sent yet is canceled when the bank takes the money', async () => {
    const charge = await charged();
    const result = await refund(charge, null);
    if (result.kind !== 'accepted') throw new Error(result.kind);
    const applied = await tell(charge);
    expect(applied).toMatchObject({ canceledRefunds: [result.refund.operationId], isPaidTwice: false });
    expect(await standingOf(book.db, result.refund.operationId)).toMatchObject({
      subState: 'canceled',
      job: null,
    });
    expect(await books(charge)).toEqual(OPEN);
  });

  test('only as many refunds are canceled as it takes, the youngest first', async () => {
    const charge = await charged();
    const results = [
      await refund(charge, '4.00'),
      await refund(charge, '4.00'),
      await refund(charge, '4.00'),
    ];
    const ids = results.map((result) => (result.kind === 'accepted' ? result.refund.operationId : 0n));
    const { canceledRefunds } = await tell(charge, { amountMinor: 800n });
    expect(canceledRefunds).toEqual([ids[2], ids[1]]);
  });

  test('one that a daemon has in hand is not: both are booked, and a person is told', async () => {
    const charge = await charged();
    await refund(charge, null);
    const daemon = await startTestDaemon(book.db);
    await claimOne(daemon, charge.account);
    expect(await tell(charge)).toMatchObject({ canceledRefunds: [], isPaidTwice: true });
    expect((await standingOf(book.db, charge.operationId)).deadLetters).toEqual(['refund_and_dispute']);
  });

  test('on two connections at once exactly one of both takes the money: the dispute is first', async () => {
    const charge = await charged();
    const [one, context] = [await fact(charge), await refundContext()];
    const [first, second] = [book.connect(1), book.connect(1)];
    let result: Promise<readonly RefundResult[]> | undefined;
    await transact(first, async (tx) => {
      await applyDisputes(tx, CONTEXT, [one]);
      result = transact(second, (other) => acceptRefunds(other, context, [refundOf(charge, null)]));
      await untilBlocked(book.owner, 'for no key update');
    });
    expect(await result).toMatchObject([{ kind: 'over_refund' }]);
    expect(await books(charge)).toEqual(OPEN);
  });

  test('on two connections at once exactly one of both takes the money: the refund is first', async () => {
    const charge = await charged();
    const [one, context] = [await fact(charge), await refundContext()];
    const [first, second] = [book.connect(1), book.connect(1)];
    let result: Promise<readonly AppliedDispute[]> | undefined;
    await transact(first, async (tx) => {
      await acceptRefunds(tx, context, [refundOf(charge, null)]);
      result = transact(second, (other) => applyDisputes(other, CONTEXT, [one]));
      await untilBlocked(book.owner, 'for update');
    });
    const [applied] = await result!;
    // It waited for the refund, which it could not see before: nobody has sent it, so that it is taken back.
    expect(applied).toMatchObject({ verdict: { kind: 'moves' }, isPaidTwice: false });
    expect(await books(charge)).toEqual(OPEN);
  });

  test('the database refuses it, whatever the program believes', async () => {
    const charge = await charged();
    await tell(charge, { amountMinor: 1n });
    const insert = book.owner.sql`
      with o as (insert into ${book.owner.t.operation} (id, kind, payment_order_id, psp_account, amount_minor, currency, sub_state, seller)
                 values (nextval('paygate.object_id'), 'refund', ${charge.orderId}, 'x', 1250, 'EUR', 'queued', 'x') returning id)
      insert into ${book.owner.t.refund} (id, refund_id, fingerprint, payment_id, payment_order_id, operation_id, amount_minor, currency, fee_share_minor, cause, reason, principal)
      select nextval('paygate.object_id'), ${uniqueName('r')}, ''::bytea, 1, ${charge.orderId}, id, 1250, 'EUR', 0, 'request', 'x', 'x' from o`;
    await expect(insert).rejects.toMatchObject({ code: expect.stringMatching(/^(PG005|23503)$/) });
  });
});

async function hear({ operationId }: Charged, reply: 'declined' | 'succeeded'): Promise<void> {
  await applyOutside(book.db, [
    { operationId, attemptNumber: 1, source: 'webhook', reply: REPLY[reply], held: null },
  ]);
}

describe('of money in suspense', () => {
  async function late(): Promise<Charged> {
    const charge = await charged('pending');
    await hear(charge, 'declined');
    await hear(charge, 'succeeded');
    return charge;
  }

  test('a lost dispute takes it from there, and no seller bears anything', async () => {
    const charge = await late();
    expect(await balanceOf(book.db, `suspense:${charge.account}`, 'EUR')).toBe(1250n);
    await tell(charge, { state: 'lost' });
    expect(await balanceOf(book.db, `suspense:${charge.account}`, 'EUR')).toBe(0n);
    expect(await books(charge)).toEqual(LOST);
  });
});

describe('news of a dispute', () => {
  async function key(operationId: bigint): Promise<string> {
    const [row] = await book.db.sql<{ key: string }[]>`
      select idempotency_key as key from ${book.db.t.attempt} where operation_id = ${operationId}`;
    return row!.key;
  }

  async function found(charge: Charged, state: DisputeState): Promise<DisputeReply> {
    return {
      kind: 'found',
      state,
      reason: 'fraudulent',
      amountMinor: 1250n,
      currency: EUR,
      idempotencyKey: await key(charge.operationId),
      operationReference: formatId('operation', charge.operationId),
    };
  }

  async function deliver(charge: Charged, type: string, word: 'ask' | 'signed') {
    const reference = `du_${charge.operationId}`;
    const said = {
      code: type,
      chargeReference: 'pi_1',
      money: { amountMinor: 1250n, currency: EUR },
      reason: 'fraud',
    };
    const { context } = await startTestDaemon(book.db);
    return acceptWebhooks(book.db, context, charge.account, [
      {
        eventId: uniqueName('evt'),
        type,
        operationId: word === 'ask' ? null : charge.operationId,
        pspReference: 'pi_1',
        says: null,
        dispute: { reference, word: word === 'ask' ? null : said },
      },
    ]);
  }

  async function look(charge: Charged, ...replies: readonly DisputeReply[]): Promise<readonly Looked[]> {
    await book.owner.sql`
      update ${book.owner.t.disputeLook} set run_at = now() - interval '1 s' where psp_account = ${charge.account}`;
    const left = [...replies];
    const dispute = async (): Promise<DisputeReply> => {
      const reply = left.shift();
      if (reply === undefined) throw new Error('asked too often');
      return reply;
    };
    const accounts = new Map([[charge.account, { connector: { dispute }, timeoutMs: 1_000 }]]);
    return lookAtDisputes(book.db, { ...CONTEXT, accounts });
  }

  async function waiting({ account }: Charged): Promise<number> {
    const rows = await book.db.sql`select 1 from ${book.db.t.disputeLook} where psp_account = ${account}`;
    return rows.length;
  }

  test('makes a daemon ask, and what the PSP answers is booked; many events are one question', async () => {
    const charge = await charged();
    for (const type of ['charge.dispute.created', 'charge.dispute.funds_withdrawn', 'charge.dispute.updated'])
      expect(await deliver(charge, type, 'ask')).toEqual({ fresh: 1, looks: 1 });
    expect(await books(charge)).toEqual(WON);
    const [looked] = await look(charge, await found(charge, 'opened'));
    expect(looked!.found.kind).toBe('applied');
    expect(await books(charge)).toEqual(OPEN);
  });

  test('that got lost is found out all the same: an open dispute is asked about until it ends', async () => {
    const charge = await charged();
    await deliver(charge, 'charge.dispute.created', 'ask');
    await look(charge, await found(charge, 'opened'));
    expect(await waiting(charge)).toBe(1);
    await look(charge, await found(charge, 'lost'));
    expect(await books(charge)).toEqual(LOST);
    expect(await waiting(charge)).toBe(0);
  });

  test('that comes while the PSP is asked is not lost', async () => {
    const charge = await charged();
    await deliver(charge, 'charge.dispute.created', 'ask');
    const reply = await found(charge, 'won');
    await book.owner
      .sql`update ${book.owner.t.disputeLook} set run_at = now() where psp_account = ${charge.account}`;
    const dispute = async () => {
      await deliver(charge, 'charge.dispute.closed', 'ask');
      return reply;
    };
    const accounts = new Map([[charge.account, { connector: { dispute }, timeoutMs: 1_000 }]]);
    await lookAtDisputes(book.db, { ...CONTEXT, accounts });
    expect(await waiting(charge)).toBe(1);
  });

  test('of a PSP that does not answer, or has no such dispute, changes nothing', async () => {
    const charge = await charged();
    await deliver(charge, 'charge.dispute.created', 'ask');
    const [failed] = await look(charge, { kind: 'failed', reason: '500', retryAfterMs: null });
    expect(failed!.found.kind).toBe('failed');
    expect(await waiting(charge)).toBe(1);
    const [none] = await look(charge, { kind: 'nothing', reason: 'no such dispute' });
    expect(none!.found.kind).toBe('nothing');
    expect(await waiting(charge)).toBe(0);
    expect(await books(charge)).toEqual(WON);
  });

  test('of a charge of another book on the same account is nothing of ours', async () => {
    const charge = await charged();
    await deliver(charge, 'charge.dispute.created', 'ask');
    const reply = { ...(await found(charge, 'opened')), idempotencyKey: 'pg-other-1-1' } as DisputeReply;
    const [looked] = await look(charge, reply);
    expect(looked!.found.kind).toBe('nothing');
  });

  test('that comes before we know of the charge waits for it', async () => {
    const charge = await charged('pending');
    await deliver(charge, 'charge.dispute.created', 'ask');
    const [early] = await look(charge, await found(charge, 'opened'));
    expect(early!.found.kind).toBe('unmatched');
    await applyOutside(book.db, [
      {
        operationId: charge.operationId,
        attemptNumber: 1,
        source: 'webhook',
        reply: REPLY.succeeded,
        held: null,
      },
    ]);
    await look(charge, await found(charge, 'opened'));
    expect(await books(charge)).toEqual(OPEN);
  });

  test('of a charge that failed here has the charge looked at, and leads to where its money is', async () => {
    const charge = await charged('pending');
    await hear(charge, 'declined');
    await deliver(charge, 'charge.dispute.created', 'ask');
    await look(charge, await found(charge, 'opened'));
    await turn(await startTestDaemon(book.db), charge.account, scriptedConnector([REPLY.succeeded]));
    expect(await balanceOf(book.db, `suspense:${charge.account}`, 'EUR')).toBe(1250n);
    await look(charge, await found(charge, 'lost'));
    expect(await balanceOf(book.db, `suspense:${charge.account}`, 'EUR')).toBe(0n);
  });

  test('that fits nothing for days is told to a person', async () => {
    const charge = await charged('pending');
    await hear(charge, 'declined');
    await deliver(charge, 'charge.dispute.created', 'ask');
    await book.owner
      .sql`update ${book.owner.t.disputeLook} set tries = 79 where psp_account = ${charge.account}`;
    const [given] = await look(charge, await found(charge, 'opened'));
    expect(given!.found.kind).toBe('given_up');
    expect(await waiting(charge)).toBe(0);
    expect((await standingOf(book.db, charge.operationId)).deadLetters).toEqual(['contradicting_evidence']);
  });

  const UNASKABLE = { kind: 'unaskable' } as const;

  test('of a PSP that cannot be asked is believed for its signature, in whatever order it comes', async () => {
    const charge = await charged();
    await deliver(charge, 'NOTIFICATION_OF_CHARGEBACK', 'signed');
    await look(charge, UNASKABLE);
    expect(await books(charge)).toEqual(WON);
    for (const type of ['SECOND_CHARGEBACK', 'CHARGEBACK_REVERSED', 'CHARGEBACK', 'CHARGEBACK']) {
      await deliver(charge, type, 'signed');
      await look(charge, UNASKABLE);
    }
    expect(await books(charge)).toEqual(LOST);
  });

  test('word by word goes through open and won', async () => {
    const charge = await charged();
    await deliver(charge, 'CHARGEBACK', 'signed');
    await look(charge, UNASKABLE);
    expect(await books(charge)).toEqual(OPEN);
    await deliver(charge, 'CHARGEBACK_REVERSED', 'signed');
    await look(charge, UNASKABLE);
    expect(await books(charge)).toEqual(WON);
  });

  test('that names another account’s operation is not ours', async () => {
    const [charge, other] = [await charged(), await charged()];
    const stolen = { ...other, account: charge.account };
    expect(await deliver(stolen, 'CHARGEBACK', 'signed')).toEqual({ fresh: 1, looks: 0 });
    expect(await waiting(charge)).toBe(0);
  });
});
