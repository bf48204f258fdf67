/**
 * The rules of each field of an incoming payment, one set for every front end (HTTP body, batch file,
 * command line). Decides only; bad input is a value, never an exception.
 */
import { isSellerName, MAX_SELLER_NAME } from '../ledger/chart-of-accounts.ts';
import { type Currency, type Money, parseAmount, parseCurrency } from '../money.ts';
import { shownText } from '../shown-text.ts';
import { containsCardNumber } from './card-number.ts';

/** What is wrong with a field: `code` is part of the JSON contract, the message never repeats a card number. */
export type FieldFault = { readonly code: FieldFaultCode; readonly message: string };

export type FieldFaultCode =
  | 'missing'
  | 'empty'
  | 'wrong_type'
  | 'too_long'
  | 'control_character'
  | 'not_well_formed'
  | 'space_at_the_ends'
  | 'not_a_seller_name'
  | 'card_number'
  | 'unknown_currency'
  | 'not_a_decimal'
  | 'too_many_decimals'
  | 'negative'
  | 'zero'
  | 'too_large'
  | 'fee_over_amount'
  | 'not_true_or_false'
  | 'bad_metadata_key'
  | 'too_many_metadata_keys'
  | 'no_orders'
  | 'too_many_orders'
  | 'not_an_id'
  | 'not_a_url'
  | 'unknown_field';

/** Longest names in characters (code points after normalisation). */
export const NAME_LIMITS = {
  checkout_id: 255,
  idempotency_key: 255,
  payment_method: 255,
  order_ref: 255,
  item_ref: 255,
  destination: 255,
  buyer: 128,
  seller: MAX_SELLER_NAME,
} as const;

export type NameField = keyof typeof NAME_LIMITS;

/** Longest address that a buyer comes back to, in characters. */
export const MAX_RETURN_URL = 2_000;

/** Most orders of one payment. */
export const MAX_ORDERS = 100;
export const MAX_METADATA_KEYS = 20;
export const MAX_METADATA_VALUE = 500;

const PRINTABLE_ASCII = /^[!-~](?:[ -~]*[!-~])?$/;
const METADATA_KEY = /^[a-z0-9_]{1,40}$/;
const CONTROL = /[\p{Cc}\u2028-\u202e\u2066-\u2069\ufeff]/u;
/** Notes may have lines and tabs; nothing else that moves a cursor. */
const CONTROL_IN_NOTE = /[^\P{Cc}\n\r\t]|[\u202a-\u202e\u2066-\u2069\ufeff]/u;

const CARD_FAULT: FieldFault = {
  code: 'card_number',
  message:
    'holds what looks like a card number; paygate takes no card numbers, send a payment method of the PSP',
};

function fault(code: FieldFaultCode, message: string): FieldFault {
  return { code, message };
}

/**
 * Checks a name or id: 1 to {@link NAME_LIMITS} characters, no control characters, no space at the ends, no
 * card number; sellers no ":" either. The value to keep is {@link normalText} of it.
 */
export function nameFault(field: NameField, text: string): FieldFault | null {
  const limit = NAME_LIMITS[field];
  const isPlain = text.length <= limit && PRINTABLE_ASCII.test(text);
  const textFault = isPlain ? null : foreignNameFault(text, limit);
  if (textFault !== null) return textFault;
  if (containsCardNumber(text)) return CARD_FAULT;
  if (field === 'seller' && !isSellerName(normalText(text))) {
    return fault('not_a_seller_name', `${shownText(text)} cannot name a seller: ":" is not allowed`);
  }
  return null;
}

function foreignNameFault(text: string, limit: number): FieldFault | null {
  if (text === '') return fault('empty', 'must not be empty');
  if (text.length > limit * 4) return tooLong(limit);
  if (!text.isWellFormed()) return fault('not_well_formed', 'is not valid Unicode');
  if ([...normalText(text)].length > limit) return tooLong(limit);
  if (CONTROL.test(text)) {
    return fault('control_character', `${shownText(text)} holds a control character`);
  }
  if (text !== text.trim()) {
    return fault('space_at_the_ends', `${shownText(text)} begins or ends with a space`);
  }
  return null;
}

function tooLong(limit: number): FieldFault {
  return fault('too_long', `has more than ${limit} characters`);
}

const NON_ASCII = /[\u0080-\uffff]/;

/** The form in which texts are kept and compared: Unicode normal form C. */
export function normalText(text: string): string {
  return NON_ASCII.test(text) ? text.normalize('NFC') : text;
}

const WEB_ADDRESS = /^https?:\/\/[^\s\p{C}]+$/iu;

/** Checks where a buyer comes back to: an absolute http(s) address of at most {@link MAX_RETURN_URL} characters. */
export function returnUrlFault(text: string): FieldFault | null {
  if (text === '') return fault('empty', 'must not be empty');
  if (text.length > MAX_RETURN_URL) return tooLong(MAX_RETURN_URL);
  if (containsCardNumber(text)) return CARD_FAULT;
  const url = WEB_ADDRESS.test(text) && URL.canParse(text) ? new URL(text) : null;
  if (url !== null && url.username === '' && url.password === '') return null;
  return fault('not_a_url', 'must be an address like https://shop.example/back, without a user in it');
}

export type MoneyFields = { readonly amount: string; readonly currency: string; readonly fee: string | null };
type MoneyFieldFault = FieldFault & { readonly field: 'amount' | 'currency' | 'platform_fee' };
export type MoneyReading =
  | { readonly kind: 'ok'; readonly money: Money; readonly platformFeeMinor: bigint | null }
  | { readonly kind: 'bad'; readonly faults: readonly MoneyFieldFault[] };

