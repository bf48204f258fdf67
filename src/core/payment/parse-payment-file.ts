/**
 * Reads a batch file (CSV or NDJSON) into payments, in one pass over its bytes. All or nothing: with one
 * bad row it gives every fault and no payment. Touches no database and sends nothing.
 */
import { createHash } from 'node:crypto';
import type { Currency } from '../money.ts';
import { chunksOf, createByteGuard } from './file-bytes.ts';
import { createFaultList, type FaultList, type FileFault } from './file-fault.ts';
import { createPaymentCollector, type FilePayment, totalsOf } from './payment-collector.ts';
import { normalText } from './payment-fields.ts';
import { readPaymentRequest } from './payment-request.ts';
import { columnOfField, type PaymentBody } from './payment-row.ts';
import {
  createCsvReader,
  createJsonReader,
  delimiterOf,
  type Intake,
  type RowReader,
} from './row-readers.ts';

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

function noRows(): FileFault {
  return { line: null, column: null, code: 'no_rows', message: 'has no rows' };
}

function createIntake(faults: FaultList, add: ReturnType<typeof createPaymentCollector>['add']): Intake {
  let rowCount = 0;
  let blankLines = 0;
  let stopped = false;
  const stop = (...why: readonly FileFault[]) => {
    if (!stopped) why.forEach(faults.add);
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
