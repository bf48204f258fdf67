/** Many callers at once, names that are just being taken, and connections that break. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  acceptContext,
  collectUncaught,
  openTestBook,
  paymentRequest,
  type TestBook,
  uniqueName,
  untilBlocked,
} from '../../testing/fixtures.ts';
import { type Db, errorCode, type Tx, transact } from '../db/connection.ts';
import { acceptPayments, fingerprint } from './accept-payments.ts';
import type { PaymentRequest } from './payment-request.ts';
import { type SubmitResult, submitPayments } from './submit-payments.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

async function submit(
  requests: readonly PaymentRequest[],
  db: Db = book.db,
): Promise<readonly SubmitResult[]> {
  return submitPayments(db, await acceptContext(book.db), requests.map(fingerprint));
}

async function payments(checkoutIds: readonly string[]): Promise<number> {
  const rows = await book.owner.sql`
    select 1 from ${book.owner.t.payment} where checkout_id in ${book.owner.sql(checkoutIds as string[])}`;
  return rows.length;
}

/** Accepts in a transaction that stays open until `leave` is called. */
async function holdOpen(requests: readonly PaymentRequest[], end: 'commit' | 'rollback') {
  let leave: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => {
    leave = resolve;
  });
  let arrive: () => void = () => undefined;
  const taken = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  const context = await acceptContext(book.db);
  const done = transact(book.connect(1), async (tx: Tx) => {
    await acceptPayments(tx, context, requests.map(fingerprint));
    arrive();
    await asked;
    if (end === 'rollback') throw new Error('rolled back');
  }).catch((error: unknown) => {
    if (end === 'commit') throw error;
  });
  await taken;
  return { leave, done };
}

/** The text that every accept waits in when a name is just being taken. */
const TAKING_A_NAME = 'with fresh_payment as';

describe('the same request', () => {
  test('fifty times at once: one payment, and everybody gets the same body', async () => {
    const request = paymentRequest();
    const results = (await Promise.all(Array.from({ length: 50 }, () => submit([request])))).flat();
    const kinds = results.map((result) => result.kind);
    expect(kinds.filter((kind) => kind === 'accepted')).toHaveLength(1);
    expect(new Set(kinds)).toEqual(new Set(['accepted', 'replayed']));
    const bodies = results.map((result) => {
      if (result.kind === 'accepted') return JSON.stringify(result.answer);
      return result.kind === 'replayed' ? result.body : null;
    });
    expect(new Set(bodies).size).toBe(1);
    expect(await payments([request.checkoutId])).toBe(1);
    const jobs = await book.owner.sql`
      select 1 from ${book.owner.t.job} j join ${book.owner.t.operation} o on o.id = j.operation_id
        join ${book.owner.t.payment} p on p.id = o.payment_id where p.checkout_id = ${request.checkoutId}`;
    expect(jobs).toHaveLength(1);
  });

  test('with twenty different keys at once: one payment, the others are deduplicated', async () => {
    const request = paymentRequest();
    const requests = Array.from({ length: 20 }, () => ({ ...request, idempotencyKey: uniqueName('key') }));
    const results = (await Promise.all(requests.map((one) => submit([one])))).flat();
    const kinds = results.map((result) => result.kind).sort();
    expect(kinds).toEqual(['accepted', ...Array<string>(19).fill('deduplicated')]);
    expect(await payments([request.checkoutId])).toBe(1);
  });

  test('with the same key and twenty different bodies at once: one payment, the others are refused', async () => {
    const request = paymentRequest();
    const requests = Array.from({ length: 20 }, (_, i) => ({ ...request, buyer: `buyer-${i}` }));
    const results = (await Promise.all(requests.map((one) => submit([one])))).flat();
    const kinds = results.map((result) => result.kind).sort();
    expect(kinds).toEqual(['accepted', ...Array<string>(19).fill('idempotency_key_reused')]);
  });

  test('in overlapping batches, in opposite order, at once: every payment once, and everybody is answered', async () => {
    const requests = Array.from({ length: 40 }, () => paymentRequest());
    const batches = [
      requests,
      [...requests].reverse(),
      requests.slice(10, 30),
      [...requests.slice(5, 35)].reverse(),
    ];
    const results = (await Promise.all(batches.map((batch) => submit(batch)))).flat();
    expect(results.every((result) => result.kind === 'accepted' || result.kind === 'replayed')).toBe(true);
    expect(results.filter((result) => result.kind === 'accepted')).toHaveLength(40);
    expect(await payments(requests.map((request) => request.checkoutId))).toBe(40);
  });

  test('under keys and checkouts that cross over at once: every payment once', async () => {
    const requests = Array.from({ length: 20 }, () => paymentRequest());
    const other = requests.map((request, i) => ({
      ...request,
      idempotencyKey: `${String(99 - i)}-${request.idempotencyKey}`,
    }));
    const results = (await Promise.all([submit(requests), submit(other)])).flat();
    const kinds = results.map((result) => result.kind);
    expect(kinds.filter((kind) => kind === 'accepted')).toHaveLength(20);
    expect(kinds.filter((kind) => kind === 'deduplicated')).toHaveLength(20);
  });
});

