/**
 * What a decision about a break would do, before it is made: its next state, the entry, the items, whether another person must
 * agree. Reads only.
 */
import type { Db, Tx } from '../db/connection.ts';
import { Bug, OperatorError, unreachable } from '../errors.ts';
import { formatId } from '../ids.ts';
import type { Entry } from '../ledger/posting-rules.ts';
import { type Currency, formatAmount } from '../money.ts';
import type { Capabilities } from '../psp/psp.ts';
import { findBreak, type StandingRow, showBreak } from './break-list-store.ts';
import type { OpenItemAnswer } from './linked-items.ts';
import { itemsOf, plannedLinks } from './read-items.ts';
import type { BreakAnswer, BreakState } from './reconcile-answer.ts';
import {
  type BreakStanding,
  correctionEntry,
  type Decision,
  decideResolution,
  type LinkWish,
  needsReason,
  REST_ACTIONS,
  type ResolutionAction,
  type RestAction,
  restEntry,
} from './resolution.ts';
import { parseSource, type SettlementPolicy, settlementOf } from './settlement-policy.ts';
import type { PostedSource } from './settlement-posting.ts';

export type ResolutionRequest = {
  readonly breakId: bigint;
  readonly action: ResolutionAction;
  /** 10–2,000 characters for whatever posts or closes; may be empty to acknowledge. */
  readonly reason: string;
  /** The caller's name of this decision: the same again is a no-op. 1–255 characters. */
  readonly idempotencyKey: string;
  /** For `assign`. */
  readonly assignee: string | null;
  /** For `link`: what the line shows; left out: the proposed item. */
  readonly link?: LinkRequest;
  /** Who was authenticated; never a flag. */
  readonly principal: string;
  readonly policy: SettlementPolicy;
  readonly capabilitiesOf: (pspAccount: string) => Capabilities;
};

export type LinkRequest = {
  readonly items: readonly {
    /** "ent_12", "line_12", "op_12", or the PSP's name of it. */
    readonly name: string;
    /** Minor units of the break's currency above zero: the sign is the item's. Null: all that is left of it. */
    readonly amountMinor: bigint | null;
  }[];
  /** Where goes what the items do not explain; null: there must be nothing left. */
  readonly rest: RestAction | null;
};

/** An item that a line would be said to show, as a person reads it; minor units. */
export type PlannedLink = {
  readonly item: OpenItemAnswer;
  readonly amountMinor: bigint;
  readonly leftMinor: bigint;
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
  /** For `link`: what the line is said to show, and what of it stays and goes to `entry`; signed minor units. */
  readonly links: readonly PlannedLink[];
  readonly restMinor: bigint;
  readonly rest: RestAction | null;
  /** `needed`: over the write-off limit, another principal must resolve it once more, and the same. */
  readonly secondPerson: 'not_needed' | 'needed';
};

const MIN_REASON = 10;
const MAX_REASON = 2_000;
const MAX_KEY = 255;

/** Shows what `resolveBreak` would do; changes nothing. Throws as that does. */
export async function planResolution(db: Db, request: ResolutionRequest): Promise<ResolutionPlan> {
  requireUsable(request);
  return (await planOf(db, request)).plan;
}

export type Planned = {
  readonly plan: ResolutionPlan;
  readonly standing: BreakStanding;
  readonly decision: Decision;
  readonly sourceId: number;
};

export async function planOf(on: Db | Tx, request: ResolutionRequest): Promise<Planned> {
  const row = await getRow(on, request.breakId);
  const details = await showBreak(on, request.breakId);
  const name = formatId('reconBreak', row.id);
  if (row.state === 'resolved' || row.state === 'written_off') {
    throw new OperatorError('break_closed', `${name} is ${row.state.replace('_', ' ')} already.`, {
      kind: 'refused',
    });
  }
  const standing = standingOf(row, request.policy);
  const items = await itemsOf(on, row, request.link ?? null);
  const wish = request.link === undefined ? null : { links: items, rest: request.link.rest };
  const decision = decided(standing, request.action, wish);
  const entry = entryOf(standing, decision);
  const { correction } = decision;
  const plan: ResolutionPlan = {
    break: details!.break,
    action: request.action,
    from: row.state,
    to: decision.to,
    entry: entry === null ? null : { cause: causeOf(row.id), ...entry },
    links: correction.kind === 'link' ? await plannedLinks(on, row, correction.links) : [],
    restMinor: correction.kind === 'link' ? correction.restMinor : 0n,
    rest: request.link?.rest ?? null,
    secondPerson: isOverLimit(decision, request.policy) ? 'needed' : 'not_needed',
  };
  return { plan, standing, decision, sourceId: row.sourceId };
}

/** @throws OperatorError action_not_offered, link_has_rest */
function decided(standing: BreakStanding, action: ResolutionAction, wish: LinkWish | null): Decision {
  const name = formatId('reconBreak', standing.id);
  const outcome = decideResolution(standing, action, wish);
  switch (outcome.kind) {
    case 'decided':
      return outcome.decision;
    case 'refused':
      throw new OperatorError('action_not_offered', `${name} can't be resolved so. ${outcome.why}`, {
        kind: 'refused',
      });
    case 'rest': {
      const { currency } = standing;
      const rest = `${formatAmount({ amountMinor: outcome.restMinor, currency })} ${currency}`;
      throw new OperatorError(
        'link_has_rest',
        `The items do not come to what the line of ${name} shows: ${rest} would be left. Say where it goes: --rest ${REST_ACTIONS.join(', --rest ')}.`,
        { kind: 'refused' },
      );
    }
    default:
      return unreachable(outcome);
  }
}

/** What would be booked; null: nothing, or what the operation's own reversal books. */
export function entryOf(standing: BreakStanding, { correction }: Decision): Entry | null {
  if (correction.kind === 'entry') return correctionEntry(standing, correction.entryKind, correction.to);
  if (correction.kind !== 'link' || correction.rest === null) return null;
  return restEntry(standing, correction.rest.entryKind, correction.rest.to, correction.restMinor);
}

/** A break as its decisions see it. */
function standingOf(row: StandingRow, policy: SettlementPolicy): BreakStanding {
  return {
    ...row,
    source: sourceOf(row.source, policy),
    currency: row.currency as Currency,
    otherCurrency: row.otherCurrency as Currency | null,
  };
}

function sourceOf(name: string, policy: SettlementPolicy): PostedSource {
  const parsed = parseSource(name);
  if (parsed === null) throw new Bug(`a break of the source ${name}`);
  return parsed.kind === 'psp'
    ? { kind: 'psp', name: parsed.name, bank: settlementOf(policy, parsed.name).bank }
    : { kind: 'bank', name: parsed.name };
}

export function causeOf(breakId: bigint): string {
  return `settle:${formatId('reconBreak', breakId)}`;
}

function isOverLimit({ costs }: Decision, policy: SettlementPolicy): boolean {
  return costs.some(({ currency, minor }) => {
    const limit = policy.writeOffLimits.get(currency);
    return limit !== undefined && (minor < 0n ? -minor : minor) > limit;
  });
}

export async function getRow(on: Db | Tx, breakId: bigint): Promise<StandingRow> {
  const row = await findBreak(on, breakId);
  if (row !== null) return row;
  const name = formatId('reconBreak', breakId);
  throw new OperatorError('break_unknown', `There is no break ${name}.`, { kind: 'answer_is_no' });
}

export function requireUsable(request: ResolutionRequest): void {
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
