/**
 * Bank statements in CAMT.053 (ISO 20022), versions 2 to 8, streamed. Decides only.
 */
import { type Currency, exponentOf, parseCurrency } from '../money.ts';
import { shownText } from '../shown-text.ts';
import { plainMinor } from './amount-text.ts';
import { checkStatement, lineOfEntry } from './bank-statement.ts';
import type { FileWords } from './csv-format.ts';
import { instantAtOffset, offsetMinutesOf, readLocalTime, utcInstant } from './date-text.ts';
import type { LineCollector } from './line-collector.ts';
import type { LineKind, StatedTotal } from './settlement-line.ts';
import { allText, child, createXmlReader, jsonOf, textOf, type XmlNode } from './xml-elements.ts';

/** Longer texts of an entry are cut where they only tell entries apart. */
const MAX_DETAIL_CHARACTERS = 20_000;

const WHOLE: ReadonlySet<string> = new Set(['Ntry', 'Bal', 'Acct']);
const ALONE: ReadonlySet<string> = new Set(['Ntry', 'Bal', 'Stmt']);

export function createCamt053Reader(collector: LineCollector): {
  readonly write: (text: string) => void;
  readonly end: () => FileWords;
} {
  const reading = createReading(collector);
  const xml = createXmlReader(collector, {
    whole: WHOLE,
    alone: ALONE,
    open: (name) => {
      if (name === 'Stmt') reading.openStatement();
    },
    takeWhole: reading.takeWhole,
    close: reading.close,
  });
  return {
    write: xml.write,
    end: () => {
      xml.end();
      return reading.end();
    },
  };
}

/** A statement while its elements come. */
type OpenStatement = {
  id: string;
  account: string;
  currency: Currency | null;
  opening: bigint | null;
  closing: bigint | null;
  sum: bigint;
  badEntries: number;
};

function createReading(collector: LineCollector) {
  const accounts = new Set<string>();
  const totals: StatedTotal[] = [];
  let statement: OpenStatement | null = null;
  let statementCount = 0;

  const takeWhole = (node: XmlNode, row: number): void => {
    if (statement === null) {
      if (node.name === 'Ntry')
        collector.refuse(row, 'Ntry', 'entry_outside', 'stands outside of a statement');
      return;
    }
    if (node.name === 'Acct') takeAccount(statement, node);
    if (node.name === 'Bal') takeBalance(collector, statement, node, row);
    if (node.name === 'Ntry' && !takeEntry(collector, statement, node, row)) statement.badEntries += 1;
  };
  return {
    openStatement: () => {
      statementCount += 1;
      statement = {
        id: '',
        account: '',
        currency: null,
        opening: null,
        closing: null,
        sum: 0n,
        badEntries: 0,
      };
    },
    takeWhole,
    close: (name: string, parent: string, text: string) => {
      if (statement === null) return;
      if (name === 'Id' && parent === 'Stmt') statement.id = text;
      if (name !== 'Stmt') return;
      if (statement.account !== '') accounts.add(statement.account);
      const total = closeStatement(collector, statement);
      if (total !== null) totals.push(total);
      statement = null;
    },
    end: (): FileWords => {
      if (statementCount === 0 && !collector.isStopped()) {
        collector.stop('statement_missing', 'has no statement (Stmt) in it');
      }
      return { accounts: [...accounts], totals };
    },
  };
}

function takeAccount(statement: OpenStatement, node: XmlNode): void {
  statement.account = textOf(node, 'Id', 'IBAN') ?? textOf(node, 'Id', 'Othr', 'Id') ?? '';
  statement.currency ??= parseCurrency(textOf(node, 'Ccy') ?? '');
}

/** Codes of the booked balances; an interim one opens or closes the page of a statement that is sent in pieces. */
const OPENING: ReadonlySet<string> = new Set(['OPBD', 'PRCD']);
const CLOSING: ReadonlySet<string> = new Set(['CLBD']);

function takeBalance(collector: LineCollector, statement: OpenStatement, node: XmlNode, row: number): void {
  const code = textOf(node, 'Tp', 'CdOrPrtry', 'Cd') ?? '';
  const isOpening = OPENING.has(code) || (code === 'ITBD' && statement.opening === null);
  const isClosing = CLOSING.has(code) || (code === 'ITBD' && statement.opening !== null);
  if (!isOpening && !isClosing) return;
  const amount = signedAmount(collector, node, row);
  if (amount === null) {
    statement.badEntries += 1;
    return;
  }
  statement.currency ??= amount.currency;
  if (amount.currency !== statement.currency) {
    collector.refuse(
      row,
      'Bal',
      'currency_differs',
      `is in ${amount.currency} and the account in ${statement.currency}`,
    );
    return;
  }
  if (isOpening && (statement.opening === null || code === 'OPBD')) statement.opening = amount.minor;
  if (isClosing) statement.closing = amount.minor;
}

