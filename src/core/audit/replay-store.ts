/** The SQL of replay: puts back, row by row, what an event says, with its ids and times. */
import { list, type Tx } from '../db/connection.ts';
import type { EntryData } from './booking-order.ts';

type Json = Readonly<Record<string, string | number | boolean | null>>;
type Happened = { readonly at: string; readonly principal: string; readonly paymentId: bigint | null };

export async function isEmptyBook(tx: Tx): Promise<boolean> {
  const [row] = await tx.sql<{ used: boolean }[]>`
    select exists (select 1 from ${tx.t.payment}) or exists (select 1 from ${tx.t.account})
        or exists (select 1 from ${tx.t.event}) or exists (select 1 from ${tx.t.seller}) as used`;
  return row?.used === false;
}

export async function addAccount(tx: Tx, at: string, a: Json): Promise<void> {
  await tx.sql`
    insert into ${tx.t.account} (id, code, currency, type, normal_balance, family, party, purpose, opened_at)
    values (${a.id!}::text::bigint, ${a.code!}, ${a.currency!}, ${a.type!}, ${a.normal_balance!}, ${a.family!}, ${a.party!}, ${a.purpose!}, ${at})`;
}

export async function addBatch(tx: Tx, event: Happened, b: Json): Promise<void> {
  await tx.sql`
    insert into ${tx.t.batch} (id, kind, sha256, source, row_count, payment_count, principal, created_at)
    values (${b.id!}::text::bigint, ${b.kind!}, ${b.sha256!}, ${b.source!}, ${b.row_count!}, ${b.payment_count!}, ${event.principal}, ${event.at})`;
}

export async function markBatch(tx: Tx, at: string, b: Json): Promise<void> {
  await tx.sql`update ${tx.t.batch} set submitted_at = ${at} where id = ${b.id!}::text::bigint`;
}

/** Documents inside the event come out as they went in: both were written by JSON.stringify. */
type Document = Readonly<Record<string, unknown>>;
type AcceptedAttempt = {
  readonly idempotency_key: string;
  /** Null: no job yet, a risk review comes first. */
  readonly lane: string | null;
  readonly request: Document;
};
type AcceptedOrder = Json & { readonly attempt: AcceptedAttempt | null; readonly metadata: Document };
type AcceptedPayment = Json & {
  readonly orders: readonly AcceptedOrder[];
  readonly metadata: Document;
  readonly risk?: AcceptedRisk;
};
type AcceptedRisk = {
  readonly rules_version: string;
  readonly decision: string;
  readonly shadow_decision: string;
  readonly hits: readonly Document[];
  readonly counts: readonly (readonly [
    key: string,
    currency: string,
    checkouts: number,
    amountMinor: string,
  ])[];
  readonly traces: readonly string[];
  readonly review: { readonly priority: string; readonly timeout_s: number } | null;
};

export async function addPayment(tx: Tx, event: Happened, data: AcceptedPayment): Promise<void> {
  const { orders, metadata, risk, ...rest } = data;
  const p = rest as Json;
  await tx.sql`
    insert into ${tx.t.payment} (id, checkout_id, idempotency_key, fingerprint, buyer, on_partial, risk_decision,
                                 risk_reason, metadata, batch_id, principal, accepted_at)
    values (${p.id!}::text::bigint, ${p.checkout_id!}, ${p.idempotency_key!}, decode(${p.fingerprint!}, 'hex'), ${p.buyer!},
            ${p.on_partial!}, ${p.risk_decision!}, ${p.risk_reason!}, ${JSON.stringify(metadata)}::text::json,
            ${p.batch_id!}::text::bigint, ${event.principal}, ${event.at})`;
  await tx.sql`insert into ${tx.t.checkout} (checkout_id, payment_id) values (${p.checkout_id!}, ${p.id!}::text::bigint)`;
  await tx.sql`
    insert into ${tx.t.idempotencyKey} (key, fingerprint, payment_id)
    values (${p.idempotency_key!}, decode(${p.fingerprint!}, 'hex'), ${p.id!}::text::bigint)`;
  for (const [i, order] of orders.entries()) await addOrder(tx, event.at, String(p.id), i + 1, order);
  if (risk !== undefined) await addRisk(tx, event.at, String(p.id), risk);
}

/** Forgets counters up to the last one that was pruned, in the order of their pruning. */
export async function pruneCounters(
  tx: Tx,
  through: { readonly minute: string; readonly key: string; readonly currency: string },
): Promise<void> {
  await tx.sql`
    delete from ${tx.t.riskCounter}
     where (minute, key, currency)
           <= (${through.minute}::timestamptz, decode(${through.key}, 'hex'), ${through.currency}::text)`;
}

