/** The events alone rebuild the book: every row, with its ids and microseconds. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  acceptContext,
  applyOutside,
  claim,
  claimOne,
  dumpTables,
  lapse,
  makeDue,
  makeSteady,
  money,
  openTestBook,
  orderRequest,
  paymentRequest,
  queueCharge,
  queueCharges,
  REPLY,
  REPLY_KINDS,
  record,
  scriptedConnector,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import { approvalContext, fundedSeller, pay, payoutRequest, submit } from '../../testing/payout-fixtures.ts';
import { charged, line, lineOf, reconcile } from '../../testing/settlement-fixtures.ts';
import { connect, type Db, openBook, transact } from '../db/connection.ts';
import { migrate } from '../db/migrate.ts';
import { applyDisputes } from '../dispute/apply-disputes.ts';
import { takeObservation } from '../dispute/dispute-store.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { cancelOperation } from '../operation/cancel-operation.ts';
import { claimTasks, findingOf, recordFindings } from '../operation/execute-operations.ts';
import { replayDeadLetters } from '../operation/replay-dead-letters.ts';
import { giveBackOrphans, rescueOperations } from '../operation/rescue-operations.ts';
import { resolveOperation } from '../operation/resolve-operation.ts';
import { acceptPayments, fingerprint } from '../payment/accept-payments.ts';
import { markBatchSubmitted, openBatch } from '../payment/payment-store.ts';
import { retryOrder } from '../payment/retry-order.ts';
import { approveItems, startApproval } from '../payout/approve-payouts.ts';
import { cancelPayouts } from '../payout/cancel-payouts.ts';
import type { EnquiryReply } from '../psp/psp.ts';
import { capabilitiesOf } from '../psp/request.ts';
import { getBookKey } from '../queue/queue-store.ts';
import { submitRefunds } from '../refund/submit-refunds.ts';
import { parseRuleFile } from '../risk/parse-rule-file.ts';
import { decideReview, expireReviews } from '../risk/review-payments.ts';
import { changeDestination, changeStatus } from '../seller/change-seller.ts';
import { resolveBreak } from '../settlement/resolve-break.ts';
import { adoptSuspense, refundSuspense } from '../suspense/decide-suspense.ts';
import { releaseDueFunds } from '../wallet/release-funds.ts';
import { acceptWebhooks } from '../webhook/accept-webhooks.ts';
import { listEvents } from './event-store.ts';
import { replayEvents } from './replay-events.ts';

const REBUILT = [
  'batch',
  'payment',
  'payment_order',
  'checkout',
  'idempotency_key',
  'refund',
  'seller',
  'seller_destination',
  'seller_change',
  'payout_batch',
  'payout_item',
  'payout_ref',
  'operation',
  'attempt',
  'job',
  'account',
  'account_balance',
  'journal_entry',
  'posting',
  'risk_assessment',
  'risk_review',
  'risk_counter',
  'risk_trace',
  'dispute',
  'suspense_decision',
] as const;

let book: TestBook;
const pools: Db[] = [];
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(async () => {
  await Promise.all(pools.map((pool) => pool.close()));
  await book.close();
});

/** A second, empty book in the same database, opened by the application. */
async function emptyBook(name: string): Promise<Db> {
  await migrate({ connection: book.database.connection, book: name, appRole: 'paygate_app' });
  const db = await openBook({ connection: book.database.appConnection, book: name, max: 2 });
  pools.push(db);
  return db;
}

async function dump(name: string): Promise<readonly string[]> {
  const owner = connect({ connection: book.database.connection, book: name, max: 1 });
  try {
    return await dumpTables(owner, name, REBUILT);
  } finally {
    await owner.close();
  }
}

function resolve(operationId: bigint, verdict: 'succeeded' | 'failed', pspReference: string | null) {
  return resolveOperation(book.db, {
    operationId,
    verdict,
    evidence: 'seen in the dashboard; "quoted", and \\ more',
    pspReference,
    principal: 'os:ana',
    capabilitiesOf: () => capabilitiesOf('stripe'),
  });
}

