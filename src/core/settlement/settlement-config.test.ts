import { describe, expect, test } from 'vitest';
import { settlementSchema, toDropFolder } from './settlement-config.ts';

const read = (file: object) => toDropFolder(settlementSchema.parse(file));

describe('the drop folder', () => {
  test('is nowhere unless it is named', () => {
    expect(read({})).toBeNull();
    expect(read({ nightly: '02:30' })).toBeNull();
  });

  test.each([
    [undefined, null],
    ['00:00', 0],
    ['02:30', 150],
    ['23:59', 1_439],
  ])('by night at %s is taken at minute %s', (nightly, nightlyMinute) => {
    expect(read({ drop_folder: '/var/drop', nightly })).toEqual({ folder: '/var/drop', nightlyMinute });
  });

  test.each([{ drop_folder: 'drop' }, { drop_folder: '' }, { nightly: '24:00' }, { nightly: '2:30' }])(
    '%j is refused',
    (file) => {
      expect(settlementSchema.safeParse(file).success).toBe(false);
    },
  );
});
