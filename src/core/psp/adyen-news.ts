/**
 * What a verified webhook of Adyen is evidence of. Checkout has no way to ask, so its signed word is all there is.
 * Source: docs.adyen.com/development-resources/webhooks/webhook-types. Decides only.
 */
import { parseCurrency } from '../money.ts';
import { fromAdyenValue } from './adyen-minor-unit.ts';
import type { AdyenEvent } from './adyen-webhook.ts';
import type { DisputeNews, Reply, WebhookNews } from './psp.ts';

/** Event codes of the bank's procedure, folded by `stateOfWords`. Source: docs.adyen.com/risk-management/disputes-api/dispute-notifications. */
const OF_DISPUTES: ReadonlySet<string> = new Set([
  'CHARGEBACK',
  'CHARGEBACK_REVERSED',
  'DISPUTE_DEFENSE_PERIOD_ENDED',
  'NOTIFICATION_OF_CHARGEBACK',
  'PREARBITRATION_LOST',
  'PREARBITRATION_WON',
  'REQUEST_FOR_INFORMATION',
  'SECOND_CHARGEBACK',
]);

/** Event codes that take a payment back; the payment is their original, or what they are about. */
const OF_REVERSALS: ReadonlySet<string> = new Set(['CANCELLATION', 'CAPTURE_FAILED', 'TECHNICAL_CANCEL']);

export function newsOfAdyen(event: AdyenEvent): WebhookNews {
  const { id, type, operationReference } = event;
  const dispute = disputeOf(event);
  return {
    id,
    type,
    operationReference,
    pspReference: subjectOf(event),
    says: saysAdyen(event),
    ...(dispute === null ? {} : { dispute }),
  };
}

/** What replies of ours are known by. */
function subjectOf({ type, pspReference, originalReference }: AdyenEvent): string {
  const isOfPayment = OF_REVERSALS.has(type) || OF_DISPUTES.has(type);
  return isOfPayment ? (originalReference ?? pspReference) : pspReference;
}

/** Null: it says nothing about a charge or refund of ours that is not known by its reply. */
function saysAdyen(
  event: Pick<AdyenEvent, 'type' | 'success' | 'pspReference' | 'originalReference'>,
): Reply | null {
  const { type, success, pspReference, originalReference } = event;
  switch (type) {
    case 'AUTHORISATION':
    case 'REFUND':
      return success ? { kind: 'succeeded', pspReference } : undone(event);
    // The refund had been told as done; the money came back.
    case 'REFUND_FAILED':
    case 'REFUNDED_REVERSED':
      return undone(event);
    // The payment had been told as done; it was never captured, or taken back.
    case 'CAPTURE_FAILED':
    case 'CANCELLATION':
    case 'TECHNICAL_CANCEL':
      return success
        ? { kind: 'reversed', reason: `webhook ${type}`, pspReference: originalReference ?? pspReference }
        : null;
    default:
      return null;
  }
}

function undone({ type, pspReference }: Pick<AdyenEvent, 'type' | 'pspReference'>): Reply {
  return { kind: 'declined', reason: `webhook ${type}`, mayRetryAsNew: false, pspReference };
}

/** Null where it is about none, or names no payment. */
function disputeOf(event: AdyenEvent): DisputeNews | null {
  const { type, success, pspReference, originalReference, amount } = event;
  if (!OF_DISPUTES.has(type) || !success || originalReference === null) return null;
  const currency = amount === null ? null : parseCurrency(amount.currency);
  const amountMinor = amount === null || currency === null ? null : fromAdyenValue(amount.value, currency);
  const money = currency === null || amountMinor === null ? null : { amountMinor, currency };
  const reason = event.reason ?? 'no reason given';
  return { reference: pspReference, word: { code: type, chargeReference: originalReference, money, reason } };
}
