/** Any CSV file by a mapping. Decides only; the rules of reading are the mapping's, and what it leaves open is never guessed. */
import { createHash } from 'node:crypto';
import { exponentOf } from '../money.ts';
import { shownText } from '../shown-text.ts';
import type { DecimalMark } from './amount-text.ts';
import { cellAt, createCsvColumns, textAt } from './csv-columns.ts';
import type { CsvStart, FileWords, MarkedFormat, RowReader } from './csv-format.ts';
import { instantAtOffset } from './date-text.ts';
import {
  checkTotalRow,
  createRowChecks,
  hasUsableLength,
  isBlankRow,
  type KnownCurrency,
  looksLikeTotal,
  type RowChecks,
  type TotalColumn,
} from './row-checks.ts';
import type { LineKind, SettlementLine } from './settlement-line.ts';
import type { MappedColumn, MappedType, SettlementMapping } from './settlement-mapping.ts';

const PLAIN_KINDS: ReadonlySet<LineKind> = new Set(['charge', 'refund', 'payout', 'deposit', 'fee']);

/** Accounts that a file names. */
const MAX_ACCOUNTS = 1_000;

type Places = {
  readonly rawOf: (cells: readonly string[]) => string;
  readonly width: number;
  readonly at: Readonly<Record<MappedColumn, number>>;
  readonly key: readonly number[];
  readonly total: number;
  readonly lastUsed: number;
};

function findPlaces(start: CsvStart, mapping: SettlementMapping): Places {
  const columns = createCsvColumns(start.header, start.headerRow, start.collector);
  const { key, ...named } = mapping.columns;
  const at = Object.fromEntries(
    Object.entries(named).map(([column, name]) => [column, name === null ? -1 : columns.need(name)]),
  ) as Record<MappedColumn, number>;
  const keys = key.map((name) => columns.need(name));
  const total = mapping.totalRow === null ? -1 : columns.need(mapping.totalRow.column);
  const lastUsed = Math.max(...Object.values(at), ...keys);
  return { rawOf: columns.rawOf, width: start.header.length, at, key: keys, total, lastUsed };
}

const AMOUNT_COLUMNS = [
  'gross',
  'gross_debit',
  'gross_credit',
  'fee',
  'net',
  'net_debit',
  'net_credit',
  'original_amount',
] as const;

export function createGenericFormat(start: CsvStart, mapping: SettlementMapping): MarkedFormat {
  const places = findPlaces(start, mapping);
  const amountColumns = AMOUNT_COLUMNS.map((column) => places.at[column]).filter((index) => index >= 0);
  return { amountColumns, open: (mark) => createReader(start, mapping, places, mark) };
}

/** What reading one row needs. */
type RowContext = {
  readonly start: CsvStart;
  readonly mapping: SettlementMapping;
  readonly places: Places;
  readonly checks: RowChecks;
  readonly cells: readonly string[];
  readonly row: number;
};

function createReader(
  start: CsvStart,
  mapping: SettlementMapping,
  places: Places,
  mark: DecimalMark,
): RowReader {
  const { collector } = start;
  const checks = createRowChecks(collector, mark, 'written');
  const accounts = new Set<string>();
  const totals = totalColumns(mapping, places);

  const takeRow = (cells: readonly string[], row: number): void => {
    if (isTotal(mapping, places, cells)) {
      checkTotalRow(collector, checks, cells, row, { currency: places.at.currency, totals });
      return;
    }
    if (!hasUsableLength(collector, cells, row, places.width, places.lastUsed)) return;
    const line = readLine({ start, mapping, places, checks, cells, row });
    if (line === null) return;
    collector.add(line);
    const account = textAt(cells, places.at.account);
    if (account !== null && accounts.size < MAX_ACCOUNTS) accounts.add(account);
  };
  // The last rows are known as such only at the end: so many always wait.
  const held: (readonly [readonly string[], number])[] = [];
  return {
    take: (cells, row) => {
      if (isBlankRow(cells)) return;
      if (mapping.trailerRows === 0) return takeRow(cells, row);
      held.push([cells, row]);
      if (held.length > mapping.trailerRows) takeRow(...held.shift()!);
    },
    end: (): FileWords => ({ accounts: [...accounts], totals: [] }),
  };
}

function isTotal(mapping: SettlementMapping, places: Places, cells: readonly string[]): boolean {
  if (mapping.totalRow !== null) {
    return cellAt(cells, places.total).trim().toLowerCase() === mapping.totalRow.text.trim().toLowerCase();
  }
  // A row with a key of its own is money, whatever its first cell says.
  const { currency, occurred_at: time, type } = places.at;
  const hasName = [...places.key, time, type].some((index) => {
    const cell = cellAt(cells, index).trim();
    return cell !== '' && !looksLikeTotal([cell]);
  });
  return (
    !hasName &&
    (currency < 0 || cellAt(cells, currency) === '' || places.key.length > 0) &&
    looksLikeTotal(cells)
  );
}

