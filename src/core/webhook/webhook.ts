/**
 * What a PSP tells by itself, and what it makes us do. Decides only: a webhook is never believed where the PSP can be
 * asked; it only makes us look again.
 */
import { isEnded, type SubState } from '../operation/operation.ts';
import type { DisputeNews, OperationKind, Reply } from '../psp/psp.ts';

/** A verified webhook, as a connector reads it. */
export type WebhookEvent = {
  /** The PSP's own name of it: the same event comes again for days. */
  readonly eventId: string;
  readonly type: string;
  /** Our operation that it names, or null: it is about something else. */
  readonly operationId: bigint | null;
  /** The PSP's name of what it is about: tells which attempt of the operation. */
  readonly pspReference: string | null;
  /** What it says, where the PSP cannot be asked and its signed word is all there is; else null. */
  readonly says: Reply | null;
  /** The dispute that it is about: it is looked at by itself, and the operation is not. */
  readonly dispute?: DisputeNews;
};

export type WebhookEffect = 'looks' | 'known' | 'not_ours';

/** The operation that a webhook names, as it stands. */
export type Named = { readonly kind: OperationKind; readonly subState: SubState };

/** Of which kinds of operations the event's PSP can be asked. */
export type CanEnquire = Readonly<Record<OperationKind, boolean>>;

/** An attempt of the operation that an event names. */
export type NamedAttempt = { readonly attemptNumber: number; readonly pspReference: string | null };

/**
 * Which attempt an event is about: the one that carries its reference; else the latest, unless that is known under
 * another one. Null: none that we know (the late word on an earlier attempt must not decide a later one).
 * @param attempts by number
 */
export function attemptOf(
  event: Pick<WebhookEvent, 'pspReference'>,
  attempts: readonly NamedAttempt[],
): number | null {
  const known = attempts.find((attempt) => attempt.pspReference === event.pspReference);
  if (known !== undefined && event.pspReference !== null) return known.attemptNumber;
  const latest = attempts.at(-1);
  return latest !== undefined && latest.pspReference === null ? latest.attemptNumber : null;
}

/** News of something that had succeeded: it may be undone. Types: docs.stripe.com/api/events/types, Adyen eventCode. */
const MAY_UNDO = /fail|revers|return|cancel|expire|updated/i;

/**
 * Whether it is worth a look: always while the operation is open or in doubt; when it had ended, only for what may
 * change that. Every charge brings a "succeeded" of its own, which tells nothing.
 */
export function effectOf(
  event: Pick<WebhookEvent, 'type' | 'says' | 'dispute'>,
  named: Named | null,
  canEnquire: CanEnquire,
): WebhookEffect {
  if (event.dispute !== undefined) {
    // A word must name what it is about; where the PSP can be asked, it is asked whose it is.
    return event.dispute.word === null || named !== null ? 'looks' : 'not_ours';
  }
  if (named === null) return 'not_ours';
  // It says nothing by itself, and there is nobody to ask.
  if (event.says === null && !canEnquire[named.kind]) return 'known';
  // It was never sent: whatever this is, it is not about what we are going to ask for.
  if (named.subState === 'queued' || named.subState === 'in_risk_review') return 'known';
  // The answer is under way, and tells all but what undoes it.
  if (event.says === null && named.subState === 'claimed' && !mayUndo(event, named)) return 'known';
  if (!isEnded(named.subState)) return 'looks';
  if (named.subState === 'succeeded') return MAY_UNDO.test(event.type) ? 'looks' : 'known';
  return named.subState === 'reversed' ? 'known' : 'looks';
}

/** News that an answer under way cannot be relied on to tell: the PSP repeats its first answer to a repeated request. */
export function mayUndo(event: Pick<WebhookEvent, 'type'>, named: Named): boolean {
  // A charge that is under way can only fail, which its answer tells; one that was done can be taken back.
  const isDone = named.kind !== 'charge' || named.subState === 'succeeded';
  return isDone && MAY_UNDO.test(event.type);
}
