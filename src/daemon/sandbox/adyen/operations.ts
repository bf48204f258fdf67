/**
 * What Adyen's writing calls do: checks a body as Adyen does, then acts on the truth. Decides and makes records;
 * keys, faults and the journal are the engine's.
 */
import {
  type AdyenError,
  errorText,
  FORBIDDEN_MERCHANT,
  modificationText,
  paymentText,
  type Surface,
  transferText,
  validationError,
} from './answers.ts';
import {
  type Amount,
  type Change,
  eventOfTransfer,
  type ModificationRecord,
  type ModificationType,
  type PaymentRecord,
  type Settle,
  type TransferRecord,
} from './records.ts';
import type { AdyenState } from './state.ts';
import { type Behaviour, behaviourOfCode, behaviourOfHolder, behaviourOfToken } from './test-tokens.ts';

export type Body = Readonly<Record<string, unknown>>;

/** What a fault makes of the call: a forced ending, or one that comes later. */
export type Forced =
  | { readonly kind: 'declined'; readonly code: string }
  | { readonly kind: 'settles'; readonly settle: Settle };

interface ActContext {
  readonly state: AdyenState;
  readonly nowMs: number;
  readonly forced: Forced | null;
  /** When a payment that is pending of itself ends. */
  readonly pendingUntilMs: number;
}

export interface Effect {
  readonly change: Change | null;
  readonly status: number;
  readonly body: string;
}

/** A call that was checked and may be executed, or Adyen's refusal, of which nothing is stored. */
export type Prepared =
  | { readonly kind: 'refused'; readonly error: AdyenError }
  | { readonly kind: 'ready'; readonly act: (context: ActContext) => Effect };

export type WriteRoute =
  | { readonly name: 'payment' }
  /** @property payment its pspReference; null where the body names it by the merchant's reference */
  | { readonly name: 'modification'; readonly type: ModificationType; readonly payment: string | null }
  | { readonly name: 'transfer' };

export function surfaceOf(route: WriteRoute): Surface {
  return route.name === 'transfer' ? 'platform' : 'checkout';
}

export function prepareWrite(route: WriteRoute, body: Body): Prepared {
  switch (route.name) {
    case 'payment':
      return preparePayment(body);
    case 'modification':
      return prepareModification(body, route.type, route.payment);
    case 'transfer':
      return prepareTransfer(body);
  }
}

function preparePayment(body: Body): Prepared {
  const merchantAccount = textOf(body.merchantAccount);
  if (merchantAccount === '') return refused(FORBIDDEN_MERCHANT);
  const reference = textOf(body.reference);
  if (reference === '') return refused(validationError('130', 'Reference Missing'));
  const amount = readAmount(body.amount);
  if (amount === null) return refused(validationError('137', 'Invalid amount specified'));
  const method = objectOf(body.paymentMethod);
  const token = textOf(method.storedPaymentMethodId);
  if (method.type !== 'scheme' || token === '') {
    return refused(validationError('14_004', 'Missing payment method details'));
  }
  const ofToken = behaviourOfToken(token);
  if (ofToken === null || textOf(body.shopperReference) === '') {
    return refused(validationError('800', 'Contract not found'));
  }
  const requested = textOf(objectOf(body.additionalData).RequestedTestAcquirerResponseCode);
  const behaviour = behaviourOfCode(requested) ?? behaviourOfHolder(textOf(method.holderName)) ?? ofToken;
  const isPresent = body.recurringProcessingModel === 'CardOnFile';
  return {
    kind: 'ready',
    act: (context) => pay(context, { merchantAccount, reference, amount }, behaviour, isPresent),
  };
}

function pay(
  context: ActContext,
  asked: Pick<PaymentRecord, 'merchantAccount' | 'reference' | 'amount'>,
  behaviour: Behaviour,
  isPresent: boolean,
): Effect {
  const { forced, nowMs } = context;
  const name = context.state.nextName();
  const record = (more: Pick<PaymentRecord, 'status'> & Partial<PaymentRecord>): PaymentRecord => ({
    kind: 'payment',
    name,
    ...asked,
    refusal: null,
    createdMs: nowMs,
    settle: null,
    ...more,
  });
  if (forced?.kind === 'declined') return paid(record({ status: 'refused', refusal: forced.code }), null);
  if (forced?.kind === 'settles') return paid(record({ status: 'pending', settle: forced.settle }), null);
  switch (behaviour.kind) {
    case 'refused':
      return paid(record({ status: 'refused', refusal: behaviour.code }), null);
    case 'pending': {
      const settle = { atMs: context.pendingUntilMs, result: 'succeeded' } as const;
      return paid(record({ status: 'pending', settle }), behaviour.resultCode);
    }
    case 'challenge':
      return isPresent
        ? paid(record({ status: 'awaiting_shopper' }), behaviour.resultCode)
        : paid(record({ status: 'refused', refusal: '38' }), null);
    default:
      return paid(record({ status: behaviour.kind }), null);
  }
}

function paid(record: PaymentRecord, resultCode: string | null): Effect {
  const isEnded = record.status === 'authorised' || record.status === 'refused';
  const event = {
    subject: record.name,
    eventCode: 'AUTHORISATION',
    success: record.status === 'authorised',
    atMs: record.createdMs,
  };
  const change = { record, events: isEnded ? [event] : [] };
  return { change, status: 200, body: paymentText(record, resultCode) };
}

