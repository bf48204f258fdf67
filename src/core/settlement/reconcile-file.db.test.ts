/** What a settlement file does to the books: imported once, matched by names, posted, proven; and what it does not do. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  balanceOf,
  claim,
  openTestBook,
  orderRequest,
  paymentRequest,
  queueCharges,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import {
  answered,
  backdate,
  charged,
  line,
  lineOf,
  type MadeFile,
  readingOf,
  reconcile,
  reconcileRequest,
  settling,
} from '../../testing/settlement-fixtures.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { findingOf, recordFindings } from '../operation/execute-operations.ts';
import { releaseDueFunds } from '../wallet/release-funds.ts';
import { listBreaks, showBreak } from './break-list-store.ts';
import { reconcileFile } from './reconcile-file.ts';
import type { SettlementLine } from './settlement-line.ts';

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

const count = async (table: 'settlementLine' | 'settlementMatch' | 'journalEntry' | 'openItem') => {
  const [row] = await book.owner.sql<
    { n: number }[]
  >`select count(*)::integer as n from ${book.owner.t[table]}`;
  return row!.n;
};

describe('a file that shows everything', () => {
  test('is matched, posted and proven; the receivable is zero, the mirror is what the PSP paid', async () => {
    const account = uniqueName('acct');
    const charges = await charged(book.db, daemon, account, 30);
    const lines = charges.map((charge) => lineOf(charge, { feeMinor: 30n }));
    const gross = charges.reduce((sum, one) => sum + one.amountMinor, 0n);
    const net = gross - 900n;
    const file = {
      lines: [
        ...lines,
        line({ kind: 'fee', grossMinor: -55n, reference: 'fee_1' }),
        line({ kind: 'deposit', grossMinor: -1_000n, reference: 'po_first' }),
      ],
    };
    const answer = await reconcile(book.db, `psp:${account}`, file);
    expect(answer).toMatchObject({ status: 'closed', breakCount: 0, outcome: 'imported' });
    expect(answer.byCurrency).toEqual([
      {
        currency: 'EUR',
        matched: { count: 30, grossMinor: gross },
        inTransit: { count: 0, grossMinor: 0n },
        breaks: { count: 0, grossMinor: 0n },
      },
    ]);
    expect(answer.proofs).toEqual([
      {
        pspAccount: account,
        currency: 'EUR',
        receivable: { openingMinor: 0n, factsMinor: gross, linesMinor: -gross, closingMinor: 0n },
        closing: { inTransitMinor: 0n, breaks: [], residualMinor: 0n },
        balance: { mirrorMinor: net - 1_055n, linesMinor: net - 1_055n, statedMinor: null },
        bank: null,
        closes: true,
      },
    ]);
    expect(await balanceOf(book.db, `psp:${account}:receivable`, 'EUR')).toBe(0n);
    expect(await balanceOf(book.db, `psp:${account}:balance`, 'EUR')).toBe(net - 1_055n);
    expect(await balanceOf(book.db, 'bank:main:in_transit', 'EUR')).toBe(1_000n);
  });

  test('again is already imported: the same answer, and not one row more', async () => {
    const account = uniqueName('acct');
    const [charge] = await charged(book.db, daemon, account, 1);
    const file = { lines: [lineOf(charge!)] };
    const first = await reconcile(book.db, `psp:${account}`, file);
    const before = [
      await count('settlementLine'),
      await count('settlementMatch'),
      await count('journalEntry'),
    ];
    const open = () => Promise.reject(new Error('a known file must not be read'));
    const again = await reconcile(book.db, `psp:${account}`, file, { open });
    expect(again).toEqual({ ...first, outcome: 'already_imported' });
    const streamed = await reconcile(book.db, `psp:${account}`, file, { sha256: null });
    expect(streamed).toEqual({ ...first, outcome: 'already_imported' });
    expect([
      await count('settlementLine'),
      await count('settlementMatch'),
      await count('journalEntry'),
    ]).toEqual(before);
  });
});

const receivable = (account: string) => balanceOf(book.db, `psp:${account}:receivable`, 'EUR');
const mirror = (account: string) => balanceOf(book.db, `psp:${account}:balance`, 'EUR');
const openBreaks = (account: string) =>
  listBreaks(book.db, {
    states: null,
    codes: null,
    severities: null,
    source: `psp:${account}`,
    currency: null,
    assignee: null,
    after: null,
    limit: 100,
  });

describe('files that overlap', () => {
  test('bring a known line once: the second file only says that it was seen', async () => {
    const account = uniqueName('acct');
    const charges = await charged(book.db, daemon, account, 3);
    const [a, b, c] = charges.map((charge) => lineOf(charge));
    await reconcile(book.db, `psp:${account}`, { lines: [a!, b!] });
    const second = await reconcile(book.db, `psp:${account}`, {
      lines: [{ ...b!, row: 99, raw: 'other' }, c!],
    });
    expect(second).toMatchObject({ status: 'closed', file: { lineCount: 2, knownCount: 1 } });
    expect(await receivable(account)).toBe(0n);
    expect(await mirror(account)).toBe(3_003n);
  });

  test('two genuine rows with one name survive, in one file and over two', async () => {
    const account = uniqueName('acct');
    const fee = line({ kind: 'fee', grossMinor: -10n, lineKey: 'fee|2026-11-20' });
    const first = await reconcile(book.db, `psp:${account}`, { lines: [fee, { ...fee, row: 3 }] });
    expect(first.file.knownCount).toBe(0);
    expect(await mirror(account)).toBe(-20n);
    const lines = [fee, { ...fee, row: 3 }, { ...fee, row: 4 }];
    const second = await reconcile(book.db, `psp:${account}`, { lines });
    expect(second.file.knownCount).toBe(2);
    expect(await mirror(account)).toBe(-30n);
  });

  test('rows of one name are told apart across the portions that go to the database together', async () => {
    const account = uniqueName('acct');
    const many = Array.from({ length: 60_000 }, (_, i) =>
      line({ kind: 'fee', grossMinor: -1n, row: i + 2, lineKey: i % 30_000 === 7 ? 'same' : `fee_${i}` }),
    );
    const answer = await reconcile(book.db, `psp:${account}`, { lines: many });
    expect(answer.file).toMatchObject({ lineCount: 60_000, knownCount: 0 });
    expect(await mirror(account)).toBe(-60_000n);
    const again = await reconcile(book.db, `psp:${account}`, {
      lines: [...many, line({ kind: 'fee', grossMinor: -5n })],
    });
    expect(again.file.knownCount).toBe(60_000);
    expect(await mirror(account)).toBe(-60_005n);
  });
});

describe('a line that a later file tells otherwise', () => {
  test('is a new version: its match is reopened, its posting reversed, and the books follow', async () => {
    const account = uniqueName('acct');
    const [charge] = await charged(book.db, daemon, account, 1);
    const right = lineOf(charge!, { feeMinor: 30n });
    await reconcile(book.db, `psp:${account}`, { lines: [right] });
    expect(await mirror(account)).toBe(970n);
    const wrong = { ...right, grossMinor: 900n, netMinor: 870n };
    const amended = await reconcile(book.db, `psp:${account}`, { lines: [wrong] });
    expect(amended).toMatchObject({
      status: 'breaks',
      byCode: [{ code: 'amount_mismatch', tally: { count: 1 } }],
    });
    expect(amended.breaks[0]).toMatchObject({ amountMinor: -100n, external: { amountMinor: 900n } });
    expect(await mirror(account)).toBe(870n);
    expect(await receivable(account)).toBe(100n);
    const back = await reconcile(book.db, `psp:${account}`, {
      lines: [right, line({ kind: 'fee', grossMinor: -1n })],
    });
    expect(back).toMatchObject({ status: 'closed', resolvedCount: 1 });
    expect([await mirror(account), await receivable(account)]).toEqual([969n, 0n]);
  });

  test('in a batch that was refused is posted with the batch that adds up', async () => {
    const account = uniqueName('acct');
    const [charge] = await charged(book.db, daemon, account, 1);
    const lines = [lineOf(charge!, { batch: 'b7' })];
    const { currency } = lines[0]!;
    const totals = (sumMinor: bigint) => [
      { batch: 'b7', currency, openingMinor: null, closingMinor: null, sumMinor },
    ];
    const refused = await reconcile(book.db, `psp:${account}`, { lines, totals: totals(1n) });
    expect(refused).toMatchObject({ status: 'incomplete', byCode: [{ code: 'batch_out_of_balance' }] });
    expect([await mirror(account), await receivable(account)]).toEqual([0n, 1_000n]);
    const again = await reconcile(book.db, `psp:${account}`, { lines, totals: totals(1_000n) });
    expect(again).toMatchObject({ status: 'closed', resolvedCount: 1 });
    expect([await mirror(account), await receivable(account)]).toEqual([1_000n, 0n]);
  });
});

describe('matching', () => {
  test('several lines that add up explain one charge; a part leaves the rest open until it comes', async () => {
    const account = uniqueName('acct');
    const [whole, parted] = await charged(book.db, daemon, account, 2);
    const part = (charge: typeof whole, grossMinor: bigint) =>
      lineOf(charge!, { grossMinor, netMinor: grossMinor, lineKey: uniqueName('part') });
    const lines = [part(whole, 400n), part(whole, 600n), part(parted, 1n)];
    const first = await reconcile(book.db, `psp:${account}`, { lines });
    expect(first.byCode).toMatchObject([
      { code: 'amount_mismatch', tally: { count: 1, grossMinor: 1_000n } },
    ]);
    const second = await reconcile(book.db, `psp:${account}`, { lines: [part(parted, 1_000n)] });
    expect(second).toMatchObject({ status: 'closed', resolvedCount: 1 });
    expect(await receivable(account)).toBe(0n);
  });

  test('what is not due is in transit, and a break no sooner than its day; a later file resolves it', async () => {
    const account = uniqueName('acct');
    const [charge] = await charged(book.db, daemon, account, 1);
    await backdate(book.owner, account, '20 days');
    const note = () => ({ lines: [line({ kind: 'fee', grossMinor: -1n })] });
    const policy = { accounts: new Map([[account, settling('now')]]), writeOffLimits: new Map() };
    const late = await reconcile(book.db, `psp:${account}`, note(), { policy });
    expect(late.byCode).toMatchObject([{ code: 'missing_external', severity: 'P3' }]);
    await book.owner.sql`update ${book.owner.t.reconBreak} set opened_at = opened_at - interval '9 days'`;
    const later = await reconcile(book.db, `psp:${account}`, note(), { policy });
    expect(later).toMatchObject({
      byCode: [{ code: 'missing_external', severity: 'P2' }],
      ageing: [{ bucket: '8-30' }],
    });
    const shown = await reconcile(book.db, `psp:${account}`, { lines: [lineOf(charge!)] }, { policy });
    expect(shown).toMatchObject({ status: 'closed', resolvedCount: 1, breakCount: 0 });
    const details = await showBreak(book.db, BigInt(later.breaks[0]!.id.slice(4)));
    expect(details!.history.map(({ kind }) => kind)).toEqual(['opened', 'resolved']);
  });

  test('a fact that is booked after its line explains it in the next run', async () => {
    const account = uniqueName('acct');
    const lines = [line({ grossMinor: 5_555n, paymentReference: 'pi_early' })];
    const early = await reconcile(book.db, `psp:${account}`, { lines });
    expect(early.byCode).toMatchObject([{ code: 'missing_internal', severity: 'P1' }]);
    expect(early.status).toBe('breaks');
    const [charge] = await charged(book.db, daemon, account, 1, 5_555);
    await book.owner
      .sql`update ${book.owner.t.operation} set psp_reference = 'pi_early' where id = ${charge!.operationId}`;
    const next = await reconcile(book.db, `psp:${account}`, {
      lines: [line({ kind: 'note', grossMinor: 0n })],
    });
    expect(next).toMatchObject({ status: 'closed', resolvedCount: 1 });
  });

  test('settled in another currency: the receivable is closed in the one that was charged', async () => {
    const account = uniqueName('acct');
    const [charge] = await charged(book.db, daemon, account, 1, 1_000, 'USD');
    const usd = lineOf(charge!).currency;
    const original = { currency: (await import('../money.ts')).parseCurrency('USD')!, amountMinor: 1_000n };
    expect(usd).toBe('EUR');
    const answer = await reconcile(book.db, `psp:${account}`, {
      lines: [lineOf(charge!, { grossMinor: 920n, netMinor: 890n, feeMinor: 30n, original })],
    });
    expect(answer.breaks).toEqual([]);
    expect(await balanceOf(book.db, `psp:${account}:receivable`, 'USD')).toBe(0n);
    expect(await balanceOf(book.db, `fx:${account}`, 'USD')).toBe(1_000n);
    expect(await balanceOf(book.db, `fx:${account}`, 'EUR')).toBe(-920n);
    expect(await mirror(account)).toBe(890n);
    expect(answer.status).toBe('closed');
  });
});

test('a share that waits for settlement is released by the line of its charge, and by nothing else', async () => {
  const account = uniqueName('acct');
  const seller = uniqueName('Seller');
  const requests = [1, 2].map(() => paymentRequest({ orders: [orderRequest({ seller })] }));
  const queued = await queueCharges(book.db, account, requests, { releaseAfterDays: 0 });
  const tasks = await claim(daemon, account);
  const reply = (id: bigint) => ({ kind: 'succeeded', pspReference: `pi_${id}` }) as const;
  await recordFindings(
    daemon.context,
    tasks.map((task) => findingOf(task, reply(task.job.operationId))),
  );
  const wallet = async () => [
    await balanceOf(book.db, `seller:${seller}:pending`, 'EUR'),
    await balanceOf(book.db, `seller:${seller}:available`, 'EUR'),
  ];
  await releaseDueFunds(book.db, 'test:release');
  expect(await wallet()).toEqual([2_500n, 0n]);
  const { operationId } = queued[0]!;
  await reconcile(book.db, `psp:${account}`, {
    lines: [line({ grossMinor: 1_250n, paymentReference: `pi_${operationId}` })],
  });
  await releaseDueFunds(book.db, 'test:release');
  expect(await wallet()).toEqual([1_250n, 1_250n]);
});

describe('a bank statement', () => {
  test('shows the deposits of the PSP; what differs or never came is a break', async () => {
    const [account, bank] = [uniqueName('acct'), uniqueName('bank')];
    const accounts = new Map([
      [account, settling('now', { bank })],
      [bank, settling('now')],
    ]);
    const policy = { accounts, writeOffLimits: new Map() };
    const deposit = (reference: string, minor: bigint) =>
      line({ kind: 'deposit', grossMinor: -minor, reference, availableOn: '2026-11-10T00:00:00.000Z' });
    const topUp = line({ kind: 'top_up', grossMinor: 6_000n });
    const lines = [
      topUp,
      deposit('po_first', 1_000n),
      deposit('po_second', 2_000n),
      deposit('po_lost', 3_000n),
    ];
    expect((await reconcile(book.db, `psp:${account}`, { lines }, { policy })).status).toBe('closed');
    const { currency } = topUp;
    const entry = (minor: bigint, ourReference: string) =>
      line({ kind: 'deposit', grossMinor: minor, ourReference, batch: '7' });
    const statement: MadeFile = {
      lines: [
        entry(1_000n, 'STRIPE PAYOUT po_first'),
        entry(1_990n, 'po_second'),
        entry(77n, 'somebody else'),
      ],
      totals: [{ batch: '7', currency, openingMinor: 50_000n, closingMinor: 53_067n, sumMinor: null }],
    };
    const answer = await reconcile(book.db, `bank:${bank}`, statement, { policy });
    expect(answer.byCode.map(({ code, tally }) => [code, tally.count])).toEqual([
      ['deposit_amount_differs', 1],
      ['missing_internal', 1],
      ['deposit_missing_at_bank', 2],
    ]);
    expect(answer.proofs).toMatchObject([
      {
        closes: true,
        bank: { bank, cashMinor: 53_067n, statedMinor: 53_067n },
        closing: { residualMinor: 0n },
      },
    ]);
    expect(await balanceOf(book.db, `bank:${bank}:cash`, 'EUR')).toBe(3_067n);
  });
});

describe('a deposit that a later file tells anew', () => {
  /** A deposit of 10.00, shown by the bank in full unless `shown` says otherwise, then told anew. */
  async function toldAnew(anew: Partial<SettlementLine>, shown = 1_000n) {
    const [account, bank] = [uniqueName('acct'), uniqueName('bank')];
    const policy = {
      accounts: new Map([
        [account, settling('now', { bank })],
        [bank, settling('now')],
      ]),
      writeOffLimits: new Map(),
    };
    const deposit = (overrides: Partial<SettlementLine>) =>
      line({
        kind: 'deposit',
        lineKey: 'deposit',
        reference: 'po_anew',
        grossMinor: -1_000n,
        availableOn: '2026-11-10T00:00:00.000Z',
        ...overrides,
      });
    const psp = (one: SettlementLine) => reconcile(book.db, `psp:${account}`, { lines: [one] }, { policy });
    const statement = (minor: bigint, ourReference: string) => {
      const lines = [line({ kind: 'deposit', grossMinor: minor, ourReference })];
      return reconcile(book.db, `bank:${bank}`, { lines }, { policy });
    };
    await psp(deposit({}));
    await statement(shown, 'po_anew');
    const told = await psp(deposit(anew));
    expect(told.proofs.every(({ closes }) => closes)).toBe(true);
    const next = await statement(1n, uniqueName('something'));
    expect(next.proofs.every(({ closes }) => closes)).toBe(true);
    return next.breaks
      .filter(({ code }) => code !== 'missing_internal')
      .map(({ code, amountMinor }) => [code, amountMinor]);
  }

  test('with another amount differs from what the bank had shown', async () => {
    expect(await toldAnew({ grossMinor: -900n })).toEqual([['deposit_amount_differs', 100n]]);
    expect(await toldAnew({ grossMinor: -1_300n })).toEqual([['deposit_amount_differs', -300n]]);
  });

  test('with the amount that the bank had shown is explained', async () => {
    expect(await toldAnew({ grossMinor: -900n }, 900n)).toEqual([]);
  });

  test('with another reference only keeps what the bank had shown', async () => {
    expect(await toldAnew({ reference: 'po_renamed' })).toEqual([]);
  });

  test('as something else leaves what the bank had shown to be explained', async () => {
    expect(await toldAnew({ kind: 'fee' })).toEqual([['deposit_amount_differs', 1_000n]]);
  });
});

