import { describe, expect, test } from 'vitest';
import { type BalanceSheet, createBalanceSheet } from '../../testing/balance-sheet.ts';
import { type Currency, formatAmount, parseCurrency } from '../money.ts';
import { describeAccount } from './chart-of-accounts.ts';
import { disputeLossReversed, disputeLost, disputeOpened, disputeWon } from './dispute-posting-rules.ts';
import type { Entry } from './posting-rules.ts';
import * as rules from './posting-rules.ts';
import * as settlement from './settlement-posting-rules.ts';

/** A story is told as steps: what happened, in words, and the entry that the rules give for it. */
type Step = readonly [string, Entry];
type Story = { readonly file: string; readonly title: string; readonly steps: readonly Step[] };

const EUR = parseCurrency('EUR') as Currency;
const USD = parseCurrency('USD') as Currency;
const KWD = parseCurrency('KWD') as Currency;

const psp = { pspAccount: 'stripe_eu', currency: EUR } as const;
const seller = { seller: 'Café Ana', currency: EUR } as const;
const bank = { bank: 'main', currency: EUR } as const;
const charge = { ...psp, ...seller, grossMinor: 10_000n, feeMinor: 300n } as const;
const line = { ...psp, feeMinor: 0n, feeExpense: 'psp_fees' } as const;

const CHARGED: Step = [
  'the PSP charges the buyer; the money is available at capture',
  rules.chargeSucceeded({ ...charge, release: 'available' }),
];
const CHARGE_LINE: Step = [
  "the PSP's file shows the charge, with the PSP's fee in the same row",
  settlement.settlementLine({ ...line, grossMinor: 10_000n, feeMinor: 170n }),
];
const out = (what: string, amountMinor: bigint): Step => [
  what,
  settlement.settlementLine({ ...line, grossMinor: -amountMinor }),
];
const back = (what: string, amountMinor: bigint): Step => [
  what,
  settlement.settlementLine({ ...line, grossMinor: amountMinor }),
];

const reserved = { ...seller, refundMinor: 4_000n, feeShareMinor: 120n } as const;
const payout = { ...psp, ...seller, payoutMinor: 9_700n } as const;
const dispute = { ...psp, ...seller, disputedMinor: 10_000n, sellerShareMinor: 9_700n } as const;

