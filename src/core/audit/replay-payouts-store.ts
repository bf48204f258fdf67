/** The SQL of replay for sellers and payouts: puts back what an event says, with its ids and times. */
import type { Tx } from '../db/connection.ts';

type Happened = { readonly at: string; readonly principal: string };

type SellerData = {
  readonly id: string;
  readonly seller: string;
  readonly kind: 'created' | 'frozen' | 'unfrozen' | 'destination';
  readonly psp_account: string | null;
  readonly destination: string | null;
  readonly reason: string;
};

export async function changeSeller(tx: Tx, event: Happened, c: SellerData): Promise<void> {
  if (c.kind === 'created') {
    await tx.sql`insert into ${tx.t.seller} (name, created_at) values (${c.seller}, ${event.at})`;
  } else if (c.kind === 'destination') {
    await tx.sql`
      insert into ${tx.t.sellerDestination} (seller, psp_account, destination, set_at)
      values (${c.seller}, ${c.psp_account}, ${c.destination}, ${event.at})
          on conflict (seller, psp_account) do update
         set destination = excluded.destination, set_at = excluded.set_at, changed_at = excluded.set_at`;
  } else {
    const status = c.kind === 'frozen' ? 'frozen' : 'active';
    await tx.sql`update ${tx.t.seller} set status = ${status} where name = ${c.seller}`;
  }
  await tx.sql`
    insert into ${tx.t.sellerChange} (id, seller, kind, psp_account, destination, reason, principal, changed_at)
    values (${c.id}::text::bigint, ${c.seller}, ${c.kind}, ${c.psp_account}, ${c.destination}, ${c.reason},
            ${event.principal}, ${event.at})`;
}

type BatchData = {
  readonly id: string;
  readonly sha256: string;
  readonly source: string;
  readonly psp_account: string;
  readonly item_count: number;
};

export async function addPayoutBatch(tx: Tx, event: Happened, b: BatchData): Promise<void> {
  await tx.sql`
    insert into ${tx.t.payoutBatch} (id, sha256, source, psp_account, item_count, submitted_by, submitted_at)
    values (${b.id}::text::bigint, ${b.sha256}, ${b.source}, ${b.psp_account}, ${b.item_count}, ${event.principal},
            ${event.at})`;
}

type ItemsData = { readonly batch: string; readonly items: readonly unknown[] };

export async function addPayouts(tx: Tx, at: string, data: ItemsData): Promise<void> {
  const items = JSON.stringify(data.items);
  await tx.sql`
    insert into ${tx.t.payoutItem} (id, batch_id, line, item_ref, seller, amount_minor, currency, destination, memo,
                                    created_at)
    select id, ${data.batch}::text::bigint, line, item_ref, seller, amount_minor, currency, destination, memo, ${at}
      from json_to_recordset(${items}::text::json)
           as i (id bigint, line integer, item_ref text, seller text, amount_minor bigint, currency text,
                 destination text, memo text)`;
  await tx.sql`
    insert into ${tx.t.payoutRef} (item_ref, payout_id)
    select item_ref, id from json_to_recordset(${items}::text::json) as i (id bigint, item_ref text)
        on conflict (item_ref) do update set payout_id = excluded.payout_id`;
}

export async function approvePayoutBatch(tx: Tx, event: Happened, b: { readonly id: string }): Promise<void> {
  await tx.sql`
    update ${tx.t.payoutBatch}
       set state = 'approving', approved_by = ${event.principal}, approved_at = ${event.at}
     where id = ${b.id}::text::bigint`;
}

type DecidedItem = {
  readonly id: string;
  readonly operation?: string;
  readonly request?: unknown;
};
type DecidedData = {
  readonly psp_account: string;
  readonly lane: string;
  readonly items: readonly DecidedItem[];
};

export async function decidePayouts(tx: Tx, at: string, data: DecidedData): Promise<void> {
  const items = JSON.stringify(data.items);
  await tx.sql`
    insert into ${tx.t.operation} (id, kind, psp_account, amount_minor, currency, sub_state, seller, created_at,
                                   updated_at)
    select d.operation, 'payout', ${data.psp_account}, i.amount_minor, i.currency, 'queued', i.seller, ${at}, ${at}
      from json_to_recordset(${items}::text::json) as d (id bigint, operation bigint)
      join ${tx.t.payoutItem} i on i.id = d.id
     where d.operation is not null`;
  await tx.sql`
    insert into ${tx.t.attempt} (operation_id, number, idempotency_key, request, state, created_at)
    select d.operation, 1, d.idempotency_key, d.request::text, 'created', ${at}
      from json_to_recordset(${items}::text::json) as d (operation bigint, idempotency_key text, request json)
     where d.operation is not null`;
  await tx.sql`
    insert into ${tx.t.job} (operation_id, kind, attempt_number, lane, action, run_at)
    select d.operation, 'payout', 1, ${data.lane}, 'send', ${at}
      from json_to_recordset(${items}::text::json) as d (operation bigint)
     where d.operation is not null`;
  await tx.sql`
    update ${tx.t.payoutItem} i
       set state = case when d.operation is null then 'refused' else 'approved' end, code = d.code, reason = d.reason,
           operation_id = d.operation, paid_to = d.paid_to, decided_at = ${at}
      from json_to_recordset(${items}::text::json)
           as d (id bigint, operation bigint, paid_to text, code text, reason text)
     where i.id = d.id`;
}

type EndData = { readonly id: string; readonly state: 'approved' | 'canceled' };

export async function endPayoutBatch(tx: Tx, at: string, end: EndData): Promise<void> {
  await tx.sql`
    update ${tx.t.payoutItem} set state = 'canceled', decided_at = ${at}
     where batch_id = ${end.id}::text::bigint and state = 'draft'`;
  await tx.sql`
    update ${tx.t.payoutBatch} set state = ${end.state}, ended_at = ${at} where id = ${end.id}::text::bigint`;
}
