/** Remembers payouts: all SQL that writes payout_batch, payout_item and payout_ref, and the locks it is done under. */
import { list, type Queryable, type Tx } from '../db/connection.ts';
import type { Bearer } from './payout.ts';

export type NewPayoutBatch = {
  readonly id: bigint;
  readonly sha256: string;
  readonly source: string;
  readonly pspAccount: string;
  readonly itemCount: number;
};

export async function insertPayoutBatch(tx: Tx, principal: string, batch: NewPayoutBatch): Promise<void> {
  await tx.sql`
    insert into ${tx.t.payoutBatch} (id, sha256, source, psp_account, item_count, submitted_by)
    values (${batch.id}, ${batch.sha256}, ${batch.source}, ${batch.pspAccount}, ${batch.itemCount}, ${principal})`;
}

export type NewPayoutItem = {
  readonly id: bigint;
  readonly batchId: bigint;
  readonly line: number;
  readonly itemRef: string;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly destination: string | null;
  readonly memo: string | null;
};

export async function insertPayoutItems(tx: Tx, items: readonly NewPayoutItem[]): Promise<void> {
  await tx.sql`
    insert into ${tx.t.payoutItem} (id, batch_id, line, item_ref, seller, amount_minor, currency, destination, memo)
    select * from unnest(${list(items.map((i) => i.id))}::bigint[],
                         ${list(items.map((i) => i.batchId))}::bigint[],
                         ${list(items.map((i) => i.line))}::integer[],
                         ${list(items.map((i) => i.itemRef))}::text[],
                         ${list(items.map((i) => i.seller))}::text[],
                         ${list(items.map((i) => i.amountMinor))}::bigint[],
                         ${list(items.map((i) => i.currency))}::text[],
                         ${list(items.map((i) => i.destination))}::text[],
                         ${list(items.map((i) => i.memo))}::text[])`;
}

type Name = { readonly itemRef: string; readonly payoutId: bigint };

/**
 * Takes names that nobody bears, in their order (so that two files never wait for each other in a circle); waits for
 * a transaction that is just taking one of them. Returns those taken.
 */
export async function takeNames(tx: Tx, names: readonly Name[]): Promise<ReadonlySet<string>> {
  const rows = await tx.sql<{ itemRef: string }[]>`
    insert into ${tx.t.payoutRef} (item_ref, payout_id)
    select item_ref, payout_id
      from unnest(${list(names.map((n) => n.itemRef))}::text[],
                  ${list(names.map((n) => n.payoutId))}::bigint[]) as n (item_ref, payout_id)
     order by item_ref
        on conflict (item_ref) do nothing
    returning item_ref`;
  return new Set(rows.map((row) => row.itemRef));
}

/** Keeps who bears these names as it is; a statement of its own, so that the next one sees who really does. */
export async function lockNames(tx: Tx, itemRefs: readonly string[]): Promise<void> {
  await tx.sql`
    select item_ref
      from ${tx.t.payoutRef}
     where item_ref = any(${list(itemRefs)}::text[])
     order by item_ref
       for update`;
}

/** Passes names on to other payouts: the caller holds their locks and knows that the bearers ended unpaid. */
export async function passNames(tx: Tx, names: readonly Name[]): Promise<void> {
  if (names.length === 0) return;
  await tx.sql`
    update ${tx.t.payoutRef} r
       set payout_id = n.payout_id
      from unnest(${list(names.map((n) => n.itemRef))}::text[],
                  ${list(names.map((n) => n.payoutId))}::bigint[]) as n (item_ref, payout_id)
     where r.item_ref = n.item_ref`;
}

/** Who bears these names now; no row for a name that nobody bears. */
export async function listBearers(on: Queryable, itemRefs: readonly string[]): Promise<readonly Bearer[]> {
  const { sql, t } = on;
  return sql<Bearer[]>`
    select i.id as payout_id, i.batch_id, i.item_ref, i.seller, i.amount_minor, i.currency, i.destination, i.memo,
           i.state, ${t.shownSubState}(o.sub_state, j.state) as sub_state,
           exists (select 1 from ${t.attempt} a
                    where a.operation_id = i.operation_id and a.state = 'succeeded_surplus') as has_surplus
      from ${t.payoutRef} r
      join ${t.payoutItem} i on i.id = r.payout_id
      left join ${t.operation} o on o.id = i.operation_id
      left join ${t.job} j on j.operation_id = i.operation_id
     where r.item_ref = any(${list(itemRefs)}::text[])`;
}

