/** What people decide about breaks: shown before it is booked, booked once, kept for ever; and the proof still closes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  applyOutside,
  balanceOf,
  claim,
  openTestBook,
  scriptedConnector,
  standingOf,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import { fundedSeller, pay, payoutRequest } from '../../testing/payout-fixtures.ts';
import { backdate, charged, line, lineOf, reconcile, settling } from '../../testing/settlement-fixtures.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { parseCurrency } from '../money.ts';
import { claimTasks, findingOf, recordFindings } from '../operation/execute-operations.ts';
import { capabilitiesOf } from '../psp/request.ts';
import { laneOf } from '../queue/job.ts';
import { getBookKey } from '../queue/queue-store.ts';
import { submitRefunds } from '../refund/submit-refunds.ts';
import { listBreaks, showBreak } from './break-list-store.ts';
import { type LinkRequest, planResolution, type ResolutionRequest } from './plan-resolution.ts';
import { listLinkable } from './read-items.ts';
import type { ReconcileAnswer } from './reconcile-answer.ts';
import { resolveBreak } from './resolve-break.ts';
import type { SettlementLine } from './settlement-line.ts';

const EUR = parseCurrency('EUR')!;
const USD = parseCurrency('USD')!;

let book: TestBook;
let daemon: TestDaemon;
beforeAll(async () => {
  book = await openTestBook();
  daemon = await startTestDaemon(book.db);
});
afterAll(async () => {
  expect((await verifyLedger(book.db)).verdict).toBe('balanced');
  await book.close();
});

const policyOf = (account: string, limit?: bigint) => ({
  accounts: new Map([[account, settling('now')]]),
  writeOffLimits: new Map(limit === undefined ? [] : [[EUR, limit]]),
});

async function run(account: string, lines: readonly SettlementLine[]): Promise<ReconcileAnswer> {
  return reconcile(book.db, `psp:${account}`, { lines }, { policy: policyOf(account) });
}

function ask(
  account: string,
  answer: ReconcileAnswer,
  overrides: Partial<ResolutionRequest> = {},
  limit?: bigint,
): ResolutionRequest {
  return {
    breakId: BigInt(answer.breaks[0]!.id.slice(4)),
    action: 'suspense',
    reason: 'seen in the dashboard of the PSP',
    idempotencyKey: uniqueName('decision'),
    assignee: null,
    principal: 'os:ana',
    policy: policyOf(account, limit),
    capabilitiesOf: () => capabilitiesOf('stripe'),
    ...overrides,
  };
}

/** The next run's proof must close, whatever was decided. */
async function expectClosed(account: string): Promise<void> {
  const next = await run(account, [line({ kind: 'fee', grossMinor: -1n })]);
  expect(next).toMatchObject({ status: 'closed', breakCount: 0 });
}

const receivable = (account: string, currency = 'EUR') =>
  balanceOf(book.db, `psp:${account}:receivable`, currency);

describe('a line that nobody can explain', () => {
  test('goes to suspense: planned, booked once, with its history', async () => {
    const account = uniqueName('acct');
    const answer = await run(account, [line({ grossMinor: 5_000n })]);
    const request = ask(account, answer);
    const plan = await planResolution(book.db, request);
    expect(plan).toMatchObject({
      from: 'open',
      to: 'resolved',
      secondPerson: 'not_needed',
      entry: {
        kind: 'line_unexplained',
        postings: [
          { debit: `psp:${account}:receivable`, credit: `suspense:${account}`, amountMinor: 5_000n },
        ],
      },
    });
    expect(await receivable(account)).toBe(-5_000n);
    expect(await resolveBreak(book.db, request)).toMatchObject({ kind: 'resolved' });
    expect(await resolveBreak(book.db, request)).toMatchObject({
      kind: 'repeated',
      break: { state: 'resolved' },
    });
    expect(await receivable(account)).toBe(0n);
    expect(await balanceOf(book.db, `suspense:${account}`, 'EUR')).toBe(5_000n);
    const { history } = (await showBreak(book.db, request.breakId))!;
    expect(history.map(({ kind, principal, reason }) => [kind, principal, reason])).toEqual([
      ['opened', 'test:reconcile', null],
      ['suspense', 'os:ana', 'seen in the dashboard of the PSP'],
    ]);
    await expectClosed(account);
  });

  test('in another currency than its charge: both sides go at once', async () => {
    const account = uniqueName('acct');
    const [charge] = await charged(book.db, daemon, account, 1);
    const answer = await run(account, [lineOf(charge!, { currency: USD })]);
    expect(answer.byCode).toMatchObject([{ code: 'currency_mismatch', currency: 'USD' }]);
    await resolveBreak(book.db, ask(account, answer));
    expect([await receivable(account), await receivable(account, 'USD')]).toEqual([0n, 0n]);
    await expectClosed(account);
  });
});

