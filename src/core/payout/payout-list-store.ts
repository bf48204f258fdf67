/** Reads payouts for people and plans: pages, sums, and what looks like the same payout again. Writes nothing. */
import { list, type Queryable } from '../db/connection.ts';
import type { SubState } from '../operation/operation.ts';
import { type ItemState, type PayoutState, storedBehind } from './payout.ts';
import type { PayoutBatch } from './payout-store.ts';

/** An item with its batch and what became of its operation. */
export type PayoutRow = {
  readonly id: bigint;
  readonly batchId: bigint;
  readonly line: number;
  readonly itemRef: string;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly destination: string | null;
  readonly memo: string | null;
  readonly state: ItemState;
  readonly code: string | null;
  readonly reason: string | null;
  readonly paidTo: string | null;
  readonly createdAt: string;
  readonly decidedAt: string | null;
  readonly operationId: bigint | null;
  readonly subState: SubState | null;
  readonly operationReason: string | null;
  readonly pspAccount: string;
  readonly pspReference: string | null;
  readonly updatedAt: string;
};

export type PayoutFilter = {
  readonly id: bigint | null;
  readonly operationId: bigint | null;
  /** Only payouts before this one (keyset cursor). */
  readonly beforeId: bigint | null;
  readonly batchId: bigint | null;
  readonly itemRef: string | null;
  readonly seller: string | null;
  readonly state: PayoutState | null;
  /** Page size, 1–1,000. */
  readonly limit: number;
};

/** Newest first. */
export async function listPayouts(on: Queryable, filter: PayoutFilter): Promise<readonly PayoutRow[]> {
  const { sql, t } = on;
  const shown = sql`${t.shownSubState}(o.sub_state, j.state)`;
  const behind = filter.state === null ? null : storedBehind(filter.state);
  return sql<PayoutRow[]>`
    select i.id, i.batch_id, i.line, i.item_ref, i.seller, i.amount_minor, i.currency, i.destination, i.memo, i.state,
           i.code, i.reason, i.paid_to, i.created_at, i.decided_at, i.operation_id, ${shown} as sub_state,
           o.reason as operation_reason, coalesce(o.psp_account, b.psp_account) as psp_account, o.psp_reference,
           greatest(i.created_at, i.decided_at, o.updated_at, j.last_sent_at) as updated_at
      from ${t.payoutItem} i
      join ${t.payoutBatch} b on b.id = i.batch_id
      left join ${t.operation} o on o.id = i.operation_id
      left join ${t.job} j on j.operation_id = i.operation_id
     where ${filter.beforeId === null ? sql`true` : sql`i.id < ${filter.beforeId}`}
       ${filter.id === null ? sql`` : sql`and i.id = ${filter.id}`}
       ${filter.operationId === null ? sql`` : sql`and i.operation_id = ${filter.operationId}`}
       ${filter.batchId === null ? sql`` : sql`and i.batch_id = ${filter.batchId}`}
       ${filter.itemRef === null ? sql`` : sql`and i.id = (select payout_id from ${t.payoutRef} where item_ref = ${filter.itemRef})`}
       ${filter.seller === null ? sql`` : sql`and i.seller = ${filter.seller}`}
       ${
         behind === null
           ? sql``
           : sql`and (i.state = any(${list(behind.items)}::text[])
                  or i.state = 'approved' and ${shown} = any(${list(behind.operations)}::text[]))`
       }
     order by i.id desc
     limit ${filter.limit}`;
}

/** No condition but a page size of one. */
export const ANY_PAYOUT: PayoutFilter = {
  id: null,
  operationId: null,
  beforeId: null,
  batchId: null,
  itemRef: null,
  seller: null,
  state: null,
  limit: 1,
};

export type BatchSum = {
  readonly state: ItemState;
  readonly subState: SubState | null;
  readonly currency: string;
  readonly items: number;
  readonly amountMinor: bigint;
};

/** A batch in a few rows, whatever its size. */
export async function sumUpBatch(on: Queryable, batchId: bigint): Promise<readonly BatchSum[]> {
  const { sql, t } = on;
  return sql<BatchSum[]>`
    select i.state, ${t.shownSubState}(o.sub_state, j.state) as sub_state, i.currency, count(*)::integer as items,
           sum(i.amount_minor)::bigint as amount_minor
      from ${t.payoutItem} i
      left join ${t.operation} o on o.id = i.operation_id
      left join ${t.job} j on j.operation_id = i.operation_id
     where i.batch_id = ${batchId}
     group by 1, 2, 3
     order by 1, 2, 3`;
}

export type BatchStanding = {
  readonly state: ItemState;
  readonly subState: SubState | null;
  /** No job, and an open dead letter: nothing moves it on but a person, or evidence that comes by itself. */
  readonly needsPerson: boolean;
  readonly items: number;
};

