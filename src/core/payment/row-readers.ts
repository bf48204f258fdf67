/**
 * From the bytes of a batch file to its rows: one reader for CSV, one for NDJSON. They keep the line numbers
 * right and decide nothing about a row's values.
 */
import { type CsvError, parse as parseCsv } from 'csv-parse';
import { MAX_RECORD_BYTES } from './file-bytes.ts';
import type { FileFault } from './file-fault.ts';
import type { PaymentRequest } from './payment-request.ts';
import {
  bodyOfCells,
  bodyOfObject,
  type FlatRow,
  type PaymentBody,
  paymentOfGoodRow,
  type RowLayout,
  readHeader,
  rowOfCells,
  rowOfObject,
} from './payment-row.ts';

/** What the readers of the two formats share. */
export type Intake = {
  /** One good data row. */
  readonly take: (line: number, request: PaymentRequest) => void;
  /** One data row that is still to be checked: `body` as readPaymentRequest wants it. */
  readonly check: (line: number, body: PaymentBody) => void;
  /** A row that does not even have a body. */
  readonly refuse: (line: number, code: string, message: string) => void;
  readonly skipBlank: (line: number) => void;
  /** True when reading on is pointless. */
  readonly isStopped: () => boolean;
  readonly stop: (...faults: readonly FileFault[]) => void;
  readonly rowCount: () => number;
};

/** Turns bytes into rows; chunks may end anywhere, also inside a character. */
export type RowReader = {
  readonly write: (chunk: Buffer) => Promise<void>;
  readonly end: () => Promise<void>;
};

/** What the CSV reader hands its records to. */
export type CellSink = Pick<Intake, 'skipBlank' | 'isStopped' | 'stop'> & {
  /** One record that is not blank; `line` is where it starts, from 1. */
  readonly takeCells: (cells: readonly string[], line: number) => void;
};

/** The rows of a payment file in CSV; the first one is the header. */
export function createCsvReader(intake: Intake, delimiter: string): RowReader {
  let layout: RowLayout | null = null;
  const take = (cells: readonly string[], line: number) => {
    if (layout === null) layout = takeHeader(intake, cells, line);
    else takeCells(intake, layout, cells, line);
  };
  return createCellReader({ ...intake, takeCells: take }, delimiter);
}

/** CSV by csv-parse; line numbers are our own, because its count is wrong after a quoted CR LF. */
export function createCellReader(sink: CellSink, delimiter: string): RowReader {
  let nextLine = 1;

  const onRecord = (cells: string[]): null => {
    const line = nextLine;
    nextLine += 1 + lineFeedsIn(cells);
    if (sink.isStopped()) return null;
    if (cells.length === 1 && cells[0] === '') sink.skipBlank(line);
    else sink.takeCells(cells, line);
    return null;
  };

  const parser = parseCsv({
    delimiter,
    record_delimiter: ['\r\n', '\n'],
    relax_column_count: true,
    max_record_size: MAX_RECORD_BYTES,
    on_record: onRecord,
  });
  const done = (resolve: () => void) => (error?: Error | null) => {
    if (error) sink.stop(csvFault(error as CsvError, nextLine));
    resolve();
  };
  // The error is reported by the callback of the write that caused it.
  parser.on('error', () => undefined);
  return {
    write: (chunk) => new Promise((resolve) => parser.write(chunk, done(resolve))),
    end: () => new Promise((resolve) => parser.end(done(resolve))),
  };
}

function lineFeedsIn(cells: readonly string[]): number {
  let count = 0;
  for (const cell of cells) {
    for (let at = cell.indexOf('\n'); at >= 0; at = cell.indexOf('\n', at + 1)) count += 1;
  }
  return count;
}

function takeHeader(intake: Intake, cells: readonly string[], line: number): RowLayout | null {
  const header = readHeader(cells, line);
  if (header.kind === 'ok') return header.layout;
  intake.stop(...header.faults);
  return null;
}

