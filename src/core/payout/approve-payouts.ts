/**
 * Approves a payout batch, chunk by chunk: each chunk decides its items under the locks of register and wallets and
 * writes operation, attempt with its frozen request, job, reservation and event in one transaction. After a crash the
 * same goes on with the drafts that are left. Sends nothing.
 */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, type Tx, together, transact } from '../db/connection.ts';
import { Bug, OperatorError, unreachable } from '../errors.ts';
import { attemptKey, formatId } from '../ids.ts';
import { entryJson, insertEntries, insertPostings, type PostedEntry } from '../ledger/ledger-store.ts';
import { payoutApproved } from '../ledger/posting-rules.ts';
import type { Currency } from '../money.ts';
import { insertAttempts, insertOperations } from '../operation/operation-store.ts';
import { takeIds } from '../payment/payment-store.ts';
import type { RequestAccount } from '../psp/psp.ts';
import { freezePayout } from '../psp/request.ts';
import { laneOf } from '../queue/job.ts';
import { insertJobs, notifyLane } from '../queue/queue-store.ts';
import { listPayees, lockPayees, type Payee } from '../seller/seller-store.ts';
import { lockAvailable } from '../wallet/wallet-store.ts';
import {
  coverInOrder,
  judgePayee,
  needsSecondPerson,
  notCovered,
  type PayoutPolicy,
  type Refusal,
  walletKey,
} from './payout-decision.ts';
import { sumUpBatch } from './payout-list-store.ts';
import {
  decideItems,
  endBatch,
  lockDrafts,
  lockPayoutBatch,
  markBatchApproved,
  type NewPayoutItem,
  type PayoutBatch,
} from './payout-store.ts';

export type ApprovalContext = {
  readonly bookKey: string;
  /** Who was authenticated. */
  readonly principal: string;
  /** Null where the configuration has no such account any more. */
  readonly accountOf: (pspAccount: string) => RequestAccount | null;
  readonly policy: PayoutPolicy;
};

export type ApprovalStart =
  /** Approved now, or before and interrupted: its items can be gone through. */
  | { readonly kind: 'approving'; readonly batch: PayoutBatch; readonly drafts: number }
  /** In these currencies the batch is above the limit, and who submitted it may not approve it. */
  | { readonly kind: 'second_person_needed'; readonly currencies: readonly Currency[] }
  /** Every item is decided already. */
  | { readonly kind: 'ended'; readonly batch: PayoutBatch };

/**
 * The approval of a batch as a whole, and who gave it. Items are decided by {@link approveItems}.
 * @throws OperatorError payout_batch_not_found, psp_account_missing; not_approved where `mode` is `resume` and nobody has
 *   approved it yet
 */
export async function startApproval(
  db: Db,
  context: ApprovalContext,
  batchId: bigint,
  mode: 'approve' | 'resume',
): Promise<ApprovalStart> {
  return transact(db, async (tx): Promise<ApprovalStart> => {
    const batch = await lockPayoutBatch(tx, batchId);
    const name = formatId('payoutBatch', batchId);
    if (batch === null)
      throw new OperatorError('payout_batch_not_found', `There is no payout batch ${name}.`, {
        kind: 'answer_is_no',
      });
    if (batch.state === 'approved' || batch.state === 'canceled') return { kind: 'ended', batch };
    requireAccount(context, batch);
    const sums = (await sumUpBatch(tx, batchId)).filter((sum) => sum.state === 'draft');
    const drafts = sums.reduce((count, sum) => count + sum.items, 0);
    if (batch.state === 'approving') return { kind: 'approving', batch, drafts };
    if (mode === 'resume')
      throw new OperatorError('not_approved', `${name} is not approved: paygate payouts approve ${name}`, {
        kind: 'refused',
      });
    const totals = new Map(sums.map((sum) => [sum.currency as Currency, sum.amountMinor]));
    const currencies = needsSecondPerson(
      { submittedBy: batch.submittedBy, totals },
      context.principal,
      context.policy.approvalLimits,
    );
    if (currencies.length > 0) return { kind: 'second_person_needed', currencies };
    await markBatchApproved(tx, batchId, context.principal);
    const data = JSON.stringify({ id: batchId.toString() });
    await insertEvents(tx, context.principal, [{ kind: 'payout_batch_approved', paymentId: null, data }]);
    return { kind: 'approving', batch: { ...batch, state: 'approving' }, drafts };
  });
}

