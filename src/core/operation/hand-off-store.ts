/**
 * Remembers what buyers need to finish charges that wait for them: all SQL on hand_off. Secrets: read for the one who
 * asks for this payment, and for no list; gone when the attempt is over.
 */
import { list, type Queryable, type Tx } from '../db/connection.ts';

export type NewHandOff = {
  readonly operationId: bigint;
  readonly attemptNumber: number;
  /** JSON text as the API shows it. */
  readonly data: string;
};

/** The latest of an operation stands; one of an earlier attempt, or the same again, writes nothing. */
export async function putHandOffs(tx: Tx, items: readonly NewHandOff[]): Promise<void> {
  if (items.length === 0) return;
  await tx.sql`
    insert into ${tx.t.handOff} as h (operation_id, attempt_number, data)
    select * from unnest(${list(items.map((h) => h.operationId))}::bigint[],
                         ${list(items.map((h) => h.attemptNumber))}::smallint[],
                         ${list(items.map((h) => h.data))}::text[])
        on conflict (operation_id) do update
       set attempt_number = excluded.attempt_number, data = excluded.data, stored_at = now()
     where h.attempt_number <= excluded.attempt_number
       and (h.attempt_number, h.data) is distinct from (excluded.attempt_number, excluded.data)`;
}

export async function removeHandOffs(tx: Tx, operationIds: readonly bigint[]): Promise<void> {
  if (operationIds.length === 0) return;
  await tx.sql`delete from ${tx.t.handOff} where operation_id = any(${list(operationIds)}::bigint[])`;
}

export type HandOffRow = {
  readonly operationId: bigint;
  /** JSON text; null: lost, and to be had from the PSP alone. */
  readonly data: string | null;
  readonly expiresAt: string;
};

/** Of charges whose buyer may still finish them; none of what is being canceled. */
export async function listHandOffs(
  on: Queryable,
  operationIds: readonly bigint[],
): Promise<readonly HandOffRow[]> {
  if (operationIds.length === 0) return [];
  return on.sql<HandOffRow[]>`
    select a.operation_id, h.data, a.customer_until as expires_at
      from ${on.t.attempt} a
      left join ${on.t.handOff} h on h.operation_id = a.operation_id and h.attempt_number = a.number
     where a.operation_id = any(${list(operationIds)}::bigint[])
       and a.is_open
       and a.state = 'awaiting_customer'
       and a.cancel_as is null
       and a.customer_until > now()`;
}
