/**
 * Remembers who may hold jobs, and moves jobs that nobody holds or whose holder is dead: daemons and their leases,
 * rescue, resume, wake, and ends that come from outside. Each of these raises the fence or leaves held jobs alone, but
 * for `endJobsFromOutside`, whose caller holds the job's row lock.
 */
import { list, type Queryable, type Tx } from '../db/connection.ts';
import { LEASE_MS, MAX_RESCUES, STEADY_GAP_MS } from './job.ts';
import type { Hold, JobAction, SendRecord } from './queue-store.ts';

/**
 * Ends jobs from outside the queue (a person, late evidence of an end), whoever holds them. Unfenced on
 * purpose: the caller holds the job's row lock and the operation remembers a higher fence.
 */
export async function endJobsFromOutside(tx: Tx, operationIds: readonly bigint[]): Promise<void> {
  if (operationIds.length === 0) return;
  await tx.sql`delete from ${tx.t.job} where operation_id = any(${list(operationIds)}::bigint[])`;
}

/** Late evidence was stored for these operations: whoever waits to try again should look now. */
export async function wakeJobs(tx: Tx, operationIds: readonly bigint[]): Promise<void> {
  if (operationIds.length === 0) return;
  await tx.sql`
    update ${tx.t.job}
       set run_at = now()
     where operation_id = any(${list(operationIds)}::bigint[])
       and state = 'ready'
       and run_at > now()`;
}

export type LiveDaemon = {
  readonly id: bigint;
  readonly name: string;
  readonly startedAt: string;
  /** Age of the last heartbeat (ms). */
  readonly beatAgoMs: number;
  readonly leased: number;
};

/** Daemons whose lease has not lapsed, with the jobs they hold. */
export async function listLiveDaemons(on: Queryable): Promise<readonly LiveDaemon[]> {
  return on.sql<LiveDaemon[]>`
    select d.id, d.name, d.started_at, (extract(epoch from now() - d.beat_at) * 1000)::float8 as beat_ago_ms,
           (select count(*) from ${on.t.job} j where j.daemon_id = d.id)::integer as leased
      from ${on.t.daemon} d
     where d.stopped_at is null
       and d.beat_at > now() - make_interval(secs => ${LEASE_MS / 1000})
     order by d.id`;
}

export async function insertDaemon(on: Queryable, name: string): Promise<bigint> {
  const [row] = await on.sql<{ id: bigint }[]>`
    insert into ${on.t.daemon} (name) values (${name}) returning id`;
  return row!.id;
}

/**
 * One heartbeat. A gap makes the daemon unsteady again: after a database outage all heartbeats look old, and
 * nobody may rescue before everyone alive could beat. False: the daemon has been
 * declared dead and must take a new lease.
 */
export async function beat(on: Queryable, daemonId: bigint): Promise<boolean> {
  const rows = await on.sql`
    update ${on.t.daemon}
       set steady_since = case when beat_at < now() - make_interval(secs => ${STEADY_GAP_MS / 1000}) then now()
                               else steady_since end,
           beat_at = now()
     where id = ${daemonId}
       and stopped_at is null
    returning id`;
  return rows.length === 1;
}

export async function stopDaemon(on: Queryable, daemonId: bigint): Promise<void> {
  await on.sql`update ${on.t.daemon} set stopped_at = now() where id = ${daemonId}`;
}

export type RescuedJob = SendRecord & {
  readonly operationId: bigint;
  readonly attemptNumber: number;
  readonly fence: number;
  readonly action: JobAction;
  readonly rescues: number;
  readonly lane: string;
};

/** True for a daemon that is alive and has been steady for a whole lease: only such a one may rescue. */
export async function mayRescue(on: Queryable, daemonId: bigint): Promise<boolean> {
  const rows = await on.sql`
    select 1
      from ${on.t.daemon}
     where id = ${daemonId}
       and stopped_at is null
       and beat_at > now() - make_interval(secs => ${LEASE_MS / 1000})
       and steady_since < now() - make_interval(secs => ${LEASE_MS / 1000})`;
  return rows.length === 1;
}

/** Declares daemons dead whose lease has lapsed: they can claim no more and must register anew. */
export async function declareDead(tx: Tx): Promise<void> {
  await tx.sql`
    update ${tx.t.daemon}
       set stopped_at = now()
     where stopped_at is null
       and beat_at < now() - make_interval(secs => ${LEASE_MS / 1000})`;
}

