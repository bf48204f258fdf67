/**
 * Assesses payments in the transaction that accepts them. Without a rule file, or with one that needs to know nothing
 * but the payments, it runs no statement; otherwise it locks the names concerned, so that of two concurrent checkouts
 * the second sees the first. Charges and stores nothing but what `storeAssessed` is told to.
 */
import { createHash } from 'node:crypto';
import {
  isConnectionError,
  isRetryableError,
  type Queryable,
  type Tx,
  together,
  withinSavepoint,
} from '../db/connection.ts';
import type { Currency } from '../money.ts';
import { NO_METADATA, type PaymentRequest } from '../payment/payment-request.ts';
import type { PaymentRow } from '../payment/payment-store.ts';
import type { Priority } from '../queue/job.ts';
import { type Assessment, assess, assessLists, type Knowledge } from './assessment.ts';
import {
  addToTally,
  emptyTally,
  type Facts,
  footprintOf,
  type Question,
  type Questions,
  questionsAbout,
  type Tally,
  type Usage,
  usageQuestion,
} from './facts.ts';
import type { Hit, RiskRules } from './risk.ts';
import {
  addCounts,
  findLookalikes,
  freeStatementTime,
  getTimeMs,
  insertAssessments,
  insertReviews,
  insertTraces,
  type KeyQuestion,
  limitStatementTime,
  listKnownBuyers,
  lockRiskKeys,
  type NewCount,
  sumUsage,
} from './risk-store.ts';
import type { RuleSet } from './rule-set.ts';

/** A question that takes longer makes a review (ms); an acceptance holds locks meanwhile. */
const FACTS_TIMEOUT_MS = 2_000;
/** Of payments that only rules of the configuration concern. */
const BUILT_IN_VERSION = 'configuration';

/** What is stored beside the payment. */
type RiskRecord = {
  readonly rulesVersion: string;
  readonly decision: Assessment['decision'];
  readonly shadowDecision: Assessment['decision'];
  /** JSON text. */
  readonly hits: string;
  readonly counts: readonly NewCount[];
  /** Keys as hex. */
  readonly traces: readonly string[];
  /** How long a person has to decide (s); null: nobody needs to. */
  readonly reviewTimeoutS: number | null;
};

export type Assessed = {
  readonly assessment: Assessment;
  /** Null where there is no rule file and no hit. */
  readonly record: RiskRecord | null;
};

const NOTHING_KNOWN: Facts = { nowMs: 0, usage: new Map(), knownBuyers: new Set(), lookalikes: new Map() };

/**
 * Assesses in the order given; each counts those before it. Never throws for a rule or a question that fails: the
 * payments concerned go to a review. Throws what the caller tries again: a lock that was not free (55P03), a deadlock,
 * a lost connection.
 */
export async function assessPayments(
  tx: Tx,
  rules: RiskRules,
  requests: readonly PaymentRequest[],
): Promise<readonly Assessed[]> {
  const { ruleSet } = rules;
  const facts =
    ruleSet === undefined || ruleSet.needs === 'nothing'
      ? NOTHING_KNOWN
      : await factsOrFault(tx, ruleSet, requests);
  return assessAll(rules, requests, { facts, tally: emptyTally() });
}

/**
 * The same for a rehearsal: reads what is stored, locks and writes nothing.
 * @param tally what was assessed before; grows
 */
export async function rehearsePayments(
  on: Queryable,
  rules: RiskRules,
  requests: readonly PaymentRequest[],
  tally: Tally,
): Promise<readonly Assessment[]> {
  const { ruleSet } = rules;
  const facts =
    ruleSet === undefined || ruleSet.needs === 'nothing'
      ? NOTHING_KNOWN
      : await readFacts(on, questionsAbout(ruleSet, requests));
  return assessAll(rules, requests, { facts, tally }).map(({ assessment }) => assessment);
}

/** Rules that need no database can be rehearsed without one. */
export function rehearseOffline(
  rules: RiskRules,
  requests: readonly PaymentRequest[],
): readonly Assessment[] {
  return assessAll(rules, requests, { facts: NOTHING_KNOWN, tally: emptyTally() }).map((a) => a.assessment);
}

function assessAll(
  rules: RiskRules,
  requests: readonly PaymentRequest[],
  knowledge: Knowledge,
): readonly Assessed[] {
  const { ruleSet } = rules;
  return requests.map((request) => {
    const assessment = assess(request, rules, knowledge);
    if (ruleSet === undefined) return { assessment, record: recordOf(assessment, null, null) };
    const footprint = assessment.decision === 'block' ? null : footprintOf(ruleSet, request);
    if (footprint !== null) addToTally(knowledge.tally, footprint);
    return { assessment, record: recordOf(assessment, ruleSet, footprint) };
  });
}

function recordOf(
  assessment: Assessment,
  ruleSet: RuleSet | null,
  footprint: ReturnType<typeof footprintOf> | null,
): RiskRecord | null {
  if (ruleSet === null && assessment.hits.length === 0) return null;
  return {
    rulesVersion: ruleSet?.version ?? BUILT_IN_VERSION,
    decision: assessment.decision,
    shadowDecision: assessment.shadowDecision,
    hits: JSON.stringify(assessment.hits.map(hitJson)),
    counts: footprint?.counts.map((count) => ({ ...count, key: digest(count.key) })) ?? [],
    traces: footprint?.traces.map(digest) ?? [],
    reviewTimeoutS: assessment.decision === 'review' ? (ruleSet?.reviewTimeoutS ?? null) : null,
  };
}