function takeCells(intake: Intake, layout: RowLayout, cells: readonly string[], line: number): void {
  if (cells.length !== layout.cellCount) {
    const message = `has ${cells.length} cells and the header ${layout.cellCount}; is a cell with a delimiter not quoted?`;
    intake.refuse(line, 'wrong_cell_count', message);
  } else if (cells.every((cell) => cell === '')) {
    intake.refuse(line, 'empty_row', 'has no values; delete it');
  } else {
    takeRow(intake, line, rowOfCells(cells, layout), () => bodyOfCells(cells, layout));
  }
}

/** Most rows are good and take the short way; the others are read again to say what is wrong. */
function takeRow(intake: Intake, line: number, row: FlatRow | null, bodyOf: () => PaymentBody): void {
  const request = row === null ? null : paymentOfGoodRow(row);
  if (request === null) intake.check(line, bodyOf());
  else intake.take(line, request);
}

/** Our own words for csv-parse's errors, which repeat the text; after one, cells cannot be told apart. */
function csvFault(error: CsvError, line: number): FileFault {
  const rest = 'of the record that begins here; what follows was not read';
  switch (error.code) {
    case 'CSV_MAX_RECORD_SIZE': {
      const message = `longer than ${MAX_RECORD_BYTES / 1024 / 1024} MB: the cells ${rest}; is a quote not closed?`;
      return { line, column: null, code: 'record_too_long', message };
    }
    case 'CSV_QUOTE_NOT_CLOSED':
      return { line, column: null, code: 'bad_quotes', message: `a quote is never closed in a cell ${rest}` };
    default:
      return {
        line,
        column: null,
        code: 'bad_quotes',
        message: `a quote stands inside a cell ${rest}; quote the whole cell and double the quote: "a ""b"" c"`,
      };
  }
}

const LINE_FEED = 0x0a;

/** The rows of a payment file in NDJSON. */
export function createJsonReader(intake: Intake): RowReader {
  return createObjectReader({
    ...intake,
    takeObject: (object, line) => takeRow(intake, line, rowOfObject(object), () => bodyOfObject(object)),
  });
}

/** What the NDJSON reader hands its objects to. */
export type ObjectSink = Pick<Intake, 'skipBlank' | 'isStopped' | 'refuse'> & {
  readonly takeObject: (object: Readonly<Record<string, unknown>>, line: number) => void;
};

/** NDJSON: one object per line. */
export function createObjectReader(intake: ObjectSink): RowReader {
  let nextLine = 1;
  let carried: Buffer[] = [];

  const takeLine = (bytes: Buffer): void => {
    const line = nextLine;
    nextLine += 1;
    if (intake.isStopped()) return;
    const text = bytes.toString('utf8').trim();
    if (text === '') {
      intake.skipBlank(line);
      return;
    }
    const object = jsonObject(text);
    if (object === null) {
      const message = 'is not one JSON object; write each object whole on a line of its own';
      intake.refuse(line, 'not_json', message);
    } else {
      intake.takeObject(object, line);
    }
  };

  return {
    write: async (chunk) => {
      let start = 0;
      for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, start)) {
        const piece = chunk.subarray(start, at);
        takeLine(carried.length === 0 ? piece : Buffer.concat([...carried, piece]));
        carried = [];
        start = at + 1;
      }
      if (start < chunk.length) carried.push(chunk.subarray(start));
    },
    end: async () => {
      if (carried.length > 0) takeLine(Buffer.concat(carried));
    },
  };
}

/** Null for anything but an object; the parser's own message is dropped because it repeats the text. */
function jsonObject(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** The delimiter that the header line has most of, outside quotes: comma, semicolon or tab. */
export function delimiterOf(headerLine: string): string {
  const bare = headerLine.replace(/"[^"]*"/g, '');
  const counts = [',', ';', '\t'].map((delimiter) => ({ delimiter, count: bare.split(delimiter).length }));
  return counts.reduce((most, next) => (next.count > most.count ? next : most)).delimiter;
}
