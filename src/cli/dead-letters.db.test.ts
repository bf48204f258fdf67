/** The commands for what needs a person: their answers are a contract, and nothing happens unconfirmed. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Task } from '../core/operation/execute-operations.ts';
import { claimTasks } from '../core/operation/execute-operations.ts';
import { createTestHost, type TestHostOptions } from '../testing/cli-host.ts';
import {
  applyOutside,
  claim,
  makeDue,
  money,
  openTestBook,
  orderRequest,
  paymentRequest,
  queueCharges,
  REPLY,
  record,
  scriptedConnector,
  setFirstSentBack,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  until,
} from '../testing/fixtures.ts';
import { execute } from './main.ts';

const GOLDEN = '../../fixtures/cli';

let book: TestBook;
let daemon: TestDaemon;
let folder = '';
let env: Readonly<Record<string, string>> = {};

beforeAll(async () => {
  book = await openTestBook();
  daemon = await startTestDaemon(book.db, 'test/1');
  folder = mkdtempSync(join(tmpdir(), 'paygate-dlq-'));
  const accounts = ['main', 'retry'].map((name) => `[psp.${name}]\npsp = "stripe"\n`);
  writeFileSync(join(folder, 'paygate.toml'), `default_psp_account = "main"\n${accounts.join('')}`);
  const { user, database, host, port } = book.database.appConnection;
  env = {
    PAYGATE_DATABASE_URL: `postgres://${user}@/${database}?host=${String(host)}&port=${String(port)}`,
  };
});
afterAll(async () => {
  await book.close();
  rmSync(folder, { recursive: true, force: true });
});

async function run(args: readonly string[], options: TestHostOptions = {}) {
  const { host, out, err } = createTestHost({ cwd: folder, env, ...options });
  const code = await execute(args, host);
  return { code, out: out(), err: err() };
}

async function json(args: readonly string[], options: TestHostOptions = {}) {
  const { code, out, err } = await run([...args, '-q', '-o', 'json'], options);
  return { code, out: out === '' ? null : JSON.parse(out), err: err === '' ? null : JSON.parse(err) };
}

/** Times differ from run to run; everything else is the contract. */
function steady(text: string): string {
  return text.replaceAll(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z/g, '<time>');
}

async function claimAll(account = 'main'): Promise<readonly Task[]> {
  await makeDue(book.owner, account);
  const online = await claim(daemon, account);
  return [...online, ...(await claimTasks(daemon.context, `${account}/batch`, 100, scriptedConnector([])))];
}

/** Orders that ended as dead letters: refused by the PSP, or lost in doubt. Returns the letters' ids. */
async function letters(
  reasons: readonly (string | 'lost')[],
  account = 'main',
  amount = money('12.50', 'EUR'),
): Promise<readonly string[]> {
  const requests = reasons.map(() => paymentRequest({ orders: [orderRequest({ money: amount })] }));
  const charges = await queueCharges(book.db, account, requests);
  for (const [i, task] of (await claimAll(account)).entries()) {
    const reason = reasons[i]!;
    await record(daemon, task, reason === 'lost' ? REPLY.unknown : { kind: 'rejected', reason });
  }
  for (const task of await claimAll(account)) await record(daemon, task, REPLY.not_found);
  const rows = await book.db.sql<{ id: bigint }[]>`
    select d.id from ${book.db.t.deadLetter} d
     where d.operation_id = any(${`{${charges.map((charge) => charge.operationId).join(',')}}`}::bigint[])
     order by d.operation_id`;
  return rows.map((row) => `dl_${row.id}`);
}

async function stateOf(letter: string): Promise<string> {
  return (await json(['dlq', 'show', letter])).out.state;
}

