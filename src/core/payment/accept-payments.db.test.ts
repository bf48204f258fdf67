/** Idempotency level 1 and everything that one acceptance writes. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  acceptContext,
  claimOne,
  makeDue,
  money,
  openTestBook,
  orderRequest,
  paymentRequest,
  queueCharge,
  REPLY,
  record,
  routeTo,
  startTestDaemon,
  type TestBook,
  uniqueName,
} from '../../testing/fixtures.ts';
import { transact } from '../db/connection.ts';
import type { Currency, FeeRate } from '../money.ts';
import type { RoutedAccount, RoutingRule } from '../psp/route.ts';
import {
  type AcceptPolicy,
  type AcceptResult,
  acceptPayments,
  fingerprint,
  MAX_ACCEPT_BATCH,
} from './accept-payments.ts';
import { paymentView } from './payment-answer.ts';
import type { PaymentRequest } from './payment-request.ts';
import { listPaymentRows } from './payment-store.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

async function accept(
  requests: readonly PaymentRequest[],
  policy: Partial<AcceptPolicy> = {},
): Promise<readonly AcceptResult[]> {
  const context = await acceptContext(book.db, policy);
  return transact(book.db, (tx) => acceptPayments(tx, context, requests.map(fingerprint)));
}

async function acceptOne(request: PaymentRequest, policy: Partial<AcceptPolicy> = {}): Promise<AcceptResult> {
  const [result] = await accept([request], policy);
  return result!;
}

/** The result, when it is of this kind. */
function as<Kind extends AcceptResult['kind']>(kind: Kind, result: AcceptResult | undefined) {
  if (result?.kind !== kind) throw new Error(`${result?.kind} where ${kind} was expected`);
  return result as Extract<AcceptResult, { kind: Kind }>;
}

async function rowsOf(checkoutId: string): Promise<number> {
  const [row] = await book.owner.sql<{ rows: number }[]>`
    select count(*)::integer as rows from ${book.owner.t.payment} where checkout_id = ${checkoutId}`;
  return row!.rows;
}

/** Rows per table, to see that nothing was stored. */
async function counts(): Promise<unknown> {
  const { sql, t } = book.owner;
  const [row] = await sql`
    select (select count(*) from ${t.payment}) as payments, (select count(*) from ${t.checkout}) as checkouts,
           (select count(*) from ${t.idempotencyKey}) as keys, (select count(*) from ${t.paymentOrder}) as orders,
           (select count(*) from ${t.operation}) as operations, (select count(*) from ${t.attempt}) as attempts,
           (select count(*) from ${t.job}) as jobs, (select count(*) from ${t.event}) as events`;
  return row;
}