describe('a write-off', () => {
  async function missing(): Promise<{ account: string; answer: ReconcileAnswer }> {
    const account = uniqueName('acct');
    await charged(book.db, daemon, account, 1);
    await backdate(book.owner, account, '10 days');
    return { account, answer: await run(account, [line({ kind: 'fee', grossMinor: -1n })]) };
  }

  test('up to the limit is one decision', async () => {
    const { account, answer } = await missing();
    const request = ask(account, answer, { action: 'write_off' }, 1_000n);
    expect(await resolveBreak(book.db, request)).toMatchObject({
      kind: 'resolved',
      plan: { to: 'written_off' },
    });
    expect(await receivable(account)).toBe(0n);
    await expectClosed(account);
  });

  test('over the limit needs another person; the first one alone can say it twice in vain', async () => {
    const { account, answer } = await missing();
    const again = (principal: string) => ask(account, answer, { action: 'write_off', principal }, 999n);
    expect(await resolveBreak(book.db, again('os:ana'))).toMatchObject({ kind: 'second_person_needed' });
    expect(await receivable(account)).toBe(1_000n);
    await expect(resolveBreak(book.db, again('os:ana'))).rejects.toMatchObject({
      code: 'second_person_same',
    });
    expect(await resolveBreak(book.db, again('os:ben'))).toMatchObject({ kind: 'resolved' });
    expect(await receivable(account)).toBe(0n);
    const { history } = (await showBreak(book.db, again('os:ana').breakId))!;
    expect(history.map(({ kind, principal }) => [kind, principal])).toEqual([
      ['opened', 'test:reconcile'],
      ['proposed', 'os:ana'],
      ['write_off', 'os:ben'],
    ]);
    await expectClosed(account);
  });
});

test('to agree is to want the same entry: another decision is a new proposal', async () => {
  const account = uniqueName('acct');
  const answer = await run(account, [line({ kind: 'adjustment', grossMinor: -5_000n })]);
  const say = (action: ResolutionRequest['action'], principal: string) =>
    resolveBreak(book.db, ask(account, answer, { action, principal }, 999n));
  expect(await say('write_off', 'os:ana')).toMatchObject({ kind: 'second_person_needed' });
  expect(await say('expense', 'os:ben')).toMatchObject({ kind: 'second_person_needed' });
  const shown = await showBreak(book.db, ask(account, answer).breakId);
  expect(shown!.break.proposal).toEqual({
    by: 'os:ben',
    as: 'expense',
    reason: 'seen in the dashboard of the PSP',
  });
  expect(await receivable(account)).toBe(5_000n);
  await expect(say('expense', 'os:ben')).rejects.toMatchObject({ code: 'second_person_same' });
  expect(await say('expense', 'os:ana')).toMatchObject({ kind: 'resolved', plan: { to: 'resolved' } });
  expect((await showBreak(book.db, ask(account, answer).breakId))!.break.proposal).toBeNull();
  await expectClosed(account);
});

