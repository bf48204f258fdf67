/**
 * One step, shared by everybody who learns something: the executor with a PSP's reply, a person who
 * resolves. Takes a transaction and findings (new evidence about attempts); stores the evidence, folds all
 * of it under the rows' locks, and writes what follows: attempt, operation, job, ledger, dead letter,
 * events. Sends nothing and opens no transaction.
 *
 * Only who holds the job (its fence) may settle it. Evidence from somebody whose lease was lost is stored
 * all the same and wakes the job: fenced, not forgotten.
 */
import { insertEvents, type NewEvent } from '../audit/event-store.ts';
import type { Tx } from '../db/connection.ts';
import { Bug, unreachable } from '../errors.ts';
import { formatId } from '../ids.ts';
import {
  entryJson,
  insertEntries,
  insertPostings,
  type NewEntry,
  type PostedEntry,
} from '../ledger/ledger-store.ts';
import * as rules from '../ledger/posting-rules.ts';
import type { Currency } from '../money.ts';
import type { Capabilities, EnquiryReply } from '../psp/psp.ts';
import {
  buryHeldJobs,
  closeDeadLetters,
  endHeldJobs,
  endJobsFromOutside,
  lockJobs,
  type OpenJob,
  openDeadLetters,
  rescheduleHeldJobs,
  wakeJobs,
} from '../queue/queue-store.ts';
import { type DeadLetterCode, decide, type Step } from './decide.ts';
import {
  type AttemptState,
  attemptStateOf,
  type Evidence,
  type EvidenceSource,
  isOpenAttempt,
  merge,
  type Outcome,
  weightOf,
} from './evidence.ts';
import { isEnded, publicStateOf, type SubState, transition } from './operation.ts';
import {
  type AttemptChange,
  insertEvidence,
  insertFundReleases,
  listEvidence,
  lockSubjects,
  type NewEvidence,
  type OperationChange,
  type Subject,
  updateAttempts,
  updateOperations,
} from './operation-store.ts';

