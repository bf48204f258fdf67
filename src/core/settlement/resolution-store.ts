/** Remembers decisions about breaks: state, history, and what they close. */
import type { Queryable, Tx } from '../db/connection.ts';
import type { BreakCode, BreakState } from './reconcile-answer.ts';

export type BreakRow = {
  readonly id: bigint;
  readonly code: BreakCode;
  readonly state: BreakState;
  readonly sourceId: number;
  readonly source: string;
  readonly currency: string;
  readonly amountMinor: bigint;
  readonly openMinor: bigint;
  readonly otherCurrency: string | null;
  readonly otherMinor: bigint | null;
  readonly lineId: bigint | null;
  readonly itemId: bigint | null;
  readonly proposedItemId: bigint | null;
  readonly operationId: bigint | null;
  readonly operationKind: string | null;
  readonly proposedBy: string | null;
};

export async function findBreak(on: Queryable, breakId: bigint): Promise<BreakRow | null> {
  const { t } = on;
  const [row] = await on.sql<BreakRow[]>`
    select b.id, b.code, b.state, b.source_id, s.name as source, b.currency, b.amount_minor, b.open_minor, b.other_currency,
           b.other_minor, b.line_id, b.item_id, b.proposed_item_id, b.operation_id, o.kind as operation_kind, b.proposed_by
      from ${t.reconBreak} b
      join ${t.settlementSource} s on s.id = b.source_id
      left join ${t.operation} o on o.id = b.operation_id
     where b.id = ${breakId}`;
  return row ?? null;
}

/** Locks it until the transaction ends; its source is locked before. */
export async function lockBreak(tx: Tx, breakId: bigint): Promise<void> {
  await tx.sql`select 1 from ${tx.t.reconBreak} where id = ${breakId} for update`;
}

/** What an idempotency key has decided before; null: it is new. */
export async function findDecision(
  on: Queryable,
  key: string,
): Promise<{ readonly breakId: bigint; readonly kind: string; readonly principal: string } | null> {
  const [row] = await on.sql<{ breakId: bigint; kind: string; principal: string }[]>`
    select break_id, kind, principal from ${on.t.breakEvent} where idempotency_key = ${key}`;
  return row ?? null;
}

export type BreakChange = {
  readonly breakId: bigint;
  readonly kind: string;
  readonly principal: string;
  readonly reason: string | null;
  readonly from: BreakState;
  readonly to: BreakState;
  readonly entryId: bigint | null;
  readonly idempotencyKey: string;
  readonly assignee: string | null;
  /** `proposed`: a write-off that waits for its second person. */
  readonly outcome: 'done' | 'proposed';
};

export async function changeBreak(tx: Tx, change: BreakChange): Promise<void> {
  const { t } = tx;
  const closed = change.to === 'resolved' || change.to === 'written_off';
  await tx.sql`
    update ${t.reconBreak}
       set state = ${change.to}, assignee = coalesce(${change.assignee}::text, assignee),
           proposed_by = case when ${change.outcome === 'proposed'} then ${change.principal} else proposed_by end,
           proposed_reason = case when ${change.outcome === 'proposed'} then ${change.reason}::text else proposed_reason end,
           closed_at = case when ${closed} then now() end, closed_by = case when ${closed} then ${change.principal} end
     where id = ${change.breakId}`;
  await tx.sql`
    insert into ${t.breakEvent} (break_id, kind, principal, reason, from_state, to_state, entry_id, idempotency_key)
    values (${change.breakId}, ${change.kind}, ${change.principal}, ${change.reason}, ${change.from}, ${change.to},
            ${change.entryId}, ${change.idempotencyKey})`;
}

/** The item is explained by a decision: it is open no more, and never gathered again. */
export async function closeItem(
  tx: Tx,
  closing: { readonly itemId: bigint; readonly by: bigint; readonly rule: string; readonly actor: string },
): Promise<void> {
  const { t } = tx;
  await tx.sql`
    with gone as (delete from ${t.openItem} where id = ${closing.itemId} returning id, remaining_minor)
    insert into ${t.settlementMatch} (line_id, item_id, amount_minor, rule, actor)
    select ${closing.by}::bigint, id, remaining_minor, ${closing.rule}, ${closing.actor} from gone`;
}

/** What is left of an item; null: it is not open. */
export async function findRemaining(
  on: Queryable,
  itemId: bigint,
): Promise<{ readonly remainingMinor: bigint; readonly operationId: bigint | null } | null> {
  const [row] = await on.sql<{ remainingMinor: bigint; operationId: bigint | null }[]>`
    select remaining_minor, operation_id from ${on.t.openItem} where id = ${itemId}`;
  return row ?? null;
}

/** An entry that a decision made the executor's own rules book: a fact that closes the item, so it is open itself no more. */
export async function countAsFact(
  tx: Tx,
  fact: {
    readonly cause: string;
    readonly kind: string;
    readonly sourceId: number;
    readonly by: bigint;
    readonly actor: string;
  },
): Promise<bigint | null> {
  const { t } = tx;
  const [row] = await tx.sql<{ entryId: bigint }[]>`
    with moved as (
      select e.id, p.account_id, sum(case when d.debit_id = p.account_id then d.amount_minor else -d.amount_minor end)::bigint as minor
        from ${t.journalEntry} e
        join ${t.posting} d on d.entry_id = e.id
        join ${t.reconcilePosition} p on p.source_id = ${fact.sourceId} and p.account_id in (d.debit_id, d.credit_id)
       where e.cause = ${fact.cause} and e.kind = ${fact.kind}
       group by e.id, p.account_id),
    counted as (
      update ${t.reconcilePosition} p set facts_minor = p.facts_minor + m.minor
        from moved m where m.account_id = p.account_id)
    insert into ${t.settlementMatch} (line_id, item_id, amount_minor, rule, actor)
    select ${fact.by}::bigint, id, minor, 'correction', ${fact.actor} from moved
    returning item_id as entry_id`;
  return row?.entryId ?? null;
}
