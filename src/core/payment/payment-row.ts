/**
 * The flat form of a payment order, one row of a batch file: which columns there are, and how a row of
 * cells or a flat JSON object becomes the body that {@link readPaymentRequest} knows. Decides only.
 */
import { shownText } from '../shown-text.ts';
import type { FileFault } from './file-fault.ts';
import {
  MAX_METADATA_KEYS,
  metadataKeyFault,
  metadataValueFault,
  nameFault,
  normalText,
  readMoney,
  returnUrlFault,
} from './payment-fields.ts';
import {
  type Metadata,
  NO_METADATA,
  type PaymentOrderRequest,
  type PaymentRequest,
} from './payment-request.ts';

const REQUIRED_COLUMNS = ['checkout_id', 'buyer', 'seller', 'amount', 'currency', 'payment_method'] as const;
const OPTIONAL_COLUMNS = [
  'idempotency_key',
  'platform_fee',
  'order_ref',
  'customer_present',
  'return_url',
] as const;
type Column = (typeof REQUIRED_COLUMNS)[number] | (typeof OPTIONAL_COLUMNS)[number];

const COLUMNS: ReadonlySet<string> = new Set([...REQUIRED_COLUMNS, ...OPTIONAL_COLUMNS]);
const METADATA_PREFIX = 'metadata_';

/** The columns in words, for messages. */
const COLUMNS_IN_WORDS = `${REQUIRED_COLUMNS.join(', ')}; optional ${OPTIONAL_COLUMNS.join(', ')} and metadata_*`;

/** Where each column stands in a row; -1 where the file does not have it. */
export type RowLayout = {
  readonly cellCount: number;
  readonly indexOf: Readonly<Record<Column, number>>;
  readonly metadata: readonly { readonly key: string; readonly index: number }[];
};

export type HeaderReading =
  | { readonly kind: 'ok'; readonly layout: RowLayout }
  | { readonly kind: 'bad'; readonly faults: readonly FileFault[] };

/** Reads a header in any order: every unknown, doubled and missing column is a fault. */
export function readHeader(cells: readonly string[], line: number): HeaderReading {
  const faults: FileFault[] = [];
  const seen = new Set<string>();
  const metadata: { key: string; index: number }[] = [];
  for (const [index, column] of cells.entries()) {
    const found = columnFault(column, index, seen);
    if (found !== null) faults.push({ line, column: shownText(column).slice(1, -1), ...found });
    if (column.startsWith(METADATA_PREFIX))
      metadata.push({ key: column.slice(METADATA_PREFIX.length), index });
    seen.add(column);
  }
  for (const column of REQUIRED_COLUMNS) {
    if (seen.has(column)) continue;
    faults.push({
      line,
      column,
      code: 'missing_column',
      message: `is missing; columns: ${COLUMNS_IN_WORDS}`,
    });
  }
  if (faults.length > 0) return { kind: 'bad', faults };
  const indexOf = Object.fromEntries([...COLUMNS].map((column) => [column, cells.indexOf(column)]));
  return {
    kind: 'ok',
    layout: { cellCount: cells.length, indexOf: indexOf as Record<Column, number>, metadata },
  };
}

function columnFault(
  column: string,
  index: number,
  seen: ReadonlySet<string>,
): { readonly code: string; readonly message: string } | null {
  if (seen.has(column)) return { code: 'duplicate_column', message: 'stands in the header twice' };
  if (COLUMNS.has(column)) return null;
  if (column.startsWith(METADATA_PREFIX)) return metadataKeyFault(column.slice(METADATA_PREFIX.length));
  if (column === '')
    return { code: 'unknown_column', message: `column ${index + 1} of the header has no name` };
  const tidy = column.trim().toLowerCase();
  const hint = COLUMNS.has(tidy) ? `write ${tidy}` : `columns: ${COLUMNS_IN_WORDS}`;
  return { code: 'unknown_column', message: `is not a column of a payment batch; ${hint}` };
}

/** A row whose values have the right types; '' is an absent value. Nothing else is known about them yet. */
export type FlatRow = Readonly<Record<Exclude<Column, 'customer_present'>, string>> & {
  readonly customer_present: boolean;
  readonly metadata: Metadata;
};

