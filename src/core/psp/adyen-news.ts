/**
 * What a verified webhook of Adyen is evidence of. Checkout has no way to ask, so its signed word is all there is.
 * Source: docs.adyen.com/development-resources/webhooks/webhook-types. Decides only.
 */
import type { AdyenEvent } from './adyen-webhook.ts';
import type { Reply } from './psp.ts';

/** Null: it says nothing about a charge or refund of ours that is not known by its reply. */
export function saysAdyen(event: Omit<AdyenEvent, 'id' | 'operationReference'>): Reply | null {
  const { type, success, pspReference } = event;
  switch (type) {
    case 'AUTHORISATION':
    case 'REFUND':
      return success ? { kind: 'succeeded', pspReference } : undone(event);
    // The refund had been told as done; the money came back.
    case 'REFUND_FAILED':
    case 'REFUNDED_REVERSED':
      return undone(event);
    // Nothing was charged, and nothing can be any more. A refusal to cancel says nothing: the payment goes on.
    case 'CANCELLATION':
    case 'TECHNICAL_CANCEL':
      return success
        ? { kind: 'declined', reason: 'canceled', mayRetryAsNew: true, pspReference: event.originalReference }
        : null;
    default:
      return null;
  }
}

const CANCELS: ReadonlySet<string> = new Set(['CANCELLATION', 'TECHNICAL_CANCEL']);

/** What it is about, as replies name it: a cancellation has a name of its own and is about the payment. */
export function subjectOf({
  type,
  pspReference,
  originalReference,
}: Pick<AdyenEvent, 'type' | 'pspReference' | 'originalReference'>): string | null {
  return CANCELS.has(type) ? originalReference : pspReference;
}

function undone({ type, pspReference }: Pick<AdyenEvent, 'type' | 'pspReference'>): Reply {
  return { kind: 'declined', reason: `webhook ${type}`, mayRetryAsNew: false, pspReference };
}
