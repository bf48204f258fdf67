/** Counters that no rule can ask about go, all others stay, and replay forgets the same ones. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  acceptContext,
  openTestBook,
  paymentRequest,
  type TestBook,
  uniqueName,
} from '../../testing/fixtures.ts';
import { pruneCounters as forgetAgain } from '../audit/replay-store.ts';
import { transact } from '../db/connection.ts';
import { acceptPayments, fingerprint } from '../payment/accept-payments.ts';
import { parseRuleFile } from './parse-rule-file.ts';
import { pruneRiskCounters } from './prune-counters.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

/** The most checkouts that the rules let through in the longest window. */
const RULES = `name = "counting"
[[rules]]
id = "busy"
kind = "velocity"
action = "block"
by = "buyer"
window = "31d"
max_count = 1`;

async function decide(buyer: string): Promise<string> {
  const parsed = parseRuleFile(Buffer.from(RULES));
  if (parsed.kind === 'bad') throw new Error(JSON.stringify(parsed.faults));
  const { ruleSet } = parsed;
  const risk = {
    maxPaymentMinor: new Map(),
    blockedBuyers: new Set<string>(),
    blockedSellers: new Set<string>(),
    ruleSet,
  };
  const context = await acceptContext(book.db, { risk });
  const [result] = await transact(book.db, (tx) =>
    acceptPayments(tx, context, [fingerprint(paymentRequest({ buyer }))]),
  );
  if (result?.kind !== 'accepted') throw new Error('not accepted');
  return result.answer.risk.decision;
}

/** So many counters of this age, one for each of so many names. */
async function addOld(count: number, age: string): Promise<void> {
  const { sql, t } = book.owner;
  await sql`insert into ${t.riskKey} (key) select sha256(convert_to(${age}::text || n, 'UTF8')) from generate_series(1, ${count}::integer) n`;
  await sql`
    insert into ${t.riskCounter} (key, minute, currency, checkouts, amount_minor)
    select sha256(convert_to(${age}::text || n, 'UTF8')), date_trunc('minute', now() - ${age}::text::interval, 'UTC'), 'EUR', 1, 100
      from generate_series(1, ${count}::integer) n`;
}

async function left() {
  const { sql, t } = book.owner;
  const [row] = await sql<[{ counters: number; keys: number }]>`
    select (select count(*) from ${t.riskCounter})::integer as counters,
           (select count(*) from ${t.riskKey})::integer as keys`;
  return row;
}

async function pruneAll(): Promise<readonly number[]> {
  const rounds: number[] = [];
  for (;;) {
    const pruned = await pruneRiskCounters(book.db, 'test');
    if (pruned === 0) return rounds;
    rounds.push(pruned);
  }
}

describe('pruning', () => {
  test('takes what is older than any window, in bounded rounds, and its names', async () => {
    const buyer = uniqueName('buyer');
    expect(await decide(buyer)).toBe('allow');
    await addOld(4_100, '33 days');
    await addOld(3, '31 days 12 hours');
    const before = await left();
    expect(await pruneAll()).toEqual([2_000, 2_000, 100]);
    expect(await left()).toEqual({ counters: before.counters - 4_100, keys: before.keys - 4_100 });
    // What the rule counts is still counted.
    expect(await decide(buyer)).toBe('block');
  });

  test('by two daemons at once takes each counter once', async () => {
    await addOld(3_000, '40 days');
    const rounds = await Promise.all([pruneAll(), pruneAll(), pruneAll()]);
    expect(rounds.flat().reduce((sum, count) => sum + count, 0)).toBe(3_000);
    const events = await book.owner.sql<{ counters: number }[]>`
      select (data->>'counters')::integer as counters from ${book.owner.t.event} where kind = 'risk_counters_pruned'`;
    expect(events.reduce((sum, event) => sum + event.counters, 0)).toBe(7_100);
  });

  test('leaves a name that somebody holds', async () => {
    await addOld(1, '50 days');
    const before = await left();
    await transact(book.owner, async (tx) => {
      await tx.sql`select 1 from ${tx.t.riskKey} for update`;
      expect(await pruneAll()).toEqual([1]);
    });
    expect(await left()).toEqual({ ...before, counters: before.counters - 1 });
  });

  test('of what a window can still see is refused by the database, whoever asks', async () => {
    await addOld(1, '30 days');
    const { sql, t } = book.owner;
    await expect(sql`delete from ${t.riskCounter}`).rejects.toMatchObject({ code: 'PG001' });
    await expect(sql`truncate ${t.riskCounter}`).rejects.toMatchObject({ code: 'PG001' });
  });

  test('is repeated by replay from its event: the same counters go, and no other', async () => {
    const { sql, t } = book.owner;
    const keys = () => sql`select encode(key, 'hex') as key from ${t.riskCounter} order by 1`;
    await addOld(2_500, '60 days');
    const before = await keys();
    await pruneRiskCounters(book.db, 'test');
    const after = await keys();
    expect(after).toHaveLength(before.length - 2_000);
    const [event] = await sql<{ data: { through: Parameters<typeof forgetAgain>[1] } }[]>`
      select data from ${t.event} where kind = 'risk_counters_pruned' order by id desc limit 1`;
    await pruneAll();
    await sql`
      insert into ${t.riskCounter} (key, minute, currency, checkouts, amount_minor)
      select sha256(convert_to('60 days' || n, 'UTF8')), date_trunc('minute', now() - interval '60 days', 'UTC'), 'EUR', 1, 100
        from generate_series(1, 2500) n`;
    await transact(book.owner, (tx) => forgetAgain(tx, event!.data.through));
    expect(await keys()).toEqual(after);
  });
});
