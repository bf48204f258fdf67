/**
 * What follows from one finding (new evidence about an attempt): who may settle, what the evidence adds up to,
 * the next states, the entries to post, the letter to a person. Decides only; `apply-findings` writes it.
 */
import { Bug, unreachable } from '../errors.ts';
import { formatId } from '../ids.ts';
import type { NewEntry } from '../ledger/ledger-store.ts';
import * as rules from '../ledger/posting-rules.ts';
import type { Currency } from '../money.ts';
import type { Capabilities, EnquiryReply } from '../psp/psp.ts';
import type { Routing } from '../psp/route.ts';
import type { JobAction, OpenJob } from '../queue/queue-store.ts';
import { type DeadLetterCode, decide, decideRecheck, type Step } from './decide.ts';
import {
  type AttemptState,
  attemptStateOf,
  type Evidence,
  type EvidenceKind,
  type EvidenceSource,
  isOpenAttempt,
  merge,
  type Outcome,
  weightOf,
} from './evidence.ts';
import type { NewHandOff } from './hand-off-store.ts';
import {
  type Cancel,
  isEnded,
  type OperationEvent,
  publicStateOf,
  type SubState,
  shownSubState,
  transition,
} from './operation.ts';
import type { AttemptChange, NewEvidence, OperationChange, Subject } from './operation-store.ts';

/** How long a buyer may take where the configuration says nothing (ms): a day. */
const DEFAULT_CUSTOMER_LIMIT_MS = 24 * 3_600_000;

/** Longest reason or reference that is kept of an answer (characters); `detail` has all of it. */
const MAX_STORED_TEXT = 2_000;

/** The executor's right and counters, from its claim. */
type HeldJob = {
  readonly fence: number;
  readonly action: JobAction;
  readonly burned: number;
  readonly waits: number;
  readonly firstSentAgoMs: number;
  /** How long the buyer could still take when it was claimed (ms); null: none was waited for. */
  readonly customerLeftMs: number | null;
};

/** Something learned about an attempt. One per operation in a call. */
export type Finding = {
  readonly operationId: bigint;
  readonly attemptNumber: number;
  readonly source: Exclude<EvidenceSource, 'late_reply' | 'lapse'>;
  /** Null: nothing new; fold what is stored (the job was woken by late evidence). */
  readonly reply: EnquiryReply | null;
  /** Null for findings from outside the queue. */
  readonly held: HeldJob | null;
};

/** What a new attempt elsewhere needs of the configuration. */
export type Reroute = {
  readonly route: Routing;
  /** The book's own random part of every idempotency key at a PSP. */
  readonly bookKey: string;
};

export type FindingContext = {
  /** Who was authenticated, for the evidence and the events. */
  readonly principal: string;
  readonly capabilitiesOf: (pspAccount: string) => Capabilities;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** How long a buyer may take to finish a charge (ms), from when the PSP first asks for it; left out: 24 hours. */
  readonly customerLimitMs?: number;
  /** Where softly declined charges may be tried next; left out: nowhere. */
  readonly reroute?: Reroute;
  /** Set when booking failed before: store the evidence, decide nothing, open a dead letter that says this. */
  readonly quarantine?: string;
};

/** Everything that follows from one finding, before anything is written. */
export type Verdict = {
  readonly subject: Subject;
  readonly finding: Finding;
  readonly job: OpenJob | undefined;
  readonly right: 'held' | 'outside' | 'fenced';
  readonly evidence: NewEvidence | null;
  readonly outcome: Outcome;
  readonly step: Step | null;
  readonly subState: SubState;
  readonly attemptState: AttemptState;
  readonly entries: readonly NewEntry[];
  readonly letter: { readonly code: DeadLetterCode; readonly reason: string } | null;
  /** How long a buyer may take (ms), where this is the first word of one. */
  readonly customerLimitMs: number;
  /** Something may be stored for its buyer. */
  readonly mayHaveHandOff: boolean;
  /** Before this finding, something said that the PSP may have it. */
  readonly wasInDoubt: boolean;
};

