/**
 * One step: gathers what the books say moved, and matches a file's lines with it, pass by pass. May be repeated: what is matched
 * stays so.
 */
import type { Tx } from '../db/connection.ts';
import { insertSurplusBreaks, nameOperations, rememberSurplus } from './break-store.ts';
import {
  createCandidates,
  dropMatched,
  dueAtSettlement,
  type MatchedTally,
  type MatchScope,
  matchBy,
  RULES,
  reopenReplaced,
} from './match-store.ts';
import { matchNamedSums } from './named-sum-store.ts';
import { gatherItems, insertPositions, restoreItems } from './open-item-store.ts';
import type { Calendar } from './settlement-calendar.ts';

export type MatchInput = {
  readonly scope: MatchScope;
  readonly name: string;
  readonly accountCode: string;
  readonly calendar: Calendar;
  readonly principal: string;
};

/** Leaves the unmatched lines in the transaction's table of candidates. */
export async function matchLines(tx: Tx, input: MatchInput): Promise<readonly MatchedTally[]> {
  const { scope, calendar } = input;
  await insertPositions(tx, { id: scope.sourceId, accountCode: input.accountCode });
  const reopened = await reopenReplaced(tx, scope);
  // Before the gathering, which would take what is open again for a new fact.
  if (reopened > 0) await restoreItems(tx, scope, calendar);
  await gatherItems(tx, scope.sourceId, calendar);
  await rememberSurplus(tx, scope.sourceId);
  let left = await createCandidates(tx, scope);
  const tallies: MatchedTally[] = [];
  if (scope.by === 'bank' && left > 0) {
    // Before the passes by one name, which would give such a line to one of its deposits.
    tallies.push(...(await matchNamedSums(tx, scope)));
    if (tallies.length > 0) await dropMatched(tx, 'matched');
  }
  for (const rule of RULES[scope.by]) {
    if (left === 0) break;
    const matched = await matchBy(tx, scope, rule);
    const count = matched.reduce((sum, one) => sum + one.count, 0);
    if (count === 0) continue;
    if (scope.by === 'psp') await dueAtSettlement(tx);
    await dropMatched(tx, count === left ? 'all' : 'matched');
    left -= count;
    tallies.push(...matched);
  }
  if (tallies.length > 0) await insertSurplusBreaks(tx, scope, input.principal);
  if (scope.by === 'psp') await nameOperations(tx, input.name);
  return tallies;
}
