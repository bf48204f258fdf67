/**
 * How a refund is read from JSON: an HTTP body, or the flags of the command line. Decides only; bad input is a list
 * of all its faults.
 */
import { parseId } from '../ids.ts';
import { containsCardNumber } from '../payment/card-number.ts';
import { nameFault, normalText } from '../payment/payment-fields.ts';
import { shownText } from '../shown-text.ts';
import type { RefundRequest } from './refund.ts';

type RefundFault = { readonly field: string; readonly code: string; readonly message: string };

export type RefundReading =
  | { readonly kind: 'ok'; readonly request: RefundRequest }
  | { readonly kind: 'bad'; readonly faults: readonly RefundFault[] };

/** Characters. */
const MAX_REASON = 500;
const FIELDS = ['payment_order_id', 'amount', 'refund_id', 'idempotency_key', 'reason'] as const;
type Body = Readonly<Record<string, unknown>>;

/** Reads a body of any type; never throws, gives either the refund or all faults of the body. */
export function readRefundRequest(body: unknown): RefundReading {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    return { kind: 'bad', faults: [{ field: '', code: 'wrong_type', message: 'must be an object' }] };
  const faults: RefundFault[] = [];
  const fields = body as Body;
  for (const field of Object.keys(fields)) {
    if ((FIELDS as readonly string[]).includes(field)) continue;
    faults.push({ field: shownText(field), code: 'unknown_field', message: 'is not known here' });
  }
  const orderId = readOrderId(fields, faults);
  const refundId = readRefundId(fields, faults);
  const amount = readText(fields, 'amount', faults);
  const reason = readText(fields, 'reason', faults) ?? 'not stated';
  if (reason.length > MAX_REASON || reason.includes('\0'))
    faults.push({
      field: 'reason',
      code: 'too_long',
      message: `takes ${MAX_REASON} characters of plain text`,
    });
  else if (containsCardNumber(reason))
    faults.push({ field: 'reason', code: 'card_number', message: 'holds what looks like a card number' });
  if (faults.length > 0 || orderId === null || refundId === null) return { kind: 'bad', faults };
  return { kind: 'ok', request: { refundId, orderId, amount, reason, cause: 'request' } };
}

function readOrderId(fields: Body, faults: RefundFault[]): bigint | null {
  const text = readText(fields, 'payment_order_id', faults);
  const missing = fields.payment_order_id === undefined || fields.payment_order_id === null;
  if (missing) faults.push({ field: 'payment_order_id', code: 'missing', message: 'is missing' });
  if (text === null) return null;
  const id = parseId('order', text);
  if (id === null)
    faults.push({ field: 'payment_order_id', code: 'malformed', message: 'is not an order like ord_13' });
  return id;
}

/** Names the refund for ever; callers that know it as an idempotency key may call it so. */
function readRefundId(fields: Body, faults: RefundFault[]): string | null {
  const named = readText(fields, 'refund_id', faults);
  const key = readText(fields, 'idempotency_key', faults);
  const text = named ?? key;
  if (text === null) {
    if (!faults.some((fault) => fault.field === 'refund_id' || fault.field === 'idempotency_key'))
      faults.push({
        field: 'refund_id',
        code: 'missing',
        message: 'is missing: it names the refund for ever',
      });
    return null;
  }
  if (named !== null && key !== null && named !== key)
    faults.push({
      field: 'idempotency_key',
      code: 'keys_differ',
      message: 'is not the refund_id; give one of them',
    });
  const found = nameFault('idempotency_key', text);
  if (found !== null) faults.push({ field: named === null ? 'idempotency_key' : 'refund_id', ...found });
  return normalText(text);
}

function readText(fields: Body, field: (typeof FIELDS)[number], faults: RefundFault[]): string | null {
  const value = fields[field];
  if (value === undefined || value === null) return null;
  if (typeof value === 'string') return value;
  faults.push({ field, code: 'wrong_type', message: 'must be a string' });
  return null;
}
