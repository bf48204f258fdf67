/**
 * `breaks resolve`: shows what a decision would book, has it confirmed, stores it with its reason. A large write-off waits for
 * another person.
 */
import { randomUUID } from 'node:crypto';
import { pspOf } from '../../core/config.ts';
import type { Db } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { parseAmount, toMoneyJson } from '../../core/money.ts';
import { capabilitiesOf } from '../../core/psp/request.ts';
import {
  type LinkRequest,
  type PlannedLink,
  type ProposedPosting,
  planResolution,
  type ResolutionPlan,
  type ResolutionRequest,
} from '../../core/settlement/plan-resolution.ts';
import type { BreakAnswer } from '../../core/settlement/reconcile-answer.ts';
import type { ResolutionAction, RestAction } from '../../core/settlement/resolution.ts';
import { type Resolved, resolveBreak } from '../../core/settlement/resolve-break.ts';
import { shownText } from '../../core/shown-text.ts';
import { confirmOne, confirmTotal } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { type Book, withBook } from '../open-book.ts';
import { breakJson } from '../render/reconcile-summary.ts';
import { changeText, codeText } from '../render/reconcile-words.ts';
import type { Block } from '../render/table.ts';
import { requireReason } from '../require-reason.ts';
import type { Session } from '../session.ts';
import { countText, moneyOf, moneyText, requireId, sumUp, type Totals, totalsCode } from '../words.ts';
import { breakResult, itemJson, requireBreak } from './read-breaks.ts';

export type ResolveBreakFlags = {
  readonly break: string;
  readonly action: ResolutionAction;
  readonly assignee: string | null;
  readonly key: string | null;
  /** For link: "po_abc", "op_12", or "op_12=40.00" for a part of it. */
  readonly items: readonly string[];
  readonly rest: RestAction | null;
};

/** Only say who looks at it: they book nothing and need no confirmation. */
const SAYING: ReadonlySet<ResolutionAction> = new Set(['acknowledge', 'assign', 'wait_for_psp', 'reopen']);

/** Exit 1 where there is no such break, 5 when not confirmed, not offered, or another person is needed. */
export async function resolveBreakCommand(session: Session, flags: ResolveBreakFlags): Promise<number> {
  const breakId = requireId('reconBreak', flags.break);
  if ((flags.action === 'assign') !== (flags.assignee !== null)) {
    throw new OperatorError('assignee_misplaced', '--assignee NAME goes with --as assign, and only with it.');
  }
  if (flags.action !== 'link' && (flags.items.length > 0 || flags.rest !== null)) {
    throw new OperatorError('item_misplaced', '--item and --rest go with --as link, and only with it.');
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
      ...(flags.items.length === 0 ? {} : { link: linkOf(one, flags) }),
      principal: book.principal,
      policy: book.config.settlement,
      capabilitiesOf: (account) => capabilitiesOf(pspOf(book.config)(account)),
    };
    return decide(session, book, request, flags.key !== null);
  });
}

/** @throws OperatorError item_invalid */
function linkOf({ currency }: BreakAnswer, { items, rest }: ResolveBreakFlags): LinkRequest {
  const parse = (text: string) => {
    const [, name, part] = /^(.+)=([\d.]+)$/.exec(text) ?? [];
    if (name === undefined || part === undefined) return { name: text, amountMinor: null };
    const amount = parseAmount(part, currency);
    if (amount.kind === 'ok') return { name, amountMinor: amount.amountMinor };
    throw new OperatorError('item_invalid', `--item ${shownText(text)}: ${amount.message}.`);
  };
  return { items: items.map(parse), rest };
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
  await session.show(planBlocks(plan));
  if (session.globals.dryRun) {
    await session.print({
      json: { dry_run: true, ...planJson(plan) },
      blocks: [{ kind: 'line', text: dryRunText(plan) }],
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

/** What would become of the break, in one line. */
export function planText({ break: one, action, from, to, secondPerson }: ResolutionPlan): string {
  const amount = changeText(one.amountMinor, one.currency);
  const change = from === to ? `stays ${to}` : `${from} → ${to}`;
  const second = secondPerson === 'needed' ? '; over the write-off limit: another person must agree' : '';
  return `${one.id}, ${codeText(one.code)} of ${amount}: ${action}, ${change}${second}`;
}

/** What it would link and book. */
export function planBlocks(plan: ResolutionPlan): readonly Block[] {
  return [...linkTable(plan), ...postingTable(plan)];
}

/** What to add in order to do it. */
export function dryRunText(plan: ResolutionPlan): string {
  const done = 'Dry run: nothing was stored.';
  if (SAYING.has(plan.action)) return done;
  const flag = plan.to === 'written_off' ? `--confirm ${totalsCode(totalsOf(plan))}` : '--yes';
  return `${done} To do it: the same with ${flag} instead of --dry-run.`;
}

function linkTable({ links, restMinor, break: one }: ResolutionPlan): readonly Block[] {
  if (links.length === 0) return [];
  const rows = links.map(({ item, amountMinor, leftMinor }) => [
    item.id,
    item.kind,
    moneyText(moneyOf({ amountMinor, currency: item.currency })),
    moneyText(moneyOf({ amountMinor: leftMinor, currency: item.currency })),
    item.reference ?? '',
  ]);
  return [
    { kind: 'line', text: `The line would show ${countText(links.length, 'item')}:` },
    {
      kind: 'table',
      empty: '',
      columns: [
        { title: 'ITEM' },
        { title: 'KIND' },
        { title: 'LINKED', align: 'right' },
        { title: 'LEFT OPEN', align: 'right' },
        { title: 'REFERENCE', shrink: true },
      ],
      rows,
    },
    {
      kind: 'line',
      text: `Left of the line: ${moneyText(moneyOf({ amountMinor: restMinor, currency: one.currency }))}`,
    },
  ];
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
    links: plan.links.map(linkJson),
    rest: toMoneyJson(moneyOf({ amountMinor: plan.restMinor, currency: one.currency })),
    second_person: secondPerson,
    confirm: SAYING.has(action) ? null : totalsCode(totalsOf(plan)),
  };
}

function linkJson({ item, amountMinor, leftMinor }: PlannedLink) {
  const money = (minor: bigint) => toMoneyJson(moneyOf({ amountMinor: minor, currency: item.currency }));
  return { item: itemJson(item), linked: money(amountMinor), left: money(leftMinor) };
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