/** How far the items of a batch are, in a few rows. */
export async function listBatchStandings(on: Queryable, batchId: bigint): Promise<readonly BatchStanding[]> {
  const { sql, t } = on;
  return sql<BatchStanding[]>`
    select i.state, ${t.shownSubState}(o.sub_state, j.state) as sub_state,
           j.operation_id is null
             and exists (select 1 from ${t.deadLetter} d where d.operation_id = o.id and d.state = 'open')
             as needs_person,
           count(*)::integer as items
      from ${t.payoutItem} i
      left join ${t.operation} o on o.id = i.operation_id
      left join ${t.job} j on j.operation_id = i.operation_id
     where i.batch_id = ${batchId}
     group by 1, 2, 3`;
}

export type BatchFilter = {
  readonly beforeId: bigint | null;
  readonly state: PayoutBatch['state'] | null;
  /** Page size, 1–1,000. */
  readonly limit: number;
};

/** Newest first. */
export async function listPayoutBatches(on: Queryable, filter: BatchFilter): Promise<readonly PayoutBatch[]> {
  const { sql, t } = on;
  return sql<PayoutBatch[]>`
    select id, sha256, source, psp_account, item_count, state, submitted_by, submitted_at, approved_by, approved_at,
           ended_at
      from ${t.payoutBatch}
     where ${filter.beforeId === null ? sql`true` : sql`id < ${filter.beforeId}`}
       ${filter.state === null ? sql`` : sql`and state = ${filter.state}`}
     order by id desc
     limit ${filter.limit}`;
}

/** The newest batch of these bytes, or null. */
export async function findBatchOfFile(on: Queryable, sha256: string): Promise<bigint | null> {
  const [row] = await on.sql<{ id: bigint }[]>`
    select id from ${on.t.payoutBatch} where sha256 = ${sha256} order by id desc limit 1`;
  return row?.id ?? null;
}

type Refused = {
  readonly id: bigint;
  readonly line: number;
  readonly itemRef: string;
  readonly code: string;
  readonly reason: string;
};

/** The items of a batch that were not approved, in the order of the file. */
export async function listRefused(
  on: Queryable,
  batchId: bigint,
  limit: number,
): Promise<readonly Refused[]> {
  return on.sql<Refused[]>`
    select id, line, item_ref, code, reason
      from ${on.t.payoutItem}
     where batch_id = ${batchId}
       and state = 'refused'
     order by line
     limit ${limit}`;
}

export type DraftRow = {
  readonly id: bigint;
  readonly line: number;
  readonly itemRef: string;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly destination: string | null;
  readonly memo: string | null;
};

/** The drafts of a batch after an id, in the order of the file. */
export async function listDrafts(
  on: Queryable,
  batchId: bigint,
  page: { readonly afterId: bigint; readonly limit: number },
): Promise<readonly DraftRow[]> {
  return on.sql<DraftRow[]>`
    select id, line, item_ref, seller, amount_minor, currency, destination, memo
      from ${on.t.payoutItem}
     where batch_id = ${batchId}
       and state = 'draft'
       and id > ${page.afterId}
     order by id
     limit ${page.limit}`;
}

export type Repeat = {
  /** Position in the array asked for, from 0. */
  readonly index: number;
  readonly payoutId: bigint;
  readonly itemRef: string;
  readonly createdAt: string;
};

/**
 * The latest payout with the same seller and amount of the last `days`, other than those of `exceptBatchId`; what was
 * refused, canceled or failed does not count.
 */
export async function listRepeats(
  on: Queryable,
  wanted: {
    readonly items: readonly {
      readonly seller: string;
      readonly currency: string;
      readonly amountMinor: bigint;
    }[];
    readonly days: number;
    readonly exceptBatchId: bigint | null;
  },
): Promise<readonly Repeat[]> {
  const { sql, t } = on;
  const { items } = wanted;
  return sql<Repeat[]>`
    select (w.n - 1)::integer as index, p.id as payout_id, p.item_ref, p.created_at
      from unnest(${list(items.map((i) => i.seller))}::text[],
                  ${list(items.map((i) => i.currency))}::text[],
                  ${list(items.map((i) => i.amountMinor))}::bigint[])
           with ordinality as w (seller, currency, amount_minor, n)
     cross join lateral (
       select i.id, i.item_ref, i.created_at
         from ${t.payoutItem} i
         left join ${t.operation} o on o.id = i.operation_id
        where i.seller = w.seller
          and i.currency = w.currency
          and i.amount_minor = w.amount_minor
          and i.created_at > now() - make_interval(days => ${wanted.days})
          and i.batch_id is distinct from ${wanted.exceptBatchId}::bigint
          and (i.state = 'draft'
               or i.state = 'approved' and o.sub_state not in ('declined', 'rejected', 'canceled', 'expired'))
        order by i.created_at desc
        limit 1) p
     order by w.n`;
}