describe('a bank entry that pays several deposits', () => {
  const policyOf = (account: string, bank: string) => ({
    accounts: new Map([
      [account, settling('now', { bank })],
      [bank, settling('now')],
    ]),
    writeOffLimits: new Map(),
  });

  /** Deposits that the PSP announced, as [reference, minor]. */
  async function announced(deposits: readonly (readonly [string, number])[]) {
    const [account, bank] = [uniqueName('acct'), uniqueName('bank')];
    const policy = policyOf(account, bank);
    const lines = deposits.map(([reference, minor]) =>
      line({
        kind: 'deposit',
        grossMinor: BigInt(-minor),
        reference,
        availableOn: '2026-11-10T00:00:00.000Z',
      }),
    );
    await reconcile(book.db, `psp:${account}`, { lines }, { policy });
    return async (entries: readonly (readonly [string, number])[]) =>
      reconcile(
        book.db,
        `bank:${bank}`,
        {
          lines: entries.map(([ourReference, minor]) =>
            line({ kind: 'deposit', grossMinor: BigInt(minor), ourReference }),
          ),
        },
        { policy },
      );
  }

  test('is matched when it names each of them and is their sum', async () => {
    const bank = await announced([
      ['PO.1001', 100],
      ['PO.1002', 250],
      ['PO.1003', 400],
    ]);
    const answer = await bank([
      ['STRIPE PO.1001, PO.1002', 350],
      ['STRIPE PO.1003', 400],
    ]);
    expect(answer).toMatchObject({ status: 'closed', breakCount: 0 });
    expect(answer.byCurrency[0]!.matched).toEqual({ count: 3, grossMinor: 750n });
  });

  test('is matched when the deposits share the batch that it names', async () => {
    const bank = await announced([
      ['BATCH-77', 100],
      ['BATCH-77', 260],
    ]);
    expect(await bank([['BATCH-77', 360]])).toMatchObject({ status: 'closed', breakCount: 0 });
  });

  test('is none of a name that only begins alike', async () => {
    const bank = await announced([
      ['PAYOUT1', 100],
      ['PAYOUT12', 250],
    ]);
    const answer = await bank([['PAYOUT12', 350]]);
    expect(answer.status).toBe('breaks');
    expect(answer.byCode.map(({ code }) => code)).not.toContain('amount_mismatch');
    expect(answer.proofs.every(({ closes }) => closes)).toBe(true);
  });

  test('is not matched by its sum alone, nor where a name is missing or said twice', async () => {
    const sums: readonly (readonly (readonly [string, number])[])[] = [
      [['SOME MONEY', 350]],
      [['PAYOUT-A', 350]],
      [
        ['PAYOUT-A PAYOUT-B', 350],
        ['PAYOUT-B AGAIN', 240],
      ],
      [
        ['PAYOUT-A PAYOUT-B', 350],
        ['PAYOUT-B', 250],
      ],
    ];
    for (const entries of sums) {
      const bank = await announced([
        ['PAYOUT-A', 100],
        ['PAYOUT-B', 250],
      ]);
      const answer = await bank(entries);
      expect(answer.status).toBe('breaks');
      expect(answer.proofs.every(({ closes }) => closes)).toBe(true);
    }
  });
});

