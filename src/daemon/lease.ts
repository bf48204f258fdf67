/**
 * The daemon's lease: beats its heartbeat in the database and knows, by the monotonic clock, how much of
 * the lease is left. A process that was stopped for long sees at once that nothing is left.
 */
import type { Db } from '../core/db/connection.ts';
import { BEAT_EVERY_MS, LEASE_MS, MIN_LEASE_LEFT_MS } from '../core/queue/job.ts';
import { beat, insertDaemon, stopDaemon } from '../core/queue/rescue-store.ts';

export type Lease = {
  /** Changes when the daemon had been declared dead and registered anew. */
  daemonId(): bigint;
  /** Milliseconds that the lease is certainly still good for; 0 when lapsed. */
  leftMs(): number;
  /** True while a send may be started. */
  allowsSend(): boolean;
  /** Stops beating and says so in the database: its jobs may be taken at once. */
  end(): Promise<void>;
};

/** One heartbeat may take this long (ms) before it counts as missed. */
const BEAT_TIMEOUT_MS = 3_000;

export async function takeLease(db: Db, name: string): Promise<Lease> {
  let beatenAtMs = performance.now();
  let daemonId = await insertDaemon(db, name);
  let ended = false;
  let timer: NodeJS.Timeout | null = null;

  const beatOnce = async (): Promise<void> => {
    // The lease counts from before the question: the database cannot have written it earlier.
    const askedAtMs = performance.now();
    try {
      const alive = await withTimeout(beat(db, daemonId), BEAT_TIMEOUT_MS);
      if (!alive && !ended) daemonId = await withTimeout(insertDaemon(db, name), BEAT_TIMEOUT_MS);
      beatenAtMs = askedAtMs;
    } catch {
      // A missed beat costs lease; whoever wants to send sees that. The next beat comes all the same.
    }
    if (!ended) timer = setTimeout(() => void beatOnce(), BEAT_EVERY_MS);
  };
  timer = setTimeout(() => void beatOnce(), BEAT_EVERY_MS);

  const leftMs = (): number => Math.max(0, LEASE_MS - (performance.now() - beatenAtMs));
  return {
    daemonId: () => daemonId,
    leftMs,
    allowsSend: () => !ended && leftMs() > MIN_LEASE_LEFT_MS,
    end: async () => {
      ended = true;
      if (timer !== null) clearTimeout(timer);
      await withTimeout(stopDaemon(db, daemonId), BEAT_TIMEOUT_MS).catch(() => undefined);
    },
  };
}

async function withTimeout<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
