/** Lets the demo's daemon finish. Reads only. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Db } from '../../core/db/connection.ts';
import { countLanes } from '../../core/queue/queue-store.ts';

/** Of charges, refunds or payouts; the longest chain of the sandbox's faults ends far earlier. */
export const WAIT_SECONDS = 45;
const LOOK_EVERY_MS = 50;

/** Until no job is left or time is up; what is open then shows in the comparison at the end. */
export async function waitForQueue(db: Db): Promise<void> {
  const deadline = performance.now() + WAIT_SECONDS * 1_000;
  while ((await countLanes(db)).length > 0 && performance.now() < deadline) await sleep(LOOK_EVERY_MS);
}
