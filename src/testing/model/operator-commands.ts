/** What operators do: payouts, resolve, cancel, dead letters. For tests only. */
import fc from 'fast-check';
import { expect } from 'vitest';
import type { Currency } from '../../core/money.ts';
import { cancelOperation, discardDeadLetter } from '../../core/operation/cancel-operation.ts';
import { replayDeadLetters } from '../../core/operation/replay-dead-letters.ts';
import { resolveOperation } from '../../core/operation/resolve-operation.ts';
import { approveItems, startApproval } from '../../core/payout/approve-payouts.ts';
import { cancelPayouts } from '../../core/payout/cancel-payouts.ts';
import { submitPayouts } from '../../core/payout/submit-payouts.ts';
import { getBookKey } from '../../core/queue/queue-store.ts';
import { changeStatus } from '../../core/seller/change-seller.ts';
import { approvalContext } from '../payout-fixtures.ts';
import * as model from './book-model.ts';
import { type Command, command, pick, WHO, which } from './command.ts';
import {
  applyFinding,
  currentAttempt,
  giveBackPending,
  hasEnded,
  isOpen,
  type ModelOperation,
  movedMoney,
  newAttempt,
  newJob,
} from './operation-model.ts';
import { isGivenBack, watchAgain } from './payment-commands.ts';
import { capabilitiesNow, type World } from './world.ts';

// --- payouts ---

/** Six names, each of its own seller, currency and amount. */
const NAMES = [
  { seller: 0, currency: 'EUR', amountMinor: 150n },
  { seller: 0, currency: 'EUR', amountMinor: 900n },
  { seller: 1, currency: 'EUR', amountMinor: 400n },
  { seller: 1, currency: 'EUR', amountMinor: 2_000n },
  { seller: 0, currency: 'JPY', amountMinor: 300n },
  { seller: 1, currency: 'JPY', amountMinor: 70n },
] as const;

const names = fc.uniqueArray(fc.nat({ max: NAMES.length - 1 }), { minLength: 1, maxLength: 4 });

export const submit: fc.Arbitrary<Command> = names.map((wanted) =>
  command(
    `submit payouts ${wanted.join(' ')}`,
    () => true,
    (world) => submitNames(world, wanted),
  ),
);

/** Submitted and approved at once, with whatever else can be approved. */
export const pay: fc.Arbitrary<Command> = names.map((wanted) =>
  command(
    `pay ${wanted.join(' ')}`,
    () => true,
    async (world) => {
      await submitNames(world, wanted);
      for (const batchId of [...world.model.openBatches]) await approveBatch(world, batchId);
    },
  ),
);

async function submitNames(world: World, numbers: readonly number[]): Promise<void> {
  const { book, account, model: expected } = world;
  const wanted = numbers.map((name) => ({
    ...NAMES[name]!,
    seller: world.sellers[NAMES[name]!.seller]!,
    itemRef: `${account}-${name}`,
  }));
  const fresh = wanted.filter((one) => {
    const bearer = expected.payouts.findLast((payout) => payout.itemRef === one.itemRef);
    return bearer === undefined || model.isNameFree(bearer);
  });
  const submission = { principal: 'os:ana', pspAccount: account, sha256: 'a'.repeat(64), source: 'a.csv' };
  const requests = wanted.map(({ itemRef, seller, amountMinor, currency }, i) => ({
    line: i + 2,
    itemRef,
    seller,
    money: { amountMinor, currency: currency as Currency },
    destination: null,
    memo: null,
  }));
  const { batchId, accepted } = await submitPayouts(book.db, submission, requests);
  expect(accepted.map((one) => one.itemRef)).toEqual(fresh.map((one) => one.itemRef));
  if (batchId === null) return;
  expected.openBatches.push(batchId);
  for (const one of fresh) expected.payouts.push({ ...one, batchId, decided: 'draft', operation: null });
}

export const approve: fc.Arbitrary<Command> = fc.record({ which }).map((asked) =>
  command(
    `approve payouts ${JSON.stringify(asked)}`,
    (expected) => expected.openBatches.length > 0,
    (world) => approveBatch(world, pick(world.model.openBatches, asked.which)),
  ),
);

async function approveBatch(world: World, batchId: bigint): Promise<void> {
  const { book, model: expected } = world;
  const context = await approvalContext(book.db);
  const start = await startApproval(book.db, context, batchId, 'approve');
  if (start.kind !== 'approving') throw new Error(start.kind);
  const run = { signal: new AbortController().signal, onProgress: () => undefined };
  await approveItems(book.db, context, start.batch, run);
  expected.openBatches.splice(expected.openBatches.indexOf(batchId), 1);
  await decideItems(world, batchId);
  const again = await startApproval(book.db, context, batchId, 'approve');
  expect(again.kind).toBe('ended');
}

