/** The flags by which dead letters are chosen, as the store knows them. Decides only. */
import { OperatorError } from '../../core/errors.ts';
import { type Currency, parseAmount } from '../../core/money.ts';
import { ANY_LETTER, type DeadLetterChoice } from '../../core/queue/dead-letter-store.ts';
import { requireCurrency, requireId } from '../words.ts';

/** As they were given; undefined: not given. */
export type LetterFlags = {
  readonly code?: string | undefined;
  readonly fingerprint?: string | undefined;
  readonly psp?: string | undefined;
  /** In ms. */
  readonly olderThan?: number | undefined;
  readonly newerThan?: number | undefined;
  readonly currency?: string | undefined;
  readonly minAmount?: string | undefined;
  readonly maxAmount?: string | undefined;
};

/**
 * @param ids names of letters; empty: not chosen by name
 * @throws OperatorError id_invalid, currency_unknown, currency_missing, amount_invalid
 */
export function chooseLetters(
  flags: LetterFlags,
  ids: readonly string[],
  state: DeadLetterChoice['state'],
): DeadLetterChoice {
  const currency = requireCurrency(flags.currency ?? null);
  return {
    ids: ids.length === 0 ? null : [...new Set(ids.map((id) => requireId('deadLetter', id)))],
    state,
    code: flags.code ?? null,
    fingerprint: flags.fingerprint ?? null,
    pspAccount: flags.psp ?? null,
    olderThanMs: flags.olderThan ?? null,
    newerThanMs: flags.newerThan ?? null,
    currency,
    minMinor: boundOf('--min-amount', flags.minAmount, currency),
    maxMinor: boundOf('--max-amount', flags.maxAmount, currency),
  };
}

/** True when nothing was said about which letters are meant. */
export function isUnchosen(choice: DeadLetterChoice): boolean {
  const { state, ...rest } = choice;
  return Object.entries(rest).every(([name, value]) => value === ANY_LETTER[name as keyof typeof rest]);
}

function boundOf(flag: string, text: string | undefined, currency: Currency | null): bigint | null {
  if (text === undefined) return null;
  if (currency === null) {
    throw new OperatorError('currency_missing', `${flag} needs --currency, which says what ${text} means.`);
  }
  const amount = parseAmount(text, currency);
  if (amount.kind === 'ok') return amount.amountMinor;
  throw new OperatorError('amount_invalid', `${flag}: ${amount.message}`);
}