/** The decision about one finding; pure. */
export function judge(
  context: FindingContext,
  stands: Subject,
  finding: Finding,
  operationJob: OpenJob | undefined,
  stored: ReadonlyMap<bigint, readonly Evidence[]>,
): Verdict {
  // A job of another attempt neither gives nor takes a right here.
  const job = operationJob?.attemptNumber === finding.attemptNumber ? operationJob : undefined;
  const subject = { ...stands, subState: shownSubState(stands.subState, job?.state ?? null) };
  const right = rightOf(finding, job);
  const evidence = finding.reply === null ? null : toEvidence(subject, finding, finding.reply, right);
  const known = stored.get(subject.operationId) ?? [];
  const outcome = merge(evidence === null ? known : [...known, evidence]);
  const knownBefore = known.length > 0 && merge(known).contradicted;
  const customerLimitMs = context.customerLimitMs ?? DEFAULT_CUSTOMER_LIMIT_MS;
  const mayHaveHandOff = known.some((item) => item.kind === 'awaiting_customer');
  const wasInDoubt =
    subject.maybeSent || known.some((item) => ['doubt', 'held'].includes(weightOf(item.kind)));
  const base = {
    ...{ subject, finding, job, right, evidence, outcome },
    ...{ customerLimitMs, mayHaveHandOff, wasInDoubt },
  };
  const asItWas = {
    step: null,
    subState: subject.subState,
    attemptState: subject.attemptState,
    entries: [],
    letter: null,
  };
  if (right === 'fenced') return { ...base, ...asItWas };
  if (context.quarantine !== undefined) {
    const letter = { code: 'quarantined' as const, reason: context.quarantine };
    return {
      ...base,
      ...asItWas,
      step: right === 'held' ? { kind: 'bury', ...letter } : null,
      // Its job goes, and with it the claim: what became of it is for a person to find out.
      subState: subject.subState === 'claimed' ? 'unknown' : subject.subState,
      attemptState: isUntold(subject.attemptState) ? 'unknown' : subject.attemptState,
      letter,
    };
  }
  const amiss = letterOfAmiss(finding, subject, evidence, known);
  if (hasEnded(subject)) return afterTheEnd(context, base, { contradicted: knownBefore, amiss });
  const event = eventOf(subject, finding, known, outcome);
  const subState = transition(subject.subState, event === 'declined' ? refusalOf(subject) : event);
  if (subState === null)
    throw new Bug(`${outcome.kind} cannot happen to an operation that is ${subject.subState}`);
  const step =
    right === 'held' ? nextStep(context, base) : isEnded(subState) ? ({ kind: 'end' } as const) : null;
  return {
    ...base,
    step,
    subState,
    attemptState: attemptStateOf(event),
    entries: entriesOf(subject, event, subState),
    letter:
      step?.kind === 'bury'
        ? { code: step.code, reason: step.reason }
        : (letterOfEnd(subject, outcome, event) ?? amiss),
  };
}

/**
 * What the outcome is to an attempt that is open. One that was taken back before anybody told that it was done has not been
 * made; a refund or payout that is said to have moved and come back has been both.
 */
function eventOf(
  { kind }: Subject,
  { reply }: Finding,
  known: readonly Evidence[],
  outcome: Outcome,
): Outcome['kind'] {
  if (outcome.kind !== 'reversed') return outcome.kind;
  const saysMoved = reply?.kind === 'declined' && reply.isUndone === true;
  const hadMoved = saysMoved || known.some((item) => weightOf(item.kind) === 'moved');
  return kind !== 'charge' && hadMoved ? 'reversed' : 'declined';
}

/** A charge that was to be canceled, and now certainly has not been made, ends as it was wanted to. */
function refusalOf({ subState, cancelAs }: Subject): OperationEvent {
  return cancelAs === null || transition(subState, cancelAs) === null ? 'declined' : cancelAs;
}

/** What the books say of an attempt that was open; of one that moved and came back unseen, both. */
function entriesOf(subject: Subject, event: Outcome['kind'], subState: SubState): readonly NewEntry[] {
  if (hasMoved({ kind: event })) return [successEntry(subject)];
  if (event === 'reversed') return [successEntry(subject), reversalEntry(subject)];
  return releaseEntries(subject, subState);
}

function hasMoved({ kind }: Pick<Outcome, 'kind'>): boolean {
  return kind === 'succeeded' || kind === 'paid';
}