async function rescue(victim: TestDaemon): Promise<TestDaemon> {
  const rescuer = await startTestDaemon(book.db);
  await lapse(book.owner, victim);
  await makeSteady(book.owner, rescuer);
  await rescueOperations(book.db, { daemonId: rescuer.id, principal: 'test', resendDelayMs: 0 });
  return rescuer;
}

/** Every way of being accepted: several orders and currencies, a batch, blocked, deduplicated, refused. */
async function accepts(): Promise<void> {
  const risk = {
    maxPaymentMinor: new Map(),
    blockedBuyers: new Set(['Mallory']),
    blockedSellers: new Set<string>(),
  };
  const fees = new Map([[money('1', 'EUR').currency, { feeBps: 123, fixedMinor: 7n }]]);
  const batch = await transact(book.db, (tx) =>
    openBatch(tx, {
      sha256: 'f'.repeat(64),
      source: 'März.csv',
      rowCount: 3,
      paymentCount: 2,
      principal: 'os:ana',
    }),
  );
  const plain = await acceptContext(book.db, { risk, fees });
  const context = { ...plain, batchId: batch.id, priority: 'batch' as const };
  const first = paymentRequest({
    metadata: { note: 'NULL, "x" \\ {} 🦊\nline' },
    orders: [
      orderRequest({ seller: 'Émile & fils', platformFeeMinor: 3n, orderRef: 'R-1', customerPresent: true }),
      orderRequest({ money: money('1000', 'JPY'), seller: '鈴木' }),
      orderRequest({ money: money('1.230', 'KWD') }),
    ],
  });
  await transact(book.db, (tx) =>
    acceptPayments(
      tx,
      context,
      [
        first,
        first,
        { ...first, idempotencyKey: uniqueName('key') },
        { ...first, buyer: 'other' },
        paymentRequest({ buyer: 'Mallory' }),
      ].map(fingerprint),
    ),
  );
  await transact(book.db, (tx) => markBatchSubmitted(tx, batch.id, 'os:ana'));
  await transact(book.db, (tx) => markBatchSubmitted(tx, batch.id, 'os:ana'));
}

/** Every kind of answer, at the first call and after a doubt, and again after the end. */
async function outcomes(): Promise<void> {
  const daemon = await startTestDaemon(book.db);
  for (const first of REPLY_KINDS.filter((kind) => kind !== 'not_found')) {
    const account = uniqueName('acct');
    const requests = REPLY_KINDS.map(() => paymentRequest());
    await queueCharges(book.db, account, requests, { releaseAfterDays: 2 });
    const tasks = await claim(daemon, account);
    await recordFindings(
      daemon.context,
      tasks.map((task) => findingOf(task, REPLY[first])),
    );
    await makeDue(book.owner, account);
    const again = await claim(daemon, account);
    await recordFindings(
      daemon.context,
      again.map((task, i) => findingOf(task, REPLY[REPLY_KINDS[i]!])),
    );
    await recordFindings(
      daemon.context,
      tasks.map((task, i) => findingOf(task, REPLY[REPLY_KINDS[i]!])),
    );
  }
}

/** Stalled daemons, late replies, orphans, poison, a person. */
async function trouble(): Promise<void> {
  const account = uniqueName('acct');
  await queueCharges(
    book.db,
    account,
    Array.from({ length: 8 }, () => paymentRequest()),
  );
  const stalled = await startTestDaemon(book.db);
  const late = await claim(stalled, account);
  const rescuer = await rescue(stalled);
  await record(stalled, late[0]!, REPLY.succeeded);
  await record(stalled, late[1]!, REPLY.pending);
  const again = await claim(rescuer, account);
  for (const [i, task] of again.entries()) await record(rescuer, task, i === 0 ? null : REPLY.unknown);
  await record(stalled, late[2]!, REPLY.declined);
  await resolve(late[3]!.job.operationId, 'failed', null);
  await record(stalled, late[3]!, REPLY.succeeded);
  await resolve(late[4]!.job.operationId, 'succeeded', 'pi_seen');
  await record(stalled, late[4]!, REPLY.declined);
  await makeDue(book.owner, account);
  await claim(rescuer, account);
  const lanes = [`${account}/online`];
  await giveBackOrphans(book.db, { daemonId: rescuer.id, principal: 'test', lanes, holds: () => false });
  await book.owner.sql`
    update ${book.owner.t.job} set rescues = 5 where operation_id = ${late[5]!.job.operationId}`;
  await claim(rescuer, account);
  const last = await rescue(rescuer);
  await record(last, (await claim(last, account))[0]!, REPLY.not_found);
  await record(stalled, late[5]!, REPLY.succeeded);
}

