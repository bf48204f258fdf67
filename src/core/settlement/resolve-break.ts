/**
 * What a person decides about a break: the entry that would be posted, shown before it is, and the decision itself with its reason,
 * who made it and, for a large write-off, who else agreed. Every step is kept in the break's history.
 */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, type Tx, transact } from '../db/connection.ts';
import { Bug, OperatorError } from '../errors.ts';
import { formatId } from '../ids.ts';
import { entryJson, insertEntries, insertPostings, type NewEntry } from '../ledger/ledger-store.ts';
import type { Currency } from '../money.ts';
import { applyFindings } from '../operation/apply-findings.ts';
import { findCurrentAttempt } from '../operation/operation-store.ts';
import type { Capabilities } from '../psp/psp.ts';
import { showBreak } from './break-list-store.ts';
import type { BreakAnswer, BreakState } from './reconcile-answer.ts';
import { lockSource } from './reconcile-run-store.ts';
import {
  type ResolutionAction as Action,
  type BreakStanding,
  correctionEntry,
  type Decision,
  decideResolution,
  needsReason,
} from './resolution.ts';
import * as store from './resolution-store.ts';
import { parseSource, type SettlementPolicy, settlementOf } from './settlement-policy.ts';
import { movementOf, openAccount, type PostedSource } from './settlement-posting.ts';
import { addPostedLines } from './settlement-posting-store.ts';

/** What can be done about a break; which of them fit is in its `offers`. */
export type ResolutionAction = Action;

export type ResolutionRequest = {
  readonly breakId: bigint;
  readonly action: ResolutionAction;
  /** 10–2,000 characters for whatever posts or closes; may be empty to acknowledge. */
  readonly reason: string;
  /** The caller's name of this decision: the same again is a no-op. 1–255 characters. */
  readonly idempotencyKey: string;
  /** For `assign`. */
  readonly assignee: string | null;
  /** Who was authenticated; never a flag. */
  readonly principal: string;
  readonly policy: SettlementPolicy;
  readonly capabilitiesOf: (pspAccount: string) => Capabilities;
};

/** A posting as a person reads it; minor units. */
export type ProposedPosting = {
  readonly debit: string;
  readonly credit: string;
  readonly currency: string;
  readonly amountMinor: bigint;
};

export type ResolutionPlan = {
  readonly break: BreakAnswer;
  readonly action: ResolutionAction;
  readonly from: BreakState;
  readonly to: BreakState;
  /** What would be booked, under which cause; null: nothing, or what the operation's own reversal books. */
  readonly entry: {
    readonly cause: string;
    readonly kind: string;
    readonly postings: readonly ProposedPosting[];
  } | null;
  /** `needed`: over the write-off limit, another principal must resolve it once more. */
  readonly secondPerson: 'not_needed' | 'needed';
};

export type Resolved =
  | { readonly kind: 'resolved'; readonly plan: ResolutionPlan; readonly entryId: bigint | null }
  /** The same idempotency key again. */
  | { readonly kind: 'repeated'; readonly break: BreakAnswer }
  /** The proposal is kept; a second person must say the same. */
  | { readonly kind: 'second_person_needed'; readonly plan: ResolutionPlan };

const MIN_REASON = 10;
const MAX_REASON = 2_000;
const MAX_KEY = 255;

/** Shows what {@link resolveBreak} would do; changes nothing. Throws as that does. */
export async function planResolution(db: Db, request: ResolutionRequest): Promise<ResolutionPlan> {
  requireUsable(request);
  return (await planOf(db, request)).plan;
}

