/**
 * Takes back what lapsed daemons had in hand: the fence rises, a send in hand becomes doubt for ever, and
 * a job that was rescued too often becomes a dead letter. Any steady daemon may run it, as often as it likes.
 */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, type Tx, transact } from '../db/connection.ts';
import { MAX_RESCUES } from '../queue/job.ts';
import {
  buryPoisonJobs,
  declareDead,
  listDeadHolders,
  listLeasedJobs,
  mayRescue,
  type RescuedJob,
  rescueJobs,
  takeBackJobs,
} from '../queue/rescue-store.ts';
import { insertEvidence, markLapsed } from './operation-store.ts';

export type Rescue = {
  readonly daemonId: bigint;
  readonly principal: string;
  /** Wait before the next send (ms): 0 where the PSP makes concurrent resends safe, else its time-out. */
  readonly resendDelayMs: number;
};

/** One guarded round; returns what was rescued. */
export async function rescueOperations(db: Db, rescue: Rescue): Promise<readonly RescuedJob[]> {
  return transact(db, async (tx) => {
    if (!(await mayRescue(tx, rescue.daemonId))) return [];
    await declareDead(tx);
    const deadDaemonIds = await listDeadHolders(tx);
    if (deadDaemonIds.length === 0) return [];
    const jobs = await rescueJobs(tx, { deadDaemonIds, resendDelayMs: rescue.resendDelayMs });
    await doubtLapsed(tx, rescue.principal, jobs, rescue.resendDelayMs);
    return jobs;
  });
}

/**
 * Gives back what the database believes to be in a daemon's hands and the daemon does not have: the answer
 * to its claim was lost with the connection. Without this such a job would be leased for as long as it lives.
 */
export async function giveBackOrphans(
  db: Db,
  daemon: {
    readonly daemonId: bigint;
    readonly principal: string;
    readonly lanes: readonly string[];
    /** True for what the daemon has in hand. */
    readonly holds: (operationId: bigint, fence: number) => boolean;
  },
): Promise<readonly RescuedJob[]> {
  const leased = await listLeasedJobs(db, daemon.daemonId, daemon.lanes);
  const orphans = leased.filter((job) => !daemon.holds(job.operationId, job.fence));
  if (orphans.length === 0) return [];
  return transact(db, async (tx) => {
    const jobs = await takeBackJobs(tx, orphans);
    await doubtLapsed(tx, daemon.principal, jobs, 0);
    return jobs;
  });
}

/** A send in hand may have been sent: said in evidence, so that it is never forgotten. */
async function doubtLapsed(
  tx: Tx,
  principal: string,
  jobs: readonly RescuedJob[],
  delayMs: number,
): Promise<void> {
  if (jobs.length === 0) return;
  await buryPoisonJobs(tx, jobs);
  const buried = new Set(jobs.filter((job) => job.rescues > MAX_RESCUES).map((job) => job.operationId));
  const lapsed = await markLapsed(
    tx,
    jobs.map((job) => ({ ...job, inDoubt: job.action === 'send' })),
  );
  await insertEvidence(
    tx,
    principal,
    lapsed
      .filter((item) => item.inDoubt)
      .map((item) => ({
        operationId: item.operationId,
        attemptNumber: item.attemptNumber,
        source: 'lapse' as const,
        kind: 'unknown' as const,
        reason: 'the daemon that held it stopped answering; the request may have been sent',
        pspReference: null,
        detail: null,
        fence: item.fence - 1,
      })),
  );
  await insertEvents(
    tx,
    principal,
    lapsed.map((item) => ({
      kind: 'job_rescued' as const,
      paymentId: item.paymentId,
      data: JSON.stringify({
        operation: item.operationId.toString(),
        attempt: item.attemptNumber,
        fence: item.fence,
        maybe_sent: item.inDoubt,
        attempt_state: item.attemptState,
        sub_state: item.subState,
        job: buried.has(item.operationId) ? 'gone' : { delay_ms: delayMs },
      }),
    })),
  );
}
