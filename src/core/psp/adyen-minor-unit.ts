/**
 * Adyen's idea of a minor unit, which is not always ISO 4217's: converts exactly or says why it cannot.
 * Decides only; never rounds an amount to make it fit.
 */
import type { Currency } from '../money.ts';
import { exponentOf, formatAmount } from '../money.ts';

/**
 * Decimals where Adyen and ISO 4217 differ: ISO has CLP 0, CVE 2, IDR 2, ISK 0.
 * Source: docs.adyen.com/development-resources/currency-codes.
 */
const DECIMALS: ReadonlyMap<string, number> = new Map([
  ['CLP', 2],
  ['CVE', 0],
  ['IDR', 0],
  ['ISK', 2],
]);

/** The largest number of decimals in Adyen's table; ISO's four-decimal units of account are not in it. */
const MAX_DECIMALS = 3;

/** 15 digits, in Adyen's minor unit: exact in a JSON number. Adyen names no limit of its own. */
const MAX_ADYEN_VALUE = 999_999_999_999_999n;

export type AdyenValue =
  /** A whole number of Adyen's minor unit, at most 15 digits. */
  { readonly kind: 'ok'; readonly value: number } | { readonly kind: 'rejected'; readonly reason: string };

/** The amount as Adyen wants it in `amount.value`, exactly; rejected where Adyen cannot express it. */
export function toAdyenValue(amountMinor: bigint, currency: Currency): AdyenValue {
  if (amountMinor <= 0n) return rejected(amountMinor, currency, 'is not more than zero');
  const isoExponent = exponentOf(currency);
  const exponent = DECIMALS.get(currency) ?? isoExponent;
  if (exponent > MAX_DECIMALS) {
    return rejected(amountMinor, currency, `has ${exponent} decimals, which Adyen does not document`);
  }
  const value = shiftDecimals(amountMinor, exponent - isoExponent);
  if (value === null) {
    return rejected(amountMinor, currency, `has a fraction; Adyen counts ${currency} in whole units`);
  }
  if (value > MAX_ADYEN_VALUE) return rejected(amountMinor, currency, 'has more than 15 digits at Adyen');
  return { kind: 'ok', value: Number(value) };
}

/** Our minor units of a value as Adyen writes it; null where it is not a whole number of them. */
export function fromAdyenValue(value: number, currency: Currency): bigint | null {
  const isoExponent = exponentOf(currency);
  const exponent = DECIMALS.get(currency) ?? isoExponent;
  if (exponent > MAX_DECIMALS || !Number.isSafeInteger(value) || value <= 0) return null;
  return shiftDecimals(BigInt(value), isoExponent - exponent);
}

/** Multiplies by a power of ten, or divides where that leaves no rest; null where it would. */
function shiftDecimals(amount: bigint, places: number): bigint | null {
  if (places >= 0) return amount * 10n ** BigInt(places);
  const divisor = 10n ** BigInt(-places);
  return amount % divisor === 0n ? amount / divisor : null;
}

function rejected(amountMinor: bigint, currency: Currency, what: string): AdyenValue {
  return { kind: 'rejected', reason: `${formatAmount({ amountMinor, currency })} ${currency} ${what}` };
}
