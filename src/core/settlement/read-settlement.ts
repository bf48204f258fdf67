/**
 * Reads a settlement file or bank statement as a stream: unpacks, decodes, recognises, and yields lines in blocks while the SHA-256 of
 * the raw bytes is made. Touches no database; keeps no more than one block of lines.
 */
import { createHash } from 'node:crypto';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { OperatorError } from '../errors.ts';
import type { FileWords } from './csv-format.ts';
import { createFileReader, type FileReader } from './file-reader.ts';
import { createLineCollector, type LineCollector } from './line-collector.ts';
import { detectFormat } from './settlement-detection.ts';
import type {
  FileSummary,
  LineBlock,
  ReadingEnd,
  SettlementFormat,
  SettlementReading,
} from './settlement-line.ts';
import type { SettlementMapping } from './settlement-mapping.ts';
import { createTextBytes, type TextBytes } from './text-bytes.ts';

export type SettlementOptions = {
  /** Null: recognised by content. */
  readonly format: SettlementFormat | null;
  /** For any CSV that is not known here; with it and without a format the file is read as generic CSV. */
  readonly mapping: SettlementMapping | null;
  /** IANA zone of times that a file gives without one (Stripe's plain columns); null: such times are left out. */
  readonly timeZone: string | null;
  /** Bytes that a packed file may unpack to; for tests. */
  readonly maxExpandedBytes?: number;
};

/** Bytes handled at a time, and what a format is recognised by. */
const PIECE_BYTES = 64 * 1024;

/** Lines of a block, about: one piece may bring some more. */
const BLOCK_LINES = 1_000;

/** 10 million rows unpack to some 5 GB. */
const MAX_EXPANDED_BYTES = 32 * 1024 ** 3;

/** Packed text shrinks to a tenth, tables of equal rows to a hundredth; a bomb to a thousandth. */
const MAX_EXPANSION = 200;
const FREE_EXPANSION_BYTES = 16 * 1024 ** 2;

/**
 * Opens a file and recognises it. Throws OperatorError (usage): `settlement_file_unusable` for what is no text at all,
 * `settlement_format_unknown` for text that nobody knows. Everything that is wrong inside is told by the reading's end.
 */
export async function openSettlementFile(
  input: AsyncIterable<Buffer>,
  options: SettlementOptions,
): Promise<SettlementReading> {
  const collector = createLineCollector();
  const raw = createRawBytes(input, options.maxExpandedBytes ?? MAX_EXPANDED_BYTES);
  const text = createTextBytes(options.mapping?.encoding ?? null);
  try {
    const pieces = regrouped(raw.unpacked());
    const first = await pieces.next();
    const head = first.done ? Buffer.alloc(0) : text.write(first.value);
    // A first piece of less than that is all there is.
    const isWholeFile = first.done === true || first.value.length < PIECE_BYTES;
    refuseKnownBinary(head);
    const detection = detectFormat(head, isWholeFile, options.format, options.mapping);
    if (detection.kind === 'unknown') throw unknownFormat(detection.message, options);
    const reader = createFileReader(detection, {
      collector,
      mapping: options.mapping,
      timeZone: options.timeZone,
      isDamaged: text.isDamaged,
    });
    const isCsv = detection.kind === 'csv' || detection.kind === 'paypal';
    const format = isCsv ? detection.shape.format : detection.kind;
    const start = isCsv ? head.subarray(detection.shape.headerOffset) : head;
    return createReading({ format, collector, raw, text, pieces, reader, start });
  } catch (error) {
    await raw.close();
    if (isUnpackingError(error)) throw damagedArchive();
    throw error;
  }
}

function unknownFormat(message: string, options: SettlementOptions): OperatorError {
  const details = { format: options.format, mapping: options.mapping?.name ?? null };
  return new OperatorError('settlement_format_unknown', `the file ${message}`, { details });
}

function damagedArchive(): OperatorError {
  return new OperatorError(
    'settlement_file_unusable',
    'the file is a gzip archive that is cut off or damaged; fetch it again',
  );
}

/** First bytes of what is given by mistake. */
const KNOWN_BINARIES: readonly (readonly [string, string])[] = [
  ['PK\u0003\u0004', 'a zip archive or a spreadsheet (xlsx, ods): export it as CSV'],
  ['\u00d0\u00cf\u0011\u00e0', 'an old spreadsheet (xls): export it as CSV'],
  ['%PDF', 'a PDF document: ask for the machine-readable file'],
  ['BZh', 'a bzip2 archive: unpack it, or use gzip'],
];

function refuseKnownBinary(head: Buffer): void {
  const start = head.toString('utf8', 0, 16);
  const known = KNOWN_BINARIES.find(([signature]) => start.startsWith(signature));
  if (known === undefined) return;
  throw new OperatorError('settlement_file_unusable', `the file is ${known[1]}`);
}

type RawBytes = {
  /** The file's bytes, unpacked where it is a gzip archive. */
  readonly unpacked: () => AsyncGenerator<Buffer>;
  readonly bytesRead: () => number;
  readonly sha256: () => string;
  readonly close: () => Promise<void>;
};

/** Thrown inside a reading when an archive would fill the machine. */
class ExpansionError extends Error {}

