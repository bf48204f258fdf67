/** Sellers with money, and payout batches to pay it out: helpers of the payouts' tests. For tests only. */
import { insertEvents } from '../core/audit/event-store.ts';
import { type Db, transact } from '../core/db/connection.ts';
import { entryJson, insertEntries, insertPostings } from '../core/ledger/ledger-store.ts';
import { chargeSucceeded } from '../core/ledger/posting-rules.ts';
import {
  type ApprovalContext,
  type ApprovalTally,
  approveItems,
  startApproval,
} from '../core/payout/approve-payouts.ts';
import type { PayoutRequest } from '../core/payout/payout.ts';
import type { PayoutPolicy } from '../core/payout/payout-decision.ts';
import { type Submitted, submitPayouts } from '../core/payout/submit-payouts.ts';
import { getBookKey } from '../core/queue/queue-store.ts';
import { createSeller } from '../core/seller/change-seller.ts';
import { money, uniqueName } from './fixtures.ts';

/** A seller in the register, paid at the account `acct_1` of the PSP account, with this much available. */
export async function fundedSeller(
  db: Db,
  pspAccount: string,
  available: string,
  currency = 'EUR',
  name = uniqueName('Seller'),
): Promise<string> {
  await createSeller(db, {
    seller: name,
    place: { pspAccount, destination: 'acct_1' },
    reason: 'a test',
    principal: 'test:register',
  });
  await fund(db, pspAccount, name, available, currency);
  return name;
}

/** More money in the wallet, as if a buyer had paid it; with an event, so that replay knows of it. */
export async function fund(
  db: Db,
  pspAccount: string,
  seller: string,
  available: string,
  code = 'EUR',
): Promise<void> {
  const { amountMinor, currency } = money(available, code);
  if (amountMinor === 0n) return;
  const charge = { pspAccount, seller, currency, grossMinor: amountMinor, feeMinor: 0n } as const;
  const entry = { cause: uniqueName('fund'), ...chargeSucceeded({ ...charge, release: 'available' }) };
  await transact(db, async (tx) => {
    const entries = await insertEntries(tx, 'test:fund', [entry]);
    const data = JSON.stringify({ operation: null, entries: entries.map(entryJson) });
    await insertEvents(tx, 'test:fund', [{ kind: 'funds_released', paymentId: null, data }]);
    await insertPostings(tx, entries);
  });
}

let nextLine = 2;

export function payoutRequest(
  seller: string,
  amount: string,
  overrides: Partial<PayoutRequest> = {},
): PayoutRequest {
  return {
    line: nextLine++,
    itemRef: uniqueName('item'),
    seller,
    money: money(amount, 'EUR'),
    destination: null,
    memo: null,
    ...overrides,
  };
}

/** Stores drafts, for a PSP account that only this test uses. */
export function submit(
  db: Db,
  pspAccount: string,
  requests: readonly PayoutRequest[],
  principal = 'test:submitter',
): Promise<Submitted> {
  const submission = { principal, pspAccount, sha256: 'a'.repeat(64), source: 'payouts.csv' };
  return submitPayouts(db, submission, requests);
}

export async function approvalContext(
  db: Db,
  policy: Partial<PayoutPolicy> = {},
  principal = 'test:approver',
): Promise<ApprovalContext> {
  return {
    bookKey: await getBookKey(db),
    principal,
    accountOf: () => ({ psp: 'stripe' }),
    policy: { coolingDays: 3, repeatDays: 7, approvalLimits: new Map(), ...policy },
  };
}

/** Approves a batch whole; how many items were approved and refused. */
export async function approve(
  db: Db,
  batchId: bigint,
  policy: Partial<PayoutPolicy> = {},
): Promise<ApprovalTally> {
  const context = await approvalContext(db, policy);
  const start = await startApproval(db, context, batchId, 'approve');
  let tally: ApprovalTally = { approved: 0, refused: 0 };
  if (start.kind !== 'approving') throw new Error(`the batch is not being approved: ${start.kind}`);
  const { signal } = new AbortController();
  const onProgress = (now: ApprovalTally) => {
    tally = now;
  };
  await approveItems(db, context, start.batch, { signal, onProgress });
  return tally;
}

/** Submits and approves; the batch. */
export async function pay(
  db: Db,
  pspAccount: string,
  requests: readonly PayoutRequest[],
): Promise<{ readonly batchId: bigint; readonly tally: ApprovalTally }> {
  const { batchId } = await submit(db, pspAccount, requests);
  if (batchId === null) throw new Error('nothing was submitted');
  return { batchId, tally: await approve(db, batchId) };
}
