/**
 * Group commit: the next batch collects while the previous one is in flight; no timer. One item alone goes
 * at once; under load batches grow by themselves. Knows nothing of what a batch does.
 */

export type GroupCommit<Item, Result> = {
  /** Adds an item; resolves with its result once the batch that holds it is done. */
  push(item: Item): Promise<Result>;
  /** Items waiting for a batch. */
  waiting(): number;
  /** Resolves when everything pushed so far is done. */
  idle(): Promise<void>;
};

export type GroupCommitOptions<Item, Result> = {
  /** Most items of one batch. */
  readonly maxBatch: number;
  /** Batches in flight at once. */
  readonly parallel: number;
  /** Does one batch; results in the order of the items. A rejection rejects all of its items. */
  readonly run: (items: readonly Item[]) => Promise<readonly Result[]>;
};

type Waiting<Item, Result> = {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
};

export function createGroupCommit<Item, Result>(
  options: GroupCommitOptions<Item, Result>,
): GroupCommit<Item, Result> {
  let queue: Waiting<Item, Result>[] = [];
  let running = 0;
  let idleWaiters: (() => void)[] = [];

  const start = (): void => {
    while (running < options.parallel && queue.length > 0) {
      const batch = queue.slice(0, options.maxBatch);
      queue = queue.slice(batch.length);
      running += 1;
      void runBatch(batch);
    }
  };

  const runBatch = async (batch: readonly Waiting<Item, Result>[]): Promise<void> => {
    try {
      const results = await options.run(batch.map((waiting) => waiting.item));
      for (const [i, waiting] of batch.entries()) waiting.resolve(results[i]!);
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
    } finally {
      running -= 1;
      start();
      if (running === 0 && queue.length === 0) {
        for (const wake of idleWaiters) wake();
        idleWaiters = [];
      }
    }
  };

  let scheduled = false;
  return {
    push: (item) =>
      new Promise((resolve, reject) => {
        queue.push({ item, resolve, reject });
        if (scheduled) return;
        scheduled = true;
        // Everything that arrives in this turn of the event loop shares the batch.
        setImmediate(() => {
          scheduled = false;
          start();
        });
      }),
    waiting: () => queue.length,
    idle: () =>
      running === 0 && queue.length === 0
        ? Promise.resolve()
        : new Promise((resolve) => idleWaiters.push(resolve)),
  };
}
