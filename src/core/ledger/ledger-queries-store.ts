/** Reads the ledger for people: accounts with balances, entries, and the verification that recomputes them. */
import type { Queryable, Tx } from '../db/connection.ts';
import type { NormalBalance } from './chart-of-accounts.ts';

export type AccountBalance = {
  readonly id: bigint;
  readonly code: string;
  readonly currency: string;
  readonly type: 'asset' | 'liability' | 'income' | 'expense';
  readonly normalBalance: NormalBalance;
  readonly debits: bigint;
  readonly credits: bigint;
  /** On the account's normal side; below zero when overdrawn. */
  readonly balanceMinor: bigint;
  readonly openedAt: string;
};

export type AccountFilter = {
  /** Exact code, or a prefix that ends in "*"; null for all. */
  readonly code: string | null;
  readonly currency: string | null;
  /** Keyset cursor: only accounts after this code and currency. */
  readonly after: { readonly code: string; readonly currency: string } | null;
  /** Page size, 1–1,000. */
  readonly limit: number;
};

/** Accounts by code and currency. */
export async function listAccounts(on: Queryable, filter: AccountFilter): Promise<readonly AccountBalance[]> {
  const { sql, t } = on;
  const prefix = filter.code?.endsWith('*') ? filter.code.slice(0, -1) : null;
  return sql<AccountBalance[]>`
    select a.id, a.code, a.currency, a.type, a.normal_balance, b.debits, b.credits,
           case a.normal_balance when 'debit' then b.debits - b.credits else b.credits - b.debits end as balance_minor,
           a.opened_at
      from ${t.account} a
      join ${t.accountBalance} b on b.account_id = a.id
     where true
       ${filter.code === null ? sql`` : prefix === null ? sql`and a.code = ${filter.code}` : sql`and starts_with(a.code, ${prefix})`}
       ${filter.currency === null ? sql`` : sql`and a.currency = ${filter.currency}`}
       ${filter.after === null ? sql`` : sql`and (a.code, a.currency) > (${filter.after.code}, ${filter.after.currency})`}
     order by a.code, a.currency
     limit ${filter.limit}`;
}

export type TrialBalanceRow = {
  readonly currency: string;
  readonly type: AccountBalance['type'];
  readonly accounts: number;
  readonly debits: bigint;
  readonly credits: bigint;
};

/** Debits and credits per currency and account type; per currency both sides sum to the same. */
export async function trialBalance(on: Queryable): Promise<readonly TrialBalanceRow[]> {
  return on.sql<TrialBalanceRow[]>`
    select a.currency, a.type, count(*)::integer as accounts, sum(b.debits)::bigint as debits,
           sum(b.credits)::bigint as credits
      from ${on.t.account} a
      join ${on.t.accountBalance} b on b.account_id = a.id
     group by a.currency, a.type
     order by a.currency, a.type`;
}

export type EntryPosting = {
  readonly entryId: bigint;
  readonly cause: string;
  readonly kind: string;
  readonly recordedAt: string;
  readonly line: number;
  readonly debit: string;
  readonly credit: string;
  readonly currency: string;
  readonly amountMinor: bigint;
};

export type EntryFilter = {
  /** Entries whose cause is this ("op_14") or starts with it and "/"; null for all. */
  readonly cause: string | null;
  /** Entries that touch this account. */
  readonly account: { readonly code: string; readonly currency: string | null } | null;
  /** Keyset cursor: only entries before this one. */
  readonly beforeId: bigint | null;
  /** Entries of a page, 1–1,000. */
  readonly limit: number;
};

/** Postings of the newest entries, by entry (newest first) and line. */
export async function listEntryPostings(
  on: Queryable,
  filter: EntryFilter,
): Promise<readonly EntryPosting[]> {
  const { sql, t } = on;
  const { account } = filter;
  return sql<EntryPosting[]>`
    with page as materialized (
      select e.id, e.cause, e.kind, e.recorded_at
        from ${t.journalEntry} e
       where ${filter.beforeId === null ? sql`true` : sql`e.id < ${filter.beforeId}`}
         ${filter.cause === null ? sql`` : sql`and (e.cause = ${filter.cause} or starts_with(e.cause, ${`${filter.cause}/`}))`}
         ${
           account === null
             ? sql``
             : sql`and exists (
                 select 1
                   from ${t.posting} p
                   join ${t.account} a on a.id in (p.debit_id, p.credit_id)
                  where p.entry_id = e.id
                    and a.code = ${account.code}
                    ${account.currency === null ? sql`` : sql`and a.currency = ${account.currency}`})`
         }
       order by e.id desc
       limit ${filter.limit}
    )
    select e.id as entry_id, e.cause, e.kind, e.recorded_at, p.line, d.code as debit, c.code as credit, p.currency,
           p.amount_minor
      from page e
      join ${t.posting} p on p.entry_id = e.id
      join ${t.account} d on d.id = p.debit_id
      join ${t.account} c on c.id = p.credit_id
     order by e.id desc, p.line`;
}

