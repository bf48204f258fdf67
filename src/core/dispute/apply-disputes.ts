/**
 * One step, shared by everybody who learns of disputes: a daemon that read the PSP, a settlement file. Takes a
 * transaction and facts; stores what is new, books what follows, and keeps refunds that nobody has sent yet from paying
 * the same money again. Asks nobody and opens no transaction.
 *
 * Facts are booked whatever the books hold; only intentions are refused. Lock order: charges, then what nobody holds of
 * their refunds' jobs (without waiting), disputes, accounts, each in id order.
 */
import { insertEvents, type NewEvent } from '../audit/event-store.ts';
import { type Tx, together } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { formatId } from '../ids.ts';
import { entryJson, insertEntries, insertPostings, type PostedEntry } from '../ledger/ledger-store.ts';
import { insertReleasesOfFailedRefunds, lockSubjects, type Subject } from '../operation/operation-store.ts';
import { cancelUnsent, listStandings, lockOperations } from '../operation/reopening-store.ts';
import { releaseEntries } from '../operation/verdict-entries.ts';
import { takeIds } from '../payment/payment-store.ts';
import { type NewDeadLetter, openDeadLetters } from '../queue/queue-store.ts';
import { endJobsFromOutside } from '../queue/rescue-store.ts';
import { sumRefunds } from '../refund/refund-store.ts';
import {
  type Dispute,
  type DisputedCharge,
  type DisputeFact,
  type DisputePolicy,
  type DisputeVerdict,
  holdsMoney,
  judgeDispute,
} from './dispute.ts';
import {
  type ChargeOfDispute,
  insertDisputes,
  listChargesOfDisputes,
  lockDisputes,
  lockUnsentRefunds,
  updateDisputes,
} from './dispute-store.ts';

export type DisputeContext = {
  /** Who was authenticated. */
  readonly principal: string;
  readonly policy: DisputePolicy;
};

/** What became of a fact. */
export type AppliedDispute = {
  readonly fact: DisputeFact;
  readonly verdict: DisputeVerdict;
  /** Refunds of its order that were canceled before they were sent, by operation. */
  readonly canceledRefunds: readonly bigint[];
  /** Refunds and disputes of its order together pass what was captured: a person must look. */
  readonly isPaidTwice: boolean;
};

/** Facts in one call (and so in one transaction). */
export const MAX_DISPUTE_FACTS = 200;

/**
 * Applies facts, each of another dispute, in a constant number of statements. Idempotent: the same fact again, and
 * every older one, changes nothing.
 * @returns in the order of the facts
 */
export async function applyDisputes(
  tx: Tx,
  context: DisputeContext,
  facts: readonly DisputeFact[],
): Promise<readonly AppliedDispute[]> {
  if (facts.length === 0) return [];
  if (facts.length > MAX_DISPUTE_FACTS)
    throw new Bug(`${facts.length} facts; the limit is ${MAX_DISPUTE_FACTS}`);
  if (new Set(facts.map(nameOf)).size !== facts.length) throw new Bug('two facts of one dispute in one call');
  const world = await lockWorld(tx, facts);
  const judged = facts.map((fact, i) => judgeOne(context.policy, fact, world.ids[i]!, world));
  await write(tx, context, judged);
  return judged.map(({ fact, verdict, canceled, isPaidTwice }) => ({
    fact,
    verdict,
    canceledRefunds: canceled.map((refund) => refund.operationId),
    isPaidTwice,
  }));
}

function nameOf({ pspAccount, pspReference }: DisputeFact): string {
  return `${pspAccount} ${pspReference}`;
}

function chargeName(of: { readonly operationId: bigint; readonly attemptNumber: number }): string {
  return `${of.operationId}/${of.attemptNumber}`;
}

type Sums = { takenMinor: bigint; sharesGivenMinor: bigint };

/** Everything that a decision needs, under its locks. */
type World = {
  readonly stored: ReadonlyMap<string, Dispute>;
  readonly charges: ReadonlyMap<string, ChargeOfDispute>;
  /** By order; moves along with the verdicts. */
  readonly sums: Map<bigint, Sums>;
  /** Refunds that were certainly never sent, oldest first. */
  readonly unsent: Subject[];
  readonly ids: readonly bigint[];
};