function totalColumns(mapping: SettlementMapping, { at }: Places): readonly TotalColumn[] {
  // Only a signed column adds up to what its lines add up to.
  if (mapping.sign !== 'signed' && mapping.sign !== 'parentheses') return [];
  if (mapping.unit === 'minor') return [];
  const feeFactor = mapping.feeSign === 'cost_positive' ? 1n : -1n;
  const all: readonly TotalColumn[] = [
    { name: 'gross', index: at.gross, sumOf: (sums) => sums.grossMinor },
    { name: 'fee', index: at.fee, sumOf: (sums) => feeFactor * sums.feeMinor },
    { name: 'net', index: at.net, sumOf: (sums) => sums.netMinor },
  ];
  return all.filter(({ index }) => index >= 0);
}

function readLine(context: RowContext): SettlementLine | null {
  const { start, mapping, places, cells, row } = context;
  const { collector } = start;
  const before = collector.faultCount();
  const currency = currencyOf(context);
  if (currency === null) return null;
  const rawType = cellAt(cells, places.at.type).trim();
  const type = mapping.types.get(rawType.toLowerCase()) ?? null;
  const money = readMoney(context, currency, type);
  const occurredAt = readTime(context, 'occurred_at');
  const availableOn = readTime(context, 'available_on');
  const original = readOriginal(context, money?.gross ?? 0n);
  if (money === null || collector.faultCount() > before) return null;
  const kind = kindOf(mapping, type, money.net);
  const isNote = kind === 'note';
  return {
    row,
    lineKey: keyOf(context),
    kind,
    rawType,
    currency: currency.code,
    grossMinor: isNote ? 0n : money.gross,
    feeMinor: isNote ? 0n : money.fee,
    netMinor: isNote ? 0n : money.net,
    reference: textAt(cells, places.at.reference),
    paymentReference: textAt(cells, places.at.payment_reference),
    ourReference: textAt(cells, places.at.our_reference),
    original,
    occurredAt,
    availableOn,
    batch: textAt(cells, places.at.batch),
    raw: PLAIN_KINDS.has(kind) ? null : places.rawOf(cells),
  };
}

/** A mapping without types is of a file of one sort of row, such as a bank's: the sign is all there is. */
function kindOf(mapping: SettlementMapping, type: MappedType | null, net: bigint): LineKind {
  if (type === null) return mapping.types.size === 0 ? (net < 0n ? 'top_up' : 'deposit') : 'unclassified';
  if (type.kind === 'reserve_held' && net > 0n) return 'reserve_released';
  if (type.kind === 'reserve_released' && net < 0n) return 'reserve_held';
  return type.kind;
}

function currencyOf({ mapping, places, checks, cells, row }: RowContext): KnownCurrency | null {
  if (places.at.currency < 0 && mapping.currency !== null) {
    return { code: mapping.currency, exponent: exponentOf(mapping.currency) };
  }
  return checks.currency(row, mapping.columns.currency ?? 'currency', cellAt(cells, places.at.currency));
}

/** The key columns, or without them a hash of the whole row: equal rows share it and are counted. */
function keyOf({ places, cells }: RowContext): string {
  if (places.key.length > 0) {
    const key = places.key.map((index) => cellAt(cells, index)).join('|');
    if (/[^|]/.test(key)) return key;
  }
  return `sha256:${createHash('sha256').update(cells.join('\u001f')).digest('hex')}`;
}

type RowMoney = { readonly gross: bigint; readonly fee: bigint; readonly net: bigint };

function readMoney(context: RowContext, currency: KnownCurrency, type: MappedType | null): RowMoney | null {
  const { mapping, places } = context;
  const factor = directionOf(context, type);
  if (factor === null) return null;
  const read = (column: MappedColumn): bigint | null | undefined => {
    if (places.at[column] < 0) return undefined;
    const amount = amountAt(context, column, currency);
    return amount === null ? null : withDirection(context, column, amount, factor);
  };
  const isPair = mapping.sign === 'debit_credit';
  const gross = isPair ? readPair(context, 'gross_debit', 'gross_credit', currency) : read('gross');
  const net = isPair ? readPair(context, 'net_debit', 'net_credit', currency) : read('net');
  const fee = readFee(context, currency);
  if (gross === null || net === null || fee === null) return null;
  if (gross === undefined) return { gross: net! + fee, fee, net: net! };
  return { gross, fee, net: net ?? gross - fee };
}

