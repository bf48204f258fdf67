/**
 * Judges wallets that are below zero: only a refund, or a fact that came too late, may take one there, never a payout.
 * Reads the book for what was taken from each account by what; no opinion else.
 */
import type { Db } from '../src/core/db/connection.ts';
import type { Difference } from './judge.ts';

/** An account of a seller with what is in it. */
export type WalletFact = {
  readonly account: string;
  readonly purpose: string;
  readonly currency: string;
  readonly balanceMinor: bigint;
  /** Taken by entries that may overdraw: refunds, and facts that came too late. */
  readonly overdrawnByMinor: bigint;
};

export async function listWalletFacts(db: Db): Promise<readonly WalletFact[]> {
  const { t } = db;
  return db.sql<WalletFact[]>`
    with taken as (
      select p.debit_id, sum(p.amount_minor)::bigint as amount_minor
        from ${t.posting} p
        join ${t.journalEntry} e on e.id = p.entry_id
       where e.kind in ('refund_reserved', 'late_refund', 'late_payout')
       group by p.debit_id
    )
    select a.code as account, a.purpose, a.currency, b.credits - b.debits as balance_minor,
           coalesce(taken.amount_minor, 0) as overdrawn_by_minor
      from ${t.account} a
      join ${t.accountBalance} b on b.account_id = a.id
      left join taken on taken.debit_id = a.id
     where a.family = 'seller'
     order by a.id`;
}

/** What is reserved is never below zero; what can be spent only as far as entries took it that may. */
export function judgeWallets(wallets: readonly WalletFact[]): readonly Difference[] {
  return wallets.flatMap(({ account, purpose, currency, balanceMinor, overdrawnByMinor }) => {
    const mayOverdraw = purpose === 'available' || purpose === 'pending';
    const shortMinor = -balanceMinor;
    if (shortMinor <= 0n || (mayOverdraw && shortMinor <= overdrawnByMinor)) return [];
    const why = `${overdrawnByMinor} of it by what may overdraw`;
    return [
      { measure: 'wallets_below_zero' as const, what: `${account}: ${balanceMinor} ${currency}, ${why}` },
    ];
  });
}
