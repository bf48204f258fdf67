/**
 * Stripe's idea of a minor unit, which is not always ISO 4217's: converts exactly or says why it cannot.
 * Decides only; never rounds an amount to make it fit.
 */
import type { Currency } from '../money.ts';
import { exponentOf, formatAmount } from '../money.ts';

/**
 * Currencies that Stripe counts in whole units. Source: docs.stripe.com/currencies, "Zero-decimal currencies".
 * UGX stands in that list too, but its special case (below) wins. MGA has two decimals in ISO 4217.
 */
const ZERO_DECIMAL: ReadonlySet<string> = new Set(
  'BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF'.split(' '),
);

/**
 * Whole-unit currencies that Stripe still wants with two decimals, which must be 00: 5 ISK is 500.
 * Source: docs.stripe.com/currencies, "Special cases". HUF and TWD stand there too, but only for payouts to
 * our own bank; charges in them are plain two-decimal amounts.
 */
const TWO_DECIMALS_ALWAYS_ZERO: ReadonlySet<string> = new Set(['ISK', 'UGX']);

/**
 * Three-decimal currencies; Stripe wants the last digit to be 0 (5.124 KWD cannot be charged, 5.120 can).
 * Source: docs.stripe.com/currencies, "Three-decimal currencies". Other ISO three-decimal currencies (IQD,
 * LYD) are not in Stripe's documents and are rejected here.
 */
const THREE_DECIMALS_LAST_ZERO: ReadonlySet<string> = new Set(['BHD', 'JOD', 'KWD', 'OMR', 'TND']);

/**
 * Twelve digits, in Stripe's minor unit. Source: docs.stripe.com/currencies, "Maximum charge amounts": 12 for
 * most cards, 9 for American Express, 8 for other payment methods in most currencies. Which of these holds is
 * decided by a payment method that only Stripe can see, so the smaller ones are Stripe's to refuse (400
 * `amount_too_large`, nothing moved).
 */
const MAX_STRIPE_AMOUNT = 999_999_999_999n;

/** How Stripe counts a currency: its number of decimals, and what every amount must be a multiple of. */
type StripeUnit = { readonly exponent: number; readonly multipleOf: bigint };

export type StripeAmount =
  /** A whole number of Stripe's minor unit, at most twelve digits. */
  { readonly kind: 'ok'; readonly amount: number } | { readonly kind: 'rejected'; readonly reason: string };

/** The amount as Stripe wants it in `amount`, exactly; rejected where Stripe cannot express it. */
export function toStripeAmount(amountMinor: bigint, currency: Currency): StripeAmount {
  if (amountMinor <= 0n) return rejected(amountMinor, currency, 'is not more than zero');
  const isoExponent = exponentOf(currency);
  const unit = stripeUnitOf(currency, isoExponent);
  if (unit === null) {
    return rejected(amountMinor, currency, `has ${isoExponent} decimals, which Stripe does not document`);
  }
  const amount = shiftDecimals(amountMinor, unit.exponent - isoExponent);
  if (amount === null) {
    return rejected(amountMinor, currency, `has a fraction; Stripe counts ${currency} in whole units`);
  }
  if (amount % unit.multipleOf !== 0n) {
    return rejected(amountMinor, currency, 'has a last digit that is not 0, which Stripe wants');
  }
  if (amount > MAX_STRIPE_AMOUNT) {
    return rejected(amountMinor, currency, 'has more than the 12 digits that Stripe takes');
  }
  return { kind: 'ok', amount: Number(amount) };
}

/** Our minor units of an amount as Stripe writes it; null where it is not a whole number of them. */
export function fromStripeAmount(amount: number, currency: Currency): bigint | null {
  const isoExponent = exponentOf(currency);
  const unit = stripeUnitOf(currency, isoExponent);
  if (unit === null || !Number.isSafeInteger(amount) || amount <= 0) return null;
  return shiftDecimals(BigInt(amount), isoExponent - unit.exponent);
}

function stripeUnitOf(currency: string, isoExponent: number): StripeUnit | null {
  if (ZERO_DECIMAL.has(currency)) return { exponent: 0, multipleOf: 1n };
  if (TWO_DECIMALS_ALWAYS_ZERO.has(currency)) return { exponent: 2, multipleOf: 100n };
  if (THREE_DECIMALS_LAST_ZERO.has(currency)) return { exponent: 3, multipleOf: 10n };
  // "Currencies are two-decimal unless otherwise specified" (docs.stripe.com/currencies).
  return isoExponent === 2 ? { exponent: 2, multipleOf: 1n } : null;
}

/** Multiplies by a power of ten, or divides where that leaves no rest; null where it would. */
function shiftDecimals(amount: bigint, places: number): bigint | null {
  if (places >= 0) return amount * 10n ** BigInt(places);
  const divisor = 10n ** BigInt(-places);
  return amount % divisor === 0n ? amount / divisor : null;
}

function rejected(amountMinor: bigint, currency: Currency, what: string): StripeAmount {
  return { kind: 'rejected', reason: `${formatAmount({ amountMinor, currency })} ${currency} ${what}` };
}
