/**
 * POST settlement: the files that a PSP and a bank would send about what really happened here, with mismatches in them on
 * request, and the list of what was planted. Reads the truth and changes nothing.
 */
import { z } from 'zod';
import type { AdyenState } from '../adyen/state.ts';
import type { SandboxState } from '../state.ts';
import { adyenSettlementCsv } from './adyen-csv.ts';
import { adyenRows, adyenUnit } from './adyen-rows.ts';
import { type Arrival, camt053 } from './camt053.ts';
import { depositRows } from './deposits.ts';
import { type Planted, plantRows, ROW_PLANTS, type RowPlant } from './plants.ts';
import { amountText, type Deposit, type Row, type UnitOf } from './row.ts';
import { stripeBalanceCsv, stripePayoutCsv } from './stripe-csv.ts';
import { stripeRows, stripeUnit } from './stripe-rows.ts';

/** What is planted into deposits and the bank's statement; the code that each must be found as. */
const DEPOSIT_PLANTS = {
  batch_out_of_balance: 'batch_out_of_balance',
  deposit_missing: 'deposit_missing_at_bank',
  deposit_differs: 'deposit_amount_differs',
} as const;
type DepositPlant = keyof typeof DEPOSIT_PLANTS;
const DEPOSIT_PLANT_NAMES = Object.keys(DEPOSIT_PLANTS) as readonly DepositPlant[];

const MAX_PLANTS = 10_000;
const count = z.int().min(0).max(MAX_PLANTS);

export const settlementSchema = z.strictObject({
  psp: z.enum(['stripe', 'adyen']).default('stripe'),
  /** Decides which rows the mismatches are planted into. */
  seed: z.int().min(0).max(999_999_999).default(1),
  /** How many of each. */
  plant: z.partialRecord(z.enum([...ROW_PLANTS, ...DEPOSIT_PLANT_NAMES]), count).default({}),
});
export type SettlementWish = z.infer<typeof settlementSchema>;

/** @property source what `paygate reconcile` takes the file for */
interface SettlementFile {
  readonly name: string;
  readonly from: 'psp' | 'bank';
  readonly text: string;
}

/** @property short plants for which there were not enough rows that they fit */
export interface SettlementFiles {
  readonly files: readonly SettlementFile[];
  readonly rows: number;
  readonly deposits: number;
  readonly planted: readonly unknown[];
  readonly short: readonly string[];
}

export interface Truth {
  readonly stripe: SandboxState;
  readonly adyen: AdyenState;
  readonly nowMs: number;
}

/** The files of one PSP, of everything that has happened so far. */
export function settlementFiles(truth: Truth, wish: SettlementWish): SettlementFiles {
  const psp = PSPS[wish.psp];
  const source = psp.rows(truth);
  const wanted = new Map(Object.entries(wish.plant)) as ReadonlyMap<RowPlant, number>;
  const planting = plantRows(source, wanted, wish.seed, psp.unitOf);
  const deposited = depositRows(planting.rows, source.rows, psp.depositPrefix);
  const banked = plantDeposits(deposited.deposits, wish, psp.unitOf);
  const bank = camt053(banked.arrivals, currenciesOf(deposited.deposits), {
    payer: psp.payer,
    fromMs: deposited.rows[0]?.atMs ?? truth.nowMs,
    toMs: truth.nowMs,
    unitOf: psp.unitOf,
  });
  return {
    files: [
      ...psp.files(deposited.rows, banked.deposits, truth),
      { name: 'bank.camt053.xml', from: 'bank', text: bank },
    ],
    rows: deposited.rows.length,
    deposits: deposited.deposits.length,
    planted: [...planting.planted, ...banked.planted].map((one) => shownPlant(one, psp.unitOf)),
    short: [...planting.short, ...banked.short],
  };
}

const PSPS = {
  stripe: {
    payer: 'STRIPE',
    depositPrefix: 'po_',
    unitOf: stripeUnit,
    rows: ({ stripe }: Truth) => stripeRows(stripe),
    files: (rows: readonly Row[], deposits: readonly Deposit[]): readonly SettlementFile[] => [
      { name: 'stripe-balance.csv', from: 'psp', text: stripeBalanceCsv(rows, deposits) },
      { name: 'stripe-payouts.csv', from: 'psp', text: stripePayoutCsv(rows, deposits) },
    ],
  },
  adyen: {
    payer: 'ADYEN N.V.',
    depositPrefix: 'PAYOUT',
    unitOf: adyenUnit,
    rows: ({ adyen }: Truth) => adyenRows(adyen, null),
    files: (
      rows: readonly Row[],
      deposits: readonly Deposit[],
      { adyen }: Truth,
    ): readonly SettlementFile[] => [
      {
        name: 'adyen-settlement.csv',
        from: 'psp',
        text: adyenSettlementCsv(rows, deposits, merchantOf(adyen)),
      },
    ],
  },
} as const;

function merchantOf(adyen: AdyenState): string {
  for (const record of adyen.all()) if (record.kind === 'payment') return record.merchantAccount;
  return 'Sandbox';
}

function currenciesOf(deposits: readonly Deposit[]): readonly string[] {
  return [...new Set(deposits.map(({ currency }) => currency))].sort();
}

/** Each plant into a deposit of its own, in their order. */
function plantDeposits(deposits: readonly Deposit[], wish: SettlementWish, unitOf: UnitOf) {
  const left = [...deposits];
  const planted: Planted[] = [];
  const short: string[] = [];
  const changed = new Map<string, { readonly stated: number; readonly arrived: number | null }>();
  for (const plant of DEPOSIT_PLANT_NAMES) {
    for (let made = 0; made < (wish.plant[plant] ?? 0); made += 1) {
      const deposit = left.shift();
      if (deposit === undefined) {
        short.push(plant);
        break;
      }
      const off = unitOf(deposit.currency).step * (100 + made);
      const stated = plant === 'batch_out_of_balance' ? deposit.amount + off : deposit.amount;
      const arrived =
        plant === 'deposit_missing' ? null : plant === 'deposit_differs' ? stated - off : stated;
      changed.set(deposit.name, { stated, arrived });
      const amount = plant === 'deposit_missing' ? -deposit.amount : -off;
      const { name: reference, currency } = deposit;
      planted.push({
        plant,
        code: DEPOSIT_PLANTS[plant],
        reference,
        payment: null,
        ours: {},
        currency,
        amount,
      });
    }
  }
  const arrivals = deposits.flatMap((deposit): Arrival[] => {
    const arrived = changed.has(deposit.name) ? changed.get(deposit.name)!.arrived : deposit.amount;
    const { name, currency, atMs } = deposit;
    return arrived === null ? [] : [{ deposit: name, currency, amount: arrived, atMs }];
  });
  const stated = deposits.map((deposit) => ({
    ...deposit,
    amount: changed.get(deposit.name)?.stated ?? deposit.amount,
  }));
  return { deposits: stated, arrivals, planted, short: [...new Set(short)] };
}

/** As ISO 4217 counts: 5 ISK are "5", however the PSP writes them. */
function shownPlant({ amount, currency, ...rest }: Planted, unitOf: UnitOf) {
  const { decimals, step } = unitOf(currency);
  const text =
    step === 100
      ? amountText(amount / 100, { decimals: 0, step: 1 })
      : amountText(amount, { decimals, step });
  return { ...rest, amount: { amount: text, currency } };
}
