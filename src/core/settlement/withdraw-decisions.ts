/**
 * One step: what people decided about breaks is withdrawn where a later file tells the line anew or shows what was given up. What
 * the decision booked is reversed, the item is open again, and the passes and the break list judge anew. Without it a corrected file
 * would leave the decision's money in a place that nothing explains.
 */
import { insertEvents } from '../audit/event-store.ts';
import type { Tx } from '../db/connection.ts';
import { formatId } from '../ids.ts';
import { entryJson, insertEntries, insertPostings, type NewEntry } from '../ledger/ledger-store.ts';
import { type Posting, reversalOf } from '../ledger/posting-rules.ts';
import { type MatchScope, reopenCorrected } from './match-store.ts';
import { restoreItems } from './open-item-store.ts';
import type { Calendar } from './settlement-calendar.ts';
import { movementOf, openAccount, type PostedSource } from './settlement-posting.ts';
import { addPostedLines } from './settlement-posting-store.ts';
import {
  getDecisions,
  listContradictedDecisions,
  listReplacedDecisions,
  markWithdrawn,
} from './withdrawal-store.ts';

/** Decisions of one transaction: each is one entry. */
const MAX_AT_ONCE = 1_000;

export type WithdrawalInput = {
  readonly scope: MatchScope;
  readonly source: PostedSource;
  readonly calendar: Calendar;
  readonly principal: string;
};

const REASONS = {
  replaced: 'a later file tells the line anew',
  contradicted: 'a later file shows what was given up',
} as const;

/**
 * `replaced` before the matching, `contradicted` after it (it reads the lines that nothing explained). Takes the accounts' locks, so
 * nothing but the end of the transaction may follow.
 * @returns how many were withdrawn; 0: none is left
 */
export async function withdrawDecisions(
  tx: Tx,
  { scope, source, calendar, principal }: WithdrawalInput,
  why: keyof typeof REASONS,
): Promise<number> {
  const all = await (why === 'replaced'
    ? listReplacedDecisions(tx, scope)
    : listContradictedDecisions(tx, scope));
  const breakIds = all.slice(0, MAX_AT_ONCE);
  if (breakIds.length === 0) return 0;
  const decisions = await getDecisions(tx, breakIds);
  await markWithdrawn(tx, scope, principal, REASONS[why], breakIds);
  await reopenCorrected(tx, scope, breakIds);
  await restoreItems(tx, scope, calendar);
  const entries = decisions.map((one): NewEntry => {
    const postings = one.postings.map((posting): Posting => ({ ...posting, guard: 'none' }) as Posting);
    return {
      cause: `settle:${formatId('reconBreak', one.breakId)}`,
      kind: `${one.entryKind}_withdrawn`,
      postings: reversalOf(postings),
    };
  });
  await addPostedLines(tx, scope.sourceId, movementOf(openAccount(source), entries));
  const posted = await insertEntries(tx, principal, entries);
  await insertEvents(tx, principal, [
    {
      kind: 'decisions_withdrawn',
      paymentId: null,
      data: JSON.stringify({ breaks: breakIds.map(String), entries: posted.map(entryJson) }),
    },
  ]);
  await insertPostings(tx, posted);
  return breakIds.length;
}
