/**
 * Recognises a settlement file by its content: names in a header, never their positions; the root of XML; the first field of a
 * statement. Decides only; looks at the beginning of the text.
 */
import { parse as parseCsv } from 'csv-parse/sync';
import { normalName } from './csv-columns.ts';
import { hasLoneCr, type LineEnd } from './csv-records.ts';
import { paypalFormatOf } from './paypal-format.ts';
import type { SettlementFormat } from './settlement-line.ts';
import { columnsOfMapping, type SettlementMapping } from './settlement-mapping.ts';

export type CsvShape = {
  readonly format: SettlementFormat;
  readonly delimiter: string;
  readonly lineEnd: LineEnd;
  /** Where the header starts: its line from 1, and its position in the UTF-8 bytes. */
  readonly headerRow: number;
  readonly headerOffset: number;
};

export type Detection =
  | { readonly kind: 'csv'; readonly shape: CsvShape }
  | { readonly kind: 'paypal'; readonly shape: CsvShape }
  | { readonly kind: 'camt053' | 'mt940' | 'bai2' }
  | { readonly kind: 'unknown'; readonly message: string };

/** Lines in which a header is looked for; titles and blank lines may stand before it. */
const MAX_HEADER_LINE = 60;
const DELIMITERS = [',', ';', '\t', '|'] as const;

type Signature = {
  readonly format: SettlementFormat;
  readonly needs: (names: ReadonlySet<string>) => boolean;
};

const countOf = (names: ReadonlySet<string>, ...wanted: readonly string[]) =>
  wanted.filter((name) => names.has(name)).length;

/** Lenient: a column that is missing shall be named, and the file not be called unknown. */
const SIGNATURES: readonly Signature[] = [
  {
    format: 'stripe_payout',
    needs: (names) =>
      isStripe(names) &&
      (names.has('automatic_payout_effective_at') || names.has('automatic_payout_effective_at_utc')),
  },
  { format: 'stripe_balance', needs: isStripe },
  {
    format: 'adyen_settlement',
    needs: (names) =>
      names.has('psp reference') &&
      countOf(
        names,
        'net credit (nc)',
        'net debit (nc)',
        'gross credit (gc)',
        'batch number',
        'net currency',
      ) >= 2,
  },
];

function isStripe(names: ReadonlySet<string>): boolean {
  return countOf(names, 'balance_transaction_id', 'reporting_category', 'gross', 'net', 'source_id') >= 3;
}

type HeadLine = {
  readonly text: string;
  readonly row: number;
  readonly offset: number;
  /** False for a last line that goes on behind what was looked at. */
  readonly isWhole: boolean;
};

const CR = 0x0d;
const LF = 0x0a;

/** The first lines with their positions in bytes. */
function headLines(head: Buffer, lineEnd: LineEnd, isWholeFile: boolean): readonly HeadLine[] {
  const lines: HeadLine[] = [];
  let offset = 0;
  while (offset < head.length && lines.length < MAX_HEADER_LINE) {
    let end = head.indexOf(LF, offset);
    if (end < 0) end = head.length;
    const cr = lineEnd === 'any' ? head.indexOf(CR, offset) : -1;
    const next = cr >= 0 && cr < end - 1 ? cr : end;
    const text = head.toString('utf8', offset, next).replace(/\r$/, '');
    lines.push({ text, row: lines.length + 1, offset, isWhole: isWholeFile || next < head.length });
    offset = next + 1;
  }
  return lines;
}

/** The cells of one line; an unbalanced quote makes it no header. */
function cellsOf(line: string, delimiter: string): readonly string[] {
  try {
    const rows = parseCsv(line, { delimiter, relax_quotes: true, relax_column_count: true }) as string[][];
    return rows[0] ?? [];
  } catch {
    return [];
  }
}

/** @param head the first 64 KB of the file or all of it, in UTF-8 */
export function detectFormat(
  head: Buffer,
  isWholeFile: boolean,
  forced: SettlementFormat | null,
  mapping: SettlementMapping | null,
): Detection {
  const lineEnd: LineEnd = hasLoneCr(head) || (head.includes(CR) && !head.includes(LF)) ? 'any' : 'lf';
  const lines = headLines(head, lineEnd, isWholeFile);
  const first = lines.find((line) => line.text.trim() !== '');
  if (first === undefined) return { kind: 'unknown', message: 'has no text in it' };
  const wanted = forced ?? (mapping === null ? null : 'generic_csv');
  if (wanted === 'generic_csv') {
    if (mapping === null)
      return { kind: 'unknown', message: 'needs a mapping file to be read as generic CSV' };
    return detectMapped(lines, lineEnd, mapping);
  }
  if (wanted === 'camt053' || wanted === 'mt940' || wanted === 'bai2') return { kind: wanted };
  if (wanted === null) {
    const bank = detectBank(first.text, lines, head);
    if (bank !== null) return bank;
  }
  if (wanted === null || wanted === 'paypal_settlement' || wanted === 'paypal_transactions') {
    const paypal = detectPaypal(first, lines, lineEnd, wanted);
    if (paypal !== null) return paypal;
  }
  return detectHeader(lines, lineEnd, wanted);
}