test('a bank entry that names no deposit is proposed to a person, when one alone has its amount', async () => {
  const [account, bank] = [uniqueName('acct'), uniqueName('bank')];
  const policy = { accounts: new Map([[account, settling('later', { bank })]]), writeOffLimits: new Map() };
  const deposit = (reference: string, minor: bigint) =>
    line({ kind: 'deposit', grossMinor: -minor, reference, availableOn: '2026-11-20T00:00:00.000Z' });
  const lines = [
    line({ kind: 'top_up', grossMinor: 600n }),
    deposit('po_one', 100n),
    deposit('po_two', 250n),
    deposit('po_like_two', 250n),
  ];
  await reconcile(book.db, `psp:${account}`, { lines }, { policy });
  const entry = (minor: bigint) =>
    line({
      kind: 'deposit',
      grossMinor: minor,
      ourReference: 'STRIPE',
      occurredAt: '2026-11-23T00:00:00.000Z',
    });
  const answer = await reconcile(book.db, `bank:${bank}`, { lines: [entry(100n), entry(250n)] }, { policy });
  expect(answer.byCode.map(({ code }) => code).toSorted()).toEqual(['ambiguous', 'missing_internal']);
  expect(answer.breaks.find(({ code }) => code === 'ambiguous')).toMatchObject({
    internal: { reference: 'po_one', amountMinor: 100n },
  });
});

