/**
 * PayPal's settlement report (STL) and transaction detail report: typed rows, of which SB ones are money. Decides only. Source:
 * developer.paypal.com, "Settlement Report Specification": amounts are unsigned with two implied decimals for every currency (100 yen
 * are 10000), and their direction stands in its own column.
 */
import type { Currency } from '../money.ts';
import { shownText } from '../shown-text.ts';
import { type CsvColumns, createCsvColumns, normalName, textAt } from './csv-columns.ts';
import type { RowReader } from './csv-format.ts';
import { instantAtOffset, offsetMinutesOf, readLocalTime } from './date-text.ts';
import type { LineCollector } from './line-collector.ts';
import { createRowChecks, isBlankRow, type KnownCurrency, type RowChecks } from './row-checks.ts';
import type { LineKind, SettlementLine, StatedTotal } from './settlement-line.ts';

/** What a code does, by whether money came in. Codes that nobody has mapped are `unclassified`. */
type CodeRule = LineKind | { readonly in: LineKind; readonly out: LineKind };

const RESERVE: CodeRule = { in: 'reserve_released', out: 'reserve_held' };

/** Whole codes before their groups. Source: developer.paypal.com, "Transaction event codes". */
const CODES: ReadonlyMap<string, CodeRule> = new Map<string, CodeRule>([
  ['T0001', { in: 'charge', out: 'payout' }],
  ['T1101', { in: 'deposit_returned', out: 'unclassified' }],
  ['T1104', 'top_up'],
  ['T1105', RESERVE],
  ['T1106', { in: 'refund_failed', out: 'charge_reversed' }],
  ['T1107', { in: 'unclassified', out: 'refund' }],
  ['T1108', 'fee'],
  ['T1110', RESERVE],
  ['T1111', RESERVE],
  ['T1114', 'payout_returned'],
  ['T1115', 'payout_returned'],
  ['T1116', 'payout_returned'],
  ['T1201', 'dispute'],
  ['T1202', 'dispute_reversed'],
  ['T1900', 'adjustment'],
]);
const GROUPS: ReadonlyMap<string, CodeRule> = new Map<string, CodeRule>([
  ['T00', { in: 'charge', out: 'payout' }],
  ['T01', 'fee'],
  ['T02', 'adjustment'],
  ['T03', 'top_up'],
  ['T04', 'deposit'],
  ['T15', RESERVE],
  ['T21', RESERVE],
]);

const PLAIN_KINDS: ReadonlySet<LineKind> = new Set(['charge', 'refund', 'payout', 'deposit', 'fee']);

/** Rows that frame the body. A file of a split report may lack the report's own head or foot. */
const FRAME_ROWS: ReadonlySet<string> = new Set(['RH', 'FH', 'SH', 'CH', 'SF', 'SC', 'RF', 'RC', 'FF']);

/** Statuses of the transaction report in which nothing moved: denied, pending. */
const UNMOVED_STATUSES: ReadonlySet<string> = new Set(['D', 'P']);

type Body = {
  readonly columns: CsvColumns;
  readonly width: number;
  readonly lastUsed: number;
  readonly id: number;
  readonly invoice: number;
  readonly parent: number;
  readonly parentType: number;
  readonly code: number;
  readonly initiated: number;
  readonly completed: number;
  readonly side: number;
  readonly amount: number;
  readonly currency: number;
  readonly feeSide: number;
  readonly fee: number;
  readonly feeCurrency: number;
  readonly custom: number;
  readonly status: number;
};

function findBody(header: readonly string[], row: number, collector: LineCollector): Body | null {
  const before = collector.faultCount();
  const columns = createCsvColumns(header, row, collector);
  const { find, need } = columns;
  const used = {
    id: need('Transaction ID'),
    invoice: find('Invoice ID'),
    parent: find('PayPal Reference ID'),
    parentType: find('PayPal Reference ID Type'),
    code: need('Transaction Event Code'),
    initiated: find('Transaction Initiation Date'),
    completed: find('Transaction Completion Date'),
    side: need('Transaction Debit or Credit'),
    amount: need('Gross Transaction Amount'),
    currency: need('Gross Transaction Currency'),
    feeSide: need('Fee Debit or Credit'),
    fee: need('Fee Amount'),
    feeCurrency: find('Fee Currency'),
    status: find('Transactional Status'),
    custom: find('Custom Field'),
  };
  if (collector.faultCount() > before) return null;
  return { columns, width: header.length, lastUsed: Math.max(...Object.values(used)), ...used };
}