const stories: readonly Story[] = [
  { file: 'charge', title: 'A plain charge', steps: [CHARGED, CHARGE_LINE] },
  {
    file: 'charge-released-later',
    title: 'A charge in dinars (three decimals), released after seven days',
    steps: [
      [
        'the PSP charges the buyer; the seller waits seven days',
        rules.chargeSucceeded({
          ...charge,
          currency: KWD,
          grossMinor: 12_500n,
          feeMinor: 310n,
          release: 'pending',
        }),
      ],
      [
        "the PSP's file shows the charge",
        settlement.settlementLine({ ...line, currency: KWD, grossMinor: 12_500n, feeMinor: 250n }),
      ],
      [
        'seven days have passed',
        rules.fundsReleased({ seller: 'Café Ana', currency: KWD, amountMinor: 12_190n }),
      ],
    ],
  },
  {
    file: 'partial-refunds',
    title: 'Two partial refunds give back all of the charge and all of the fee',
    steps: partialRefunds(),
  },
  {
    file: 'late-refund',
    title: 'A refund that the PSP made although it had said that it failed',
    steps: [
      CHARGED,
      CHARGE_LINE,
      [
        'a refund of 40 is reserved',
        rules.refundReserved({
          ...reserved,
          fromAvailableMinor: 3_880n,
          fromPendingMinor: 0n,
          overdraw: 'allowed',
        }),
      ],
      [
        'the PSP says that it failed',
        rules.refundFailed({ ...reserved, fromAvailableMinor: 3_880n, fromPendingMinor: 0n }),
      ],
      ['the PSP refunded it after all', rules.lateRefund({ ...psp, ...reserved })],
      out("the PSP's file shows the refund", 4_000n),
    ],
  },
  {
    file: 'late-payout',
    title: 'A payout that the PSP made although it had said that it failed',
    steps: [
      CHARGED,
      CHARGE_LINE,
      ['a payout of 97 is approved', rules.payoutApproved(payout)],
      ['the PSP says that it failed', rules.payoutFailed(payout)],
      ['the PSP paid it after all', rules.latePayout(payout)],
      out("the PSP's file shows the payout", 9_700n),
    ],
  },
  {
    file: 'refund-failed',
    title: 'A refund that takes pending money fails: it goes back as it was reserved',
    steps: [
      ['the buyer is charged', rules.chargeSucceeded({ ...charge, release: 'pending' })],
      CHARGE_LINE,
      ['part of it is released', rules.fundsReleased({ ...seller, amountMinor: 1_000n })],
      [
        'a refund is reserved: what is available first, then what is pending',
        rules.refundReserved({
          ...reserved,
          fromAvailableMinor: 1_000n,
          fromPendingMinor: 2_880n,
          overdraw: 'refused',
        }),
      ],
      [
        'the PSP refuses the refund',
        rules.refundFailed({ ...reserved, fromAvailableMinor: 1_000n, fromPendingMinor: 2_880n }),
      ],
    ],
  },
  {
    file: 'refund-failed-after-success',
    title: 'A refund succeeds and fails days later',
    steps: [
      CHARGED,
      CHARGE_LINE,
      [
        'a refund is reserved',
        rules.refundReserved({
          ...reserved,
          fromAvailableMinor: 3_880n,
          fromPendingMinor: 0n,
          overdraw: 'refused',
        }),
      ],
      ['the PSP reports it as done', rules.refundSucceeded({ ...psp, ...reserved })],
      out("the PSP's file shows the refund", 4_000n),
      ["the buyer's bank returns the money", rules.refundFailedAfterSuccess({ ...psp, ...reserved })],
      back("the PSP's file shows the money back", 4_000n),
    ],
  },
  {
    file: 'charge-reversed',
    title: 'A charge is reversed after success, when the seller has been paid: the wallet goes below zero',
    steps: [
      CHARGED,
      CHARGE_LINE,
      ...paidOut(),
      ['the PSP takes the charge back', rules.chargeReversed(charge)],
      out("the PSP's file shows the reversal", 10_000n),
    ],
  },
  { file: 'payout-paid', title: 'A payout is paid', steps: [CHARGED, CHARGE_LINE, ...paidOut()] },
  {
    file: 'payout-failed',
    title: 'A payout fails before the PSP accepts it',
    steps: [
      CHARGED,
      CHARGE_LINE,
      ['the payout is approved', rules.payoutApproved(payout)],
      ['the PSP refuses it', rules.payoutFailed(payout)],
    ],
  },
  {
    file: 'payout-returned',
    title: 'A payout comes back from the bank',
    steps: [
      CHARGED,
      CHARGE_LINE,
      ...paidOut(),
      ["the seller's bank returns it", rules.payoutReturned(payout)],
      back("the PSP's file shows the return", 9_700n),
    ],
  },
  {
    file: 'dispute-won',
    title: 'A dispute is won',
    steps: [
      CHARGED,
      CHARGE_LINE,
      ...disputed(),
      ['the bank decides for the seller', disputeWon(dispute)],
      back("the PSP's file shows the money back", 10_000n),
    ],
  },
  {
    file: 'dispute-lost-fee-given-back',
    title: 'A dispute is lost; by policy the platform gives back its fee',
    steps: [
      CHARGED,
      CHARGE_LINE,
      ...disputed(),
      ['the bank decides for the buyer', disputeLost({ ...dispute, remainderBorneBy: 'platform_fees' })],
    ],
  },
  {
    file: 'dispute-lost-written-off',
    title: 'A dispute is lost; by policy the platform writes its part off',
    steps: [
      CHARGED,
      CHARGE_LINE,
      ...disputed(),
      ['the bank decides for the buyer', disputeLost({ ...dispute, remainderBorneBy: 'write_off' })],
    ],
  },
  {
    file: 'dispute-lost-after-won',
    title: 'A dispute is won, and lost when the buyer goes on',
    steps: [
      CHARGED,
      CHARGE_LINE,
      ...disputed(),
      ['the bank decides for the seller', disputeWon(dispute)],
      back("the PSP's file shows the money back", 10_000n),
      ['the buyer goes on: it is open again', disputeOpened(dispute)],
      ['and lost for good', disputeLost({ ...dispute, remainderBorneBy: 'platform_fees' })],
      out("the PSP's file shows the second withdrawal", 10_000n),
    ],
  },
  {
    file: 'dispute-won-after-lost',
    title: 'A dispute is lost, and the bank takes its decision back',
    steps: [
      CHARGED,
      CHARGE_LINE,
      ...disputed(),
      ['the bank decides for the buyer', disputeLost({ ...dispute, remainderBorneBy: 'platform_fees' })],
      ['the bank takes that back', disputeLossReversed({ ...dispute, remainderBorneBy: 'platform_fees' })],
      ['and decides for the seller', disputeWon(dispute)],
      back("the PSP's file shows the money back", 10_000n),
    ],
  },
  {
    file: 'dispute-of-suspense-lost',
    title: 'The PSP charged twice, and the buyer has the bank take the second charge back',
    steps: [
      CHARGED,
      ['a second success of the same order', rules.surplusSuccess({ ...psp, grossMinor: 10_000n })],
      CHARGE_LINE,
      CHARGE_LINE,
      ['the buyer disputes the second charge', disputeOpened({ ...dispute, sellerShareMinor: 0n })],
      out("the PSP's file shows the withdrawal", 10_000n),
      [
        'the bank decides for the buyer',
        disputeLost({ ...dispute, sellerShareMinor: 0n, remainderBorneBy: 'suspense' }),
      ],
    ],
  },
  {
    file: 'suspense-reversed',
    title: 'A late success is taken back by the PSP before anybody has decided about it',
    steps: [
      ['the PSP moved the money after all', rules.lateSuccess({ ...psp, grossMinor: 10_000n })],
      CHARGE_LINE,
      ['the PSP takes it back', rules.suspenseReversed({ ...psp, grossMinor: 10_000n })],
      out("the PSP's file shows the reversal", 10_000n),
    ],
  },
  {
    file: 'suspense-refund-failed',
    title: 'A late success is refunded, the refund fails days later, and a second one arrives',
    steps: [
      ['the PSP moved the money after all', rules.lateSuccess({ ...psp, grossMinor: 10_000n })],
      CHARGE_LINE,
      ['it is refunded from suspense', rules.suspenseRefunded({ ...psp, grossMinor: 10_000n })],
      out("the PSP's file shows the refund", 10_000n),
      ["the buyer's bank returns the money", rules.suspenseRefundFailed({ ...psp, grossMinor: 10_000n })],
      back("the PSP's file shows the money back", 10_000n),
      ['it is refunded again', rules.suspenseRefunded({ ...psp, grossMinor: 10_000n })],
      out("the PSP's file shows the second refund", 10_000n),
    ],
  },
  {
    file: 'late-success-adopted',
    title: 'A success arrives after the order had failed; the shop still delivers',
    steps: [
      ['the PSP moved the money after all', rules.lateSuccess({ ...psp, grossMinor: 10_000n })],
      CHARGE_LINE,
      ['a person adopts it', rules.suspenseAdopted({ ...charge, release: 'available' })],
    ],
  },
  {
    file: 'late-success-refunded',
    title: 'A success arrives after the order had failed; the buyer gets it back',
    steps: [
      ['the PSP moved the money after all', rules.lateSuccess({ ...psp, grossMinor: 10_000n })],
      CHARGE_LINE,
      ['it is refunded from suspense', rules.suspenseRefunded({ ...psp, grossMinor: 10_000n })],
      out("the PSP's file shows the refund", 10_000n),
    ],
  },
  {
    file: 'surplus-success-refunded',
    title: 'The PSP charged twice; the second charge is refunded',
    steps: [
      CHARGED,
      ['a second success of the same order', rules.surplusSuccess({ ...psp, grossMinor: 10_000n })],
      CHARGE_LINE,
      CHARGE_LINE,
      ['the second is refunded from suspense', rules.suspenseRefunded({ ...psp, grossMinor: 10_000n })],
      out("the PSP's file shows the refund", 10_000n),
    ],
  },
  {
    file: 'settlement-and-deposit',
    title: 'From the charge to our bank account, with fees in rows of their own and a rebate',
    steps: [
      CHARGED,
      back("the PSP's file shows the charge", 10_000n),
      ['a fee in a row of its own', settlement.pspFee({ ...line, feeMinor: 290n })],
      ['a rebate', settlement.pspFee({ ...line, feeMinor: -40n })],
      ['the PSP pays us', settlement.depositPaid({ ...psp, ...bank, amountMinor: 9_750n })],
      ['the bank statement shows it', settlement.depositArrived({ ...bank, amountMinor: 9_750n })],
    ],
  },
  {
    file: 'reserve',
    title: 'The PSP holds a reserve and releases it',
    steps: [
      CHARGED,
      CHARGE_LINE,
      ['a tenth is held back', settlement.reserveHeld({ ...psp, amountMinor: 1_000n })],
      ['it is released', settlement.reserveReleased({ ...psp, amountMinor: 1_000n })],
    ],
  },
  {
    file: 'top-up',
    title: 'We top up the balance at the PSP, so that it can pay a seller before a deposit',
    steps: [
      ['the bank statement shows the transfer', settlement.topUpSent({ ...bank, amountMinor: 50_000n })],
      ["the PSP's file shows the top-up", settlement.topUpArrived({ ...psp, ...bank, amountMinor: 50_000n })],
    ],
  },
  {
    file: 'settled-in-another-currency',
    title: 'A charge in dollars settles in euros, a refund of it too; the difference is closed',
    steps: conversion(),
  },
  {
    file: 'unexplained-line',
    title: 'A line nobody can explain, explained the next day',
    steps: [
      back("the PSP's file shows money we know nothing of", 10_000n),
      ['it waits in suspense', settlement.lineUnexplained({ ...psp, grossMinor: 10_000n })],
      ['the line is explained by a charge', settlement.lineExplained({ ...psp, grossMinor: 10_000n })],
      CHARGED,
    ],
  },
  {
    file: 'unexplained-line-out',
    title: 'A withdrawal nobody can explain, taken back by the PSP',
    steps: [
      out("the PSP's file shows a withdrawal", 500n),
      ['it waits in suspense', settlement.lineUnexplained({ ...psp, grossMinor: -500n })],
      back("the PSP's next file takes it back", 500n),
      ['the two explain each other', settlement.lineExplained({ ...psp, grossMinor: -500n })],
    ],
  },
];