/** Something that `ledger verify` found; an empty list over a non-empty ledger is a pass. */
export type LedgerFault = {
  readonly code:
    | 'balance_differs'
    | 'entry_incomplete'
    | 'posting_without_entry'
    | 'posting_currency_differs'
    | 'account_side_differs'
    | 'currency_out_of_balance'
    | 'account_without_balance';
  readonly subject: string;
  readonly currency: string | null;
  readonly expected: string;
  readonly found: string;
};

export type LedgerCounts = {
  readonly accounts: bigint;
  readonly entries: bigint;
  readonly postings: bigint;
};

export async function countLedger(on: Queryable): Promise<LedgerCounts> {
  const { sql, t } = on;
  const [row] = await sql<LedgerCounts[]>`
    select (select count(*) from ${t.account}) as accounts, (select count(*) from ${t.journalEntry}) as entries,
           (select count(*) from ${t.posting}) as postings`;
  return row!;
}

/**
 * Recomputes every balance from the postings and every entry's completeness, in one snapshot.
 * @param tx a repeatable-read transaction, so that all parts see the same books
 */
export async function findLedgerFaults(tx: Tx, limit: number): Promise<readonly LedgerFault[]> {
  const { sql, t } = tx;
  return sql<LedgerFault[]>`
    with moved as materialized (
      select account_id, sum(debits)::bigint as debits, sum(credits)::bigint as credits
        from (select debit_id as account_id, amount_minor as debits, 0::bigint as credits from ${t.posting}
              union all
              select credit_id, 0, amount_minor from ${t.posting}) s
       group by account_id
    )
    select 'balance_differs' as code, a.code as subject, a.currency,
           coalesce(m.debits, 0) || ' / ' || coalesce(m.credits, 0) as expected, b.debits || ' / ' || b.credits as found
      from ${t.account} a
      join ${t.accountBalance} b on b.account_id = a.id
      left join moved m on m.account_id = a.id
     where b.debits <> coalesce(m.debits, 0)
        or b.credits <> coalesce(m.credits, 0)
    union all
    select 'account_without_balance', a.code, a.currency, 'a balance row', 'none'
      from ${t.account} a
      left join ${t.accountBalance} b on b.account_id = a.id
     where b.account_id is null
    union all
    select 'entry_incomplete', 'ent_' || e.id, null, e.posting_count || ' postings', count(p.entry_id) || ' postings'
      from ${t.journalEntry} e
      left join ${t.posting} p on p.entry_id = e.id
     group by e.id, e.posting_count
    having count(p.entry_id) <> e.posting_count
    union all
    select 'posting_without_entry', 'ent_' || p.entry_id || ' line ' || p.line, p.currency, 'an entry', 'none'
      from ${t.posting} p
      left join ${t.journalEntry} e on e.id = p.entry_id
     where e.id is null
    union all
    select 'posting_currency_differs', 'ent_' || p.entry_id || ' line ' || p.line, p.currency,
           coalesce(d.currency, 'no debit account') || ' / ' || coalesce(c.currency, 'no credit account'), p.currency
      from ${t.posting} p
      left join ${t.account} d on d.id = p.debit_id
      left join ${t.account} c on c.id = p.credit_id
     where d.currency is distinct from p.currency
        or c.currency is distinct from p.currency
    union all
    select 'account_side_differs', code, currency,
           case when type in ('asset', 'expense') then 'debit' else 'credit' end, normal_balance
      from ${t.account}
     where normal_balance <> case when type in ('asset', 'expense') then 'debit' else 'credit' end
    union all
    select 'currency_out_of_balance', 'trial balance', a.currency, sum(b.debits)::text, sum(b.credits)::text
      from ${t.account} a
      join ${t.accountBalance} b on b.account_id = a.id
     group by a.currency
    having sum(b.debits) <> sum(b.credits)
     limit ${limit}`;
}
