/**
 * The proof of one source and currency, and what a run answers. Decides only: every number comes in.
 */
import type { Currency } from '../money.ts';
import type { BreakAnswer, BreakCode, Proof, ReconcileAnswer, Severity, Tally } from './reconcile-answer.ts';

/** What the books and the break list say of one currency at one moment; minor units, debits above zero. */
export type ProofInput = {
  readonly currency: Currency;
  readonly balanceMinor: bigint;
  readonly factsMinor: bigint;
  readonly linesMinor: bigint;
  readonly provedFactsMinor: bigint;
  readonly provedLinesMinor: bigint;
  readonly provedClosingMinor: bigint;
  readonly inTransitMinor: bigint;
  readonly mirrorMinor: bigint;
  readonly sourceLinesMinor: bigint;
  readonly statedMinor: bigint | null;
};

type Explained = { readonly code: BreakCode; readonly currency: Currency; readonly minor: bigint };

/**
 * The four identities. (1) opening + facts + lines = closing; (2) closing = in transit + breaks + residual; (3) mirror = Σ lines =
 * stated; (4) cash = stated, for a bank's statement.
 */
export function proofOf(
  source: { readonly kind: 'psp' | 'bank'; readonly name: string },
  input: ProofInput,
  explained: readonly Explained[],
): Proof {
  const openingMinor = input.provedClosingMinor;
  const factsMinor = input.factsMinor - input.provedFactsMinor;
  const linesMinor = input.linesMinor - input.provedLinesMinor;
  const byCode = new Map<BreakCode, bigint>();
  for (const { code, currency, minor } of explained) {
    if (currency === input.currency && minor !== 0n) byCode.set(code, (byCode.get(code) ?? 0n) + minor);
  }
  const breaks = [...byCode].map(([code, minor]) => ({ code, minor }));
  const inBreaks = breaks.reduce((sum, one) => sum + one.minor, 0n);
  const residualMinor = input.balanceMinor - input.inTransitMinor - inBreaks;
  const { mirrorMinor, sourceLinesMinor, statedMinor } = input;
  const closes =
    openingMinor + factsMinor + linesMinor === input.balanceMinor &&
    residualMinor === 0n &&
    mirrorMinor === sourceLinesMinor &&
    (statedMinor === null || statedMinor === mirrorMinor);
  return {
    pspAccount: source.name,
    currency: input.currency,
    receivable: { openingMinor, factsMinor, linesMinor, closingMinor: input.balanceMinor },
    closing: { inTransitMinor: input.inTransitMinor, breaks, residualMinor },
    balance: { mirrorMinor, linesMinor: sourceLinesMinor, statedMinor },
    bank:
      source.kind === 'bank' && statedMinor !== null
        ? { bank: source.name, cashMinor: mirrorMinor, statedMinor }
        : null,
    closes,
  };
}

/** Sums of open breaks as the store gives them. */
export type OpenBreakSum = {
  readonly code: BreakCode;
  readonly severity: Severity;
  readonly currency: Currency;
  readonly bucket: '0-1' | '2-7' | '8-30' | '>30';
  readonly count: number;
  readonly grossMinor: bigint;
  readonly openMinor: bigint;
};

type CurrencyTally = Tally & { readonly currency: Currency };

export type AnswerInput = Pick<ReconcileAnswer, 'file' | 'outcome' | 'runId' | 'at' | 'resolvedCount'> & {
  readonly matched: readonly CurrencyTally[];
  readonly transit: readonly CurrencyTally[];
  readonly sums: readonly OpenBreakSum[];
  readonly breaks: readonly BreakAnswer[];
  readonly proofs: readonly Proof[];
  readonly refusedCount: number;
};

export function answerOf(input: AnswerInput): ReconcileAnswer {
  const { matched, transit, sums, refusedCount, ...rest } = input;
  const breakCount = sums.reduce((count, sum) => count + sum.count, 0);
  const currencies = [...new Set([...matched, ...transit, ...sums].map((one) => one.currency))].sort();
  return {
    ...rest,
    byCurrency: currencies.map((currency) => ({
      currency,
      matched: tally(matched.filter((one) => one.currency === currency)),
      inTransit: tally(transit.filter((one) => one.currency === currency)),
      breaks: tally(sums.filter((one) => one.currency === currency)),
    })),
    byCode: grouped(sums, (sum) => `${sum.severity} ${sum.code} ${sum.currency}`).map((group) => ({
      code: group[0]!.code,
      severity: group[0]!.severity,
      currency: group[0]!.currency,
      tally: tally(group),
    })),
    ageing: grouped(sums, (sum) => `${BUCKETS.indexOf(sum.bucket)} ${sum.currency}`).map((group) => ({
      bucket: group[0]!.bucket,
      currency: group[0]!.currency,
      tally: tally(group),
    })),
    breakCount,
    status:
      refusedCount > 0 || rest.proofs.some((proof) => !proof.closes)
        ? 'incomplete'
        : breakCount > 0
          ? 'breaks'
          : 'closed',
  };
}

const BUCKETS = ['0-1', '2-7', '8-30', '>30'] as const;

function tally(of: readonly Tally[]): Tally {
  return {
    count: of.reduce((sum, one) => sum + one.count, 0),
    grossMinor: of.reduce((sum, one) => sum + one.grossMinor, 0n),
  };
}

/** In the order of their keys. */
function grouped<T>(items: readonly T[], keyOf: (item: T) => string): readonly (readonly T[])[] {
  const groups = Map.groupBy(items, keyOf);
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => group);
}
