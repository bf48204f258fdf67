import { parse } from 'csv-parse/sync';
import stringWidth from 'string-width';
import { describe, expect, test } from 'vitest';
import {
  closedAnswer,
  HOSTILE,
  incompleteAnswer,
  reconcileAnswer,
} from '../../testing/reconcile-fixtures.ts';
import { barText, reconcileResult } from './reconcile-summary.ts';
import { renderResult } from './render-result.ts';

const GOLDEN = '../../../fixtures/cli';
const PIPE = { width: null, color: false };

describe('a reconciliation', () => {
  test.each([
    ['table', 'reconcile.txt'],
    ['json', 'reconcile.json'],
    ['ndjson', 'reconcile.ndjson'],
    ['csv', 'reconcile.csv'],
  ] as const)('as %s is a contract', async (format, file) => {
    const text = await renderResult(reconcileResult(reconcileAnswer(), 'out.html'), format, PIPE);
    await expect(text).toMatchFileSnapshot(`${GOLDEN}/${file}`);
  });

  test.each([60, 80])('fits %i columns', async (width) => {
    for (const answer of [reconcileAnswer(), closedAnswer()]) {
      const text = await renderResult(reconcileResult(answer, null), 'table', { width, color: false });
      const tooWide = text.split('\n').filter((line) => stringWidth(line) > width);
      // Sentences and names of files wrap by themselves; tables must not.
      expect(tooWide.filter((line) => /[█▏]| {3,}/.test(line))).toEqual([]);
    }
  });

  test('into a pipe has no escape byte, also of a hostile file name', async () => {
    const hostile = reconcileAnswer({ file: { ...reconcileAnswer().file, name: HOSTILE } });
    const text = await renderResult(reconcileResult(hostile, null), 'table', PIPE);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that none gets through is the point
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  });

  test('an incomplete one names the identity that fails', async () => {
    const text = await renderResult(reconcileResult(incompleteAnswer(), null), 'table', PIPE);
    expect(text).toContain('INCOMPLETE');
    expect(text).toContain('the PSP says 4123.44 EUR');
  });

  test('as CSV has one row for each break, and a hostile one does not run in a spreadsheet', async () => {
    const result = reconcileResult(reconcileAnswer(), null);
    const rows = parse(await renderResult(result, 'csv', PIPE), { columns: true }) as Record<
      string,
      string
    >[];
    expect(rows).toHaveLength(4);
    expect(rows[0]).toMatchObject({ break_id: 'brk_12', amount: '120.50', currency: 'EUR' });
  });
});

describe('a bar', () => {
  test.each([
    [0n, 10n, ''],
    [1n, 1_000_000n, '▏'],
    [1n, 2n, '████████'],
    [10n, 10n, '████████████████'],
    [20n, 10n, '████████████████'],
    [5n, 0n, ''],
  ])('of %i in %i', (part, whole, text) => {
    expect(barText(part, whole)).toBe(text);
  });
});
