/** Reads what the book says about every refund and every posting, for the judgement. No opinion. */
import type { Db } from '../src/core/db/connection.ts';
import type { SubState } from '../src/core/operation/operation.ts';

/** A refund as the book has it. */
export type RefundFact = {
  readonly id: bigint;
  readonly name: string;
  readonly operationId: bigint;
  readonly pspAccount: string;
  readonly orderId: bigint;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly feeShareMinor: bigint;
  readonly fromPendingMinor: bigint;
  readonly cause: 'request' | 'partial';
  readonly subState: SubState;
  readonly attempts: number;
  /** Codes of the open dead letters. */
  readonly deadLetter: string | null;
  /** Codes of all dead letters ever, closed ones too. */
  readonly letters: string | null;
  /** A person has said what became of it. */
  readonly isResolved: boolean;
  readonly job: 'none' | 'ready' | 'leased';
};

export async function listRefundFacts(db: Db): Promise<readonly RefundFact[]> {
  const { t } = db;
  return db.sql<RefundFact[]>`
    with letters as (
      select operation_id, string_agg(code, ', ' order by code) filter (where state = 'open') as codes,
             string_agg(code, ', ' order by code) as ever
        from ${t.deadLetter}
       group by operation_id
    ), tries as (
      select operation_id, count(*)::integer as attempts from ${t.attempt} group by operation_id
    )
    select r.id, r.refund_id as name, r.operation_id, o.psp_account, r.payment_order_id as order_id, o.seller, r.amount_minor, r.currency,
           r.fee_share_minor, o.from_pending_minor, r.cause, ${t.shownSubState}(o.sub_state, j.state) as sub_state,
           coalesce(a.attempts, 0) as attempts, d.codes as dead_letter, d.ever as letters,
           exists (select 1 from ${t.evidence} e where e.operation_id = o.id and e.source = 'person') as is_resolved,
           coalesce(j.state, 'none') as job
      from ${t.refund} r
      join ${t.operation} o on o.id = r.operation_id
      left join tries a on a.operation_id = o.id
      left join letters d on d.operation_id = o.id
      left join ${t.job} j on j.operation_id = o.id
     order by r.id`;
}

/** One pair of accounts of one entry, with all that was posted between them. */
export type PostingFact = {
  /** The operation whose entry it is. */
  readonly operationId: bigint;
  readonly kind: string;
  readonly debit: string;
  readonly credit: string;
  readonly currency: string;
  readonly amountMinor: bigint;
};

/** Every posting that an operation caused. Entries of no operation are not here; the ledger's own check sees them. */
export async function listPostingFacts(db: Db): Promise<readonly PostingFact[]> {
  const { t } = db;
  return db.sql<PostingFact[]>`
    select substring(e.cause from '^op_([0-9]+)')::bigint as operation_id, e.kind, d.code as debit, c.code as credit,
           d.currency, p.amount_minor
      from ${t.journalEntry} e
      join ${t.posting} p on p.entry_id = e.id
      join ${t.account} d on d.id = p.debit_id
      join ${t.account} c on c.id = p.credit_id
     where e.cause ~ '^op_[0-9]+'`;
}

/** Payments whose orders have all ended and whose successes should have been given back by now. */
export async function listWatchesLeft(db: Db): Promise<readonly bigint[]> {
  const { t } = db;
  const rows = await db.sql<{ paymentId: bigint }[]>`
    select w.payment_id
      from ${t.partialWatch} w
     where not exists (select 1
                         from ${t.operation} o
                        where o.payment_id = w.payment_id
                          and o.sub_state not in ('succeeded', 'declined', 'rejected', 'risk_blocked', 'canceled',
                                                  'expired', 'reversed'))
     order by 1`;
  return rows.map((row) => row.paymentId);
}
