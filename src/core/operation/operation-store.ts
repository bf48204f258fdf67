/** Remembers operations, attempts and evidence: all SQL on those three tables, bar the claim (queue-store). */
import { lines, list, type Queryable, type Tx } from '../db/connection.ts';
import type { OperationKind } from '../psp/psp.ts';
import type { SendRecord } from '../queue/queue-store.ts';
import type { AttemptState, Evidence, EvidenceKind, EvidenceSource } from './evidence.ts';
import type { Cancel, SubState } from './operation.ts';

export type NewOperation = {
  readonly id: bigint;
  readonly kind: OperationKind;
  readonly paymentId: bigint | null;
  readonly paymentOrderId: bigint | null;
  readonly pspAccount: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly subState: SubState;
  readonly reason: string | null;
  /** Refunds and payouts: whose wallet pays. Null for charges, which have it on their order. */
  readonly seller: string | null;
  /** Refunds: how much of the amount the platform gives back of its fee; else 0. */
  readonly feeShareMinor: bigint;
  /** Refunds: how much was taken from the seller's pending money; else 0. */
  readonly fromPendingMinor: bigint;
};

export async function insertOperations(tx: Tx, operations: readonly NewOperation[]): Promise<void> {
  await tx.sql`
    insert into ${tx.t.operation}
      (id, kind, payment_id, payment_order_id, psp_account, amount_minor, currency, sub_state, reason, seller,
       fee_share_minor, from_pending_minor)
    select * from unnest(${list(operations.map((o) => o.id))}::bigint[],
                         ${list(operations.map((o) => o.kind))}::text[],
                         ${list(operations.map((o) => o.paymentId))}::bigint[],
                         ${list(operations.map((o) => o.paymentOrderId))}::bigint[],
                         ${list(operations.map((o) => o.pspAccount))}::text[],
                         ${list(operations.map((o) => o.amountMinor))}::bigint[],
                         ${list(operations.map((o) => o.currency))}::text[],
                         ${list(operations.map((o) => o.subState))}::text[],
                         ${list(operations.map((o) => o.reason))}::text[],
                         ${list(operations.map((o) => o.seller))}::text[],
                         ${list(operations.map((o) => o.feeShareMinor))}::bigint[],
                         ${list(operations.map((o) => o.fromPendingMinor))}::bigint[])`;
}

export type NewAttempt = {
  readonly operationId: bigint;
  readonly number: number;
  readonly idempotencyKey: string;
  /** JSON text, stored byte for byte. */
  readonly request: string;
};

/** A second open attempt of an operation is refused by the index one_open_attempt (23505). */
export async function insertAttempts(tx: Tx, attempts: readonly NewAttempt[]): Promise<void> {
  if (attempts.length === 0) return;
  await tx.sql`
    insert into ${tx.t.attempt} (operation_id, number, idempotency_key, request, state)
    select operation_id, number, idempotency_key, request, 'created'
      from rows from (unnest(${list(attempts.map((a) => a.operationId))}::bigint[]),
                      unnest(${list(attempts.map((a) => a.number))}::smallint[]),
                      unnest(${list(attempts.map((a) => a.idempotencyKey))}::text[]),
                      string_to_table(${lines(attempts.map((a) => a.request))}, E'\\n'))
           as a (operation_id, number, idempotency_key, request)`;
}

/** An operation with the attempt in question and the order behind it: what a decision needs. */
export type Subject = {
  readonly operationId: bigint;
  readonly kind: OperationKind;
  readonly pspAccount: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly subState: SubState;
  readonly operationFence: number;
  readonly attemptNumber: number;
  readonly attemptState: AttemptState;
  readonly maybeSent: boolean;
  readonly sends: number;
  readonly orderId: bigint | null;
  readonly paymentId: bigint | null;
  readonly seller: string | null;
  /** Of the order, for its charge. */
  readonly feeMinor: bigint | null;
  readonly releaseAfterDays: number | null;
  /** Of a refund; else 0. */
  readonly feeShareMinor: bigint;
  readonly fromPendingMinor: bigint;
  /** What the attempt ends as once the PSP says that it is canceled; both null: nobody wants that. */
  readonly cancelAs: Cancel['as'] | null;
  readonly cancelReason: string | null;
  /** A refund of money in suspense: no seller has a part in it. */
  readonly fromSuspense: boolean;
};

type AttemptRef = { readonly operationId: bigint; readonly attemptNumber: number };

