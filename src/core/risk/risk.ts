/**
 * The risk check of a payment before anything is charged, as far as the configuration says it: a plain amount limit
 * and block lists, and the rule file beside them. Decides only; `assessment.ts` puts all rules together.
 */
import type { Currency } from '../money.ts';
import { formatAmount } from '../money.ts';
import type { PaymentRequest } from '../payment/payment-request.ts';
import type { RuleAction, RuleSet } from './rule-set.ts';

export type RiskRules = {
  /** Most that one payment may sum up to per currency, in minor units; no entry, no limit. */
  readonly maxPaymentMinor: ReadonlyMap<Currency, bigint>;
  readonly blockedBuyers: ReadonlySet<string>;
  readonly blockedSellers: ReadonlySet<string>;
  /** The rule file; left out: only the three above. */
  readonly ruleSet?: RuleSet;
};

/** The rules of the configuration, as overrides and hits name them. */
export const BUILT_IN_RULES = [
  'config.blocked_buyers',
  'config.blocked_sellers',
  'config.max_payment',
] as const;

/** A rule that spoke up, with what it looked at. Stored as it is. */
export type Hit = {
  readonly rule: string;
  readonly action: RuleAction;
  readonly mode: 'live' | 'shadow';
  /** For people; part of the payment's reason where the hit decides. */
  readonly text: string;
  /** What was compared with what: amounts as decimal strings. */
  readonly inputs: Readonly<Record<string, string | number>>;
  /** Ids of rules whose hits this one takes away. */
  readonly overrides: readonly string[];
  /** The rule could not be evaluated: asks for a review whatever else is said. */
  readonly isFault: boolean;
};

/** What the payment sums up to, by currency. */
export function totalsOf(request: PaymentRequest): ReadonlyMap<Currency, bigint> {
  const totals = new Map<Currency, bigint>();
  for (const { money } of request.orders)
    totals.set(money.currency, (totals.get(money.currency) ?? 0n) + money.amountMinor);
  return totals;
}

/** Block lists first, in the order of the orders; then the limit. */
export function builtInHits(request: PaymentRequest, rules: RiskRules): readonly Hit[] {
  return [...builtInBlocks(request, rules), ...overLimit(request, rules)];
}

/** The block lists alone: what an approval asks again. */
export function builtInBlocks(request: PaymentRequest, rules: RiskRules): readonly Hit[] {
  const hits: Hit[] = [];
  if (rules.blockedBuyers.has(request.buyer)) {
    hits.push(block('config.blocked_buyers', 'buyer is on the block list', { buyer: request.buyer }));
  }
  const blocked = request.orders.find((order) => rules.blockedSellers.has(order.seller));
  if (blocked !== undefined) {
    hits.push(block('config.blocked_sellers', 'seller is on the block list', { seller: blocked.seller }));
  }
  return hits;
}

function overLimit(request: PaymentRequest, rules: RiskRules): readonly Hit[] {
  if (rules.maxPaymentMinor.size === 0) return [];
  for (const [currency, amountMinor] of totalsOf(request)) {
    const limit = rules.maxPaymentMinor.get(currency);
    if (limit === undefined || amountMinor <= limit) continue;
    const max = formatAmount({ amountMinor: limit, currency });
    const inputs = { amount: formatAmount({ amountMinor, currency }), max, currency };
    return [block('config.max_payment', `the payment is over the limit of ${max} ${currency}`, inputs)];
  }
  return [];
}

function block(rule: (typeof BUILT_IN_RULES)[number], text: string, inputs: Hit['inputs']): Hit {
  return { rule, action: 'block', mode: 'live', text, inputs, overrides: [], isFault: false };
}
