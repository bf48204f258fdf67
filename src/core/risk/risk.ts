/**
 * The risk check of a payment before anything is charged: a plain amount limit and block lists. Decides
 * only; the decision and its reason are stored with the payment.
 */
import type { Currency } from '../money.ts';
import { formatAmount } from '../money.ts';
import type { PaymentRequest } from '../payment/payment-request.ts';

export type RiskRules = {
  /** Most that one payment may sum up to per currency, in minor units; no entry, no limit. */
  readonly maxPaymentMinor: ReadonlyMap<Currency, bigint>;
  readonly blockedBuyers: ReadonlySet<string>;
  readonly blockedSellers: ReadonlySet<string>;
};

export type RiskDecision = { readonly decision: 'allow' | 'block'; readonly reason: string };

/** What the rules look at. */
export type RiskFacts = Pick<PaymentRequest, 'buyer'> & {
  readonly orders: readonly Pick<PaymentRequest['orders'][number], 'seller' | 'money'>[];
};

export function assessRisk(request: RiskFacts, rules: RiskRules): RiskDecision {
  if (rules.blockedBuyers.has(request.buyer))
    return { decision: 'block', reason: 'buyer is on the block list' };
  const totals = new Map<Currency, bigint>();
  for (const order of request.orders) {
    if (rules.blockedSellers.has(order.seller))
      return { decision: 'block', reason: 'seller is on the block list' };
    const { currency, amountMinor } = order.money;
    totals.set(currency, (totals.get(currency) ?? 0n) + amountMinor);
  }
  for (const [currency, amountMinor] of totals) {
    const limit = rules.maxPaymentMinor.get(currency);
    if (limit !== undefined && amountMinor > limit) {
      const limitText = formatAmount({ amountMinor: limit, currency });
      return { decision: 'block', reason: `the payment is over the limit of ${limitText} ${currency}` };
    }
  }
  return { decision: 'allow', reason: 'no rule hit' };
}