/** The executor's right and counters, from its claim. */
export type HeldJob = {
  readonly fence: number;
  readonly action: 'send' | 'enquire';
  readonly burned: number;
  readonly waits: number;
  readonly firstSentAgoMs: number;
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

export type FindingContext = {
  /** Who was authenticated, for the evidence and the events. */
  readonly principal: string;
  readonly capabilitiesOf: (pspAccount: string) => Capabilities;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Set when booking failed before: store the evidence, decide nothing, open a dead letter that says this. */
  readonly quarantine?: string;
};

/** What became of a finding. */
export type Applied = {
  readonly operationId: bigint;
  /** `settled`: under the held job or from outside; `fenced`: stored only, the job is somebody else's. */
  readonly right: 'settled' | 'fenced';
  readonly from: SubState;
  readonly to: SubState;
  readonly outcome: Outcome['kind'];
  readonly deadLetter: DeadLetterCode | null;
};

/** Longest reason or reference that is kept of an answer (characters); `detail` has all of it. */
const MAX_STORED_TEXT = 2_000;

/** Findings in one call (and so in one transaction). */
export const MAX_FINDINGS = 500;

/**
 * Applies findings in a constant number of statements.
 * Lock order: job, then operation and attempt, then accounts, each in id order.
 */
export async function applyFindings(
  tx: Tx,
  context: FindingContext,
  findings: readonly Finding[],
): Promise<readonly Applied[]> {
  if (findings.length === 0) return [];
  if (findings.length > MAX_FINDINGS)
    throw new Bug(`${findings.length} findings; the limit is ${MAX_FINDINGS}`);
  const ids = new Set(findings.map((finding) => finding.operationId));
  if (ids.size !== findings.length) throw new Bug('two findings of one operation in one call');

  const jobs = await lockJobs(tx, [...ids]);
  const subjects = await lockSubjects(tx, findings);
  const stored = groupEvidence(await listEvidence(tx, findings));
  const subjectOf = new Map(subjects.map((subject) => [subject.operationId, subject]));
  const verdicts = findings.map((finding) => {
    const subject = subjectOf.get(finding.operationId);
    if (subject === undefined)
      throw new Bug(`there is no attempt ${finding.attemptNumber} of ${finding.operationId}`);
    return judge(context, subject, finding, jobs.get(finding.operationId), stored);
  });
  await write(tx, context, verdicts);
  return verdicts.map((verdict) => ({
    operationId: verdict.subject.operationId,
    right: verdict.right === 'fenced' ? 'fenced' : 'settled',
    from: verdict.subject.subState,
    to: verdict.subState,
    outcome: verdict.outcome.kind,
    deadLetter: verdict.letter?.code ?? null,
  }));
}

function groupEvidence(
  items: readonly (Evidence & { operationId: bigint })[],
): ReadonlyMap<bigint, Evidence[]> {
  const groups = new Map<bigint, Evidence[]>();
  for (const item of items) {
    const group = groups.get(item.operationId);
    if (group === undefined) groups.set(item.operationId, [item]);
    else group.push(item);
  }
  return groups;
}

/** Everything that follows from one finding, before anything is written. */
type Verdict = {
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
};

/** The decision about one finding; pure. */
function judge(
  context: FindingContext,
  subject: Subject,
  finding: Finding,
  job: OpenJob | undefined,
  stored: ReadonlyMap<bigint, readonly Evidence[]>,
): Verdict {
  const right = rightOf(finding, job);
  const evidence = finding.reply === null ? null : toEvidence(finding, finding.reply, right);
  const known = stored.get(subject.operationId) ?? [];
  const outcome = merge(evidence === null ? known : [...known, evidence]);
  const knownBefore = known.length > 0 && merge(known).contradicted;
  const base = { subject, finding, job, right, evidence, outcome };
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
    return { ...base, ...asItWas, step: right === 'held' ? { kind: 'bury', ...letter } : null, letter };
  }
  if (isEnded(subject.subState)) return afterTheEnd(base, knownBefore);
  const subState = transition(subject.subState, outcome.kind);
  if (subState === null)
    throw new Bug(`${outcome.kind} cannot happen to an operation that is ${subject.subState}`);
  const step =
    right === 'held' ? nextStep(context, base) : isEnded(subState) ? ({ kind: 'end' } as const) : null;
  const contradiction = outcome.contradicted
    ? { code: 'contradicting_evidence' as const, reason: 'the PSP said that it moved and that it did not' }
    : null;
  return {
    ...base,
    step,
    subState,
    attemptState: attemptStateOf(outcome.kind),
    entries: outcome.kind === 'succeeded' ? [successEntry(subject)] : [],
    letter: step?.kind === 'bury' ? { code: step.code, reason: step.reason } : contradiction,
  };
}

/** A reply of a job that is not held any more is fenced while the job lives; later it is evidence from outside. */
function rightOf(finding: Finding, job: OpenJob | undefined): Verdict['right'] {
  if (finding.held === null) return 'outside';
  if (job === undefined) return 'outside';
  return job.state === 'leased' && job.fence === finding.held.fence ? 'held' : 'fenced';
}

function nextStep(context: FindingContext, base: Pick<Verdict, 'subject' | 'finding' | 'outcome'>): Step {
  const held = base.finding.held;
  if (held === null) throw new Bug('a held job without its hold');
  return decide({
    ...held,
    outcome: base.outcome,
    latest: base.finding.reply ?? { kind: 'unknown', reason: 'woken', next: 'resend', retryAfterMs: null },
    capabilities: context.capabilitiesOf(base.subject.pspAccount),
    random: context.random(),
  });
}

