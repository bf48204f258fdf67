/** Remembers decisions about breaks: state, history, and what they close. */
import { list, type Queryable, type Tx } from '../db/connection.ts';
import type { BreakState } from './reconcile-answer.ts';

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
  /** Of a decision that waits for its second person; null: it is made. */
  readonly proposal: string | null;
};

export async function changeBreak(tx: Tx, change: BreakChange): Promise<void> {
  const { t } = tx;
  const isProposed = change.proposal !== null;
  const closed = change.to === 'resolved' || change.to === 'written_off';
  await tx.sql`
    update ${t.reconBreak}
       set state = ${change.to}, assignee = coalesce(${change.assignee}::text, assignee),
           proposed_by = case when ${isProposed} then ${change.principal} else proposed_by end,
           proposed_reason = case when ${isProposed} then ${change.reason}::text else proposed_reason end,
           proposed_plan = coalesce(${change.proposal}::text, proposed_plan),
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

/** An item that a line may show; minor units as the source's open account sees them. */
export type OpenItem = {
  readonly id: bigint;
  readonly kind: string;
  readonly currency: string;
  readonly amountMinor: bigint;
  readonly remainingMinor: bigint;
  readonly reference: string | null;
  readonly operationId: bigint | null;
  readonly bookedAt: string;
};

const itemColumns = (on: Queryable) => on.sql`
  i.id, i.kind, i.currency, i.amount_minor, i.remaining_minor, i.reference, i.operation_id,
  to_char(i.booked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as booked_at`;

/** How a person names items: by their own numbers, by operations of ours, by the PSP's names. */
export type ItemNames = {
  readonly ids: readonly bigint[];
  readonly operationIds: readonly bigint[];
  readonly references: readonly string[];
};

export async function listNamedItems(
  on: Queryable,
  sourceId: number,
  names: ItemNames,
): Promise<readonly OpenItem[]> {
  return on.sql<OpenItem[]>`
    select ${itemColumns(on)} from ${on.t.openItem} i
     where i.source_id = ${sourceId}
       and (i.id = any(${list(names.ids)}::bigint[]) or i.operation_id = any(${list(names.operationIds)}::bigint[])
            or i.reference = any(${list(names.references)}::text[]))
     order by i.id`;
}

/**
 * What the line of a break may show: open items of its source and currency, those with its amount first, then those that are
 * nearest to it in time. For a person's eyes: never a match.
 */
export async function listItemsFor(
  on: Queryable,
  breakId: bigint,
  limit: number,
): Promise<readonly OpenItem[]> {
  const { t } = on;
  return on.sql<OpenItem[]>`
    select ${itemColumns(on)}
      from ${t.reconBreak} b
      join ${t.settlementLine} l on l.id = b.line_id
      join ${t.openItem} i on i.source_id = b.source_id and i.currency = b.currency
     where b.id = ${breakId}
     order by i.remaining_minor <> -b.open_minor, sign(i.remaining_minor) <> -sign(b.open_minor),
              abs(extract(epoch from i.booked_at - coalesce(l.occurred_at, now()))), i.id
     limit ${limit}`;
}

/**
 * A person says that a line shows this much of an item. What an item has left stays open; a charge's share that waits for its
 * settlement is due.
 */
export async function linkItem(
  tx: Tx,
  link: {
    readonly lineId: bigint;
    readonly itemId: bigint;
    readonly amountMinor: bigint;
    readonly actor: string;
  },
): Promise<void> {
  const { t } = tx;
  await tx.sql`
    with due as (
      update ${t.fundRelease} f set due_at = now() from ${t.openItem} i
       where i.id = ${link.itemId} and i.kind = 'charge' and f.operation_id = i.operation_id and f.due_at = 'infinity'),
    leg as (
      insert into ${t.settlementMatch} (line_id, item_id, amount_minor, rule, actor)
      values (${link.lineId}, ${link.itemId}, ${link.amountMinor}, 'person', ${link.actor})),
    gone as (delete from ${t.openItem} where id = ${link.itemId} and remaining_minor = ${link.amountMinor})
    update ${t.openItem} set remaining_minor = remaining_minor - ${link.amountMinor}
     where id = ${link.itemId} and remaining_minor <> ${link.amountMinor}`;
}

/**
 * Other breaks about items that a person has linked: those whose item is explained are resolved, the others explain what is left.
 * They open again when a later file takes the line back.
 */
export async function settleBreaksOfItems(
  tx: Tx,
  linked: { readonly itemIds: readonly bigint[]; readonly by: string; readonly principal: string },
): Promise<void> {
  const { t } = tx;
  const items = list(linked.itemIds);
  await tx.sql`
    update ${t.reconBreak} b set amount_minor = -i.remaining_minor, open_minor = i.remaining_minor
      from ${t.openItem} i
     where i.id = any(${items}::bigint[]) and b.item_id = i.id and b.closed_at is null and b.other_currency is null`;
  await tx.sql`
    with resolved as (
      update ${t.reconBreak} b set state = 'resolved', closed_at = now(), closed_by = ${`link:${linked.by}`}
        from ${t.reconBreak} before
       where before.id = b.id and b.item_id = any(${items}::bigint[]) and b.closed_at is null and b.other_currency is null
         and not exists (select from ${t.openItem} i where i.id = b.item_id)
      returning b.id, before.state)
    insert into ${t.breakEvent} (break_id, kind, principal, reason, from_state, to_state)
    select id, 'resolved', ${linked.principal}, ${`linked to the line of ${linked.by}`}, state, 'resolved' from resolved`;
}

/** An entry that a decision made the executor's own rules book: a fact that closes the item, so it is open itself no more. */
export async function countAsFact(
  tx: Tx,
  fact: {
    /** The operation's own, or one of its attempts'. */
    readonly cause: string;
    readonly kinds: readonly string[];
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
       where (e.cause = ${fact.cause} or e.cause like ${`${fact.cause}/%`}) and e.kind = any(${list(fact.kinds)}::text[])
         and not exists (select from ${t.openItem} i where i.id = e.id)
         and not exists (select from ${t.settlementMatch} m where m.item_id = e.id and m.voided_run_id is null)
       group by e.id, p.account_id),
    counted as (
      update ${t.reconcilePosition} p set facts_minor = p.facts_minor + m.minor
        from moved m where m.account_id = p.account_id)
    insert into ${t.settlementMatch} (line_id, item_id, amount_minor, rule, actor)
    select ${fact.by}::bigint, id, minor, 'correction', ${fact.actor} from moved
    returning item_id as entry_id`;
  return row?.entryId ?? null;
}
