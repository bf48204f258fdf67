/**
 * One step, shared by everybody who learns of disputes: a daemon that read the PSP, a settlement file. Takes a
 * transaction and facts; stores what is new, books what follows, and keeps refunds that nobody has sent yet from paying
 * the same money again. Asks nobody and opens no transaction.
 *
 * Facts are booked whatever the books hold; only intentions are refused. Lock order: job → operation → dispute →
 * accounts, each in id order.
 */
import { insertEvents, type NewEvent } from '../audit/event-store.ts';
import { type Tx, together } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { formatId } from '../ids.ts';
import { entryJson, insertEntries, insertPostings, type PostedEntry } from '../ledger/ledger-store.ts';
import { insertReleasesOfFailedRefunds, lockSubjects, type Subject } from '../operation/operation-store.ts';
import { cancelUnsent, listStandings, lockOperations } from '../operation/reopening-store.ts';
import { releaseEntries } from '../operation/verdict.ts';
import { takeIds } from '../payment/payment-store.ts';
import { endJobsFromOutside, lockJobs, openDeadLetters } from '../queue/queue-store.ts';
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
  listUnsentRefunds,
  lockDisputes,
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
  if (new Set(facts.map(nameOf)).size !== facts.length)
    throw new Bug('two facts of one dispute in one call');
  const world = await lockWorld(tx, facts);
  const verdicts = judgeAll(context.policy, facts, world);
  const excess = excessOf(verdicts, world);
  const canceled = chooseCanceled(excess, world);
  await write(tx, context, verdicts, canceled, excess);
  return facts.map((fact, i) => {
    const orderId = world.charges.get(chargeName(fact))?.orderId;
    const refunds = canceled.filter((one) => one.orderId === orderId);
    return {
      fact,
      verdict: verdicts[i]!,
      canceledRefunds: refunds.map((one) => one.operationId),
      isPaidTwice: orderId !== undefined && (excess.get(orderId)?.minor ?? 0n) > 0n,
    };
  });
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
  readonly unsent: readonly Subject[];
  readonly ids: readonly bigint[];
};

async function lockWorld(tx: Tx, facts: readonly DisputeFact[]): Promise<World> {
  const chargeIds = [...new Set(facts.map((fact) => fact.operationId))];
  const refundIds = await listUnsentRefunds(tx, chargeIds);
  await lockJobs(tx, [...chargeIds, ...refundIds]);
  await lockOperations(tx, [...chargeIds, ...refundIds]);
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
    unsent,
    ids,
  };
}

/** Fact by fact; each sees what the ones before it took of the same order. */
function judgeAll(policy: DisputePolicy, facts: readonly DisputeFact[], world: World): readonly DisputeVerdict[] {
  return facts.map((fact, i) => {
    const row = world.charges.get(chargeName(fact));
    const charge = row === undefined ? null : withSums(row, world.sums);
    const verdict = judgeDispute(world.stored.get(nameOf(fact)) ?? null, fact, charge, policy, world.ids[i]!);
    if (verdict.kind === 'moves') addUp(world.sums, verdict.dispute, verdict.from);
    return verdict;
  });
}

function withSums(row: ChargeOfDispute, sums: ReadonlyMap<bigint, Sums>): DisputedCharge {
  return { ...row, ...(sums.get(row.orderId) ?? { takenMinor: 0n, sharesGivenMinor: 0n }) };
}

function addUp(sums: Map<bigint, Sums>, dispute: Dispute, from: Dispute['state'] | 'none'): void {
  if (dispute.holder !== 'seller') return;
  const held = from !== 'none' && holdsMoney(from);
  const holds = holdsMoney(dispute.state);
  if (held === holds) return;
  const sign = holds ? 1n : -1n;
  const before = sums.get(dispute.orderId) ?? { takenMinor: 0n, sharesGivenMinor: 0n };
  sums.set(dispute.orderId, {
    takenMinor: before.takenMinor + sign * dispute.amountMinor,
    sharesGivenMinor: before.sharesGivenMinor + sign * (dispute.amountMinor - dispute.sellerShareMinor),
  });
}

/** An order of which more is away or on its way than was captured, because of a dispute that moved. */
type Excess = { readonly charge: ChargeOfDispute; readonly dispute: Dispute; minor: bigint };