/**
 * @throws OperatorError break_unknown, break_closed, action_not_offered, reason_too_short, reason_too_long, key_invalid, key_reused,
 *   second_person_same
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
  if (plan.secondPerson === 'needed' && standing.proposedBy === null) {
    await store.changeBreak(tx, {
      ...change,
      kind: 'proposed',
      to: plan.from,
      entryId: null,
      outcome: 'proposed',
    });
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
  await store.changeBreak(tx, { ...change, entryId, outcome: 'done' });
  return { kind: 'resolved', plan, entryId };
}

type Planned = {
  readonly plan: ResolutionPlan;
  readonly standing: BreakStanding;
  readonly decision: Decision;
  readonly sourceId: number;
};

async function planOf(on: Db | Tx, request: ResolutionRequest): Promise<Planned> {
  const row = await getRow(on, request.breakId);
  const details = await showBreak(on, request.breakId);
  const name = formatId('reconBreak', row.id);
  if (row.state === 'resolved' || row.state === 'written_off') {
    throw new OperatorError('break_closed', `${name} is ${row.state.replace('_', ' ')} already.`, {
      kind: 'refused',
    });
  }
  const standing: BreakStanding = {
    ...row,
    source: sourceOf(row.source, request.policy),
    currency: row.currency as Currency,
    otherCurrency: row.otherCurrency as Currency | null,
  };
  const decided = decideResolution(standing, request.action);
  if (decided.kind === 'refused') {
    throw new OperatorError('action_not_offered', `${name} can't be resolved so. ${decided.why}`, {
      kind: 'refused',
    });
  }
  const { decision } = decided;
  const entry =
    decision.correction.kind === 'entry'
      ? correctionEntry(standing, decision.correction.entryKind, decision.correction.to)
      : null;
  const plan: ResolutionPlan = {
    break: details!.break,
    action: request.action,
    from: row.state,
    to: decision.to,
    entry: entry === null ? null : { cause: causeOf(row.id), ...entry },
    secondPerson: isOverLimit(standing, decision, request.policy) ? 'needed' : 'not_needed',
  };
  return { plan, standing, decision, sourceId: row.sourceId };
}

function sourceOf(name: string, policy: SettlementPolicy): PostedSource {
  const parsed = parseSource(name);
  if (parsed === null) throw new Bug(`a break of the source ${name}`);
  return parsed.kind === 'psp'
    ? { kind: 'psp', name: parsed.name, bank: settlementOf(policy, parsed.name).bank }
    : { kind: 'bank', name: parsed.name };
}

function causeOf(breakId: bigint): string {
  return `settle:${formatId('reconBreak', breakId)}`;
}

function isOverLimit(one: BreakStanding, decision: Decision, policy: SettlementPolicy): boolean {
  if (!decision.isWriteOff) return false;
  const over = (currency: Currency | null, minor: bigint | null): boolean => {
    const limit = currency === null ? undefined : policy.writeOffLimits.get(currency);
    if (limit === undefined || minor === null) return false;
    return (minor < 0n ? -minor : minor) > limit;
  };
  return over(one.currency, one.openMinor) || over(one.otherCurrency, one.otherMinor);
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
      await linkItem(tx, standing, principal);
      return null;
    case 'reverse_operation':
      return reverseOperation(tx, request, planned);
    case 'entry': {
      const { entryKind, to } = decision.correction;
      const entry: NewEntry = { cause: causeOf(standing.id), ...correctionEntry(standing, entryKind, to) };
      if (standing.itemId !== null)
        await store.closeItem(tx, {
          itemId: standing.itemId,
          by: standing.id,
          rule: 'correction',
          actor: principal,
        });
      await addPostedLines(tx, planned.sourceId, movementOf(openAccount(standing.source), [entry]));
      const [posted] = await insertEntries(tx, principal, [entry]);
      const data = JSON.stringify({ break: standing.id.toString(), entries: [entryJson(posted!)] });
      await insertEvents(tx, principal, [{ kind: 'break_resolved', paymentId: null, data }]);
      await insertPostings(tx, [posted!]);
      return posted!.id;
    }
  }
}

/** The person says that the proposed item is what the line shows: a match like any other, with a name to it. */
async function linkItem(tx: Tx, standing: BreakStanding, principal: string): Promise<void> {
  const item = await store.findRemaining(tx, standing.proposedItemId!);
  if (item === null || item.remainingMinor !== -standing.openMinor) {
    throw new OperatorError(
      'proposal_outdated',
      'The proposed item is explained by now; reconcile the next file first.',
      { kind: 'refused' },
    );
  }
  const closing = {
    itemId: standing.proposedItemId!,
    by: standing.lineId!,
    rule: 'person',
    actor: principal,
  };
  await store.closeItem(tx, closing);
}

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
  await store.closeItem(tx, { ...closing, itemId: standing.itemId!, rule: 'correction' });
  const kind = standing.operationKind === 'refund' ? 'refund_failed_after_success' : 'payout_returned';
  const cause = formatId('operation', operationId);
  return store.countAsFact(tx, { ...closing, cause, kind, sourceId });
}

async function getRow(on: Db | Tx, breakId: bigint): Promise<store.BreakRow> {
  const row = await store.findBreak(on, breakId);
  if (row !== null) return row;
  const name = formatId('reconBreak', breakId);
  throw new OperatorError('break_unknown', `There is no break ${name}.`, { kind: 'answer_is_no' });
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

function requireUsable(request: ResolutionRequest): void {
  const { idempotencyKey } = request;
  const reason = request.reason.trim();
  if (idempotencyKey.length === 0 || idempotencyKey.length > MAX_KEY)
    throw new OperatorError('key_invalid', `An idempotency key has 1 to ${MAX_KEY} characters.`);
  if (reason.length > MAX_REASON)
    throw new OperatorError('reason_too_long', `The reason is longer than ${MAX_REASON} characters.`);
  if (needsReason(request.action) && reason.length < MIN_REASON) {
    throw new OperatorError(
      'reason_too_short',
      `Say what you saw and where, in at least ${MIN_REASON} characters.`,
    );
  }
}