/** Reads whole files, from their first row. */
export function createPaypalReader(collector: LineCollector): RowReader {
  // No mark is ever met: amounts are whole numbers of hundredths.
  const checks = createRowChecks(collector, '.', 'plain');
  const accounts = new Set<string>();
  const totals: StatedTotal[] = [];
  let body: Body | null | undefined;
  let section = 0;
  let lastFrame = '';
  let bodyRows = 0;

  const take = (cells: readonly string[], row: number): void => {
    if (isBlankRow(cells)) return;
    const type = cells[0]!.trim();
    if (type === 'SB') {
      bodyRows += 1;
      lastFrame = type;
      if (body === undefined)
        collector.refuse(row, null, 'header_missing', 'stands before any row of column names (CH)');
      else if (body === null)
        collector.refuse(row, null, 'header_unusable', 'cannot be read without the columns above');
      else takeBody(collector, checks, body, cells, row);
      return;
    }
    if (!FRAME_ROWS.has(type)) {
      const message = `${shownText(type)} is no row type of PayPal's reports`;
      collector.refuse(row, null, 'row_type_unknown', message);
      return;
    }
    lastFrame = type;
    if (type === 'CH') body = findBody(cells, row, collector);
    if (type === 'SH') section += 1;
    const account = type === 'SH' ? textAt(cells, 3) : type === 'RH' ? textAt(cells, 3) : null;
    if (account !== null && accounts.size < 1_000) accounts.add(account);
    if (type === 'SF') takeSectionFooter(checks, totals, String(section), cells, row);
  };
  return {
    take,
    end: () => {
      if (bodyRows > 0 && !['SF', 'SC', 'RF', 'RC', 'FF'].includes(lastFrame)) {
        collector.stop(
          'file_cut_off',
          'ends without the rows that close a section (SF, SC): the rest is missing',
        );
      }
      return { accounts: [...accounts], totals };
    },
  };
}

function takeBody(
  collector: LineCollector,
  checks: RowChecks,
  body: Body,
  cells: readonly string[],
  row: number,
): void {
  const isRagged = cells.length <= body.lastUsed || cells.slice(body.width).some((cell) => cell !== '');
  if (isRagged) {
    const message = `has ${cells.length} cells and the column names ${body.width}`;
    collector.refuse(row, null, 'wrong_cell_count', message);
    return;
  }
  const before = collector.faultCount();
  const id = cells[body.id]!;
  const code = cells[body.code]!;
  if (id === '') collector.refuse(row, 'Transaction ID', 'key_missing', 'has no transaction ID');
  if (!/^T\d{4}$/.test(code)) {
    const message = `${shownText(code)} is no event code like T0006`;
    collector.refuse(row, 'Transaction Event Code', 'type_missing', message);
  }
  const occurredAt = readTime(collector, body, cells, row);
  const money = readMoney(collector, checks, body, cells, row);
  if (money === null || collector.faultCount() > before) return;
  collector.add(lineOf(body, cells, row, occurredAt, money));
}

type RowMoney = { readonly currency: KnownCurrency; readonly gross: bigint; readonly fee: bigint };

function lineOf(
  body: Body,
  cells: readonly string[],
  row: number,
  occurredAt: string | null,
  { currency, gross, fee }: RowMoney,
): SettlementLine {
  const id = cells[body.id]!;
  const code = cells[body.code]!;
  const hasMoved = !UNMOVED_STATUSES.has(textAt(cells, body.status) ?? '');
  const kind = hasMoved ? kindOf(code, gross === 0n ? -fee : gross) : 'note';
  // A reference of another type names an order or a subscription, and no payment.
  const isParent = ['TXN', ''].includes(textAt(cells, body.parentType) ?? '');
  const parent = isParent ? textAt(cells, body.parent) : null;
  return {
    row,
    lineKey: `${id}|${code}`,
    kind,
    rawType: code,
    currency: currency.code,
    grossMinor: hasMoved ? gross : 0n,
    feeMinor: hasMoved ? fee : 0n,
    netMinor: hasMoved ? gross - fee : 0n,
    reference: id,
    paymentReference: kind === 'charge' ? id : parent,
    ourReference: textAt(cells, body.custom) ?? textAt(cells, body.invoice),
    original: null,
    occurredAt,
    availableOn: null,
    batch: null,
    raw: PLAIN_KINDS.has(kind) ? null : body.columns.rawOf(cells),
  };
}

function kindOf(code: string, amount: bigint): LineKind {
  const rule = CODES.get(code) ?? GROUPS.get(code.slice(0, 3));
  if (rule === undefined) return 'unclassified';
  if (typeof rule === 'string') return rule;
  return amount < 0n ? rule.out : rule.in;
}

function readTime(
  collector: LineCollector,
  body: Body,
  cells: readonly string[],
  row: number,
): string | null {
  const isCompleted = textAt(cells, body.completed) !== null;
  const index = isCompleted ? body.completed : body.initiated;
  const name = isCompleted ? 'Transaction Completion Date' : 'Transaction Initiation Date';
  const text = textAt(cells, index);
  if (text === null) return null;
  const split = text.lastIndexOf(' ');
  const time = readLocalTime(text.slice(0, split));
  const offset = offsetMinutesOf(text.slice(split + 1));
  if (time !== null && offset !== null) return instantAtOffset(time, offset);
  const message = `${shownText(text)} is no time like 2026/11/25 16:05:00 -0800`;
  collector.refuse(row, name, 'date_unreadable', message);
  return null;
}

