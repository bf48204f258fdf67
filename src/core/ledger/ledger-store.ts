/**
 * Remembers the ledger: all SQL on account, account_balance, journal_entry and posting. Entries are only
 * ever added; balances are the database trigger's business.
 */
import { insertEvents } from '../audit/event-store.ts';
import { list, type Queryable, type Tx } from '../db/connection.ts';
import { Bug, OperatorError } from '../errors.ts';
import type { Currency } from '../money.ts';
import { type AccountCode, describeAccount } from './chart-of-accounts.ts';
import type { Posting } from './posting-rules.ts';

export type NewEntry = {
  /** What made it necessary, for instance "op_14": with `kind` unique for ever. */
  readonly cause: string;
  readonly kind: string;
  readonly postings: readonly Posting[];
};

/** A pair as stored: account ids instead of codes. */
type StoredPosting = {
  readonly debitId: bigint;
  readonly creditId: bigint;
  readonly currency: string;
  readonly amountMinor: bigint;
  readonly noOverdraw: boolean;
};

export type PostedEntry = {
  readonly id: bigint;
  readonly cause: string;
  readonly kind: string;
  /** `existing`: the same cause had posted the same content before; nothing was added. */
  readonly status: 'posted' | 'existing';
  readonly postings: readonly StoredPosting[];
};

/** Most entries of one call; callers split larger work into transactions of their own. */
const MAX_ENTRIES = 2_000;

/**
 * Writes the heads of entries and resolves their accounts; `postPostings` must follow in the same
 * transaction (last of all, because it locks the hot balances).
 * @throws OperatorError entry_conflict when a cause posted before with another content
 */
export async function insertEntries(
  tx: Tx,
  principal: string,
  entries: readonly NewEntry[],
): Promise<readonly PostedEntry[]> {
  if (entries.length === 0) return [];
  if (entries.length > MAX_ENTRIES)
    throw new Bug(`${entries.length} entries in one call; the limit is ${MAX_ENTRIES}`);
  const accountId = await resolveAccounts(tx, principal, entries);
  const inserted = await tx.sql<{ id: bigint; cause: string; kind: string }[]>`
    insert into ${tx.t.journalEntry} (id, cause, kind, posting_count)
    select nextval(${`${tx.book}.object_id`}::regclass), e.cause, e.kind, e.posting_count
      from unnest(${list(entries.map((e) => e.cause))}::text[],
                  ${list(entries.map((e) => e.kind))}::text[],
                  ${list(entries.map((e) => e.postings.length))}::smallint[]) as e (cause, kind, posting_count)
        on conflict (cause, kind) do nothing
    returning id, cause, kind`;
  const ids = new Map(inserted.map((row) => [`${row.cause} ${row.kind}`, row.id]));
  const posted = entries.map((entry): PostedEntry | null => {
    const id = ids.get(`${entry.cause} ${entry.kind}`);
    return id === undefined
      ? null
      : {
          id,
          cause: entry.cause,
          kind: entry.kind,
          status: 'posted',
          postings: storedPostings(entry, accountId),
        };
  });
  if (inserted.length === entries.length) return posted as readonly PostedEntry[];
  const known = await existingEntries(
    tx,
    entries.filter((_, i) => posted[i] === null),
    accountId,
  );
  return posted.map((entry, i) => entry ?? known.get(`${entries[i]!.cause} ${entries[i]!.kind}`)!);
}

function storedPostings(entry: NewEntry, accountId: AccountIdOf): readonly StoredPosting[] {
  return entry.postings.map((p) => ({
    debitId: accountId(p.debit, p.currency),
    creditId: accountId(p.credit, p.currency),
    currency: p.currency,
    amountMinor: p.amountMinor,
    noOverdraw: p.guard === 'no_overdraw',
  }));
}

