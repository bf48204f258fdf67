/**
 * The one description of an incoming payment and how it is read from JSON: an HTTP body, a line of a batch
 * file, the flags of the command line. Decides only; bad input is a list of all its faults.
 */
import { z } from 'zod';
import { Bug } from '../errors.ts';
import type { Money } from '../money.ts';
import { shownText } from '../shown-text.ts';
import {
  type FieldFaultCode,
  MAX_METADATA_KEYS,
  MAX_METADATA_VALUE,
  MAX_ORDERS,
  MAX_RETURN_URL,
  metadataFaults,
  NAME_LIMITS,
  type NameField,
  nameFault,
  normalText,
  readMoney,
  returnUrlFault,
} from './payment-fields.ts';

/** A payment as the rest of the program knows it: checked, normalised, amounts in minor units. */
export type PaymentRequest = {
  readonly checkoutId: string;
  readonly idempotencyKey: string;
  readonly buyer: string;
  /** 1 to 100, in the given order. */
  readonly orders: readonly PaymentOrderRequest[];
  readonly metadata: Metadata;
};

export type PaymentOrderRequest = {
  readonly seller: string;
  readonly money: Money;
  readonly paymentMethod: string;
  /** Null: the fee schedule decides at acceptance. */
  readonly platformFeeMinor: bigint | null;
  readonly orderRef: string | null;
  readonly customerPresent: boolean;
  /** Where a buyer who was sent away to authenticate comes back to; left out: nowhere. */
  readonly returnUrl?: string;
  readonly metadata: Metadata;
};

export type Metadata = Readonly<Record<string, string>>;

/** `field` is the path in the body ("payment_orders[1].amount"; "" for the body itself). */
export type RequestFault = {
  readonly field: string;
  readonly code: FieldFaultCode;
  readonly message: string;
};

export type RequestReading =
  | { readonly kind: 'ok'; readonly request: PaymentRequest }
  | { readonly kind: 'bad'; readonly faults: readonly RequestFault[] };

type IssueSink = {
  addIssue(issue: {
    code: 'custom';
    message: string;
    path?: (string | number)[];
    params: { code: string };
  }): void;
};

export function addFault(
  sink: IssueSink,
  path: (string | number)[],
  found: { code: string; message: string },
): void {
  sink.addIssue({ code: 'custom', path, message: found.message, params: { code: found.code } });
}

/** A name or id of the caller's, as {@link nameFault} checks it. */
export function nameSchema(field: NameField, description: string) {
  return z
    .string()
    .superRefine((text, sink) => {
      const found = nameFault(field, text);
      if (found !== null) addFault(sink, [], found);
    })
    .meta({ description, minLength: 1, maxLength: NAME_LIMITS[field] });
}

/** As {@link returnUrlFault} checks it. */
function returnUrlSchema(description: string) {
  return z
    .string()
    .superRefine((text, sink) => {
      const found = returnUrlFault(text);
      if (found !== null) addFault(sink, [], found);
    })
    .meta({ description, format: 'uri', maxLength: MAX_RETURN_URL });
}

const metadataSchema = z
  .unknown()
  .superRefine((value, sink) => {
    for (const found of metadataFaults(value)) addFault(sink, found.key === null ? [] : [found.key], found);
  })
  .meta({
    description: 'Notes of the caller, kept and given back; never interpreted.',
    type: 'object',
    maxProperties: MAX_METADATA_KEYS,
    propertyNames: { pattern: '^[a-z0-9_]{1,40}$' },
    additionalProperties: { type: 'string', maxLength: MAX_METADATA_VALUE },
  })
  .optional();

/** Faults that need several fields are looked for even when one of them is bad. */
const EVEN_WHEN_BAD = {
  when: ({ value }: { readonly value: unknown }) => typeof value === 'object' && value !== null,
};

