/**
 * Amounts as files write them, to minor units, exactly: "1.234,56", "(12.50)", "$21.83". Decides only; no float, no
 * rounding, and no guess: what can be read in two ways is a fault until somebody says which mark is the decimal one.
 */
import { type Currency, exponentOf } from '../money.ts';
import { shownText } from '../shown-text.ts';

/** The mark between units and decimals. */
export type DecimalMark = '.' | ',';

/** `plain`: digits, a sign and the mark, as a PSP's own export writes; `written`: also groups, symbols and parentheses. */
export type AmountStyle = 'plain' | 'written';

export type AmountReading =
  | { readonly kind: 'ok'; readonly minor: bigint }
  | { readonly kind: 'fault'; readonly code: string; readonly message: string };

/** 18 digits: a Postgres bigint holds them, and so do sums of a few. */
const MAX_LINE_DIGITS = 18;

/** So many digits are an exact integer in a JavaScript number. */
const MAX_FAST_DIGITS = 15;

const ZERO = 0x30;
const MINUS = 0x2d;

/**
 * The short way for nearly every amount: digits, at most one mark, perhaps a minus. Decimals beyond the currency's must be zeros.
 * Null for everything else, which {@link readAmount} then reads or explains.
 */
export function plainMinor(text: string, exponent: number, mark: DecimalMark): bigint | null {
  const length = text.length;
  const start = text.charCodeAt(0) === MINUS ? 1 : 0;
  let at = start;
  let value = 0;
  for (; at < length; at += 1) {
    const digit = text.charCodeAt(at) - ZERO;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
  }
  const whole = at - start;
  if (whole === 0 || whole + exponent > MAX_FAST_DIGITS) return null;
  let missing = exponent;
  if (at < length) {
    if (text.charCodeAt(at) !== mark.charCodeAt(0) || at + 1 === length) return null;
    for (at += 1; at < length; at += 1) {
      const digit = text.charCodeAt(at) - ZERO;
      if (digit < 0 || digit > 9) return null;
      if (missing > 0) {
        value = value * 10 + digit;
        missing -= 1;
      } else if (digit !== 0) return null;
    }
  }
  for (; missing > 0; missing -= 1) value *= 10;
  return BigInt(start === 1 ? -value : value);
}

/** The long way: every style of the reading rules, and the reason where an amount cannot be read. */
export function readAmount(
  text: string,
  currency: Currency,
  mark: DecimalMark,
  style: AmountStyle,
): AmountReading {
  const exponent = exponentOf(currency);
  const plain = plainMinor(text, exponent, mark);
  if (plain !== null) return { kind: 'ok', minor: plain };
  const bare = text.trim();
  if (bare === '') return fault('amount_missing', 'has no amount');
  const signed = withoutDress(bare, currency, style);
  if ('kind' in signed) return signed;
  const parts = partsOf(signed.digits, mark, style);
  if (parts === null) return notAnAmount(text, mark, style);
  return toMinor(text, parts, signed.isNegative, exponent, currency);
}

const POWER_OF_TEN = /\d\s*[eE]\s*[+-]?\d/;
/** Everything that may stand between two groups of three digits, beside the other mark. */
const SPACES = /[\u0020\u00a0\u2009\u202f]/g;

/** Signs and what each may mean; a symbol that others share is checked only as far as it tells. */
const SYMBOLS: ReadonlyMap<string, RegExp> = new Map([
  ['$', /^(?:[A-Z]{2}D|MXN|CLP|COP|ARS|UYU|DOP|NIO|CVE|CUP|TOP|WST|MOP)$/],
  ['€', /^EUR$/],
  ['£', /^(?:GBP|EGP|SYP|LBP|SDG|SSP|GIP|FKP|SHP)$/],
  ['¥', /^(?:JPY|CNY)$/],
  ['₹', /^INR$/],
  ['₩', /^KRW$/],
]);

type Undressed = { readonly digits: string; readonly isNegative: boolean };

/** Takes sign, parentheses, symbol and code off. */
function withoutDress(bare: string, currency: Currency, style: AmountStyle): Undressed | AmountReading {
  if (POWER_OF_TEN.test(bare)) {
    const message = `${shownText(bare)} is written with a power of ten: a spreadsheet has damaged it; export the file again`;
    return fault('amount_power_of_ten', message);
  }
  if (style === 'plain') {
    const isNegative = bare.startsWith('-');
    return { digits: isNegative || bare.startsWith('+') ? bare.slice(1) : bare, isNegative };
  }
  let rest = bare.replaceAll('\u2212', '-');
  let signs = 0;
  if (rest.startsWith('(') && rest.endsWith(')')) {
    signs += 1;
    rest = rest.slice(1, -1).trim();
  }
  // A sign may stand before or behind the symbol: -$5, $-5, 5.00-
  const first = withoutSign(rest);
  const named = withoutName(first.rest, currency);
  if (named === null) {
    const message = `${shownText(bare)} names another currency than ${currency}, which its row has`;
    return fault('amount_other_currency', message);
  }
  const second = withoutSign(named);
  signs += first.minus + second.minus;
  if (signs + first.plus + second.plus > 1) {
    return fault('amount_unreadable', `${shownText(bare)} has more than one sign`);
  }
  return { digits: second.rest, isNegative: signs === 1 };
}