test('the lines that a deposit paid out add up to it, whichever of the two files comes first', async () => {
  const account = uniqueName('acct');
  const fee = (grossMinor: bigint) => line({ kind: 'fee', grossMinor, batch: 'po_sum' });
  const lines = [line({ kind: 'top_up', grossMinor: 900n, batch: 'po_sum' }), fee(-10n)];
  const paidOut = await reconcile(book.db, `psp:${account}`, { lines, format: 'stripe_payout' });
  expect(paidOut.status).toBe('closed');
  const deposit = line({ kind: 'deposit', grossMinor: -880n, reference: 'po_sum' });
  const differs = await reconcile(book.db, `psp:${account}`, { lines: [deposit] });
  expect(differs.breaks).toMatchObject([{ code: 'batch_out_of_balance', amountMinor: 10n }]);
  const rest = await reconcile(book.db, `psp:${account}`, { lines: [fee(-10n)], format: 'stripe_payout' });
  expect(rest).toMatchObject({ status: 'closed', resolvedCount: 1, breakCount: 0 });
});

test('a dispute is booked from its line, and what comes back from its own', async () => {
  const account = uniqueName('acct');
  const [charge] = await charged(book.db, daemon, account, 1);
  const dispute = { reference: uniqueName('dp'), paymentReference: charge!.reference };
  const taken = line({ ...dispute, kind: 'dispute', grossMinor: -1_000n, feeMinor: 1_500n });
  const first = await reconcile(book.db, `psp:${account}`, { lines: [lineOf(charge!), taken] });
  expect(first).toMatchObject({ status: 'closed', resolvedCount: 1 });
  expect(await balanceOf(book.db, `psp:${account}:disputes`, 'EUR')).toBe(1_000n);
  const back = line({ ...dispute, kind: 'dispute_reversed', grossMinor: 1_000n });
  const second = await reconcile(book.db, `psp:${account}`, { lines: [back] });
  expect(second).toMatchObject({ status: 'closed', resolvedCount: 1 });
  expect(await balanceOf(book.db, `psp:${account}:disputes`, 'EUR')).toBe(0n);
  expect([await receivable(account), await mirror(account)]).toEqual([0n, -500n]);
});

