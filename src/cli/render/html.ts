/**
 * Markup in which every text is escaped unless it is markup already: what a file or a PSP wrote can never become a tag, an
 * attribute or a control character. XHTML-compatible, so that a strict parser can check a whole page. Decides only.
 */
import { terminalText } from './terminal-text.ts';

/** Text that is markup and stands as it is. Made by {@link html} alone. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type Part = string | number | Markup | readonly Markup[];

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Neither of them is a character of XML. */
const NON_CHARACTERS = /[\ufffe\uffff]/g;

/** Foreign text as content or as a quoted attribute; controls and direction marks are shown as their codes. */
function escapeText(text: string): string {
  return terminalText(text)
    .replace(NON_CHARACTERS, '\ufffd')
    .replace(/[&<>"']/g, (character) => ENTITIES[character]!);
}

/** Markup from a template; lists of markup are joined. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  let text = strings[0] ?? '';
  for (const [i, part] of parts.entries()) text += shown(part) + (strings[i + 1] ?? '');
  return new Markup(text);
}

function shown(part: Part): string {
  if (part instanceof Markup) return part.text;
  if (typeof part === 'string') return escapeText(part);
  return typeof part === 'number' ? String(part) : part.map(({ text }) => text).join('');
}
