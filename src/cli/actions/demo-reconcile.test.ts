import { expect, test } from 'vitest';
import { sameLines } from './demo-reconcile.ts';

test.each([
  [['a', 'b', 'b'], ['b', 'a', 'b'], true],
  [['a', 'b', 'b'], ['a', 'a', 'b'], false],
  [['a'], ['a', 'a'], false],
  [['a'], [], false],
  [[], [], false],
])('planted %j, found %j: %s', (planted, found, isExact) => {
  expect(sameLines(planted, found)).toBe(isExact);
});
