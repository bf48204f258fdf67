/**
 * Shared helpers of the core's tests: a book of their own, payments to put into it, daemons that claim and
 * lapse on command, and connectors that answer from a script. For tests only.
 */
import { type ConnectionOptions, connect, type Db, openBook, transact } from '../core/db/connection.ts';
import { parseAmount, parseCurrency } from '../core/money.ts';
import type { Applied } from '../core/operation/apply-findings.ts';
import { applyFindings } from '../core/operation/apply-findings.ts';
import {
  callPsp,
  claimTasks,
  type ExecutorContext,
  findingOf,
  type Recorded,
  recordFindings,
  type Task,
} from '../core/operation/execute-operations.ts';
import type { Finding } from '../core/operation/finding.ts';
import {
  type AcceptContext,
  type AcceptPolicy,
  acceptPayments,
  fingerprint,
} from '../core/payment/accept-payments.ts';
import type { PaymentOrderRequest, PaymentRequest } from '../core/payment/payment-request.ts';
import type { Connector, EnquiryReply, Reply } from '../core/psp/psp.ts';
import { capabilitiesOf } from '../core/psp/request.ts';
import type { Routing } from '../core/psp/route.ts';
import { laneOf } from '../core/queue/job.ts';
import { getBookKey } from '../core/queue/queue-store.ts';
import { insertDaemon } from '../core/queue/rescue-store.ts';
import { createTestDatabase, type TestDatabase } from './test-database.ts';

export type TestBook = {
  readonly database: TestDatabase;
  /** As the application, like a daemon or a command. */
  readonly db: Db;
  /** As the owner: sets clocks back, looks behind the curtain. */
  readonly owner: Db;
  /** One more pool of the application's, closed with the book. */
  connect(max: number): Db;
  close(): Promise<void>;
};

const BOOK = 'paygate';

/** A fresh book in a database of its own. Call it in `beforeAll`, and `close()` in `afterAll`. */
export async function openTestBook(): Promise<TestBook> {
  const database = await createTestDatabase();
  const pools: Db[] = [];
  const open = (connection: ConnectionOptions, max: number): Db => {
    const pool = connect({ connection, book: BOOK, max, applicationName: 'paygate test' });
    pools.push(pool);
    return pool;
  };
  const db = await openBook({ connection: database.appConnection, book: BOOK, max: 8 });

  return {
    database,
    db,
    owner: open(database.connection, 4),
    connect: (max) => open(database.appConnection, max),
    close: async () => {
      // A connection that a test has cut keeps `close` waiting for as long as it is given (s).
      await Promise.all([db, ...pools].map((pool) => pool.sql.end({ timeout: 1 })));
      await database.drop();
    },
  };
}

let nextName = 1;

/** A name that no other test uses: "shop_17". */
export function uniqueName(prefix: string): string {
  return `${prefix}_${nextName++}`;
}

/** "12.50", "EUR" as the rest of the program knows it. */
export function money(amount: string, code: string): PaymentOrderRequest['money'] {
  const currency = parseCurrency(code);
  if (currency === null) throw new Error(`${code} is not a currency`);
  const parsed = parseAmount(amount, currency);
  if (parsed.kind === 'fault') throw new Error(parsed.message);
  return { amountMinor: parsed.amountMinor, currency };
}

export function orderRequest(overrides: Partial<PaymentOrderRequest> = {}): PaymentOrderRequest {
  return {
    seller: 'Café Ana',
    money: money('12.50', 'EUR'),
    paymentMethod: 'pm_card_visa',
    platformFeeMinor: null,
    orderRef: null,
    customerPresent: false,
    metadata: {},
    ...overrides,
  };
}

/** One payment with one order; names of its own unless given. */
export function paymentRequest(overrides: Partial<PaymentRequest> = {}): PaymentRequest {
  const name = uniqueName('co');
  return {
    checkoutId: name,
    idempotencyKey: `key-${name}`,
    buyer: 'buyer-1',
    orders: [orderRequest()],
    metadata: {},
    ...overrides,
  };
}

/** Everything to one Stripe account. */
export function routeTo(name: string): Routing {
  return { rules: [], fallback: { name, psp: 'stripe' } };
}

