/** An answer of a reconciliation made by hand, with everything in it that a renderer must show. For tests only. */
import { type Currency, parseCurrency } from '../core/money.ts';
import type { BreakAnswer, Proof, ReconcileAnswer } from '../core/settlement/reconcile-answer.ts';

export function currencyOf(code: string): Currency {
  const currency = parseCurrency(code);
  if (currency === null) throw new Error(`${code} is no currency`);
  return currency;
}

const EUR = currencyOf('EUR');
const JPY = currencyOf('JPY');
const KWD = currencyOf('KWD');

const AT = '2026-11-25T16:05:00.000Z';

/** What somebody might write into a reference to harm the reader of a report. */
export const HOSTILE = '"><script>alert(1)</script>\u001b[31m\u202egnp&amp;\u0000';

export function breakAnswer(overrides: Partial<BreakAnswer> = {}): BreakAnswer {
  return {
    id: 'brk_12',
    code: 'status_mismatch',
    severity: 'P1',
    state: 'open',
    source: 'psp:stripe_main',
    currency: EUR,
    amountMinor: 12_050n,
    firstSeenAt: '2026-11-20T02:00:00.000Z',
    lastSeenAt: AT,
    ageDays: 5,
    assignee: null,
    says: 'Settled at the PSP; canceled in our books.',
    offers: ['accept', 'suspense'],
    external: {
      label: 'stripe-balance.csv line 214',
      kind: 'charge',
      currency: EUR,
      amountMinor: 12_050n,
      reference: 'ch_3abcdefgh01',
      at: AT,
    },
    internal: {
      label: 'op_14 (charge)',
      kind: 'charge',
      currency: EUR,
      amountMinor: 12_050n,
      reference: 'pi_3abcdefgh00',
      at: '2026-11-20T01:59:00.000Z',
    },
    ...overrides,
  };
}

const PROOF_EUR: Proof = {
  pspAccount: 'stripe_main',
  currency: EUR,
  receivable: {
    openingMinor: 150_000n,
    factsMinor: 9_879_056n,
    linesMinor: -9_901_006n,
    closingMinor: 128_050n,
  },
  closing: {
    inTransitMinor: 120_000n,
    breaks: [
      { code: 'status_mismatch', minor: -12_050n },
      { code: 'missing_external', minor: 20_100n },
    ],
    residualMinor: 0n,
  },
  balance: { mirrorMinor: 412_345n, linesMinor: 412_345n, statedMinor: 412_345n },
  bank: { bank: 'main', cashMinor: 9_400_000n, statedMinor: 9_400_000n },
  closes: true,
};

const PROOF_JPY: Proof = {
  pspAccount: 'stripe_main',
  currency: JPY,
  receivable: { openingMinor: 0n, factsMinor: 3_474_980n, linesMinor: -3_474_980n, closingMinor: 0n },
  closing: { inTransitMinor: 0n, breaks: [], residualMinor: 0n },
  balance: { mirrorMinor: 3_422_855n, linesMinor: 3_422_855n, statedMinor: null },
  bank: null,
  closes: true,
};

const BREAKS: readonly BreakAnswer[] = [
  breakAnswer(),
  breakAnswer({
    id: 'brk_13',
    code: 'missing_internal',
    amountMinor: 990n,
    ageDays: 0,
    says: `The file has ${HOSTILE}; the books have nothing.`,
    assignee: HOSTILE,
    offers: [],
    external: {
      label: `${HOSTILE}.csv line 7`,
      kind: 'charge',
      currency: EUR,
      amountMinor: 990n,
      reference: HOSTILE,
      at: null,
    },
    internal: null,
  }),
  breakAnswer({
    id: 'brk_9',
    code: 'missing_external',
    severity: 'P3',
    state: 'waiting_psp',
    amountMinor: -20_100n,
    ageDays: 33,
    assignee: 'ana',
    says: 'Captured on 2026-10-23; no file has shown it.',
    offers: ['wait_for_psp', 'reverse'],
    external: null,
  }),
];