test('a refund that never moved is reversed: the seller has the money back, and nothing is open', async () => {
  const account = uniqueName('acct');
  const [charge] = await charged(book.db, daemon, account, 1);
  const context = {
    policy: { fee: 'proportional', overdraw: 'allowed' } as const,
    bookKey: await getBookKey(book.db),
    principal: 'test:refund',
    accountOf: () => ({ psp: 'stripe' as const }),
  };
  const refund = { refundId: uniqueName('refund'), orderId: charge!.orderId, amount: null, reason: 'test' };
  await submitRefunds(book.db, context, [{ ...refund, cause: 'request' }]);
  const [task] = await claim(daemon, account);
  await recordFindings(daemon.context, [findingOf(task!, { kind: 'succeeded', pspReference: 're_lost' })]);
  await backdate(book.owner, account, '10 days');
  const answer = await run(account, [lineOf(charge!)]);
  expect(answer.byCode).toMatchObject([{ code: 'refund_missing' }]);
  await resolveBreak(book.db, ask(account, answer, { action: 'reverse' }));
  expect(await standingOf(book.db, task!.job.operationId)).toMatchObject({ subState: 'reversed' });
  expect(await receivable(account)).toBe(0n);
  await expectClosed(account);
});

describe('a payout', () => {
  /** One that the PSP took; the seller has the money when `arrived`. */
  async function paidOut(arrived: boolean) {
    const account = uniqueName('acct');
    const seller = await fundedSeller(book.db, account, '100.00');
    await pay(book.db, account, [payoutRequest(seller, '40.00')]);
    const [task] = await claimTasks(daemon.context, laneOf(account, 'batch'), 1, scriptedConnector([]));
    const reference = uniqueName('tr');
    const reply = { kind: 'succeeded', pspReference: reference } as const;
    await recordFindings(daemon.context, [findingOf(task!, reply)]);
    const { operationId } = task!.job;
    const later = { operationId, attemptNumber: 1, source: 'enquiry', held: null } as const;
    if (arrived) await applyOutside(book.db, [{ ...later, reply: { ...reply, arrived } }]);
    await backdate(book.owner, account, '10 days');
    // The money that funded the seller came in by a line of its own.
    return { account, seller, reference, operationId, funding: line({ grossMinor: 10_000n }) };
  }

  test('that never left is reversed: its seller can be paid again', async () => {
    const { account, seller, operationId, funding } = await paidOut(false);
    const answer = await run(account, [funding]);
    const breakId = BigInt(answer.breaks.find(({ internal }) => internal?.kind === 'payout')!.id.slice(4));
    const found = (await showBreak(book.db, breakId))!.break;
    expect(found).toMatchObject({ code: 'missing_external', amountMinor: 4_000n });
    expect(found.offers).toEqual(['enquire', 'wait_for_psp', 'reverse', 'write_off']);
    await resolveBreak(book.db, ask(account, answer, { breakId, action: 'reverse' }));
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'reversed' });
    expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(10_000n);
    const next = await run(account, [line({ kind: 'fee', grossMinor: -1n })]);
    expect(next.proofs.every(({ closes }) => closes)).toBe(true);
    expect(next.breaks.map(({ internal }) => internal?.kind)).not.toContain('payout');
  });

  test.each([false, true])(
    'that came back is booked from a row that names it (arrived: %s)',
    async (arrived) => {
      const { account, seller, reference, operationId, funding } = await paidOut(arrived);
      const left = line({ kind: 'payout', grossMinor: -4_000n, reference });
      const back = {
        kind: 'payout_returned',
        grossMinor: 4_000n,
        ourReference: `op_${operationId}`,
      } as const;
      const answer = await run(account, [funding, left, line(back)]);
      expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'reversed' });
      expect(await balanceOf(book.db, `seller:${seller}:available`, 'EUR')).toBe(10_000n);
      expect(answer.byCode.map(({ code }) => code)).not.toContain('returned_payout');
      expect(answer.proofs.every(({ closes }) => closes)).toBe(true);
    },
  );

  test('that came back in a row without a name is linked once its return is booked', async () => {
    const { account, reference, operationId, funding } = await paidOut(false);
    const left = line({ kind: 'payout', grossMinor: -4_000n, reference });
    const back = line({ kind: 'payout_returned', grossMinor: 4_000n, reference: uniqueName('trr') });
    const answer = await run(account, [funding, left, back]);
    const breakId = BigInt(answer.breaks.find(({ code }) => code === 'returned_payout')!.id.slice(4));
    const reply = { kind: 'declined', reason: 'closed', mayRetryAsNew: false, pspReference: null } as const;
    const news = { operationId, attemptNumber: 1, source: 'enquiry', held: null } as const;
    await applyOutside(book.db, [{ ...news, reply: { ...reply, isUndone: true } }]);
    await run(account, [line({ kind: 'fee', grossMinor: -1n })]);
    const name = `op_${operationId}`;
    const wish = { link: { items: [{ name, amountMinor: null }], rest: null } };
    await resolveBreak(book.db, ask(account, answer, { breakId, action: 'link', ...wish }));
    const next = await run(account, [line({ kind: 'fee', grossMinor: -1n })]);
    expect(next.proofs.every(({ closes }) => closes)).toBe(true);
    expect(next.byCode.map(({ code }) => code)).not.toContain('returned_payout');
  });
});