/**
 * Daemons that hold jobs and are not alive: declared dead, left, or unknown. They never come back to life. Asked
 * anew each time, so that a claim that committed while its daemon was declared dead is found too.
 */
export async function listDeadHolders(on: Queryable): Promise<readonly bigint[]> {
  const { sql, t } = on;
  const rows = await sql<{ daemonId: bigint }[]>`
    select distinct j.daemon_id
      from ${t.job} j
     where j.state = 'leased'
       and not exists (select 1 from ${t.daemon} d where d.id = j.daemon_id and d.stopped_at is null)`;
  return rows.map((row) => row.daemonId);
}

/**
 * Takes back the jobs that dead daemons hold: the fence rises, the job is ready again. Names the holders, so
 * that a job that a living daemon claimed while we waited for its row is left alone.
 * @param resendDelayMs how long to wait before the next send, 0 where the PSP makes concurrent resends safe
 */
export async function rescueJobs(
  tx: Tx,
  rescue: { readonly deadDaemonIds: readonly bigint[]; readonly resendDelayMs: number },
): Promise<readonly RescuedJob[]> {
  return tx.sql<RescuedJob[]>`
    with lost as materialized (
      select operation_id
        from ${tx.t.job}
       where state = 'leased'
         and daemon_id = any(${list(rescue.deadDaemonIds)}::bigint[])
       order by operation_id
         for update skip locked
    )
    update ${tx.t.job} j
       set state = 'ready', daemon_id = null, fence = j.fence + 1, rescues = j.rescues + 1,
           run_at = now() + make_interval(secs => ${rescue.resendDelayMs / 1000})
      from lost
     where j.operation_id = lost.operation_id
    returning j.operation_id, j.attempt_number, j.fence, j.action, j.rescues, j.lane, j.sends, j.first_sent_at,
              j.last_sent_at`;
}

/** Jobs of these lanes that the database believes to be in this daemon's hands. */
export async function listLeasedJobs(
  on: Queryable,
  daemonId: bigint,
  lanes: readonly string[],
): Promise<readonly Hold[]> {
  return on.sql<Hold[]>`
    select operation_id, fence
      from ${on.t.job}
     where state = 'leased'
       and daemon_id = ${daemonId}
       and lane = any(${list(lanes)}::text[])`;
}

/** Takes back jobs that are still held under these fences, by a daemon that knows it does not have them. */
export async function takeBackJobs(tx: Tx, holds: readonly Hold[]): Promise<readonly RescuedJob[]> {
  return tx.sql<RescuedJob[]>`
    update ${tx.t.job} j
       set state = 'ready', daemon_id = null, fence = j.fence + 1, rescues = j.rescues + 1, run_at = now()
      from unnest(${list(holds.map((h) => h.operationId))}::bigint[],
                  ${list(holds.map((h) => h.fence))}::integer[]) as h (operation_id, fence)
     where j.operation_id = h.operation_id
       and j.fence = h.fence
    returning j.operation_id, j.attempt_number, j.fence, j.action, j.rescues, j.lane, j.sends, j.first_sent_at,
              j.last_sent_at`;
}

/** Moves jobs that were rescued too often to the dead letters. They are ready, not leased: the fence decides. */
export async function buryPoisonJobs(tx: Tx, jobs: readonly RescuedJob[]): Promise<readonly bigint[]> {
  const poison = jobs.filter((job) => job.rescues > MAX_RESCUES);
  if (poison.length === 0) return [];
  const rows = await tx.sql<{ operationId: bigint }[]>`
    with poison as materialized (
      select * from unnest(${list(poison.map((j) => j.operationId))}::bigint[],
                           ${list(poison.map((j) => j.fence))}::integer[]) as p (operation_id, fence)
    ), gone as (
      delete from ${tx.t.job} j
       using poison p
       where j.operation_id = p.operation_id
         and j.fence = p.fence
         and j.state = 'ready'
      returning j.operation_id, j.attempt_number, j.rescues
    )
    insert into ${tx.t.deadLetter} (operation_id, attempt_number, code, reason)
    select operation_id, attempt_number, 'rescued_too_often',
           'its daemon died or stalled ' || rescues || ' times while it was in hand'
      from gone
        on conflict (operation_id, code) where state = 'open' do nothing
    returning operation_id`;
  return rows.map((row) => row.operationId);
}

