/**
 * What a daemon does besides executing: rescues jobs, releases funds, gives back partial payments, ends risk reviews,
 * forgets old counters, looks at disputes, gathers open items.
 */
import type { Db } from '../core/db/connection.ts';
import type { AppliedDispute } from '../core/dispute/apply-disputes.ts';
import { type LookContext, type Looked, lookAtDisputes } from '../core/dispute/look-at-disputes.ts';
import { formatId } from '../core/ids.ts';
import { type Currency, formatAmount } from '../core/money.ts';
import { rescueOperations } from '../core/operation/rescue-operations.ts';
import type { RefundContext } from '../core/refund/accept-refunds.ts';
import { refundPartials } from '../core/refund/refund-partials.ts';
import { pruneRiskCounters } from '../core/risk/prune-counters.ts';
import { expireReviews } from '../core/risk/review-payments.ts';
import { gatherOpenItems } from '../core/settlement/gather-items.ts';
import type { SettlementPolicy } from '../core/settlement/settlement-policy.ts';
import { releaseDueFunds } from '../core/wallet/release-funds.ts';
import type { Log } from './log.ts';
import { createTroubleLog } from './trouble-log.ts';

/** Lapsed leases are looked for this often (ms). */
const RESCUE_EVERY_MS = 1_000;
/** Funds that came due are released this often (ms). */
const RELEASE_EVERY_MS = 5_000;
/** Payments whose orders have all ended are looked for this often (ms). */
const PARTIALS_EVERY_MS = 1_000;
/** Risk reviews that nobody decided in time are rejected this often (ms). */
const EXPIRE_EVERY_MS = 10_000;
/** Counters that no rule can ask about any more are looked for this often (ms). */
const PRUNE_EVERY_MS = 60_000;
/** What was booked is gathered for reconciliation this often (ms), so that a file finds little left to gather. */
const GATHER_EVERY_MS = 60_000;
/** Disputes that webhooks told of are looked at this often (ms). */
const DISPUTES_EVERY_MS = 1_000;
/** Rounds in a row, so that a large backlog does not starve the rest. */
const MAX_ROUNDS = 20;

export type MaintenanceOptions = {
  readonly db: Db;
  readonly daemonId: () => bigint;
  readonly principal: string;
  readonly resendDelayMs: number;
  readonly refunds: RefundContext;
  readonly settlement: SettlementPolicy;
  readonly disputes: Omit<LookContext, 'principal'>;
  readonly log: Log;
  /** Something was made ready. */
  readonly onWork: () => void;
};

/** Runs until the returned function is called; that resolves when the round under way is done. */
export function startMaintenance(options: MaintenanceOptions): () => Promise<void> {
  const { db, principal, log } = options;
  const stopRescue = repeat('rescue', RESCUE_EVERY_MS, log, async () => {
    const { resendDelayMs } = options;
    const jobs = await rescueOperations(db, { daemonId: options.daemonId(), principal, resendDelayMs });
    if (jobs.length === 0) return;
    log.warn({ jobs: jobs.length }, 'rescued jobs of daemons that stopped answering');
    options.onWork();
  });
  const stopRelease = repeat('release', RELEASE_EVERY_MS, log, async () => {
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const released = await releaseDueFunds(db, principal);
      if (released === 0) return;
      log.info({ released }, 'released funds');
    }
  });
  const stopPartials = repeat('partials', PARTIALS_EVERY_MS, log, async () => {
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const { payments, refunds } = await refundPartials(db, options.refunds);
      if (payments === 0) return;
      if (refunds > 0)
        log.info({ payments, refunds }, 'giving back what was charged of payments that failed');
    }
  });
  const stopExpiry = repeat('risk review', EXPIRE_EVERY_MS, log, async () => {
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const rejected = await expireReviews(db, principal);
      if (rejected === 0) return;
      log.warn({ rejected }, 'rejected payments that nobody reviewed in time');
    }
  });
  const stopPruning = repeat('risk counters', PRUNE_EVERY_MS, log, async () => {
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const pruned = await pruneRiskCounters(db, principal);
      if (pruned === 0) return;
      log.info({ pruned }, 'forgot counters that no rule can ask about any more');
    }
  });
  const stopGathering = repeat('open items', GATHER_EVERY_MS, log, async () => {
    await gatherOpenItems(db, options.settlement);
  });
  const stopDisputes = repeat('disputes', DISPUTES_EVERY_MS, log, async () => {
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const looked = await lookAtDisputes(db, { ...options.disputes, principal });
      for (const one of looked) logLooked(log, one);
      if (looked.length === 0) return;
    }
  });
  return async () => {
    await Promise.all([
      stopRescue(),
      stopRelease(),
      stopPartials(),
      stopExpiry(),
      stopPruning(),
      stopDisputes(),
      stopGathering(),
    ]);
  };
}

/** Every dispute that moves is an alert: somebody has days to answer it. */
function logLooked(log: Log, { look, found }: Looked): void {
  const line = { account: look.pspAccount, dispute: look.pspReference };
  if (found.kind === 'applied') {
    logApplied(log, line, found.applied);
    return;
  }
  const isExpected = found.kind === 'nothing' || found.kind === 'unmatched';
  log[isExpected ? 'info' : 'warn'](
    { ...line, tries: look.tries, reason: found.reason },
    `dispute: ${found.kind}`,
  );
}

function logApplied(log: Log, line: object, applied: AppliedDispute): void {
  const { verdict, canceledRefunds, isPaidTwice } = applied;
  if (verdict.kind === 'differs') log.error({ ...line, reason: verdict.reason }, 'dispute differs');
  if (verdict.kind !== 'moves') return;
  const { currency, amountMinor, state: to, reason, orderId } = verdict.dispute;
  const facts = {
    ...line,
    order: formatId('order', orderId),
    from: verdict.from,
    to,
    amount: formatAmount({ amountMinor, currency: currency as Currency }),
    currency,
    reason,
    canceledRefunds: canceledRefunds.length,
  };
  if (isPaidTwice) log.error(facts, 'dispute of money that was refunded as well');
  else log.warn(facts, 'dispute');
}

/** Calls `work` again and again with a pause between; a failure is logged and does not end it. */
function repeat(name: string, everyMs: number, log: Log, work: () => Promise<void>): () => Promise<void> {
  const words = { failed: 'maintenance failed, trying again', worksAgain: 'maintenance works again' };
  const trouble = createTroubleLog(log, words, { task: name });
  let stopped = false;
  let timer: NodeJS.Timeout | null = null;
  let round: Promise<void> = Promise.resolve();
  const next = (): void => {
    round = work()
      .then(trouble.worked, (error: unknown) => trouble.failed('warn', error))
      .then(() => {
        if (!stopped) timer = setTimeout(next, everyMs);
      });
  };
  timer = setTimeout(next, everyMs);
  return () => {
    stopped = true;
    if (timer !== null) clearTimeout(timer);
    return round;
  };
}