export type PayoutBatch = NewPayoutBatch & {
  readonly state: 'draft' | 'approving' | 'approved' | 'canceled';
  readonly submittedBy: string;
  readonly submittedAt: string;
  readonly approvedBy: string | null;
  readonly approvedAt: string | null;
  readonly endedAt: string | null;
};

export async function findPayoutBatch(on: Queryable, id: bigint): Promise<PayoutBatch | null> {
  const [row] = await on.sql<PayoutBatch[]>`
    select id, sha256, source, psp_account, item_count, state, submitted_by, submitted_at, approved_by, approved_at,
           ended_at
      from ${on.t.payoutBatch}
     where id = ${id}`;
  return row ?? null;
}

/** Locks a batch against another approval or cancellation. */
export async function lockPayoutBatch(tx: Tx, id: bigint): Promise<PayoutBatch | null> {
  await tx.sql`select id from ${tx.t.payoutBatch} where id = ${id} for update`;
  return findPayoutBatch(tx, id);
}

/** From draft; the approval of a whole batch, before any of its items is. */
export async function markBatchApproved(tx: Tx, id: bigint, principal: string): Promise<void> {
  await tx.sql`
    update ${tx.t.payoutBatch}
       set state = 'approving', approved_by = ${principal}, approved_at = now()
     where id = ${id}
       and state = 'draft'`;
}

/** Every item is decided. Returns false where it had ended before, or was not where this ends it from. */
export async function endBatch(tx: Tx, id: bigint, state: 'approved' | 'canceled'): Promise<boolean> {
  const rows = await tx.sql`
    update ${tx.t.payoutBatch}
       set state = ${state}, ended_at = now()
     where id = ${id}
       and state = ${state === 'approved' ? 'approving' : 'draft'}
    returning id`;
  return rows.length === 1;
}

/**
 * Locks the next drafts of a batch, in the order of the file. Another approval that has just decided some of them is
 * waited for, and those are passed over.
 */
export async function lockDrafts(tx: Tx, batchId: bigint, limit: number): Promise<readonly NewPayoutItem[]> {
  return tx.sql<NewPayoutItem[]>`
    select id, batch_id, line, item_ref, seller, amount_minor, currency, destination, memo
      from ${tx.t.payoutItem}
     where batch_id = ${batchId}
       and state = 'draft'
     order by id
     limit ${limit}
       for update`;
}

export type DecidedItem = { readonly id: bigint } & (
  | { readonly state: 'approved'; readonly operationId: bigint; readonly paidTo: string }
  | { readonly state: 'refused'; readonly code: string; readonly reason: string }
  | { readonly state: 'canceled' }
);

/** Decides drafts, once: an item that is decided is never changed again. */
export async function decideItems(tx: Tx, items: readonly DecidedItem[]): Promise<void> {
  await tx.sql`
    update ${tx.t.payoutItem} i
       set state = d.state, operation_id = d.operation_id, paid_to = d.paid_to, code = d.code, reason = d.reason,
           decided_at = now()
      from unnest(${list(items.map((i) => i.id))}::bigint[],
                  ${list(items.map((i) => i.state))}::text[],
                  ${list(items.map((i) => (i.state === 'approved' ? i.operationId : null)))}::bigint[],
                  ${list(items.map((i) => (i.state === 'approved' ? i.paidTo : null)))}::text[],
                  ${list(items.map((i) => (i.state === 'refused' ? i.code : null)))}::text[],
                  ${list(items.map((i) => (i.state === 'refused' ? i.reason : null)))}::text[])
           as d (id, state, operation_id, paid_to, code, reason)
     where i.id = d.id`;
}

/** Cancels every draft of a batch; returns how many there were. */
export async function cancelDrafts(tx: Tx, batchId: bigint): Promise<number> {
  const [row] = await tx.sql<{ count: number }[]>`
    with canceled as (
      update ${tx.t.payoutItem}
         set state = 'canceled', decided_at = now()
       where batch_id = ${batchId}
         and state = 'draft'
      returning id
    )
    select count(*)::integer as count from canceled`;
  return row!.count;
}