/** Adds the pairs of freshly inserted entries, all in one statement: the trigger checks and moves balances. */
export async function insertPostings(tx: Tx, entries: readonly PostedEntry[]): Promise<void> {
  const rows = entries
    .filter((entry) => entry.status === 'posted')
    .flatMap((entry) => entry.postings.map((posting, i) => ({ ...posting, entryId: entry.id, line: i + 1 })));
  if (rows.length === 0) return;
  await tx.sql`
    insert into ${tx.t.posting} (entry_id, line, debit_id, credit_id, currency, amount_minor, no_overdraw)
    select entry_id, line, debit_id, credit_id, currency, amount_minor, no_overdraw
      from unnest(${list(rows.map((r) => r.entryId))}::bigint[],
                  ${list(rows.map((r) => r.line))}::smallint[],
                  ${list(rows.map((r) => r.debitId))}::bigint[],
                  ${list(rows.map((r) => r.creditId))}::bigint[],
                  ${list(rows.map((r) => r.currency))}::text[],
                  ${list(rows.map((r) => r.amountMinor))}::bigint[],
                  ${list(rows.map((r) => r.noOverdraw))}::boolean[])
           as p (entry_id, line, debit_id, credit_id, currency, amount_minor, no_overdraw)`;
}

/** Both halves at once, for callers that have nothing to write between them. */
export async function postEntries(
  tx: Tx,
  principal: string,
  entries: readonly NewEntry[],
): Promise<readonly PostedEntry[]> {
  const posted = await insertEntries(tx, principal, entries);
  await insertPostings(tx, posted);
  return posted;
}

/** An entry as events carry it; replay rebuilds it from this. Numbers beyond 2^53 stay exact: text. */
export function entryJson(entry: PostedEntry) {
  return {
    id: entry.id.toString(),
    cause: entry.cause,
    kind: entry.kind,
    postings: entry.postings.map((p) => [
      p.debitId.toString(),
      p.creditId.toString(),
      p.currency,
      p.amountMinor.toString(),
      p.noOverdraw,
    ]),
  };
}

/** Finds entries that their cause had posted before and compares them field by field. */
async function existingEntries(
  tx: Tx,
  entries: readonly NewEntry[],
  accountId: AccountIdOf,
): Promise<ReadonlyMap<string, PostedEntry>> {
  const rows = await tx.sql<(StoredPosting & { id: bigint; cause: string; kind: string })[]>`
    select e.id, e.cause, e.kind, p.debit_id, p.credit_id, p.currency, p.amount_minor, p.no_overdraw
      from unnest(${list(entries.map((e) => e.cause))}::text[], ${list(entries.map((e) => e.kind))}::text[])
           as w (cause, kind)
      join ${tx.t.journalEntry} e on e.cause = w.cause and e.kind = w.kind
      join ${tx.t.posting} p on p.entry_id = e.id
     order by e.id, p.line`;
  const known = new Map<string, PostedEntry>();
  for (const entry of entries) {
    const key = `${entry.cause} ${entry.kind}`;
    const stored = rows.filter((row) => `${row.cause} ${row.kind}` === key);
    const difference = firstDifference(storedPostings(entry, accountId), stored);
    if (difference !== null) {
      throw new OperatorError(
        'entry_conflict',
        `${entry.cause} has already posted "${entry.kind}" with another ${difference}; an entry is never changed, post a reversal.`,
        { kind: 'refused' },
      );
    }
    known.set(key, {
      id: stored[0]!.id,
      cause: entry.cause,
      kind: entry.kind,
      status: 'existing',
      postings: stored,
    });
  }
  return known;
}

function firstDifference(wanted: readonly StoredPosting[], stored: readonly StoredPosting[]): string | null {
  if (wanted.length !== stored.length) return `number of postings (${stored.length}, not ${wanted.length})`;
  for (const [i, want] of wanted.entries()) {
    const have = stored[i]!;
    for (const field of ['debitId', 'creditId', 'currency', 'amountMinor', 'noOverdraw'] as const) {
      if (want[field] !== have[field]) return `${field} on line ${i + 1}`;
    }
  }
  return null;
}