function toEvidence(finding: Finding, reply: EnquiryReply, right: Verdict['right']): NewEvidence {
  const late = finding.held !== null && right !== 'held' && finding.source === 'reply';
  const { kind, ...rest } = reply;
  return {
    operationId: finding.operationId,
    attemptNumber: finding.attemptNumber,
    source: late ? 'late_reply' : finding.source,
    kind,
    reason: storable('reason' in reply ? reply.reason : null),
    pspReference: storable('pspReference' in reply ? reply.pspReference : null),
    detail: JSON.stringify(rest),
    fence: finding.held?.fence ?? null,
  };
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
  base: Omit<Verdict, 'step' | 'subState' | 'attemptState' | 'entries' | 'letter'>,
  knownBefore: boolean,
): Verdict {
  const { subject, outcome } = base;
  const unchanged = {
    ...base,
    step: null,
    subState: subject.subState,
    attemptState: subject.attemptState,
    entries: [],
    letter: null,
  };
  const bookedBefore = subject.attemptState === 'succeeded' || subject.attemptState === 'succeeded_surplus';
  if (outcome.kind === 'succeeded' && !bookedBefore) {
    const surplus = publicStateOf(subject.subState) === 'SUCCESS';
    return {
      ...unchanged,
      attemptState: 'succeeded_surplus',
      entries: [surplusEntry(subject, surplus)],
      letter: {
        code: surplus ? 'surplus_success' : 'late_success',
        reason: `the PSP moved the money although the order had ended as ${subject.subState}; it is in suspense`,
      },
    };
  }
  if (outcome.contradicted && !knownBefore) {
    const reason = `the order ended as ${subject.subState}, and evidence says otherwise`;
    return { ...unchanged, letter: { code: 'contradicting_evidence', reason } };
  }
  return unchanged;
}

function successEntry(subject: Subject): NewEntry {
  switch (subject.kind) {
    case 'charge':
      return {
        cause: formatId('operation', subject.operationId),
        ...rules.chargeSucceeded({
          pspAccount: subject.pspAccount,
          seller: known(subject.seller),
          currency: subject.currency as Currency,
          grossMinor: subject.amountMinor,
          feeMinor: known(subject.feeMinor),
          release: subject.releaseAfterDays === null ? 'available' : 'pending',
        }),
      };
    case 'refund':
    case 'payout':
      throw new Bug(`${subject.kind} operations cannot be executed yet`);
    default:
      return unreachable(subject.kind);
  }
}

function surplusEntry(subject: Subject, surplus: boolean): NewEntry {
  const input = {
    pspAccount: subject.pspAccount,
    currency: subject.currency as Currency,
    grossMinor: subject.amountMinor,
  };
  return {
    cause: `${formatId('operation', subject.operationId)}/${subject.attemptNumber}`,
    ...(surplus ? rules.surplusSuccess(input) : rules.lateSuccess(input)),
  };
}

function known<T>(value: T | null): T {
  if (value === null) throw new Bug('a charge without its order');
  return value;
}

/** Point of no return: from here on only writing, in lock order, the hot balances last. */
async function write(tx: Tx, context: FindingContext, verdicts: readonly Verdict[]): Promise<void> {
  const { principal } = context;
  await settleJobs(tx, principal, verdicts);
  await insertEvidence(
    tx,
    principal,
    verdicts.flatMap((verdict) => verdict.evidence ?? []),
  );
  await updateAttempts(
    tx,
    verdicts.flatMap((verdict) => attemptChange(verdict) ?? []),
  );
  await updateOperations(
    tx,
    verdicts.flatMap((verdict) => operationChange(verdict) ?? []),
  );
  await insertFundReleases(tx, verdicts.flatMap(fundRelease));
  const entries = await insertEntries(
    tx,
    principal,
    verdicts.flatMap((verdict) => verdict.entries),
  );
  await insertEvents(tx, principal, eventsOf(verdicts, entries));
  await insertPostings(tx, entries);
}

async function settleJobs(tx: Tx, principal: string, verdicts: readonly Verdict[]): Promise<void> {
  const held = verdicts.filter((verdict) => verdict.right === 'held');
  const ended = held.filter((v) => v.step?.kind === 'end').map(holdOf);
  const again = held.flatMap((v) => (v.step?.kind === 'again' ? [{ ...v.step, ...holdOf(v) }] : []));
  const buried = held.flatMap((v) => (v.step?.kind === 'bury' ? [{ ...letterOf(v), ...holdOf(v) }] : []));
  const settled = [
    ...(await endHeldJobs(tx, ended)),
    ...(await rescheduleHeldJobs(tx, again)),
    ...(await buryHeldJobs(tx, buried)),
  ];
  if (settled.length !== held.length) throw new Bug('a locked job changed hands inside the transaction');

  const fenced = verdicts.filter((v) => v.right === 'fenced').map((v) => v.subject.operationId);
  await wakeJobs(tx, fenced);
  const outside = verdicts.filter((v) => v.right === 'outside');
  const over = outside.filter((v) => v.step?.kind === 'end').map((v) => v.subject.operationId);
  await endJobsFromOutside(tx, over);
  await closeDeadLetters(tx, over, { principal, reason: 'settled by evidence' });
  await openDeadLetters(
    tx,
    verdicts.filter((v) => v.letter !== null && v.step?.kind !== 'bury').map(letterOf),
  );
}

