import { describe, expect, test } from 'vitest';
import { capabilitiesOf } from '../psp/request.ts';
import { planReplay, type ReplayAction } from './letter-plan.ts';
import type { Standing } from './reopening-store.ts';

const HOUR_MS = 3_600_000;
const STRIPE = capabilitiesOf('stripe');

function standing(changes: Partial<Standing>): Standing {
  return {
    operationId: 3n,
    kind: 'charge',
    pspAccount: 'main',
    amountMinor: 1250n,
    currency: 'EUR',
    subState: 'unknown',
    operationFence: 4,
    paymentId: 1n,
    orderId: 2n,
    attemptNumber: 1,
    attemptState: 'unknown',
    maybeSent: true,
    sends: 2,
    firstSentAgoMs: HOUR_MS,
    reason: null,
    request: '{}',
    hasJob: false,
    isLeased: false,
    movedMoney: false,
    openLetters: [],
    ...changes,
  };
}

function planned(
  letter: Partial<Parameters<typeof planReplay>[0]>,
  changes: Partial<Standing>,
  wanted: ReplayAction | null,
): string {
  const facts = { state: 'open', code: 'unknown_unresolved', attemptNumber: 1, ...letter };
  const plan = planReplay(facts, standing(changes), wanted, STRIPE);
  if (plan.kind === 'refused') return plan.code;
  return plan.kind === 'resume' ? plan.action : plan.kind;
}

const DOUBT = {};
const LATE = { firstSentAgoMs: STRIPE.keyWindowMs };
const UNDATED = { firstSentAgoMs: null };
const REFUSED = { attemptState: 'rejected', subState: 'rejected', maybeSent: false } as const;
const DECLINED = { attemptState: 'declined', subState: 'declined' } as const;
const UNFUNDED = { ...DECLINED, kind: 'payout', reason: 'balance_insufficient: top up' } as const;

describe('the plan for a letter', () => {
  test.each<[string, Parameters<typeof planned>[0], Partial<Standing>, string, string, string]>([
    // what                                letter                     standing   default  send  enquire
    ['a doubt inside the key window', {}, DOUBT, 'send', 'send', 'enquire'],
    ['a doubt past it', {}, LATE, 'key_window_passed', 'key_window_passed', 'enquire'],
    ['a doubt of unknown age', {}, UNDATED, 'key_window_passed', 'key_window_passed', 'enquire'],
    ['an answer that was not booked', { code: 'quarantined' }, DOUBT, 'enquire', 'enquire', 'enquire'],
    ['the same, late', { code: 'quarantined' }, LATE, 'enquire', 'enquire', 'enquire'],
    ['the same, of an attempt that is over', { code: 'quarantined' }, DECLINED, 'fold', 'fold', 'fold'],
    ['a refused request', { code: 'rejected' }, REFUSED, 'renew', 'renew', 'nothing_to_replay'],
    [
      'a payout that gave back its reservation',
      { code: 'rejected' },
      UNFUNDED,
      'nothing_to_replay',
      'nothing_to_replay',
      'nothing_to_replay',
    ],
    [
      'a declined charge',
      { code: 'rejected' },
      DECLINED,
      'nothing_to_replay',
      'nothing_to_replay',
      'nothing_to_replay',
    ],
  ])('%s: %j', (_, letter, changes, byDefault, send, enquire) => {
    expect(planned(letter, changes, null)).toBe(byDefault);
    expect(planned(letter, changes, 'send')).toBe(send);
    expect(planned(letter, changes, 'enquire')).toBe(enquire);
  });

  test.each(['late_success', 'surplus_success', 'contradicting_evidence'])('%s needs a decision', (code) => {
    for (const changes of [DOUBT, REFUSED, { hasJob: true }])
      expect(planned({ code }, changes, null)).toBe('needs_a_decision');
  });

  test('guards come in order: closed, decided, working, superseded, then what the attempt allows', () => {
    expect(planned({ state: 'replayed', code: 'late_success' }, { hasJob: true }, null)).toBe(
      'letter_closed',
    );
    expect(planned({ attemptNumber: 2 }, { hasJob: true }, null)).toBe('already_working');
    expect(planned({}, { ...LATE, attemptNumber: 2 }, null)).toBe('superseded');
    expect(planned({ code: 'rejected' }, { ...REFUSED, movedMoney: true }, null)).toBe('money_moved');
  });

  test('nothing is sent anew while evidence waits to be booked, which a later attempt does not hinder', () => {
    const openLetters = ['rejected', 'quarantined'];
    expect(planned({ code: 'rejected' }, { ...REFUSED, openLetters }, null)).toBe('needs_a_decision');
    expect(planned({ code: 'quarantined' }, { attemptNumber: 2, hasJob: true }, null)).toBe('fold');
  });

  test('a PSP that cannot be asked is not', () => {
    const facts = { state: 'open', code: 'unknown_unresolved', attemptNumber: 1 };
    const plan = planReplay(facts, standing({}), 'enquire', capabilitiesOf('adyen'));
    expect(plan).toMatchObject({ kind: 'refused', code: 'cannot_enquire' });
  });
});
