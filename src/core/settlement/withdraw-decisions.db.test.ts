/** A later file changes what people have decided about: the decision is undone with its entry, and the proof closes again. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  balanceOf,
  openTestBook,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import { backdate, charged, line, lineOf, reconcile, settling } from '../../testing/settlement-fixtures.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { parseCurrency } from '../money.ts';
import { capabilitiesOf } from '../psp/request.ts';
import { showBreak } from './break-list-store.ts';
import type { ResolutionRequest } from './plan-resolution.ts';
import type { BreakAnswer } from './reconcile-answer.ts';
import { resolveBreak } from './resolve-break.ts';
import type { SettlementLine } from './settlement-line.ts';

const EUR = parseCurrency('EUR')!;

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

const LIMIT = 50n;
const policyOf = (account: string) => ({
  accounts: new Map([[account, { ...settling('now'), bank: account }]]),
  writeOffLimits: new Map([[EUR, LIMIT]]),
});

const run = (account: string, lines: readonly SettlementLine[]) =>
  reconcile(book.db, `psp:${account}`, { lines }, { policy: policyOf(account) });

const runBank = (account: string, lines: readonly SettlementLine[]) =>
  reconcile(book.db, `bank:${account}`, { lines, format: 'camt053' }, { policy: policyOf(account) });

const decide = (account: string, one: BreakAnswer, overrides: Partial<ResolutionRequest> = {}) =>
  resolveBreak(book.db, {
    breakId: BigInt(one.id.slice(4)),
    action: 'suspense',
    reason: 'seen in the dashboard of the PSP',
    idempotencyKey: uniqueName('decision'),
    assignee: null,
    principal: 'os:ana',
    policy: policyOf(account),
    capabilitiesOf: () => capabilitiesOf('stripe'),
    ...overrides,
  });

/** Two people, as a write-off above the limit needs. */
async function writeOff(
  account: string,
  one: BreakAnswer,
  action: 'write_off' | 'adjust' = 'write_off',
): Promise<void> {
  await decide(account, one, { action });
  const second = await decide(account, one, { action, principal: 'os:bob' });
  expect(second.kind).toBe('resolved');
}

const historyOf = async (one: BreakAnswer) =>
  (await showBreak(book.db, BigInt(one.id.slice(4))))!.history.map(({ kind, reason }) => ({ kind, reason }));

const balance = (account: string, code: string) => balanceOf(book.db, `${code}:${account}`, 'EUR');
const receivable = (account: string) => balanceOf(book.db, `psp:${account}:receivable`, 'EUR');

test('a line in suspense that is told anew leaves suspense, and its new words are judged', async () => {
  const account = uniqueName('acct');
  const one = line({ grossMinor: 5_000n, reference: 'nobody knows' });
  const first = await run(account, [one]);
  await decide(account, first.breaks[0]!);
  const suspended = await balance(account, 'suspense');
  const next = await run(account, [{ ...one, grossMinor: 4_000n, netMinor: 4_000n }]);
  expect(next).toMatchObject({ status: 'breaks', breakCount: 1 });
  expect(next.breaks[0]).toMatchObject({ code: 'missing_internal', amountMinor: 4_000n });
  expect(next.proofs[0]).toMatchObject({ closes: true, closing: { residualMinor: 0n } });
  expect(await receivable(account)).toBe(-4_000n);
  expect(suspended).not.toBe(0n);
  expect(await balance(account, 'suspense')).toBe(0n);
  expect(await historyOf(first.breaks[0]!)).toMatchObject([
    { kind: 'opened' },
    { kind: 'suspense' },
    { kind: 'withdrawn', reason: 'a later file tells the line anew' },
  ]);
  await decide(account, next.breaks[0]!);
  expect(await receivable(account)).toBe(0n);
  const last = await run(account, [
    { ...one, grossMinor: 4_000n, netMinor: 4_000n },
    line({ kind: 'fee', grossMinor: -1n }),
  ]);
  expect(last).toMatchObject({ status: 'closed', breakCount: 0 });
});

test('an adjusted difference is given back when the line comes in full', async () => {
  const account = uniqueName('acct');
  const [charge] = await charged(book.db, daemon, account, 1);
  const short = charge!.amountMinor - 10n;
  const first = await run(account, [lineOf(charge!, { grossMinor: short })]);
  await decide(account, first.breaks[0]!, { action: 'adjust' });
  expect(await receivable(account)).toBe(0n);
  const spent = await balanceOf(book.db, 'expense:write_off', 'EUR');
  const next = await run(account, [lineOf(charge!)]);
  expect(next).toMatchObject({ status: 'closed', breakCount: 0 });
  expect(next.byCurrency[0]).toMatchObject({ inTransit: { count: 0 } });
  expect(await receivable(account)).toBe(0n);
  expect(await balanceOf(book.db, 'expense:write_off', 'EUR')).toBe(spent - 10n);
});

