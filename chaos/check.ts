/** Checks everything that a run must leave behind, and names what differs. */
import type { Db } from '../src/core/db/connection.ts';
import { publicStateOf, type SubState } from '../src/core/operation/operation.ts';
import { checkLedger, checkWallets, type ExpectedBooks } from './check-books.ts';
import { checkReplay } from './check-replay.ts';
import { expectedOfOrder, expectedOfPayout, expectedOfRefund } from './expected-books.ts';
import {
  countDeadLetters,
  countRun,
  describeJobsLeft,
  listOrderFacts,
  listSilentSends,
  type OrderFact,
  type RunCounts,
} from './facts.ts';
import { type Difference, judgeAcceptance, judgeOrder } from './judge.ts';
import { judgePayouts, listPayoutFacts, type PayoutFact } from './judge-payouts.ts';
import { countKept, judgeRefundAnswers, judgeRefunds, type RefundMaterial } from './judge-refunds.ts';
import type { Plan } from './plan.ts';
import { type Proof, proveJudge } from './prove-judge.ts';
import { listRefundFacts, listWatchesLeft, type RefundFact } from './refund-facts.ts';
import type { RefundSubmissions } from './refunds.ts';
import type { TrueIntent, TrueRefund, TrueTransfer } from './sandbox.ts';
import type { Submissions } from './submit.ts';
import type { World } from './world.ts';

export type Checked = {
  readonly lost: number;
  readonly chargedTwice: number;
  /** One refund of the book moved money more than once, or one order was asked back twice for the same cause. */
  readonly refundedTwice: number;
  /** Charges of which more is given back than they took. */
  readonly overRefunded: number;
  /** Asked for, or due by policy, and not in the book. */
  readonly refundsMissing: number;
  readonly unexplained: number;
  readonly imbalance: number;
  readonly walletDifferences: number;
  readonly replayDifferences: number;
  readonly secondAttempts: number;
  readonly silentSends: number;
  /** Submitted twice, answered differently. */
  readonly contradictions: number;
  readonly states: Readonly<Record<string, number>>;
  readonly refunds: RefundCounts;
  /** Names that more than one transfer paid. */
  readonly paidTwice: number;
  readonly payouts: {
    readonly items: number;
    readonly moved: number;
    readonly states: Readonly<Record<string, number>>;
  };
  /** Succeeded orders of failed payments whose refund was declined. */
  readonly kept: number;
  /** Whether the judge notices when the truth is falsified. */
  readonly proof: Proof;
  readonly unknownOpen: number;
  readonly deadLetters: Readonly<Record<string, number>>;
  readonly counts: RunCounts;
  readonly events: number;
  readonly chargedIntents: number;
  /** What differs, by name. */
  readonly names: readonly string[];
};

type RefundCounts = {
  /** In the book. */
  readonly asked: number;
  readonly partials: number;
  /** That have reached the buyer, by the sandbox's truth. */
  readonly moved: number;
  readonly inDoubt: number;
  readonly states: Readonly<Record<string, number>>;
};

type Material = {
  readonly plan: Plan;
  readonly submissions: Submissions;
  readonly refundSubmissions: RefundSubmissions;
  readonly payoutNames: ReadonlySet<string>;
  readonly jobsMayBeLeft: boolean;
};

