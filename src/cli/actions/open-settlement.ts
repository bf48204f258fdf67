/** Opens a settlement file or standard input for a reconciliation, and always closes it. Reads no line itself. */
import { createHash } from 'node:crypto';
import { createReadStream, type ReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { errorCode } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { parseSettlementMapping } from '../../core/settlement/parse-settlement-mapping.ts';
import { openSettlementFile } from '../../core/settlement/read-settlement.ts';
import type { SettlementFormat, SettlementReading } from '../../core/settlement/settlement-line.ts';
import type { SettlementMapping } from '../../core/settlement/settlement-mapping.ts';
import type { Session } from '../session.ts';
import { readBatchFile } from './batch-file.ts';

export type SettlementOpening = {
  /** Of the bytes, in hex; null for standard input, which can be read only once. */
  readonly sha256: string | null;
  /** Null where nobody knows before the end. */
  readonly byteCount: number | null;
  /** The reading; the same one when it is asked for again. */
  readonly open: () => Promise<SettlementReading>;
  /** Whether the last line was read: only then does the reading's end settle. */
  readonly isRead: () => boolean;
};

export type SettlementFileOptions = {
  readonly file: string;
  readonly format: SettlementFormat | null;
  readonly mapping: SettlementMapping | null;
  /** IANA zone of times that the file gives without one; null: unknown. */
  readonly timeZone: string | null;
};

/** @throws OperatorError file_unreadable, settlement_format_unknown, and what `work` throws */
export async function withSettlementFile<T>(
  session: Session,
  options: SettlementFileOptions,
  work: (opening: SettlementOpening) => Promise<T>,
): Promise<T> {
  const { file } = options;
  if (file === '-') return work(openingOf(options, null, null, () => session.host.stdin));
  return readBatchFile(session, file, async (hashed) => {
    const path = resolve(session.host.cwd, file);
    const hash = createHash('sha256');
    await pipeline(hashed, hash);
    const { size } = await stat(path);
    const streams: ReadStream[] = [];
    const opening = openingOf(options, hash.digest('hex'), size, () => {
      const stream = createReadStream(path, { highWaterMark: READ_BYTES });
      streams.push(stream);
      return stream;
    });
    try {
      return await work(opening);
    } finally {
      for (const stream of streams) stream.destroy();
    }
  });
}

/** Read at once (bytes). */
const READ_BYTES = 256 * 1024;

function openingOf(
  { format, mapping, timeZone }: SettlementFileOptions,
  sha256: string | null,
  byteCount: number | null,
  input: () => AsyncIterable<Buffer>,
): SettlementOpening {
  let reading: Promise<SettlementReading> | null = null;
  let isRead = false;
  const openOnce = async (): Promise<SettlementReading> => {
    const opened = await openSettlementFile(input(), { format, mapping, timeZone });
    const blocks = async function* () {
      yield* opened.blocks;
      isRead = true;
    };
    return { ...opened, blocks: blocks() };
  };
  return {
    sha256,
    byteCount,
    open: () => {
      reading ??= openOnce();
      return reading;
    },
    isRead: () => isRead,
  };
}

/** @throws OperatorError file_unreadable, mapping_invalid */
export async function readMapping(session: Session, name: string): Promise<SettlementMapping> {
  let bytes: Buffer;
  try {
    bytes = await readFile(resolve(session.host.cwd, name));
  } catch (error) {
    throw new OperatorError('file_unreadable', `The mapping ${name} can't be read (${errorCode(error)}).`, {
      cause: error,
    });
  }
  const reading = parseSettlementMapping(bytes);
  if (reading.kind === 'ok') return reading.mapping;
  const faults = reading.faults.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`));
  throw new OperatorError('mapping_invalid', `The mapping ${name} is not usable:\n  ${faults.join('\n  ')}`, {
    details: { faults },
  });
}
