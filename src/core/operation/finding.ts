/**
 * Something learned about an attempt, what is needed to decide about it, and what follows from it, as data. The decision
 * itself is `verdict.ts`.
 */
import type { NewEntry } from '../ledger/ledger-store.ts';
import type { Capabilities, EnquiryReply } from '../psp/psp.ts';
import type { Routing } from '../psp/route.ts';
import type { JobAction, OpenJob } from '../queue/queue-store.ts';
import type { DeadLetterCode, Step } from './decide.ts';
import { type AttemptState, type EvidenceSource, isOpenAttempt, type Outcome } from './evidence.ts';
import { isEnded, type SubState } from './operation.ts';
import type { NewEvidence, Subject } from './operation-store.ts';

/** The executor's right and counters, from its claim. */
type HeldJob = {
  readonly fence: number;
  readonly action: JobAction;
  readonly burned: number;
  readonly waits: number;
  readonly firstSentAgoMs: number;
  /** How long the buyer could still take when it was claimed (ms); null: none was waited for. */
  readonly customerLeftMs: number | null;
};

/** Something learned about an attempt. One per operation in a call. */
export type Finding = {
  readonly operationId: bigint;
  readonly attemptNumber: number;
  readonly source: Exclude<EvidenceSource, 'late_reply' | 'lapse'>;
  /** Null: nothing new; fold what is stored (the job was woken by late evidence). */
  readonly reply: EnquiryReply | null;
  /** Null for findings from outside the queue. */
  readonly held: HeldJob | null;
};

/** What a new attempt elsewhere needs of the configuration. */
export type Reroute = {
  readonly route: Routing;
  /** The book's own random part of every idempotency key at a PSP. */
  readonly bookKey: string;
};

export type FindingContext = {
  /** Who was authenticated, for the evidence and the events. */
  readonly principal: string;
  readonly capabilitiesOf: (pspAccount: string) => Capabilities;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** How long a buyer may take to finish a charge (ms), from when the PSP first asks for it; left out: 24 hours. */
  readonly customerLimitMs?: number;
  /** Where softly declined charges may be tried next; left out: nowhere. */
  readonly reroute?: Reroute;
  /** Set when booking failed before: store the evidence, decide nothing, open a dead letter that says this. */
  readonly quarantine?: string;
};

/** Everything that follows from one finding, before anything is written. */
export type Verdict = {
  readonly subject: Subject;
  readonly finding: Finding;
  readonly job: OpenJob | undefined;
  readonly right: 'held' | 'outside' | 'fenced';
  readonly evidence: NewEvidence | null;
  readonly outcome: Outcome;
  readonly step: Step | null;
  readonly subState: SubState;
  readonly attemptState: AttemptState;
  readonly entries: readonly NewEntry[];
  readonly letter: { readonly code: DeadLetterCode; readonly reason: string } | null;
  /** How long a buyer may take (ms), where this is the first word of one. */
  readonly customerLimitMs: number;
  /** Something may be stored for its buyer. */
  readonly mayHaveHandOff: boolean;
  /** Before this finding, something said that the PSP may have it. */
  readonly wasInDoubt: boolean;
};

/** The operation has ended, or goes on with a later attempt: either way this attempt decides nothing any more. */
export function hasEnded(subject: Subject): boolean {
  return isEnded(subject.subState) || !isOpenAttempt(subject.attemptState);
}

/** Nothing new was said: what is stored is folded. */
export const WOKEN = { kind: 'unknown', reason: 'woken', next: 'resend', retryAfterMs: null } as const;
