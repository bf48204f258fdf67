/**
 * Bank statements in BAI2. Decides only. Amounts have no sign and two implied decimals; the type code says whether money came in.
 * Every level states how many records it has and what their amounts add up to: a file that is not whole is refused.
 */
import { type Currency, exponentOf, parseCurrency } from '../money.ts';
import { shownText } from '../shown-text.ts';
import { lineOfEntry } from './bank-statement.ts';
import type { FileWords } from './csv-format.ts';
import { isCalendarDay } from './date-text.ts';
import type { LineCollector } from './line-collector.ts';
import type { LineKind, StatedTotal } from './settlement-line.ts';
import { createTextLines } from './text-lines.ts';

type TextReader = { readonly write: (text: string) => void; readonly end: () => FileWords };

/** One record with its continuations (88) joined; `physical` counts lines, which is what trailers count. */
type BaiRecord = { readonly code: string; readonly row: number; readonly parts: string[]; physical: number };

const MAX_RECORD_CHARACTERS = 100_000;

/** Sums of one level while its records come. */
type Level = { row: number; total: bigint; records: number; children: number; bad: boolean };

type Account = Level & {
  readonly number: string;
  readonly currency: Currency | null;
  opening: bigint | null;
  closing: bigint | null;
};

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
      record = { code, row, parts: [line], physical: 1 };
      return;
    }
    if (record === null) {
      reading.refuse(row, '88', 'record_unexpected', 'continues no record');
      return;
    }
    record.parts.push(line.slice(3));
    record.physical += 1;
    if (record.parts.reduce((sum, part) => sum + part.length, 0) > MAX_RECORD_CHARACTERS) {
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
  const accounts = new Set<string>();
  const totals: StatedTotal[] = [];
  let file: Level | null = null;
  let group:
    | (Level & { readonly currency: string; readonly asOf: string | null; readonly isTest: boolean })
    | null = null;
  let account: Account | null = null;
  let isClosed = false;

  const refuse = (row: number, column: string | null, code: string, message: string) => {
    for (const level of [file, group, account]) if (level !== null) level.bad = true;
    collector.refuse(row, column, code, message);
  };
  const count = (record: BaiRecord) => {
    for (const level of [file, group, account]) if (level !== null) level.records += record.physical;
  };

  const take = (record: BaiRecord): void => {
    const fields = fieldsOf(record);
    const { code, row } = record;
    switch (code) {
      case '01':
        file = { row, total: 0n, records: 0, children: 0, bad: false };
        break;
      case '02':
        if (file !== null) file.children += 1;
        group = {
          row,
          total: 0n,
          records: 0,
          children: 0,
          bad: false,
          currency: fields[6] ?? '',
          asOf: dayOf(fields[4] ?? ''),
          isTest: fields[3] !== '1' && fields[3] !== '3',
        };
        if (group.isTest)
          refuse(
            row,
            'group status',
            'group_unusable',
            `status ${shownText(fields[3] ?? '')} is no update (1) and no correction (3)`,
          );
        if (group.asOf === null)
          refuse(
            row,
            'as-of date',
            'date_unreadable',
            `${shownText(fields[4] ?? '')} is no date like 261125`,
          );
        break;
      case '03':
        account = openAccount(collector, refuse, fields, row, group?.currency ?? '');
        if (group !== null) group.children += 1;
        break;
      case '16':
        if (account === null || group === null)
          refuse(row, null, 'record_unexpected', 'a transaction stands outside of an account (03)');
        break;
      case '49':
      case '98':
      case '99':
        break;
      default:
        refuse(row, null, 'record_unknown', `${shownText(code)} is no record code of BAI2`);
    }
    count(record);
    if (code === '16' && account !== null && group !== null) {
      takeTransaction(collector, refuse, account, group, record, fields);
    }
    if (code === '49') closeAccount(fields, row);
    if (code === '98') closeGroup(fields, row);
    if (code === '99') closeFile(fields, row);
  };
  const closeAccount = (fields: readonly string[], row: number): void => {
    if (account === null) {
      refuse(row, '49', 'record_unexpected', 'closes no account');
      return;
    }
    checkLevel(account, fields, row, null);
    if (group !== null) group.total += account.total;
    accounts.add(account.number);
    if (account.currency !== null) {
      const { opening, closing, number, currency } = account;
      totals.push({
        batch: `${number} ${group?.asOf?.slice(0, 10) ?? ''}`.trim(),
        currency,
        openingMinor: opening,
        closingMinor: closing,
        sumMinor: null,
      });
    }
    account = null;
  };
  const closeGroup = (fields: readonly string[], row: number): void => {
    if (group === null) {
      refuse(row, '98', 'record_unexpected', 'closes no group');
      return;
    }
    if (account !== null) refuse(row, '98', 'record_missing', 'the account before has no trailer (49)');
    checkLevel(group, fields, row, 'accounts');
    if (file !== null) file.total += group.total;
    group = null;
    account = null;
  };
  const closeFile = (fields: readonly string[], row: number): void => {
    if (file === null) {
      refuse(row, '99', 'record_unexpected', 'closes no file');
      return;
    }
    if (group !== null) refuse(row, '99', 'record_missing', 'the group before has no trailer (98)');
    checkLevel(file, fields, row, 'groups');
    file = null;
    isClosed = true;
  };
  const checkLevel = (
    level: Level,
    fields: readonly string[],
    row: number,
    children: string | null,
  ): void => {
    const [total, ...counts] = fields.slice(1);
    const differs = (what: string, stated: string | undefined, counted: bigint | number) => {
      if (level.bad || stated === String(counted)) return;
      const message = `states ${what} ${shownText(stated ?? '')}, and there are ${counted}: a record is missing or changed`;
      collector.refuse(row, fields[0] ?? null, 'control_total_differs', message);
    };
    const sum = /^[+-]?\d{1,24}$/.test(total ?? '') ? String(BigInt((total ?? '').replace('+', ''))) : total;
    differs('a control total of', sum, level.total);
    const plain = counts.map((one) => (/^\d{1,15}$/.test(one) ? String(Number(one)) : one));
    if (children !== null) differs(`a number of ${children} of`, plain[0], level.children);
    differs('a number of records of', plain[children === null ? 0 : 1], level.records);
  };
  return {
    take,
    refuse,
    end: (): FileWords => {
      if (!isClosed && !collector.isStopped()) {
        collector.stop('file_cut_off', 'ends without its trailer (99): the rest is missing');
      }
      return { accounts: [...accounts], totals };
    },
  };
}

