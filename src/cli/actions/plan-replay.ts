/** What a replay of dead letters would do, found out by reading only, and how it looks to a person and in JSON. */
import { type Config, pspOf } from '../../core/config.ts';
import type { Queryable } from '../../core/db/connection.ts';
import { unreachable } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { toMoneyJson } from '../../core/money.ts';
import {
  type PlannedReplay,
  planReplays,
  type ReplayAction,
  type ReplayPlan,
} from '../../core/operation/letter-plan.ts';
import { listStandings, type Standing } from '../../core/operation/reopening-store.ts';
import type { ReplayResult } from '../../core/operation/replay-dead-letters.ts';
import { capabilitiesOf } from '../../core/psp/request.ts';
import type { DeadLetter } from '../../core/queue/dead-letter-store.ts';
import type { Block } from '../render/table.ts';
import {
  countText,
  moneyOf,
  moneyText,
  sumUp,
  type Totals,
  totalsCode,
  totalsJson,
  totalsText,
} from '../words.ts';

/** Operations looked up in one query. */
const PAGE = 1_000;

/** A letter that was chosen, what was planned for it, and what became of it. */
type LetterReplay = {
  readonly letter: DeadLetter;
  readonly plan: ReplayPlan;
};

export type ReplayOutlook = {
  /** Oldest first. */
  readonly letters: readonly LetterReplay[];
  /** Those that can be replayed. */
  readonly ready: readonly LetterReplay[];
  readonly refused: readonly LetterReplay[];
  /** Chosen by name and closed already: an earlier run of the same command did it. */
  readonly closed: number;
  readonly totals: Totals;
};

/** @param chosen in any order */
export async function planReplay(
  on: Queryable,
  config: Config,
  chosen: readonly DeadLetter[],
  action: ReplayAction | null,
): Promise<ReplayOutlook> {
  const open = chosen
    .filter((letter) => letter.state === 'open')
    .toSorted((left, right) => (left.id < right.id ? -1 : 1));
  const operationIds = [...new Set(open.map((letter) => letter.operationId))];
  const standings: Standing[] = [];
  for (let start = 0; start < operationIds.length; start += PAGE)
    standings.push(...(await listStandings(on, operationIds.slice(start, start + PAGE))));
  const psp = pspOf(config);
  const planned: readonly PlannedReplay[] = planReplays(open, standings, action, (name) =>
    capabilitiesOf(psp(name)),
  );
  const letters = open.map((letter, i) => ({ letter, plan: planned[i]!.plan }));
  const ready = letters.filter(({ plan }) => plan.kind !== 'refused');
  return {
    letters,
    ready,
    refused: letters.filter(({ plan }) => plan.kind === 'refused'),
    closed: chosen.length - open.length,
    totals: sumUp(ready.map(({ letter }) => moneyOf(letter))),
  };
}

/** For a person, before anything happens. */
export function outlookText(outlook: ReplayOutlook): string {
  const { ready, refused, closed } = outlook;
  const count = (what: (plan: ReplayPlan) => boolean) => ready.filter(({ plan }) => what(plan)).length;
  const lines = [
    `Replay ${countText(ready.length, 'dead letter')}, ${totalsText(outlook.totals) || 'nothing'}`,
  ];
  const parts: readonly (readonly [number, string])[] = [
    [count((plan) => plan.kind === 'resume' && plan.action === 'send'), 'sent again under the original key'],
    [count((plan) => plan.kind === 'resume' && plan.action === 'enquire'), 'only asked for, not sent'],
    [count((plan) => plan.kind === 'renew'), 'sent as a new attempt with a new key'],
    [count((plan) => plan.kind === 'fold'), 'booked by what is known, not sent'],
    [refused.length, 'refused, each with its reason'],
    [closed, 'closed already'],
  ];
  for (const [letters, what] of parts) if (letters > 0) lines.push(`  ${letters}: ${what}`);
  return lines.join('\n');
}

/** The plan in JSON; `confirm` is what --confirm takes. */
export function outlookJson(outlook: ReplayOutlook) {
  return {
    matched: outlook.letters.length + outlook.closed,
    closed_already: outlook.closed,
    to_replay: outlook.ready.length,
    totals: totalsJson(outlook.totals),
    confirm: totalsCode(outlook.totals),
    refused_count: outlook.refused.length,
  };
}

/** What is done with a letter, in one word: part of the JSON contract. */
function planWord(plan: ReplayPlan): 'send' | 'enquire' | 'new_attempt' | 'fold' | 'refused' {
  switch (plan.kind) {
    case 'resume':
      return plan.action;
    case 'renew':
      return 'new_attempt';
    case 'fold':
    case 'refused':
      return plan.kind;
    default:
      return unreachable(plan);
  }
}

/** @param results what became of the letters, by id; without: nothing was done */
export function letterViews(outlook: ReplayOutlook, results: ReadonlyMap<bigint, ReplayResult>) {
  return outlook.letters.map(({ letter, plan }) => {
    const result = results.get(letter.id);
    const refusal = result?.kind === 'refused' ? result : plan.kind === 'refused' ? plan : null;
    return {
      dead_letter_id: formatId('deadLetter', letter.id),
      code: letter.code,
      operation_id: formatId('operation', letter.operationId),
      payment_order_id: letter.orderId === null ? null : formatId('order', letter.orderId),
      ...toMoneyJson(moneyOf(letter)),
      plan: planWord(plan),
      result: result?.kind ?? (plan.kind === 'refused' ? 'refused' : 'open'),
      attempt_number:
        result?.kind === 'replayed'
          ? (result.job?.attemptNumber ?? letter.attemptNumber)
          : letter.attemptNumber,
      refusal: refusal === null ? null : { code: refusal.code, message: refusal.message },
    };
  });
}

/** @param maxRows longer ones begin with what was refused, which a person must see */
export function letterTable(
  all: ReplayOutlook,
  results: ReadonlyMap<bigint, ReplayResult>,
  maxRows: number,
): Block {
  const isRefused = (one: LetterReplay) =>
    one.plan.kind === 'refused' || results.get(one.letter.id)?.kind === 'refused';
  const refusedFirst = (letters: ReplayOutlook['letters']) => [
    ...letters.filter(isRefused),
    ...letters.filter((one) => !isRefused(one)),
  ];
  const { letters } = all;
  const outlook =
    letters.length <= maxRows ? all : { ...all, letters: refusedFirst(letters).slice(0, maxRows) };
  const views = letterViews(outlook, results);
  return {
    kind: 'table',
    empty: 'no open dead letter was chosen',
    columns: [
      { title: 'LETTER' },
      { title: 'CODE' },
      { title: 'ORDER' },
      { title: 'AMOUNT', align: 'right' },
      { title: 'PLAN' },
      { title: 'RESULT' },
      { title: 'REASON', shrink: true },
    ],
    rows: outlook.letters.map(({ letter }, i) => {
      const view = views[i]!;
      return [
        view.dead_letter_id,
        view.code,
        view.payment_order_id ?? view.operation_id,
        moneyText(moneyOf(letter)),
        view.plan,
        view.result,
        view.refusal?.message ?? letter.reason,
      ];
    }),
  };
}