/**
 * Has operations looked at again, now: a job that waits is due, and does what it waited for; whoever has none gets one, above
 * every fence that was given out and with the attempt's own send record, so that no key window starts anew. A job in
 * somebody's hands is left alone: its answer is on the way. An attempt that was never sent is not there to be asked about.
 * @param undone those whose news tells that they may have been undone: a job that would send again asks instead, because
 *   the PSP repeats its first answer, of before the news, to a repeated request
 */
export async function recheckOperations(
  tx: Tx,
  operationIds: readonly bigint[],
  undone: readonly bigint[] = [],
): Promise<readonly bigint[]> {
  if (operationIds.length === 0) return [];
  const { sql, t } = tx;
  const rows = await sql<{ operationId: bigint }[]>`
    with wanted as materialized (
      select o.id, o.kind, o.psp_account, o.fence, a.number, a.sends, a.first_sent_at, a.last_sent_at
        from ${t.operation} o
        join lateral (select * from ${t.attempt} where operation_id = o.id order by number desc limit 1) a on true
        left join ${t.job} j on j.operation_id = o.id
       where o.id = any(${list(operationIds)}::bigint[])
         and greatest(a.sends, j.sends) > 0
    )
    insert into ${t.job} as j (operation_id, kind, attempt_number, lane, action, fence, sends, first_sent_at, last_sent_at)
    select id, kind, number, psp_account || '/online', 'recheck', fence, sends, first_sent_at, last_sent_at
      from wanted
     order by id
        on conflict (operation_id) do update
       set run_at = least(j.run_at, now()),
           action = case when j.action = 'send' and j.operation_id = any(${list(undone)}::bigint[]) then 'enquire'
                         else j.action end
     where j.state = 'ready'
    returning j.operation_id`;
  return rows.map((row) => row.operationId);
}

/** An operation that had ended was looked at again: it remembers the fence under which that was done. */
export async function raiseFences(tx: Tx, holds: readonly Hold[]): Promise<void> {
  if (holds.length === 0) return;
  await tx.sql`
    update ${tx.t.operation} o
       set fence = greatest(o.fence, h.fence)
      from unnest(${list(holds.map((h) => h.operationId))}::bigint[],
                  ${list(holds.map((h) => h.fence))}::integer[]) as h (operation_id, fence)
     where o.id = h.operation_id`;
}

export type ResumedJob = SendRecord & {
  readonly operationId: bigint;
  readonly attemptNumber: number;
  readonly lane: string;
  readonly action: JobAction;
  readonly fence: number;
};

/**
 * New jobs for open attempts that lost theirs (dead letters), due now. Everything that must go on is taken from the
 * rows themselves: the operation's fence, so that no stale daemon holds the new job, and what the sends left behind,
 * so that the PSP's key window still counts from the first of them. Returns the jobs made: none for an attempt that
 * is closed, none where there is a job.
 */
export async function resumeJobs(
  tx: Tx,
  jobs: readonly Pick<ResumedJob, 'operationId' | 'attemptNumber' | 'lane' | 'action'>[],
): Promise<readonly ResumedJob[]> {
  if (jobs.length === 0) return [];
  return tx.sql<ResumedJob[]>`
    insert into ${tx.t.job} (operation_id, kind, attempt_number, lane, action, fence, sends, first_sent_at, last_sent_at)
    select o.id, o.kind, a.number, r.lane, r.action, o.fence, a.sends, a.first_sent_at, a.last_sent_at
      from unnest(${list(jobs.map((j) => j.operationId))}::bigint[],
                  ${list(jobs.map((j) => j.attemptNumber))}::smallint[],
                  ${list(jobs.map((j) => j.lane))}::text[],
                  ${list(jobs.map((j) => j.action))}::text[]) as r (operation_id, number, lane, action)
      join ${tx.t.operation} o on o.id = r.operation_id
      join ${tx.t.attempt} a on a.operation_id = r.operation_id and a.number = r.number and a.is_open
        on conflict (operation_id) do nothing
    returning operation_id, attempt_number, lane, action, fence, sends, first_sent_at, last_sent_at`;
}
