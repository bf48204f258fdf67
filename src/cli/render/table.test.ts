import { describe, expect, test } from 'vitest';
import { renderBlocks } from './table.ts';

const PLAIN = { width: null, color: false };

function names(rows: readonly (readonly string[])[]) {
  return {
    kind: 'table' as const,
    columns: [
      { title: 'NAME', shrink: true as const },
      { title: 'AMOUNT', align: 'right' as const },
    ],
    rows,
    empty: 'nothing',
  };
}

describe('tables', () => {
  test('names of any script take the columns they are wide, and amounts end together', () => {
    const text = renderBlocks(
      [
        names([
          ['Zoë', '1.00 EUR'],
          ['山田 花子', '1200 JPY'],
          ['ليلى', '12.345 KWD'],
          ['👩‍👩‍👧', '7.00 EUR'],
        ]),
      ],
      PLAIN,
    );
    expect(text).toBe(
      [
        'NAME           AMOUNT',
        'Zoë          1.00 EUR',
        '山田 花子    1200 JPY',
        'ليلى       12.345 KWD',
        '👩‍👩‍👧           7.00 EUR',
        '',
      ].join('\n'),
    );
  });

  test('a wide column is cut to the terminal, at a whole character', () => {
    const text = renderBlocks([names([['海'.repeat(40), '1200 JPY']])], { width: 30, color: false });
    expect(text.split('\n')[1]).toBe(`${'海'.repeat(9)}…   1200 JPY`);
  });

  test('that does not fit at all is a list for every row: no amount is broken between two lines', () => {
    const text = renderBlocks(
      [
        names([
          ['Café Ana', '1200.00 EUR'],
          ['', '7.00 EUR'],
        ]),
      ],
      { width: 15, color: false },
    );
    expect(text).toBe('NAME    Café Ana\nAMOUNT  1200.00 EUR\n\nAMOUNT  7.00 EUR\n');
  });

  test('into a pipe nothing is cut', () => {
    const name = 'x'.repeat(300);
    expect(renderBlocks([names([[name, '1']])], PLAIN)).toContain(name);
  });

  test('what a terminal would obey is shown as its code', () => {
    const text = renderBlocks([names([['\u001b]0;owned\u0007\u202etxt\r\n', '\u009b31m1']])], PLAIN);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that none gets through is the point
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    expect(text).toContain('\\u001b]0;owned\\u0007\\u202etxt\\r\\n');
  });

  test('without colour there is not one escape byte, with it there is', () => {
    const block = { kind: 'line' as const, text: { text: 'balanced', tone: 'good' as const } };
    expect(renderBlocks([block], PLAIN)).toBe('balanced\n');
    expect(renderBlocks([block], { width: 80, color: true })).toBe('\u001b[32mbalanced\u001b[39m\n');
  });

  test('a table without rows says so', () => {
    expect(renderBlocks([names([])], PLAIN)).toBe('nothing\n');
  });
});
