/**
 * One row of a PSP's file or a bank's statement, in the words of the books: what every reader gives and everything
 * after it takes. Decides only; knows no format and no table.
 */

import type { Currency } from '../money.ts';
import type { FileFault } from '../payment/file-fault.ts';

/**
 * What a row did to our money at its source. `note` moved nothing and is kept for the record; `unclassified` is a row of a type nobody
 * has mapped: it moves money as its signs say, and is a break.
 */
export const LINE_KINDS = [
  'charge',
  'charge_reversed',
  'refund',
  'refund_failed',
  'payout',
  'payout_returned',
  'dispute',
  'dispute_reversed',
  'fee',
  'deposit',
  'deposit_returned',
  'top_up',
  'reserve_held',
  'reserve_released',
  'adjustment',
  'note',
  'unclassified',
] as const;
export type LineKind = (typeof LINE_KINDS)[number];

/**
 * Amounts are signed minor units as our balance at the source sees them: above zero came in. `netMinor` = `grossMinor` − `feeMinor`
 * (a fee above zero is a cost) unless the file says otherwise, and then the line says what the file says: that is a break, not a bad row.
 */
export type SettlementLine = {
  /** Line of the file, from 1, on which the row starts. */
  readonly row: number;
  /** Names the row for ever within its source; two genuine rows may share it (the import counts occurrences). 1–300 characters. */
  readonly lineKey: string;
  readonly kind: LineKind;
  /** The file's own word for the type. */
  readonly rawType: string;
  /** What the source settled in. */
  readonly currency: Currency;
  readonly grossMinor: bigint;
  readonly feeMinor: bigint;
  readonly netMinor: bigint;
  /** The moved object's own name at the PSP: payment, refund, transfer, dispute, deposit. Bank: the bank's reference. */
  readonly reference: string | null;
  /** The payment that a refund or dispute belongs to, at the PSP; a charge's own. */
  readonly paymentReference: string | null;
  /** Our name in it: an operation's id or an attempt's key. Bank: the end-to-end id or narrative. */
  readonly ourReference: string | null;
  /** Set where the buyer paid in another currency than the settlement's. Signed like the gross. */
  readonly original: { readonly currency: Currency; readonly amountMinor: bigint } | null;
  /** Instants in UTC as "2026-11-25T16:05:00.000Z"; null where the file has none. */
  readonly occurredAt: string | null;
  readonly availableOn: string | null;
  /** The PSP's name of the deposit or batch in which the row was paid out. */
  readonly batch: string | null;
  /** The whole row as JSON text (column name → text), kept for a person; null where the line says everything. */
  readonly raw: string | null;
};

/** A batch, a statement or a currency's section, as the file itself totals it. */
export type StatedTotal = {
  readonly batch: string | null;
  readonly currency: Currency;
  /** What the file says the section starts and ends with, or sums to; null where it does not say. Signed minor units. */
  readonly openingMinor: bigint | null;
  readonly closingMinor: bigint | null;
  readonly sumMinor: bigint | null;
};

export type SettlementFormat =
  | 'stripe_balance'
  | 'stripe_payout'
  | 'adyen_settlement'
  | 'paypal_settlement'
  | 'paypal_transactions'
  | 'generic_csv'
  | 'camt053'
  | 'mt940'
  | 'bai2';

/** What is known of a file once its last byte is read. */
export type FileSummary = {
  readonly format: SettlementFormat;
  /** Whose file it says it is: merchant accounts, bank account numbers. Empty where it does not say. */
  readonly accounts: readonly string[];
  /** First and last moment that its rows tell of. */
  readonly coversFrom: string | null;
  readonly coversTo: string | null;
  readonly totals: readonly StatedTotal[];
  readonly lineCount: number;
  /** Rows by the file's own type word, those that became `unclassified` or `note` too. */
  readonly typeCounts: ReadonlyMap<string, number>;
  readonly sha256: string;
  readonly byteCount: number;
};

/** What a reader yields: lines in the file's order, in blocks of up to some thousand. */
export type LineBlock = { readonly lines: readonly SettlementLine[]; readonly bytesRead: number };

/** How a reading ended: usable, or every bad row with line, column and reason (the first thousand listed). */
export type ReadingEnd =
  | { readonly kind: 'ok'; readonly summary: FileSummary }
  | {
      readonly kind: 'bad';
      readonly faults: readonly FileFault[];
      readonly faultCount: number;
      readonly lineCount: number;
      /** Of the good rows, where the file could be read to its end: what an import needs that leaves the bad rows out. */
      readonly summary?: FileSummary;
    };

/**
 * A reading in progress. `blocks` is read to its end once; `end` is settled then. Good rows of a file with bad rows are still yielded:
 * the import throws them away, or keeps them when the operator accepted the rejects.
 */
export type SettlementReading = {
  readonly format: SettlementFormat;
  readonly blocks: AsyncIterable<LineBlock>;
  readonly end: Promise<ReadingEnd>;
};