function prepareModification(body: Body, type: ModificationType, payment: string | null): Prepared {
  const merchantAccount = textOf(body.merchantAccount);
  if (merchantAccount === '') return refused(FORBIDDEN_MERCHANT);
  const amount = readAmount(body.amount);
  if (amount === null && (type === 'refund' || type === 'capture')) {
    return refused(validationError('137', 'Invalid amount specified'));
  }
  const asked = { merchantAccount, reference: textOf(body.reference), type, amount };
  const paymentReference = textOf(body.paymentReference);
  return {
    kind: 'ready',
    act: (context) => {
      const name = payment ?? context.state.latestPayment(paymentReference, merchantAccount);
      return modify(context, asked, name ?? '');
    },
  };
}

type AskedModification = Pick<ModificationRecord, 'merchantAccount' | 'reference' | 'type'> & {
  readonly amount: Amount | null;
};

/** Adyen looks only whether the payment is there; whether it can be done is told by the webhook. */
function modify(context: ActContext, asked: AskedModification, paymentName: string): Effect {
  const { state, nowMs, forced } = context;
  const payment = state.find(paymentName);
  if (payment?.kind !== 'payment' || payment.merchantAccount !== asked.merchantAccount) {
    const error = validationError('167', 'Original pspReference required for this operation');
    return { change: null, status: error.status, body: errorText(error, 'checkout') };
  }
  const amount = asked.amount ?? payment.amount;
  const isPossible = forced?.kind !== 'declined' && canModify(state, payment, asked.type, amount);
  const settle: Settle = isPossible
    ? forced?.kind === 'settles'
      ? forced.settle
      : { atMs: nowMs, result: 'succeeded' }
    : { atMs: nowMs, result: 'failed' };
  const record: ModificationRecord = {
    kind: 'modification',
    name: state.nextName(),
    payment: paymentName,
    ...asked,
    amount,
    status: 'received',
    createdMs: nowMs,
    settle,
  };
  return { change: { record, events: [] }, status: 201, body: modificationText(record) };
}

function canModify(
  state: AdyenState,
  payment: PaymentRecord,
  type: ModificationType,
  amount: Amount,
): boolean {
  // With automatic capture there is nothing left to cancel once the payment is authorised.
  if (type === 'cancel' || type === 'technical_cancel')
    return payment.status === 'awaiting_shopper' && !state.isCanceled(payment.name);
  if (payment.status !== 'authorised' || amount.currency !== payment.amount.currency) return false;
  if (type === 'capture') return amount.value <= payment.amount.value;
  return amount.value <= payment.amount.value - takenBack(state, payment);
}

/** What succeeded and open refunds of the payment have taken of it. */
function takenBack(state: AdyenState, payment: PaymentRecord): number {
  let sum = 0;
  for (const record of state.listByPayment(payment.name)) {
    if (record.kind !== 'modification') continue;
    const givesBack = record.type === 'refund' || record.type === 'reversal';
    const isFailing = record.status === 'failed' || record.settle?.result === 'failed';
    if (givesBack && !isFailing) sum += record.amount.value;
  }
  return sum;
}

/** A balance account with this in its name has no money. */
const EMPTY_ACCOUNT = 'EMPTY';

function prepareTransfer(body: Body): Prepared {
  const amount = readAmount(body.amount);
  if (amount === null) return refused(validationError('30_024', 'The amount is not valid'));
  const balanceAccount = textOf(body.balanceAccountId);
  const category = textOf(body.category);
  const recipient = objectOf(body.counterparty);
  const to = textOf(recipient.balanceAccountId) || textOf(recipient.transferInstrumentId);
  if (balanceAccount === '' || to === '' || (category !== 'internal' && category !== 'bank')) {
    return refused(validationError('30_010', 'balanceAccountId, category or counterparty is missing'));
  }
  return { kind: 'ready', act: (context) => transfer(context, body, amount, balanceAccount, to) };
}

function transfer(
  context: ActContext,
  body: Body,
  amount: Amount,
  balanceAccount: string,
  to: string,
): Effect {
  const { forced, nowMs } = context;
  const reason = balanceAccount.includes(EMPTY_ACCOUNT)
    ? 'notEnoughBalance'
    : forced?.kind === 'declined' || /refused/i.test(to)
      ? 'counterpartyAccountBlocked'
      : null;
  const settle: Settle = forced?.kind === 'settles' ? forced.settle : { atMs: nowMs, result: 'succeeded' };
  const record: TransferRecord = {
    kind: 'transfer',
    name: context.state.nextName(),
    reference: textOf(body.reference),
    amount,
    balanceAccount,
    status: reason === null ? 'authorised' : 'refused',
    reason,
    history: [reason === null ? 'authorised' : 'refused'],
    arrived: false,
    request: body,
    createdMs: nowMs,
    settle: reason === null ? settle : null,
  };
  const events = [eventOfTransfer(record, 'created', nowMs)];
  return { change: { record, events }, status: 202, body: transferText(record) };
}

function refused(error: AdyenError): Prepared {
  return { kind: 'refused', error };
}

function readAmount(value: unknown): Amount | null {
  const { currency, value: number } = objectOf(value);
  if (typeof currency !== 'string' || !/^[A-Z]{3}$/.test(currency)) return null;
  if (typeof number !== 'number' || !Number.isSafeInteger(number) || number <= 0) return null;
  return { currency, value: number };
}

export function objectOf(value: unknown): Body {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Body) : {};
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
