/** Reads what the evidence of a book adds up to, for people: how often something went wrong, and what ended it. */
import type { Queryable } from '../db/connection.ts';
import type { EvidenceKind, EvidenceSource } from './evidence.ts';
import type { SubState } from './operation.ts';

export type OrderTotal = {
  readonly subState: SubState;
  readonly currency: string;
  readonly orders: number;
  readonly amountMinor: bigint;
};

/** Orders and amounts by sub-state and currency. */
export async function listOrderTotals(on: Queryable): Promise<readonly OrderTotal[]> {
  return on.sql<OrderTotal[]>`
    select ${on.t.shownSubState}(o.sub_state, j.state) as sub_state, o.currency, count(*)::integer as orders,
           sum(o.amount_minor)::bigint as amount_minor
      from ${on.t.operation} o
      left join ${on.t.job} j on j.operation_id = o.id
     where o.kind = 'charge'
     group by 1, 2
     order by 1, 2`;
}

export type EvidenceCount = {
  readonly source: EvidenceSource;
  readonly kind: EvidenceKind;
  readonly pieces: number;
};

/** Pieces of evidence by who said what. */
export async function countEvidence(on: Queryable): Promise<readonly EvidenceCount[]> {
  return on.sql<EvidenceCount[]>`
    select source, kind, count(*)::integer as pieces
      from ${on.t.evidence}
     group by source, kind
     order by source, kind`;
}

export type DoubtEnd = {
  /** What ended the doubt; null: still open. */
  readonly resolvedBy: EvidenceSource | null;
  readonly attemptState: string;
  readonly attempts: number;
};

/** Attempts that were in doubt at some time, by what ended it. */
export async function countDoubts(on: Queryable): Promise<readonly DoubtEnd[]> {
  return on.sql<DoubtEnd[]>`
    select a.resolved_by, a.state as attempt_state, count(*)::integer as attempts
      from ${on.t.attempt} a
     where exists (select 1
                     from ${on.t.evidence} e
                    where e.operation_id = a.operation_id
                      and e.attempt_number = a.number
                      and e.kind = 'unknown')
     group by a.resolved_by, a.state
     order by attempts desc`;
}