function partialRefunds(): readonly Step[] {
  const given = { grossMinor: 10_000n, feeMinor: 300n } as const;
  const first = rules.feeShareOfRefund({
    ...given,
    refundedBeforeMinor: 0n,
    sharesGivenMinor: 0n,
    refundMinor: 3_350n,
  });
  const second = rules.feeShareOfRefund({
    ...given,
    refundedBeforeMinor: 3_350n,
    sharesGivenMinor: first,
    refundMinor: 6_650n,
  });
  return [CHARGED, CHARGE_LINE, ...refund('a third', 3_350n, first), ...refund('the rest', 6_650n, second)];
}

function refund(what: string, refundMinor: bigint, feeShareMinor: bigint): readonly Step[] {
  const event = { ...psp, ...seller, refundMinor, feeShareMinor } as const;
  const fromAvailableMinor = refundMinor - feeShareMinor;
  return [
    [
      `${what} is reserved for the buyer`,
      rules.refundReserved({ ...event, fromAvailableMinor, fromPendingMinor: 0n, overdraw: 'refused' }),
    ],
    ['the PSP refunds it', rules.refundSucceeded(event)],
    out("the PSP's file shows the refund", refundMinor),
  ];
}

function paidOut(): readonly Step[] {
  return [
    ['the payout is approved', rules.payoutApproved(payout)],
    ['the PSP moves it to the seller', rules.payoutAccepted(payout)],
    out("the PSP's file shows the payout", 9_700n),
  ];
}