/** The row in a line of cells; null when customer_present is neither true nor false. */
export function rowOfCells(cells: readonly string[], layout: RowLayout): FlatRow | null {
  const { indexOf } = layout;
  const customerPresent = trueOrFalse(cellAt(cells, indexOf.customer_present)) ?? false;
  if (typeof customerPresent === 'string') return null;
  return {
    checkout_id: cellAt(cells, indexOf.checkout_id),
    idempotency_key: cellAt(cells, indexOf.idempotency_key),
    buyer: cellAt(cells, indexOf.buyer),
    seller: cellAt(cells, indexOf.seller),
    amount: cellAt(cells, indexOf.amount),
    currency: cellAt(cells, indexOf.currency),
    payment_method: cellAt(cells, indexOf.payment_method),
    platform_fee: cellAt(cells, indexOf.platform_fee),
    order_ref: cellAt(cells, indexOf.order_ref),
    customer_present: customerPresent,
    return_url: cellAt(cells, indexOf.return_url),
    metadata: layout.metadata.length === 0 ? NO_METADATA : metadataOfCells(cells, layout),
  };
}

/** The row in a flat JSON object; null when it is nested, has other names, or a value of another type. */
export function rowOfObject(object: Readonly<Record<string, unknown>>): FlatRow | null {
  const row: Record<string, string> = { ...EMPTY_ROW };
  const metadata: Record<string, string> = {};
  let customerPresent = false;
  for (const [name, value] of Object.entries(object)) {
    if (name === 'customer_present' && typeof value === 'boolean') {
      customerPresent = value;
      continue;
    }
    if (typeof value !== 'string' || value === '') return null;
    if (Object.hasOwn(EMPTY_ROW, name)) row[name] = value;
    else if (!name.startsWith(METADATA_PREFIX)) return null;
    else if (metadataKeyFault(name.slice(METADATA_PREFIX.length)) !== null) return null;
    else metadata[name.slice(METADATA_PREFIX.length)] = value;
  }
  return { ...(row as typeof EMPTY_ROW), customer_present: customerPresent, metadata };
}

const EMPTY_ROW = {
  checkout_id: '',
  idempotency_key: '',
  buyer: '',
  seller: '',
  amount: '',
  currency: '',
  payment_method: '',
  platform_fee: '',
  order_ref: '',
  return_url: '',
} as const satisfies Record<Exclude<Column, 'customer_present'>, string>;

/**
 * The payment with one order in a row, or null when anything in it is not right: then the row's body and
 * readPaymentRequest say what. Both give the same payment for a good row; this way makes a fifth of the
 * garbage, which is what a file of 250,000 rows spends its time on.
 */
export function paymentOfGoodRow(row: FlatRow): PaymentRequest | null {
  const { checkout_id: checkoutId, idempotency_key: key, order_ref: orderRef, platform_fee: fee } = row;
  if (nameFault('checkout_id', checkoutId) !== null || nameFault('buyer', row.buyer) !== null) return null;
  if (nameFault('seller', row.seller) !== null) return null;
  if (nameFault('payment_method', row.payment_method) !== null) return null;
  if (key !== '' && nameFault('idempotency_key', key) !== null) return null;
  if (orderRef !== '' && nameFault('order_ref', orderRef) !== null) return null;
  if (row.return_url !== '' && returnUrlFault(row.return_url) !== null) return null;
  const reading = readMoney({ amount: row.amount, currency: row.currency, fee: fee === '' ? null : fee });
  const metadata = goodMetadata(row.metadata);
  if (reading.kind === 'bad' || metadata === null) return null;
  const order: PaymentOrderRequest = {
    seller: normalText(row.seller),
    money: reading.money,
    paymentMethod: normalText(row.payment_method),
    platformFeeMinor: reading.platformFeeMinor,
    orderRef: orderRef === '' ? null : normalText(orderRef),
    customerPresent: row.customer_present,
    ...(row.return_url === '' ? {} : { returnUrl: row.return_url }),
    metadata,
  };
  return {
    checkoutId: normalText(checkoutId),
    idempotencyKey: normalText(key === '' ? checkoutId : key),
    buyer: normalText(row.buyer),
    orders: [order],
    metadata: NO_METADATA,
  };
}

