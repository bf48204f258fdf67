/**
 * Puts the rows of a batch file together: rows that share a checkout are one payment. Decides only; what
 * does not fit together is reported with the line of the row.
 */
import type { Currency } from '../money.ts';
import { shownText } from '../shown-text.ts';
import type { FaultList } from './file-fault.ts';
import { MAX_ORDERS } from './payment-fields.ts';
import { canonicalOrder, type PaymentOrderRequest, type PaymentRequest } from './payment-request.ts';

/** A payment and the line of its first row. */
export type FilePayment = { readonly request: PaymentRequest; readonly line: number };

export type PaymentCollector = {
  /** Takes one row: a payment with one order, or with several where the line was nested. */
  readonly add: (line: number, request: PaymentRequest) => void;
  /** Looks for what only the whole file shows, and gives the payments in the order of their first rows. */
  readonly finish: () => readonly FilePayment[];
};

/**
 * All rows of one checkout so far. Most have one row: what only several rows need is made when the second
 * one comes, because a file has up to 250,000 of these.
 */
type Group = { readonly line: number; request: PaymentRequest; seen: Map<string, number> | null };

export function createPaymentCollector(faults: FaultList): PaymentCollector {
  const groups = new Map<string, Group>();
  return {
    add: (line, request) => {
      const group = groups.get(request.checkoutId);
      if (group === undefined) groups.set(request.checkoutId, { line, request, seen: null });
      else addToGroup(faults, group, line, request);
    },
    finish: () => {
      const all = [...groups.values()];
      for (const { line, message } of sharedKeys(all)) {
        faults.add({ line, column: 'idempotency_key', code: 'idempotency_key_shared', message });
      }
      return all;
    },
  };
}

function addToGroup(faults: FaultList, group: Group, line: number, request: PaymentRequest): void {
  const first = group.request;
  const same = `of line ${group.line}, which has the same checkout_id`;
  const fault = (column: string | null, code: string, message: string) =>
    faults.add({ line, column, code, message });
  if (request.buyer !== first.buyer) {
    fault('buyer', 'buyer_differs', `is not the ${shownText(first.buyer)} ${same}`);
  }
  if (request.idempotencyKey !== first.idempotencyKey) {
    fault(
      'idempotency_key',
      'idempotency_key_differs',
      `is not the ${shownText(first.idempotencyKey)} ${same}`,
    );
  }
  if (!isSameMetadata(request, first)) fault('metadata', 'metadata_differs', `is not that ${same}`);
  group.seen ??= new Map(first.orders.map((order) => [orderText(order), group.line]));
  for (const order of request.orders) {
    const text = orderText(order);
    const twin = group.seen.get(text);
    if (twin === undefined) group.seen.set(text, line);
    else fault(null, 'duplicate_row', `is the same as line ${twin}; give both an order_ref to mean both`);
  }
  const orders = [...first.orders, ...request.orders];
  if (first.orders.length <= MAX_ORDERS && orders.length > MAX_ORDERS) {
    fault('checkout_id', 'too_many_orders', `this row makes more than ${MAX_ORDERS} orders of one checkout`);
  }
  group.request = { ...first, orders };
}

function orderText(order: PaymentOrderRequest): string {
  return JSON.stringify(canonicalOrder(order));
}

function isSameMetadata(left: PaymentRequest, right: PaymentRequest): boolean {
  const [leftKeys, rightKeys] = [Object.keys(left.metadata), Object.keys(right.metadata)];
  if (leftKeys.length !== rightKeys.length) return false;
  return leftKeys.every((key) => left.metadata[key] === right.metadata[key]);
}

/** One key names one request: each group whose key another checkout uses too. */
function sharedKeys(
  groups: readonly Group[],
): readonly { readonly line: number; readonly message: string }[] {
  const firstOf = new Map<string, Group>();
  const told = new Set<Group>();
  const found: { line: number; message: string }[] = [];
  const tell = (group: Group, other: Group) => {
    if (told.has(group)) return;
    told.add(group);
    const { checkoutId } = other.request;
    found.push({
      line: group.line,
      message: `is also the key of checkout ${shownText(checkoutId)}, line ${other.line}`,
    });
  };
  for (const group of groups) {
    const first = firstOf.get(group.request.idempotencyKey);
    if (first === undefined) firstOf.set(group.request.idempotencyKey, group);
    else {
      tell(first, group);
      tell(group, first);
    }
  }
  return found;
}

/** Sums of all orders, by currency code. */
export function totalsOf(payments: readonly FilePayment[]): ReadonlyMap<Currency, bigint> {
  const totals = new Map<Currency, bigint>();
  for (const { request } of payments) {
    for (const { money } of request.orders) {
      totals.set(money.currency, (totals.get(money.currency) ?? 0n) + money.amountMinor);
    }
  }
  return new Map([...totals].sort(([left], [right]) => (left < right ? -1 : 1)));
}
