/** `breaks list` and `breaks show`. Reads only. */
import type { Queryable } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { toMoneyJson } from '../../core/money.ts';
import {
  type BreakDetails,
  type BreakEventAnswer,
  type BreakFilter,
  listBreaks,
  showBreak,
} from '../../core/settlement/break-list-store.ts';
import type { OpenItemAnswer } from '../../core/settlement/linked-items.ts';
import { listLinkable } from '../../core/settlement/read-items.ts';
import type {
  BreakAnswer,
  BreakCode,
  BreakSide,
  BreakState,
  Severity,
} from '../../core/settlement/reconcile-answer.ts';
import { shownText } from '../../core/shown-text.ts';
import { MAX_LIMIT } from '../commands/options.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import { breakJson, breakTable } from '../render/reconcile-summary.ts';
import { changeText, codeText, signedText, waysOut } from '../render/reconcile-words.ts';
import type { Result } from '../render/render-result.ts';
import type { Block } from '../render/table.ts';
import type { Session } from '../session.ts';
import { requireCurrency, requireId, timeText } from '../words.ts';
import { askFor, listResult } from './page.ts';

export type BreakListFlags = {
  readonly state: BreakState | 'active' | 'all';
  readonly code: BreakCode | null;
  readonly severity: Severity | null;
  readonly account: string | null;
  readonly bank: string | null;
  readonly currency: string | null;
  readonly assignee: string | null;
  readonly olderThanMs: number | null;
  readonly limit: number;
  readonly cursor: string | null;
};

const EVERY_STATE: readonly BreakState[] = ['open', 'acknowledged', 'waiting_psp', 'resolved', 'written_off'];
const DAY_MS = 86_400_000;

/** One page, in the order in which they were found. */
export async function listBreaksCommand(session: Session, flags: BreakListFlags): Promise<number> {
  const filter: BreakFilter = {
    states: flags.state === 'active' ? null : flags.state === 'all' ? EVERY_STATE : [flags.state],
    codes: flags.code === null ? null : [flags.code],
    severities: flags.severity === null ? null : [flags.severity],
    source: sourceOf(flags),
    currency: requireCurrency(flags.currency),
    assignee: flags.assignee,
    after: flags.cursor === null ? null : requireId('reconBreak', flags.cursor),
    limit: MAX_LIMIT,
  };
  return withBook(session, async ({ db }) => {
    const isWanted = (one: BreakAnswer) =>
      flags.olderThanMs === null || one.ageDays * DAY_MS >= flags.olderThanMs;
    const found = await collect(db, filter, isWanted, askFor(flags.limit));
    const items = found.slice(0, flags.limit);
    const cursor = found.length > flags.limit ? (items.at(-1)?.id ?? null) : null;
    await session.print(listResult(items.map(breakJson), cursor, [breakTable(items)]));
    return EXIT.done;
  });
}

function sourceOf({ account, bank }: BreakListFlags): string | null {
  if (account !== null) return `psp:${account}`;
  return bank === null ? null : `bank:${bank}`;
}

/** The first `wanted` that fit; reads page by page. */
async function collect(
  on: Queryable,
  filter: BreakFilter,
  isWanted: (one: BreakAnswer) => boolean,
  wanted: number,
): Promise<readonly BreakAnswer[]> {
  const found: BreakAnswer[] = [];
  for (let after = filter.after; found.length < wanted; ) {
    const page = await listBreaks(on, { ...filter, after });
    found.push(...page.filter(isWanted));
    const last = page.at(-1);
    if (last === undefined || page.length < filter.limit) break;
    after = requireId('reconBreak', last.id);
  }
  return found.slice(0, wanted);
}

/** Exit 1 when there is none. */
export async function showBreakCommand(session: Session, text: string): Promise<number> {
  return withBook(session, async ({ db }) => {
    await session.print(breakResult(await requireBreak(db, text)));
    return EXIT.done;
  });
}

/** What the line of a break may be: exit 1 when there is no such break, 5 when it has no line that waits. */
export async function listItemsCommand(session: Session, text: string, limit: number): Promise<number> {
  return withBook(session, async ({ db }) => {
    const { break: one } = await requireBreak(db, text);
    if (one.external === null || one.external.kind === 'batch') {
      throw new OperatorError(
        'break_has_no_line',
        `${one.id} is about no line: nothing can be linked to it.`,
        {
          kind: 'refused',
        },
      );
    }
    const breakId = requireId('reconBreak', one.id);
    const items = await listLinkable(db, { breakId, source: one.source }, limit);
    await session.print(
      listResult(items.map(itemJson), null, [
        itemTable(items),
        {
          kind: 'line',
          text: `The line: ${one.external.kind} ${signedText(one.external.amountMinor, one.external.currency)}, ${one.external.reference ?? one.external.label}`,
        },
        ...linkLines(one, items),
      ]),
    );
    return EXIT.done;
  });
}

