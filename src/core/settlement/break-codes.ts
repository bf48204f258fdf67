/** What each break means: how bad it is, what is offered as its correction, what it says to a person. Decides only. */
import { type Currency, formatAmount } from '../money.ts';
import type { BreakCode, Severity } from './reconcile-answer.ts';

export type BreakMeaning = {
  readonly severity: Severity;
  /** From this many days of age on; null: it stays as it is. */
  readonly worse: { readonly afterDays: number; readonly severity: Severity } | null;
  /** Most fitting first: actions of a person, and commands that lie elsewhere ("refund", "enquire"). */
  readonly offers: readonly string[];
  readonly says: string;
};

const still = (severity: Severity, offers: readonly string[], says: string): BreakMeaning => ({
  severity,
  worse: null,
  offers,
  says,
});

export const BREAK_MEANINGS: Readonly<Record<BreakCode, BreakMeaning>> = {
  missing_internal: still(
    'P1',
    ['enquire', 'suspense', 'refund', 'write_off'],
    'The PSP moved money that no payment of ours explains.',
  ),
  missing_external: {
    severity: 'P3',
    worse: { afterDays: 7, severity: 'P2' },
    offers: ['enquire', 'wait_for_psp', 'reverse', 'write_off'],
    says: 'The books say that it moved, and no file has shown it although it is due.',
  },
  amount_mismatch: still('P2', ['adjust', 'suspense', 'wait_for_psp'], 'The file shows another amount.'),
  currency_mismatch: still('P2', ['suspense', 'wait_for_psp'], 'The file shows another currency.'),
  fx_variance: still(
    'P2',
    ['adjust', 'suspense'],
    'The file converted another amount than the one that was charged.',
  ),
  fee_mismatch: still('P2', ['accept', 'wait_for_psp'], 'Gross less fee is not the net of the row.'),
  status_mismatch: still(
    'P1',
    ['accept', 'refund'],
    'The file says that it moved; here it had not succeeded.',
  ),
  duplicate_internal: still('P1', ['refund', 'accept'], 'One order was charged twice, and both moved.'),
  duplicate_external: still(
    'P1',
    ['refund', 'wait_for_psp', 'suspense'],
    'The file shows the same movement once more.',
  ),
  refund_missing: still(
    'P1',
    ['enquire', 'wait_for_psp', 'reverse', 'write_off'],
    'The books say that it was given back, and no file has shown it although it is due.',
  ),
  refund_unexpected: still(
    'P1',
    ['enquire', 'suspense', 'write_off'],
    'The PSP gave money back that nobody here refunded.',
  ),
  chargeback_unbooked: still(
    'P1',
    ['suspense', 'wait_for_psp', 'write_off'],
    'The bank took money back, and no dispute is booked.',
  ),
  chargeback_reversed: still(
    'P1',
    ['suspense', 'wait_for_psp'],
    'Money of a dispute came back, and nothing here expects it.',
  ),
  refund_and_chargeback: still(
    'P1',
    ['accept', 'suspense', 'write_off'],
    'A payment that was refunded is disputed too.',
  ),
  direction_mismatch: still(
    'P1',
    ['wait_for_psp'],
    'The row has the wrong sign: nothing of its batch is posted.',
  ),
  batch_out_of_balance: still(
    'P1',
    ['wait_for_psp'],
    'The lines of the batch do not add up to what it states: nothing of it is posted.',
  ),
  deposit_missing_at_bank: {
    severity: 'P2',
    worse: { afterDays: 3, severity: 'P1' },
    offers: ['wait_for_psp', 'write_off'],
    says: 'The PSP says that it paid us, and no bank statement has shown it although it is due.',
  },
  deposit_amount_differs: still(
    'P1',
    ['wait_for_psp', 'adjust'],
    'The bank shows another amount than the PSP paid.',
  ),
  returned_payout: still('P1', ['reverse', 'suspense'], "A seller's payout came back, and it is not booked."),
  ambiguous: still(
    'P2',
    ['link', 'suspense', 'write_off'],
    'One open item has the same amount and day, and no name in common: a person must say whether it is the one.',
  ),
  unclassified_line: still('P2', ['suspense', 'expense'], 'Nobody has said what rows of this type are.'),
  late_adjustment: still('P3', ['expense', 'suspense'], 'The PSP corrected our balance.'),
  reserve_movement: still('P4', ['accept'], 'The PSP held money back, or gave it free.'),
};

/** One sentence for a person, with the difference. */
export function sentenceOf(code: BreakCode, amountMinor: bigint, currency: Currency): string {
  return `${BREAK_MEANINGS[code].says} (${formatAmount({ amountMinor, currency })} ${currency})`;
}

/** An open break that a run found to be about something else than before. Amounts in minor units, as decimal text. */
export type ChangedBreak = {
  readonly id: string;
  readonly state: string;
  readonly currency: Currency;
  readonly oldCode: BreakCode;
  readonly oldMinor: string;
  readonly code: BreakCode;
  readonly minor: string;
};

/** "amount_mismatch of -1.00 EUR became amount_mismatch of -5.00 EUR" */
export function changeOf({ currency, oldCode, oldMinor, code, minor }: ChangedBreak): string {
  const shown = (text: string) => `${formatAmount({ amountMinor: BigInt(text), currency })} ${currency}`;
  return `${oldCode} of ${shown(oldMinor)} became ${code} of ${shown(minor)}`;
}