describe('dlq list', () => {
  test('by group and by letter is a contract; ids and numbers do not split a group', async () => {
    await letters([
      'No such customer: cus_9Xa1',
      'No such customer: cus_77b',
      'amount 12.50 too small',
      'lost',
    ]);
    await letters(['No such customer: cus_3'], 'main', money('1200', 'JPY'));
    const groups = await run(['dlq', 'list', '--group', '-o', 'json']);
    expect({ code: groups.code, err: groups.err }).toEqual({ code: 0, err: '' });
    await expect(steady(groups.out)).toMatchFileSnapshot(`${GOLDEN}/dlq-groups.json`);
    await expect(steady((await run(['dlq', 'list', '--group'])).out)).toMatchFileSnapshot(
      `${GOLDEN}/dlq-groups.txt`,
    );
    const list = await run(['dlq', 'list', '--currency', 'JPY', '-o', 'json']);
    await expect(steady(list.out)).toMatchFileSnapshot(`${GOLDEN}/dlq-list-filtered.json`);
  });

  test.each<[readonly string[], number]>([
    [['--fingerprint', 'rejected: No such customer: #'], 3],
    [['--code', 'rejected'], 4],
    [['--psp', 'main'], 5],
    [['--psp', 'other'], 0],
    [['--older-than', '1h'], 0],
    [['--newer-than', '1h'], 5],
    [['--currency', 'EUR', '--min-amount', '12.50', '--max-amount', '12.50'], 4],
    [['--currency', 'EUR', '--min-amount', '12.51'], 0],
    [['--currency', 'JPY', '--max-amount', '1199'], 0],
  ])('narrowed by %j finds %i', async (flags, count) => {
    const { out } = await json(['dlq', 'list', ...flags]);
    expect(out.items).toHaveLength(count);
  });

  test.each([
    [['dlq', 'list', '--min-amount', '1.00']],
    [['dlq', 'list', '--currency', 'EUR', '--max-amount', '1.005']],
    [['dlq', 'list', '--older-than', 'yesterday']],
    [['dlq', 'replay']],
    [['dlq', 'replay', 'x']],
    [['dlq', 'replay', 'dl_1', '--rate', '0/s']],
    [['dlq', 'replay', 'dl_1', '--yes']],
    [['dlq', 'discard', 'dl_1']],
    [['payments', 'cancel', 'ord_1']],
  ])('%j is a usage error: exit 2, nothing happens', async (args) => {
    expect(await run(args)).toMatchObject({ code: 2, out: '' });
  });
});