type AccountIdOf = (code: AccountCode, currency: Currency) => bigint;

/**
 * Finds the ids of all accounts that the entries name and opens the missing ones. Only ids found committed
 * go into the cache: an account opened here vanishes with a rollback.
 */
async function resolveAccounts(
  tx: Tx,
  principal: string,
  entries: readonly NewEntry[],
): Promise<AccountIdOf> {
  const fresh = new Map<string, bigint>();
  const missing = new Map<string, { code: AccountCode; currency: Currency }>();
  for (const entry of entries) {
    for (const posting of entry.postings) {
      for (const code of [posting.debit, posting.credit]) {
        const key = `${code} ${posting.currency}`;
        if (!tx.accountIds.has(key)) missing.set(key, { code, currency: posting.currency });
      }
    }
  }
  if (missing.size > 0) {
    for (const row of await findAccounts(tx, [...missing.values()])) {
      const key = `${row.code} ${row.currency}`;
      // One that this transaction opened itself vanishes with a rollback.
      (row.isOwn ? fresh : tx.accountIds).set(key, row.id);
      missing.delete(key);
    }
  }
  if (missing.size > 0) {
    for (const row of await openAccounts(tx, principal, [...missing.values()])) {
      fresh.set(`${row.code} ${row.currency}`, row.id);
    }
  }
  return (code, currency) => {
    const key = `${code} ${currency}`;
    const id = tx.accountIds.get(key) ?? fresh.get(key);
    if (id === undefined) throw new Bug(`account ${key} was not resolved`);
    return id;
  };
}

type AccountKey = { readonly code: AccountCode; readonly currency: Currency };

async function findAccounts(on: Queryable, keys: readonly AccountKey[]) {
  return on.sql<{ id: bigint; code: string; currency: string; isOwn: boolean }[]>`
    select a.id, a.code, a.currency, a.xmin = pg_current_xact_id()::xid as is_own
      from unnest(${list(keys.map((k) => k.code))}::text[], ${list(keys.map((k) => k.currency))}::text[])
           as w (code, currency)
      join ${on.t.account} a on a.code = w.code and a.currency = w.currency`;
}

/** Opens accounts in code order (so that two batches never wait for each other in a circle). */
async function openAccounts(tx: Tx, principal: string, keys: readonly AccountKey[]) {
  const rows = keys.map((key) => ({ ...key, ...describeAccount(key.code) }));
  const opened = await tx.sql<{ id: bigint; code: string; currency: string; data: string }[]>`
    insert into ${tx.t.account} (code, currency, type, normal_balance, family, party, purpose)
    select code, currency, type, normal_balance, family, party, purpose
      from unnest(${list(rows.map((r) => r.code))}::text[],
                  ${list(rows.map((r) => r.currency))}::text[],
                  ${list(rows.map((r) => r.type))}::text[],
                  ${list(rows.map((r) => r.normalBalance))}::text[],
                  ${list(rows.map((r) => r.family))}::text[],
                  ${list(rows.map((r) => r.party))}::text[],
                  ${list(rows.map((r) => r.purpose))}::text[])
           as a (code, currency, type, normal_balance, family, party, purpose)
     order by code, currency
        on conflict (code, currency) do nothing
    returning id, code, currency, json_build_object('id', id::text, 'code', code, 'currency', currency, 'type', type,
      'normal_balance', normal_balance, 'family', family, 'party', party, 'purpose', purpose)::text as data`;
  await insertEvents(
    tx,
    principal,
    opened.map((row) => ({ kind: 'account_opened', paymentId: null, data: row.data })),
  );
  if (opened.length === keys.length) return opened;
  // Another transaction opened some of them while we waited for it: they are committed now.
  const late = await findAccounts(tx, keys);
  return late.map((row) => ({ ...row, data: '' }));
}
