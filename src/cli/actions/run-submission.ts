/**
 * Accepts a file's payments in small transactions, several in flight, and counts what became of them. Stops
 * between two transactions when asked; what is done stays done, and the same input again goes on.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Db } from '../../core/db/connection.ts';
import { unreachable } from '../../core/errors.ts';
import { parseId } from '../../core/ids.ts';
import {
  type AcceptContext,
  type FingerprintedRequest,
  MAX_ACCEPT_BATCH,
} from '../../core/payment/accept-payments.ts';
import type { AcceptedAnswer } from '../../core/payment/payment-answer.ts';
import { type SubmitResult, submitPayments } from '../../core/payment/submit-payments.ts';
import type { Conflict } from './plan-submission.ts';

/**
 * Transactions at once: some wait for their commit, and for this process, while the others work. Also the connections
 * needed.
 */
export const IN_FLIGHT = 5;
/** How often a request is asked again whose name somebody else is just taking (2 s apart). */
const MAX_ROUNDS = 5;

export type SubmissionItem = FingerprintedRequest & { readonly line: number };

export type Tally = {
  accepted: number;
  existing: number;
  deduplicated: number;
  riskBlocked: number;
  inRiskReview: number;
  readonly conflicts: Conflict[];
  /** Payments that are now in the book, for following them. */
  readonly paymentIds: bigint[];
  /** Answer to the last one that is in the book: all there is to say about a single payment. */
  answer: AcceptedAnswer | null;
};

export type SubmissionOptions = {
  readonly db: Db;
  readonly context: AcceptContext;
  readonly signal: AbortSignal;
  readonly onProgress: (done: number) => void;
};

/** Nothing done yet. */
export function emptyTally(): Tally {
  return {
    accepted: 0,
    existing: 0,
    deduplicated: 0,
    riskBlocked: 0,
    inRiskReview: 0,
    conflicts: [],
    paymentIds: [],
    answer: null,
  };
}

/** Adds to the tally as it goes, so that it is right even when this throws; returns when all is done or asked to stop. */
export async function runSubmission(
  options: SubmissionOptions,
  items: readonly SubmissionItem[],
  tally: Tally,
): Promise<'complete' | 'stopped'> {
  let waiting: readonly SubmissionItem[] = items;
  for (let round = 1; waiting.length > 0; round += 1) {
    const held = await runRound(options, waiting, tally);
    if (options.signal.aborted) return 'stopped';
    if (held.length > 0 && round === MAX_ROUNDS) {
      for (const item of held) tally.conflicts.push(conflictOf(item, IN_PROGRESS));
      return 'complete';
    }
    if (held.length > 0)
      await sleep(HELD_PAUSE_MS, undefined, { signal: options.signal }).catch(() => undefined);
    waiting = held;
  }
  return 'complete';
}

const HELD_PAUSE_MS = 2_000;
const IN_PROGRESS = {
  code: 'request_in_progress',
  message: 'somebody else is submitting the same just now; try again',
  paymentId: null,
};

/** Everything once; returns those whose names somebody else holds. */
async function runRound(
  options: SubmissionOptions,
  items: readonly SubmissionItem[],
  tally: Tally,
): Promise<readonly SubmissionItem[]> {
  const held: SubmissionItem[] = [];
  let next = 0;
  let failed = false;
  const work = async (): Promise<void> => {
    while (next < items.length && !failed && !options.signal.aborted) {
      const chunk = items.slice(next, next + MAX_ACCEPT_BATCH);
      next += chunk.length;
      const results = await submitPayments(options.db, options.context, chunk);
      for (const [i, result] of results.entries()) {
        if (result.kind === 'request_in_progress') held.push(chunk[i]!);
        else count(tally, chunk[i]!, result);
      }
      options.onProgress(doneOf(tally));
    }
  };
  const workers = Array.from({ length: IN_FLIGHT }, () =>
    work().catch((error: unknown) => {
      failed = true;
      throw error;
    }),
  );
  // All of them come to their end before the first failure is passed on: nothing runs on behind the report.
  const ends = await Promise.allSettled(workers);
  const failure = ends.find((end) => end.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
  return held;
}

/** Everything that has its answer. */
export function doneOf(tally: Tally): number {
  return tally.accepted + tally.existing + tally.deduplicated + tally.conflicts.length;
}

function count(tally: Tally, item: SubmissionItem, result: Settled): void {
  switch (result.kind) {
    case 'accepted':
      tally.accepted += 1;
      if (result.answer.risk.decision === 'block') tally.riskBlocked += 1;
      if (result.answer.risk.decision === 'review') tally.inRiskReview += 1;
      note(tally, result.answer);
      break;
    case 'replayed':
      tally.existing += 1;
      note(tally, result.answer);
      break;
    case 'deduplicated':
      tally.deduplicated += 1;
      note(tally, result.answer);
      break;
    case 'idempotency_key_reused':
    case 'not_expressible':
      tally.conflicts.push(conflictOf(item, { code: result.kind, message: result.message, paymentId: null }));
      break;
    case 'checkout_conflict':
      tally.conflicts.push(
        conflictOf(item, { code: result.kind, message: result.message, paymentId: result.paymentId }),
      );
      break;
    default:
      unreachable(result);
  }
}

type Settled = Exclude<SubmitResult, { kind: 'request_in_progress' }>;

function note(tally: Tally, answer: AcceptedAnswer): void {
  tally.answer = answer;
  const id = parseId('payment', answer.payment_id);
  if (id !== null) tally.paymentIds.push(id);
}

function conflictOf(item: SubmissionItem, why: Pick<Conflict, 'code' | 'message' | 'paymentId'>): Conflict {
  return { line: item.line, checkoutId: item.request.checkoutId, ...why };
}
