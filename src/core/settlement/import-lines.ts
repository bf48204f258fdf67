/**
 * One step: reads a file to its end and stores its lines, all or none. While the database takes one portion, the next are read; more
 * than three are never in memory.
 */
import { setFlagsFromString } from 'node:v8';
import { list, type Tx, workOnSets } from '../db/connection.ts';
import { OperatorError } from '../errors.ts';
import type { FileFault } from '../payment/file-fault.ts';
import { getBookKey } from '../queue/queue-store.ts';
import { type BatchNames, createBatchNames } from './batch-names.ts';
import type { Ahead } from './match-ahead.ts';
import type { MatchedTally } from './match-store.ts';
import { SIGN_OF_KIND } from './open-item.ts';
import { findFile, insertFile, lockSource, nextId } from './reconcile-run-store.ts';
import type { FileSummary, ReadingEnd, SettlementLine, SettlementReading } from './settlement-line.ts';
import {
  addToBatchSums,
  copyNewLines,
  createStaging,
  findLineRange,
  insertBatches,
  lastId,
  lineBytes,
  type SignRules,
  type Staging,
  sortPortion,
  storeLeftovers,
  takeIds,
  totalsJson,
} from './settlement-load-store.ts';

/**
 * Lines that go to the database together: 6 MB, a third of a second of its time. Each portion is two subtransactions, and beyond 64 of
 * those other sessions must look into a file of the server to tell whose they are: a million lines stay below it.
 */
const PORTION_LINES = 32_000;
/** The first portion is smaller, so that the database need not wait for long. */
const FIRST_PORTION_LINES = 4_000;
/** No statement on the sets of a file takes longer (ms). */
export const SET_TIMEOUT_MS = 900_000;

export type ImportRequest = {
  readonly fileName: string;
  readonly source: string;
  readonly sourceKind: 'psp' | 'bank';
  readonly sha256: string | null;
  readonly open: () => Promise<SettlementReading>;
  readonly rejects: 'refused' | 'left_out';
  readonly principal: string;
  readonly onChunk: (lines: number, bytes: number) => void;
  /** Matches lines while others are read; null: all of them are matched later. */
  readonly openAhead: ((tx: Tx, ids: NewIds) => Promise<Ahead>) | null;
};

export type NewIds = { readonly sourceId: number; readonly fileId: bigint; readonly runId: bigint };

export type Imported =
  | {
      readonly kind: 'stored';
      readonly fileId: bigint;
      readonly runId: bigint;
      readonly matched: readonly MatchedTally[];
    }
  /** An earlier import brought these bytes. What this one has written so far must be rolled back. */
  | { readonly kind: 'known'; readonly fileId: bigint }
  | {
      readonly kind: 'bad';
      readonly faults: readonly FileFault[];
      readonly faultCount: number;
      readonly lineCount: number;
    };

/** Whatever it returns but `stored`, its transaction must be rolled back. */
export async function importLines(tx: Tx, request: ImportRequest): Promise<Imported> {
  await workOnSets(tx, SET_TIMEOUT_MS);
  const sourceId = await lockSource(tx, request.source);
  const known = request.sha256 === null ? null : await findFile(tx, request.source, request.sha256);
  if (known !== null) return { kind: 'known', fileId: known.fileId };
  await createStaging(tx);
  const staging = { sourceId, fileId: await nextId(tx), bookKey: await getBookKey(tx) };
  const signs = request.sourceKind === 'psp' ? signRules() : { kinds: list([]), signs: list([]) };
  const reading = await request.open();
  const names = createBatchNames();
  const runId = await nextId(tx);
  const ahead = (await request.openAhead?.(tx, { sourceId, fileId: staging.fileId, runId })) ?? null;
  const lastOfPortions = await withSteadyMemory(() =>
    storePortions(tx, request, { staging, signs, names, ahead }, reading),
  );
  const end = await reading.end;
  const usable = usableEnd(end, request.rejects);
  if (usable === null) return { ...(end as Extract<ReadingEnd, { kind: 'bad' }>), kind: 'bad' };
  const { summary } = usable;
  const twin = await findFile(tx, request.source, summary.sha256);
  if (twin !== null) return { kind: 'known', fileId: twin.fileId };
  const leftovers = await storeLeftovers(tx, staging, signs);
  const last = await lastId(tx);
  const rest = { after: lastOfPortions, upTo: last };
  await addToBatchSums(tx, staging, signs, rest);
  await insertFile(tx, {
    fileId: staging.fileId,
    runId,
    sourceId,
    name: request.fileName,
    summary,
    knownCount: leftovers.seenCount,
    rejectCount: usable.rejectCount,
    lines: await findLineRange(tx, staging, last),
    principal: request.principal,
  });
  const refusedCount = await insertBatches(tx, staging, names.all(), totalsJson(summary.totals));
  const matched = (await ahead?.close(rest, refusedCount)) ?? [];
  return { kind: 'stored', fileId: staging.fileId, runId, matched };
}