describe('what changes nothing', () => {
  test('a dry run answers what a run would, and leaves not one row', async () => {
    const account = uniqueName('acct');
    const charges = await charged(book.db, daemon, account, 3);
    const file = { lines: [...charges.map((charge) => lineOf(charge)), line({ grossMinor: 9n })] };
    const before = [await count('settlementLine'), await count('journalEntry'), await count('openItem')];
    const dry = await reconcile(book.db, `psp:${account}`, file, { mode: 'dry_run' });
    expect(dry).toMatchObject({ outcome: 'dry_run', runId: null, breakCount: 1, file: { id: null } });
    expect([await count('settlementLine'), await count('journalEntry'), await count('openItem')]).toEqual(
      before,
    );
    const real = await reconcile(book.db, `psp:${account}`, file);
    expect(real.byCurrency).toEqual(dry.byCurrency);
    expect(real.proofs).toEqual(dry.proofs);
  });

  test('a file with a bad row, until the operator leaves it out', async () => {
    const account = uniqueName('acct');
    const file = { lines: [line({ kind: 'fee', grossMinor: -3n })] };
    const bad = () => {
      const reading = readingOf(file);
      const faults = [{ line: 3, column: 'gross', code: 'amount', message: 'is no amount' }];
      const end = reading.end.then((one) => {
        if (one.kind !== 'ok') throw new Error('a made file is usable');
        return { kind: 'bad' as const, faults, faultCount: 1, lineCount: 2, summary: one.summary };
      });
      return Promise.resolve({ ...reading, end });
    };
    const request = reconcileRequest(`psp:${account}`, file, { open: bad });
    expect(await reconcileFile(book.db, request)).toMatchObject({ kind: 'bad_file', faultCount: 1 });
    expect(await mirror(account)).toBe(0n);
    const answer = answered(await reconcileFile(book.db, { ...request, rejects: 'left_out' }));
    expect(answer.status).toBe('closed');
    expect(await mirror(account)).toBe(-3n);
  });

  test('a reading that fails half-way', async () => {
    const account = uniqueName('acct');
    const file = { lines: [line({ kind: 'fee', grossMinor: -3n })] };
    async function* broken() {
      yield { lines: file.lines, bytesRead: 10 };
      throw new Error('the pipe broke');
    }
    const open = async () => ({ ...readingOf(file), blocks: broken() });
    const request = reconcileRequest(`psp:${account}`, file, { open });
    await expect(reconcileFile(book.db, request)).rejects.toThrow('the pipe broke');
    expect(await openBreaks(account)).toEqual([]);
    expect((await reconcile(book.db, `psp:${account}`, file)).status).toBe('closed');
  });
});

