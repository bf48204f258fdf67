/**
 * The executor's loop: keeps a window of free slots per PSP account, claims only what it can send now, and
 * records replies by group commit. The steps themselves are in core/operation/execute-operations.
 */
import { isConnectionError, isResourceError, isRetryableError } from '../core/db/connection.ts';
import { createGroupCommit } from '../core/group-commit.ts';
import {
  callPsp,
  claimTasks,
  type ExecutorContext,
  findingOf,
  type Recorded,
  recordFindings,
  type Task,
} from '../core/operation/execute-operations.ts';
import type { Finding } from '../core/operation/finding.ts';
import { giveBackOrphans } from '../core/operation/rescue-operations.ts';
import { allowance, type BreakerState, CLOSED, noteReply } from '../core/psp/breaker.ts';
import type { Connector, EnquiryReply, PspAccount } from '../core/psp/psp.ts';
import { laneOf, PRIORITIES } from '../core/queue/job.ts';
import { type LanePlace, nextDueInMs } from '../core/queue/queue-store.ts';
import type { Lease } from './lease.ts';
import type { Log } from './log.ts';
import { createTroubleLog, type TroubleLog } from './trouble-log.ts';

/** An idle lane is looked at this often without being told (ms): notifications are only a faster way. */
const POLL_MS = 1_000;
/** Pause after a failed claim or record (ms): the database is away or busy. */
const TROUBLE_PAUSE_MS = 500;
/** Jobs that the database believes to be here and are not are looked for this often (ms). */
const ORPHAN_SWEEP_MS = 30_000;
/** A busy lane is read from its front this often (ms), between that from where the last claim ended. */
const FRONT_EVERY_MS = 1_000;
/** Jobs of one claim, at most. */
const MAX_CLAIM = 500;
/** Replies recorded in one transaction, at most. */
const MAX_RECORD = 500;
/** Transactions that record replies at once: while one waits for a lock or its commit, others work. */
const PARALLEL_RECORDS = 3;
/** Replies waiting to be recorded above which nothing new is claimed. */
const MAX_UNRECORDED = 2_000;

export type ExecutorOptions = {
  readonly context: ExecutorContext;
  readonly lease: Lease;
  readonly accounts: readonly PspAccount[];
  readonly connectors: ReadonlyMap<string, Connector>;
  readonly log: Log;
};

export type Executor = {
  /** There may be work: look now. */
  wake(): void;
  /** Claims no more, waits for calls in flight, records their replies. */
  drain(): Promise<void>;
  snapshot(): ExecutorSnapshot;
};

type ExecutorSnapshot = {
  readonly inFlight: number;
  readonly unrecorded: number;
  readonly recorded: number;
  readonly fenced: number;
  readonly breakers: Readonly<Record<string, string | null>>;
};

/** A lane as the next claim will read it: each goes on where the last one ended, and from the front now and then. */
type Lane = { readonly name: string; after: LanePlace | null; frontAtMs: number };

/** One PSP account's window. */
type Account = {
  readonly account: PspAccount;
  readonly connector: Connector;
  readonly lanes: readonly Lane[];
  /** Claims that fail. */
  readonly trouble: TroubleLog;
  inFlight: number;
  breaker: BreakerState;
  claiming: boolean;
  /** What is in hand, by operation: the fence. Until its reply is recorded. */
  readonly held: Map<bigint, number>;
  /** A claim failed: its answer may be lost, and with it jobs that the database believes to be here. */
  mayHaveOrphans: boolean;
  /** When to look for such jobs all the same (monotonic ms): a lost claim may commit after it was looked for. */
  nextSweepAtMs: number;
  /** Somebody asked to look again while a claim was on its way. */
  again: boolean;
  timer: NodeJS.Timeout | null;
};

