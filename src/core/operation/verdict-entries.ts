/**
 * What the ledger books of an outcome, for each kind of operation: done, late, taken back, given up. Decides only; the
 * postings themselves are the ledger's rules.
 */
import { Bug, unreachable } from '../errors.ts';
import { formatId } from '../ids.ts';
import type { NewEntry } from '../ledger/ledger-store.ts';
import * as rules from '../ledger/posting-rules.ts';
import type { Currency } from '../money.ts';
import { publicStateOf, type SubState } from './operation.ts';
import type { Subject } from './operation-store.ts';

export function successEntry(subject: Subject): NewEntry {
  return { cause: formatId('operation', subject.operationId), ...successRule(subject) };
}

function successRule(subject: Subject): rules.Entry {
  switch (subject.kind) {
    case 'charge':
      return rules.chargeSucceeded(chargeOf(subject));
    case 'refund':
      return subject.fromSuspense
        ? rules.suspenseRefunded(unowned(subject))
        : rules.refundSucceeded(moneyOut(subject));
    case 'payout':
      return rules.payoutAccepted(moneyOut(subject));
    default:
      return unreachable(subject.kind);
  }
}

/**
 * What had been reserved goes back when it is certain that the PSP moved nothing; a charge reserves nothing, and what
 * is refunded from suspense stays there until it is done.
 */
export function releaseEntries(subject: Subject, subState: SubState): readonly NewEntry[] {
  if (subject.kind === 'charge' || subject.fromSuspense || publicStateOf(subState) !== 'FAILED') return [];
  const rule = subject.kind === 'refund' ? rules.refundFailed : rules.payoutFailed;
  const entry = { cause: formatId('operation', subject.operationId), ...rule(moneyOut(subject)) };
  // A refund that the platform's fee alone would have paid had reserved nothing.
  return entry.postings.length === 0 ? [] : [entry];
}

/** A fact that nobody expected any more, booked all the same. */
export function lateEntry(subject: Subject, surplus: boolean): NewEntry {
  const cause = `${formatId('operation', subject.operationId)}/${subject.attemptNumber}`;
  switch (subject.kind) {
    case 'charge': {
      const input = unowned(subject);
      return { cause, ...(surplus ? rules.surplusSuccess(input) : rules.lateSuccess(input)) };
    }
    case 'refund': {
      const { fromSuspense } = subject;
      return {
        cause,
        ...(fromSuspense ? rules.suspenseRefunded(unowned(subject)) : rules.lateRefund(moneyOut(subject))),
      };
    }
    case 'payout':
      return { cause, ...rules.latePayout(moneyOut(subject)) };
    default:
      return unreachable(subject.kind);
  }
}

export function reversalEntry(subject: Subject): NewEntry {
  const cause = formatId('operation', subject.operationId);
  switch (subject.kind) {
    case 'charge':
      return { cause, ...rules.chargeReversed(chargeOf(subject)) };
    case 'refund': {
      const { fromSuspense } = subject;
      const rule = fromSuspense ? rules.suspenseRefundFailed : rules.refundFailedAfterSuccess;
      return { cause, ...rule({ ...moneyOut(subject), ...unowned(subject) }) };
    }
    case 'payout':
      return { cause, ...rules.payoutReturned(moneyOut(subject)) };
    default:
      return unreachable(subject.kind);
  }
}

/** The PSP took back what was in suspense. */
export function suspenseReversal(subject: Subject): NewEntry {
  const cause = `${formatId('operation', subject.operationId)}/${subject.attemptNumber}`;
  return { cause, ...rules.suspenseReversed(unowned(subject)) };
}

/** What the posting rules ask of a refund or a payout. */
function moneyOut(subject: Subject) {
  return {
    pspAccount: subject.pspAccount,
    seller: known(subject.seller),
    currency: subject.currency as Currency,
    refundMinor: subject.amountMinor,
    payoutMinor: subject.amountMinor,
    feeShareMinor: subject.feeShareMinor,
    fromPendingMinor: subject.fromPendingMinor,
    fromAvailableMinor: subject.amountMinor - subject.feeShareMinor - subject.fromPendingMinor,
  };
}

/** What the posting rules ask of a charge. */
function chargeOf(subject: Subject) {
  return {
    ...unowned(subject),
    seller: known(subject.seller),
    feeMinor: known(subject.feeMinor),
    release: subject.releaseAfterDays === null ? ('available' as const) : ('pending' as const),
  };
}

/** Money that no seller has a part in. */
function unowned({ pspAccount, currency, amountMinor }: Subject) {
  return { pspAccount, currency: currency as Currency, grossMinor: amountMinor };
}

function known<T>(value: T | null): T {
  if (value === null) throw new Bug('an operation without its order or seller');
  return value;
}