/** Locks operations and the named attempts in operation order (jobs must be locked before). */
export async function lockSubjects(tx: Tx, refs: readonly AttemptRef[]): Promise<readonly Subject[]> {
  return tx.sql<Subject[]>`
    select o.id as operation_id, o.kind, coalesce(a.psp_account, o.psp_account) as psp_account, o.amount_minor, o.currency,
           o.sub_state, o.fence as operation_fence, a.number as attempt_number, a.state as attempt_state, a.maybe_sent,
           a.sends, o.payment_order_id as order_id, o.payment_id, coalesce(o.seller, po.seller) as seller,
           po.platform_fee_minor as fee_minor, po.release_after_days, o.fee_share_minor, o.from_pending_minor,
           a.cancel_as, a.cancel_reason,
           o.kind = 'refund' and exists (select 1 from ${tx.t.suspenseDecision} s where s.refund_operation_id = o.id)
             as from_suspense
      from unnest(${list(refs.map((r) => r.operationId))}::bigint[],
                  ${list(refs.map((r) => r.attemptNumber))}::smallint[]) as r (operation_id, number)
      join ${tx.t.operation} o on o.id = r.operation_id
      join ${tx.t.attempt} a on a.operation_id = r.operation_id and a.number = r.number
      left join ${tx.t.paymentOrder} po on po.id = o.payment_order_id
     order by o.id
       for update of o, a`;
}

export type StoredEvidence = Evidence & AttemptRef & { readonly id: bigint };

/** All evidence of the attempts, in the order it was stored. */
export async function listEvidence(
  on: Queryable,
  refs: readonly AttemptRef[],
): Promise<readonly StoredEvidence[]> {
  return on.sql<StoredEvidence[]>`
    select e.id, e.operation_id, e.attempt_number, e.source, e.kind, e.reason, e.psp_reference
      from unnest(${list(refs.map((r) => r.operationId))}::bigint[],
                  ${list(refs.map((r) => r.attemptNumber))}::smallint[]) as r (operation_id, attempt_number)
      join ${on.t.evidence} e using (operation_id, attempt_number)
     order by e.id`;
}

export type NewEvidence = AttemptRef & {
  readonly source: EvidenceSource;
  readonly kind: EvidenceKind;
  readonly reason: string | null;
  readonly pspReference: string | null;
  /** Whatever else the answer said, as JSON text. */
  readonly detail: string | null;
  readonly fence: number | null;
  /** Not stored by itself: the answer said that it had been done and was undone. */
  readonly saysUndone?: true;
};

export async function insertEvidence(
  tx: Tx,
  principal: string,
  items: readonly NewEvidence[],
): Promise<void> {
  if (items.length === 0) return;
  await tx.sql`
    insert into ${tx.t.evidence}
      (operation_id, attempt_number, source, kind, reason, psp_reference, detail, fence, principal)
    select e.*, ${principal}
      from unnest(${list(items.map((e) => e.operationId))}::bigint[],
                  ${list(items.map((e) => e.attemptNumber))}::smallint[],
                  ${list(items.map((e) => e.source))}::text[],
                  ${list(items.map((e) => e.kind))}::text[],
                  ${list(items.map((e) => e.reason))}::text[],
                  ${list(items.map((e) => e.pspReference))}::text[],
                  ${list(items.map((e) => e.detail))}::text[],
                  ${list(items.map((e) => e.fence))}::integer[]) as e`;
}

export type AttemptChange = AttemptRef & {
  /** From the job; null where there is none, and the attempt's own record stands. */
  readonly sent: SendRecord | null;
  readonly state: AttemptState;
  readonly isOpen: boolean;
  readonly maybeSent: boolean;
  readonly pspReference: string | null;
  readonly reason: string | null;
  readonly resolvedBy: string | null;
  /** How long its buyer may take from now on (s), where that was not said before; left out: no buyer is waited for. */
  readonly customerLimitS?: number;
  /** Where it is to be canceled from now on; an earlier wish stands. */
  readonly cancel?: Cancel;
};

