/**
 * One step: matches the plain lines of a file while the file is still read, portion by portion, in the transaction that stores them.
 * What is not plain is left to match-lines.ts, and what must not stay (a batch was refused) is undone at the end.
 */
import type { Tx } from '../db/connection.ts';
import { insertSurplusBreaks, rememberSurplus } from './break-store.ts';
import {
  type AheadScope,
  dueAtSettlement,
  type LinesAfter,
  leaveLines,
  listRunTallies,
  type MatchedTally,
  matchPortion,
  prepareNotes,
  reopenRefused,
  reserveItems,
} from './match-store.ts';
import { gatherItems, insertPositions, restoreItems } from './open-item-store.ts';
import type { Calendar } from './settlement-calendar.ts';

export type AheadInput = {
  readonly scope: AheadScope;
  readonly accountCode: string;
  readonly calendar: Calendar;
  readonly principal: string;
};

export type Ahead = {
  readonly match: (range: LinesAfter) => Promise<void>;
  /**
   * When all lines and batches are stored. Returns what stays matched; what does not is in the table of lines that are left.
   * @param rest lines that no call of `match` had
   */
  readonly close: (rest: LinesAfter, refusedCount: number) => Promise<readonly MatchedTally[]>;
};

export async function openAhead(tx: Tx, input: AheadInput): Promise<Ahead> {
  const { scope, calendar } = input;
  await insertPositions(tx, { id: scope.sourceId, accountCode: input.accountCode });
  await gatherItems(tx, scope.sourceId, calendar);
  await rememberSurplus(tx, scope.sourceId);
  const options = { reserved: await reserveItems(tx, scope), noted: await prepareNotes(tx) };
  const tallies: MatchedTally[] = [];
  return {
    match: async (range) => {
      tallies.push(...(await matchPortion(tx, scope, range, options)));
    },
    close: async (rest, refusedCount) => {
      await leaveLines(tx, scope, rest);
      if (tallies.length === 0) return [];
      if (refusedCount > 0) {
        await reopenRefused(tx, scope);
        await restoreItems(tx, scope, calendar);
      }
      await insertSurplusBreaks(tx, scope, input.principal);
      if (options.noted === 'charges') await dueAtSettlement(tx);
      return refusedCount > 0 ? listRunTallies(tx, scope) : tallies;
    },
  };
}
