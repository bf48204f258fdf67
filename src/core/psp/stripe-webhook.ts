/**
 * Tells Stripe's webhooks from everybody else's and says what they are about. Pure: the secret and the time are
 * arguments. What an event says of an object's state is not read at all: it may be old, repeated or out of order, so
 * the caller only takes it as a reason to ask.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { isJsonObject, type JsonObject, parseJsonObject, textOrNull } from './json.ts';
import type { WebhookHeaders, WebhookReading } from './psp.ts';

/** Seconds, on both sides of now. Source: docs.stripe.com/webhooks/signature ("a default tolerance of 5 minutes"). */
const TOLERANCE_S = 300;

/** More than Stripe sends while a secret is being replaced (two), few enough to compare them all. */
const MAX_SIGNATURES = 16;

/** Stripe's headers have a few hundred characters; more is not looked at. */
const MAX_HEADER_LENGTH = 4_096;

/** 1 MB: an event holds one object of a few KB. */
const MAX_BODY_BYTES = 1_000_000;

/** The 32 bytes of an HMAC-SHA256, in hex. */
const DIGEST = /^[0-9a-f]{64}$/;

/** Our public operation ids; anything else in that place was not written by us. */
const OPERATION_ID = /^op_[1-9]\d{0,18}$/;

/**
 * What a delivery is: an event of Stripe's, or nothing that may be listened to. Constant time in the signature.
 * @param rawBody exactly as received; anything parsed and printed again has another signature
 * @param secret the endpoint's signing secret, `whsec_…`
 * @param nowS seconds since 1970
 */
export function readStripeWebhook(
  rawBody: Buffer,
  headers: WebhookHeaders,
  secret: string,
  nowS: number,
): WebhookReading {
  if (secret === '') return refused('no signing secret is configured');
  const header = headers['stripe-signature'];
  if (typeof header !== 'string' || header === '') return refused('no Stripe-Signature header');
  if (header.length > MAX_HEADER_LENGTH) return refused('a Stripe-Signature header that is too long');
  if (rawBody.length > MAX_BODY_BYTES) return refused(`more than ${MAX_BODY_BYTES} bytes`);
  const claim = readSignatureHeader(header);
  if (claim === null) return refused('a Stripe-Signature header that cannot be read');
  const expected = createHmac('sha256', secret).update(`${claim.signedAt}.`).update(rawBody).digest();
  if (!claim.signatures.some((signature) => timingSafeEqual(signature, expected)))
    return refused('no signature matches: another secret, or a body that was changed on its way');
  if (Math.abs(nowS - Number(claim.signedAt)) > TOLERANCE_S)
    return refused(`signed more than ${TOLERANCE_S} s from now`);
  return readEvent(rawBody.toString('utf8'));
}

/** @property signedAt whole seconds, as written: the text is what was signed */
type Claim = { readonly signedAt: string; readonly signatures: readonly Buffer[] };

/** `t=…,v1=…,v1=…,v0=…`: schemes other than v1 are not for production and are passed over. */
function readSignatureHeader(header: string): Claim | null {
  let signedAt: string | null = null;
  const signatures: Buffer[] = [];
  for (const item of header.split(',')) {
    const equals = item.indexOf('=');
    const [name, value] = [item.slice(0, equals).trim(), item.slice(equals + 1).trim()];
    if (name === 't') {
      if (signedAt !== null || !/^\d{1,12}$/.test(value)) return null;
      signedAt = value;
    }
    if (name !== 'v1' || !DIGEST.test(value)) continue;
    if (signatures.length === MAX_SIGNATURES) return null;
    signatures.push(Buffer.from(value, 'hex'));
  }
  return signedAt === null ? null : { signedAt, signatures };
}

function readEvent(text: string): WebhookReading {
  const event = parseJsonObject(text);
  const id = textOrNull(event?.id);
  const type = textOrNull(event?.type);
  if (event === null || event.object !== 'event' || id === null || type === null)
    return refused('signed, but not an event');
  const object = isJsonObject(event.data) && isJsonObject(event.data.object) ? event.data.object : null;
  return {
    kind: 'event',
    id,
    type,
    operationReference: object === null ? null : operationOf(object),
    pspReference: object === null ? null : referenceOf(object),
    ...disputeOf(object),
  };
}

function operationOf(object: JsonObject): string | null {
  const reference = isJsonObject(object.metadata) ? textOrNull(object.metadata.paygate_operation) : null;
  return reference !== null && OPERATION_ID.test(reference) ? reference : null;
}

function disputeOf(object: JsonObject | null): { readonly disputeReference?: string } {
  const reference = object?.object === 'dispute' ? textOrNull(object.id) : null;
  return reference === null ? {} : { disputeReference: reference };
}

/** Charges and disputes are known to us by their payment intent. */
function referenceOf(object: JsonObject): string | null {
  const byIntent = object.object === 'charge' || object.object === 'dispute';
  return (byIntent ? textOrNull(object.payment_intent) : null) ?? textOrNull(object.id);
}

function refused(reason: string): WebhookReading {
  return { kind: 'refused', reason };
}