async function addRisk(tx: Tx, at: string, paymentId: string, risk: AcceptedRisk): Promise<void> {
  await tx.sql`
    insert into ${tx.t.riskAssessment} (payment_id, rules_version, decision, shadow_decision, hits, assessed_at)
    values (${paymentId}::text::bigint, ${risk.rules_version}, ${risk.decision}, ${risk.shadow_decision},
            ${JSON.stringify(risk.hits)}::text::json, ${at})`;
  for (const [key, currency, checkouts, amountMinor] of risk.counts) {
    await tx.sql`
      insert into ${tx.t.riskCounter} as c (key, minute, currency, checkouts, amount_minor)
      values (decode(${key}, 'hex'), date_trunc('minute', ${at}::timestamptz, 'UTC'), ${currency}, ${checkouts},
              ${amountMinor}::text::numeric)
          on conflict (key, minute, currency)
          do update set checkouts = c.checkouts + excluded.checkouts,
                        amount_minor = c.amount_minor + excluded.amount_minor`;
  }
  await tx.sql`
    insert into ${tx.t.riskTrace} (key, payment_id, at)
    select decode(key, 'hex'), ${paymentId}::text::bigint, ${at}::timestamptz
      from unnest(${list(risk.traces)}::text[]) as r (key)`;
  if (risk.review === null) return;
  await tx.sql`
    insert into ${tx.t.riskReview} (payment_id, priority, opened_at, due_at)
    values (${paymentId}::text::bigint, ${risk.review.priority}, ${at},
            ${at}::timestamptz + make_interval(secs => ${risk.review.timeout_s}))`;
}

async function addOrder(
  tx: Tx,
  at: string,
  paymentId: string,
  line: number,
  data: AcceptedOrder,
): Promise<void> {
  const { attempt, metadata, ...rest } = data;
  const o = rest as Json;
  await tx.sql`
    insert into ${tx.t.paymentOrder} (id, payment_id, line, seller, amount_minor, currency, platform_fee_minor,
                                      payment_method, customer_present, release_after_days, order_ref, metadata, return_url)
    values (${o.id!}::text::bigint, ${paymentId}::text::bigint, ${line}, ${o.seller!}, ${o.amount_minor!}::text::bigint,
            ${o.currency!}, ${o.platform_fee_minor!}::text::bigint, ${o.payment_method!}, ${o.customer_present!},
            ${o.release_after_days!}, ${o.order_ref!}, ${JSON.stringify(metadata)}::text::json, ${o.return_url ?? null})`;
  await tx.sql`
    insert into ${tx.t.operation} (id, kind, payment_id, payment_order_id, psp_account, amount_minor, currency,
                                   sub_state, reason, created_at, updated_at)
    values (${o.operation!}::text::bigint, 'charge', ${paymentId}::text::bigint, ${o.id!}::text::bigint, ${o.psp_account!},
            ${o.amount_minor!}::text::bigint, ${o.currency!}, ${o.sub_state!}, ${o.reason!}, ${at}, ${at})`;
  if (attempt === null) return;
  await tx.sql`
    insert into ${tx.t.attempt} (operation_id, number, idempotency_key, request, state, created_at)
    values (${o.operation!}::text::bigint, 1, ${attempt.idempotency_key}, ${JSON.stringify(attempt.request)}, 'created', ${at})`;
  if (attempt.lane === null) return;
  await tx.sql`
    insert into ${tx.t.job} (operation_id, kind, attempt_number, lane, action, run_at)
    values (${o.operation!}::text::bigint, 'charge', 1, ${attempt.lane}, 'send', ${at})`;
}

type AcceptedRefund = Json & { readonly request: Document; readonly entries: unknown };

