/**
 * The amounts of one row of Adyen's settlement details: unsigned pairs in two currencies, the rate between them, and fees in parts.
 * Decides only.
 */
import { shownText } from '../shown-text.ts';
import type { DecimalMark } from './amount-text.ts';
import type { LineCollector } from './line-collector.ts';
import type { KnownCurrency, RowChecks } from './row-checks.ts';
import type { SettlementLine } from './settlement-line.ts';

/** Positions of the columns that are read here. */
type AdyenMoneyColumns = {
  readonly grossCurrency: number;
  readonly grossDebit: number;
  readonly grossCredit: number;
  readonly rate: number;
  readonly netCurrency: number;
  readonly netDebit: number;
  readonly netCredit: number;
  readonly fees: readonly { readonly name: string; readonly index: number }[];
};

/** One row and what reading it needs. */
export type AdyenRow = {
  readonly collector: LineCollector;
  readonly checks: RowChecks;
  readonly mark: DecimalMark;
  readonly columns: AdyenMoneyColumns;
  readonly cells: readonly string[];
  readonly row: number;
};

type RowMoney = {
  readonly currency: KnownCurrency;
  readonly grossMinor: bigint;
  readonly feeMinor: bigint;
  readonly netMinor: bigint;
  readonly original: SettlementLine['original'];
};

/** What the row moved in its net currency; null after a fault. */
export function readAdyenMoney(context: AdyenRow): RowMoney | null {
  const { collector, checks, columns, cells, row } = context;
  const currency = checks.currency(row, 'Net Currency', cells[columns.netCurrency]!);
  if (currency === null) return null;
  const debit = readUnsigned(context, 'Net Debit (NC)', columns.netDebit, currency);
  const credit = readUnsigned(context, 'Net Credit (NC)', columns.netCredit, currency);
  const feeMinor = readFees(context, currency);
  const gross = readGross(context, currency);
  if (debit === null || credit === null || feeMinor === null || gross === null) return null;
  if (cells[columns.netDebit] === '' && cells[columns.netCredit] === '') {
    collector.refuse(row, 'Net Credit (NC)', 'amount_missing', 'has neither a net debit nor a net credit');
    return null;
  }
  const netMinor = credit - debit;
  const expected = netMinor + feeMinor;
  if (gross === 'none') return { currency, grossMinor: expected, feeMinor, netMinor, original: null };
  if (gross.currency.code === currency.code) {
    return { currency, grossMinor: gross.minor, feeMinor, netMinor, original: null };
  }
  const rate = readRate(context);
  if (rate === null) return null;
  const grossMinor = convertedGross(gross.minor, gross.currency, currency, rate, expected);
  const original = { currency: gross.currency.code, amountMinor: gross.minor };
  return { currency, grossMinor, feeMinor, netMinor, original };
}

type Gross = { readonly currency: KnownCurrency; readonly minor: bigint };

/** A payout or a fee of its own has no gross side. */
function readGross(context: AdyenRow, net: KnownCurrency): Gross | 'none' | null {
  const { checks, columns, cells, row } = context;
  if (cells[columns.grossDebit] === '' && cells[columns.grossCredit] === '') return 'none';
  const code = cells[columns.grossCurrency]!;
  const currency = code === net.code ? net : checks.currency(row, 'Gross Currency', code);
  if (currency === null) return null;
  const debit = readUnsigned(context, 'Gross Debit (GC)', columns.grossDebit, currency);
  const credit = readUnsigned(context, 'Gross Credit (GC)', columns.grossCredit, currency);
  return debit === null || credit === null ? null : { currency, minor: credit - debit };
}

/** Debit and credit columns carry no sign: one that does is not what it looks like. */
function readUnsigned(
  { collector, checks, cells, row }: AdyenRow,
  name: string,
  index: number,
  currency: KnownCurrency,
): bigint | null {
  const minor = checks.amountOrZero(row, name, cells[index]!, currency);
  if (minor === null || minor >= 0n) return minor;
  const message = `${shownText(cells[index]!)} has a sign, and this column must not have one`;
  collector.refuse(row, name, 'sign_unexpected', message);
  return null;
}

/** A fee column may be negative: fees come back with refunds. */
function readFees({ columns, checks, cells, row }: AdyenRow, currency: KnownCurrency): bigint | null {
  let sum = 0n;
  let isWhole = true;
  for (const { name, index } of columns.fees) {
    const fee = checks.amountOrZero(row, name, cells[index]!, currency);
    if (fee === null) isWhole = false;
    else sum += fee;
  }
  return isWhole ? sum : null;
}

type Rate = { readonly digits: bigint; readonly scale: bigint };

function readRate({ collector, columns, mark, cells, row }: AdyenRow): Rate | null {
  const text = cells[columns.rate]!;
  const match = (mark === '.' ? /^(\d{1,12})(?:\.(\d{1,20}))?$/ : /^(\d{1,12})(?:,(\d{1,20}))?$/).exec(text);
  if (match !== null) {
    const [, whole = '', decimals = ''] = match;
    return { digits: BigInt(whole + decimals), scale: 10n ** BigInt(decimals.length) };
  }
  const message =
    text === '' ? 'has two currencies and no exchange rate' : `${shownText(text)} is no exchange rate`;
  collector.refuse(row, 'Exchange Rate', 'rate_unreadable', message);
  return null;
}

/**
 * The gross in the net currency. The file states it only as amount times rate, rounded by Adyen: within half a minor unit (and
 * one of rounding) what net and fees add up to is the gross; beyond that the line says what the rate says, and does not compute.
 */
function convertedGross(
  gross: bigint,
  from: KnownCurrency,
  to: KnownCurrency,
  rate: Rate,
  expected: bigint,
): bigint {
  const numerator = gross * rate.digits * 10n ** BigInt(to.exponent);
  const denominator = rate.scale * 10n ** BigInt(from.exponent);
  const distance = numerator - expected * denominator;
  const twice = 2n * (distance < 0n ? -distance : distance);
  if (twice <= denominator) return expected;
  return roundedQuotient(numerator, denominator);
}

/** Half away from zero. */
function roundedQuotient(numerator: bigint, denominator: bigint): bigint {
  const isNegative = numerator < 0n;
  const absolute = isNegative ? -numerator : numerator;
  const rounded = (2n * absolute + denominator) / (2n * denominator);
  return isNegative ? -rounded : rounded;
}
