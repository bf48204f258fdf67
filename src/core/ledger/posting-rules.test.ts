import { describe, expect, test } from 'vitest';
import { Bug } from '../errors.ts';
import { type Currency, parseCurrency } from '../money.ts';
import { disputeLost, disputeOpened } from './dispute-posting-rules.ts';
import * as rules from './posting-rules.ts';
import * as settlement from './settlement-posting-rules.ts';

const EUR = parseCurrency('EUR') as Currency;
const USD = parseCurrency('USD') as Currency;
const psp = { pspAccount: 'stripe', currency: EUR } as const;
const seller = { seller: 'Ana', currency: EUR } as const;
const charge = { ...psp, ...seller, grossMinor: 1_000n, feeMinor: 30n, release: 'pending' } as const;
const refund = { ...psp, ...seller, refundMinor: 100n, feeShareMinor: 3n } as const;
const dispute = { ...psp, ...seller, disputedMinor: 100n, sellerShareMinor: 97n } as const;

describe('pairs of amount zero are left out', () => {
  test.each([
    ['a charge without a fee', rules.chargeSucceeded({ ...charge, feeMinor: 0n }), 1],
    ['a charge that is all fee', rules.chargeSucceeded({ ...charge, feeMinor: 1_000n }), 1],
    ['a refund that the platform bears alone', rules.refundSucceeded({ ...refund, feeShareMinor: 100n }), 1],
    [
      'a reservation of nothing from the seller',
      rules.refundReserved({
        ...refund,
        feeShareMinor: 100n,
        fromAvailableMinor: 0n,
        fromPendingMinor: 0n,
        overdraw: 'refused',
      }),
      0,
    ],
    ['a dispute without the seller', disputeOpened({ ...dispute, sellerShareMinor: 0n }), 1],
    [
      'a row without any amount',
      settlement.settlementLine({ ...psp, grossMinor: 0n, feeMinor: 0n, feeExpense: 'psp_fees' }),
      0,
    ],
    [
      'a conversion too small to show',
      settlement.settledInAnotherCurrency({
        pspAccount: 'stripe',
        chargeCurrency: EUR,
        chargeMinor: 1n,
        settledCurrency: USD,
        settledMinor: 0n,
        feeMinor: 0n,
        feeExpense: 'psp_fees',
      }),
      1,
    ],
    ['nothing to close', settlement.fxClosed({ pspAccount: 'stripe', balances: [] }), 0],
  ])('%s', (_what, entry, count) => {
    expect(entry.postings).toHaveLength(count);
  });
});

const conversion = {
  pspAccount: 'stripe',
  chargeCurrency: EUR,
  chargeMinor: 100n,
  settledCurrency: USD,
  settledMinor: 110n,
  feeMinor: 0n,
  feeExpense: 'psp_fees',
} as const;

