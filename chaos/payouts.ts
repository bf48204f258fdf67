/**
 * Pays out some of what sellers have while everything is killed: a file of payouts per wave, given to a process of its
 * own that registers the sellers, submits the batch, is killed, and approves it when it is given the file again.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PayoutLine } from './child.ts';
import type { Eyes } from './database.ts';
import type { WavePlan } from './plan.ts';
import { accountOf } from './psps.ts';
import type { Random } from './random.ts';
import { giveUntilDone, type SubmitContext } from './submit.ts';

/** Wallets paid out, of those that a wave finds with money. */
const SHARE_PAID = 0.2;
/** Wallets looked at per wave. */
const CANDIDATES = 200;
/** Amounts are whole numbers of these at Stripe: tens of a fils. */
const KWD_STEP = 10n;

export type PayoutSubmissions = {
  /** Names that were submitted to the end. */
  readonly names: Set<string>;
  kills: number;
};

export function createPayoutSubmissions(): PayoutSubmissions {
  return { names: new Set(), kills: 0 };
}

export type PayoutsContext = SubmitContext & { readonly payouts: PayoutSubmissions; readonly eyes: Eyes };

/** Resolves when the wave's payouts are submitted and approved. */
export async function payoutWave(context: PayoutsContext, wave: WavePlan, random: Random): Promise<void> {
  const { payouts, document, connection, folder } = context;
  const wallets = await findWallets(context.eyes);
  const lines = wallets.flatMap((wallet): readonly PayoutLine[] => {
    const { seller, currency, availableMinor } = wallet;
    const step = currency === 'KWD' ? KWD_STEP : 1n;
    const amountMinor = (availableMinor / (2n * step)) * step;
    if (!random.chance(SHARE_PAID) || amountMinor === 0n) return [];
    const name = `chaos-w${wave.number}-${currency}-${seller}`;
    const pspAccount = accountOf(wallet);
    return [{ name, seller, currency, amountMinor: amountMinor.toString(), pspAccount }];
  });
  if (lines.length === 0) return;
  const file = join(folder, `payouts-${wave.number}.json`);
  await writeFile(file, JSON.stringify(lines));
  const give = async (kills: readonly number[]): Promise<void> => {
    payouts.kills += await giveUntilDone(context, {
      job: { role: 'payer', document, connection, file },
      kills,
      onLine: () => undefined,
    });
  };
  // Killed between the submission and the approval.
  const kills = random.chance(0.6) ? [1] : [];
  await Promise.all([give(kills), wave.mode === 'once' ? null : give([])]);
  for (const line of lines) payouts.names.add(line.name);
}

type Candidate = { readonly seller: string; readonly currency: string; readonly availableMinor: bigint };

async function findWallets(eyes: Eyes): Promise<readonly Candidate[]> {
  const db = eyes.db();
  return db.sql<Candidate[]>`
    select a.party as seller, a.currency, b.credits - b.debits as available_minor
      from ${db.t.account} a
      join ${db.t.accountBalance} b on b.account_id = a.id
     where a.family = 'seller'
       and a.purpose = 'available'
       and b.credits - b.debits > 100
     order by a.id
     limit ${CANDIDATES}`.catch(() => []);
}