test('a charge that was given up is matched when its line comes after all', async () => {
  const account = uniqueName('acct');
  const [charge] = await charged(book.db, daemon, account, 1);
  await backdate(book.owner, account, '10 days');
  const first = await run(account, [line({ kind: 'fee', grossMinor: -1n })]);
  expect(first.breaks[0]).toMatchObject({ code: 'missing_external' });
  await writeOff(account, first.breaks[0]!);
  expect(await receivable(account)).toBe(0n);
  const spent = await balanceOf(book.db, 'expense:write_off', 'EUR');
  const next = await run(account, [lineOf(charge!)]);
  expect(next).toMatchObject({ status: 'closed', breakCount: 0 });
  expect(await receivable(account)).toBe(0n);
  expect(await balanceOf(book.db, 'expense:write_off', 'EUR')).toBe(spent - charge!.amountMinor);
  expect((await historyOf(first.breaks[0]!)).at(-1)).toEqual({
    kind: 'withdrawn',
    reason: 'a later file shows what was given up',
  });
  // The same movement once more is what it was before: a double.
  const twice = await run(account, [lineOf(charge!, { lineKey: 'once more' })]);
  expect(twice.breaks).toMatchObject([{ code: 'duplicate_external' }]);
});

test('a difference that was adjusted is no excuse for a second line', async () => {
  const account = uniqueName('acct');
  const [charge] = await charged(book.db, daemon, account, 1);
  const first = await run(account, [lineOf(charge!, { grossMinor: charge!.amountMinor - 10n })]);
  await decide(account, first.breaks[0]!, { action: 'adjust' });
  const next = await run(account, [lineOf(charge!, { lineKey: 'a second line' })]);
  expect(next.breaks).toMatchObject([{ code: 'duplicate_external', amountMinor: charge!.amountMinor }]);
  expect(next.proofs[0]).toMatchObject({ closes: true });
});

test('two people agree on one amount: a proposal lapses when the amount changes', async () => {
  const account = uniqueName('acct');
  const [charge] = await charged(book.db, daemon, account, 1);
  const first = await run(account, [lineOf(charge!, { grossMinor: charge!.amountMinor - 100n })]);
  expect(await decide(account, first.breaks[0]!, { action: 'adjust' })).toMatchObject({
    kind: 'second_person_needed',
  });
  const next = await run(account, [lineOf(charge!, { grossMinor: charge!.amountMinor - 500n })]);
  expect(next.breaks[0]).toMatchObject({ id: first.breaks[0]!.id, amountMinor: -500n });
  expect(await decide(account, next.breaks[0]!, { action: 'adjust', principal: 'os:bob' })).toMatchObject({
    kind: 'second_person_needed',
  });
  expect(await historyOf(first.breaks[0]!)).toMatchObject([
    { kind: 'opened' },
    { kind: 'proposed' },
    { kind: 'changed', reason: 'amount_mismatch of -1.00 EUR became amount_mismatch of -5.00 EUR' },
    { kind: 'proposed' },
  ]);
});

test('a bank that tells its line anew opens the deposit again; one that was given up comes after all', async () => {
  const account = uniqueName('acct');
  await run(account, [
    line({ kind: 'deposit', grossMinor: -700n, reference: 'po_first' }),
    line({ kind: 'deposit', grossMinor: -300n, reference: 'po_second' }),
  ]);
  const arrived = line({ kind: 'deposit', grossMinor: 650n, reference: 'po_first' });
  const first = await runBank(account, [arrived]);
  const differs = first.breaks.find(({ code }) => code === 'deposit_amount_differs')!;
  await decide(account, differs, { action: 'adjust' });
  const missing = first.breaks.find(({ code }) => code === 'deposit_missing_at_bank')!;
  await writeOff(account, missing);
  const next = await runBank(account, [
    { ...arrived, grossMinor: 700n, netMinor: 700n },
    line({ kind: 'deposit', grossMinor: 300n, reference: 'po_second' }),
  ]);
  expect(next).toMatchObject({ status: 'closed', breakCount: 0 });
  expect(await balanceOf(book.db, `bank:${account}:in_transit`, 'EUR')).toBe(0n);
  expect(await balanceOf(book.db, `bank:${account}:cash`, 'EUR')).toBe(1_000n);
});
