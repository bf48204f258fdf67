import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Evidence, type EvidenceKind, type EvidenceSource, merge, weightOf } from './evidence.ts';

/** Exhaustive by type: a new kind or source does not compile before it stands here. */
const KINDS: Readonly<Record<EvidenceKind, true>> = {
  succeeded: true,
  paid: true,
  declined: true,
  rejected: true,
  pending: true,
  awaiting_customer: true,
  not_sent: true,
  rate_limited: true,
  config_error: true,
  unknown: true,
  not_found: true,
  reversed: true,
};
const SOURCES: Readonly<Record<EvidenceSource, true>> = {
  reply: true,
  late_reply: true,
  lapse: true,
  enquiry: true,
  webhook: true,
  person: true,
  settlement: true,
};
const ALL_KINDS = Object.keys(KINDS) as readonly EvidenceKind[];
const isConclusive = (kind: EvidenceKind) => ['moved', 'refused', 'reversed'].includes(weightOf(kind));

function itemOf(kinds: readonly EvidenceKind[]): fc.Arbitrary<Evidence> {
  return fc.record({
    source: fc.constantFrom(...(Object.keys(SOURCES) as EvidenceSource[])),
    kind: fc.constantFrom(...kinds),
    reason: fc.option(fc.string()),
    pspReference: fc.option(fc.string()),
  });
}

const anyItem = itemOf(ALL_KINDS);
const isEyewitness = ({ source }: Evidence) => ['enquiry', 'settlement', 'person'].includes(source);

/** What can still stand: everything, or what was seen after the last reversal. */
function standingAt(items: readonly Evidence[]): readonly Evidence[] {
  const reversedAt = items.findLastIndex((item) => item.kind === 'reversed');
  return reversedAt < 0 ? items : items.slice(reversedAt + 1).filter(isEyewitness);
}

const inconclusive = itemOf(ALL_KINDS.filter((kind) => !isConclusive(kind)));
const harmless = itemOf(ALL_KINDS.filter((kind) => weightOf(kind) === 'harmless'));
const doubt = itemOf(ALL_KINDS.filter((kind) => weightOf(kind) === 'doubt'));
const some = <T>(item: fc.Arbitrary<T>) => fc.array(item, { maxLength: 12 });

describe('merge', () => {
  test('doubt is sticky: without an answer of the PSP no history ends it, whatever stands before or after', () => {
    fc.assert(
      fc.property(some(inconclusive), doubt, some(inconclusive), (before, item, after) => {
        const { kind } = merge([...before, item, ...after]);
        expect(['unknown', 'pending', 'awaiting_customer']).toContain(kind);
      }),
    );
  });

  test('doubt and harmless answers alone are unknown', () => {
    fc.assert(
      fc.property(some(harmless), doubt, some(fc.oneof(harmless, doubt)), (before, item, after) => {
        expect(merge([...before, item, ...after]).kind).toBe('unknown');
      }),
    );
  });

  test('a harmless answer changes nothing once something heavier is known', () => {
    const heavier = anyItem.filter((item) => weightOf(item.kind) !== 'harmless');
    fc.assert(
      fc.property(some(anyItem), heavier, some(harmless), (before, item, after) => {
        expect(merge([...before, item, ...after])).toEqual(merge([...before, item]));
      }),
    );
  });

  test('a success is never turned back but by its reversal, and never missed', () => {
    fc.assert(
      fc.property(fc.array(anyItem, { minLength: 1, maxLength: 15 }), (items) => {
        const standing = standingAt(items);
        const moved = standing.some((item) => weightOf(item.kind) === 'moved');
        const paid = standing.some((item) => item.kind === 'paid');
        const reversed = items.some((item) => item.kind === 'reversed');
        expect(['succeeded', 'paid'].includes(merge(items).kind)).toBe(moved);
        expect(merge(items).kind === 'paid').toBe(paid);
        expect(merge(items).kind === 'reversed').toBe(reversed && !moved);
      }),
    );
  });

  test('after a reversal only who saw it with his own eyes says that it was done after all, until it is reversed again', () => {
    const seen = anyItem.filter((item) => weightOf(item.kind) === 'moved' && isEyewitness(item));
    const hearsay = anyItem.filter((item) => item.kind !== 'reversed' && !isEyewitness(item));
    const reversal = itemOf(['reversed']);
    fc.assert(
      fc.property(some(anyItem), reversal, some(hearsay), seen, some(hearsay), (...parts) => {
        const [before, undone, heard, item, later] = parts;
        const history = [...before, undone, ...heard];
        expect(merge(history).kind).toBe('reversed');
        const outcome = merge([...history, item, ...later]);
        expect(outcome).toMatchObject({ decidedBy: item.source, contradicted: true });
        expect(['succeeded', 'paid']).toContain(outcome.kind);
        expect(merge([...history, item, ...later, undone]).kind).toBe('reversed');
      }),
    );
  });

  test('conclusive evidence decides the same in any order', () => {
    const shuffled = fc
      .array(anyItem, { minLength: 1, maxLength: 10 })
      .filter((items) => items.some((item) => isConclusive(item.kind)))
      // What an eyewitness sees after a reversal is the one thing whose place counts.
      .filter((items) => !items.some((item) => item.kind === 'reversed') || !items.some(isEyewitness))
      .chain((items) =>
        fc.tuple(fc.constant(items), fc.shuffledSubarray(items, { minLength: items.length })),
      );
    fc.assert(
      fc.property(shuffled, ([items, other]) => {
        const [one, two] = [merge(items), merge(other)];
        expect(two.kind).toBe(one.kind);
        expect(two.contradicted).toBe(one.contradicted);
      }),
    );
  });

  test('the same evidence again changes nothing', () => {
    fc.assert(
      fc.property(fc.array(anyItem, { minLength: 1, maxLength: 10 }), (items) => {
        const once = merge(items);
        expect(merge([...items, ...items])).toEqual(once);
        expect(merge([...items, items.at(-1)!])).toEqual(once);
      }),
    );
  });

  test('a contradiction is flagged exactly when money both moved and was refused, or is seen after its reversal', () => {
    fc.assert(
      fc.property(fc.array(anyItem, { minLength: 1, maxLength: 10 }), (items) => {
        const weights = new Set(items.map((item) => weightOf(item.kind)));
        const moved = standingAt(items).some((item) => weightOf(item.kind) === 'moved');
        expect(merge(items).contradicted).toBe(moved && (weights.has('refused') || weights.has('reversed')));
      }),
    );
  });

  test('an order ends as rejected only when nothing ever may have arrived', () => {
    fc.assert(
      fc.property(fc.array(anyItem, { minLength: 1, maxLength: 10 }), (items) => {
        if (merge(items).kind !== 'rejected') return;
        expect(items.every((item) => weightOf(item.kind) === 'harmless')).toBe(true);
      }),
    );
  });
});
