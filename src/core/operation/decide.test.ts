import { describe, expect, test } from 'vitest';
import { REPLY, type ReplyKind } from '../../testing/fixtures.ts';
import type { Capabilities, EnquiryReply } from '../psp/psp.ts';
import { MAX_BURNED, MAX_ENQUIRIES, retryDelayMs } from '../queue/job.ts';
import { decide, isPastKeyWindow, type Situation, type Step } from './decide.ts';
import { type Evidence, type EvidenceKind, merge } from './evidence.ts';

const HOUR_MS = 3_600_000;
/** Adyen's: payouts can be found by reference, charges and refunds cannot. */
const UNASKABLE: Capabilities['canEnquire'] = { charge: false, refund: false, payout: true };
const CAPABILITIES: Capabilities = {
  keyWindowMs: 20 * HOUR_MS,
  concurrentResendIsSafe: true,
  canEnquire: { charge: true, refund: true, payout: true },
};

function outcomeOf(...kinds: readonly EvidenceKind[]): Situation['outcome'] {
  return merge(kinds.map((kind): Evidence => ({ source: 'reply', kind, reason: kind, pspReference: null })));
}

/** A first send that told `latest`; `before` is what was known earlier. */
function situation(
  latest: EnquiryReply,
  overrides: Partial<Situation> & { before?: readonly EvidenceKind[] } = {},
) {
  const { before = [], ...rest } = overrides;
  return {
    operationKind: 'charge' as const,
    outcome: outcomeOf(...before, latest.kind),
    latest,
    action: 'send' as const,
    burned: 0,
    waits: 0,
    firstSentAgoMs: 0,
    capabilities: CAPABILITIES,
    customer: { leftMs: 24 * HOUR_MS, cancel: null },
    random: 0.5,
    ...rest,
  };
}

function summary(step: Step): string {
  if (step.kind === 'end') return 'end';
  if (step.kind === 'bury') return `bury ${step.code}`;
  return `${step.action} burned=${step.burned} waits=${step.waits}`;
}

describe('after a first send', () => {
  test.each<[ReplyKind, string]>([
    ['succeeded', 'end'],
    ['declined', 'end'],
    ['rejected', 'bury rejected'],
    ['pending', 'enquire burned=0 waits=1'],
    ['awaiting_customer', 'enquire burned=0 waits=1'],
    ['not_sent', 'send burned=0 waits=1'],
    ['rate_limited', 'send burned=0 waits=1'],
    ['config_error', 'send burned=0 waits=1'],
    ['unknown', 'send burned=1 waits=0'],
  ])('%s: %s', (kind, expected) => {
    expect(summary(decide(situation(REPLY[kind])))).toBe(expected);
  });
});

