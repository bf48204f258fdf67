/**
 * Reads the webhooks of Adyen's balance platform, where transfers are told of: another body, and another place for the
 * signature, than the webhooks of payments. Decides only. What it says of a transfer's state is not read: transfers can
 * be asked for, so it is a reason to ask.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { parseId } from '../ids.ts';
import { isJsonObject, type JsonObject, parseJsonObject, textOrNull } from './json.ts';
import type { WebhookHeaders, WebhookNews } from './psp.ts';

/** Where the signature of the whole body stands: base64 of its HMAC-SHA256 (lower case, as node:http gives names). */
const SIGNATURE_HEADER = 'hmacsignature';

/** "balancePlatform.transfer.created" and ".updated" tell of transfers; an endpoint may get others too. */
const ABOUT_TRANSFERS = /^balancePlatform\.transfer\./;

export type TransferWebhook =
  | { readonly kind: 'news'; readonly news: readonly WebhookNews[] }
  | { readonly kind: 'refused'; readonly reason: string };

/** Payments' webhooks are signed inside their body, and never carry this header. */
export function isPlatformWebhook(headers: WebhookHeaders): boolean {
  return headers[SIGNATURE_HEADER] !== undefined;
}

/**
 * The event of a webhook, or why it is refused.
 * Source: docs.adyen.com/development-resources/webhooks/verify-hmac-signatures, and the types of transferWebhooks in
 * Adyen's library.
 * @param rawBody exactly as received: the signature is over these bytes
 * @param hmacKeyHex the key of this webhook in hexadecimal
 */
export function parseTransferWebhook(
  rawBody: Buffer,
  headers: WebhookHeaders,
  hmacKeyHex: string,
): TransferWebhook {
  if (!/^(?:[0-9a-f]{2})+$/i.test(hmacKeyHex)) return refused('the HMAC key is not hexadecimal');
  const given = headers[SIGNATURE_HEADER];
  const expected = createHmac('sha256', Buffer.from(hmacKeyHex, 'hex')).update(rawBody).digest();
  const signature = Buffer.from(typeof given === 'string' ? given : '', 'base64');
  if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) {
    return refused('the body is not signed with this key');
  }
  const body = parseJsonObject(rawBody.toString('utf8'));
  const type = textOrNull(body?.type);
  if (body === null || type === null) return refused('signed, but without a type');
  if (!ABOUT_TRANSFERS.test(type)) return { kind: 'news', news: [] };
  const data = isJsonObject(body.data) ? body.data : null;
  const pspReference = textOrNull(data?.id);
  const status = textOrNull(data?.status);
  if (data === null || pspReference === null || status === null) {
    return refused('signed, but without a transfer in it');
  }
  const operationReference = operationOf(textOrNull(data.reference));
  const id = `${pspReference}:${placeOf(data, body, status)}`;
  return { kind: 'news', news: [{ id, type, operationReference, pspReference, says: null }] };
}

/** Which of the transfer's webhooks it is; every delivery of one says the same. */
function placeOf(data: JsonObject, body: JsonObject, status: string): string {
  const { sequenceNumber } = data;
  if (typeof sequenceNumber === 'number' && Number.isSafeInteger(sequenceNumber))
    return String(sequenceNumber);
  const at = textOrNull(data.updatedAt) ?? textOrNull(body.timestamp) ?? '';
  return `${status}:${at}`;
}

/** Other systems may share the balance platform: their references are none of ours. */
function operationOf(reference: string | null): string | null {
  if (reference === null || !reference.startsWith('op_')) return null;
  return parseId('operation', reference) === null ? null : reference;
}

function refused(reason: string): TransferWebhook {
  return { kind: 'refused', reason };
}