describe('idempotency', () => {
  test('first time: the payment, with all its rows', async () => {
    const request = paymentRequest();
    const { answer } = as('accepted', await acceptOne(request));
    expect(answer).toMatchObject({ checkout_id: request.checkoutId, status: 'NOT_STARTED' });
    expect(await rowsOf(request.checkoutId)).toBe(1);
  });

  test('same key, same body: the first answer, byte for byte, and no new row', async () => {
    const request = paymentRequest({
      orders: [orderRequest({ orderRef: 'Ü-1' }), orderRequest({ money: money('3', 'JPY') })],
    });
    const { answer } = as('accepted', await acceptOne(request));
    const before = await counts();
    const replayed = as('replayed', await acceptOne(request));
    expect(replayed).toMatchObject({ status: 202, body: JSON.stringify(answer) });
    expect(await counts()).toEqual(before);
  });

  test('same key, same body, long after: still the first answer, whatever has become of the payment', async () => {
    const account = uniqueName('acct');
    const request = paymentRequest();
    const policy = { route: routeTo(account) };
    const { answer } = as('accepted', await acceptOne(request, policy));
    const daemon = await startTestDaemon(book.db);
    await record(daemon, await claimOne(daemon, account), REPLY.succeeded);
    expect(as('replayed', await acceptOne(request, policy)).body).toBe(JSON.stringify(answer));
  });

  test('same key, same body, after the policy has changed: still the first answer', async () => {
    const request = paymentRequest();
    const { answer } = as('accepted', await acceptOne(request));
    const fees = new Map<Currency, FeeRate>([
      [money('1', 'EUR').currency, { feeBps: 5_000, fixedMinor: 1n }],
    ]);
    const risk = {
      maxPaymentMinor: new Map(),
      blockedBuyers: new Set([request.buyer]),
      blockedSellers: new Set<string>(),
    };
    expect(as('replayed', await acceptOne(request, { fees, risk })).body).toBe(JSON.stringify(answer));
  });

  test.each<[string, (request: PaymentRequest) => PaymentRequest]>([
    ['another amount', (r) => ({ ...r, orders: [orderRequest({ money: money('12.51', 'EUR') })] })],
    ['another currency', (r) => ({ ...r, orders: [orderRequest({ money: money('12.50', 'USD') })] })],
    ['another seller', (r) => ({ ...r, orders: [orderRequest({ seller: 'Bob' })] })],
    ['another method', (r) => ({ ...r, orders: [orderRequest({ paymentMethod: 'pm_other' })] })],
    ['another fee', (r) => ({ ...r, orders: [orderRequest({ platformFeeMinor: 1n })] })],
    ['another order name', (r) => ({ ...r, orders: [orderRequest({ orderRef: 'x' })] })],
    ['the customer present', (r) => ({ ...r, orders: [orderRequest({ customerPresent: true })] })],
    ['one more order', (r) => ({ ...r, orders: [...r.orders, orderRequest()] })],
    ['another buyer', (r) => ({ ...r, buyer: 'somebody else' })],
    ['other notes', (r) => ({ ...r, metadata: { a: 'b' } })],
  ])('same key or same checkout with %s is refused, and changes nothing', async (_, change) => {
    const request = paymentRequest();
    const first = as('accepted', await acceptOne(request));
    const before = await counts();
    const other = change(request);
    expect((await acceptOne(other)).kind).toBe('idempotency_key_reused');
    const conflict = as(
      'checkout_conflict',
      await acceptOne({ ...other, idempotencyKey: uniqueName('key') }),
    );
    expect(conflict.paymentId).toBe(first.answer.payment_id);
    expect(await counts()).toEqual(before);
  });

  test('same key for another checkout is refused', async () => {
    const request = paymentRequest();
    await acceptOne(request);
    const other = { ...request, checkoutId: uniqueName('co') };
    expect((await acceptOne(other)).kind).toBe('idempotency_key_reused');
    expect(await rowsOf(other.checkoutId)).toBe(0);
  });

  test('new key, same checkout, same body: the existing payment, and the new key remembers that answer', async () => {
    const request = paymentRequest();
    const { answer } = as('accepted', await acceptOne(request));
    const again = { ...request, idempotencyKey: uniqueName('key') };
    const deduplicated = as('deduplicated', await acceptOne(again));
    expect(JSON.parse(deduplicated.body)).toEqual({ ...answer, deduplicated: true });
    const replayed = as('replayed', await acceptOne(again));
    expect(replayed).toMatchObject({ status: 200, body: deduplicated.body });
    expect(as('replayed', await acceptOne(request))).toMatchObject({
      status: 202,
      body: JSON.stringify(answer),
    });
    expect(await rowsOf(request.checkoutId)).toBe(1);
  });

  test('the order of the notes is not part of the body', async () => {
    const request = paymentRequest({ metadata: { a: '1', b: '2' } });
    await acceptOne(request);
    expect((await acceptOne({ ...request, metadata: { b: '2', a: '1' } })).kind).toBe('replayed');
  });

  test('the order of the payment orders is', async () => {
    const orders = [orderRequest(), orderRequest({ seller: 'Bob' })];
    const request = paymentRequest({ orders });
    await acceptOne(request);
    expect((await acceptOne({ ...request, orders: [...orders].reverse() })).kind).toBe(
      'idempotency_key_reused',
    );
  });
});