/** `maybe_sent` only ever rises; a PSP reference once known is kept, and the first send stays the first. */
export async function updateAttempts(tx: Tx, changes: readonly AttemptChange[]): Promise<void> {
  if (changes.length === 0) return;
  await tx.sql`
    update ${tx.t.attempt} a
       set state = c.state, is_open = c.is_open, maybe_sent = a.maybe_sent or c.maybe_sent,
           psp_reference = coalesce(c.psp_reference, a.psp_reference), reason = c.reason,
           resolved_by = c.resolved_by, sends = greatest(c.sends, a.sends),
           first_sent_at = least(c.first_sent_at, a.first_sent_at),
           last_sent_at = greatest(c.last_sent_at, a.last_sent_at),
           customer_until = coalesce(a.customer_until, now() + make_interval(secs => c.customer_limit_s)),
           cancel_as = coalesce(a.cancel_as, c.cancel_as), cancel_reason = coalesce(a.cancel_reason, c.cancel_reason)
      from unnest(${list(changes.map((c) => c.operationId))}::bigint[],
                  ${list(changes.map((c) => c.attemptNumber))}::smallint[],
                  ${list(changes.map((c) => c.state))}::text[],
                  ${list(changes.map((c) => c.isOpen))}::boolean[],
                  ${list(changes.map((c) => c.maybeSent))}::boolean[],
                  ${list(changes.map((c) => c.pspReference))}::text[],
                  ${list(changes.map((c) => c.reason))}::text[],
                  ${list(changes.map((c) => c.resolvedBy))}::text[],
                  ${list(changes.map((c) => c.sent?.sends ?? null))}::integer[],
                  ${list(changes.map((c) => c.sent?.firstSentAt ?? null))}::timestamptz[],
                  ${list(changes.map((c) => c.sent?.lastSentAt ?? null))}::timestamptz[],
                  ${list(changes.map((c) => c.customerLimitS ?? null))}::float8[],
                  ${list(changes.map((c) => c.cancel?.as ?? null))}::text[],
                  ${list(changes.map((c) => c.cancel?.reason ?? null))}::text[])
           as c (operation_id, number, state, is_open, maybe_sent, psp_reference, reason, resolved_by, sends,
                 first_sent_at, last_sent_at, customer_limit_s, cancel_as, cancel_reason)
     where a.operation_id = c.operation_id
       and a.number = c.number`;
}

export type OperationChange = {
  readonly operationId: bigint;
  readonly subState: SubState;
  readonly reason: string | null;
  readonly pspReference: string | null;
  /** The fence of the job that ended, or one more where it was ended from outside. Never falls. */
  readonly fence: number;
};

export async function updateOperations(tx: Tx, changes: readonly OperationChange[]): Promise<void> {
  if (changes.length === 0) return;
  await tx.sql`
    update ${tx.t.operation} o
       set sub_state = c.sub_state, reason = c.reason,
           psp_reference = coalesce(c.psp_reference, o.psp_reference),
           fence = greatest(o.fence, c.fence), updated_at = now()
      from unnest(${list(changes.map((c) => c.operationId))}::bigint[],
                  ${list(changes.map((c) => c.subState))}::text[],
                  ${list(changes.map((c) => c.reason))}::text[],
                  ${list(changes.map((c) => c.pspReference))}::text[],
                  ${list(changes.map((c) => c.fence))}::integer[])
           as c (id, sub_state, reason, psp_reference, fence)
     where o.id = c.id`;
}

/**
 * A refund that failed gave back pending money whose order was released meanwhile: it becomes available at once.
 * Where the order's own release still waits, that one counts it. The release's row lock decides which of both it is.
 */
export async function insertReleasesOfFailedRefunds(tx: Tx, operationIds: readonly bigint[]): Promise<void> {
  if (operationIds.length === 0) return;
  await tx.sql`
    select f.operation_id
      from ${tx.t.operation} r
      join ${tx.t.operation} c on c.payment_order_id = r.payment_order_id and c.kind = 'charge'
      join ${tx.t.fundRelease} f on f.operation_id = c.id
     where r.id = any(${list(operationIds)}::bigint[])
     order by f.operation_id
       for update of f`;
  await tx.sql`
    insert into ${tx.t.fundRelease} (operation_id, due_at)
    select r.id, now()
      from ${tx.t.operation} r
      join ${tx.t.operation} c on c.payment_order_id = r.payment_order_id and c.kind = 'charge'
     where r.id = any(${list(operationIds)}::bigint[])
       and r.from_pending_minor > 0
       and not exists (select 1 from ${tx.t.fundRelease} f where f.operation_id = c.id)`;
}

/** Seller shares that become available `days` after now; 0: when a settlement line has shown their charge. */
export async function insertFundReleases(
  tx: Tx,
  releases: readonly { operationId: bigint; days: number }[],
): Promise<void> {
  if (releases.length === 0) return;
  await tx.sql`
    insert into ${tx.t.fundRelease} (operation_id, due_at)
    select operation_id, case days when 0 then 'infinity' else now() + make_interval(days => days) end
      from unnest(${list(releases.map((r) => r.operationId))}::bigint[],
                  ${list(releases.map((r) => r.days))}::integer[]) as r (operation_id, days)`;
}

export type LapsedAttempt = AttemptRef & {
  readonly fence: number;
  readonly inDoubt: boolean;
  readonly attemptState: AttemptState;
  readonly subState: SubState;
  readonly paymentId: bigint | null;
};