describe('a name that another open transaction is just taking', () => {
  test('is waited for: its answer is given once it has committed', async () => {
    const request = paymentRequest();
    const holder = await holdOpen([request], 'commit');
    const waiting = submit([request]);
    await untilBlocked(book.owner, TAKING_A_NAME);
    holder.leave();
    await holder.done;
    expect((await waiting)[0]!.kind).toBe('replayed');
  });

  test('is free again once the other has rolled back', async () => {
    const request = paymentRequest();
    const holder = await holdOpen([request], 'rollback');
    const waiting = submit([request]);
    await untilBlocked(book.owner, TAKING_A_NAME);
    holder.leave();
    await holder.done;
    expect((await waiting)[0]!.kind).toBe('accepted');
  });

  test('is "in progress" when the other takes too long; the rest of the batch is accepted; later it is answered', async () => {
    const [held, free, other] = [paymentRequest(), paymentRequest(), paymentRequest()];
    const holder = await holdOpen([held], 'commit');
    const results = await submit([free, held, other]);
    expect(results.map((result) => result.kind)).toEqual(['accepted', 'request_in_progress', 'accepted']);
    expect(results[1]).toMatchObject({ retryAfterMs: 2_000 });
    holder.leave();
    await holder.done;
    expect((await submit([held]))[0]!.kind).toBe('replayed');
  });

  test('by its checkout alone is waited for as well', async () => {
    const request = paymentRequest();
    const holder = await holdOpen([request], 'commit');
    const waiting = submit([{ ...request, idempotencyKey: uniqueName('key') }]);
    await untilBlocked(book.owner, TAKING_A_NAME);
    holder.leave();
    await holder.done;
    expect((await waiting)[0]!.kind).toBe('deduplicated');
  });
});

describe('a connection that is cut in the middle of an acceptance', () => {
  test('leaves nothing behind; the same request again is accepted', async () => {
    const [held, mine] = [paymentRequest(), paymentRequest()];
    const holder = await holdOpen([held], 'rollback');
    await collectUncaught(async () => {
      const cut = submit([mine, held], book.connect(1)).then(
        () => null,
        (error: unknown) => error,
      );
      await untilBlocked(book.owner, TAKING_A_NAME);
      await book.owner.sql`
        select pg_terminate_backend(pid) from pg_stat_activity
         where wait_event_type = 'Lock' and position(${TAKING_A_NAME} in query) > 0
           and datname = current_database() and pid <> pg_backend_pid()`;
      expect(['57P01', 'CONNECTION_CLOSED', 'ECONNRESET']).toContain(errorCode(await cut));
    });
    holder.leave();
    await holder.done;
    expect(await payments([mine.checkoutId, held.checkoutId])).toBe(0);
    const names = await book.owner.sql`
      select 1 from ${book.owner.t.idempotencyKey} where key in (${mine.idempotencyKey}, ${held.idempotencyKey})`;
    expect(names).toHaveLength(0);
    expect((await submit([mine, held])).map((result) => result.kind)).toEqual(['accepted', 'accepted']);
  });
});
