/** Wallets: what each seller is owed, read from the seller's ledger accounts. Remembers nothing of its own. */
import { list, type Queryable, type Tx } from '../db/connection.ts';

/** One seller in one currency; amounts in minor units, below zero when overdrawn. */
export type Wallet = {
  readonly seller: string;
  readonly currency: string;
  readonly pendingMinor: bigint;
  readonly availableMinor: bigint;
  readonly inPayoutMinor: bigint;
  readonly inRefundMinor: bigint;
  readonly inDisputeMinor: bigint;
  /** All of it: what we owe the seller. */
  readonly totalMinor: bigint;
};

export type WalletFilter = {
  readonly seller: string | null;
  readonly currency: string | null;
  /** `seller`: by name, pageable. `total`: the largest first, the first page only. */
  readonly order: 'seller' | 'total';
  readonly after: { readonly seller: string; readonly currency: string } | null;
  /** Page size, 1–1,000. */
  readonly limit: number;
};

export async function listWallets(on: Queryable, filter: WalletFilter): Promise<readonly Wallet[]> {
  const { sql, t } = on;
  const of = (purpose: string) =>
    sql`coalesce(sum(b.credits - b.debits) filter (where a.purpose = ${purpose}), 0)::bigint`;
  return sql<Wallet[]>`
    select a.party as seller, a.currency, ${of('pending')} as pending_minor, ${of('available')} as available_minor,
           ${of('in_payout')} as in_payout_minor, ${of('in_refund')} as in_refund_minor,
           ${of('in_dispute')} as in_dispute_minor, sum(b.credits - b.debits)::bigint as total_minor
      from ${t.account} a
      join ${t.accountBalance} b on b.account_id = a.id
     where a.family = 'seller'
       ${filter.seller === null ? sql`` : sql`and a.party = ${filter.seller}`}
       ${filter.currency === null ? sql`` : sql`and a.currency = ${filter.currency}`}
       ${filter.after === null ? sql`` : sql`and (a.party, a.currency) > (${filter.after.seller}, ${filter.after.currency})`}
     group by a.party, a.currency
     order by ${filter.order === 'seller' ? sql`a.party, a.currency` : sql`total_minor desc, a.party, a.currency`}
     limit ${filter.limit}`;
}

type WalletName = { readonly seller: string; readonly currency: string };
export type Available = WalletName & { readonly availableMinor: bigint };

/** Available balances in minor units, without a lock; no row where there was never any. */
export async function listAvailable(
  on: Queryable,
  wallets: readonly WalletName[],
): Promise<readonly Available[]> {
  return on.sql<Available[]>`
    select a.party as seller, a.currency, b.credits - b.debits as available_minor
      from unnest(${list(wallets.map((w) => w.seller))}::text[],
                  ${list(wallets.map((w) => w.currency))}::text[]) as w (seller, currency)
      join ${on.t.account} a on a.family = 'seller' and a.party = w.seller and a.currency = w.currency
                            and a.purpose = 'available'
      join ${on.t.accountBalance} b on b.account_id = a.id`;
}

/** The same, locked in account order until the transaction ends, with the accounts that payouts are reserved in. */
export async function lockAvailable(tx: Tx, wallets: readonly WalletName[]): Promise<readonly Available[]> {
  return tx.sql<Available[]>`
    select seller, currency, available_minor
      from ${tx.t.lockAvailable}(${list(wallets.map((w) => w.seller))}::text[],
                                 ${list(wallets.map((w) => w.currency))}::text[])`;
}
