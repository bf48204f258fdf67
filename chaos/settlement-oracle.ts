/**
 * A second, slow reader of settlement files that shares no code with the first: its own CSV, its own numbers (decimal.js). It says
 * what a line may say, and which rows must not be missing. Where it cannot tell either, it says so instead of agreeing.
 */
import { Decimal } from 'decimal.js';
import { exponentOf, parseCurrency } from '../src/core/money.ts';
import type { SettlementLine } from '../src/core/settlement/settlement-line.ts';

Decimal.set({ precision: 60 });

export type CsvFamily = 'stripe' | 'adyen' | 'paypal' | 'acquirer' | 'bank';
export type Family = CsvFamily | 'camt053' | 'mt940' | 'bai2';

type Row = { readonly row: number; readonly cells: readonly string[] };
type Mark = '.' | ',';
type Money = { readonly gross: Decimal; readonly fee: Decimal; readonly net: Decimal };

/** The file's text by the same rule that the design states: mark, then zero bytes, then UTF-8 or Windows-1252. */
function decode(bytes: Buffer): string {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return bytes.toString('utf8', 3);
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder('utf-16le').decode(bytes);
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder('utf-16be').decode(bytes);
  const zeros = [0, 0];
  const head = bytes.subarray(0, 4096);
  for (const [at, byte] of head.entries()) if (byte === 0) zeros[at % 2] = (zeros[at % 2] ?? 0) + 1;
  if ((zeros[1] ?? 0) > head.length / 4) return new TextDecoder('utf-16le').decode(bytes);
  if ((zeros[0] ?? 0) > head.length / 4) return new TextDecoder('utf-16be').decode(bytes);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder('windows-1252').decode(bytes);
  }
}

/** A file with a lone CR in it ends lines by any of the three. */
function withLineFeeds(text: string): string {
  const hasLoneCr = /\r(?!\n|$)/.test(text) || (text.endsWith('\r') && !text.includes('\n'));
  return hasLoneCr ? text.replace(/\r\n?/g, '\n') : text;
}

/** Records with the lines they start on; null where quotes do not close or stand in the middle of a cell. */
function splitCsv(text: string, delimiter: string, firstRow: number): readonly Row[] | null {
  const newline = '\n';
  const rows: Row[] = [];
  let cells: string[] = [];
  let cell = '';
  let state: 'start' | 'plain' | 'quoted' | 'closed' = 'start';
  let row = firstRow;
  let start = firstRow;
  const endCell = () => {
    cells.push(cell);
    cell = '';
    state = 'start';
  };
  const endRow = () => {
    endCell();
    rows.push({ row: start, cells });
    cells = [];
  };
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at]!;
    if (state === 'quoted') {
      if (char === '"' && text[at + 1] === '"') {
        cell += '"';
        at += 1;
      } else if (char === '"') state = 'closed';
      else {
        cell += char;
        if (char === newline) row += 1;
      }
    } else if (char === '"') {
      if (state !== 'start') return null;
      state = 'quoted';
    } else if (char === delimiter) endCell();
    else if (char === newline) {
      if (newline === '\n' && state === 'plain' && cell.endsWith('\r')) cell = cell.slice(0, -1);
      endRow();
      row += 1;
      start = row;
    } else if (state === 'closed') {
      // A zero byte after a quote is no text: the row is a fault, and those after it are not.
      if (char === '\0') continue;
      if (char !== '\r' || text[at + 1] !== '\n') return null;
    } else {
      cell += char;
      state = 'plain';
    }
  }
  if (state === 'quoted') return null;
  if (cell !== '' || cells.length > 0 || state === 'closed') endRow();
  return rows;
}

const normal = (name: string) => name.trim().replace(/\s+/g, ' ').toLowerCase();

type Format = {
  /** The columns that make a header, in lower case. */
  readonly header: readonly string[];
  readonly optional: readonly string[];
  readonly money: (cell: (name: string) => string, mark: Mark) => Money | null;
  readonly currency: (cell: (name: string) => string) => string;
};

