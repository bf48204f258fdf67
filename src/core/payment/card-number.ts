/**
 * Finds what looks like a payment card number in any text, so that it can be refused before it is stored
 * or logged. Decides only; linear in the length of the text, no regular expression over hostile input.
 */

/** Shortest and longest card numbers in digits (ISO/IEC 7812-1). */
const MIN_DIGITS = 13;
const MAX_DIGITS = 19;

/** People type at most this many separators between two groups of digits ("4111 - 1111"). */
const MAX_SEPARATORS = 3;

/**
 * A hexadecimal word of at least this many characters (object ids, UUIDs without dashes, digests) is not a
 * card number, although its digits may stand in a row: one in a few hundred such ids would be refused.
 */
const HEX_WORD_CHARACTERS = 24;

/** First code point of each block of ten decimal digits that people type, beyond ASCII. */
const OTHER_ZEROS = [0x0660, 0x06f0, 0x0966, 0x09e6, 0x0e50, 0xff10] as const;

/** The word that stands in a message where a card number was. */
const CARD_MASK = '[card number]';

/** A run of digits: where it starts and ends (exclusive) in the text, and the digits as numbers 0–9. */
type DigitGroup = { readonly start: number; readonly end: number; readonly digits: readonly number[] };

type Span = { readonly start: number; readonly end: number };

/** True when the text holds anything that {@link maskCardNumbers} would hide. */
export function containsCardNumber(text: string): boolean {
  return text.length >= MIN_DIGITS && cardSpans(text, 'first').length > 0;
}

/** The text with every card-like number replaced by a mask; safe to show and to log. */
export function maskCardNumbers(text: string): string {
  if (text.length < MIN_DIGITS) return text;
  let masked = '';
  let from = 0;
  for (const span of cardSpans(text, 'all')) {
    if (span.start >= from) masked += text.slice(from, span.start) + CARD_MASK;
    from = Math.max(from, span.end);
  }
  return masked + text.slice(from);
}

/**
 * Card-like numbers, in order: Luhn-valid runs of 13–19 digits, and groups of digits that are separated by
 * spaces or dashes and are written or begin like a card. A run of more than 19 digits is not one.
 */
function cardSpans(text: string, want: 'first' | 'all'): readonly Span[] {
  if (countDigits(text) < MIN_DIGITS) return [];
  const spans: Span[] = [];
  for (const sequence of digitSequences(text)) {
    for (let first = 0; first < sequence.length; first += 1) {
      const span = cardStartingAt(text, sequence, first);
      if (span === null) continue;
      spans.push(span);
      if (want === 'first') return spans;
    }
  }
  return spans;
}

/** Cheap way out for the usual text, which has fewer digits than any card; stops counting at 13. */
function countDigits(text: string): number {
  let count = 0;
  for (let index = 0; index < text.length && count < MIN_DIGITS; index += 1) {
    if (digitAt(text, index) >= 0) count += 1;
  }
  return count;
}

/** The longest card that starts with the given group, or null. Looks at 19 digits at most. */
function cardStartingAt(text: string, sequence: readonly DigitGroup[], first: number): Span | null {
  const digits: number[] = [];
  const lengths: number[] = [];
  let found: Span | null = null;
  for (let index = first; index < sequence.length; index += 1) {
    const group = sequence[index]!;
    if (digits.length + group.digits.length > MAX_DIGITS) break;
    digits.push(...group.digits);
    lengths.push(group.digits.length);
    if (digits.length < MIN_DIGITS || !passesLuhn(digits)) continue;
    const span = { start: sequence[first]!.start, end: group.end };
    const isCard =
      lengths.length === 1
        ? !isInHexWord(text, span)
        : (isGroupedLikeCard(lengths) || beginsLikeCard(digits)) && !isInUuid(text, span);
    if (isCard) found = span;
  }
  return found;
}

/** Digit groups that are close enough to belong together; a long run of digits ends a sequence. */
function digitSequences(text: string): readonly (readonly DigitGroup[])[] {
  const sequences: DigitGroup[][] = [];
  let current: DigitGroup[] = [];
  let index = 0;
  let separators = 0;
  while (index < text.length) {
    if (digitAt(text, index) < 0) {
      separators = isSeparator(text.charCodeAt(index)) ? separators + 1 : MAX_SEPARATORS + 1;
      index += 1;
      continue;
    }
    const group = digitGroupAt(text, index);
    if (separators > MAX_SEPARATORS || group.digits.length > MAX_DIGITS) {
      if (current.length > 0) sequences.push(current);
      current = [];
    }
    if (group.digits.length <= MAX_DIGITS) current.push(group);
    separators = 0;
    index = group.end;
  }
  if (current.length > 0) sequences.push(current);
  return sequences;
}

