/**
 * Where an attempt can be found at Stripe, and how it is told from others: one search per kind of operation.
 * Decides only; reading the pages is the enquiry's.
 */
import type { Reply, SentWindow } from './psp.ts';
import { isIntentOf, replyOfIntent } from './stripe-intent.ts';
import { carriesReferences } from './stripe-object.ts';
import { replyOfRefund } from './stripe-refund.ts';
import type { StoredCharge, StoredRefund, StoredTransfer } from './stripe-request.ts';
import { replyOfTransfer } from './stripe-transfer.ts';

/** 5 minutes in ms, on both sides of the window, for the difference between our clock and Stripe's. */
const CLOCK_MARGIN_MS = 5 * 60 * 1000;

export type StripeSearch = {
  /** In the singular, for sentences. */
  readonly noun: 'payment intent' | 'refund' | 'transfer';
  /** The list to read, without its query. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly isOurs: (object: unknown) => boolean;
  readonly replyOf: (object: unknown) => Reply;
  /** Charges of this group are looked at before the list; null where the list is short anyway. */
  readonly transferGroup: string | null;
};

/**
 * Payment intents cannot be listed by a reference of ours: every one that was created in [first sent − 5 min, last sent
 * + time-out + 5 min] is looked at.
 * @param timeoutMs how long the last send may have been under way
 */
export function searchForCharge(stored: StoredCharge, sent: SentWindow, timeoutMs: number): StripeSearch {
  return {
    noun: 'payment intent',
    path: '/v1/payment_intents',
    query: createdWithin(sent, timeoutMs),
    isOurs: (object) => isIntentOf(object, stored.expected),
    replyOf: (object) => replyOfIntent(object, stored.expected),
    transferGroup: stored.expected.metadata.paygate_order,
  };
}

/** All refunds of one payment intent, whenever they were made. */
export function searchForRefund({ expected }: StoredRefund): StripeSearch {
  return {
    noun: 'refund',
    path: '/v1/refunds',
    query: { payment_intent: expected.paymentIntent },
    isOurs: (object) => carriesReferences(object, expected.references),
    replyOf: (object) => replyOfRefund(object, expected),
    transferGroup: null,
  };
}

/** All transfers of one payout, whenever they were made: the operation is their group. */
export function searchForTransfer({ expected }: StoredTransfer): StripeSearch {
  return {
    noun: 'transfer',
    path: '/v1/transfers',
    query: { transfer_group: expected.transferGroup },
    isOurs: (object) => carriesReferences(object, expected.references),
    replyOf: (object) => replyOfTransfer(object, expected),
    transferGroup: null,
  };
}

function createdWithin(sent: SentWindow, timeoutMs: number): Record<string, string> {
  const from = Date.parse(sent.firstSentAt) - CLOCK_MARGIN_MS;
  const to = Date.parse(sent.lastSentAt) + timeoutMs + CLOCK_MARGIN_MS;
  // Stripe counts whole seconds.
  return { 'created[gte]': String(Math.floor(from / 1000)), 'created[lte]': String(Math.ceil(to / 1000)) };
}
