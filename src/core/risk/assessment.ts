/**
 * What all rules together say about a payment: block > review > allow, with explicit overrides, and beside it what
 * the shadow rules would have changed. Decides only. A rule that can't be evaluated asks for a review: nothing that
 * went wrong here ever lets a payment through or stops the acceptance.
 */
import { TransientError, unreachable } from '../errors.ts';
import { formatId } from '../ids.ts';
import { type Currency, formatAmount } from '../money.ts';
import type { PaymentRequest } from '../payment/payment-request.ts';
import {
  checkoutKey,
  type Facts,
  partyKey,
  type Span,
  sharesOf,
  type Tally,
  usageQuestion,
} from './facts.ts';
import { builtInBlocks, builtInHits, type Hit, type RiskRules, totalsOf } from './risk.ts';
import type { Amounts, ListRule, Party, Rule, VelocityRule } from './rule-set.ts';

export type Decision = 'allow' | 'review' | 'block';

export type Assessment = {
  readonly decision: Decision;
  /** For people; names the deciding rules. */
  readonly reason: string;
  /** The decision if every shadow rule were live. */
  readonly shadowDecision: Decision;
  readonly hits: readonly Hit[];
};

/** What is known besides the request; a text where it could not be found out: why not. */
export type Knowledge = { readonly facts: Facts | { readonly fault: string }; readonly tally: Tally };

/** Hits that a reason names. */
const MAX_NAMED_HITS = 3;

/** Never throws. */
export function assess(request: PaymentRequest, rules: RiskRules, knowledge: Knowledge): Assessment {
  const found = rules.ruleSet?.rules.flatMap((rule) => safely(rule, request, rules, knowledge)) ?? [];
  return judge([...builtInHits(request, rules), ...found]);
}

/** What an approval asks again: every list that blocks, and the lists that override them. */
export function assessLists(request: PaymentRequest, rules: RiskRules, knowledge: Knowledge): Assessment {
  const lists = rules.ruleSet?.rules.filter((rule) => rule.kind === 'list' && rule.action !== 'review') ?? [];
  const found = lists.flatMap((rule) => safely(rule, request, rules, knowledge));
  return judge([...builtInBlocks(request, rules), ...found]);
}

/** The acceptance itself must not fail for a rule: what can't be told is for a person. */
function safely(rule: Rule, request: PaymentRequest, rules: RiskRules, knowledge: Knowledge): readonly Hit[] {
  try {
    return find(rule, request, rules, knowledge).map(({ text, inputs }) => ({
      rule: rule.id,
      action: rule.action,
      mode: rule.mode,
      text: `${rule.id}: ${text}`,
      inputs,
      overrides: rule.overrides,
      isFault: false,
    }));
  } catch (error) {
    return [faultHit(rule, error instanceof Error ? error.message : String(error))];
  }
}

function faultHit(rule: Rule, fault: string): Hit {
  return {
    rule: rule.id,
    action: 'review',
    mode: rule.mode,
    text: `${rule.id}: the rule could not be evaluated`,
    inputs: { fault: fault.slice(0, 200) },
    overrides: [],
    isFault: true,
  };
}

function judge(hits: readonly Hit[]): Assessment {
  const live = fold(hits.filter((hit) => hit.mode === 'live'));
  const all = fold(hits);
  return { decision: live.decision, reason: reasonOf(live), shadowDecision: all.decision, hits };
}

type Fold = {
  readonly decision: Decision;
  readonly deciding: readonly Hit[];
  readonly overridden: readonly Hit[];
  /** Whose overrides took them away. */
  readonly overriding: readonly Hit[];
};

/** A hit that an allowing rule names does not count; a fault always does. */
function fold(hits: readonly Hit[]): Fold {
  const taken = new Set(hits.flatMap((hit) => hit.overrides));
  const stops = hits.filter((hit) => hit.action !== 'allow');
  const counted = stops.filter((hit) => hit.isFault || !taken.has(hit.rule));
  const overridden = stops.filter((hit) => !counted.includes(hit));
  const overriding = hits.filter((hit) => overridden.some(({ rule }) => hit.overrides.includes(rule)));
  const blocks = counted.filter((hit) => hit.action === 'block');
  if (blocks.length > 0) return { decision: 'block', deciding: blocks, overridden, overriding };
  if (counted.length > 0) return { decision: 'review', deciding: counted, overridden, overriding };
  return { decision: 'allow', deciding: [], overridden, overriding };
}

function reasonOf({ deciding, overridden, overriding }: Fold): string {
  if (deciding.length === 0) {
    if (overridden.length === 0) return 'no rule hit';
    return `${named(overriding.map((hit) => hit.rule))} overrides ${named(overridden.map((hit) => hit.rule))}`;
  }
  return named(deciding.map((hit) => hit.text));
}

function named(texts: readonly string[]): string {
  const more = texts.length - MAX_NAMED_HITS;
  return `${texts.slice(0, MAX_NAMED_HITS).join('; ')}${more > 0 ? `; and ${more} more` : ''}`;
}

type Finding = Pick<Hit, 'text' | 'inputs'>;

