import { SaxesParser } from 'saxes';
import { describe, expect, test } from 'vitest';
import {
  closedAnswer,
  HOSTILE,
  incompleteAnswer,
  reconcileAnswer,
} from '../../testing/reconcile-fixtures.ts';
import { renderReconcileReport } from './reconcile-report.ts';

const GOLDEN = '../../../fixtures/cli';

type Seen = {
  readonly tags: readonly string[];
  readonly ids: readonly string[];
  readonly refers: readonly string[];
};

/** A strict parser's view of a page; throws for what is not well-formed. */
function parse(page: string): Seen {
  const parser = new SaxesParser({ xmlns: false });
  const tags: string[] = [];
  const ids: string[] = [];
  const refers: string[] = [];
  parser.on('error', (error) => {
    throw error;
  });
  parser.on('opentag', ({ name, attributes }) => {
    tags.push(name);
    if (attributes.id !== undefined) ids.push(attributes.id);
    refers.push(...(attributes['aria-labelledby']?.split(' ') ?? []));
  });
  parser.write(page).close();
  return { tags, ids, refers };
}

test.each([
  ['reconcile-report', reconcileAnswer()],
  ['reconcile-report-closed', closedAnswer()],
  ['reconcile-report-incomplete', incompleteAnswer()],
])('%s: the page is a contract', async (name, answer) => {
  await expect(renderReconcileReport(answer)).toMatchFileSnapshot(`${GOLDEN}/${name}.html`);
});

describe('the page', () => {
  test.each([
    ['breaks', reconcileAnswer()],
    ['nothing open', closedAnswer()],
    ['a residual', incompleteAnswer()],
  ])('is well-formed with %s, has no script, and every picture is named', (_, answer) => {
    const { tags, ids, refers } = parse(renderReconcileReport(answer));
    expect(tags).not.toContain('script');
    expect(new Set(ids).size).toBe(ids.length);
    expect(refers.filter((id) => !ids.includes(id))).toEqual([]);
    expect(refers.length).toBeGreaterThan(0);
    expect(tags.filter((tag) => tag === 'table')).toHaveLength(
      tags.filter((tag) => tag === 'caption').length,
    );
  });

  test('loads nothing from anywhere', () => {
    const page = renderReconcileReport(reconcileAnswer()).replaceAll('http://www.w3.org/1999/xhtml', '');
    expect(page).not.toMatch(/https?:|\bsrc=|\bhref=|url\(|@import/);
  });

  test('shows what a file wrote and obeys none of it', () => {
    const page = renderReconcileReport(
      reconcileAnswer({ file: { ...reconcileAnswer().file, name: HOSTILE } }),
    );
    parse(page);
    expect(page).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
    expect(page).toContain('\\u001b[31m\\u202egnp&amp;amp;\\u0000');
    expect(page).not.toContain('\u202e');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that none gets through is the point
    expect(page).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  });

  test('says loudly when a proof does not close', () => {
    const page = renderReconcileReport(incompleteAnswer());
    expect(page).toContain('INCOMPLETE');
    expect(page).toContain('does not close');
    expect(page).toContain('residual 0.01 EUR');
    expect(page).toContain('DIFFERS');
  });

  test('a waterfall ends where its total is, also below zero', () => {
    const answer = reconcileAnswer();
    const [proof] = answer.proofs;
    const negative = {
      ...proof!,
      receivable: { openingMinor: -500n, factsMinor: 100n, linesMinor: -600n, closingMinor: -1_000n },
    };
    const page = renderReconcileReport(reconcileAnswer({ proofs: [negative] }));
    const roll = /<svg[^>]*aria-labelledby="roll-0-t[\s\S]*?<\/svg>/.exec(page)![0];
    const rects = [...roll.matchAll(/<rect class="\w+" x="([\d.]+)" y="\d+" width="([\d.]+)"/g)];
    const [, , lines, closing] = rects.map(([, x, width]) => [Number(x), Number(x) + Number(width)] as const);
    expect(lines![0]).toBeCloseTo(closing![0], 1);
    for (const [, x, width] of rects) expect(Number(x) + Number(width)).toBeLessThanOrEqual(590.1);
  });
});
