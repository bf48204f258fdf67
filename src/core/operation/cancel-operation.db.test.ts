/** Cancel and discard: only what was never claimed, whoever comes first. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  claim,
  claimOne,
  makeDue,
  openTestBook,
  paymentRequest,
  queueCharge,
  queueCharges,
  REPLY,
  record,
  standingOf,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
  untilBlocked,
} from '../../testing/fixtures.ts';
import { transact } from '../db/connection.ts';
import { laneOf } from '../queue/job.ts';
import { claimJobs, lockJobs } from '../queue/queue-store.ts';
import { cancelOperation, discardDeadLetter } from './cancel-operation.ts';

const WHY = { reason: 'the buyer called', principal: 'os:ana' };

let book: TestBook;
let daemon: TestDaemon;
beforeAll(async () => {
  book = await openTestBook();
  daemon = await startTestDaemon(book.db);
});
afterAll(() => book.close());

async function eventsOf(operationId: bigint, kind: string) {
  return book.db.sql<{ principal: string; data: { reason: string; dead_letter: string | null } }[]>`
    select principal, data from ${book.db.t.event}
     where kind = ${kind} and data->>'operation' = ${operationId.toString()}`;
}

async function openLetter(operationId: bigint): Promise<bigint> {
  const [row] = await book.db.sql<{ id: bigint }[]>`
    insert into ${book.db.t.deadLetter} (operation_id, attempt_number, code, reason)
    values (${operationId}, 1, 'quarantined', 'could not be queued')
    returning id`;
  return row!.id;
}

describe('an order that waits for its first claim', () => {
  test('is canceled: job gone, attempt closed as not sent, event with reason and name', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    await cancelOperation(book.db, operationId, WHY);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'canceled',
      attemptState: 'not_sent',
      isOpen: false,
      maybeSent: false,
      sends: 0,
      job: null,
      entries: [],
    });
    expect(await eventsOf(operationId, 'operation_canceled')).toEqual([
      {
        principal: 'os:ana',
        data: expect.objectContaining({ reason: 'the buyer called', dead_letter: null }),
      },
    ]);
    expect(await claim(daemon, account)).toEqual([]);
  });

  test('is canceled once', async () => {
    const { operationId } = await queueCharge(book.db, uniqueName('acct'));
    await cancelOperation(book.db, operationId, WHY);
    await expect(cancelOperation(book.db, operationId, WHY)).rejects.toMatchObject({
      code: 'already_ended',
      kind: 'refused',
    });
    expect(await eventsOf(operationId, 'operation_canceled')).toHaveLength(1);
  });
});

describe('an order that was claimed', () => {
  test('is not canceled, even when its request provably never left: 1 claim is enough', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const task = await claimOne(daemon, account);
    const refusal = { code: 'already_claimed', kind: 'refused' };
    await expect(cancelOperation(book.db, operationId, WHY)).rejects.toMatchObject(refusal);
    await record(daemon, task, REPLY.not_sent);
    await expect(cancelOperation(book.db, operationId, WHY)).rejects.toMatchObject(refusal);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'retry_wait',
      job: { state: 'ready' },
    });
    expect(await eventsOf(operationId, 'operation_canceled')).toEqual([]);
  });

  test.each(['unknown', 'pending', 'config_error'] as const)(
    'and answered %s is not canceled; the message names what ends it',
    async (kind) => {
      const account = uniqueName('acct');
      const { operationId } = await queueCharge(book.db, account);
      await record(daemon, await claimOne(daemon, account), REPLY[kind]);
      await expect(cancelOperation(book.db, operationId, WHY)).rejects.toThrow('paygate payments resolve');
    },
  );

  test.each(['succeeded', 'declined', 'rejected'] as const)('and has %s is over', async (kind) => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    await record(daemon, await claimOne(daemon, account), REPLY[kind]);
    await expect(cancelOperation(book.db, operationId, WHY)).rejects.toMatchObject({ code: 'already_ended' });
  });

  test('by the risk check alone has nothing to cancel', async () => {
    const risk = {
      maxPaymentMinor: new Map(),
      blockedBuyers: new Set(['buyer-1']),
      blockedSellers: new Set<string>(),
    };
    const { operationId } = await queueCharge(book.db, uniqueName('acct'), {}, { risk });
    await expect(cancelOperation(book.db, operationId, WHY)).rejects.toMatchObject({ code: 'already_ended' });
  });
});

describe('cancel and claim at the same time', () => {
  test('a claim that came first wins: cancel waits for it and is refused', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    let canceling: Promise<unknown> = Promise.resolve();
    await transact(book.db, async (tx) => {
      const [job] = await claimJobs(tx, {
        lane: laneOf(account, 'online'),
        limit: 1,
        daemonId: daemon.id,
        principal: 'test',
        after: null,
      });
      expect(job?.operationId).toBe(operationId);
      canceling = cancelOperation(book.db, operationId, WHY).catch((error: unknown) => error);
      await untilBlocked(book.owner, 'for update');
    });
    expect(await canceling).toMatchObject({ code: 'already_claimed' });
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'claimed',
      job: { state: 'leased' },
    });
  });

  test('a cancel that came first wins: the claim passes the job by', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    const other = book.connect(2);
    let canceling: Promise<unknown> = Promise.resolve();
    await transact(other, async (tx) => {
      await lockJobs(tx, [operationId]);
      canceling = cancelOperation(book.db, operationId, WHY);
      await untilBlocked(book.owner, 'for update');
      expect(await claim(daemon, account)).toEqual([]);
    });
    await canceling;
    expect(await claim(daemon, account)).toEqual([]);
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'canceled', job: null });
  });

  test('of many orders: each ends in exactly one of the two ways', async () => {
    const account = uniqueName('acct');
    const charges = await queueCharges(
      book.db,
      account,
      Array.from({ length: 40 }, () => paymentRequest()),
    );
    const claiming = (async () => {
      const claimed: bigint[] = [];
      for (let round = 0; round < 40; round += 1)
        claimed.push(...(await claim(daemon, account, 1)).map((task) => task.job.operationId));
      return claimed;
    })();
    const canceled = await Promise.all(
      charges.toReversed().map(({ operationId }) =>
        cancelOperation(book.db, operationId, WHY).then(
          () => [operationId],
          () => [],
        ),
      ),
    );
    await makeDue(book.owner, account);
    const claimed = [
      ...(await claiming),
      ...(await claim(daemon, account)).map((task) => task.job.operationId),
    ];
    const all = [...claimed, ...canceled.flat()];
    expect(all.toSorted()).toEqual(charges.map(({ operationId }) => operationId).toSorted());
    for (const operationId of canceled.flat()) {
      expect(await standingOf(book.db, operationId)).toMatchObject({
        subState: 'canceled',
        sends: 0,
        job: null,
      });
    }
  });
});

describe('discard', () => {
  test('of a letter whose operation was never claimed cancels the operation and closes the letter', async () => {
    const { operationId } = await queueCharge(book.db, uniqueName('acct'));
    const letterId = await openLetter(operationId);
    await discardDeadLetter(book.db, letterId, WHY);
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'canceled', deadLetters: [] });
    const letters = await book.db.sql`
      select state, closed_by, close_reason from ${book.db.t.deadLetter} where id = ${letterId}`;
    expect([...letters]).toEqual([
      { state: 'discarded', closedBy: 'os:ana', closeReason: 'the buyer called' },
    ]);
    const [event] = await eventsOf(operationId, 'operation_canceled');
    expect(event?.data.dead_letter).toBe(`dl_${letterId}`);
    await expect(discardDeadLetter(book.db, letterId, WHY)).rejects.toMatchObject({
      code: 'dead_letter_closed',
    });
  });

  test('of what may have been sent is refused, and the letter stays', async () => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    await record(daemon, await claimOne(daemon, account), REPLY.unknown);
    await makeDue(book.owner, account);
    await record(daemon, await claimOne(daemon, account), REPLY.not_found);
    const [letter] = await book.db.sql<{ id: bigint }[]>`
      select id from ${book.db.t.deadLetter} where operation_id = ${operationId}`;
    await expect(discardDeadLetter(book.db, letter!.id, WHY)).rejects.toMatchObject({
      code: 'already_claimed',
      kind: 'refused',
    });
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'unknown',
      deadLetters: ['unknown_unresolved'],
    });
  });

  test('of a letter that is not there says so', async () => {
    await expect(discardDeadLetter(book.db, 999_999n, WHY)).rejects.toMatchObject({
      code: 'dead_letter_not_found',
      kind: 'answer_is_no',
    });
  });
});
