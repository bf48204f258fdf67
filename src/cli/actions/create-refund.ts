/**
 * `refunds create`: shows what it will do to the order and the seller's wallet, has it confirmed, and stores it. The
 * daemon sends it. The name is shown before anything is stored, so that asking again is always safe.
 */
import { randomUUID } from 'node:crypto';
import { accountsOf } from '../../core/config.ts';
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { parseAmount } from '../../core/money.ts';
import { findOrder, listPaymentRows, type PaymentRow } from '../../core/payment/payment-store.ts';
import { getBookKey } from '../../core/queue/queue-store.ts';
import type { RefundResult } from '../../core/refund/accept-refunds.ts';
import type { RefundRequest } from '../../core/refund/refund.ts';
import { readRefundRequest } from '../../core/refund/refund-request.ts';
import { ANY_REFUND, listRefunds, sumRefunds } from '../../core/refund/refund-store.ts';
import { submitRefunds } from '../../core/refund/submit-refunds.ts';
import { shownText } from '../../core/shown-text.ts';
import { listWallets } from '../../core/wallet/wallet-store.ts';
import { confirmOne } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { type Book, withBook } from '../open-book.ts';
import type { Session } from '../session.ts';
import { moneyOf, moneyText, requireId, sumUp } from '../words.ts';
import { refundResult } from './read-refunds.ts';

export type RefundFlags = {
  readonly order: string;
  /** Null: made up and shown, where somebody is there to see it. */
  readonly refundId: string | null;
  readonly amount: string | null;
};

/** Exit 5 where it is refused, 1 where there is no such order. */
export async function createRefund(session: Session, flags: RefundFlags): Promise<number> {
  const request = readFlags(session, flags);
  return withBook(session, async (book) => {
    const row = await findOrderRow(book, request.orderId, flags.order);
    const wantedMinor = readWanted(request, row);
    // A name that is known refunds nothing: it gets its first answer again, or is refused.
    const [known] = await listRefunds(book.db, { ...ANY_REFUND, refundIds: [request.refundId] });
    const { refundId } = request;
    const amount = known === undefined ? await tellPlan(session, book, { refundId, wantedMinor }, row) : null;
    if (amount === null) session.note(`A refund "${refundId}" was asked for before.`);
    if (session.globals.dryRun) return EXIT.done;
    if (amount !== null) await confirmOne(session, 'Refund it?', sumUp([amount]));
    const [result] = await submitRefunds(
      book.db,
      {
        policy: book.config.refunds,
        bookKey: await getBookKey(book.db),
        principal: book.principal,
        accountOf: accountsOf(book.config),
      },
      [request],
    );
    return report(session, result!);
  });
}

/** @throws OperatorError refund_invalid, refund_id_missing */
function readFlags(session: Session, flags: RefundFlags): RefundRequest {
  if (flags.refundId === null && session.host.stderr.isTTY !== true) {
    throw new OperatorError(
      'refund_id_missing',
      'Give the refund a name with --refund-id: without it a script that runs twice would refund twice.',
    );
  }
  const reading = readRefundRequest({
    payment_order_id: formatId('order', requireId('order', flags.order)),
    amount: flags.amount,
    refund_id: flags.refundId ?? `refund-${randomUUID()}`,
    reason: session.globals.reason,
  });
  if (reading.kind === 'ok') return reading.request;
  const faults = reading.faults.map((fault) => `${fault.field} ${fault.message}`);
  throw new OperatorError('refund_invalid', faults.join('; '));
}

async function findOrderRow({ db }: Book, orderId: bigint, text: string): Promise<PaymentRow> {
  const order = await findOrder(db, orderId);
  const rows = order === null ? [] : await listPaymentRows(db, [order.paymentId]);
  const row = rows.find((candidate) => candidate.orderId === orderId);
  if (row !== undefined) return row;
  throw new OperatorError('order_not_found', `There is no order ${shownText(text)}.`, {
    kind: 'answer_is_no',
  });
}

/**
 * In minor units; null for all that is left.
 * @throws OperatorError refund_invalid
 */
function readWanted({ amount }: RefundRequest, row: PaymentRow): bigint | null {
  if (amount === null) return null;
  const parsed = parseAmount(amount, moneyOf(row).currency);
  if (parsed.kind === 'fault') throw new OperatorError('refund_invalid', `amount: ${parsed.message}`);
  return parsed.amountMinor;
}

/** Says what will happen; what really happens is decided under the row locks. */
async function tellPlan(
  session: Session,
  { db }: Book,
  { refundId, wantedMinor }: { readonly refundId: string; readonly wantedMinor: bigint | null },
  row: PaymentRow,
) {
  if (row.subState !== 'succeeded') {
    const message = `${formatId('order', row.orderId)} is ${row.subState}: nothing was charged for it.`;
    throw new OperatorError('not_refundable', message, { kind: 'refused' });
  }
  const [sum] = await sumRefunds(db, [row.orderId]);
  const order = moneyOf(row);
  const restMinor = row.amountMinor - (sum?.refundedMinor ?? 0n);
  const left = { ...order, amountMinor: restMinor > 0n ? restMinor : 0n };
  const amount = wantedMinor === null ? left : { ...order, amountMinor: wantedMinor };
  const [wallet] = await listWallets(db, {
    seller: row.seller,
    currency: row.currency,
    order: 'seller',
    after: null,
    limit: 1,
  });
  const owed = { ...order, amountMinor: wallet?.totalMinor ?? 0n };
  session.note(
    `${formatId('order', row.orderId)} for ${shownText(row.seller)}: ${moneyText(order)} charged, ${moneyText(left)} left to refund; ` +
      `the seller is owed ${moneyText(owed)}. This will refund ${moneyText(amount)} as "${refundId}".`,
  );
  return amount;
}

async function report(session: Session, result: RefundResult): Promise<number> {
  switch (result.kind) {
    case 'accepted':
    case 'replayed':
      if (result.kind === 'replayed') session.note('It is the same; nothing was done.');
      await session.print(refundResult(result.refund));
      return EXIT.done;
    case 'wrong_amount':
      throw new OperatorError('refund_invalid', result.message);
    case 'order_not_found':
      throw new OperatorError('order_not_found', result.message, { kind: 'answer_is_no' });
    default:
      throw new OperatorError(result.kind, result.message, { kind: 'refused' });
  }
}
