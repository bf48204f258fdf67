/**
 * An operation as the domain describes it, in memory: what its evidence adds up to, which daemon may settle it, what
 * its job does next and which letters a person gets. Written from the domain's rules and not from the program, so that
 * the two can be compared. For tests only.
 */
import type { AttemptState, EvidenceKind } from '../../core/operation/evidence.ts';
import type { Task } from '../../core/operation/execute-operations.ts';
import type { SubState } from '../../core/operation/operation.ts';
import type { EnquiryReply, OperationKind } from '../../core/psp/psp.ts';

/** What was told, and whether by somebody who saw it with his own eyes: the holder's enquiry, or a person. */
type ModelEvidence = { readonly kind: EvidenceKind; readonly isSeen: boolean };

export type ModelAttempt = {
  state: AttemptState;
  /** Some daemon had it in hand once: from then on it may have been sent. */
  wasClaimed: boolean;
  sends: number;
  readonly evidence: ModelEvidence[];
};

type ModelJob = {
  readonly attempt: number;
  readonly lane: 'online' | 'batch';
  action: 'send' | 'enquire' | 'recheck';
  /** Who may settle it: one claim, by identity. Null: it waits. */
  heldBy: Task | null;
  burned: number;
  rescues: number;
};

export type ModelOperation = {
  readonly id: bigint;
  readonly kind: OperationKind;
  readonly paymentId: bigint | null;
  readonly orderId: bigint | null;
  readonly seller: string;
  readonly currency: 'EUR' | 'JPY';
  readonly amountMinor: bigint;
  /** Of a charge: the platform's fee. Of a refund: the share of it that is given back. */
  readonly feeMinor: bigint;
  /** Of a refund: what of the seller's part came from pending money. */
  readonly fromPendingMinor: bigint;
  /** Of a charge: the seller's share waits to be released. */
  readonly releasesLater: boolean;
  /** As stored: a claim is not stored. */
  state: SubState;
  /** By number, from 1; none for what the risk check stopped. */
  readonly attempts: ModelAttempt[];
  job: ModelJob | null;
  /** Open dead letters, with the attempt that each is about. */
  readonly letters: Map<string, number>;
  /** Pending money waits to be released: the charge's share, or what a failed refund gave back. */
  waitsForRelease: boolean;
};

/** What the PSP and the test let the model do at the moment. */
export type ModelRules = { readonly keyWindowIsOver: boolean; readonly canEnquire: boolean };

export type ModelFinding = {
  readonly attempt: number;
  readonly reply: EnquiryReply | null;
  /** Null: from outside the queue. */
  readonly task: Task | null;
  readonly isOfPerson?: true;
};

export function newAttempt(): ModelAttempt {
  return { state: 'created', wasClaimed: false, sends: 0, evidence: [] };
}

export function newJob(
  attempt: number,
  lane: ModelJob['lane'],
  action: ModelJob['action'] = 'send',
): ModelJob {
  return { attempt, lane, action, heldBy: null, burned: 0, rescues: 0 };
}

const ENDED: readonly SubState[] = [
  'succeeded',
  'declined',
  'rejected',
  'risk_blocked',
  'canceled',
  'expired',
  'reversed',
];

export function hasEnded(operation: ModelOperation): boolean {
  return ENDED.includes(operation.state);
}

export function currentAttempt(operation: ModelOperation): ModelAttempt | undefined {
  return operation.attempts.at(-1);
}

export function isOpen({ state }: ModelAttempt): boolean {
  return ['created', 'sent', 'pending', 'awaiting_customer', 'unknown'].includes(state);
}

/** The state that people see: in a daemon's hands it is claimed, unless there is more to say. */
export function shownState(operation: ModelOperation): SubState {
  const isHeld = operation.job !== null && operation.job.heldBy !== null;
  return isHeld && ['queued', 'retry_wait', 'held_config'].includes(operation.state)
    ? 'claimed'
    : operation.state;
}

/** The PSP moved money for it, and has not taken it back. */
export function movedMoney({ attempts }: ModelOperation): boolean {
  return attempts.some(({ state }) => state === 'succeeded' || state === 'succeeded_surplus');
}

/** What evidence adds up to, strongest first. What was taken back counts as done again when somebody sees that. */
export function foldEvidence(evidence: readonly ModelEvidence[]): {
  readonly kind: EvidenceKind;
  readonly contradicted: boolean;
} {
  const kinds = evidence.map(({ kind }) => kind);
  const has = (kind: EvidenceKind) => kinds.includes(kind);
  const lastOf = (wanted: readonly EvidenceKind[]) => kinds.findLast((kind) => wanted.includes(kind));
  const since = evidence.slice(kinds.lastIndexOf('reversed') + 1);
  const isDoneAgain = since.some(({ kind, isSeen }) => kind === 'succeeded' && isSeen);
  if (has('reversed')) {
    return isDoneAgain
      ? { kind: 'succeeded', contradicted: true }
      : { kind: 'reversed', contradicted: false };
  }
  if (has('succeeded')) return { kind: 'succeeded', contradicted: has('declined') };
  if (has('declined')) return { kind: 'declined', contradicted: false };
  const held = lastOf(['pending', 'awaiting_customer']);
  if (held !== undefined) return { kind: held, contradicted: false };
  if (has('unknown') || has('not_found')) return { kind: 'unknown', contradicted: false };
  const harmless = lastOf(['rejected', 'config_error', 'not_sent', 'rate_limited']);
  if (harmless === undefined) throw new Error('there is no evidence');
  return { kind: harmless === 'rate_limited' ? 'not_sent' : harmless, contradicted: false };
}

