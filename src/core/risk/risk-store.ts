/** Remembers what the risk engine found, counts and waits for: all SQL on the risk tables. */
import { lines, list, type Queryable, type Tx } from '../db/connection.ts';
import type { Priority } from '../queue/job.ts';
import type { Decision } from './assessment.ts';

/** Keys are SHA-256 as hex everywhere in this file. */
type KeyHex = string;

// --- the memory of the rules ---

/**
 * Locks the names for the rest of the transaction, in key order, and makes those that are new: whoever counts the same
 * names waits. A lock that is not free in time fails with 55P03.
 */
export async function lockRiskKeys(tx: Tx, keys: readonly KeyHex[]): Promise<void> {
  if (keys.length === 0) return;
  await tx.sql`
    insert into ${tx.t.riskKey} as k (key)
    select key from unnest(${bytes(keys)}::bytea[]) as n (key) order by key
        on conflict (key) do update set locked_at = now()`;
}

/** For how long each of the following statements may run (ms), until {@link freeStatementTime}. */
export async function limitStatementTime(tx: Tx, timeoutMs: number): Promise<void> {
  await tx.sql`
    select set_config('paygate.statement_timeout_before', current_setting('statement_timeout'), true),
           set_config('statement_timeout', ${`${timeoutMs}ms`}, true)`;
}

/** Puts back what {@link limitStatementTime} found. */
export async function freeStatementTime(tx: Tx): Promise<void> {
  await tx.sql`
    select set_config('statement_timeout', current_setting('paygate.statement_timeout_before'), true)`;
}

/** Database time of this transaction, milliseconds since 1970. */
export async function getTimeMs(on: Queryable): Promise<number> {
  const [row] = await on.sql<{ ms: bigint }[]>`select (extract(epoch from now()) * 1000)::bigint as ms`;
  return Number(row!.ms);
}

/** `windowS`: seconds; null: since midnight UTC. */
export type KeyQuestion = { readonly key: KeyHex; readonly windowS: number | null };

export type UsageRow = {
  /** Position of the question, from 0. */
  readonly index: number;
  readonly currency: string;
  readonly checkouts: number;
  /** Whole minor units, as text. */
  readonly amountMinor: string;
};

/**
 * Checkouts and money of each question's name within its span; no row where there was none.
 *
 * EXPLAIN: one range of the primary key for each question (nested loop over an aggregate, which the planner can't turn
 * inside out). Loser: a plain join, which it hashes: the whole table for every acceptance.
 */
export async function sumUsage(
  on: Queryable,
  questions: readonly KeyQuestion[],
): Promise<readonly UsageRow[]> {
  if (questions.length === 0) return [];
  return on.sql<UsageRow[]>`
    select (q.n - 1)::integer as index, u.currency, u.checkouts, u.amount_minor
      from unnest(${bytes(questions.map((q) => q.key))}::bytea[],
                  ${list(questions.map((q) => q.windowS))}::integer[]) with ordinality as q (key, window_s, n)
     cross join lateral (
             select c.currency, sum(c.checkouts)::integer as checkouts, sum(c.amount_minor)::text as amount_minor
               from ${on.t.riskCounter} c
              where c.key = q.key
                and c.minute >= case when q.window_s is null then date_trunc('day', now(), 'UTC')
                                     else date_trunc('minute', now() - make_interval(secs => q.window_s), 'UTC') end
              group by c.currency) u`;
}

/**
 * The latest payment under each key within its window that has not failed in all its orders.
 *
 * EXPLAIN: the limits keep every step a look-up by key. Losers: `exists` with joins inside, which becomes a semi-join
 * over all orders and operations of the book (17 times the buffers with 2,000 payments, and growing).
 */
