/**
 * Adyen's settlement details report. Decides only. Source: docs.adyen.com, "Settlement details report": unsigned pairs of debit and
 * credit in major units; a batch with its payouts sums to zero per net currency.
 */
import type { Currency } from '../money.ts';
import { shownText } from '../shown-text.ts';
import { readAdyenMoney } from './adyen-money.ts';
import type { DecimalMark } from './amount-text.ts';
import { cellAt, createCsvColumns, textAt } from './csv-columns.ts';
import type { CsvStart, MarkedFormat, RowReader } from './csv-format.ts';
import { findNamedZone, readLocalTime } from './date-text.ts';
import {
  checkTotalRow,
  createRowChecks,
  hasUsableLength,
  isBlankRow,
  looksLikeTotal,
  type RowChecks,
} from './row-checks.ts';
import type { LineKind, SettlementLine, StatedTotal } from './settlement-line.ts';

/** Journal types by name in lower case. */
const KINDS: ReadonlyMap<string, LineKind> = new Map([
  ['settled', 'charge'],
  ['settledreversed', 'charge_reversed'],
  ['refunded', 'refund'],
  ['refundedreversed', 'refund_failed'],
  ['chargeback', 'dispute'],
  ['secondchargeback', 'dispute'],
  ['chargebackreversed', 'dispute_reversed'],
  ['fee', 'fee'],
  ['misccosts', 'fee'],
  ['authorisationschemefee', 'fee'],
  ['invoicededuction', 'fee'],
  ['paymentcost', 'fee'],
  ['settlecost', 'fee'],
  ['merchantpayout', 'deposit'],
  ['internalcompanypayout', 'deposit'],
  ['bankinstructionreturned', 'deposit_returned'],
  ['paidout', 'payout'],
  ['paidoutreversed', 'payout_returned'],
  ['balancetransfer', 'adjustment'],
  ['matchedstatement', 'adjustment'],
  ['manualcorrected', 'adjustment'],
]);

/** The sign tells held from released. */
const RESERVES: ReadonlySet<string> = new Set(['depositcorrection', 'reserveadjustment']);

const PLAIN_KINDS: ReadonlySet<LineKind> = new Set(['charge', 'refund', 'payout', 'deposit']);

const FEE_COLUMNS = ['Commission (NC)', 'Markup (NC)', 'Scheme Fees (NC)', 'Interchange (NC)'] as const;

/** Batches of one file; a day has some per currency. */
const MAX_BATCHES = 100_000;

type Columns = ReturnType<typeof findColumns>;

function findColumns(start: CsvStart) {
  const columns = createCsvColumns(start.header, start.headerRow, start.collector);
  const { find, need } = columns;
  const fees = FEE_COLUMNS.map((name) => ({ name, index: need(name) }));
  return {
    rawOf: columns.rawOf,
    width: start.header.length,
    fees,
    account: find('Merchant Account'),
    payment: need('Psp Reference'),
    merchantReference: need('Merchant Reference'),
    created: need('Creation Date'),
    zone: need('TimeZone'),
    type: need('Type'),
    modification: need('Modification Reference'),
    grossCurrency: need('Gross Currency'),
    grossDebit: need('Gross Debit (GC)'),
    grossCredit: need('Gross Credit (GC)'),
    rate: need('Exchange Rate'),
    netCurrency: need('Net Currency'),
    netDebit: need('Net Debit (NC)'),
    netCredit: need('Net Credit (NC)'),
    modificationReference: find('Modification Merchant Reference'),
    batch: need('Batch Number'),
  };
}

export function createAdyenFormat(start: CsvStart): MarkedFormat {
  const columns = findColumns(start);
  const { grossDebit, grossCredit, netDebit, netCredit, fees } = columns;
  const amountColumns = [grossDebit, grossCredit, netDebit, netCredit, ...fees.map((fee) => fee.index)];
  return {
    amountColumns: amountColumns.filter((index) => index >= 0),
    open: (mark) => createReader(start, columns, mark),
  };
}

type Batch = { readonly batch: string; readonly currency: Currency };

function createReader(start: CsvStart, columns: Columns, mark: DecimalMark): RowReader {
  const { collector } = start;
  const checks = createRowChecks(collector, mark, 'plain');
  const accounts = new Set<string>();
  const batches = new Map<string, Batch>();
  const { rawOf: _, width, fees, ...used } = columns;
  const lastUsed = Math.max(...Object.values(used), ...fees.map((fee) => fee.index));
  // Lines have signs, columns have not: what a spreadsheet's total is compared with is summed by column.
  const sides = new Map<Currency, { debit: bigint; credit: bigint }>();
  const totals = {
    currency: columns.netCurrency,
    totals: [
      { name: 'Net Debit (NC)', index: columns.netDebit, sumOf: sumOfSide(sides, 'debit') },
      { name: 'Net Credit (NC)', index: columns.netCredit, sumOf: sumOfSide(sides, 'credit') },
    ],
  };
  const take = (cells: readonly string[], row: number): void => {
    if (isBlankRow(cells)) return;
    if (cellAt(cells, columns.type) === '' && looksLikeTotal(cells)) {
      checkTotalRow(collector, checks, cells, row, totals);
      return;
    }
    if (!hasUsableLength(collector, cells, row, width, lastUsed)) return;
    const line = readLine(start, columns, checks, mark, cells, row);
    if (line === null) return;
    collector.add(line);
    const side = sides.get(line.currency) ?? { debit: 0n, credit: 0n };
    if (line.netMinor < 0n) side.debit -= line.netMinor;
    else side.credit += line.netMinor;
    sides.set(line.currency, side);
    const account = cellAt(cells, columns.account);
    if (account !== '' && accounts.size < MAX_BATCHES) accounts.add(account);
    const name = `${line.batch} ${line.currency}`;
    if (line.batch !== null && !batches.has(name) && batches.size < MAX_BATCHES) {
      batches.set(name, { batch: line.batch, currency: line.currency });
    }
  };
  return { take, end: () => ({ accounts: [...accounts], totals: [...batches.values()].map(totalOf) }) };
}

