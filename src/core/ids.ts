/**
 * Names of things as people and programs see them: "pay_12", "ord_13", "op_14". The number is unique in
 * the book whatever the prefix; the prefix says what it names. Decides only.
 */
const PREFIXES = {
  payment: 'pay',
  order: 'ord',
  operation: 'op',
  entry: 'ent',
  deadLetter: 'dl',
  batch: 'bat',
  refund: 'rfd',
  payoutBatch: 'pob',
  payout: 'po',
  settlementFile: 'file',
  settlementBatch: 'sbat',
  settlementLine: 'line',
  reconcileRun: 'run',
  reconBreak: 'brk',
  dispute: 'dsp',
} as const;
export type IdKind = keyof typeof PREFIXES;

/** "pay_12" for ('payment', 12n). */
export function formatId(kind: IdKind, id: bigint): string {
  return `${PREFIXES[kind]}_${id}`;
}

const NUMBER = /^[1-9]\d{0,17}$/;

/** The number of a well-formed id of this kind, or null. The prefix may be left out ("12"). */
export function parseId(kind: IdKind, text: string): bigint | null {
  const prefix = `${PREFIXES[kind]}_`;
  const digits = text.startsWith(prefix) ? text.slice(prefix.length) : text;
  return NUMBER.test(digits) ? BigInt(digits) : null;
}

/** An attempt's key at the PSP: the book's own random part, the operation and the attempt (≤ 64 characters). */
export function attemptKey(bookKey: string, operationId: bigint, attemptNumber: number): string {
  return `pg-${bookKey}-${operationId}-${attemptNumber}`;
}
