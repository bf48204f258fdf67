import { parse } from 'csv-parse/sync';
import stringWidth from 'string-width';
import { describe, expect, test } from 'vitest';
import {
  breakAnswer,
  closedAnswer,
  HOSTILE,
  incompleteAnswer,
  reconcileAnswer,
} from '../../testing/reconcile-fixtures.ts';
import { listResult } from '../actions/page.ts';
import { breakResult } from '../actions/read-breaks.ts';
import { barText, breakJson, breakTable, reconcileResult } from './reconcile-summary.ts';
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

describe('breaks', () => {
  const details = {
    break: breakAnswer({
      says: `The file has ${HOSTILE}.`,
      offers: ['enquire', 'suspense', 'refund_at_psp'],
    }),
    history: [
      {
        at: '2026-11-20T02:00:00.000Z',
        kind: 'opened',
        principal: 'cli:ana/paygate_app',
        reason: null,
        from: null,
        to: 'open' as const,
        entryId: null,
      },
    ],
    raw: '{"reporting_category":"charge"}',
  };

  test('as a list are a contract', async () => {
    const { breaks } = reconcileAnswer();
    const list = listResult(breaks.map(breakJson), null, [breakTable(breaks)]);
    await expect(await renderResult(list, 'json', PIPE)).toMatchFileSnapshot(`${GOLDEN}/breaks-list.json`);
    await expect(await renderResult(list, 'table', { width: 100, color: false })).toMatchFileSnapshot(
      `${GOLDEN}/breaks-list.txt`,
    );
  });

  test('one by one are a contract, and name what can be done', async () => {
    const result = breakResult(details);
    await expect(await renderResult(result, 'json', PIPE)).toMatchFileSnapshot(`${GOLDEN}/breaks-show.json`);
    const text = await renderResult(result, 'table', PIPE);
    await expect(text).toMatchFileSnapshot(`${GOLDEN}/breaks-show.txt`);
    expect(text).toContain('ask the PSP about ch_3abcdefgh01');
    expect(text).not.toContain('--as enquire');
  });

  test('that are closed offer nothing more', async () => {
    const closed = { ...details, break: { ...details.break, state: 'resolved' as const } };
    expect(await renderResult(breakResult(closed), 'table', PIPE)).not.toContain('What can be done');
  });
});