export async function addRefund(tx: Tx, event: Happened, data: AcceptedRefund): Promise<void> {
  const { request, entries: _, ...rest } = data;
  const r = rest as Json;
  await tx.sql`
    insert into ${tx.t.operation} (id, kind, payment_id, payment_order_id, psp_account, amount_minor, currency, sub_state,
                                   seller, fee_share_minor, from_pending_minor, created_at, updated_at)
    values (${r.operation!}::text::bigint, 'refund', ${r.payment!}::text::bigint, ${r.order!}::text::bigint, ${r.psp_account!},
            ${r.amount_minor!}::text::bigint, ${r.currency!}, 'queued', ${r.seller!}, ${r.fee_share_minor!}::text::bigint,
            ${r.from_pending_minor!}::text::bigint, ${event.at}, ${event.at})`;
  await tx.sql`
    insert into ${tx.t.refund} (id, refund_id, fingerprint, payment_id, payment_order_id, operation_id, amount_minor,
                                currency, fee_share_minor, cause, reason, principal, requested_at)
    values (${r.id!}::text::bigint, ${r.refund_id!}, decode(${r.fingerprint!}, 'hex'), ${r.payment!}::text::bigint,
            ${r.order!}::text::bigint, ${r.operation!}::text::bigint, ${r.amount_minor!}::text::bigint, ${r.currency!},
            ${r.fee_share_minor!}::text::bigint, ${r.cause!}, ${r.reason!}, ${event.principal}, ${event.at})`;
  await tx.sql`
    insert into ${tx.t.attempt} (operation_id, number, idempotency_key, request, state, created_at)
    values (${r.operation!}::text::bigint, 1, ${r.idempotency_key!}, ${JSON.stringify(request)}, 'created', ${event.at})`;
  await tx.sql`
    insert into ${tx.t.job} (operation_id, kind, attempt_number, lane, action, run_at)
    values (${r.operation!}::text::bigint, 'refund', 1, ${r.lane!}, 'send', ${event.at})`;
}

export async function addAnsweredKey(tx: Tx, event: Happened, k: Json): Promise<void> {
  await tx.sql`
    insert into ${tx.t.idempotencyKey} (key, fingerprint, payment_id, answer)
    values (${k.key!}, decode(${k.fingerprint!}, 'hex'), ${event.paymentId}, ${k.answer!})`;
}

type ClaimData = {
  readonly daemon: string;
  readonly operations: readonly string[];
  readonly fences: readonly number[];
  readonly actions: readonly string[];
  readonly sends: readonly number[];
};

export async function applyClaims(tx: Tx, at: string, claim: ClaimData): Promise<void> {
  await tx.sql`
    update ${tx.t.job} j
       set state = 'leased', daemon_id = ${claim.daemon}::text::bigint, fence = c.fence,
           sends = c.sends, first_sent_at = coalesce(j.first_sent_at, ${at}),
           last_sent_at = case c.action when 'send' then ${at}::timestamptz else j.last_sent_at end
      from unnest(${list(claim.operations)}::bigint[], ${list(claim.fences)}::integer[], ${list(claim.actions)}::text[],
                  ${list(claim.sends)}::integer[]) as c (operation_id, fence, action, sends)
     where j.operation_id = c.operation_id`;
}

export async function applyRechecks(
  tx: Tx,
  at: string,
  operations: readonly string[],
  undone: readonly string[],
): Promise<void> {
  await tx.sql`
    insert into ${tx.t.job} as j (operation_id, kind, attempt_number, lane, action, fence, sends, first_sent_at,
                                  last_sent_at, run_at)
    select o.id, o.kind, a.number, o.psp_account || '/online', 'recheck', o.fence, a.sends, a.first_sent_at,
           a.last_sent_at, ${at}
      from ${tx.t.operation} o
      join lateral (select * from ${tx.t.attempt} where operation_id = o.id order by number desc limit 1) a on true
     where o.id = any(${list(operations)}::bigint[])
        on conflict (operation_id) do update
       set run_at = least(j.run_at, ${at}::timestamptz),
           action = case when j.action = 'send' and j.operation_id = any(${list(undone)}::bigint[]) then 'enquire'
                         else j.action end`;
}

type RescueData = Json & { readonly job: 'gone' | Json };

export async function applyRescue(tx: Tx, at: string, data: RescueData): Promise<void> {
  const { job, ...rest } = data;
  const r = rest as Json;
  await tx.sql`
    update ${tx.t.attempt} a
       set state = ${r.attempt_state!}, maybe_sent = a.maybe_sent or ${r.maybe_sent!}, sends = j.sends,
           first_sent_at = j.first_sent_at, last_sent_at = j.last_sent_at
      from ${tx.t.job} j
     where a.operation_id = ${r.operation!}::text::bigint and a.number = ${r.attempt!} and j.operation_id = a.operation_id`;
  await tx.sql`
    update ${tx.t.operation} set sub_state = ${r.sub_state!}, fence = greatest(fence, ${r.fence!}::integer), updated_at = ${at}
     where id = ${r.operation!}::text::bigint`;
  if (job === 'gone') return removeJob(tx, String(r.operation));
  await tx.sql`
    update ${tx.t.job}
       set state = 'ready', daemon_id = null, fence = ${r.fence!}, rescues = rescues + 1,
           run_at = ${at}::timestamptz + make_interval(secs => ${job.delay_ms!}::float8 / 1000)
     where operation_id = ${r.operation!}::text::bigint`;
}

