/**
 * What a reconciliation found, as the terminal, the page and machines get it. Decides only; amounts are minor units and become
 * {amount, currency} where they are shown.
 */
import type { Currency } from '../money.ts';
import type { SettlementFormat } from './settlement-line.ts';

/** Every code of the domain; the severity and what is offered as correction are data in `break-codes.ts`. */
export const BREAK_CODES = [
  'missing_internal',
  'missing_external',
  'amount_mismatch',
  'currency_mismatch',
  'fx_variance',
  'fee_mismatch',
  'status_mismatch',
  'duplicate_internal',
  'duplicate_external',
  'refund_missing',
  'refund_unexpected',
  'chargeback_unbooked',
  'chargeback_reversed',
  'refund_and_chargeback',
  'direction_mismatch',
  'batch_out_of_balance',
  'deposit_missing_at_bank',
  'deposit_amount_differs',
  'returned_payout',
  'ambiguous',
  'unclassified_line',
  'late_adjustment',
  'reserve_movement',
] as const;
export type BreakCode = (typeof BREAK_CODES)[number];

export type Severity = 'P1' | 'P2' | 'P3' | 'P4';
export type BreakState = 'open' | 'acknowledged' | 'waiting_psp' | 'resolved' | 'written_off';

/** One side of a break: what the file says, or what the books say. */
export type BreakSide = {
  /** "stripe.csv line 214" or "op_14 (charge)". */
  readonly label: string;
  readonly kind: string;
  readonly currency: Currency;
  readonly amountMinor: bigint;
  readonly reference: string | null;
  readonly at: string | null;
};

export type BreakAnswer = {
  /** "brk_12". */
  readonly id: string;
  readonly code: BreakCode;
  readonly severity: Severity;
  readonly state: BreakState;
  readonly source: string;
  readonly currency: Currency;
  /** Signed: what the file has more than the books. */
  readonly amountMinor: bigint;
  readonly firstSeenAt: string;
  readonly lastSeenAt: string;
  readonly ageDays: number;
  readonly assignee: string | null;
  /** One sentence of what is wrong. */
  readonly says: string;
  /** What can be done, most fitting first, such as "enquire", "suspense", "write_off": only what would work now. */
  readonly offers: readonly string[];
  /** "op_12/2": its money lies in suspense, and nobody has decided about it; left out or null: none does. */
  readonly suspended?: string | null;
  /** "dl_3": an open dead letter about its operation. */
  readonly deadLetter?: string | null;
  /** A decision that waits for a second person: who proposed it, what to give after --as, and why; null: none does. */
  readonly proposal?: { readonly by: string; readonly as: string; readonly reason: string | null } | null;
  readonly external: BreakSide | null;
  readonly internal: BreakSide | null;
};

/** Counts and gross amounts (the sums of the absolute values: +1,000 and −1,000 don't cancel). */
export type Tally = { readonly count: number; readonly grossMinor: bigint };

/** The four identities, in signed minor units; an identity whose source states nothing is null. */
export type Proof = {
  readonly pspAccount: string;
  readonly currency: Currency;
  readonly receivable: {
    readonly openingMinor: bigint;
    readonly factsMinor: bigint;
    readonly linesMinor: bigint;
    readonly closingMinor: bigint;
  };
  readonly closing: {
    readonly inTransitMinor: bigint;
    readonly breaks: readonly { readonly code: BreakCode; readonly minor: bigint }[];
    readonly residualMinor: bigint;
  };
  readonly balance: {
    readonly mirrorMinor: bigint;
    readonly linesMinor: bigint;
    readonly statedMinor: bigint | null;
  };
  readonly bank: {
    readonly bank: string;
    readonly cashMinor: bigint;
    readonly statedMinor: bigint;
  } | null;
  readonly closes: boolean;
};

export type ReconcileAnswer = {
  readonly file: {
    /** "file_12". */
    readonly id: string | null;
    readonly name: string;
    readonly format: SettlementFormat;
    readonly source: string;
    readonly lineCount: number;
    /** Lines that an earlier file had brought already. */
    readonly knownCount: number;
    readonly sha256: string;
    readonly coversFrom: string | null;
    readonly coversTo: string | null;
  };
  readonly outcome: 'imported' | 'already_imported' | 'dry_run';
  /** "run_7"; null for a dry run. */
  readonly runId: string | null;
  readonly at: string;
  readonly byCurrency: readonly {
    readonly currency: Currency;
    readonly matched: Tally;
    readonly inTransit: Tally;
    readonly breaks: Tally;
  }[];
  /** Open breaks by code, most severe first. */
  readonly byCode: readonly {
    readonly code: BreakCode;
    readonly severity: Severity;
    readonly currency: Currency;
    readonly tally: Tally;
  }[];
  /** Buckets of days since first seen. */
  readonly ageing: readonly {
    readonly bucket: '0-1' | '2-7' | '8-30' | '>30';
    readonly currency: Currency;
    readonly tally: Tally;
  }[];
  /** The most severe and oldest first; at most 1,000; `breakCount` says how many there are. */
  readonly breaks: readonly BreakAnswer[];
  readonly breakCount: number;
  /** Breaks that this run's file explained. */
  readonly resolvedCount: number;
  readonly proofs: readonly Proof[];
  /** `incomplete`: a residual is not zero, or a batch was refused for posting. */
  readonly status: 'closed' | 'breaks' | 'incomplete';
};
