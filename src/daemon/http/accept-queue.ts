/**
 * Collects concurrent requests into few accept transactions (group commit). Knows nothing of HTTP; one request
 * never fails because of a stranger's that shared its transaction.
 */
import type { Db } from '../../core/db/connection.ts';
import { createGroupCommit } from '../../core/group-commit.ts';
import {
  type AcceptContext,
  type FingerprintedRequest,
  fingerprint,
  MAX_ACCEPT_BATCH,
} from '../../core/payment/accept-payments.ts';
import type { PaymentRequest } from '../../core/payment/payment-request.ts';
import { type SubmitResult, submitPayments } from '../../core/payment/submit-payments.ts';
import { isDatabaseTrouble } from './problem.ts';

/** Accept transactions at once: while one commits, the other works. */
const PARALLEL_COMMITS = 2;
/** Requests waiting for a transaction above which new ones are turned away: about a second's work. */
const MAX_WAITING = 2_000;

export type AcceptQueue = {
  readonly isFull: () => boolean;
  /** Rejects with what the transaction threw. */
  readonly submit: (request: PaymentRequest) => Promise<SubmitResult>;
  /** Resolves when everything submitted so far has its result. */
  readonly idle: () => Promise<void>;
};

type Submitted =
  | { readonly kind: 'done'; readonly result: SubmitResult }
  | { readonly kind: 'failed'; readonly error: unknown };

export function openAcceptQueue(db: Db, context: AcceptContext): AcceptQueue {
  const commits = createGroupCommit<FingerprintedRequest, Submitted>({
    maxBatch: MAX_ACCEPT_BATCH,
    parallel: PARALLEL_COMMITS,
    run: (requests) => submitApart(db, context, requests),
  });
  return {
    isFull: () => commits.waiting() >= MAX_WAITING,
    submit: async (request) => {
      const submitted = await commits.push(fingerprint(request));
      if (submitted.kind === 'failed') throw submitted.error;
      return submitted.result;
    },
    idle: () => commits.idle(),
  };
}

/**
 * A batch that fails is tried again in halves, each in a transaction of its own, down to the request whose fault
 * it is (at most twice as many transactions as requests). A database in trouble is nobody's fault: all fail.
 */
async function submitApart(
  db: Db,
  context: AcceptContext,
  requests: readonly FingerprintedRequest[],
): Promise<readonly Submitted[]> {
  try {
    const results = await submitPayments(db, context, requests);
    return results.map((result) => ({ kind: 'done', result }));
  } catch (error) {
    if (requests.length === 1 || isDatabaseTrouble(error)) {
      return requests.map(() => ({ kind: 'failed', error }));
    }
    const half = Math.ceil(requests.length / 2);
    const first = await submitApart(db, context, requests.slice(0, half));
    return [...first, ...(await submitApart(db, context, requests.slice(half)))];
  }
}
