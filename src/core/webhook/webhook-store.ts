/** Remembers webhooks: all SQL on webhook_event. */
import { list, type Queryable, type Tx } from '../db/connection.ts';
import type { SubState } from '../operation/operation.ts';
import type { OperationKind } from '../psp/psp.ts';
import type { NamedAttempt, WebhookEffect } from './webhook.ts';

export type NamedOperation = {
  readonly operationId: bigint;
  readonly kind: OperationKind;
  readonly subState: SubState;
  /** Where its attempts were made. */
  readonly pspAccounts: readonly string[];
};

/** Operations as they stand; none for an operation that never had an attempt. */
export async function listNamedOperations(
  on: Queryable,
  operationIds: readonly bigint[],
): Promise<readonly NamedOperation[]> {
  return on.sql<NamedOperation[]>`
    select o.id as operation_id, o.kind, ${on.t.shownSubState}(o.sub_state, j.state) as sub_state,
           (select json_agg(coalesce(a.psp_account, o.psp_account))
              from ${on.t.attempt} a where a.operation_id = o.id) as psp_accounts
      from ${on.t.operation} o
      left join ${on.t.job} j on j.operation_id = o.id
     where o.id = any(${list(operationIds)}::bigint[])
       and exists (select 1 from ${on.t.attempt} a where a.operation_id = o.id)`;
}

/** Attempts of these operations that were made at the account, by number. */
export async function listNamedAttempts(
  on: Queryable,
  pspAccount: string,
  operationIds: readonly bigint[],
): Promise<readonly (NamedAttempt & { readonly operationId: bigint })[]> {
  return on.sql<(NamedAttempt & { readonly operationId: bigint })[]>`
    select a.operation_id, a.number as attempt_number, a.psp_reference
      from ${on.t.attempt} a
      join ${on.t.operation} o on o.id = a.operation_id
     where a.operation_id = any(${list(operationIds)}::bigint[])
       and coalesce(a.psp_account, o.psp_account) = ${pspAccount}
     order by a.operation_id, a.number`;
}

/** Those of them that a daemon works on at this moment. */
export async function listHeld(tx: Tx, operationIds: readonly bigint[]): Promise<readonly bigint[]> {
  const rows = await tx.sql<{ operationId: bigint }[]>`
    select operation_id
      from ${tx.t.job}
     where operation_id = any(${list(operationIds)}::bigint[]) and state = 'leased'`;
  return rows.map((row) => row.operationId);
}

export type NewWebhook = {
  readonly pspAccount: string;
  readonly eventId: string;
  readonly type: string;
  readonly operationId: bigint | null;
  readonly effect: WebhookEffect;
};

/** Stores what was not stored before; returns the event ids that were new. */
export async function insertWebhooks(tx: Tx, webhooks: readonly NewWebhook[]): Promise<ReadonlySet<string>> {
  const rows = await tx.sql<{ eventId: string }[]>`
    insert into ${tx.t.webhookEvent} (psp_account, event_id, type, operation_id, effect)
    select * from unnest(${list(webhooks.map((w) => w.pspAccount))}::text[],
                         ${list(webhooks.map((w) => w.eventId))}::text[],
                         ${list(webhooks.map((w) => w.type))}::text[],
                         ${list(webhooks.map((w) => w.operationId))}::bigint[],
                         ${list(webhooks.map((w) => w.effect))}::text[])
        on conflict (psp_account, event_id) do nothing
    returning event_id`;
  return new Set(rows.map((row) => row.eventId));
}