const orderSchema = z
  .strictObject({
    seller: nameSchema('seller', 'Whom the money is for.'),
    amount: z.string().meta({
      description: 'Gross, in major units: "12.50".',
      examples: ['12.50'],
      pattern: '^\\d+(\\.\\d+)?$',
    }),
    currency: z.string().meta({ description: 'ISO 4217 code, upper case.', examples: ['EUR'] }),
    payment_method: nameSchema(
      'payment_method',
      "The PSP's name of the method; default: the payment's.",
    ).nullish(),
    platform_fee: z
      .string()
      .meta({ description: 'Our part of the amount; default: by the fee schedule.', examples: ['0.50'] })
      .nullish(),
    order_ref: nameSchema('order_ref', "The caller's own name of the order.").nullish(),
    customer_present: z.boolean().meta({ description: 'The buyer can be asked to authenticate.' }).nullish(),
    return_url: returnUrlSchema("Where the buyer comes back to; default: the payment's.").nullish(),
    metadata: metadataSchema,
  })
  .superRefine((value: unknown, sink) => {
    const { amount, currency, platform_fee: fee = null } = value as Record<string, unknown>;
    if (typeof amount !== 'string' || typeof currency !== 'string') return;
    const reading = readMoney({ amount, currency, fee: typeof fee === 'string' ? fee : null });
    if (reading.kind === 'ok') return;
    for (const found of reading.faults) addFault(sink, [found.field], found);
  }, EVEN_WHEN_BAD);

/** Body of POST /v1/payments. */
export const paymentBodySchema = z
  .strictObject({
    checkout_id: nameSchema('checkout_id', 'Names the event for ever: one checkout is charged once.'),
    idempotency_key: nameSchema(
      'idempotency_key',
      'Names this request: sent again, it gets the first answer.',
    ),
    buyer: nameSchema('buyer', 'Who pays.'),
    payment_method: nameSchema('payment_method', 'Default for orders that name none.').nullish(),
    return_url: returnUrlSchema('Default for orders that name none.').nullish(),
    payment_orders: z.array(orderSchema).meta({ minItems: 1, maxItems: MAX_ORDERS }),
    metadata: metadataSchema,
  })
  .superRefine((value: unknown, sink) => {
    const { payment_orders: orders, payment_method: method } = value as Record<string, unknown>;
    if (!Array.isArray(orders)) return;
    if (orders.length === 0) {
      addFault(sink, ['payment_orders'], { code: 'no_orders', message: 'must hold at least one order' });
    }
    if (orders.length > MAX_ORDERS) {
      const message = `holds ${orders.length} orders; the limit is ${MAX_ORDERS}`;
      addFault(sink, ['payment_orders'], { code: 'too_many_orders', message });
    }
    if (typeof method === 'string') return;
    for (const [index, order] of orders.entries()) {
      if (typeof order !== 'object' || order === null || (order.payment_method ?? null) !== null) continue;
      const path = ['payment_orders', index, 'payment_method'];
      addFault(sink, path, { code: 'missing', message: 'is missing, here and in the payment' });
    }
  }, EVEN_WHEN_BAD);

type PaymentBody = z.output<typeof paymentBodySchema>;

/** Reads a body of any type; never throws, gives either the payment or all faults of the body. */
export function readPaymentRequest(body: unknown): RequestReading {
  const parsed = paymentBodySchema.safeParse(body);
  if (parsed.success) return { kind: 'ok', request: requestOf(parsed.data) };
  return { kind: 'bad', faults: parsed.error.issues.flatMap((issue) => faultsOf(issue, body, 'a payment')) };
}

function requestOf(body: PaymentBody): PaymentRequest {
  return {
    checkoutId: normalText(body.checkout_id),
    idempotencyKey: normalText(body.idempotency_key),
    buyer: normalText(body.buyer),
    orders: body.payment_orders.map((order) => orderOf(order, body)),
    metadata: metadataOf(body.metadata),
  };
}

