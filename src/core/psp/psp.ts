/**
 * The port to a payment service provider: what an attempt looks like to a connector, and the union of
 * answers it may give. Knows no database and no ledger.
 */
import type { Currency } from '../money.ts';

export type OperationKind = 'charge' | 'refund' | 'payout';

/** What a charge asks of the PSP; frozen into a request text at acceptance, before anything is sent. */
export type ChargeInstruction = {
  readonly idempotencyKey: string;
  readonly paymentId: string;
  readonly orderId: string;
  readonly operationId: string;
  readonly attemptNumber: number;
  readonly amountMinor: bigint;
  readonly currency: Currency;
  readonly paymentMethod: string;
  readonly buyer: string;
  readonly customerPresent: boolean;
};

/** What a refund asks of the PSP: part or all of one charge back to its buyer. */
export type RefundInstruction = {
  readonly idempotencyKey: string;
  readonly operationId: string;
  readonly orderId: string;
  readonly attemptNumber: number;
  /** The charge, as the PSP calls it. */
  readonly chargeReference: string;
  readonly amountMinor: bigint;
  readonly currency: Currency;
};

/** What a payout asks of the PSP: money from our balance there to the seller's account there. */
export type PayoutInstruction = {
  readonly idempotencyKey: string;
  readonly operationId: string;
  readonly attemptNumber: number;
  /** The seller's account at the PSP. */
  readonly destination: string;
  readonly amountMinor: bigint;
  readonly currency: Currency;
};

/** What of a charge decides whether a PSP can be asked for it at all. */
export type ChargeTerms = Pick<ChargeInstruction, 'amountMinor' | 'currency' | 'paymentMethod' | 'buyer'>;

/** The result of building a request: what the PSP cannot express exactly is rejected at acceptance. */
export type FrozenRequest =
  | { readonly kind: 'frozen'; readonly request: string }
  | { readonly kind: 'rejected'; readonly reason: string };

/** A stored attempt, as it is sent: the same text and the same key every time. */
export type StoredAttempt = {
  readonly operationKind: OperationKind;
  readonly idempotencyKey: string;
  /** The frozen request, exactly as stored. */
  readonly request: string;
  /** Our reference at the PSP (the operation's public id): enquiries look for it. */
  readonly reference: string;
};

/** When the attempt was first and last sent, by database time, ISO 8601; bounds the enquiry's listing. */
export type SentWindow = { readonly firstSentAt: string; readonly lastSentAt: string };

/**
 * What one call tells us. It is evidence, not yet an outcome: `merge` folds it with everything else that is
 * stored for the attempt, because after an earlier send that may have arrived, `rejected`, `not_sent`,
 * `rate_limited` and `config_error` end nothing.
 */
export type Reply =
  | {
      readonly kind: 'succeeded';
      readonly pspReference: string;
      /** Only where a person should know more: several objects at the PSP carry this attempt's references. */
      readonly reason?: string;
    }
  | {
      readonly kind: 'declined';
      readonly reason: string;
      /** True where the PSP's advice allows another attempt (soft decline). */
      readonly mayRetryAsNew: boolean;
      readonly pspReference: string | null;
    }
  | { readonly kind: 'rejected'; readonly reason: string }
  | { readonly kind: 'pending'; readonly pspReference: string }
  | {
      readonly kind: 'awaiting_customer';
      readonly pspReference: string;
      /** What the shop hands to the buyer: a client secret or a redirect address. */
      readonly handOff: string;
    }
  /** It had succeeded, and the PSP took the money back by itself. */
  | { readonly kind: 'reversed'; readonly reason: string; readonly pspReference: string }
  /** Provably never left this machine: connection refused, DNS, TLS, no free socket before the deadline. */
  | { readonly kind: 'not_sent'; readonly reason: string }
  /** The PSP refused to look at it: too many requests. */
  | { readonly kind: 'rate_limited'; readonly reason: string; readonly retryAfterMs: number | null }
  /** 401, 403, expired key, wrong mode: `fix` says what a person must change. */
  | { readonly kind: 'config_error'; readonly reason: string; readonly fix: string }
  /** The PSP may or may not have moved the money. */
  | {
      readonly kind: 'unknown';
      readonly reason: string;
      /** `resend`: the same request with the same key will tell. `enquire`: it will not (stored 5xx, key conflict). */
      readonly next: 'resend' | 'enquire';
      readonly retryAfterMs: number | null;
    };

/** The answer to an enquiry: what became of the attempt, or that a full listing did not show it. */
export type EnquiryReply = Reply | { readonly kind: 'not_found'; readonly reason: string };

/**
 * What a delivery to our webhook address is. An event is only ever a reason to enquire: it may be old, repeated, out of
 * order, and says nothing about state that is believed.
 */
export type WebhookReading =
  | {
      readonly kind: 'event';
      /** The PSP's name of the event, the same in every delivery of it. */
      readonly id: string;
      readonly type: string;
      /** Our operation's public id (`op_12`), where the object carries it. */
      readonly operationReference: string | null;
      /** The object as replies name it: for charges and disputes, the payment intent. */
      readonly pspReference: string | null;
      /** The dispute's own name; left out where it is about none. */
      readonly disputeReference?: string;
    }
  | { readonly kind: 'refused'; readonly reason: string };

/** One thing that a PSP tells by itself. */
export type WebhookNews = {
  /** The PSP's name of the event, the same in every delivery of it. */
  readonly id: string;
  readonly type: string;
  /** Our operation's public id (`op_12`), where the object carries it. */
  readonly operationReference: string | null;
  /** The object as replies name it; tells which attempt of the operation it is about. */
  readonly pspReference: string | null;
  /** What it is evidence of, where this PSP cannot be asked; null: a reason to ask. */
  readonly says: Reply | null;
  /** The dispute that it is about; left out where it is about none. */
  readonly dispute?: DisputeNews;
};

