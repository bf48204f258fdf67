/**
 * From the bytes of a file to UTF-8, whatever they were: a byte order mark decides, then zero bytes in every other place (UTF-16), then
 * the first character beyond ASCII: valid UTF-8 or else Windows-1252. Decides only; works piece by piece.
 */
import { isAscii, isUtf8 } from 'node:buffer';

export type Encoding = 'utf-8' | 'utf-16le' | 'utf-16be' | 'windows-1252';

/** Bytes that are looked at to tell UTF-16 from the rest. */
const LOOKED_AT_BYTES = 4096;

export type TextBytes = {
  /** The same text in UTF-8, without byte order mark; a character cut by the piece's end comes with the next one. */
  readonly write: (piece: Buffer) => Buffer;
  readonly end: () => Buffer;
  /** True once something could not be decoded, or had a zero byte: from then on rows are looked at. */
  readonly isDamaged: () => boolean;
};

/** A decoder for one file, from its first byte. `forced` wins over everything but a byte order mark. */
export function createTextBytes(forced: Encoding | null): TextBytes {
  let decoder: Decoder | null = null;
  let damaged = false;

  const note = (text: Buffer): Buffer => {
    if (!damaged && text.length > 0) damaged = text.includes(0) || (decoder?.isDamaged(text) ?? false);
    return text;
  };
  return {
    write: (piece) => {
      if (decoder !== null) return note(decoder.write(piece));
      const { encoding, markBytes } = detectEncoding(piece, forced);
      decoder = decoderOf(encoding);
      return note(decoder.write(piece.subarray(markBytes)));
    },
    end: () => note(decoder?.end() ?? Buffer.alloc(0)),
    isDamaged: () => damaged,
  };
}

/** Of the file's first bytes; null stands for UTF-8 or Windows-1252, whichever the first character beyond ASCII fits. */
function detectEncoding(
  head: Buffer,
  forced: Encoding | null,
): { readonly encoding: Encoding | null; readonly markBytes: number } {
  if (head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf) return { encoding: 'utf-8', markBytes: 3 };
  if (head[0] === 0xff && head[1] === 0xfe) return { encoding: 'utf-16le', markBytes: 2 };
  if (head[0] === 0xfe && head[1] === 0xff) return { encoding: 'utf-16be', markBytes: 2 };
  if (forced !== null) return { encoding: forced, markBytes: 0 };
  const looked = head.subarray(0, LOOKED_AT_BYTES);
  let even = 0;
  let odd = 0;
  for (let at = 0; at < looked.length; at += 1) {
    if (looked[at] !== 0) continue;
    if (at % 2 === 0) even += 1;
    else odd += 1;
  }
  // Text in a Latin script has a zero in nearly every pair; a stray zero byte is damage and no encoding.
  const many = looked.length / 4;
  if (odd > many && even < odd / 8) return { encoding: 'utf-16le', markBytes: 0 };
  if (even > many && odd < even / 8) return { encoding: 'utf-16be', markBytes: 0 };
  return { encoding: null, markBytes: 0 };
}

type Decoder = {
  readonly write: (piece: Buffer) => Buffer;
  readonly end: () => Buffer;
  /** Of what write or end just gave. */
  readonly isDamaged: (text: Buffer) => boolean;
};

function decoderOf(encoding: Encoding | null): Decoder {
  if (encoding === 'utf-8') return createUtf8('utf-8');
  if (encoding === null) return createUtf8('undecided');
  return createTranscoder(encoding);
}

/** What a decoder writes for bytes that are no character. */
const REPLACEMENT = Buffer.from('\ufffd');

/** A line feed of UTF-16 read one byte off; as a character it does not exist. */
const SHIFTED_LINE_FEED = Buffer.from('\u0a00');

function createTranscoder(encoding: Encoding): Decoder {
  const decoder = new TextDecoder(encoding);
  return {
    write: (piece) => Buffer.from(decoder.decode(piece, { stream: true })),
    end: () => Buffer.from(decoder.decode()),
    isDamaged: (text) => text.includes(REPLACEMENT) || text.includes(SHIFTED_LINE_FEED),
  };
}

/**
 * UTF-8 passes untouched. Undecided means that all was ASCII so far, which both encodings write alike, so that choosing late is no
 * guess about what went before.
 */
function createUtf8(start: 'utf-8' | 'undecided'): Decoder {
  let other: Decoder | null = null;
  let isSure = start === 'utf-8';
  let carried: Buffer = Buffer.alloc(0);
  let invalid = false;

  const write = (piece: Buffer): Buffer => {
    if (other !== null) return other.write(piece);
    if (carried.length === 0 && isAscii(piece)) return piece;
    const joined = carried.length === 0 ? piece : Buffer.concat([carried, piece]);
    const end = joined.length - cutBytesOf(joined);
    const text = joined.subarray(0, end);
    const isValid = isUtf8(text);
    if (!isValid && !isSure) {
      other = createTranscoder('windows-1252');
      return other.write(joined);
    }
    carried = Buffer.from(joined.subarray(end));
    isSure ||= !isAscii(text);
    invalid ||= !isValid;
    return text;
  };
  return {
    write,
    end: () => {
      if (other !== null) return other.end();
      if (carried.length === 0) return carried;
      if (!isSure) return Buffer.from(new TextDecoder('windows-1252').decode(carried));
      invalid = true;
      return carried;
    },
    isDamaged: (text) => other?.isDamaged(text) ?? invalid,
  };
}

/** Bytes at the end that are the start of a character whose rest is still to come: 0 to 3. */
function cutBytesOf(bytes: Buffer): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back += 1) {
    const byte = bytes[bytes.length - back]!;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) {
      const whole = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return back < whole ? back : 0;
    }
  }
  return 0;
}
