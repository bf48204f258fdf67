/**
 * What a person decides about a break: the entry that would be posted, shown before it is, and the decision itself with its reason,
 * who made it and, for a large write-off, who else agreed. Every step is kept in the break's history.
 */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, type Tx, transact } from '../db/connection.ts';
import { Bug, OperatorError, unreachable } from '../errors.ts';
import { formatId } from '../ids.ts';
import { entryJson, insertEntries, insertPostings, type NewEntry } from '../ledger/ledger-store.ts';
import { applyFindings } from '../operation/apply-findings.ts';
import { findCurrentAttempt } from '../operation/operation-store.ts';
import { showBreak } from './break-list-store.ts';
import {
  causeOf,
  entryOf,
  getRow,
  type Planned,
  planOf,
  type ResolutionPlan,
  type ResolutionRequest,
  requireUsable,
} from './plan-resolution.ts';
import { proposalText } from './proposal.ts';
import type { BreakAnswer } from './reconcile-answer.ts';
import { lockSource } from './reconcile-run-store.ts';
import type { Link } from './resolution.ts';
import * as store from './resolution-store.ts';
import { movementOf, openAccount } from './settlement-posting.ts';
import { addPostedLines } from './settlement-posting-store.ts';

export type Resolved =
  | { readonly kind: 'resolved'; readonly plan: ResolutionPlan; readonly entryId: bigint | null }
  /** The same idempotency key again. */
  | { readonly kind: 'repeated'; readonly break: BreakAnswer }
  /** The proposal is kept; a second person must say the same. */
  | { readonly kind: 'second_person_needed'; readonly plan: ResolutionPlan };

/**
 * @throws OperatorError break_unknown, break_closed, action_not_offered, item_unknown, item_ambiguous, item_unfit, link_has_rest,
 *   reason_too_short, reason_too_long, key_invalid, key_reused, second_person_same
 */
export async function resolveBreak(db: Db, request: ResolutionRequest): Promise<Resolved> {
  requireUsable(request);
  return transact(db, async (tx) => {
    const row = await getRow(tx, request.breakId);
    await lockSource(tx, row.source);
    await store.lockBreak(tx, request.breakId);
    const before = await store.findDecision(tx, request.idempotencyKey);
    if (before !== null) return repeated(tx, request, before);
    return resolveLocked(tx, request);
  });
}

async function resolveLocked(tx: Tx, request: ResolutionRequest): Promise<Resolved> {
  const { plan, standing, decision, sourceId } = await planOf(tx, request);
  const change = {
    breakId: request.breakId,
    kind: request.action,
    principal: request.principal,
    reason: request.reason.trim() || null,
    from: plan.from,
    to: plan.to,
    idempotencyKey: request.idempotencyKey,
    assignee: request.assignee,
  } as const;
  // To agree is to want the same entry: another decision is a new proposal, and waits in its place.
  const proposal = proposalText(plan);
  const isProposed = standing.proposedBy !== null && standing.proposedPlan === proposal;
  if (plan.secondPerson === 'needed' && !isProposed) {
    await store.changeBreak(tx, { ...change, kind: 'proposed', to: plan.from, entryId: null, proposal });
    return { kind: 'second_person_needed', plan };
  }
  if (plan.secondPerson === 'needed' && standing.proposedBy === request.principal) {
    throw new OperatorError(
      'second_person_same',
      `${plan.break.id} was proposed by ${request.principal}; another person must agree.`,
      { kind: 'refused' },
    );
  }
  const entryId = await correct(tx, request, { standing, decision, sourceId });
  await store.changeBreak(tx, { ...change, entryId, proposal: null });
  return { kind: 'resolved', plan, entryId };
}

type ToCorrect = Pick<Planned, 'standing' | 'decision' | 'sourceId'>;