function holdOf(verdict: Verdict): { operationId: bigint; fence: number } {
  return { operationId: verdict.subject.operationId, fence: verdict.finding.held?.fence ?? 0 };
}

function letterOf(verdict: Verdict) {
  const { code, reason } = verdict.letter ?? { code: 'contradicting_evidence', reason: '' };
  return {
    operationId: verdict.subject.operationId,
    attemptNumber: verdict.subject.attemptNumber,
    code,
    reason,
  };
}

/** Null where the row stays as it is: fenced evidence, or equal evidence after the end. */
function attemptChange(verdict: Verdict): AttemptChange | null {
  const { subject, outcome, attemptState, evidence } = verdict;
  if (verdict.right === 'fenced') return null;
  if (isEnded(subject.subState) && attemptState === subject.attemptState) return null;
  const doubt = evidence !== null && ['doubt', 'held', 'moved', 'refused'].includes(weightOf(evidence.kind));
  return {
    operationId: subject.operationId,
    attemptNumber: subject.attemptNumber,
    state: attemptState,
    isOpen: isOpenAttempt(attemptState),
    maybeSent: doubt,
    pspReference: outcome.pspReference,
    reason: outcome.reason,
    resolvedBy: isOpenAttempt(attemptState) ? null : outcome.decidedBy,
  };
}

/**
 * Null where the row stays as it is: fenced evidence, or an operation that had ended (that never changes).
 * The fence it remembers is the job's; one more where the job is ended from outside.
 */
function operationChange(verdict: Verdict): OperationChange | null {
  const { subject, outcome, subState, job } = verdict;
  if (verdict.right === 'fenced' || isEnded(subject.subState)) return null;
  const fence = (job?.fence ?? 0) + (verdict.right === 'outside' ? 1 : 0);
  return {
    operationId: subject.operationId,
    subState,
    reason: outcome.reason,
    pspReference: outcome.pspReference,
    fence: Math.max(fence, subject.operationFence),
  };
}

function fundRelease(verdict: Verdict): readonly { operationId: bigint; days: number }[] {
  const { subject, entries, subState } = verdict;
  const days = subject.releaseAfterDays;
  if (subState !== 'succeeded' || entries.length === 0 || days === null) return [];
  return [{ operationId: subject.operationId, days }];
}

/** One event per finding, with all rows that it changed: replay rebuilds them from this alone. */
function eventsOf(verdicts: readonly Verdict[], entries: readonly PostedEntry[]): readonly NewEvent[] {
  let next = 0;
  return verdicts.map((verdict) => {
    const posted = entries.slice(next, next + verdict.entries.length);
    next += verdict.entries.length;
    const { subject, evidence } = verdict;
    const attempt = attemptChange(verdict);
    const operation = operationChange(verdict);
    return {
      kind: 'operation_evidence',
      paymentId: subject.paymentId,
      data: JSON.stringify({
        operation: subject.operationId.toString(),
        attempt: subject.attemptNumber,
        evidence: evidence && {
          source: evidence.source,
          kind: evidence.kind,
          reason: evidence.reason,
          fence: evidence.fence,
        },
        from: subject.subState,
        to: verdict.subState,
        attempt_row: attempt && {
          state: attempt.state,
          is_open: attempt.isOpen,
          maybe_sent: attempt.maybeSent,
          psp_reference: attempt.pspReference,
          reason: attempt.reason,
          resolved_by: attempt.resolvedBy,
        },
        operation_row: operation && {
          sub_state: operation.subState,
          reason: operation.reason,
          psp_reference: operation.pspReference,
          fence: operation.fence,
        },
        dead_letter: verdict.letter,
        entries: posted.filter((entry) => entry.status === 'posted').map(entryJson),
      }),
    };
  });
}