function readMoney(
  collector: LineCollector,
  checks: RowChecks,
  body: Body,
  cells: readonly string[],
  row: number,
): RowMoney | null {
  const currency = checks.currency(row, 'Gross Transaction Currency', cells[body.currency]!);
  if (currency === null) return null;
  const gross = readSided(collector, currency, row, cells[body.side]!, cells[body.amount]!, {
    side: 'Transaction Debit or Credit',
    amount: 'Gross Transaction Amount',
  });
  const feeText = cells[body.fee]!;
  const feeIn = isEmptyFee(feeText, cells[body.feeSide]!)
    ? 0n
    : readSided(collector, currency, row, cells[body.feeSide]!, feeText, {
        side: 'Fee Debit or Credit',
        amount: 'Fee Amount',
      });
  if (gross === null || feeIn === null) return null;
  const feeCurrency = textAt(cells, body.feeCurrency);
  if (feeIn !== 0n && feeCurrency !== null && feeCurrency.toUpperCase() !== currency.code) {
    const message = `the fee is in ${shownText(feeCurrency)} and the amount in ${currency.code}`;
    collector.refuse(row, 'Fee Currency', 'currency_differs', message);
    return null;
  }
  return { currency, gross, fee: -feeIn };
}

/** A row without a fee has empty cells; a zero without a direction says the same. */
function isEmptyFee(text: string, side: string): boolean {
  return side === '' && /^0*$/.test(text);
}

/** An amount in hundredths with its direction, signed as we see it; null after a fault. */
function readSided(
  collector: LineCollector,
  currency: KnownCurrency,
  row: number,
  side: string,
  text: string,
  names: { readonly side: string; readonly amount: string },
): bigint | null {
  const minor = hundredthsToMinor(text, currency.exponent);
  if (minor === 'unreadable') {
    const message = `${shownText(text)} is no whole number of hundredths: PayPal writes 12.50 as 1250`;
    collector.refuse(row, names.amount, 'amount_unreadable', message);
    return null;
  }
  if (minor === 'fraction') {
    const message = `${shownText(text)} hundredths are no whole amount of ${currency.code}`;
    collector.refuse(row, names.amount, 'amount_too_precise', message);
    return null;
  }
  if (side === 'CR') return minor;
  if (side === 'DR') return -minor;
  if (side === '' && minor === 0n) return minor;
  const message = `${shownText(side)} is neither CR nor DR`;
  collector.refuse(row, names.side, 'direction_unknown', message);
  return null;
}

/** Two implied decimals whatever the currency has: 10000 are 100 yen, and 1250 are 12.500 dinars. */
function hundredthsToMinor(text: string, exponent: number): bigint | 'unreadable' | 'fraction' {
  if (!/^[0-9]{1,18}$/.test(text)) return 'unreadable';
  const hundredths = BigInt(text);
  if (exponent >= 2) return hundredths * 10n ** BigInt(exponent - 2);
  const divisor = 10n ** BigInt(2 - exponent);
  return hundredths % divisor === 0n ? hundredths / divisor : 'fraction';
}

/** What PayPal itself sums up: it is kept beside the lines and compared with them later, because its footers do not always agree. */
function takeSectionFooter(
  checks: RowChecks,
  totals: StatedTotal[],
  section: string,
  cells: readonly string[],
  row: number,
): void {
  const currency = checks.currency(row, 'currency of the section footer', cells[1] ?? '');
  if (currency === null) return;
  const minor = (index: number): bigint | null => {
    const value = hundredthsToMinor(cells[index] ?? '', currency.exponent);
    return typeof value === 'bigint' ? value : null;
  };
  const sided = (index: number): bigint | null => {
    const value = minor(index + 1);
    return value === null ? null : cells[index] === 'DR' ? -value : value;
  };
  const parts = [minor(2), minor(3), minor(4), minor(5)];
  const [credits, debits, feeCredits, feeDebits] = parts;
  const sumMinor = parts.includes(null) ? null : credits! - debits! + feeCredits! - feeDebits!;
  totals.push(statedTotal(section, currency.code, sided(6), sided(8), sumMinor));
}

function statedTotal(
  batch: string,
  currency: Currency,
  openingMinor: bigint | null,
  closingMinor: bigint | null,
  sumMinor: bigint | null,
): StatedTotal {
  return { batch, currency, openingMinor, closingMinor, sumMinor };
}

/** Which of the two reports a row of column names belongs to; null for neither. */
export function paypalFormatOf(columnNames: readonly string[]): 'paypal_settlement' | 'paypal_transactions' {
  return columnNames.some((name) => normalName(name) === 'transactional status')
    ? 'paypal_transactions'
    : 'paypal_settlement';
}
