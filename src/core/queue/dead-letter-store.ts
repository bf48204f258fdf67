/** Reads the dead letters: operations that need a person. Written by the queue's statements. */
import type { Queryable } from '../db/connection.ts';
import type { SubState } from '../operation/operation.ts';

export type DeadLetter = {
  readonly id: bigint;
  readonly operationId: bigint;
  readonly operationKind: 'charge' | 'refund' | 'payout';
  readonly attemptNumber: number;
  readonly orderId: bigint | null;
  readonly paymentId: bigint | null;
  readonly pspAccount: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly subState: SubState;
  readonly code: string;
  readonly reason: string;
  readonly state: 'open' | 'replayed' | 'resolved' | 'discarded';
  readonly openedAt: string;
  readonly closedAt: string | null;
  readonly closedBy: string | null;
  readonly closeReason: string | null;
};

export type DeadLetterFilter = {
  readonly id: bigint | null;
  readonly state: DeadLetter['state'] | null;
  readonly code: string | null;
  /** Keyset cursor: only letters before this one. */
  readonly beforeId: bigint | null;
  /** Page size, 1–1,000. */
  readonly limit: number;
};

/** Dead letters, newest first. */
export async function listDeadLetters(
  on: Queryable,
  filter: DeadLetterFilter,
): Promise<readonly DeadLetter[]> {
  const { sql, t } = on;
  return sql<DeadLetter[]>`
    select d.id, d.operation_id, o.kind as operation_kind, d.attempt_number, o.payment_order_id as order_id,
           o.payment_id, o.psp_account, o.amount_minor, o.currency, o.sub_state, d.code, d.reason, d.state,
           d.opened_at, d.closed_at, d.closed_by, d.close_reason
      from ${t.deadLetter} d
      join ${t.operation} o on o.id = d.operation_id
     where ${filter.id === null ? sql`true` : sql`d.id = ${filter.id}`}
       ${filter.state === null ? sql`` : sql`and d.state = ${filter.state}`}
       ${filter.code === null ? sql`` : sql`and d.code = ${filter.code}`}
       ${filter.beforeId === null ? sql`` : sql`and d.id < ${filter.beforeId}`}
     order by d.id desc
     limit ${filter.limit}`;
}

/** Open dead letters by reason. */
export async function countOpenDeadLetters(
  on: Queryable,
): Promise<readonly { code: string; letters: number }[]> {
  return on.sql<{ code: string; letters: number }[]>`
    select code, count(*)::integer as letters
      from ${on.t.deadLetter}
     where state = 'open'
     group by code
     order by code`;
}
