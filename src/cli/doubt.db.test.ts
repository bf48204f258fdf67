/** `disputes …`, `suspense …` and what of both stands in other commands: contracts, plans, confirmations, exit codes. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { transact } from '../core/db/connection.ts';
import { applyDisputes } from '../core/dispute/apply-disputes.ts';
import { takeObservation } from '../core/dispute/dispute-store.ts';
import type { DisputeState } from '../core/psp/psp.ts';
import { createTestHost, type TestHostOptions } from '../testing/cli-host.ts';
import {
  applyOutside,
  claim,
  openTestBook,
  orderRequest,
  paymentRequest,
  type QueuedCharge,
  queueCharges,
  REPLY,
  type ReplyKind,
  record,
  startTestDaemon,
  type TestBook,
} from '../testing/fixtures.ts';
import { execute } from './main.ts';

const GOLDEN = '../../fixtures/cli';

let book: TestBook;
let folder = '';
let env: Readonly<Record<string, string>> = {};
/** One that is charged, one late success, one surplus, one late success more. */
let charges: readonly QueuedCharge[] = [];

beforeAll(async () => {
  book = await openTestBook();
  folder = mkdtempSync(join(tmpdir(), 'paygate-cli-'));
  writeFileSync(join(folder, 'paygate.toml'), '[psp.main]\npsp = "stripe"\n');
  const { user, host, port, database } = book.database.appConnection;
  env = { PAYGATE_DATABASE_URL: `postgres://${user}@/${database}?host=${String(host)}&port=${String(port)}` };
  charges = await queueCharges(
    book.db,
    'main',
    Array.from({ length: 5 }, (_, i) =>
      paymentRequest({
        checkoutId: `co-${i}`,
        orders: [orderRequest({ seller: `Café Zoë ${i}`, platformFeeMinor: 125n })],
      }),
    ),
  );
  const daemon = await startTestDaemon(book.db);
  const replies: readonly ReplyKind[] = ['succeeded', 'declined', 'succeeded', 'declined', 'declined'];
  for (const [i, task] of (await claim(daemon, 'main')).entries())
    await record(daemon, task, REPLY[replies[i]!]);
  for (const i of [1, 3, 4]) await hear(charges[i]!, 1, 'succeeded');
  // Somebody made another attempt of the third, and it moved the money as well.
  await book.owner.sql`
    insert into ${book.owner.t.attempt} (operation_id, number, idempotency_key, request, state, is_open)
    values (${charges[2]!.operationId}, 2, 'pg-x-2', '{}', 'declined', false)`;
  await hear(charges[2]!, 2, 'succeeded');
});
afterAll(async () => {
  await book.close();
  rmSync(folder, { recursive: true, force: true });
});

async function hear(charge: QueuedCharge, attemptNumber: number, reply: ReplyKind): Promise<void> {
  const { operationId } = charge;
  await applyOutside(book.db, [
    { operationId, attemptNumber, source: 'webhook', reply: REPLY[reply], held: null },
  ]);
}

async function dispute(charge: QueuedCharge, pspReference: string, state: DisputeState): Promise<void> {
  const observation = await takeObservation(book.db);
  const fact = {
    pspAccount: 'main',
    pspReference,
    operationId: charge.operationId,
    attemptNumber: 1,
    amountMinor: 400n,
    currency: 'EUR',
    reason: 'product_not_received',
    state,
    observation,
  };
  const context = { principal: 'test', policy: { lostFee: 'platform_fees' } } as const;
  await transact(book.db, (tx) => applyDisputes(tx, context, [fact]));
}

async function run(args: readonly string[], options: TestHostOptions = {}) {
  const { host, out, err } = createTestHost({ cwd: folder, env, ...options });
  const code = await execute(args, host);
  return { code, out: out(), err: err() };
}

async function json(args: readonly string[]) {
  const { code, out, err } = await run([...args, '-o', 'json']);
  return { code, out: out === '' ? null : JSON.parse(out), err: err === '' ? null : JSON.parse(err) };
}

const attempt = (i: number, number = 1) => `op_${charges[i]!.operationId}/${number}`;
const WHY = ['--reason', 'the shop delivers'] as const;

