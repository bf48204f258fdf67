import { describe, expect, test } from 'vitest';
import { findDifferences } from './demo-truth.ts';

const BOOKED = { name: 'rfd_16', reference: 'op_17', moved: '500 eur' };

describe('the comparison with the truth', () => {
  test('finds nothing where both sides say the same', () => {
    const open = { name: 'rfd_18', reference: 'op_19', moved: 'nothing' };
    expect(findDifferences(new Map([['op_17', ['500 eur']]]), [BOOKED, open])).toEqual([]);
  });

  test.each([
    ['what moved twice', new Map([['op_17', ['500 eur', '500 eur']]]), '500 eur + 500 eur'],
    ['what moved otherwise', new Map([['op_17', ['50 eur']]]), '50 eur'],
    ['what never moved', new Map(), 'nothing'],
  ])('names %s', (_, there, shown) => {
    expect(findDifferences(there, [BOOKED])).toEqual([{ name: 'rfd_16', there: shown, here: '500 eur' }]);
  });

  test('names what moved though we took it for not moved', () => {
    const unknown = { ...BOOKED, moved: 'nothing' };
    expect(findDifferences(new Map([['op_17', ['500 eur']]]), [unknown])).toHaveLength(1);
  });

  test('names what we know nothing of', () => {
    const there = new Map([
      ['op_17', ['500 eur']],
      ['op_99', ['1 eur']],
    ]);
    expect(findDifferences(there, [BOOKED])).toEqual([{ name: 'op_99', there: '1 eur', here: 'not there' }]);
  });
});