async function releases(): Promise<void> {
  const account = uniqueName('acct');
  const orders = [
    orderRequest({ seller: 'Later' }),
    orderRequest({ seller: 'All fee', platformFeeMinor: 1250n }),
  ];
  await queueCharges(book.db, account, [paymentRequest({ orders })], { releaseAfterDays: 1 });
  const daemon = await startTestDaemon(book.db);
  const tasks = await claim(daemon, account);
  await recordFindings(
    daemon.context,
    tasks.map((task) => findingOf(task, REPLY.succeeded)),
  );
  await book.owner.sql`update ${book.owner.t.fundRelease} set due_at = now() - interval '1 hour'`;
  await releaseDueFunds(book.db, 'test');
}

/** Refunds of every end, one of them undone after it was done. */
/** Sellers that change; batches approved, refused, canceled, half done; payouts sent, failed, paid and returned. */
async function payouts(): Promise<void> {
  const account = uniqueName('acct');
  const who = { reason: 'a "reason" \\ ja', principal: 'os:ana' };
  const seller = await fundedSeller(book.db, account, '900.00', 'EUR', 'Zoë "quoted" \\ 支払');
  const frozen = await fundedSeller(book.db, account, '1.00');
  await changeStatus(book.db, { seller: frozen, status: 'frozen', ...who });
  await changeStatus(book.db, { seller: frozen, status: 'active', ...who });
  await changeStatus(book.db, { seller: frozen, status: 'frozen', ...who });
  await changeDestination(book.db, { seller: frozen, pspAccount: account, destination: 'acct_2', ...who });
  const requests = Array.from({ length: 502 }, (_, i) =>
    payoutRequest(seller, '1.00', i === 0 ? { memo: 'a, "b" \\\n{} 🦊', destination: 'acct_1' } : {}),
  );
  await pay(book.db, account, [...requests, payoutRequest(frozen, '1.00'), payoutRequest(seller, '500.00')]);
  const daemon = await startTestDaemon(book.db);
  const tasks = await claimTasks(daemon.context, `${account}/batch`, 6, scriptedConnector([]));
  const arrived = { ...REPLY.succeeded, arrived: true } as const;
  await record(daemon, tasks[4]!, { ...REPLY.declined, isUndone: true });
  await record(daemon, tasks[5]!, { ...arrived, reason: 'a part came back' });
  for (const [i, kind] of (['succeeded', 'rejected', 'unknown', 'succeeded'] as const).entries())
    await record(daemon, tasks[i]!, REPLY[kind]);
  await record(daemon, tasks[0]!, arrived);
  await record(daemon, tasks[3]!, REPLY.declined);
  // The second one was rejected: its name is passed on.
  const again = await submit(book.db, account, [requests[1]!, payoutRequest(seller, '2.00')]);
  await cancelPayouts(book.db, { batchId: again.batchId!, ...who });
  await submit(book.db, account, [requests[1]!]);
  const half = await submit(
    book.db,
    account,
    Array.from({ length: 501 }, () => payoutRequest(seller, '0.10')),
  );
  const context = await approvalContext(book.db);
  const started = await startApproval(book.db, context, half.batchId!, 'approve');
  if (started.kind !== 'approving') throw new Error(started.kind);
  const stop = new AbortController();
  await approveItems(book.db, context, started.batch, {
    signal: stop.signal,
    onProgress: () => stop.abort(),
  });
  await cancelPayouts(book.db, { batchId: half.batchId!, ...who });
}

