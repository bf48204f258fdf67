/**
 * Mismatches that are planted into a PSP's rows on request: what each one changes, and the break that a reconciliation must
 * make of it. Decides only; chance comes from a seed, so the same request plants the same again.
 */
import { createHash } from 'node:crypto';
import type { Row, Unit, UnitOf } from './row.ts';

export const ROW_PLANTS = [
  'missing_line',
  'extra_line',
  'wrong_amount',
  'wrong_fee',
  'overcharge',
  'wrong_currency',
  'duplicate_line',
  'fx_variance',
  'ambiguous',
  'status',
  'second_success',
  'missing_refund',
  'extra_refund',
  'chargeback',
  'chargeback_reversed',
  'refund_and_chargeback',
  'direction',
  'returned_payout',
  'unclassified',
  'late_adjustment',
  'reserve',
] as const;
export type RowPlant = (typeof ROW_PLANTS)[number];

/** Of charges that had failed: as if they had succeeded after all. */
const LATE_PLANTS: ReadonlySet<RowPlant> = new Set(['status', 'second_success']);

/**
 * One planted mismatch, as the truth file has it.
 * @property code the break that a reconciliation must find
 * @property reference the PSP's name of the object that the mismatch is about
 * @property payment the PSP's name of its payment; null for what belongs to none
 * @property amount signed minor units of the PSP: what the file has more than what really moved
 */
export interface Planted {
  readonly plant: string;
  readonly code: string;
  readonly reference: string;
  readonly payment: string | null;
  readonly ours: Readonly<Record<string, string>>;
  readonly currency: string;
  readonly amount: number;
}

/** The rows with the mismatches in them; `short` names plants for which there were not enough fitting rows. */
export interface Planting {
  readonly rows: readonly Row[];
  readonly planted: readonly Planted[];
  readonly short: readonly string[];
}

/** @property plain rows of whose payment no other row tells: a refund and its charge are not plain */
interface Field {
  readonly unitOf: UnitOf;
  readonly isPlain: (row: Row) => boolean;
  /** Another payment of the row's order has succeeded: Stripe's metadata tell, Adyen's references do not. */
  readonly isPaid: (row: Row) => boolean;
  /** What a payment's charge came to. */
  readonly chargedOf: (payment: string | null) => number;
  /** From 1 to 99, by the seed. */
  readonly draw: (row: Row) => number;
}

/** @property instead what stands in the file for the row */
interface Spot {
  readonly instead: readonly Row[];
  readonly subject: Row;
  readonly amount: number;
}

interface Kind {
  readonly code: string;
  readonly fits: (row: Row, field: Field) => boolean;
  readonly spot: (row: Row, field: Field) => Spot;
}

/**
 * Plants as many of each as were asked for, each into a row of its own.
 * @param wanted how many of each
 * @param failed rows of charges that never succeeded, for `status`
 */
export function plantRows(
  source: { readonly rows: readonly Row[]; readonly failed: readonly Row[] },
  wanted: ReadonlyMap<RowPlant, number>,
  seed: number,
  unitOf: UnitOf,
): Planting {
  const field = fieldOf(source.rows, seed, unitOf);
  const instead = new Map<string, readonly Row[]>();
  const added: Row[] = [];
  const planted: Planted[] = [];
  const short: string[] = [];
  for (const name of ROW_PLANTS) {
    const count = wanted.get(name) ?? 0;
    if (count === 0) continue;
    const kind = KINDS[name];
    const isLate = LATE_PLANTS.has(name);
    const candidates = isLate ? source.failed : source.rows;
    const fitting = candidates.filter((row) => !instead.has(row.name) && kind.fits(row, field));
    const chosen = shuffled(fitting, `${seed}:${name}`).slice(0, count);
    if (chosen.length < count) short.push(name);
    for (const row of chosen) {
      const spot = kind.spot(row, field);
      instead.set(row.name, spot.instead);
      if (isLate) added.push(...spot.instead);
      planted.push(plantedOf(name, kind.code, spot));
    }
  }
  const rows = [...source.rows.flatMap((row) => instead.get(row.name) ?? [row]), ...added];
  return { rows, planted, short };
}

function plantedOf(plant: string, code: string, { subject, amount }: Spot): Planted {
  const { source: reference, payment, ours, currency } = subject;
  return { plant, code, reference, payment, ours, currency, amount };
}

function fieldOf(rows: readonly Row[], seed: number, unitOf: UnitOf): Field {
  const told = new Map<string, number>();
  const charged = new Map<string | null, number>();
  const paid = new Set<string>();
  for (const { kind, payment, gross, ours } of rows) {
    if (kind === 'charge' && ours.paygate_order !== undefined) paid.add(ours.paygate_order);
    if (payment !== null) told.set(payment, (told.get(payment) ?? 0) + 1);
    if (kind === 'charge') charged.set(payment, gross);
  }
  return {
    unitOf,
    isPlain: (row) => row.kind === 'charge' && row.payment !== null && told.get(row.payment) === 1,
    isPaid: ({ ours }) => ours.paygate_order !== undefined && paid.has(ours.paygate_order),
    chargedOf: (payment) => charged.get(payment) ?? 0,
    draw: (row) => 1 + (hashOf(`${seed}:draw:${row.name}`) % MOST_DRAWN),
  };
}