function goodMetadata(metadata: Metadata): Metadata | null {
  if (metadata === NO_METADATA) return metadata;
  const entries = Object.entries(metadata);
  if (entries.length === 0) return NO_METADATA;
  if (entries.length > MAX_METADATA_KEYS) return null;
  const normal: Record<string, string> = {};
  for (const [key, text] of entries) {
    if (metadataValueFault(text) !== null) return null;
    normal[key] = normalText(text);
  }
  return normal;
}

/** The cell, or '' where the file has no such column: for optional columns both mean "absent". */
function cellAt(cells: readonly string[], index: number): string {
  return index < 0 ? '' : (cells[index] ?? '');
}

/**
 * The body of a payment with one order from a row of cells. An empty cell of an optional column is an
 * absent value; the idempotency key's default is the checkout's name.
 */
export function bodyOfCells(cells: readonly string[], layout: RowLayout): PaymentBody {
  const { indexOf } = layout;
  const cell = (column: Column): string => cellAt(cells, indexOf[column]);
  const optional = (column: Column): string | undefined => cell(column) || undefined;
  return {
    checkout_id: cell('checkout_id'),
    idempotency_key: optional('idempotency_key') ?? cell('checkout_id'),
    buyer: cell('buyer'),
    payment_orders: [
      {
        seller: cell('seller'),
        amount: cell('amount'),
        currency: cell('currency'),
        payment_method: cell('payment_method'),
        platform_fee: optional('platform_fee'),
        order_ref: optional('order_ref'),
        customer_present: trueOrFalse(cell('customer_present')),
        return_url: optional('return_url'),
        metadata: metadataOfCells(cells, layout),
      },
    ],
  };
}

/** A body before it is checked: any value may be anything. */
export type PaymentBody = Readonly<Record<string, unknown>>;

/** Spreadsheets write TRUE and FALSE; anything else stays as it is and is refused later. */
function trueOrFalse(cell: string): string | boolean | undefined {
  if (cell === '') return undefined;
  const lower = cell.toLowerCase();
  return lower === 'true' ? true : lower === 'false' ? false : cell;
}

function metadataOfCells(cells: readonly string[], layout: RowLayout): Record<string, string> {
  const metadata: Record<string, string> = {};
  for (const { key, index } of layout.metadata) {
    const cell = cellAt(cells, index);
    if (cell !== '') metadata[key] = cell;
  }
  return metadata;
}

const PAYMENT_FIELDS: ReadonlySet<string> = new Set(['checkout_id', 'idempotency_key', 'buyer', 'metadata']);

/**
 * The body from a JSON object of one line: nested like an HTTP body when it has payment_orders, otherwise
 * flat with the names of the columns (metadata_* is the order's; an object "metadata" the payment's). The
 * idempotency key's default is the checkout's name.
 */
export function bodyOfObject(object: Readonly<Record<string, unknown>>): PaymentBody {
  const key = object.idempotency_key ?? object.checkout_id;
  if ('payment_orders' in object) return { ...object, idempotency_key: key };
  const payment: [string, unknown][] = [];
  const order: [string, unknown][] = [];
  const metadata: [string, unknown][] = [];
  for (const [name, value] of Object.entries(object)) {
    if (name.startsWith(METADATA_PREFIX)) metadata.push([name.slice(METADATA_PREFIX.length), value]);
    else if (PAYMENT_FIELDS.has(name)) payment.push([name, value]);
    else order.push([name, value]);
  }
  if (metadata.length > 0) order.push(['metadata', Object.fromEntries(metadata)]);
  return {
    ...Object.fromEntries(payment),
    idempotency_key: key,
    payment_orders: [Object.fromEntries(order)],
  };
}

/** The column for a field of a body that was made from a flat row: "payment_orders[0].amount" is "amount". */
export function columnOfField(field: string): string {
  const inOrder = field.startsWith(ORDER_PREFIX) ? field.slice(ORDER_PREFIX.length) : field;
  return inOrder.startsWith('metadata.') ? `${METADATA_PREFIX}${inOrder.slice('metadata.'.length)}` : inOrder;
}

const ORDER_PREFIX = 'payment_orders[0].';