function closeStatement(collector: LineCollector, statement: OpenStatement): StatedTotal | null {
  const { currency, id, account } = statement;
  if (currency === null) {
    collector.refuse(null, null, 'currency_missing', `statement ${shownText(id)} names no currency`);
    return null;
  }
  return checkStatement(collector, {
    account,
    name: id === '' ? 'without a name' : id,
    currency,
    openingMinor: statement.opening,
    closingMinor: statement.closing,
    sumMinor: statement.sum,
    badEntries: statement.badEntries,
  });
}

type SignedAmount = { readonly currency: Currency; readonly minor: bigint };

/** Amounts have no sign; CdtDbtInd gives it. */
function signedAmount(collector: LineCollector, node: XmlNode, row: number): SignedAmount | null {
  const count = (name: string) => node.children.filter((one) => one.name === name).length;
  if (count('Amt') > 1 || count('CdtDbtInd') > 1) {
    collector.refuse(row, 'Amt', 'amount_unreadable', 'has two amounts or two directions');
    return null;
  }
  const side = textOf(node, 'CdtDbtInd');
  const read = unsignedAmount(child(node, 'Amt'));
  if (typeof read === 'string') {
    collector.refuse(row, 'Amt', 'amount_unreadable', read);
    return null;
  }
  if (side === 'CRDT') return read;
  if (side === 'DBIT') return { currency: read.currency, minor: -read.minor };
  const message = side === null ? 'has no CdtDbtInd' : `${shownText(side)} is neither CRDT nor DBIT`;
  collector.refuse(row, 'CdtDbtInd', 'direction_unknown', message);
  return null;
}

/** The amount, or a sentence on what is wrong with it. */
function unsignedAmount(node: XmlNode | null): SignedAmount | string {
  if (node === null) return 'has no amount (Amt)';
  const text = node.text.trim();
  const currency = parseCurrency(node.currency ?? '');
  if (currency === null) return `${shownText(node.currency ?? '')} is not a currency code of ISO 4217`;
  if (!/^\d{1,18}(?:\.\d{0,17})?$/.test(text)) return `${shownText(text)} is no amount like 1234.56`;
  const exponent = exponentOf(currency);
  const [whole = '', decimals = ''] = text.split('.');
  const plain = plainMinor(text, exponent, '.');
  if (plain !== null) return { currency, minor: plain };
  if (/[1-9]/.test(decimals.slice(exponent))) {
    return `${shownText(text)} has more decimals than ${currency}, which has ${exponent}`;
  }
  const digits = `${whole}${decimals.slice(0, exponent).padEnd(exponent, '0')}`.replace(/^0+(?=\d)/, '');
  if (digits.length > 18) return `${shownText(text)} has more than 18 digits`;
  return { currency, minor: BigInt(digits) };
}

/** False after a fault. */
function takeEntry(collector: LineCollector, statement: OpenStatement, node: XmlNode, row: number): boolean {
  const amount = signedAmount(collector, node, row);
  if (amount === null) return false;
  statement.currency ??= amount.currency;
  if (amount.currency !== statement.currency) {
    const message = `is in ${amount.currency} and the account in ${statement.currency}`;
    collector.refuse(row, 'Amt', 'currency_differs', message);
    return false;
  }
  const booked = dateOf(child(node, 'BookgDt'));
  const value = dateOf(child(node, 'ValDt'));
  if (booked === 'bad' || value === 'bad') {
    collector.refuse(row, 'BookgDt', 'date_unreadable', 'has a date that is none');
    return false;
  }
  const status = textOf(node, 'Sts', 'Cd') ?? textOf(node, 'Sts') ?? 'BOOK';
  const isBooked = status === 'BOOK';
  if (isBooked) statement.sum += amount.minor;
  const parts = isBooked ? detailsOf(node, amount) : null;
  const details = parts ?? [{ node: firstDetail(node), minor: amount.minor, index: null }];
  // An entry of which a part is bad is left out as a whole: half of it would not be what the bank booked.
  collector.addWhole(
    details.map((detail) =>
      lineOfEntry({
        row,
        account: statement.account,
        statement: statement.id,
        currency: amount.currency,
        amountMinor: detail.minor,
        rawType: typeOf(node) ?? '',
        kind: isBooked ? kindOf(node) : 'note',
        isReversal: textOf(node, 'RvslInd') === 'true',
        bankReference: referenceOf(node, detail),
        ourReference: ourNameIn(detail.node) ?? textOf(node, 'AddtlNtryInf'),
        bookedOn: booked,
        availableOn: value,
        detail: allText(detail.node ?? node).slice(0, MAX_DETAIL_CHARACTERS),
        raw: JSON.stringify(jsonOf(detail.index === null ? node : (detail.node ?? node))),
      }),
    ),
  );
  return true;
}

