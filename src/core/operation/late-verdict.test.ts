/**
 * Every end of an operation × everything that can be told of it afterwards. What differs from the end is booked or told
 * to a person; nothing is only stored but what says the same as the end, or says nothing about it.
 */
import { describe, expect, test } from 'vitest';
import { REPLY } from '../../testing/fixtures.ts';
import type { EnquiryReply, OperationKind } from '../psp/psp.ts';
import { capabilitiesOf } from '../psp/request.ts';
import type { OpenJob } from '../queue/queue-store.ts';
import type { AttemptState, Evidence, EvidenceKind, EvidenceSource } from './evidence.ts';
import type { Finding, Verdict } from './finding.ts';
import type { SubState } from './operation.ts';
import type { Subject } from './operation-store.ts';
import { judge } from './verdict.ts';

type End = {
  readonly subState: SubState;
  readonly attemptState: AttemptState;
  readonly evidence: readonly (readonly [EvidenceSource, EvidenceKind])[];
  /** Where the books have the attempt's money. */
  readonly money: 'none' | 'moved' | 'back';
};

function end(
  subState: SubState,
  attemptState: AttemptState,
  money: End['money'],
  ...evidence: End['evidence']
): End {
  return { subState, attemptState, money, evidence };
}

const ENDS = {
  'declined at once': end('declined', 'declined', 'none', ['reply', 'declined']),
  'declined by an enquiry after doubt': end(
    'declined',
    'declined',
    'none',
    ['reply', 'unknown'],
    ['enquiry', 'reversed'],
  ),
  rejected: end('rejected', 'rejected', 'none', ['reply', 'rejected']),
  'canceled at the PSP': end(
    'canceled',
    'declined',
    'none',
    ['reply', 'awaiting_customer'],
    ['enquiry', 'declined'],
  ),
  succeeded: end('succeeded', 'succeeded', 'moved', ['reply', 'succeeded']),
  paid: end('paid', 'succeeded', 'moved', ['reply', 'paid']),
  'declined, then done late': end(
    'declined',
    'succeeded_surplus',
    'moved',
    ['reply', 'declined'],
    ['webhook', 'succeeded'],
  ),
  'done, then taken back': end(
    'reversed',
    'reversed',
    'back',
    ['reply', 'succeeded'],
    ['enquiry', 'reversed'],
  ),
} as const;
type EndName = keyof typeof ENDS;

/** Ends that an operation of that kind can come to. */
const ENDS_OF: Readonly<Record<OperationKind, readonly EndName[]>> = {
  charge: [
    ...(['declined at once', 'rejected', 'canceled at the PSP', 'succeeded'] as const),
    ...(['declined, then done late', 'done, then taken back'] as const),
  ],
  refund: [
    ...(['declined at once', 'declined by an enquiry after doubt', 'rejected', 'succeeded'] as const),
    ...(['declined, then done late', 'done, then taken back'] as const),
  ],
  payout: [
    ...(['declined at once', 'declined by an enquiry after doubt', 'rejected', 'succeeded'] as const),
    ...(['paid', 'declined, then done late', 'done, then taken back'] as const),
  ],
};

const DONE = REPLY.succeeded;
const ARRIVED = { kind: 'succeeded', pspReference: 'pi_1', arrived: true } as const;
const FAILED = REPLY.declined;
const CAME_BACK = {
  kind: 'declined',
  reason: 'returned',
  mayRetryAsNew: false,
  pspReference: 'pi_1',
  isUndone: true,
} as const;

type Who = 'look' | 'lapsed look' | 'lapsed reply' | 'webhook' | 'file' | 'person';
type Fact = {
  readonly who: Who;
  readonly reply: EnquiryReply;
  /** What it says about the money; null: nothing that would contradict any end. */
  readonly says: 'moved' | 'not moved' | 'open' | 'no trace' | null;
};

