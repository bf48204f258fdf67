/**
 * The chart of accounts as data: which accounts exist, how their codes are written and read, and on which
 * side each grows. Decides only; it knows no balance and no posting.
 */
import { Bug } from '../errors.ts';
import type { Currency } from '../money.ts';

declare const accountCodeBrand: unique symbol;
/** A code of the chart, such as "seller:Café Ana:available", made by a builder or {@link parseAccountCode}. */
export type AccountCode = string & { readonly [accountCodeBrand]: true };

/** One account of the ledger: every code exists once per currency. */
export type AccountRef = { readonly code: AccountCode; readonly currency: Currency };

type AccountType = 'asset' | 'liability' | 'income' | 'expense';
export type NormalBalance = 'debit' | 'credit';

/** Every account there is, by family and purpose; `{}` in the code stands for the party's name. */
const CHART = [
  { family: 'psp', code: 'psp:{}:receivable', purpose: 'receivable', type: 'asset' },
  { family: 'psp', code: 'psp:{}:balance', purpose: 'balance', type: 'asset' },
  { family: 'psp', code: 'psp:{}:reserve', purpose: 'reserve', type: 'asset' },
  { family: 'psp', code: 'psp:{}:disputes', purpose: 'disputes', type: 'asset' },
  { family: 'bank', code: 'bank:{}:cash', purpose: 'cash', type: 'asset' },
  { family: 'bank', code: 'bank:{}:in_transit', purpose: 'in_transit', type: 'asset' },
  { family: 'fx', code: 'fx:{}', purpose: 'conversion', type: 'asset' },
  { family: 'seller', code: 'seller:{}:pending', purpose: 'pending', type: 'liability' },
  { family: 'seller', code: 'seller:{}:available', purpose: 'available', type: 'liability' },
  { family: 'seller', code: 'seller:{}:in_payout', purpose: 'in_payout', type: 'liability' },
  { family: 'seller', code: 'seller:{}:in_refund', purpose: 'in_refund', type: 'liability' },
  { family: 'seller', code: 'seller:{}:in_dispute', purpose: 'in_dispute', type: 'liability' },
  { family: 'platform', code: 'platform:fees', purpose: 'fees', type: 'income' },
  { family: 'expense', code: 'expense:psp_fees', purpose: 'psp_fees', type: 'expense' },
  { family: 'expense', code: 'expense:dispute_fees', purpose: 'dispute_fees', type: 'expense' },
  { family: 'expense', code: 'expense:fx', purpose: 'fx', type: 'expense' },
  { family: 'expense', code: 'expense:write_off', purpose: 'write_off', type: 'expense' },
  { family: 'suspense', code: 'suspense:{}', purpose: 'unexplained', type: 'liability' },
] as const satisfies readonly { family: string; code: string; purpose: string; type: AccountType }[];

type ChartRow = (typeof CHART)[number];
type AccountFamily = ChartRow['family'];
type AccountPurpose = ChartRow['purpose'];
type PurposeOf<Family extends AccountFamily> = Extract<ChartRow, { family: Family }>['purpose'];

/** What a code says about itself. */
export type Account = {
  readonly code: AccountCode;
  readonly family: AccountFamily;
  readonly purpose: AccountPurpose;
  readonly type: AccountType;
  /** The side on which the account grows: debit for assets and expenses, credit for the others. */
  readonly normalBalance: NormalBalance;
  /** The seller's, PSP account's or bank's name; null for the platform's own accounts. */
  readonly party: string | null;
};

/** Longest seller name, in code points. */
export const MAX_SELLER_NAME = 128;

/** Direction overrides and line separators could make one name look like another on a screen. */
const FORBIDDEN_IN_NAME = /[\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069\ufeff]/u;
const PRINTABLE_ASCII_NAME = /^[!-9;-~](?:[ -9;-~]{0,126}[!-9;-~])?$/;
const PSP_OR_BANK_NAME = /^[a-z0-9_]{1,40}$/;

