/**
 * Moves dead letters at a rate, a few in each transaction, the canaries first; stops between two transactions when
 * asked, and behind the canaries when one of them is a dead letter again. What is done stays done.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Db } from '../../core/db/connection.ts';
import { isEnded } from '../../core/operation/operation.ts';
import {
  MAX_REPLAYS,
  type ReplayContext,
  type ReplayResult,
  replayDeadLetters,
} from '../../core/operation/replay-dead-letters.ts';
import { listReplayedStates } from '../../core/queue/dead-letter-store.ts';

export type ReplayRun = {
  readonly db: Db;
  readonly context: ReplayContext;
  readonly signal: AbortSignal;
  /** Letters a second, 1–1,000. */
  readonly perSecond: number;
  /** How many go first and are waited for; 0: none. */
  readonly canary: number;
  /** How long they are waited for (ms). */
  readonly canaryTimeoutMs: number;
  /** Called before the canaries are waited for. */
  readonly onCanary: () => Promise<void>;
  readonly onProgress: (done: number) => void;
};

export type ReplayEnd = 'complete' | 'canary_failed' | 'canary_timed_out' | 'interrupted';

/** Transactions a second at most: a rate is kept by their size. */
const STEPS_PER_SECOND = 10;
/** Between two looks at the canaries (ms). */
const CANARY_PAUSE_MS = 200;

/** Replays letters in the order given; adds to `results` as it goes, so that it is right even when this throws. */
export async function runReplay(
  run: ReplayRun,
  letterIds: readonly bigint[],
  results: Map<bigint, ReplayResult>,
): Promise<ReplayEnd> {
  const canaries = letterIds.slice(0, run.canary);
  if (canaries.length > 0) {
    if ((await moveAll(run, canaries, results)) === 'stopped') return 'interrupted';
    await run.onCanary();
    const end = await awaitCanaries(run, canaries, results);
    if (end !== 'ended') return end;
  }
  const rest = await moveAll(run, letterIds.slice(canaries.length), results);
  return rest === 'stopped' ? 'interrupted' : 'complete';
}

async function moveAll(
  run: ReplayRun,
  letterIds: readonly bigint[],
  results: Map<bigint, ReplayResult>,
): Promise<'all' | 'stopped'> {
  const size = Math.min(MAX_REPLAYS, Math.max(1, Math.floor(run.perSecond / STEPS_PER_SECOND)));
  const stepMs = (size * 1_000) / run.perSecond;
  let dueMs = performance.now();
  for (let start = 0; start < letterIds.length; start += size) {
    if (run.signal.aborted) return 'stopped';
    const step = letterIds.slice(start, start + size);
    for (const result of await replayDeadLetters(run.db, run.context, step)) {
      results.set(result.letterId, result);
    }
    run.onProgress(results.size);
    const isLast = start + size >= letterIds.length;
    // From when the step began: its own time belongs to the rate. A step that took longer is not caught up with.
    dueMs = Math.max(dueMs + stepMs, performance.now());
    const pauseMs = dueMs - performance.now();
    if (!isLast && pauseMs > 0)
      await sleep(pauseMs, undefined, { signal: run.signal }).catch(() => undefined);
  }
  return 'all';
}

/** Ended: settled, for good or ill, without a person. */
async function awaitCanaries(
  run: ReplayRun,
  canaries: readonly bigint[],
  results: ReadonlyMap<bigint, ReplayResult>,
): Promise<'ended' | Exclude<ReplayEnd, 'complete'>> {
  const deadline = performance.now() + run.canaryTimeoutMs;
  const moved = canaries.flatMap((id) => {
    const result = results.get(id);
    // What is only booked has ended by that, and may well open a letter of its own: a late success.
    return result?.kind === 'replayed' && result.how !== 'fold' ? [result] : [];
  });
  const letterOf = new Map(moved.map((result) => [result.operationId, result.letterId]));
  for (;;) {
    const states = await listReplayedStates(run.db, [...letterOf.keys()]);
    const isLost = states.some(({ operationId, subState, hasJob, newestLetterId }) => {
      const isTold = newestLetterId !== null && newestLetterId > letterOf.get(operationId)!;
      return isTold || (!hasJob && !isEnded(subState));
    });
    if (isLost) return 'canary_failed';
    if (states.every((state) => !state.hasJob)) return 'ended';
    if (run.signal.aborted) return 'interrupted';
    if (performance.now() >= deadline) return 'canary_timed_out';
    await sleep(CANARY_PAUSE_MS, undefined, { signal: run.signal }).catch(() => undefined);
  }
}
