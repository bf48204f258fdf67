/**
 * Stripe's itemised reports: balance change from activity, and payout reconciliation. Decides only. Source: docs.stripe.com/reports
 * (report types, reporting categories): amounts are signed decimals in major units, net = gross − fee, in the settlement's currency.
 */

import { shownText } from '../shown-text.ts';
import type { DecimalMark } from './amount-text.ts';
import { cellAt, createCsvColumns, textAt } from './csv-columns.ts';
import type { CsvStart, FileWords, MarkedFormat, RowReader } from './csv-format.ts';
import { findZone, readLocalTime, utcInstant, type Zone } from './date-text.ts';
import type { LineCollector } from './line-collector.ts';
import {
  checkTotalRow,
  createRowChecks,
  hasUsableLength,
  isBlankRow,
  type KnownCurrency,
  looksLikeTotal,
  type RowChecks,
} from './row-checks.ts';
import type { LineKind, SettlementLine } from './settlement-line.ts';

/**
 * Reporting categories. A payout of Stripe's is our deposit; a transfer goes to a seller's account and is our payout. Those that change
 * nothing of ours by a known rule are left out: they become `unclassified`.
 */
const KINDS: ReadonlyMap<string, LineKind> = new Map([
  ['charge', 'charge'],
  ['charge_failure', 'charge_reversed'],
  ['partial_capture_reversal', 'charge_reversed'],
  ['refund', 'refund'],
  ['refund_failure', 'refund_failed'],
  ['dispute', 'dispute'],
  ['dispute_reversal', 'dispute_reversed'],
  ['fee', 'fee'],
  ['network_cost', 'fee'],
  ['tax', 'fee'],
  ['payout', 'deposit'],
  ['payout_reversal', 'deposit_returned'],
  ['topup', 'top_up'],
  ['topup_reversal', 'top_up'],
  ['transfer', 'payout'],
  ['transfer_reversal', 'payout_returned'],
  ['other_adjustment', 'adjustment'],
]);

/** Held and released have one word; the sign tells them apart. */
const RESERVES: ReadonlySet<string> = new Set(['risk_reserved_funds', 'connect_reserved_funds']);

/** Kinds of which the line says everything that a person asks for. */
const PLAIN_KINDS: ReadonlySet<LineKind> = new Set([
  'charge',
  'refund',
  'payout',
  'deposit',
  'fee',
  'top_up',
]);

/** Positions of the columns, -1 where the customer left one out. */
type Columns = ReturnType<typeof findColumns>;

function findColumns(start: CsvStart) {
  const columns = createCsvColumns(start.header, start.headerRow, start.collector);
  const { find, need } = columns;
  const firstOf = (...names: readonly string[]) => names.map(find).find((index) => index >= 0) ?? -1;
  const timeColumns = (name: string) => ({ name, utc: find(`${name}_utc`), local: find(name) });
  return {
    rawOf: columns.rawOf,
    width: start.header.length,
    key: need('balance_transaction_id'),
    currency: need('currency'),
    gross: need('gross'),
    fee: need('fee'),
    net: need('net'),
    category: need('reporting_category'),
    source: firstOf('source_id', 'payout_id'),
    charge: find('charge_id'),
    intent: find('payment_intent_id'),
    created: timeColumns('created'),
    available: timeColumns('available_on'),
    batch: find('automatic_payout_id'),
    facingAmount: find('customer_facing_amount'),
    facingCurrency: find('customer_facing_currency'),
    paymentNames: [find('payment_metadata[paygate_operation]'), find('payment_metadata[paygate_key]')],
    refundNames: [find('refund_metadata[paygate_operation]'), find('refund_metadata[paygate_key]')],
    transferNames: [find('transfer_metadata[paygate_operation]'), find('transfer_metadata[paygate_key]')],
  };
}

export function createStripeFormat(start: CsvStart): MarkedFormat {
  const columns = findColumns(start);
  const { rawOf: _, width, created, available, paymentNames, refundNames, transferNames, ...used } = columns;
  const names = [...paymentNames, ...refundNames, ...transferNames];
  const times = [created.utc, created.local, available.utc, available.local];
  const lastUsed = Math.max(...Object.values(used), ...names, ...times);
  return {
    amountColumns: [columns.gross, columns.fee, columns.net].filter((index) => index >= 0),
    open: (mark) => createReader(start, columns, Math.min(lastUsed, width - 1), mark),
  };
}

function createReader(start: CsvStart, columns: Columns, lastUsed: number, mark: DecimalMark): RowReader {
  const { collector } = start;
  const checks = createRowChecks(collector, mark, 'plain');
  const zone = start.timeZone === null ? null : findZone(start.timeZone);
  const totals = [
    { name: 'gross', index: columns.gross, sumOf: (sums: { grossMinor: bigint }) => sums.grossMinor },
    { name: 'fee', index: columns.fee, sumOf: (sums: { feeMinor: bigint }) => sums.feeMinor },
    { name: 'net', index: columns.net, sumOf: (sums: { netMinor: bigint }) => sums.netMinor },
  ];
  const take = (cells: readonly string[], row: number): void => {
    const key = cellAt(cells, columns.key);
    if (!key.startsWith('txn_')) {
      if (isBlankRow(cells)) return;
      if (cellAt(cells, columns.category) === '' && looksLikeTotal(cells)) {
        checkTotalRow(collector, checks, cells, row, { currency: columns.currency, totals });
        return;
      }
    }
    if (!hasUsableLength(collector, cells, row, columns.width, lastUsed)) return;
    const line = readLine(start, columns, checks, zone, cells, row);
    if (line !== null) collector.add(line);
  };
  return { take, end: (): FileWords => ({ accounts: [], totals: [] }) };
}

