/** The loop on a real database, with a PSP in memory that keeps Stripe's promise about keys and nothing else. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Db } from '../core/db/connection.ts';
import type { ExecutorContext } from '../core/operation/execute-operations.ts';
import type { Connector, EnquiryReply, PspAccount, Reply, StoredAttempt } from '../core/psp/psp.ts';
import { capabilitiesOf } from '../core/psp/request.ts';
import {
  balanceOf,
  makeDue,
  openTestBook,
  paymentRequest,
  queueCharge,
  queueCharges,
  REPLY,
  standingOf,
  startTestDaemon,
  type TestBook,
  uniqueName,
} from '../testing/fixtures.ts';
import { type Executor, startExecutor } from './executor.ts';
import type { Lease } from './lease.ts';
import type { Log } from './log.ts';

let book: TestBook;
const started: Executor[] = [];
beforeAll(async () => {
  book = await openTestBook();
});
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(started.splice(0).map((executor) => executor.drain()));
});
afterAll(() => book.close());

const silent: Log = {
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  debug: () => undefined,
};

function accountOf(name: string, maxConcurrent = 16): PspAccount {
  return { name, psp: 'stripe', apiKey: 'sk_test_x', baseUrl: null, maxConcurrent, timeoutMs: 5_000 };
}

async function start(
  account: PspAccount,
  connector: Connector,
  overrides: { lease?: Partial<Lease>; context?: Partial<ExecutorContext> } = {},
): Promise<Executor> {
  const daemon = await startTestDaemon(book.db);
  const lease: Lease = {
    daemonId: () => daemon.id,
    leftMs: () => 6_000,
    allowsSend: () => true,
    end: async () => undefined,
    ...overrides.lease,
  };
  const executor = startExecutor({
    context: { ...daemon.context, ...overrides.context },
    lease,
    accounts: [account],
    connectors: new Map([[account.name, connector]]),
    log: silent,
  });
  started.push(executor);
  return executor;
}

/** Asks at every turn of the event loop, so that it works under faked timers too. */
async function untilSo(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setImmediate(resolve));
}

async function openJobs(account: string): Promise<number> {
  const [row] = await book.db.sql<{ jobs: number }[]>`
    select count(*)::integer as jobs from ${book.db.t.job} where starts_with(lane, ${`${account}/`})`;
  return row!.jobs;
}

type Fault = (act: () => Reply) => Reply;
/** What may go wrong with one request, charged or not. */
const FAULTS: readonly Fault[] = [
  (act) => act(),
  (act) => {
    act();
    return REPLY.unknown;
  },
  () => REPLY.unknown,
  () => REPLY.not_sent,
  () => REPLY.rate_limited,
  (act) => {
    act();
    return { ...REPLY.unknown, next: 'enquire' };
  },
];

/** One charge per key, whatever is asked; every key meets its own faults first. */
function idempotentPsp(faultsOf: (n: number) => readonly Fault[]) {
  const charged = new Map<string, number>();
  const inFlight = new Map<string, number>();
  const left = new Map<string, Fault[]>();
  let together = 0;
  const answer = async (
    attempt: StoredAttempt,
    what: (fault: Fault) => EnquiryReply,
  ): Promise<EnquiryReply> => {
    const key = attempt.idempotencyKey;
    if (!left.has(key)) left.set(key, [...faultsOf(left.size)]);
    inFlight.set(key, (inFlight.get(key) ?? 0) + 1);
    together = Math.max(together, inFlight.get(key)!);
    await new Promise((resolve) => setImmediate(resolve));
    inFlight.set(key, inFlight.get(key)! - 1);
    return what(left.get(key)!.shift() ?? ((act) => act()));
  };
  const act = async (attempt: StoredAttempt): Promise<Reply> =>
    (await answer(attempt, (fault) =>
      fault(() => {
        if (!charged.has(attempt.idempotencyKey)) charged.set(attempt.idempotencyKey, 1);
        return { kind: 'succeeded', pspReference: `pi_${attempt.reference}` };
      }),
    )) as Reply;
  const connector: Connector = {
    capabilities: capabilitiesOf('stripe'),
    charge: act,
    refund: act,
    payout: act,
    cancel: async () => null,
    dispute: async () => ({ kind: 'unaskable' }),
    enquire: (attempt) =>
      answer(attempt, () =>
        charged.has(attempt.idempotencyKey)
          ? { kind: 'succeeded', pspReference: `pi_${attempt.reference}` }
          : REPLY.unknown,
      ),
    parseWebhook: () => ({ kind: 'refused', reason: 'no webhooks here' }),
    close: async () => undefined,
  };
  return { connector, charged, together: () => together };
}

