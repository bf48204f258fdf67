/**
 * Remembers what was asked for: all SQL on payment, payment_order, checkout, idempotency_key and batch; and, because they
 * are written in one statement with their order, the first rows of its operation, attempt and job.
 */
import { insertEvents } from '../audit/event-store.ts';
import { lines, list, type Queryable, type Tx } from '../db/connection.ts';
import type { SubState } from '../operation/operation.ts';

/** What the book already knows about a request's two names. */
export type KnownRequest = {
  /** Position in the arrays asked for, from 0. */
  readonly index: number;
  readonly keyPaymentId: bigint | null;
  readonly keyFingerprint: Buffer | null;
  readonly keyAnswer: string | null;
  readonly checkoutPaymentId: bigint | null;
  readonly checkoutFingerprint: Buffer | null;
};

/** Looks up which idempotency keys and checkouts are taken; rows only for those that are. */
export async function findKnownRequests(
  on: Queryable,
  requests: readonly { idempotencyKey: string; checkoutId: string }[],
): Promise<readonly KnownRequest[]> {
  return on.sql<KnownRequest[]>`
    select (i.n - 1)::integer as index, k.payment_id as key_payment_id, k.fingerprint as key_fingerprint,
           k.answer as key_answer, c.payment_id as checkout_payment_id, p.fingerprint as checkout_fingerprint
      from unnest(${list(requests.map((r) => r.idempotencyKey))}::text[],
                  ${list(requests.map((r) => r.checkoutId))}::text[]) with ordinality as i (key, checkout_id, n)
      left join ${on.t.idempotencyKey} k on k.key = i.key
      left join ${on.t.checkout} c on c.checkout_id = i.checkout_id
      left join ${on.t.payment} p on p.id = c.payment_id
     where k.key is not null
        or c.checkout_id is not null`;
}

/** Takes `count` numbers of the book's number space, in rising order; as one text, because a row each costs more. */
export async function takeIds(tx: Tx, count: number): Promise<readonly bigint[]> {
  const [row] = await tx.sql<{ ids: string }[]>`
    select string_agg(nextval(${`${tx.book}.object_id`}::regclass)::text, ' ') as ids from generate_series(1, ${count})`;
  return row!.ids.split(' ').map(BigInt);
}

export type NewPayment = {
  readonly id: bigint;
  readonly checkoutId: string;
  readonly idempotencyKey: string;
  /** SHA-256, 32 bytes, as hex. */
  readonly fingerprintHex: string;
  readonly buyer: string;
  readonly onPartial: 'keep' | 'refund';
  readonly riskDecision: 'allow' | 'review' | 'block';
  readonly riskReason: string;
  /** JSON text. */
  readonly metadata: string;
  readonly batchId: bigint | null;
};

/**
 * Inserts payments with their checkout and key rows, in key order, so that two batches never wait for
 * each other in a circle. A name taken meanwhile fails with 23505: the whole transaction is tried again.
 */
export async function insertPayments(
  tx: Tx,
  principal: string,
  payments: readonly NewPayment[],
): Promise<void> {
  const { t } = tx;
  await tx.sql`
    with fresh_payment as materialized (
      select *
        from rows from (unnest(${list(payments.map((p) => p.id))}::bigint[]),
                        unnest(${list(payments.map((p) => p.checkoutId))}::text[]),
                        unnest(${list(payments.map((p) => p.idempotencyKey))}::text[]),
                        unnest(${list(payments.map((p) => `\\x${p.fingerprintHex}`))}::bytea[]),
                        unnest(${list(payments.map((p) => p.buyer))}::text[]),
                        unnest(${list(payments.map((p) => p.onPartial))}::text[]),
                        unnest(${list(payments.map((p) => p.riskDecision))}::text[]),
                        unnest(${list(payments.map((p) => p.riskReason))}::text[]),
                        string_to_table(${lines(payments.map((p) => p.metadata))}, E'\\n'),
                        unnest(${list(payments.map((p) => p.batchId))}::bigint[]))
             as p (id, checkout_id, idempotency_key, fingerprint, buyer, on_partial, risk_decision, risk_reason,
                   metadata, batch_id)
    ), new_payment as (
      insert into ${t.payment} (id, checkout_id, idempotency_key, fingerprint, buyer, on_partial, risk_decision,
                                risk_reason, metadata, batch_id, principal)
      select id, checkout_id, idempotency_key, fingerprint, buyer, on_partial, risk_decision, risk_reason,
             metadata::json, batch_id, ${principal}
        from fresh_payment
    ), new_checkout as (
      insert into ${t.checkout} (checkout_id, payment_id)
      select checkout_id, id
        from fresh_payment
    )
    insert into ${t.idempotencyKey} (key, fingerprint, payment_id)
    select idempotency_key, fingerprint, id
      from fresh_payment`;
}

