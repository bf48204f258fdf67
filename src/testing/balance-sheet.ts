/**
 * A balance sheet in memory, for the tests of the posting rules: what the database's trigger does, in
 * twenty lines. Never used by the program.
 */

import { type AccountCode, type AccountRef, describeAccount } from '../core/ledger/chart-of-accounts.ts';
import type { Posting } from '../core/ledger/posting-rules.ts';
import type { Currency } from '../core/money.ts';

/** The balance is on the account's normal side. */
type SheetBalance = AccountRef & { readonly balanceMinor: bigint };

export type BalanceSheet = {
  /** Throws when a guarded posting overdraws; then nothing was posted. */
  readonly post: (postings: readonly Posting[]) => void;
  /** Sorted by code and currency. */
  readonly balances: () => readonly SheetBalance[];
  /** Currencies in which the debit side differs from the credit side. */
  readonly imbalances: () => readonly Currency[];
};

export function createBalanceSheet(): BalanceSheet {
  let sheet = new Map<string, SheetBalance>();
  const move = (to: typeof sheet, code: AccountCode, side: 'debit' | 'credit', posting: Posting): bigint => {
    const { currency, amountMinor } = posting;
    const before = to.get(`${code} ${currency}`)?.balanceMinor ?? 0n;
    const grows = describeAccount(code).normalBalance === side;
    const balanceMinor = grows ? before + amountMinor : before - amountMinor;
    to.set(`${code} ${currency}`, { code, currency, balanceMinor });
    return balanceMinor;
  };
  return {
    post: (postings) => {
      const next = new Map(sheet);
      for (const posting of postings) {
        move(next, posting.debit, 'debit', posting);
        move(next, posting.credit, 'credit', posting);
      }
      for (const { debit, currency, guard } of postings) {
        const left = next.get(`${debit} ${currency}`)?.balanceMinor ?? 0n;
        if (guard === 'no_overdraw' && left < 0n) throw new Error(`${debit} would be overdrawn`);
      }
      sheet = next;
    },
    balances: () =>
      [...sheet.entries()].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, row]) => row),
    imbalances: () => {
      const sums = new Map<Currency, bigint>();
      for (const { code, currency, balanceMinor } of sheet.values()) {
        const signed = describeAccount(code).normalBalance === 'debit' ? balanceMinor : -balanceMinor;
        sums.set(currency, (sums.get(currency) ?? 0n) + signed);
      }
      return [...sums].filter(([, sum]) => sum !== 0n).map(([currency]) => currency);
    },
  };
}
