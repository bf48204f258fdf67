/**
 * One movement of the platform's balance as the sandbox's PSP reports it: the common form of which every file is written.
 * Types and arithmetic only; amounts are signed whole numbers of the PSP's minor unit, above zero came in.
 */

type RowKind =
  | 'charge'
  | 'charge_failure'
  | 'refund'
  | 'refund_failure'
  | 'transfer'
  | 'transfer_reversal'
  | 'top_up'
  | 'dispute'
  | 'dispute_reversal'
  | 'adjustment'
  | 'reserve'
  | 'mystery';

/**
 * @property name the row's own name at the PSP: Stripe's balance transaction
 * @property source the object that moved: charge, refund, transfer, dispute
 * @property payment the payment that it belongs to, a charge's own; null for what belongs to none
 * @property charge Stripe's charge of that payment; the same as `payment` at Adyen
 * @property ours what we named the payment by: Stripe's metadata, Adyen's reference under `reference`
 * @property own what we named the object itself by, where it is not the payment: a refund, a transfer
 * @property net what the file prints as such: gross − fee, unless a fault was planted
 * @property currency ISO 4217 in upper case
 * @property atMs milliseconds since 1970
 * @property facing what the buyer paid, where the PSP converted it; left out: the gross
 * @property deposit the deposit in which it was paid to the bank; null while it stays in the balance
 */
export interface Row {
  readonly kind: RowKind;
  readonly name: string;
  readonly source: string;
  readonly payment: string | null;
  readonly charge: string | null;
  readonly ours: Readonly<Record<string, string>>;
  readonly own: Readonly<Record<string, string>>;
  readonly currency: string;
  readonly gross: number;
  readonly fee: number;
  readonly net: number;
  readonly atMs: number;
  readonly deposit: string | null;
  readonly facing?: { readonly currency: string; readonly gross: number };
}

/** How a PSP counts a currency: its decimals, and what every amount that ISO 4217 can express is a multiple of. */
export interface Unit {
  readonly decimals: number;
  readonly step: number;
}

export type UnitOf = (currency: string) => Unit;

/** What the PSP pays to the bank of one currency and day. */
export interface Deposit {
  readonly name: string;
  readonly currency: string;
  readonly amount: number;
  readonly atMs: number;
}

/** Share of a charge that the PSP keeps, in basis points, and its fixed part in units of a two-decimal currency. */
const FEE_BPS = 150;
const FIXED_FEE = 25;
/** What a dispute costs, in a two-decimal currency's minor unit. */
const DISPUTE_FEE = 1_500;

/** The PSP's fee of a charge: 1.5% and 0.25 of a two-decimal currency, in whole steps. */
export function feeOfCharge(gross: number, unit: Unit): number {
  const fixed = unit.decimals === 2 && unit.step === 1 ? FIXED_FEE : 0;
  const share = Math.round((gross * FEE_BPS) / 10_000 / unit.step) * unit.step;
  return Math.min(share + fixed, gross);
}

/** The fee of a dispute in a currency: 15.00, or 1500 whole units of a currency without decimals. */
export function feeOfDispute(unit: Unit): number {
  return unit.decimals === 3 ? DISPUTE_FEE * 10 : unit.step * DISPUTE_FEE;
}

/** Digits of whole and fraction: "-12.50", "1200", "3.250". */
export function amountText(amount: number, { decimals }: Unit): string {
  const digits = String(Math.abs(amount)).padStart(decimals + 1, '0');
  const whole = digits.slice(0, digits.length - decimals);
  const text = decimals === 0 ? whole : `${whole}.${digits.slice(-decimals)}`;
  return amount < 0 ? `-${text}` : text;
}

/** One cell of a CSV file (RFC 4180). */
export function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** "2026-11-25 16:05:00", in UTC. */
export function utcText(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 19).replace('T', ' ');
}

/** "2026-11-25", in UTC. */
export function dayOf(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10);
}