describe('amounts that cannot be are our own mistake', () => {
  test.each<[string, () => unknown]>([
    ['a charge of nothing', () => rules.chargeSucceeded({ ...charge, grossMinor: 0n, feeMinor: 0n })],
    ['a negative charge', () => rules.chargeSucceeded({ ...charge, grossMinor: -1n, feeMinor: 0n })],
    ['a fee above the gross', () => rules.chargeSucceeded({ ...charge, feeMinor: 1_001n })],
    ['a negative fee', () => rules.chargeSucceeded({ ...charge, feeMinor: -1n })],
    ['a fee above the gross, reversed', () => rules.chargeReversed({ ...charge, feeMinor: 1_001n })],
    ['a fee above the gross, adopted', () => rules.suspenseAdopted({ ...charge, feeMinor: 1_001n })],
    ['a release of nothing', () => rules.fundsReleased({ ...seller, amountMinor: 0n })],
    ['a share above the refund', () => rules.refundSucceeded({ ...refund, feeShareMinor: 101n })],
    ['a refund of nothing', () => rules.refundSucceeded({ ...refund, refundMinor: 0n, feeShareMinor: 0n })],
    [
      'a reservation that is not the whole',
      () =>
        rules.refundReserved({
          ...refund,
          fromAvailableMinor: 50n,
          fromPendingMinor: 46n,
          overdraw: 'allowed',
        }),
    ],
    [
      'a reservation of a negative part',
      () =>
        rules.refundReserved({
          ...refund,
          fromAvailableMinor: 98n,
          fromPendingMinor: -1n,
          overdraw: 'allowed',
        }),
    ],
    [
      'a failed refund that is not what was reserved',
      () => rules.refundFailed({ ...refund, fromAvailableMinor: 1n, fromPendingMinor: 1n }),
    ],
    ['a payout of nothing', () => rules.payoutApproved({ ...seller, payoutMinor: 0n })],
    ['a negative payout', () => rules.payoutAccepted({ ...psp, ...seller, payoutMinor: -1n })],
    ['a late success of nothing', () => rules.lateSuccess({ ...psp, grossMinor: 0n })],
    ['a share above the disputed amount', () => disputeOpened({ ...dispute, sellerShareMinor: 101n })],
    [
      'a share above the disputed amount, lost',
      () => disputeLost({ ...dispute, sellerShareMinor: 101n, remainderBorneBy: 'write_off' }),
    ],
    ['a fee row without a fee', () => settlement.pspFee({ ...psp, feeMinor: 0n, feeExpense: 'psp_fees' })],
    ['a negative reserve', () => settlement.reserveHeld({ ...psp, amountMinor: -1n })],
    ['a negative deposit', () => settlement.depositPaid({ ...psp, bank: 'main', amountMinor: -1n })],
    [
      'a conversion into the same currency',
      () => settlement.settledInAnotherCurrency({ ...conversion, settledCurrency: EUR }),
    ],
    [
      'a conversion that changes sign',
      () => settlement.settledInAnotherCurrency({ ...conversion, settledMinor: -1n }),
    ],
    ['an unexplained line of nothing', () => settlement.lineUnexplained({ ...psp, grossMinor: 0n })],
    [
      'a seller that cannot be',
      () => rules.payoutApproved({ seller: 'a:b', currency: EUR, payoutMinor: 1n }),
    ],
    [
      'a PSP account that cannot be',
      () => rules.lateSuccess({ pspAccount: 'A b', currency: EUR, grossMinor: 1n }),
    ],
  ])('%s', (_what, rule) => {
    expect(rule).toThrow(Bug);
  });
});

describe('the fee share that a refund gives back', () => {
  const share = (
    grossMinor: bigint,
    feeMinor: bigint,
    refundedBeforeMinor: bigint,
    sharesGivenMinor: bigint,
    refundMinor: bigint,
  ) => rules.feeShareOfRefund({ grossMinor, feeMinor, refundedBeforeMinor, sharesGivenMinor, refundMinor });

  test.each([
    ['all of it', 10_000n, 300n, 0n, 0n, 10_000n, 300n],
    ['a third', 10_000n, 300n, 0n, 0n, 3_350n, 100n],
    ['the rest', 10_000n, 300n, 3_350n, 100n, 6_650n, 200n],
    ['a half rounds to the even cent below', 200n, 1n, 0n, 0n, 100n, 0n],
    ['a half rounds to the even cent above', 200n, 3n, 0n, 0n, 100n, 2n],
    ['no fee', 200n, 0n, 0n, 0n, 100n, 0n],
    ['all fee', 200n, 200n, 0n, 0n, 70n, 70n],
    ['too much was given before: nothing now', 10_000n, 300n, 1_000n, 200n, 1_000n, 0n],
    ['never more than the refund itself', 10_000n, 9_000n, 5_000n, 0n, 10n, 10n],
    ['beyond 2^53', 999_999_999_999_999n, 333_333_333_333_333n, 0n, 0n, 3n, 1n],
  ])('%s', (_what, gross, fee, before, given, refundMinor, expected) => {
    expect(share(gross, fee, before, given, refundMinor)).toBe(expected);
  });

  test.each([
    ['more than the gross', 100n, 3n, 50n, 1n, 51n],
    ['a refund of nothing', 100n, 3n, 0n, 0n, 0n],
    ['a fee above the gross', 100n, 101n, 0n, 0n, 1n],
    ['more shares than there is fee', 100n, 3n, 50n, 4n, 1n],
    ['negative shares', 100n, 3n, 50n, -1n, 1n],
    ['a gross of nothing', 0n, 0n, 0n, 0n, 1n],
  ])('%s is our own mistake', (_what, gross, fee, before, given, refundMinor) => {
    expect(() => share(gross, fee, before, given, refundMinor)).toThrow(Bug);
  });
});

test('only approvals and guarded reservations carry the guard, and a reversal never does', () => {
  const [approved] = rules.payoutApproved({ ...seller, payoutMinor: 1n }).postings;
  expect(approved?.guard).toBe('no_overdraw');
  expect(rules.reversalOf([approved!])).toEqual([
    { ...approved, debit: approved?.credit, credit: approved?.debit, guard: 'none' },
  ]);
  expect(rules.payoutFailed({ ...seller, payoutMinor: 1n }).postings[0]?.guard).toBe('none');
});