function readLine(
  { collector }: CsvStart,
  columns: Columns,
  checks: RowChecks,
  zone: Zone | null,
  cells: readonly string[],
  row: number,
): SettlementLine | null {
  const key = cells[columns.key]!;
  const category = cells[columns.category]!;
  const currency = checks.currency(row, 'currency', cells[columns.currency]!);
  if (key === '')
    collector.refuse(row, 'balance_transaction_id', 'key_missing', 'has no balance transaction');
  if (category === '')
    collector.refuse(row, 'reporting_category', 'type_missing', 'has no reporting category');
  if (currency === null) return null;
  const gross = checks.amount(row, 'gross', cells[columns.gross]!, currency);
  const fee = checks.amount(row, 'fee', cells[columns.fee]!, currency);
  const net = checks.amount(row, 'net', cells[columns.net]!, currency);
  if (gross === null || fee === null || net === null || key === '' || category === '') return null;
  const original = readOriginal(columns, checks, currency, gross, cells, row);
  if (original === 'fault') return null;
  const occurredAt = readTime(collector, columns.created, zone, cells, row);
  const availableOn = readTime(collector, columns.available, zone, cells, row);
  if (occurredAt === 'fault' || availableOn === 'fault') return null;
  const kind = kindOf(category, net);
  return {
    row,
    lineKey: key,
    kind,
    rawType: category,
    currency: currency.code,
    grossMinor: gross,
    feeMinor: fee,
    netMinor: net,
    reference: textAt(cells, columns.source),
    paymentReference: textAt(cells, columns.intent) ?? textAt(cells, columns.charge),
    ourReference: ourNameIn(columns, kind, cells),
    original,
    occurredAt,
    availableOn,
    batch: textAt(cells, columns.batch),
    raw: PLAIN_KINDS.has(kind) ? null : columns.rawOf(cells),
  };
}

function kindOf(category: string, net: bigint): LineKind {
  const kind = KINDS.get(category);
  if (kind !== undefined) return kind;
  if (RESERVES.has(category)) return net < 0n ? 'reserve_held' : 'reserve_released';
  return 'unclassified';
}

/** A refund's own name is in its own metadata; the payment's metadata in its row names the charge. */
function ourNameIn(columns: Columns, kind: LineKind, cells: readonly string[]): string | null {
  const [operation, key] = namesOf(columns, kind);
  return textAt(cells, operation ?? -1) ?? textAt(cells, key ?? -1);
}

const NO_NAMES: readonly number[] = [];

function namesOf(columns: Columns, kind: LineKind): readonly number[] {
  switch (kind) {
    case 'charge':
    case 'charge_reversed':
    case 'dispute':
    case 'dispute_reversed':
      return columns.paymentNames;
    case 'refund':
    case 'refund_failed':
      return columns.refundNames;
    case 'payout':
    case 'payout_returned':
      return columns.transferNames;
    default:
      return NO_NAMES;
  }
}

type TimeColumns = { readonly name: string; readonly utc: number; readonly local: number };

/** The plain columns are in the report's time zone, which the file does not name. */
function readTime(
  collector: LineCollector,
  columns: TimeColumns,
  zone: Zone | null,
  cells: readonly string[],
  row: number,
): string | null | 'fault' {
  const isUtc = cellAt(cells, columns.utc) !== '';
  const text = cellAt(cells, isUtc ? columns.utc : columns.local);
  if (text === '') return null;
  const instant = isUtc ? utcInstant(text) : null;
  if (instant !== null) return instant;
  const time = isUtc ? null : readLocalTime(text);
  if (time !== null) return zone === null ? null : zone.instantOf(time, null);
  const message = `${shownText(text)} is no time like 2026-11-25 16:05:00`;
  collector.refuse(row, isUtc ? `${columns.name}_utc` : columns.name, 'date_unreadable', message);
  return 'fault';
}

/** What the buyer paid, where that was in another currency; its sign is the gross's. */
function readOriginal(
  columns: Columns,
  checks: RowChecks,
  settled: KnownCurrency,
  gross: bigint,
  cells: readonly string[],
  row: number,
): SettlementLine['original'] | 'fault' {
  const code = cellAt(cells, columns.facingCurrency);
  const text = cellAt(cells, columns.facingAmount);
  if (code === '' || text === '') return null;
  if (code === cells[columns.currency] || code.toUpperCase() === settled.code) return null;
  const currency = checks.currency(row, 'customer_facing_currency', code);
  const amount = currency === null ? null : checks.amount(row, 'customer_facing_amount', text, currency);
  if (currency === null || amount === null) return 'fault';
  const isOpposite = (amount < 0n && gross > 0n) || (amount > 0n && gross < 0n);
  return { currency: currency.code, amountMinor: isOpposite ? -amount : amount };
}