export async function findLookalikes(
  on: Queryable,
  questions: readonly KeyQuestion[],
): Promise<readonly { index: number; paymentId: bigint }[]> {
  if (questions.length === 0) return [];
  return on.sql<{ index: number; paymentId: bigint }[]>`
    select (q.n - 1)::integer as index, r.payment_id
      from unnest(${bytes(questions.map((q) => q.key))}::bytea[],
                  ${list(questions.map((q) => q.windowS))}::integer[]) with ordinality as q (key, window_s, n)
     cross join lateral (
             select s.payment_id
               from ${on.t.riskTrace} s
              cross join lateral (
                      select 1
                        from ${on.t.paymentOrder} po
                       cross join lateral (
                               select 1
                                 from ${on.t.operation} o
                                where o.payment_order_id = po.id
                                  and o.kind = 'charge'
                                  and o.sub_state not in ('declined', 'rejected', 'risk_blocked', 'canceled', 'expired')
                                limit 1) one
                       where po.payment_id = s.payment_id
                       limit 1) alive
              where s.key = q.key
                and s.at > now() - make_interval(secs => q.window_s)
              order by s.payment_id desc
              limit 1) r`;
}

/** A buyer's newest payments that are looked at for one that succeeded. */
const REMEMBERED_PAYMENTS = 100;

/** Which of these buyers have a payment with an order that succeeded. The limits serve the plan, as above. */
export async function listKnownBuyers(on: Queryable, keys: readonly KeyHex[]): Promise<readonly number[]> {
  if (keys.length === 0) return [];
  const rows = await on.sql<{ index: number }[]>`
    select (q.n - 1)::integer as index
      from unnest(${bytes(keys)}::bytea[]) with ordinality as q (key, n)
     where exists (select 1
                     from (select payment_id
                             from ${on.t.riskTrace}
                            where key = q.key
                            order by payment_id desc
                            limit ${REMEMBERED_PAYMENTS}) r
                    cross join lateral (
                            select 1
                              from ${on.t.paymentOrder} po
                             cross join lateral (
                                     select 1
                                       from ${on.t.operation} o
                                      where o.payment_order_id = po.id
                                        and o.kind = 'charge'
                                        and o.sub_state = 'succeeded'
                                      limit 1) one
                             where po.payment_id = r.payment_id
                             limit 1) paid)`;
  return rows.map((row) => row.index);
}

export type NewCount = {
  readonly key: KeyHex;
  readonly currency: string;
  readonly checkouts: 0 | 1;
  readonly amountMinor: bigint;
};

/** Adds to the counts of this minute. The caller holds the keys' locks. */
export async function addCounts(tx: Tx, counts: readonly NewCount[]): Promise<void> {
  if (counts.length === 0) return;
  await tx.sql`
    insert into ${tx.t.riskCounter} as c (key, minute, currency, checkouts, amount_minor)
    select key, date_trunc('minute', now(), 'UTC'), currency, sum(checkouts), sum(amount_minor)
      from unnest(${bytes(counts.map((c) => c.key))}::bytea[],
                  ${list(counts.map((c) => c.currency))}::text[],
                  ${list(counts.map((c) => c.checkouts))}::integer[],
                  ${list(counts.map((c) => c.amountMinor))}::numeric[]) as n (key, currency, checkouts, amount_minor)
     group by key, currency
     order by key, currency
        on conflict (key, minute, currency)
        do update set checkouts = c.checkouts + excluded.checkouts,
                      amount_minor = c.amount_minor + excluded.amount_minor`;
}

/** The last of the counters that were pruned, in the order of their pruning; minute in ISO 8601. */
export type Pruned = {
  readonly counters: number;
  readonly minute: string;
  readonly key: KeyHex;
  readonly currency: string;
  /** All names that lost a counter. */
  readonly keys: readonly KeyHex[];
};

/**
 * Takes away up to `limit` of the oldest counters that are older than `olderThanS` (s) by database time, in their
 * order. Null: there was none. Two at once: the second waits and finds the next ones.
 *
 * EXPLAIN: the index in its order, up to the limit; the deletes by primary key.
 */
