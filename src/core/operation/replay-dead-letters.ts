/**
 * Replays dead letters that a person chose: each letter is closed, and its operation gets a job again, for the open
 * attempt under its original key or for a new attempt, in one transaction with the event that says so. Evidence of an
 * attempt that is over is booked at once. Decides under the rows' locks, whatever the plan was; sends nothing itself.
 */
import { insertEvents, type NewEvent } from '../audit/event-store.ts';
import {
  type Db,
  isConnectionError,
  isRetryableError,
  type Tx,
  together,
  transact,
} from '../db/connection.ts';
import { Bug } from '../errors.ts';
import { attemptKey, formatId } from '../ids.ts';
import type { PspAccount } from '../psp/psp.ts';
import { capabilitiesOf, refreeze } from '../psp/request.ts';
import { ANY_LETTER, closeLettersAs, listDeadLetters, lockDeadLetters } from '../queue/dead-letter-store.ts';
import { laneOf } from '../queue/job.ts';
import { insertJobs, lockJobs, notifyLane } from '../queue/queue-store.ts';
import { type ResumedJob, resumeJobs } from '../queue/rescue-store.ts';
import { rewatchPartials } from '../refund/refund-store.ts';
import { applyFindings } from './apply-findings.ts';
import { type PlannedReplay, planReplays, type ReplayAction, type ReplayPlan } from './letter-plan.ts';
import { insertAttempts, type NewAttempt } from './operation-store.ts';
import { listStandings, lockOperations, requeueOperations, type Standing } from './reopening-store.ts';

export type ReplayContext = {
  /** Who was authenticated. */
  readonly principal: string;
  /** Why; stored with the letter and in the event. */
  readonly reason: string;
  /** Null: what suits each letter. */
  readonly action: ReplayAction | null;
  readonly bookKey: string;
  readonly pspOf: (pspAccount: string) => PspAccount['psp'];
};

/** What became of one letter. */
export type ReplayResult = { readonly letterId: bigint; readonly operationId: bigint } & (
  | { readonly kind: 'replayed'; readonly how: 'resume' | 'renew'; readonly job: ResumedJob }
  | { readonly kind: 'replayed'; readonly how: 'fold'; readonly job: null }
  | Extract<ReplayPlan, { readonly kind: 'refused' }>
);

/** Letters in one transaction. */
export const MAX_REPLAYS = 100;

/**
 * Replays up to {@link MAX_REPLAYS} letters; results in id order, letters that are not there left out.
 * Lock order: job, operation, letter, each in id order.
 */
export async function replayDeadLetters(
  db: Db,
  context: ReplayContext,
  letterIds: readonly bigint[],
): Promise<readonly ReplayResult[]> {
  if (letterIds.length > MAX_REPLAYS)
    throw new Bug(`${letterIds.length} letters; the limit is ${MAX_REPLAYS}`);
  const filter = { ...ANY_LETTER, ids: letterIds, beforeId: null, limit: MAX_REPLAYS };
  const named = await listDeadLetters(db, filter);
  const operationIds = [...new Set(named.map((letter) => letter.operationId))];
  if (operationIds.length === 0) return [];
  const results = await transact(db, async (tx) => {
    await lockJobs(tx, operationIds);
    await lockOperations(tx, operationIds);
    const [letters, standings] = await together([
      lockDeadLetters(tx, letterIds),
      listStandings(tx, operationIds),
    ]);
    const planned = planReplays(letters, standings, context.action, (name) =>
      capabilitiesOf(context.pspOf(name)),
    ).map((one) => withAttempt(context, one));
    return write(tx, context, await refuseGivenBack(tx, planned));
  });
  const settled: ReplayResult[] = [];
  for (const one of results) settled.push('kind' in one ? one : await foldApart(db, context, one));
  return settled;
}

/**
 * Books what is stored of an attempt that is over, in a transaction of its own: what the books refuse still must not
 * keep others from moving.
 */
async function foldApart(db: Db, context: ReplayContext, one: Prepared): Promise<ReplayResult> {
  const { id: letterId, operationId } = one.letter;
  try {
    return await transact(db, (tx) => fold(tx, context, one));
  } catch (error) {
    if (isConnectionError(error) || isRetryableError(error)) throw error;
    const why = error instanceof Error ? error.message : String(error);
    const message = `the books still refuse its stored answer: ${why}`;
    return { letterId, operationId, kind: 'refused', code: 'still_refused', message };
  }
}

async function fold(tx: Tx, context: ReplayContext, one: Prepared): Promise<ReplayResult> {
  const { id: letterId, operationId, attemptNumber } = one.letter;
  await lockJobs(tx, [operationId]);
  await lockOperations(tx, [operationId]);
  const [letter] = await lockDeadLetters(tx, [letterId]);
  if (letter?.state !== 'open') {
    const message = `it is ${letter?.state} already`;
    return { letterId, operationId, kind: 'refused', code: 'letter_closed', message };
  }
  await closeLettersAs(tx, [letterId], { state: 'replayed', ...context });
  await insertEvents(tx, context.principal, [replayedEvent(context, one, null)]);
  const capabilities = (name: string) => capabilitiesOf(context.pspOf(name));
  await applyFindings(tx, { principal: context.principal, capabilitiesOf: capabilities, random: () => 0 }, [
    { operationId, attemptNumber, source: 'person', reply: null, held: null },
  ]);
  return { letterId, operationId, kind: 'replayed', how: 'fold', job: null };
}

