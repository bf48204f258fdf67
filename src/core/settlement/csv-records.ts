/**
 * CSV by csv-parse, driven so that a record costs no more than the parsing itself: arrays instead of objects, and every record
 * is taken from the parser's own hand instead of through a stream's queue. Keeps line numbers right; decides nothing about values.
 */
import type { TransformCallback } from 'node:stream';
import { type CsvError, Parser } from 'csv-parse';

/** One record: far above any honest row. */
const MAX_RECORD_BYTES = 1024 * 1024;

export type CsvSink = {
  /** `row` is the line on which the record starts, from 1; a blank line has one empty cell. */
  /** `isUnended`: the file ends with this record, and without a line end. */
  readonly take: (cells: readonly string[], row: number, isUnended: boolean) => void;
  /** The rest of the file cannot be told apart. */
  readonly broken: (row: number, code: string, message: string) => void;
};

export type CsvRecords = {
  readonly write: (text: Buffer) => void;
  readonly end: () => Promise<void>;
};

/** `lf` is CR LF too; `any` is CR alone besides, for files that have it. */
export type LineEnd = 'lf' | 'any';

/**
 * csv-parse puts its records into a stream with `push`; here each one goes straight to the sink, and so does its error: both
 * inside the call of write.
 */
class RecordParser extends Parser {
  onRecord: (cells: string[]) => void = () => undefined;
  onError: (error: CsvError) => void = () => undefined;

  override push(record: unknown): boolean {
    if (record !== null) this.onRecord(record as string[]);
    return true;
  }

  override _transform(text: Buffer, encoding: BufferEncoding, done: TransformCallback): void {
    super._transform(text, encoding, this.#telling(done));
  }

  override _flush(done: TransformCallback): void {
    super._flush(this.#telling(done));
  }

  #telling(done: TransformCallback): TransformCallback {
    return (error) => {
      if (error) this.onError(error as CsvError);
      done();
    };
  }
}

/** @param firstRow the line number of the first byte that will be written */
export function createCsvRecords(
  sink: CsvSink,
  options: { readonly delimiter: string; readonly lineEnd: LineEnd; readonly firstRow: number },
): CsvRecords {
  const parser = new RecordParser({
    delimiter: options.delimiter,
    record_delimiter: options.lineEnd === 'any' ? ['\r\n', '\n', '\r'] : ['\r\n', '\n'],
    relax_column_count: true,
    max_record_size: MAX_RECORD_BYTES,
  });
  let nextRow = options.firstRow;
  let hasQuotes = false;
  let isBroken = false;
  let isEnding = false;
  let failure: { readonly error: unknown } | null = null;
  const take = (cells: readonly string[], row: number): void => {
    // What is thrown inside of a stream would end the process: it is kept for who writes.
    try {
      if (failure === null) sink.take(cells, row, isEnding && lastByte !== LF && lastByte !== CR);
    } catch (error) {
      failure = { error };
    }
  };
  const rethrow = () => {
    if (failure !== null) throw failure.error;
  };
  let lastByte = 0;
  parser.onRecord = (cells) => {
    const row = nextRow;
    nextRow += 1;
    // A record of several lines needs a quote; a file without one never pays for looking.
    if (hasQuotes) nextRow += newlinesIn(cells, options.lineEnd);
    take(cells, row);
  };
  parser.onError = (error) => {
    if (!isBroken) sink.broken(nextRow, ...wordsFor(error));
    isBroken = true;
  };
  return {
    write: (text) => {
      if (isBroken || text.length === 0) return;
      hasQuotes ||= text.includes(QUOTE);
      lastByte = text.at(-1) ?? lastByte;
      parser.write(text);
      rethrow();
    },
    end: async () => {
      isEnding = true;
      // After an error csv-parse never finishes.
      if (!isBroken) await new Promise((resolve) => parser.end(resolve));
      rethrow();
    },
  };
}

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;

function newlinesIn(cells: readonly string[], lineEnd: LineEnd): number {
  let count = 0;
  for (const cell of cells) {
    if (lineEnd === 'any') count += cell.match(/\r\n|\n|\r/g)?.length ?? 0;
    else for (let at = cell.indexOf('\n'); at >= 0; at = cell.indexOf('\n', at + 1)) count += 1;
  }
  return count;
}

/** Our own words: csv-parse's repeat the text. */
function wordsFor(error: CsvError): [code: string, message: string] {
  const rest = 'of the row that begins here; what follows was not read';
  if (error.code === 'CSV_MAX_RECORD_SIZE') {
    const limit = `${MAX_RECORD_BYTES / 1024 / 1024} MB`;
    return ['record_too_long', `more than ${limit} in the cells ${rest}; is a quote not closed?`];
  }
  if (error.code === 'CSV_QUOTE_NOT_CLOSED')
    return ['bad_quotes', `a quote is never closed in a cell ${rest}`];
  return [
    'bad_quotes',
    `a quote stands inside a cell ${rest}; a quoted cell doubles its quotes: "a ""b"" c"`,
  ];
}

/** True for a CR that neither a LF follows nor the piece ends with: old files have only those, and pasted ones some. */
export function hasLoneCr(text: Buffer): boolean {
  for (let at = text.indexOf(CR); at >= 0; at = text.indexOf(CR, at + 1)) {
    if (at + 1 < text.length && text[at + 1] !== LF) return true;
  }
  return false;
}
