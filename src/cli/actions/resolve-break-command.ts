/**
 * `breaks resolve`: shows what a decision would book, has it confirmed, stores it with its reason. A large write-off waits for
 * another person.
 */
import { randomUUID } from 'node:crypto';
import { pspOf } from '../../core/config.ts';
import type { Db } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { toMoneyJson } from '../../core/money.ts';
import { capabilitiesOf } from '../../core/psp/request.ts';
import {
  type ProposedPosting,
  planResolution,
  type ResolutionAction,
  type ResolutionPlan,
  type ResolutionRequest,
  type Resolved,
  resolveBreak,
} from '../../core/settlement/resolve-break.ts';
import { confirmOne, confirmTotal } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { type Book, withBook } from '../open-book.ts';
import { breakJson } from '../render/reconcile-summary.ts';
import { changeText, codeText } from '../render/reconcile-words.ts';
import type { Block } from '../render/table.ts';
import { requireReason } from '../require-reason.ts';
import type { Session } from '../session.ts';
import { moneyOf, moneyText, requireId, sumUp, type Totals, totalsCode } from '../words.ts';
import { breakResult, requireBreak } from './read-breaks.ts';

export type ResolveBreakFlags = {
  readonly break: string;
  readonly action: ResolutionAction;
  readonly assignee: string | null;
  readonly key: string | null;
};

/** Only say who looks at it: they book nothing and need no confirmation. */
const SAYING: ReadonlySet<ResolutionAction> = new Set(['acknowledge', 'assign', 'wait_for_psp', 'reopen']);

/** Exit 1 where there is no such break, 5 when not confirmed, not offered, or another person is needed. */
export async function resolveBreakCommand(session: Session, flags: ResolveBreakFlags): Promise<number> {
  const breakId = requireId('reconBreak', flags.break);
  if ((flags.action === 'assign') !== (flags.assignee !== null)) {
    throw new OperatorError('assignee_misplaced', '--assignee NAME goes with --as assign, and only with it.');
  }
  const reason = SAYING.has(flags.action) ? (session.globals.reason?.trim() ?? '') : requireReason(session);
  return withBook(session, async (book) => {
    const { break: one } = await requireBreak(book.db, flags.break);
    const request: ResolutionRequest = {
      breakId,
      action: flags.action,
      reason,
      idempotencyKey: flags.key ?? `cli-${one.id}-${randomUUID()}`,
      assignee: flags.assignee,
      principal: book.principal,
      policy: book.config.settlement,
      capabilitiesOf: (account) => capabilitiesOf(pspOf(book.config)(account)),
    };
    return decide(session, book, request, flags.key !== null);
  });
}

async function decide(
  session: Session,
  { db }: Book,
  request: ResolutionRequest,
  isNamed: boolean,
): Promise<number> {
  let plan: ResolutionPlan;
  try {
    plan = await planResolution(db, request);
  } catch (error) {
    // What closed it may have been this very decision, by its name: then there is nothing to plan and to confirm.
    if (!isNamed || !(error instanceof OperatorError) || error.code !== 'break_closed') throw error;
    return report(session, db, request, await resolveBreak(db, request));
  }
  session.note(planText(plan));
  await session.show(postingTable(plan));
  if (session.globals.dryRun) {
    await session.print({
      json: { dry_run: true, ...planJson(plan) },
      blocks: [{ kind: 'line', text: 'Dry run: nothing was stored.' }],
    });
    return EXIT.done;
  }
  await confirm(session, plan);
  return report(session, db, request, await resolveBreak(db, request));
}

async function report(
  session: Session,
  db: Db,
  { breakId }: ResolutionRequest,
  resolved: Resolved,
): Promise<number> {
  const details = await requireBreak(db, formatId('reconBreak', breakId));
  const result = breakResult(details);
  await session.print({
    ...result,
    json: { ...resolvedJson(resolved), break: result.json },
    blocks: [{ kind: 'line', text: resolvedText(resolved) }, ...result.blocks],
  });
  return resolved.kind === 'second_person_needed' ? EXIT.refused : EXIT.done;
}

async function confirm(session: Session, plan: ResolutionPlan): Promise<void> {
  if (SAYING.has(plan.action)) return;
  const totals = totalsOf(plan);
  if (plan.to === 'written_off') return confirmTotal(session, totals, 'stdin', 'write off');
  await confirmOne(session, plan.entry === null ? 'Close it so?' : 'Book that?', totals);
}

/** What would be booked; of a decision that books nothing, what the break is about. */
function totalsOf({ entry, break: one }: ResolutionPlan): Totals {
  if (entry !== null) return sumUp(entry.postings.map(moneyOf));
  return sumUp([
    { amountMinor: one.amountMinor < 0n ? -one.amountMinor : one.amountMinor, currency: one.currency },
  ]);
}

function planText({ break: one, action, from, to, secondPerson }: ResolutionPlan): string {
  const amount = changeText(one.amountMinor, one.currency);
  const change = from === to ? `stays ${to}` : `${from} → ${to}`;
  const second = secondPerson === 'needed' ? '; over the write-off limit: another person must agree' : '';
  return `${one.id}, ${codeText(one.code)} of ${amount}: ${action}, ${change}${second}`;
}

function postingTable({ entry }: ResolutionPlan): readonly Block[] {
  if (entry === null) return [{ kind: 'line', text: 'Nothing would be booked.' }];
  return [
    { kind: 'line', text: `Entry ${entry.kind} (${entry.cause}):` },
    {
      kind: 'table',
      empty: 'without postings',
      columns: [
        { title: 'DEBIT', shrink: true },
        { title: 'CREDIT', shrink: true },
        { title: 'AMOUNT', align: 'right' },
      ],
      rows: entry.postings.map((posting) => [posting.debit, posting.credit, moneyText(moneyOf(posting))]),
    },
  ];
}

function planJson(plan: ResolutionPlan) {
  const { break: one, action, from, to, entry, secondPerson } = plan;
  return {
    break: breakJson(one),
    action,
    from,
    to,
    entry:
      entry === null
        ? null
        : { cause: entry.cause, kind: entry.kind, postings: entry.postings.map(postingJson) },
    second_person: secondPerson,
    confirm: SAYING.has(action) ? null : totalsCode(totalsOf(plan)),
  };
}

function postingJson({ debit, credit, currency, amountMinor }: ProposedPosting) {
  return { debit, credit, ...toMoneyJson(moneyOf({ amountMinor, currency })) };
}

function resolvedJson(resolved: Resolved) {
  const entryId = resolved.kind === 'resolved' ? resolved.entryId : null;
  return { outcome: resolved.kind, entry_id: entryId === null ? null : formatId('entry', entryId) };
}

function resolvedText(resolved: Resolved): string {
  switch (resolved.kind) {
    case 'resolved':
      return resolved.entryId === null
        ? `${resolved.plan.break.id}: ${resolved.plan.to}`
        : `${resolved.plan.break.id}: ${resolved.plan.to}, booked as ${formatId('entry', resolved.entryId)}`;
    case 'repeated':
      return `${resolved.break.id}: this decision was stored before; nothing was done twice`;
    case 'second_person_needed':
      return `${resolved.plan.break.id}: kept as a proposal; another person must give the same command`;
  }
}