/** Breaks in two currencies, one with three decimals; a file that brought known lines too. */
export function reconcileAnswer(overrides: Partial<ReconcileAnswer> = {}): ReconcileAnswer {
  return {
    file: {
      id: 'file_12',
      name: 'stripe-balance.csv',
      format: 'stripe_balance',
      source: 'psp:stripe_main',
      lineCount: 612,
      knownCount: 40,
      sha256: '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
      coversFrom: '2026-11-24T00:00:00.000Z',
      coversTo: '2026-11-25T23:59:59.000Z',
    },
    outcome: 'imported',
    runId: 'run_7',
    at: AT,
    byCurrency: [
      {
        currency: EUR,
        matched: { count: 540, grossMinor: 9_879_056n },
        inTransit: { count: 4, grossMinor: 120_000n },
        breaks: { count: 3, grossMinor: 33_140n },
      },
      {
        currency: JPY,
        matched: { count: 70, grossMinor: 3_474_980n },
        inTransit: { count: 0, grossMinor: 0n },
        breaks: { count: 0, grossMinor: 0n },
      },
      {
        currency: KWD,
        matched: { count: 0, grossMinor: 0n },
        inTransit: { count: 0, grossMinor: 0n },
        breaks: { count: 1, grossMinor: 5_120n },
      },
    ],
    byCode: [
      { code: 'status_mismatch', severity: 'P1', currency: EUR, tally: { count: 1, grossMinor: 12_050n } },
      { code: 'missing_internal', severity: 'P1', currency: EUR, tally: { count: 1, grossMinor: 990n } },
      { code: 'fee_mismatch', severity: 'P2', currency: KWD, tally: { count: 1, grossMinor: 5_120n } },
      { code: 'missing_external', severity: 'P3', currency: EUR, tally: { count: 1, grossMinor: 20_100n } },
    ],
    ageing: [
      { bucket: '0-1', currency: EUR, tally: { count: 1, grossMinor: 990n } },
      { bucket: '0-1', currency: KWD, tally: { count: 1, grossMinor: 5_120n } },
      { bucket: '2-7', currency: EUR, tally: { count: 1, grossMinor: 12_050n } },
      { bucket: '>30', currency: EUR, tally: { count: 1, grossMinor: 20_100n } },
    ],
    breaks: [
      ...BREAKS,
      breakAnswer({
        id: 'brk_14',
        code: 'fee_mismatch',
        severity: 'P2',
        currency: KWD,
        amountMinor: 5_120n,
        ageDays: 1,
        says: 'Gross less fee is not net.',
        offers: ['expense', 'wait_for_psp'],
        internal: null,
        external: {
          label: 'stripe-balance.csv line 300',
          kind: 'charge',
          currency: KWD,
          amountMinor: 45_120n,
          reference: 'ch_3zyxwvut01',
          at: AT,
        },
      }),
    ],
    breakCount: 4,
    resolvedCount: 2,
    proofs: [PROOF_EUR, PROOF_JPY],
    status: 'breaks',
    ...overrides,
  };
}

/** Nothing open, everything explained. */
export function closedAnswer(): ReconcileAnswer {
  const whole = reconcileAnswer();
  return {
    ...whole,
    byCurrency: whole.byCurrency.slice(1, 2),
    byCode: [],
    ageing: [],
    breaks: [],
    breakCount: 0,
    resolvedCount: 0,
    proofs: [PROOF_JPY],
    status: 'closed',
  };
}

/** A residual that nobody can explain. */
export function incompleteAnswer(): ReconcileAnswer {
  const proof: Proof = {
    ...PROOF_EUR,
    closing: { ...PROOF_EUR.closing, inTransitMinor: 119_999n, residualMinor: 1n },
    balance: { ...PROOF_EUR.balance, statedMinor: 412_344n },
    closes: false,
  };
  return { ...reconcileAnswer(), proofs: [proof], status: 'incomplete' };
}