/** Remembers a further key of an existing payment with the answer it was given. */
export async function insertAnsweredKeys(
  tx: Tx,
  principal: string,
  keys: readonly { key: string; fingerprintHex: string; paymentId: bigint; answer: string }[],
): Promise<void> {
  if (keys.length === 0) return;
  await tx.sql`
    insert into ${tx.t.idempotencyKey} (key, fingerprint, payment_id, answer)
    select * from unnest(${list(keys.map((k) => k.key))}::text[],
                         ${list(keys.map((k) => `\\x${k.fingerprintHex}`))}::bytea[],
                         ${list(keys.map((k) => k.paymentId))}::bigint[],
                         ${list(keys.map((k) => k.answer))}::text[])`;
  await insertEvents(
    tx,
    principal,
    keys.map((k) => ({
      kind: 'key_answered' as const,
      paymentId: k.paymentId,
      data: JSON.stringify({ key: k.key, fingerprint: k.fingerprintHex, answer: k.answer }),
    })),
  );
}

export type AnsweredKey = {
  readonly paymentId: bigint;
  readonly fingerprint: Buffer;
  /** Null: answered by the acceptance of its payment. */
  readonly answer: string | null;
};

/** What an idempotency key was used for, or null when it is free. */
export async function findAnsweredKey(on: Queryable, key: string): Promise<AnsweredKey | null> {
  const [row] = await on.sql<AnsweredKey[]>`
    select payment_id, fingerprint, answer from ${on.t.idempotencyKey} where key = ${key}`;
  return row ?? null;
}

/** An order of a new payment with everything that is done about it. */
export type NewCharge = {
  readonly id: bigint;
  readonly paymentId: bigint;
  readonly line: number;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly platformFeeMinor: bigint;
  readonly paymentMethod: string;
  readonly customerPresent: boolean;
  readonly releaseAfterDays: number | null;
  readonly orderRef: string | null;
  /** JSON text. */
  readonly metadata: string;
  readonly returnUrl: string | null;
  readonly operationId: bigint;
  readonly pspAccount: string;
  readonly subState: SubState;
  readonly reason: string | null;
  /** Its first attempt; null for what may never be sent. The request is JSON text, stored byte for byte. */
  readonly attempt: { readonly idempotencyKey: string; readonly request: string } | null;
  /** Where its job waits, due now; null for what may not be sent, or not yet. */
  readonly lane: string | null;
};

/**
 * Inserts orders with their operations, first attempts and jobs. One statement, because the four say much the same: each
 * value is written out, sent and read once (measured against a statement for each table: a twentieth of an acceptance).
 */
export async function insertCharges(tx: Tx, charges: readonly NewCharge[]): Promise<void> {
  const { t } = tx;
  await tx.sql`
    with fresh_charge as materialized (
      select *
        from rows from (unnest(${list(charges.map((c) => c.id))}::bigint[]),
                        unnest(${list(charges.map((c) => c.paymentId))}::bigint[]),
                        unnest(${list(charges.map((c) => c.line))}::smallint[]),
                        unnest(${list(charges.map((c) => c.seller))}::text[]),
                        unnest(${list(charges.map((c) => c.amountMinor))}::bigint[]),
                        unnest(${list(charges.map((c) => c.currency))}::text[]),
                        unnest(${list(charges.map((c) => c.platformFeeMinor))}::bigint[]),
                        unnest(${list(charges.map((c) => c.paymentMethod))}::text[]),
                        unnest(${list(charges.map((c) => c.customerPresent))}::boolean[]),
                        unnest(${list(charges.map((c) => c.releaseAfterDays))}::smallint[]),
                        unnest(${list(charges.map((c) => c.orderRef))}::text[]),
                        string_to_table(${lines(charges.map((c) => c.metadata))}, E'\\n'),
                        unnest(${list(charges.map((c) => c.returnUrl))}::text[]),
                        unnest(${list(charges.map((c) => c.operationId))}::bigint[]),
                        unnest(${list(charges.map((c) => c.pspAccount))}::text[]),
                        unnest(${list(charges.map((c) => c.subState))}::text[]),
                        unnest(${list(charges.map((c) => c.reason))}::text[]),
                        unnest(${list(charges.map((c) => c.attempt?.idempotencyKey ?? null))}::text[]),
                        string_to_table(${lines(charges.map((c) => c.attempt?.request ?? ''))}, E'\\n'),
                        unnest(${list(charges.map((c) => c.lane))}::text[]))
             as c (id, payment_id, line, seller, amount_minor, currency, platform_fee_minor, payment_method,
                   customer_present, release_after_days, order_ref, metadata, return_url, operation_id, psp_account,
                   sub_state, reason, idempotency_key, request, lane)
    ), new_order as (
      insert into ${t.paymentOrder} (id, payment_id, line, seller, amount_minor, currency, platform_fee_minor,
                                     payment_method, customer_present, release_after_days, order_ref, metadata, return_url)
      select id, payment_id, line, seller, amount_minor, currency, platform_fee_minor, payment_method,
             customer_present, release_after_days, order_ref, metadata::json, return_url
        from fresh_charge
    ), new_operation as (
      insert into ${t.operation} (id, kind, payment_id, payment_order_id, psp_account, amount_minor, currency, sub_state,
                                  reason)
      select operation_id, 'charge', payment_id, id, psp_account, amount_minor, currency, sub_state, reason
        from fresh_charge
    ), new_attempt as (
      insert into ${t.attempt} (operation_id, number, idempotency_key, request, state)
      select operation_id, 1, idempotency_key, request, 'created'
        from fresh_charge
       where idempotency_key is not null
    )
    insert into ${t.job} (operation_id, kind, attempt_number, lane, action)
    select operation_id, 'charge', 1, lane, 'send'
      from fresh_charge
     where lane is not null`;
}