/** What a person must hear of an operation that is not buried; null: nothing. */
function letterOfEnd(subject: Subject, outcome: Outcome, event: Outcome['kind']): Verdict['letter'] {
  if (outcome.contradicted) {
    return { code: 'contradicting_evidence', reason: 'the PSP said that it moved and that it did not' };
  }
  // Somebody was promised this money, also where paygate itself asked for the refund.
  if (subject.kind === 'refund' && event === 'declined') {
    const why = outcome.reason ?? 'no reason given';
    return { code: 'refund_declined', reason: `the buyer's money was not given back: ${why}` };
  }
  return event === 'reversed' ? letterOfReversal(subject, outcome) : null;
}

function letterOfReversal(subject: Subject, outcome: Outcome) {
  return {
    code: 'reversed_after_success' as const,
    reason: `the PSP took back a ${subject.kind} that it had reported as done: ${outcome.reason ?? 'no reason given'}`,
  };
}

/** A payout that the PSP made, but not as it was asked to (part of it came back, two carry its key): told once. */
function letterOfAmiss(
  finding: Finding,
  subject: Subject,
  evidence: NewEvidence | null,
  known: readonly Evidence[],
): Verdict['letter'] {
  if (subject.kind !== 'payout' || finding.source === 'person') return null;
  if (evidence === null || evidence.reason === null || weightOf(evidence.kind) !== 'moved') return null;
  const { reason } = evidence;
  return known.some((item) => item.reason === reason) ? null : { code: 'moved_amiss', reason };
}

/** The operation has ended, or goes on with a later attempt: either way this attempt decides nothing any more. */
function hasEnded(subject: Subject): boolean {
  return isEnded(subject.subState) || !isOpenAttempt(subject.attemptState);
}

/** Nothing was ever learned of it. */
function isUntold(state: AttemptState): boolean {
  return state === 'created' || state === 'sent';
}

/** A reply of a job that is not held any more is fenced while the job lives; later it is evidence from outside. */
function rightOf(finding: Finding, job: OpenJob | undefined): Verdict['right'] {
  if (finding.held === null) return 'outside';
  if (job === undefined) return 'outside';
  return job.state === 'leased' && job.fence === finding.held.fence ? 'held' : 'fenced';
}

/** Nothing new was said: what is stored is folded. */
const WOKEN = { kind: 'unknown', reason: 'woken', next: 'resend', retryAfterMs: null } as const;

function nextStep(
  context: FindingContext,
  base: Pick<Verdict, 'subject' | 'finding' | 'outcome' | 'customerLimitMs'>,
): Step {
  const { held } = base.finding;
  if (held === null) throw new Bug('a held job without its hold');
  return decide({
    ...held,
    action: held.action === 'recheck' ? 'enquire' : held.action,
    customer: { leftMs: held.customerLeftMs ?? base.customerLimitMs, cancel: cancelOf(base.subject) },
    operationKind: base.subject.kind,
    outcome: base.outcome,
    latest: base.finding.reply ?? WOKEN,
    capabilities: context.capabilitiesOf(base.subject.pspAccount),
    random: context.random(),
  });
}

function cancelOf({ cancelAs, cancelReason }: Subject): Cancel | null {
  return cancelAs === null ? null : { as: cancelAs, reason: cancelReason ?? '' };
}

function toEvidence(
  subject: Subject,
  finding: Finding,
  reply: EnquiryReply,
  right: Verdict['right'],
): NewEvidence {
  const late = finding.held !== null && right !== 'held' && finding.source === 'reply';
  // What the buyer is handed is a secret, and evidence is for ever.
  const { kind: _said, handOff: _, ...rest } = { handOff: null, ...reply };
  return {
    operationId: finding.operationId,
    attemptNumber: finding.attemptNumber,
    source: late ? 'late_reply' : finding.source,
    kind: evidenceKindOf(subject, finding, reply, right),
    reason: storable('reason' in reply ? reply.reason : null),
    pspReference: storable('pspReference' in reply ? reply.pspReference : null),
    detail: JSON.stringify(rest),
    fence: finding.held?.fence ?? null,
  };
}

/**
 * A refund can fail and a payout can come back after they were done, also where we had not heard that they were. A charge
 * that was done is contradicted by a late "declined", which may be of before; only a look that began when it counted as
 * done can find that it is no more.
 */