describe('in doubt', () => {
  const before = ['unknown'] as const;

  test.each<[ReplyKind, string]>([
    ['succeeded', 'end'],
    ['declined', 'end'],
    ['rejected', 'enquire burned=1 waits=1'],
    ['pending', 'enquire burned=1 waits=1'],
    ['awaiting_customer', 'enquire burned=1 waits=1'],
    ['not_sent', 'send burned=1 waits=1'],
    ['rate_limited', 'send burned=1 waits=1'],
    ['config_error', 'send burned=1 waits=1'],
    ['unknown', 'send burned=2 waits=0'],
    ['not_found', 'bury unknown_unresolved'],
  ])('%s: %s', (kind, expected) => {
    expect(summary(decide(situation(REPLY[kind], { before, burned: 1 })))).toBe(expected);
  });

  test('what tells nothing and does no harm uses up no try, however often it comes', () => {
    for (const kind of ['not_sent', 'rate_limited', 'config_error'] as const) {
      const step = decide(situation(REPLY[kind], { before, burned: 3, waits: 29_999 }));
      expect(step).toMatchObject({ kind: 'again', burned: 3, waits: 30_000 });
    }
  });

  test('a stored 500 or a key in conflict will tell nothing again: enquire', () => {
    const latest: EnquiryReply = { ...REPLY.unknown, next: 'enquire' };
    expect(summary(decide(situation(latest)))).toBe('enquire burned=1 waits=0');
  });

  test('asking is for good: it never goes back to sending', () => {
    for (const kind of ['unknown', 'not_sent', 'rate_limited', 'config_error'] as const) {
      const step = decide(situation(REPLY[kind], { before, action: 'enquire', burned: 2 }));
      expect(step).toMatchObject({ kind: 'again', action: 'enquire' });
    }
  });

  test.each<[string, number, 'send' | 'enquire']>([
    ['inside the key window it sends again', 20 * HOUR_MS - 1, 'send'],
    ['at the end of it it enquires', 20 * HOUR_MS, 'enquire'],
    ['past it it enquires', 30 * HOUR_MS, 'enquire'],
  ])('%s (%i ms): %s', (_, firstSentAgoMs, action) => {
    for (const kind of ['unknown', 'not_sent', 'rate_limited', 'config_error'] as const) {
      expect(decide(situation(REPLY[kind], { before, firstSentAgoMs }))).toMatchObject({
        kind: 'again',
        action,
      });
    }
  });

  test('tries are limited: after so many doubtful sends it only asks, after so many more a person is needed', () => {
    const steps: string[] = [];
    let action: 'send' | 'enquire' = 'send';
    let burned = 0;
    for (;;) {
      const step = decide(situation(REPLY.unknown, { before, action, burned }));
      if (step.kind !== 'again') {
        expect(step).toMatchObject({ kind: 'bury', code: 'enquiry_failed' });
        break;
      }
      action = step.action === 'send' ? 'send' : 'enquire';
      burned = step.burned;
      steps.push(action);
    }
    expect(steps).toEqual([
      ...Array<string>(MAX_BURNED - 1).fill('send'),
      ...Array<string>(MAX_ENQUIRIES).fill('enquire'),
    ]);
  });

  test('no count of tries ends a doubt as failed', () => {
    for (const burned of [0, MAX_BURNED, MAX_BURNED + MAX_ENQUIRIES, 30_000]) {
      for (const kind of ['unknown', 'not_found', 'rejected', 'not_sent'] as const) {
        expect(decide(situation(REPLY[kind], { before, burned })).kind).not.toBe('end');
      }
    }
  });

  test('a PSP that cannot be asked is sent the same key for as long as tries last, then a person is needed', () => {
    const capabilities = { ...CAPABILITIES, canEnquire: UNASKABLE };
    const stepAfter = (burned: number) =>
      summary(decide(situation(REPLY.unknown, { before, capabilities, burned })));
    expect(stepAfter(MAX_BURNED)).toBe(`send burned=${MAX_BURNED + 1} waits=0`);
    expect(stepAfter(MAX_BURNED + MAX_ENQUIRIES - 1)).toBe('bury enquiry_failed');
  });

  test('a PSP that cannot be asked is not asked past the key window either, and nothing is sent: a person', () => {
    const capabilities = { ...CAPABILITIES, canEnquire: UNASKABLE };
    const step = decide(situation(REPLY.unknown, { before, capabilities, firstSentAgoMs: 21 * HOUR_MS }));
    expect(step.kind).toBe('bury');
  });

  test('whether it can be asked depends on the kind of operation', () => {
    const capabilities = { ...CAPABILITIES, canEnquire: UNASKABLE };
    const past = { before, capabilities, firstSentAgoMs: 21 * HOUR_MS };
    const step = decide(situation(REPLY.unknown, { ...past, operationKind: 'payout' }));
    expect(step).toMatchObject({ kind: 'again', action: 'enquire' });
  });
});