/** Times and numbers differ from run to run; everything else is the contract. */
function steady(text: string): string {
  return text
    .replaceAll(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z/g, '<time>')
    .replaceAll(/\b(dsp|op|ord|pay)_\d+/g, '$1_<n>')
    .replaceAll(/\bkey-co_\d+/g, '<key>');
}

async function expectContract(name: string, args: readonly string[]): Promise<void> {
  await expect(steady((await run([...args, '-o', 'json'])).out)).toMatchFileSnapshot(
    `${GOLDEN}/${name}.json`,
  );
  // Columns are as wide as what stands in them.
  const text = steady((await run(args)).out)
    .replaceAll(/ {2,}/g, '  ')
    .replaceAll(/ +$/gm, '');
  await expect(text).toMatchFileSnapshot(`${GOLDEN}/${name}.txt`);
}

describe('disputes', () => {
  beforeAll(async () => {
    await dispute(charges[0]!, 'du_first', 'opened');
    await dispute(charges[0]!, 'du_second', 'lost');
  });

  test('show and list are contracts in JSON, and readable', async () => {
    await expectContract('disputes-show', ['disputes', 'show', 'du_second']);
    await expectContract('disputes-list', ['disputes', 'list']);
    await expectContract('payments-show-disputed', ['payments', 'show', 'co-0']);
  });

  test('are listed page by page, by state, order and seller, as lines and as CSV', async () => {
    const first = await json(['disputes', 'list', '--limit', '1']);
    expect(first.out).toMatchObject({ items: [{ psp_reference: 'du_second' }] });
    const next = ['disputes', 'list', '--cursor', (first.out as { next_cursor: string }).next_cursor];
    expect((await json(next)).out).toMatchObject({
      items: [{ psp_reference: 'du_first' }],
      next_cursor: null,
    });
    expect((await json(['disputes', 'list', '--state', 'won'])).out).toMatchObject({ items: [] });
    const bySeller = ['disputes', 'list', '--seller', 'Café Zoë 0', '--state', 'lost'];
    expect((await json(bySeller)).out).toMatchObject({
      items: [{ state: 'lost', borne_by: 'platform_fees' }],
    });
    const order = `ord_${charges[0]!.orderId}`;
    const lines = (await run(['disputes', 'list', '--order', order, '-o', 'ndjson'])).out.trim().split('\n');
    expect(lines.map((line) => JSON.parse(line).state)).toEqual(['lost', 'opened']);
    const csv = (await run(['disputes', 'list', '-o', 'csv'])).out.split('\r\n');
    expect(csv[0]).toMatch(/^id,state,reason,payment_id/);
  });

  test('are asked for by our id too; what is not there is exit 1', async () => {
    const { out } = await json(['disputes', 'show', 'du_first']);
    const { id } = out as { id: string };
    expect((await json(['disputes', 'show', id])).out).toEqual(out);
    expect(await json(['disputes', 'show', 'du_none'])).toMatchObject({
      code: 1,
      err: { error: { code: 'dispute_not_found' } },
    });
  });

  test('leave only the rest to be refunded', async () => {
    const order = `ord_${charges[0]!.orderId}`;
    const plan = await run(['refunds', 'create', order, '--refund-id', 'r-1', '-n']);
    expect(plan.err).toContain('4.50 EUR left to refund');
    const more = ['refunds', 'create', order, '--refund-id', 'r-1', '--amount', '4.51', '--yes'];
    expect(await json(more)).toMatchObject({ code: 5, err: { error: { code: 'over_refund' } } });
  });

  test('stand in the seller’s wallet', async () => {
    expect((await json(['wallets', 'show', 'Café Zoë 0'])).out).toMatchObject({
      wallets: [{ available: { amount: '4.05' }, in_dispute: { amount: '3.60' } }],
    });
  });
});