test('a proposed item is linked by a person, and by nobody else', async () => {
  const account = uniqueName('acct');
  const [charge] = await charged(book.db, daemon, account, 1);
  const occurredAt = new Date().toISOString();
  const answer = await run(account, [line({ grossMinor: charge!.amountMinor, occurredAt })]);
  expect(answer.byCode).toMatchObject([{ code: 'ambiguous' }]);
  await resolveBreak(book.db, ask(account, answer, { action: 'link' }));
  expect(await receivable(account)).toBe(0n);
  await expectClosed(account);
});

describe('a line that shows several items', () => {
  const link = (names: readonly (readonly [string, bigint | null])[], rest: LinkRequest['rest'] = null) => ({
    action: 'link' as const,
    link: { items: names.map(([name, amountMinor]) => ({ name, amountMinor })), rest },
  });

  /** Three charges of 10.00, 10.01 and 10.02, and one line without their names. */
  async function lump(grossMinor: bigint) {
    const account = uniqueName('acct');
    const charges = await charged(book.db, daemon, account, 3);
    await backdate(book.owner, account, '10 days');
    const answer = await run(account, [line({ grossMinor })]);
    const breakId = BigInt(answer.breaks.find(({ code }) => code === 'missing_internal')!.id.slice(4));
    const asked = (overrides: Partial<ResolutionRequest>, limit?: bigint) =>
      ask(account, answer, { breakId, ...overrides }, limit);
    return { account, charges, answer, asked };
  }

  test('is linked to all of them at once, and their own breaks are gone', async () => {
    const { account, charges, asked } = await lump(3_003n);
    const request = asked(link(charges.map(({ reference }) => [reference, null])));
    const plan = await planResolution(book.db, request);
    expect(plan).toMatchObject({ to: 'resolved', entry: null, restMinor: 0n, secondPerson: 'not_needed' });
    expect(
      plan.links.map(({ item, amountMinor, leftMinor }) => [item.reference, amountMinor, leftMinor]),
    ).toEqual(charges.map(({ reference, amountMinor }) => [reference, amountMinor, 0n]));
    expect(await resolveBreak(book.db, request)).toMatchObject({ kind: 'resolved', entryId: null });
    expect(await receivable(account)).toBe(0n);
    const left = await listBreaks(book.db, { ...EVERY_OPEN, source: `psp:${account}` });
    expect(left).toEqual([]);
    await expectClosed(account);
  });

  test('names each by its operation, its entry or the PSP’s name', async () => {
    const { account, charges, asked } = await lump(2_001n);
    const [first, second] = charges;
    const items = await listLinkable(book.db, { breakId: asked({}).breakId, source: `psp:${account}` }, 10);
    const entry = items.find(({ reference }) => reference === second!.reference)!.id;
    expect(entry).toMatch(/^ent_/);
    await resolveBreak(
      book.db,
      asked(
        link([
          [`op_${first!.operationId}`, null],
          [entry, null],
        ]),
      ),
    );
    const next = await run(account, [line({ kind: 'fee', grossMinor: -1n })]);
    expect(next.breaks.map(({ code, amountMinor }) => [code, amountMinor])).toEqual([
      ['missing_external', -1_002n],
    ]);
    expect(next.proofs.every(({ closes }) => closes)).toBe(true);
  });

  test('and something more: the rest is shown, and booked only where a person says', async () => {
    const { account, charges, asked } = await lump(3_000n);
    const names = charges.map(({ reference }) => [reference, null] as const);
    await expect(planResolution(book.db, asked(link(names)))).rejects.toMatchObject({
      code: 'link_has_rest',
      message: expect.stringContaining('-0.03 EUR would be left'),
    });
    const request = asked(link(names, 'adjust'));
    expect(await planResolution(book.db, request)).toMatchObject({
      to: 'written_off',
      restMinor: -3n,
      entry: {
        kind: 'difference_written_off',
        postings: [{ debit: 'expense:write_off', credit: `psp:${account}:receivable`, amountMinor: 3n }],
      },
    });
    await resolveBreak(book.db, request);
    expect(await receivable(account)).toBe(0n);
    await expectClosed(account);
  });

  test('over the limit the rest needs another person', async () => {
    const { charges, asked } = await lump(3_013n);
    const wish = link(
      charges.map(({ reference }) => [reference, null]),
      'expense',
    );
    expect(await resolveBreak(book.db, asked(wish, 9n))).toMatchObject({ kind: 'second_person_needed' });
    expect(await resolveBreak(book.db, asked({ ...wish, principal: 'os:ben' }, 9n))).toMatchObject({
      kind: 'resolved',
    });
  });

  test('a part of an item leaves the rest of it open, for another line', async () => {
    const { account, charges, asked } = await lump(1_400n);
    const [first, second] = charges;
    await resolveBreak(
      book.db,
      asked(
        link([
          [first!.reference, null],
          [second!.reference, 400n],
        ]),
      ),
    );
    const [left] = await listBreaks(book.db, { ...EVERY_OPEN, source: `psp:${account}`, codes: null });
    expect(left).toMatchObject({ code: 'missing_external', amountMinor: -601n });
    const next = await run(account, [line({ grossMinor: 1_603n })]);
    expect(next.proofs.every(({ closes }) => closes)).toBe(true);
    const breakId = BigInt(next.breaks.find(({ code }) => code === 'missing_internal')!.id.slice(4));
    const both = link([
      [second!.reference, null],
      [charges[2]!.reference, null],
    ]);
    await resolveBreak(book.db, ask(account, next, { breakId, ...both }));
    await expectClosed(account);
  });

  test('a later version of the line takes the links back, and what they explained is open again', async () => {
    const account = uniqueName('acct');
    const [charge] = await charged(book.db, daemon, account, 1);
    await backdate(book.owner, account, '10 days');
    const answer = await run(account, [line({ grossMinor: 1_000n, lineKey: 'told_twice' })]);
    const breakId = BigInt(answer.breaks.find(({ code }) => code === 'missing_internal')!.id.slice(4));
    await resolveBreak(book.db, ask(account, answer, { breakId, ...link([[charge!.reference, null]]) }));
    const next = await run(account, [line({ grossMinor: 700n, lineKey: 'told_twice' })]);
    expect(next.byCode.map(({ code }) => code).sort()).toEqual(['missing_external', 'missing_internal']);
    expect(next.proofs.every(({ closes }) => closes)).toBe(true);
  });

  test('what does not fit is refused by name', async () => {
    const { charges, asked } = await lump(3_003n);
    const [first] = charges;
    const code = async (wish: Partial<ResolutionRequest>) =>
      resolveBreak(book.db, asked(wish)).then(
        () => 'done',
        (error: { code: string }) => error.code,
      );
    expect(await code(link([['pi_nobody', null]]))).toBe('item_unknown');
    expect(await code(link([[first!.reference, 1_001n]]))).toBe('item_unfit');
    expect(await code(link([[first!.reference, 0n]]))).toBe('item_unfit');
    expect(
      await code(
        link([
          [first!.reference, null],
          [`op_${first!.operationId}`, null],
        ]),
      ),
    ).toBe('item_unfit');
    expect(await code(link([[first!.reference, null]]))).toBe('link_has_rest');
    expect(
      await code(
        link(
          charges.map(({ reference }) => [reference, null]),
          'suspense',
        ),
      ),
    ).toBe('action_not_offered');
  });

  test('a share that waits for its settlement is due with the link', async () => {
    const { charges, asked } = await lump(3_003n);
    const { operationId } = charges[0]!;
    await book.owner.sql`
      insert into ${book.owner.t.fundRelease} (operation_id, due_at) values (${operationId}, 'infinity')
          on conflict (operation_id) do update set due_at = 'infinity'`;
    await resolveBreak(book.db, asked(link(charges.map(({ reference }) => [reference, null]))));
    const [release] = await book.db.sql<{ isDue: boolean }[]>`
      select due_at <= now() as is_due from ${book.db.t.fundRelease} where operation_id = ${operationId}`;
    expect(release).toEqual({ isDue: true });
  });
});