/** More lines than go to the database at first. */
const filler = () =>
  Array.from({ length: 4_500 }, () => line({ kind: 'fee', grossMinor: -1n, lineKey: uniqueName('filler') }));

describe('lines that are matched while others are read', () => {
  const again = (charge: Parameters<typeof lineOf>[0], grossMinor: bigint, batch: string | null = null) =>
    lineOf(charge, { grossMinor, netMinor: grossMinor, lineKey: uniqueName('again'), batch });

  test('get what they would have got together: the first that equals, or all parts', async () => {
    const account = uniqueName('acct');
    const [parted, twice, late] = await charged(book.db, daemon, account, 3);
    const early = [again(parted!, 300n), again(twice!, 1_001n), again(late!, 100n)];
    const after = [again(parted!, 700n), again(twice!, 1_001n), again(late!, 1_002n)];
    const answer = await reconcile(book.db, `psp:${account}`, {
      lines: [...early, ...filler(), ...after],
      blockLines: 500,
    });
    expect(answer.byCurrency[0]!.matched).toEqual({ count: 4, grossMinor: 3_003n });
    expect(answer.breaks.map((one) => [one.code, one.external!.amountMinor])).toEqual([
      ['duplicate_external', 100n],
      ['duplicate_external', 1_001n],
    ]);
    const { sql, t } = book.owner;
    const rows = await sql<{ row: number }[]>`
      select l.row_number as row from ${t.settlementMatch} m join ${t.settlementLine} l on l.id = m.line_id
       where l.source_id = (select id from ${t.settlementSource} where name = ${`psp:${account}`}) order by 1`;
    expect(rows.map(({ row }) => row)).toEqual(
      [early[0]!, early[1]!, after[0]!, after[2]!].map(({ row }) => row).sort((a, b) => a - b),
    );
  });

  test('are matched no more when their batch is refused; what they named goes to a line that counts', async () => {
    const account = uniqueName('acct');
    const seller = uniqueName('Seller');
    const requests = [1, 2].map(() => paymentRequest({ orders: [orderRequest({ seller })] }));
    await queueCharges(book.db, account, requests, { releaseAfterDays: 0 });
    const tasks = await claim(daemon, account);
    await recordFindings(
      daemon.context,
      tasks.map((task) => findingOf(task, { kind: 'succeeded', pspReference: `pi_${task.job.operationId}` })),
    );
    const [kept, refused] = tasks.map(({ job }) => ({
      operationId: job.operationId,
      orderId: 0n,
      reference: `pi_${job.operationId}`,
      amountMinor: 1_250n,
    }));
    const lines = [
      again(kept!, 1_250n, 'wrong'),
      again(refused!, 1_250n, 'wrong'),
      ...filler(),
      again(kept!, 1_250n, 'right'),
    ];
    const { currency } = lines[0]!;
    const totals = [
      { batch: 'wrong', currency, openingMinor: null, closingMinor: null, sumMinor: 1n },
      { batch: 'right', currency, openingMinor: null, closingMinor: null, sumMinor: 1_250n },
    ];
    const answer = await reconcile(book.db, `psp:${account}`, { lines, totals, blockLines: 500 });
    expect(answer.byCurrency[0]).toMatchObject({
      matched: { count: 1, grossMinor: 1_250n },
      inTransit: { count: 1, grossMinor: 1_250n },
    });
    expect(answer.byCode).toMatchObject([{ code: 'batch_out_of_balance' }]);
    await releaseDueFunds(book.db, 'test:release');
    const wallet = [
      await balanceOf(book.db, `seller:${seller}:pending`, 'EUR'),
      await balanceOf(book.db, `seller:${seller}:available`, 'EUR'),
    ];
    expect(wallet).toEqual([1_250n, 1_250n]);
    expect(await receivable(account)).toBe(1_250n);
  });

  test('leave an item to an older line that has waited for it', async () => {
    const account = uniqueName('acct');
    const name = uniqueName('pi_waited');
    const older = line({ grossMinor: 7_777n, paymentReference: name });
    expect((await reconcile(book.db, `psp:${account}`, { lines: [older] })).breakCount).toBe(1);
    const [charge] = await charged(book.db, daemon, account, 1, 7_777);
    await book.owner
      .sql`update ${book.owner.t.operation} set psp_reference = ${name} where id = ${charge!.operationId}`;
    const younger = line({ grossMinor: 7_777n, paymentReference: name });
    const answer = await reconcile(book.db, `psp:${account}`, { lines: [younger] });
    expect(answer).toMatchObject({ resolvedCount: 1, breakCount: 1 });
    expect(answer.breaks[0]!.external!.label).toContain(`line ${younger.row}`);
  });
});
