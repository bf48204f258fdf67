/** `payments show` and `payments list`. Reads only. */

import type { Queryable } from '../../core/db/connection.ts';
import { disputeView } from '../../core/dispute/dispute-answer.ts';
import { ANY_DISPUTE, listDisputes } from '../../core/dispute/dispute-store.ts';
import { OperatorError } from '../../core/errors.ts';
import { formatId, parseId } from '../../core/ids.ts';
import { type PublicState, subStatesOf } from '../../core/operation/operation.ts';
import { type PaymentView, paymentView } from '../../core/payment/payment-answer.ts';
import {
  findOrder,
  findPaymentByCheckout,
  listPaymentIds,
  listPaymentRows,
  type PaymentRow,
} from '../../core/payment/payment-store.ts';
import { shownText } from '../../core/shown-text.ts';
import { refText } from '../../core/suspense/suspense.ts';
import { ANY_SUSPENSE, listSuspense } from '../../core/suspense/suspense-store.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import type { Result } from '../render/render-result.ts';
import type { Block } from '../render/table.ts';
import type { Session } from '../session.ts';
import { moneyOf, requireId, sumUp, timeText, toneOf, totalsText } from '../words.ts';
import { askFor, listResult, pageOf } from './page.ts';
import { disputeTable } from './read-disputes.ts';

/** Exit 1 when there is none. */
export async function showPayment(session: Session, name: string): Promise<number> {
  return withBook(session, async ({ db }) => {
    const rows = await findPaymentRows(db, name);
    const { json, blocks } = paymentResult(rows);
    await session.print({ json, blocks: [...blocks, ...(await doubtOf(db, rows))] });
    return EXIT.done;
  });
}

/** What a person should know of it beside: disputes, and money of it that is in suspense. */
async function doubtOf(on: Queryable, rows: readonly PaymentRow[]): Promise<readonly Block[]> {
  const paymentIds = rows.slice(0, 1).map((row) => row.id);
  const disputes = (await listDisputes(on, { ...ANY_DISPUTE, paymentIds })).map(disputeView);
  const suspended = await listSuspense(on, { ...ANY_SUSPENSE, paymentIds, which: 'undecided' });
  return [
    ...(disputes.length === 0 ? [] : [disputeTable(disputes)]),
    ...suspended.map((one): Block => {
      const text = `in suspense: ${totalsText(sumUp([moneyOf(one)]))}: paygate suspense show ${refText(one)}`;
      return { kind: 'line', text: { text, tone: 'bad' } };
    }),
  ];
}

/**
 * By id, order or checkout; a checkout may look like an id, so the prefix decides and the checkout is tried next.
 * @throws OperatorError payment_not_found
 */
async function findPaymentRows(on: Queryable, name: string): Promise<readonly PaymentRow[]> {
  for (const id of await candidates(on, name)) {
    const rows = id === null ? [] : await listPaymentRows(on, [id]);
    if (rows.length > 0) return rows;
  }
  throw new OperatorError('payment_not_found', `There is no payment, order or checkout ${shownText(name)}.`, {
    kind: 'answer_is_no',
  });
}

async function candidates(on: Queryable, name: string): Promise<readonly (bigint | null)[]> {
  const byPrefix = name.startsWith('pay_') ? parseId('payment', name) : null;
  const orderId = name.startsWith('ord_') ? parseId('order', name) : null;
  const order = orderId === null ? null : await findOrder(on, orderId);
  const byCheckout = await findPaymentByCheckout(on, name.normalize('NFC'));
  return [byPrefix, order?.paymentId ?? null, byCheckout, parseId('payment', name)];
}

/** @param rows of one payment */
export function paymentResult(rows: readonly PaymentRow[]): Result {
  const view = paymentView(rows);
  return { json: view, blocks: [factsOf(view, rows), ordersOf(view, rows)] };
}