describe('one batch', () => {
  test('is answered in the order of its requests, whatever their keys', async () => {
    const requests = ['zz', 'aa', 'mm'].map((key) =>
      paymentRequest({ idempotencyKey: `${key}-${uniqueName('k')}` }),
    );
    const results = await accept(requests);
    expect(results.map((result) => as('accepted', result).answer.checkout_id)).toEqual(
      requests.map((request) => request.checkoutId),
    );
  });

  test('with twins: the first is accepted, the others are what they would be one by one', async () => {
    const one = paymentRequest();
    const results = await accept([
      one,
      one,
      { ...one, idempotencyKey: uniqueName('key') },
      { ...one, buyer: 'somebody else' },
      { ...one, idempotencyKey: uniqueName('key'), buyer: 'somebody else' },
      paymentRequest(),
    ]);
    expect(results.map((result) => result.kind)).toEqual([
      'accepted',
      'replayed',
      'deduplicated',
      'idempotency_key_reused',
      'checkout_conflict',
      'accepted',
    ]);
    expect(await rowsOf(one.checkoutId)).toBe(1);
  });

  test('with many twins of one payment, in any order, charges it once', async () => {
    const one = paymentRequest();
    const results = await accept(Array.from({ length: 30 }, () => one));
    expect(results.map((result) => result.kind)).toEqual(['accepted', ...Array<string>(29).fill('replayed')]);
  });

  test('of the most that is allowed goes in; one more is a bug', async () => {
    const requests = Array.from({ length: MAX_ACCEPT_BATCH }, () => paymentRequest());
    const results = await accept(requests);
    expect(results.every((result) => result.kind === 'accepted')).toBe(true);
    await expect(accept([...requests, paymentRequest()])).rejects.toThrow('the limit is');
  });

  test('of nothing is nothing', async () => {
    const before = await counts();
    expect(await accept([])).toEqual([]);
    expect(await counts()).toEqual(before);
  });
});

describe('what the PSP cannot express', () => {
  test('is refused and named; nothing is stored and the key is not used up', async () => {
    const request = paymentRequest({
      orders: [orderRequest(), orderRequest({ money: money('1.234', 'KWD') })],
    });
    const before = await counts();
    const result = as('not_expressible', await acceptOne(request));
    expect(result.message).toMatch(/^payment_orders\[1\]: /);
    expect(await counts()).toEqual(before);
    const repaired = { ...request, orders: [orderRequest(), orderRequest({ money: money('1.230', 'KWD') })] };
    expect((await acceptOne(repaired)).kind).toBe('accepted');
  });

  test('does not count what its own minor unit can say: whole krónur', async () => {
    const account = uniqueName('acct');
    await queueCharge(book.db, account, { orders: [orderRequest({ money: money('12', 'ISK') })] });
    const { job } = await claimOne(await startTestDaemon(book.db), account);
    // Stripe keeps two decimals for ISK, ISO 4217 none.
    expect(JSON.stringify(JSON.parse(job.request))).toContain('1200');
  });

  test('leaves the rest of its batch alone', async () => {
    const bad = paymentRequest({ orders: [orderRequest({ money: money('1.234', 'KWD') })] });
    const results = await accept([paymentRequest(), bad, bad, paymentRequest()]);
    expect(results.map((result) => result.kind)).toEqual([
      'accepted',
      'not_expressible',
      'not_expressible',
      'accepted',
    ]);
  });
});

describe('the platform fee', () => {
  const fees = new Map<Currency, FeeRate>([[money('1', 'EUR').currency, { feeBps: 250, fixedMinor: 10n }]]);
  const feeOf = async (request: PaymentRequest, policy: Partial<AcceptPolicy>) =>
    as('accepted', await acceptOne(request, policy)).answer.payment_orders.map((order) => order.platform_fee);

  test('is what the order says, else what the schedule says, else nothing', async () => {
    const request = paymentRequest({
      orders: [
        orderRequest({ money: money('100', 'EUR'), platformFeeMinor: 0n }),
        orderRequest({ money: money('100', 'EUR'), platformFeeMinor: 777n }),
        orderRequest({ money: money('100', 'EUR') }),
        orderRequest({ money: money('100', 'USD') }),
      ],
    });
    expect(await feeOf(request, { fees })).toEqual(['0.00', '7.77', '2.60', '0.00']);
  });

  test('is never more than the amount', async () => {
    const request = paymentRequest({ orders: [orderRequest({ money: money('0.05', 'EUR') })] });
    expect(await feeOf(request, { fees })).toEqual(['0.05']);
  });

  test('is frozen: a later schedule changes neither the order nor what is booked', async () => {
    const account = uniqueName('acct');
    const seller = uniqueName('Seller');
    const charge = await queueCharge(
      book.db,
      account,
      { orders: [orderRequest({ seller, money: money('100', 'EUR') })] },
      { fees },
    );
    const daemon = await startTestDaemon(book.db);
    await makeDue(book.owner, account);
    await record(daemon, await claimOne(daemon, account), REPLY.succeeded);
    const rows = await listPaymentRows(book.db, [charge.paymentId]);
    expect(paymentView(rows).payment_orders[0]).toMatchObject({ platform_fee: '2.60', status: 'SUCCESS' });
    const [share] = await book.owner.sql<{ credits: bigint }[]>`
      select b.credits from ${book.owner.t.account} a join ${book.owner.t.accountBalance} b on b.account_id = a.id
       where a.code = ${`seller:${seller}:available`}`;
    expect(share!.credits).toBe(9_740n);
  });
});

