/**
 * Adyen's answers as text: errors of both interfaces, payments, modifications, transfers. Prints only.
 */
import type { Reply } from '../engine.ts';
import type { ModificationRecord, PaymentRecord, TransferRecord } from './records.ts';
import { refusalReason } from './test-tokens.ts';

/** Checkout and the balance platform word their errors differently. */
export type Surface = 'checkout' | 'platform';

/** @property errorCode Adyen's number for it; @property type Checkout's `errorType` */
export interface AdyenError {
  readonly status: number;
  readonly errorCode: string;
  readonly message: string;
  readonly type: 'validation' | 'security' | 'internal';
}

export function validationError(errorCode: string, message: string): AdyenError {
  return { status: 422, errorCode, message, type: 'validation' };
}

export const UNAUTHORIZED: AdyenError = {
  status: 401,
  errorCode: '000',
  message: 'HTTP Status Response - Unauthorized',
  type: 'security',
};
export const FORBIDDEN_MERCHANT: AdyenError = {
  status: 403,
  errorCode: '901',
  message: 'Invalid Merchant Account',
  type: 'security',
};
export const RATE_LIMITED: AdyenError = {
  status: 429,
  errorCode: '29_001',
  message: 'Too many requests',
  type: 'validation',
};
/** Source: docs.adyen.com/development-resources/api-idempotency. */
export const KEY_IN_USE: AdyenError = {
  status: 422,
  errorCode: '704',
  message: 'request already processed or in progress',
  type: 'validation',
};
export const INTERNAL_ERROR: AdyenError = {
  status: 500,
  errorCode: '905',
  message: 'An internal error occurred',
  type: 'internal',
};

/** An error that nothing was stored of. */
export function refusal(error: AdyenError, surface: Surface): Reply {
  return { status: error.status, body: errorText(error, surface), origin: 'refused' };
}

export function errorText(error: AdyenError, surface: Surface): string {
  const { status, errorCode, message, type } = error;
  if (surface === 'checkout') return JSON.stringify({ status, errorCode, message, errorType: type });
  const title = status >= 500 ? 'An internal error happened' : 'The request was refused';
  const about = 'https://docs.adyen.com/errors';
  return JSON.stringify({ type: about, title, status, detail: message, errorCode, requestId: 'sandbox' });
}

const PAYMENT_RESULTS: Readonly<Record<PaymentRecord['status'], string>> = {
  authorised: 'Authorised',
  refused: 'Refused',
  cancelled: 'Cancelled',
  pending: 'Pending',
  awaiting_shopper: 'RedirectShopper',
  error: 'Error',
};

/** @param resultCode overrules the one that follows from the status, where several do */
export function paymentText(payment: PaymentRecord, resultCode: string | null): string {
  const { name, reference, amount, refusal: code } = payment;
  const result = resultCode ?? PAYMENT_RESULTS[payment.status];
  return JSON.stringify({
    // A redirect has no reference before the shopper comes back.
    ...(result === 'RedirectShopper' ? {} : { pspReference: name }),
    resultCode: result,
    merchantReference: reference,
    amount,
    ...(code === null ? {} : { refusalReason: refusalReason(code), refusalReasonCode: code }),
    ...(payment.status === 'awaiting_shopper' ? { action: actionOf(name, result) } : {}),
  });
}

function actionOf(name: string, result: string): object {
  return result === 'RedirectShopper'
    ? { type: 'redirect', method: 'GET', url: `https://bank.example/challenge/${name}` }
    : { type: 'threeDS2', subtype: 'challenge', token: `token-of-${name}` };
}

/** Adyen only ever says that it received it. */
export function modificationText(modification: ModificationRecord): string {
  const { merchantAccount, payment, name, reference, amount, type } = modification;
  const common = { merchantAccount, paymentPspReference: payment, pspReference: name, reference };
  const sized = type === 'capture' || type === 'refund' ? { ...common, amount } : common;
  return JSON.stringify({ ...sized, status: 'received' });
}

export function transferText(transfer: TransferRecord): string {
  return JSON.stringify(transferObject(transfer));
}

/** A transfer as answers and webhooks show it. */
export function transferObject(transfer: TransferRecord): object {
  const { name, reference, amount, status, reason, createdMs, request } = transfer;
  return {
    ...request,
    id: name,
    reference,
    amount,
    status,
    ...(reason === null ? {} : { reason }),
    createdAt: new Date(createdMs).toISOString(),
    direction: 'outgoing',
    events: transfer.history.map((status) => ({ type: 'accounting', status })),
    ...(transfer.arrived ? { tracking: { type: 'confirmation', status: 'credited' } } : {}),
  };
}
