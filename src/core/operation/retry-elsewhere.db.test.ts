/** Softly declined charges go on at the next account of their rule: once each, never in doubt, and charged once. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../daemon/sandbox/main.ts';
import { startSandbox } from '../../daemon/sandbox/main.ts';
import {
  acceptContext,
  balanceOf,
  claimOne,
  dumpTables,
  makeDue,
  openTestBook,
  orderRequest,
  paymentRequest,
  REPLY,
  record,
  standingOf,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  turn,
  uniqueName,
} from '../../testing/fixtures.ts';
import { replayEvents } from '../audit/replay-events.ts';
import { connect, openBook, transact } from '../db/connection.ts';
import { migrate } from '../db/migrate.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { acceptPayments, fingerprint } from '../payment/accept-payments.ts';
import type { PaymentOrderRequest } from '../payment/payment-request.ts';
import type { EnquiryReply, StripeAccount } from '../psp/psp.ts';
import type { RoutedAccount, Routing } from '../psp/route.ts';
import { createStripeConnector } from '../psp/stripe-connector.ts';
import { getBookKey } from '../queue/queue-store.ts';
import { acceptWebhooks } from '../webhook/accept-webhooks.ts';
import type { FindingContext } from './finding.ts';

const SOFT = { ...REPLY.declined, reason: 'insufficient_funds' } as const;
const HARD = { ...SOFT, reason: 'lost_card', mayRetryAsNew: false } as const;

let book: TestBook;
let sandbox: Sandbox;
let plain: TestDaemon;
beforeAll(async () => {
  book = await openTestBook();
  sandbox = await startSandbox({ port: 0, journalPath: null, seed: 1 });
  plain = await startTestDaemon(book.db);
});
afterAll(async () => {
  const { verdict } = await verifyLedger(book.db);
  expect(verdict).toBe('balanced');
  await sandbox.close();
  await book.close();
});

/** A charge whose rule names further accounts. */
type Routed = {
  readonly accounts: readonly string[];
  readonly daemon: TestDaemon;
  readonly operationId: bigint;
  readonly paymentId: bigint;
};

async function queue(
  further: readonly Partial<RoutedAccount>[],
  order: Partial<PaymentOrderRequest> = {},
): Promise<Routed> {
  const toAccount = (one: Partial<RoutedAccount>) =>
    ({ psp: 'stripe', name: uniqueName('acct'), ...one }) as RoutedAccount;
  const [account, ...onSoftDecline] = [{}, ...further].map(toAccount);
  const rule = { account: account!, sellers: null, currencies: null, share: 100 };
  const rules = [{ ...rule, ...(further.length === 0 ? {} : { onSoftDecline }) }];
  const route: Routing = { rules, fallback: { psp: 'stripe', name: 'nobody' } };
  const context = await acceptContext(book.db, { route });
  const request = fingerprint(paymentRequest({ orders: [orderRequest(order)] }));
  await transact(book.db, (tx) => acceptPayments(tx, context, [request]));
  const [row] = await book.db.sql<{ id: bigint; paymentId: bigint }[]>`
    select id, payment_id from ${book.db.t.operation} where psp_account = ${account!.name}`;
  const reroute: FindingContext['reroute'] = { route, bookKey: await getBookKey(book.db) };
  return {
    accounts: [account!, ...onSoftDecline].map(({ name }) => name),
    daemon: { ...plain, context: { ...plain.context, reroute } },
    operationId: row!.id,
    paymentId: row!.paymentId,
  };
}

/** The job of one of its accounts is told so. */
async function told(routed: Routed, place: number, reply: EnquiryReply): Promise<unknown> {
  await makeDue(book.owner, routed.accounts[place]!);
  return record(routed.daemon, await claimOne(routed.daemon, routed.accounts[place]!), reply);
}

async function attemptsOf({ operationId }: Routed) {
  return book.db.sql<{ number: number; state: string; account: string; key: string; request: string }[]>`
    select a.number, a.state, coalesce(a.psp_account, o.psp_account) as account, a.idempotency_key as key, a.request
      from ${book.db.t.attempt} a
      join ${book.db.t.operation} o on o.id = a.operation_id
     where a.operation_id = ${operationId}
     order by a.number`;
}

