/**
 * What the rows of every CSV format have in common: currencies, amounts with their faults, ragged rows, damaged text, totals
 * at the end. Decides only.
 */
import { type Currency, exponentOf, parseCurrency } from '../money.ts';
import { shownText } from '../shown-text.ts';
import { type AmountStyle, type DecimalMark, plainMinor, readAmount } from './amount-text.ts';
import { cellAt } from './csv-columns.ts';
import type { LineCollector, LineSums } from './line-collector.ts';

/** A currency with what every row of it needs. */
export type KnownCurrency = { readonly code: Currency; readonly exponent: number };

/** Words that files write in a currency column: far fewer than this in an honest one. */
const MAX_KEPT_CURRENCIES = 1_000;

export type RowChecks = {
  /** The currency of a cell in any case; null after a fault. */
  readonly currency: (row: number, column: string, text: string) => KnownCurrency | null;
  /** The amount of a cell in minor units; null after a fault. */
  readonly amount: (row: number, column: string, text: string, currency: KnownCurrency) => bigint | null;
  /** The same, and an empty cell is zero. */
  readonly amountOrZero: (
    row: number,
    column: string,
    text: string,
    currency: KnownCurrency,
  ) => bigint | null;
};

export function createRowChecks(collector: LineCollector, mark: DecimalMark, style: AmountStyle): RowChecks {
  const known = new Map<string, KnownCurrency | null>();
  let lastText: string | null = null;
  let lastKnown: KnownCurrency | null = null;

  const lookUp = (text: string): KnownCurrency | null => {
    const found = known.get(text);
    if (found !== undefined) return found;
    if (known.size >= MAX_KEPT_CURRENCIES) known.clear();
    const code = parseCurrency(text.trim().toUpperCase());
    const currency = code === null ? null : { code, exponent: exponentOf(code) };
    known.set(text, currency);
    return currency;
  };
  const amount: RowChecks['amount'] = (row, column, text, currency) => {
    const plain = plainMinor(text, currency.exponent, mark);
    if (plain !== null) return plain;
    const reading = readAmount(text, currency.code, mark, style);
    if (reading.kind === 'ok') return reading.minor;
    collector.refuse(row, column, reading.code, reading.message);
    return null;
  };
  return {
    currency: (row, column, text) => {
      if (text !== lastText || lastKnown === null) {
        lastKnown = lookUp(text);
        lastText = text;
      }
      if (lastKnown !== null) return lastKnown;
      const what = text === '' ? 'has no currency' : `${shownText(text)} is not a currency code of ISO 4217`;
      collector.refuse(row, column, text === '' ? 'currency_missing' : 'currency_unknown', what);
      return null;
    },
    amount,
    amountOrZero: (row, column, text, currency) => (text === '' ? 0n : amount(row, column, text, currency)),
  };
}

/**
 * True when a row of another length than the header's can be read all the same: what it lacks nobody reads, or what it has too
 * many is empty. Otherwise a fault.
 * @param lastUsed position of the last column that is read
 */
export function hasUsableLength(
  collector: LineCollector,
  cells: readonly string[],
  row: number,
  width: number,
  lastUsed: number,
): boolean {
  if (cells.length === width) return true;
  if (cells.length < width && cells.length > lastUsed) return true;
  if (cells.length > width && cells.slice(width).every((cell) => cell.trim() === '')) return true;
  const message = `has ${cells.length} cells and the header ${width}; is a cell with a delimiter not quoted, or the row cut off?`;
  collector.refuse(row, null, 'wrong_cell_count', message);
  return false;
}

/** What could not be decoded, a zero byte, or a line feed of UTF-16 that is one byte off. */
const DAMAGE = /[\ufffd\0\u0a00]/;

/** A fault for a row with characters that are none; false when there are none of those. */
export function isDamagedRow(collector: LineCollector, cells: readonly string[], row: number): boolean {
  const index = cells.findIndex((cell) => DAMAGE.test(cell));
  if (index < 0) return false;
  const message = `cell ${index + 1} has bytes that are no text in the file's encoding; export the file again`;
  collector.refuse(row, null, 'not_text', message);
  // One byte off, the ends of the rows that follow are unreadable too: they all lie in this one.
  if (cells[index]?.includes('\u0a00'))
    collector.stop('text_shifted', 'is UTF-16 that has lost a byte on the way');
  return true;
}

/** A fault for a row with a CR in the middle of a cell: it may have been the end of a row. */
export function hasStrayLineEnd(collector: LineCollector, cells: readonly string[], row: number): boolean {
  const index = cells.findIndex((cell) => /\r(?!\n)/.test(cell));
  if (index < 0) return false;
  const message = `cell ${index + 1} has a carriage return in it: two rows may have become one; export the file again`;
  collector.refuse(row, null, 'stray_line_end', message);
  return true;
}

export function isBlankRow(cells: readonly string[]): boolean {
  return cells.every((cell) => cell.trim() === '');
}

/** What spreadsheets write in front of totals. */
const TOTAL_WORDS =
  /^(?:grand |sub)?totals?:?$|^sum:?$|^summe:?$|^gesamt(?:summe)?:?$|^totaal:?$|^totale:?$/i;

/** True for a row that only repeats sums: one of its cells says so. Callers know that it has no name of its own. */
export function looksLikeTotal(cells: readonly string[]): boolean {
  return cells.some((cell) => TOTAL_WORDS.test(cell.trim()));
}

/** A total of a column: where it stands, and the lines' own sum of it. */
export type TotalColumn = {
  readonly name: string;
  readonly index: number;
  readonly sumOf: (sums: LineSums, currency: Currency) => bigint;
};

/**
 * Compares a row of totals with the lines before it; it is never a line of money. A total that differs, or that cannot be told to
 * which currency it belongs, is a fault.
 */
export function checkTotalRow(
  collector: LineCollector,
  checks: RowChecks,
  cells: readonly string[],
  row: number,
  columns: { readonly currency: number; readonly totals: readonly TotalColumn[] },
): void {
  // With a bad row above nothing can add up, and that is no second fault.
  if (collector.faultCount() > 0) return;
  const named = cellAt(cells, columns.currency).trim();
  const all = [...collector.sums()];
  const found =
    named === '' && all.length === 1 ? all[0]! : all.find(([code]) => code === named.toUpperCase());
  if (found === undefined) {
    const message = 'is a row of totals, and nobody can tell for which currency; delete it';
    collector.refuse(row, null, 'total_unclear', message);
    return;
  }
  const [code, sums] = found;
  const currency = { code, exponent: exponentOf(code) };
  for (const { name, index, sumOf } of columns.totals) {
    const text = cellAt(cells, index);
    if (text.trim() === '') continue;
    const stated = checks.amount(row, name, text, currency);
    if (stated === null || stated === sumOf(sums, code)) continue;
    const message = `the total ${shownText(text)} is not the sum of the rows above: a row is missing, or one is too many`;
    collector.refuse(row, name, 'total_differs', message);
  }
}