async function lockWorld(tx: Tx, facts: readonly DisputeFact[]): Promise<World> {
  const chargeIds = [...new Set(facts.map((fact) => fact.operationId))];
  await lockOperations(tx, chargeIds);
  const refundIds = await lockUnsentRefunds(tx, chargeIds);
  const [charges, disputes, standings, ids] = await together([
    listChargesOfDisputes(tx, facts),
    lockDisputes(tx, facts),
    listStandings(tx, refundIds),
    takeIds(tx, facts.length),
  ]);
  const orderIds = [...new Set(charges.map((charge) => charge.orderId))];
  const isUnsent = standings.filter(
    (one) => one.subState === 'queued' && one.sends === 0 && !one.maybeSent && !one.isLeased,
  );
  const [sums, unsent] = await together([sumRefunds(tx, orderIds), lockSubjects(tx, isUnsent)]);
  return {
    stored: new Map(disputes.map((dispute) => [nameOf(dispute), dispute])),
    charges: new Map(charges.map((charge) => [chargeName(charge), charge])),
    sums: new Map(
      sums.map(({ orderId, refundedMinor, sharesGivenMinor }) => [
        orderId,
        { takenMinor: refundedMinor, sharesGivenMinor },
      ]),
    ),
    unsent: [...unsent],
    ids,
  };
}

/** What follows from a fact, with the refunds that must not be sent any more because of it. */
type Judged = {
  readonly fact: DisputeFact;
  readonly verdict: DisputeVerdict;
  readonly canceled: readonly Subject[];
  readonly isPaidTwice: boolean;
};

/** Each fact sees what the ones before it took of the same order. */
function judgeOne(policy: DisputePolicy, fact: DisputeFact, id: bigint, world: World): Judged {
  const charge = world.charges.get(chargeName(fact)) ?? null;
  const judge = () =>
    judgeDispute(
      world.stored.get(nameOf(fact)) ?? null,
      fact,
      charge === null ? null : withSums(charge, world.sums),
      policy,
      id,
    );
  const first = judge();
  if (first.kind !== 'moves' || charge === null) {
    return { fact, verdict: first, canceled: [], isPaidTwice: false };
  }
  const canceled = takesMoney(first) ? cancelFor(charge, fact.amountMinor, world) : [];
  // Its shares are counted without the refunds that will not be.
  const verdict = canceled.length === 0 ? first : judge();
  if (verdict.kind !== 'moves') throw new Bug('a verdict that depends on refunds');
  const { takenMinor } = addUp(world.sums, verdict.dispute, verdict.from);
  return { fact, verdict, canceled, isPaidTwice: takesMoney(verdict) && takenMinor > charge.grossMinor };
}

/** From open to lost nothing more goes away: that was told when it opened. */
function takesMoney({ from, dispute }: Extract<DisputeVerdict, { kind: 'moves' }>): boolean {
  const held = from !== 'none' && holdsMoney(from);
  return dispute.holder === 'seller' && holdsMoney(dispute.state) && !held;
}

/** The youngest first, as many as it takes; the order's sums and the world lose them. */
function cancelFor(charge: ChargeOfDispute, disputedMinor: bigint, world: World): readonly Subject[] {
  const canceled: Subject[] = [];
  const sums = world.sums.get(charge.orderId);
  if (sums === undefined) return canceled;
  for (let place = world.unsent.length - 1; place >= 0; place -= 1) {
    const subject = world.unsent[place]!;
    if (sums.takenMinor + disputedMinor <= charge.grossMinor) break;
    if (subject.orderId !== charge.orderId) continue;
    world.unsent.splice(place, 1);
    canceled.push(subject);
    sums.takenMinor -= subject.amountMinor;
    sums.sharesGivenMinor -= subject.feeShareMinor;
  }
  return canceled;
}

const NOTHING: Readonly<Sums> = { takenMinor: 0n, sharesGivenMinor: 0n };

function withSums(row: ChargeOfDispute, sums: ReadonlyMap<bigint, Sums>): DisputedCharge {
  return { ...row, ...(sums.get(row.orderId) ?? { takenMinor: 0n, sharesGivenMinor: 0n }) };
}

function addUp(sums: Map<bigint, Sums>, dispute: Dispute, from: Dispute['state'] | 'none'): Readonly<Sums> {
  const before = sums.get(dispute.orderId) ?? NOTHING;
  const held = from !== 'none' && holdsMoney(from);
  const holds = holdsMoney(dispute.state);
  if (dispute.holder !== 'seller' || held === holds) return before;
  const sign = holds ? 1n : -1n;
  const after = {
    takenMinor: before.takenMinor + sign * dispute.amountMinor,
    sharesGivenMinor: before.sharesGivenMinor + sign * (dispute.amountMinor - dispute.sellerShareMinor),
  };
  sums.set(dispute.orderId, after);
  return after;
}