/** The whole run of digits at a position; no more than 20 digits of it are kept, it is no card then. */
function digitGroupAt(text: string, start: number): DigitGroup {
  const digits: number[] = [];
  let end = start;
  for (let digit = digitAt(text, end); digit >= 0; digit = digitAt(text, end)) {
    if (digits.length <= MAX_DIGITS) digits.push(digit);
    end += 1;
  }
  return { start, end, digits };
}

/** The decimal digit at a position as a number, or -1; knows the scripts that keyboards type. */
function digitAt(text: string, index: number): number {
  const code = text.charCodeAt(index);
  if (code <= 0x39) return code >= 0x30 ? code - 0x30 : -1;
  if (code < OTHER_ZEROS[0]) return -1;
  for (const zero of OTHER_ZEROS) {
    if (code >= zero && code < zero + 10) return code - zero;
  }
  return -1;
}

/** Spaces (also no-break, thin, ideographic) and dashes (also typographic ones, and minus). */
function isSeparator(code: number): boolean {
  if (code === 0x20 || code === 0x2d || code === 0x09 || code === 0xa0) return true;
  if (code < 0x2000) return false;
  return (
    code <= 0x200b ||
    (code >= 0x2010 && code <= 0x2015) ||
    code === 0x202f ||
    code === 0x2212 ||
    code === 0x3000
  );
}

/** The check of ISO/IEC 7812-1: every second digit from the right doubled, the sum a multiple of ten. */
function passesLuhn(digits: readonly number[]): boolean {
  let sum = 0;
  for (let index = 0; index < digits.length; index += 1) {
    const digit = digits[digits.length - 1 - index]!;
    const doubled = digit * 2;
    sum += index % 2 === 0 ? digit : doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}

/** Printed the way cards are: fours with a shorter rest, or 4-6-5 and 4-6-4. */
function isGroupedLikeCard(lengths: readonly number[]): boolean {
  if (lengths.length === 3)
    return lengths[0] === 4 && lengths[1] === 6 && lengths[2]! >= 4 && lengths[2]! <= 5;
  const last = lengths[lengths.length - 1]!;
  if (lengths.length === 4) return last === 4 && lengths.every((length) => length === 4);
  return lengths.length === 5 && last <= 3 && lengths.slice(0, 4).every((length) => length === 4);
}

/**
 * Begins like a card of a known network (issuer ranges of Visa, Mastercard, American Express, Discover,
 * Diners, JCB, UnionPay, Maestro, Mir). Only asked for unusual groupings, so that dates, order numbers
 * such as 20260801-123456 and telephone numbers pass.
 */
function beginsLikeCard(digits: readonly number[]): boolean {
  const four = digits[0]! * 1000 + digits[1]! * 100 + digits[2]! * 10 + digits[3]!;
  const two = Math.floor(four / 100);
  const { length } = digits;
  if (digits[0] === 4) return length === 16 || length === 19;
  if (two === 34 || two === 37) return length === 15;
  if (two === 30 || two === 36 || two === 38) return length === 14;
  if (length < 16) return false;
  return (
    (two >= 50 && two <= 69) || (four >= 2221 && four <= 2720) || (four >= 2200 && four <= 2204) || two === 35
  );
}

const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/gi;
const UUID_CHARACTERS = 36;

/** The groups are parts of a UUID: one UUID in some tens of thousands would be refused otherwise. */
function isInUuid(text: string, span: Span): boolean {
  const offset = Math.max(0, span.start - UUID_CHARACTERS);
  for (const match of text.slice(offset, span.end + UUID_CHARACTERS).matchAll(UUID)) {
    const start = offset + match.index;
    if (start <= span.start && span.end <= start + UUID_CHARACTERS) return true;
  }
  return false;
}

/** The digits stand inside a long word of hexadecimal digits with at least one letter. */
function isInHexWord(text: string, span: Span): boolean {
  let start = span.start;
  let end = span.end;
  while (span.end - start < HEX_WORD_CHARACTERS && isHex(text.charCodeAt(start - 1))) start -= 1;
  while (end - start < HEX_WORD_CHARACTERS && isHex(text.charCodeAt(end))) end += 1;
  return end - start >= HEX_WORD_CHARACTERS;
}

function isHex(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x66) || (code >= 0x41 && code <= 0x46);
}
