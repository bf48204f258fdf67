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
  readonly operationId: bigint | null;
  readonly operationKind: string | null;
  readonly proposedBy: string | null;
};

/** How a decision corrects the books. */
type Correction =
  | { readonly kind: 'none' }
  /** What the break explains goes from the open account to this one. */
  | { readonly kind: 'entry'; readonly entryKind: string; readonly to: AccountCode }
  | { readonly kind: 'link' }
  /** The operation's own reversal, through the decision that the executor takes too. */
  | { readonly kind: 'reverse_operation' };

export type Decision = {
  readonly to: BreakState;
  readonly correction: Correction;
  /** Its money leaves the books for good: over the limit two people must say so. */
  readonly isWriteOff: boolean;
};

export type DecisionOrRefusal =
  | { readonly kind: 'decided'; readonly decision: Decision }
  | { readonly kind: 'refused'; readonly why: string };

/** Whether a decision closes the break, and so needs a reason. */
export function needsReason(action: ResolutionAction): boolean {
  return !['acknowledge', 'wait_for_psp', 'assign', 'reopen'].includes(action);
}

export function decideResolution(one: BreakStanding, action: ResolutionAction): DecisionOrRefusal {
  const movesNothing = one.openMinor === 0n && (one.otherMinor ?? 0n) === 0n;
  const says = (to: BreakState): DecisionOrRefusal => ({
    kind: 'decided',
    decision: { to, correction: { kind: 'none' }, isWriteOff: false },
  });
  const books = (entryKind: string, to: AccountCode, isWriteOff = false): DecisionOrRefusal =>
    movesNothing
      ? refused('There is no money to move: accept it instead.')
      : {
          kind: 'decided',
          decision: {
            to: isWriteOff ? 'written_off' : 'resolved',
            correction: { kind: 'entry', entryKind, to },
            isWriteOff,
          },
        };
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
      return movesNothing
        ? says('resolved')
        : refused('Money is open behind it: it must be booked somewhere.');
    case 'suspense':
      return books('line_unexplained', suspenseAccount(one.source.name));
    case 'adjust':
      return books(
        'difference_written_off',
        expenseAccount(one.code === 'fx_variance' ? 'fx' : 'write_off'),
        true,
      );
    case 'expense':
      return books('line_expensed', expenseAccount('psp_fees'));
    case 'write_off':
      return books('break_written_off', expenseAccount('write_off'), true);
    case 'link':
      return one.proposedItemId === null || one.lineId === null
        ? refused('It proposes no item to link.')
        : { kind: 'decided', decision: { to: 'resolved', correction: { kind: 'link' }, isWriteOff: false } };
    case 'reverse':
      return one.operationKind === 'refund' || one.operationKind === 'payout'
        ? {
            kind: 'decided',
            decision: { to: 'resolved', correction: { kind: 'reverse_operation' }, isWriteOff: false },
          }
        : refused('Only a refund or a payout of ours is reversed here.');
    default:
      return unreachable(action);
  }
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

/** Takes `minor` off the open account: a debit balance above zero is credited. */
function moved(open: AccountCode, to: AccountCode, currency: Currency, minor: bigint): readonly Posting[] {
  return minor >= 0n ? pair(to, open, currency, minor) : pair(open, to, currency, -minor);
}