describe('after a soft decline', () => {
  test('the charge goes on at the next account, is charged once, and booked there', async () => {
    const routed = await queue([{}]);
    const accountOf = (name: string): StripeAccount => ({
      ...{ name, psp: 'stripe', apiKey: 'sk_test_abc', baseUrl: sandbox.url },
      ...{ maxConcurrent: 4, timeoutMs: 5_000 },
    });
    const [first] = await attemptsOf(routed);
    const sequence = [{ fault: 'decline', decline: 'insufficient_funds' }];
    await fetch(`${sandbox.url}/_sandbox/faults`, {
      method: 'POST',
      body: JSON.stringify({ match: { key: first!.key }, sequence }),
    });
    for (const [place, to] of ['queued', 'succeeded'].entries()) {
      const connector = createStripeConnector(accountOf(routed.accounts[place]!));
      expect(await turn(routed.daemon, routed.accounts[place]!, connector)).toMatchObject({ to });
      await connector.close();
    }
    const attempts = await attemptsOf(routed);
    expect(attempts.map(({ state, account }) => [state, account])).toEqual([
      ['declined', routed.accounts[0]],
      ['succeeded', routed.accounts[1]],
    ]);
    expect(new Set(attempts.map(({ key }) => key)).size).toBe(2);
    const response = await fetch(
      `${sandbox.url}/_sandbox/truth?metadata[paygate_operation]=op_${routed.operationId}`,
    );
    const truth = (await response.json()) as { payment_intents: { status: string }[] };
    expect(truth.payment_intents.filter(({ status }) => status === 'succeeded')).toHaveLength(1);
    const receivable = (place: number) =>
      balanceOf(book.db, `psp:${routed.accounts[place]}:receivable`, 'EUR');
    expect([await receivable(0), await receivable(1)]).toEqual([0n, 1250n]);
  });

  test('each account of the list is tried once, then it is declined', async () => {
    const routed = await queue([{}, {}]);
    for (const place of [0, 1, 2]) await told(routed, place, SOFT);
    expect(await standingOf(book.db, routed.operationId)).toMatchObject({
      subState: 'declined',
      attempts: 3,
      job: null,
      deadLetters: [],
    });
  });

  test('the request is the next PSP’s own; an account that cannot take it is passed over', async () => {
    const adyen = { psp: 'adyen', merchantAccount: 'MarketplaceEU', balanceAccountId: null } as const;
    const routed = await queue([adyen, {}], { customerPresent: true, returnUrl: 'https://shop.example/b' });
    await told(routed, 0, SOFT);
    const [, second] = await attemptsOf(routed);
    expect(JSON.parse(second!.request)).toMatchObject({
      merchantAccount: 'MarketplaceEU',
      reference: `op_${routed.operationId}`,
      paymentMethod: { storedPaymentMethodId: 'pm_card_visa' },
      returnUrl: 'https://shop.example/b',
      metadata: { paygate_attempt: '2' },
    });
    const short = await queue([adyen, {}]);
    await book.owner.sql`alter table ${book.owner.t.payment} disable trigger payment_is_append_only`;
    await book.owner.sql`update ${book.owner.t.payment} set buyer = 'ab' where id = ${short.paymentId}`;
    await book.owner.sql`alter table ${book.owner.t.payment} enable trigger payment_is_append_only`;
    await told(short, 0, SOFT);
    expect((await attemptsOf(short)).at(-1)).toMatchObject({ account: short.accounts[2] });
  });

  test('the payment is never seen as failed: its decline and its next attempt are one transaction', async () => {
    const routed = await queue([{}]);
    await told(routed, 0, SOFT);
    const seen = await book.db.sql<{ kind: string; at: string }[]>`
      select kind, at::text as at from ${book.db.t.event}
       where data->>'operation' = ${routed.operationId.toString()} order by id`;
    expect(seen.map(({ kind }) => kind)).toEqual(['operation_evidence', 'charge_rerouted']);
    expect(new Set(seen.map(({ at }) => at)).size).toBe(1);
  });
});

