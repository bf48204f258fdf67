/**
 * Looks at disputes that webhooks told of, or that are open: reads each at its PSP, or folds the signed words where
 * nobody can be asked, and applies what it finds. No transaction is open while a PSP is asked.
 */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, type Queryable, transact } from '../db/connection.ts';
import { parseId } from '../ids.ts';
import type { Connector, DisputeReply } from '../psp/psp.ts';
import { laneOf } from '../queue/job.ts';
import { notifyLane, openDeadLetters, recheckOperations } from '../queue/queue-store.ts';
import { type AppliedDispute, applyDisputes, type DisputeContext } from './apply-disputes.ts';
import { type DisputeFact, stateOfWords, storableReason } from './dispute.ts';
import {
  endLook,
  findDisputedAttempt,
  listDisputeWords,
  lookAgainIn,
  type TakenLook,
  takeDueLooks,
} from './dispute-store.ts';

export type LookContext = DisputeContext & {
  /** By PSP account: whom to ask, and for how long (ms). */
  readonly accounts: ReadonlyMap<
    string,
    { readonly connector: Pick<Connector, 'dispute'>; readonly timeoutMs: number }
  >;
};

/** What came of one look. */
export type Looked = {
  readonly look: TakenLook;
  readonly found:
    | { readonly kind: 'applied'; readonly applied: AppliedDispute }
    /** Nothing of ours, or nothing that takes money. */
    | { readonly kind: 'nothing'; readonly reason: string }
    /** Its charge is not known here as done: `given_up` after days of looking. */
    | { readonly kind: 'unmatched' | 'given_up'; readonly reason: string }
    | { readonly kind: 'failed'; readonly reason: string };
};

/** Disputes looked at in one round, each with a call of its own at once. */
const LOOKS_A_ROUND = 20;
/** A look that was taken is somebody else's after the longest call and this long (s). */
const HOLD_MARGIN_S = 30;
/** The first pause before another look (s); it doubles up to an hour. */
const FIRST_PAUSE_S = 2;
const LONGEST_PAUSE_S = 3_600;
/** Three days of looking for the charge of a dispute: as long as PSPs repeat their webhooks. */
const MAX_UNMATCHED_TRIES = 80;
/** Webhooks get lost: an open dispute is read again this often (s). */
const OPEN_PAUSE_S = 6 * 3_600;

/** Words that say how much was taken. */
const TAKES: ReadonlySet<string> = new Set(['CHARGEBACK', 'SECOND_CHARGEBACK', 'CHARGEBACK_REVERSED']);

/** One round. Failures of one look are its own. */
export async function lookAtDisputes(db: Db, context: LookContext): Promise<readonly Looked[]> {
  const accounts = [...context.accounts.keys()];
  const longestMs = Math.max(0, ...[...context.accounts.values()].map((account) => account.timeoutMs));
  const holdS = longestMs / 1_000 + HOLD_MARGIN_S;
  const looks = await takeDueLooks(db, { accounts, limit: LOOKS_A_ROUND, holdS });
  const replies = await Promise.all(looks.map((look) => ask(context, look)));
  const looked: Looked[] = [];
  for (const [i, look] of looks.entries()) looked.push(await settle(db, context, look, replies[i]!));
  return looked;
}

/** A connector that throws is broken; it says nothing about the dispute. */
async function ask({ accounts }: LookContext, look: TakenLook): Promise<DisputeReply> {
  const { connector, timeoutMs } = accounts.get(look.pspAccount)!;
  try {
    return await connector.dispute(look.pspReference, timeoutMs);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { kind: 'failed', reason: `connector failed: ${why}`, retryAfterMs: null };
  }
}

async function settle(db: Db, context: LookContext, look: TakenLook, reply: DisputeReply): Promise<Looked> {
  if (reply.kind === 'failed') {
    await lookAgainIn(db, look, Math.max(pauseS(look), (reply.retryAfterMs ?? 0) / 1_000), look.tries);
    return { look, found: { kind: 'failed', reason: reply.reason } };
  }
  const reading = reply.kind === 'unaskable' ? await foldWords(db, look) : await readReply(db, look, reply);
  if (reading.kind === 'nothing') {
    await transact(db, (tx) => endLook(tx, look));
    return { look, found: reading };
  }
  if (reading.kind === 'unmatched') return unmatched(db, context, look, reading.reason);
  const applied = await transact(db, async (tx) => {
    const [one] = await applyDisputes(tx, context, [reading.fact]);
    if (one!.verdict.kind === 'unmatched') return one!;
    const isWatched = one!.verdict.dispute.state === 'opened' && reply.kind === 'found';
    if (isWatched) await lookAgainIn(tx, look, OPEN_PAUSE_S, 0);
    else await endLook(tx, look);
    return one!;
  });
  if (applied.verdict.kind !== 'unmatched') return { look, found: { kind: 'applied', applied } };
  // The bank takes back what we believe was never paid: has its PSP other news of the charge?
  if (reply.kind === 'found' && look.tries === 1) await recheckCharge(db, context, reading.fact);
  return unmatched(db, context, look, applied.verdict.reason, reading.fact);
}