function orderOf(order: PaymentBody['payment_orders'][number], body: PaymentBody): PaymentOrderRequest {
  const returnUrl = order.return_url ?? body.return_url ?? null;
  const { amount, currency, platform_fee: fee = null } = order;
  const reading = readMoney({ amount, currency, fee });
  if (reading.kind === 'bad') throw new Bug('a checked order has money that cannot be read');
  return {
    seller: normalText(order.seller),
    money: reading.money,
    paymentMethod: normalText(order.payment_method ?? body.payment_method ?? ''),
    platformFeeMinor: reading.platformFeeMinor,
    orderRef: order.order_ref == null ? null : normalText(order.order_ref),
    customerPresent: order.customer_present ?? false,
    ...(returnUrl === null ? {} : { returnUrl }),
    metadata: metadataOf(order.metadata),
  };
}

/** Shared by all that have none: a large batch has a quarter of a million of them. */
export const NO_METADATA: Metadata = Object.freeze({});

function metadataOf(value: unknown): Metadata {
  if (value === undefined || value === null) return NO_METADATA;
  const metadata: Record<string, string> = {};
  for (const [key, text] of Object.entries(value as Record<string, string>)) {
    metadata[key] = normalText(text);
  }
  return metadata;
}

/** Our own code and words for what zod found. `what` the body is: "a payment". */
export function faultsOf(issue: z.core.$ZodIssue, body: unknown, what: string): readonly RequestFault[] {
  const field = fieldText(issue.path);
  if (issue.code === 'custom') {
    return [{ field, code: issue.params?.code as FieldFaultCode, message: issue.message }];
  }
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      field: fieldText([...issue.path, key]),
      code: 'unknown_field',
      message: `is not a field of ${what}`,
    }));
  }
  if (issue.code !== 'invalid_type') return [{ field, code: 'wrong_type', message: issue.message }];
  if (typeof issue.path.at(-1) === 'string' && (valueAt(body, issue.path) ?? null) === null) {
    return [{ field, code: 'missing', message: 'is missing' }];
  }
  const isAmount = /(amount|platform_fee)$/.test(field);
  const message = isAmount
    ? 'must be a string like "12.50", so that no digit is lost'
    : EXPECTED[issue.expected];
  return [{ field, code: 'wrong_type', message: message ?? `must be of type ${issue.expected}` }];
}

const EXPECTED: Readonly<Record<string, string>> = {
  string: 'must be a string',
  boolean: 'must be true or false',
  array: 'must be an array',
  object: 'must be an object',
};

function valueAt(body: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => {
    return typeof value === 'object' && value !== null
      ? (value as Record<PropertyKey, unknown>)[key]
      : undefined;
  }, body);
}

const PLAIN_KEY = /^[A-Za-z_][A-Za-z0-9_]{0,39}$/;

/** "payment_orders[1].amount"; a key that is no plain word is quoted, clipped and masked. */
function fieldText(path: readonly PropertyKey[]): string {
  let text = '';
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`;
    else if (PLAIN_KEY.test(String(key))) text += text === '' ? String(key) : `.${String(key)}`;
    else text += `[${shownText(String(key))}]`;
  }
  return text;
}

/**
 * The deterministic text of what a payment means: two requests ask for the same if and only if their texts
 * are equal. Without the idempotency key, which names the request and not its content. The fingerprint is
 * the SHA-256 of it. About a million per second.
 */
export function canonicalPaymentText(request: PaymentRequest): string {
  return JSON.stringify([
    'payment.1',
    request.checkoutId,
    request.buyer,
    sortedEntries(request.metadata),
    request.orders.map(canonicalOrder),
  ]);
}

/** The content of one order, field by field in a fixed order. */
export function canonicalOrder(order: PaymentOrderRequest): readonly unknown[] {
  return [
    order.seller,
    order.money.currency,
    order.money.amountMinor.toString(),
    order.paymentMethod,
    order.platformFeeMinor === null ? null : order.platformFeeMinor.toString(),
    order.orderRef,
    order.customerPresent,
    sortedEntries(order.metadata),
    // Only where there is one: what was fingerprinted before keeps its fingerprint.
    ...(order.returnUrl === undefined ? [] : [order.returnUrl]),
  ];
}

function sortedEntries(metadata: Metadata): readonly (readonly [string, string])[] {
  const entries = Object.entries(metadata);
  if (entries.length > 1) entries.sort(([left], [right]) => (left < right ? -1 : 1));
  return entries;
}
