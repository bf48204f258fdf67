/** The demo's payouts: the largest wallets are registered as sellers and paid from one file. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Db } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { type Currency, formatAmount } from '../../core/money.ts';
import { listPayoutBatches } from '../../core/payout/payout-list-store.ts';
import { listWallets, type Wallet } from '../../core/wallet/wallet-store.ts';
import type { Stage } from './demo-stage.ts';

const SELLERS = 5;
/** What each wallet is asked for, in percent of what it has: four fifths in all. */
const PARTS = [45n, 25n, 10n];
/** In minor units; every PSP can express its multiples in every currency. */
const ROUND_TO = 100n;

/** Returns the batch; the daemon pays what was approved of it. */
export async function paySellers(stage: Stage, db: Db, folder: string): Promise<string> {
  const wallets = await pickWallets(db);
  await Promise.all(
    wallets.map(({ seller }, index) =>
      stage.quietly(['sellers', 'create', seller, '--destination', `acct_demo${index + 1}`]),
    ),
  );
  const file = join(folder, 'payouts.csv');
  await writeFile(file, payoutFile(wallets), { mode: 0o600 });
  await stage.run(['payouts', 'submit', file]);
  const batch = await newestBatch(db);
  const plan = await stage.read(['payouts', 'approve', batch, '--dry-run', '-o', 'json']);
  const { confirm } = JSON.parse(plan) as { confirm: string };
  // Exit 1: one of them is refused.
  await stage.quietly(['payouts', 'approve', batch, '--confirm', confirm], [0, 1]);
  return batch;
}

/** The largest; of a seller with several only the first, for a seller is registered once. */
async function pickWallets(db: Db): Promise<readonly Wallet[]> {
  const filter = { seller: null, currency: null, order: 'total', after: null, limit: 2 * SELLERS } as const;
  const found = await listWallets(db, filter);
  const first = [...Map.groupBy(found, ({ seller }) => seller).values()].map(([wallet]) => wallet!);
  return first.slice(0, SELLERS);
}

/** Some payouts of each wallet, and at the end one more of the first that it does not cover any more. */
export function payoutFile(
  wallets: readonly Pick<Wallet, 'seller' | 'currency' | 'availableMinor'>[],
): string {
  const rows = wallets.flatMap((wallet) => PARTS.map((percent) => ({ wallet, percent })));
  const [largest] = wallets;
  if (largest !== undefined) rows.push({ wallet: largest, percent: 90n });
  const lines = rows.map(({ wallet, percent }, index) => {
    const part = (wallet.availableMinor * percent) / 100n;
    const amount = formatAmount({
      amountMinor: part - (part % ROUND_TO),
      currency: wallet.currency as Currency,
    });
    return `march-${index + 1},${wallet.seller},${amount},${wallet.currency}`;
  });
  return `${['item_ref,seller,amount,currency', ...lines].join('\n')}\n`;
}

async function newestBatch(db: Db): Promise<string> {
  const [batch] = await listPayoutBatches(db, { beforeId: null, state: null, limit: 1 });
  if (batch === undefined)
    throw new OperatorError('demo_step_failed', 'No payout batch was stored.', { kind: 'failed' });
  return formatId('payoutBatch', batch.id);
}
