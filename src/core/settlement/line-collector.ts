/**
 * Where the readers of all formats put their lines and faults: counts, sums and the covered time on the way. Decides only; keeps
 * no more lines than one block.
 */
import type { Currency } from '../money.ts';
import { createFaultList, type FileFault } from '../payment/file-fault.ts';
import { shownText } from '../shown-text.ts';
import type { SettlementLine } from './settlement-line.ts';

/** Of all lines of one currency so far, in signed minor units. */
export type LineSums = { grossMinor: bigint; feeMinor: bigint; netMinor: bigint };

/** References longer than this are no references. */
const MAX_TEXT_CHARACTERS = 1_000;
const MAX_KEY_CHARACTERS = 300;
/** A type word is one of a list at the PSP. */
const MAX_TYPE_CHARACTERS = 200;
/** Words counted one by one; a file with more of them is counted under "…". */
const MAX_COUNTED_TYPES = 1_000;

export type LineCollector = {
  /** A good row. One whose texts are too long becomes a fault. */
  readonly add: (line: SettlementLine) => void;
  /** Lines that are one row of the file: all of them, or none and a fault. */
  readonly addWhole: (lines: readonly SettlementLine[]) => void;
  /** A bad row, or with row null the file as a whole. */
  readonly refuse: (row: number | null, column: string | null, code: string, message: string) => void;
  /** The file as a whole cannot be used, and reading on is pointless. */
  readonly stop: (code: string, message: string) => void;
  readonly isStopped: () => boolean;
  readonly sums: () => ReadonlyMap<Currency, LineSums>;
  readonly pendingCount: () => number;
  /** The lines since the last block. */
  readonly takeBlock: () => readonly SettlementLine[];
  readonly lineCount: () => number;
  readonly faultCount: () => number;
  readonly faults: () => readonly FileFault[];
  readonly typeCounts: () => ReadonlyMap<string, number>;
  readonly covers: () => { readonly from: string | null; readonly to: string | null };
};

export function createLineCollector(): LineCollector {
  const faults = createFaultList();
  const typeCounts = new Map<string, number>();
  const sums = new Map<Currency, LineSums>();
  let pending: SettlementLine[] = [];
  let lineCount = 0;
  let from: string | null = null;
  let to: string | null = null;
  let stopped = false;
  let lastCurrency: Currency | null = null;
  let lastSums: LineSums = { grossMinor: 0n, feeMinor: 0n, netMinor: 0n };

  const sumsOf = (currency: Currency): LineSums => {
    if (currency === lastCurrency) return lastSums;
    lastCurrency = currency;
    lastSums = sums.get(currency) ?? { grossMinor: 0n, feeMinor: 0n, netMinor: 0n };
    sums.set(currency, lastSums);
    return lastSums;
  };
  const refuse: LineCollector['refuse'] = (row, column, code, message) =>
    faults.add({ line: row, column, code, message });

  const keep = (line: SettlementLine): void => {
    const sum = sumsOf(line.currency);
    sum.grossMinor += line.grossMinor;
    sum.feeMinor += line.feeMinor;
    sum.netMinor += line.netMinor;
    const type = typeCounts.size < MAX_COUNTED_TYPES || typeCounts.has(line.rawType) ? line.rawType : '…';
    typeCounts.set(type, (typeCounts.get(type) ?? 0) + 1);
    const at = line.occurredAt;
    if (at !== null && (from === null || at < from)) from = at;
    if (at !== null && (to === null || at > to)) to = at;
    lineCount += 1;
    pending.push(line);
  };
  const addWhole: LineCollector['addWhole'] = (lines) => {
    for (const line of lines) {
      const tooLong = textFault(line);
      if (tooLong !== null) return refuse(line.row, null, 'text_too_long', tooLong);
    }
    for (const line of lines) keep(line);
  };

  return {
    add: (line) => {
      const tooLong = textFault(line);
      if (tooLong !== null) return refuse(line.row, null, 'text_too_long', tooLong);
      keep(line);
    },
    addWhole,
    refuse,
    stop: (code, message) => {
      if (!stopped) refuse(null, null, code, message);
      stopped = true;
    },
    isStopped: () => stopped,
    sums: () => sums,
    pendingCount: () => pending.length,
    takeBlock: () => {
      const block = pending;
      pending = [];
      return block;
    },
    lineCount: () => lineCount,
    faultCount: faults.count,
    faults: faults.listed,
    typeCounts: () => typeCounts,
    covers: () => ({ from, to }),
  };
}

/** A sentence on the first text of a line that is longer than it may be, or null. */
function textFault(line: SettlementLine): string | null {
  const { lineKey, rawType, reference, paymentReference, ourReference, batch } = line;
  if (lineKey.length === 0 || lineKey.length > MAX_KEY_CHARACTERS) {
    return `the row's own name ${shownText(lineKey)} has ${lineKey.length} characters; 1 to ${MAX_KEY_CHARACTERS} are allowed`;
  }
  if (rawType.length > MAX_TYPE_CHARACTERS) {
    return `the type ${shownText(rawType)} is longer than ${MAX_TYPE_CHARACTERS} characters`;
  }
  const isLong = (text: string | null) => text !== null && text.length > MAX_TEXT_CHARACTERS;
  if (!isLong(reference) && !isLong(paymentReference) && !isLong(ourReference) && !isLong(batch)) return null;
  return `a reference is longer than ${MAX_TEXT_CHARACTERS} characters`;
}
