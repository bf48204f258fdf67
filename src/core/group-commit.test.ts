import { describe, expect, test } from 'vitest';
import { createGroupCommit } from './group-commit.ts';

/** A commit whose batches end when the test says so. */
function manual(options: { maxBatch: number; parallel: number }) {
  const batches: { items: readonly number[]; end: () => void; fail: (error: Error) => void }[] = [];
  const commit = createGroupCommit<number, string>({
    ...options,
    run: (items) =>
      new Promise((resolve, reject) => {
        batches.push({ items, end: () => resolve(items.map((item) => `done ${item}`)), fail: reject });
      }),
  });
  return { batches, commit };
}

/** Lets everything run that is already due. */
const turn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

describe('group commit', () => {
  test('one item alone goes at once', async () => {
    const { batches, commit } = manual({ maxBatch: 10, parallel: 1 });
    const result = commit.push(1);
    await turn();
    expect(batches.map((batch) => batch.items)).toEqual([[1]]);
    batches[0]!.end();
    expect(await result).toBe('done 1');
  });

  test('what arrives in one turn of the event loop shares a batch', async () => {
    const { batches, commit } = manual({ maxBatch: 10, parallel: 1 });
    for (let i = 0; i < 4; i += 1) void commit.push(i);
    await turn();
    expect(batches.map((batch) => batch.items)).toEqual([[0, 1, 2, 3]]);
    batches[0]!.end();
    await commit.idle();
  });

  test('the next batch collects while the previous one is in flight', async () => {
    const { batches, commit } = manual({ maxBatch: 10, parallel: 1 });
    void commit.push(1);
    await turn();
    for (const item of [2, 3, 4]) {
      void commit.push(item);
      await turn();
    }
    expect(batches).toHaveLength(1);
    expect(commit.waiting()).toBe(3);
    batches[0]!.end();
    await turn();
    expect(batches[1]!.items).toEqual([2, 3, 4]);
    expect(commit.waiting()).toBe(0);
    batches[1]!.end();
    await commit.idle();
  });

  test('no batch is larger than allowed, and no more run at once than allowed', async () => {
    const { batches, commit } = manual({ maxBatch: 3, parallel: 2 });
    for (let i = 0; i < 10; i += 1) void commit.push(i);
    await turn();
    expect(batches.map((batch) => batch.items)).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
    expect(commit.waiting()).toBe(4);
    batches[1]!.end();
    await turn();
    expect(batches[2]!.items).toEqual([6, 7, 8]);
    for (const batch of batches) batch.end();
    await turn();
    batches[3]!.end();
    await commit.idle();
    expect(batches.map((batch) => batch.items.length)).toEqual([3, 3, 3, 1]);
  });

  test('a batch that fails rejects its own items and no others', async () => {
    const { batches, commit } = manual({ maxBatch: 2, parallel: 2 });
    const results = [1, 2, 3, 4, 5].map((item) => commit.push(item));
    const settled = Promise.allSettled(results);
    await turn();
    batches[0]!.fail(new Error('disk full'));
    await turn();
    batches[1]!.end();
    batches[2]!.end();
    expect(
      (await settled).map((result) => (result.status === 'fulfilled' ? result.value : 'failed')),
    ).toEqual(['failed', 'failed', 'done 3', 'done 4', 'done 5']);
  });

  test('a batch that throws before it starts rejects its items as well', async () => {
    const commit = createGroupCommit<number, string>({
      maxBatch: 2,
      parallel: 1,
      run: () => {
        throw new Error('at once');
      },
    });
    await expect(commit.push(1)).rejects.toThrow('at once');
    await expect(commit.push(2)).rejects.toThrow('at once');
  });

  test('is idle when everything pushed so far is done, and not before', async () => {
    const { batches, commit } = manual({ maxBatch: 2, parallel: 1 });
    await commit.idle();
    for (let i = 0; i < 4; i += 1) void commit.push(i);
    let isIdle = false;
    const idle = commit.idle().then(() => {
      isIdle = true;
    });
    await turn();
    batches[0]!.end();
    await turn();
    expect(isIdle).toBe(false);
    batches[1]!.end();
    await idle;
    expect(isIdle).toBe(true);
  });
});
