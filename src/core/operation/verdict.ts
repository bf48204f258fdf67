/**
 * What follows from one finding (new evidence about an attempt): who may settle, what the evidence adds up to,
 * the next states, the entries to post, the letter to a person. Decides only; `apply-findings` writes it.
 */
import { Bug } from '../errors.ts';
import type { NewEntry } from '../ledger/ledger-store.ts';
import type { OpenJob } from '../queue/queue-store.ts';
import { decide, type Step } from './decide.ts';
import {
  type AttemptState,
  attemptStateOf,
  type Evidence,
  hasMoved,
  merge,
  type Outcome,
  weightOf,
} from './evidence.ts';
import { type Finding, type FindingContext, hasEnded, type Verdict, WOKEN } from './finding.ts';
import { afterTheEnd } from './late-verdict.ts';
import {
  type Cancel,
  isEnded,
  type OperationEvent,
  type SubState,
  shownSubState,
  transition,
} from './operation.ts';
import type { Subject } from './operation-store.ts';
import { toEvidence } from './told-evidence.ts';
import { releaseEntries, reversalEntry, successEntry } from './verdict-entries.ts';
import { letterOfAmiss, letterOfEnd } from './verdict-letters.ts';

/** How long a buyer may take where the configuration says nothing (ms): a day. */
const DEFAULT_CUSTOMER_LIMIT_MS = 24 * 3_600_000;

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
  const amiss = letterOfAmiss(finding, evidence, known);
  if (hasEnded(subject))
    return afterTheEnd(context, base, { evidence: known, contradicted: knownBefore, amiss });
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
