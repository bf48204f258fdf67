/**
 * What happens to money at Adyen long after it was told as done: a refund that had succeeded fails. (Stripe's fail by a
 * drawn fault.) Steers the sandbox only.
 */
import type { Random } from './random.ts';
import type { World } from './world.ts';

/** Of the refunds that a wave finds succeeded. */
const SHARE_UNDONE = 0.05;

/** @param spared those that an earlier wave looked at; each is in danger once */
export async function undoSome({ sandbox }: World, random: Random, spared: Set<string>): Promise<number> {
  let undone = 0;
  for (const record of await sandbox.adyen()) {
    if (record.kind !== 'modification' || record.type !== 'refund' || record.status !== 'succeeded') continue;
    if (spared.has(record.name)) continue;
    spared.add(record.name);
    if (!random.chance(SHARE_UNDONE)) continue;
    await sandbox.post(`adyen/objects/${record.name}`, { happening: 'refund_fails' });
    undone += 1;
  }
  return undone;
}
