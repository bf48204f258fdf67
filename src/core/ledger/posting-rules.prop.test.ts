import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createBalanceSheet } from '../../testing/balance-sheet.ts';
import { type Currency, MAX_AMOUNT_MINOR, parseCurrency } from '../money.ts';
import { describeAccount } from './chart-of-accounts.ts';
import { disputeLost, disputeOpened, disputeWon } from './dispute-posting-rules.ts';
import type { Entry } from './posting-rules.ts';
import * as rules from './posting-rules.ts';
import * as settlement from './settlement-posting-rules.ts';

const codes = ['EUR', 'JPY', 'KWD'].map((code) => parseCurrency(code) as Currency);
const currency = fc.constantFrom(...codes);
const seller = fc.constantFrom('Ana', '海の店', 'Лавка');
const pspAccount = fc.constantFrom('stripe_eu', 'adyen');
const positive = fc.bigInt({ min: 1n, max: MAX_AMOUNT_MINOR });
const signed = fc.bigInt({ min: -MAX_AMOUNT_MINOR, max: MAX_AMOUNT_MINOR }).filter((amount) => amount !== 0n);
const release = fc.constantFrom('pending' as const, 'available' as const);

/** A whole and a part of it, both as the rules want them: 0 ≤ part ≤ whole, whole above 0. */
const wholeAndPart = positive.chain((whole) =>
  fc.bigInt({ min: 0n, max: whole }).map((part) => ({ whole, part })),
);
const at = fc.record({ pspAccount, seller, currency });
const charges = fc.record({ at, amounts: wholeAndPart, release }).map((event) => ({
  ...event.at,
  release: event.release,
  grossMinor: event.amounts.whole,
  feeMinor: event.amounts.part,
}));
const refunds = fc
  .record({ at, amounts: wholeAndPart, cut: fc.bigInt({ min: 0n, max: 100n }) })
  .map((event) => {
    const { whole, part } = event.amounts;
    const fromAvailableMinor = ((whole - part) * event.cut) / 100n;
    return {
      ...event.at,
      refundMinor: whole,
      feeShareMinor: part,
      fromAvailableMinor,
      fromPendingMinor: whole - part - fromAvailableMinor,
      overdraw: 'allowed' as const,
    };
  });
const payouts = fc
  .record({ at, payoutMinor: positive })
  .map((event) => ({ ...event.at, payoutMinor: event.payoutMinor }));
const disputes = fc.record({ at, amounts: wholeAndPart }).map((event) => ({
  ...event.at,
  disputedMinor: event.amounts.whole,
  sellerShareMinor: event.amounts.part,
}));
const rows = fc.record({
  pspAccount,
  currency,
  grossMinor: signed,
  feeMinor: fc.bigInt({ min: -1_000n, max: 1_000n }),
  feeExpense: fc.constantFrom('psp_fees' as const, 'dispute_fees' as const),
});
const transfers = fc.record({ pspAccount, currency, bank: fc.constant('main'), amountMinor: positive });
const conversions = fc
  .record({ pspAccount, direction: fc.constantFrom(1n, -1n), charge: positive, settled: positive, row: rows })
  .map(({ row, direction, charge, settled, ...event }) => ({
    ...event,
    chargeCurrency: codes[0]!,
    settledCurrency: codes[1]!,
    chargeMinor: charge * direction,
    settledMinor: settled * direction,
    feeMinor: row.feeMinor,
    feeExpense: row.feeExpense,
  }));

const anyEntry: fc.Arbitrary<Entry> = fc.oneof(
  charges.map(rules.chargeSucceeded),
  charges.map(rules.chargeReversed),
  charges.map(rules.suspenseAdopted),
  charges.map(rules.lateSuccess),
  charges.map(rules.surplusSuccess),
  charges.map(rules.suspenseRefunded),
  charges.map((event) => rules.fundsReleased({ ...event, amountMinor: event.grossMinor })),
  refunds.map(rules.refundReserved),
  refunds.map(rules.refundSucceeded),
  refunds.map(rules.refundFailed),
  refunds.map(rules.refundFailedAfterSuccess),
  payouts.map(rules.payoutAccepted),
  payouts.map(rules.payoutFailed),
  payouts.map(rules.payoutReturned),
  disputes.map(disputeOpened),
  disputes.map(disputeWon),
  disputes.map((event) => disputeLost({ ...event, remainderBorneBy: 'platform_fees' })),
  disputes.map((event) => disputeLost({ ...event, remainderBorneBy: 'write_off' })),
  rows.map(settlement.settlementLine),
  rows.map(settlement.lineUnexplained),
  rows.map(settlement.lineExplained),
  transfers.map(settlement.reserveHeld),
  transfers.map(settlement.reserveReleased),
  transfers.map(settlement.depositPaid),
  transfers.map(settlement.depositArrived),
  transfers.map(settlement.topUpSent),
  transfers.map(settlement.topUpArrived),
  conversions.map(settlement.settledInAnotherCurrency),
  rows.map((row) =>
    settlement.fxClosed({ ...row, balances: [{ currency: row.currency, balanceMinor: row.grossMinor }] }),
  ),
);