/** A number whose every character is accounted for: digits, the mark, and dress that changes no value. */
function plain(text: string, mark: Mark): Decimal | null {
  const sign = /^[+-]?/.exec(text)?.[0] ?? '';
  const [whole = '', decimals, ...more] = text.slice(sign.length).split(mark);
  if (more.length > 0 || !/^[0-9]+$/.test(whole) || (decimals !== undefined && !/^[0-9]+$/.test(decimals)))
    return null;
  const value = new Decimal(`${whole}.${decimals ?? '0'}`);
  return sign === '-' ? value.negated() : value;
}

/** The same with groups, symbols, codes and parentheses. */
function dressed(text: string, mark: Mark): Decimal | null {
  const isNegative = /[-\u2212]/.test(text) !== /^\s*\(.*\)\s*$/.test(text);
  const bare = text
    .replace(/[()\s\u00a0\u2009\u202f'\u2019$€£¥₹₩+\u2212-]/g, '')
    .replace(/^[A-Z]{3}|[A-Z]{3}$/g, '');
  const digits = bare.split(mark === '.' ? ',' : '.').join('');
  const value = plain(digits.startsWith(mark) ? `0${digits}` : digits, mark);
  return value === null ? null : isNegative ? value.negated() : value;
}

const zeroIfEmpty = (text: string, read: (text: string) => Decimal | null) =>
  text === '' ? new Decimal(0) : read(text);

function stripeMoney(cell: (name: string) => string, mark: Mark): Money | null {
  const [gross, fee, net] = ['gross', 'fee', 'net'].map((name) => plain(cell(name).trim(), mark));
  return gross && fee && net ? { gross, fee, net } : null;
}

function adyenMoney(cell: (name: string) => string, mark: Mark): Money | null {
  const read = (name: string) => zeroIfEmpty(cell(name), (text) => plain(text.trim(), mark));
  const [credit, debit] = [read('net credit (nc)'), read('net debit (nc)')];
  const fees = ['commission (nc)', 'markup (nc)', 'scheme fees (nc)', 'interchange (nc)'].map(read);
  const [grossCredit, grossDebit] = [read('gross credit (gc)'), read('gross debit (gc)')];
  if (!credit || !debit || !grossCredit || !grossDebit || fees.includes(null)) return null;
  const fee = fees.reduce<Decimal>((sum, one) => sum.plus(one ?? 0), new Decimal(0));
  const net = credit.minus(debit);
  const stated = grossCredit.minus(grossDebit);
  if (cell('gross credit (gc)') === '' && cell('gross debit (gc)') === '')
    return { gross: net.plus(fee), fee, net };
  if (cell('gross currency').trim().toUpperCase() === cell('net currency').trim().toUpperCase())
    return { gross: stated, fee, net };
  const rate = plain(cell('exchange rate'), mark);
  if (rate === null) return null;
  const code = parseCurrency(cell('net currency').trim().toUpperCase());
  if (code === null) return null;
  const unit = new Decimal(10).pow(-exponentOf(code));
  const converted = stated.times(rate);
  const expected = net.plus(fee);
  if (converted.minus(expected).abs().lte(unit.div(2))) return { gross: expected, fee, net };
  return { gross: converted.toDecimalPlaces(exponentOf(code), Decimal.ROUND_HALF_UP), fee, net };
}

function paypalMoney(cell: (name: string) => string): Money | null {
  const read = (amount: string, side: string): Decimal | null => {
    const text = cell(amount);
    if (text === '' && cell(side) === '') return new Decimal(0);
    if (!/^[0-9]+$/.test(text)) return null;
    const value = new Decimal(text).div(100);
    if (cell(side) === 'CR') return value;
    if (cell(side) === 'DR') return value.negated();
    return value.isZero() ? value : null;
  };
  const gross = read('gross transaction amount', 'transaction debit or credit');
  const fee = read('fee amount', 'fee debit or credit')?.negated() ?? null;
  if (gross === null || fee === null) return null;
  const isUnmoved = ['D', 'P'].includes(cell('transactional status'));
  const zero = new Decimal(0);
  return isUnmoved ? { gross: zero, fee: zero, net: zero } : { gross, fee, net: gross.minus(fee) };
}

function acquirerMoney(cell: (name: string) => string, mark: Mark): Money | null {
  const gross = dressed(cell('value'), mark);
  const cost = cell('cost').trim() === '' ? new Decimal(0) : dressed(cell('cost'), mark);
  const net = dressed(cell('payable'), mark);
  return gross && cost && net ? { gross, fee: cost.negated(), net } : null;
}

function bankMoney(cell: (name: string) => string, mark: Mark): Money | null {
  const read = (name: string) => (cell(name).trim() === '' ? new Decimal(0) : dressed(cell(name), mark));
  const [debit, credit] = [read('soll'), read('haben')];
  if (!debit || !credit) return null;
  const gross = credit.minus(debit.abs());
  return { gross, fee: new Decimal(0), net: gross };
}

const FORMATS: Readonly<Record<CsvFamily, Format>> = {
  stripe: {
    header: ['balance_transaction_id', 'currency', 'gross', 'fee', 'net', 'reporting_category'],
    optional: [],
    money: stripeMoney,
    currency: (cell) => cell('currency'),
  },
  adyen: {
    header: ['psp reference', 'type', 'net currency', 'net debit (nc)', 'net credit (nc)', 'batch number'],
    optional: [],
    money: adyenMoney,
    currency: (cell) => cell('net currency'),
  },
  paypal: {
    header: ['ch', 'transaction id', 'transaction event code', 'gross transaction amount'],
    optional: [],
    money: paypalMoney,
    currency: (cell) => cell('gross transaction currency'),
  },
  acquirer: {
    header: ['order', 'event', 'value', 'cost', 'payable', 'ccy', 'when'],
    optional: [],
    money: acquirerMoney,
    currency: (cell) => cell('ccy'),
  },
  bank: {
    header: ['buchungstag', 'soll', 'haben', 'w\u00e4hrung', 'referenz'],
    optional: [],
    money: bankMoney,
    currency: (cell) => cell('w\u00e4hrung'),
  },
};

const isTotalCell = (cell: string) =>
  /^(?:(?:grand |sub)?totals?|sum|summe|gesamt(?:summe)?|totaal|totale):?$/i.test(cell.trim());

/** @property hasStrayEnds it has faults about line ends in the middle of a row */
export type Refusal = { readonly isRefusedWhole: boolean; readonly hasStrayEnds: boolean };

/** What is wrong with a reading of a CSV file: empty when nothing is. */
export function judgeCsv(
  family: CsvFamily,
  bytes: Buffer,
  lines: readonly SettlementLine[],
  faultRows: ReadonlySet<number>,
  { isRefusedWhole, hasStrayEnds }: Refusal,
): readonly string[] {
  const format = FORMATS[family];
  const decoded = decode(bytes);
  // A reader that has called a lone CR a fault has not taken it for the end of a row: then rows are numbered by LF alone.
  const text = (hasStrayEnds ? decoded : withLineFeeds(decoded)).replace(/^\ufeff+/, '');
  const found = findHeader(text, format, family === 'paypal');
  if (found === null)
    return lines.length > 0 ? ['lines came of a file in which the oracle finds no header'] : [];
  const { rows, delimiter } = found;
  const byRow = new Map(rows.map((one) => [one.row, one.cells]));
  const headers = headersOf(rows, format);
  const wrong: string[] = [];
  const fits = (mark: Mark) => lines.every((line) => amountsFit(format, headers, byRow, line, mark));
  if (!fits('.') && !fits(',')) {
    const bad = lines.find((line) => !amountsFit(format, headers, byRow, line, '.'));
    wrong.push(
      `row ${bad?.row}: the line's amounts are not the text's: ${JSON.stringify(byRow.get(bad?.row ?? 0))} delimiter ${delimiter}`,
    );
  }
  if (isRefusedWhole) return wrong;
  const told = new Set([...lines.map((line) => line.row), ...faultRows]);
  for (const { row, cells } of rows) {
    const isMoney = family === 'paypal' ? cells[0]?.trim() === 'SB' : row > (headers[0]?.row ?? 0);
    // Half a character at the end of a file is damage of the row before.
    const isEmpty = cells.every((cell) => cell.trim() === '' || cell === '\ufffd');
    if (isMoney && !isEmpty && !cells.some(isTotalCell) && !told.has(row))
      wrong.push(`row ${row} is neither a line nor a fault`);
  }
  if (new Set(lines.map((line) => line.row)).size !== lines.length) wrong.push('a row became two lines');
  return wrong;
}

function findHeader(
  text: string,
  format: Format,
  isFromTop: boolean,
): { readonly rows: readonly Row[]; readonly delimiter: string } | null {
  const newline = '\n';
  const all = text.split(newline);
  if (isFromTop) return findInside(text, format);
  for (const [index, line] of all.slice(0, 60).entries()) {
    for (const delimiter of [',', ';', '\t', '|']) {
      const cells = (splitCsv(line.replace(/\r$/, ''), delimiter, 1)?.[0]?.cells ?? []).map(normal);
      if (!format.header.every((name) => cells.includes(name))) continue;
      const from = index;
      const rows = splitUntilBroken(all.slice(from).join(newline), delimiter, from + 1);
      return { rows, delimiter };
    }
  }
  return null;
}

/** PayPal's header is a row like the others, and may have line ends in its cells. */
function findInside(
  text: string,
  format: Format,
): { readonly rows: readonly Row[]; readonly delimiter: string } | null {
  for (const delimiter of [',', ';', '\t', '|']) {
    const rows = splitUntilBroken(text, delimiter, 1);
    if (headersOf(rows, format).length > 0) return { rows, delimiter };
  }
  return null;
}

/** Rows as far as quotes allow: a reader that stops there has refused the file. */
function splitUntilBroken(text: string, delimiter: string, firstRow: number): readonly Row[] {
  const whole = splitCsv(text, delimiter, firstRow);
  if (whole !== null) return whole;
  const lines = text.split('\n');
  for (let count = lines.length - 1; count > 0; count -= 1) {
    const rows = splitCsv(`${lines.slice(0, count).join('\n')}\n`, delimiter, firstRow);
    if (rows !== null) return rows;
  }
  return [];
}

function headersOf(rows: readonly Row[], format: Format): readonly Row[] {
  return rows.filter(({ cells }) => {
    const names = cells.map(normal);
    return format.header.every((name) => names.includes(name));
  });
}

function amountsFit(
  format: Format,
  headers: readonly Row[],
  byRow: ReadonlyMap<number, readonly string[]>,
  line: SettlementLine,
  mark: Mark,
): boolean {
  const cells = byRow.get(line.row);
  const header =
    headers[0]?.cells[0]?.trim() === 'CH' ? headers.filter((one) => one.row < line.row).at(-1) : headers[0];
  if (cells === undefined || header === undefined) return false;
  const names = header.cells.map(normal);
  const cell = (name: string) => cells[names.indexOf(name)] ?? '';
  const money = format.money(cell, mark);
  const code = parseCurrency(format.currency(cell).trim().toUpperCase());
  if (money === null || code === null || code !== line.currency) return false;
  const unit = new Decimal(10).pow(exponentOf(code));
  const same = (minor: bigint, value: Decimal) => value.times(unit).equals(minor.toString());
  return (
    same(line.grossMinor, money.gross) && same(line.feeMinor, money.fee) && same(line.netMinor, money.net)
  );
}

/** The same for bank statements: entries by the line they start on, found with plain expressions. */
export function judgeStatement(
  family: 'camt053' | 'mt940' | 'bai2',
  bytes: Buffer,
  lines: readonly SettlementLine[],
  faultRows: ReadonlySet<number>,
  isRefusedWhole: boolean,
): readonly string[] {
  const text = decode(bytes).replace(/\r\n/g, '\n').replace(/\r/g, '\n');
  const entries = entriesOf(family, text);
  const byRow = new Map<number, bigint>();
  for (const line of lines) byRow.set(line.row, (byRow.get(line.row) ?? 0n) + line.netMinor);
  const wrong: string[] = [];
  for (const [row, minor] of byRow) {
    const entry = entries.get(row);
    const isNote = lines.some((line) => line.row === row && line.kind === 'note');
    // A parser that meets the wrong end closes what is open; the file is refused all the same.
    if (entry === undefined && isRefusedWhole) continue;
    if (entry === undefined) wrong.push(`row ${row}: a line where the oracle finds no entry`);
    else if (!isNote && entry !== null && entry !== minor)
      wrong.push(`row ${row}: ${minor} instead of ${entry}`);
    else if (!isNote && entry === null)
      wrong.push(`row ${row}: a line of an entry that the oracle cannot read`);
  }
  if (isRefusedWhole) return wrong;
  for (const row of entries.keys()) {
    if (!byRow.has(row) && !faultRows.has(row)) wrong.push(`row ${row} is neither a line nor a fault`);
  }
  return wrong;
}

/** Signed minor units by line; null for an entry that has no amount that anybody could read. */
function entriesOf(family: 'camt053' | 'mt940' | 'bai2', text: string): ReadonlyMap<number, bigint | null> {
  const entries = new Map<number, bigint | null>();
  if (family === 'camt053') {
    for (const match of text.matchAll(/<(?:[^\s<>:]+:)?Ntry\s*>[\s\S]*?<\/(?:[^\s<>:]+:)?Ntry\s*>/g)) {
      const row = text.slice(0, match.index).split('\n').length;
      // The amounts of an entry's parts are not its own.
      const own = match[0].replace(/<(?:[^\s<>:]+:)?NtryDtls\s*>[\s\S]*?<\/(?:[^\s<>:]+:)?NtryDtls\s*>/g, '');
      const [, code = '', amount = ''] = /<Amt\s[^>]*Ccy="([A-Z]{3})"[^>]*>\s*([0-9.]+)\s*</.exec(own) ?? [];
      const side = /<CdtDbtInd\s*>\s*(CRDT|DBIT)\s*</.exec(own)?.[1];
      const minor = minorOf(amount, code);
      entries.set(row, minor === null || side === undefined ? null : side === 'DBIT' ? -minor : minor);
    }
    return entries;
  }
  const lines = text.split('\n');
  let currency = 'EUR';
  for (const [index, line] of lines.entries()) {
    if (family === 'mt940') {
      currency = /^:60[FM]:[CD]\d{6}([A-Z]{3})/.exec(line)?.[1] ?? currency;
      if (!line.startsWith(':61:')) continue;
      const [, side = '', amount = ''] = /^:61:\d{6}(?:\d{4})?(R?[CD]|E[CD])[A-Z]?(\d+,\d*)/.exec(line) ?? [];
      const minor = minorOf(amount.replace(',', '.'), currency);
      entries.set(index + 1, minor === null ? null : ['C', 'RD', 'EC'].includes(side) ? minor : -minor);
    } else if (/^16(?:,|\/|$)/.test(line)) {
      // What is left out of a record stands in its continuations.
      let record = line.replace(/\/\s*$/, '');
      for (let next = index + 1; lines[next]?.startsWith('88') === true; next += 1)
        record += `,${(lines[next] ?? '').slice(3).replace(/\/\s*$/, '')}`;
      const [, type = '', amount = ''] = record.split(',').map((field) => field.trim());
      const isOut = /^[456]/.test(type) || /^9[6-9]/.test(type);
      entries.set(
        index + 1,
        /^\+?\d+$/.test(amount)
          ? isOut
            ? -BigInt(amount.replace('+', ''))
            : BigInt(amount.replace('+', ''))
          : null,
      );
    }
  }
  return entries;
}

function minorOf(text: string, code: string): bigint | null {
  const currency = parseCurrency(code);
  if (currency === null || !/^\d+\.?\d*$/.test(text)) return null;
  const minor = new Decimal(text).times(new Decimal(10).pow(exponentOf(currency)));
  return minor.isInteger() ? BigInt(minor.toFixed(0)) : null;
}
