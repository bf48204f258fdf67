/**
 * Stripe's own rules for amounts: which currencies, how small, how large, which last digits.
 * Independent of the gateway's money code on purpose: this is the other side.
 */
import { invalidRequest, type StripeError } from './stripe-errors.ts';

/** Presentment currencies, lower case. Source: https://docs.stripe.com/currencies */
const SUPPORTED: ReadonlySet<string> = new Set(
  `aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf
  clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr
  ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur
  mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr
  sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xcg
  xof xpf yer zar zmw`.split(/\s+/),
);

/** Amounts are whole units. UGX stands in Stripe's list too, but its special case below overrules that. */
const ZERO_DECIMAL: ReadonlySet<string> = new Set(
  'bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf'.split(' '),
);

/** Amounts are thousandths whose last digit must be 0. */
const THREE_DECIMAL: ReadonlySet<string> = new Set(['bhd', 'jod', 'kwd', 'omr', 'tnd']);

/** Zero-decimal by nature, but sent with two decimals that must be 00. */
const HUNDREDS_ONLY: ReadonlySet<string> = new Set(['isk', 'ugx']);

/**
 * Smallest charge in minor units, for an account that settles in the currency it charges.
 * Source: "Minimum and maximum charge amounts" at https://docs.stripe.com/currencies; elsewhere the least is 1.
 */
const MINIMUM_MINOR: ReadonlyMap<string, number> = new Map(
  Object.entries({
    ...{ usd: 50, aed: 200, ars: 50, aud: 50, bgn: 100, brl: 50, cad: 50, chf: 50, cop: 50, czk: 1500 },
    ...{ dkk: 250, eur: 50, gbp: 30, hkd: 400, huf: 17_500, idr: 50, ils: 50, inr: 50, jpy: 50, krw: 50 },
    ...{ mxn: 1000, myr: 200, nok: 300, nzd: 50, php: 50, pln: 200, ron: 200, rub: 50, sek: 300, sgd: 50 },
    ...{ thb: 1000, zar: 50 },
  }),
);

/** Eight digits for most currencies; the documented exceptions beside it. */
const MAXIMUM_MINOR = 99_999_999;
const MAXIMUM_MINOR_BY_CURRENCY: ReadonlyMap<string, number> = new Map([
  ['idr', 999_999_999_999],
  ['cop', 9_999_999_999],
  ['inr', 999_999_999],
]);

/** True for a lower-case three-letter code that Stripe charges in. */
/** 400 for a currency that Stripe does not take; lower case. */
export function checkCurrency(currency: string): StripeError | null {
  if (SUPPORTED.has(currency)) return null;
  return invalidRequest(`Invalid currency: ${currency}.`, { param: 'currency' });
}

/** Our own copy of each currency's name, so that a stored record does not hold on to the request it came in. */
const NAMES: ReadonlyMap<string, string> = new Map([...SUPPORTED].map((name) => [name, name]));

/** One string per currency for all records; `currency` has passed {@link checkCurrency}. */
export function internCurrency(currency: string): string {
  return NAMES.get(currency) ?? currency;
}

/** How many decimals Stripe reads into an amount of this currency: 0, 2 or 3 (ISK and UGX: 2). */
export function decimalsOf(currency: string): 0 | 2 | 3 {
  if (ZERO_DECIMAL.has(currency)) return 0;
  return THREE_DECIMAL.has(currency) ? 3 : 2;
}

/**
 * Whether Stripe would take this charge amount.
 * @param amountMinor a positive integer in Stripe's minor units of `currency`
 * @param param the parameter to name in the error
 */
export function checkAmount(amountMinor: number, currency: string, param: string): StripeError | null {
  const maximum = MAXIMUM_MINOR_BY_CURRENCY.get(currency) ?? MAXIMUM_MINOR;
  if (amountMinor > maximum) {
    return invalidRequest(`Amount must be no more than ${words(maximum, currency)}`, {
      code: 'amount_too_large',
      param,
    });
  }
  const minimum = MINIMUM_MINOR.get(currency) ?? 1;
  if (amountMinor < minimum) {
    return invalidRequest(`Amount must be at least ${words(minimum, currency)}`, {
      code: 'amount_too_small',
      param,
    });
  }
  return checkLastDigits(amountMinor, currency, param);
}

/** The rule that also holds for amounts without a least and a most, such as refunds and transfers. */
export function checkLastDigits(amountMinor: number, currency: string, param: string): StripeError | null {
  const step = THREE_DECIMAL.has(currency) ? 10 : HUNDREDS_ONLY.has(currency) ? 100 : 1;
  if (amountMinor % step === 0) return null;
  return invalidRequest(
    `Invalid amount: an amount in ${currency} must be evenly divisible by ${step}. See https://stripe.com/docs/currencies#special-cases.`,
    { code: 'parameter_invalid_integer', param },
  );
}

/** An amount as Stripe's messages show it, such as `12.50 eur`. */
export function words(amountMinor: number, currency: string): string {
  const decimals = decimalsOf(currency);
  return `${(amountMinor / 10 ** decimals).toFixed(decimals)} ${currency}`;
}
