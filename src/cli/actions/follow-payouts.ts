/** `payouts approve --wait`: watches a batch until each payout has ended or needs a person. Reads only. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Db } from '../../core/db/connection.ts';
import { formatId } from '../../core/ids.ts';
import { type PayoutState, payoutStateOf } from '../../core/payout/payout.ts';
import { type BatchStanding, listBatchStandings } from '../../core/payout/payout-list-store.ts';
import { EXIT, exitCodeOfSignal } from '../exit-codes.ts';
import { startProgress } from '../progress.ts';
import type { Session } from '../session.ts';
import { countText } from '../words.ts';
import { warnWithoutDaemon } from './follow-payments.ts';

/** Between two looks (ms); a look at a large batch is followed by a pause of so many times its own length. */
const MIN_PAUSE_MS = 200;
const PAUSE_FACTOR = 4;

export type FollowedPayouts = {
  /** Payouts that have not ended: in doubt, waiting for somebody, or still under way when time was up. */
  readonly open: number;
  /** Payouts that were not paid, or came back. */
  readonly failed: number;
  readonly end: 'all_settled' | 'timed_out' | 'stopped';
};

/** Looks again and again until all are settled, time is up (`waitS`, seconds), or a signal comes. */
export async function followPayouts(
  session: Session,
  db: Db,
  batch: { readonly id: bigint; readonly itemCount: number },
  waitS: number,
): Promise<FollowedPayouts> {
  const deadline = performance.now() + waitS * 1_000;
  const { signal } = session.host.interrupt;
  const progress = startProgress(session, { label: 'settled', noun: 'payout', total: batch.itemCount });
  await warnWithoutDaemon(session, db);
  try {
    for (;;) {
      const startedMs = performance.now();
      const standings = await listBatchStandings(db, batch.id);
      const lookMs = performance.now() - startedMs;
      progress.update(countOf(standings, isSettled));
      const counts = {
        open: countOf(standings, (standing) => isOpen(stateOf(standing))),
        failed: countOf(standings, (standing) => isFailed(stateOf(standing))),
      };
      if (standings.every(isSettled)) return { ...counts, end: 'all_settled' };
      if (signal.aborted) return { ...counts, end: 'stopped' };
      if (performance.now() >= deadline) return { ...counts, end: 'timed_out' };
      const pauseMs = Math.max(MIN_PAUSE_MS, lookMs * PAUSE_FACTOR);
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    await progress.end();
  }
}

function countOf(standings: readonly BatchStanding[], isMeant: (standing: BatchStanding) => boolean): number {
  return standings.reduce((sum, standing) => sum + (isMeant(standing) ? standing.items : 0), 0);
}

function stateOf({ state, subState }: BatchStanding): PayoutState {
  return payoutStateOf(state, subState);
}

/** Accepted is an end to wait for: not every PSP tells when the seller has it. */
function isOpen(state: PayoutState): boolean {
  return state === 'draft' || state === 'approved' || state === 'sent';
}

function isFailed(state: PayoutState): boolean {
  return state === 'refused' || state === 'canceled' || state === 'failed' || state === 'returned';
}

function isSettled(standing: BatchStanding): boolean {
  return standing.needsPerson || !isOpen(stateOf(standing));
}

/** 4 while anything is open, 1 when anything was not paid, else 0; a signal ends only the wait. */
export function exitCodeOfFollowedPayouts(
  session: Session,
  batchId: bigint,
  followed: FollowedPayouts,
): number {
  const lookUp = `paygate payouts show ${formatId('payoutBatch', batchId)}`;
  if (followed.end === 'stopped') {
    session.note(`Stopped waiting; the payouts go on. Look: ${lookUp}`);
    return exitCodeOfSignal(session.host.interrupt.signal.reason);
  }
  if (followed.open > 0) {
    session.note(`${countText(followed.open, 'payout')} not settled. Look: ${lookUp}`);
    return EXIT.unknownOutcome;
  }
  return followed.failed > 0 ? EXIT.answerIsNo : EXIT.done;
}