/** 1 or -1 for a row whose amounts carry no sign of their own, 0 where they do; null after a fault. */
function directionOf(
  { start, mapping, places, cells, row }: RowContext,
  type: MappedType | null,
): bigint | null {
  if (mapping.sign === 'type') {
    if (type?.direction != null) return type.direction === 'in' ? 1n : -1n;
    const word = shownText(cellAt(cells, places.at.type));
    const message = `nobody can tell whether ${word} is money in or out; add it to the mapping's types with its direction`;
    start.collector.refuse(row, mapping.columns.type, 'direction_unknown', message);
    return null;
  }
  if (mapping.sign !== 'direction') return 0n;
  const word = cellAt(cells, places.at.direction).trim().toLowerCase();
  if (mapping.creditWords.has(word)) return 1n;
  if (mapping.debitWords.has(word)) return -1n;
  const message = `${shownText(cellAt(cells, places.at.direction))} is neither a debit word nor a credit word of the mapping`;
  start.collector.refuse(row, mapping.columns.direction, 'direction_unknown', message);
  return null;
}

/** A sign where another column gives the direction is a contradiction, and nobody knows who is right. */
function withDirection(
  { start, mapping, row }: RowContext,
  column: MappedColumn,
  amount: bigint,
  factor: bigint,
): bigint | null {
  if (factor === 0n) return amount;
  if (amount >= 0n) return amount * factor;
  const message = 'has a sign of its own, and its direction is told by another column';
  start.collector.refuse(row, mapping.columns[column], 'sign_unexpected', message);
  return null;
}

function amountAt(
  { start, mapping, places, checks, cells, row }: RowContext,
  column: MappedColumn,
  currency: KnownCurrency,
): bigint | null {
  const text = cellAt(cells, places.at[column]);
  const name = mapping.columns[column] ?? column;
  if (mapping.unit === 'major') return checks.amount(row, name, text, currency);
  if (/^-?[0-9]{1,18}$/.test(text)) return BigInt(text);
  const message = `${shownText(text)} is no whole number of minor units`;
  start.collector.refuse(row, name, text === '' ? 'amount_missing' : 'amount_unreadable', message);
  return null;
}

/** Exactly one side of a pair has an amount; the other is empty or zero. */
function readPair(
  context: RowContext,
  debitColumn: MappedColumn,
  creditColumn: MappedColumn,
  currency: KnownCurrency,
): bigint | null | undefined {
  const { start, mapping, places, cells, row } = context;
  if (places.at[debitColumn] < 0) return undefined;
  const isEmpty = (column: MappedColumn) => cellAt(cells, places.at[column]).trim() === '';
  if (isEmpty(debitColumn) && isEmpty(creditColumn)) {
    start.collector.refuse(
      row,
      mapping.columns[creditColumn],
      'amount_missing',
      'has neither a debit nor a credit',
    );
    return null;
  }
  const debit = isEmpty(debitColumn) ? 0n : amountAt(context, debitColumn, currency);
  const credit = isEmpty(creditColumn) ? 0n : amountAt(context, creditColumn, currency);
  if (debit === null || credit === null) return null;
  // Some banks write debits with a minus in their own column: that says the same twice.
  const out = debit < 0n ? -debit : debit;
  if (credit >= 0n && (out === 0n || credit === 0n)) return credit - out;
  const message = credit < 0n ? 'is a credit with a minus' : 'has a debit and a credit at once';
  start.collector.refuse(row, mapping.columns[creditColumn], 'sign_unexpected', message);
  return null;
}

function readFee(context: RowContext, currency: KnownCurrency): bigint | null {
  const { mapping, places, cells } = context;
  if (cellAt(cells, places.at.fee).trim() === '') return 0n;
  const fee = amountAt(context, 'fee', currency);
  if (fee === null) return null;
  return mapping.feeSign === 'cost_positive' ? fee : -fee;
}

function readTime(
  { start, mapping, places, cells, row }: RowContext,
  column: 'occurred_at' | 'available_on',
): string | null {
  const text = cellAt(cells, places.at[column]).trim();
  if (text === '') return null;
  const read = mapping.dates.read(text);
  if (read === null) {
    const message = `${shownText(text)} does not fit the mapping's date format`;
    start.collector.refuse(row, mapping.columns[column], 'date_unreadable', message);
    return null;
  }
  if (read.offsetMinutes !== null) return instantAtOffset(read.time, read.offsetMinutes);
  return mapping.zone.instantOf(read.time, null);
}

function readOriginal(context: RowContext, gross: bigint): SettlementLine['original'] {
  const { mapping, places, checks, cells, row } = context;
  const code = cellAt(cells, places.at.original_currency);
  if (code === '' || cellAt(cells, places.at.original_amount).trim() === '') return null;
  if (code.toUpperCase() === cellAt(cells, places.at.currency).toUpperCase()) return null;
  const currency = checks.currency(row, mapping.columns.original_currency ?? '', code);
  const amount = currency === null ? null : amountAt(context, 'original_amount', currency);
  if (currency === null || amount === null) return null;
  const isOpposite = (amount < 0n && gross > 0n) || (amount > 0n && gross < 0n);
  return { currency: currency.code, amountMinor: isOpposite ? -amount : amount };
}