describe('risk', () => {
  const risk = {
    maxPaymentMinor: new Map([[money('1', 'EUR').currency, 10_000n]]),
    blockedBuyers: new Set(['Mallory']),
    blockedSellers: new Set(['Fence & Co']),
  };

  test.each<[string, PaymentRequest, string]>([
    ['a blocked buyer', paymentRequest({ buyer: 'Mallory' }), 'buyer is on the block list'],
    [
      'a blocked seller among others',
      paymentRequest({ orders: [orderRequest(), orderRequest({ seller: 'Fence & Co' })] }),
      'seller is on the block list',
    ],
    [
      'too much in one currency',
      paymentRequest({
        orders: [orderRequest({ money: money('60', 'EUR') }), orderRequest({ money: money('40.01', 'EUR') })],
      }),
      'over the limit of 100.00 EUR',
    ],
  ])(
    '%s: the payment is kept as failed with the reason, nothing is queued, and it replays',
    async (_, request, reason) => {
      const result = as('accepted', await acceptOne(request, { risk }));
      expect(result.answer).toMatchObject({ status: 'FAILED', risk: { decision: 'block' } });
      expect(result.answer.risk.reason).toContain(reason);
      const { sql, t } = book.owner;
      const [stored] = await sql`
      select p.risk_decision, p.risk_reason, json_agg(distinct o.sub_state) as states,
             count(a.operation_id)::integer as attempts, count(j.operation_id)::integer as jobs
        from ${t.payment} p
        join ${t.operation} o on o.payment_id = p.id
        left join ${t.attempt} a on a.operation_id = o.id
        left join ${t.job} j on j.operation_id = o.id
       where p.checkout_id = ${request.checkoutId}
       group by p.id`;
      expect(stored).toMatchObject({ riskDecision: 'block', states: ['risk_blocked'], attempts: 0, jobs: 0 });
      expect(stored!.riskReason).toContain(reason);
      expect(as('replayed', await acceptOne(request, { risk })).body).toBe(JSON.stringify(result.answer));
    },
  );

  test('exactly the limit is allowed, and the decision is kept as well', async () => {
    const request = paymentRequest({ orders: [orderRequest({ money: money('100', 'EUR') })] });
    const { answer } = as('accepted', await acceptOne(request, { risk }));
    expect(answer).toMatchObject({
      status: 'NOT_STARTED',
      risk: { decision: 'allow', reason: 'no rule hit' },
    });
  });

  test('limits are per currency', async () => {
    const request = paymentRequest({
      orders: [orderRequest({ money: money('100', 'EUR') }), orderRequest({ money: money('500', 'USD') })],
    });
    expect(as('accepted', await acceptOne(request, { risk })).answer.status).toBe('NOT_STARTED');
  });
});

