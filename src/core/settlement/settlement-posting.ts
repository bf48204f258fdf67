/**
 * What a batch of lines books: one entry per batch and rule, of which the lines are the detail. Decides only.
 */
import { unreachable } from '../errors.ts';
import type { AccountCode } from '../ledger/chart-of-accounts.ts';
import { bankAccount, pspAccount } from '../ledger/chart-of-accounts.ts';
import { type Posting, reversalOf } from '../ledger/posting-rules.ts';
import * as rules from '../ledger/settlement-posting-rules.ts';
import type { Currency } from '../money.ts';
import type { LineKind } from './settlement-line.ts';

/** Lines of one batch, kind, sign and currency, summed. */
export type LineSum = {
  readonly batchId: bigint;
  readonly kind: LineKind;
  readonly currency: Currency;
  readonly originalCurrency: Currency | null;
  readonly grossMinor: bigint;
  /** Gross less net: what stays when the row itself is inconsistent, so that our mirror follows the PSP's net. */
  readonly feeMinor: bigint;
  readonly originalMinor: bigint | null;
  /** `replaced`: earlier versions of lines that this batch tells anew; their postings are undone. */
  readonly version: 'new' | 'replaced';
};

export type BatchEntry = {
  readonly cause: string;
  readonly kind: string;
  readonly postings: readonly Posting[];
};

export type PostedSource =
  | { readonly kind: 'psp'; readonly name: string; readonly bank: string }
  | { readonly kind: 'bank'; readonly name: string };

/** The account whose balance the open items of a source explain. */
export function openAccount(source: PostedSource): AccountCode {
  return source.kind === 'psp'
    ? pspAccount(source.name, 'receivable')
    : bankAccount(source.name, 'in_transit');
}

/** Our mirror of what the source says it holds for us. */
export function mirrorAccount(source: PostedSource): AccountCode {
  return source.kind === 'psp' ? pspAccount(source.name, 'balance') : bankAccount(source.name, 'cash');
}

/** One entry per batch and rule; none where nothing moved. Causes are `settle:sbat_{batch}`. */
export function batchEntries(source: PostedSource, sums: readonly LineSum[]): readonly BatchEntry[] {
  const entries = new Map<string, { cause: string; kind: string; postings: Posting[] }>();
  for (const sum of sums) {
    const posted = source.kind === 'psp' ? atPsp(source, sum) : atBank(source.name, sum);
    for (const { kind, postings } of posted) {
      if (postings.length === 0) continue;
      const cause = `settle:sbat_${sum.batchId}`;
      const name = sum.version === 'new' ? kind : `${kind}_superseded`;
      const key = `${cause} ${name}`;
      const entry = entries.get(key) ?? { cause, kind: name, postings: [] };
      entry.postings.push(...(sum.version === 'new' ? postings : reversalOf(postings)));
      entries.set(key, entry);
    }
  }
  return [...entries.values()].map((entry) => ({ ...entry, postings: merged(entry.postings) }));
}

/** Pairs between the same accounts in the same direction are one. */
function merged(postings: readonly Posting[]): readonly Posting[] {
  const pairs = new Map<string, Posting>();
  for (const posting of postings) {
    const key = `${posting.debit} ${posting.credit} ${posting.currency}`;
    const known = pairs.get(key);
    pairs.set(
      key,
      known === undefined ? posting : { ...known, amountMinor: known.amountMinor + posting.amountMinor },
    );
  }
  return [...pairs.values()];
}

type Booked = { readonly kind: string; readonly postings: readonly Posting[] };

function atPsp(source: { name: string; bank: string }, sum: LineSum): readonly Booked[] {
  const { currency, grossMinor, feeMinor, kind } = sum;
  const at = { pspAccount: source.name, currency, bank: source.bank };
  const disputed = kind === 'dispute' || kind === 'dispute_reversed';
  const fee = { feeMinor, feeExpense: disputed ? 'dispute_fees' : 'psp_fees' } as const;
  const ownFee = feeMinor === 0n ? [] : [rules.pspFee({ ...at, ...fee })];
  switch (kind) {
    case 'charge':
    case 'charge_reversed':
    case 'refund':
    case 'refund_failed':
    case 'payout':
    case 'payout_returned':
    case 'dispute':
    case 'dispute_reversed':
    case 'adjustment':
    case 'unclassified':
      return [explained(source.name, sum, fee)];
    case 'fee': {
      const costMinor = feeMinor - grossMinor;
      return costMinor === 0n ? [] : [rules.pspFee({ ...at, feeMinor: costMinor, feeExpense: 'psp_fees' })];
    }
    case 'deposit':
    case 'deposit_returned':
      return [either(-grossMinor, (amountMinor) => rules.depositPaid({ ...at, amountMinor })), ...ownFee];
    case 'top_up':
      return [either(grossMinor, (amountMinor) => rules.topUpArrived({ ...at, amountMinor })), ...ownFee];
    case 'reserve_held':
    case 'reserve_released':
      return [either(-grossMinor, (amountMinor) => rules.reserveHeld({ ...at, amountMinor })), ...ownFee];
    case 'note':
      return [];
    default:
      return unreachable(kind);
  }
}

function explained(
  psp: string,
  sum: LineSum,
  fee: { readonly feeMinor: bigint; readonly feeExpense: 'psp_fees' | 'dispute_fees' },
): Booked {
  const { currency, originalCurrency, originalMinor, grossMinor } = sum;
  if (originalCurrency === null || originalCurrency === currency || originalMinor === null) {
    return rules.settlementLine({ pspAccount: psp, currency, grossMinor, ...fee });
  }
  return rules.settledInAnotherCurrency({
    pspAccount: psp,
    chargeCurrency: originalCurrency,
    chargeMinor: originalMinor,
    settledCurrency: currency,
    settledMinor: grossMinor,
    ...fee,
  });
}

/** Any movement of the bank's account is one of money on its way, until something explains it. */
function atBank(bank: string, sum: LineSum): readonly Booked[] {
  const { currency, kind } = sum;
  if (kind === 'note') return [];
  const netMinor = sum.grossMinor - sum.feeMinor;
  if (netMinor === 0n) return [];
  return [
    netMinor > 0n
      ? rules.depositArrived({ bank, currency, amountMinor: netMinor })
      : rules.topUpSent({ bank, currency, amountMinor: -netMinor }),
  ];
}

/** The rule for an amount above zero, and its opposite below. */
function either(amountMinor: bigint, rule: (amountMinor: bigint) => Booked): Booked {
  if (amountMinor === 0n) return { kind: '', postings: [] };
  if (amountMinor > 0n) return rule(amountMinor);
  const { kind, postings } = rule(-amountMinor);
  return { kind, postings: reversalOf(postings) };
}

/** How much the entries move an account, debits above zero, per currency. */
export function movementOf(
  account: AccountCode,
  entries: readonly { readonly postings: readonly Posting[] }[],
): ReadonlyMap<Currency, bigint> {
  const moved = new Map<Currency, bigint>();
  for (const { postings } of entries) {
    for (const { debit, credit, currency, amountMinor } of postings) {
      const minor = debit === account ? amountMinor : credit === account ? -amountMinor : 0n;
      if (minor !== 0n) moved.set(currency, (moved.get(currency) ?? 0n) + minor);
    }
  }
  return moved;
}
