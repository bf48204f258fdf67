/** The SQL of replay for disputes and for money in suspense: puts back what an event says, with its ids and times. */
import type { Tx } from '../db/connection.ts';

type DisputeData = Readonly<Record<string, string | number | null>>;

/** The first event of a dispute opens its row; the others move it. */
export async function changeDispute(tx: Tx, at: string, d: DisputeData): Promise<void> {
  await tx.sql`
    insert into ${tx.t.dispute}
      (id, psp_account, psp_reference, operation_id, attempt_number, payment_id, payment_order_id, seller, amount_minor,
       currency, holder, seller_share_minor, reason, state, round, borne_by, observation, opened_at, updated_at)
    values (${d.id!}::text::bigint, ${d.psp_account!}, ${d.psp_reference!}, ${d.operation!}::text::bigint, ${d.attempt!},
            ${d.payment!}::text::bigint, ${d.order!}::text::bigint, ${d.seller!}, ${d.amount_minor!}::text::bigint,
            ${d.currency!}, ${d.holder!}, ${d.seller_share_minor!}::text::bigint, ${d.reason!}, ${d.state!}, ${d.round!},
            ${d.borne_by!}, ${d.observation!}::text::bigint, ${at}, ${at})
        on conflict (psp_account, psp_reference) do update
       set state = excluded.state, round = excluded.round, borne_by = excluded.borne_by,
           observation = excluded.observation, updated_at = excluded.updated_at`;
}

type DecisionData = {
  readonly id: string;
  readonly operation: string;
  readonly attempt: number;
  readonly kind: 'adopt' | 'refund';
  readonly reason: string;
  /** The refund that goes out. */
  readonly refund: {
    readonly refund_id: string;
    readonly operation: string;
    readonly payment: string;
    readonly order: string;
    readonly psp_account: string;
    readonly seller: string;
    readonly amount_minor: string;
    readonly currency: string;
    readonly lane: string;
    readonly idempotency_key: string;
    readonly request: unknown;
  } | null;
  /** The order that takes the money. */
  readonly adoption: { readonly psp_reference: string | null } | null;
};

export async function decideSuspense(
  tx: Tx,
  event: { readonly at: string; readonly principal: string },
  d: DecisionData,
): Promise<void> {
  if (d.refund !== null) await addSuspenseRefund(tx, event.at, d.refund);
  await tx.sql`
    insert into ${tx.t.suspenseDecision}
      (id, operation_id, attempt_number, kind, refund_id, refund_operation_id, reason, principal, decided_at)
    values (${d.id}::text::bigint, ${d.operation}::text::bigint, ${d.attempt}, ${d.kind}, ${d.refund?.refund_id ?? null},
            ${d.refund?.operation ?? null}::text::bigint, ${d.reason}, ${event.principal}, ${event.at})`;
  if (d.adoption === null) return;
  await tx.sql`
    update ${tx.t.attempt} set state = 'succeeded'
     where operation_id = ${d.operation}::text::bigint and number = ${d.attempt}`;
  await tx.sql`
    update ${tx.t.operation}
       set sub_state = 'succeeded', reason = null, psp_reference = ${d.adoption.psp_reference}, updated_at = ${event.at}
     where id = ${d.operation}::text::bigint`;
}

async function addSuspenseRefund(tx: Tx, at: string, r: NonNullable<DecisionData['refund']>): Promise<void> {
  await tx.sql`
    insert into ${tx.t.operation} (id, kind, payment_id, payment_order_id, psp_account, amount_minor, currency, sub_state,
                                   seller, created_at, updated_at)
    values (${r.operation}::text::bigint, 'refund', ${r.payment}::text::bigint, ${r.order}::text::bigint, ${r.psp_account},
            ${r.amount_minor}::text::bigint, ${r.currency}, 'queued', ${r.seller}, ${at}, ${at})`;
  await tx.sql`
    insert into ${tx.t.attempt} (operation_id, number, idempotency_key, request, state, created_at)
    values (${r.operation}::text::bigint, 1, ${r.idempotency_key}, ${JSON.stringify(r.request)}, 'created', ${at})`;
  await tx.sql`
    insert into ${tx.t.job} (operation_id, kind, attempt_number, lane, action, run_at)
    values (${r.operation}::text::bigint, 'refund', 1, ${r.lane}, 'send', ${at})`;
}