function requireAccount(context: ApprovalContext, batch: PayoutBatch): RequestAccount {
  const account = context.accountOf(batch.pspAccount);
  if (account !== null) return account;
  throw new OperatorError(
    'psp_account_missing',
    `The batch is paid from the PSP account ${batch.pspAccount}, which is not configured here. Add [psp.${batch.pspAccount}].`,
  );
}

/** Items decided in one transaction. */
const APPROVAL_CHUNK = 500;

export type ApprovalTally = { approved: number; refused: number };

export type ApprovalRun = {
  /** Stops between two chunks. */
  readonly signal: AbortSignal;
  /** Told after every chunk; also right when this throws. */
  readonly onProgress: (tally: ApprovalTally) => void;
};

/** Goes through what is left of a batch that {@link startApproval} has approved. */
export async function approveItems(
  db: Db,
  context: ApprovalContext,
  batch: PayoutBatch,
  run: ApprovalRun,
): Promise<'complete' | 'stopped'> {
  const tally: ApprovalTally = { approved: 0, refused: 0 };
  while (!run.signal.aborted) {
    const decided = await transact(db, (tx) => approveChunk(tx, context, batch));
    if (decided.length === 0) {
      await endApproval(db, context.principal, batch.id);
      return 'complete';
    }
    const approved = decided.filter((item) => item.kind === 'approved').length;
    tally.approved += approved;
    tally.refused += decided.length - approved;
    run.onProgress({ ...tally });
  }
  return 'stopped';
}

async function endApproval(db: Db, principal: string, batchId: bigint): Promise<void> {
  await transact(db, async (tx) => {
    if (!(await endBatch(tx, batchId, 'approved'))) return;
    const data = JSON.stringify({ id: batchId.toString(), state: 'approved', canceled: 0 });
    await insertEvents(tx, principal, [{ kind: 'payout_batch_ended', paymentId: null, data }]);
  });
}

/** An item with what was decided of it. */
type Decision =
  | { readonly kind: 'refused'; readonly item: NewPayoutItem; readonly refusal: Refusal }
  | {
      readonly kind: 'approved';
      readonly item: NewPayoutItem;
      readonly destination: string;
      readonly operationId: bigint;
      readonly idempotencyKey: string;
      readonly request: string;
    };

/**
 * Decides the next items of a batch. Locks items, then sellers, then wallets, each in order; the database refuses an
 * overdraft all the same (PG003), and then the whole chunk is undone.
 */
async function approveChunk(
  tx: Tx,
  context: ApprovalContext,
  batch: PayoutBatch,
): Promise<readonly Decision[]> {
  const items = await lockDrafts(tx, batch.id, APPROVAL_CHUNK);
  if (items.length === 0) return [];
  const sellers = [...new Set(items.map((item) => item.seller))];
  const { coolingDays } = context.policy;
  const [, payees, ids] = await together([
    lockPayees(tx, sellers),
    listPayees(tx, { sellers, pspAccount: batch.pspAccount, coolingDays }),
    takeIds(tx, items.length),
  ]);
  const payeeOf = new Map(payees.map((payee) => [payee.seller, payee]));
  const judged = items.map((item, i) => judge(context, batch, item, payeeOf.get(item.seller), ids[i]!));
  const decisions = await coverByWallets(tx, judged);
  await store(tx, context, batch, decisions);
  return decisions;
}

/** By the register, and whether the PSP can be asked for it. */
function judge(
  context: ApprovalContext,
  batch: PayoutBatch,
  item: NewPayoutItem,
  payee: Payee | undefined,
  operationId: bigint,
): Decision {
  const currency = item.currency as Currency;
  const payability = judgePayee({ ...item, money: { amountMinor: item.amountMinor, currency } }, payee);
  if (payability.kind === 'refused') return { kind: 'refused', item, refusal: payability.refusal };
  const { destination } = payability;
  const idempotencyKey = attemptKey(context.bookKey, operationId, 1);
  const frozen = freezePayout(requireAccount(context, batch), {
    idempotencyKey,
    operationId: formatId('operation', operationId),
    attemptNumber: 1,
    destination,
    amountMinor: item.amountMinor,
    currency,
  });
  if (frozen.kind === 'rejected')
    return { kind: 'refused', item, refusal: { code: 'not_expressible', reason: frozen.reason } };
  return { kind: 'approved', item, destination, operationId, idempotencyKey, request: frozen.request };
}