/** A new attempt at an order whose payment was given back would charge the buyer for a part of it, against its policy. */
async function refuseGivenBack(tx: Tx, planned: readonly Prepared[]): Promise<readonly Prepared[]> {
  const renewsCharge = ({ attempt, standing }: Prepared): boolean =>
    attempt !== null && standing.kind === 'charge';
  const renewed = planned.filter(renewsCharge).flatMap(({ standing }) => standing.paymentId ?? []);
  const givenBack = await rewatchPartials(tx, [...new Set(renewed)]);
  return planned.map((one) => {
    if (!renewsCharge(one) || !givenBack.has(one.standing.paymentId ?? 0n)) return one;
    const message = 'the rest of its payment was given back: let the buyer check out again';
    return { ...one, attempt: null, plan: { kind: 'refused', code: 'nothing_to_replay', message } };
  });
}

type Prepared = PlannedReplay & { readonly attempt: NewAttempt | null };

/** Freezes the request of a new attempt; a request that cannot be read back is refused instead. */
function withAttempt(context: ReplayContext, one: PlannedReplay): Prepared {
  const { standing, plan } = one;
  if (plan.kind !== 'renew') return { ...one, attempt: null };
  const number = standing.attemptNumber + 1;
  const idempotencyKey = attemptKey(context.bookKey, standing.operationId, number);
  const frozen = refreeze(context.pspOf(standing.pspAccount), standing.request, {
    idempotencyKey,
    attemptNumber: number,
  });
  if (frozen.kind === 'rejected') {
    const refused = { kind: 'refused', code: 'nothing_to_replay', message: frozen.reason } as const;
    return { ...one, plan: refused, attempt: null };
  }
  const { operationId } = standing;
  return { ...one, attempt: { operationId, number, idempotencyKey, request: frozen.request } };
}

/**
 * Point of no return: closes the letters that move, and gives their operations jobs.
 * @returns in the order given; those to be folded as they came
 */
async function write(
  tx: Tx,
  context: ReplayContext,
  planned: readonly Prepared[],
): Promise<readonly (ReplayResult | Prepared)[]> {
  const moving = planned.filter(({ plan }) => plan.kind === 'resume' || plan.kind === 'renew');
  const renewed = moving.filter((one) => one.attempt !== null);
  const letterIds = moving.map((one) => one.letter.id);
  const [requeued, resumed, , , closed] = await together([
    requeueOperations(
      tx,
      renewed.map((one) => one.standing.operationId),
    ),
    resumeJobs(tx, moving.flatMap(resumption)),
    insertAttempts(
      tx,
      renewed.flatMap((one) => one.attempt ?? []),
    ),
    insertJobs(
      tx,
      renewed.map((one) => ({ ...jobOfNewAttempt(one), kind: one.standing.kind })),
    ),
    closeLettersAs(tx, letterIds, { state: 'replayed', ...context }),
  ]);
  if (requeued.length !== renewed.length || resumed.length + renewed.length !== moving.length)
    throw new Bug('an operation moved under its own lock');
  if (closed.length !== moving.length) throw new Bug('a dead letter moved under its own lock');
  const jobs = new Map([...resumed, ...renewed.map(jobOfNewAttempt)].map((job) => [job.operationId, job]));
  await together([
    insertEvents(
      tx,
      context.principal,
      moving.map((one) => replayedEvent(context, one, jobs.get(one.standing.operationId)!)),
    ),
    ...[...new Set([...jobs.values()].map((job) => job.lane))].map((lane) => notifyLane(tx, lane)),
  ]);
  return planned.map((one) => resultOf(one, jobs));
}

/** Replays stand behind what shops wait for. */
function laneFor(standing: Standing): string {
  return laneOf(standing.pspAccount, 'batch');
}

function resumption({ standing, plan }: Prepared) {
  if (plan.kind !== 'resume') return [];
  const { operationId, attemptNumber } = standing;
  return [{ operationId, attemptNumber, lane: laneFor(standing), action: plan.action }];
}

/** Nothing of a new attempt was sent yet; the operation's fence goes on. */
function jobOfNewAttempt({ standing }: Prepared): ResumedJob {
  return {
    operationId: standing.operationId,
    attemptNumber: standing.attemptNumber + 1,
    lane: laneFor(standing),
    action: 'send',
    fence: standing.operationFence,
    sends: 0,
    firstSentAt: null,
    lastSentAt: null,
  };
}

function resultOf(one: Prepared, jobs: ReadonlyMap<bigint, ResumedJob>): ReplayResult | Prepared {
  const { letter, plan } = one;
  const { id: letterId, operationId } = letter;
  if (plan.kind === 'fold') return one;
  if (plan.kind === 'refused') return { letterId, operationId, ...plan };
  return { letterId, operationId, kind: 'replayed', how: plan.kind, job: jobs.get(operationId)! };
}

/** Everything that replay of the events needs to rebuild attempt, operation and job; the request goes in as it is. */
function replayedEvent(context: ReplayContext, one: Prepared, job: ResumedJob | null): NewEvent {
  const { letter, standing, attempt } = one;
  const fields = JSON.stringify({
    dead_letter: formatId('deadLetter', letter.id),
    code: letter.code,
    reason: context.reason,
    operation: standing.operationId.toString(),
    attempt: job?.attemptNumber ?? letter.attemptNumber,
    from: standing.subState,
    job: job && {
      lane: job.lane,
      action: job.action,
      fence: job.fence,
      sends: job.sends,
      first_sent_at: job.firstSentAt,
      last_sent_at: job.lastSentAt,
    },
  });
  const row =
    attempt === null
      ? 'null'
      : `{"idempotency_key":${JSON.stringify(attempt.idempotencyKey)},"request":${attempt.request}}`;
  return {
    kind: 'dead_letter_replayed',
    paymentId: standing.paymentId,
    data: `${fields.slice(0, -1)},"attempt_row":${row}}`,
  };
}