function excessOf(verdicts: readonly DisputeVerdict[], world: World): Map<bigint, Excess> {
  const excess = new Map<bigint, Excess>();
  for (const verdict of verdicts) {
    if (verdict.kind !== 'moves' || !holdsMoney(verdict.dispute.state)) continue;
    const { dispute, from } = verdict;
    const charge = world.charges.get(chargeName(dispute));
    // From open to lost nothing more goes away: it was told when it opened.
    if (charge === undefined || dispute.holder !== 'seller' || (from !== 'none' && holdsMoney(from))) continue;
    const minor = (world.sums.get(dispute.orderId)?.takenMinor ?? 0n) - charge.grossMinor;
    if (minor > 0n) excess.set(dispute.orderId, { charge, dispute, minor });
  }
  return excess;
}

type CanceledRefund = { readonly operationId: bigint; readonly orderId: bigint; readonly subject: Subject };

/** The youngest first, as many as it takes; lowers the excess by them. */
function chooseCanceled(excess: ReadonlyMap<bigint, Excess>, world: World): readonly CanceledRefund[] {
  return [...world.unsent].reverse().flatMap((subject) => {
    const one = subject.orderId === null ? undefined : excess.get(subject.orderId);
    if (one === undefined || one.minor <= 0n) return [];
    one.minor -= subject.amountMinor;
    return [{ operationId: subject.operationId, orderId: one.charge.orderId, subject }];
  });
}

/** Point of no return: from here on only writing, the hot balances last. */
async function write(
  tx: Tx,
  context: DisputeContext,
  verdicts: readonly DisputeVerdict[],
  canceled: readonly CanceledRefund[],
  excess: ReadonlyMap<bigint, Excess>,
): Promise<void> {
  const { principal } = context;
  const moved = verdicts.filter((verdict) => verdict.kind === 'moves');
  const entries = await insertEntries(tx, principal, [
    ...moved.flatMap((verdict) => verdict.entries),
    ...canceled.flatMap(({ subject }) => releaseEntries(subject, 'canceled')),
  ]);
  const unchanged = verdicts.filter((verdict) => verdict.kind === 'unchanged');
  const [, , , ended] = await together([
    insertDisputes(tx, moved.filter((one) => one.from === 'none').map((one) => one.dispute)),
    updateDisputes(tx, [
      ...moved.filter((one) => one.from !== 'none').map((one) => one.dispute),
      ...unchanged.map((one) => one.dispute),
    ]),
    endJobsFromOutside(tx, canceled.map((one) => one.operationId)),
    cancelUnsent(tx, canceled.map((one) => ({ ...refOf(one), reason: CANCELED_BECAUSE }))),
    openDeadLetters(tx, lettersOf(verdicts, excess)),
    insertEvents(tx, principal, [
      ...moved.map((one) => changedEvent(one.from, one.dispute, entries, one.entries)),
      ...unchanged.map((one) => changedEvent(one.dispute.state, one.dispute, entries, [])),
      ...canceled.map((one) => canceledEvent(one, entries)),
    ]),
    insertReleasesOfFailedRefunds(
      tx,
      canceled.filter((one) => one.subject.fromPendingMinor > 0n).map((one) => one.operationId),
    ),
  ]);
  if (ended.length !== canceled.length) throw new Bug('an unsent refund moved under its own lock');
  await insertPostings(tx, entries);
}

const CANCELED_BECAUSE = "the buyer's bank took the money back in a dispute";

function refOf({ subject }: CanceledRefund) {
  return { operationId: subject.operationId, attemptNumber: subject.attemptNumber };
}

/** What a person must hear of at once; an open dispute itself stands in the list of disputes. */
function lettersOf(verdicts: readonly DisputeVerdict[], excess: ReadonlyMap<bigint, Excess>) {
  const differing = verdicts.flatMap((verdict) => {
    if (verdict.kind !== 'differs') return [];
    const { operationId, attemptNumber, id } = verdict.dispute;
    const reason = `the PSP says of dispute ${formatId('dispute', id)} what it did not say before: ${verdict.reason}`;
    return [{ operationId, attemptNumber, code: 'contradicting_evidence' as const, reason }];
  });
  const twice = [...excess.values()].flatMap(({ charge, dispute, minor }) => {
    if (minor <= 0n) return [];
    const { operationId, attemptNumber } = charge;
    const reason = `dispute ${formatId('dispute', dispute.id)} and refunds of its order take more than was captured: the buyer may be paid twice`;
    return [{ operationId, attemptNumber, code: 'refund_and_dispute' as const, reason }];
  });
  return [...differing, ...twice];
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

function canceledEvent(one: CanceledRefund, posted: readonly PostedEntry[]): NewEvent {
  const { operationId, attemptNumber, paymentId, subState } = one.subject;
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