/** Point of no return: from here on only writing, the hot balances last. */
async function write(tx: Tx, context: DisputeContext, judged: readonly Judged[]): Promise<void> {
  const { principal } = context;
  const verdicts = judged.map((one) => one.verdict);
  const moved = verdicts.filter((verdict) => verdict.kind === 'moves');
  const unchanged = verdicts.filter((verdict) => verdict.kind === 'unchanged');
  const canceled = judged.flatMap((one) => one.canceled);
  const canceledIds = canceled.map((subject) => subject.operationId);
  const entries = await insertEntries(tx, principal, [
    ...moved.flatMap((verdict) => verdict.entries),
    ...canceled.flatMap((subject) => releaseEntries(subject, 'canceled')),
  ]);
  const [, , , ended] = await together([
    insertDisputes(
      tx,
      moved.filter((one) => one.from === 'none').map((one) => one.dispute),
    ),
    updateDisputes(
      tx,
      [...moved.filter((one) => one.from !== 'none'), ...unchanged].map((one) => one.dispute),
    ),
    endJobsFromOutside(tx, canceledIds),
    cancelUnsent(
      tx,
      canceled.map((subject) => ({ ...subject, reason: CANCELED_BECAUSE })),
    ),
    openDeadLetters(tx, judged.flatMap(lettersOf)),
    insertEvents(tx, principal, [
      ...moved.map((one) => changedEvent(one.from, one.dispute, entries, one.entries)),
      ...unchanged.map((one) => changedEvent(one.dispute.state, one.dispute, entries, [])),
      ...canceled.map((subject) => canceledEvent(subject, entries)),
    ]),
    insertReleasesOfFailedRefunds(
      tx,
      canceled.filter((subject) => subject.fromPendingMinor > 0n).map((subject) => subject.operationId),
    ),
  ]);
  if (ended.length !== canceled.length) throw new Bug('an unsent refund moved under its own lock');
  await insertPostings(tx, entries);
}

const CANCELED_BECAUSE = "the buyer's bank took the money back in a dispute";

/** What a person must hear of at once; an open dispute itself stands in the list of disputes. */
function lettersOf({ fact, verdict, isPaidTwice }: Judged): readonly NewDeadLetter[] {
  const { operationId, attemptNumber } = fact;
  if (verdict.kind === 'differs') {
    const id = formatId('dispute', verdict.dispute.id);
    const reason = `the PSP says of dispute ${id} what it did not say before: ${verdict.reason}`;
    return [{ ...verdict.dispute, code: 'contradicting_evidence', reason }];
  }
  if (!isPaidTwice || verdict.kind !== 'moves') return [];
  const id = formatId('dispute', verdict.dispute.id);
  const reason = `dispute ${id} and refunds of its order take more than was captured: the buyer may be paid twice`;
  return [{ operationId, attemptNumber, code: 'refund_and_dispute', reason }];
}

/** Everything that replay needs to rebuild the row and its entries. Numbers stay exact: text. */
function changedEvent(
  from: Dispute['state'] | 'none',
  dispute: Dispute,
  posted: readonly PostedEntry[],
  entries: readonly { readonly cause: string; readonly kind: string }[],
): NewEvent {
  const own = posted.filter(
    (one) => one.status === 'posted' && entries.some((e) => e.cause === one.cause && e.kind === one.kind),
  );
  return {
    kind: 'dispute_changed',
    paymentId: dispute.paymentId,
    data: JSON.stringify({
      id: dispute.id.toString(),
      from,
      state: dispute.state,
      psp_account: dispute.pspAccount,
      psp_reference: dispute.pspReference,
      operation: dispute.operationId.toString(),
      attempt: dispute.attemptNumber,
      payment: dispute.paymentId.toString(),
      order: dispute.orderId.toString(),
      seller: dispute.seller,
      amount_minor: dispute.amountMinor.toString(),
      currency: dispute.currency,
      holder: dispute.holder,
      seller_share_minor: dispute.sellerShareMinor.toString(),
      reason: dispute.reason,
      round: dispute.round,
      borne_by: dispute.borneBy,
      observation: dispute.observation.toString(),
      entries: own.map(entryJson),
    }),
  };
}

function canceledEvent(subject: Subject, posted: readonly PostedEntry[]): NewEvent {
  const { operationId, attemptNumber, paymentId, subState } = subject;
  const cause = formatId('operation', operationId);
  return {
    kind: 'operation_canceled',
    paymentId,
    data: JSON.stringify({
      operation: operationId.toString(),
      attempt: attemptNumber,
      from: subState,
      reason: CANCELED_BECAUSE,
      dead_letter: null,
      entries: posted.filter((entry) => entry.status === 'posted' && entry.cause === cause).map(entryJson),
    }),
  };
}