const FACTS: Readonly<Record<string, Fact>> = {
  'look: done': { who: 'look', reply: DONE, says: 'moved' },
  'look: arrived': { who: 'look', reply: ARRIVED, says: 'moved' },
  'look: failed': { who: 'look', reply: FAILED, says: 'not moved' },
  'look: came back': { who: 'look', reply: CAME_BACK, says: 'not moved' },
  'look: reversed': { who: 'look', reply: REPLY.reversed, says: 'not moved' },
  'look: pending': { who: 'look', reply: REPLY.pending, says: 'open' },
  'look: no trace': { who: 'look', reply: REPLY.not_found, says: 'no trace' },
  'look: nothing learned': { who: 'look', reply: REPLY.unknown, says: null },
  'lapsed look: done': { who: 'lapsed look', reply: DONE, says: 'moved' },
  'lapsed look: failed': { who: 'lapsed look', reply: FAILED, says: 'not moved' },
  'lapsed look: pending': { who: 'lapsed look', reply: REPLY.pending, says: null },
  'late reply: done': { who: 'lapsed reply', reply: DONE, says: 'moved' },
  'late reply: failed': { who: 'lapsed reply', reply: FAILED, says: 'not moved' },
  'late reply: refused as a request': { who: 'lapsed reply', reply: REPLY.rejected, says: null },
  'webhook: done': { who: 'webhook', reply: DONE, says: 'moved' },
  'webhook: failed': { who: 'webhook', reply: FAILED, says: 'not moved' },
  'webhook: came back': { who: 'webhook', reply: CAME_BACK, says: 'not moved' },
  'webhook: reversed': { who: 'webhook', reply: REPLY.reversed, says: 'not moved' },
  'file: done': { who: 'file', reply: DONE, says: 'moved' },
  'file: came back': { who: 'file', reply: FAILED, says: 'not moved' },
  'person: failed': { who: 'person', reply: FAILED, says: 'not moved' },
};

function isOf(kind: OperationKind, { reply }: Fact): boolean {
  if (reply === ARRIVED) return kind === 'payout';
  if (reply === CAME_BACK) return kind !== 'charge';
  return reply.kind !== 'reversed' || kind === 'charge';
}

function subjectOf(kind: OperationKind, stands: End): Subject {
  return {
    ...{ operationId: 7n, kind, pspAccount: 'stripe_eu', amountMinor: 1000n, currency: 'EUR' },
    ...{ subState: stands.subState, operationFence: 1, attemptNumber: 1, attemptState: stands.attemptState },
    ...{ maybeSent: true, sends: 1, orderId: 3n, paymentId: kind === 'payout' ? null : 2n, seller: 'Ana' },
    ...{ feeMinor: kind === 'charge' ? 100n : null, releaseAfterDays: null },
    ...{ feeShareMinor: kind === 'refund' ? 100n : 0n, fromPendingMinor: 0n },
    ...{ cancelAs: null, cancelReason: null, fromSuspense: false },
  };
}

const JOB: OpenJob = {
  ...({ operationId: 7n, attemptNumber: 1, state: 'leased', fence: 2, sends: 1 } as const),
  ...{ firstSentAt: '2026-11-01T00:00:00Z', lastSentAt: '2026-11-01T00:00:00Z' },
};

const SOURCE: Readonly<Record<Who, Finding['source']>> = {
  look: 'enquiry',
  'lapsed look': 'enquiry',
  'lapsed reply': 'reply',
  webhook: 'webhook',
  file: 'settlement',
  person: 'person',
};

function findingOf({ who, reply }: Fact): Finding {
  const isOfDaemon = who === 'look' || who === 'lapsed look' || who === 'lapsed reply';
  const held: Finding['held'] = {
    fence: 2,
    action: who === 'lapsed reply' ? 'send' : 'recheck',
    burned: 0,
    waits: 0,
    firstSentAgoMs: 1_000,
    customerLeftMs: null,
  };
  return { operationId: 7n, attemptNumber: 1, source: SOURCE[who], reply, held: isOfDaemon ? held : null };
}

/** The verdict on the last of these facts, each told after the other. */
function judged(kind: OperationKind, stands: End, facts: readonly Fact[]): Verdict {
  let subject = subjectOf(kind, stands);
  const told: Evidence[] = stands.evidence.map(([source, word]) => ({
    ...{ source, kind: word, reason: null, pspReference: null },
  }));
  let verdict: Verdict | null = null;
  for (const fact of facts) {
    const context = { principal: 'test', capabilitiesOf: () => capabilitiesOf('stripe'), random: () => 0 };
    // The job that looks is there while it looks; whoever lapsed has lost it.
    const job = fact.who === 'look' ? JOB : undefined;
    verdict = judge(context, subject, findingOf(fact), job, new Map([[7n, [...told]]]));
    if (verdict.evidence !== null) told.push(verdict.evidence);
    subject = { ...subject, subState: verdict.subState, attemptState: verdict.attemptState };
  }
  return verdict!;
}

/** "entries; letter", or "-" for stored and nothing else. */
function shown({ entries, letter }: Verdict): string {
  const parts = [entries.map((entry) => entry.kind).join(' + '), letter?.code ?? ''];
  return parts.filter((part) => part !== '').join('; ') || '-';
}