const STATE_AFTER: Readonly<Partial<Record<EvidenceKind, readonly [SubState, AttemptState]>>> = {
  succeeded: ['succeeded', 'succeeded'],
  declined: ['declined', 'declined'],
  rejected: ['rejected', 'rejected'],
  pending: ['pending_psp', 'pending'],
  awaiting_customer: ['awaiting_customer', 'awaiting_customer'],
  unknown: ['unknown', 'unknown'],
  not_sent: ['retry_wait', 'sent'],
  config_error: ['held_config', 'sent'],
  reversed: ['reversed', 'reversed'],
};

/** Applies a finding; says whether it could settle anything, or was only stored. */
export function applyFinding(
  rules: ModelRules,
  operation: ModelOperation,
  charge: ModelOperation | null,
  finding: ModelFinding,
): 'settled' | 'fenced' {
  const attempt = operation.attempts[finding.attempt - 1]!;
  const job = operation.job?.attempt === finding.attempt ? operation.job : null;
  const contradictedBefore = attempt.evidence.length > 0 && foldEvidence(attempt.evidence).contradicted;
  const hadMoved = attempt.evidence.some((item) => item.kind === 'succeeded');
  const isHeld = finding.task !== null && job !== null && job.heldBy === finding.task;
  if (finding.reply !== null) {
    const looks = isHeld ? (job.action === 'recheck' ? 'again' : 'in time') : 'too late';
    attempt.evidence.push({
      kind: saidOf(operation, attempt, finding, finding.reply, looks),
      isSeen: finding.isOfPerson === true || (isHeld && finding.task?.todo === 'enquire'),
    });
  }
  if (finding.task !== null && job !== null && !isHeld) return 'fenced';
  if (hasEnded(operation) || !isOpen(attempt)) {
    applyAfterTheEnd(operation, finding, isHeld ? job : null, contradictedBefore);
    return 'settled';
  }
  const { kind, contradicted } = foldEvidence(attempt.evidence);
  const comesToBe = kind === 'reversed' && (operation.kind === 'charge' || !hadMoved) ? 'declined' : kind;
  const [state, attemptState] = STATE_AFTER[comesToBe]!;
  const wasRecheck = job?.action === 'recheck';
  operation.state = state;
  attempt.state = attemptState;
  const letter = isHeld ? settleHeld(rules, operation, kind, finding) : null;
  if (!isHeld && hasEnded(operation)) operation.job = null;
  const isExplained = hasEnded(operation) && (!isHeld || (wasRecheck && state !== 'rejected'));
  if (isExplained) operation.letters.clear();
  afterMoney(operation, charge);
  if (letter !== null) operation.letters.set(letter, finding.attempt);
  else if (contradicted) operation.letters.set('contradicting_evidence', finding.attempt);
  else if (operation.kind === 'refund' && state === 'declined')
    operation.letters.set('refund_declined', finding.attempt);
  return 'settled';
}

/**
 * A refund or payout that was done can be undone, and an enquiry tells what it has become; a charge that was done is
 * contradicted, unless somebody looked again after it was done. Nobody knows what an answer that comes too late is older
 * than: it takes nothing back that was seen done since.
 */
function saidOf(
  { kind, state }: ModelOperation,
  attempt: ModelAttempt,
  { task }: ModelFinding,
  reply: EnquiryReply,
  looks: 'in time' | 'again' | 'too late',
): EvidenceKind {
  if (reply.kind !== 'declined') return reply.kind;
  const isLate = attempt.state === 'succeeded_surplus';
  if (kind === 'charge') {
    const isDone = isLate || (state === 'succeeded' && attempt.state === 'succeeded');
    return isDone && looks === 'again' ? 'reversed' : 'declined';
  }
  if (state === 'succeeded') return 'reversed';
  return task?.todo === 'enquire' && !(isLate && looks === 'too late') ? 'reversed' : 'declined';
}

/** What follows for pending money. */
function afterMoney(operation: ModelOperation, charge: ModelOperation | null): void {
  const { kind, state } = operation;
  if (kind === 'charge' && state === 'succeeded') operation.waitsForRelease = operation.releasesLater;
  if (kind === 'refund' && hasEnded(operation) && state !== 'succeeded') giveBackPending(operation, charge);
}

/** Where the order's own release still waits, that one counts it. */
export function giveBackPending(refund: ModelOperation, charge: ModelOperation | null): void {
  if (refund.fromPendingMinor > 0n && charge?.waitsForRelease === false) refund.waitsForRelease = true;
}