export async function checkEverything(world: World, db: Db, material: Material): Promise<Checked> {
  const { plan, submissions, refundSubmissions } = material;
  const orders = await listOrderFacts(db);
  const intents = await world.sandbox.truth();
  const refunds = await listRefundFacts(db);
  const trueRefunds = await world.sandbox.refunds();
  const payouts = await listPayoutFacts(db);
  const transfers = await world.sandbox.transfers();
  const books = { orders, refunds, intents, trueRefunds };
  const payments = plan.waves.flatMap((wave) => wave.payments);
  const differences = [
    ...judgeAcceptance(payments, submissions.answers, orders),
    ...judgeTruth(orders, intents),
    ...judgeRefunds(books),
    ...judgePayouts(material.payoutNames, payouts, transfers),
    ...judgeRefundAnswers(refundSubmissions, refunds, orders),
    ...judgeWatches(await listWatchesLeft(db)),
  ];
  const expected = expectBooks(plan, books, payouts, transfers);
  const ledger = await checkLedger(db, expected);
  const wallets = await checkWallets(db, expected);
  const proof = proveJudge(books, { names: material.payoutNames, payouts, transfers }, expected.postings);
  const contradictions = [...submissions.contradictions, ...refundSubmissions.contradictions];
  const silent = await listSilentSends(db);
  const replay = await checkReplay(db, world.database.owner);
  const count = (measure: Difference['measure']) =>
    differences.filter((one) => one.measure === measure).length;
  return {
    lost: count('lost'),
    chargedTwice: count('charged_twice'),
    refundedTwice: count('refunded_twice'),
    overRefunded: count('over_refunded'),
    refundsMissing: count('refunds_missing'),
    unexplained: count('unexplained'),
    imbalance: count('imbalance') + ledger.length,
    walletDifferences: wallets.length,
    replayDifferences: replay.differences,
    secondAttempts: count('second_attempts'),
    silentSends: silent.length,
    contradictions: contradictions.length,
    states: countStates(orders),
    refunds: countRefunds(refunds, trueRefunds),
    paidTwice: count('paid_twice'),
    payouts: {
      items: payouts.length,
      moved: transfers.filter((one) => one.moved > 0).length,
      states: countStates(payouts.flatMap(({ subState }) => (subState === null ? [] : [{ subState }]))),
    },
    kept: countKept(books),
    proof,
    unknownOpen: orders.filter((order) => order.subState === 'unknown').length,
    deadLetters: await countDeadLetters(db),
    counts: await countRun(db),
    events: replay.events,
    chargedIntents: intents.filter((intent) => intent.status === 'succeeded').length,
    names: [
      ...differences.map((one) => `${one.measure}: ${one.what}`),
      ...(material.jobsMayBeLeft
        ? (await describeJobsLeft(db)).map((line) => `left in the queue: ${line}`)
        : []),
      ...ledger.map((line) => `imbalance: ${line}`),
      ...wallets.map((line) => `wallet_differences: ${line}`),
      ...proof.blind.map((line) => `blind_checks: not noticed: ${line}`),
      ...silent.map((send) => `silent_sends: op_${send.operationId}: ${send.why}`),
      ...replay.examples.map((line) => `replay_differences: ${line}`),
      ...contradictions.map((line) => `contradictions: ${line}`),
    ],
  };
}

/** Every order against its intents; intents that no order of the book owns are unexplained too. */
function judgeTruth(orders: readonly OrderFact[], intents: readonly TrueIntent[]): readonly Difference[] {
  const byOrder = Map.groupBy(intents, (intent) => intent.metadata.paygate_order ?? '');
  const found = orders.flatMap((order) => {
    const name = `ord_${order.orderId}`;
    const own = byOrder.get(name) ?? [];
    byOrder.delete(name);
    return judgeOrder(order, own);
  });
  for (const [name, strangers] of byOrder) {
    for (const intent of strangers) {
      found.push({
        measure: 'unexplained',
        what: `${intent.id} (${intent.status}) is for ${name || 'nobody'}, unknown here`,
      });
    }
  }
  return found;
}

/** What must be booked, if the sandbox tells the truth. */
function expectBooks(
  plan: Plan,
  material: RefundMaterial,
  payouts: readonly PayoutFact[],
  transfers: readonly TrueTransfer[],
): ExpectedBooks {
  const { orders, refunds, intents, trueRefunds } = material;
  const paid = new Set(
    intents.filter((intent) => intent.amount_received > 0).map((intent) => intent.metadata.paygate_order),
  );
  const moved = new Set(
    trueRefunds.filter((refund) => refund.moved > 0).map((refund) => refund.metadata.paygate_operation),
  );
  const paidOut = new Set(
    transfers.filter((one) => one.moved > 0).map((one) => one.metadata.paygate_operation),
  );
  const release = plan.releaseAfterDays === 0 ? 'available' : 'pending';
  return {
    postings: [
      ...orders.flatMap((order) => expectedOfOrder(order, paid.has(`ord_${order.orderId}`), release)),
      ...payouts.flatMap((payout) => expectedOfPayout(payout, paidOut.has(`op_${payout.operationId}`))),
      ...refunds.flatMap((refund) => expectedOfRefund(refund, moved.has(`op_${refund.operationId}`))),
    ],
    anySuccess: paid.size > 0,
  };
}

function judgeWatches(payments: readonly bigint[]): readonly Difference[] {
  return payments.map((payment) => ({
    measure: 'refunds_missing',
    what: `pay_${payment} has ended and is still watched: nobody has looked what to give back`,
  }));
}

function countRefunds(refunds: readonly RefundFact[], trueRefunds: readonly TrueRefund[]): RefundCounts {
  return {
    asked: refunds.length,
    partials: refunds.filter((refund) => refund.cause === 'partial').length,
    moved: trueRefunds.filter((refund) => refund.moved > 0).length,
    inDoubt: refunds.filter((refund) => refund.subState === 'unknown').length,
    states: countStates(refunds),
  };
}

function countStates(orders: readonly { readonly subState: SubState }[]): Readonly<Record<string, number>> {
  const states: Record<string, number> = {};
  for (const order of orders) {
    const name = `${publicStateOf(order.subState)} ${order.subState}`;
    states[name] = (states[name] ?? 0) + 1;
  }
  return states;
}
