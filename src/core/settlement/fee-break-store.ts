/** Finds charges that cost something else than the contract with the PSP says. */
import { list, type Tx } from '../db/connection.ts';
import { type ExpectedFee, rateOf } from './expected-fee.ts';
import type { MatchScope } from './match-store.ts';

/**
 * The file's own charges whose fee computes but is further from the expected one than it may be, upwards or downwards. In SQL because
 * a million lines are asked: `numeric` is exact, and `round` takes halves up, as `expectedFee` does (a test holds the two together).
 */
export async function findUnexpectedFees(
  tx: Tx,
  scope: MatchScope,
  fees: ReadonlyMap<string, ExpectedFee>,
): Promise<void> {
  if (fees.size === 0 || scope.by === 'bank') return;
  const all = [...fees.values()];
  await tx.sql`
    with fee as (
      select * from unnest(${list([...fees.keys()])}::text[], ${list(all.map(rateOf))}::numeric[],
                           ${list(all.map((one) => one.fixedMinor))}::bigint[],
                           ${list(all.map((one) => one.toleranceMinor))}::bigint[]) as f (currency, rate, fixed, tolerance)),
    expected as (
      select l.id, l.currency, l.operation_id, l.fee_minor, f.tolerance,
             (round(l.gross_minor * f.rate) + f.fixed)::bigint as fee
        from ${tx.t.settlementLine} l
        join fee f on f.currency = l.currency
       where l.id between ${scope.firstLine} and ${scope.lastLine} and l.file_id = ${scope.fileId}
         and l.kind = 'charge' and l.gross_minor > 0 and l.net_minor = l.gross_minor - l.fee_minor)
    insert into pg_temp.found (fingerprint, code, currency, amount_minor, line_id, operation_id, is_of_line)
    select 'fee_mismatch:' || id, 'fee_mismatch', currency, fee - fee_minor, id, operation_id, true
      from expected where abs(fee - fee_minor) > tolerance`;
}
