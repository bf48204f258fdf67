/** The batches of a file while it is read: each gets one of our numbers when its first line comes. Decides only. */
import { OperatorError } from '../errors.ts';
import type { SettlementLine } from './settlement-line.ts';
import type { NamedBatch } from './settlement-load-store.ts';

/** A deposit has lines: a file with more batches than this names its rows where it should name their deposits. */
const MAX_BATCHES = 200_000;

type Named = Pick<SettlementLine, 'batch' | 'currency'>;

export type BatchNames = {
  /** So many numbers must be added before these lines have their batches. */
  readonly missingFor: (lines: readonly Named[]) => number;
  readonly add: (ids: readonly bigint[]) => void;
  /** The number of a line's batch. */
  readonly idOf: (line: Named) => bigint;
  readonly all: () => readonly NamedBatch[];
};

export function createBatchNames(maxBatches = MAX_BATCHES): BatchNames {
  const known = new Map<string, NamedBatch>();
  const free: bigint[] = [];
  // Lines of a batch stand together: most ask for the one that was asked for last.
  let last: NamedBatch | null = null;

  const keyOf = ({ batch, currency }: Named) => `${currency}${batch === null ? '' : ` ${batch}`}`;
  const isLast = (line: Named) =>
    last !== null && last.name === line.batch && last.currency === line.currency;

  return {
    missingFor: (lines) => {
      const fresh = new Set<string>();
      let before: Named | null = null;
      for (const line of lines) {
        if (before !== null && before.batch === line.batch && before.currency === line.currency) continue;
        before = line;
        const key = keyOf(line);
        if (!known.has(key)) fresh.add(key);
      }
      if (known.size + fresh.size > maxBatches) {
        throw new OperatorError(
          'too_many_batches',
          `The file has more than ${maxBatches} batches: the column that names them must name deposits, not rows.`,
        );
      }
      return Math.max(0, fresh.size - free.length);
    },
    add: (ids) => {
      free.push(...ids);
    },
    idOf: (line) => {
      if (last !== null && isLast(line)) return last.id;
      const key = keyOf(line);
      const found = known.get(key);
      last = found ?? { id: free.shift()!, name: line.batch, currency: line.currency };
      if (found === undefined) known.set(key, last);
      return last.id;
    },
    all: () => [...known.values()],
  };
}
