/** Recomputes ledger and wallets from the postings in its own way, and compares them with the orders. */
import type { Db } from '../src/core/db/connection.ts';
import { verifyLedger } from '../src/core/ledger/verify-ledger.ts';
import { listWallets, type Wallet } from '../src/core/wallet/wallet-store.ts';
import { PSP_ACCOUNT } from './child.ts';
import type { OrderFact } from './facts.ts';

const PAGE = 1_000;

/** Differences of the ledger: its own verification, and receivable and suspense against the orders. */
export async function checkLedger(db: Db, orders: readonly OrderFact[]): Promise<readonly string[]> {
  const verification = await verifyLedger(db);
  const found = verification.faults.map(
    (fault) =>
      `${fault.code} ${fault.subject} ${fault.currency ?? ''}: ${fault.expected}, found ${fault.found}`,
  );
  const anySuccess = orders.some((order) => order.subState === 'succeeded');
  if (verification.verdict === 'empty' && anySuccess) found.push('the ledger is empty');
  const wanted = new Map<string, bigint>();
  for (const order of orders) {
    const entries = order.successEntries + order.suspenseEntries;
    if (entries === 0) continue;
    add(wanted, order.currency, BigInt(entries) * order.amountMinor);
  }
  const booked = await sumPostings(db, `psp:${PSP_ACCOUNT}:receivable`);
  found.push(...differences(wanted, booked).map((line) => `receivable ${line}`));
  return found;
}

function add(sums: Map<string, bigint>, key: string, amount: bigint): void {
  sums.set(key, (sums.get(key) ?? 0n) + amount);
}

/** Debits less credits of one account per currency, from the postings. */
async function sumPostings(db: Db, code: string): Promise<ReadonlyMap<string, bigint>> {
  const { t } = db;
  const rows = await db.sql<{ currency: string; total: bigint }[]>`
    select a.currency,
           sum(case when p.debit_id = a.id then p.amount_minor else -p.amount_minor end)::bigint as total
      from ${t.account} a
      join ${t.posting} p on a.id in (p.debit_id, p.credit_id)
     where a.code = ${code}
     group by a.currency`;
  return new Map(rows.map((row) => [row.currency, row.total]));
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

/** Wallets against the postings, purpose by purpose, and their totals against the orders that succeeded. */
export async function checkWallets(db: Db, orders: readonly OrderFact[]): Promise<readonly string[]> {
  const wallets = await listAllWallets(db);
  const shown = new Map<string, bigint>();
  const totals = new Map<string, bigint>();
  for (const wallet of wallets) {
    for (const [purpose, amount] of purposesOf(wallet)) {
      if (amount !== 0n) add(shown, `${wallet.seller} ${wallet.currency} ${purpose}`, amount);
    }
    if (wallet.totalMinor !== 0n) add(totals, `${wallet.seller} ${wallet.currency}`, wallet.totalMinor);
  }
  const owed = new Map<string, bigint>();
  for (const order of orders) {
    if (order.subState !== 'succeeded' || order.amountMinor === order.feeMinor) continue;
    add(owed, `${order.seller} ${order.currency}`, order.amountMinor - order.feeMinor);
  }
  return [
    ...differences(await recomputeWallets(db), shown).map((line) => `wallet against postings: ${line}`),
    ...differences(owed, totals).map((line) => `wallet against orders: ${line}`),
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