export function startExecutor(options: ExecutorOptions): Executor {
  const { context, log } = options;
  let draining = false;
  let recorded = 0;
  let fenced = 0;
  let throttled = false;

  const accounts: Account[] = options.accounts.map((account) => ({
    account,
    connector: options.connectors.get(account.name)!,
    lanes: PRIORITIES.map((priority) => ({
      name: laneOf(account.name, priority),
      after: null,
      frontAtMs: Number.NEGATIVE_INFINITY,
    })),
    trouble: createTroubleLog(log, CLAIM_WORDS, { account: account.name }),
    inFlight: 0,
    breaker: CLOSED,
    claiming: false,
    held: new Map(),
    mayHaveOrphans: false,
    nextSweepAtMs: performance.now() + ORPHAN_SWEEP_MS,
    again: false,
    timer: null,
  }));

  const recording = createTroubleLog(log, RECORD_WORDS);
  const recorder = createGroupCommit<Finding, Recorded>({
    maxBatch: MAX_RECORD,
    parallel: PARALLEL_RECORDS,
    run: (findings) =>
      recordUntilDone(context, findings, recording, () => draining && options.lease.leftMs() === 0),
  });

  const room = (lane: Account): number => {
    throttled ||= recorder.waiting() > MAX_UNRECORDED;
    if (draining || throttled || !options.lease.allowsSend()) return 0;
    const free = lane.account.maxConcurrent - lane.inFlight;
    return Math.min(free, MAX_CLAIM, allowance(lane.breaker, performance.now(), lane.inFlight));
  };

  const look = (account: Account): void => {
    if (account.claiming) {
      account.again = true;
      return;
    }
    account.claiming = true;
    account.again = false;
    if (account.timer !== null) clearTimeout(account.timer);
    account.timer = null;
    void fill(account)
      .then((pauseMs) => {
        account.trouble.worked();
        return pauseMs;
      })
      .catch((error: unknown) => {
        account.mayHaveOrphans = true;
        account.trouble.failed('warn', error);
        return null;
      })
      .then((pauseMs) => {
        account.claiming = false;
        if (draining) return;
        if (account.again && pauseMs !== null) look(account);
        else account.timer = setTimeout(() => look(account), pauseMs ?? TROUBLE_PAUSE_MS);
      });
  };

  /** Claims until the window is full or the lanes are empty; returns when to look again (ms). */
  const fill = async (account: Account): Promise<number> => {
    if (account.mayHaveOrphans || performance.now() >= account.nextSweepAtMs) await giveBack(account);
    for (const lane of account.lanes) {
      for (;;) {
        const limit = room(account);
        if (limit <= 0) return breakerPauseMs(account.breaker);
        const tasks = await claimFrom(lane, limit, account.connector);
        for (const { job } of tasks) account.held.set(job.operationId, job.fence);
        for (const task of tasks) void run(account, task);
        if (tasks.length < limit) break;
        // More is waiting, but for the few slots that are left the calls in flight look again when they end.
        if (!isWorthAClaim(account)) return POLL_MS;
      }
    }
    const dueMs = await nextDueInMs(context.db, namesOf(account));
    return dueMs === null ? POLL_MS : Math.max(1, Math.min(POLL_MS, Math.ceil(dueMs)));
  };

  /** Jobs that committed behind the place where the last claim ended wait for a claim from the front: a second. */
  const claimFrom = async (lane: Lane, limit: number, connector: Connector): Promise<readonly Task[]> => {
    if (performance.now() - lane.frontAtMs >= FRONT_EVERY_MS) lane.after = null;
    if (lane.after === null) lane.frontAtMs = performance.now();
    const tasks = await claimTasks(context, lane.name, limit, connector, lane.after);
    lane.after = tasks.length < limit ? null : tasks.at(-1)!.job;
    return tasks;
  };

  /** This account's only claim is not on its way now, so what is leased and not in hand is lost. */
  const giveBack = async (account: Account): Promise<void> => {
    const jobs = await giveBackOrphans(context.db, {
      daemonId: context.daemonId(),
      principal: context.principal,
      lanes: namesOf(account),
      holds: (operationId, fence) => account.held.get(operationId) === fence,
    });
    account.mayHaveOrphans = false;
    account.nextSweepAtMs = performance.now() + ORPHAN_SWEEP_MS;
    if (jobs.length > 0)
      log.warn({ account: account.account.name, jobs: jobs.length }, 'gave back jobs of a lost claim');
  };

  const run = async (account: Account, task: Task): Promise<void> => {
    account.inFlight += 1;
    const reply = options.lease.allowsSend()
      ? await callPsp(account.connector, task, account.account.timeoutMs)
      : LAPSED;
    account.inFlight -= 1;
    if (reply !== null && reply !== LAPSED) noteBreaker(account, reply);
    if (isWorthAClaim(account)) look(account);
    try {
      const result = await recorder.push(findingOf(task, reply));
      recorded += 1;
      if (result.right === 'fenced') fenced += 1;
      logRecorded(log, task, result);
    } catch (error) {
      // Only when a drain gives up on a database that is away: the lease lapses and another daemon takes over.
      log.error({ operation: `op_${task.job.operationId}`, error: String(error) }, 'reply not recorded');
    }
    if (account.held.get(task.job.operationId) === task.job.fence) account.held.delete(task.job.operationId);
    if (throttled && recorder.waiting() < MAX_UNRECORDED / 2) {
      throttled = false;
      for (const each of accounts) look(each);
    }
  };

  const noteBreaker = (account: Account, reply: EnquiryReply): void => {
    const wasOpen = account.breaker.openUntilMs !== null;
    account.breaker = noteReply(account.breaker, reply, performance.now());
    const isOpen = account.breaker.openUntilMs !== null;
    if (wasOpen === isOpen) return;
    log.warn(
      { account: account.account.name, reason: account.breaker.reason },
      isOpen ? 'breaker open' : 'breaker closed',
    );
    if (!isOpen) look(account);
  };

  for (const account of accounts) look(account);
  return {
    wake: () => {
      for (const account of accounts) look(account);
    },
    drain: async () => {
      draining = true;
      for (const account of accounts) if (account.timer !== null) clearTimeout(account.timer);
      while (accounts.some((account) => account.inFlight > 0 || account.claiming)) await pause(5);
      await recorder.idle();
    },
    snapshot: () => ({
      inFlight: accounts.reduce((sum, account) => sum + account.inFlight, 0),
      unrecorded: recorder.waiting(),
      recorded,
      fenced,
      breakers: Object.fromEntries(
        accounts.map((a) => [a.account.name, a.breaker.openUntilMs === null ? null : a.breaker.reason]),
      ),
    }),
  };
}

