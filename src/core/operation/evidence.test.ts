import { describe, expect, test } from 'vitest';
import {
  type AttemptState,
  attemptStateOf,
  type Evidence,
  type EvidenceKind,
  isOpenAttempt,
  merge,
  type Outcome,
  weightOf,
} from './evidence.ts';

function item(kind: EvidenceKind, overrides: Partial<Evidence> = {}): Evidence {
  return { source: 'reply', kind, reason: `because ${kind}`, pspReference: null, ...overrides };
}

function kindOf(...kinds: readonly EvidenceKind[]): Outcome['kind'] {
  return merge(kinds.map((kind) => item(kind))).kind;
}

describe('merge', () => {
  test.each<[EvidenceKind, Outcome['kind']]>([
    ['succeeded', 'succeeded'],
    ['declined', 'declined'],
    ['rejected', 'rejected'],
    ['pending', 'pending'],
    ['awaiting_customer', 'awaiting_customer'],
    ['not_sent', 'not_sent'],
    ['rate_limited', 'not_sent'],
    ['config_error', 'config_error'],
    ['unknown', 'unknown'],
    ['not_found', 'unknown'],
  ])('%s alone is %s', (kind, expected) => {
    expect(kindOf(kind)).toBe(expected);
  });

  test.each<[string, readonly EvidenceKind[], Outcome['kind']]>([
    ['connection refused after a doubt ends nothing', ['unknown', 'not_sent'], 'unknown'],
    ['401 after a doubt ends nothing', ['unknown', 'config_error'], 'unknown'],
    ['429 after a doubt ends nothing', ['unknown', 'rate_limited'], 'unknown'],
    ['400 after a doubt ends nothing', ['unknown', 'rejected'], 'unknown'],
    ['a miss after a doubt is no proof of absence', ['unknown', 'not_found'], 'unknown'],
    ['doubt told late makes a harmless answer doubtful', ['not_sent', 'unknown'], 'unknown'],
    ['a refusal of the request ends it when nothing was sent before', ['not_sent', 'rejected'], 'rejected'],
    ['a decline by the same key tells of every earlier send', ['unknown', 'declined'], 'declined'],
    ['a success by the same key tells of every earlier send', ['unknown', 'succeeded'], 'succeeded'],
    ['pending outlives a doubt about a later send', ['pending', 'unknown'], 'pending'],
    ['pending outlives a miss', ['pending', 'not_found'], 'pending'],
    [
      'the customer acted: the later of two that the PSP holds speaks',
      ['awaiting_customer', 'pending'],
      'pending',
    ],
    ['a success is not turned back by a decline', ['succeeded', 'declined'], 'succeeded'],
    ['a success wins over an earlier decline', ['declined', 'succeeded'], 'succeeded'],
    ['among harmless answers the latest speaks', ['config_error', 'rate_limited'], 'not_sent'],
    ['among harmless answers the latest speaks', ['rate_limited', 'config_error'], 'config_error'],
  ])('%s: %j is %s', (_, kinds, expected) => {
    expect(kindOf(...kinds)).toBe(expected);
  });

  test('the named sequence: charged but timed out, refused connection, 401, 429, then success by the same key', () => {
    const told: EvidenceKind[] = [];
    const outcomes = (['unknown', 'not_sent', 'config_error', 'rate_limited', 'succeeded'] as const).map(
      (kind) => {
        told.push(kind);
        return kindOf(...told);
      },
    );
    expect(outcomes).toEqual(['unknown', 'unknown', 'unknown', 'unknown', 'succeeded']);
  });

  test('says that it contradicts itself only when money both moved and did not', () => {
    const contradicted = (...kinds: readonly EvidenceKind[]) =>
      merge(kinds.map((kind) => item(kind))).contradicted;
    expect(contradicted('declined', 'succeeded')).toBe(true);
    expect(contradicted('succeeded', 'declined')).toBe(true);
    expect(contradicted('succeeded', 'succeeded')).toBe(false);
    expect(contradicted('succeeded', 'not_found')).toBe(false);
    expect(contradicted('succeeded', 'rejected')).toBe(false);
    expect(contradicted('declined', 'pending')).toBe(false);
  });

  test('carries reason, reference and source of the item that decided', () => {
    const outcome = merge([
      item('unknown'),
      item('succeeded', { source: 'enquiry', pspReference: 'pi_7', reason: null }),
      item('config_error', { reason: '401' }),
    ]);
    expect(outcome).toEqual({
      kind: 'succeeded',
      reason: null,
      pspReference: 'pi_7',
      decidedBy: 'enquiry',
      contradicted: false,
    });
  });

  test('in a contradiction the success speaks: its reference, its reason, its source', () => {
    const success = item('succeeded', { source: 'late_reply', pspReference: 'pi_7', reason: 'it moved' });
    const decline = item('declined', { source: 'person', pspReference: 'pi_8', reason: 'it did not' });
    for (const evidence of [
      [success, decline],
      [decline, success],
    ]) {
      expect(merge(evidence)).toEqual({
        kind: 'succeeded',
        reason: 'it moved',
        pspReference: 'pi_7',
        decidedBy: 'late_reply',
        contradicted: true,
      });
    }
  });

  test('no evidence at all is a bug, never an outcome', () => {
    expect(() => merge([])).toThrow('without evidence');
  });
});

describe('weights', () => {
  test('a call that told nothing and an enquiry that found nothing weigh as doubt', () => {
    expect([weightOf('unknown'), weightOf('not_found')]).toEqual(['doubt', 'doubt']);
  });
});

describe("an attempt's state", () => {
  test.each<[Outcome['kind'], AttemptState, boolean]>([
    ['succeeded', 'succeeded', false],
    ['declined', 'declined', false],
    ['rejected', 'rejected', false],
    ['pending', 'pending', true],
    ['awaiting_customer', 'awaiting_customer', true],
    ['unknown', 'unknown', true],
    ['not_sent', 'sent', true],
    ['config_error', 'sent', true],
  ])('after %s it is %s (open: %s)', (outcome, state, open) => {
    expect(attemptStateOf(outcome)).toBe(state);
    expect(isOpenAttempt(state)).toBe(open);
  });
});
