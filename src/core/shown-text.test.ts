import { expect, test } from 'vitest';
import { shownText } from './shown-text.ts';

test.each([
  ['plain text is quoted', 'Ana', '"Ana"'],
  ['any script is shown as it is', '海の店 مقهى', '"海の店 مقهى"'],
  [
    'control characters are escaped',
    'a\u001b[31m\n\r\t\u0000\u009b',
    '"a\\u001b[31m\\n\\r\\t\\u0000\\u009b"',
  ],
  ['direction overrides are escaped', 'a\u202eb', '"a\\u202eb"'],
  ['lone surrogates are escaped', 'a\ud800b', '"a\\ud800b"'],
  ['a card number is masked', 'pan 4111 1111 1111 1111', '"pan [card number]"'],
  ['long text is clipped', 'x'.repeat(41), `"${'x'.repeat(40)}…"`],
  ['40 characters are not clipped', '😀'.repeat(40), `"${'😀'.repeat(40)}"`],
  [
    'a card number at the cut is masked whole',
    `${'x'.repeat(30)}4111111111111111`,
    `"${'x'.repeat(30)}[card numb…"`,
  ],
])('%s', (_name, text, shown) => {
  expect(shownText(text)).toBe(shown);
});