function namesOf(account: Account): readonly string[] {
  return account.lanes.map((lane) => lane.name);
}

/**
 * Of a backlog, a window that is half empty is worth a claim; refilling it slot by slot would make claims of a few, and
 * each costs a commit of its own.
 */
function isWorthAClaim({ inFlight, account }: Account): boolean {
  return inFlight * 2 <= account.maxConcurrent;
}

/** Claimed, but the lease is too short to start a call: provably not sent. */
const LAPSED: EnquiryReply = {
  kind: 'not_sent',
  reason: 'too little of the lease was left to start the call',
};

function breakerPauseMs(breaker: BreakerState): number {
  if (breaker.openUntilMs === null) return POLL_MS;
  return Math.max(10, Math.min(POLL_MS, breaker.openUntilMs - performance.now()));
}

const CLAIM_WORDS = { failed: 'claim failed', worksAgain: 'claims work again' };
const RECORD_WORDS = { failed: 'recording failed, trying again', worksAgain: 'recording works again' };

/** A reply is never dropped because the database is away: it is tried until it is stored, or the lease is over. */
async function recordUntilDone(
  context: ExecutorContext,
  findings: readonly Finding[],
  trouble: TroubleLog,
  mayGiveUp: () => boolean,
): Promise<readonly Recorded[]> {
  for (;;) {
    try {
      const recorded = await recordFindings(context, findings);
      trouble.worked();
      return recorded;
    } catch (error) {
      if (mayGiveUp()) throw error;
      const expected = isConnectionError(error) || isRetryableError(error) || isResourceError(error);
      trouble.failed(expected ? 'warn' : 'error', error, { findings: findings.length });
      await pause(TROUBLE_PAUSE_MS);
    }
  }
}

function logRecorded(log: Log, task: Task, result: Recorded): void {
  const { job } = task;
  const line = { operation: `op_${job.operationId}`, attempt: job.attemptNumber, fence: job.fence };
  if (result.right === 'quarantined') log.error({ ...line, reason: result.reason }, 'quarantined');
  else if (result.right === 'fenced') log.warn({ ...line, outcome: result.outcome }, 'late reply kept');
  else
    log.info(
      {
        ...line,
        from: result.from,
        to: result.to,
        outcome: result.outcome,
        deadLetter: result.deadLetter ?? undefined,
      },
      'recorded',
    );
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
