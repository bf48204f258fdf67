import { describe, expect, test } from 'vitest';
import { drawFault, FAULT_NAMES, type FaultCandidate, FaultQueue } from './faults.ts';

const RATES = { act_then_drop: 0.05, rate_limited: 0.05, fail_500: 0.02 };
const KEYS = Array.from({ length: 20_000 }, (_, index) => `key-${index}`);

describe('seeded faults', () => {
  test('the same seed, key and count give the same fault in whatever order they are asked', () => {
    const forwards = KEYS.map((key) => drawFault(RATES, 7, key, 1).name);
    const backwards = [...KEYS].reverse().map((key) => drawFault(RATES, 7, key, 1).name);
    expect(backwards.reverse()).toEqual(forwards);
  });

  test('another seed or another count gives other faults', () => {
    const names = (seed: number, seen: number) => KEYS.map((key) => drawFault(RATES, seed, key, seen).name);
    expect(names(8, 1)).not.toEqual(names(7, 1));
    expect(names(7, 2)).not.toEqual(names(7, 1));
  });

  test('faults come as often as the rates say', () => {
    const counts = new Map<string, number>();
    for (const key of KEYS) {
      const { name } = drawFault(RATES, 1, key, 1);
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    expect(counts.get('act_then_drop')).toBeGreaterThan(850);
    expect(counts.get('act_then_drop')).toBeLessThan(1150);
    expect(counts.get('fail_500')).toBeGreaterThan(300);
    expect([...counts.keys()].sort()).toEqual(['act_then_drop', 'fail_500', 'ok', 'rate_limited']);
  });

  test('a rate of 1 always hits, no rate never', () => {
    for (const name of FAULT_NAMES) expect(drawFault({ [name]: 1 }, 3, 'k', 1)).toEqual({ name });
    expect(drawFault({}, 3, 'k', 1)).toEqual({ name: 'ok' });
  });
});

describe('queued faults', () => {
  const candidate = (more: Partial<FaultCandidate>): FaultCandidate => ({
    method: 'POST',
    path: '/v1/payment_intents',
    key: null,
    metadata: () => ({}),
    ...more,
  });

  test('a list is used up in its order, then the next list that matches', () => {
    const queue = new FaultQueue();
    queue.add({ key: 'a' }, [{ name: 'slow' }, { name: 'ok' }], 1);
    queue.add({}, [{ name: 'bad_gateway' }], 1);
    expect(queue.take(candidate({ key: 'a' }))?.name).toBe('slow');
    expect(queue.take(candidate({ key: 'b' }))?.name).toBe('bad_gateway');
    expect(queue.take(candidate({ key: 'b' }))).toBeNull();
    expect(queue.take(candidate({ key: 'a' }))?.name).toBe('ok');
    expect(queue.take(candidate({ key: 'a' }))).toBeNull();
  });

  test('a repeated list starts over', () => {
    const queue = new FaultQueue();
    queue.add({}, [{ name: 'slow' }, { name: 'ok' }], 2);
    const taken = Array.from({ length: 5 }, () => queue.take(candidate({}))?.name);
    expect(taken).toEqual(['slow', 'ok', 'slow', 'ok', undefined]);
  });

  test('metadata, method and path must all match', () => {
    const queue = new FaultQueue();
    const match = { metadata: { paygate_order: '7' }, method: 'GET', pathPrefix: '/v1/charges' } as const;
    queue.add(match, [{ name: 'slow' }], 1);
    const metadata = () => ({ paygate_order: '7', other: 'x' });
    expect(queue.take(candidate({ metadata }))).toBeNull();
    expect(queue.take(candidate({ method: 'GET', metadata }))).toBeNull();
    expect(queue.take(candidate({ method: 'GET', path: '/v1/charges' }))).toBeNull();
    expect(queue.take(candidate({ method: 'GET', path: '/v1/charges', metadata }))?.name).toBe('slow');
  });
});
