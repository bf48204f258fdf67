/**
 * Bank statements in SWIFT MT940. Decides only. Amounts have a comma and no sign; the mark C, D, RC or RD gives it; dates have two
 * digits for the year, and an entry date has none.
 */
import { type Currency, exponentOf, parseCurrency } from '../money.ts';
import { shownText } from '../shown-text.ts';
import { plainMinor } from './amount-text.ts';
import { checkStatement, lineOfEntry } from './bank-statement.ts';
import type { FileWords } from './csv-format.ts';
import { isCalendarDay } from './date-text.ts';
import type { LineCollector } from './line-collector.ts';
import type { LineKind, StatedTotal } from './settlement-line.ts';
import { createTextLines } from './text-lines.ts';

type TextReader = { readonly write: (text: string) => void; readonly end: () => FileWords };

/** One field with its lines: ":86:" is often of six. */
type Field = { readonly tag: string; readonly row: number; readonly lines: string[] };

const MAX_FIELD_LINES = 100;

/** ":61:" or ":60F:" at the start of a line. */
const TAG = /^:(\d{2}[A-Z]?):(.*)$/;

export function createMt940Reader(collector: LineCollector): TextReader {
  const statements = createStatements(collector);
  let field: Field | null = null;
  let isCrowded = false;

  const flush = () => {
    if (field !== null) statements.takeField(field);
    field = null;
  };
  const takeLine = (line: string, row: number): void => {
    if (collector.isStopped()) return;
    // SWIFT's own envelope around each message: {1:…}{2:…}{4: and -}.
    const bare = line.replace(/^\{[\s\S]*\{4:$/, '').replace(/^-\}.*$/, '');
    const match = TAG.exec(bare);
    if (match !== null) {
      flush();
      isCrowded = false;
      field = { tag: match[1] ?? '', row, lines: [match[2] ?? ''] };
      return;
    }
    if (bare.trim() === '' || bare === '-' || /^\{1:/.test(bare)) return;
    if (field === null) {
      collector.refuse(row, null, 'line_unknown', `${shownText(line)} stands before any field such as :20:`);
      return;
    }
    if (field.lines.length < MAX_FIELD_LINES) field.lines.push(bare);
    else if (!isCrowded) {
      isCrowded = true;
      collector.refuse(row, field.tag, 'field_too_long', `has more than ${MAX_FIELD_LINES} lines`);
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
      return statements.end();
    },
  };
}

type OpenStatement = {
  row: number;
  name: string;
  account: string;
  currency: Currency | null;
  opening: bigint | null;
  closing: bigint | null;
  sum: bigint;
  badEntries: number;
};

/** An entry waits for its :86:. */
type WaitingEntry = { readonly entry: Entry; readonly row: number; readonly text: string };

/** Where a reading of statements stands. */
type Standing = {
  readonly collector: LineCollector;
  readonly accounts: Set<string>;
  readonly totals: StatedTotal[];
  statement: OpenStatement | null;
  waiting: WaitingEntry | null;
  count: number;
};

/** Fields that say nothing which is read here: related reference, available balances, sums of an interim report. */
const UNREAD_TAGS: ReadonlySet<string> = new Set(['21', '64', '65', '34F', '13D', '90C', '90D']);

function createStatements(collector: LineCollector) {
  const standing: Standing = {
    collector,
    accounts: new Set(),
    totals: [],
    statement: null,
    waiting: null,
    count: 0,
  };
  return {
    takeField: (field: Field): void => {
      if (field.tag === '20') openStatement(standing, field);
      else if (standing.statement !== null) takeField(standing, standing.statement, field);
      else collector.refuse(field.row, field.tag, 'field_unexpected', 'stands outside of a statement (:20:)');
    },
    end: (): FileWords => {
      closeStatement(standing);
      if (standing.count === 0 && !collector.isStopped()) {
        collector.stop('statement_missing', 'has no statement (:20:) in it');
      }
      return { accounts: [...standing.accounts], totals: standing.totals };
    },
  };
}

function openStatement(standing: Standing, { row, lines }: Field): void {
  closeStatement(standing);
  standing.count += 1;
  standing.statement = {
    row,
    name: (lines[0] ?? '').trim(),
    account: '',
    currency: null,
    opening: null,
    closing: null,
    sum: 0n,
    badEntries: 0,
  };
}

function closeStatement(standing: Standing): void {
  addWaiting(standing, []);
  const { statement, collector } = standing;
  standing.statement = null;
  if (statement === null) return;
  const { row, account, name, currency, opening, closing, sum, badEntries } = statement;
  if (account !== '') standing.accounts.add(account);
  if (currency === null) {
    const message = `statement ${shownText(name)} has no opening balance`;
    collector.refuse(row, '60F', 'balance_missing', message);
    return;
  }
  const balances = { openingMinor: opening, closingMinor: closing, sumMinor: sum, badEntries };
  standing.totals.push(checkStatement(collector, { account, name, currency, ...balances }));
}

function addWaiting(standing: Standing, narrative: readonly string[]): void {
  const { statement, waiting, collector } = standing;
  if (waiting === null || statement === null || statement.currency === null) return;
  collector.add(lineOf(statement, statement.currency, waiting, narrative));
  standing.waiting = null;
}

function takeField(standing: Standing, statement: OpenStatement, { tag, row, lines }: Field): void {
  const { collector } = standing;
  const text = lines[0] ?? '';
  addWaiting(standing, tag === '86' ? lines : []);
  if (tag === '86' || UNREAD_TAGS.has(tag)) return;
  switch (tag) {
    case '25':
      statement.account = text.trim();
      return;
    case '28':
    case '28C':
      statement.name = text.trim();
      return;
    case '60F':
    case '60M':
    case '62F':
    case '62M':
      takeBalance(collector, statement, tag, text, row);
      return;
    case '61':
      standing.waiting = takeEntry(collector, statement, lines, row);
      return;
    default:
      collector.refuse(row, tag, 'field_unknown', `:${tag}: is no field of an MT940 statement`);
  }
}

/** ":60F:C261125EUR1234,56" */
function takeBalance(
  collector: LineCollector,
  statement: OpenStatement,
  tag: string,
  text: string,
  row: number,
): void {
  const isOpening = tag.startsWith('60');
  const [, side, date, code, digits] = /^([CD])(\d{6})([A-Z]{3})([\d,]+)$/.exec(text.trim()) ?? [];
  const currency = parseCurrency(code ?? '');
  const amount = currency === null ? null : commaAmount(digits ?? '', currency);
  if (currency === null || amount === null || dayOf(date ?? '') === null) {
    statement.badEntries += 1;
    const message = `${shownText(text)} is no balance like C261125EUR1234,56`;
    collector.refuse(row, tag, 'balance_unreadable', message);
    return;
  }
  if (statement.currency !== null && statement.currency !== currency) {
    statement.badEntries += 1;
    collector.refuse(
      row,
      tag,
      'currency_differs',
      `is in ${currency} and the statement in ${statement.currency}`,
    );
    return;
  }
  if ((isOpening ? statement.opening : statement.closing) !== null) {
    statement.badEntries += 1;
    collector.refuse(
      row,
      tag,
      'balance_twice',
      'is a second balance of its kind: the start of a statement is missing',
    );
    return;
  }
  statement.currency = currency;
  const minor = side === 'D' ? -amount : amount;
  if (isOpening) statement.opening = minor;
  else statement.closing = minor;
}

/** Digits with one comma, which is always there: "1234," is 1234. */
function commaAmount(text: string, currency: Currency): bigint | null {
  if (!/^\d{1,15},\d{0,15}$/.test(text)) return null;
  const exponent = exponentOf(currency);
  const plain = plainMinor(text.endsWith(',') ? text.slice(0, -1) : text, exponent, ',');
  if (plain !== null) return plain;
  const [whole = '', decimals = ''] = text.split(',');
  if (/[1-9]/.test(decimals.slice(exponent))) return null;
  return BigInt(`${whole}${decimals.slice(0, exponent).padEnd(exponent, '0')}`);
}

type Entry = {
  readonly minor: bigint;
  readonly type: string;
  readonly isReversal: boolean;
  readonly customerReference: string;
  readonly bankReference: string | null;
  readonly bookedOn: string;
  readonly valueOn: string;
};

const ENTRY = /^(\d{6})(\d{4})?(RC|RD|EC|ED|C|D)([A-Z])?(\d{1,15},\d{0,15})([NFS][A-Z0-9]{3})(.*)$/;

function takeEntry(
  collector: LineCollector,
  statement: OpenStatement,
  lines: readonly string[],
  row: number,
): WaitingEntry | null {
  const text = lines[0] ?? '';
  const refuse = (code: string, message: string): null => {
    statement.badEntries += 1;
    collector.refuse(row, '61', code, message);
    return null;
  };
  if (statement.currency === null)
    return refuse('field_unexpected', 'an entry stands before the opening balance');
  const match = ENTRY.exec(text);
  if (match === null)
    return refuse('entry_unreadable', `${shownText(text)} is no entry like 2611251125C12,50NTRFREF//BANKREF`);
  const [, value = '', entryDay, side = '', , digits = '', type = '', references = ''] = match;
  const amount = commaAmount(digits, statement.currency);
  if (amount === null) {
    return refuse(
      'amount_unreadable',
      `${shownText(digits)} is no amount of ${statement.currency} like 1234,56`,
    );
  }
  const valueOn = dayOf(value);
  const bookedOn = valueOn === null ? null : bookedDay(valueOn, entryDay);
  if (valueOn === null || bookedOn === null)
    return refuse('date_unreadable', `${shownText(text)} has a date that is none`);
  // A reversal of a credit takes money away, one of a debit gives it back.
  const isIn = side === 'C' || side === 'EC' || side === 'RD';
  const [customerReference = '', ...bank] = references.split('//');
  const entry: Entry = {
    minor: isIn ? amount : -amount,
    type,
    isReversal: side.startsWith('R'),
    customerReference: customerReference.trim(),
    bankReference: bank.join('//').trim() || null,
    bookedOn,
    valueOn,
  };
  statement.sum += entry.minor;
  return { entry, row, text: lines.join('\n') };
}

/** "261125" as a day; years from 80 on are of the last century. */
function dayOf(text: string): string | null {
  const century = text >= '80' ? '19' : '20';
  const day = `${century}${text.slice(0, 2)}-${text.slice(2, 4)}-${text.slice(4, 6)}`;
  return text.length === 6 && isCalendarDay(day) ? day : null;
}

/** The entry date has no year: it is the one nearest to the value date, so that 3112 is of last year for a value on 2 January. */
function bookedDay(valueOn: string, entryDay: string | undefined): string | null {
  if (entryDay === undefined) return valueOn;
  const year = Number(valueOn.slice(0, 4));
  const days = [year - 1, year, year + 1]
    .map((one) => `${one}-${entryDay.slice(0, 2)}-${entryDay.slice(2, 4)}`)
    .filter(isCalendarDay);
  const distance = (day: string) => Math.abs(Date.parse(day) - Date.parse(valueOn));
  return days.toSorted((left, right) => distance(left) - distance(right))[0] ?? null;
}

/** Type codes of SWIFT that say more than in or out. */
const KINDS: ReadonlyMap<string, LineKind> = new Map([
  ['NCHG', 'fee'],
  ['NCOM', 'fee'],
  ['NRTI', 'deposit_returned'],
]);

function lineOf(
  statement: OpenStatement,
  currency: Currency,
  waiting: WaitingEntry,
  narrative: readonly string[],
) {
  const { entry, row, text } = waiting;
  const { customerReference } = entry;
  const says = narrative.join(' ').trim().slice(0, 1_000);
  const ours = customerReference === '' || customerReference === 'NONREF' ? says : customerReference;
  return lineOfEntry({
    row,
    account: statement.account,
    statement: statement.name,
    currency,
    amountMinor: entry.minor,
    rawType: entry.type,
    kind: KINDS.get(entry.type) ?? null,
    isReversal: entry.isReversal,
    bankReference: entry.bankReference,
    ourReference: ours === '' ? null : ours,
    bookedOn: `${entry.bookedOn}T00:00:00.000Z`,
    availableOn: `${entry.valueOn}T00:00:00.000Z`,
    detail: `${text}\u001f${narrative.join('\n')}`,
    raw: JSON.stringify({ '61': text, ...(narrative.length === 0 ? {} : { '86': narrative.join('\n') }) }),
  });
}
