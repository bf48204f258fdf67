/** What benchmarks with real daemons have in common: waiting until they are in their stride. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Db } from '../src/core/db/connection.ts';
import { Bug } from '../src/core/errors.ts';
import { LEASE_MS } from '../src/core/queue/job.ts';

const LOOK_EVERY_MS = 20;
/** Starting and a whole lease of heartbeats, with room for a busy machine (ms). */
const STEADY_TIMEOUT_MS = 60_000;

/** True as soon as `test` says so; false when it never did within `timeoutMs`. */
export async function untilTrue(test: () => Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    if (await test()) return true;
    if (performance.now() > deadlineMs) return false;
    await pause(LOOK_EVERY_MS);
  }
}

/** Waits until so many daemons live that have been steady for a whole lease: only those may rescue. */
export async function untilSteady(db: Db, count: number): Promise<void> {
  const steady = await untilTrue(async () => {
    const [row] = await db.sql<{ count: number }[]>`
      select count(*)::integer as count
        from ${db.t.daemon}
       where stopped_at is null
         and beat_at > now() - make_interval(secs => ${LEASE_MS / 1000})
         and steady_since < now() - make_interval(secs => ${LEASE_MS / 1000 + 0.5})`;
    return row?.count === count;
  }, STEADY_TIMEOUT_MS);
  if (!steady) throw new Bug(`${count} daemons did not become steady`);
}
