/**
 * The way of one order through the daemon, in four steps that each do many at once: claim → send (with no
 * transaction open) → record → look again. This file holds the steps; the daemon's loop drives them.
 */
import { type Db, errorCode, isConnectionError, transact } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { formatId } from '../ids.ts';
import type { Connector, EnquiryReply, StoredAttempt } from '../psp/psp.ts';
import { type ClaimedJob, claimJobs, type JobAction, type LanePlace } from '../queue/queue-store.ts';
import { type Applied, applyFindings } from './apply-findings.ts';
import { isPastKeyWindow } from './decide.ts';
import { type Evidence, merge, weightOf } from './evidence.ts';
import type { Finding, FindingContext } from './finding.ts';
import { listEvidence } from './operation-store.ts';

export type ExecutorContext = FindingContext & {
  readonly db: Db;
  /** The daemon's present registration. */
  readonly daemonId: () => bigint;
};

/** A connector has its own deadline; this long after it we stop waiting (ms). */
const CONNECTOR_GRACE_MS = 5_000;

/** A claimed job and what to do with it now. */
export type Task = {
  readonly job: ClaimedJob;
  readonly todo: 'send' | 'enquire' | 'cancel' | 'fold';
  /** The PSP's name of it, where an answer has told it. */
  readonly pspReference: string | null;
};

/**
 * Step 1. Claims what can be sent now, from the front of the lane or behind a place in it. Before anything is sent again, what was stored meanwhile is folded:
 * a late reply may already tell the end of it.
 */
export async function claimTasks(
  context: ExecutorContext,
  lane: string,
  limit: number,
  connector: Connector,
  after: LanePlace | null = null,
): Promise<readonly Task[]> {
  const { db, daemonId, principal } = context;
  const jobs = await claimJobs(db, { lane, limit, daemonId: daemonId(), principal, after });
  const resends = jobs.filter((job) => job.sends > 1 || job.action !== 'send');
  const told: ReadonlyMap<bigint, readonly Evidence[]> =
    resends.length === 0 ? new Map() : Map.groupBy(await listEvidence(db, resends), (e) => e.operationId);
  return jobs.map((job) => {
    const evidence = told.get(job.operationId) ?? [];
    const pspReference = evidence.findLast((item) => item.pspReference !== null)?.pspReference ?? null;
    const task = { job, pspReference };
    if (job.action === 'recheck') return { ...task, todo: 'enquire' as const };
    const known = evidence.length === 0 ? null : merge(evidence).kind;
    const weight = known === null ? null : weightOf(known);
    if (weight === 'moved' || weight === 'refused' || weight === 'reversed')
      return { ...task, todo: 'fold' as const };
    const { canEnquire } = connector.capabilities;
    if (job.action === 'cancel' && known === 'awaiting_customer') return { ...task, todo: 'cancel' as const };
    if (weight === 'held') {
      // Word comes from outside where the PSP cannot be asked; there is nothing to do but look at what is stored.
      return { ...task, todo: canEnquire[job.operationKind] ? ('enquire' as const) : ('fold' as const) };
    }
    // The PSP may have forgotten the key. Where nothing ever reached it there is no key to forget.
    const forgotten = weight === 'doubt' && isPastKeyWindow(job.firstSentAgoMs, connector.capabilities);
    return { ...task, todo: forgotten || job.action !== 'send' ? ('enquire' as const) : ('send' as const) };
  });
}

/** Step 2. One call to the PSP; never throws. `null`: nothing was asked, fold what is stored. */
export async function callPsp(
  connector: Connector,
  task: Task,
  timeoutMs: number,
): Promise<EnquiryReply | null> {
  const { job } = task;
  if (task.todo === 'fold') return null;
  const attempt: StoredAttempt = {
    operationKind: job.operationKind,
    idempotencyKey: job.idempotencyKey,
    request: job.request,
    reference: formatId('operation', job.operationId),
    pspReference: task.pspReference,
  };
  try {
    return await within(timeoutMs + CONNECTOR_GRACE_MS, callConnector(connector, task, attempt, timeoutMs));
  } catch (error) {
    // A connector that throws is broken; what it did before is anybody's guess.
    return {
      kind: 'unknown',
      reason: `connector failed: ${messageOf(error)}`,
      next: 'enquire',
      retryAfterMs: null,
    };
  }
}

function callConnector(
  connector: Connector,
  task: Task,
  attempt: StoredAttempt,
  timeoutMs: number,
): Promise<EnquiryReply | null> {
  const { job, todo } = task;
  if (todo === 'enquire') return connector.enquire(attempt, job, timeoutMs);
  if (todo === 'cancel') return connector.cancel(attempt, job.pspReference, timeoutMs);
  return connector[job.operationKind](attempt, timeoutMs);
}

/** A connector that forgets its own deadline must not hold a job for ever. */
async function within<T>(limitMs: number, call: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Bug(`no answer within ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([call, late]);
  } finally {
    clearTimeout(timer);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The finding of a task, ready for step 3. */
export function findingOf(task: Task, reply: EnquiryReply | null): Finding {
  const { job } = task;
  return {
    operationId: job.operationId,
    attemptNumber: job.attemptNumber,
    source: task.todo === 'enquire' || task.todo === 'cancel' ? 'enquiry' : 'reply',
    reply,
    held: {
      fence: job.fence,
      action: heldAction(task),
      burned: job.burned,
      waits: job.waits,
      firstSentAgoMs: job.firstSentAgoMs,
      customerLeftMs: job.customerLeftMs,
    },
  };
}

/** What was really done counts, but a recheck stays one. */
function heldAction({ job, todo }: Task): JobAction {
  if (job.action === 'recheck') return 'recheck';
  if (todo === 'fold') return job.action;
  return todo;
}

/** What became of a finding; `quarantined` when the database refused it and a person must look. */
export type Recorded =
  | Applied
  | { readonly operationId: bigint; readonly right: 'quarantined'; readonly reason: string };

/**
 * Step 3. Records findings in one transaction. If one of them is refused by a constraint or a guard, the
 * batch is split in halves, each in a new transaction, until the offender stands alone; its reply is kept
 * and a dead letter opened. Other errors are nobody's fault and are thrown: try again.
 */
export async function recordFindings(
  context: ExecutorContext,
  findings: readonly Finding[],
): Promise<readonly Recorded[]> {
  try {
    return await transact(context.db, (tx) => applyFindings(tx, context, findings));
  } catch (error) {
    if (!isItemsFault(error)) throw error;
    if (findings.length === 1) return [await quarantine(context, findings[0]!, error)];
    const middle = Math.ceil(findings.length / 2);
    const first = await recordFindings(context, findings.slice(0, middle));
    return [...first, ...(await recordFindings(context, findings.slice(middle)))];
  }
}

/** Integrity constraints (class 23), our named guards (PG001–PG003) and our own bugs; never a lost connection. */
function isItemsFault(error: unknown): boolean {
  if (isConnectionError(error)) return false;
  const code = errorCode(error);
  if (code === null) return false;
  return /^(23|22|PG0)/.test(code) || code === 'entry_conflict' || error instanceof Bug;
}

/** The reply is stored whatever happens; the operation waits, undecided, for a person. */
async function quarantine(context: ExecutorContext, finding: Finding, error: unknown): Promise<Recorded> {
  const reason = `its result could not be booked: ${messageOf(error)}`;
  await transact(context.db, (tx) => applyFindings(tx, { ...context, quarantine: reason }, [finding]));
  return { operationId: finding.operationId, right: 'quarantined', reason };
}