function withoutSign(text: string): { readonly rest: string; readonly minus: number; readonly plus: number } {
  if (text.startsWith('-')) return { rest: text.slice(1).trim(), minus: 1, plus: 0 };
  if (text.startsWith('+')) return { rest: text.slice(1).trim(), minus: 0, plus: 1 };
  if (text.endsWith('-')) return { rest: text.slice(0, -1).trim(), minus: 1, plus: 0 };
  return { rest: text, minus: 0, plus: 0 };
}

/** Without symbol or code; null when it names another currency. */
function withoutName(text: string, currency: Currency): string | null {
  const code = /^([A-Z]{3})(?![A-Z])|(?<![A-Z])([A-Z]{3})$/.exec(text);
  const name = code?.[1] ?? code?.[2];
  if (name !== undefined) return name === currency ? text.replace(name, '').trim() : null;
  for (const [symbol, currencies] of SYMBOLS) {
    if (!text.startsWith(symbol) && !text.endsWith(symbol)) continue;
    return currencies.test(currency) ? text.replace(symbol, '').trim() : null;
  }
  return text;
}

type Parts = { readonly whole: string; readonly decimals: string };

/** Splits at the mark and takes the groups together; null when it is no number in this style. */
function partsOf(digits: string, mark: DecimalMark, style: AmountStyle): Parts | null {
  const [before = '', decimals, ...more] = digits.split(mark);
  if (more.length > 0 || (decimals !== undefined && !/^[0-9]+$/.test(decimals))) return null;
  if (/^[0-9]+$/.test(before)) return { whole: before, decimals: decimals ?? '' };
  if (style === 'plain') return null;
  if (before === '' && decimals !== undefined) return { whole: '0', decimals };
  const other = mark === '.' ? ',' : '.';
  const grouped = before.replace(SPACES, ' ').replaceAll('\u2019', "'");
  const separator = /[^0-9]/.exec(grouped)?.[0];
  if (separator === undefined || ![other, ' ', "'"].includes(separator)) return null;
  const groups = grouped.split(separator);
  const areGroups = groups.every((group, index) =>
    index === 0 ? /^[1-9][0-9]{0,2}$/.test(group) : /^[0-9]{3}$/.test(group),
  );
  return areGroups ? { whole: groups.join(''), decimals: decimals ?? '' } : null;
}

function toMinor(
  text: string,
  { whole, decimals }: Parts,
  isNegative: boolean,
  exponent: number,
  currency: Currency,
): AmountReading {
  const kept = decimals.slice(0, exponent).padEnd(exponent, '0');
  if (/[1-9]/.test(decimals.slice(exponent))) {
    const message = `${shownText(text)} has more decimals than ${currency}, which has ${exponent}`;
    return fault('amount_too_precise', message);
  }
  const all = `${whole}${kept}`.replace(/^0+(?=\d)/, '');
  if (all.length > MAX_LINE_DIGITS) {
    return fault('amount_too_large', `${shownText(text)} has more than ${MAX_LINE_DIGITS} digits`);
  }
  const minor = BigInt(all);
  return { kind: 'ok', minor: isNegative ? -minor : minor };
}

function notAnAmount(text: string, mark: DecimalMark, style: AmountStyle): AmountReading {
  const example = mark === '.' ? '1234.56' : '1234,56';
  const how = style === 'plain' ? ` and no separators between thousands` : '';
  const message = `${shownText(text)} is not an amount like ${example}: this file's decimal mark is "${mark}"${how}`;
  return fault('amount_unreadable', message);
}

function fault(code: string, message: string): AmountReading {
  return { kind: 'fault', code, message };
}

/**
 * What an amount tells of its file's decimal mark: the mark, `either` for "1,234", which could be both, or `none`.
 * Looks at the digits and marks only.
 */
export function markShownBy(text: string): DecimalMark | 'either' | 'none' {
  const lastDot = text.lastIndexOf('.');
  const lastComma = text.lastIndexOf(',');
  if (lastDot < 0 && lastComma < 0) return 'none';
  if (!/^[^0-9.,]*[0-9.,'\u2019\u0020\u00a0\u2009\u202f]+[^0-9.,]*$/.test(text)) return 'none';
  if (lastDot >= 0 && lastComma >= 0) return lastDot > lastComma ? '.' : ',';
  const mark: DecimalMark = lastDot >= 0 ? '.' : ',';
  const first = text.indexOf(mark);
  if (first !== text.lastIndexOf(mark)) return mark === '.' ? ',' : '.';
  const before = /[0-9'\u2019\u0020\u00a0\u2009\u202f]*$/.exec(text.slice(0, first))?.[0] ?? '';
  const after = /^[0-9]*/.exec(text.slice(first + 1))?.[0] ?? '';
  const couldBeGroup = after.length === 3 && /^[1-9][0-9]{0,2}$/.test(before.trim());
  return couldBeGroup ? 'either' : mark;
}
