/**
 * Foreign text as a terminal may show it: whatever moves a cursor, changes colours, or turns the direction
 * of writing is shown as its code instead. Decides only.
 */

/** C0 and C1 controls, line separators, direction marks and overrides, byte order mark, lone surrogates. */
const UNSHOWABLE = /[\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069\u200e\u200f\ufeff]/gu;

/** One line of text; a line feed in it becomes \n. */
export function terminalText(text: string): string {
  return text.replace(UNSHOWABLE, shownCode);
}

function shownCode(character: string): string {
  if (character === '\n') return '\\n';
  if (character === '\r') return '\\r';
  if (character === '\t') return '\\t';
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