/**
 * True for 1–128 characters of any script, in Unicode normal form C, without ":", control characters,
 * direction overrides or a space at either end.
 */
export function isSellerName(name: string): boolean {
  if (PRINTABLE_ASCII_NAME.test(name)) return true;
  if (name === '' || name.length > MAX_SELLER_NAME * 2 || name.includes(':')) return false;
  if (name !== name.trim() || name !== name.normalize('NFC') || FORBIDDEN_IN_NAME.test(name)) return false;
  return name.length <= MAX_SELLER_NAME || [...name].length <= MAX_SELLER_NAME;
}

/** True for the name of a PSP account or a bank: 1–40 of a–z, 0–9 and _. */
export function isPspOrBankName(name: string): boolean {
  return PSP_OR_BANK_NAME.test(name);
}

/** `psp:{psp}:receivable` and its siblings. Throws Bug when the name was never checked. */
export function pspAccount(psp: string, purpose: PurposeOf<'psp'>): AccountCode {
  return code(`psp:${checked(psp, isPspOrBankName)}:${purpose}`);
}

/** `bank:{bank}:cash` or `bank:{bank}:in_transit`. Throws Bug when the name was never checked. */
export function bankAccount(bank: string, purpose: PurposeOf<'bank'>): AccountCode {
  return code(`bank:${checked(bank, isPspOrBankName)}:${purpose}`);
}

/** `fx:{psp}`: what a PSP converted, until it is closed to expense:fx. Throws Bug as above. */
export function fxAccount(psp: string): AccountCode {
  return code(`fx:${checked(psp, isPspOrBankName)}`);
}

/** `seller:{seller}:available` and its siblings. Throws Bug when the name was never checked. */
export function sellerAccount(seller: string, purpose: PurposeOf<'seller'>): AccountCode {
  return code(`seller:${checked(seller, isSellerName)}:${purpose}`);
}

export const PLATFORM_FEES = code('platform:fees');

export function expenseAccount(purpose: PurposeOf<'expense'>): AccountCode {
  return code(`expense:${purpose}`);
}

/** `suspense:{psp}`: money nobody can yet explain. Throws Bug as above. */
export function suspenseAccount(psp: string): AccountCode {
  return code(`suspense:${checked(psp, isPspOrBankName)}`);
}

function code(text: string): AccountCode {
  return text as AccountCode;
}

function checked(name: string, isName: (name: string) => boolean): string {
  if (!isName(name)) throw new Bug(`${JSON.stringify(name)} is not a name an account can carry`);
  return name;
}

const ROW_OF_PATTERN: ReadonlyMap<string, ChartRow> = new Map(CHART.map((row) => [row.code, row]));

/** Reads a code from outside (a flag, an export, the database); null when the chart has no such account. */
export function parseAccountCode(text: string): Account | null {
  const parts = text.split(':');
  const [family = '', second = '', third] = parts;
  const platformRow = ROW_OF_PATTERN.get(text);
  if (platformRow !== undefined && !text.includes('{}')) return accountOf(platformRow, text, null);
  if (parts.length > 3) return null;
  const row = ROW_OF_PATTERN.get(third === undefined ? `${family}:{}` : `${family}:{}:${third}`);
  if (row === undefined) return null;
  const isName = row.family === 'seller' ? isSellerName : isPspOrBankName;
  return isName(second) ? accountOf(row, text, second) : null;
}

/** What a code of ours says about itself. Throws Bug for a code that the chart does not have. */
export function describeAccount(accountCode: AccountCode): Account {
  const account = parseAccountCode(accountCode);
  if (account === null) throw new Bug(`${JSON.stringify(accountCode)} is not in the chart of accounts`);
  return account;
}

function accountOf(row: ChartRow, text: string, party: string | null): Account {
  const normalBalance = row.type === 'asset' || row.type === 'expense' ? 'debit' : 'credit';
  return { code: code(text), family: row.family, purpose: row.purpose, type: row.type, normalBalance, party };
}