type Refuse = (row: number, column: string | null, code: string, message: string) => void;

/** 03: the account, then groups of type code, amount, item count and funds type. */
function openAccount(
  collector: LineCollector,
  refuse: Refuse,
  fields: readonly string[],
  row: number,
  groupCurrency: string,
): Account {
  const code = (fields[2] ?? '') || groupCurrency || 'USD';
  const currency = parseCurrency(code);
  const account: Account = {
    row,
    number: fields[1] ?? '',
    currency,
    total: 0n,
    records: 0,
    children: 0,
    bad: false,
    opening: null,
    closing: null,
  };
  if (currency === null)
    refuse(row, 'currency', 'currency_unknown', `${shownText(code)} is not a currency code of ISO 4217`);
  else if (exponentOf(currency) !== 2) {
    const message = `amounts have two implied decimals and ${currency} has ${exponentOf(currency)}: banks disagree on what that means; ask for CAMT.053`;
    collector.stop('decimals_unclear', message);
  }
  for (let at = 3; at + 1 < fields.length; ) {
    const type = fields[at] ?? '';
    const text = fields[at + 1] ?? '';
    if (type === '' && text === '') break;
    if (text !== '') {
      const amount = readInteger(text);
      if (amount === null) {
        refuse(row, '03', 'amount_unreadable', `${shownText(text)} is no whole number of cents`);
        break;
      }
      account.total += amount;
      if (type === '010') account.opening = amount;
      if (type === '015') account.closing = amount;
    }
    at = afterFunds(fields, at + 3);
  }
  return account;
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

function takeTransaction(
  collector: LineCollector,
  refuse: Refuse,
  account: Account,
  group: { readonly asOf: string | null },
  record: BaiRecord,
  fields: readonly string[],
): void {
  const { row } = record;
  const [, type = '', text = ''] = fields;
  const direction = directionOf(type);
  const amount = text === '' && direction === 'none' ? 0n : readInteger(text);
  if (amount === null || amount < 0n) {
    refuse(
      row,
      'amount',
      'amount_unreadable',
      `${shownText(text)} is no whole number of cents without a sign`,
    );
    return;
  }
  account.total += amount;
  if (direction === null) {
    refuse(row, 'type', 'direction_unknown', `type ${shownText(type)} is neither a credit nor a debit`);
    return;
  }
  if (account.currency === null) {
    refuse(row, null, 'currency_missing', 'belongs to an account of unknown currency');
    return;
  }
  const at = afterFunds(fields, 3);
  const [bankReference = '', customerReference = ''] = fields.slice(at, at + 2);
  const says = fields
    .slice(at + 2)
    .join(', ')
    .trim()
    .slice(0, 1_000);
  const ours = customerReference || says;
  collector.add(
    lineOfEntry({
      row,
      account: account.number,
      statement: group.asOf?.slice(0, 10) ?? '',
      currency: account.currency,
      amountMinor: direction === 'out' ? -amount : amount,
      rawType: type,
      kind: direction === 'none' ? 'note' : (KINDS.get(type) ?? null),
      isReversal: false,
      bankReference: bankReference === '' ? null : bankReference,
      ourReference: ours === '' ? null : ours,
      bookedOn: group.asOf,
      availableOn: null,
      detail: says,
      raw: JSON.stringify({ record: record.parts.join('\n') }),
    }),
  );
}

/** "261125" */
function dayOf(text: string): string | null {
  const day = `20${text.slice(0, 2)}-${text.slice(2, 4)}-${text.slice(4, 6)}`;
  return text.length === 6 && isCalendarDay(day) ? `${day}T00:00:00.000Z` : null;
}
