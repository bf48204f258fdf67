/** What HTTP answers to each result of a submission (the idempotency table of the domain). Decides only. */
import { unreachable } from '../../core/errors.ts';
import type { RetryResult } from '../../core/payment/retry-order.ts';
import type { SubmitResult } from '../../core/payment/submit-payments.ts';
import { NO_SUCH_ORDER, type Problem } from './problem.ts';

/** @property body JSON text; the same bytes whenever the same key asks again */
export type PaymentResponse =
  | {
      readonly kind: 'answer';
      readonly status: 200 | 202;
      readonly paymentId: string;
      readonly replayed: 'replayed' | 'first';
      readonly body: string;
    }
  | { readonly kind: 'problem'; readonly problem: Problem };

/** A payment that risk blocked is accepted too: stored as FAILED, and told in the body. */
export function paymentResponse(result: SubmitResult): PaymentResponse {
  switch (result.kind) {
    case 'accepted': {
      const body = JSON.stringify(result.answer);
      return { kind: 'answer', status: 202, paymentId: result.answer.payment_id, replayed: 'first', body };
    }
    case 'replayed': {
      const { status, body, answer } = result;
      return { kind: 'answer', status, paymentId: answer.payment_id, replayed: 'replayed', body };
    }
    case 'deduplicated': {
      const { body, answer } = result;
      return { kind: 'answer', status: 200, paymentId: answer.payment_id, replayed: 'first', body };
    }
    case 'idempotency_key_reused':
    case 'not_expressible':
      return { kind: 'problem', problem: { code: result.kind, detail: result.message } };
    case 'checkout_conflict':
      return {
        kind: 'problem',
        problem: { code: result.kind, detail: result.message, paymentId: result.paymentId },
      };
    case 'request_in_progress':
      return { kind: 'problem', problem: inProgress(result.retryAfterMs) };
    default:
      return unreachable(result);
  }
}

/** An attempt that risk stopped is answered too: the order stays FAILED, and the body says why. */
export function retryResponse(result: RetryResult): PaymentResponse {
  switch (result.kind) {
    case 'accepted':
    case 'replayed': {
      const { body, answer } = result;
      const replayed = result.kind === 'replayed' ? 'replayed' : 'first';
      return { kind: 'answer', status: 202, paymentId: answer.payment_id, replayed, body };
    }
    case 'not_found':
      return { kind: 'problem', problem: NO_SUCH_ORDER };
    case 'idempotency_key_reused':
    case 'not_expressible':
      return { kind: 'problem', problem: { code: result.kind, detail: result.message } };
    case 'refused':
      return { kind: 'problem', problem: { code: result.code, detail: result.message } };
    case 'request_in_progress':
      return { kind: 'problem', problem: inProgress(result.retryAfterMs) };
    default:
      return unreachable(result);
  }
}

function inProgress(retryAfterMs: number): Problem {
  return {
    code: 'request_in_progress',
    detail: 'Send the same request again with the same key to get its answer.',
    retryAfterS: Math.max(1, Math.ceil(retryAfterMs / 1_000)),
  };
}