const KINDS = ['charge', 'refund', 'payout'] as const;
const CELLS = KINDS.flatMap((kind) =>
  ENDS_OF[kind].flatMap((name) =>
    Object.entries(FACTS)
      .filter(([, fact]) => isOf(kind, fact))
      .map(([news, fact]) => ({ kind, end: name, news, fact })),
  ),
);

/** The end and the fact say the same about the money, or the fact says nothing that any end would exclude. */
function saysTheSame({ money }: End, { says }: Fact): boolean {
  if (says === null) return true;
  if (says === 'open') return false;
  return says === 'moved' ? money === 'moved' : money !== 'moved';
}

/** It repeats what had been told before the end was what it is, and nobody saw it with his own eyes since. */
function isOfBefore({ evidence }: End, { who, says }: Fact): boolean {
  if (who === 'look' || who === 'file' || who === 'person') return false;
  const words: readonly string[] = evidence.map(([, word]) => word);
  return words.includes(says === 'moved' ? 'succeeded' : 'declined');
}

describe('news of an operation that had ended', () => {
  test.each(CELLS)('$kind $end, $news: not stored in silence unless it says the same', (cell) => {
    const stands = ENDS[cell.end];
    if (saysTheSame(stands, cell.fact) || isOfBefore(stands, cell.fact)) return;
    const verdict = judged(cell.kind, stands, [cell.fact]);
    expect(shown(verdict)).not.toBe('-');
    expect(verdict.letter).not.toBeNull();
  });

  test.each(CELLS)('$kind $end, $news, and the same again: nothing more is booked', (cell) => {
    expect(judged(cell.kind, ENDS[cell.end], [cell.fact, cell.fact]).entries).toEqual([]);
  });

  test.each(CELLS)('$kind $end, $news: what is booked fits what the attempt has become', (cell) => {
    const { money, attemptState: before } = ENDS[cell.end];
    const { entries, attemptState } = judged(cell.kind, ENDS[cell.end], [cell.fact]);
    const fitting = [before, money === 'moved' ? 'reversed' : 'succeeded_surplus', 'reversed'];
    expect(attemptState).toBe(fitting[entries.length]);
    if (entries.length === 2) expect(money).toBe('none');
  });

  test.each(KINDS)('the whole table of a %s', (kind) => {
    const lines = ENDS_OF[kind].flatMap((name) => [
      `${kind} ${name}`,
      ...Object.entries(FACTS)
        .filter(([, fact]) => isOf(kind, fact))
        .map(([news, fact]) => `  ${news.padEnd(34)}${shown(judged(kind, ENDS[name], [fact]))}`),
    ]);
    expect(`\n${lines.join('\n')}\n`).toMatchSnapshot();
  });
});

describe('several facts after the end', () => {
  const last = (kind: OperationKind, name: EndName, ...news: readonly string[]) =>
    shown(
      judged(
        kind,
        ENDS[name],
        news.map((one) => FACTS[one]!),
      ),
    );
  const failed = 'declined by an enquiry after doubt';

  test('a refund that failed, is seen done, and fails after all, is booked both times', () => {
    expect(last('refund', failed, 'look: done')).toBe('late_refund; late_success');
    expect(last('refund', failed, 'look: done', 'look: failed')).toBe(
      'refund_failed_after_success; reversed_after_success',
    );
    expect(last('refund', failed, 'look: done', 'look: failed', 'late reply: done')).toBe('-');
  });

  test('a look of nobody-knows-when takes back nothing that was seen done after the failure', () => {
    expect(last('payout', failed, 'look: done', 'lapsed look: failed')).toBe('-');
    expect(last('payout', failed, 'file: done', 'lapsed look: failed')).toBe('-');
  });

  test('a charge in suspense that a look finds declined is taken out of it', () => {
    expect(last('charge', 'declined at once', 'webhook: done', 'look: failed')).toBe(
      'suspense_reversed; reversed_after_success',
    );
  });

  test('what was taken back and is seen done again is told, once', () => {
    expect(last('payout', 'done, then taken back', 'look: done')).toBe('contradicting_evidence');
    expect(last('payout', 'done, then taken back', 'look: done', 'file: done')).toBe('-');
  });

  test.each(KINDS)('several objects of one %s at the PSP are told to a person, once', (kind) => {
    const several: Fact = {
      who: 'look',
      reply: { ...DONE, reason: '2 objects carry the references of this attempt' },
      says: 'moved',
    };
    expect(shown(judged(kind, ENDS.succeeded, [several]))).toBe('moved_amiss');
    expect(shown(judged(kind, ENDS.succeeded, [several, several]))).toBe('-');
    const byFile: Fact = { ...several, who: 'file' };
    expect(shown(judged(kind, ENDS.succeeded, [byFile]))).toBe('-');
  });
});
