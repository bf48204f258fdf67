/**
 * What a payout batch would do, found out by reading only: which names are taken, what would be refused and why, what
 * looks like the same again, and each wallet before and after. The approval decides again, under locks.
 */
import type { Queryable } from '../db/connection.ts';
import type { Currency, Money } from '../money.ts';
import type { RequestAccount } from '../psp/psp.ts';
import { findPayoutFault } from '../psp/request.ts';
import { listPayees, type Payee } from '../seller/seller-store.ts';
import { listAvailable } from '../wallet/wallet-store.ts';
import { type Bearer, type NameUse, nameUseOf, type PayoutRequest } from './payout.ts';
import { coverInOrder, judgePayee, notCovered, type Refusal, walletKey } from './payout-decision.ts';
import { listRepeats } from './payout-list-store.ts';
import { listBearers } from './payout-store.ts';

/** Rows looked up in one query. */
const LOOKUP = 5_000;

export type PlannedUse = { readonly request: PayoutRequest; readonly use: NameUse };

/** Whose names these are now, in the order of the requests. */
export async function planNames(
  on: Queryable,
  requests: readonly PayoutRequest[],
): Promise<readonly PlannedUse[]> {
  const bearers = new Map<string, Bearer>();
  for (const chunk of inChunks(requests)) {
    const refs = chunk.map((request) => request.itemRef);
    for (const bearer of await listBearers(on, refs)) bearers.set(bearer.itemRef, bearer);
  }
  return requests.map((request) => ({ request, use: nameUseOf(request, bearers.get(request.itemRef)) }));
}

export type PlanContext = {
  readonly pspAccount: RequestAccount & { readonly name: string };
  readonly coolingDays: number;
  readonly repeatDays: number;
  /** The batch the requests stand in already; null before it is submitted. */
  readonly batchId: bigint | null;
};

export type PlannedRefusal = { readonly request: PayoutRequest; readonly refusal: Refusal };

/** The same seller and amount: in a payout of the last days, or in a line of the same file. */
export type PlannedRepeat = {
  readonly request: PayoutRequest;
  readonly payoutId: bigint | null;
  readonly line: number | null;
};

export type PlannedWallet = {
  readonly seller: string;
  readonly currency: Currency;
  readonly beforeMinor: bigint;
  /** What the batch would pay from it. */
  readonly payoutMinor: bigint;
  readonly afterMinor: bigint;
};

export type PayoutPlan = {
  /** In the order of the file. */
  readonly refusals: readonly PlannedRefusal[];
  readonly repeats: readonly PlannedRepeat[];
  /** Of everything that would not be refused, sorted by currency code. */
  readonly payable: ReadonlyMap<Currency, bigint>;
  readonly payableCount: number;
  /** By seller, then currency. */
  readonly wallets: readonly PlannedWallet[];
};

/** What approving these requests now would do. */
export async function planPayouts(
  on: Queryable,
  context: PlanContext,
  requests: readonly PayoutRequest[],
): Promise<PayoutPlan> {
  const payees = await payeesOf(on, context, requests);
  const availableMinor = await availableOf(on, requests);
  const refusals = new Map<PayoutRequest, Refusal>();
  for (const request of requests) {
    const refusal = refusalOf(request, payees.get(request.seller), context);
    if (refusal !== null) refusals.set(request, refusal);
  }
  const payable = requests.filter((request) => !refusals.has(request));
  const covered = coverInOrder(payable, availableMinor);
  for (const [i, request] of payable.entries())
    if (covered[i] === false) refusals.set(request, notCovered(request));
  const paid = payable.filter((_, i) => covered[i]);
  return {
    refusals: requests.flatMap((request) => {
      const refusal = refusals.get(request);
      return refusal === undefined ? [] : [{ request, refusal }];
    }),
    repeats: await repeatsOf(on, context, requests),
    payable: sumUp(paid.map((request) => request.money)),
    payableCount: paid.length,
    wallets: walletsOf(requests, paid, availableMinor),
  };
}

function refusalOf(request: PayoutRequest, payee: Payee | undefined, context: PlanContext): Refusal | null {
  const fault = findPayoutFault(context.pspAccount, request.money);
  if (fault !== null) return { code: 'not_expressible', reason: fault };
  const payability = judgePayee(request, payee);
  return payability.kind === 'refused' ? payability.refusal : null;
}

