/** `refunds show` and `refunds list`. Reads only. */
import { OperatorError, unreachable } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import type { RefundState } from '../../core/refund/refund.ts';
import { type RefundView, refundView } from '../../core/refund/refund-answer.ts';
import { ANY_REFUND, findRefund, listRefunds, type RefundRow } from '../../core/refund/refund-store.ts';
import { shownText } from '../../core/shown-text.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import type { Result } from '../render/render-result.ts';
import type { Block, Tone } from '../render/table.ts';
import type { Session } from '../session.ts';
import { requireId, timeText } from '../words.ts';
import { askFor, listResult, pageOf } from './page.ts';

/** Exit 1 when there is none. */
export async function showRefund(session: Session, name: string): Promise<number> {
  return withBook(session, async ({ db }) => {
    const row = await findRefund(db, name);
    if (row === null) {
      throw new OperatorError('refund_not_found', `There is no refund ${shownText(name)}.`, {
        kind: 'answer_is_no',
      });
    }
    await session.print(refundResult(row));
    return EXIT.done;
  });
}

/** One refund, for a person and as JSON. */
export function refundResult(row: RefundRow): Result {
  const view = refundView(row);
  return {
    json: view,
    blocks: [
      {
        kind: 'facts',
        facts: [
          ['refund', view.id],
          ['name', view.refund_id],
          ['order', `${view.payment_order_id} of ${view.payment_id}`],
          ['seller', view.seller],
          ['amount', `${view.amount} ${view.currency}`],
          ['fee share', `${view.fee_share} ${view.currency} given back by the platform`],
          ['status', { text: view.status, tone: toneOfRefund(view.status) }],
          ['detail', view.reason === null ? view.sub_state : `${view.sub_state}: ${view.reason}`],
          ['why', view.request_reason],
          ['PSP', `${view.psp_account} ${view.psp_reference ?? ''}`.trim()],
          ['requested', timeText(view.requested_at)],
        ],
      },
    ],
  };
}

export type RefundListFlags = {
  readonly order: string | null;
  readonly payment: string | null;
  readonly limit: number;
  readonly cursor: string | null;
};

/** One page, newest first. */
export async function listRefundsCommand(session: Session, flags: RefundListFlags): Promise<number> {
  const filter = {
    ...ANY_REFUND,
    orderId: flags.order === null ? null : requireId('order', flags.order),
    paymentId: flags.payment === null ? null : requireId('payment', flags.payment),
    beforeId: flags.cursor === null ? null : requireId('refund', flags.cursor),
    limit: askFor(flags.limit),
  };
  return withBook(session, async ({ db }) => {
    const page = pageOf(await listRefunds(db, filter), flags.limit);
    const next = page.next === null ? null : formatId('refund', page.next.id);
    const views = page.items.map(refundView);
    await session.print(listResult(views, next, [tableOf(views)]));
    return EXIT.done;
  });
}

function tableOf(views: readonly RefundView[]): Block {
  return {
    kind: 'table',
    empty: 'no refunds',
    columns: [
      { title: 'REFUND' },
      { title: 'NAME', shrink: true },
      { title: 'ORDER' },
      { title: 'SELLER', shrink: true },
      { title: 'AMOUNT', align: 'right' },
      { title: 'STATUS' },
      { title: 'DETAIL', shrink: true },
      { title: 'REQUESTED' },
    ],
    rows: views.map((view) => [
      view.id,
      view.refund_id,
      view.payment_order_id,
      view.seller,
      `${view.amount} ${view.currency}`,
      { text: view.status, tone: toneOfRefund(view.status) },
      view.reason ?? view.sub_state,
      timeText(view.requested_at),
    ]),
  };
}

function toneOfRefund(state: RefundState): Tone | null {
  switch (state) {
    case 'succeeded':
      return 'good';
    case 'failed':
    case 'canceled':
      return 'bad';
    case 'sent':
    case 'pending':
      return 'warn';
    case 'requested':
      return null;
    default:
      return unreachable(state);
  }
}
