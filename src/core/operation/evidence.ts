/**
 * Evidence and what it adds up to. Outcome = merge(all stored evidence of an attempt): a pure function, so
 * that whoever decides, whenever, decides the same. Doubt is sticky here and nowhere else.
 */
import { Bug, unreachable } from '../errors.ts';
import type { EnquiryReply } from '../psp/psp.ts';

/**
 * Who says so: the holder's own call, a call whose holder had lost its lease, a lease that lapsed with a
 * send in hand, an enquiry, a signed webhook, a named person, a line of
 * a settlement file.
 */
export type EvidenceSource =
  | 'reply'
  | 'late_reply'
  | 'lapse'
  | 'enquiry'
  | 'webhook'
  | 'person'
  | 'settlement';

/** What a PSP can answer; `paid`: it succeeded and the seller has it. */
export type EvidenceKind = EnquiryReply['kind'] | 'paid';

export type Evidence = {
  readonly source: EvidenceSource;
  readonly kind: EvidenceKind;
  readonly reason: string | null;
  readonly pspReference: string | null;
};

/** What an attempt's evidence adds up to. */
export type Outcome = {
  readonly kind:
    | 'succeeded'
    | 'paid'
    | 'declined'
    | 'rejected'
    | 'pending'
    | 'awaiting_customer'
    | 'unknown'
    | 'not_sent'
    | 'config_error'
    | 'reversed';
  readonly reason: string | null;
  readonly pspReference: string | null;
  readonly decidedBy: EvidenceSource;
  /** Two facts that cannot both be true (it moved, it did not): a person must look. */
  readonly contradicted: boolean;
};

/**
 * What one piece of evidence says about its own request.
 * - `reversed`: it was done and undone; whatever else was said, that is how it ended.
 * - `moved`, `refused`: the PSP told the end of it, and by the idempotency key of every earlier send too.
 * - `held`: the PSP has it and has not ended it.
 * - `doubt`: it may have arrived. Never goes away by itself.
 * - `harmless`: this request did nothing; says nothing about an earlier one.
 */
type Weight = 'reversed' | 'moved' | 'refused' | 'held' | 'doubt' | 'harmless';

export function weightOf(kind: EvidenceKind): Weight {
  switch (kind) {
    case 'reversed':
      return 'reversed';
    case 'succeeded':
    case 'paid':
      return 'moved';
    case 'declined':
      return 'refused';
    case 'pending':
    case 'awaiting_customer':
      return 'held';
    // A miss is not proof of absence: it is asked only when in doubt, and leaves the doubt as it was.
    case 'unknown':
    case 'not_found':
      return 'doubt';
    case 'rejected':
    case 'not_sent':
    case 'rate_limited':
    case 'config_error':
      return 'harmless';
    default:
      return unreachable(kind);
  }
}

/**
 * Who saw with his own eyes how it stands: the holder's enquiry, a line of the PSP's file, a person. First answers are
 * repeated and webhooks come in any order; these do not, so that what they see after a reversal is newer than it.
 */
const EYEWITNESSES: ReadonlySet<EvidenceSource> = new Set(['enquiry', 'settlement', 'person']);

/**
 * Folds everything that is known of one attempt, in the order it was stored. The strongest kind decides,
 * whatever its place; only among equals the latest speaks. So 401, 429, 400 and "connection refused" end
 * nothing after a send that may have arrived, and nothing turns a success back but its reversal. A reversal stands until
 * somebody sees it done after that.
 */
export function merge(evidence: readonly Evidence[]): Outcome {
  const last = (weight: Weight) => evidence.findLast((item) => weightOf(item.kind) === weight);
  const reversed = last('reversed');
  const heard = reversed === undefined ? evidence : seenAfter(evidence, reversed);
  // That the seller has it stays true, whatever older look comes in after it.
  const moved =
    heard.findLast((item) => item.kind === 'paid') ??
    heard.findLast((item) => weightOf(item.kind) === 'moved');
  if (moved === undefined && reversed !== undefined) return outcome(reversed, 'reversed', false);
  const refused = last('refused') ?? reversed;
  const conclusive = moved ?? refused;
  if (conclusive !== undefined) {
    return outcome(
      conclusive,
      moved === undefined ? 'declined' : moved.kind === 'paid' ? 'paid' : 'succeeded',
      moved !== undefined && refused !== undefined,
    );
  }
  const held = last('held');
  if (held !== undefined)
    return outcome(held, held.kind === 'pending' ? 'pending' : 'awaiting_customer', false);
  const doubt = last('doubt');
  if (doubt !== undefined) return outcome(doubt, 'unknown', false);
  const harmless = last('harmless');
  if (harmless === undefined) throw new Bug('an outcome was asked for without evidence');
  return outcome(harmless, harmlessOutcome(harmless.kind), false);
}

function seenAfter(evidence: readonly Evidence[], reversed: Evidence): readonly Evidence[] {
  return evidence.slice(evidence.lastIndexOf(reversed) + 1).filter((item) => EYEWITNESSES.has(item.source));
}

function harmlessOutcome(kind: EvidenceKind): 'rejected' | 'config_error' | 'not_sent' {
  if (kind === 'rejected' || kind === 'config_error') return kind;
  return 'not_sent';
}

function outcome(by: Evidence, kind: Outcome['kind'], contradicted: boolean): Outcome {
  return { kind, reason: by.reason, pspReference: by.pspReference, decidedBy: by.source, contradicted };
}

/** The PSP moved the money, and has not taken it back. */
export function hasMoved({ kind }: Pick<Outcome, 'kind'>): boolean {
  return kind === 'succeeded' || kind === 'paid';
}

/** States of an attempt, as stored. */
export type AttemptState =
  | 'created'
  | 'sent'
  | 'pending'
  | 'awaiting_customer'
  | 'unknown'
  | 'succeeded'
  | 'succeeded_surplus'
  | 'declined'
  | 'rejected'
  | 'not_sent'
  | 'reversed';

/** The attempt's state for an outcome; an attempt that did nothing yet stays open to be sent again. */
export function attemptStateOf(outcomeKind: Outcome['kind']): AttemptState {
  switch (outcomeKind) {
    case 'paid':
      return 'succeeded';
    case 'succeeded':
    case 'declined':
    case 'rejected':
    case 'pending':
    case 'awaiting_customer':
    case 'unknown':
    case 'reversed':
      return outcomeKind;
    case 'not_sent':
    case 'config_error':
      return 'sent';
    default:
      return unreachable(outcomeKind);
  }
}

export function isOpenAttempt(state: AttemptState): boolean {
  return ['created', 'sent', 'pending', 'awaiting_customer', 'unknown'].includes(state);
}