function hashOf(text: string): number {
  return createHash('sha256').update(text).digest().readUInt32BE();
}

/** By place and not by name: names are new with every start, places are not. */
function shuffled<T>(items: readonly T[], salt: string): readonly T[] {
  return items
    .map((item, place) => ({ item, rank: hashOf(`${salt}:${place}`) }))
    .sort((left, right) => left.rank - right.rank)
    .map(({ item }) => item);
}

/** The row with another gross; fee as it was. */
function grossed(row: Row, gross: number): Row {
  return { ...row, gross, net: gross - row.fee };
}

/** A row beside another one, about the same payment. */
function beside(row: Row, kind: Row['kind'], source: string, gross: number): Row {
  return {
    ...row,
    kind,
    source,
    name: `txn_${source.replace('_', '')}`,
    gross,
    fee: 0,
    net: gross,
    own: {},
    atMs: row.atMs + 1_000,
  };
}

/** A name like the one given, that the truth does not know. */
function foreign(name: string): string {
  const end = createHash('sha256').update(name).digest('hex').slice(0, 8);
  const made = `${name.slice(0, -8)}${end}`;
  // Adyen's names are all capitals.
  return name === name.toUpperCase() ? made.toUpperCase() : made;
}

/** At Stripe an object's name says what it is; Adyen's names do not. */
function named(row: Row, prefix: string): string {
  const made = foreign(row.source);
  return row.source.startsWith('ch_') ? made.replace(/^ch_/, `${prefix}_`) : made;
}

/** A tenth of an amount, at least one step of the currency. */
function tenth(amount: number, { step }: Unit): number {
  return Math.max(step, Math.floor(amount / 10 / step) * step);
}

/** Dollars for a thousand euros, at the sandbox. */
const EUR_IN_USD = 1_100;
/** The most that a difference is drawn as (steps of the currency). */
const MOST_DRAWN = 99;

const isPlain = (row: Row, field: Field): boolean => field.isPlain(row);
const isCharge = (row: Row): boolean => row.kind === 'charge';