/** A payment with one of its orders and that order's charge, as reads need it. */
export type PaymentRow = {
  readonly id: bigint;
  readonly checkoutId: string;
  readonly idempotencyKey: string;
  readonly buyer: string;
  readonly onPartial: 'keep' | 'refund';
  readonly riskDecision: 'allow' | 'review' | 'block';
  readonly riskReason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly acceptedAt: string;
  readonly orderId: bigint;
  readonly line: number;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly platformFeeMinor: bigint;
  readonly paymentMethod: string;
  readonly customerPresent: boolean;
  readonly orderRef: string | null;
  readonly returnUrl: string | null;
  readonly orderMetadata: Readonly<Record<string, string>>;
  readonly operationId: bigint;
  readonly pspAccount: string;
  readonly subState: SubState;
  readonly reason: string | null;
  readonly pspReference: string | null;
  readonly updatedAt: string;
  /** What the buyer got back of it: refunds that are done, in minor units. */
  readonly refundedMinor: bigint;
  /** What open and lost disputes took of it. */
  readonly disputedMinor: bigint;
};

/** Rows of the payments, one per order, by payment (newest first) and line. */
export async function listPaymentRows(on: Queryable, ids: readonly bigint[]): Promise<readonly PaymentRow[]> {
  return on.sql<PaymentRow[]>`
    select p.id, p.checkout_id, p.idempotency_key, p.buyer, p.on_partial, p.risk_decision, p.risk_reason, p.metadata,
           p.accepted_at, po.id as order_id, po.line, po.seller, po.amount_minor, po.currency, po.platform_fee_minor,
           po.payment_method, po.customer_present, po.order_ref, po.return_url, po.metadata as order_metadata, o.id as operation_id, o.psp_account,
           ${on.t.shownSubState}(o.sub_state, j.state) as sub_state, o.reason, o.psp_reference,
           case j.state when 'leased' then greatest(o.updated_at, j.last_sent_at) else o.updated_at end as updated_at,
           (select coalesce(sum(r.amount_minor), 0)::bigint
              from ${on.t.refund} r
              join ${on.t.operation} ro on ro.id = r.operation_id
             where r.payment_order_id = po.id
               and ro.sub_state = 'succeeded') as refunded_minor,
           (select coalesce(sum(d.amount_minor), 0)::bigint
              from ${on.t.dispute} d
             where d.payment_order_id = po.id
               and d.holder = 'seller'
               and d.state in ('opened', 'lost')) as disputed_minor
      from ${on.t.payment} p
      join ${on.t.paymentOrder} po on po.payment_id = p.id
      join ${on.t.operation} o on o.payment_order_id = po.id and o.kind = 'charge'
      left join ${on.t.job} j on j.operation_id = o.id
     where p.id = any(${list(ids)}::bigint[])
     order by p.id desc, po.line`;
}

