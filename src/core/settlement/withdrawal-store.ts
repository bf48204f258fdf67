/** Remembers that a person's decision about a break no longer stands, because a later file tells its line or its item otherwise. */
import { list, type Tx } from '../db/connection.ts';
import type { Currency } from '../money.ts';
import type { MatchScope } from './match-store.ts';
import { KIND_OF_FACT } from './open-item.ts';

/** A decision that booked something, with what it booked. */
export type StandingDecision = {
  readonly breakId: bigint;
  readonly state: string;
  readonly entryKind: string;
  readonly postings: readonly {
    readonly debit: string;
    readonly credit: string;
    readonly currency: Currency;
    readonly amountMinor: bigint;
  }[];
};

/**
 * Decisions about lines that this file tells anew, or about what was left of items that those lines explained in part.
 * Cost: the file's own versions above the first, by key.
 */
export async function listReplacedDecisions(tx: Tx, scope: MatchScope): Promise<readonly bigint[]> {
  const { t } = tx;
  return idsOf(
    await tx.sql<{ id: bigint }[]>`
      with replaced as (
        select p.id
          from ${t.settlementLine} l
          join ${t.settlementBatch} b on b.id = l.batch_id and b.refused is null
          join ${t.settlementLine} p on p.source_id = l.source_id and p.line_key = l.line_key and p.occurrence = l.occurrence
                                    and p.version = l.version - 1
         where l.id between ${scope.firstLine} and ${scope.lastLine} and l.file_id = ${scope.fileId} and l.version > 1),
      about as (
        select 'line:' || id as fingerprint from replaced
         union
        select 'item:' || m.item_id
          from replaced r join ${t.settlementMatch} m on m.line_id = r.id and m.voided_run_id is null)
      select b.id from about a join ${t.reconBreak} b on b.fingerprint = a.fingerprint and b.closed_at is not null
       where b.closed_by not like 'run:%' and ${isBooked(tx)}`,
  );
}

/**
 * Decisions that closed an item of which the file now shows a line: same name, and exactly the amount that the decision booked.
 * Reads the lines that no pass could explain, in pg_temp.candidate.
 */
export async function listContradictedDecisions(tx: Tx, scope: MatchScope): Promise<readonly bigint[]> {
  const { t } = tx;
  const facts = Object.entries(KIND_OF_FACT);
  const shown =
    scope.by === 'psp'
      ? tx.sql`
        select e.id as item_id, c.minor
          from pg_temp.candidate c
          join ${t.attempt} a on a.operation_id = c.operation_id
          join unnest(${list(facts.map(([entryKind]) => entryKind))}::text[], ${list(facts.map(([, kind]) => kind))}::text[])
               as k (entry_kind, kind) on k.kind = c.kind
          join ${t.journalEntry} e on e.kind = k.entry_kind
           and e.cause in ('op_' || c.operation_id, 'op_' || c.operation_id || '/' || a.number)
         where c.op_fits`
      : tx.sql`
        select d.id as item_id, c.minor
          from pg_temp.candidate c
          join ${t.settlementSource} s on s.name like 'psp:%'
          join ${t.settlementLine} d on d.source_id = s.id and d.kind = 'deposit'
                                    and d.reference in (c.main_reference, c.our_reference)`;
  return idsOf(
    await tx.sql<{ id: bigint }[]>`
      select distinct b.id
        from (${shown}) x
        join ${t.settlementMatch} m on m.item_id = x.item_id and m.rule = 'correction' and m.voided_run_id is null
                                   and m.amount_minor = x.minor
        join ${t.reconBreak} b on b.id = m.line_id and b.source_id = ${scope.sourceId}
       where ${isBooked(tx)}`,
  );
}

/** A reversal of an operation is not withdrawn here: what a line says of it is evidence. */
const isBooked = (tx: Tx) => tx.sql`
  exists (select from ${tx.t.breakEvent} e where e.break_id = b.id and e.entry_id is not null and e.kind <> 'reverse')`;

function idsOf(rows: readonly { readonly id: bigint }[]): readonly bigint[] {
  return rows.map(({ id }) => id);
}

/** The decisions in the order of their breaks. */
export async function getDecisions(
  tx: Tx,
  breakIds: readonly bigint[],
): Promise<readonly StandingDecision[]> {
  const { t } = tx;
  const rows = await tx.sql<
    {
      breakId: bigint;
      state: string;
      entryKind: string;
      debit: string;
      credit: string;
      currency: Currency;
      amountMinor: bigint;
    }[]
  >`
    select b.id as break_id, b.state, j.kind as entry_kind, d.code as debit, c.code as credit, p.currency, p.amount_minor
      from ${t.reconBreak} b
      join ${t.breakEvent} e on e.break_id = b.id and e.entry_id is not null
      join ${t.journalEntry} j on j.id = e.entry_id
      join ${t.posting} p on p.entry_id = j.id
      join ${t.account} d on d.id = p.debit_id
      join ${t.account} c on c.id = p.credit_id
     where b.id = any(${list(breakIds)}::bigint[])
     order by b.id, p.line`;
  return [...Map.groupBy(rows, (row) => row.breakId)].map(([breakId, postings]) => {
    return { breakId, state: postings[0]!.state, entryKind: postings[0]!.entryKind, postings };
  });
}

/** Their breaks are the run's now, so that what is found again opens anew; each says so in its history. */
export async function markWithdrawn(
  tx: Tx,
  scope: MatchScope,
  principal: string,
  reason: string,
  breakIds: readonly bigint[],
): Promise<void> {
  const { t } = tx;
  await tx.sql`
    with told as (
      insert into ${t.breakEvent} (break_id, kind, principal, reason, from_state, to_state, run_id)
      select b.id, 'withdrawn', ${principal}, ${reason}, b.state, 'resolved', ${scope.runId}
        from ${t.reconBreak} b where b.id = any(${list(breakIds)}::bigint[]) order by b.id)
    update ${t.reconBreak} b set state = 'resolved', closed_by = ${`run:${scope.runId}`}
     where b.id = any(${list(breakIds)}::bigint[])`;
}