export function acceptPolicy(overrides: Partial<AcceptPolicy> = {}): AcceptPolicy {
  return {
    route: routeTo('main'),
    onPartial: 'keep',
    fees: new Map(),
    risk: { maxPaymentMinor: new Map(), blockedBuyers: new Set(), blockedSellers: new Set() },
    releaseAfterDays: null,
    ...overrides,
  };
}

export async function acceptContext(db: Db, policy: Partial<AcceptPolicy> = {}): Promise<AcceptContext> {
  return {
    policy: acceptPolicy(policy),
    bookKey: await getBookKey(db),
    principal: 'test:accept',
    priority: 'online',
    batchId: null,
  };
}

/** One order in the queue. */
export type QueuedCharge = {
  readonly paymentId: bigint;
  readonly orderId: bigint;
  readonly operationId: bigint;
};

/**
 * Accepts payments for a PSP account that only this test uses, so that its lane is its own.
 * @returns the orders, in the order of the requests
 */
export async function queueCharges(
  db: Db,
  pspAccount: string,
  requests: readonly PaymentRequest[],
  policy: Partial<AcceptPolicy> = {},
): Promise<readonly QueuedCharge[]> {
  const context = await acceptContext(db, { route: routeTo(pspAccount), ...policy });
  const results = await transact(db, (tx) => acceptPayments(tx, context, requests.map(fingerprint)));
  const ids = results.map((result) => {
    if (result.kind !== 'accepted') throw new Error(`not accepted: ${result.kind}`);
    return result.answer.payment_id.slice('pay_'.length);
  });
  return db.sql<QueuedCharge[]>`
    select po.payment_id, po.id as order_id, o.id as operation_id
      from unnest(${`{${ids.join(',')}}`}::bigint[]) with ordinality as w (id, n)
      join ${db.t.paymentOrder} po on po.payment_id = w.id
      join ${db.t.operation} o on o.payment_order_id = po.id
     order by w.n, po.line`;
}

/** One plain order in a lane of its own. */
export async function queueCharge(
  db: Db,
  pspAccount: string,
  overrides: Partial<PaymentRequest> = {},
  policy: Partial<AcceptPolicy> = {},
): Promise<QueuedCharge> {
  const [charge] = await queueCharges(db, pspAccount, [paymentRequest(overrides)], policy);
  return charge!;
}

/** A daemon as far as the core knows it: a heartbeat row and the context of its executor. */
export type TestDaemon = {
  readonly id: bigint;
  readonly context: ExecutorContext;
};

/** Registers a daemon that beats for the whole test; it has not been steady for long. */
export async function startTestDaemon(db: Db, name = uniqueName('daemon')): Promise<TestDaemon> {
  const id = await insertDaemon(db, name);
  await db.sql`update ${db.t.daemon} set beat_at = now() + interval '1 hour' where id = ${id}`;
  return {
    id,
    context: {
      db,
      daemonId: () => id,
      principal: `daemon:${name}`,
      capabilitiesOf: () => capabilitiesOf('stripe'),
      random: () => 0,
    },
  };
}

/** Its heartbeat is long over; nobody has noticed yet. */
export async function lapse(owner: Db, daemon: TestDaemon): Promise<void> {
  await owner.sql`update ${owner.t.daemon} set beat_at = now() - interval '1 hour' where id = ${daemon.id}`;
}

/** It beats now and has done so for long: it may rescue. */
export async function makeSteady(owner: Db, daemon: TestDaemon): Promise<void> {
  await owner.sql`
    update ${owner.t.daemon}
       set beat_at = now() + interval '1 hour', steady_since = now() - interval '1 hour'
     where id = ${daemon.id}`;
}

/** Every waiting job of the account is due now. */
export async function makeDue(owner: Db, pspAccount: string): Promise<void> {
  await owner.sql`
    update ${owner.t.job} set run_at = now() - interval '1 second'
     where starts_with(lane, ${`${pspAccount}/`}) and state = 'ready'`;
}

/** Resolves once a statement that contains the text waits for a lock. */
export async function untilBlocked(owner: Db, text: string): Promise<void> {
  await until(async () => {
    const rows = await owner.sql`
      select 1 from pg_stat_activity
       where datname = current_database() and wait_event_type = 'Lock' and position(${text} in query) > 0
         and pid <> pg_backend_pid()`;
    return rows.length > 0;
  });
}

/** Asks again and again, a moment apart, until the answer is yes. The test's own time-out ends it. */
export async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/**
 * Runs `work` and collects what would have ended the process meanwhile: exceptions that nobody could catch.
 * The runner's own listeners are put back afterwards.
 */