describe('suspense', () => {
  test('show and list are contracts in JSON, and readable', async () => {
    await expectContract('suspense-list', ['suspense', 'list']);
    await expectContract('suspense-show', ['suspense', 'show', attempt(1)]);
    await expectContract('payments-show-suspense', ['payments', 'show', 'co-1']);
  });

  test('is listed page by page', async () => {
    const first = await json(['suspense', 'list', '--limit', '1']);
    const { items, next_cursor: cursor } = first.out as { items: unknown[]; next_cursor: string };
    expect(items).toHaveLength(1);
    const rest = await json(['suspense', 'list', '--cursor', cursor]);
    expect((rest.out as { items: unknown[] }).items).toHaveLength(3);
  });

  test.each([
    ['without a reason', () => ['suspense', 'adopt', attempt(1), '--yes'], 2, 'reason_missing'],
    [
      'without a yes where nobody can be asked',
      () => ['suspense', 'adopt', attempt(1), ...WHY],
      5,
      'not_confirmed',
    ],
    [
      'with another total',
      () => ['suspense', 'adopt', attempt(1), ...WHY, '--confirm', '1.00EUR'],
      5,
      'confirm_differs',
    ],
    [
      'of a surplus success',
      () => ['suspense', 'adopt', attempt(2, 2), ...WHY, '--yes'],
      5,
      'order_succeeded',
    ],
    [
      'of what is not there',
      () => ['suspense', 'adopt', attempt(0), ...WHY, '--yes'],
      1,
      'suspense_not_found',
    ],
    ['of what is no attempt', () => ['suspense', 'adopt', 'op_1', ...WHY, '--yes'], 2, 'id_invalid'],
    [
      'a refund under a bad name',
      () => ['suspense', 'refund', attempt(1), ...WHY, '--refund-id', '', '--yes'],
      2,
      'refund_invalid',
    ],
  ])('nothing happens %s', async (_, args, code, error) => {
    expect(await json(args())).toMatchObject({ code, err: { error: { code: error } } });
    expect((await json(['suspense', 'show', attempt(1)])).out).toMatchObject({ state: 'open' });
  });

  test('adopt shows the plan first; a dry run ends there', async () => {
    const dry = await run(['suspense', 'adopt', attempt(1), ...WHY, '-n']);
    expect(dry).toMatchObject({ code: 0, out: '' });
    expect(dry.err).toContain('is owed 0.00 EUR now and 11.25 EUR afterwards');
    const asked: string[] = [];
    const adopted = await run(['suspense', 'adopt', attempt(1), ...WHY], {
      terminal: 100,
      answers: ['y'],
      onAsk: (question) => asked.push(question),
    });
    expect(adopted.code).toBe(0);
    expect(asked).toEqual(['Let the order take it? [y/N] ']);
    expect((await json(['payments', 'show', 'co-1'])).out).toMatchObject({ status: 'SUCCESS' });
    expect(await json(['suspense', 'adopt', attempt(1), ...WHY, '--yes'])).toMatchObject({
      code: 5,
      err: { error: { code: 'not_in_suspense' } },
    });
  });

  test('refund is asked for once, under a name made from the attempt; a failed one needs another name', async () => {
    const args = ['suspense', 'refund', attempt(2, 2), ...WHY, '--yes'];
    const first = await json(args);
    expect(first).toMatchObject({
      code: 0,
      out: { state: 'refunding', refund: { refund_id: `suspense:${attempt(2, 2)}`, sub_state: 'queued' } },
    });
    expect(await json(args)).toEqual({ ...first, err: null });
    const daemon = await startTestDaemon(book.db);
    const [task] = await claim(daemon, 'main');
    await record(daemon, task!, REPLY.declined);
    expect(await json(args)).toMatchObject({
      code: 1,
      out: { state: 'open', refund: { sub_state: 'declined' } },
    });
    const again = await json([...args, '--refund-id', 'second-try']);
    expect(again).toMatchObject({ code: 0, out: { state: 'refunding' } });
    const [second] = await claim(daemon, 'main');
    await record(daemon, second!, REPLY.succeeded);
    expect((await json(['suspense', 'show', attempt(2, 2)])).out).toMatchObject({ state: 'refunded' });
    const left = (await json(['suspense', 'list'])).out as { items: { attempt: string }[] };
    expect(left.items.map((item) => item.attempt)).not.toContain(attempt(2, 2));
    expect((await json(['suspense', 'list', '--all'])).out).toMatchObject({
      items: expect.arrayContaining([expect.objectContaining({ attempt: attempt(2, 2), state: 'refunded' })]),
    });
  });
});