function evidenceKindOf(
  subject: Subject,
  finding: Finding,
  reply: EnquiryReply,
  right: Verdict['right'],
): EvidenceKind {
  if (subject.kind === 'payout' && reply.kind === 'succeeded' && reply.arrived) return 'paid';
  if (reply.kind !== 'declined') return reply.kind;
  if (subject.kind === 'charge') {
    const isDone = subject.subState === 'succeeded' && subject.attemptState === 'succeeded';
    return isDone && right === 'held' && finding.held?.action === 'recheck' ? 'reversed' : 'declined';
  }
  // An enquiry shows what it has become, and stands against every first answer that comes late or is repeated.
  const isLastWord = finding.source === 'enquiry' || reply.isUndone === true;
  return isLastWord || publicStateOf(subject.subState) === 'SUCCESS' ? 'reversed' : 'declined';
}

/** A PSP's text of any kind must never be the reason that its answer is lost: PostgreSQL takes no NUL. */
function storable(text: string | null | undefined): string | null {
  return text?.replaceAll('\0', '').slice(0, MAX_STORED_TEXT) || null;
}

/**
 * The operation had ended: facts are booked all the same. Money that moved on a failed order goes to
 * suspense and to a person; evidence that contradicts a success goes to a person; equal evidence is a no-op.
 */
function afterTheEnd(
  context: FindingContext,
  base: Omit<Verdict, 'step' | 'subState' | 'attemptState' | 'entries' | 'letter'>,
  before: { readonly contradicted: boolean; readonly amiss: Verdict['letter'] },
): Verdict {
  const { subject, outcome } = base;
  const step = base.right === 'held' ? lookAgain(context, base) : null;
  const unchanged = {
    ...base,
    step,
    subState: subject.subState,
    attemptState: subject.attemptState,
    entries: [],
    letter: step?.kind === 'bury' ? { code: step.code, reason: step.reason } : before.amiss,
  };
  const end = isEnded(subject.subState) ? subject.subState : subject.attemptState;
  const bookedBefore = ['succeeded', 'succeeded_surplus', 'reversed'].includes(subject.attemptState);
  if (hasMoved(outcome) && !bookedBefore) {
    const surplus = publicStateOf(subject.subState) === 'SUCCESS';
    const owner = subject.fromSuspense ? 'taken from suspense' : 'booked to the seller';
    const booked = subject.kind === 'charge' ? 'it is in suspense' : `it is ${owner}`;
    return {
      ...unchanged,
      attemptState: 'succeeded_surplus',
      entries: [lateEntry(subject, surplus)],
      letter: {
        code: surplus ? 'surplus_success' : 'late_success',
        reason: `the PSP moved the money although the ${subject.kind} had ended as ${end}; ${booked}`,
      },
    };
  }
  if (outcome.kind === 'reversed' && holdsMoney(subject)) {
    const isOurs = subject.attemptState === 'succeeded';
    return {
      ...unchanged,
      // What was in suspense never was the order's.
      subState: isOurs ? (transition(subject.subState, 'reversed') ?? subject.subState) : subject.subState,
      attemptState: 'reversed',
      entries: [isOurs || subject.kind !== 'charge' ? reversalEntry(subject) : suspenseReversal(subject)],
      letter: letterOfReversal(subject, outcome),
    };
  }
  const paid = outcome.kind === 'paid' ? transition(subject.subState, 'paid') : null;
  const standing = { ...unchanged, subState: paid ?? subject.subState };
  if (outcome.contradicted && !before.contradicted) {
    const reason = `the order ended as ${end}, and evidence says otherwise`;
    return { ...standing, letter: { code: 'contradicting_evidence', reason } };
  }
  return standing;
}

/** The attempt's money is booked: as was meant, or as a fact that came late (a charge's is in suspense). */
function holdsMoney({ attemptState, subState }: Subject): boolean {
  if (attemptState === 'succeeded') return transition(subState, 'reversed') !== null;
  return attemptState === 'succeeded_surplus';
}

/** The job that looked at an ended operation: does it go, or ask once more? */
function lookAgain(context: FindingContext, { finding }: Pick<Verdict, 'finding'>): Step {
  const { burned, waits } = finding.held!;
  return decideRecheck({ latest: finding.reply ?? WOKEN, burned, waits, random: context.random() });
}

