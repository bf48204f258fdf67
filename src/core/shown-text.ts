/**
 * Foreign text as a message, a log line or a terminal may show it. Decides only; never lets a control
 * character, a direction override or a card number through.
 */
import { maskCardNumbers } from './payment/card-number.ts';

/** Characters of a foreign value that a message repeats at most. */
const SHOWN_CHARACTERS = 40;

/** Looked at before clipping, so that a card number cut by the clipping is still seen whole. */
const LOOKED_AT_CHARACTERS = 200;

/** C0 and C1 controls, line separators, direction marks and overrides, byte order mark, lone surrogates. */
const UNSHOWABLE = /[\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069\u200e\u200f\ufeff]/gu;

/** The text in quotes, clipped to 40 characters, controls escaped as \u001b, card numbers masked. */
export function shownText(text: string): string {
  const characters = [...maskCardNumbers(text.slice(0, LOOKED_AT_CHARACTERS))];
  const isClipped = characters.length > SHOWN_CHARACTERS;
  const kept = characters.slice(0, SHOWN_CHARACTERS).join('').replace(UNSHOWABLE, escaped);
  return `"${kept}${isClipped ? '…' : ''}"`;
}

function escaped(character: string): string {
  if (character === '\n') return '\\n';
  if (character === '\r') return '\\r';
  if (character === '\t') return '\\t';
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