export async function collectUncaught(work: () => Promise<void>): Promise<readonly unknown[]> {
  const uncaught: unknown[] = [];
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => uncaught.push(error));
  try {
    await work();
    // What was scheduled by the last turn of the event loop still runs.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  } finally {
    process.removeAllListeners('uncaughtException');
    for (const listener of listeners) process.on('uncaughtException', listener);
  }
  return uncaught;
}

/** As if the attempt had first been sent so long ago. */
export async function setFirstSentBack(owner: Db, operationId: bigint, interval: string): Promise<void> {
  for (const table of [owner.t.attempt, owner.t.job]) {
    await owner.sql`
      update ${table}
         set first_sent_at = now() - ${interval}::text::interval, last_sent_at = now() - ${interval}::text::interval
       where operation_id = ${operationId}`;
  }
}

/** Claims from the account's online lane. */
export function claim(daemon: TestDaemon, pspAccount: string, limit = 100): Promise<readonly Task[]> {
  return claimTasks(daemon.context, laneOf(pspAccount, 'online'), limit, scriptedConnector([]));
}

/** Claims exactly one. */
export async function claimOne(daemon: TestDaemon, pspAccount: string): Promise<Task> {
  const tasks = await claim(daemon, pspAccount);
  if (tasks.length !== 1) throw new Error(`${tasks.length} tasks claimed, not one`);
  return tasks[0]!;
}

/** Records one reply of a claimed task. */
export async function record(daemon: TestDaemon, task: Task, reply: EnquiryReply | null): Promise<Recorded> {
  const [result] = await recordFindings(daemon.context, [findingOf(task, reply)]);
  return result!;
}

/** Claims the one job of the account, calls the connector, records: one turn of the executor's loop. */
export async function turn(daemon: TestDaemon, pspAccount: string, connector: Connector): Promise<Recorded> {
  const tasks = await claimTasks(daemon.context, laneOf(pspAccount, 'online'), 100, connector);
  if (tasks.length !== 1) throw new Error(`${tasks.length} tasks claimed, not one`);
  const reply = await callPsp(connector, tasks[0]!, 10_000);
  return record(daemon, tasks[0]!, reply);
}

/** Applies findings from outside the queue (a person, a webhook). */
export async function applyOutside(db: Db, findings: readonly Finding[]): Promise<readonly Applied[]> {
  const context = {
    principal: 'test:outside',
    capabilitiesOf: () => capabilitiesOf('stripe'),
    random: () => 0,
  };
  return transact(db, (tx) => applyFindings(tx, context, findings));
}

type ScriptedCall = 'charge' | 'refund' | 'payout' | 'enquire' | 'cancel';

export type ScriptedConnector = Connector & {
  /** What was asked, in order. */
  readonly calls: readonly ScriptedCall[];
};

/** Answers one after the other, whatever is asked; runs dry with an error. */
export function scriptedConnector(replies: readonly EnquiryReply[]): ScriptedConnector {
  const calls: ScriptedCall[] = [];
  let next = 0;
  const answer = async (what: ScriptedCall): Promise<EnquiryReply> => {
    calls.push(what);
    const reply = replies[next++];
    if (reply === undefined) throw new Error('the script has no further reply');
    return reply;
  };
  return {
    capabilities: capabilitiesOf('stripe'),
    calls,
    charge: async () => (await answer('charge')) as Reply,
    refund: async () => (await answer('refund')) as Reply,
    payout: async () => (await answer('payout')) as Reply,
    enquire: () => answer('enquire'),
    cancel: () => answer('cancel'),
    dispute: async () => ({ kind: 'unaskable' }),
    parseWebhook: () => ({ kind: 'refused', reason: 'the script has no webhooks' }),
    close: async () => undefined,
  };
}

