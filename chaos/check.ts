/** Checks everything that a run must leave behind, and names what differs. */
import type { Db } from '../src/core/db/connection.ts';
import { publicStateOf } from '../src/core/operation/operation.ts';
import { checkLedger, checkWallets } from './check-books.ts';
import { checkReplay } from './check-replay.ts';
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
import type { Plan } from './plan.ts';
import type { TrueIntent } from './sandbox.ts';
import type { Submissions } from './submit.ts';
import type { World } from './world.ts';

export type Checked = {
  readonly lost: number;
  readonly chargedTwice: number;
  readonly unexplained: number;
  readonly imbalance: number;
  readonly walletDifferences: number;
  readonly replayDifferences: number;
  readonly secondAttempts: number;
  readonly silentSends: number;
  /** Submitted twice, answered differently. */
  readonly contradictions: number;
  readonly states: Readonly<Record<string, number>>;
  readonly unknownOpen: number;
  readonly deadLetters: Readonly<Record<string, number>>;
  readonly counts: RunCounts;
  readonly events: number;
  readonly chargedIntents: number;
  /** What differs, by name. */
  readonly names: readonly string[];
};

type Material = {
  readonly plan: Plan;
  readonly submissions: Submissions;
  readonly jobsMayBeLeft: boolean;
};

export async function checkEverything(world: World, db: Db, material: Material): Promise<Checked> {
  const { plan, submissions } = material;
  const orders = await listOrderFacts(db);
  const intents = await world.sandbox.truth();
  const payments = plan.waves.flatMap((wave) => wave.payments);
  const differences = [
    ...judgeAcceptance(payments, submissions.answers, orders),
    ...judgeTruth(orders, intents),
  ];
  const ledger = await checkLedger(db, orders);
  const wallets = await checkWallets(db, orders);
  const silent = await listSilentSends(db);
  const replay = await checkReplay(db, world.database.owner);
  const count = (measure: Difference['measure']) =>
    differences.filter((one) => one.measure === measure).length;
  return {
    lost: count('lost'),
    chargedTwice: count('charged_twice'),
    unexplained: count('unexplained'),
    imbalance: count('imbalance') + ledger.length,
    walletDifferences: wallets.length,
    replayDifferences: replay.differences,
    secondAttempts: count('second_attempts'),
    silentSends: silent.length,
    contradictions: submissions.contradictions.length,
    states: countStates(orders),
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
      ...silent.map((send) => `silent_sends: op_${send.operationId}: ${send.why}`),
      ...replay.examples.map((line) => `replay_differences: ${line}`),
      ...submissions.contradictions.map((line) => `contradictions: ${line}`),
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

function countStates(orders: readonly OrderFact[]): Readonly<Record<string, number>> {
  const states: Record<string, number> = {};
  for (const order of orders) {
    const name = `${publicStateOf(order.subState)} ${order.subState}`;
    states[name] = (states[name] ?? 0) + 1;
  }
  return states;
}
