/**
 * Bank statements in BAI2. Decides only. Amounts have no sign and two implied decimals; the type code says whether money came in.
 * Every level states how many records it has and what their amounts add up to: a file that is not whole is refused.
 */
import { type Currency, exponentOf, parseCurrency } from '../money.ts';
import { shownText } from '../shown-text.ts';
import {
  type Account,
  closeAccount,
  closeFile,
  closeGroup,
  countRecords,
  emptyLevel,
  type Group,
  type Levels,
  refuseIn,
} from './bai2-levels.ts';
import { lineOfEntry } from './bank-statement.ts';
import type { FileWords } from './csv-format.ts';
import { isCalendarDay } from './date-text.ts';
import type { LineCollector } from './line-collector.ts';
import type { LineKind } from './settlement-line.ts';
import { createTextLines } from './text-lines.ts';

type TextReader = { readonly write: (text: string) => void; readonly end: () => FileWords };

/** One record with its continuations (88) joined; `physical` counts lines, which is what trailers count. */
type BaiRecord = {
  readonly code: string;
  readonly row: number;
  readonly parts: string[];
  physical: number;
  characters: number;
};

const MAX_RECORD_CHARACTERS = 100_000;

export function createBai2Reader(collector: LineCollector): TextReader {
  const reading = createReading(collector);
  let record: BaiRecord | null = null;
  const flush = () => {
    if (record !== null) reading.take(record);
    record = null;
  };
  const takeLine = (line: string, row: number): void => {
    if (collector.isStopped() || line.trim() === '') return;
    const code = line.slice(0, 2);
    if (!/^\d{2}(?:,|\/|$)/.test(line)) {
      flush();
      reading.refuse(row, null, 'record_unknown', `${shownText(line)} is no record like 16,195,…`);
      return;
    }
    if (code !== '88') {
      flush();
      record = { code, row, parts: [line], physical: 1, characters: line.length };
      return;
    }
    if (record === null) {
      reading.refuse(row, '88', 'record_unexpected', 'continues no record');
      return;
    }
    record.parts.push(line.slice(3));
    record.physical += 1;
    record.characters += line.length;
    if (record.characters > MAX_RECORD_CHARACTERS) {
      collector.stop('record_too_long', `the record of line ${record.row} is too long`);
    }
  };
  const lines = createTextLines({
    take: takeLine,
    tooLong: (row) => collector.stop('record_too_long', `line ${row} is too long for a bank statement`),
  });
  return {
    write: lines.write,
    end: () => {
      lines.end();
      flush();
      return reading.end();
    },
  };
}

/** The fields before a record's free text, which may hold commas and slashes itself. */
function fieldsOf(record: BaiRecord): string[] {
  // A slash ends the fields of a line; the next line goes on with the next field.
  const joined = record.parts.map((part) => part.replace(/\/\s*$/, '')).join(',');
  return joined.split(',').map((field) => field.trim());
}

function createReading(collector: LineCollector) {
  const levels: Levels = {
    collector,
    accounts: new Set(),
    totals: [],
    file: null,
    group: null,
    account: null,
    isClosed: false,
  };
  return {
    take: (record: BaiRecord): void => {
      const fields = fieldsOf(record);
      openLevel(levels, record, fields);
      countRecords(levels, record.physical);
      if (record.code === '16') takeTransaction(levels, record, fields);
      if (record.code === '49') closeAccount(levels, fields, record.row);
      if (record.code === '98') closeGroup(levels, fields, record.row);
      if (record.code === '99') closeFile(levels, fields, record.row);
    },
    refuse: (row: number, column: string | null, code: string, message: string): void =>
      refuseIn(levels, row, column, code, message),
    end: (): FileWords => {
      if (!levels.isClosed && !collector.isStopped()) {
        collector.stop('file_cut_off', 'ends without its trailer (99): the rest is missing');
      }
      return { accounts: [...levels.accounts], totals: levels.totals };
    },
  };
}

/** A header opens its level before it is counted in it. */
function openLevel(levels: Levels, { code, row }: BaiRecord, fields: readonly string[]): void {
  switch (code) {
    case '01':
      levels.file = emptyLevel();
      return;
    case '02':
      if (levels.file !== null) levels.file.children += 1;
      levels.group = { ...emptyLevel(), currency: fields[6] ?? '', asOf: dayOf(fields[4] ?? '') };
      checkGroup(levels, levels.group, fields, row);
      return;
    case '03':
      if (levels.group !== null) levels.group.children += 1;
      levels.account = openAccount(levels, fields, row);
      return;
    case '16':
    case '49':
    case '98':
    case '99':
      return;
    default:
      refuseIn(levels, row, null, 'record_unknown', `${shownText(code)} is no record code of BAI2`);
      return;
  }
}

/** Statuses 1 (update) and 3 (correction) are of booked money; 2 takes a group back, and 4 is a test. */
function checkGroup(levels: Levels, group: Group, fields: readonly string[], row: number): void {
  const [, , , status = '', asOf = ''] = fields;
  if (status !== '1' && status !== '3') {
    const message = `status ${shownText(status)} is no update (1) and no correction (3)`;
    refuseIn(levels, row, 'group status', 'group_unusable', message);
  }
  if (group.asOf === null) {
    refuseIn(levels, row, 'as-of date', 'date_unreadable', `${shownText(asOf)} is no date like 261125`);
  }
}

