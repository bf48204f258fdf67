/** Checks everything that a run must leave behind, and names what differs. */
import type { Db } from '../src/core/db/connection.ts';
import { publicStateOf, type SubState } from '../src/core/operation/operation.ts';
import { intentsOf, refundsOf, transfersOf } from './adyen-truth.ts';
import { checkLedger, checkWallets, type ExpectedBooks } from './check-books.ts';
import { checkReplay } from './check-replay.ts';
import { expectedOfOrder, expectedOfPayout, expectedOfRefund } from './expected-books.ts';
import {
  countDeadLetters,
  countRun,
  describeJobsLeft,
  describeLetters,
  listOrderFacts,
  listSilentSends,
  type OrderFact,
  type RunCounts,
} from './facts.ts';
import { type Difference, judgeAcceptance, judgeCharges } from './judge.ts';
import { judgePayouts, listPayoutFacts, type PayoutFact } from './judge-payouts.ts';
import { judgeKept, judgeRefundAnswers, judgeRefunds, type RefundMaterial } from './judge-refunds.ts';
import { judgeWallets, listWalletFacts } from './judge-wallets.ts';
import type { PayoutSubmissions } from './payouts.ts';
import type { Plan } from './plan.ts';
import { type Proof, proveJudge } from './prove-judge.ts';
import { listRefundFacts, listWatchesLeft, type RefundFact } from './refund-facts.ts';
import type { RefundSubmissions } from './refunds.ts';
import type { TrueRefund, TrueTransfer } from './sandbox.ts';
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
  /** Succeeded orders of failed payments whose buyer has not everything back. */
  readonly kept: number;
  /** Below zero for no reason that is booked; and for one that is. */
  readonly walletsBelowZero: number;
  readonly walletsOverdrawn: number;
  /** Charges, refunds and payouts in the book, by PSP account. */
  readonly operations: Readonly<Record<string, number>>;
  /** Whether the judge notices when the truth is falsified. */
  readonly proof: Proof;
  readonly unknownOpen: number;
  readonly deadLetters: Readonly<Record<string, number>>;
  readonly counts: RunCounts;
  readonly events: number;
  readonly chargedIntents: number;
  /** What differs, by name. */
  readonly names: readonly string[];
  /** Why letters are open. */
  readonly letters: readonly string[];
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
  readonly refunds: RefundSubmissions;
  readonly payouts: PayoutSubmissions;
};

export async function checkEverything(world: World, db: Db, material: Material): Promise<Checked> {
  const { plan, submissions } = material;
  const orders = await listOrderFacts(db);
  const refunds = await listRefundFacts(db);
  const payouts = await listPayoutFacts(db);
  const wallets = await listWalletFacts(db);
  const { intents, trueRefunds, transfers } = await readTruth(world, orders);
  const books = { orders, refunds, intents, trueRefunds };
  const payments = plan.waves.flatMap((wave) => wave.payments);
  const { names } = material.payouts;
  const differences = [
    ...judgeAcceptance(payments, submissions.answers, orders),
    ...judgeCharges(orders, intents),
    ...judgeRefunds(books),
    ...judgeKept(books),
    ...judgePayouts(names, payouts, transfers),
    ...judgeWallets(wallets),
    ...judgeRefundAnswers(material.refunds, refunds, orders),
    ...judgeWatches(await listWatchesLeft(db)),
  ];
  const expected = expectBooks(plan, books, payouts, transfers);
  const ledger = await checkLedger(db, expected);
  const differing = await checkWallets(db, expected);
  const proof = proveJudge({ ...books, names, payouts, transfers, wallets }, expected.postings);
  const contradictions = [...submissions.contradictions, ...material.refunds.contradictions];
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
    walletDifferences: differing.length,
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
    kept: count('kept'),
    walletsBelowZero: count('wallets_below_zero'),
    walletsOverdrawn:
      wallets.filter((wallet) => wallet.balanceMinor < 0n).length - count('wallets_below_zero'),
    operations: countAccounts([...orders, ...refunds, ...payouts]),
    proof,
    unknownOpen: orders.filter((order) => order.subState === 'unknown').length,
    deadLetters: await countDeadLetters(db),
    counts: await countRun(db),
    events: replay.events,
    chargedIntents: intents.filter((intent) => intent.amount_received > 0).length,
    letters: await describeLetters(db),
    names: [
      ...differences.map((one) => `${one.measure}: ${one.what}`),
      ...(await describeJobsLeft(db)).map((line) => `left in the queue: ${line}`),
      ...ledger.map((line) => `imbalance: ${line}`),
      ...differing.map((line) => `wallet_differences: ${line}`),
      ...proof.blind.map((line) => `blind_checks: not noticed: ${line}`),
      ...silent.map((send) => `silent_sends: op_${send.operationId}: ${send.why}`),
      ...replay.examples.map((line) => `replay_differences: ${line}`),
      ...contradictions.map((line) => `contradictions: ${line}`),
    ],
  };
}

/** Both PSPs' truth in one. */
async function readTruth({ sandbox }: World, orders: readonly OrderFact[]) {
  const records = await sandbox.adyen();
  const orderOf = new Map(orders.map((order) => [`op_${order.operationId}`, `ord_${order.orderId}`]));
  return {
    intents: [...(await sandbox.truth()), ...intentsOf(records, orderOf)],
    trueRefunds: [...(await sandbox.refunds()), ...refundsOf(records)],
    transfers: [...(await sandbox.transfers()), ...transfersOf(records)],
  };
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
  const releaseOf = new Map(
    plan.waves.flatMap(({ payments, releaseAfterDays }) =>
      payments.map(
        (payment) => [payment.checkoutId, releaseAfterDays === 0 ? 'available' : 'pending'] as const,
      ),
    ),
  );
  return {
    postings: [
      ...orders.flatMap((order) =>
        expectedOfOrder(
          order,
          paid.has(`ord_${order.orderId}`),
          releaseOf.get(order.checkoutId) ?? 'available',
        ),
      ),
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

function countAccounts(
  operations: readonly { readonly pspAccount: string | null }[],
): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { pspAccount } of operations)
    if (pspAccount !== null) counts[pspAccount] = (counts[pspAccount] ?? 0) + 1;
  return counts;
}
