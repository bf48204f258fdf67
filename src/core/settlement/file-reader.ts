/** The reader of a recognised file: text in, lines and faults to the collector. Decides only. */

import { createAdyenFormat } from './adyen-format.ts';
import { createBai2Reader } from './bai2.ts';
import { createCamt053Reader } from './camt053.ts';
import type { CsvStart, FileWords, MarkedFormat, RowReader } from './csv-format.ts';
import { createCsvRecords, hasLoneCr, type LineEnd } from './csv-records.ts';
import { createMarkedReader } from './decimal-mark.ts';
import { createGenericFormat } from './generic-format.ts';
import type { LineCollector } from './line-collector.ts';
import { createMt940Reader } from './mt940.ts';
import { createPaypalReader } from './paypal-format.ts';
import { hasStrayLineEnd, isDamagedRow } from './row-checks.ts';
import type { CsvShape, Detection } from './settlement-detection.ts';
import type { SettlementMapping } from './settlement-mapping.ts';
import { createStripeFormat } from './stripe-format.ts';

export type FileReader = {
  /** UTF-8; never cut inside a character. */
  readonly write: (text: Buffer) => void;
  readonly end: () => Promise<FileWords>;
};

export type ReaderNeeds = {
  readonly collector: LineCollector;
  readonly mapping: SettlementMapping | null;
  readonly timeZone: string | null;
  /** True once the file has bytes that are no text: rows are looked at from then on. */
  readonly isDamaged: () => boolean;
};

/** @param firstRow of the first text that will be written, for CSV the header's */
export function createFileReader(
  detection: Exclude<Detection, { kind: 'unknown' }>,
  needs: ReaderNeeds,
): FileReader {
  const { collector } = needs;
  switch (detection.kind) {
    case 'csv':
      return createCsvReader(detection.shape, needs, (header, headerRow) =>
        openFormat(detection.shape, needs, { collector, header, headerRow, timeZone: needs.timeZone }),
      );
    case 'paypal':
      return createCsvReader(detection.shape, needs, null);
    case 'camt053':
      return readingText(createCamt053Reader(collector), needs);
    case 'mt940':
      return readingText(createMt940Reader(collector), needs);
    case 'bai2':
      return readingText(createBai2Reader(collector), needs);
  }
}

function openFormat(shape: CsvShape, { mapping, collector }: ReaderNeeds, start: CsvStart): RowReader {
  if (shape.format === 'generic_csv' && mapping !== null) {
    return markedReader(collector, createGenericFormat(start, mapping), mapping.decimalMark, null);
  }
  const format = shape.format === 'adyen_settlement' ? createAdyenFormat(start) : createStripeFormat(start);
  return markedReader(collector, format, null, '.');
}

function markedReader(
  collector: LineCollector,
  format: MarkedFormat,
  known: '.' | ',' | null,
  byRule: '.' | null,
): RowReader {
  return known === null ? createMarkedReader(collector, format, byRule) : format.open(known);
}

/** @param open makes the rows' reader of the header; null where rows tell everything themselves */
function createCsvReader(
  shape: CsvShape,
  { collector, isDamaged }: ReaderNeeds,
  open: ((header: readonly string[], row: number) => RowReader) | null,
): FileReader {
  let reader: RowReader | null = open === null ? createPaypalReader(collector) : null;
  const openWith = (header: readonly string[], row: number): void => {
    const before = collector.faultCount();
    reader = open?.(header, row) ?? null;
    if (collector.faultCount() > before) {
      collector.stop('header_unusable', 'cannot be read with this header; none of its rows was');
    }
  };
  let width = 0;
  let blankRows = 0;
  const countBlank = () => {
    blankRows += 1;
    if (blankRows > MAX_BLANK_ROWS)
      collector.stop('too_many_blank_lines', `has more than ${MAX_BLANK_ROWS} blank lines`);
  };
  const lineEnds = createLineEndGuard(shape.lineEnd);
  const records = createCsvRecords(
    {
      take: (cells, row, isUnended) => {
        if (collector.isStopped()) return;
        if (cells.length === 1 && cells[0] === '') return countBlank();
        if (isDamaged() && isDamagedRow(collector, cells, row)) return;
        if (lineEnds.hasStray() && hasStrayLineEnd(collector, cells, row)) return;
        if (reader === null) {
          width = open === null ? 0 : cells.length;
          return openWith(cells, row);
        }
        if (isUnended && cells.length < width) {
          return collector.refuse(row, null, 'row_cut_off', 'is cut off: the file ends in the middle of it');
        }
        reader.take(cells, row);
      },
      broken: (row, code, message) => {
        collector.refuse(row, null, code, message);
        collector.stop('not_read_to_end', `could be read only as far as line ${row}`);
      },
    },
    { delimiter: shape.delimiter, lineEnd: shape.lineEnd, firstRow: shape.headerRow },
  );
  return {
    write: (text) => {
      if (collector.isStopped()) return;
      lineEnds.check(text);
      records.write(text);
    },
    end: async () => {
      await records.end();
      return reader?.end() ?? { accounts: [], totals: [] };
    },
  };
}

/** Blank lines are skipped; a file of nothing else is made to keep somebody busy. */
const MAX_BLANK_ROWS = 1_000_000;

/** Notices a CR that ends no line in a file whose beginning had none: from then on rows are looked at. */
function createLineEndGuard(lineEnd: LineEnd) {
  let hasStray = false;
  let endsWithCr = false;
  return {
    hasStray: () => hasStray,
    check: (text: Buffer): void => {
      if (lineEnd === 'any' || hasStray || text.length === 0) return;
      hasStray = (endsWithCr && text[0] !== LF) || hasLoneCr(text);
      endsWithCr = text.at(-1) === CR;
    },
  };
}

const LF = 0x0a;
const CR = 0x0d;

/** Statements are small beside PSP files: one undecodable byte refuses the whole. */
function readingText(
  reader: { readonly write: (text: string) => void; readonly end: () => FileWords },
  { collector, isDamaged }: ReaderNeeds,
): FileReader {
  return {
    write: (text) => {
      if (isDamaged())
        collector.stop('not_text', 'has bytes that are no text in its encoding; fetch the file again');
      if (!collector.isStopped()) reader.write(text.toString('utf8'));
    },
    end: async () => reader.end(),
  };
}
