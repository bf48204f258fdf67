/**
 * Remembers the queue for those who hold its jobs: making, claiming, settling, giving back, burying. Every settle, retry
 * and dead-letter statement names the job's fence; zero rows means "not mine any more". Who moves jobs without
 * holding them (rescue, resume, wake) is in `rescue-store.ts`.
 */
import { list, type Queryable, type Tx } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { LEASE_MS } from './job.ts';

/** The right to settle a job: its operation and the fence under which it was claimed. */
export type Hold = { readonly operationId: bigint; readonly fence: number };

/** recheck: ask the PSP, whatever is stored; for operations of which it has news. cancel: have the PSP cancel it. */
export type JobAction = 'send' | 'enquire' | 'recheck' | 'cancel';

/** A place in a lane's order, as the last job of a claim had it. */
export type LanePlace = { readonly runAt: string; readonly operationId: bigint };

export type ClaimedJob = Hold & {
  readonly runAt: string;
  readonly attemptNumber: number;
  readonly action: JobAction;
  readonly burned: number;
  readonly waits: number;
  readonly operationKind: 'charge' | 'refund' | 'payout';
  readonly idempotencyKey: string;
  readonly request: string;
  /** How often this attempt has been sent, this claim included. */
  readonly sends: number;
  readonly firstSentAt: string;
  readonly lastSentAt: string;
  /** Age of the first send when claimed, by database time (ms): the key window counts from it. */
  readonly firstSentAgoMs: number;
  /** As the attempt is known at the PSP so far. */
  readonly pspReference: string | null;
  /** How long its buyer may still take, by database time (ms); null: no buyer is waited for. */
  readonly customerLeftMs: number | null;
};

/**
 * Claims up to `limit` jobs of a lane that are due, in order of run_at: raises the fence, counts and dates the send
 * (a crash between here and the send is "maybe sent"), and writes one event that names them all, in one statement.
 * Writes nothing else: while a job is leased its operation is "claimed", and what a send leaves behind moves to the
 * attempt with its outcome. A daemon whose heartbeat is not fresh gets nothing.
 *
 * EXPLAIN (analyze): the materialised CTE reads job_ready in order and stops at the limit; the update finds its rows
 * by their place (tid scan), the attempt by primary key (nested loop). Losers: `id in (select … limit)` without
 * materialising (the planner may run the limit again for each outer row); hash joins against attempt (the whole
 * table); updating attempt and operation here too, with an event per job (2.2 times the time of this statement);
 * `extract(epoch …)`, which computes in numeric (a tenth of this statement).
 * @param claim.after where the last claim ended; null: from the front of the lane. A long queue leaves what was
 *   claimed from its front in the index until vacuum comes, and each claim from there reads all of it again. Jobs
 *   that commit behind that place are only seen from the front: the caller starts there now and then.
 * @returns in the order of the lane
 */
export async function claimJobs(
  on: Queryable,
  claim: { lane: string; limit: number; daemonId: bigint; principal: string; after: LanePlace | null },
): Promise<readonly ClaimedJob[]> {
  const { sql, t } = on;
  const after = claim.after ?? { runAt: '-infinity', operationId: 0n };
  return sql<ClaimedJob[]>`
    with due as materialized (
      select ctid as place
        from ${t.job}
       where lane = ${claim.lane}
         and state = 'ready'
         and run_at <= now()
         and (run_at, operation_id) > (${after.runAt}, ${after.operationId})
         and exists (select 1 from ${t.daemon}
                      where id = ${claim.daemonId}
                        and stopped_at is null
                        and beat_at > now() - make_interval(secs => ${LEASE_MS / 1000}))
       order by run_at, operation_id
       limit ${claim.limit}
         for update skip locked
    ), claimed as (
      update ${t.job} j
         set state = 'leased', fence = j.fence + 1, daemon_id = ${claim.daemonId},
             sends = j.sends + case j.action when 'send' then 1 else 0 end,
             first_sent_at = coalesce(j.first_sent_at, now()),
             last_sent_at = case j.action when 'send' then now() else j.last_sent_at end
        from due
       where j.ctid = due.place
      returning j.operation_id, j.attempt_number, j.kind, j.fence, j.action, j.burned, j.waits, j.sends,
                j.first_sent_at, j.last_sent_at, j.run_at
    ), recorded as (
      insert into ${t.event} (kind, principal, data)
      select 'jobs_claimed', ${claim.principal},
             json_build_object('daemon', ${claim.daemonId}::bigint::text,
               'operations', json_agg(operation_id::text), 'fences', json_agg(fence),
               'actions', json_agg(action), 'sends', json_agg(sends))
        from claimed
      having count(*) > 0
    )
    select c.operation_id, c.attempt_number, c.kind as operation_kind, c.fence, c.action, c.burned, c.waits, c.sends,
           c.run_at, c.first_sent_at, c.last_sent_at, a.idempotency_key, a.request, a.psp_reference,
           date_part('epoch', a.customer_until - now()) * 1000 as customer_left_ms,
           date_part('epoch', now() - c.first_sent_at) * 1000 as first_sent_ago_ms
      from claimed c
      join ${t.attempt} a on a.operation_id = c.operation_id and a.number = c.attempt_number
     order by c.run_at, c.operation_id`;
}