/** Disputes that open, end and go back; charges taken back; money in suspense adopted, refunded, lost and taken back. */
async function doubt(): Promise<void> {
  const account = uniqueName('acct');
  const orders = Array.from({ length: 6 }, () =>
    orderRequest({ seller: 'Bé "x" \\', platformFeeMinor: 99n }),
  );
  const charges = await queueCharges(book.db, account, [paymentRequest({ orders })], { releaseAfterDays: 3 });
  const daemon = await startTestDaemon(book.db);
  const tasks = await claim(daemon, account);
  const replies = ['succeeded', 'succeeded', 'declined', 'declined', 'declined', 'succeeded'] as const;
  await recordFindings(
    daemon.context,
    tasks.map((task, i) => findingOf(task, REPLY[replies[i]!])),
  );
  const hear = (operationId: bigint, reply: 'succeeded' | 'reversed' | 'declined') =>
    applyOutside(book.db, [
      { operationId, attemptNumber: 1, source: 'webhook', reply: REPLY[reply], held: null },
    ]);
  for (const charge of charges.slice(2, 5)) await hear(charge.operationId, 'succeeded');
  const decider = { principal: 'os:ana', reason: 'a "reason" \\ ja' };
  const ref = (i: number) => ({ operationId: charges[i]!.operationId, attemptNumber: 1 });
  await adoptSuspense(book.db, decider, ref(2));
  const refunder = {
    ...decider,
    bookKey: await getBookKey(book.db),
    accountOf: () => ({ psp: 'stripe' as const }),
  };
  for (const reply of ['declined', 'succeeded'] as const) {
    await refundSuspense(book.db, refunder, ref(3), uniqueName('suspense'));
    await record(daemon, await claimOne(daemon, account), REPLY[reply]);
  }
  const tell = async (i: number, pspReference: string, state: 'opened' | 'won' | 'lost') => {
    const observation = await takeObservation(book.db);
    const money = { amountMinor: 700n, currency: 'EUR', reason: 'fraud "x"' };
    const fact = { pspAccount: account, pspReference, ...ref(i), ...money, state, observation };
    const context = { principal: 'test', policy: { lostFee: 'write_off' } } as const;
    await transact(book.db, (tx) => applyDisputes(tx, context, [fact]));
  };
  for (const state of ['opened', 'opened', 'won', 'lost', 'won'] as const) await tell(0, 'du_back', state);
  await tell(4, 'du_suspense', 'lost');
  await submitRefunds(book.db, { ...refunder, policy: { fee: 'proportional', overdraw: 'allowed' } }, [
    {
      refundId: uniqueName('r'),
      orderId: charges[5]!.orderId,
      amount: '9.00',
      reason: 'x',
      cause: 'request',
    },
  ]);
  // Cancels the refund, which nobody has sent.
  await tell(5, 'du_refunded', 'opened');
  await hear(charges[1]!.operationId, 'reversed');
  await hear(charges[2]!.operationId, 'reversed');
}

async function refunds(): Promise<void> {
  const account = uniqueName('acct');
  const orders = REPLY_KINDS.map(() =>
    orderRequest({ seller: uniqueName('Refunded'), platformFeeMinor: 99n }),
  );
  const charges = await queueCharges(book.db, account, [paymentRequest({ orders })], { releaseAfterDays: 3 });
  const daemon = await startTestDaemon(book.db);
  const tasks = await claim(daemon, account);
  await recordFindings(
    daemon.context,
    tasks.map((task) => findingOf(task, REPLY.succeeded)),
  );
  const context = {
    policy: { fee: 'proportional', overdraw: 'allowed' } as const,
    bookKey: await getBookKey(book.db),
    principal: 'os:ana',
    accountOf: () => ({ psp: 'stripe' as const }),
  };
  const asked = charges.map(({ orderId }, i) => ({
    refundId: uniqueName('refund "quoted" \\ 返金'),
    orderId,
    amount: i % 2 === 0 ? null : '3.33',
    reason: 'it was broken',
    cause: 'request' as const,
  }));
  await submitRefunds(book.db, context, asked);
  const sent = await claim(daemon, account);
  await recordFindings(
    daemon.context,
    sent.map((task, i) => findingOf(task, REPLY[REPLY_KINDS[i]!])),
  );
  const done = sent[REPLY_KINDS.indexOf('succeeded')]!.job;
  const undone = { ...done, source: 'enquiry' as const, reply: REPLY.declined, held: null };
  await applyOutside(book.db, [undone]);
  const news = sent.map((task, i) => ({
    eventId: uniqueName('evt'),
    type: 'refund.updated',
    operationId: task.job.operationId,
    pspReference: 'pi_1',
    says: i % 2 === 0 ? null : REPLY.succeeded,
  }));
  await acceptWebhooks(book.db, daemon.context, account, news);
  await acceptWebhooks(book.db, daemon.context, account, news);
  await recordFindings(
    daemon.context,
    (await claim(daemon, account)).map((task) => findingOf(task, REPLY.succeeded)),
  );
}

