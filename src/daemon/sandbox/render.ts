/**
 * Turns records into Stripe's JSON. Decides nothing and looks nothing up.
 * Metadata is kept as JSON text and put in as it is, which saves a parse and a print per answer.
 */
import { hash } from 'node:crypto';
import type { DisputeRecord } from './dispute.ts';
import type { About, EventRecord } from './events.ts';
import { chargeId, reversalId } from './ids.ts';
import type { ChargeRecord, IntentRecord } from './intent.ts';
import type { RefundRecord } from './refund.ts';
import type { Shown } from './shown.ts';
import { errorFields, type StripeError } from './stripe-errors.ts';
import { cardError, failureOf } from './test-cards.ts';
import { reversedOf, type TransferRecord } from './transfer.ts';

/** The version of the API that the sandbox speaks. */
export const STRIPE_VERSION = '2026-10-28.endive';

/** Whether `latest_charge` stands as a name or as the whole object. */
export type Expansion = 'none' | 'latest_charge';

/** The intent as Stripe's JSON object. */
export function renderIntent(intent: IntentRecord, expansion: Expansion): string {
  const last = intent.charges.length - 1;
  const charge = intent.charges[last];
  const extras = intent.extras ?? {};
  const fields = JSON.stringify({
    id: intent.id,
    object: 'payment_intent',
    amount: intent.amount,
    amount_capturable: intent.status === 'requires_capture' ? intent.amount : 0,
    amount_received: intent.received,
    application: null,
    application_fee_amount: null,
    automatic_payment_methods: { allow_redirects: extras.allow_redirects ?? 'never', enabled: true },
    canceled_at: intent.canceled?.at ?? null,
    cancellation_reason: intent.canceled?.reason ?? null,
    capture_method: intent.captureMethod,
    client_secret: `${intent.id}_secret_${hash('sha256', intent.id).slice(0, 25)}`,
    confirmation_method: extras.confirmation_method ?? 'automatic',
    created: intent.created,
    currency: intent.currency,
    customer: extras.customer ?? null,
    description: extras.description ?? null,
    last_payment_error:
      intent.failure === null ? null : paymentErrorFields(intent, cardError(intent.failure)),
    livemode: false,
    next_action: intent.status === 'requires_action' ? { type: 'use_stripe_sdk', use_stripe_sdk: {} } : null,
    on_behalf_of: null,
    payment_method: intent.paymentMethod,
    payment_method_options: { card: { request_three_d_secure: 'automatic' } },
    payment_method_types: ['card'],
    processing: null,
    receipt_email: extras.receipt_email ?? null,
    review: null,
    setup_future_usage: extras.setup_future_usage ?? null,
    shipping: null,
    statement_descriptor: extras.statement_descriptor ?? null,
    statement_descriptor_suffix: extras.statement_descriptor_suffix ?? null,
    status: intent.status,
    transfer_data: null,
    transfer_group: intent.transferGroup,
  });
  const latest =
    charge === undefined
      ? 'null'
      : expansion === 'latest_charge'
        ? renderCharge(intent, charge, last)
        : `"${chargeId(intent.id, last)}"`;
  return withMetadata(`${fields.slice(0, -1)},"latest_charge":${latest}}`, intent.metadataJson);
}

/** One charge of an intent; `number` is its place on the intent, from 0. */
export function renderCharge(intent: IntentRecord, charge: ChargeRecord, number: number): string {
  const failed = charge.failure === null ? null : failureOf(charge.failure);
  const fields = JSON.stringify({
    id: chargeId(intent.id, number),
    object: 'charge',
    amount: intent.amount,
    amount_captured: charge.captured,
    amount_refunded: charge.released ? intent.amount : charge.refunded,
    application_fee_amount: null,
    balance_transaction: null,
    captured: charge.captured > 0,
    created: charge.created,
    currency: intent.currency,
    customer: intent.extras?.customer ?? null,
    description: intent.extras?.description ?? null,
    disputed: charge.disputed,
    failure_balance_transaction: null,
    failure_code: failed?.code ?? null,
    failure_message: failed?.message ?? null,
    livemode: false,
    outcome: {
      network_status: failed === null ? 'approved_by_network' : 'declined_by_network',
      reason: failed === null ? null : (failed.declineCode ?? failed.code),
      risk_level: 'normal',
      seller_message: failed === null ? 'Payment complete.' : 'The bank declined the payment.',
      type: failed === null ? 'authorized' : 'issuer_declined',
    },
    paid: failed === null,
    payment_intent: intent.id,
    payment_method: charge.paymentMethod,
    payment_method_details: { card: { brand: 'visa', last4: '4242' }, type: 'card' },
    receipt_url: null,
    refunded: charge.released || (charge.captured > 0 && charge.refunded === charge.captured),
    status: failed === null ? 'succeeded' : 'failed',
    transfer_data: null,
    transfer_group: intent.transferGroup,
  });
  return withMetadata(fields, intent.metadataJson);
}

/** Any object, as the answer to the call that made it. */
export function renderShown(shown: Shown, expansion: Expansion): string {
  switch (shown.kind) {
    case 'intent':
      return renderIntent(shown.record, expansion);
    case 'refund':
      return renderRefund(shown.record);
    case 'transfer':
      return renderTransfer(shown.record);
    case 'reversal':
      return renderReversal(shown.record, shown.number);
    case 'dispute':
      return renderDispute(shown.record);
  }
}