/** Locks the wallets and refuses what they do not cover, in the order of the items. */
async function coverByWallets(tx: Tx, judged: readonly Decision[]): Promise<readonly Decision[]> {
  const payable = judged.flatMap((decision) =>
    decision.kind === 'approved' ? [moneyOut(decision.item)] : [],
  );
  if (payable.length === 0) return judged;
  const wallets = new Map(
    payable.map(({ seller, money }) => [
      walletKey(seller, money.currency),
      { seller, currency: money.currency },
    ]),
  );
  const available = await lockAvailable(tx, [...wallets.values()]);
  const availableMinor = new Map(
    available.map((wallet) => [walletKey(wallet.seller, wallet.currency), wallet.availableMinor]),
  );
  const covered = coverInOrder(payable, availableMinor).values();
  return judged.map((decision): Decision => {
    if (decision.kind === 'refused' || covered.next().value === true) return decision;
    return { kind: 'refused', item: decision.item, refusal: notCovered(moneyOut(decision.item)) };
  });
}

function moneyOut({ seller, amountMinor, currency }: NewPayoutItem) {
  return { seller, money: { amountMinor, currency: currency as Currency } };
}

type Approved = Extract<Decision, { kind: 'approved' }>;

/** Point of no return: from here on only writing. */
async function store(
  tx: Tx,
  context: ApprovalContext,
  batch: PayoutBatch,
  decisions: readonly Decision[],
): Promise<void> {
  const { principal } = context;
  const approved = decisions.filter((decision) => decision.kind === 'approved');
  const lane = laneOf(batch.pspAccount, 'batch');
  const [entries] = await together([
    insertEntries(tx, principal, approved.map(reservationOf)),
    insertRows(tx, batch, approved, lane),
  ]);
  const data = decidedEvent(batch, lane, decisions, entries);
  await together([
    decideItems(tx, decisions.map(decidedItem)),
    insertEvents(tx, principal, [{ kind: 'payouts_decided', paymentId: null, data }]),
    insertPostings(tx, entries),
    approved.length > 0 ? notifyLane(tx, lane) : undefined,
  ]);
}

/** Operation, attempt and job of each approved item. */
async function insertRows(
  tx: Tx,
  batch: PayoutBatch,
  approved: readonly Approved[],
  lane: string,
): Promise<void> {
  if (approved.length === 0) return;
  await together([
    insertOperations(
      tx,
      approved.map(({ item, operationId }) => ({
        id: operationId,
        kind: 'payout' as const,
        paymentId: null,
        paymentOrderId: null,
        pspAccount: batch.pspAccount,
        amountMinor: item.amountMinor,
        currency: item.currency,
        subState: 'queued' as const,
        reason: null,
        seller: item.seller,
        feeShareMinor: 0n,
        fromPendingMinor: 0n,
      })),
    ),
    insertAttempts(
      tx,
      approved.map(({ operationId, idempotencyKey, request }) => ({
        operationId,
        number: 1,
        idempotencyKey,
        request,
      })),
    ),
    insertJobs(
      tx,
      approved.map(({ operationId }) => ({
        operationId,
        kind: 'payout' as const,
        attemptNumber: 1,
        lane,
        fence: 0,
      })),
    ),
  ]);
}

function reservationOf({ item, operationId }: Approved) {
  const rule = payoutApproved({
    seller: item.seller,
    currency: item.currency as Currency,
    payoutMinor: item.amountMinor,
  });
  return { cause: formatId('operation', operationId), ...rule };
}

function decidedItem(decision: Decision) {
  const { id } = decision.item;
  switch (decision.kind) {
    case 'approved':
      return {
        id,
        state: 'approved' as const,
        operationId: decision.operationId,
        paidTo: decision.destination,
      };
    case 'refused':
      return { id, state: 'refused' as const, ...decision.refusal };
    default:
      return unreachable(decision);
  }
}

/** Everything that replay needs, beside the items that it has already. The frozen request goes in as it is. */
function decidedEvent(
  batch: PayoutBatch,
  lane: string,
  decisions: readonly Decision[],
  entries: readonly PostedEntry[],
): string {
  const items = decisions.map((decision) => {
    const id = decision.item.id.toString();
    if (decision.kind === 'refused') return JSON.stringify({ id, ...decision.refusal });
    const fields = JSON.stringify({
      id,
      operation: decision.operationId.toString(),
      paid_to: decision.destination,
      idempotency_key: decision.idempotencyKey,
    });
    return `${fields.slice(0, -1)},"request":${decision.request}}`;
  });
  const approvedCount = decisions.filter((decision) => decision.kind === 'approved').length;
  if (entries.length !== approvedCount) throw new Bug('an approval without its reservation');
  const head = JSON.stringify({
    batch: batch.id.toString(),
    psp_account: batch.pspAccount,
    lane,
    entries: entries.map(entryJson),
  });
  return `${head.slice(0, -1)},"items":[${items.join(',')}]}`;
}
