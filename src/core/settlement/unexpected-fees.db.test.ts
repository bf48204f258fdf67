/** Charges that cost something else than the contract with the PSP says: found to the minor unit, and nothing else is. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  balanceOf,
  openTestBook,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import { charged, line, lineOf, reconcile, settling } from '../../testing/settlement-fixtures.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { expectedFee } from './expected-fee.ts';
import type { AccountSettlement } from './settlement-policy.ts';

const EUR = line().currency;

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

describe('fees that the contract with the PSP says', () => {
  const policyOf = (account: string, fees: AccountSettlement['fees']) => ({
    accounts: new Map([[account, settling('later', { fees })]]),
    writeOffLimits: new Map(),
  });

  test('find the charge that cost more or less, and no other', async () => {
    const account = uniqueName('acct');
    const charges = await charged(book.db, daemon, account, 5, 10_000);
    const fees = new Map([[EUR, { percent: '1.4', fixedMinor: 25n, toleranceMinor: 1n }]]);
    // 1.40 and 0.25 of each, which differ by less than a cent.
    const taken = [165n, 166n, 164n, 202n, 99n];
    const lines = charges.map((one, i) => lineOf(one, { feeMinor: taken[i]! }));
    const answer = await reconcile(book.db, `psp:${account}`, { lines }, { policy: policyOf(account, fees) });
    expect(answer).toMatchObject({ status: 'breaks', breakCount: 2 });
    expect(answer.breaks.map(({ code, amountMinor, says }) => [code, amountMinor, says]).sort()).toEqual([
      ['fee_mismatch', -37n, 'The PSP took a fee of 2.02 EUR; the fee schedule says 1.65 EUR. (-0.37 EUR)'],
      ['fee_mismatch', 66n, 'The PSP took a fee of 0.99 EUR; the fee schedule says 1.65 EUR. (0.66 EUR)'],
    ]);
    expect(answer.proofs.every(({ closes }) => closes)).toBe(true);
    // What nobody has decided stays, and what the file says of it is booked.
    const next = await reconcile(book.db, `psp:${account}`, {
      lines: [line({ kind: 'fee', grossMinor: -1n })],
    });
    expect(next).toMatchObject({ breakCount: 2 });
    expect(await balanceOf(book.db, 'expense:psp_fees', 'EUR')).toBeGreaterThanOrEqual(202n);
  });

  test('are the same in SQL and in decimal.js, to the minor unit', async () => {
    const account = uniqueName('acct');
    const fee = { percent: '2.345678', fixedMinor: 7n, toleranceMinor: 0n };
    const policy = policyOf(account, new Map([[EUR, fee]]));
    const amounts = Array.from({ length: 400 }, (_, i) => BigInt(1 + i * i * 97 + (i % 7) * 12_345_678_901));
    const right = amounts.map((minor) => line({ grossMinor: minor, feeMinor: expectedFee(minor, fee) }));
    const wrong = amounts.map((minor) => line({ grossMinor: minor, feeMinor: expectedFee(minor, fee) + 1n }));
    const answer = await reconcile(book.db, `psp:${account}`, { lines: [...right, ...wrong] }, { policy });
    const found = answer.byCode.filter(({ code }) => code === 'fee_mismatch');
    expect(found.map(({ tally }) => tally)).toEqual([{ count: 400, grossMinor: 400n }]);
  });

  test('are believed where the contract is not known, and not said twice of a row that does not compute', async () => {
    const account = uniqueName('acct');
    const lines = [line({ grossMinor: 1_000n, feeMinor: 99n, netMinor: 900n })];
    const fees = new Map([[EUR, { percent: '1', fixedMinor: 0n, toleranceMinor: 0n }]]);
    const answer = await reconcile(book.db, `psp:${account}`, { lines }, { policy: policyOf(account, fees) });
    const says = answer.breaks.filter(({ code }) => code === 'fee_mismatch').map((one) => one.says);
    expect(says).toEqual([
      "10.00 EUR less a fee of 0.99 EUR is 9.01 EUR; the row's net is 9.00 EUR. (-0.01 EUR)",
    ]);
    const other = uniqueName('acct');
    const charge = [line({ grossMinor: 1_000n, feeMinor: 99n })];
    expect(
      (await reconcile(book.db, `psp:${other}`, { lines: charge })).byCode.map(({ code }) => code),
    ).toEqual(['missing_internal']);
  });
});
