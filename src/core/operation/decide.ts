/**
 * What to do next with a held job, given what its attempt's evidence adds up to and what the latest call
 * said. Pure: time and chance come in.
 */
import { unreachable } from '../errors.ts';
import type { Capabilities, EnquiryReply, OperationKind } from '../psp/psp.ts';
import { MAX_BURNED, MAX_ENQUIRIES, retryDelayMs } from '../queue/job.ts';
import type { JobAction } from '../queue/queue-store.ts';
import type { Outcome } from './evidence.ts';

export type Situation = {
  readonly operationKind: OperationKind;
  readonly outcome: Outcome;
  readonly latest: EnquiryReply;
  readonly action: 'send' | 'enquire';
  /** Tries so far that count, and waits that do not. */
  readonly burned: number;
  readonly waits: number;
  readonly firstSentAgoMs: number;
  readonly capabilities: Capabilities;
  /** Uniform in [0, 1). */
  readonly random: number;
};

export type Step =
  | { readonly kind: 'end' }
  | { readonly kind: 'bury'; readonly code: DeadLetterCode; readonly reason: string }
  | {
      readonly kind: 'again';
      readonly action: JobAction;
      readonly delayMs: number;
      readonly burned: number;
      readonly waits: number;
    };

export type DeadLetterCode =
  | 'rejected'
  | 'refund_declined'
  | 'unknown_unresolved'
  | 'enquiry_failed'
  | 'rescued_too_often'
  | 'late_success'
  | 'surplus_success'
  | 'reversed_after_success'
  | 'refund_and_dispute'
  | 'contradicting_evidence'
  | 'quarantined';

/** A payment that the PSP is still working on is looked at again after this long at least (ms). */
const PENDING_POLL_MS = 2_000;

/**
 * Where the PSP cannot be asked, word comes from outside (a webhook, a file, a person), which ends the job. Until
 * then it only waits: this long between two looks at what is stored (ms), an hour.
 */
const UNASKABLE_POLL_MS = 3_600_000;

export function decide(situation: Situation): Step {
  const { outcome } = situation;
  switch (outcome.kind) {
    case 'succeeded':
    case 'declined':
    case 'reversed':
      return { kind: 'end' };
    case 'rejected':
      return { kind: 'bury', code: 'rejected', reason: outcome.reason ?? 'the PSP rejected the request' };
    case 'pending':
    case 'awaiting_customer':
      return held(situation);
    case 'not_sent':
    case 'config_error':
      return wait(situation, 'send', null);
    case 'unknown':
      return inDoubt(situation);
    default:
      return unreachable(outcome.kind);
  }
}

/**
 * The same for an operation that had ended and was looked at again because the PSP has news of it: an answer ends the
 * look, no answer is asked for again.
 */
export function decideRecheck(situation: Pick<Situation, 'latest' | 'burned' | 'waits' | 'random'>): Step {
  const { latest, burned, waits, random } = situation;
  if (!['unknown', 'not_sent', 'rate_limited', 'config_error'].includes(latest.kind)) return { kind: 'end' };
  if (burned >= MAX_ENQUIRIES) {
    return { kind: 'bury', code: 'enquiry_failed', reason: 'the PSP has news of it, and could not be asked' };
  }
  const asked = 'retryAfterMs' in latest ? latest.retryAfterMs : null;
  const delayMs = retryDelayMs(burned, random, asked);
  return { kind: 'again', action: 'recheck', delayMs, burned: burned + 1, waits };
}

/** True when the stored request may not be sent any more: the PSP may have forgotten its key. */
export function isPastKeyWindow(firstSentAgoMs: number, capabilities: Capabilities): boolean {
  return firstSentAgoMs >= capabilities.keyWindowMs;
}

/** The PSP has it: ask again, or wait for word; past the key window without either, a person should know. */
function held(situation: Situation): Step {
  if (canEnquire(situation)) return wait(situation, 'enquire', PENDING_POLL_MS);
  if (isPastKeyWindow(situation.firstSentAgoMs, situation.capabilities)) {
    const reason = 'still pending, the PSP cannot be asked, and no webhook has told the end of it';
    return { kind: 'bury', code: 'enquiry_failed', reason };
  }
  return wait(situation, 'enquire', UNASKABLE_POLL_MS);
}

function canEnquire({ capabilities, operationKind }: Situation): boolean {
  return capabilities.canEnquire[operationKind];
}

function inDoubt(situation: Situation): Step {
  const { latest, burned } = situation;
  // This call told nothing, but it did no harm either: do the same again, nothing is used up.
  if (latest.kind === 'not_sent' || latest.kind === 'rate_limited' || latest.kind === 'config_error') {
    return wait(situation, nextAction(situation, 'resend'), null);
  }
  if (latest.kind === 'rejected') return wait(situation, nextAction(situation, 'enquire'), null);
  if (latest.kind === 'not_found') {
    return {
      kind: 'bury',
      code: 'unknown_unresolved',
      reason: `the PSP shows no trace of it, which proves nothing yet: ${latest.reason}`,
    };
  }
  const action = nextAction(
    { ...situation, burned: burned + 1 },
    latest.kind === 'unknown' ? latest.next : 'resend',
  );
  if (burned + 1 >= MAX_BURNED + MAX_ENQUIRIES || (action === 'enquire' && !canEnquire(situation))) {
    return { kind: 'bury', code: 'enquiry_failed', reason: `still unknown after ${burned + 1} tries` };
  }
  return {
    kind: 'again',
    action,
    delayMs: retryDelayMs(burned, situation.random, latest.kind === 'unknown' ? latest.retryAfterMs : null),
    burned: burned + 1,
    waits: situation.waits,
  };
}

/**
 * Sending again tells more than asking, as long as the key is good and tries are left; asking is for good. Where
 * the PSP cannot be asked, the tries that asking would have had are sends too.
 */
function nextAction(situation: Situation, wanted: 'resend' | 'enquire'): 'send' | 'enquire' {
  if (situation.action === 'enquire' || wanted === 'enquire') return 'enquire';
  if (isPastKeyWindow(situation.firstSentAgoMs, situation.capabilities)) return 'enquire';
  return situation.burned >= MAX_BURNED && canEnquire(situation) ? 'enquire' : 'send';
}

function wait(situation: Situation, action: 'send' | 'enquire', atLeastMs: number | null): Step {
  const { latest } = situation;
  const asked = latest.kind === 'rate_limited' || latest.kind === 'unknown' ? latest.retryAfterMs : null;
  return {
    kind: 'again',
    action,
    delayMs: Math.max(retryDelayMs(situation.waits, situation.random, asked), atLeastMs ?? 0),
    burned: situation.burned,
    waits: Math.min(situation.waits + 1, 30_000),
  };
}
