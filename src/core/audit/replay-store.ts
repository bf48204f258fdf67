/** The SQL of replay: puts back, row by row, what an event says, with its ids and times. */
import type { Tx } from '../db/connection.ts';

type Json = Readonly<Record<string, string | number | boolean | null>>;
type Happened = { readonly at: string; readonly principal: string; readonly paymentId: bigint | null };

export async function isEmptyBook(tx: Tx): Promise<boolean> {
  const [row] = await tx.sql<{ used: boolean }[]>`
    select exists (select 1 from ${tx.t.payment}) or exists (select 1 from ${tx.t.account})
        or exists (select 1 from ${tx.t.event}) as used`;
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

type AcceptedOrder = Json & { readonly attempt: Json | null };
type AcceptedPayment = Json & { readonly orders: readonly AcceptedOrder[] };

export async function addPayment(tx: Tx, event: Happened, data: AcceptedPayment): Promise<void> {
  const { orders, ...rest } = data;
  const p = rest as Json;
  await tx.sql`
    insert into ${tx.t.payment} (id, checkout_id, idempotency_key, fingerprint, buyer, on_partial, risk_decision,
                                 risk_reason, metadata, batch_id, principal, accepted_at)
    values (${p.id!}::text::bigint, ${p.checkout_id!}, ${p.idempotency_key!}, decode(${p.fingerprint!}, 'hex'), ${p.buyer!},
            ${p.on_partial!}, ${p.risk_decision!}, ${p.risk_reason!}, ${p.metadata!}::text::json,
            ${p.batch_id!}::text::bigint, ${event.principal}, ${event.at})`;
  await tx.sql`insert into ${tx.t.checkout} (checkout_id, payment_id) values (${p.checkout_id!}, ${p.id!}::text::bigint)`;
  await tx.sql`
    insert into ${tx.t.idempotencyKey} (key, fingerprint, payment_id)
    values (${p.idempotency_key!}, decode(${p.fingerprint!}, 'hex'), ${p.id!}::text::bigint)`;
  for (const [i, order] of orders.entries()) await addOrder(tx, event.at, String(p.id), i + 1, order);
}

async function addOrder(
  tx: Tx,
  at: string,
  paymentId: string,
  line: number,
  data: AcceptedOrder,
): Promise<void> {
  const { attempt, ...rest } = data;
  const o = rest as Json;
  await tx.sql`
    insert into ${tx.t.paymentOrder} (id, payment_id, line, seller, amount_minor, currency, platform_fee_minor,
                                      payment_method, customer_present, release_after_days, order_ref, metadata)
    values (${o.id!}::text::bigint, ${paymentId}::text::bigint, ${line}, ${o.seller!}, ${o.amount_minor!}::text::bigint,
            ${o.currency!}, ${o.platform_fee_minor!}::text::bigint, ${o.payment_method!}, ${o.customer_present!},
            ${o.release_after_days!}, ${o.order_ref!}, ${o.metadata!}::text::json)`;
  await tx.sql`
    insert into ${tx.t.operation} (id, kind, payment_id, payment_order_id, psp_account, amount_minor, currency,
                                   sub_state, reason, created_at, updated_at)
    values (${o.operation!}::text::bigint, 'charge', ${paymentId}::text::bigint, ${o.id!}::text::bigint, ${o.psp_account!},
            ${o.amount_minor!}::text::bigint, ${o.currency!}, ${o.sub_state!}, ${o.reason!}, ${at}, ${at})`;
  if (attempt === null) return;
  await tx.sql`
    insert into ${tx.t.attempt} (operation_id, number, idempotency_key, request, state, created_at)
    values (${o.operation!}::text::bigint, 1, ${attempt.idempotency_key!}, ${attempt.request!}, 'created', ${at})`;
}

export async function addAnsweredKey(tx: Tx, event: Happened, k: Json): Promise<void> {
  await tx.sql`
    insert into ${tx.t.idempotencyKey} (key, fingerprint, payment_id, answer)
    values (${k.key!}, decode(${k.fingerprint!}, 'hex'), ${event.paymentId}, ${k.answer!})`;
}

export async function applyClaim(tx: Tx, at: string, c: Json): Promise<void> {
  await tx.sql`
    update ${tx.t.attempt}
       set state = ${c.attempt_state!}, sends = ${c.sends!}, first_sent_at = coalesce(first_sent_at, ${at}),
           last_sent_at = case ${c.action!} when 'send' then ${at}::timestamptz else last_sent_at end
     where operation_id = ${c.operation!}::text::bigint and number = ${c.attempt!}`;
  await tx.sql`
    update ${tx.t.operation} set sub_state = ${c.sub_state!}, updated_at = ${at}
     where id = ${c.operation!}::text::bigint`;
}

export async function applyRescue(tx: Tx, at: string, r: Json): Promise<void> {
  await tx.sql`
    update ${tx.t.attempt} set state = ${r.attempt_state!}, maybe_sent = maybe_sent or ${r.maybe_sent!}
     where operation_id = ${r.operation!}::text::bigint and number = ${r.attempt!}`;
  await tx.sql`
    update ${tx.t.operation} set sub_state = ${r.sub_state!}, fence = greatest(fence, ${r.fence!}::integer), updated_at = ${at}
     where id = ${r.operation!}::text::bigint`;
}

type EvidenceData = {
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
             resolved_by = ${a.resolved_by!}
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
}

type EntryData = {
  readonly id: string;
  readonly cause: string;
  readonly kind: string;
  readonly postings: readonly (readonly [string, string, string, string, boolean])[];
};

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