/** Of one source. */
const EVERY_OPEN = {
  states: null,
  codes: null,
  severities: null,
  currency: null,
  assignee: null,
  after: null,
  limit: 100,
} as const;

describe('a decision', () => {
  test('that only says something books nothing and needs no reason', async () => {
    const account = uniqueName('acct');
    const answer = await run(account, [line({ grossMinor: 1n })]);
    const say = (overrides: Partial<ResolutionRequest>) =>
      resolveBreak(book.db, ask(account, answer, { reason: '', ...overrides }));
    expect(await say({ action: 'acknowledge' })).toMatchObject({ plan: { to: 'acknowledged', entry: null } });
    expect(await say({ action: 'assign', assignee: 'ben' })).toMatchObject({ plan: { to: 'acknowledged' } });
    expect(await say({ action: 'wait_for_psp' })).toMatchObject({ plan: { to: 'waiting_psp' } });
    const next = await run(account, [line({ kind: 'fee', grossMinor: -1n })]);
    expect(next.breaks).toMatchObject([{ state: 'waiting_psp', assignee: 'ben' }]);
    await expect(say({ action: 'suspense' })).rejects.toMatchObject({ code: 'reason_too_short' });
  });

  test('is refused where it does not fit', async () => {
    const account = uniqueName('acct');
    const answer = await run(account, [line({ grossMinor: 1n })]);
    const code = async (overrides: Partial<ResolutionRequest>) =>
      resolveBreak(book.db, ask(account, answer, overrides)).then(
        () => 'done',
        (error: { code: string }) => error.code,
      );
    expect(await code({ action: 'accept' })).toBe('action_not_offered');
    expect(await code({ action: 'link' })).toBe('action_not_offered');
    expect(await code({ action: 'reverse' })).toBe('action_not_offered');
    expect(await code({ breakId: 999_999n })).toBe('break_unknown');
    expect(await code({ idempotencyKey: '' })).toBe('key_invalid');
    expect(await code({ idempotencyKey: 'once' })).toBe('done');
    expect(await code({ idempotencyKey: 'once', action: 'write_off' })).toBe('key_reused');
    expect(await code({})).toBe('break_closed');
  });

  test('of ten people at once is made once', async () => {
    const account = uniqueName('acct');
    const answer = await run(account, [line({ grossMinor: 44n })]);
    const results = await Promise.allSettled(
      Array.from({ length: 10 }, () => resolveBreak(book.db, ask(account, answer))),
    );
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await balanceOf(book.db, `suspense:${account}`, 'EUR')).toBe(44n);
  });
});
