/**
 * A named person says what became of an operation that only a person can end. The word is stored as
 * evidence and folded with everything else that is known: it ends a doubt, it does not overrule a fact.
 */
import { type Db, transact } from '../db/connection.ts';
import { OperatorError } from '../errors.ts';
import { formatId } from '../ids.ts';
import type { Capabilities } from '../psp/psp.ts';
import { type Applied, applyFindings } from './apply-findings.ts';
import { isEnded } from './operation.ts';
import { findCurrentAttempt } from './operation-store.ts';

export type Resolution = {
  readonly operationId: bigint;
  readonly verdict: 'succeeded' | 'failed';
  /** What the person saw, 10–2,000 characters: a PSP dashboard, a bank statement. */
  readonly evidence: string;
  readonly pspReference: string | null;
  /** Who was authenticated; never a flag. */
  readonly principal: string;
  readonly capabilitiesOf: (pspAccount: string) => Capabilities;
};

const MIN_EVIDENCE = 10;
const MAX_EVIDENCE = 2_000;

/**
 * The evidence as it will be stored.
 * @throws OperatorError evidence_too_short, evidence_too_long
 */
export function checkEvidence(text: string): string {
  const evidence = text.trim();
  if (evidence.length < MIN_EVIDENCE) {
    throw new OperatorError(
      'evidence_too_short',
      `Say what you saw and where, in at least ${MIN_EVIDENCE} characters.`,
    );
  }
  if (evidence.length <= MAX_EVIDENCE) return evidence;
  throw new OperatorError('evidence_too_long', `The evidence is longer than ${MAX_EVIDENCE} characters.`);
}

/**
 * @throws OperatorError evidence_too_short, evidence_too_long, never_sent (use cancel), already_ended
 */
export async function resolveOperation(db: Db, resolution: Resolution): Promise<Applied> {
  const evidence = checkEvidence(resolution.evidence);
  return transact(db, async (tx) => {
    const name = formatId('operation', resolution.operationId);
    const current = await findCurrentAttempt(tx, resolution.operationId);
    if (current === null || current.sends === 0) {
      throw new OperatorError(
        'never_sent',
        `${name} was never sent to the PSP; there is nothing to resolve.`,
        {
          kind: 'refused',
        },
      );
    }
    if (isEnded(current.subState)) {
      throw new OperatorError('already_ended', `${name} has ended as ${current.subState}.`, {
        kind: 'refused',
      });
    }
    const reply =
      resolution.verdict === 'succeeded'
        ? { kind: 'succeeded' as const, pspReference: resolution.pspReference ?? '', reason: evidence }
        : {
            kind: 'declined' as const,
            reason: evidence,
            mayRetryAsNew: false,
            pspReference: resolution.pspReference,
          };
    const [applied] = await applyFindings(
      tx,
      { principal: resolution.principal, capabilitiesOf: resolution.capabilitiesOf, random: () => 0 },
      [
        {
          operationId: resolution.operationId,
          attemptNumber: current.attemptNumber,
          source: 'person',
          reply,
          held: null,
        },
      ],
    );
    return applied!;
  });
}
