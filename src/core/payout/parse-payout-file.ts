/**
 * Reads a payout file (CSV or NDJSON) whole. All or nothing: with one bad row it gives every fault and no payout. Touches no
 * database and sends nothing.
 */
import { createHash } from 'node:crypto';
import type { Currency } from '../money.ts';
import { chunksOf, createByteGuard } from '../payment/file-bytes.ts';
import { createFaultList, type FaultList, type FileFault } from '../payment/file-fault.ts';
import { createCellReader, createObjectReader, delimiterOf } from '../payment/row-readers.ts';
import { shownText } from '../shown-text.ts';
import type { PayoutRequest } from './payout.ts';
import {
  type PayoutLayout,
  type PayoutReading,
  readPayoutHeader,
  readPayoutObject,
  readPayoutRow,
} from './payout-row.ts';

export type PayoutFile =
  | {
      readonly kind: 'ok';
      /** In the order of the file. */
      readonly payouts: readonly PayoutRequest[];
      /** Sums in minor units, sorted by currency code. */
      readonly totals: ReadonlyMap<Currency, bigint>;
      /** Of the file's bytes as they are, in lower-case hexadecimal. */
      readonly sha256: string;
    }
  | {
      readonly kind: 'bad';
      /** In the order of their lines, at most MAX_LISTED_FAULTS. */
      readonly faults: readonly FileFault[];
      readonly faultCount: number;
      readonly rowCount: number;
    };

/** A batch is submitted in one transaction, and every row of it is a seller's money: larger files are split. */
export const MAX_PAYOUT_ROWS = 50_000;
/** 50,000 rows with every text at its limit (bytes). */
const MAX_PAYOUT_BYTES = 64 * 1024 * 1024;

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/** Reads a whole file of at most 64 MB and {@link MAX_PAYOUT_ROWS} rows. Never throws for what the file holds. */
export async function parsePayoutFile(input: Buffer | AsyncIterable<Buffer>): Promise<PayoutFile> {
  const faults = createFaultList();
  const bytes = await readAll(input, faults);
  const rows = createRows(faults);
  if (bytes !== null) await readRows(bytes, rows, faults);
  if (faults.count() > 0)
    return {
      kind: 'bad',
      faults: faults.listed(),
      faultCount: faults.count(),
      rowCount: rows.count(),
    };
  const sha256 = createHash('sha256').update(bytes!).digest('hex');
  return { kind: 'ok', payouts: rows.payouts, totals: totalsOf(rows.payouts), sha256 };
}

/** The bytes, or null with a fault: not text, too large. */
async function readAll(input: Buffer | AsyncIterable<Buffer>, faults: FaultList): Promise<Buffer | null> {
  const guard = createByteGuard();
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunksOf(input)) {
    size += chunk.length;
    const fault = size > MAX_PAYOUT_BYTES ? TOO_LARGE : guard.check(chunk);
    if (fault !== null) {
      faults.add(fault);
      return null;
    }
    chunks.push(chunk);
  }
  const atEnd = guard.end();
  if (atEnd === null) return Buffer.concat(chunks);
  faults.add(atEnd);
  return null;
}

const TOO_LARGE: FileFault = {
  line: null,
  column: null,
  code: 'file_too_large',
  message: `is larger than ${MAX_PAYOUT_BYTES / 1024 / 1024} MB; split it`,
};

type Rows = {
  readonly payouts: PayoutRequest[];
  readonly takeCells: (cells: readonly string[], line: number) => 'go_on' | 'stop';
  readonly takeObject: (object: Readonly<Record<string, unknown>>, line: number) => 'go_on' | 'stop';
  /** A row that is nothing that could be read. */
  readonly refuse: (line: number, code: string, message: string) => void;
  readonly count: () => number;
};