function find(
  rule: Rule,
  request: PaymentRequest,
  rules: RiskRules,
  knowledge: Knowledge,
): readonly Finding[] {
  switch (rule.kind) {
    case 'amount':
      return firstOver(totalsOf(request), rule.max, 'the payment').slice(0, 1);
    case 'list':
      return findListed(rule, request, rules, knowledge);
    case 'velocity':
      return findFast(rule, request, knowledge);
    case 'seller_daily_cap':
      return findOverCap(rule.max, request, knowledge);
    case 'duplicate':
      return findLookalike(rule.windowS, request, knowledge);
    case 'first_time_buyer': {
      if (factsOf(knowledge).knownBuyers.has(partyKey('buyer', request.buyer))) return [];
      return firstOver(totalsOf(request), rule.above, 'the first payment of a buyer');
    }
    default:
      return unreachable(rule);
  }
}

function factsOf({ facts }: Knowledge): Facts {
  if ('fault' in facts) throw new TransientError('facts_missing', facts.fault);
  return facts;
}

/** The first currency in which the sum is over its limit, or nothing. */
function firstOver(
  sums: ReadonlyMap<Currency, bigint>,
  limits: Amounts,
  what: string,
  further: Hit['inputs'] = {},
): readonly Finding[] {
  for (const [currency, amountMinor] of sums) {
    const limit = limits.get(currency);
    if (limit === undefined || amountMinor <= limit) continue;
    const max = formatAmount({ amountMinor: limit, currency });
    const inputs = { ...further, amount: formatAmount({ amountMinor, currency }), max, currency };
    return [{ text: `${what} is over ${max} ${currency}`, inputs }];
  }
  return [];
}

const PARTY_NAMES: Readonly<Record<Party, string>> = {
  buyer: 'the buyer',
  payment_method: 'the payment method',
  seller: 'the seller',
};

function findListed(
  rule: ListRule,
  request: PaymentRequest,
  rules: RiskRules,
  knowledge: Knowledge,
): readonly Finding[] {
  const list = rules.ruleSet?.lists.get(rule.list);
  for (const value of sharesOf(request, rule.party).keys()) {
    const entry = list?.get(value);
    if (entry === undefined) continue;
    if (entry.expiresMs !== null && entry.expiresMs <= factsOf(knowledge).nowMs) continue;
    const inputs = { party: rule.party, value, list: rule.list, reason: entry.reason };
    return [{ text: `${PARTY_NAMES[rule.party]} is on the list ${rule.list} (${entry.reason})`, inputs }];
  }
  return [];
}

/** What the party has used up within the span, with what stands before this payment in its batch. */
function usageBefore(key: string, span: Span, knowledge: Knowledge) {
  const stored = factsOf(knowledge).usage.get(usageQuestion({ key, span }));
  const batch = knowledge.tally.usage.get(key);
  return {
    checkouts: (stored?.checkouts ?? 0) + (batch?.checkouts ?? 0),
    sumOf: (currency: Currency) => (stored?.sums.get(currency) ?? 0n) + (batch?.sums.get(currency) ?? 0n),
  };
}

/** The payment's own shares on top of what was used up before. */
function withBefore(
  share: ReadonlyMap<Currency, bigint>,
  before: ReturnType<typeof usageBefore>,
): ReadonlyMap<Currency, bigint> {
  return new Map([...share].map(([currency, amount]) => [currency, amount + before.sumOf(currency)]));
}

function findFast(rule: VelocityRule, request: PaymentRequest, knowledge: Knowledge): readonly Finding[] {
  for (const [value, share] of sharesOf(request, rule.by)) {
    const before = usageBefore(partyKey(rule.by, value), rule.windowS, knowledge);
    const about = { party: rule.by, value, window_s: rule.windowS };
    const count = before.checkouts + 1;
    if (rule.maxCount !== null && count > rule.maxCount) {
      const text = `more than ${rule.maxCount} checkouts of ${PARTY_NAMES[rule.by]} in ${spanText(rule.windowS)}`;
      return [{ text, inputs: { ...about, count, max_count: rule.maxCount } }];
    }
    const what = `the sum of ${PARTY_NAMES[rule.by]} in ${spanText(rule.windowS)}`;
    const over = firstOver(withBefore(share, before), rule.maxSum, what, about);
    if (over.length > 0) return over;
  }
  return [];
}

function findOverCap(max: Amounts, request: PaymentRequest, knowledge: Knowledge): readonly Finding[] {
  for (const [value, share] of sharesOf(request, 'seller')) {
    const before = usageBefore(partyKey('seller', value), 'day', knowledge);
    const over = firstOver(withBefore(share, before), max, "the seller's sum of the day (UTC)", {
      party: 'seller',
      value,
    });
    if (over.length > 0) return over;
  }
  return [];
}

function findLookalike(windowS: number, request: PaymentRequest, knowledge: Knowledge): readonly Finding[] {
  const key = checkoutKey(request);
  const earlier = factsOf(knowledge).lookalikes.get(usageQuestion({ key, span: windowS }));
  const inBatch = knowledge.tally.checkouts.has(key);
  if (earlier === undefined && !inBatch) return [];
  const other = earlier === undefined ? 'another payment of its batch' : formatId('payment', earlier);
  return [{ text: `looks like ${other}`, inputs: { earlier: other, window_s: windowS } }];
}

/** "10 minutes", "1 hour", "90 seconds". */
function spanText(seconds: number): string {
  const [size, unit] =
    seconds % 86_400 === 0
      ? [86_400, 'day']
      : seconds % 3_600 === 0
        ? [3_600, 'hour']
        : seconds % 60 === 0
          ? [60, 'minute']
          : [1, 'second'];
  const count = seconds / size;
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}