function sumOfSide(
  sides: ReadonlyMap<Currency, { readonly debit: bigint; readonly credit: bigint }>,
  side: 'debit' | 'credit',
): (sums: unknown, currency: Currency) => bigint {
  return (_, currency) => sides.get(currency)?.[side] ?? 0n;
}

/** By Adyen's own rule: everything in the batch, payouts too, sums to nothing. */
function totalOf({ batch, currency }: Batch): StatedTotal {
  return { batch, currency, openingMinor: null, closingMinor: null, sumMinor: 0n };
}

function readLine(
  start: CsvStart,
  columns: Columns,
  checks: RowChecks,
  mark: DecimalMark,
  cells: readonly string[],
  row: number,
): SettlementLine | null {
  const { collector } = start;
  const faultsBefore = collector.faultCount();
  const type = cells[columns.type]!;
  if (type === '') collector.refuse(row, 'Type', 'type_missing', 'has no type');
  const payment = referenceAt(start, cells, row, columns.payment, 'Psp Reference');
  const modification = referenceAt(start, cells, row, columns.modification, 'Modification Reference');
  const ours = ourNameIn(start, columns, cells, row);
  const batch = cells[columns.batch]!;
  if (batch === '') collector.refuse(row, 'Batch Number', 'batch_missing', 'has no batch number');
  const occurredAt = readTime(start, columns, cells, row);
  const money = readAdyenMoney({ collector, checks, mark, columns, cells, row });
  if (collector.faultCount() > faultsBefore || money === null) return null;
  const kind = kindOf(type, money.netMinor);
  const { grossMinor, feeMinor, netMinor, original, currency } = money;
  return {
    row,
    lineKey: `${payment ?? ''}|${modification ?? ''}|${type}|${batch}`,
    kind,
    rawType: type,
    currency: currency.code,
    grossMinor,
    feeMinor,
    netMinor,
    reference: modification ?? payment,
    paymentReference: payment,
    ourReference: ours,
    original,
    occurredAt,
    availableOn: null,
    batch,
    raw: PLAIN_KINDS.has(kind) ? null : columns.rawOf(cells),
  };
}

function kindOf(type: string, net: bigint): LineKind {
  const name = type.toLowerCase();
  const kind = KINDS.get(name);
  if (kind !== undefined) return kind;
  if (RESERVES.has(name)) return net < 0n ? 'reserve_held' : 'reserve_released';
  return 'unclassified';
}

/**
 * "1.23E+022", "9E+15": the digits that a spreadsheet has thrown away cannot be found again. "88160E1234567890" is a name like any
 * other: spreadsheets write a sign.
 */
const POWER_OF_TEN = /^[+-]?\d+(?:[.,]\d+E[+-]?|E[+-])\d+$/i;

function referenceAt(
  { collector }: CsvStart,
  cells: readonly string[],
  row: number,
  index: number,
  name: string,
): string | null {
  const text = textAt(cells, index);
  if (text === null || text.length > 24 || !POWER_OF_TEN.test(text)) return text;
  const message = `${shownText(text)} was a reference until a spreadsheet made a number of it; export the file again`;
  collector.refuse(row, name, 'reference_destroyed', message);
  return null;
}

/** A modification's own reference; a payment's is the merchant reference. */
function ourNameIn(start: CsvStart, columns: Columns, cells: readonly string[], row: number): string | null {
  const own = referenceAt(
    start,
    cells,
    row,
    columns.modificationReference,
    'Modification Merchant Reference',
  );
  const payment = referenceAt(start, cells, row, columns.merchantReference, 'Merchant Reference');
  return own ?? payment;
}

function readTime(
  { collector }: CsvStart,
  columns: Columns,
  cells: readonly string[],
  row: number,
): string | null {
  const text = cells[columns.created]!;
  if (text === '') return null;
  const time = readLocalTime(text);
  if (time === null) {
    const message = `${shownText(text)} is no time like 2026-11-25 16:05:00`;
    collector.refuse(row, 'Creation Date', 'date_unreadable', message);
    return null;
  }
  const name = cells[columns.zone]!;
  const found = findNamedZone(name);
  if (found === null) {
    const message =
      name === '' ? 'has no time zone' : `${shownText(name)} is no time zone that is known here`;
    collector.refuse(row, 'TimeZone', 'zone_unknown', message);
    return null;
  }
  return found.zone.instantOf(time, found.hint);
}
