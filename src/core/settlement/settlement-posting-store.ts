/** Reads what the lines of a file add up to, and remembers what their posting means for open items and proofs. */
import { list, type Tx } from '../db/connection.ts';
import type { Currency } from '../money.ts';
import type { LineSum } from './settlement-posting.ts';

type FileLines = {
  readonly fileId: bigint;
  readonly firstLine: bigint | null;
  readonly lastLine: bigint | null;
};

/** New lines of batches that are not refused, and the versions that they take the place of. */
export async function listLineSums(tx: Tx, file: FileLines): Promise<readonly LineSum[]> {
  const { t } = tx;
  const sums = tx.sql`
    l.kind, l.currency, l.original_currency, sum(l.gross_minor)::bigint as gross_minor,
    sum(l.gross_minor - l.net_minor)::bigint as fee_minor, sum(l.original_minor)::bigint as original_minor`;
  return tx.sql<LineSum[]>`
    select l.batch_id, ${sums}, 'new' as version
      from ${t.settlementLine} l
      join ${t.settlementBatch} b on b.id = l.batch_id and b.refused is null
     where l.id between ${file.firstLine} and ${file.lastLine} and l.file_id = ${file.fileId}
     group by l.batch_id, l.kind, l.currency, l.original_currency, l.gross_minor < 0
     union all
    select n.batch_id, ${sums}, 'replaced'
      from ${t.settlementLine} n
      join ${t.settlementBatch} nb on nb.id = n.batch_id and nb.refused is null
      join ${t.settlementLine} l on l.source_id = n.source_id and l.line_key = n.line_key and l.occurrence = n.occurrence
                                and l.version = n.version - 1
      join ${t.settlementBatch} b on b.id = l.batch_id and b.refused is null
     where n.id between ${file.firstLine} and ${file.lastLine} and n.file_id = ${file.fileId} and n.version > 1
     group by n.batch_id, l.kind, l.currency, l.original_currency, l.gross_minor < 0`;
}

/** What settlement itself booked on the source's account, per currency: the proof's second summand. */
export async function addPostedLines(
  tx: Tx,
  sourceId: number,
  moved: ReadonlyMap<Currency, bigint>,
): Promise<void> {
  if (moved.size === 0) return;
  await tx.sql`
    update ${tx.t.reconcilePosition} p set lines_minor = p.lines_minor + m.minor
      from unnest(${list([...moved.keys()])}::text[], ${list([...moved.values()])}::bigint[]) as m (currency, minor)
     where p.source_id = ${sourceId} and p.currency = m.currency`;
}
