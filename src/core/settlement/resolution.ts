/** What a person's decision about a break means: the next state, the correction, who must agree. Decides only. */
import { unreachable } from '../errors.ts';
import { type AccountCode, expenseAccount, suspenseAccount } from '../ledger/chart-of-accounts.ts';
import { type Entry, type Posting, pair } from '../ledger/posting-rules.ts';
import type { Currency } from '../money.ts';
import type { BreakCode, BreakState } from './reconcile-answer.ts';
import { openAccount, type PostedSource } from './settlement-posting.ts';

/** What can be done about a break; which of them fit is in its `offers`. */
export type ResolutionAction =
  | 'acknowledge'
  | 'wait_for_psp'
  | 'assign'
  | 'accept'
  | 'suspense'
  | 'adjust'
  | 'expense'
  | 'write_off'
  | 'link'
  | 'reverse'
  | 'reopen';

/** A break as far as a decision needs it. */
export type BreakStanding = {
  readonly id: bigint;
  readonly code: BreakCode;
  readonly state: BreakState;
  readonly source: PostedSource;
  readonly currency: Currency;
  /** What it explains of the source's open account, in its own currency and in the other. */
  readonly openMinor: bigint;
  readonly otherCurrency: Currency | null;
  readonly otherMinor: bigint | null;
  readonly lineId: bigint | null;
  readonly itemId: bigint | null;
  readonly proposedItemId: bigint | null;
  /** What is left of the proposed item; null: it is explained by now, or none is proposed. */
  readonly proposedMinor: bigint | null;
  readonly operationId: bigint | null;
  readonly operationKind: string | null;
  readonly operationState: string | null;
  /** Nothing of the line's or batch's postings was made: only another file changes that. */
  readonly isRefused: boolean;
  readonly proposedBy: string | null;
  /** What was proposed: a second person agrees to exactly that. */
  readonly proposedPlan: string | null;
};

/** An open item that a person says a line shows, and how much of it; signed minor units. */
export type Link = { readonly itemId: bigint; readonly remainingMinor: bigint; readonly amountMinor: bigint };

/** Where what is left of a linked line goes. */
export const REST_ACTIONS = ['adjust', 'expense', 'suspense'] as const satisfies readonly ResolutionAction[];
export type RestAction = (typeof REST_ACTIONS)[number];

/** @property rest null: there must be none */
export type LinkWish = { readonly links: readonly Link[]; readonly rest: RestAction | null };

/** How a decision corrects the books. */
type Correction =
  | { readonly kind: 'none' }
  /** What the break explains goes from the open account to this one. */
  | { readonly kind: 'entry'; readonly entryKind: string; readonly to: AccountCode }
  /** The line shows these items; what is left of it goes to an account, when anything is. */
  | {
      readonly kind: 'link';
      readonly links: readonly Link[];
      readonly restMinor: bigint;
      readonly rest: { readonly entryKind: string; readonly to: AccountCode } | null;
    }
  /** The operation's own reversal, through the decision that the executor takes too. */
  | { readonly kind: 'reverse_operation' };

export type Decision = {
  readonly to: BreakState;
  readonly correction: Correction;
  /** Given up: its total is typed. */
  readonly isWriteOff: boolean;
  /** Minor units that end as our cost or gain by one person's word, per currency: over the limit two must say so. */
  readonly costs: readonly { readonly currency: Currency; readonly minor: bigint }[];
};

export type DecisionOrRefusal =
  | { readonly kind: 'decided'; readonly decision: Decision }
  | { readonly kind: 'refused'; readonly why: string }
  /** Of the linked line so much is left, and nobody has said where it goes. */
  | { readonly kind: 'rest'; readonly restMinor: bigint };

/** Whether a decision closes the break, and so needs a reason. */
export function needsReason(action: ResolutionAction): boolean {
  return !['acknowledge', 'wait_for_psp', 'assign', 'reopen'].includes(action);
}

/** @param wish for `link`: without one, the proposed item is meant */
export function decideResolution(
  one: BreakStanding,
  action: ResolutionAction,
  wish: LinkWish | null = null,
): DecisionOrRefusal {
  switch (action) {
    case 'acknowledge':
      return says('acknowledged');
    case 'wait_for_psp':
      return says('waiting_psp');
    case 'assign':
      return says(one.state);
    case 'reopen':
      return says('open');
    case 'accept':
      return acceptIt(one);
    case 'suspense':
    case 'expense':
    case 'adjust':
    case 'write_off':
      return bookIt(one, action);
    case 'link':
      return linkIt(one, wish);
    case 'reverse':
      return reverseIt(one);
    default:
      return unreachable(action);
  }
}

const NOTHING = { isWriteOff: false, costs: [] } as const;

function says(to: BreakState): DecisionOrRefusal {
  return { kind: 'decided', decision: { to, correction: { kind: 'none' }, ...NOTHING } };
}

function movesNothing(one: BreakStanding): boolean {
  return one.openMinor === 0n && (one.otherMinor ?? 0n) === 0n;
}

function acceptIt(one: BreakStanding): DecisionOrRefusal {
  if (one.isRefused) return refused('Nothing of its batch is posted: it needs a file that is right.');
  return movesNothing(one)
    ? says('resolved')
    : refused('Money is open behind it: it must be booked somewhere.');
}

