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
  matchPairs,
  type Paired,
  pairCandidates,
  pairLines,
  RULES,
  type Rule,
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
  const [firstRule, ...laterRules] = RULES[scope.by];
  const paired = await pairLines(tx, scope);
  const tallies: MatchedTally[] = [];
  let left: number;
  if (scope.by === 'psp') {
    tallies.push(...(await matchOne(tx, scope, firstRule, paired)));
    left = await createCandidates(tx, scope, countOf(tallies) === paired.pairs ? 'none' : 'some');
  } else {
    left = await createCandidates(tx, scope, 'some');
    // Before the passes by one name, which would give such a line to one of its deposits.
    if (left > 0) tallies.push(...(await matchNamedSums(tx, scope)));
    if (tallies.length > 0) await dropMatched(tx, 'matched');
  }
  for (const rule of scope.by === 'psp' ? laterRules : RULES.bank) {
    if (left === 0) break;
    const matched = await matchOne(tx, scope, rule, await pairCandidates(tx, scope, rule));
    const count = countOf(matched);
    if (count === 0) continue;
    await dropMatched(tx, count === left ? 'all' : 'matched');
    left -= count;
    tallies.push(...matched);
  }
  if (tallies.length > 0) await insertSurplusBreaks(tx, scope, input.principal);
  if (scope.by === 'psp') await nameOperations(tx, input.name);
  return tallies;
}

async function matchOne(
  tx: Tx,
  scope: MatchScope,
  rule: Rule,
  paired: Paired,
): Promise<readonly MatchedTally[]> {
  const matched = await matchPairs(tx, scope, rule, paired);
  if (scope.by === 'psp' && matched.length > 0) await dueAtSettlement(tx);
  return matched;
}

function countOf(tallies: readonly MatchedTally[]): number {
  return tallies.reduce((sum, one) => sum + one.count, 0);
}
