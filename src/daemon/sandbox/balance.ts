/**
 * What the platform has at the sandbox, per currency: charges and top-ups in; refunds, transfers and disputes out.
 * Everything counts as available at once: fees and deposits come with settlement. May fall below zero, as at Stripe.
 */
import type { DisputeRecord } from './dispute.ts';
import type { IntentRecord } from './intent.ts';
import { heldByRefund, type RefundRecord } from './refund.ts';
import { reversedOf, type TransferRecord } from './transfer.ts';

/** A top-up of the balance, by the admin; the only money that does not come from a buyer. */
export interface TopUp {
  readonly currency: string;
  readonly amount: number;
  /** Milliseconds since 1970, sandbox time. */
  readonly atMs: number;
}

/** A new object or a new version of one. */
export type Change =
  | { readonly kind: 'intent'; readonly record: IntentRecord }
  | { readonly kind: 'refund'; readonly record: RefundRecord }
  | { readonly kind: 'transfer'; readonly record: TransferRecord }
  | { readonly kind: 'dispute'; readonly record: DisputeRecord };

/** Minor units, each 0 or more but `available`. */
export interface CurrencyBalance {
  received: number;
  topped_up: number;
  refunded: number;
  transferred: number;
  disputed: number;
}

export class Balances {
  private byCurrency = new Map<string, CurrencyBalance>();

  /** Minor units that a transfer may take now. */
  available(currency: string): number {
    const found = this.byCurrency.get(currency);
    return found === undefined ? 0 : availableOf(found);
  }

  all(): ReadonlyMap<string, CurrencyBalance> {
    return this.byCurrency;
  }

  topUp({ currency, amount }: Omit<TopUp, 'atMs'>): void {
    this.of(currency).topped_up += amount;
  }

  /** Takes the difference that a new version makes; `before` is null for a new object. */
  apply(change: Change, before: Change['record'] | null): void {
    const delta =
      weightOf(change) - (before === null ? 0 : weightOf({ ...change, record: before } as Change));
    if (delta !== 0) this.of(change.record.currency)[SIDE[change.kind]] += delta;
  }

  clear(): void {
    this.byCurrency = new Map();
  }

  private of(currency: string): CurrencyBalance {
    const found = this.byCurrency.get(currency);
    if (found !== undefined) return found;
    const empty = { received: 0, topped_up: 0, refunded: 0, transferred: 0, disputed: 0 };
    this.byCurrency.set(currency, empty);
    return empty;
  }
}

export function availableOf(balance: CurrencyBalance): number {
  return balance.received + balance.topped_up - balance.refunded - balance.transferred - balance.disputed;
}

const SIDE = {
  intent: 'received',
  refund: 'refunded',
  transfer: 'transferred',
  dispute: 'disputed',
} as const satisfies Record<Change['kind'], keyof CurrencyBalance>;

/** Minor units that an object has moved in or out. A pending refund has left the balance already, as at Stripe. */
function weightOf(change: Change): number {
  switch (change.kind) {
    case 'intent':
      return change.record.received;
    case 'refund':
      return heldByRefund(change.record);
    case 'transfer':
      return change.record.amount - reversedOf(change.record);
    case 'dispute':
      return change.record.status === 'won' ? 0 : change.record.amount;
  }
}
