/**
 * Reads a batch file (CSV or NDJSON) into payments, in one pass over its bytes. All or nothing: with one
 * bad row it gives every fault and no payment. Touches no database and sends nothing.
 */
import { createHash } from 'node:crypto';
import { type CsvError, parse as parseCsv } from 'csv-parse';
import type { Currency } from '../money.ts';
import { createByteGuard, MAX_RECORD_BYTES } from './file-bytes.ts';
import { createFaultList, type FaultList, type FileFault } from './file-fault.ts';
import { createPaymentCollector, type FilePayment, totalsOf } from './payment-collector.ts';
import { normalText } from './payment-fields.ts';
import { type PaymentRequest, readPaymentRequest } from './payment-request.ts';
import {
  bodyOfCells,
  bodyOfObject,
  columnOfField,
  type PaymentBody,
  paymentOfGoodCells,
  type RowLayout,
  readHeader,
} from './payment-row.ts';

export type PaymentFileFormat = 'csv' | 'ndjson';

export type PaymentFile =
  | {
      readonly kind: 'ok';
      /** In the order of their first rows. */
      readonly payments: readonly FilePayment[];
      /** Data rows, without header and blank lines. */
      readonly rowCount: number;
      /** Sum of all orders in minor units, sorted by currency code. */
      readonly totals: ReadonlyMap<Currency, bigint>;
      /** Of the file's bytes as they are, in lower-case hexadecimal. */
      readonly sha256: string;
    }
  | {
      readonly kind: 'bad';
      /** In the order of their lines, at most MAX_LISTED_FAULTS. */
      readonly faults: readonly FileFault[];
      readonly faultCount: number;
      /** Data rows that were read, bad ones included. */
      readonly rowCount: number;
    };

/** Everything accepted is held in memory until it is submitted. */
export const MAX_ROWS = 250_000;

/** Blank lines are skipped; a file of nothing else is a mistake. */
const MAX_BLANK_LINES = 10_000;

/** Bytes handled at a time: enough to be fast, little enough to stop early. */
const CHUNK_BYTES = 64 * 1024;

/** What the readers of the two formats share. */
type Intake = {
  readonly faults: FaultList;
  /** One good data row. */
  readonly take: (line: number, request: PaymentRequest) => void;
  /** One data row that is still to be checked: `body` as readPaymentRequest wants it. */
  readonly check: (line: number, body: PaymentBody) => void;
  /** A row that does not even have a body. */
  readonly refuse: (line: number, code: string, message: string) => void;
  readonly skipBlank: (line: number) => void;
  /** True when reading on is pointless. */
  readonly isStopped: () => boolean;
  readonly stop: (fault: FileFault) => void;
  readonly rowCount: () => number;
};

/** Turns bytes into rows; chunks may end anywhere, also inside a character. */
type RowReader = {
  readonly write: (chunk: Buffer) => Promise<void>;
  readonly end: () => Promise<void>;
};

/**
 * Reads a whole file; recognises format and delimiter by content unless `format` is forced.
 * Limits: 512 MB, 250,000 rows, 1 MB a record, 1,000 faults listed. Never throws for what the file holds.
 */
export async function parsePaymentFile(
  input: Buffer | AsyncIterable<Buffer>,
  options: { readonly format?: PaymentFileFormat } = {},
): Promise<PaymentFile> {
  const faults = createFaultList();
  const collector = createPaymentCollector(faults);
  const intake = createIntake(faults, collector.add);
  const sha256 = createHash('sha256');
  const guard = createByteGuard();
  const reader = createSniffingReader(intake, options.format ?? null);

  for await (const chunk of chunksOf(input)) {
    const fault = guard.check(chunk);
    if (fault !== null) intake.stop(fault);
    if (intake.isStopped()) break;
    sha256.update(chunk);
    await reader.write(chunk);
  }
  const atEnd = intake.isStopped() ? null : guard.end();
  if (atEnd !== null) intake.stop(atEnd);
  if (!intake.isStopped()) await reader.end();
  if (!intake.isStopped() && intake.rowCount() === 0) intake.stop(noRows());

  const payments = collector.finish();
  const rowCount = intake.rowCount();
  if (faults.count() > 0) {
    return { kind: 'bad', faults: faults.listed(), faultCount: faults.count(), rowCount };
  }
  return { kind: 'ok', payments, rowCount, totals: totalsOf(payments), sha256: sha256.digest('hex') };
}

async function* chunksOf(input: Buffer | AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const whole of Buffer.isBuffer(input) ? [input] : input) {
    for (let start = 0; start < whole.length; start += CHUNK_BYTES) {
      yield whole.subarray(start, start + CHUNK_BYTES);
    }
  }
}

function noRows(): FileFault {
  return { line: null, column: null, code: 'no_rows', message: 'has no rows' };
}

function createIntake(faults: FaultList, add: ReturnType<typeof createPaymentCollector>['add']): Intake {
  let rowCount = 0;
  let blankLines = 0;
  let stopped = false;
  const stop = (fault: FileFault) => {
    if (!stopped) faults.add(fault);
    stopped = true;
  };
  const countRow = (line: number) => {
    rowCount += 1;
    if (rowCount > MAX_ROWS) {
      const message = `the file has more than ${MAX_ROWS} rows; split it`;
      stop({ line, column: null, code: 'too_many_rows', message });
    }
  };
  return {
    faults,
    take: (line, request) => {
      countRow(line);
      if (!stopped) add(line, request);
    },
    check: (line, body) => {
      countRow(line);
      if (!stopped) checkBody(faults, add, line, body);
    },
    refuse: (line, code, message) => {
      countRow(line);
      if (!stopped) faults.add({ line, column: null, code, message });
    },
    skipBlank: (line) => {
      blankLines += 1;
      if (blankLines <= MAX_BLANK_LINES) return;
      const message = `the file has more than ${MAX_BLANK_LINES} blank lines; is this a batch file?`;
      stop({ line, column: null, code: 'too_many_blank_lines', message });
    },
    isStopped: () => stopped,
    stop,
    rowCount: () => Math.min(rowCount, MAX_ROWS),
  };
}