export type PaymentFilter = {
  /** Only payments before this one (keyset cursor). */
  readonly beforeId: bigint | null;
  /** Page size, 1–1,000. */
  readonly limit: number;
  readonly buyer: string | null;
  readonly seller: string | null;
  readonly batchId: bigint | null;
  /** Some order of the payment is in one of these; null for any. */
  readonly subStates: readonly SubState[] | null;
};

/** Ids of payments, newest first. */
export async function listPaymentIds(on: Queryable, filter: PaymentFilter): Promise<readonly bigint[]> {
  const { sql, t } = on;
  const bySeller = filter.seller === null ? sql`` : sql`and po.seller = ${filter.seller}`;
  const byState =
    filter.subStates === null
      ? sql``
      : sql`and ${t.shownSubState}(o.sub_state, j.state) = any(${list(filter.subStates)}::text[])`;
  const rows = await sql<{ id: bigint }[]>`
    select p.id
      from ${t.payment} p
     where ${filter.beforeId === null ? sql`true` : sql`p.id < ${filter.beforeId}`}
       ${filter.buyer === null ? sql`` : sql`and p.buyer = ${filter.buyer}`}
       ${filter.batchId === null ? sql`` : sql`and p.batch_id = ${filter.batchId}`}
       and exists (select 1
                     from ${t.paymentOrder} po
                     join ${t.operation} o on o.payment_order_id = po.id and o.kind = 'charge'
                     left join ${t.job} j on j.operation_id = o.id
                    where po.payment_id = p.id ${bySeller} ${byState})
     order by p.id desc
     limit ${filter.limit}`;
  return rows.map((row) => row.id);
}

/** The payment of a checkout, or null. */
export async function findPaymentByCheckout(on: Queryable, checkoutId: string): Promise<bigint | null> {
  const [row] = await on.sql<{ paymentId: bigint }[]>`
    select payment_id from ${on.t.checkout} where checkout_id = ${checkoutId}`;
  return row?.paymentId ?? null;
}

/** The payment and charge of an order, or null. */
export async function findOrder(
  on: Queryable,
  orderId: bigint,
): Promise<{ paymentId: bigint; operationId: bigint } | null> {
  const [row] = await on.sql<{ paymentId: bigint; operationId: bigint }[]>`
    select po.payment_id, o.id as operation_id
      from ${on.t.paymentOrder} po
      join ${on.t.operation} o on o.payment_order_id = po.id and o.kind = 'charge'
     where po.id = ${orderId}`;
  return row ?? null;
}

export type Batch = {
  readonly id: bigint;
  readonly sha256: string;
  readonly source: string;
  readonly rowCount: number;
  readonly paymentCount: number;
  readonly principal: string;
  readonly createdAt: string;
  /** Null while it is being submitted, or after an interruption. */
  readonly submittedAt: string | null;
};

/** Opens the batch of a file, or finds the one that the same bytes opened before. */
export async function openBatch(
  tx: Tx,
  batch: { sha256: string; source: string; rowCount: number; paymentCount: number; principal: string },
): Promise<Batch & { readonly isNew: boolean }> {
  const { sql, t } = tx;
  const inserted = await sql<Batch[]>`
    insert into ${t.batch} (kind, sha256, source, row_count, payment_count, principal)
    values ('payments', ${batch.sha256}, ${batch.source}, ${batch.rowCount}, ${batch.paymentCount}, ${batch.principal})
        on conflict (sha256) do nothing
    returning id, sha256, source, row_count, payment_count, principal, created_at, submitted_at`;
  const opened = inserted[0];
  if (opened !== undefined) {
    const data = JSON.stringify({
      id: opened.id.toString(),
      kind: 'payments',
      sha256: batch.sha256,
      source: batch.source,
      row_count: batch.rowCount,
      payment_count: batch.paymentCount,
    });
    await insertEvents(tx, batch.principal, [{ kind: 'batch_opened', paymentId: null, data }]);
    return { ...opened, isNew: true };
  }
  const [found] = await sql<Batch[]>`
    select id, sha256, source, row_count, payment_count, principal, created_at, submitted_at
      from ${t.batch}
     where sha256 = ${batch.sha256}`;
  return { ...found!, isNew: false };
}

/** All payments of the batch are accepted. Once; later calls change nothing. */
export async function markBatchSubmitted(tx: Tx, id: bigint, principal: string): Promise<void> {
  const changed = await tx.sql`
    update ${tx.t.batch}
       set submitted_at = now()
     where id = ${id}
       and submitted_at is null
    returning id`;
  if (changed.length === 0) return;
  const data = JSON.stringify({ id: id.toString() });
  await insertEvents(tx, principal, [{ kind: 'batch_submitted', paymentId: null, data }]);
}