/** One that the books refuse: kept aside for a person. */
async function quarantine(): Promise<void> {
  const account = uniqueName('acct');
  const { operationId } = await queueCharge(book.db, account);
  const daemon = await startTestDaemon(book.db);
  const task = await claimOne(daemon, account);
  await book.owner.sql`
    insert into ${book.owner.t.evidence} (operation_id, attempt_number, source, kind, principal)
    values (${operationId}, 1, 'reply', 'not_sent', 'test')`;
  await book.owner.sql`
    update ${book.owner.t.operation} set currency = 'eur' where id = ${operationId}`;
  await record(daemon, task, REPLY.succeeded);
  await book.owner.sql`
    update ${book.owner.t.operation} set currency = 'EUR' where id = ${operationId}`;
}

/** What people do: replays of what is in doubt and of what was refused, in both ways; cancellations. */
async function commands(): Promise<void> {
  const account = uniqueName('acct');
  await queueCharges(
    book.db,
    account,
    Array.from({ length: 6 }, () => paymentRequest()),
  );
  const [{ operationId: unsent }] = [await queueCharge(book.db, uniqueName('acct'))];
  await cancelOperation(book.db, unsent, { reason: 'the buyer "called" \\', principal: 'os:ana' });
  const daemon = await startTestDaemon(book.db);
  const tasks = await claim(daemon, account);
  for (const [i, task] of tasks.entries()) await record(daemon, task, i < 3 ? REPLY.rejected : REPLY.unknown);
  await makeDue(book.owner, account);
  for (const task of await claim(daemon, account)) await record(daemon, task, REPLY.not_found);
  const letters = await book.db.sql<{ id: bigint }[]>`
    select d.id from ${book.db.t.deadLetter} d
      join ${book.db.t.operation} o on o.id = d.operation_id
     where o.psp_account = ${account} order by d.id`;
  const context = {
    principal: 'os:ana',
    reason: 'fixed',
    bookKey: 'testbook',
    pspOf: (): 'stripe' => 'stripe',
  };
  const ids = letters.map((letter) => letter.id);
  await replayDeadLetters(book.db, { ...context, action: 'enquire' }, ids.slice(4));
  await replayDeadLetters(book.db, { ...context, action: null }, ids);
  const again = await claimTasks(daemon.context, `${account}/batch`, 4, scriptedConnector([]));
  for (const [i, task] of again.entries())
    await record(daemon, task, i === 0 ? REPLY.succeeded : REPLY.unknown);
}

/** Every way of going through the risk rules: allowed, blocked, reviewed, and each end of a review. */
async function risks(): Promise<void> {
  const parsed = parseRuleFile(Buffer.from(RISK_RULES));
  if (parsed.kind === 'bad') throw new Error(JSON.stringify(parsed.faults));
  const risk = {
    maxPaymentMinor: new Map(),
    blockedBuyers: new Set<string>(),
    blockedSellers: new Set<string>(),
    ruleSet: parsed.ruleSet,
  };
  const orders = [
    orderRequest({ seller: 'Größe "x"' }),
    orderRequest({ money: money('300', 'JPY') }),
    orderRequest(),
  ];
  const requests = Array.from({ length: 6 }, () => paymentRequest({ buyer: 'Zoë, \\ 🦊', orders }));
  const account = uniqueName('acct');
  const charges = await queueCharges(book.db, account, requests, { risk });
  const ids = [...new Set(charges.map((charge) => charge.paymentId))];
  const decide = (paymentId: bigint, verdict: 'approved' | 'rejected') =>
    decideReview(book.db, {
      paymentId,
      verdict,
      reason: 'seen in the dashboard; "quoted", and \\ more',
      principal: 'os:ana',
      rules: risk,
    });
  await decide(ids[1]!, 'approved');
  await decide(ids[2]!, 'rejected');
  await book.owner.sql`
    update ${book.owner.t.riskReview} set due_at = opened_at where payment_id = ${ids[3]!}`;
  await expireReviews(book.db, 'daemon:test');
  await book.owner.sql`
    update ${book.owner.t.riskReview} set due_at = opened_at + interval '1 day' where payment_id = ${ids[3]!}`;
  const daemon = await startTestDaemon(book.db);
  const tasks = await claim(daemon, account);
  await recordFindings(
    daemon.context,
    tasks.map((task) => findingOf(task, REPLY.succeeded)),
  );
}