describe('dlq replay', () => {
  const SAME = ['dlq', 'replay', '--fingerprint', 'rejected: No such customer: #'];
  const TOTAL = '25.00EUR,1200JPY';

  test('shows the plan and does nothing, unless it is confirmed', async () => {
    const plan = await run([...SAME, '-o', 'json']);
    expect({ code: plan.code, err: plan.err }).toEqual({ code: 0, err: '' });
    await expect(plan.out).toMatchFileSnapshot(`${GOLDEN}/dlq-replay-plan.json`);
    const told = await run(SAME);
    expect(told.code).toBe(0);
    expect(told.err).toContain(`--confirm ${TOTAL}`);
    await expect(told.err + told.out).toMatchFileSnapshot(`${GOLDEN}/dlq-replay-plan.txt`);
    expect(await json([...SAME, '--confirm', TOTAL, '--dry-run'])).toMatchObject({
      out: { state: 'dry_run' },
    });
    expect(await stateOf('dl_1')).toBe('open');
  });

  test.each([
    ['the wrong total', ['--confirm', '25.00EUR', '--reason', 'fixed'], 5],
    ['--yes, which is for one', ['--yes', '--reason', 'fixed'], 5],
    ['no reason', ['--confirm', TOTAL], 2],
    ['a card number as the reason', ['--confirm', TOTAL, '--reason', 'card 4111111111111111'], 2],
  ])('does nothing on %s', async (_, flags, code) => {
    const answer = await run([...SAME, ...flags]);
    expect(answer).toMatchObject({ code, out: '' });
    expect(answer.err).not.toContain('4111');
    expect(await stateOf('dl_1')).toBe('open');
  });

  test('confirmed by its total moves all of them; its result is a contract', async () => {
    const done = await run([...SAME, '--confirm', TOTAL, '--reason', 'customers restored', '-o', 'json']);
    expect({ code: done.code, err: done.err }).toEqual({ code: 0, err: '' });
    await expect(done.out).toMatchFileSnapshot(`${GOLDEN}/dlq-replay.json`);
    expect((await json(['dlq', 'show', 'dl_1'])).out).toMatchObject({
      state: 'replayed',
      close_reason: 'customers restored',
      closed_by: expect.stringMatching(/^cli:tester\//),
    });
    expect(await json(SAME)).toMatchObject({ code: 0, out: { state: 'nothing_to_replay', matched: 0 } });
    for (const task of await claimAll()) await record(daemon, task, REPLY.succeeded);
  });

  test('at a terminal asks for the total, and takes only that', async () => {
    const ids = await letters(['nope', 'nope']);
    const args = ['dlq', 'replay', ...ids, '--reason', 'fixed', '-o', 'json'];
    const options = { terminal: 80, env: { ...env, TERM: 'dumb' } };
    expect(await run(args, { ...options, answers: [''] })).toMatchObject({ code: 5 });
    expect(await run(args, { ...options, answers: ['24.00EUR'] })).toMatchObject({ code: 5 });
    expect(await stateOf(ids[0]!)).toBe('open');
    expect(await run(args, { ...options, answers: ['25.00EUR'] })).toMatchObject({ code: 0 });
    expect(await stateOf(ids[0]!)).toBe('replayed');
    await claimAll();
  });

  test('of one letter is confirmed by --yes', async () => {
    const [id] = await letters(['nope']);
    const done = await json(['dlq', 'replay', id!, '--yes', '--reason', 'fixed']);
    expect(done).toMatchObject({
      code: 0,
      out: { replayed: 1, letters: [{ plan: 'new_attempt', attempt_number: 2 }] },
    });
    await claimAll();
  });

  test('past the key window refuses to send, exit 5, and asks when told to', async () => {
    const [id] = await letters(['lost']);
    const [row] = await book.db.sql<{ operationId: bigint }[]>`
      select operation_id from ${book.db.t.deadLetter} where id = ${id!.slice(3)}`;
    await setFirstSentBack(book.owner, row!.operationId, '30 hours');
    const args = ['dlq', 'replay', id!, '--yes', '--reason', 'PSP is back'];
    expect(await json(args)).toMatchObject({
      code: 5,
      out: { state: 'nothing_to_replay', letters: [{ refusal: { code: 'key_window_passed' } }] },
    });
    expect(await json([...args, '--action', 'enquire'])).toMatchObject({
      code: 0,
      out: { replayed: 1, letters: [{ plan: 'enquire', attempt_number: 1 }] },
    });
    const [task] = await claimAll();
    expect(task!.todo).toBe('enquire');
  });

  test('again with the same letters goes on with those that are open', async () => {
    const ids = await letters(['nope', 'nope', 'nope']);
    await json(['dlq', 'replay', ids[1]!, '--yes', '--reason', 'fixed']);
    const again = await json(['dlq', 'replay', ...ids, '--confirm', '25.00EUR', '--reason', 'fixed']);
    expect(again).toMatchObject({ code: 0, out: { matched: 3, closed_already: 1, replayed: 2 } });
    expect(await json(['dlq', 'replay', ...ids, '--confirm', '25.00EUR', '--reason', 'fixed'])).toMatchObject(
      {
        code: 0,
        out: { state: 'nothing_to_replay', closed_already: 3 },
      },
    );
    await claimAll();
  });

  test('of a letter that is not there is answered no: exit 1', async () => {
    expect(await json(['dlq', 'replay', 'dl_99999'])).toMatchObject({
      code: 1,
      err: { error: { code: 'dead_letter_not_found' } },
    });
  });

  test('that a signal stops between two letters says so; the rest stays open', async () => {
    const ids = await letters(['nope', 'nope', 'nope']);
    const first = createTestHost({ cwd: folder, env });
    const takeOver = () => {
      first.host.interrupt.takeOver();
      // The first letter is on its way by then.
      setImmediate(() => first.interrupt('SIGINT'));
    };
    const args = ['dlq', 'replay', ...ids, '--confirm', '37.50EUR', '--reason', 'fixed', '--rate', '1/s'];
    const host = { ...first.host, interrupt: { ...first.host.interrupt, takeOver } };
    expect(await execute([...args, '-o', 'json'], host)).toBe(130);
    expect(JSON.parse(first.out())).toMatchObject({ state: 'interrupted', replayed: 1 });
    const rest = ['dlq', 'replay', ...ids, '--confirm', '25.00EUR', '--reason', 'fixed'];
    expect(await json(rest)).toMatchObject({ code: 0, out: { closed_already: 1, replayed: 2 } });
    await claimAll();
  });
});

describe('canaries', () => {
  /** Answers what is replayed for as long as the command runs. */
  async function withDaemon(
    reply: typeof REPLY.succeeded | typeof REPLY.rejected,
    work: () => Promise<void>,
  ): Promise<void> {
    let isOver = false;
    const looping = until(async () => {
      for (const task of await claimAll('canary')) await record(daemon, task, reply);
      return isOver;
    });
    await work();
    isOver = true;
    await looping;
  }

  const replayOf = (ids: readonly string[], ...more: string[]) =>
    json(['dlq', 'replay', ...ids, '--confirm', '37.50EUR', '--reason', 'fixed', '--canary', '1', ...more]);

  test('that go through let the rest follow', async () => {
    const ids = await letters(['nope', 'nope', 'nope'], 'canary');
    await withDaemon(REPLY.succeeded, async () => {
      expect(await replayOf(ids)).toMatchObject({ code: 0, out: { state: 'complete', replayed: 3 } });
    });
  });

  test('that are dead letters again stop it: exit 1, the rest stays open', async () => {
    const ids = await letters(['nope', 'nope', 'nope'], 'canary');
    await withDaemon(REPLY.rejected, async () => {
      expect(await replayOf(ids)).toMatchObject({
        code: 1,
        out: {
          state: 'canary_failed',
          replayed: 1,
          letters: [{ result: 'replayed' }, { result: 'open' }, {}],
        },
      });
    });
    expect(await stateOf(ids[2]!)).toBe('open');
  });

  test('that do not end in time stop it: exit 4', async () => {
    const ids = await letters(['nope', 'nope', 'nope'], 'canary');
    expect(await replayOf(ids, '--canary-timeout', '1')).toMatchObject({
      code: 4,
      out: { state: 'canary_timed_out', replayed: 1 },
    });
  });
});

describe('payments retry', () => {
  async function declined(): Promise<string> {
    const [charge] = await queueCharges(book.db, 'retry', [paymentRequest()]);
    for (const task of await claimAll('retry')) await record(daemon, task, REPLY.declined);
    return `ord_${charge!.orderId}`;
  }

  test('is confirmed like a payment; its answer is a contract', async () => {
    const order = await declined();
    const args = ['payments', 'retry', order, '--method', 'pm_other'];
    expect(await json(args)).toMatchObject({ code: 5, err: { error: { code: 'not_confirmed' } } });
    const plan = await run([...args, '--dry-run']);
    expect(plan).toMatchObject({ code: 0, out: '' });
    expect(plan.err).toContain('attempt 2');
    const done = await run([...args, '--yes', '-o', 'json']);
    expect({ code: done.code, err: done.err }).toEqual({ code: 0, err: '' });
    await expect(done.out.replaceAll(/(pay|ord)_\d+/g, '$1_<n>')).toMatchFileSnapshot(
      `${GOLDEN}/payments-retry.json`,
    );
  });

  test('again, while the attempt is under way, is the same request: no question, the same answer', async () => {
    const order = await declined();
    const args = ['payments', 'retry', order, '--method', 'pm_other'];
    await json([...args, '--yes']);
    expect(await json(args)).toMatchObject({ code: 0, out: { result: 'replayed', attempt_number: 2 } });
    expect(await json(['payments', 'retry', order, '--method', 'pm_third'])).toMatchObject({
      code: 5,
      err: { error: { code: 'idempotency_key_reused' } },
    });
    for (const task of await claimAll('retry')) await record(daemon, task, REPLY.declined);
    expect(await json([...args, '--yes'])).toMatchObject({
      code: 0,
      out: { result: 'accepted', attempt_number: 3 },
    });
  });

  test('is refused with 5 while the order is in doubt, and after a success', async () => {
    const order = await declined();
    await json(['payments', 'retry', order, '--method', 'pm_other', '--yes']);
    const other = ['payments', 'retry', order, '--method', 'pm_x', '--key', 'k-x', '--yes'];
    expect(await json(other)).toMatchObject({ code: 5, err: { error: { code: 'attempt_unresolved' } } });
    for (const task of await claimAll('retry')) await record(daemon, task, REPLY.succeeded);
    expect(await json(other)).toMatchObject({ code: 5, err: { error: { code: 'already_succeeded' } } });
  });

  test('of no order is 1, with a bad method 2', async () => {
    expect(await json(['payments', 'retry', 'ord_999999', '--method', 'pm_x'])).toMatchObject({ code: 1 });
    const bad = await json(['payments', 'retry', await declined(), '--method', '4111111111111111']);
    expect(bad).toMatchObject({
      code: 2,
      err: { error: { code: 'retry_invalid', details: { faults: [{ flag: '--method' }] } } },
    });
  });
});

describe('taking back', () => {
  test('dlq discard refuses what may have been sent, and points to resolve: exit 5', async () => {
    const [id] = await letters(['lost']);
    const refused = await json(['dlq', 'discard', id!, '--reason', 'not wanted']);
    expect(refused).toMatchObject({
      code: 5,
      err: { error: { code: 'already_claimed', message: expect.stringContaining('payments resolve') } },
    });
    expect(await stateOf(id!)).toBe('open');
    expect(await json(['dlq', 'discard', 'dl_99999', '--reason', 'x'])).toMatchObject({ code: 1 });
  });

  test('dlq discard of what was never claimed is a contract', async () => {
    const [charge] = await queueCharges(book.db, 'discard', [paymentRequest()]);
    await book.db.sql`
      insert into ${book.db.t.deadLetter} (operation_id, attempt_number, code, reason)
      values (${charge!.operationId}, 1, 'quarantined', 'could not be queued')`;
    const [row] = await book.db.sql<{ id: bigint }[]>`
      select id from ${book.db.t.deadLetter} where operation_id = ${charge!.operationId}`;
    const done = await run(['dlq', 'discard', `dl_${row!.id}`, '--reason', 'not wanted', '-o', 'json']);
    expect({ code: done.code, err: done.err }).toEqual({ code: 0, err: '' });
    await expect(done.out.replaceAll(/(op|dl)_\d+/g, '$1_<n>')).toMatchFileSnapshot(
      `${GOLDEN}/dlq-discard.json`,
    );
  });

  test('payments cancel is a contract; once claimed it is refused with 5', async () => {
    const [first, second] = await queueCharges(book.db, 'cancel', [paymentRequest(), paymentRequest()]);
    const args = ['payments', 'cancel', `ord_${first!.orderId}`, '--reason', 'ordered twice'];
    expect(await run([...args, '--dry-run'])).toMatchObject({ code: 0, out: '' });
    const done = await run([...args, '-o', 'json']);
    expect({ code: done.code, err: done.err }).toEqual({ code: 0, err: '' });
    await expect(done.out.replaceAll(/(op|ord)_\d+/g, '$1_<n>')).toMatchFileSnapshot(
      `${GOLDEN}/payments-cancel.json`,
    );
    expect(await json(args)).toMatchObject({ code: 5, err: { error: { code: 'already_ended' } } });
    await claim(daemon, 'cancel');
    expect(await json(['payments', 'cancel', `ord_${second!.orderId}`, '--reason', 'x'])).toMatchObject({
      code: 5,
      err: { error: { code: 'already_claimed' } },
    });
    expect(await json(['payments', 'cancel', 'ord_999999', '--reason', 'x'])).toMatchObject({ code: 1 });
  });
});

describe('dlq resolve', () => {
  const args = (letter: string) => ['dlq', 'resolve', letter, '--reason', 'paid by other means'];

  test('closes a letter about something that has ended, with its reason, and nothing else', async () => {
    const [id] = await letters(['nope']);
    const { code, out } = await run([...args(id!), '-o', 'json']);
    expect(code).toBe(0);
    await expect(out.replaceAll(/_\d+/g, '_<n>')).toMatchFileSnapshot(`${GOLDEN}/dlq-resolve.json`);
    expect((await json(['dlq', 'show', id!])).out).toMatchObject({
      state: 'resolved',
      close_reason: 'paid by other means',
      sub_state: 'rejected',
    });
    const [{ events }] = await book.db.sql<[{ events: number }]>`
      select count(*)::integer as events from ${book.db.t.event} where kind = 'dead_letter_resolved'`;
    expect(events).toBe(1);
    expect(await json(args(id!))).toMatchObject({ code: 5, err: { error: { code: 'dead_letter_closed' } } });
  });

  test('is refused for what is in doubt, for a letter that is not there, and without a reason', async () => {
    const [id] = await letters(['lost']);
    expect(await json(args(id!))).toMatchObject({ code: 5, err: { error: { code: 'not_over' } } });
    expect(await stateOf(id!)).toBe('open');
    expect(await json(args('dl_99999'))).toMatchObject({ code: 1 });
    expect(await json(['dlq', 'resolve', id!])).toMatchObject({ code: 2 });
  });

  test('is refused for money in suspense: that needs a decision', async () => {
    const [id] = await letters(['nope']);
    const [row] = await book.db.sql<{ operationId: bigint }[]>`
      select operation_id from ${book.db.t.deadLetter} where id = ${id!.slice(3)}`;
    const { operationId } = row!;
    await applyOutside(book.db, [
      { operationId, attemptNumber: 1, source: 'enquiry', reply: REPLY.succeeded, held: null },
    ]);
    const [late] = await book.db.sql<{ id: bigint }[]>`
      select id from ${book.db.t.deadLetter} where operation_id = ${operationId} and code = 'late_success'`;
    expect(await json(args(`dl_${late!.id}`))).toMatchObject({
      code: 5,
      err: { error: { code: 'needs_a_decision' } },
    });
  });
});
