/**
 * What rules with a memory ask about a payment, and what the payment adds to that memory. Decides only; the store
 * answers the questions and keeps the counts.
 */
import type { Currency } from '../money.ts';
import type { PaymentRequest } from '../payment/payment-request.ts';
import { totalsOf } from './risk.ts';
import type { Party, RuleSet } from './rule-set.ts';

/** A sliding window (s), or the day in UTC. */
export type Span = number | 'day';

/** Checkouts and money (minor units) of one party. Checkouts that were blocked are not among them. */
export type Usage = { readonly checkouts: number; readonly sums: ReadonlyMap<Currency, bigint> };

/** The answers, by the questions' own texts. A question that is not in them was answered with nothing. */
export type Facts = {
  /** Database time, milliseconds since 1970. */
  readonly nowMs: number;
  /** By {@link usageQuestion}. */
  readonly usage: ReadonlyMap<string, Usage>;
  /** Keys of buyers of whom a payment has succeeded. */
  readonly knownBuyers: ReadonlySet<string>;
  /** The latest payment that looks the same and has not failed, by {@link usageQuestion} of its key. */
  readonly lookalikes: ReadonlyMap<string, bigint>;
};

export type Question = { readonly key: string; readonly span: Span };

export type Questions = {
  readonly usage: readonly Question[];
  readonly lookalikes: readonly Question[];
  readonly buyers: readonly string[];
};

/** Names a party in every table of counts. */
export function partyKey(party: Party, value: string): string {
  return JSON.stringify([party, value]);
}

/** Equal for checkouts of one buyer with the same amounts for the same sellers, in any order. */
export function checkoutKey(request: PaymentRequest): string {
  const orders = request.orders.map(({ seller, money }) =>
    JSON.stringify([seller, money.currency, money.amountMinor.toString()]),
  );
  return JSON.stringify(['checkout', request.buyer, ...orders.sort()]);
}

export function usageQuestion({ key, span }: Question): string {
  return `${span} ${key}`;
}

/** What the payment means to each of its buyers, methods or sellers: money by currency. */
export function sharesOf(
  request: PaymentRequest,
  party: Party,
): ReadonlyMap<string, ReadonlyMap<Currency, bigint>> {
  if (party === 'buyer') return new Map([[request.buyer, totalsOf(request)]]);
  const shares = new Map<string, Map<Currency, bigint>>();
  for (const { seller, paymentMethod, money } of request.orders) {
    const value = party === 'seller' ? seller : paymentMethod;
    const sums = shares.get(value) ?? new Map<Currency, bigint>();
    sums.set(money.currency, (sums.get(money.currency) ?? 0n) + money.amountMinor);
    shares.set(value, sums);
  }
  return shares;
}

/** Whom the rules count, and what else they remember; shadow rules remember like all others. */
type Memory = {
  readonly counted: ReadonlyMap<Party, ReadonlySet<Span>>;
  readonly duplicateSpans: ReadonlySet<Span>;
  readonly buyers: 'remembered' | 'forgotten';
};

function memoryOf(ruleSet: RuleSet): Memory {
  const counted = new Map<Party, Set<Span>>();
  const add = (party: Party, span: Span) => counted.set(party, (counted.get(party) ?? new Set()).add(span));
  const duplicateSpans = new Set<Span>();
  let buyers: Memory['buyers'] = 'forgotten';
  for (const rule of ruleSet.rules) {
    if (rule.kind === 'velocity') add(rule.by, rule.windowS);
    else if (rule.kind === 'seller_daily_cap') add('seller', 'day');
    else if (rule.kind === 'duplicate') duplicateSpans.add(rule.windowS);
    else if (rule.kind === 'first_time_buyer') buyers = 'remembered';
  }
  return { counted, duplicateSpans, buyers };
}

/** Everything that the rules ask about these payments, each question once. */
export function questionsAbout(ruleSet: RuleSet, requests: readonly PaymentRequest[]): Questions {
  const memory = memoryOf(ruleSet);
  const usage = new Map<string, Question>();
  const lookalikes = new Map<string, Question>();
  const buyers = new Set<string>();
  const ask = (into: Map<string, Question>, key: string, spans: ReadonlySet<Span>) => {
    for (const span of spans) into.set(usageQuestion({ key, span }), { key, span });
  };
  for (const request of requests) {
    for (const [party, spans] of memory.counted) {
      for (const value of sharesOf(request, party).keys()) ask(usage, partyKey(party, value), spans);
    }
    if (memory.duplicateSpans.size > 0) ask(lookalikes, checkoutKey(request), memory.duplicateSpans);
    if (memory.buyers === 'remembered') buyers.add(partyKey('buyer', request.buyer));
  }
  return { usage: [...usage.values()], lookalikes: [...lookalikes.values()], buyers: [...buyers] };
}

/** What a payment that was not blocked adds to the memory. */
export type Footprint = {
  readonly counts: readonly {
    readonly key: string;
    readonly currency: Currency;
    /** 1 in the first currency of the payment under this key, else 0. */
    readonly checkouts: 0 | 1;
    readonly amountMinor: bigint;
  }[];
  /** Under which keys the payment itself can be found again. */
  readonly traces: readonly string[];
};

export function footprintOf(ruleSet: RuleSet, request: PaymentRequest): Footprint {
  const memory = memoryOf(ruleSet);
  const counts = [...memory.counted.keys()].flatMap((party) =>
    [...sharesOf(request, party)].flatMap(([value, sums]) =>
      [...sums].map(([currency, amountMinor], i) => ({
        key: partyKey(party, value),
        currency,
        checkouts: i === 0 ? (1 as const) : (0 as const),
        amountMinor,
      })),
    ),
  );
  const traces = [
    ...(memory.duplicateSpans.size > 0 ? [checkoutKey(request)] : []),
    ...(memory.buyers === 'remembered' ? [partyKey('buyer', request.buyer)] : []),
  ];
  return { counts, traces };
}

/** Payments of the same batch that were assessed before: they count for the next ones as if stored. */
export type Tally = {
  readonly usage: Map<string, { checkouts: number; readonly sums: Map<Currency, bigint> }>;
  readonly checkouts: Set<string>;
};

export function emptyTally(): Tally {
  return { usage: new Map(), checkouts: new Set() };
}

export function addToTally(tally: Tally, footprint: Footprint): void {
  for (const { key, currency, checkouts, amountMinor } of footprint.counts) {
    const usage = tally.usage.get(key) ?? { checkouts: 0, sums: new Map<Currency, bigint>() };
    usage.checkouts += checkouts;
    usage.sums.set(currency, (usage.sums.get(currency) ?? 0n) + amountMinor);
    tally.usage.set(key, usage);
  }
  for (const key of footprint.traces) tally.checkouts.add(key);
}