function createRows(faults: FaultList): Rows {
  const payouts: PayoutRequest[] = [];
  const lineOfRef = new Map<string, number>();
  let layout: PayoutLayout | null = null;
  let count = 0;

  const takeHeader = (cells: readonly string[], line: number): 'go_on' | 'stop' => {
    const header = readPayoutHeader(cells, line);
    header.faults.forEach(faults.add);
    layout = header.layout;
    return header.faults.length > 0 ? 'stop' : 'go_on';
  };
  const takePayout = (payout: PayoutRequest, line: number): void => {
    const twin = lineOfRef.get(payout.itemRef);
    if (twin === undefined) lineOfRef.set(payout.itemRef, line);
    else {
      const message = `${shownText(payout.itemRef)} is also the name of line ${twin}; each payout has its own`;
      faults.add({ line, column: 'item_ref', code: 'duplicate_item_ref', message });
    }
    payouts.push(payout);
  };
  const takeRow = (read: () => PayoutReading, line: number): 'go_on' | 'stop' => {
    count += 1;
    if (count > MAX_PAYOUT_ROWS) {
      const message = `the file has more than ${MAX_PAYOUT_ROWS} rows; split it`;
      faults.add({ line, column: null, code: 'too_many_rows', message });
      return 'stop';
    }
    const reading = read();
    if (reading.kind === 'ok') takePayout(reading.payout, line);
    else reading.faults.forEach(faults.add);
    return 'go_on';
  };
  return {
    payouts,
    count: () => count,
    takeCells: (cells, line) => {
      const known = layout;
      return known === null
        ? takeHeader(cells, line)
        : takeRow(() => readPayoutRow(cells, known, line), line);
    },
    takeObject: (object, line) => takeRow(() => readPayoutObject(object, line), line),
    refuse: (line, code, message) => {
      count += 1;
      faults.add({ line, column: null, code, message });
    },
  };
}

async function readRows(bytes: Buffer, rows: Rows, faults: FaultList): Promise<void> {
  const text = bytes.subarray(0, 3).equals(BYTE_ORDER_MARK) ? bytes.subarray(3) : bytes;
  const firstLine = text
    .subarray(0, 64 * 1024)
    .toString('utf8')
    .trimStart()
    .split('\n', 1)[0]!;
  if (firstLine.trim() === '') {
    faults.add({ line: null, column: null, code: 'empty_file', message: 'is empty' });
    return;
  }
  let stopped = false;
  const isJson = firstLine.startsWith('{');
  if (firstLine.startsWith('[')) {
    const message = 'is a JSON array; write one object per line (NDJSON)';
    faults.add({ line: 1, column: null, code: 'json_array', message });
    return;
  }
  const sink = {
    skipBlank: () => undefined,
    isStopped: () => stopped,
    stop: (...why: readonly FileFault[]) => {
      if (!stopped) why.forEach(faults.add);
      stopped = true;
    },
    takeCells: (cells: readonly string[], line: number) => {
      if (rows.takeCells(cells, line) === 'stop') stopped = true;
    },
    takeObject: (object: Readonly<Record<string, unknown>>, line: number) => {
      if (rows.takeObject(object, line) === 'stop') stopped = true;
    },
    refuse: rows.refuse,
  };
  const reader = isJson ? createObjectReader(sink) : createCellReader(sink, delimiterOf(firstLine));
  for await (const chunk of chunksOf(text)) {
    if (stopped) return;
    await reader.write(chunk);
  }
  await reader.end();
  if (rows.count() === 0 && faults.count() === 0)
    faults.add({ line: null, column: null, code: 'no_rows', message: 'has no rows' });
}

function totalsOf(payouts: readonly PayoutRequest[]): ReadonlyMap<Currency, bigint> {
  const totals = new Map<Currency, bigint>();
  for (const { money } of payouts)
    totals.set(money.currency, (totals.get(money.currency) ?? 0n) + money.amountMinor);
  return new Map([...totals].sort(([left], [right]) => (left < right ? -1 : 1)));
}