async function decideItems({ book, model: expected }: World, batchId: bigint): Promise<void> {
  const { sql, t } = book.db;
  const rows = await sql<{ itemRef: string; operationId: bigint | null }[]>`
    select item_ref, operation_id from ${t.payoutItem} where batch_id = ${batchId}`;
  const idOf = new Map(rows.map((row) => [row.itemRef, row.operationId]));
  for (const payout of expected.payouts.filter((one) => one.batchId === batchId)) {
    const { seller, currency, amountMinor } = payout;
    const { availableMinor } = model.walletOf(expected, seller, currency);
    payout.decided =
      expected.frozenSellers.has(seller) || availableMinor < amountMinor ? 'refused' : 'approved';
    const id = idOf.get(payout.itemRef) ?? null;
    expect(id !== null).toBe(payout.decided === 'approved');
    if (id !== null) payout.operation = payoutOperation(payout, id);
  }
}

function payoutOperation({ seller, currency, amountMinor }: model.ModelPayout, id: bigint): ModelOperation {
  return {
    id,
    kind: 'payout',
    paymentId: null,
    orderId: null,
    seller,
    currency,
    amountMinor,
    feeMinor: 0n,
    fromPendingMinor: 0n,
    releasesLater: false,
    state: 'queued',
    attempts: [newAttempt()],
    job: newJob(1, 'batch'),
    letters: new Map(),
    waitsForRelease: false,
  };
}

export const cancelBatch: fc.Arbitrary<Command> = fc.record({ which }).map((asked) =>
  command(
    `cancel payouts ${JSON.stringify(asked)}`,
    (expected) => expected.openBatches.length > 0,
    async ({ book, model: expected }) => {
      const batchId = pick(expected.openBatches, asked.which);
      const drafts = expected.payouts.filter((one) => one.batchId === batchId);
      expect(await cancelPayouts(book.db, { batchId, ...WHO })).toBe(drafts.length);
      expected.openBatches.splice(expected.openBatches.indexOf(batchId), 1);
      for (const payout of drafts) payout.decided = 'canceled';
    },
  ),
);

export const freeze: fc.Arbitrary<Command> = fc.nat({ max: 1 }).map((number) =>
  command(
    `freeze ${number}`,
    (expected) => expected.openBatches.length > 0,
    async ({ book, sellers, model: { frozenSellers } }) => {
      const seller = sellers[number]!;
      const status = frozenSellers.has(seller) ? 'active' : 'frozen';
      await changeStatus(book.db, { seller, status, ...WHO });
      if (status === 'frozen') frozenSellers.add(seller);
      else frozenSellers.delete(seller);
    },
  ),
);

// --- what only a person can do ---

export const resolve: fc.Arbitrary<Command> = fc
  .record({ which, verdict: fc.constantFrom('succeeded' as const, 'failed') })
  .map((asked) =>
    command(
      `resolve ${JSON.stringify(asked)}`,
      (expected) => model.operationsOf(expected).length > 0,
      async (world) => {
        const all = model.operationsOf(world.model);
        const doubtful = all.filter((one) => one.letters.size > 0 && !hasEnded(one));
        const operation = pick(doubtful.length > 0 && asked.which % 4 > 0 ? doubtful : all, asked.which);
        const attempt = currentAttempt(operation);
        const word = resolveOperation(world.book.db, {
          operationId: operation.id,
          verdict: asked.verdict,
          evidence: WHO.reason,
          pspReference: `ref_${operation.id}_${operation.attempts.length}`,
          principal: WHO.principal,
          capabilitiesOf: () => capabilitiesNow(world),
        });
        if (attempt === undefined || attempt.sends === 0) {
          await expect(word).rejects.toMatchObject({ code: 'never_sent' });
        } else if (hasEnded(operation)) {
          await expect(word).rejects.toMatchObject({ code: 'already_ended' });
        } else {
          expect(await word).toMatchObject({ right: 'settled' });
          const { keyWindowIsOver } = world.model;
          const reply =
            asked.verdict === 'succeeded'
              ? { kind: 'succeeded' as const, pspReference: '' }
              : { kind: 'declined' as const, reason: '', mayRetryAsNew: false, pspReference: null };
          applyFinding(
            { keyWindowIsOver, canEnquire: true },
            operation,
            model.chargeOf(world.model, operation),
            {
              attempt: operation.attempts.length,
              reply,
              task: null,
              isOfPerson: true,
            },
          );
        }
      },
    ),
  );

