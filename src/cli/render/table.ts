/**
 * Blocks of text for people: facts, tables, lines. Measures names of any script, escapes what a terminal
 * would obey, fits the terminal's width. Knows no domain.
 */
import { styleText } from 'node:util';
import stringWidth from 'string-width';
import { unreachable } from '../../core/errors.ts';
import type { Surface } from './surface.ts';
import { terminalText } from './terminal-text.ts';

export type Tone = 'good' | 'bad' | 'warn' | 'dim';
export type Cell = string | { readonly text: string; readonly tone: Tone | null };

type Column = {
  readonly title: string;
  readonly align?: 'right';
  /** May be cut when the terminal is narrow; the widest one first. */
  readonly shrink?: true;
};

export type Block =
  | { readonly kind: 'facts'; readonly facts: readonly (readonly [label: string, value: Cell])[] }
  | {
      readonly kind: 'table';
      readonly columns: readonly Column[];
      readonly rows: readonly (readonly Cell[])[];
      /** Shown instead of a table without rows. */
      readonly empty: string;
    }
  | { readonly kind: 'line'; readonly text: Cell };

/** Between two columns. */
const GAP = '  ';
/** No column is cut below this; in a terminal that is narrower still, every row is shown as a list. */
const MIN_WIDTH = 8;

const STYLES = { good: 'green', bad: 'red', warn: 'yellow', dim: 'dim' } as const;

/** Lines are blocks without a blank line between them; other blocks have one. */
export function renderBlocks(blocks: readonly Block[], surface: Surface): string {
  let text = '';
  for (const [i, block] of blocks.entries()) {
    const isRun = block.kind === 'line' && blocks[i - 1]?.kind === 'line';
    if (i > 0 && !isRun) text += '\n';
    text += renderBlock(block, surface)
      .map((line) => `${line.trimEnd()}\n`)
      .join('');
  }
  return text;
}

function renderBlock(block: Block, surface: Surface): readonly string[] {
  switch (block.kind) {
    case 'line':
      return [painted(block.text, plain(block.text), surface)];
    case 'facts': {
      const width = Math.max(0, ...block.facts.map(([label]) => stringWidth(label)));
      const room = surface.width === null ? null : surface.width - width - GAP.length;
      return block.facts.flatMap(([label, value]) =>
        wrapped(plain(value), room).map(
          (part, i) =>
            `${paint(pad(i === 0 ? label : '', width, 'left'), 'dim', surface)}${GAP}${painted(value, part, surface)}`,
        ),
      );
    }
    case 'table':
      return block.rows.length === 0 ? [block.empty] : tableLines(block, surface);
    default:
      return unreachable(block);
  }
}

function tableLines(table: Extract<Block, { kind: 'table' }>, surface: Surface): readonly string[] {
  const texts = table.rows.map((row) => row.map(plain));
  const widths = table.columns.map((column, i) =>
    Math.max(stringWidth(column.title), ...texts.map((row) => stringWidth(row[i] ?? ''))),
  );
  const fitted = surface.width === null ? widths : fitWidths(table.columns, widths, surface.width);
  if (surface.width !== null && lineWidth(fitted) > surface.width) return rowLists(table, surface);
  const aligned = (text: string, i: number) =>
    pad(cut(text, fitted[i]!), fitted[i]!, table.columns[i]!.align ?? 'left');
  const header = table.columns.map((column, i) => aligned(column.title, i)).join(GAP);
  const lines = table.rows.map((row, r) =>
    row.map((value, i) => painted(value, aligned(texts[r]![i] ?? '', i), surface)).join(GAP),
  );
  return [surface.color ? styleText('bold', header, { validateStream: false }) : header, ...lines];
}

function lineWidth(widths: readonly number[]): number {
  return widths.reduce((sum, width) => sum + width, 0) + GAP.length * (widths.length - 1);
}

/** A row that the terminal would break somewhere, in the middle of an amount perhaps, as a list of what it says. */
function rowLists(table: Extract<Block, { kind: 'table' }>, surface: Surface): readonly string[] {
  return table.rows.flatMap((row, r) => {
    const facts = row.flatMap((value, i) =>
      plain(value) === '' ? [] : [[table.columns[i]!.title, value] as const],
    );
    return [...(r === 0 ? [] : ['']), ...renderBlock({ kind: 'facts', facts }, { ...surface, width: null })];
  });
}

/** Takes from the widest column that may shrink until the line fits. */
function fitWidths(columns: readonly Column[], widths: readonly number[], total: number): readonly number[] {
  const fitted = [...widths];
  let excess = lineWidth(fitted) - total;
  while (excess > 0) {
    const shrinkable = columns.flatMap((column, i) => (column.shrink && fitted[i]! > MIN_WIDTH ? [i] : []));
    if (shrinkable.length === 0) return fitted;
    const widest = shrinkable.reduce((most, i) => (fitted[i]! > fitted[most]! ? i : most));
    fitted[widest]! -= 1;
    excess -= 1;
  }
  return fitted;
}

/** Splits into what a reader sees as one character: an accent or a joiner stays with its letter. */
const CHARACTERS = new Intl.Segmenter('en', { granularity: 'grapheme' });

function cut(text: string, width: number): string {
  if (stringWidth(text) <= width) return text;
  let kept = '';
  let used = 0;
  for (const { segment } of CHARACTERS.segment(text)) {
    const size = stringWidth(segment);
    if (used + size > width - 1) break;
    kept += segment;
    used += size;
  }
  return `${kept}…`;
}

/** Broken between words; a word that is longer than the line stays whole, so that it can be copied. */
function wrapped(text: string, width: number | null): readonly string[] {
  if (width === null || stringWidth(text) <= width) return [text];
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && stringWidth(longer) > width) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line];
}

function pad(text: string, width: number, align: 'left' | 'right'): string {
  const space = ' '.repeat(Math.max(0, width - stringWidth(text)));
  return align === 'right' ? space + text : text + space;
}

function plain(cell: Cell): string {
  return terminalText(typeof cell === 'string' ? cell : cell.text);
}

function painted(cell: Cell, text: string, surface: Surface): string {
  return typeof cell === 'string' || cell.tone === null ? text : paint(text, cell.tone, surface);
}

function paint(text: string, tone: Tone, surface: Surface): string {
  return surface.color ? styleText(STYLES[tone], text, { validateStream: false }) : text;
}