export async function pruneCounters(tx: Tx, olderThanS: number, limit: number): Promise<Pruned | null> {
  const { sql, t } = tx;
  const rows = await sql<Pruned[]>`
    with old as materialized (
      select minute, key, currency
        from ${t.riskCounter}
       where minute < date_trunc('minute', now() - make_interval(secs => ${olderThanS}), 'UTC')
       order by minute, key, currency
       limit ${limit}
         for update
    ), gone as (
      delete from ${t.riskCounter} c
       using old
       where (c.key, c.minute, c.currency) = (old.key, old.minute, old.currency)
      returning c.key
    )
    select (select count(*) from gone)::integer as counters,
           (select json_agg(distinct encode(key, 'hex')) from gone) as keys, minute, encode(key, 'hex') as key, currency
      from old
     order by old.minute desc, old.key desc, old.currency desc
     limit 1`;
  return rows[0] ?? null;
}

/** Takes away the lock rows of those names that nothing is counted under any more; one that somebody holds stays. */
export async function pruneRiskKeys(tx: Tx, keys: readonly KeyHex[]): Promise<void> {
  if (keys.length === 0) return;
  await tx.sql`
    with free as materialized (
      select k.key
        from ${tx.t.riskKey} k
       where k.key = any(${bytes(keys)}::bytea[])
         and not exists (select 1 from ${tx.t.riskCounter} c where c.key = k.key)
         for update of k skip locked
    )
    delete from ${tx.t.riskKey} k using free where k.key = free.key`;
}

export async function insertTraces(
  tx: Tx,
  traces: readonly { readonly key: KeyHex; readonly paymentId: bigint }[],
): Promise<void> {
  if (traces.length === 0) return;
  await tx.sql`
    insert into ${tx.t.riskTrace} (key, payment_id)
    select * from unnest(${bytes(traces.map((r) => r.key))}::bytea[],
                         ${list(traces.map((r) => r.paymentId))}::bigint[])`;
}

function bytes(keys: readonly KeyHex[]): string {
  return list(keys.map((key) => `\\x${key}`));
}

// --- assessments ---

export type NewAssessment = {
  readonly paymentId: bigint;
  readonly rulesVersion: string;
  readonly decision: Decision;
  readonly shadowDecision: Decision;
  /** JSON text. */
  readonly hits: string;
};

export async function insertAssessments(tx: Tx, assessments: readonly NewAssessment[]): Promise<void> {
  if (assessments.length === 0) return;
  await tx.sql`
    insert into ${tx.t.riskAssessment} (payment_id, rules_version, decision, shadow_decision, hits)
    select payment_id, rules_version, decision, shadow_decision, hits::json
      from rows from (unnest(${list(assessments.map((a) => a.paymentId))}::bigint[]),
                      unnest(${list(assessments.map((a) => a.rulesVersion))}::text[]),
                      unnest(${list(assessments.map((a) => a.decision))}::text[]),
                      unnest(${list(assessments.map((a) => a.shadowDecision))}::text[]),
                      string_to_table(${lines(assessments.map((a) => a.hits))}, E'\\n'))
           as a (payment_id, rules_version, decision, shadow_decision, hits)`;
}

// --- reviews ---

export async function insertReviews(
  tx: Tx,
  reviews: readonly { readonly paymentId: bigint; readonly priority: Priority; readonly timeoutS: number }[],
): Promise<void> {
  if (reviews.length === 0) return;
  await tx.sql`
    insert into ${tx.t.riskReview} (payment_id, priority, due_at)
    select payment_id, priority, now() + make_interval(secs => timeout_s)
      from unnest(${list(reviews.map((r) => r.paymentId))}::bigint[],
                  ${list(reviews.map((r) => r.priority))}::text[],
                  ${list(reviews.map((r) => r.timeoutS))}::integer[]) as r (payment_id, priority, timeout_s)`;
}

export type ReviewState = 'open' | 'approved' | 'rejected' | 'timed_out';