/** One reply of each kind, as a PSP gives it. */
export const REPLY = {
  succeeded: { kind: 'succeeded', pspReference: 'pi_1' },
  declined: { kind: 'declined', reason: 'card_declined', mayRetryAsNew: true, pspReference: 'pi_1' },
  rejected: { kind: 'rejected', reason: 'no such parameter' },
  reversed: { kind: 'reversed', reason: 'taken back', pspReference: 'pi_1' },
  pending: { kind: 'pending', pspReference: 'pi_1' },
  awaiting_customer: {
    kind: 'awaiting_customer',
    pspReference: 'pi_1',
    handOff: { type: 'stripe_client_secret', payment_intent: 'pi_1', client_secret: 'pi_1_secret_x' },
  },
  not_sent: { kind: 'not_sent', reason: 'connection refused' },
  rate_limited: { kind: 'rate_limited', reason: '429', retryAfterMs: null },
  config_error: { kind: 'config_error', reason: '401', fix: 'set the key' },
  unknown: { kind: 'unknown', reason: 'time-out', next: 'resend', retryAfterMs: null },
  not_found: { kind: 'not_found', reason: 'a full listing shows nothing' },
} as const satisfies { readonly [Kind in EnquiryReply['kind']]: Extract<EnquiryReply, { kind: Kind }> };

export type ReplyKind = keyof typeof REPLY;
export const REPLY_KINDS = Object.keys(REPLY) as readonly ReplyKind[];

/** Where an operation stands, with its latest attempt and everything around it. */
export type Standing = {
  readonly subState: string;
  readonly attemptState: string;
  readonly isOpen: boolean;
  readonly maybeSent: boolean;
  readonly sends: number;
  readonly attempts: number;
  readonly operationFence: number;
  readonly pspReference: string | null;
  readonly resolvedBy: string | null;
  /** Sources and kinds of the evidence, in the order it was stored: "reply unknown". */
  readonly evidence: readonly string[];
  /** Null when it has none. */
  readonly job: { readonly state: string; readonly action: string; readonly fence: number } | null;
  /** Codes of its open dead letters. */
  readonly deadLetters: readonly string[];
  /** Kinds of the entries that its charge caused. */
  readonly entries: readonly string[];
};

/** Reads everything about an operation, for comparison in one go. */
export async function standingOf(db: Db, operationId: bigint): Promise<Standing> {
  const { sql, t } = db;
  const [row] = await sql<{ standing: Standing }[]>`
    select json_build_object(
      'subState', ${t.shownSubState}(o.sub_state, j.state), 'attemptState', a.state, 'isOpen', a.is_open, 'maybeSent', a.maybe_sent,
      'sends', greatest(a.sends, j.sends), 'operationFence', o.fence, 'pspReference', o.psp_reference, 'resolvedBy', a.resolved_by,
      'attempts', (select count(*) from ${t.attempt} where operation_id = o.id),
      'evidence', (select coalesce(json_agg(source || ' ' || kind order by id), '[]')
                     from ${t.evidence} where operation_id = o.id),
      'job', (select json_build_object('state', state, 'action', action, 'fence', fence)
                from ${t.job} where operation_id = o.id),
      'deadLetters', (select coalesce(json_agg(code order by id), '[]')
                        from ${t.deadLetter} where operation_id = o.id and state = 'open'),
      'entries', (select coalesce(json_agg(kind order by id), '[]') from ${t.journalEntry}
                   where cause = 'op_' || o.id or starts_with(cause, 'op_' || o.id || '/'))) as standing
      from ${t.operation} o
      join ${t.attempt} a on a.operation_id = o.id
      left join ${t.job} j on j.operation_id = o.id
     where o.id = ${operationId}
     order by a.number desc
     limit 1`;
  if (row === undefined) throw new Error(`there is no operation ${operationId}`);
  return row.standing;
}

/** Balance of an account on its normal side, in minor units; 0 when it was never opened. */
export async function balanceOf(db: Db, code: string, currency: string): Promise<bigint> {
  const [row] = await db.sql<{ balance: bigint }[]>`
    select case a.normal_balance when 'debit' then b.debits - b.credits else b.credits - b.debits end as balance
      from ${db.t.account} a
      join ${db.t.accountBalance} b on b.account_id = a.id
     where a.code = ${code} and a.currency = ${currency}`;
  return row?.balance ?? 0n;
}

/** Every row of the named tables as text, in key order: equal texts are equal books. */
export async function dumpTables(
  db: Db,
  book: string,
  tables: readonly string[],
): Promise<readonly string[]> {
  const dumps: string[] = [];
  for (const table of tables) {
    const rows = await db.sql<{ row: string }[]>`
      select row::text from ${db.sql(`${book}.${table}`)} as row order by row::text`;
    dumps.push(...rows.map(({ row }) => `${table} ${row}`));
  }
  return dumps;
}
