/** One row of a payout file: which columns there are, and how its cells become a payout. Decides only. */
import type { FileFault } from '../payment/file-fault.ts';
import { metadataValueFault, nameFault, normalText, readMoney } from '../payment/payment-fields.ts';
import { shownText } from '../shown-text.ts';
import type { PayoutRequest } from './payout.ts';

const REQUIRED_COLUMNS = ['item_ref', 'seller', 'amount', 'currency'] as const;
const OPTIONAL_COLUMNS = ['destination', 'memo'] as const;
type Column = (typeof REQUIRED_COLUMNS)[number] | (typeof OPTIONAL_COLUMNS)[number];

const COLUMNS: readonly Column[] = [...REQUIRED_COLUMNS, ...OPTIONAL_COLUMNS];
const COLUMNS_IN_WORDS = `${REQUIRED_COLUMNS.join(', ')}; optional ${OPTIONAL_COLUMNS.join(' and ')}`;

/** Where each column stands in a row; -1 where the file does not have it. */
export type PayoutLayout = {
  readonly cellCount: number;
  readonly indexOf: Readonly<Record<Column, number>>;
};

/** Reads a header in any order: every unknown, doubled and missing column is a fault. */
export function readPayoutHeader(
  cells: readonly string[],
  line: number,
): { readonly layout: PayoutLayout; readonly faults: readonly FileFault[] } {
  const faults: FileFault[] = [];
  for (const [index, column] of cells.entries()) {
    const name = shownText(column).slice(1, -1);
    if (cells.indexOf(column) < index)
      faults.push({ line, column: name, code: 'duplicate_column', message: 'stands in the header twice' });
    else if (!isColumn(column)) faults.push(unknownColumn(column, index, line));
  }
  for (const column of REQUIRED_COLUMNS) {
    if (cells.includes(column)) continue;
    const message = `is missing; columns: ${COLUMNS_IN_WORDS}`;
    faults.push({ line, column, code: 'missing_column', message });
  }
  const indexOf = Object.fromEntries(COLUMNS.map((column) => [column, cells.indexOf(column)]));
  return { layout: { cellCount: cells.length, indexOf: indexOf as Record<Column, number> }, faults };
}

function isColumn(text: string): text is Column {
  return (COLUMNS as readonly string[]).includes(text);
}

function unknownColumn(column: string, index: number, line: number): FileFault {
  const tidy = column.trim().toLowerCase();
  const hint = isColumn(tidy) ? `write ${tidy}` : `columns: ${COLUMNS_IN_WORDS}`;
  const message =
    column === ''
      ? `column ${index + 1} of the header has no name`
      : `is not a column of a payout file; ${hint}`;
  return { line, column: shownText(column).slice(1, -1), code: 'unknown_column', message };
}

export type PayoutReading =
  | { readonly kind: 'ok'; readonly payout: PayoutRequest }
  | { readonly kind: 'bad'; readonly faults: readonly FileFault[] };

/** Reads the cells of a row; every fault. Texts with what looks like a card number are refused. */
export function readPayoutRow(cells: readonly string[], layout: PayoutLayout, line: number): PayoutReading {
  if (cells.length !== layout.cellCount) {
    const message = `has ${cells.length} cells and the header ${layout.cellCount}; is a cell with a delimiter not quoted?`;
    return { kind: 'bad', faults: [{ line, column: null, code: 'wrong_cell_count', message }] };
  }
  return readPayout((column) => cells[layout.indexOf[column]] ?? '', line);
}

/** Reads an object of an NDJSON file: the columns' names are its keys, and every value is a text. */
export function readPayoutObject(object: Readonly<Record<string, unknown>>, line: number): PayoutReading {
  const faults = Object.entries(object).flatMap(([name, value]): readonly FileFault[] => {
    if (!isColumn(name)) {
      const message = `is not a key of a payout; keys: ${COLUMNS_IN_WORDS}`;
      return [{ line, column: shownText(name).slice(1, -1), code: 'unknown_key', message }];
    }
    if (typeof value === 'string') return [];
    return [{ line, column: name, code: 'wrong_type', message: 'must be a text: "12.50"' }];
  });
  if (faults.length > 0) return { kind: 'bad', faults };
  return readPayout((column) => String(object[column] ?? ''), line);
}

function readPayout(cell: (column: Column) => string, line: number): PayoutReading {
  const faults: FileFault[] = [];
  const check = (column: Column, fault: { readonly code: string; readonly message: string } | null) => {
    if (fault !== null) faults.push({ line, column, code: fault.code, message: fault.message });
  };
  check('item_ref', nameFault('item_ref', cell('item_ref')));
  check('seller', nameFault('seller', cell('seller')));
  const reading = readMoney({ amount: cell('amount'), currency: cell('currency'), fee: null });
  if (reading.kind === 'bad')
    for (const { field, code, message } of reading.faults)
      faults.push({ line, column: field, code, message });
  if (cell('destination') !== '') check('destination', nameFault('destination', cell('destination')));
  check('memo', metadataValueFault(cell('memo')));
  if (reading.kind === 'bad' || faults.length > 0) return { kind: 'bad', faults };
  return {
    kind: 'ok',
    payout: {
      line,
      itemRef: normalText(cell('item_ref')),
      seller: normalText(cell('seller')),
      money: reading.money,
      destination: normalText(cell('destination')) || null,
      memo: normalText(cell('memo')) || null,
    },
  };
}