/** Reports every fault of a row; a bad row still takes part in what is compared between rows. */
function checkBody(
  faults: FaultList,
  add: ReturnType<typeof createPaymentCollector>['add'],
  line: number,
  body: PaymentBody,
): void {
  const reading = readPaymentRequest(body);
  if (reading.kind === 'ok') {
    add(line, reading.request);
    return;
  }
  const { checkout_id: checkoutId, idempotency_key: key, buyer, metadata } = body;
  const bad = new Set(reading.faults.map((fault) => fault.field));
  for (const { field, code, message } of reading.faults) {
    // A key that is only the default repeats what is wrong with the checkout's name.
    if (field === 'idempotency_key' && key === checkoutId && bad.has('checkout_id')) continue;
    faults.add({ line, column: field === '' ? null : columnOfField(field), code, message });
  }
  if (bad.has('checkout_id') || bad.has('idempotency_key') || bad.has('buyer') || metadata !== undefined)
    return;
  add(line, {
    checkoutId: normalText(String(checkoutId)),
    idempotencyKey: normalText(String(key)),
    buyer: normalText(String(buyer)),
    orders: [],
    metadata: {},
  });
}

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const LINE_FEED = 0x0a;

/** Waits for the first line that is not blank, then hands everything to the reader that fits it. */
function createSniffingReader(intake: Intake, forced: PaymentFileFormat | null): RowReader {
  let head: Buffer = Buffer.alloc(0);
  let reader: RowReader | null = null;

  const choose = async (isEnd: boolean): Promise<void> => {
    const hasMark = head.subarray(0, 3).equals(BYTE_ORDER_MARK);
    const text = head.toString('utf8', hasMark ? 3 : 0);
    const firstLine = text.trimStart().split('\n', 1)[0] ?? '';
    const isWhole = text.trimStart().includes('\n');
    if (!isEnd && !isWhole) return;
    if (firstLine.trim() === '') {
      return intake.stop({ line: null, column: null, code: 'empty_file', message: 'is empty' });
    }
    if (!isWhole && firstLine.trimEnd().includes('\r')) {
      const message = 'ends its lines with carriage returns only; save it with line feeds';
      return intake.stop({ line: null, column: null, code: 'line_ends', message });
    }
    if (forced === null && firstLine.startsWith('[')) {
      const message = 'is a JSON array; write one object per line (NDJSON)';
      return intake.stop({ line: 1, column: null, code: 'json_array', message });
    }
    const format = forced ?? (firstLine.startsWith('{') ? 'ndjson' : 'csv');
    reader = format === 'csv' ? createCsvReader(intake, delimiterOf(firstLine)) : createJsonReader(intake);
    await reader.write(hasMark ? head.subarray(3) : head);
    head = Buffer.alloc(0);
  };

  return {
    write: async (chunk) => {
      if (reader !== null) return reader.write(chunk);
      head = Buffer.concat([head, chunk]);
      await choose(false);
    },
    end: async () => {
      if (reader === null) await choose(true);
      await reader?.end();
    },
  };
}

/** The delimiter that the header line has most of, outside quotes: comma, semicolon or tab. */
function delimiterOf(headerLine: string): string {
  const bare = headerLine.replace(/"[^"]*"/g, '');
  const counts = [',', ';', '\t'].map((delimiter) => ({ delimiter, count: bare.split(delimiter).length }));
  return counts.reduce((most, next) => (next.count > most.count ? next : most)).delimiter;
}

/** CSV by csv-parse; line numbers are our own, because its count is wrong after a quoted CR LF. */
function createCsvReader(intake: Intake, delimiter: string): RowReader {
  let nextLine = 1;
  let layout: RowLayout | null = null;

  const onRecord = (cells: string[]): null => {
    const line = nextLine;
    nextLine += 1 + lineFeedsIn(cells);
    if (intake.isStopped()) return null;
    if (cells.length === 1 && cells[0] === '') intake.skipBlank(line);
    else if (layout === null) layout = takeHeader(intake, cells, line);
    else takeCells(intake, layout, cells, line);
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
    if (error) intake.stop(csvFault(error as CsvError, nextLine));
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
  for (const fault of header.faults.slice(1)) intake.faults.add(fault);
  intake.stop(header.faults[0]!);
  return null;
}

function takeCells(intake: Intake, layout: RowLayout, cells: readonly string[], line: number): void {
  if (cells.length !== layout.cellCount) {
    const message = `has ${cells.length} cells and the header ${layout.cellCount}; is a cell with a delimiter not quoted?`;
    intake.refuse(line, 'wrong_cell_count', message);
  } else if (cells.every((cell) => cell === '')) {
    intake.refuse(line, 'empty_row', 'has no values; delete it');
  } else {
    const request = paymentOfGoodCells(cells, layout);
    if (request !== null) intake.take(line, request);
    else intake.check(line, bodyOfCells(cells, layout));
  }
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

/** NDJSON: one object per line. */
function createJsonReader(intake: Intake): RowReader {
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
      intake.check(line, bodyOfObject(object));
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
