/**
 * Our side of queue: claims jobs and ends them under their fence, with evidence, the operation's state and
 * an event written in the ending transaction. Nothing is sent to a PSP and nothing is booked: ledger and
 * wallets are left out, and the attempt's row stays as the claim left it.
 */
import { insertEvents } from '../../src/core/audit/event-store.ts';
import { type Db, openBook, transact } from '../../src/core/db/connection.ts';
import { insertEvidence, updateOperations } from '../../src/core/operation/operation-store.ts';
import { laneOf } from '../../src/core/queue/job.ts';
import { type ClaimedJob, claimJobs, endHeldJobs, type LanePlace } from '../../src/core/queue/queue-store.ts';
import { takeLease } from '../../src/daemon/lease.ts';
import type { Measured } from '../benchmark.ts';
import { BOOK, PSP_ACCOUNT } from '../book.ts';
import { processorTimeBetween, readProcessorTime } from '../processor-time.ts';
import type { BenchConnection } from '../server.ts';

export type OurQueueInput = {
  readonly connection: BenchConnection;
  readonly jobs: number;
  readonly postmasterPid: number | null;
};

/** Jobs of one claim: as many as the executor claims at most. */
const BATCH = 500;
/** Loops that claim and end, each on a connection of its own. */
const WORKERS = 3;
const PRINCIPAL = 'daemon:bench';

export async function run(input: OurQueueInput): Promise<Measured> {
  const db = await openBook({ connection: input.connection, book: BOOK, max: WORKERS + 1 });
  const lease = await takeLease(db, 'bench');
  const before = readProcessorTime(input.postmasterPid);
  const startedMs = performance.now();
  const ended = await Promise.all(Array.from({ length: WORKERS }, () => work(db, lease.daemonId())));
  const elapsedMs = performance.now() - startedMs;
  const after = readProcessorTime(input.postmasterPid);
  await lease.end();
  await db.close();
  const done = ended.reduce((sum, count) => sum + count, 0);
  return { done, dropped: input.jobs - done, elapsedMs, ...processorTimeBetween(before, after) };
}

/** Claims and ends until the lane is empty; returns how many it ended while it held them. */
async function work(db: Db, daemonId: bigint): Promise<number> {
  const lane = laneOf(PSP_ACCOUNT, 'batch');
  let ended = 0;
  let after: LanePlace | null = null;
  for (;;) {
    const jobs: readonly ClaimedJob[] = await claimJobs(db, {
      lane,
      limit: BATCH,
      daemonId,
      principal: PRINCIPAL,
      after,
    });
    if (jobs.length === 0 && after === null) return ended;
    // As the executor does: on from where the last claim ended, from the front when that gave too little.
    after = jobs.length < BATCH ? null : jobs.at(-1)!;
    ended += await endJobs(db, jobs);
  }
}

async function endJobs(db: Db, jobs: readonly ClaimedJob[]): Promise<number> {
  return transact(db, async (tx) => {
    // One connection, so these run one after the other; sent together they cost one round trip.
    const [held] = await Promise.all([
      endHeldJobs(tx, jobs),
      insertEvidence(
        tx,
        PRINCIPAL,
        jobs.map((job) => ({
          operationId: job.operationId,
          attemptNumber: job.attemptNumber,
          source: 'reply' as const,
          kind: 'succeeded' as const,
          reason: null,
          pspReference: `pi_${job.operationId}`,
          detail: null,
          fence: job.fence,
        })),
      ),
      updateOperations(
        tx,
        jobs.map((job) => ({
          operationId: job.operationId,
          subState: 'succeeded' as const,
          reason: null,
          pspReference: `pi_${job.operationId}`,
          fence: job.fence,
        })),
      ),
      insertEvents(
        tx,
        PRINCIPAL,
        jobs.map((job) => ({
          kind: 'operation_evidence' as const,
          paymentId: null,
          data: JSON.stringify({ operation: String(job.operationId), fence: job.fence, to: 'succeeded' }),
        })),
      ),
    ]);
    return held.length;
  });
}
