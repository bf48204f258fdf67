/** What one answer is stored as: evidence of its kind, from its source, under the right that its bringer had. Decides only. */
import type { EnquiryReply } from '../psp/psp.ts';
import type { EvidenceKind } from './evidence.ts';
import type { Finding, Verdict } from './finding.ts';
import { publicStateOf } from './operation.ts';
import type { NewEvidence, Subject } from './operation-store.ts';

/** Longest reason or reference that is kept of an answer (characters); `detail` has all of it. */
const MAX_STORED_TEXT = 2_000;

export function toEvidence(
  subject: Subject,
  finding: Finding,
  reply: EnquiryReply,
  right: Verdict['right'],
): NewEvidence {
  // What the buyer is handed is a secret, and evidence is for ever.
  const { kind: _said, handOff: _, ...rest } = { handOff: null, ...reply };
  return {
    operationId: finding.operationId,
    attemptNumber: finding.attemptNumber,
    source: isLapsed(finding, right) ? 'late_reply' : finding.source,
    kind: evidenceKindOf(subject, finding, reply, right),
    reason: storable('reason' in reply ? reply.reason : null),
    pspReference: storable('pspReference' in reply ? reply.pspReference : null),
    detail: JSON.stringify(rest),
    fence: finding.held?.fence ?? null,
    ...(reply.kind === 'declined' && reply.isUndone === true ? { saysUndone: true } : {}),
  };
}

/** Whoever called had lost the job by the time of the answer, also of an enquiry: nobody knows what it is older than. */
function isLapsed(finding: Finding, right: Verdict['right']): boolean {
  return finding.held !== null && right !== 'held';
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
  const isLate = subject.attemptState === 'succeeded_surplus';
  if (subject.kind === 'charge') {
    const isDone = isLate || (subject.subState === 'succeeded' && subject.attemptState === 'succeeded');
    return isDone && right === 'held' && finding.held?.action === 'recheck' ? 'reversed' : 'declined';
  }
  if (reply.isUndone === true || publicStateOf(subject.subState) === 'SUCCESS') return 'reversed';
  // Who reads it in the PSP's file, or saw it there, speaks of what became of the money.
  if (isLate && (finding.source === 'settlement' || finding.source === 'person')) return 'reversed';
  // An enquiry shows what it has become, and stands against every first answer that comes late or is repeated; but not
  // against a success that was seen after it, where nobody knows when it was made.
  return finding.source === 'enquiry' && !(isLate && isLapsed(finding, right)) ? 'reversed' : 'declined';
}

/** A PSP's text of any kind must never be the reason that its answer is lost: PostgreSQL takes no NUL. */
function storable(text: string | null | undefined): string | null {
  return text?.replaceAll('\0', '').slice(0, MAX_STORED_TEXT) || null;
}