type Detail = { readonly node: XmlNode | null; readonly minor: bigint; readonly index: number | null };

function transactionsOf(node: XmlNode): readonly XmlNode[] {
  const groups = node.children.filter((one) => one.name === 'NtryDtls');
  return groups.flatMap((group) => group.children.filter((one) => one.name === 'TxDtls'));
}

/** The only transaction of an entry; a batch entry that cannot be taken apart has none of its own. */
function firstDetail(node: XmlNode): XmlNode | null {
  const transactions = transactionsOf(node);
  return transactions.length === 1 ? transactions[0]! : null;
}

/**
 * The transactions of a batch entry, where each has its amount and together they are the entry's. Otherwise null: the entry is booked
 * as a whole, and that amount is certain.
 */
function detailsOf(node: XmlNode, entry: SignedAmount): readonly Detail[] | null {
  const transactions = transactionsOf(node);
  if (transactions.length < 2) return null;
  const details: Detail[] = [];
  for (const [index, transaction] of transactions.entries()) {
    const read = unsignedAmount(child(transaction, 'Amt') ?? child(transaction, 'AmtDtls', 'TxAmt', 'Amt'));
    if (typeof read === 'string' || read.currency !== entry.currency) return null;
    const side = textOf(transaction, 'CdtDbtInd') ?? (entry.minor < 0n ? 'DBIT' : 'CRDT');
    if (side !== 'CRDT' && side !== 'DBIT') return null;
    details.push({ node: transaction, minor: side === 'DBIT' ? -read.minor : read.minor, index: index + 1 });
  }
  const sum = details.reduce((total, detail) => total + detail.minor, 0n);
  return sum === entry.minor ? details : null;
}

function referenceOf(node: XmlNode, detail: Detail): string | null {
  const entry = textOf(node, 'AcctSvcrRef') ?? textOf(node, 'NtryRef');
  if (detail.index === null) return entry ?? textOf(detail.node, 'Refs', 'AcctSvcrRef');
  const own = textOf(detail.node, 'Refs', 'AcctSvcrRef') ?? textOf(detail.node, 'Refs', 'TxId');
  if (own === null && entry === null) return null;
  return `${entry ?? ''}/${own ?? detail.index}`;
}

/** An end-to-end id is not unique; where the sender gave none, the remittance text is what names us. */
function ourNameIn(detail: XmlNode | null): string | null {
  const endToEnd = textOf(detail, 'Refs', 'EndToEndId');
  if (endToEnd !== null && endToEnd !== 'NOTPROVIDED') return endToEnd;
  const lines = child(detail, 'RmtInf')?.children.filter((one) => one.name === 'Ustrd') ?? [];
  const text = lines
    .map((line) => line.text.trim())
    .join(' ')
    .trim();
  return text === '' ? (textOf(detail, 'RmtInf', 'Strd', 'CdtrRefInf', 'Ref') ?? null) : text.slice(0, 1_000);
}

function typeOf(node: XmlNode): string | null {
  const domain = child(node, 'BkTxCd', 'Domn');
  const codes = [textOf(domain, 'Cd'), textOf(domain, 'Fmly', 'Cd'), textOf(domain, 'Fmly', 'SubFmlyCd')];
  const named = codes.filter((code) => code !== null).join('/');
  return named === '' ? textOf(node, 'BkTxCd', 'Prtry', 'Cd') : named;
}

/** Sub-family codes of ISO 20022 that say more than in or out. */
function kindOf(node: XmlNode): LineKind | null {
  const code = textOf(node, 'BkTxCd', 'Domn', 'Fmly', 'SubFmlyCd');
  if (code === 'CHRG' || code === 'FEES' || code === 'COMM') return 'fee';
  if (code === 'RRTN' || code === 'RPCR') return 'deposit_returned';
  return null;
}

function dateOf(node: XmlNode | null): string | null | 'bad' {
  const day = textOf(node, 'Dt');
  if (day !== null) return utcInstant(day.slice(0, 10)) ?? 'bad';
  const moment = textOf(node, 'DtTm');
  if (moment === null) return null;
  const match = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.\d{1,9})?(Z|[+-]\d{2}:\d{2})?$/.exec(moment);
  const time = readLocalTime(match?.[1] ?? '');
  const offset = offsetMinutesOf(match?.[2] ?? 'Z');
  return time === null || offset === null ? 'bad' : instantAtOffset(time, offset);
}