describe('the executor', () => {
  test('charges every order once and books it, whatever goes wrong on the way, with two of them at work', async () => {
    const account = accountOf(uniqueName('acct'));
    const charges = await queueCharges(
      book.db,
      account.name,
      Array.from({ length: 150 }, () => paymentRequest()),
    );
    const psp = idempotentPsp((n) => [
      FAULTS[n % FAULTS.length]!,
      FAULTS[Math.floor(n / 7) % FAULTS.length]!,
    ]);
    const executors = [await start(account, psp.connector), await start(account, psp.connector)];
    await untilSo(async () => (await openJobs(account.name)) === 0);
    await Promise.all(executors.map((executor) => executor.drain()));
    const { sql, t } = book.db;
    const states = await sql`
      select sub_state, count(*)::integer as orders from ${t.operation}
       where psp_account = ${account.name} group by sub_state`;
    expect(states).toEqual([{ subState: 'succeeded', orders: 150 }]);
    expect(psp.charged.size).toBe(150);
    expect(psp.together()).toBe(1);
    expect(await balanceOf(book.db, `psp:${account.name}:receivable`, 'EUR')).toBe(150n * 1250n);
    expect(executors.reduce((sum, executor) => sum + executor.snapshot().recorded, 0)).toBeGreaterThanOrEqual(
      150,
    );
    expect((await standingOf(book.db, charges[0]!.operationId)).attempts).toBe(1);
  });

  test('has never more calls in flight than the account allows', async () => {
    const account = accountOf(uniqueName('acct'), 3);
    await queueCharges(
      book.db,
      account.name,
      Array.from({ length: 20 }, () => paymentRequest()),
    );
    let inFlight = 0;
    let most = 0;
    const connector: Connector = {
      ...idempotentPsp(() => []).connector,
      charge: async () => {
        inFlight += 1;
        most = Math.max(most, inFlight);
        await new Promise((resolve) => setImmediate(resolve));
        inFlight -= 1;
        return REPLY.succeeded;
      },
    };
    await start(account, connector);
    await untilSo(async () => (await openJobs(account.name)) === 0);
    expect(most).toBe(3);
  });

  test('claims only what it can send now: the rest stays ready for others', async () => {
    const account = accountOf(uniqueName('acct'), 4);
    await queueCharges(
      book.db,
      account.name,
      Array.from({ length: 10 }, () => paymentRequest()),
    );
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const connector: Connector = {
      ...idempotentPsp(() => []).connector,
      charge: async () => {
        await held;
        return REPLY.succeeded;
      },
    };
    const executor = await start(account, connector);
    await untilSo(async () => executor.snapshot().inFlight === 4);
    executor.wake();
    const [leased] = await book.db.sql<{ jobs: number }[]>`
      select count(*)::integer as jobs from ${book.db.t.job} where lane = ${`${account.name}/online`} and state = 'leased'`;
    expect(leased!.jobs).toBe(4);
    release();
    await untilSo(async () => (await openJobs(account.name)) === 0);
  });

  test('that is told of new work takes it at once, although most of its window is taken', async () => {
    const account = accountOf(uniqueName('acct'), 4);
    await queueCharges(book.db, account.name, [paymentRequest(), paymentRequest(), paymentRequest()]);
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const connector: Connector = {
      ...idempotentPsp(() => []).connector,
      charge: async () => {
        await held;
        return REPLY.succeeded;
      },
    };
    await book.db.sql`select 1`;
    // No poll ever comes.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const executor = await start(account, connector);
    await untilSo(async () => executor.snapshot().inFlight === 3);
    await queueCharge(book.db, account.name);
    executor.wake();
    await untilSo(async () => executor.snapshot().inFlight === 4);
    release();
    await untilSo(async () => (await openJobs(account.name)) === 0);
    vi.useRealTimers();
  }, 10_000);

  test('of a backlog claims a window, and again when half of it is free: not a few at a time', async () => {
    const account = accountOf(uniqueName('acct'), 512);
    const requests = Array.from({ length: 600 }, () => paymentRequest());
    for (let i = 0; i < requests.length; i += 200)
      await queueCharges(book.db, account.name, requests.slice(i, i + 200));
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const connector: Connector = {
      ...idempotentPsp(() => []).connector,
      charge: async () => {
        await held;
        return REPLY.succeeded;
      },
    };
    const executor = await start(account, connector);
    await untilSo(async () => executor.snapshot().inFlight >= 500);
    // Time for a further claim, which would take the twelve slots that are left.
    for (let i = 0; i < 20; i += 1) await openJobs(account.name);
    expect(executor.snapshot().inFlight).toBe(500);
    release();
    await untilSo(async () => (await openJobs(account.name)) === 0);
  });

  test('without enough of its lease claims nothing', async () => {
    const account = accountOf(uniqueName('acct'));
    const { operationId } = await queueCharge(book.db, account.name);
    const executor = await start(account, idempotentPsp(() => []).connector, {
      lease: { allowsSend: () => false },
    });
    executor.wake();
    await executor.drain();
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'queued', sends: 0 });
  });

  test('whose lease runs short between claim and send does not send, and says so', async () => {
    const account = accountOf(uniqueName('acct'));
    const { operationId } = await queueCharge(book.db, account.name);
    let asked = 0;
    let sent = 0;
    const connector: Connector = {
      ...idempotentPsp(() => []).connector,
      charge: async () => {
        sent += 1;
        return REPLY.succeeded;
      },
    };
    // Enough for the claim, not for the call.
    const executor = await start(account, connector, { lease: { allowsSend: () => ++asked === 1 } });
    await untilSo(async () => executor.snapshot().recorded === 1);
    expect(sent).toBe(0);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'retry_wait',
      maybeSent: false,
      evidence: ['reply not_sent'],
    });
  });

  test('stops claiming at a wrong key: one order waits for the repair, the others are not touched', async () => {
    const account = accountOf(uniqueName('acct'), 1);
    const charges = await queueCharges(
      book.db,
      account.name,
      Array.from({ length: 5 }, () => paymentRequest()),
    );
    const connector: Connector = {
      ...idempotentPsp(() => []).connector,
      charge: async () => REPLY.config_error,
    };
    const executor = await start(account, connector);
    await untilSo(async () => executor.snapshot().recorded === 1);
    executor.wake();
    await executor.drain();
    expect(executor.snapshot().breakers[account.name]).toBe('401: set the key');
    const standings = await Promise.all(charges.map((charge) => standingOf(book.db, charge.operationId)));
    expect(standings.map((standing) => standing.sends)).toEqual([1, 0, 0, 0, 0]);
  });

  test('gets back to jobs whose claim was committed and whose answer was lost', async () => {
    const account = accountOf(uniqueName('acct'));
    const { operationId } = await queueCharge(book.db, account.name);
    const psp = idempotentPsp(() => [() => ({ ...REPLY.unknown, retryAfterMs: 3_000_000 })]);
    const executor = await start(account, psp.connector);
    await untilSo(async () => executor.snapshot().recorded === 1);
    // The second claim is committed; then its evidence cannot be read, and the daemon knows of nothing.
    await book.owner.sql`revoke select on ${book.owner.t.evidence} from paygate_app`;
    try {
      await makeDue(book.owner, account.name);
      executor.wake();
      await untilSo(async () => (await standingOf(book.owner, operationId)).sends === 2);
    } finally {
      await book.owner.sql`grant select on ${book.owner.t.evidence} to paygate_app`;
    }
    await untilSo(async () => (await openJobs(account.name)) === 0);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      entries: ['charge_succeeded'],
    });
    expect(psp.charged.size).toBe(1);
  }, 20_000);

  test('that is told of new work while it looks, looks again at once instead of at the next poll', async () => {
    const account = accountOf(uniqueName('acct'));
    let reached: () => void = () => undefined;
    let open: () => void = () => undefined;
    const atGate = new Promise<void>((resolve) => {
      reached = resolve;
    });
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    // The last question of a look ("when is the next one due?") has its answer; it is only slow to arrive.
    const slow = (strings: TemplateStringsArray, ...values: readonly never[]) => {
      const query = book.db.sql(strings, ...values);
      if (!strings.join('').includes('min(run_at) - now()')) return query;
      return query.then(async (rows) => {
        reached();
        await gate;
        return rows;
      });
    };
    const db = { ...book.db, sql: Object.assign(slow, book.db.sql) } as unknown as Db;
    await book.db.sql`select 1`;
    // No poll ever comes.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const executor = await start(account, idempotentPsp(() => []).connector, { context: { db } });
    await atGate;
    const { operationId } = await queueCharge(book.db, account.name);
    executor.wake();
    open();
    await untilSo(async () => (await standingOf(book.db, operationId)).sends === 1);
    await untilSo(async () => (await openJobs(account.name)) === 0);
    vi.useRealTimers();
  }, 10_000);

  test('drains: calls in flight are waited for and recorded, nothing new is claimed', async () => {
    const account = accountOf(uniqueName('acct'), 2);
    await queueCharges(
      book.db,
      account.name,
      Array.from({ length: 6 }, () => paymentRequest()),
    );
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const connector: Connector = {
      ...idempotentPsp(() => []).connector,
      charge: async () => {
        await held;
        return REPLY.succeeded;
      },
    };
    const executor = await start(account, connector);
    await untilSo(async () => executor.snapshot().inFlight === 2);
    const drained = executor.drain();
    release();
    await drained;
    const { sql, t } = book.db;
    const states = await sql`
      select sub_state, count(*)::integer as orders from ${t.operation}
       where psp_account = ${account.name} group by sub_state order by sub_state`;
    expect(states).toEqual([
      { subState: 'queued', orders: 4 },
      { subState: 'succeeded', orders: 2 },
    ]);
    const leased =
      await sql`select 1 from ${t.job} where lane = ${`${account.name}/online`} and state = 'leased'`;
    expect(leased).toHaveLength(0);
  });
});