/** 03: the account, then groups of type code, amount, item count and funds type. */
function openAccount(levels: Levels, fields: readonly string[], row: number): Account {
  const currency = accountCurrency(levels, fields, row);
  const account: Account = {
    ...emptyLevel(),
    number: fields[1] ?? '',
    currency,
    opening: null,
    closing: null,
  };
  for (let at = 3; at + 1 < fields.length; at = afterFunds(fields, at + 3)) {
    const type = fields[at] ?? '';
    const text = fields[at + 1] ?? '';
    if (type === '' && text === '') break;
    if (text === '') continue;
    const amount = readInteger(text);
    if (amount === null) {
      refuseIn(levels, row, '03', 'amount_unreadable', `${shownText(text)} is no whole number of cents`);
      break;
    }
    account.total += amount;
    if (type === '010') account.opening = amount;
    if (type === '015') account.closing = amount;
  }
  return account;
}

function accountCurrency(levels: Levels, fields: readonly string[], row: number): Currency | null {
  const code = (fields[2] ?? '') || (levels.group?.currency ?? '') || 'USD';
  const currency = parseCurrency(code);
  if (currency === null) {
    refuseIn(
      levels,
      row,
      'currency',
      'currency_unknown',
      `${shownText(code)} is not a currency code of ISO 4217`,
    );
  } else if (exponentOf(currency) !== 2) {
    const message = `amounts have two implied decimals and ${currency} has ${exponentOf(currency)}: banks disagree on what that means; ask for CAMT.053`;
    levels.collector.stop('decimals_unclear', message);
  }
  return currency;
}

/** Position after a funds type and what belongs to it. */
function afterFunds(fields: readonly string[], at: number): number {
  const funds = fields[at] ?? '';
  if (funds === 'S') return at + 4;
  if (funds === 'V') return at + 3;
  if (funds === 'D') return at + 2 + 2 * Number(/^\d{1,2}$/.test(fields[at + 1] ?? '') ? fields[at + 1] : 0);
  return at + 1;
}

function readInteger(text: string): bigint | null {
  return /^[+-]?\d{1,18}$/.test(text) ? BigInt(text.replace('+', '')) : null;
}

/** By ranges of the standard; null for codes that are neither. */
function directionOf(type: string): 'in' | 'out' | 'none' | null {
  if (!/^\d{3}$/.test(type)) return null;
  const number = Number(type);
  if (number === 890) return 'none';
  if ((number >= 100 && number <= 399) || (number >= 920 && number <= 959)) return 'in';
  if ((number >= 400 && number <= 699) || (number >= 960 && number <= 999)) return 'out';
  return null;
}

/** Type codes that say more than in or out. */
const KINDS: ReadonlyMap<string, LineKind> = new Map([
  ['555', 'deposit_returned'],
  ['557', 'deposit_returned'],
  ['661', 'fee'],
  ['698', 'fee'],
]);

function takeTransaction(levels: Levels, record: BaiRecord, fields: readonly string[]): void {
  const { account, group } = levels;
  const { row } = record;
  const refuse = (column: string | null, code: string, message: string) =>
    refuseIn(levels, row, column, code, message);
  if (account === null || group === null) {
    refuse(null, 'record_unexpected', 'a transaction stands outside of an account (03)');
    return;
  }
  const [, type = '', text = ''] = fields;
  const direction = directionOf(type);
  const amount = text === '' && direction === 'none' ? 0n : readInteger(text);
  if (amount === null || amount < 0n) {
    const message = `${shownText(text)} is no whole number of cents without a sign`;
    refuse('amount', 'amount_unreadable', message);
    return;
  }
  account.total += amount;
  if (direction === null) {
    refuse('type', 'direction_unknown', `type ${shownText(type)} is neither a credit nor a debit`);
    return;
  }
  if (account.currency === null) {
    refuse(null, 'currency_missing', 'belongs to an account of unknown currency');
    return;
  }
  const signed = direction === 'out' ? -amount : amount;
  const kind = direction === 'none' ? 'note' : (KINDS.get(type) ?? null);
  const entry = { ...wordsOf(record, fields), amountMinor: signed, kind, currency: account.currency };
  levels.collector.add(
    lineOfEntry({
      ...entry,
      account: account.number,
      statement: group.asOf?.slice(0, 10) ?? '',
      bookedOn: group.asOf,
    }),
  );
}

/** What a transaction says beside its amount: funds type, bank reference, customer reference, text. */
function wordsOf(record: BaiRecord, fields: readonly string[]) {
  const at = afterFunds(fields, 3);
  const [bankReference = '', customerReference = ''] = fields.slice(at, at + 2);
  const says = fields
    .slice(at + 2)
    .join(', ')
    .trim()
    .slice(0, 1_000);
  return {
    row: record.row,
    rawType: fields[1] ?? '',
    isReversal: false,
    bankReference: bankReference || null,
    ourReference: customerReference || says || null,
    availableOn: null,
    detail: says,
    raw: JSON.stringify({ record: record.parts.join('\n') }),
  };
}

/** "261125" */
function dayOf(text: string): string | null {
  const day = `20${text.slice(0, 2)}-${text.slice(2, 4)}-${text.slice(4, 6)}`;
  return text.length === 6 && isCalendarDay(day) ? `${day}T00:00:00.000Z` : null;
}
