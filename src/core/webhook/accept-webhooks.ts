/**
 * Takes verified webhooks in: stores each event once, and has the operation that it names looked at again. Where the
 * PSP cannot be asked, its signed word is evidence like any other. Duplicated, reordered, early and late ones do no
 * harm: what counts is folded from all evidence.
 */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, type Tx, transact } from '../db/connection.ts';
import { noteDisputes } from '../dispute/note-disputes.ts';
import { Bug, OperatorError } from '../errors.ts';
import { applyFindings } from '../operation/apply-findings.ts';
import type { Finding, FindingContext } from '../operation/finding.ts';
import { lockOperations } from '../operation/reopening-store.ts';
import { laneOf } from '../queue/job.ts';
import { lockJobs, notifyLane } from '../queue/queue-store.ts';
import { recheckOperations } from '../queue/rescue-store.ts';
import { attemptOf, type CanEnquire, effectOf, mayUndo, type WebhookEvent } from './webhook.ts';
import {
  insertWebhooks,
  listHeld,
  listNamedAttempts,
  listNamedOperations,
  type NamedOperation,
  type NewWebhook,
} from './webhook-store.ts';

/** Events of one delivery, at most. */
const MAX_EVENTS = 100;

export type WebhooksAccepted = {
  /** Events that were stored by this call; the others had come before. */
  readonly fresh: number;
  /** Operations and disputes that are looked at again, or that the event itself moved. */
  readonly looks: number;
};

/**
 * Once it returns, the events are committed and may be acknowledged.
 * @throws OperatorError `webhook_busy`: nothing was stored, deliver it again
 * @param pspAccount whose secret verified them; events about operations of another account are not ours
 */
export async function acceptWebhooks(
  db: Db,
  context: FindingContext,
  pspAccount: string,
  events: readonly WebhookEvent[],
): Promise<WebhooksAccepted> {
  if (events.length > MAX_EVENTS) throw new Bug(`${events.length} events; the limit is ${MAX_EVENTS}`);
  return transact(db, async (tx) => {
    const ids = events.flatMap((event) => event.operationId ?? []);
    // Whoever records an answer at this moment is waited for: what follows is decided by what stands after it, and a job
    // that is made here goes on from the fence and the sends that it leaves behind.
    await lockJobs(tx, ids);
    await lockOperations(tx, ids);
    const named = new Map(
      (await listNamedOperations(tx, ids))
        .filter((operation) => operation.pspAccounts.includes(pspAccount))
        .map((operation) => [operation.operationId, operation]),
    );
    const { canEnquire } = context.capabilitiesOf(pspAccount);
    const rows = events.map((event) => toRow(pspAccount, event, named, canEnquire));
    const fresh = await insertWebhooks(tx, rows);
    const lookedAt = events.filter((event, i) => fresh.has(event.eventId) && rows[i]!.effect === 'looks');
    const disputes = await noteDisputes(tx, pspAccount, lookedAt);
    const looked = lookedAt.filter((event) => event.dispute === undefined);
    const told = await applyWords(
      tx,
      context,
      pspAccount,
      looked.filter((event) => event.says !== null),
    );
    const asked = oneEach(looked.filter((event) => event.says === null));
    const undone = asked.flatMap((event) => {
      const operation = named.get(event.operationId!);
      return operation !== undefined && mayUndo(event, operation) ? [operation.operationId] : [];
    });
    const wanted = asked.flatMap((event) => event.operationId ?? []);
    const checked = await recheckOperations(tx, wanted, undone);
    await refuseWhatIsLost(tx, asked, named, new Set(checked));
    if (checked.length > 0) {
      const data = JSON.stringify({ operations: checked.map(String), undone: undone.map(String) });
      await insertEvents(tx, context.principal, [{ kind: 'operations_rechecked', paymentId: null, data }]);
      await notifyLane(tx, laneOf(pspAccount, 'online'));
    }
    return { fresh: fresh.size, looks: told + checked.length + disputes };
  });
}

/**
 * A daemon is at work on the operation and may have its answer already, of before the news; stored now, the event would
 * never be looked at. The PSP delivers it again.
 */
async function refuseWhatIsLost(
  tx: Tx,
  asked: readonly WebhookEvent[],
  named: ReadonlyMap<bigint, NamedOperation>,
  checked: ReadonlySet<bigint>,
): Promise<void> {
  const lost = asked.flatMap((event) => {
    const operation = named.get(event.operationId!);
    if (operation === undefined || checked.has(operation.operationId)) return [];
    return mayUndo(event, operation) ? [operation.operationId] : [];
  });
  if (lost.length === 0 || (await listHeld(tx, lost)).length === 0) return;
  throw new OperatorError('webhook_busy', 'The operation is being worked on; deliver the webhook again.', {
    kind: 'failed',
  });
}

function toRow(
  pspAccount: string,
  event: WebhookEvent,
  named: ReadonlyMap<bigint, NamedOperation>,
  canEnquire: CanEnquire,
): NewWebhook {
  const operation = event.operationId === null ? null : (named.get(event.operationId) ?? null);
  return {
    pspAccount,
    eventId: event.eventId,
    type: event.type,
    operationId: operation === null ? null : operation.operationId,
    effect: effectOf(event, operation, canEnquire),
  };
}

/**
 * One delivery can tell several things of one operation: all of them are evidence, in the order they stand there.
 * @returns how many operations they were about
 */
async function applyWords(
  tx: Tx,
  context: FindingContext,
  pspAccount: string,
  told: readonly WebhookEvent[],
): Promise<number> {
  const words = [...Map.groupBy(told, (event) => event.operationId).values()];
  const longest = Math.max(0, ...words.map((events) => events.length));
  let first = 0;
  for (let round = 0; round < longest; round += 1) {
    const findings = await findingsOf(
      tx,
      pspAccount,
      words.flatMap((events) => events[round] ?? []),
    );
    await applyFindings(tx, context, findings);
    if (round === 0) first = findings.length;
  }
  return first;
}

/** The last event of each operation: one look answers all that one delivery tells of it. */
function oneEach(events: readonly WebhookEvent[]): readonly WebhookEvent[] {
  return [...new Map(events.map((event) => [event.operationId, event])).values()];
}

/** What the events say, each of the attempt that it is about; nothing of what no attempt of ours is known by. */
async function findingsOf(
  tx: Tx,
  pspAccount: string,
  told: readonly WebhookEvent[],
): Promise<readonly Finding[]> {
  if (told.length === 0) return [];
  const ids = told.flatMap((event) => event.operationId ?? []);
  const attempts = Map.groupBy(
    await listNamedAttempts(tx, pspAccount, ids),
    (attempt) => attempt.operationId,
  );
  return told.flatMap((event) => {
    const operationId = event.operationId!;
    const attemptNumber = attemptOf(event, attempts.get(operationId) ?? []);
    if (attemptNumber === null) return [];
    return [{ operationId, attemptNumber, source: 'webhook' as const, reply: event.says, held: null }];
  });
}
