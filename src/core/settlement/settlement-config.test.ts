import { describe, expect, test } from 'vitest';
import { settlementSchema, toDropFolder, toSettlementPolicy } from './settlement-config.ts';

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

describe('the fees of a PSP', () => {
  const policy = (fees: object, faults: string[] = []) =>
    toSettlementPolicy(
      settlementSchema.parse({ accounts: { main: { fees } } }),
      { writeOffLimits: new Map(), faults },
      new Set(['main']),
      () => '',
    );

  test('are read in major units, and may be off by one minor unit unless it is said', () => {
    const fees = { EUR: { percent: '1.4', fixed: '0.25' }, JPY: { percent: '3.6', tolerance: '5' } };
    expect(Object.fromEntries(policy(fees).accounts.get('main')!.fees)).toEqual({
      EUR: { percent: '1.4', fixedMinor: 25n, toleranceMinor: 1n },
      JPY: { percent: '3.6', fixedMinor: 0n, toleranceMinor: 5n },
    });
    expect(policy({}).accounts.get('main')!.fees.size).toBe(0);
  });

  test.each([
    [{ XXY: {} }, 'reconcile.accounts.main.fees.XXY: is no currency of ISO 4217 such as EUR'],
    [{ EUR: { fixed: '0.255' } }, 'reconcile.accounts.main.fees.EUR.fixed: '],
    [{ EUR: { fixed: '-1' } }, 'reconcile.accounts.main.fees.EUR.fixed: '],
    [{ JPY: { tolerance: '0.5' } }, 'reconcile.accounts.main.fees.JPY.tolerance: '],
  ])('%j has a fault by its name', (fees, fault) => {
    const faults: string[] = [];
    policy(fees, faults);
    expect(faults).toEqual([expect.stringContaining(fault)]);
  });

  test.each(['1,4', '1.4%', '-1', '101', '1.1234567', ''])('%j is no percentage', (percent) => {
    const parsed = settlementSchema.safeParse({ accounts: { main: { fees: { EUR: { percent } } } } });
    expect(parsed.error?.issues[0]?.message).toContain('is no percentage like "1.4"');
  });

  test('of an account that is no PSP’s are a fault', () => {
    const faults: string[] = [];
    const file = settlementSchema.parse({ accounts: { typo: { fees: { EUR: { percent: '1' } } } } });
    toSettlementPolicy(file, { writeOffLimits: new Map(), faults }, new Set(['main']), () => '');
    expect(faults).toEqual(['reconcile.accounts.typo.fees: there is no [psp.typo]']);
  });
});