function createRawBytes(input: AsyncIterable<Buffer>, maxExpandedBytes: number): RawBytes {
  const hash = createHash('sha256');
  const iterator = input[Symbol.asyncIterator]();
  let bytesRead = 0;

  async function* counted(): AsyncGenerator<Buffer> {
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      for (let start = 0; start < next.value.length; start += PIECE_BYTES) {
        const piece = next.value.subarray(start, start + PIECE_BYTES);
        hash.update(piece);
        bytesRead += piece.length;
        yield piece;
      }
    }
  }
  async function* unpacked(): AsyncGenerator<Buffer> {
    const pieces = counted();
    const start: Buffer[] = [];
    let size = 0;
    for (let next = await pieces.next(); !next.done; next = await pieces.next()) {
      start.push(next.value);
      size += next.value.length;
      if (size >= 2) break;
    }
    const first = Buffer.concat(start);
    const all = chained(first, pieces);
    if (first[0] !== 0x1f || first[1] !== 0x8b) return yield* all;
    const gunzip = createGunzip({ chunkSize: PIECE_BYTES });
    // An error of either side ends the iteration below.
    pipeline(Readable.from(all, { objectMode: false }), gunzip, () => undefined);
    let expanded = 0;
    for await (const piece of gunzip as AsyncIterable<Buffer>) {
      expanded += piece.length;
      const isBomb = expanded > FREE_EXPANSION_BYTES && expanded > MAX_EXPANSION * bytesRead;
      if (isBomb || expanded > maxExpandedBytes) throw new ExpansionError();
      yield piece;
    }
  }
  return {
    unpacked,
    bytesRead: () => bytesRead,
    sha256: () => hash.digest('hex'),
    close: async () => {
      await iterator.return?.();
    },
  };
}

async function* chained(first: Buffer, rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  if (first.length > 0) yield first;
  yield* rest;
}

/** Pieces of at least 64 KB but the last, so that the first one shows what the file is. */
async function* regrouped(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let waiting: Buffer[] = [];
  let size = 0;
  for await (const piece of pieces) {
    waiting.push(piece);
    size += piece.length;
    if (size < PIECE_BYTES) continue;
    yield waiting.length === 1 ? piece : Buffer.concat(waiting);
    waiting = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(waiting);
}

type Opened = {
  readonly format: SettlementFormat;
  readonly collector: LineCollector;
  readonly raw: RawBytes;
  readonly text: TextBytes;
  readonly pieces: AsyncGenerator<Buffer>;
  readonly reader: FileReader;
  /** The text that was looked at to recognise the file. */
  readonly start: Buffer;
};

function createReading(opened: Opened): SettlementReading {
  let settle: (end: ReadingEnd) => void = () => undefined;
  let fail: (error: unknown) => void = () => undefined;
  const end = new Promise<ReadingEnd>((resolve, reject) => {
    settle = resolve;
    fail = reject;
  });
  // Who reads no block to the end need not wait for the end either.
  end.catch(() => undefined);

  async function* blocks(): AsyncGenerator<LineBlock> {
    try {
      settle(endOf(opened, yield* blocksOf(opened)));
    } catch (error) {
      fail(error);
      throw error;
    } finally {
      fail(new Error('the reading was given up before its end'));
      await opened.raw.close();
    }
  }
  return { format: opened.format, blocks: blocks(), end };
}

/** Gives what the file says of itself once all is read. */
async function* blocksOf(opened: Opened): AsyncGenerator<LineBlock, FileWords> {
  const { collector, raw, text, pieces, reader, start } = opened;
  const block = (): LineBlock => ({ lines: collector.takeBlock(), bytesRead: raw.bytesRead() });
  try {
    reader.write(start);
    if (collector.pendingCount() >= BLOCK_LINES) yield block();
    for await (const piece of pieces) {
      if (collector.isStopped()) break;
      reader.write(text.write(piece));
      if (collector.pendingCount() >= BLOCK_LINES) yield block();
    }
    reader.write(text.end());
  } catch (error) {
    stopUnpacking(collector, error);
  }
  const words = await reader.end();
  if (collector.pendingCount() > 0) yield block();
  return words;
}

/** A damaged archive is a fault of the file; every other error is somebody else's. */
function stopUnpacking(collector: LineCollector, error: unknown): void {
  if (error instanceof ExpansionError) {
    collector.stop('archive_too_large', 'is an archive that unpacks to far more than a settlement file');
    return;
  }
  if (!isUnpackingError(error)) throw error;
  collector.stop('archive_damaged', 'is a gzip archive that is cut off or damaged; fetch it again');
}

function isUnpackingError(error: unknown): boolean {
  return (
    error instanceof Error && 'code' in error && /^Z_|^ERR_/.test(String(error.code)) && 'errno' in error
  );
}

function endOf({ collector, format, raw }: Opened, words: FileWords): ReadingEnd {
  const lineCount = collector.lineCount();
  if (collector.faultCount() > 0) {
    return { kind: 'bad', faults: collector.faults(), faultCount: collector.faultCount(), lineCount };
  }
  const { from, to } = collector.covers();
  const summary: FileSummary = {
    format,
    accounts: words.accounts,
    coversFrom: from,
    coversTo: to,
    totals: words.totals,
    lineCount,
    typeCounts: collector.typeCounts(),
    sha256: raw.sha256(),
    byteCount: raw.bytesRead(),
  };
  return { kind: 'ok', summary };
}