/** What becomes of a held job; a letter's code where it is buried. */
function settleHeld(
  rules: ModelRules,
  operation: ModelOperation,
  outcome: EvidenceKind,
  finding: ModelFinding,
): string | null {
  const job = operation.job!;
  const bury = (code: string) => {
    operation.job = null;
    return code;
  };
  const again = (action: 'send' | 'enquire', burned = job.burned) => {
    operation.job = { ...job, action, burned, heldBy: null };
    return null;
  };
  // Asking, once begun, goes on; sending goes on while the key is good and tries are left.
  const asks = job.action === 'recheck' || finding.task!.todo === 'enquire';
  const next = (wanted: 'resend' | 'enquire', burned: number) => {
    if (asks || wanted === 'enquire' || rules.keyWindowIsOver) return 'enquire';
    return burned >= 10 && rules.canEnquire ? 'enquire' : 'send';
  };
  const latest = finding.reply;
  switch (outcome) {
    case 'rejected':
      return bury('rejected');
    case 'pending':
    case 'awaiting_customer':
      return !rules.canEnquire && rules.keyWindowIsOver ? bury('enquiry_failed') : again('enquire');
    case 'not_sent':
    case 'config_error':
      return again('send');
    case 'unknown': {
      if (latest !== null && ['not_sent', 'rate_limited', 'config_error'].includes(latest.kind))
        return again(next('resend', job.burned));
      if (latest?.kind === 'rejected') return again(next('enquire', job.burned));
      if (latest?.kind === 'not_found') return bury('unknown_unresolved');
      const burned = job.burned + 1;
      const action = next(latest?.kind === 'unknown' ? latest.next : 'resend', burned);
      const isHopeless = burned >= 18 || (action === 'enquire' && !rules.canEnquire);
      return isHopeless ? bury('enquiry_failed') : again(action, burned);
    }
    default:
      operation.job = null;
      return null;
  }
}

/** The operation had ended, or goes on with another attempt: facts are booked all the same. */
function applyAfterTheEnd(
  operation: ModelOperation,
  finding: ModelFinding,
  held: ModelJob | null,
  contradictedBefore: boolean,
): void {
  const attempt = operation.attempts[finding.attempt - 1]!;
  const { kind, contradicted } = foldEvidence(attempt.evidence);
  const holdsMoney = ['succeeded', 'succeeded_surplus'].includes(attempt.state);
  const isUnbooked = !holdsMoney && attempt.state !== 'reversed';
  const wasDone = attempt.evidence.some((item) => item.kind === 'succeeded');
  let letter = held === null ? null : endLook(operation, held, finding.reply);
  if (kind === 'succeeded' && isUnbooked) {
    letter = operation.state === 'succeeded' ? 'surplus_success' : 'late_success';
    attempt.state = 'succeeded_surplus';
    // The buyer has it: nobody needs to find out any more why it was declined.
    if (operation.kind === 'refund') operation.letters.delete('refund_declined');
    stopSuccessor(operation, finding.attempt);
  } else if (kind === 'reversed' && isUnbooked && operation.kind !== 'charge' && wasDone) {
    // It moved and came back, and we heard of the end first.
    letter = 'reversed_after_success';
    attempt.state = 'reversed';
  } else if (kind === 'reversed' && holdsMoney) {
    letter = 'reversed_after_success';
    if (attempt.state === 'succeeded') operation.state = 'reversed';
    attempt.state = 'reversed';
  } else if ((contradicted && !contradictedBefore) || (held !== null && differs(attempt, finding.reply))) {
    letter = 'contradicting_evidence';
  }
  if (letter !== null) operation.letters.set(letter, finding.attempt);
}

/** What a look that began after the end shows, and what cannot be true together with it. */
function differs({ state }: ModelAttempt, reply: EnquiryReply | null): boolean {
  if (reply === null) return false;
  if (reply.kind === 'pending' || reply.kind === 'awaiting_customer') return true;
  if (reply.kind === 'succeeded') return state === 'reversed';
  return reply.kind === 'not_found' && ['succeeded', 'succeeded_surplus'].includes(state);
}

/** A job that looked at what had ended: any answer ends the look. */
function endLook(operation: ModelOperation, job: ModelJob, reply: EnquiryReply | null): string | null {
  const isAnswer =
    reply !== null && !['unknown', 'not_sent', 'rate_limited', 'config_error'].includes(reply.kind);
  if (isAnswer || job.burned >= 8) operation.job = null;
  else operation.job = { ...job, action: 'recheck', burned: job.burned + 1, heldBy: null };
  return isAnswer || job.burned < 8 ? null : 'enquiry_failed';
}

/** A later attempt that nobody had in hand must not charge the buyer again. */
function stopSuccessor(operation: ModelOperation, attemptNumber: number): void {
  const { job } = operation;
  if (job === null || job.attempt <= attemptNumber) return;
  const later = operation.attempts[job.attempt - 1]!;
  if (later.wasClaimed) return;
  later.state = 'not_sent';
  operation.state = 'canceled';
  operation.job = null;
}