/** Source: https://docs.stripe.com/api/events/object */
export function renderEvent(event: EventRecord): string {
  const fields = JSON.stringify({
    id: event.id,
    object: 'event',
    api_version: STRIPE_VERSION,
    created: event.created,
    livemode: false,
    pending_webhooks: 1,
    request: { id: null, idempotency_key: null },
    type: event.type,
  });
  return `${fields.slice(0, -1)},"data":{"object":${renderAbout(event.about)}}}`;
}

function renderAbout(about: About): string {
  if (about.kind !== 'charge') return renderShown(about, 'none');
  const charge = about.record.charges[about.number];
  return charge === undefined ? 'null' : renderCharge(about.record, charge, about.number);
}

/** Source: https://docs.stripe.com/api/refunds/object */
export function renderRefund(refund: RefundRecord): string {
  const fields = JSON.stringify({
    id: refund.id,
    object: 'refund',
    amount: refund.amount,
    balance_transaction: null,
    charge: chargeId(refund.intentId, refund.chargeNumber),
    created: refund.created,
    currency: refund.currency,
    destination_details: { card: { type: 'refund' }, type: 'card' },
    ...(refund.failure === null ? {} : { failure_reason: refund.failure }),
    next_action: null,
    payment_intent: refund.intentId,
    reason: refund.reason,
    receipt_number: null,
    source_transfer_reversal: null,
    status: refund.status,
    transfer_reversal: null,
  });
  return withMetadata(fields, refund.metadataJson);
}

/** Source: https://docs.stripe.com/api/transfers/object */
export function renderTransfer(transfer: TransferRecord): string {
  const { id, reversals } = transfer;
  const reversed = reversedOf(transfer);
  const fields = JSON.stringify({
    id,
    object: 'transfer',
    amount: transfer.amount,
    amount_reversed: reversed,
    balance_transaction: null,
    created: transfer.created,
    currency: transfer.currency,
    description: transfer.description,
    destination: transfer.destination,
    destination_payment: `py_${id.slice(3)}`,
    livemode: false,
    reversed: reversed === transfer.amount,
    source_transaction: null,
    source_type: 'card',
    transfer_group: transfer.transferGroup,
  });
  const list = renderList(
    `/v1/transfers/${id}/reversals`,
    reversals.map((_, number) => renderReversal(transfer, number)).reverse(),
    'is_last',
  );
  return withMetadata(`${fields.slice(0, -1)},"reversals":${list}}`, transfer.metadataJson);
}

/** One reversal of a transfer; `number` is its place there, from 0. */
function renderReversal(transfer: TransferRecord, number: number): string {
  const reversal = transfer.reversals[number];
  const fields = JSON.stringify({
    id: reversalId(transfer.id, number),
    object: 'transfer_reversal',
    amount: reversal?.amount ?? 0,
    balance_transaction: null,
    created: reversal?.created ?? 0,
    currency: transfer.currency,
    destination_payment_refund: null,
    source_refund: null,
    transfer: transfer.id,
  });
  return withMetadata(fields, reversal?.metadataJson ?? '{}');
}

/**
 * Source: https://docs.stripe.com/api/disputes/object
 * @param expanded the payment intent to stand in it as a whole
 */
export function renderDispute(dispute: DisputeRecord, expanded: IntentRecord | null = null): string {
  const fields = JSON.stringify({
    id: dispute.id,
    object: 'dispute',
    amount: dispute.amount,
    balance_transactions: [],
    charge: chargeId(dispute.intentId, dispute.chargeNumber),
    created: dispute.created,
    currency: dispute.currency,
    is_charge_refundable: false,
    livemode: false,
    metadata: {},
    reason: dispute.reason,
    status: dispute.status,
  });
  const intent = expanded === null ? JSON.stringify(dispute.intentId) : renderIntent(expanded, 'none');
  return `${fields.slice(0, -1)},"payment_intent":${intent}}`;
}

function withMetadata(fields: string, metadataJson: string): string {
  return `${fields.slice(0, -1)},"metadata":${metadataJson}}`;
}

/** `{"error":{…}}`, with the intent inside where the error is about one. */
export function renderError(error: StripeError, shown: Shown | null): string {
  const intent = shown?.kind === 'intent' ? shown.record : null;
  if (intent === null) return `{"error":${JSON.stringify(errorFields(error))}}\n`;
  const fields = JSON.stringify(paymentErrorFields(intent, error));
  return `{"error":${fields.slice(0, -1)},"payment_intent":${renderIntent(intent, 'none')}}}\n`;
}

/** A card error names the charge that failed, where Stripe got as far as making one. */
function paymentErrorFields(intent: IntentRecord, error: StripeError): Record<string, string> {
  const last = intent.charges.length - 1;
  if (error.type !== 'card_error' || intent.charges[last]?.failure !== intent.failure)
    return errorFields(error);
  return { charge: chargeId(intent.id, last), ...errorFields(error) };
}

/** A page of a list; `url` is the list's path. */
export function renderList(url: string, data: readonly string[], more: 'has_more' | 'is_last'): string {
  return `{"object":"list","url":"${url}","has_more":${more === 'has_more'},"data":[${data.join(',')}]}`;
}