async function removeJob(tx: Tx, operation: string): Promise<void> {
  await tx.sql`delete from ${tx.t.job} where operation_id = ${operation}::text::bigint`;
}

type EvidenceData = {
  readonly looked_under: number | null;
  readonly job: 'gone' | 'woken' | Json | null;
  readonly operation: string;
  readonly attempt: number;
  readonly attempt_row: Json | null;
  readonly operation_row: Json | null;
};

export async function applyEvidence(tx: Tx, at: string, data: EvidenceData): Promise<void> {
  const { attempt_row: a, operation_row: o } = data;
  if (a !== null) {
    await tx.sql`
      update ${tx.t.attempt}
         set state = ${a.state!}, is_open = ${a.is_open!}, maybe_sent = maybe_sent or ${a.maybe_sent!},
             psp_reference = coalesce(${a.psp_reference!}, psp_reference), reason = ${a.reason!},
             resolved_by = ${a.resolved_by!}, sends = coalesce(${a.sends!}, sends),
             first_sent_at = coalesce(${a.first_sent_at!}, first_sent_at),
             last_sent_at = coalesce(${a.last_sent_at!}, last_sent_at),
             customer_until = coalesce(customer_until, ${at}::timestamptz + make_interval(secs => ${a.customer_limit_s ?? null}::float8)),
             cancel_as = coalesce(cancel_as, ${a.cancel_as ?? null}::text),
             cancel_reason = coalesce(cancel_reason, ${a.cancel_reason ?? null}::text)
       where operation_id = ${data.operation}::text::bigint and number = ${data.attempt}`;
  }
  if (o !== null) {
    await tx.sql`
      update ${tx.t.operation}
         set sub_state = ${o.sub_state!}, reason = ${o.reason!},
             psp_reference = coalesce(${o.psp_reference!}, psp_reference), fence = greatest(fence, ${o.fence!}::integer),
             updated_at = ${at}
       where id = ${data.operation}::text::bigint`;
  }
  if (data.looked_under !== null) {
    await tx.sql`
      update ${tx.t.operation} set fence = greatest(fence, ${data.looked_under}::integer)
       where id = ${data.operation}::text::bigint`;
  }
  await applyJobChange(tx, at, data);
}

async function applyJobChange(tx: Tx, at: string, { operation, job }: EvidenceData): Promise<void> {
  if (job === null) return;
  if (job === 'gone') return removeJob(tx, operation);
  if (job === 'woken') return wakeJob(tx, at, operation);
  await tx.sql`
    update ${tx.t.job}
       set state = 'ready', daemon_id = null, fence = fence + 1, action = ${job.action!},
           run_at = ${at}::timestamptz + make_interval(secs => ${job.delay_ms!}::float8 / 1000),
           burned = ${job.burned!}, waits = ${job.waits!}
     where operation_id = ${operation}::text::bigint`;
}

type ReopeningData = {
  readonly operation: string;
  readonly attempt: number;
  /** Of a new attempt; null where the open one goes on. */
  readonly attempt_row: { readonly idempotency_key: string; readonly request: Document } | null;
  /** Null where only stored evidence was booked, which has an event of its own. */
  readonly job: Json | null;
};

/** A charge goes on at another PSP account. */
export async function applyReroute(tx: Tx, r: Json): Promise<void> {
  await tx.sql`
    update ${tx.t.attempt} set psp_account = ${r.from_account!}
     where operation_id = ${r.operation!}::text::bigint and number < ${r.attempt!} and psp_account is null`;
  await tx.sql`
    update ${tx.t.operation} set psp_account = ${r.to_account!} where id = ${r.operation!}::text::bigint`;
}

