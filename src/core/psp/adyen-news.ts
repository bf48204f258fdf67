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
      return success ? { kind: 'succeeded', pspReference } : failed(event);
    // The refund had been told as done; the money came back. Adyen's webhooks keep no order.
    case 'REFUND_FAILED':
    case 'REFUNDED_REVERSED':
      return { ...failed(event), isUndone: true };
    default:
      return null;
  }
}

function failed({ type, pspReference }: Pick<AdyenEvent, 'type' | 'pspReference'>) {
  return {
    kind: 'declined',
    reason: `webhook ${type}`,
    mayRetryAsNew: false,
    pspReference,
  } as const satisfies Reply;
}
