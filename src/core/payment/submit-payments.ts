/**
 * Accepts requests in transactions of their own, and waits in a bounded way for names that somebody else
 * is just taking. Used by the command line and by HTTP alike.
 */
import { type Db, errorCode, limitLockWait, transactOnce } from '../db/connection.ts';
import {
  type AcceptContext,
  type AcceptResult,
  acceptPayments,
  type FingerprintedRequest,
  MAX_ACCEPT_BATCH,
} from './accept-payments.ts';

/** How long a batch waits for a name that another transaction holds (ms); then its items go one by one. */
const BATCH_LOCK_TIMEOUT_MS = 250;
/** How long one item waits for such a name before the answer is "in progress" (ms). */
const ITEM_LOCK_TIMEOUT_MS = 2_000;
/** A name can be taken under our eyes only so often before something else is wrong. */
const MAX_RACES = 5;

export type SubmitResult =
  | AcceptResult
  /** The first request with this key has not committed yet: ask again after `retryAfterMs`. */
  | { readonly kind: 'request_in_progress'; readonly retryAfterMs: number };

/** Submits up to {@link MAX_ACCEPT_BATCH} requests; results in their order. */
export async function submitPayments(
  db: Db,
  context: AcceptContext,
  requests: readonly FingerprintedRequest[],
): Promise<readonly SubmitResult[]> {
  if (requests.length === 1) return [await submitOne(db, context, requests[0]!)];
  const batch = requests.slice(0, MAX_ACCEPT_BATCH);
  try {
    return await acceptWithin(db, context, batch, BATCH_LOCK_TIMEOUT_MS);
  } catch (error) {
    if (!isNameHeld(error)) throw error;
  }
  const results: SubmitResult[] = [];
  for (const request of batch) results.push(await submitOne(db, context, request));
  return results;
}

async function submitOne(
  db: Db,
  context: AcceptContext,
  request: FingerprintedRequest,
): Promise<SubmitResult> {
  try {
    const [result] = await acceptWithin(db, context, [request], ITEM_LOCK_TIMEOUT_MS);
    return result!;
  } catch (error) {
    if (isNameHeld(error)) return { kind: 'request_in_progress', retryAfterMs: ITEM_LOCK_TIMEOUT_MS };
    throw error;
  }
}

/** One transaction; a name taken by a winner that has committed meanwhile is looked up in the next try. */
async function acceptWithin(
  db: Db,
  context: AcceptContext,
  requests: readonly FingerprintedRequest[],
  lockTimeoutMs: number,
): Promise<readonly AcceptResult[]> {
  for (let race = 1; ; race += 1) {
    try {
      return await transactOnce(db, async (tx) => {
        await limitLockWait(tx, lockTimeoutMs);
        return acceptPayments(tx, context, requests);
      });
    } catch (error) {
      if (errorCode(error) !== '23505' || race >= MAX_RACES) throw error;
    }
  }
}

/** The lock was not free in time (55P03), or we were chosen to end a deadlock over names (40P01). */
function isNameHeld(error: unknown): boolean {
  const code = errorCode(error);
  return code === '55P03' || code === '40P01';
}
