/** What HTTP answers to each result of asking for a refund. Decides only. */
import { unreachable } from '../../core/errors.ts';
import type { RefundResult } from '../../core/refund/accept-refunds.ts';
import { acceptedRefund } from '../../core/refund/refund-answer.ts';
import type { Problem } from './problem.ts';

/** @property body JSON text; the same bytes whenever the same name asks again */
export type RefundResponse =
  | {
      readonly kind: 'answer';
      readonly id: string;
      readonly replayed: 'replayed' | 'first';
      readonly body: string;
    }
  | { readonly kind: 'problem'; readonly problem: Problem };

export function refundResponse(result: RefundResult): RefundResponse {
  switch (result.kind) {
    case 'accepted':
    case 'replayed': {
      const answer = acceptedRefund(result.refund);
      const replayed = result.kind === 'accepted' ? 'first' : 'replayed';
      return { kind: 'answer', id: answer.id, replayed, body: JSON.stringify(answer) };
    }
    case 'order_not_found':
      return { kind: 'problem', problem: { code: 'not_found', detail: result.message } };
    case 'refund_id_reused':
    case 'not_refundable':
    case 'over_refund':
    case 'not_expressible':
      return { kind: 'problem', problem: { code: result.kind, detail: result.message } };
    case 'wrong_amount': {
      const [, message = ''] = result.message.split('amount: ');
      const faults = [{ field: 'amount', code: result.kind, message }];
      return { kind: 'problem', problem: { code: 'invalid_request', detail: result.message, faults } };
    }
    default:
      return unreachable(result);
  }
}
