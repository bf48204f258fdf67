/**
 * The demo's end: the sandbox writes what its PSP and a bank would send, with mismatches planted in it, and the real command finds
 * them. What it found is held against what was planted.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Db } from '../../core/db/connection.ts';
import { toMoneyJson } from '../../core/money.ts';
import { listBreaks } from '../../core/settlement/break-list-store.ts';
import { type Shop, sandboxUrlOf } from './demo-shop.ts';
import type { Stage } from './demo-stage.ts';

/** What is found at once: a line that is missing becomes a break only when it is overdue. */
const PLANTS = {
  extra_line: 1,
  wrong_amount: 2,
  wrong_fee: 1,
  duplicate_line: 1,
  chargeback: 1,
  unclassified: 1,
  deposit_differs: 1,
} as const;

const MAX_BREAKS = 1_000;

const plantedSchema = z.object({
  planted: z.array(
    z.object({ code: z.string(), amount: z.object({ amount: z.string(), currency: z.string() }) }),
  ),
});

/** Shows the commands; returns true when exactly what was planted was found. */
export async function reconcileDemo(
  stage: Stage,
  db: Db,
  shop: Shop,
  say: (text: string) => void,
): Promise<boolean> {
  const files = join(shop.folder, 'files');
  const plants = Object.entries(PLANTS).flatMap(([name, count]) => ['--plant', `${name}=${count}`]);
  const place = ['--url', sandboxUrlOf(shop.port), '--seed', String(shop.seed)];
  await stage.run(['sandbox', 'files', files, ...place, ...plants]);
  const report = join(shop.folder, 'reconciliation.html');
  await stage.run(['reconcile', join(files, 'stripe-balance.csv'), '--report', report], [1]);
  await stage.run(['reconcile', join(files, 'bank.camt053.xml')], [1]);
  const planted = await readPlanted(join(files, 'planted.json'));
  const found = await listFound(db);
  const isExact = sameLines(planted, found);
  say(
    isExact
      ? `\nplanted ${planted.length} mismatches, found ${found.length}: exactly those`
      : `\nDIFFERENT: planted ${planted.join(', ')}; found ${found.join(', ')}`,
  );
  return isExact;
}

async function readPlanted(path: string): Promise<readonly string[]> {
  const { planted } = plantedSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  return planted.map(({ code, amount }) => `${code} ${amount.amount} ${amount.currency}`);
}

async function listFound(db: Db): Promise<readonly string[]> {
  const none = { states: null, codes: null, severities: null, source: null, currency: null, assignee: null };
  const breaks = await listBreaks(db, { ...none, after: null, limit: MAX_BREAKS });
  return breaks.map((one) => {
    const { amount, currency } = toMoneyJson(one);
    return `${one.code} ${amount} ${currency}`;
  });
}

/** The same texts, each as often, in any order; nothing is no proof. */
export function sameLines(left: readonly string[], right: readonly string[]): boolean {
  return left.length > 0 && left.toSorted().join('\n') === right.toSorted().join('\n');
}
