/** The demo's refunds: a few orders by command, some in part. Those of partly failed payments come by themselves. */
import type { Db } from '../../core/db/connection.ts';
import { formatId } from '../../core/ids.ts';
import { type Currency, formatAmount } from '../../core/money.ts';
import { listPaymentIds, listPaymentRows, type PaymentRow } from '../../core/payment/payment-store.ts';
import type { Stage } from './demo-stage.ts';

const REFUNDS = 5;
/** So many of the newest payments are looked at to find that many. */
const LOOK = 100;

export async function refundOrders(stage: Stage, db: Db): Promise<void> {
  const orders = await pickOrders(db);
  await Promise.all(orders.map((order, index) => stage.quietly(refundCommand(order, index))));
}

/** Every other refund is of half the order. */
function refundCommand(order: PaymentRow, index: number): readonly string[] {
  const isPart = index % 2 === 0;
  const amount = isPart ? ['--amount', halfOf(order)] : [];
  const reason = ['--reason', isPart ? 'half of it came back' : 'came back unopened'];
  const name = ['--refund-id', `return-${index + 1}`];
  return ['refunds', 'create', formatId('order', order.orderId), ...name, ...amount, ...reason, '--yes'];
}

/** Charged orders that stand alone in their payment: nothing but a command refunds them. */
async function pickOrders(db: Db): Promise<readonly PaymentRow[]> {
  const ids = await listPaymentIds(db, {
    beforeId: null,
    limit: LOOK,
    buyer: null,
    seller: null,
    batchId: null,
    subStates: ['succeeded'],
  });
  const payments = Map.groupBy(await listPaymentRows(db, ids), (row) => row.id);
  const alone = [...payments.values()].filter((orders) => orders.length === 1).flat();
  return alone.filter(({ currency }) => currency === 'EUR').slice(0, REFUNDS);
}

function halfOf({ amountMinor, currency }: PaymentRow): string {
  return formatAmount({ amountMinor: amountMinor / 2n, currency: currency as Currency });
}