/**
 * What a rescue leaves on operation and attempt: the operation remembers the raised fence; an attempt with a
 * send in hand (`inDoubt`) may have been sent, for ever; what its sends left behind moves over from the job.
 */
export async function markLapsed(
  tx: Tx,
  jobs: readonly (AttemptRef & SendRecord & { readonly fence: number; readonly inDoubt: boolean })[],
): Promise<readonly LapsedAttempt[]> {
  if (jobs.length === 0) return [];
  return tx.sql<LapsedAttempt[]>`
    with lapsed as materialized (
      select * from unnest(${list(jobs.map((j) => j.operationId))}::bigint[],
                           ${list(jobs.map((j) => j.attemptNumber))}::smallint[],
                           ${list(jobs.map((j) => j.fence))}::integer[],
                           ${list(jobs.map((j) => j.inDoubt))}::boolean[],
                           ${list(jobs.map((j) => j.sends))}::integer[],
                           ${list(jobs.map((j) => j.firstSentAt))}::timestamptz[],
                           ${list(jobs.map((j) => j.lastSentAt))}::timestamptz[])
        as l (operation_id, attempt_number, fence, in_doubt, sends, first_sent_at, last_sent_at)
    ), moved as (
      update ${tx.t.operation} o
         set sub_state = case when l.in_doubt and o.sub_state in ('queued', 'retry_wait', 'held_config') then 'unknown'
                              else o.sub_state end,
             fence = greatest(o.fence, l.fence), updated_at = now()
        from lapsed l
       where o.id = l.operation_id
      returning o.id, o.sub_state, o.payment_id
    ), doubted as (
      update ${tx.t.attempt} a
         set state = case when l.in_doubt and a.state in ('created', 'sent') then 'unknown' else a.state end,
             maybe_sent = a.maybe_sent or l.in_doubt, sends = l.sends, first_sent_at = l.first_sent_at,
             last_sent_at = l.last_sent_at
        from lapsed l
       where a.operation_id = l.operation_id
         and a.number = l.attempt_number
      returning a.operation_id, a.state
    )
    select l.operation_id, l.attempt_number, l.fence, l.in_doubt, d.state as attempt_state, m.sub_state, m.payment_id
      from lapsed l
      join moved m on m.id = l.operation_id
      join doubted d on d.operation_id = l.operation_id`;
}

/** The latest attempt of an operation, with the sends that its job knows of, or null when it has none. */
export async function findCurrentAttempt(
  on: Queryable,
  operationId: bigint,
): Promise<{ attemptNumber: number; sends: number; subState: SubState } | null> {
  const [row] = await on.sql<{ attemptNumber: number; sends: number; subState: SubState }[]>`
    select a.number as attempt_number, greatest(a.sends, j.sends) as sends, o.sub_state
      from ${on.t.operation} o
      join ${on.t.attempt} a on a.operation_id = o.id
      left join ${on.t.job} j on j.operation_id = o.id and j.attempt_number = a.number
     where o.id = ${operationId}
     order by a.number desc
     limit 1`;
  return row ?? null;
}

export type DueRelease = {
  readonly operationId: bigint;
  readonly seller: string;
  readonly currency: string;
  readonly amountMinor: bigint;
  readonly paymentId: bigint;
};

/**
 * Takes releases that are due: the rows go, and the caller posts their entries in the same transaction. What refunds
 * took from an order's pending money is not there to be released.
 */
export async function takeDueReleases(tx: Tx, limit: number): Promise<readonly DueRelease[]> {
  return tx.sql<DueRelease[]>`
    with due as materialized (
      select operation_id
        from ${tx.t.fundRelease}
       where due_at <= now()
       order by due_at
       limit ${limit}
         for update skip locked
    ), taken as (
      delete from ${tx.t.fundRelease} f
       using due
       where f.operation_id = due.operation_id
      returning f.operation_id
    )
    select o.id as operation_id, po.seller, o.currency, po.payment_id,
           case o.kind when 'refund' then o.from_pending_minor
             else po.amount_minor - po.platform_fee_minor - (
               select coalesce(sum(r.from_pending_minor), 0)::bigint
                 from ${tx.t.refund} f
                 join ${tx.t.operation} r on r.id = f.operation_id
                where f.payment_order_id = po.id
                  and r.sub_state not in ('declined', 'rejected', 'canceled', 'expired')) end as amount_minor
      from taken
      join ${tx.t.operation} o on o.id = taken.operation_id
      join ${tx.t.paymentOrder} po on po.id = o.payment_order_id`;
}
