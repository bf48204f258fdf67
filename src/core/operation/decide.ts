/**
 * What to do next with a held job, given what its attempt's evidence adds up to and what the latest call
 * said. Pure: time and chance come in.
 */
import { unreachable } from '../errors.ts';
import type { Capabilities, EnquiryReply, OperationKind } from '../psp/psp.ts';
import { cancelDelayMs, MAX_BURNED, MAX_ENQUIRIES, recheckDelayMs, retryDelayMs } from '../queue/job.ts';
import type { JobAction } from '../queue/queue-store.ts';
import type { Outcome } from './evidence.ts';
import type { Cancel } from './operation.ts';

export type Situation = {
  readonly operationKind: OperationKind;
  readonly outcome: Outcome;
  readonly latest: EnquiryReply;
  readonly action: 'send' | 'enquire' | 'cancel';
  /** Tries so far that count, and waits that do not. */
  readonly burned: number;
  readonly waits: number;
  readonly firstSentAgoMs: number;
  readonly capabilities: Capabilities;
  /** Of a charge that waits for its buyer: how long it still may (ms), and whether it is being canceled already. */
  readonly customer: { readonly leftMs: number; readonly cancel: Cancel | null };
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
      /** Set where this step begins to cancel: what it ends as, and why. */
      readonly cancel?: Cancel;
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
  | 'moved_amiss'
  | 'refund_and_dispute'
  | 'contradicting_evidence'
  | 'quarantined';

/**
 * Where the PSP cannot be asked, word comes from outside (a webhook, a file, a person), which ends the job. Until
 * then it only waits: this long between two looks at what is stored (ms), an hour.
 */
const UNASKABLE_POLL_MS = 3_600_000;

export function decide(situation: Situation): Step {
  const { outcome } = situation;
  switch (outcome.kind) {
    case 'succeeded':
    case 'paid':
    case 'declined':
    case 'reversed':
      return { kind: 'end' };
    case 'rejected':
      return { kind: 'bury', code: 'rejected', reason: outcome.reason ?? 'the PSP rejected the request' };
    case 'pending':
      return held(situation);
    case 'awaiting_customer':
      return awaiting(situation);
    case 'not_sent':
    case 'config_error':
      return wait(situation, 'send');
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
  const { firstSentAgoMs, random } = situation;
  if (canEnquire(situation)) return look(situation, recheckDelayMs(firstSentAgoMs, random));
  if (isPastKeyWindow(situation.firstSentAgoMs, situation.capabilities)) {
    const reason = 'still pending, the PSP cannot be asked, and no webhook has told the end of it';
    return { kind: 'bury', code: 'enquiry_failed', reason };
  }
  return look(situation, UNASKABLE_POLL_MS);
}

/** Looks again after so long, or when the PSP wants to be asked again, whichever is later. */
function look(situation: Situation, delayMs: number): Step {
  const { latest, burned, waits } = situation;
  const asked = latest.kind === 'rate_limited' || latest.kind === 'unknown' ? (latest.retryAfterMs ?? 0) : 0;
  return {
    kind: 'again',
    action: 'enquire',
    delayMs: Math.max(delayMs, asked),
    burned,
    waits: nextWaits(waits),
  };
}

/**
 * It could still succeed, so nothing but the PSP's word ends it: until its time is over it is looked at, from then on the
 * PSP is asked to cancel it, as often as it takes.
 */
function awaiting(situation: Situation): Step {
  const { customer } = situation;
  const cancel = customer.cancel ?? reasonToCancel(situation);
  if (cancel !== null) return cancelAtPsp(situation, cancel);
  const step = held(situation);
  // The moment its time is over is looked at too.
  return step.kind === 'again'
    ? { ...step, delayMs: Math.min(step.delayMs, Math.ceil(customer.leftMs)) }
    : step;
}

function reasonToCancel({ latest, customer }: Situation): Cancel | null {
  if (latest.kind === 'awaiting_customer' && latest.reason !== undefined)
    return { as: 'declined', reason: latest.reason };
  return customer.leftMs <= 0 ? { as: 'expired', reason: 'the customer did not finish in time' } : null;
}

/** The first request goes at once. Where only a webhook tells whether it was done, a person hears of it one day. */
function cancelAtPsp(situation: Situation, cancel: Cancel): Step {
  const { action, burned, waits, capabilities, firstSentAgoMs, customer } = situation;
  const isFirst = action !== 'cancel';
  if (!isFirst && !canEnquire(situation) && isPastKeyWindow(firstSentAgoMs, capabilities)) {
    const reason = 'the PSP was asked to cancel it, and no webhook has told the end of it';
    return { kind: 'bury', code: 'enquiry_failed', reason };
  }
  return {
    kind: 'again',
    action: 'cancel',
    delayMs: isFirst ? 0 : cancelDelayMs(waits),
    burned,
    waits: isFirst ? 0 : nextWaits(waits),
    ...(customer.cancel === null ? { cancel } : {}),
  };
}

function nextWaits(waits: number): number {
  return Math.min(waits + 1, 30_000);
}

function canEnquire({ capabilities, operationKind }: Situation): boolean {
  return capabilities.canEnquire[operationKind];
}

function inDoubt(situation: Situation): Step {
  const { latest, burned } = situation;
  // This call told nothing, but it did no harm either: do the same again, nothing is used up.
  if (latest.kind === 'not_sent' || latest.kind === 'rate_limited' || latest.kind === 'config_error') {
    return wait(situation, nextAction(situation, 'resend'));
  }
  if (latest.kind === 'rejected') return wait(situation, nextAction(situation, 'enquire'));
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
  if (situation.action !== 'send' || wanted === 'enquire') return 'enquire';
  if (isPastKeyWindow(situation.firstSentAgoMs, situation.capabilities)) return 'enquire';
  return situation.burned >= MAX_BURNED && canEnquire(situation) ? 'enquire' : 'send';
}

function wait(situation: Situation, action: 'send' | 'enquire'): Step {
  const { latest } = situation;
  const asked = latest.kind === 'rate_limited' || latest.kind === 'unknown' ? latest.retryAfterMs : null;
  return {
    kind: 'again',
    action,
    delayMs: retryDelayMs(situation.waits, situation.random, asked),
    burned: situation.burned,
    waits: nextWaits(situation.waits),
  };
}