describe('waiting for the buyer', () => {
  const customer = (leftMs: number, cancel: Situation['customer']['cancel'] = null) => ({
    customer: { leftMs, cancel },
  });

  test('it is looked at until its time is over, and at that moment', () => {
    const late = { firstSentAgoMs: 20 * HOUR_MS, random: 0 };
    const step = decide(situation(REPLY.awaiting_customer, { ...late, ...customer(4 * HOUR_MS) }));
    expect(step).toMatchObject({ kind: 'again', action: 'enquire', delayMs: 15 * 60_000 });
    expect(decide(situation(REPLY.awaiting_customer, { ...late, ...customer(1_233.21) }))).toMatchObject({
      action: 'enquire',
      delayMs: 1_234,
    });
  });

  test('when it is over the PSP is asked to cancel, at once and for the first time', () => {
    expect(decide(situation(REPLY.awaiting_customer, { waits: 40, ...customer(0) }))).toEqual({
      kind: 'again',
      action: 'cancel',
      delayMs: 0,
      burned: 0,
      waits: 0,
      cancel: { as: 'expired', reason: 'the customer did not finish in time' },
    });
  });

  test('a failed try is canceled, with its reason, before it counts as declined', () => {
    const failed = { ...REPLY.awaiting_customer, reason: 'expired_card' };
    expect(decide(situation(failed))).toMatchObject({
      action: 'cancel',
      cancel: { as: 'declined', reason: 'expired_card' },
    });
  });

  test('who wished it first is not overruled', () => {
    const wished = customer(-1, { as: 'canceled', reason: 'ordered twice' });
    const step = decide(situation(REPLY.awaiting_customer, wished));
    expect(step).toMatchObject({ kind: 'again', action: 'cancel' });
    expect(step).not.toHaveProperty('cancel');
  });

  test('the PSP is asked again for ever, up to an hour apart; what it does not answer ends nothing', () => {
    const wished = customer(-1, { as: 'expired', reason: 'late' });
    for (const latest of [REPLY.unknown, REPLY.rate_limited, REPLY.config_error]) {
      for (const waits of [0, 5, 30_000]) {
        const asked = { before: ['awaiting_customer'], action: 'cancel', waits, ...wished } as const;
        const step = decide(situation({ ...latest }, { ...asked, firstSentAgoMs: 900 * HOUR_MS }));
        expect(step).toMatchObject({ kind: 'again', action: 'cancel' });
        if (step.kind === 'again') expect(step.delayMs).toBeLessThanOrEqual(HOUR_MS);
      }
    }
  });

  test('where only a webhook tells, a person hears of it past the key window', () => {
    const capabilities = { ...CAPABILITIES, canEnquire: UNASKABLE };
    const asked = { before: ['awaiting_customer'], action: 'cancel', capabilities } as const;
    const wished = customer(-1, { as: 'expired', reason: 'late' });
    const stepAt = (firstSentAgoMs: number) =>
      summary(decide(situation({ ...REPLY.unknown }, { ...asked, ...wished, firstSentAgoMs })));
    expect(stepAt(19 * HOUR_MS)).toBe('cancel burned=0 waits=1');
    expect(stepAt(20 * HOUR_MS)).toBe('bury enquiry_failed');
  });

  test('a buyer whose payment is under way is only looked at, whatever was wished', () => {
    const wished = customer(-1, { as: 'expired', reason: 'late' });
    expect(decide(situation(REPLY.pending, { action: 'cancel', ...wished }))).toMatchObject({
      action: 'enquire',
    });
  });
});

describe('pending at a PSP that cannot be asked', () => {
  const capabilities = { ...CAPABILITIES, canEnquire: UNASKABLE };

  test.each(['pending', 'awaiting_customer'] as const)('%s: it waits for word, an hour at a time', (kind) => {
    const step = decide(situation(REPLY[kind], { operationKind: 'refund', capabilities }));
    expect(step).toEqual({ kind: 'again', action: 'enquire', delayMs: HOUR_MS, burned: 0, waits: 1 });
  });

  test('an enquiry that tells nothing leaves it waiting', () => {
    const asked = { before: ['pending'], action: 'enquire', capabilities } as const;
    expect(decide(situation({ ...REPLY.unknown, next: 'enquire' }, asked))).toMatchObject({
      kind: 'again',
      burned: 0,
      delayMs: HOUR_MS,
    });
  });

  test('past the key window a person should know', () => {
    const late = { capabilities, firstSentAgoMs: 20 * HOUR_MS };
    expect(summary(decide(situation(REPLY.pending, late)))).toBe('bury enquiry_failed');
  });
});

describe('delays', () => {
  test('Retry-After is honoured', () => {
    const asked = decide(situation({ ...REPLY.rate_limited, retryAfterMs: 7_000 }, { random: 0 }));
    expect(asked).toMatchObject({ delayMs: 7_000 });
    const inDoubt = decide(situation({ ...REPLY.unknown, retryAfterMs: 7_000 }, { random: 0 }));
    expect(inDoubt).toMatchObject({ delayMs: 7_000 });
  });

  test('a pending payment is not asked for more than every two seconds', () => {
    expect(decide(situation(REPLY.pending, { random: 0 }))).toMatchObject({ delayMs: 2_000 });
  });

  test.each<[string, number, number, number | null, number]>([
    ['the first try waits up to the base', 0, 0.999, null, 199],
    ['chance may make it none at all', 5, 0, null, 0],
    ['the ceiling doubles with each try', 3, 0.5, null, 800],
    ['and stops at a minute', 30, 0.5, null, 30_000],
    ['a PSP may ask for longer', 0, 0.5, 90_000, 90_000],
    ['but not for more than an hour', 0, 0.5, 1e12, 3_600_000],
  ])('%s', (_, tries, random, retryAfterMs, expected) => {
    expect(retryDelayMs(tries, random, retryAfterMs)).toBe(expected);
  });
});

test('the key window ends at its length, counted from the first send', () => {
  expect(isPastKeyWindow(20 * HOUR_MS - 1, CAPABILITIES)).toBe(false);
  expect(isPastKeyWindow(20 * HOUR_MS, CAPABILITIES)).toBe(true);
});
