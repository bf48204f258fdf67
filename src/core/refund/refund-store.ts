/** Remembers refunds: all SQL on refund and partial_watch. What became of a refund is in its operation. */
import { list, type Queryable, type Tx } from '../db/connection.ts';
import type { SubState } from '../operation/operation.ts';
import { FAILED_REFUND, type Refundable, refundNumberOf } from './refund.ts';

/** A refund with where it stands. */
export type RefundRow = {
  readonly id: bigint;
  readonly refundId: string;
  readonly fingerprint: Buffer;
  readonly paymentId: bigint;
  readonly orderId: bigint;
  readonly operationId: bigint;
  readonly pspAccount: string;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly feeShareMinor: bigint;
  readonly cause: 'request' | 'partial';
  /** Why somebody asked for it. */
  readonly requestReason: string;
  readonly requestedAt: string;
  readonly subState: SubState;
  /** What the PSP or the check said of it. */
  readonly reason: string | null;
  readonly pspReference: string | null;
  readonly updatedAt: string;
};

export type RefundFilter = {
  readonly ids: readonly bigint[] | null;
  readonly refundIds: readonly string[] | null;
  readonly orderId: bigint | null;
  readonly paymentId: bigint | null;
  /** Keyset cursor: only refunds before this one. */
  readonly beforeId: bigint | null;
  /** Page size, 1–1,000. */
  readonly limit: number;
};

export const ANY_REFUND: RefundFilter = {
  ids: null,
  refundIds: null,
  orderId: null,
  paymentId: null,
  beforeId: null,
  limit: 1_000,
};

/** Refunds, newest first. */
export async function listRefunds(on: Queryable, filter: RefundFilter): Promise<readonly RefundRow[]> {
  const { sql, t } = on;
  return sql<RefundRow[]>`
    select r.id, r.refund_id, r.fingerprint, r.payment_id, r.payment_order_id as order_id, r.operation_id, o.psp_account,
           o.seller, r.amount_minor, r.currency, r.fee_share_minor, r.cause, r.reason as request_reason, r.requested_at,
           ${t.shownSubState}(o.sub_state, j.state) as sub_state, o.reason, o.psp_reference, o.updated_at
      from ${t.refund} r
      join ${t.operation} o on o.id = r.operation_id
      left join ${t.job} j on j.operation_id = o.id
     where ${filter.beforeId === null ? sql`true` : sql`r.id < ${filter.beforeId}`}
       ${filter.ids === null ? sql`` : sql`and r.id = any(${list(filter.ids)}::bigint[])`}
       ${filter.refundIds === null ? sql`` : sql`and r.refund_id = any(${list(filter.refundIds)}::text[])`}
       ${filter.orderId === null ? sql`` : sql`and r.payment_order_id = ${filter.orderId}`}
       ${filter.paymentId === null ? sql`` : sql`and r.payment_id = ${filter.paymentId}`}
     order by r.id desc
     limit ${filter.limit}`;
}

/** By our id ("rfd_12"), or by the caller's own name; the id is tried first. */
export async function findRefund(on: Queryable, name: string): Promise<RefundRow | null> {
  const id = refundNumberOf(name);
  const byId = id === null ? [] : await listRefunds(on, { ...ANY_REFUND, ids: [id] });
  if (byId[0] !== undefined) return byId[0];
  const [byName] = await listRefunds(on, { ...ANY_REFUND, refundIds: [name.normalize('NFC')] });
  return byName ?? null;
}

/** A charge that refunds are asked of, its row locked. */
export type LockedCharge = Omit<
  Refundable,
  'refundedMinor' | 'disputedMinor' | 'sharesGivenMinor' | 'fromPendingMinor'
> & {
  readonly paymentId: bigint;
  readonly seller: string;
  readonly pspAccount: string;
  readonly pspReference: string | null;
};

/** Locks the charges of these orders in operation order: two refunds of one order come one after the other. */
export async function lockCharges(tx: Tx, orderIds: readonly bigint[]): Promise<readonly LockedCharge[]> {
  return tx.sql<LockedCharge[]>`
    select o.payment_order_id as order_id, o.payment_id, po.seller, o.psp_account, o.psp_reference, o.sub_state,
           o.amount_minor as gross_minor, po.platform_fee_minor as fee_minor, o.currency,
           exists (select 1 from ${tx.t.fundRelease} f where f.operation_id = o.id) as is_pending
      from ${tx.t.operation} o
      join ${tx.t.paymentOrder} po on po.id = o.payment_order_id
     where o.kind = 'charge'
       and o.payment_order_id = any(${list(orderIds)}::bigint[])
     order by o.id
       for no key update of o`;
}

export type RefundSums = {
  readonly orderId: bigint;
  /** By refunds that have not failed, and by open and lost disputes. */
  readonly refundedMinor: bigint;
  /** That part of it which disputes took. */
  readonly disputedMinor: bigint;
  readonly sharesGivenMinor: bigint;
  readonly fromPendingMinor: bigint;
};