/** Ends jobs whose operation ended or became a dead letter. Returns those that were still held. */
export async function endHeldJobs(tx: Tx, holds: readonly Hold[]): Promise<readonly bigint[]> {
  if (holds.length === 0) return [];
  const rows = await tx.sql<{ operationId: bigint }[]>`
    delete from ${tx.t.job} j
     using unnest(${list(holds.map((h) => h.operationId))}::bigint[],
                  ${list(holds.map((h) => h.fence))}::integer[]) as h (operation_id, fence)
     where j.operation_id = h.operation_id
       and j.fence = h.fence
    returning j.operation_id`;
  return rows.map((row) => row.operationId);
}

export type Reschedule = Hold & {
  readonly action: JobAction;
  readonly delayMs: number;
  readonly burned: number;
  readonly waits: number;
};

/**
 * Gives held jobs back for a later try; the fence rises, so that a fence is only ever good while its job is
 * leased. Returns those that were still held.
 */
export async function rescheduleHeldJobs(tx: Tx, jobs: readonly Reschedule[]): Promise<readonly bigint[]> {
  if (jobs.length === 0) return [];
  const rows = await tx.sql<{ operationId: bigint }[]>`
    update ${tx.t.job} j
       set state = 'ready', daemon_id = null, fence = j.fence + 1, action = r.action,
           run_at = now() + make_interval(secs => r.delay_ms / 1000.0),
           burned = r.burned, waits = r.waits
      from unnest(${list(jobs.map((j) => j.operationId))}::bigint[],
                  ${list(jobs.map((j) => j.fence))}::integer[],
                  ${list(jobs.map((j) => j.action))}::text[],
                  ${list(jobs.map((j) => j.delayMs))}::integer[],
                  ${list(jobs.map((j) => j.burned))}::smallint[],
                  ${list(jobs.map((j) => j.waits))}::smallint[])
           as r (operation_id, fence, action, delay_ms, burned, waits)
     where j.operation_id = r.operation_id
       and j.fence = r.fence
    returning j.operation_id`;
  return rows.map((row) => row.operationId);
}

export type NewDeadLetter = {
  readonly operationId: bigint;
  readonly attemptNumber: number;
  readonly code: string;
  readonly reason: string;
};

/**
 * Moves held jobs to the dead letters: the job goes, the letter opens, in one statement. A letter that is open already
 * stays as it is. Returns those that were still held.
 */
export async function buryHeldJobs(
  tx: Tx,
  letters: readonly (Hold & NewDeadLetter)[],
): Promise<readonly bigint[]> {
  if (letters.length === 0) return [];
  const rows = await tx.sql<{ operationId: bigint }[]>`
    with letter as materialized (
      select * from unnest(${list(letters.map((l) => l.operationId))}::bigint[],
                           ${list(letters.map((l) => l.fence))}::integer[],
                           ${list(letters.map((l) => l.attemptNumber))}::smallint[],
                           ${list(letters.map((l) => l.code))}::text[],
                           ${list(letters.map((l) => l.reason))}::text[])
        as l (operation_id, fence, attempt_number, code, reason)
    ), gone as (
      delete from ${tx.t.job} j
       using letter l
       where j.operation_id = l.operation_id
         and j.fence = l.fence
        returning j.operation_id
    ), opened as (
      insert into ${tx.t.deadLetter} (operation_id, attempt_number, code, reason)
      select l.operation_id, l.attempt_number, l.code, l.reason
        from letter l
        join gone using (operation_id)
          on conflict (operation_id, code) where state = 'open' do nothing
    )
    select operation_id from gone`;
  return rows.map((row) => row.operationId);
}

/** Opens dead letters for operations that have no job any more (a late fact that contradicts the books). */
export async function openDeadLetters(tx: Tx, letters: readonly NewDeadLetter[]): Promise<void> {
  if (letters.length === 0) return;
  await tx.sql`
    insert into ${tx.t.deadLetter} (operation_id, attempt_number, code, reason)
    select operation_id, attempt_number, code, reason
      from unnest(${list(letters.map((l) => l.operationId))}::bigint[],
                  ${list(letters.map((l) => l.attemptNumber))}::smallint[],
                  ${list(letters.map((l) => l.code))}::text[],
                  ${list(letters.map((l) => l.reason))}::text[])
           as l (operation_id, attempt_number, code, reason)
        on conflict (operation_id, code) where state = 'open' do nothing`;
}

