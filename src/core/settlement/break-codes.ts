/** What each break means: how bad it is, what is offered as its correction, what it says to a person. Decides only. */
import { type Currency, formatAmount } from '../money.ts';
import type { BreakCode, Severity } from './reconcile-answer.ts';
import type { ResolutionAction } from './resolution.ts';

/** What a person can be told to do: a decision of `breaks resolve`, or a step that lies elsewhere. */
export type Offer =
  | ResolutionAction
  /** Ask the PSP or the bank what it is. */
  | 'enquire'
  /** The PSP must send the file anew: nothing else takes the break away. */
  | 'corrected_file'
  /** The money lies in suspense: the order takes it, or its buyer gets it back. */
  | 'adopt_suspended'
  | 'refund_suspended'
  /** Its dead letter says more. */
  | 'dead_letter'
  /** Nothing here knows the payment: the PSP gives it back. */
  | 'refund_at_psp'
  | 'answer_dispute';

export type BreakMeaning = {
  readonly severity: Severity;
  /** From this many days of age on; null: it stays as it is. */
  readonly worse: { readonly afterDays: number; readonly severity: Severity } | null;
  /** Most fitting first. Which of them are possible is decided for each break (`break-offers.ts`). */
  readonly offers: readonly Offer[];
  readonly says: string;
};

const still = (severity: Severity, offers: readonly Offer[], says: string): BreakMeaning => ({
  severity,
  worse: null,
  offers,
  says,
});

export const BREAK_MEANINGS: Readonly<Record<BreakCode, BreakMeaning>> = {
  missing_internal: still(
    'P1',
    ['enquire', 'link', 'suspense', 'refund_at_psp', 'wait_for_psp', 'write_off'],
    'The PSP moved money that no payment of ours explains.',
  ),
  missing_external: {
    severity: 'P3',
    worse: { afterDays: 7, severity: 'P2' },
    offers: ['enquire', 'wait_for_psp', 'reverse', 'write_off'],
    says: 'The books say that it moved, and no file has shown it although it is due.',
  },
  amount_mismatch: still(
    'P2',
    ['enquire', 'wait_for_psp', 'adjust', 'suspense'],
    'The file shows another amount.',
  ),
  currency_mismatch: still(
    'P2',
    ['enquire', 'wait_for_psp', 'suspense', 'write_off'],
    'The file shows another currency.',
  ),
  fx_variance: still(
    'P2',
    ['adjust', 'wait_for_psp', 'suspense'],
    'The file converted another amount than the one that was charged.',
  ),
  fee_mismatch: still('P2', ['wait_for_psp', 'accept'], 'The fee is not what it should be.'),
  status_mismatch: still(
    'P1',
    ['adopt_suspended', 'refund_suspended', 'dead_letter', 'accept'],
    'The file says that it moved; here it had not succeeded.',
  ),
  duplicate_internal: still(
    'P1',
    ['refund_suspended', 'accept'],
    'One order was charged twice, and both moved.',
  ),
  duplicate_external: still(
    'P1',
    ['enquire', 'wait_for_psp', 'link', 'suspense', 'refund_at_psp', 'write_off'],
    'The file shows the same movement once more.',
  ),
  refund_missing: still(
    'P1',
    ['enquire', 'wait_for_psp', 'reverse', 'write_off'],
    'The books say that it was given back, and no file has shown it although it is due.',
  ),
  refund_unexpected: still(
    'P1',
    ['enquire', 'link', 'suspense', 'wait_for_psp', 'write_off'],
    'The PSP gave money back that nobody here refunded.',
  ),
  chargeback_unbooked: still(
    'P1',
    ['enquire', 'link', 'suspense', 'wait_for_psp', 'write_off'],
    'The bank took money back, and no dispute is booked.',
  ),
  chargeback_reversed: still(
    'P1',
    ['enquire', 'link', 'suspense', 'wait_for_psp'],
    'Money of a dispute came back, and nothing here expects it.',
  ),
  refund_and_chargeback: still(
    'P1',
    ['answer_dispute', 'dead_letter', 'accept', 'suspense', 'write_off'],
    'A payment that was refunded is disputed too.',
  ),
  direction_mismatch: still(
    'P1',
    ['corrected_file', 'wait_for_psp', 'accept'],
    'The row has the wrong sign: nothing of its batch is posted.',
  ),
  batch_out_of_balance: still(
    'P1',
    ['corrected_file', 'wait_for_psp', 'accept'],
    'The lines of the batch do not add up to what it states: nothing of it is posted.',
  ),
  deposit_missing_at_bank: {
    severity: 'P2',
    worse: { afterDays: 3, severity: 'P1' },
    offers: ['enquire', 'wait_for_psp', 'write_off'],
    says: 'The PSP says that it paid us, and no bank statement has shown it although it is due.',
  },
  deposit_amount_differs: still(
    'P1',
    ['enquire', 'wait_for_psp', 'adjust'],
    'The bank shows another amount than the PSP paid.',
  ),
  returned_payout: still(
    'P1',
    ['reverse', 'link', 'suspense', 'wait_for_psp'],
    "A seller's payout came back, and it is not booked.",
  ),
  ambiguous: still(
    'P2',
    ['link', 'suspense', 'write_off'],
    'One open item has the same amount and day, and no name in common: a person must say whether it is the one.',
  ),
  unclassified_line: still(
    'P2',
    ['enquire', 'expense', 'link', 'suspense'],
    'Nobody has said what rows of this type are.',
  ),
  late_adjustment: still('P3', ['enquire', 'expense', 'link', 'suspense'], 'The PSP corrected our balance.'),
  reserve_movement: still('P4', ['accept'], 'The PSP held money back, or gave it free.'),
};

/** What a line says of its fee; minor units. */
export type FeeWords = { readonly grossMinor: bigint; readonly feeMinor: bigint; readonly netMinor: bigint };

/** One sentence for a person, with the difference. */
export function sentenceOf(
  code: BreakCode,
  amountMinor: bigint,
  currency: Currency,
  fee: FeeWords | null = null,
): string {
  const text = (minor: bigint) => `${formatAmount({ amountMinor: minor, currency })} ${currency}`;
  const says = code === 'fee_mismatch' && fee !== null ? feeSentence(fee, amountMinor, text) : null;
  return `${says ?? BREAK_MEANINGS[code].says} (${text(amountMinor)})`;
}

/** Either the row does not compute, or it does and the fee schedule says something else. */
function feeSentence(
  { grossMinor, feeMinor, netMinor }: FeeWords,
  amountMinor: bigint,
  text: (minor: bigint) => string,
): string {
  const rest = grossMinor - feeMinor;
  return rest === netMinor
    ? `The PSP took a fee of ${text(feeMinor)}; the fee schedule says ${text(feeMinor + amountMinor)}.`
    : `${text(grossMinor)} less a fee of ${text(feeMinor)} is ${text(rest)}; the row's net is ${text(netMinor)}.`;
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