function disputed(): readonly Step[] {
  return [
    ['the buyer disputes the charge', disputeOpened(dispute)],
    [
      "the PSP's file shows the withdrawal and a dispute fee",
      settlement.settlementLine({
        ...line,
        grossMinor: -10_000n,
        feeMinor: 1_500n,
        feeExpense: 'dispute_fees',
      }),
    ],
  ];
}

function conversion(): readonly Step[] {
  const dollars = { pspAccount: 'stripe_eu', chargeCurrency: USD, settledCurrency: EUR } as const;
  const usd = { pspAccount: 'stripe_eu', seller: 'Café Ana', currency: USD } as const;
  return [
    [
      'the buyer pays in dollars',
      rules.chargeSucceeded({ ...usd, grossMinor: 11_000n, feeMinor: 330n, release: 'available' }),
    ],
    [
      'the PSP settles in euros, with its fee',
      settlement.settledInAnotherCurrency({
        ...dollars,
        chargeMinor: 11_000n,
        settledMinor: 10_000n,
        feeMinor: 200n,
        feeExpense: 'psp_fees',
      }),
    ],
    [
      'part of it is refunded in dollars',
      rules.refundReserved({
        ...usd,
        refundMinor: 5_500n,
        feeShareMinor: 165n,
        fromAvailableMinor: 5_335n,
        fromPendingMinor: 0n,
        overdraw: 'refused',
      }),
    ],
    ['the PSP refunds it', rules.refundSucceeded({ ...usd, refundMinor: 5_500n, feeShareMinor: 165n })],
    [
      'the PSP takes the refund in euros, at another rate',
      settlement.settledInAnotherCurrency({
        ...dollars,
        chargeMinor: -5_500n,
        settledMinor: -5_080n,
        feeMinor: 0n,
        feeExpense: 'psp_fees',
      }),
    ],
    [
      'the accountant closes what the conversions left',
      settlement.fxClosed({
        pspAccount: 'stripe_eu',
        balances: [
          { currency: EUR, balanceMinor: -4_920n },
          { currency: USD, balanceMinor: 5_500n },
        ],
      }),
    ],
  ];
}

