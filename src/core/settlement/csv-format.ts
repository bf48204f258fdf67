/** What each CSV format gives to the reader that drives it. Types only. */
import type { DecimalMark } from './amount-text.ts';
import type { LineCollector } from './line-collector.ts';
import type { StatedTotal } from './settlement-line.ts';

/** What is known of a reading before its first row. */
export type CsvStart = {
  readonly collector: LineCollector;
  readonly header: readonly string[];
  /** Line of the header, from 1. */
  readonly headerRow: number;
  /** Zone (IANA) of times that the file gives without one; null where nobody knows: such times are left out. */
  readonly timeZone: string | null;
};

/** What a file says beside its rows. */
export type FileWords = {
  readonly accounts: readonly string[];
  readonly totals: readonly StatedTotal[];
};

/** Reads the rows of one file: each one becomes a line, a checked total, or a fault. */
export type RowReader = {
  readonly take: (cells: readonly string[], row: number) => void;
  readonly end: () => FileWords;
};

/** A format whose decimal mark the file itself shows: `open` is called once it is known. */
export type MarkedFormat = {
  /** Positions of the columns with amounts. */
  readonly amountColumns: readonly number[];
  readonly open: (mark: DecimalMark) => RowReader;
};
