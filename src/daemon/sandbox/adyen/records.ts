/**
 * Adyen's objects as records, and what may happen to them (pure): payments, modifications, transfers. Records are
 * never changed in place. Amounts in Adyen's minor unit, times in milliseconds since 1970, sandbox time.
 */

export interface Amount {
  readonly currency: string;
  readonly value: number;
}

/** When something that was received ends, and how. */
export interface Settle {
  readonly atMs: number;
  readonly result: 'succeeded' | 'failed';
}

/**
 * @property status `authorised` has the money: capture is automatic, as on a marketplace's account
 * @property refusal the refusal reason code, only when `refused`
 */
export interface PaymentRecord {
  readonly kind: 'payment';
  readonly name: string;
  readonly merchantAccount: string;
  readonly reference: string;
  readonly amount: Amount;
  readonly status: 'authorised' | 'refused' | 'cancelled' | 'pending' | 'awaiting_shopper' | 'error';
  readonly refusal: string | null;
  readonly createdMs: number;
  readonly settle: Settle | null;
}

export type ModificationType = 'capture' | 'refund' | 'cancel' | 'reversal';

/** @property payment the pspReference of the payment it changes */
export interface ModificationRecord {
  readonly kind: 'modification';
  readonly type: ModificationType;
  readonly name: string;
  readonly payment: string;
  readonly merchantAccount: string;
  readonly reference: string;
  readonly amount: Amount;
  readonly status: 'received' | 'succeeded' | 'failed';
  readonly createdMs: number;
  readonly settle: Settle | null;
}

/** @property request what was asked for, put into answers as it came */
export interface TransferRecord {
  readonly kind: 'transfer';
  readonly name: string;
  readonly reference: string;
  readonly amount: Amount;
  readonly balanceAccount: string;
  readonly status: 'authorised' | 'booked' | 'failed' | 'refused' | 'returned';
  readonly reason: string | null;
  readonly request: Readonly<Record<string, unknown>>;
  readonly createdMs: number;
  readonly settle: Settle | null;
}

/**
 * A shopper's bank takes a payment back.
 * @property payment the pspReference of the payment
 * @property status `announced` has taken nothing yet; `won` has given it back
 */
export interface DisputeRecord {
  readonly kind: 'dispute';
  readonly name: string;
  readonly payment: string;
  readonly merchantAccount: string;
  readonly reference: string;
  readonly amount: Amount;
  readonly status: 'announced' | 'opened' | 'won' | 'lost';
  readonly createdMs: number;
  readonly settle: null;
}

export type AdyenRecord = PaymentRecord | ModificationRecord | TransferRecord | DisputeRecord;

/** What a webhook tells: that something happened to a payment, a modification or a dispute. Transfers have none here. */
export interface AdyenEvent {
  readonly subject: string;
  readonly eventCode: string;
  readonly success: boolean;
  readonly atMs: number;
}

/** The new version of a record, and what its webhooks tell. */
export interface Change {
  readonly record: AdyenRecord;
  readonly events: readonly AdyenEvent[];
}

const EVENT_CODES: Readonly<Record<ModificationType, string>> = {
  capture: 'CAPTURE',
  refund: 'REFUND',
  cancel: 'CANCELLATION',
  reversal: 'CANCEL_OR_REFUND',
};

/** Ends what was received as was decided then; null for what is not waiting. */
export function settleRecord(record: AdyenRecord): Change | null {
  if (record.settle === null) return null;
  const { atMs, result } = record.settle;
  const won = result === 'succeeded';
  switch (record.kind) {
    case 'payment':
      return endPayment(record, won, atMs);
    case 'modification': {
      const ended = { ...record, status: result, settle: null };
      const eventCode = EVENT_CODES[record.type];
      return { record: ended, events: [{ subject: record.name, eventCode, success: won, atMs }] };
    }
    case 'transfer':
      return { record: { ...record, status: won ? 'booked' : 'failed', settle: null }, events: [] };
  }
}

/** A payment that was authorised turns out not to be captured: the money never comes. Null for anything else. */
export function failCapture(record: AdyenRecord, atMs: number): Change | null {
  if (record.kind !== 'payment' || record.status !== 'authorised') return null;
  return {
    record: { ...record, status: 'cancelled' },
    events: [{ subject: record.name, eventCode: 'CAPTURE_FAILED', success: true, atMs }],
  };
}

/** What happens in a bank's procedure, and the words for it. */
const DISPUTE_STEPS = {
  announced: 'NOTIFICATION_OF_CHARGEBACK',
  opened: 'CHARGEBACK',
  won: 'CHARGEBACK_REVERSED',
  lost: 'SECOND_CHARGEBACK',
} as const satisfies Record<DisputeRecord['status'], string>;

/** Which steps may follow one. */
const NEXT_STEPS: Readonly<Record<DisputeRecord['status'], readonly DisputeRecord['status'][]>> = {
  announced: ['opened'],
  opened: ['won', 'lost'],
  won: ['lost'],
  lost: [],
};

/** A bank announces that it takes an authorised payment back; null for anything else. */
export function announceDispute(record: AdyenRecord, name: string, atMs: number): Change | null {
  if (record.kind !== 'payment' || record.status !== 'authorised') return null;
  const { merchantAccount, reference, amount } = record;
  const dispute: DisputeRecord = {
    kind: 'dispute',
    name,
    payment: record.name,
    merchantAccount,
    reference,
    amount,
    status: 'announced',
    createdMs: atMs,
    settle: null,
  };
  return { record: dispute, events: [eventOf(dispute, atMs)] };
}

/** The dispute one step on; null where that cannot follow. */
export function moveDispute(record: AdyenRecord, to: DisputeRecord['status'], atMs: number): Change | null {
  if (record.kind !== 'dispute' || !NEXT_STEPS[record.status].includes(to)) return null;
  const moved = { ...record, status: to };
  return { record: moved, events: [eventOf(moved, atMs)] };
}

function eventOf({ name, status }: DisputeRecord, atMs: number): AdyenEvent {
  return { subject: name, eventCode: DISPUTE_STEPS[status], success: true, atMs };
}

/** Authorises or refuses a payment that was open, and says so. */
export function endPayment(payment: PaymentRecord, won: boolean, atMs: number): Change {
  const ended = won
    ? ({ ...payment, status: 'authorised', settle: null } as const)
    : ({ ...payment, status: 'refused', refusal: '2', settle: null } as const);
  return {
    record: ended,
    events: [{ subject: payment.name, eventCode: 'AUTHORISATION', success: won, atMs }],
  };
}

/** A refund that had succeeded comes back; null for anything else. */
export function failRefund(record: AdyenRecord, atMs: number): Change | null {
  if (record.kind !== 'modification' || record.type !== 'refund' || record.status !== 'succeeded')
    return null;
  return {
    record: { ...record, status: 'failed' },
    events: [{ subject: record.name, eventCode: 'REFUND_FAILED', success: true, atMs }],
  };
}

/** A booked transfer comes back; null for anything else. */
export function returnTransfer(record: AdyenRecord): Change | null {
  if (record.kind !== 'transfer' || record.status !== 'booked') return null;
  return { record: { ...record, status: 'returned', reason: 'returned' }, events: [] };
}