describe('the rows of a payment', () => {
  test('with several orders: lines in order, one charge and one attempt and one job each, keys of their own', async () => {
    const account = uniqueName('acct');
    const request = paymentRequest({
      orders: [orderRequest({ seller: 'A' }), orderRequest({ seller: 'B' }), orderRequest({ seller: 'A' })],
    });
    await acceptOne(request, { route: routeTo(account) });
    const { sql, t } = book.owner;
    const rows = await sql`
      select po.line, po.seller, o.sub_state, o.psp_account, a.number, a.state, a.is_open, a.maybe_sent, a.sends,
             j.lane, j.action, j.state as job_state, j.fence
        from ${t.payment} p
        join ${t.paymentOrder} po on po.payment_id = p.id
        join ${t.operation} o on o.payment_order_id = po.id
        join ${t.attempt} a on a.operation_id = o.id
        join ${t.job} j on j.operation_id = o.id
       where p.checkout_id = ${request.checkoutId}
       order by po.line`;
    expect(rows.map((row) => [row.line, row.seller])).toEqual([
      [1, 'A'],
      [2, 'B'],
      [3, 'A'],
    ]);
    for (const row of rows) {
      expect(row).toMatchObject({
        subState: 'queued',
        pspAccount: account,
        number: 1,
        state: 'created',
        isOpen: true,
        maybeSent: false,
        sends: 0,
        lane: `${account}/online`,
        action: 'send',
        jobState: 'ready',
        fence: 0,
      });
    }
    const keys = await sql<{ key: string }[]>`
      select a.idempotency_key as key from ${t.attempt} a join ${t.operation} o on o.id = a.operation_id
        where o.psp_account = ${account}`;
    expect(new Set(keys.map((row) => row.key)).size).toBe(3);
    for (const { key } of keys) expect(key).toMatch(/^pg-[0-9a-f]{12}-\d+-1$/);
  });

  test('are complete: no name, order, charge, attempt or job stands alone', async () => {
    const { sql, t } = book.owner;
    const [orphans] = await sql`
      select (select count(*) from ${t.checkout} c left join ${t.payment} p on p.id = c.payment_id
               where p.id is null)::integer as checkouts,
             (select count(*) from ${t.idempotencyKey} k left join ${t.payment} p on p.id = k.payment_id
               where p.id is null)::integer as keys,
             (select count(*) from ${t.payment} p left join ${t.checkout} c on c.payment_id = p.id
               where c.checkout_id is null)::integer as payments_without_checkout,
             (select count(*) from ${t.payment} p left join ${t.idempotencyKey} k on k.key = p.idempotency_key
               where k.payment_id is distinct from p.id)::integer as payments_without_key,
             (select count(*) from ${t.payment} p where not exists
               (select 1 from ${t.paymentOrder} o where o.payment_id = p.id))::integer as payments_without_order,
             (select count(*) from ${t.paymentOrder} po left join ${t.operation} o on o.payment_order_id = po.id
               where o.id is null)::integer as orders_without_charge,
             (select count(*) from ${t.operation} o left join ${t.attempt} a on a.operation_id = o.id
               where a.operation_id is null and o.sub_state <> 'risk_blocked')::integer as charges_without_attempt,
             (select count(*) from ${t.job} j left join ${t.operation} o on o.id = j.operation_id
               where o.id is null)::integer as jobs,
             (select count(*) from ${t.payment} p left join ${t.batch} b on b.id = p.batch_id
               where p.batch_id is not null and b.id is null)::integer as payments_without_batch,
             (select count(*) from ${t.operation} o left join ${t.job} j on j.operation_id = o.id
               where o.sub_state = 'queued' and j.operation_id is null)::integer as queued_without_job,
             (select count(*) from ${t.payment} p where not exists
               (select 1 from ${t.event} e where e.payment_id = p.id and e.kind = 'payment_accepted'))::integer as silent`;
    expect(orphans).toEqual({
      checkouts: 0,
      keys: 0,
      paymentsWithoutCheckout: 0,
      paymentsWithoutKey: 0,
      paymentsWithoutOrder: 0,
      ordersWithoutCharge: 0,
      chargesWithoutAttempt: 0,
      jobs: 0,
      paymentsWithoutBatch: 0,
      queuedWithoutJob: 0,
      silent: 0,
    });
  });

  test('name what they are by one number each: no number names two things', async () => {
    const { sql, t } = book.owner;
    const doubles = await sql`
      select id from (select id from ${t.payment} union all select id from ${t.paymentOrder}
                      union all select id from ${t.operation} union all select id from ${t.journalEntry}) n
       group by id having count(*) > 1`;
    expect(doubles).toEqual([]);
  });

  test('keep any text as it was given, to the letter', async () => {
    const awkward = fc.constantFrom(
      '"',
      '\\',
      "'",
      '\n',
      '\t',
      '{',
      '}',
      ',',
      'NULL',
      '\\u0000',
      '🦊',
      'é',
      '%',
      '$1',
      'a b',
    );
    const text = fc.array(awkward, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''));
    const key = fc.stringMatching(/^[a-z0-9_]{1,12}$/).filter((name) => name !== '__proto__');
    const notes = fc.dictionary(key, fc.oneof(text, fc.constant('')), { maxKeys: 5, noNullPrototype: true });
    const input = fc.record({
      buyer: text,
      seller: text,
      method: text,
      orderRef: fc.option(text),
      notes,
      orderNotes: notes,
    });
    await fc.assert(
      fc.asyncProperty(input, async (given) => {
        const seller = given.seller.replaceAll(':', '');
        const request = paymentRequest({
          checkoutId: `${uniqueName('co')}${given.method}`,
          idempotencyKey: `${uniqueName('key')}${given.buyer}`,
          buyer: given.buyer,
          metadata: given.notes,
          orders: [
            orderRequest({
              seller,
              paymentMethod: given.method,
              orderRef: given.orderRef,
              metadata: given.orderNotes,
            }),
          ],
        });
        const { answer } = as('accepted', await acceptOne(request));
        expect(as('replayed', await acceptOne(request)).body).toBe(JSON.stringify(answer));
        const [row] = await listPaymentRows(book.db, [BigInt(answer.payment_id.slice(4))]);
        expect(row).toMatchObject({
          checkoutId: request.checkoutId,
          idempotencyKey: request.idempotencyKey,
          buyer: given.buyer,
          seller,
          paymentMethod: given.method,
          orderRef: given.orderRef,
          metadata: given.notes,
          orderMetadata: given.orderNotes,
        });
      }),
      { numRuns: 80 },
    );
  });

  test('keep the request to the PSP as the connector wrote it, byte for byte', async () => {
    const account = uniqueName('acct');
    const orders = [orderRequest({ paymentMethod: 'pm_"quoted"\\ and, {braced}' })];
    const { operationId } = await queueCharge(book.db, account, { orders, buyer: 'Zoë "Z" O\'Neil 🦊' });
    const { job } = await claimOne(await startTestDaemon(book.db), account);
    const [event] = await book.owner.sql<{ request: string }[]>`
      select o.value->'attempt'->>'request' as request
        from ${book.owner.t.event} e, json_array_elements(e.data->'orders') o
       where e.kind = 'payment_accepted' and o.value->>'operation' = ${String(operationId)}`;
    expect(job.request).toBe(event!.request);
    expect(job.request).toBe(JSON.stringify(JSON.parse(job.request)));
  });
});