export type Review = {
  readonly paymentId: bigint;
  readonly priority: Priority;
  readonly state: ReviewState;
  /** Its time is up: only a rejection is left. */
  readonly isOverdue: boolean;
  readonly decidedAt: string | null;
  readonly decidedBy: string | null;
};

/** Locks the review of a payment; null when it never had one. */
export async function lockReview(tx: Tx, paymentId: bigint): Promise<Review | null> {
  const [row] = await tx.sql<Review[]>`
    select payment_id, priority, state, due_at <= now() as is_overdue, decided_at, decided_by
      from ${tx.t.riskReview}
     where payment_id = ${paymentId}
       for update`;
  return row ?? null;
}

/** Locks open reviews whose time is up, the oldest first; those that somebody is deciding on just now are left out. */
export async function lockDueReviews(tx: Tx, limit: number): Promise<readonly Review[]> {
  return tx.sql<Review[]>`
    select payment_id, priority, state, due_at <= now() as is_overdue, decided_at, decided_by
      from ${tx.t.riskReview}
     where state = 'open'
       and due_at <= now()
     order by due_at, payment_id
     limit ${limit}
       for update skip locked`;
}

/** Ends open reviews. The caller holds their locks. */
export async function closeReviews(
  tx: Tx,
  paymentIds: readonly bigint[],
  closing: {
    readonly state: Exclude<ReviewState, 'open'>;
    readonly principal: string;
    readonly reason: string;
  },
): Promise<void> {
  await tx.sql`
    update ${tx.t.riskReview}
       set state = ${closing.state}, decided_at = now(), decided_by = ${closing.principal}, reason = ${closing.reason}
     where payment_id = any(${list(paymentIds)}::bigint[])
       and state = 'open'`;
}

export type HeldCharge = {
  readonly operationId: bigint;
  readonly pspAccount: string;
  readonly paymentId: bigint;
  readonly attemptNumber: number;
  readonly fence: number;
};

/** Locks the charges that wait for the review of these payments, in operation order, with their open attempts. */
export async function lockHeldCharges(tx: Tx, paymentIds: readonly bigint[]): Promise<readonly HeldCharge[]> {
  return tx.sql<HeldCharge[]>`
    select o.id as operation_id, o.psp_account, po.payment_id, a.number as attempt_number, o.fence
      from ${tx.t.paymentOrder} po
      join ${tx.t.operation} o on o.payment_order_id = po.id and o.kind = 'charge'
      join ${tx.t.attempt} a on a.operation_id = o.id and a.is_open
     where po.payment_id = any(${list(paymentIds)}::bigint[])
       and o.sub_state = 'in_risk_review'
     order by o.id
       for update of o, a`;
}

type ShownHit = {
  readonly rule: string;
  readonly action: string;
  readonly mode: string;
  readonly text: string;
  readonly inputs: Readonly<Record<string, string | number>>;
};

export type ReviewRow = Omit<Review, 'priority' | 'isOverdue'> & {
  readonly openedAt: string;
  readonly dueAt: string;
  readonly reason: string | null;
  readonly rulesVersion: string;
  readonly hits: readonly ShownHit[];
};

/** Reviews with what the rules found, newest payment first. */
export async function listReviews(
  on: Queryable,
  filter: { readonly state: ReviewState | null; readonly beforeId: bigint | null; readonly limit: number },
): Promise<readonly ReviewRow[]> {
  const { sql, t } = on;
  return sql<ReviewRow[]>`
    select r.payment_id, r.state, r.opened_at, r.due_at, r.decided_at, r.decided_by, r.reason, a.rules_version, a.hits
      from ${t.riskReview} r
      join ${t.riskAssessment} a on a.payment_id = r.payment_id
     where ${filter.state === null ? sql`true` : sql`r.state = ${filter.state}`}
       ${filter.beforeId === null ? sql`` : sql`and r.payment_id < ${filter.beforeId}`}
     order by r.payment_id desc
     limit ${filter.limit}`;
}