/** The story as a journal to read: what happened, its pairs, and what is left on the books. */
function journal(story: Story, sheet: BalanceSheet): string {
  const lines = [story.title, '='.repeat(story.title.length), ''];
  for (const [index, [what, entry]] of story.steps.entries()) {
    lines.push(`${index + 1}. ${what} (${entry.kind})`);
    for (const { debit, credit, amountMinor, currency, guard } of entry.postings) {
      const amount = `${formatAmount({ amountMinor, currency })} ${currency}`;
      const note = guard === 'none' ? '' : `  [${guard}]`;
      lines.push(`     debit ${debit.padEnd(28)} credit ${credit.padEnd(28)} ${amount.padStart(14)}${note}`);
    }
    lines.push('');
  }
  lines.push('Left on the books');
  for (const { code, currency, balanceMinor } of sheet.balances()) {
    if (balanceMinor === 0n) continue;
    const amount = `${formatAmount({ amountMinor: balanceMinor, currency })} ${currency}`;
    lines.push(`     ${code.padEnd(34)} ${describeAccount(code).type.padEnd(10)} ${amount.padStart(14)}`);
  }
  return `${lines.join('\n')}\n`;
}

/** What a story must have brought back to zero by its end. */
const ON_THE_WAY: ReadonlySet<string> = new Set([
  'receivable',
  'disputes',
  'in_transit',
  'conversion',
  'in_payout',
  'in_refund',
  'in_dispute',
  'unexplained',
]);

describe('the journal of each story', () => {
  test.each(stories)('$title', async (story) => {
    const sheet = createBalanceSheet();
    for (const [, entry] of story.steps) sheet.post(entry.postings);
    await expect(journal(story, sheet)).toMatchFileSnapshot(`./golden/${story.file}.txt`);
    const left = sheet
      .balances()
      .filter(
        ({ code, balanceMinor }) => balanceMinor !== 0n && ON_THE_WAY.has(describeAccount(code).purpose),
      );
    expect(left, 'money that is still on its way').toEqual([]);
    expect(sheet.imbalances()).toEqual([]);
  });

  test('every story has a name of its own, and every kind of entry is told in one', () => {
    expect(new Set(stories.map((story) => story.file)).size).toBe(stories.length);
    const told = new Set(stories.flatMap((story) => story.steps.map(([, entry]) => entry.kind)));
    const ruleNames = [
      ...Object.keys(rules),
      ...Object.keys(settlement),
      'disputeOpened',
      'disputeLost',
      'disputeLossReversed',
      'disputeWon',
    ];
    const helpers = ['pair', 'requirePositive', 'requireWithin', 'reversalOf', 'feeShareOfRefund'];
    const kinds = ruleNames
      .filter((name) => !helpers.includes(name))
      .map((name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
    expect([...told].sort()).toEqual(kinds.sort());
  });
});

test('a payout that the wallet does not cover is refused, and so is a refund when the policy says so', () => {
  const sheet = createBalanceSheet();
  sheet.post(rules.chargeSucceeded({ ...charge, release: 'available' }).postings);
  expect(() => sheet.post(rules.payoutApproved({ ...payout, payoutMinor: 9_701n }).postings)).toThrow(
    'overdrawn',
  );
  const tooMuch = {
    ...seller,
    refundMinor: 9_701n,
    feeShareMinor: 0n,
    fromAvailableMinor: 9_701n,
    fromPendingMinor: 0n,
  };
  expect(() => sheet.post(rules.refundReserved({ ...tooMuch, overdraw: 'refused' }).postings)).toThrow(
    'overdrawn',
  );
  sheet.post(rules.refundReserved({ ...tooMuch, overdraw: 'allowed' }).postings);
});
