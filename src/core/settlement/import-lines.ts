/**
 * One step: reads a file to its end and stores its lines, all or none. While the database takes one chunk, the next is read; more
 * than two are never in memory.
 */
import { setFlagsFromString } from 'node:v8';
import { list, type Tx, workOnSets } from '../db/connection.ts';
import { OperatorError } from '../errors.ts';
import type { FileFault } from '../payment/file-fault.ts';
import { getBookKey } from '../queue/queue-store.ts';
import { SIGN_OF_KIND } from './open-item.ts';
import { findFile, insertFile, type LineRange, lockSource, nextId } from './reconcile-run-store.ts';
import type { FileSummary, ReadingEnd, SettlementLine, SettlementReading } from './settlement-line.ts';
import {
  copyIntoStaging,
  createStaging,
  insertBatches,
  type SignRules,
  type Staging,
  stagingText,
  storeLeftovers,
  storeStaged,
  totalsJson,
} from './settlement-load-store.ts';

/** Lines that go to the database together: 3 MB of text, a tenth of a second of its time. */
const CHUNK_LINES = 12_000;
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
};

export type Imported =
  | { readonly kind: 'stored'; readonly fileId: bigint }
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
  const reading = await request.open();
  const own = await withSteadyMemory(() => storeBlocks(tx, request, staging, reading));
  const end = await reading.end;
  const usable = usableEnd(end, request.rejects);
  if (usable === null) return { ...(end as Extract<ReadingEnd, { kind: 'bad' }>), kind: 'bad' };
  const { summary } = usable;
  const twin = await findFile(tx, request.source, summary.sha256);
  if (twin !== null) return { kind: 'known', fileId: twin.fileId };
  const leftovers = await storeLeftovers(tx, staging);
  await insertFile(tx, {
    fileId: staging.fileId,
    runId: await nextId(tx),
    sourceId,
    name: request.fileName,
    summary,
    knownCount: leftovers.seenCount,
    rejectCount: usable.rejectCount,
    lines: widest(own, leftovers),
    principal: request.principal,
  });
  await insertBatches(tx, staging, totalsJson(summary.totals));
  return { kind: 'stored', fileId: staging.fileId };
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
 * again; told not to, a reading alone stays below 200 MB at the same speed, a whole run at about 300 (measured with 500,000 lines).
 */
async function withSteadyMemory<T>(work: () => Promise<T>): Promise<T> {
  setFlagsFromString('--semi-space-growth-factor=1');
  try {
    return await work();
  } finally {
    setFlagsFromString('--semi-space-growth-factor=2');
  }
}

/** One chunk is on its way while the next is collected. */
async function storeBlocks(
  tx: Tx,
  request: ImportRequest,
  staging: Staging,
  reading: SettlementReading,
): Promise<LineRange> {
  const signs = request.sourceKind === 'psp' ? signRules() : { kinds: list([]), signs: list([]) };
  let range: LineRange = { firstLine: null, lastLine: null };
  let lineCount = 0;
  let text: string[] = [];
  let pending = 0;
  let underWay: Promise<void> = Promise.resolve();
  const send = (chunk: readonly string[]): Promise<void> =>
    copyIntoStaging(tx, chunk)
      .then(() => storeStaged(tx, staging, signs))
      .then((stored) => {
        range = widest(range, stored);
      });
  for await (const { lines, bytesRead } of reading.blocks) {
    requireLines(lines);
    text.push(stagingText(lines, staging.bookKey));
    pending += lines.length;
    lineCount += lines.length;
    if (pending < CHUNK_LINES) continue;
    await underWay;
    underWay = send(text);
    // Awaited above, or below; a failure in between is not unhandled.
    underWay.catch(() => undefined);
    text = [];
    pending = 0;
    request.onChunk(lineCount, bytesRead);
  }
  await underWay;
  if (pending > 0) await send(text);
  return range;
}

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

function widest(a: LineRange, b: LineRange): LineRange {
  const min = (x: bigint | null, y: bigint | null) => (x === null || (y !== null && y < x) ? y : x);
  const max = (x: bigint | null, y: bigint | null) => (x === null || (y !== null && y > x) ? y : x);
  return { firstLine: min(a.firstLine, b.firstLine), lastLine: max(a.lastLine, b.lastLine) };
}
