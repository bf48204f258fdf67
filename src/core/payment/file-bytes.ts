/**
 * Looks at the bytes of a batch file before anybody interprets them: text in UTF-8, not too large, no
 * endless line. Decides only; works chunk by chunk and keeps nothing but its position.
 */
import type { FileFault } from './file-fault.ts';

/** Files beyond this are split by the caller; everything accepted is kept in memory until submitted. */
export const MAX_FILE_BYTES = 512 * 1024 * 1024;

/** One record, and so one line: far above any honest row, far below what would hurt. */
export const MAX_RECORD_BYTES = 1024 * 1024;

/** First bytes of files that are often given by mistake. */
const KNOWN_SIGNATURES: readonly (readonly [readonly number[], string])[] = [
  [[0xff, 0xfe], 'UTF-16 text'],
  [[0xfe, 0xff], 'UTF-16 text'],
  [[0x1f, 0x8b], 'a gzip archive'],
  [[0x50, 0x4b, 0x03, 0x04], 'a zip archive or a spreadsheet (xlsx, ods)'],
  [[0xd0, 0xcf, 0x11, 0xe0], 'an old spreadsheet (xls)'],
  [[0x25, 0x50, 0x44, 0x46], 'a PDF document'],
];

export type ByteGuard = {
  /** Looks at the next bytes; the first fault found, or null. After a fault there is nothing more to ask. */
  readonly check: (chunk: Uint8Array) => FileFault | null;
  /** A fault that only the end of the file shows, or null. */
  readonly end: () => FileFault | null;
};

/** A guard for one file, from its first byte. */
export function createByteGuard(): ByteGuard {
  let size = 0;
  let line = 1;
  /** Position in the file of the line's first byte. */
  let lineStart = 0;
  /** Continuation bytes still to come of a character, and the range of the next one (RFC 3629). */
  let missing = 0;
  let lowest = 0x80;
  let highest = 0xbf;

  const notText = (offset: number, what: string): FileFault => ({
    line,
    column: null,
    code: 'not_text',
    message: `${what} at byte offset ${size + offset}; the file must be text in UTF-8`,
  });

  const check = (chunk: Uint8Array): FileFault | null => {
    const known = size === 0 ? signatureOf(chunk) : null;
    if (known !== null) return notUsable('not_text', `is ${known}; the file must be text in UTF-8`);
    if (size + chunk.length > MAX_FILE_BYTES) {
      return notUsable('file_too_large', `is larger than ${MAX_FILE_BYTES / 1024 / 1024} MB; split it`);
    }
    for (let offset = 0; offset < chunk.length; offset += 1) {
      const byte = chunk[offset]!;
      if (missing > 0) {
        if (byte < lowest || byte > highest) return notText(offset, 'is no valid UTF-8');
        missing -= 1;
        lowest = 0x80;
        highest = 0xbf;
      } else if (byte >= 0x20 && byte < 0x80) {
        offset = endOfPlainText(chunk, offset) - 1;
      } else if (byte === LINE_FEED) {
        if (size + offset - lineStart > MAX_RECORD_BYTES) return lineTooLong(line);
        line += 1;
        lineStart = size + offset + 1;
      } else if (byte === 0) {
        return notText(offset, 'has a zero byte');
      } else if (byte >= 0x80) {
        missing = continuationBytes(byte);
        if (missing === 0) return notText(offset, 'is no valid UTF-8');
        lowest = byte === 0xe0 ? 0xa0 : byte === 0xf0 ? 0x90 : 0x80;
        highest = byte === 0xed ? 0x9f : byte === 0xf4 ? 0x8f : 0xbf;
      }
    }
    size += chunk.length;
    return size - lineStart > MAX_RECORD_BYTES ? lineTooLong(line) : null;
  };

  return { check, end: () => (missing > 0 ? notText(0, 'ends in the middle of a character') : null) };
}

const LINE_FEED = 0x0a;

/** The tight loop: nearly every byte of nearly every file. */
function endOfPlainText(chunk: Uint8Array, from: number): number {
  let offset = from + 1;
  while (offset < chunk.length && chunk[offset]! >= 0x20 && chunk[offset]! < 0x80) offset += 1;
  return offset;
}

/** How many bytes follow a first byte of UTF-8; 0 when it cannot be one. */
function continuationBytes(first: number): number {
  if (first < 0xc2 || first > 0xf4) return 0;
  return first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
}

function signatureOf(chunk: Uint8Array): string | null {
  const known = KNOWN_SIGNATURES.find(([bytes]) => bytes.every((byte, index) => chunk[index] === byte));
  return known === undefined ? null : known[1];
}

function notUsable(code: string, message: string): FileFault {
  return { line: null, column: null, code, message };
}

function lineTooLong(line: number): FileFault {
  const message = `the line is longer than ${MAX_RECORD_BYTES / 1024 / 1024} MB; is this a batch file?`;
  return { line, column: null, code: 'record_too_long', message };
}

/** Bytes handled at a time: enough to be fast, little enough to stop early. */
const CHUNK_BYTES = 64 * 1024;

/** A file in pieces of at most 64 KB, however it comes. */
export async function* chunksOf(input: Buffer | AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const whole of Buffer.isBuffer(input) ? [input] : input) {
    for (let start = 0; start < whole.length; start += CHUNK_BYTES) {
      yield whole.subarray(start, start + CHUNK_BYTES);
    }
  }
}
