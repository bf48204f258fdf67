/**
 * Money: integers of the currency's minor unit with an ISO 4217 code. Decides only; no float ever,
 * decimal.js only where a fraction really arises.
 */
import currencyCodes from 'currency-codes';
import { Decimal } from 'decimal.js';
import { Bug } from './errors.ts';
import { shownText } from './shown-text.ts';

declare const currencyBrand: unique symbol;
/** An ISO 4217 alphabetic code that {@link parseCurrency} accepted. */
export type Currency = string & { readonly [currencyBrand]: true };

/** An amount in the currency's minor unit (cents for EUR, yen for JPY, fils for KWD). */
export type Money = { readonly amountMinor: bigint; readonly currency: Currency };

/** Largest amount of one order: 15 digits, far inside bigint so that sums of a billion of them still fit. */
export const MAX_AMOUNT_MINOR = 999_999_999_999_999n;

/**
 * Exponents from ISO 4217 list one (by way of the currency-codes package). Metals, test and no-currency
 * codes ("X…", except the five that are money) are left out: nobody pays with them.
 */
const EXPONENTS: ReadonlyMap<string, number> = new Map(
  currencyCodes.data
    .filter((entry) => !/^X(?!AF|CD|CG|OF|PF)/.test(entry.code))
    .map((entry) => [entry.code, entry.digits]),
);

/** The currency for a code in upper case, or null when ISO 4217 does not list it as money. */
export function parseCurrency(text: string): Currency | null {
  return EXPONENTS.has(text) ? (text as Currency) : null;
}

/** Number of decimals of the currency: 0 (JPY), 2 (EUR), 3 (KWD), 4 (CLF). */
export function exponentOf(currency: Currency): number {
  const exponent = EXPONENTS.get(currency);
  if (exponent === undefined) throw new Bug(`currency ${currency} was never parsed`);
  return exponent;
}

/** Every code that {@link parseCurrency} accepts, sorted. */
export function knownCurrencies(): readonly string[] {
  return [...EXPONENTS.keys()].sort();
}

type AmountFault = 'empty' | 'not_a_decimal' | 'too_many_decimals' | 'negative' | 'too_large';

export type ParsedAmount =
  | { readonly kind: 'ok'; readonly amountMinor: bigint }
  | { readonly kind: 'fault'; readonly fault: AmountFault; readonly message: string };

const DECIMAL_TEXT = /^(-?)(\d{1,40})(?:\.(\d{1,40}))?$/;

/**
 * Reads a decimal string in major units ("12.50"), exactly: more decimals than the currency has is a
 * fault, never a rounding. ASCII digits only, no sign; leading zeros are allowed. Range 0 to
 * {@link MAX_AMOUNT_MINOR}; zero is a valid amount here, callers that need a positive one check for it.
 * Messages never repeat a card number.
 */
export function parseAmount(text: string, currency: Currency): ParsedAmount {
  if (text === '') return fault('empty', 'the amount is empty');
  const match = DECIMAL_TEXT.exec(text);
  if (match === null) {
    return fault(
      'not_a_decimal',
      `${shownText(text)} is not a decimal number like 12.50 (no spaces, symbols or separators)`,
    );
  }
  const [, sign, whole, fraction = ''] = match;
  if (sign === '-') return fault('negative', `${shownText(text)} has a minus sign`);
  const exponent = exponentOf(currency);
  if (fraction.length > exponent) {
    return fault(
      'too_many_decimals',
      `${shownText(text)} has ${fraction.length} decimals; ${currency} has ${exponent}`,
    );
  }
  const amountMinor = BigInt(`${whole}${fraction.padEnd(exponent, '0')}`);
  if (amountMinor > MAX_AMOUNT_MINOR) {
    const limit = formatAmount({ amountMinor: MAX_AMOUNT_MINOR, currency });
    return fault('too_large', `${shownText(text)} is more than the limit of ${limit} ${currency}`);
  }
  return { kind: 'ok', amountMinor };
}

function fault(kind: AmountFault, message: string): ParsedAmount {
  return { kind: 'fault', fault: kind, message };
}

/** The decimal string in major units, with exactly the currency's decimals: 1250n EUR is "12.50". */
export function formatAmount(money: Money): string {
  const exponent = exponentOf(money.currency);
  const negative = money.amountMinor < 0n;
  const digits = (negative ? -money.amountMinor : money.amountMinor).toString().padStart(exponent + 1, '0');
  const whole = digits.slice(0, digits.length - exponent);
  const text = exponent === 0 ? whole : `${whole}.${digits.slice(-exponent)}`;
  return negative ? `-${text}` : text;
}

/** How JSON carries money everywhere: `{ amount: "12.50", currency: "EUR" }`. */
export type MoneyJson = { readonly amount: string; readonly currency: string };

export function toMoneyJson(money: Money): MoneyJson {
  return { amount: formatAmount(money), currency: money.currency };
}

/** One row of the fee schedule: basis points of the gross plus a fixed part, in minor units. */
export type FeeRate = { readonly feeBps: number; readonly fixedMinor: bigint };

/**
 * The platform fee of a gross amount: gross × bps ÷ 10,000 rounded half to even, plus the fixed part,
 * never more than the gross. Frozen on the order at acceptance. Throws Bug for anything negative.
 */
export function feeOf(grossMinor: bigint, rate: FeeRate): bigint {
  if (rate.fixedMinor < 0n) throw new Bug(`a fee has a negative fixed part: ${rate.fixedMinor}`);
  const fee = shareOf(grossMinor, rate.feeBps, 10_000) + rate.fixedMinor;
  return fee > grossMinor ? grossMinor : fee;
}

/** Digits carried: two amounts of 20 digits multiply exactly, and a quotient never rounds twice. */
const ExactDecimal = Decimal.clone({ precision: 60, rounding: Decimal.ROUND_HALF_EVEN });

/**
 * amount × part ÷ whole, rounded half to even to the minor unit. Amount and part at least 0, whole above 0,
 * up to 20 digits each; throws Bug otherwise.
 */
export function shareOf(amountMinor: bigint, part: bigint | number, whole: bigint | number): bigint {
  if (amountMinor < 0n || !(part >= 0) || !(whole > 0)) {
    throw new Bug(`no share of ${amountMinor} by ${part} in ${whole}`);
  }
  const share = new ExactDecimal(amountMinor.toString()).times(part.toString()).dividedBy(whole.toString());
  return BigInt(share.toDecimalPlaces(0, Decimal.ROUND_HALF_EVEN).toFixed(0));
}