/** One allowed, four reviewed, one blocked, of six that are alike. */
const RISK_RULES = `name = "replayed"
[[rules]]
id = "burst"
kind = "velocity"
by = "buyer"
window = "1h"
max_count = 5
action = "block"
[[rules]]
id = "double"
kind = "duplicate"
window = "1h"
action = "review"
[[rules]]
id = "cap"
kind = "seller_daily_cap"
max = { EUR = "1" }
action = "block"
mode = "shadow"
[[rules]]
id = "new"
kind = "first_time_buyer"
above = { EUR = "1" }
action = "review"
mode = "shadow"
`;

/** A late fact that the books refused, booked by a replay. */
async function folds(): Promise<void> {
  const account = uniqueName('acct');
  const { operationId } = await queueCharge(book.db, account);
  const daemon = await startTestDaemon(book.db);
  const task = await claimOne(daemon, account);
  await record(daemon, task, REPLY.declined);
  await book.owner.sql`update ${book.owner.t.operation} set currency = 'eur' where id = ${operationId}`;
  await record(daemon, task, REPLY.succeeded);
  await book.owner.sql`update ${book.owner.t.operation} set currency = 'EUR' where id = ${operationId}`;
  const [letter] = await book.db.sql<{ id: bigint }[]>`
    select id from ${book.db.t.deadLetter} where operation_id = ${operationId}`;
  const context = { principal: 'os:ana', reason: 'fixed', action: null, bookKey: 'testbook' };
  await replayDeadLetters(book.db, { ...context, pspOf: () => 'stripe' }, [letter!.id]);
}

/** Declines that are tried again: with another method, by another key, in vain, and stopped by the risk check. */
async function retries(): Promise<void> {
  const account = uniqueName('acct');
  const charges = await queueCharges(
    book.db,
    account,
    Array.from({ length: 4 }, () => paymentRequest()),
  );
  const daemon = await startTestDaemon(book.db);
  for (const task of await claim(daemon, account)) await record(daemon, task, REPLY.declined);
  const risk = {
    maxPaymentMinor: new Map(),
    blockedBuyers: new Set<string>(),
    blockedSellers: new Set<string>(),
  };
  for (const [i, { paymentId, orderId }] of charges.entries()) {
    const blockedBuyers = new Set(i === 3 ? ['buyer-1'] : []);
    const request = { orderId, paymentMethod: 'pm_"other" \\', idempotencyKey: uniqueName('retry') };
    const context = { risk: { ...risk, blockedBuyers }, bookKey: 'testbook', principal: 'os:ana' };
    await retryOrder(book.db, { ...context, accountOf: () => ({ psp: 'stripe' }) }, paymentId, request);
  }
  const { operationId } = charges[2]!;
  const late = {
    operationId,
    attemptNumber: 1,
    source: 'enquiry',
    reply: REPLY.succeeded,
    held: null,
  } as const;
  await applyOutside(book.db, [late]);
  const again = await claim(daemon, account, 2);
  await record(daemon, again[0]!, REPLY.succeeded);
  await record(daemon, again[1]!, REPLY.unknown);
}

