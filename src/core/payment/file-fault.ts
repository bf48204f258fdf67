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
  /** At most {@link MAX_LISTED_FAULTS} in the order of their lines; first those of the file as a whole, which no number of bad rows hides. */
  readonly listed: () => readonly FileFault[];
};

export function createFaultList(): FaultList {
  const ofFile: FileFault[] = [];
  const ofLines: FileFault[] = [];
  let count = 0;
  return {
    add: (fault) => {
      count += 1;
      const list = fault.line === null ? ofFile : ofLines;
      if (list.length < MAX_LISTED_FAULTS) list.push(fault);
    },
    count: () => count,
    listed: () => {
      const sorted = ofLines.toSorted((left, right) => (left.line ?? 0) - (right.line ?? 0));
      return [...ofFile, ...sorted].slice(0, MAX_LISTED_FAULTS);
    },
  };
}