/** How a hit is stored and shown. */
export function hitJson({ rule, action, mode, text, inputs }: Hit) {
  return { rule, action, mode, text, inputs };
}

function digest(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

/** In a savepoint: a question that fails must not take the acceptance with it. */
async function factsOrFault(
  tx: Tx,
  ruleSet: RuleSet,
  requests: readonly PaymentRequest[],
): Promise<Knowledge['facts']> {
  try {
    return await withinSavepoint(tx, (inner) => lockAndReadFacts(inner, questionsAbout(ruleSet, requests)));
  } catch (error) {
    if (isRetryableError(error) || isConnectionError(error)) throw error;
    return { fault: error instanceof Error ? error.message : String(error) };
  }
}

/** One round trip. Read committed: each question sees what was committed before the locks were had. */
async function lockAndReadFacts(tx: Tx, questions: Questions): Promise<Facts> {
  const counted = [...questions.usage, ...questions.lookalikes].map(({ key }) => digest(key));
  const [, , facts] = await together([
    lockRiskKeys(tx, [...new Set(counted)]),
    limitStatementTime(tx, FACTS_TIMEOUT_MS),
    readFacts(tx, questions),
    freeStatementTime(tx),
  ]);
  return facts;
}

async function readFacts(on: Queryable, questions: Questions): Promise<Facts> {
  const [nowMs, usage, lookalikes, known] = await together([
    getTimeMs(on),
    sumUsage(on, questions.usage.map(toKeyQuestion)),
    findLookalikes(on, questions.lookalikes.map(toKeyQuestion)),
    listKnownBuyers(on, questions.buyers.map(digest)),
  ]);
  const sums = new Map<string, Usage & { readonly sums: Map<Currency, bigint> }>();
  for (const { index, currency, checkouts, amountMinor } of usage) {
    const name = usageQuestion(questions.usage[index]!);
    const before = sums.get(name);
    const perCurrency = before?.sums ?? new Map<Currency, bigint>();
    perCurrency.set(currency as Currency, BigInt(amountMinor));
    sums.set(name, { checkouts: (before?.checkouts ?? 0) + checkouts, sums: perCurrency });
  }
  return {
    nowMs,
    usage: sums,
    knownBuyers: new Set(known.map((index) => questions.buyers[index]!)),
    lookalikes: new Map(
      lookalikes.map(({ index, paymentId }) => [usageQuestion(questions.lookalikes[index]!), paymentId]),
    ),
  };
}

function toKeyQuestion({ key, span }: Question): KeyQuestion {
  return { key: digest(key), windowS: span === 'day' ? null : span };
}

/** A record with the payment it belongs to. */
export type PaymentRisk = {
  readonly paymentId: bigint;
  readonly record: RiskRecord;
  /** Where its jobs would go. */
  readonly priority: Priority;
};

/** Stores what the rules found, what they will remember, and who has to decide: four statements at most. */
export async function storeAssessed(tx: Tx, items: readonly PaymentRisk[]): Promise<void> {
  if (items.length === 0) return;
  await together([
    insertAssessments(
      tx,
      items.map(({ paymentId, record }) => ({ ...record, paymentId })),
    ),
    addCounts(
      tx,
      items.flatMap(({ record }) => record.counts),
    ),
    insertTraces(
      tx,
      items.flatMap(({ paymentId, record }) => record.traces.map((key) => ({ key, paymentId }))),
    ),
    insertReviews(
      tx,
      items.flatMap(({ paymentId, record, priority }) =>
        record.reviewTimeoutS === null ? [] : [{ paymentId, priority, timeoutS: record.reviewTimeoutS }],
      ),
    ),
  ]);
}

/** The part of the acceptance's event that replay rebuilds these rows from. Numbers stay exact: text. */
export function riskEvent({ record, priority }: PaymentRisk): string {
  const fields = JSON.stringify({
    rules_version: record.rulesVersion,
    decision: record.decision,
    shadow_decision: record.shadowDecision,
    counts: record.counts.map((c) => [c.key, c.currency, c.checkouts, c.amountMinor.toString()]),
    traces: record.traces,
    review: record.reviewTimeoutS === null ? null : { priority, timeout_s: record.reviewTimeoutS },
  });
  return `${fields.slice(0, -1)},"hits":${record.hits}}`;
}

/**
 * Asks the block lists again about a payment that is in the book: whoever came onto one since its acceptance stays
 * blocked.
 * @param rows of one payment, by line
 */
export async function assessListsAgain(
  tx: Tx,
  rows: readonly PaymentRow[],
  rules: RiskRules,
): Promise<Assessment> {
  const nowMs = await getTimeMs(tx);
  const facts = { nowMs, usage: new Map(), knownBuyers: new Set<string>(), lookalikes: new Map() };
  return assessLists(requestOf(rows), rules, { facts, tally: emptyTally() });
}

/** As much of the request as lists look at. */
function requestOf(rows: readonly PaymentRow[]): PaymentRequest {
  const { checkoutId, idempotencyKey, buyer } = rows[0]!;
  const orders = rows.map((row) => ({
    seller: row.seller,
    money: { amountMinor: row.amountMinor, currency: row.currency as Currency },
    paymentMethod: row.paymentMethod,
    platformFeeMinor: row.platformFeeMinor,
    orderRef: row.orderRef,
    customerPresent: false,
    metadata: NO_METADATA,
  }));
  return { checkoutId, idempotencyKey, buyer, orders, metadata: NO_METADATA };
}