test('any sequence of entries keeps debits equal to credits in every currency', () => {
  fc.assert(
    fc.property(fc.array(anyEntry, { maxLength: 30 }), (entries) => {
      const sheet = createBalanceSheet();
      for (const entry of entries) sheet.post(entry.postings);
      expect(sheet.imbalances()).toEqual([]);
    }),
  );
});

test('every posting is a positive amount between two accounts of the chart that differ', () => {
  fc.assert(
    fc.property(anyEntry, ({ postings }) => {
      for (const { debit, credit, amountMinor } of postings) {
        expect(amountMinor > 0n).toBe(true);
        expect(debit).not.toBe(credit);
        expect(describeAccount(debit).code).toBe(debit);
        expect(describeAccount(credit).code).toBe(credit);
      }
    }),
    { numRuns: 500 },
  );
});

test('an entry and its reversal leave nothing', () => {
  fc.assert(
    fc.property(anyEntry, ({ postings }) => {
      const sheet = createBalanceSheet();
      sheet.post(postings);
      sheet.post(rules.reversalOf(postings));
      expect(sheet.balances().filter((row) => row.balanceMinor !== 0n)).toEqual([]);
    }),
  );
});

test('what is undone leaves nothing: reservation and failure, success and its reversal', () => {
  const nothingLeft = (...entries: readonly Entry[]) => {
    const sheet = createBalanceSheet();
    for (const entry of entries) sheet.post(entry.postings);
    expect(sheet.balances().filter((row) => row.balanceMinor !== 0n)).toEqual([]);
  };
  fc.assert(
    fc.property(charges, refunds, payouts, disputes, rows, (charge, refund, payout, dispute, row) => {
      nothingLeft(rules.chargeSucceeded({ ...charge, release: 'available' }), rules.chargeReversed(charge));
      nothingLeft(rules.lateSuccess(charge), rules.suspenseRefunded(charge));
      nothingLeft(rules.refundReserved(refund), rules.refundFailed(refund));
      const approved = { kind: 'unguarded', postings: rules.reversalOf(rules.payoutFailed(payout).postings) };
      nothingLeft(approved, rules.payoutFailed(payout));
      nothingLeft(approved, rules.payoutAccepted(payout), rules.payoutReturned(payout));
      nothingLeft(disputeOpened(dispute), disputeWon(dispute));
      nothingLeft(settlement.lineUnexplained(row), settlement.lineExplained(row));
    }),
  );
});

test('the parts of a charge are the gross, and those of a refund the refund', () => {
  fc.assert(
    fc.property(charges, refunds, (charge, refund) => {
      const sum = (entry: Entry) =>
        entry.postings.reduce((total, posting) => total + posting.amountMinor, 0n);
      expect(sum(rules.chargeSucceeded(charge))).toBe(charge.grossMinor);
      expect(sum(rules.refundSucceeded(refund))).toBe(refund.refundMinor);
      expect(sum(rules.refundReserved(refund))).toBe(refund.refundMinor - refund.feeShareMinor);
    }),
  );
});

test('fee shares stay within each refund and add up to the whole fee, failed refunds in between or not', () => {
  const cuts = fc.array(fc.record({ percent: fc.bigInt({ min: 1n, max: 100n }), fails: fc.boolean() }), {
    maxLength: 8,
  });
  fc.assert(
    fc.property(wholeAndPart, cuts, ({ whole: grossMinor, part: feeMinor }, steps) => {
      let refundedMinor = 0n;
      let givenMinor = 0n;
      const refund = (refundMinor: bigint): bigint =>
        rules.feeShareOfRefund({
          grossMinor,
          feeMinor,
          refundedBeforeMinor: refundedMinor,
          sharesGivenMinor: givenMinor,
          refundMinor,
        });
      for (const { percent, fails } of [...steps, { percent: 100n, fails: false }]) {
        const left = grossMinor - refundedMinor;
        const refundMinor = percent === 100n ? left : (left * percent) / 100n;
        if (refundMinor === 0n) continue;
        const share = refund(refundMinor);
        expect(share >= 0n && share <= refundMinor).toBe(true);
        if (fails) continue;
        refundedMinor += refundMinor;
        givenMinor += share;
      }
      expect(refundedMinor).toBe(grossMinor);
      expect(givenMinor).toBe(feeMinor);
    }),
    { numRuns: 1_000 },
  );
});