/** Buyers who are waited for: in time, too late, taken back; where they come back to. */
async function customers(): Promise<void> {
  const daemon = await startTestDaemon(book.db);
  const told = async (account: string, reply: EnquiryReply | null) => {
    await makeDue(book.owner, account);
    await record(daemon, await claimOne(daemon, account), reply);
  };
  const queue = async () => {
    const account = uniqueName('acct');
    const order = orderRequest({ customerPresent: true, returnUrl: 'https://shop.example/back?a="b"' });
    const { operationId } = await queueCharge(book.db, account, { orders: [order] });
    await told(account, REPLY.awaiting_customer);
    return { account, operationId };
  };
  const canceled = { ...REPLY.declined, reason: 'canceled: abandoned' };
  const failed = await queue();
  await told(failed.account, { ...REPLY.awaiting_customer, handOff: null, reason: 'expired_card' });
  await told(failed.account, canceled);
  const takenBack = await queue();
  const why = { reason: 'ordered "twice"', principal: 'os:ana' };
  await cancelOperation(book.db, takenBack.operationId, why);
  await cancelOperation(book.db, takenBack.operationId, why);
  await told(takenBack.account, null);
  await told(takenBack.account, canceled);
  const open = await queue();
  await cancelOperation(book.db, open.operationId, why);
  // Its limit is so short that it is over by the next look.
  const account = uniqueName('acct');
  await queueCharge(book.db, account);
  const hasty = { ...daemon, context: { ...daemon.context, customerLimitMs: 1 } };
  await record(hasty, await claimOne(daemon, account), REPLY.awaiting_customer);
  await told(account, REPLY.awaiting_customer);
  await told(account, canceled);
}

/** The tests above move jobs about by hand, which no event tells: when they are due, and one's rescues. */
async function levelJobs(owner: Db): Promise<void> {
  await owner.sql`update ${owner.t.job} set run_at = 'epoch', rescues = 0`;
  if (owner.book !== 'paygate') await owner.close();
}

/** A settlement file whose lines are posted, end a doubt and leave a break; a person resolves it. */
async function settlements(): Promise<void> {
  const account = uniqueName('acct');
  const daemon = await startTestDaemon(book.db);
  const [charge] = await charged(book.db, daemon, account, 1);
  const { operationId } = await queueCharge(book.db, account, {}, { releaseAfterDays: 0 });
  await record(daemon, await claimOne(daemon, account), REPLY.unknown);
  const lines = [
    lineOf(charge!, { feeMinor: 30n }),
    line({ grossMinor: 1_250n, paymentReference: 'pi_settled', ourReference: `op_${operationId}` }),
    line({ grossMinor: 99n, paymentReference: 'pi_nobody' }),
    line({ kind: 'deposit', grossMinor: -500n, reference: 'po_replayed' }),
  ];
  const answer = await reconcile(book.db, `psp:${account}`, { lines });
  await resolveBreak(book.db, {
    breakId: BigInt(answer.breaks[0]!.id.slice('brk_'.length)),
    action: 'suspense',
    reason: 'nobody knows; "quoted", and \\ more',
    idempotencyKey: uniqueName('decision'),
    assignee: null,
    principal: 'os:ana',
    policy: { accounts: new Map(), writeOffLimits: new Map() },
    capabilitiesOf: () => capabilitiesOf('stripe'),
  });
  const statement = { lines: [line({ kind: 'deposit', grossMinor: 500n, ourReference: 'po_replayed' })] };
  await reconcile(book.db, 'bank:main', statement);
  await releaseDueFunds(book.db, 'test:release');
}

