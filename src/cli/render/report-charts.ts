/**
 * The report's pictures as inline SVG: bars that start at zero, a waterfall, a stacked share. Amounts stay whole numbers; only
 * the places on the paper are fractions. Decides only.
 */
import { html, type Markup } from './html.ts';

type ChartTone = 'total' | 'matched' | 'transit' | 'break' | 'residual' | 'fact';

export type Bar = {
  readonly label: string;
  readonly minor: bigint;
  /** The amount as people read it. */
  readonly amount: string;
  readonly tone: ChartTone;
};

/** A step of a waterfall: `total` starts at zero, `change` where the one before ended. */
export type Step = Bar & { readonly kind: 'total' | 'change' };

const WIDTH = 760;
const LABEL_WIDTH = 230;
const AMOUNT_WIDTH = 170;
const PLOT_WIDTH = WIDTH - LABEL_WIDTH - AMOUNT_WIDTH;
const ROW = 26;
const BAR = 14;
/** What is not nothing can be seen (px). */
const MIN_BAR = 2;
/** Longer labels are cut: the table beside the picture has them whole. */
const MAX_LABEL = 34;

type Span = { readonly bar: Bar; readonly from: bigint; readonly to: bigint };

/** Amounts that lead from one total to the next, each bar from where the last one ended. */
export function waterfall(id: string, title: string, steps: readonly Step[]): Markup {
  let at = 0n;
  const spans = steps.map((bar): Span => {
    const from = bar.kind === 'total' ? 0n : at;
    at = bar.kind === 'total' ? bar.minor : at + bar.minor;
    return { bar, from, to: at };
  });
  return chart(id, title, spans);
}

/** One bar for each amount, all from zero. */
export function bars(id: string, title: string, items: readonly Bar[]): Markup {
  return chart(
    id,
    title,
    items.map((bar) => ({ bar, from: 0n, to: bar.minor })),
  );
}

function chart(id: string, title: string, spans: readonly Span[]): Markup {
  const ends = [0n, ...spans.flatMap(({ from, to }) => [from, to])];
  const low = ends.reduce((least, end) => (end < least ? end : least));
  const high = ends.reduce((most, end) => (end > most ? end : most));
  const x = (minor: bigint) => LABEL_WIDTH + place(minor - low, high - low);
  const height = spans.length * ROW + 8;
  const said = spans.map(({ bar }) => `${bar.label} ${bar.amount}`).join('; ');
  return html`<svg class="chart" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="${id}-t ${id}-d"><title id="${id}-t">${title}</title><desc id="${id}-d">${said}</desc>
<line class="axis" x1="${px(x(0n))}" y1="0" x2="${px(x(0n))}" y2="${height - 4}"/>
${spans.map((span, row) => rowOf(span, row, x))}</svg>`;
}

function rowOf({ bar, from, to }: Span, row: number, x: (minor: bigint) => number): Markup {
  const top = row * ROW + 4;
  const [left, right] = [Math.min(x(from), x(to)), Math.max(x(from), x(to))];
  const width = bar.minor === 0n ? 0 : Math.max(right - left, MIN_BAR);
  const middle = top + BAR / 2 + 5;
  return html`<text x="0" y="${middle}">${clip(bar.label)}</text><rect class="${bar.tone}" x="${px(left)}" y="${top}" width="${px(width)}" height="${BAR}" rx="2"/><text class="amount" x="${WIDTH}" y="${middle}">${bar.amount}</text>
`;
}

/** From 0 to the plot's width; in ten-thousandths, so that no amount becomes a fraction itself. */
function place(minor: bigint, range: bigint): number {
  return range === 0n ? 0 : (Number((minor * 10_000n) / range) / 10_000) * PLOT_WIDTH;
}

function px(value: number): string {
  return value.toFixed(1).replace(/\.0$/, '');
}

function clip(label: string): string {
  const characters = [...label];
  return characters.length > MAX_LABEL ? `${characters.slice(0, MAX_LABEL - 1).join('')}…` : label;
}

const SHARE_HEIGHT = 18;

/** One bar of parts that make up a whole; a part that is not nothing can be seen. */
export function shareBar(id: string, title: string, parts: readonly Bar[]): Markup {
  const sum = parts.reduce((total, { minor }) => total + minor, 0n);
  const there = parts.filter(({ minor }) => minor > 0n);
  const widths = there.map(({ minor }) =>
    Math.max((Number((minor * 10_000n) / (sum === 0n ? 1n : sum)) / 10_000) * WIDTH, 3),
  );
  const shrink =
    WIDTH /
    Math.max(
      WIDTH,
      widths.reduce((total, width) => total + width, 0),
    );
  let at = 0;
  const pieces = there.map((part, i) => {
    const width = widths[i]! * shrink;
    const piece = html`<rect class="${part.tone}" x="${px(at)}" y="0" width="${px(width)}" height="${SHARE_HEIGHT}"/>`;
    at += width;
    return piece;
  });
  const said = parts.map(({ label, amount }) => `${label} ${amount}`).join('; ');
  return html`<svg class="share" viewBox="0 0 ${WIDTH} ${SHARE_HEIGHT}" preserveAspectRatio="none" role="img" aria-labelledby="${id}-t ${id}-d"><title id="${id}-t">${title}</title><desc id="${id}-d">${said}</desc>${pieces}</svg>`;
}