async function payeesOf(
  on: Queryable,
  context: PlanContext,
  requests: readonly PayoutRequest[],
): Promise<ReadonlyMap<string, Payee>> {
  const payees = new Map<string, Payee>();
  const { coolingDays, pspAccount } = context;
  for (const sellers of inChunks([...new Set(requests.map((request) => request.seller))])) {
    const wanted = { sellers, pspAccount: pspAccount.name, coolingDays };
    for (const payee of await listPayees(on, wanted)) payees.set(payee.seller, payee);
  }
  return payees;
}

async function availableOf(
  on: Queryable,
  requests: readonly PayoutRequest[],
): Promise<ReadonlyMap<string, bigint>> {
  const names = new Map(
    requests.map(({ seller, money }) => [
      walletKey(seller, money.currency),
      { seller, currency: money.currency },
    ]),
  );
  const availableMinor = new Map<string, bigint>();
  for (const wallets of inChunks([...names.values()])) {
    for (const wallet of await listAvailable(on, wallets))
      availableMinor.set(walletKey(wallet.seller, wallet.currency), wallet.availableMinor);
  }
  return availableMinor;
}

async function repeatsOf(
  on: Queryable,
  context: PlanContext,
  requests: readonly PayoutRequest[],
): Promise<readonly PlannedRepeat[]> {
  if (context.repeatDays === 0) return [];
  const earlier = new Map<PayoutRequest, bigint>();
  for (const chunk of inChunks(requests)) {
    const items = chunk.map(({ seller, money }) => ({ seller, ...money }));
    const wanted = { items, days: context.repeatDays, exceptBatchId: context.batchId };
    for (const repeat of await listRepeats(on, wanted)) earlier.set(chunk[repeat.index]!, repeat.payoutId);
  }
  const firstLine = new Map<string, number>();
  return requests.flatMap((request): readonly PlannedRepeat[] => {
    const key = `${request.money.amountMinor} ${walletKey(request.seller, request.money.currency)}`;
    const line = firstLine.get(key) ?? null;
    if (line === null) firstLine.set(key, request.line);
    const payoutId = earlier.get(request) ?? null;
    return payoutId === null && line === null ? [] : [{ request, payoutId, line }];
  });
}

function walletsOf(
  requests: readonly PayoutRequest[],
  paid: readonly PayoutRequest[],
  availableMinor: ReadonlyMap<string, bigint>,
): readonly PlannedWallet[] {
  const payoutMinor = new Map<string, bigint>();
  for (const { seller, money } of paid) {
    const key = walletKey(seller, money.currency);
    payoutMinor.set(key, (payoutMinor.get(key) ?? 0n) + money.amountMinor);
  }
  const wallets = new Map<string, PlannedWallet>();
  for (const { seller, money } of requests) {
    const key = walletKey(seller, money.currency);
    if (wallets.has(key)) continue;
    const beforeMinor = availableMinor.get(key) ?? 0n;
    const out = payoutMinor.get(key) ?? 0n;
    wallets.set(key, {
      seller,
      currency: money.currency,
      beforeMinor,
      payoutMinor: out,
      afterMinor: beforeMinor - out,
    });
  }
  const name = (wallet: PlannedWallet) => `${wallet.seller}\0${wallet.currency}`;
  return [...wallets.values()].sort((left, right) => (name(left) < name(right) ? -1 : 1));
}

function sumUp(monies: readonly Money[]): ReadonlyMap<Currency, bigint> {
  const sums = new Map<Currency, bigint>();
  for (const { amountMinor, currency } of monies)
    sums.set(currency, (sums.get(currency) ?? 0n) + amountMinor);
  return new Map([...sums].sort(([left], [right]) => (left < right ? -1 : 1)));
}

function inChunks<T>(items: readonly T[]): readonly (readonly T[])[] {
  const chunks: (readonly T[])[] = [];
  for (let start = 0; start < items.length; start += LOOKUP) chunks.push(items.slice(start, start + LOOKUP));
  return chunks;
}