/** An operation got a job again: for its open attempt, or for a new one. */
export async function applyReopening(tx: Tx, at: string, data: ReopeningData): Promise<void> {
  const { operation, attempt, attempt_row: opened, job } = data;
  if (opened !== null) {
    await tx.sql`
      insert into ${tx.t.attempt} (operation_id, number, idempotency_key, request, state, created_at)
      values (${operation}::text::bigint, ${attempt}, ${opened.idempotency_key}, ${JSON.stringify(opened.request)},
              'created', ${at})`;
    await tx.sql`
      update ${tx.t.operation} set sub_state = 'queued', reason = null, psp_reference = null, updated_at = ${at}
       where id = ${operation}::text::bigint`;
  }
  if (job === null) return;
  await tx.sql`
    insert into ${tx.t.job} (operation_id, kind, attempt_number, lane, action, run_at, fence, sends, first_sent_at,
                             last_sent_at)
    select id, kind, ${attempt}, ${job.lane!}, ${job.action!}, ${at}, ${job.fence!}, ${job.sends!},
           ${job.first_sent_at!}::timestamptz, ${job.last_sent_at!}::timestamptz
      from ${tx.t.operation}
     where id = ${operation}::text::bigint`;
}

/** A person wants a charge that waits for its buyer to be canceled; that ends nothing yet. */
export async function applyCancelRequest(tx: Tx, at: string, c: Json): Promise<void> {
  await tx.sql`
    update ${tx.t.attempt}
       set cancel_as = coalesce(cancel_as, 'canceled'), cancel_reason = coalesce(cancel_reason, ${c.reason!})
     where operation_id = ${c.operation!}::text::bigint and number = ${c.attempt!}`;
  await wakeJob(tx, at, String(c.operation));
}

async function wakeJob(tx: Tx, at: string, operation: string): Promise<void> {
  await tx.sql`
    update ${tx.t.job} set run_at = ${at}
     where operation_id = ${operation}::text::bigint and state = 'ready' and run_at > ${at}`;
}

/** A person ended an operation of which nothing had been sent. */
export async function applyCancellation(tx: Tx, at: string, c: Json): Promise<void> {
  await tx.sql`
    update ${tx.t.attempt} set state = 'not_sent', is_open = false, reason = ${c.reason!}
     where operation_id = ${c.operation!}::text::bigint and number = ${c.attempt!}`;
  await tx.sql`
    update ${tx.t.operation} set sub_state = 'canceled', reason = ${c.reason!}, updated_at = ${at}
     where id = ${c.operation!}::text::bigint`;
  await removeJob(tx, String(c.operation));
}

export async function addEntries(tx: Tx, at: string, entries: readonly EntryData[]): Promise<void> {
  for (const entry of entries) {
    await tx.sql`
      insert into ${tx.t.journalEntry} (id, cause, kind, posting_count, recorded_at)
      values (${entry.id}::text::bigint, ${entry.cause}, ${entry.kind}, ${entry.postings.length}, ${at})`;
    await tx.sql`
      insert into ${tx.t.posting} (entry_id, line, debit_id, credit_id, currency, amount_minor, no_overdraw)
      select ${entry.id}::text::bigint, p.line, (p.value->>0)::bigint, (p.value->>1)::bigint, p.value->>2,
             (p.value->>3)::bigint, (p.value->>4)::boolean
        from json_array_elements(${JSON.stringify(entry.postings)}::text::json) with ordinality as p (value, line)`;
  }
}

type ReviewData = {
  readonly payment: string;
  readonly state: string;
  readonly reason: string;
  readonly charges: readonly {
    readonly operation: string;
    readonly lane: string;
    readonly attempt: number;
    readonly fence: number;
  }[];
};

export async function applyReview(tx: Tx, event: Happened, data: ReviewData): Promise<void> {
  await tx.sql`
    update ${tx.t.riskReview}
       set state = ${data.state}, decided_at = ${event.at}, decided_by = ${event.principal}, reason = ${data.reason}
     where payment_id = ${data.payment}::text::bigint`;
  const isApproved = data.state === 'approved';
  const reason = isApproved ? null : `risk review: ${data.reason}`;
  for (const { operation, attempt, fence, lane } of data.charges) {
    await tx.sql`
      update ${tx.t.operation}
         set sub_state = ${isApproved ? 'queued' : 'risk_blocked'}, reason = ${reason}, updated_at = ${event.at}
       where id = ${operation}::text::bigint`;
    if (isApproved) {
      await tx.sql`
        insert into ${tx.t.job} (operation_id, kind, attempt_number, lane, action, fence, run_at)
        values (${operation}::text::bigint, 'charge', ${attempt}, ${lane}, 'send', ${fence}, ${event.at})`;
    } else {
      await tx.sql`
        update ${tx.t.attempt} set state = 'not_sent', is_open = false, reason = ${reason}
         where operation_id = ${operation}::text::bigint and number = ${attempt}`;
    }
  }
}
