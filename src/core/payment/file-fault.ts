/**
 * What is wrong with a batch file, line by line: all of it is counted, the first thousand are listed.
 * Decides only.
 */

/** `line` counts from 1 and is where the record starts; null: the file as a whole. `column` as in the header. */
export type FileFault = {
  readonly line: number | null;
  readonly column: string | null;
  readonly code: string;
  readonly message: string;
};

/** A person fixes the first faults and tries again; a file of wrong rows must not fill the memory. */
export const MAX_LISTED_FAULTS = 1_000;

export type FaultList = {
  readonly add: (fault: FileFault) => void;
  /** All that were added, listed or not. */
  readonly count: () => number;
  /** At most {@link MAX_LISTED_FAULTS}, in the order of their lines. */
  readonly listed: () => readonly FileFault[];
};

export function createFaultList(): FaultList {
  const listed: FileFault[] = [];
  let count = 0;
  return {
    add: (fault) => {
      count += 1;
      if (listed.length < MAX_LISTED_FAULTS) listed.push(fault);
    },
    count: () => count,
    listed: () => listed.toSorted((left, right) => (left.line ?? 0) - (right.line ?? 0)),
  };
}
