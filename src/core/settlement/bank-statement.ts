/** What the bank formats have in common: entries of a statement, their kinds and names, and the proof that they add up. Decides only. */
import { createHash } from 'node:crypto';
import { type Currency, formatAmount } from '../money.ts';
import type { LineCollector } from './line-collector.ts';
import type { LineKind, SettlementLine, StatedTotal } from './settlement-line.ts';

/** A statement in progress. Amounts are signed minor units. */
export type Statement = {
  readonly account: string;
  /** The bank's name of the statement. */
  readonly name: string;
  readonly currency: Currency;
  readonly openingMinor: bigint | null;
  readonly closingMinor: bigint | null;
  /** Σ of the booked entries. */
  readonly sumMinor: bigint;
  /** Entries that could not be read: the statement cannot add up, and that is no second fault. */
  readonly badEntries: number;
};

/** Refuses a statement whose entries do not lead from one balance to the other. */
export function checkStatement(collector: LineCollector, statement: Statement): StatedTotal {
  const { name, currency, openingMinor, closingMinor, sumMinor, badEntries } = statement;
  const shown = (amountMinor: bigint) => `${formatAmount({ amountMinor, currency })} ${currency}`;
  if (openingMinor === null || closingMinor === null) {
    const what = openingMinor === null ? 'opening' : 'closing';
    const message = `statement ${name} has no ${what} balance: nothing proves that it is whole`;
    collector.refuse(null, null, 'balance_missing', message);
  } else if (badEntries === 0 && openingMinor + sumMinor !== closingMinor) {
    const message = `statement ${name}: ${shown(openingMinor)} and entries of ${shown(sumMinor)} make ${shown(openingMinor + sumMinor)}, not the closing balance of ${shown(closingMinor)}`;
    collector.refuse(null, null, 'statement_out_of_balance', message);
  }
  return { batch: name, currency, openingMinor, closingMinor, sumMinor: null };
}

export type BankEntry = {
  readonly row: number;
  readonly account: string;
  readonly statement: string;
  readonly currency: Currency;
  readonly amountMinor: bigint;
  readonly rawType: string;
  /** What the bank's own type says; null where it only says money in or out. */
  readonly kind: LineKind | null;
  /** True for an entry that takes back another. */
  readonly isReversal: boolean;
  readonly bankReference: string | null;
  readonly ourReference: string | null;
  readonly bookedOn: string | null;
  readonly availableOn: string | null;
  /** Everything else that tells the entry from others where the bank gives it no reference. */
  readonly detail: string;
  readonly raw: string | null;
};

/** An entry as a line. The account's own reference names it, and without one a hash of what it says. */
export function lineOfEntry(entry: BankEntry): SettlementLine {
  const { amountMinor, bankReference } = entry;
  const kind = entry.kind ?? kindBySign(amountMinor, entry.isReversal);
  const amount = kind === 'note' ? 0n : amountMinor;
  return {
    row: entry.row,
    lineKey: keyOf(entry),
    kind,
    rawType: entry.rawType,
    currency: entry.currency,
    grossMinor: amount,
    feeMinor: 0n,
    netMinor: amount,
    reference: bankReference,
    paymentReference: null,
    ourReference: entry.ourReference,
    original: null,
    occurredAt: entry.bookedOn,
    availableOn: entry.availableOn,
    batch: entry.statement,
    raw: entry.raw,
  };
}

/** Money in is a deposit until matching knows better, money out funds a PSP balance; a reversal undoes the other one. */
function kindBySign(amountMinor: bigint, isReversal: boolean): LineKind {
  if (isReversal) return amountMinor < 0n ? 'deposit_returned' : 'top_up';
  return amountMinor < 0n ? 'top_up' : 'deposit';
}

/** Longer keys are hashed. */
const MAX_PLAIN_KEY = 300;

function keyOf(entry: BankEntry): string {
  const { account, statement, bankReference, rawType, amountMinor, bookedOn, ourReference, detail } = entry;
  const says = [rawType, amountMinor, bookedOn ?? '', ourReference ?? '', detail].join('\u001f');
  const own = bankReference ?? `sha256:${hashOf(says)}`;
  const key = `${account}|${statement}|${own}`;
  return key.length <= MAX_PLAIN_KEY ? key : `sha256:${hashOf(key)}`;
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
