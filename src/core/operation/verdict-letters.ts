/** What a person must hear of an outcome, and in which words. Decides only. */
import { type Evidence, type Outcome, weightOf } from './evidence.ts';
import type { Finding, Verdict } from './finding.ts';
import type { NewEvidence, Subject } from './operation-store.ts';

/** What a person must hear of an operation that is not buried; null: nothing. */
export function letterOfEnd(subject: Subject, outcome: Outcome, event: Outcome['kind']): Verdict['letter'] {
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

export function letterOfReversal(subject: Subject, outcome: Outcome) {
  return {
    code: 'reversed_after_success' as const,
    reason: `the PSP took back a ${subject.kind} that it had reported as done: ${outcome.reason ?? 'no reason given'}`,
  };
}

/**
 * The PSP made it, but not as it was asked to: part of a payout came back, several objects carry the key of one attempt
 * (so a buyer may have paid, or been given back, twice). Told once.
 */
export function letterOfAmiss(
  { source }: Finding,
  evidence: NewEvidence | null,
  known: readonly Evidence[],
): Verdict['letter'] {
  // A person's and a file's reason is how they know, and nothing amiss.
  if (source === 'person' || source === 'settlement') return null;
  if (evidence === null || evidence.reason === null || weightOf(evidence.kind) !== 'moved') return null;
  const { reason } = evidence;
  return known.some((item) => item.reason === reason) ? null : { code: 'moved_amiss', reason };
}