/** Reads amount (above 0), currency (ISO 4217, upper case) and fee (0 to amount) together; all faults. */
export function readMoney(fields: MoneyFields): MoneyReading {
  const currency = parseCurrency(fields.currency);
  if (currency === null) return { kind: 'bad', faults: faultsWithoutCurrency(fields) };
  const amount = parseAmount(fields.amount, currency);
  const fee = fields.fee === null ? null : parseAmount(fields.fee, currency);
  const feeIsCard = fields.fee !== null && containsCardNumber(fields.fee);
  if (amount.kind === 'ok' && amount.amountMinor > 0n && !feeIsCard) {
    const money = { amountMinor: amount.amountMinor, currency };
    if (fee === null) return { kind: 'ok', money, platformFeeMinor: null };
    if (fee.kind === 'ok' && fee.amountMinor <= amount.amountMinor) {
      return { kind: 'ok', money, platformFeeMinor: fee.amountMinor };
    }
  }
  const faults: MoneyFieldFault[] = [];
  if (amount.kind === 'fault') {
    faults.push({ field: 'amount', code: amount.fault, message: amount.message });
  } else if (amount.amountMinor === 0n) {
    faults.push({ field: 'amount', code: 'zero', message: 'must be above zero' });
  }
  if (feeIsCard) {
    faults.push({ field: 'platform_fee', ...CARD_FAULT });
  } else if (fee?.kind === 'fault') {
    faults.push({ field: 'platform_fee', code: fee.fault, message: fee.message });
  } else if (fee !== null && amount.kind === 'ok' && fee.amountMinor > amount.amountMinor) {
    const message = `${shownText(fields.fee ?? '')} is more than the amount of ${shownText(fields.amount)}`;
    faults.push({ field: 'platform_fee', code: 'fee_over_amount', message });
  }
  return { kind: 'bad', faults };
}

/** Any currency with the most decimals there are: a text that it refuses for its form, all refuse. */
const MOST_DECIMALS = parseCurrency('CLF') as Currency;

function faultsWithoutCurrency(fields: MoneyFields): readonly MoneyFieldFault[] {
  const faults: MoneyFieldFault[] = [{ field: 'currency', ...currencyFault(fields.currency) }];
  for (const [field, text] of [
    ['amount', fields.amount],
    ['platform_fee', fields.fee],
  ] as const) {
    if (text === null) continue;
    if (field === 'platform_fee' && containsCardNumber(text)) {
      faults.push({ field, ...CARD_FAULT });
      continue;
    }
    const parsed = parseAmount(text, MOST_DECIMALS);
    if (parsed.kind === 'ok') {
      if (field === 'amount' && parsed.amountMinor === 0n) {
        faults.push({ field, code: 'zero', message: 'must be above zero' });
      }
    } else if (parsed.fault !== 'too_many_decimals' && parsed.fault !== 'too_large') {
      faults.push({ field, code: parsed.fault, message: parsed.message });
    }
  }
  return faults;
}

function currencyFault(text: string): FieldFault {
  if (text === '') return fault('empty', 'must not be empty');
  if (containsCardNumber(text)) return CARD_FAULT;
  const upper = text.trim().toUpperCase();
  const hint = parseCurrency(upper) === null ? 'write a code of ISO 4217 such as EUR' : `write ${upper}`;
  return fault('unknown_currency', `${shownText(text)} is not a currency; ${hint}`);
}

/** Checks the name of one metadata entry: [a-z0-9_], at most 40 characters. */
export function metadataKeyFault(key: string): FieldFault | null {
  if (METADATA_KEY.test(key) && key !== '__proto__') {
    return containsCardNumber(key) ? CARD_FAULT : null;
  }
  return fault('bad_metadata_key', `${shownText(key)} is not a metadata key: 1 to 40 of a-z, 0-9 and _`);
}

/** Checks one metadata value: at most 500 characters; lines and tabs are allowed. */
export function metadataValueFault(text: string): FieldFault | null {
  if (text === '') return null;
  const isPlain = text.length <= MAX_METADATA_VALUE && PRINTABLE_ASCII.test(text);
  if (!isPlain) {
    if (text.length > MAX_METADATA_VALUE * 4) return tooLong(MAX_METADATA_VALUE);
    if (!text.isWellFormed()) return fault('not_well_formed', 'is not valid Unicode');
    if ([...normalText(text)].length > MAX_METADATA_VALUE) return tooLong(MAX_METADATA_VALUE);
    if (CONTROL_IN_NOTE.test(text)) {
      return fault('control_character', `${shownText(text)} holds a control character`);
    }
  }
  return containsCardNumber(text) ? CARD_FAULT : null;
}

export type MetadataFault = FieldFault & { readonly key: string | null };

/** Checks a metadata object from JSON; `key` is null for faults of the whole. */
export function metadataFaults(value: unknown): readonly MetadataFault[] {
  if (value === null || value === undefined) return [];
  if (typeof value !== 'object' || Array.isArray(value)) {
    return [{ key: null, code: 'wrong_type', message: 'must be an object of strings' }];
  }
  const faults: MetadataFault[] = [];
  const entries = Object.entries(value);
  if (entries.length > MAX_METADATA_KEYS) faults.push({ key: null, ...tooManyKeys(entries.length) });
  for (const [key, entry] of entries.slice(0, MAX_METADATA_KEYS)) {
    const found: FieldFault | null =
      metadataKeyFault(key) ??
      (typeof entry === 'string' ? metadataValueFault(entry) : fault('wrong_type', 'must be a string'));
    if (found !== null) faults.push({ key, ...found });
  }
  return faults;
}

function tooManyKeys(count: number): FieldFault {
  return fault('too_many_metadata_keys', `has ${count} keys; the limit is ${MAX_METADATA_KEYS}`);
}
