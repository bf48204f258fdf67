/** The peer of queue: graphile-worker on jobs that do nothing, batched or as it comes by default. */
import { Logger, run as runWorker } from 'graphile-worker';
import type { Measured } from '../benchmark.ts';
import { poolOf } from '../peer-tables.ts';
import { processorTimeBetween, readProcessorTime } from '../processor-time.ts';
import type { BenchConnection } from '../server.ts';
import { waitForCount } from '../wait-for-count.ts';

export type PeerQueueInput = {
  readonly connection: BenchConnection;
  readonly jobs: number;
  /** `default`: a round trip for each job's start and each job's end. */
  readonly mode: 'batched' | 'default';
  readonly postmasterPid: number | null;
};

/** What graphile-worker's own performance test uses. */
const CONCURRENT_JOBS = 24;
const BATCHED = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };

export async function run(input: PeerQueueInput): Promise<Measured> {
  const pool = poolOf(input.connection, CONCURRENT_JOBS + 1);
  let ended = 0;
  const before = readProcessorTime(input.postmasterPid);
  const startedMs = performance.now();
  const runner = await runWorker({
    pgPool: pool,
    noHandleSignals: true,
    logger: new Logger(() => () => undefined),
    taskList: {
      nothing: async () => {
        ended += 1;
      },
    },
    preset: {
      worker: {
        concurrentJobs: CONCURRENT_JOBS,
        pollInterval: 2_000,
        ...(input.mode === 'batched' ? BATCHED : {}),
      },
    },
  });
  const done = await waitForCount(() => ended, input.jobs);
  const elapsedMs = performance.now() - startedMs;
  const after = readProcessorTime(input.postmasterPid);
  await runner.stop();
  await pool.end();
  return { done, dropped: input.jobs - done, elapsedMs, ...processorTimeBetween(before, after) };
}