function linkLines(one: BreakAnswer, [first]: readonly OpenItemAnswer[]): readonly Block[] {
  if (first === undefined) return [];
  const text = `paygate breaks resolve ${one.id} --as link --item ${first.id} --reason "…" --dry-run`;
  return [{ kind: 'line', text }];
}

export function itemJson(item: OpenItemAnswer) {
  const money = (amountMinor: bigint) => toMoneyJson({ amountMinor, currency: item.currency });
  return {
    item: item.id,
    kind: item.kind,
    ...money(item.amountMinor),
    open: money(item.remainingMinor),
    reference: item.reference,
    operation_id: item.operationId,
    booked_at: item.bookedAt,
  };
}

function itemTable(items: readonly OpenItemAnswer[]): Block {
  return {
    kind: 'table',
    empty: 'nothing of its currency is open',
    columns: [
      { title: 'ITEM' },
      { title: 'KIND' },
      { title: 'OPEN', align: 'right' },
      { title: 'BOOKED' },
      { title: 'OPERATION' },
      { title: 'REFERENCE', shrink: true },
    ],
    rows: items.map((item) => [
      item.id,
      item.kind,
      signedText(item.remainingMinor, item.currency),
      timeText(item.bookedAt),
      item.operationId ?? '',
      item.reference ?? '',
    ]),
  };
}

/** @throws OperatorError id_invalid, break_not_found */
export async function requireBreak(on: Queryable, text: string): Promise<BreakDetails> {
  const id = requireId('reconBreak', text);
  const found = await showBreak(on, id);
  if (found !== null) return found;
  throw new OperatorError('break_not_found', `There is no break ${shownText(formatId('reconBreak', id))}.`, {
    kind: 'answer_is_no',
  });
}

/** One break with everything that is known of it. */
export function breakResult(details: BreakDetails): Result {
  const { break: one, history, raw } = details;
  return {
    json: { ...breakJson(one), history: history.map(eventJson), raw },
    records: [breakJson(one)],
    blocks: [
      factsOf(one),
      sides(one),
      ...(raw === null ? [] : [{ kind: 'line', text: `the file's row: ${raw}` } as const]),
      historyTable(history),
      ...whatNext(one),
    ],
  };
}

function eventJson(event: BreakEventAnswer) {
  return {
    at: event.at,
    kind: event.kind,
    principal: event.principal,
    reason: event.reason,
    from: event.from,
    to: event.to,
    entry_id: event.entryId,
  };
}

function isOpen({ state }: BreakAnswer): boolean {
  return state !== 'resolved' && state !== 'written_off';
}

function factsOf(one: BreakAnswer): Block {
  return {
    kind: 'facts',
    facts: [
      ['break', one.id],
      ['code', codeText(one.code)],
      ['severity', { text: one.severity, tone: one.severity === 'P1' ? 'bad' : 'warn' }],
      ['state', { text: one.state, tone: isOpen(one) ? 'warn' : 'good' }],
      ['source', one.source],
      ['amount', `${changeText(one.amountMinor, one.currency)} (what the file has more than the books)`],
      ['says', one.says],
      ['seen', `${timeText(one.firstSeenAt)} to ${timeText(one.lastSeenAt)}, ${one.ageDays} days old`],
      ['assignee', one.assignee ?? 'nobody'],
      ...(one.proposal === undefined || one.proposal === null
        ? []
        : [['proposed', `${one.proposal.as} by ${one.proposal.by}: ${one.proposal.reason ?? ''}`] as const]),
    ],
  };
}

/** Whole, however narrow the terminal is: references are copied from here. */
function sides(one: BreakAnswer): Block {
  const facts = (name: string, side: BreakSide | null): readonly (readonly [string, string])[] =>
    side === null
      ? [[name, 'nothing']]
      : [
          [name, `${side.kind} ${signedText(side.amountMinor, side.currency)}`],
          ['', [side.label, ...(side.at === null ? [] : [timeText(side.at)])].join(', ')],
          ...(side.reference === null ? [] : [['', side.reference] as const]),
        ];
  return { kind: 'facts', facts: [...facts('the file', one.external), ...facts('the books', one.internal)] };
}

function historyTable(history: readonly BreakEventAnswer[]): Block {
  return {
    kind: 'table',
    empty: 'no history',
    columns: [
      { title: 'WHEN' },
      { title: 'WHAT' },
      { title: 'STATE' },
      { title: 'BY', shrink: true },
      { title: 'REASON', shrink: true },
      { title: 'ENTRY' },
    ],
    rows: history.map((event) => [
      timeText(event.at),
      event.kind,
      event.to,
      event.principal,
      event.reason ?? '',
      event.entryId ?? '',
    ]),
  };
}

function whatNext(one: BreakAnswer): readonly Block[] {
  const ways = isOpen(one) ? waysOut(one) : [];
  if (ways.length === 0) return [];
  const lines = ways.flatMap(({ does, command }) => [
    `- ${does}`,
    ...(command === null ? [] : [`  ${command}`]),
  ]);
  return ['What can be done:', ...lines].map((text): Block => ({ kind: 'line', text }));
}