/** Where a dispute stands: the money is away, came back, or stays away. */
export type DisputeState = 'opened' | 'won' | 'lost';

/** A dispute as a webhook names it. */
export type DisputeNews = {
  /** The PSP's name of it. */
  readonly reference: string;
  /** What it says, where this PSP cannot be asked; null: a reason to ask. */
  readonly word: {
    /** The PSP's own word: CHARGEBACK, CHARGEBACK_REVERSED, … */
    readonly code: string;
    /** The charge, as replies name it. */
    readonly chargeReference: string;
    /** Null where the PSP's amount is none of the currency's. */
    readonly money: { readonly amountMinor: bigint; readonly currency: Currency } | null;
    readonly reason: string;
  } | null;
};

/** What a PSP answers about one dispute. */
export type DisputeReply =
  | {
      readonly kind: 'found';
      readonly state: DisputeState;
      readonly reason: string;
      readonly amountMinor: bigint;
      readonly currency: Currency;
      /** Of the attempt that it disputes, with our operation's public id. */
      readonly idempotencyKey: string;
      readonly operationReference: string;
    }
  /** It takes no money (a question of the bank's), or is of a charge that we did not make. */
  | { readonly kind: 'nothing'; readonly reason: string }
  /** Nothing was learned: ask again. */
  | { readonly kind: 'failed'; readonly reason: string; readonly retryAfterMs: number | null }
  /** This PSP has no such question; its signed words are all there is. */
  | { readonly kind: 'unaskable' };

/** What stands in a delivery, or why nothing of it is believed. */
type WebhookDelivery =
  | { readonly kind: 'news'; readonly news: readonly WebhookNews[] }
  | { readonly kind: 'refused'; readonly reason: string };

/** Headers of a request, names in lower case, as `node:http` gives them. */
export type WebhookHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

export type Capabilities = {
  /** How long after the first send the same key may be sent again, in ms. */
  readonly keyWindowMs: number;
  /** True where the PSP serialises concurrent requests of one key, so that a rescuer may resend at once. */
  readonly concurrentResendIsSafe: boolean;
  /** True where `enquire` can find an attempt of that kind by our reference; elsewhere it calls nobody and is doubt. */
  readonly canEnquire: Readonly<Record<OperationKind, boolean>>;
};

/**
 * A connector never throws for a business result and never retries a money call by itself: retries are
 * durable jobs. `deadlineMs` counts from the call and is absolute for all of it: waiting for a socket, connecting,
 * sending, and the last byte of the answer; for `enquire`, of every page. A call that ends at its deadline is
 * `not_sent` when it never got a connection, otherwise `unknown`.
 * `charge`, `refund` and `payout` throw a Bug only for an attempt of another kind; `enquire` takes all of them. A payout
 * is `succeeded` when the PSP has moved the money; a refund when the PSP says it is done, `declined` when it failed or
 * was canceled, whenever that is learned. A failed enquiry says nothing about the attempt: it
 * is `unknown`, `rate_limited` or `config_error`, never `rejected` or `not_sent`.
 */
export interface Connector {
  readonly capabilities: Capabilities;
  charge(attempt: StoredAttempt, deadlineMs: number): Promise<Reply>;
  refund(attempt: StoredAttempt, deadlineMs: number): Promise<Reply>;
  payout(attempt: StoredAttempt, deadlineMs: number): Promise<Reply>;
  enquire(attempt: StoredAttempt, sent: SentWindow, deadlineMs: number): Promise<EnquiryReply>;
  /** Reads one dispute. Moves no money, so it may try again; a failure says nothing about the dispute. */
  dispute(reference: string, deadlineMs: number): Promise<DisputeReply>;
  /**
   * Verifies and reads a delivery; moves and asks nothing.
   * @param rawBody exactly as received
   * @param secret of this webhook address
   * @param nowS seconds since 1970
   */
  parseWebhook(rawBody: Buffer, headers: WebhookHeaders, secret: string, nowS: number): WebhookDelivery;
  close(): Promise<void>;
}

/** Where a PSP account lives and how hard it may be driven. One lane, breaker and limit each. */
type AccountSettings = {
  /** Name in our books: `psp:{name}:receivable`. Lower case letters, digits, underscore; at most 40. */
  readonly name: string;
  readonly apiKey: string;
  /** Null for the PSP's own address; otherwise http(s)://host:port of a sandbox. */
  readonly baseUrl: string | null;
  /** Calls in flight at once per daemon (1–512). */
  readonly maxConcurrent: number;
  /** Absolute deadline of one call in ms (100–120,000). */
  readonly timeoutMs: number;
};

export type StripeAccount = AccountSettings & { readonly psp: 'stripe' };

export type AdyenAccount = AccountSettings & {
  readonly psp: 'adyen';
  /** The merchant account that takes the payments (its `merchantAccount` at Adyen). */
  readonly merchantAccount: string;
  /** The balance account that payouts are paid from ("BA…"); null where this account makes none. */
  readonly balanceAccountId: string | null;
  /** The company's prefix in Adyen's live addresses; null for Adyen's test environment. */
  readonly liveUrlPrefix: string | null;
};

export type PspAccount = StripeAccount | AdyenAccount;

/** What of an account a frozen request depends on. */
export type RequestAccount =
  | Pick<StripeAccount, 'psp'>
  | Pick<AdyenAccount, 'psp' | 'merchantAccount' | 'balanceAccountId'>;