/** 2 s, 4 s, … up to an hour. */
function pauseS({ tries }: TakenLook): number {
  return Math.min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** Math.min(tries - 1, 20));
}

async function recheckCharge(db: Db, { principal }: LookContext, fact: DisputeFact): Promise<void> {
  await transact(db, async (tx) => {
    const checked = await recheckOperations(tx, [fact.operationId]);
    if (checked.length === 0) return;
    const data = JSON.stringify({ operations: checked.map(String) });
    await insertEvents(tx, principal, [{ kind: 'operations_rechecked', paymentId: null, data }]);
    await notifyLane(tx, laneOf(fact.pspAccount, 'online'));
  });
}

/**
 * It came before we knew of its charge, or is not ours: looked for again, and told in the end, to a person where the
 * charge is ours.
 */
async function unmatched(
  db: Db,
  context: LookContext,
  look: TakenLook,
  reason: string,
  fact: DisputeFact | null = null,
): Promise<Looked> {
  if (look.tries < MAX_UNMATCHED_TRIES) {
    await lookAgainIn(db, look, pauseS(look), look.tries);
    return { look, found: { kind: 'unmatched', reason } };
  }
  const { pspAccount, pspReference } = look;
  const data = JSON.stringify({ psp_account: pspAccount, psp_reference: pspReference, reason });
  await transact(db, async (tx) => {
    await endLook(tx, look);
    await insertEvents(tx, context.principal, [{ kind: 'dispute_unmatched', paymentId: null, data }]);
    if (fact === null) return;
    const { operationId, attemptNumber } = fact;
    const told = `the PSP has a dispute of it (${pspReference}) that cannot be booked: ${reason}`;
    await openDeadLetters(tx, [{ operationId, attemptNumber, code: 'contradicting_evidence', reason: told }]);
  });
  return { look, found: { kind: 'given_up', reason } };
}

type Reading =
  | { readonly kind: 'fact'; readonly fact: DisputeFact }
  | { readonly kind: 'nothing'; readonly reason: string }
  | { readonly kind: 'unmatched'; readonly reason: string };

async function readReply(
  on: Queryable,
  look: TakenLook,
  reply: Extract<DisputeReply, { kind: 'found' | 'nothing' }>,
): Promise<Reading> {
  if (reply.kind === 'nothing') return reply;
  const { operationReference, idempotencyKey, state, reason, amountMinor, currency } = reply;
  const operationId = parseId('operation', operationReference);
  if (operationId === null) return { kind: 'nothing', reason: 'its charge names no operation of ours' };
  const attemptNumber = await findDisputedAttempt(on, { operationId, idempotencyKey, pspReference: null });
  // The key has the book's own random part: another book's charge is never taken for ours.
  if (attemptNumber === null) return { kind: 'nothing', reason: 'its charge was not made by this book' };
  return {
    kind: 'fact',
    fact: toFact(look, { operationId, attemptNumber, state, reason, amountMinor, currency }),
  };
}

/** What the PSP has said so far, in whatever order. */
async function foldWords(on: Queryable, look: TakenLook): Promise<Reading> {
  const words = await listDisputeWords(on, look);
  const state = stateOfWords(new Set(words.map((word) => word.code)));
  // The first word about the money itself tells how much; what the bank asks before may be about more.
  const telling = words.find((word) => TAKES.has(word.code)) ?? words.at(-1);
  if (telling === undefined || state === null) {
    return { kind: 'nothing', reason: 'the bank has asked or announced it: nothing was taken' };
  }
  const { operationId, chargeReference, amountMinor, currency, reason } = telling;
  const by = { operationId, idempotencyKey: null, pspReference: chargeReference };
  const attemptNumber = await findDisputedAttempt(on, by);
  if (attemptNumber === null) return { kind: 'unmatched', reason: 'no attempt here has its charge' };
  return {
    kind: 'fact',
    fact: toFact(look, { operationId, attemptNumber, state, reason, amountMinor, currency }),
  };
}

function toFact(
  look: TakenLook,
  rest: Omit<DisputeFact, 'pspAccount' | 'pspReference' | 'observation'>,
): DisputeFact {
  const { pspAccount, pspReference, observation } = look;
  return { pspAccount, pspReference, observation, ...rest, reason: storableReason(rest.reason) };
}