function factsOf(view: PaymentView, rows: readonly PaymentRow[]): Block {
  const charged = sumUp(rows.filter((row) => row.subState === 'succeeded').map(moneyOf));
  const refunded = sumUp(
    rows
      .filter((row) => row.refundedMinor > 0n)
      .map((row) => ({ ...moneyOf(row), amountMinor: row.refundedMinor })),
  );
  const disputed = sumUp(
    rows
      .filter((row) => row.disputedMinor > 0n)
      .map((row) => ({ ...moneyOf(row), amountMinor: row.disputedMinor })),
  );
  const metadata = Object.entries(view.metadata).map(([key, value]) => `${key}=${value}`);
  return {
    kind: 'facts',
    facts: [
      ['payment', view.payment_id],
      ['checkout', view.checkout_id],
      ['buyer', view.buyer],
      [
        'status',
        { text: view.partial ? `${view.status} (partial)` : view.status, tone: toneOf(view.status) },
      ],
      ['amount', totalsText(sumUp(rows.map(moneyOf)))],
      ['charged', charged.size === 0 ? 'nothing' : totalsText(charged)],
      ...(refunded.size === 0 ? [] : [['refunded', totalsText(refunded)] as const]),
      ...(disputed.size === 0 ? [] : [['disputed', totalsText(disputed)] as const]),
      ['risk', `${view.risk.decision}: ${view.risk.reason}`],
      ['accepted', timeText(view.accepted_at)],
      ['key', view.idempotency_key],
      ...(metadata.length === 0 ? [] : [['metadata', metadata.join(', ')] as const]),
    ],
  };
}

function ordersOf(view: PaymentView, rows: readonly PaymentRow[]): Block {
  return {
    kind: 'table',
    empty: 'no orders',
    columns: [
      { title: 'ORDER' },
      { title: 'SELLER', shrink: true },
      { title: 'AMOUNT', align: 'right' },
      { title: 'FEE', align: 'right' },
      { title: 'STATUS' },
      { title: 'DETAIL' },
      { title: 'REASON', shrink: true },
      { title: 'PSP', shrink: true },
      { title: 'PSP REFERENCE', shrink: true },
    ],
    rows: view.payment_orders.map((order, i) => [
      order.payment_order_id,
      order.seller,
      totalsText(sumUp([moneyOf(rows[i]!)])),
      order.platform_fee,
      { text: order.status, tone: toneOf(order.status) },
      order.sub_state,
      order.reason ?? '',
      order.psp_account,
      order.psp_reference ?? '',
    ]),
  };
}

export type PaymentListFlags = {
  readonly status: PublicState | null;
  readonly buyer: string | null;
  readonly seller: string | null;
  readonly batch: string | null;
  readonly limit: number;
  readonly cursor: string | null;
};

/** One page, newest first. */
export async function listPayments(session: Session, flags: PaymentListFlags): Promise<number> {
  const filter = {
    beforeId: flags.cursor === null ? null : requireId('payment', flags.cursor),
    limit: askFor(flags.limit),
    buyer: flags.buyer?.normalize('NFC') ?? null,
    seller: flags.seller?.normalize('NFC') ?? null,
    batchId: flags.batch === null ? null : requireId('batch', flags.batch),
    subStates: flags.status === null ? null : subStatesOf(flags.status),
  };
  return withBook(session, async ({ db }) => {
    const page = pageOf(await listPaymentIds(db, filter), flags.limit);
    const rows = page.items.length === 0 ? [] : await listPaymentRows(db, page.items);
    const payments = [...Map.groupBy(rows, (row) => row.id).values()];
    const next = page.next === null ? null : formatId('payment', page.next);
    await session.print(listResult(payments.map(paymentView), next, [tableOf(payments)]));
    return EXIT.done;
  });
}

function tableOf(payments: readonly (readonly PaymentRow[])[]): Block {
  return {
    kind: 'table',
    empty: 'no payments',
    columns: [
      { title: 'PAYMENT' },
      { title: 'CHECKOUT', shrink: true },
      { title: 'BUYER', shrink: true },
      { title: 'STATUS' },
      { title: 'ORDERS', align: 'right' },
      { title: 'AMOUNT', align: 'right' },
      { title: 'DETAIL', shrink: true },
      { title: 'ACCEPTED' },
    ],
    rows: payments.map((rows) => {
      const view = paymentView(rows);
      const details = [...new Set(rows.map((row) => row.subState))].join(', ');
      return [
        view.payment_id,
        view.checkout_id,
        view.buyer,
        { text: view.status, tone: toneOf(view.status) },
        String(rows.length),
        totalsText(sumUp(rows.map(moneyOf))),
        details,
        timeText(view.accepted_at),
      ];
    }),
  };
}