/**
 * What has been taken of these orders, without refunds that failed and disputes that were won; no row where nothing was.
 * A dispute that the bank decides takes the fee's share with it, as a refund does.
 */
export async function sumRefunds(on: Queryable, orderIds: readonly bigint[]): Promise<readonly RefundSums[]> {
  return on.sql<RefundSums[]>`
    select order_id, sum(amount)::bigint as refunded_minor, sum(disputed)::bigint as disputed_minor,
           sum(share)::bigint as shares_given_minor, sum(pending)::bigint as from_pending_minor
      from (select r.payment_order_id as order_id, r.amount_minor as amount, 0 as disputed, r.fee_share_minor as share,
                   o.from_pending_minor as pending
              from ${on.t.refund} r
              join ${on.t.operation} o on o.id = r.operation_id
             where r.payment_order_id = any(${list(orderIds)}::bigint[])
               and o.sub_state <> all(${list(FAILED_REFUND)}::text[])
            union all
            select payment_order_id, amount_minor, amount_minor, amount_minor - seller_share_minor, 0
              from ${on.t.dispute}
             where payment_order_id = any(${list(orderIds)}::bigint[])
               and holder = 'seller'
               and state in ('opened', 'lost')) taken
     group by order_id`;
}

export type NewRefund = {
  readonly id: bigint;
  readonly refundId: string;
  /** SHA-256, 32 bytes, as hex. */
  readonly fingerprintHex: string;
  readonly paymentId: bigint;
  readonly orderId: bigint;
  readonly operationId: bigint;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly feeShareMinor: bigint;
  readonly cause: 'request' | 'partial';
  readonly reason: string;
};

/** A name that is taken fails with 23505; more than was captured with PG005, whatever the caller believed. */
export async function insertRefunds(tx: Tx, principal: string, refunds: readonly NewRefund[]): Promise<void> {
  await tx.sql`
    insert into ${tx.t.refund} (id, refund_id, fingerprint, payment_id, payment_order_id, operation_id, amount_minor,
                                currency, fee_share_minor, cause, reason, principal)
    select r.*, ${principal}
      from unnest(${list(refunds.map((r) => r.id))}::bigint[],
                  ${list(refunds.map((r) => r.refundId))}::text[],
                  ${list(refunds.map((r) => `\\x${r.fingerprintHex}`))}::bytea[],
                  ${list(refunds.map((r) => r.paymentId))}::bigint[],
                  ${list(refunds.map((r) => r.orderId))}::bigint[],
                  ${list(refunds.map((r) => r.operationId))}::bigint[],
                  ${list(refunds.map((r) => r.amountMinor))}::bigint[],
                  ${list(refunds.map((r) => r.currency))}::text[],
                  ${list(refunds.map((r) => r.feeShareMinor))}::bigint[],
                  ${list(refunds.map((r) => r.cause))}::text[],
                  ${list(refunds.map((r) => r.reason))}::text[]) as r`;
}

/** Payments of several orders that are refunded when only some of them succeed. */
export async function insertPartialWatches(tx: Tx, paymentIds: readonly bigint[]): Promise<void> {
  if (paymentIds.length === 0) return;
  await tx.sql`
    insert into ${tx.t.partialWatch} (payment_id)
    select * from unnest(${list(paymentIds)}::bigint[])`;
}

/** Takes watched payments whose orders have all ended; the rows go with the caller's transaction. */
export async function takeEndedWatches(tx: Tx, limit: number): Promise<readonly bigint[]> {
  const rows = await tx.sql<{ paymentId: bigint }[]>`
    with ended as materialized (
      select w.payment_id
        from ${tx.t.partialWatch} w
       where not exists (select 1
                           from ${tx.t.paymentOrder} po
                           join ${tx.t.operation} o on o.payment_order_id = po.id and o.kind = 'charge'
                          where po.payment_id = w.payment_id
                            and o.sub_state not in ('succeeded', 'declined', 'rejected', 'risk_blocked', 'canceled',
                                                    'expired', 'reversed'))
       order by w.payment_id
       limit ${limit}
         for update skip locked
    )
    delete from ${tx.t.partialWatch} w
     using ended
     where w.payment_id = ended.payment_id
    returning w.payment_id`;
  return rows.map((row) => row.paymentId);
}

/** Orders of these payments that succeeded although another order of the same payment failed. */
export async function listPartialSuccesses(
  on: Queryable,
  paymentIds: readonly bigint[],
): Promise<readonly bigint[]> {
  const rows = await on.sql<{ orderId: bigint }[]>`
    select po.id as order_id
      from ${on.t.paymentOrder} po
      join ${on.t.operation} o on o.payment_order_id = po.id and o.kind = 'charge'
     where po.payment_id = any(${list(paymentIds)}::bigint[])
       and o.sub_state = 'succeeded'
       and exists (select 1
                     from ${on.t.paymentOrder} other
                     join ${on.t.operation} f on f.payment_order_id = other.id and f.kind = 'charge'
                    where other.payment_id = po.payment_id
                      and f.sub_state <> 'succeeded')
     order by po.id`;
  return rows.map((row) => row.orderId);
}
