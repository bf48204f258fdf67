import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createGroupCommit } from './group-commit.ts';

test('every item is done once, answered with its own result, within the limits, in the order it came', async () => {
  const plan = fc.record({
    maxBatch: fc.integer({ min: 1, max: 7 }),
    parallel: fc.integer({ min: 1, max: 4 }),
    // Items pushed per turn of the event loop; a failing batch now and then.
    arrivals: fc.array(fc.nat({ max: 9 }), { minLength: 1, maxLength: 20 }),
    failEvery: fc.option(fc.integer({ min: 2, max: 5 })),
  });
  await fc.assert(
    fc.asyncProperty(plan, fc.scheduler(), async ({ maxBatch, parallel, arrivals, failEvery }, scheduler) => {
      const done: number[] = [];
      let running = 0;
      let batches = 0;
      const commit = createGroupCommit<number, number>({
        maxBatch,
        parallel,
        run: async (items) => {
          running += 1;
          batches += 1;
          const fails = failEvery !== null && batches % failEvery === 0;
          expect(items.length).toBeGreaterThan(0);
          expect(items.length).toBeLessThanOrEqual(maxBatch);
          expect(running).toBeLessThanOrEqual(parallel);
          done.push(...items);
          await scheduler.schedule(Promise.resolve());
          running -= 1;
          if (fails) throw new Error('this batch fails');
          return items.map((item) => item * 10);
        },
      });
      const results: Promise<number | 'failed'>[] = [];
      for (const count of arrivals) {
        for (let i = 0; i < count; i += 1) {
          results.push(commit.push(results.length).catch(() => 'failed' as const));
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
      const all = Promise.all(results);
      while (done.length < results.length || running > 0) {
        if (scheduler.count() > 0) await scheduler.waitOne();
        else await new Promise((resolve) => setImmediate(resolve));
      }
      const answers = await all;
      expect(done).toEqual(results.map((_, i) => i));
      for (const [i, answer] of answers.entries()) expect([i * 10, 'failed']).toContain(answer);
      if (failEvery === null) expect(answers).not.toContain('failed');
      await commit.idle();
      expect(commit.waiting()).toBe(0);
    }),
    { numRuns: 60 },
  );
});