function bookIt(one: BreakStanding, action: RestAction | 'write_off'): DecisionOrRefusal {
  if (movesNothing(one)) return refused('There is no money to move: accept it instead.');
  const isWriteOff = action === 'adjust' || action === 'write_off';
  const costs =
    action === 'suspense'
      ? []
      : [
          { currency: one.currency, minor: one.openMinor },
          ...(one.otherCurrency === null || one.otherMinor === null
            ? []
            : [{ currency: one.otherCurrency, minor: one.otherMinor }]),
        ];
  const correction = { kind: 'entry', ...accountOf(one, action) } as const;
  return {
    kind: 'decided',
    decision: { to: isWriteOff ? 'written_off' : 'resolved', correction, isWriteOff, costs },
  };
}

function accountOf(one: BreakStanding, action: RestAction | 'write_off') {
  switch (action) {
    case 'suspense':
      return { entryKind: 'line_unexplained', to: suspenseAccount(one.source.name) };
    case 'expense':
      return { entryKind: 'line_expensed', to: expenseAccount('psp_fees') };
    case 'adjust':
      return {
        entryKind: 'difference_written_off',
        to: expenseAccount(one.code === 'fx_variance' ? 'fx' : 'write_off'),
      };
    case 'write_off':
      return { entryKind: 'break_written_off', to: expenseAccount('write_off') };
    default:
      return unreachable(action);
  }
}

/** Whether a person may say what the break's line shows: it is money that nothing explains yet. */
export function isLinkable(one: BreakStanding): boolean {
  return one.lineId !== null && one.itemId === null && one.openMinor !== 0n && !one.isRefused;
}

function linkIt(one: BreakStanding, wish: LinkWish | null): DecisionOrRefusal {
  if (!isLinkable(one)) return refused('There is no line behind it that waits for an explanation.');
  const links = wish?.links ?? proposedLink(one);
  if (links.length === 0) return refused('It proposes no item: name what its line shows with --item.');
  // What the line moved is the opposite of what it left open.
  const restMinor = links.reduce((rest, { amountMinor }) => rest - amountMinor, -one.openMinor);
  const rest = wish?.rest ?? null;
  if (restMinor === 0n) {
    return rest === null
      ? { kind: 'decided', decision: linking(links, 0n, null, NOTHING) }
      : refused('The items come to what the line shows: nothing is left for --rest.');
  }
  if (rest === null) return { kind: 'rest', restMinor };
  const isWriteOff = rest === 'adjust';
  const costs = rest === 'suspense' ? [] : [{ currency: one.currency, minor: restMinor }];
  return {
    kind: 'decided',
    decision: linking(links, restMinor, accountOf(one, rest), { isWriteOff, costs }),
  };
}

function linking(
  links: readonly Link[],
  restMinor: bigint,
  rest: ReturnType<typeof accountOf> | null,
  loss: Pick<Decision, 'isWriteOff' | 'costs'>,
): Decision {
  const to = loss.isWriteOff ? 'written_off' : 'resolved';
  return { to, correction: { kind: 'link', links, restMinor, rest }, ...loss };
}

function proposedLink(one: BreakStanding): readonly Link[] {
  const { proposedItemId: itemId, proposedMinor: minor } = one;
  return itemId === null || minor === null ? [] : [{ itemId, remainingMinor: minor, amountMinor: minor }];
}

/** Only what counts as done can be undone. */
const REVERSIBLE: ReadonlySet<string> = new Set(['succeeded', 'paid']);

function reverseIt(one: BreakStanding): DecisionOrRefusal {
  const { operationKind, operationState } = one;
  if (operationKind !== 'refund' && operationKind !== 'payout')
    return refused('Only a refund or a payout of ours is reversed here.');
  // Of a line with another amount, a part did move.
  const isWhole = one.itemId === null ? one.code === 'returned_payout' : one.lineId === null;
  if (!isWhole) return refused('A part of it moved: book the difference.');
  if (operationState === null || !REVERSIBLE.has(operationState))
    return refused(`The ${operationKind} is ${operationState}: there is nothing to reverse.`);
  return {
    kind: 'decided',
    decision: { to: 'resolved', correction: { kind: 'reverse_operation' }, ...NOTHING },
  };
}

function refused(why: string): DecisionOrRefusal {
  return { kind: 'refused', why };
}

/** The entry that closes what the break explains; both currencies of a currency mismatch at once. */
export function correctionEntry(one: BreakStanding, entryKind: string, to: AccountCode): Entry {
  const open = openAccount(one.source);
  const sides: (readonly Posting[])[] = [moved(open, to, one.currency, one.openMinor)];
  if (one.otherCurrency !== null && one.otherMinor !== null)
    sides.push(moved(open, to, one.otherCurrency, one.otherMinor));
  return { kind: entryKind, postings: sides.flat() };
}

/** The entry that takes what is left of a linked line off the open account. */
export function restEntry(one: BreakStanding, entryKind: string, to: AccountCode, restMinor: bigint): Entry {
  return { kind: entryKind, postings: moved(openAccount(one.source), to, one.currency, -restMinor) };
}

/** Takes `minor` off the open account: a debit balance above zero is credited. */
function moved(open: AccountCode, to: AccountCode, currency: Currency, minor: bigint): readonly Posting[] {
  return minor >= 0n ? pair(to, open, currency, minor) : pair(open, to, currency, -minor);
}