describe('replay', () => {
  test('of a book in which everything happened gives the same book, row by row', async () => {
    await accepts();
    await outcomes();
    await trouble();
    await releases();
    await refunds();
    await doubt();
    await payouts();
    await quarantine();
    await commands();
    await risks();
    await retries();
    await customers();
    await folds();
    await settlements();
    await applyOutside(book.db, []);
    await levelJobs(book.owner);
    const states = await book.owner.sql<{ subState: string }[]>`
      select distinct sub_state from ${book.owner.t.operation} order by sub_state`;
    expect(states.map((row) => row.subState)).toEqual(
      expect.arrayContaining([
        'queued',
        'in_risk_review',
        'risk_blocked',
        'canceled',
        'expired',
        'succeeded',
        'declined',
        'rejected',
        'unknown',
        'pending_psp',
        'awaiting_customer',
        'retry_wait',
        'held_config',
        'reversed',
        'canceled',
      ]),
    );
    const into = await emptyBook('rebuilt');
    const applied = await replayEvents(book.db, into);
    expect(applied).toBeGreaterThan(200);
    await levelJobs(connect({ connection: book.database.connection, book: 'rebuilt', max: 1 }));
    const [original, rebuilt] = [await dump('paygate'), await dump('rebuilt')];
    expect(rebuilt).toEqual(original);
    expect(original.length).toBeGreaterThan(500);
    expect((await verifyLedger(into)).verdict).toBe('balanced');
  });

  test('knows every kind of event that there is', async () => {
    const kinds = await book.owner.sql<{ kind: string }[]>`
      select distinct kind from ${book.owner.t.event} order by kind`;
    expect(kinds.map((row) => row.kind)).toEqual([
      'account_opened',
      'batch_opened',
      'batch_submitted',
      'break_resolved',
      'cancel_requested',
      'dead_letter_replayed',
      'dispute_changed',
      'funds_released',
      'job_rescued',
      'jobs_claimed',
      'key_answered',
      'lines_posted',
      'operation_canceled',
      'operation_evidence',
      'operations_rechecked',
      'order_retried',
      'payment_accepted',
      'payout_batch_approved',
      'payout_batch_ended',
      'payout_batch_submitted',
      'payouts_decided',
      'payouts_submitted',
      'refund_accepted',
      'risk_reviewed',
      'seller_changed',
      'suspense_decided',
    ]);
  });

  test('into a book that is not empty is refused', async () => {
    await expect(replayEvents(book.db, book.db)).rejects.toMatchObject({ code: 'book_not_empty' });
  });

  test('of no events proves nothing and is refused', async () => {
    const [from, into] = [await emptyBook('silent'), await emptyBook('silent_copy')];
    await expect(replayEvents(from, into)).rejects.toMatchObject({ code: 'no_events' });
  });

  test('of an approval that was numbered before the money it was made of is not refused', async () => {
    const { t } = book.owner;
    const seller = await fundedSeller(book.db, 'stripe_main', '50.00');
    const [funded] = await book.owner.sql<{ id: bigint }[]>`select max(id) as id from ${t.event}`;
    await pay(book.db, 'stripe_main', [payoutRequest(seller, '50.00')]);
    const [last] = await book.owner.sql<{ id: bigint }[]>`select max(id) as id from ${t.event}`;
    await book.owner.sql`alter table ${t.event} disable trigger event_is_append_only`;
    const moved = await book.owner.sql`
      update ${t.event} set id = ${last!.id + 1n} where id = ${funded!.id} and kind = 'funds_released' returning id`;
    await book.owner.sql`alter table ${t.event} enable trigger event_is_append_only`;
    expect(moved).toHaveLength(1);
    const into = await emptyBook('reordered');
    await replayEvents(book.db, into);
    await levelJobs(book.owner);
    await levelJobs(connect({ connection: book.database.connection, book: 'reordered', max: 1 }));
    expect(await dump('reordered')).toEqual(await dump('paygate'));
  });

  test('of a book with a row that no event explains gives another book: the comparison is not blind', async () => {
    const into = await emptyBook('suspicious');
    await book.owner.sql`
      update ${book.owner.t.operation} set reason = 'changed behind the back'
       where id = (select min(id) from ${book.owner.t.operation})`;
    await replayEvents(book.db, into);
    expect(await dump('suspicious')).not.toEqual(await dump('paygate'));
  });
});

describe('events', () => {
  test('are listed in order, page by page, and of one payment', async () => {
    const all = await listEvents(book.db, { afterId: 0n, limit: 100_000 });
    const paged: bigint[] = [];
    for (let afterId = 0n; ; ) {
      const page = await listEvents(book.db, { afterId, limit: 37 });
      paged.push(...page.map((event) => event.id));
      if (page.length < 37) break;
      afterId = page.at(-1)!.id;
    }
    expect(paged).toEqual(all.map((event) => event.id));
    const paymentId = all.find((event) => event.kind === 'payment_accepted')!.paymentId!;
    const story = await listEvents(book.db, { afterId: 0n, limit: 100, paymentId });
    expect(story.map((event) => event.id)).toEqual(
      all.filter((event) => event.paymentId === paymentId).map((event) => event.id),
    );
  });

  test('never carry what the shop hands to the buyer', async () => {
    const rows = await book.owner.sql`
      select 1 from ${book.owner.t.event}
       where position('handOff' in data::text) > 0 or position('_secret_' in data::text) > 0`;
    expect(rows).toEqual([]);
  });
});