/** What the sends of an attempt left behind; it stands on the job, and on the attempt once something is learned. */
export type SendRecord = {
  readonly sends: number;
  readonly firstSentAt: string | null;
  readonly lastSentAt: string | null;
};

export type OpenJob = SendRecord & {
  readonly operationId: bigint;
  readonly attemptNumber: number;
  readonly state: 'ready' | 'leased';
  readonly fence: number;
};

/** Locks whatever jobs these operations have, in operation order. */
export async function lockJobs(
  tx: Tx,
  operationIds: readonly bigint[],
): Promise<ReadonlyMap<bigint, OpenJob>> {
  const rows = await tx.sql<OpenJob[]>`
    select operation_id, attempt_number, state, fence, sends, first_sent_at, last_sent_at
      from ${tx.t.job}
     where operation_id = any(${list(operationIds)}::bigint[])
     order by operation_id
       for update`;
  return new Map(rows.map((row) => [row.operationId, row]));
}

export type NewJob = {
  readonly operationId: bigint;
  readonly kind: 'charge' | 'refund' | 'payout';
  readonly attemptNumber: number;
  readonly lane: string;
  /** The operation's highest fence so far. */
  readonly fence: number;
};

/** Tells idle daemons, once per batch, that a lane has work. Delivered when the transaction commits. */
export async function notifyLane(tx: Tx, lane: string): Promise<void> {
  await tx.sql`select pg_notify(${channelOf(tx.book)}, ${lane})`;
}

/** The book's notification channel. */
export function channelOf(book: string): string {
  return `${book}_job`;
}

/** The book's own random part of every idempotency key at a PSP. */
export async function getBookKey(on: Queryable): Promise<string> {
  const [row] = await on.sql<{ bookKey: string }[]>`select book_key from ${on.t.book}`;
  if (row === undefined) throw new Bug('the book has no identity row');
  return row.bookKey;
}

export type LaneCount = {
  readonly lane: string;
  readonly ready: number;
  readonly waiting: number;
  readonly leased: number;
  /** Age of the oldest job that is due (ms); null when none is. */
  readonly oldestMs: number | null;
};

/** The queue by lane, for people. */
export async function countLanes(on: Queryable): Promise<readonly LaneCount[]> {
  return on.sql<LaneCount[]>`
    select lane,
           count(*) filter (where state = 'ready' and run_at <= now())::integer as ready,
           count(*) filter (where state = 'ready' and run_at > now())::integer as waiting,
           count(*) filter (where state = 'leased')::integer as leased,
           (extract(epoch from now() - min(run_at) filter (where state = 'ready' and run_at <= now())) * 1000)::float8
             as oldest_ms
      from ${on.t.job}
     group by lane
     order by lane`;
}

/** Milliseconds until the next job of any lane is due; null when the queue is empty. */
export async function nextDueInMs(on: Queryable, lanes: readonly string[]): Promise<number | null> {
  const [row] = await on.sql<{ ms: number | null }[]>`
    select (extract(epoch from min(run_at) - now()) * 1000)::float8 as ms
      from ${on.t.job}
     where lane = any(${list(lanes)}::text[])
       and state = 'ready'`;
  return row?.ms ?? null;
}

/** Closes open dead letters (all, or those of one code) of operations that evidence or a person has settled. */
export async function closeDeadLetters(
  tx: Tx,
  operationIds: readonly bigint[],
  closing: { principal: string; reason: string; code?: string },
): Promise<void> {
  if (operationIds.length === 0) return;
  const { sql } = tx;
  await sql`
    update ${tx.t.deadLetter}
       set state = 'resolved', closed_at = now(), closed_by = ${closing.principal}, close_reason = ${closing.reason}
     where operation_id = any(${list(operationIds)}::bigint[])
       and state = 'open'
       ${closing.code === undefined ? sql`` : sql`and code = ${closing.code}`}`;
}

/** New jobs of new operations, due now. */
export async function insertJobs(tx: Tx, jobs: readonly NewJob[]): Promise<void> {
  if (jobs.length === 0) return;
  await tx.sql`
    insert into ${tx.t.job} (operation_id, kind, attempt_number, lane, action, fence)
    select operation_id, kind, attempt_number, lane, 'send', fence
      from unnest(${list(jobs.map((j) => j.operationId))}::bigint[],
                  ${list(jobs.map((j) => j.kind))}::text[],
                  ${list(jobs.map((j) => j.attemptNumber))}::smallint[],
                  ${list(jobs.map((j) => j.lane))}::text[],
                  ${list(jobs.map((j) => j.fence))}::integer[]) as j (operation_id, kind, attempt_number, lane, fence)`;
}