describe('it stays declined', () => {
  const stays = async (routed: Routed): Promise<void> => {
    expect(await standingOf(book.db, routed.operationId)).toMatchObject({
      subState: 'declined',
      attempts: 1,
      job: null,
    });
  };

  test('where the rule names no account', async () => {
    const routed = await queue([]);
    await told(routed, 0, SOFT);
    await stays(routed);
  });

  test('after a hard decline', async () => {
    const routed = await queue([{}]);
    await told(routed, 0, HARD);
    await stays(routed);
  });

  test.each(['unknown', 'pending', 'awaiting_customer'] as const)(
    'when it was %s before: nothing that was in doubt is charged elsewhere',
    async (kind) => {
      const routed = await queue([{}]);
      await told(routed, 0, REPLY[kind]);
      await told(routed, 0, SOFT);
      await stays(routed);
    },
  );

  test('when a late answer had left a doubt', async () => {
    const routed = await queue([{}]);
    const late = await claimOne(routed.daemon, routed.accounts[0]!);
    await book.owner.sql`
      update ${book.owner.t.job} set state = 'ready', daemon_id = null, fence = fence + 1
       where operation_id = ${routed.operationId}`;
    await record(routed.daemon, late, REPLY.unknown);
    await told(routed, 0, SOFT);
    await stays(routed);
  });

  test('on the word of a webhook or a person', async () => {
    const routed = await queue([{}]);
    await told(routed, 0, REPLY.not_sent);
    const event = { eventId: 'e1', type: 'AUTHORISATION', pspReference: null, says: SOFT };
    const { operationId } = routed;
    await acceptWebhooks(book.db, routed.daemon.context, routed.accounts[0]!, [{ ...event, operationId }]);
    await stays(routed);
  });
});

test('a connection that was refused leaves no doubt: the decline that follows may go on elsewhere', async () => {
  const routed = await queue([{}]);
  await told(routed, 0, REPLY.not_sent);
  await told(routed, 0, SOFT);
  expect(await standingOf(book.db, routed.operationId)).toMatchObject({ subState: 'queued', attempts: 2 });
});

test('a late success at the first account stops the attempt at the second, and stands in the first one’s suspense', async () => {
  const routed = await queue([{}]);
  const task = await claimOne(routed.daemon, routed.accounts[0]!);
  await record(routed.daemon, task, SOFT);
  await record(routed.daemon, task, { kind: 'succeeded', pspReference: 'pi_9' });
  expect(await standingOf(book.db, routed.operationId)).toMatchObject({
    subState: 'canceled',
    deadLetters: ['late_success'],
    job: null,
  });
  expect(await balanceOf(book.db, `suspense:${routed.accounts[0]}`, 'EUR')).toBe(1250n);
});

test('a webhook of the first account is about its own attempt, not about the one elsewhere', async () => {
  const routed = await queue([{}]);
  await told(routed, 0, { ...SOFT, pspReference: null });
  await claimOne(routed.daemon, routed.accounts[1]!);
  const { operationId } = routed;
  const event = { eventId: 'late', type: 'AUTHORISATION', pspReference: 'P1', operationId, says: SOFT };
  await acceptWebhooks(book.db, routed.daemon.context, routed.accounts[0]!, [event]);
  const attempts = await attemptsOf(routed);
  expect(attempts.map(({ state }) => state)).toEqual(['declined', 'created']);
  expect(await acceptWebhooks(book.db, routed.daemon.context, 'stranger', [event])).toMatchObject({
    looks: 0,
  });
});

test('the database lets no operation leave an account that may still charge for it, or has', async () => {
  const [waiting, paid, moved] = [await queue([{}]), await queue([{}]), await queue([{}])];
  await told(paid, 0, REPLY.succeeded);
  await told(moved, 0, SOFT);
  const { sql, t } = book.db;
  for (const { operationId } of [waiting, paid, moved]) {
    const leave = sql`update ${t.operation} set psp_account = 'other' where id = ${operationId}`;
    await expect(leave).rejects.toMatchObject({ code: 'PG013' });
  }
  for (const { operationId } of [waiting, moved]) {
    const forget = sql`update ${t.attempt} set psp_account = 'other' where operation_id = ${operationId}`;
    await expect(forget).rejects.toMatchObject({ code: 'PG001' });
  }
});

test('replay rebuilds both attempts, and where they were made', async () => {
  await migrate({ connection: book.database.connection, book: 'copy', appRole: 'paygate_app' });
  const copy = await openBook({ connection: book.database.appConnection, book: 'copy', max: 1 });
  await replayEvents(book.db, copy);
  await copy.close();
  const owner = connect({ connection: book.database.connection, book: 'copy', max: 1 });
  const tables = ['operation', 'attempt', 'journal_entry', 'posting'];
  const [rebuilt, original] = [
    await dumpTables(owner, 'copy', tables),
    await dumpTables(book.owner, 'paygate', tables),
  ];
  await owner.close();
  expect(rebuilt).toEqual(original);
});
