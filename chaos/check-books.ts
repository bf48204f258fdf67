/** Recomputes ledger and wallets from the postings in its own way, and compares them with the sandbox's truth. */
import type { Db } from '../src/core/db/connection.ts';
import { verifyLedger } from '../src/core/ledger/verify-ledger.ts';
import { listWallets, type Wallet } from '../src/core/wallet/wallet-store.ts';
import { balancesOf, comparePostings, spendable } from './expected-books.ts';
import { listPostingFacts, type PostingFact } from './refund-facts.ts';

const PAGE = 1_000;

/** What the sandbox's truth makes of the books. */
export type ExpectedBooks = {
  readonly postings: readonly PostingFact[];
  /** Whether any money moved at all. */
  readonly anySuccess: boolean;
};

/** Differences of the ledger: its own verification, every line against the truth, and the balances of our own accounts. */
export async function checkLedger(db: Db, expected: ExpectedBooks): Promise<readonly string[]> {
  const verification = await verifyLedger(db);
  const found = verification.faults.map(
    (fault) =>
      `${fault.code} ${fault.subject} ${fault.currency ?? ''}: ${fault.expected}, found ${fault.found}`,
  );
  if (verification.verdict === 'empty' && expected.anySuccess) found.push('the ledger is empty');
  const wanted = [...balancesOf(expected.postings)].filter(([key]) => !key.startsWith('seller:'));
  return [
    ...found,
    ...comparePostings(expected.postings, await listPostingFacts(db)),
    ...differences(new Map(wanted), await readOwnBalances(db)).map((line) => `balance ${line}`),
  ];
}

function add(sums: Map<string, bigint>, key: string, amount: bigint): void {
  sums.set(key, (sums.get(key) ?? 0n) + amount);
}

/** Credits less debits of every account that is no seller's, as the book keeps its balance. */
async function readOwnBalances(db: Db): Promise<ReadonlyMap<string, bigint>> {
  const { t } = db;
  const rows = await db.sql<{ account: string; total: bigint }[]>`
    select a.code || ' ' || a.currency as account, b.credits - b.debits as total
      from ${t.account} a
      join ${t.accountBalance} b on b.account_id = a.id
     where a.family <> 'seller'`;
  return new Map(rows.map((row) => [row.account, row.total]));
}

/** Every key whose two sums differ; a missing one is zero. */
function differences(
  wanted: ReadonlyMap<string, bigint>,
  found: ReadonlyMap<string, bigint>,
): readonly string[] {
  const keys = new Set([...wanted.keys(), ...found.keys()]);
  return [...keys]
    .filter((key) => (wanted.get(key) ?? 0n) !== (found.get(key) ?? 0n))
    .map((key) => `${key}: ${wanted.get(key) ?? 0n} wanted, ${found.get(key) ?? 0n} found`);
}

/** Wallets against the postings, purpose by purpose, and against what the sandbox's truth makes of them. */
export async function checkWallets(db: Db, expected: ExpectedBooks): Promise<readonly string[]> {
  const wallets = await listAllWallets(db);
  const shown = new Map<string, bigint>();
  const byTruth = new Map<string, bigint>();
  for (const wallet of wallets) {
    const { seller, currency } = wallet;
    for (const [purpose, amount] of purposesOf(wallet)) {
      if (amount === 0n) continue;
      add(shown, `${seller} ${currency} ${purpose}`, amount);
      add(byTruth, `${spendable(`seller:${seller}:${purpose}`)} ${currency}`, amount);
    }
  }
  const owed = [...balancesOf(expected.postings)].filter(([key]) => key.startsWith('seller:'));
  return [
    ...differences(await recomputeWallets(db), shown).map((line) => `wallet against postings: ${line}`),
    ...differences(new Map(owed), byTruth).map((line) => `wallet against the truth: ${line}`),
  ];
}

function purposesOf(wallet: Wallet): readonly (readonly [string, bigint])[] {
  return [
    ['pending', wallet.pendingMinor],
    ['available', wallet.availableMinor],
    ['in_payout', wallet.inPayoutMinor],
    ['in_refund', wallet.inRefundMinor],
    ['in_dispute', wallet.inDisputeMinor],
  ];
}

async function listAllWallets(db: Db): Promise<readonly Wallet[]> {
  const all: Wallet[] = [];
  for (;;) {
    const last = all.at(-1);
    const after = last === undefined ? null : { seller: last.seller, currency: last.currency };
    const page = await listWallets(db, { seller: null, currency: null, order: 'seller', after, limit: PAGE });
    all.push(...page);
    if (page.length < PAGE) return all;
  }
}

async function recomputeWallets(db: Db): Promise<ReadonlyMap<string, bigint>> {
  const { t } = db;
  const rows = await db.sql<{ wallet: string; total: bigint }[]>`
    select a.party || ' ' || a.currency || ' ' || a.purpose as wallet,
           sum(case when p.credit_id = a.id then p.amount_minor else -p.amount_minor end)::bigint as total
      from ${t.posting} p
      join ${t.account} a on a.id in (p.debit_id, p.credit_id)
     where a.family = 'seller'
     group by 1
    having sum(case when p.credit_id = a.id then p.amount_minor else -p.amount_minor end) <> 0`;
  return new Map(rows.map((row) => [row.wallet, row.total]));
}