export const cancel: fc.Arbitrary<Command> = fc.record({ which }).map((asked) =>
  command(
    `cancel ${JSON.stringify(asked)}`,
    (expected) => cancelable(expected).length > 0,
    async (world) => {
      const all = cancelable(world.model);
      const unsent = all.filter((one) => cancelRefusal(one) === null);
      const operation = pick(unsent.length > 0 && asked.which % 4 > 0 ? unsent : all, asked.which);
      const refusal = cancelRefusal(operation);
      const canceled = cancelOperation(world.book.db, operation.id, WHO);
      if (refusal !== null) {
        await expect(canceled).rejects.toMatchObject({ code: refusal });
        return;
      }
      await canceled;
      currentAttempt(operation)!.state = 'not_sent';
      operation.state = 'canceled';
      operation.job = null;
      giveBackPending(operation, model.chargeOf(world.model, operation));
    },
  ),
);

/** What waits for its buyer is canceled at the PSP first: that is tried in tests of its own. */
function cancelable(expected: model.ModelBook): readonly ModelOperation[] {
  return model.operationsOf(expected).filter((one) => one.state !== 'awaiting_customer');
}

function cancelRefusal(operation: ModelOperation): string | null {
  if (hasEnded(operation)) return 'already_ended';
  if (operation.state === 'in_risk_review') return 'in_risk_review';
  const wasClaimed = currentAttempt(operation)!.wasClaimed;
  return operation.state === 'queued' && !wasClaimed ? null : 'already_claimed';
}

type OpenLetter = { readonly operation: ModelOperation; readonly code: string; readonly attempt: number };

function lettersOf(expected: model.ModelBook): readonly OpenLetter[] {
  return model
    .operationsOf(expected)
    .flatMap((operation) => [...operation.letters].map(([code, attempt]) => ({ operation, code, attempt })));
}

async function idOf({ book }: World, { operation, code }: OpenLetter): Promise<bigint> {
  const { sql, t } = book.db;
  const [row] = await sql<{ id: bigint }[]>`
    select id from ${t.deadLetter} where operation_id = ${operation.id} and code = ${code} and state = 'open'`;
  return row!.id;
}

export const replay: fc.Arbitrary<Command> = fc
  .record({ which, action: fc.constantFrom(null, null, 'send' as const, 'enquire' as const) })
  .map((asked) =>
    command(
      `replay ${JSON.stringify(asked)}`,
      (expected) => lettersOf(expected).length > 0,
      async (world) => {
        const letter = pick(lettersOf(world.model), asked.which);
        const context = {
          ...WHO,
          action: asked.action,
          bookKey: await getBookKey(world.book.db),
          pspOf: () => 'stripe' as const,
        };
        const [result] = await replayDeadLetters(world.book.db, context, [await idOf(world, letter)]);
        const planned = replayOf(letter, asked.action);
        const isOver = planned === 'renew' && isGivenBack(world.model, letter.operation);
        const how = isOver ? 'nothing_to_replay' : planned;
        expect(result).toMatchObject(
          how === 'resume' || how === 'renew' ? { kind: 'replayed', how } : { kind: 'refused', code: how },
        );
        const { operation, code } = letter;
        if (how === 'resume') {
          operation.job = newJob(operation.attempts.length, 'batch', asked.action ?? 'send');
        } else if (how === 'renew') {
          operation.attempts.push(newAttempt());
          operation.job = newJob(operation.attempts.length, 'batch');
          operation.state = 'queued';
          watchAgain(world.model, operation);
        } else return;
        operation.letters.delete(code);
      },
    ),
  );

/** What no new try can answer waits for a decision; an open attempt goes on; a rejected charge is made anew. */
function replayOf({ operation, code, attempt }: OpenLetter, action: 'send' | 'enquire' | null): string {
  const decisions = [
    'late_success',
    'surplus_success',
    'refund_declined',
    'reversed_after_success',
    'contradicting_evidence',
  ];
  if (decisions.includes(code)) return 'needs_a_decision';
  if (operation.job !== null) return 'already_working';
  if (operation.attempts.length !== attempt) return 'superseded';
  const current = currentAttempt(operation)!;
  if (isOpen(current)) return 'resume';
  if (operation.kind !== 'charge') return 'nothing_to_replay';
  if (movedMoney(operation)) return 'money_moved';
  if ([...operation.letters.keys()].some((other) => other !== 'rejected')) return 'needs_a_decision';
  return current.state === 'rejected' && action !== 'enquire' ? 'renew' : 'nothing_to_replay';
}

/** Nothing that may have been sent is ever discarded. */
export const discard: fc.Arbitrary<Command> = fc.record({ which }).map((asked) =>
  command(
    `discard ${JSON.stringify(asked)}`,
    (expected) => lettersOf(expected).length > 0,
    async (world) => {
      const letter = pick(lettersOf(world.model), asked.which);
      const code = cancelRefusal(letter.operation);
      const discarded = discardDeadLetter(world.book.db, await idOf(world, letter), WHO);
      await expect(discarded).rejects.toMatchObject({ code });
    },
  ),
);