/** Books the correction and closes what it explains; the entry's number, or null when there is none. */
async function correct(tx: Tx, request: ResolutionRequest, planned: ToCorrect): Promise<bigint | null> {
  const { standing, decision } = planned;
  const { principal } = request;
  switch (decision.correction.kind) {
    case 'none':
      return null;
    case 'link':
      return linkItems(tx, planned, decision.correction.links, principal);
    case 'reverse_operation':
      return reverseOperation(tx, request, planned);
    case 'entry': {
      const closing = { by: standing.id, rule: 'correction', actor: principal } as const;
      if (standing.itemId !== null) await store.closeItem(tx, { ...closing, itemId: standing.itemId });
      return postCorrection(tx, planned, principal);
    }
    default:
      return unreachable(decision.correction);
  }
}

/** Null where the decision books nothing. */
async function postCorrection(
  tx: Tx,
  { standing, decision, sourceId }: ToCorrect,
  principal: string,
): Promise<bigint | null> {
  const wanted = entryOf(standing, decision);
  if (wanted === null) return null;
  const entry: NewEntry = { cause: causeOf(standing.id), ...wanted };
  await addPostedLines(tx, sourceId, movementOf(openAccount(standing.source), [entry]));
  const [posted] = await insertEntries(tx, principal, [entry]);
  const data = JSON.stringify({ break: standing.id.toString(), entries: [entryJson(posted!)] });
  await insertEvents(tx, principal, [{ kind: 'break_resolved', paymentId: null, data }]);
  await insertPostings(tx, [posted!]);
  return posted!.id;
}

/** The person says what the line shows: matches like any other, with a name to them. */
async function linkItems(
  tx: Tx,
  planned: ToCorrect,
  links: readonly Link[],
  principal: string,
): Promise<bigint | null> {
  const { standing } = planned;
  for (const { itemId, amountMinor } of links)
    await store.linkItem(tx, { lineId: standing.lineId!, itemId, amountMinor, actor: principal });
  await store.settleBreaksOfItems(tx, {
    itemIds: links.map(({ itemId }) => itemId),
    by: formatId('reconBreak', standing.id),
    principal,
  });
  return postCorrection(tx, planned, principal);
}

/** What the reversal of a refund or payout is booked as. */
const REVERSALS = ['refund_failed_after_success', 'suspense_refund_failed', 'payout_returned'] as const;

/** The refund or payout did not move after all: its own reversal is booked, by the decision that everybody shares. */
async function reverseOperation(
  tx: Tx,
  request: ResolutionRequest,
  planned: ToCorrect,
): Promise<bigint | null> {
  const { standing, sourceId } = planned;
  const operationId = standing.operationId!;
  const attempt = await findCurrentAttempt(tx, operationId);
  if (attempt === null) throw new Bug('a break about an operation without an attempt');
  const context = {
    principal: request.principal,
    capabilitiesOf: request.capabilitiesOf,
    random: () => 0,
  };
  const [applied] = await applyFindings(tx, context, [
    {
      operationId,
      attemptNumber: attempt.attemptNumber,
      source: 'person',
      held: null,
      reply: { kind: 'declined', reason: request.reason.trim(), mayRetryAsNew: false, pspReference: null },
    },
  ]);
  if (applied!.to !== 'reversed') {
    throw new OperatorError(
      'not_reversible',
      `The operation is ${applied!.to}: there is nothing to reverse.`,
      {
        kind: 'refused',
      },
    );
  }
  const closing = { by: standing.id, actor: request.principal } as const;
  if (standing.itemId !== null)
    await store.closeItem(tx, { ...closing, itemId: standing.itemId, rule: 'correction' });
  const cause = formatId('operation', operationId);
  return store.countAsFact(tx, { ...closing, cause, kinds: REVERSALS, sourceId });
}

async function repeated(
  tx: Tx,
  request: ResolutionRequest,
  before: { readonly breakId: bigint; readonly kind: string; readonly principal: string },
): Promise<Resolved> {
  const same =
    before.breakId === request.breakId && (before.kind === request.action || before.kind === 'proposed');
  if (!same) {
    throw new OperatorError('key_reused', 'This idempotency key has decided something else before.', {
      kind: 'refused',
    });
  }
  return { kind: 'repeated', break: (await showBreak(tx, request.breakId))!.break };
}