/** Codes are the reconciliation's; what is planted is the sandbox's own idea of how files go wrong. */
const KINDS: Readonly<Record<RowPlant, Kind>> = {
  missing_line: {
    code: 'missing_external',
    fits: isPlain,
    spot: (row) => ({ instead: [], subject: row, amount: -row.gross }),
  },
  extra_line: {
    code: 'missing_internal',
    fits: isCharge,
    spot: (row) => {
      const source = foreign(row.source);
      const payment = row.payment === row.source ? source : foreign(row.payment ?? '');
      const made = { ...row, source, payment, charge: source, ours: {}, own: {}, name: `${row.name}x` };
      return { instead: [row, made], subject: made, amount: made.gross };
    },
  },
  wrong_amount: {
    code: 'amount_mismatch',
    fits: isPlain,
    spot: (row, field) => {
      const difference = field.draw(row) * field.unitOf(row.currency).step;
      return { instead: [grossed(row, row.gross + difference)], subject: row, amount: difference };
    },
  },
  wrong_fee: {
    code: 'fee_mismatch',
    fits: isPlain,
    spot: (row, field) => {
      const difference = field.draw(row) * field.unitOf(row.currency).step;
      return { instead: [{ ...row, fee: row.fee + difference }], subject: row, amount: difference };
    },
  },
  overcharge: {
    code: 'fee_mismatch',
    fits: (row, field) => isPlain(row, field) && row.currency === 'EUR',
    spot: (row, field) => {
      // The row computes: only who knows the contract can see it. More than any rounding.
      const more = 2 + field.draw(row);
      const made = { ...row, fee: row.fee + more, net: row.net - more };
      return { instead: [made], subject: row, amount: -more };
    },
  },
  wrong_currency: {
    code: 'currency_mismatch',
    fits: (row, field) => isPlain(row, field) && row.currency === 'EUR',
    spot: (row) => {
      const other = { ...row, currency: 'USD' };
      return { instead: [other], subject: other, amount: row.gross };
    },
  },
  duplicate_line: {
    code: 'duplicate_external',
    fits: isPlain,
    spot: (row) => ({ instead: [row, { ...row, name: `${row.name}d` }], subject: row, amount: row.gross }),
  },
  fx_variance: {
    code: 'fx_variance',
    fits: (row, field) => isPlain(row, field) && row.currency === 'EUR' && row.gross > MOST_DRAWN,
    spot: (row, field) => {
      // The PSP converted a little less than the buyer had paid.
      const difference = -field.draw(row);
      const facing = { currency: row.currency, gross: row.gross + difference };
      const converted = grossed(row, Math.round((facing.gross * EUR_IN_USD) / 1_000));
      return { instead: [{ ...converted, currency: 'USD', facing }], subject: row, amount: difference };
    },
  },
  ambiguous: {
    code: 'ambiguous',
    fits: isPlain,
    spot: (row) => {
      // Right in amount and day, and without any name of ours: the books must have charged it on that day too.
      const source = foreign(row.source);
      const payment = row.payment === row.source ? source : foreign(row.payment ?? '');
      const made = { ...row, source, payment, charge: source, ours: {}, own: {}, name: `${row.name}a` };
      return { instead: [made], subject: row, amount: made.gross };
    },
  },
  status: {
    code: 'status_mismatch',
    fits: (row, field) => isCharge(row) && !field.isPaid(row),
    spot: (row) => ({ instead: [row], subject: row, amount: row.gross }),
  },
  second_success: {
    code: 'duplicate_internal',
    fits: (row, field) => isCharge(row) && field.isPaid(row),
    spot: (row) => ({ instead: [row], subject: row, amount: row.gross }),
  },
  missing_refund: {
    code: 'refund_missing',
    fits: (row) => row.kind === 'refund',
    spot: (row) => ({ instead: [], subject: row, amount: -row.gross }),
  },
  extra_refund: {
    code: 'refund_unexpected',
    fits: isPlain,
    spot: (row, field) => {
      const made = beside(row, 'refund', named(row, 're'), -tenth(row.gross, field.unitOf(row.currency)));
      return { instead: [row, made], subject: made, amount: made.gross };
    },
  },
  chargeback: {
    code: 'chargeback_unbooked',
    fits: isPlain,
    spot: (row) => {
      // Of a payment that the books do not know: a dispute of one of ours is booked from its line.
      const payment = foreign(row.payment ?? '');
      const made = { ...beside(row, 'dispute', named(row, 'du'), -row.gross), ...ofStranger(payment) };
      return { instead: [row, made], subject: made, amount: made.gross };
    },
  },
  chargeback_reversed: {
    code: 'chargeback_reversed',
    fits: isPlain,
    spot: (row) => {
      const payment = foreign(row.payment ?? '');
      const made = {
        ...beside(row, 'dispute_reversal', named(row, 'du'), row.gross),
        ...ofStranger(payment),
      };
      return { instead: [row, made], subject: made, amount: made.gross };
    },
  },
  refund_and_chargeback: {
    code: 'refund_and_chargeback',
    fits: (row, field) => row.kind === 'refund' && field.chargedOf(row.payment) > 0,
    spot: (row, field) => {
      const name = foreign(row.source);
      const source = row.source.startsWith('re_') ? name.replace(/^re_/, 'du_') : name;
      // The bank takes back all of it, and a part was given back already.
      const made = beside(row, 'dispute', source, -field.chargedOf(row.payment));
      return { instead: [row, made], subject: made, amount: made.gross };
    },
  },
  direction: {
    code: 'direction_mismatch',
    fits: isPlain,
    spot: (row) => ({ instead: [grossed(row, -row.gross)], subject: row, amount: -row.gross }),
  },
  returned_payout: {
    code: 'returned_payout',
    fits: (row) => row.kind === 'transfer',
    spot: (row) => {
      const made = beside(row, 'transfer_reversal', foreign(row.source).replace(/^tr_/, 'trr_'), -row.gross);
      return { instead: [row, made], subject: made, amount: made.gross };
    },
  },
  unclassified: {
    code: 'unclassified_line',
    fits: isCharge,
    spot: (row, field) => ofNoPayment(row, 'mystery', -tenth(row.gross, field.unitOf(row.currency))),
  },
  late_adjustment: {
    code: 'late_adjustment',
    fits: isCharge,
    spot: (row, field) => ofNoPayment(row, 'adjustment', -tenth(row.gross, field.unitOf(row.currency))),
  },
  reserve: {
    code: 'reserve_movement',
    fits: isCharge,
    spot: (row, field) => ofNoPayment(row, 'reserve', -tenth(row.gross, field.unitOf(row.currency))),
  },
};

function ofStranger(payment: string): Pick<Row, 'payment' | 'charge' | 'ours'> {
  return { payment, charge: payment, ours: {} };
}

function ofNoPayment(row: Row, kind: Row['kind'], gross: number): Spot {
  const made = {
    ...beside(row, kind, named(row, kind === 'reserve' ? 'rr' : 'adj'), gross),
    payment: null,
    charge: null,
    ours: {},
  };
  return { instead: [row, made], subject: made, amount: gross };
}
