/** Reads how far payments are, for commands that follow them: batches by their bytes, states of many orders. */
import { list, type Queryable } from '../db/connection.ts';
import type { SubState } from '../operation/operation.ts';
import type { Batch } from './payment-store.ts';

/** The batch that these bytes opened, or null. */
export async function findBatch(on: Queryable, sha256: string): Promise<Batch | null> {
  const [row] = await on.sql<Batch[]>`
    select id, sha256, source, row_count, payment_count, principal, created_at, submitted_at
      from ${on.t.batch}
     where sha256 = ${sha256}`;
  return row ?? null;
}

export type OrderState = {
  readonly paymentId: bigint;
  readonly subState: SubState;
  /** An open dead letter or risk review: nothing moves it on but a person, or evidence that comes by itself. */
  readonly needsPerson: boolean;
};

/** Where the orders of these payments stand; at most 1,000 payments a call. */
export async function listOrderStates(
  on: Queryable,
  paymentIds: readonly bigint[],
): Promise<readonly OrderState[]> {
  const { sql, t } = on;
  return sql<OrderState[]>`
    select po.payment_id, ${t.shownSubState}(o.sub_state, j.state) as sub_state,
           o.sub_state = 'in_risk_review'
             or exists (select 1 from ${t.deadLetter} d where d.operation_id = o.id and d.state = 'open') as needs_person
      from ${t.paymentOrder} po
      join ${t.operation} o on o.payment_order_id = po.id and o.kind = 'charge'
      left join ${t.job} j on j.operation_id = o.id
     where po.payment_id = any(${list(paymentIds)}::bigint[])`;
}
