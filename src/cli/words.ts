/** How amounts, times, states and ids of the domain look to a person, and how they are read back. Decides only. */
import { OperatorError, unreachable } from '../core/errors.ts';
import { type IdKind, parseId } from '../core/ids.ts';
import {
  type Currency,
  formatAmount,
  type Money,
  type MoneyJson,
  parseCurrency,
  toMoneyJson,
} from '../core/money.ts';
import type { PublicState } from '../core/operation/operation.ts';
import { shownText } from '../core/shown-text.ts';
import type { Tone } from './render/table.ts';

/** "12.50 EUR". */
export function moneyText(money: Money): string {
  return `${formatAmount(money)} ${money.currency}`;
}

/** Of what a database row says about money. */
export function moneyOf(row: { readonly amountMinor: bigint; readonly currency: string }): Money {
  return { amountMinor: row.amountMinor, currency: row.currency as Currency };
}

export type Totals = ReadonlyMap<Currency, bigint>;

/** Sums by currency, sorted by code. */
export function sumUp(monies: Iterable<Money>): Totals {
  const sums = new Map<Currency, bigint>();
  for (const { amountMinor, currency } of monies)
    sums.set(currency, (sums.get(currency) ?? 0n) + amountMinor);
  return new Map([...sums].sort(([left], [right]) => (left < right ? -1 : 1)));
}

/** "12.50 EUR, 1200 JPY". */
export function totalsText(totals: Totals): string {
  return [...totals].map(([currency, amountMinor]) => moneyText({ amountMinor, currency })).join(', ');
}

/** "12.50EUR,1200JPY": what --confirm takes. */
export function totalsCode(totals: Totals): string {
  return [...totals]
    .map(([currency, amountMinor]) => moneyText({ amountMinor, currency }).replace(' ', ''))
    .join(',');
}

/** As JSON carries money, sorted by code. */
export function totalsJson(totals: Totals): readonly MoneyJson[] {
  return [...totals].map(([currency, amountMinor]) => toMoneyJson({ amountMinor, currency }));
}

/** "2026-11-23 02:12:21Z" of an ISO 8601 time; the JSON has the microseconds. */
export function timeText(iso: string): string {
  return iso.replace('T', ' ').replace(/\.\d+Z$/, 'Z');
}

/** "3 payments", "1 payment". */
export function countText(count: number | bigint, noun: string): string {
  return `${count} ${noun}${count === 1 || count === 1n ? '' : 's'}`;
}

/** The colour of a state; null for none. */
export function toneOf(state: PublicState): Tone | null {
  switch (state) {
    case 'SUCCESS':
      return 'good';
    case 'FAILED':
      return 'bad';
    case 'EXECUTING':
      return 'warn';
    case 'NOT_STARTED':
      return null;
    default:
      return unreachable(state);
  }
}

const EXAMPLES: Readonly<Record<IdKind, string>> = {
  payment: 'pay_12',
  order: 'ord_13',
  operation: 'op_14',
  entry: 'ent_15',
  deadLetter: 'dl_4',
  batch: 'bat_3',
  refund: 'rfd_16',
  payoutBatch: 'pob_17',
  payout: 'po_18',
  settlementFile: 'file_19',
  settlementBatch: 'sbat_20',
  settlementLine: 'line_21',
  reconcileRun: 'run_22',
  reconBreak: 'brk_23',
  dispute: 'dsp_19',
};

/** @throws OperatorError id_invalid */
export function requireId(kind: IdKind, text: string): bigint {
  const id = parseId(kind, text);
  if (id !== null) return id;
  throw new OperatorError('id_invalid', `${shownText(text)} is not an id like ${EXAMPLES[kind]}.`);
}

/** @throws OperatorError currency_unknown */
export function requireCurrency(text: string | null): Currency | null {
  if (text === null) return null;
  const currency = parseCurrency(text.toUpperCase());
  if (currency !== null) return currency;
  throw new OperatorError(
    'currency_unknown',
    `${shownText(text)} is not a currency of ISO 4217 such as EUR.`,
  );
}
