/**
 * Reads Adyen's webhooks: verifies each item's signature and says what it is about. Decides only; believes no
 * item of a body that has one with a wrong signature in it.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { parseId } from '../ids.ts';
import { isJsonObject, type JsonObject, parseJsonObject, textOrNull } from './json.ts';

/** One verified item. Items come unordered, and again for up to 30 days. */
export type AdyenEvent = {
  /** The same whenever the same item comes again: reference, event and verdict. */
  readonly id: string;
  /** Adyen's event code: AUTHORISATION, REFUND, REFUND_FAILED, … */
  readonly type: string;
  readonly success: boolean;
  /** "op_12" where the merchant reference is one of ours, otherwise null. */
  readonly operationReference: string | null;
  readonly pspReference: string;
  /** The payment that it is about, where it is not the payment itself; else null. */
  readonly originalReference: string | null;
  /** As Adyen writes it, in its own minor unit; null where it is none. */
  readonly amount: { readonly value: number; readonly currency: string } | null;
  /** Not signed: for people only. */
  readonly reason: string | null;
};

export type AdyenWebhook =
  | { readonly kind: 'verified'; readonly events: readonly AdyenEvent[] }
  | { readonly kind: 'refused'; readonly reason: string };

/** Adyen sends one item with each call to a JSON endpoint; far more is nobody we know. */
const MAX_ITEMS = 100;

/**
 * The events of a webhook, or why it is refused.
 * Source: docs.adyen.com/development-resources/webhooks/verify-hmac-signatures.
 * @param body as it came in
 * @param hmacKeyHex the key of this webhook in hexadecimal, as the Customer Area shows it
 */
export function parseAdyenWebhook(body: string, hmacKeyHex: string): AdyenWebhook {
  if (!/^(?:[0-9a-f]{2})+$/i.test(hmacKeyHex)) return refused('the HMAC key is not hexadecimal');
  const parsed = parseJsonObject(body);
  if (parsed === null || !Array.isArray(parsed.notificationItems)) {
    return refused('the body is not a list of notification items');
  }
  const { notificationItems } = parsed;
  if (notificationItems.length === 0 || notificationItems.length > MAX_ITEMS) {
    return refused(`the body has ${notificationItems.length} items; 1 to ${MAX_ITEMS} are taken`);
  }
  const key = Buffer.from(hmacKeyHex, 'hex');
  const events: AdyenEvent[] = [];
  for (const [index, entry] of notificationItems.entries()) {
    const item: unknown = isJsonObject(entry) ? entry.NotificationRequestItem : undefined;
    if (!isJsonObject(item)) return refused(`item ${index} is not a notification`);
    if (!isSigned(item, key)) return refused(`item ${index} is not signed with this key`);
    const event = readEvent(item);
    if (event === null) return refused(`item ${index} has no reference, event or verdict`);
    events.push(event);
  }
  return { kind: 'verified', events };
}

function refused(reason: string): AdyenWebhook {
  return { kind: 'refused', reason };
}

/** What Adyen signs, in its order; what an item leaves out is signed as nothing. */
function signedText(item: JsonObject): string {
  const amount = isJsonObject(item.amount) ? item.amount : {};
  const fields = [
    item.pspReference,
    item.originalReference,
    item.merchantAccountCode,
    item.merchantReference,
    amount.value,
    amount.currency,
    item.eventCode,
    item.success,
  ];
  return fields.map((field) => (field === undefined || field === null ? '' : String(field))).join(':');
}

function isSigned(item: JsonObject, key: Buffer): boolean {
  const { additionalData } = item;
  const given = isJsonObject(additionalData) ? textOrNull(additionalData.hmacSignature) : null;
  if (given === null) return false;
  const expected = createHmac('sha256', key).update(signedText(item), 'utf8').digest();
  const signature = Buffer.from(given, 'base64');
  return signature.length === expected.length && timingSafeEqual(signature, expected);
}

function readEvent(item: JsonObject): AdyenEvent | null {
  const pspReference = textOrNull(item.pspReference);
  const type = textOrNull(item.eventCode);
  const verdict = String(item.success);
  if (pspReference === null || type === null || (verdict !== 'true' && verdict !== 'false')) return null;
  return {
    id: `${pspReference}:${type}:${verdict}`,
    type,
    success: verdict === 'true',
    operationReference: operationOf(textOrNull(item.merchantReference)),
    pspReference,
    originalReference: textOrNull(item.originalReference) || null,
    amount: amountOf(item.amount),
    reason: textOrNull(item.reason) || null,
  };
}

function amountOf(amount: unknown): AdyenEvent['amount'] {
  if (!isJsonObject(amount)) return null;
  const { value, currency } = amount;
  return typeof value === 'number' && typeof currency === 'string' ? { value, currency } : null;
}

/** Other systems may share the merchant account: their references are none of ours. */
function operationOf(reference: string | null): string | null {
  if (reference === null || !reference.startsWith('op_')) return null;
  return parseId('operation', reference) === null ? null : reference;
}