describe('routing', () => {
  const adyen: RoutedAccount = {
    name: 'adyen_eu',
    psp: 'adyen',
    merchantAccount: 'MarketplaceEU',
    balanceAccountId: null,
  };
  const rupiahToAdyen: RoutingRule = {
    account: adyen,
    sellers: null,
    currencies: new Map([[money('1', 'IDR').currency, { minMinor: null, maxMinor: null }]]),
    share: 100,
  };
  const route = { rules: [rupiahToAdyen], fallback: routeTo('stripe_main').fallback };

  test('each order of a payment has the account, the lane and the request of its own PSP', async () => {
    const request = paymentRequest({
      orders: [orderRequest({ money: money('15000', 'IDR') }), orderRequest({ money: money('3', 'EUR') })],
    });
    as('accepted', await acceptOne(request, { route }));
    const { t } = book.owner;
    const stored = await book.owner.sql<{ pspAccount: string; lane: string; request: string }[]>`
      select o.psp_account, j.lane, a.request
        from ${t.payment} p
        join ${t.paymentOrder} po on po.payment_id = p.id
        join ${t.operation} o on o.payment_order_id = po.id
        join ${t.job} j on j.operation_id = o.id
        join ${t.attempt} a on a.operation_id = o.id
       where p.checkout_id = ${request.checkoutId}
       order by po.line`;
    expect(stored).toMatchObject([
      {
        pspAccount: 'adyen_eu',
        lane: 'adyen_eu/online',
        request: expect.stringContaining('"amount":{"currency":"IDR","value":15000}'),
      },
      { pspAccount: 'stripe_main', lane: 'stripe_main/online', request: expect.stringContaining('"eur"') },
    ]);
  });

  test('an order is checked against the PSP that it goes to', async () => {
    const half = { orders: [orderRequest({ money: money('15000.50', 'IDR') })] };
    const refused = await acceptOne(paymentRequest(half), { route });
    expect(as('not_expressible', refused).message).toContain('Adyen counts IDR in whole units');
    as('accepted', await acceptOne(paymentRequest(half)));
    const short = { buyer: 'ab', orders: [orderRequest({ money: money('15000', 'IDR') })] };
    const nobody = await acceptOne(paymentRequest(short), { route });
    expect(as('not_expressible', nobody).message).toContain('the buyer has 2 characters');
  });

  test('same key, same body, after the rules have changed: still the first account', async () => {
    const request = paymentRequest({ orders: [orderRequest({ money: money('15000', 'IDR') })] });
    const { answer } = as('accepted', await acceptOne(request, { route }));
    const replayed = as('replayed', await acceptOne(request, { route: routeTo('stripe_main') }));
    expect(replayed.body).toBe(JSON.stringify(answer));
  });
});