function detectBank(first: string, lines: readonly HeadLine[], head: Buffer): Detection | null {
  const start = first.trimStart();
  if (start.startsWith('<')) {
    const text = head.toString('utf8', 0, 16_384);
    if (/camt\.053\.001\.0[2-8]\b/.test(text)) return { kind: 'camt053' };
    const other = /camt\.\d{3}\.\d{3}\.\d{2}/.exec(text)?.[0];
    if (other === undefined && text.includes('BkToCstmrStmt')) return { kind: 'camt053' };
    const what =
      other === undefined
        ? 'is XML and no bank statement'
        : `is ${other}; bank statements are camt.053.001.02 to 08`;
    return { kind: 'unknown', message: what };
  }
  if (
    /^(?:\{1:|:20:)/.test(start) ||
    (start.startsWith(':') && lines.some(({ text }) => /^:60[FM]:/.test(text)))
  ) {
    return { kind: 'mt940' };
  }
  return /^01,[^,]*,[^,]*,\d{6},/.test(start) ? { kind: 'bai2' } : null;
}

const PAYPAL_ROWS: ReadonlySet<string> = new Set(['RH', 'FH', 'SH', 'CH']);

function detectPaypal(
  first: HeadLine,
  lines: readonly HeadLine[],
  lineEnd: LineEnd,
  wanted: SettlementFormat | null,
): Detection | null {
  for (const delimiter of DELIMITERS) {
    const cells = cellsOf(first.text, delimiter);
    if (cells.length < 2 || !PAYPAL_ROWS.has(cells[0] ?? '')) continue;
    const names = lines.map(({ text }) => cellsOf(text, delimiter)).find((row) => row[0] === 'CH');
    const format = wanted ?? paypalFormatOf(names ?? []);
    return { kind: 'paypal', shape: { format, delimiter, lineEnd, headerRow: 1, headerOffset: 0 } };
  }
  return null;
}

function detectHeader(
  lines: readonly HeadLine[],
  lineEnd: LineEnd,
  wanted: SettlementFormat | null,
): Detection {
  for (const line of lines) {
    for (const delimiter of DELIMITERS) {
      const names = new Set(cellsOf(line.text, delimiter).map(normalName));
      const signature = SIGNATURES.find((one) => one.needs(names));
      if (signature === undefined || (wanted !== null && !isSameFamily(signature.format, wanted))) continue;
      const before = lines.filter(({ row }) => row < line.row);
      return csvAt(line, wanted ?? signature.format, delimiter, lineEnd, before);
    }
  }
  return {
    kind: 'unknown',
    message:
      wanted === null
        ? 'is no settlement file that is known here; for another PSP or bank give a mapping file'
        : `has no header of ${wanted} in its first ${MAX_HEADER_LINE} lines`,
  };
}

const familyOf = (format: SettlementFormat) => format.split('_')[0];
const isSameFamily = (left: SettlementFormat, right: SettlementFormat) => familyOf(left) === familyOf(right);

function detectMapped(lines: readonly HeadLine[], lineEnd: LineEnd, mapping: SettlementMapping): Detection {
  const needed = columnsOfMapping(mapping);
  const delimiters = mapping.delimiter === null ? DELIMITERS : [mapping.delimiter];
  for (const line of lines) {
    if (line.row <= mapping.preambleLines) continue;
    for (const delimiter of delimiters) {
      const names = new Set(cellsOf(line.text, delimiter).map(normalName));
      // With most of the names it is the header, and the reader names those that are missing.
      if (countOf(names, ...needed) * 2 < needed.length + 1) continue;
      const before = lines.filter(({ row }) => row > mapping.preambleLines && row < line.row);
      return csvAt(line, 'generic_csv', delimiter, lineEnd, before);
    }
  }
  return { kind: 'unknown', message: `has no header with the columns of mapping "${mapping.name}"` };
}

/** Titles and notes may stand before a header; rows may not: nobody would miss them. */
function csvAt(
  line: HeadLine,
  format: SettlementFormat,
  delimiter: string,
  lineEnd: LineEnd,
  before: readonly HeadLine[],
): Detection {
  const filled = (text: string) => cellsOf(text, delimiter).filter((cell) => cell.trim() !== '').length;
  const width = filled(line.text);
  if (!line.isWhole)
    return { kind: 'unknown', message: 'has a first line that does not end: is it a table?' };
  const row = before.find(({ text }) => filled(text) * 2 > width);
  if (row !== undefined) {
    const message = `has rows before its header: line ${row.row} has as many cells as the header in line ${line.row}`;
    return { kind: 'unknown', message };
  }
  return {
    kind: 'csv',
    shape: { format, delimiter, lineEnd, headerRow: line.row, headerOffset: line.offset },
  };
}
