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
import { type Tx, together } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { entryJson, insertEntries, insertPostings, type PostedEntry } from '../ledger/ledger-store.ts';
import {
  buryHeldJobs,
  closeDeadLetters,
  endHeldJobs,
  lockJobs,
  type OpenJob,
  openDeadLetters,
  rescheduleHeldJobs,
} from '../queue/queue-store.ts';
import { endJobsFromOutside, raiseFences, wakeJobs } from '../queue/rescue-store.ts';
import { closeSuspenseLetters } from '../suspense/suspense-store.ts';
import type { DeadLetterCode } from './decide.ts';
import type { Evidence, Outcome } from './evidence.ts';
import type { Finding, FindingContext, Verdict } from './finding.ts';
import { putHandOffs, removeHandOffs } from './hand-off-store.ts';
import { isEnded, type SubState } from './operation.ts';
import {
  type AttemptChange,
  insertEvidence,
  insertFundReleases,
  insertReleasesOfFailedRefunds,
  listEvidence,
  lockSubjects,
  updateAttempts,
  updateOperations,
} from './operation-store.ts';
import { cancelUnsent } from './reopening-store.ts';
import { retryElsewhere } from './retry-elsewhere.ts';
import { judge } from './verdict.ts';
import {
  attemptChange,
  failedRefund,
  fundRelease,
  handOffOf,
  lookedAgain,
  operationChange,
  uselessHandOff,
} from './verdict-rows.ts';

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

  const [jobs, subjects, evidence] = await together([
    lockJobs(tx, [...ids]),
    lockSubjects(tx, findings),
    listEvidence(tx, findings),
  ]);
  const stored = groupEvidence(evidence);
  const subjectOf = new Map(subjects.map((subject) => [subject.operationId, subject]));
  const verdicts = findings.map((finding) => {
    const subject = subjectOf.get(finding.operationId);
    if (subject === undefined)
      throw new Bug(`there is no attempt ${finding.attemptNumber} of ${finding.operationId}`);
    return judge(context, subject, finding, jobs.get(finding.operationId), stored);
  });
  await write(tx, context, verdicts, jobs);
  const elsewhere = await retryElsewhere(tx, context, verdicts);
  return verdicts.map((verdict) => ({
    operationId: verdict.subject.operationId,
    right: verdict.right === 'fenced' ? 'fenced' : 'settled',
    from: verdict.subject.subState,
    to: elsewhere.has(verdict.subject.operationId) ? ('queued' as const) : verdict.subState,
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

/** Point of no return: from here on only writing, in lock order, the hot balances last. */
async function write(
  tx: Tx,
  context: FindingContext,
  verdicts: readonly Verdict[],
  jobs: ReadonlyMap<bigint, OpenJob>,
): Promise<void> {
  const { principal } = context;
  const [entries] = await together([
    insertEntries(
      tx,
      principal,
      verdicts.flatMap((verdict) => verdict.entries),
    ),
    settleJobs(tx, principal, verdicts),
    stopSuccessors(tx, principal, verdicts, jobs),
    insertEvidence(
      tx,
      principal,
      verdicts.flatMap((verdict) => verdict.evidence ?? []),
    ),
    updateAttempts(
      tx,
      verdicts.flatMap((verdict) => attemptChange(verdict) ?? []),
    ),
    updateOperations(
      tx,
      verdicts.flatMap((verdict) => operationChange(verdict) ?? []),
    ),
    raiseFences(tx, verdicts.flatMap(lookedAgain)),
    insertFundReleases(tx, verdicts.flatMap(fundRelease)),
    insertReleasesOfFailedRefunds(tx, verdicts.flatMap(failedRefund)),
    putHandOffs(tx, verdicts.flatMap(handOffOf)),
    removeHandOffs(tx, verdicts.flatMap(uselessHandOff)),
  ]);
  const givenBack = verdicts.filter((v) => v.subject.fromSuspense && v.subState === 'succeeded');
  await closeSuspenseLetters(
    tx,
    givenBack.map((v) => v.subject.operationId),
    { principal, reason: 'given back to the buyer' },
  );
  await together([insertEvents(tx, principal, eventsOf(verdicts, entries)), insertPostings(tx, entries)]);
}

async function settleJobs(tx: Tx, principal: string, verdicts: readonly Verdict[]): Promise<void> {
  const held = verdicts.filter((verdict) => verdict.right === 'held');
  const ended = held.filter((v) => v.step?.kind === 'end').map(holdOf);
  const again = held.flatMap((v) => (v.step?.kind === 'again' ? [{ ...v.step, ...holdOf(v) }] : []));
  const buried = held.flatMap((v) => (v.step?.kind === 'bury' ? [{ ...letterOf(v), ...holdOf(v) }] : []));
  const fenced = verdicts.filter((v) => v.right === 'fenced').map((v) => v.subject.operationId);
  const outside = verdicts.filter((v) => v.right === 'outside');
  const over = outside.filter((v) => v.step?.kind === 'end').map((v) => v.subject.operationId);
  const explained = held.filter(endsDoubtOfPerson).map((v) => v.subject.operationId);
  const givenBack = verdicts.filter(isLateRefund).map((v) => v.subject.operationId);
  const settled = await together([
    endHeldJobs(tx, ended),
    rescheduleHeldJobs(tx, again),
    buryHeldJobs(tx, buried),
    wakeJobs(tx, fenced).then(() => []),
    endJobsFromOutside(tx, over).then(() => []),
    closeDeadLetters(tx, [...over, ...explained], { principal, reason: 'settled by evidence' }).then(
      () => [],
    ),
    closeDeadLetters(tx, givenBack, {
      principal,
      reason: 'the PSP gave the money back after all',
      code: 'refund_declined',
    }).then(() => []),
    openDeadLetters(
      tx,
      verdicts.filter((v) => v.letter !== null && v.step?.kind !== 'bury').map(letterOf),
    ).then(() => []),
  ]);
  if (settled.flat().length !== held.length)
    throw new Bug('a locked job changed hands inside the transaction');
}

/** What a person was told of a refund ("not given back") is not true any more; the late success has a letter of its own. */
function isLateRefund({ subject, letter }: Verdict): boolean {
  return subject.kind === 'refund' && letter?.code === 'late_success';
}

/** A job that was made because of news, for an operation that waited for a person, and found the end of it. */
function endsDoubtOfPerson(verdict: Verdict): boolean {
  const { finding, step, subject } = verdict;
  return finding.held?.action === 'recheck' && step?.kind === 'end' && !isEnded(subject.subState);
}

/**
 * Money moved by an attempt that counted as over: a later attempt that nobody has claimed yet must not charge the
 * buyer again. One that was claimed cannot be stopped; the dead letter of the late fact tells a person.
 */
async function stopSuccessors(
  tx: Tx,
  principal: string,
  verdicts: readonly Verdict[],
  jobs: ReadonlyMap<bigint, OpenJob>,
): Promise<void> {
  const stopped = verdicts.flatMap(({ subject, attemptState }) => {
    const { operationId, attemptNumber, paymentId } = subject;
    const job = jobs.get(operationId);
    if (attemptState !== 'succeeded_surplus' || job === undefined) return [];
    const isUnsent = job.state === 'ready' && job.sends === 0 && job.firstSentAt === null;
    if (!isUnsent || job.attemptNumber <= attemptNumber) return [];
    const reason = `attempt ${attemptNumber} moved the money after all`;
    return [{ operationId, attemptNumber: job.attemptNumber, reason, paymentId }];
  });
  if (stopped.length === 0) return;
  const operationIds = stopped.map((one) => one.operationId);
  await endJobsFromOutside(tx, operationIds);
  const canceled = await cancelUnsent(tx, stopped);
  if (canceled.length !== stopped.length) throw new Bug('an unsent attempt moved under its own lock');
  await insertEvents(
    tx,
    principal,
    stopped.map(({ operationId, attemptNumber, reason, paymentId }) => ({
      kind: 'operation_canceled' as const,
      paymentId,
      data: JSON.stringify({
        operation: operationId.toString(),
        attempt: attemptNumber,
        from: 'queued',
        reason,
        dead_letter: null,
        entries: [],
      }),
    })),
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

/** What becomes of the job: it goes, waits for another try, is woken by what was stored; null: it is left alone. */
function jobChange(verdict: Verdict) {
  const { step, right } = verdict;
  if (right === 'fenced') return 'woken';
  if (step === null) return null;
  if (step.kind !== 'again') return 'gone';
  return { action: step.action, delay_ms: step.delayMs, burned: step.burned, waits: step.waits };
}

/** Only of charges that wait for a buyer: most events are shorter without. */
function customerFields({ customerLimitS, cancel }: AttemptChange) {
  return {
    ...(customerLimitS === undefined ? {} : { customer_limit_s: customerLimitS }),
    ...(cancel === undefined ? {} : { cancel_as: cancel.as, cancel_reason: cancel.reason }),
  };
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
          sends: attempt.sent?.sends ?? null,
          first_sent_at: attempt.sent?.firstSentAt ?? null,
          last_sent_at: attempt.sent?.lastSentAt ?? null,
          ...customerFields(attempt),
        },
        operation_row: operation && {
          sub_state: operation.subState,
          reason: operation.reason,
          psp_reference: operation.pspReference,
          fence: operation.fence,
        },
        job: jobChange(verdict),
        looked_under: lookedAgain(verdict)[0]?.fence ?? null,
        dead_letter: verdict.letter,
        entries: posted.filter((entry) => entry.status === 'posted').map(entryJson),
      }),
    };
  });
}