/** The hold of a job that looked at an operation which had ended: its fence is remembered all the same. */
export function lookedAgain(verdict: Verdict): readonly { operationId: bigint; fence: number }[] {
  const { subject, finding, right } = verdict;
  if (right !== 'held' || !isEnded(subject.subState)) return [];
  return [{ operationId: subject.operationId, fence: finding.held!.fence }];
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

/** The PSP took back what was in suspense. */
function suspenseReversal(subject: Subject): NewEntry {
  const cause = `${formatId('operation', subject.operationId)}/${subject.attemptNumber}`;
  return { cause, ...rules.suspenseReversed(unowned(subject)) };
}

function successEntry(subject: Subject): NewEntry {
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
function lateEntry(subject: Subject, surplus: boolean): NewEntry {
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

function reversalEntry(subject: Subject): NewEntry {
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

function known<T>(value: T | null): T {
  if (value === null) throw new Bug('an operation without its order or seller');
  return value;
}

/** Null where the row stays as it is: fenced evidence, or equal evidence after the end. */
export function attemptChange(verdict: Verdict): AttemptChange | null {
  const { subject, outcome, attemptState, evidence, step } = verdict;
  if (verdict.right === 'fenced') return null;
  if (hasEnded(subject) && attemptState === subject.attemptState) return null;
  const doubt =
    evidence !== null && ['doubt', 'held', 'moved', 'refused', 'reversed'].includes(weightOf(evidence.kind));
  return {
    operationId: subject.operationId,
    attemptNumber: subject.attemptNumber,
    sent: verdict.job ?? null,
    state: attemptState,
    isOpen: isOpenAttempt(attemptState),
    maybeSent: doubt,
    pspReference: outcome.pspReference,
    reason: outcome.reason,
    resolvedBy: isOpenAttempt(attemptState) ? null : outcome.decidedBy,
    ...(attemptState === 'awaiting_customer' ? { customerLimitS: verdict.customerLimitMs / 1_000 } : {}),
    ...(step?.kind === 'again' && step.cancel !== undefined ? { cancel: step.cancel } : {}),
  };
}

/**
 * Null where the row stays as it is: fenced evidence, or an attempt that had ended (a reversal or a retry moves on).
 * The fence it remembers is the job's; one more where the job is ended from outside.
 */
export function operationChange(verdict: Verdict): OperationChange | null {
  const { subject, outcome, subState, job } = verdict;
  if (verdict.right === 'fenced' || (hasEnded(subject) && subState === subject.subState)) return null;
  const fence = (job?.fence ?? 0) + (verdict.right === 'outside' ? 1 : 0);
  return {
    operationId: subject.operationId,
    subState,
    reason: subState === subject.cancelAs ? subject.cancelReason : outcome.reason,
    pspReference: outcome.pspReference,
    fence: Math.max(fence, subject.operationFence),
  };
}

/** What the buyer is to be handed, as long as it can still help. */
export function handOffOf(verdict: Verdict): readonly NewHandOff[] {
  const { finding, attemptState } = verdict;
  const { operationId, attemptNumber, reply } = finding;
  if (reply?.kind !== 'awaiting_customer' || reply.handOff === null || !isOpenAttempt(attemptState))
    return [];
  return [{ operationId, attemptNumber, data: JSON.stringify(reply.handOff) }];
}

/** An attempt that is over needs no buyer any more. */
export function uselessHandOff({ finding, attemptState, mayHaveHandOff }: Verdict): readonly bigint[] {
  return mayHaveHandOff && !isOpenAttempt(attemptState) ? [finding.operationId] : [];
}

/** A refund that fails now with pending money in it: that must still be released one day. */
export function failedRefund(verdict: Verdict): readonly bigint[] {
  const { subject, entries, subState } = verdict;
  const failed = subject.kind === 'refund' && publicStateOf(subState) === 'FAILED' && entries.length > 0;
  // One that had failed before gave it back then; what is booked now is that the PSP moved it after all.
  if (!failed || isEnded(subject.subState)) return [];
  return subject.fromPendingMinor > 0n ? [subject.operationId] : [];
}

/** The seller's share of a charge that succeeds now; a surplus success is nobody's, and is not released. */
export function fundRelease(verdict: Verdict): readonly { operationId: bigint; days: number }[] {
  const { subject, attemptState, entries } = verdict;
  const days = subject.releaseAfterDays;
  if (subject.kind !== 'charge' || attemptState !== 'succeeded' || entries.length === 0 || days === null)
    return [];
  return [{ operationId: subject.operationId, days }];
}