/** Null: nothing of the file may be imported. */
function usableEnd(
  end: ReadingEnd,
  rejects: ImportRequest['rejects'],
): { readonly summary: FileSummary; readonly rejectCount: number } | null {
  if (end.kind === 'ok') return { summary: end.summary, rejectCount: 0 };
  if (rejects === 'refused' || end.summary === undefined) return null;
  return { summary: end.summary, rejectCount: end.faultCount };
}

/**
 * A reading makes and drops some gigabytes of small objects. V8 takes that for a reason to double the space for new ones again and
 * again; told not to, a whole run stays near 200 MB (measured with 1,000,000 lines) for a tenth more of Node's time.
 */
async function withSteadyMemory<T>(work: () => Promise<T>): Promise<T> {
  setFlagsFromString('--semi-space-growth-factor=1');
  try {
    return await work();
  } finally {
    setFlagsFromString('--semi-space-growth-factor=2');
  }
}

type Storing = {
  readonly staging: Staging;
  readonly signs: SignRules;
  readonly names: BatchNames;
  readonly ahead: Ahead | null;
};

/**
 * One portion is on its way and one waits while the next is collected: with none in waiting the server stood still whenever the
 * program was late.
 * @returns a number not below the last line's
 */
async function storePortions(
  tx: Tx,
  request: ImportRequest,
  { staging, signs, names, ahead }: Storing,
  reading: SettlementReading,
): Promise<bigint> {
  let last = staging.fileId;
  let lineCount = 0;
  let portion: Buffer[] = [];
  let pending = 0;
  let limit = FIRST_PORTION_LINES;
  let way: 'copy' | 'sort' = 'copy';
  let before: Promise<void> = Promise.resolve();
  let underWay: Promise<void> = Promise.resolve();
  const store = async (pieces: readonly Buffer[]): Promise<void> => {
    if (way === 'sort' || !(await copyNewLines(tx, pieces))) {
      // Files that overlap do so for long: the next portion is only copied again when this one had nothing that was known.
      way = (await sortPortion(tx, staging, pieces)) > 0 ? 'sort' : 'copy';
    }
    const upTo = await lastId(tx);
    await addToBatchSums(tx, staging, signs, { after: last, upTo });
    await ahead?.match({ after: last, upTo });
    last = upTo;
  };
  for await (const { lines, bytesRead } of reading.blocks) {
    requireLines(lines);
    const missing = names.missingFor(lines);
    if (missing > 0) {
      // Until the portion is there its connection takes nothing else.
      await underWay;
      names.add(await takeIds(tx, Math.max(missing, IDS_AT_ONCE)));
    }
    portion.push(lineBytes(lines, staging, names.idOf));
    pending += lines.length;
    lineCount += lines.length;
    if (pending < limit) continue;
    await before;
    before = underWay;
    const full = portion;
    underWay = underWay.then(() => store(full));
    // Awaited above, or below; a failure in between is not unhandled.
    underWay.catch(() => undefined);
    portion = [];
    pending = 0;
    limit = PORTION_LINES;
    request.onChunk(lineCount, bytesRead);
  }
  await underWay;
  if (pending > 0) await store(portion);
  return last;
}

/** Numbers for batches that are fetched together: most files have fewer batches. */
const IDS_AT_ONCE = 200;

function signRules(): SignRules {
  const rules = Object.entries(SIGN_OF_KIND);
  return { kinds: list(rules.map(([kind]) => kind)), signs: list(rules.map(([, sign]) => sign)) };
}

/** A reader's mistake must stop the import here and not as a type error inside of a COPY. */
function requireLines(lines: readonly SettlementLine[]): void {
  for (const line of lines) {
    if (line.lineKey.length > 0 && line.lineKey.length <= 300) continue;
    throw new OperatorError('line_key_invalid', `Row ${line.row} has no usable name of its own.`);
  }
}
