/**
 * `payouts approve`, `resume` and `cancel`: show the plan, have the total confirmed by somebody who may, reserve and
 * queue chunk by chunk, say what became of it. The same again goes on where it was interrupted.
 */
import { isConnectionError } from '../../core/db/connection.ts';
import { Bug, OperatorError, TransientError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import type { Currency } from '../../core/money.ts';
import {
  type ApprovalContext,
  type ApprovalTally,
  approveItems,
  startApproval,
} from '../../core/payout/approve-payouts.ts';
import { cancelPayouts } from '../../core/payout/cancel-payouts.ts';
import type { PayoutRequest } from '../../core/payout/payout.ts';
import { needsSecondPerson } from '../../core/payout/payout-decision.ts';
import { type DraftRow, listDrafts } from '../../core/payout/payout-list-store.ts';
import { findPayoutBatch, type PayoutBatch } from '../../core/payout/payout-store.ts';
import { planPayouts } from '../../core/payout/plan-payouts.ts';
import { getBookKey } from '../../core/queue/queue-store.ts';
import { confirmTotal } from '../confirm.ts';
import { EXIT, exitCodeOfSignal } from '../exit-codes.ts';
import { type Book, explainDatabaseError, withBook } from '../open-book.ts';
import { startProgress } from '../progress.ts';
import { requireReason } from '../require-reason.ts';
import { refuseDryRun, type Session } from '../session.ts';
import { countText, requireId } from '../words.ts';
import { exitCodeOfFollowedPayouts, followPayouts } from './follow-payouts.ts';
import { type Planned, planBlocks, planJson, planText, totalsOf } from './payout-plan.ts';
import { requirePspAccount } from './psp-account.ts';
import { batchResult, requireBatch } from './read-payouts.ts';

/** Drafts read in one query. */
const PAGE = 5_000;

export type ApproveFlags = {
  readonly mode: 'approve' | 'resume';
  /** How long to follow the payouts (s); null: not at all. */
  readonly waitS: number | null;
};

/**
 * Exit 0 approved or approved before, 1 some items refused, 5 not confirmed or a second person needed; with --wait also 1
 * for payouts that were not paid and 4 for those that are not settled.
 */
export async function approvePayoutsCommand(
  session: Session,
  text: string,
  flags: ApproveFlags,
): Promise<number> {
  const { mode } = flags;
  const id = requireId('payoutBatch', text);
  return withBook(session, async (book) => {
    const batch = await requireBatch(book.db, id);
    if (batch.state === 'approved' || batch.state === 'canceled') {
      session.note(`${nameOf(batch)} is ${batch.state}; nothing to do.`);
      return finish(session, book, batch, flags);
    }
    if (mode === 'approve' && batch.state === 'draft') {
      const planned = await planOf(book, batch);
      refuseOwnBatch(book, batch, planned);
      session.note(`${nameOf(batch)} of ${batch.submittedBy}: ${planText(planned)}`);
      await session.show(planBlocks(planned));
      if (session.globals.dryRun) return sayDryRun(session, batch, planned);
      await confirmTotal(session, totalsOf(planned.requests), 'stdin', 'approve');
    } else refuseDryRun(session);
    return approve(session, book, batch, flags);
  });
}

function nameOf(batch: PayoutBatch): string {
  return formatId('payoutBatch', batch.id);
}

async function planOf({ db, config }: Book, batch: PayoutBatch): Promise<Planned> {
  const drafts: DraftRow[] = [];
  for (let afterId = 0n; ; ) {
    const page = await listDrafts(db, batch.id, { afterId, limit: PAGE });
    drafts.push(...page);
    if (page.length < PAGE) break;
    afterId = page.at(-1)!.id;
  }
  const requests = drafts.map(requestOf);
  const { coolingDays, repeatDays } = config.payouts;
  const pspAccount = requirePspAccount(config, batch.pspAccount);
  const context = { pspAccount, coolingDays, repeatDays, batchId: batch.id };
  return { requests, plan: await planPayouts(db, context, requests) };
}

function requestOf({
  line,
  itemRef,
  seller,
  amountMinor,
  currency,
  destination,
  memo,
}: DraftRow): PayoutRequest {
  return { line, itemRef, seller, money: { amountMinor, currency: currency as Currency }, destination, memo };
}

/** Said before anything is asked; the approval itself decides again. */
function refuseOwnBatch({ config, principal }: Book, batch: PayoutBatch, planned: Planned): void {
  const { submittedBy } = batch;
  const totals = totalsOf(planned.requests);
  const currencies = needsSecondPerson({ submittedBy, totals }, principal, config.payouts.approvalLimits);
  if (currencies.length > 0) throw secondPersonNeeded(batch, currencies);
}

function secondPersonNeeded(batch: PayoutBatch, currencies: readonly string[]): OperatorError {
  return new OperatorError(
    'second_person_needed',
    `${nameOf(batch)} is above the approval limit in ${currencies.join(', ')} and was submitted by you ` +
      `(${batch.submittedBy}). Somebody else must approve it. Nothing was done.`,
    { kind: 'refused', details: { batch_id: nameOf(batch), currencies, submitted_by: batch.submittedBy } },
  );
}

async function sayDryRun(session: Session, batch: PayoutBatch, planned: Planned): Promise<number> {
  await session.print({
    json: { dry_run: true, batch_id: nameOf(batch), ...planJson(planned) },
    blocks: [{ kind: 'line', text: 'Dry run: nothing was approved.' }],
  });
  return EXIT.done;
}

async function approve(
  session: Session,
  book: Book,
  batch: PayoutBatch,
  flags: ApproveFlags,
): Promise<number> {
  const { config, principal } = book;
  const context: ApprovalContext = {
    bookKey: await getBookKey(book.db),
    principal,
    accountOf: (name) => config.pspAccounts.find((account) => account.name === name) ?? null,
    policy: config.payouts,
  };
  const { interrupt } = session.host;
  // From here on a signal stops between two transactions, so that what is said at the end is true.
  interrupt.takeOver();
  const start = await startApproval(book.db, context, batch.id, flags.mode);
  if (start.kind === 'second_person_needed') throw secondPersonNeeded(batch, start.currencies);
  const drafts = start.kind === 'approving' ? start.drafts : 0;
  const progress = startProgress(session, { label: 'decided', noun: 'payout', total: drafts });
  let tally: ApprovalTally = { approved: 0, refused: 0 };
  let end: 'complete' | 'stopped' = 'complete';
  try {
    const onProgress = (now: ApprovalTally) => {
      tally = now;
      progress.update(now.approved + now.refused);
    };
    if (start.kind === 'approving')
      end = await approveItems(book.db, context, start.batch, { signal: interrupt.signal, onProgress });
  } catch (error) {
    throw interruptedBy(error, book, batch, tally);
  } finally {
    await progress.end();
  }
  return report(session, book, batch, { tally, end }, flags);
}

/** What was approved stays approved: the message says how to go on. */
function interruptedBy(error: unknown, book: Book, batch: PayoutBatch, tally: ApprovalTally): unknown {
  const isConnection = isConnectionError(error);
  const explained = explainDatabaseError(error, book.connection);
  const isOurs = explained instanceof OperatorError || explained instanceof TransientError;
  if (explained instanceof Bug || !(isOurs || isConnection)) return error;
  const cause =
    isConnection || !(explained instanceof Error)
      ? 'The connection to the database was lost.'
      : explained.message;
  const resume = `paygate payouts resume ${nameOf(batch)}`;
  const done = countText(tally.approved, 'payout');
  return new OperatorError(
    'approval_interrupted',
    `${cause}\nAt least ${done} of ${nameOf(batch)} are approved. Go on, nothing is paid twice: ${resume}`,
    {
      kind: isConnection ? 'unknown_outcome' : 'failed',
      details: { batch_id: nameOf(batch), approved: tally.approved, resume },
      cause: error,
    },
  );
}

async function report(
  session: Session,
  book: Book,
  batch: PayoutBatch,
  { tally, end }: { readonly tally: ApprovalTally; readonly end: 'complete' | 'stopped' },
  flags: ApproveFlags,
): Promise<number> {
  const now = (await findPayoutBatch(book.db, batch.id)) ?? batch;
  if (end === 'stopped') {
    await session.print(await batchResult(book.db, now));
    session.note(`Interrupted. Go on, nothing is paid twice: paygate payouts resume ${nameOf(batch)}`);
    return exitCodeOfSignal(session.host.interrupt.signal.reason);
  }
  if (tally.refused === 0) return finish(session, book, now, flags);
  const code = await finish(session, book, now, flags);
  session.note(
    `${countText(tally.refused, 'payout')} refused. Correct them and submit them again under the same names.`,
  );
  return code === EXIT.done ? EXIT.answerIsNo : code;
}

/** Follows the payouts where that is wanted, then says how the batch stands. */
async function finish(
  session: Session,
  { db }: Book,
  batch: PayoutBatch,
  { waitS }: ApproveFlags,
): Promise<number> {
  session.host.interrupt.takeOver();
  const followed = waitS === null ? null : await followPayouts(session, db, batch, waitS);
  await session.print(await batchResult(db, batch));
  return followed === null ? EXIT.done : exitCodeOfFollowedPayouts(session, batch.id, followed);
}

/** Exit 0 also where nothing of it was a draft any more. */
export async function cancelPayoutsCommand(session: Session, text: string): Promise<number> {
  refuseDryRun(session);
  const batchId = requireId('payoutBatch', text);
  const reason = requireReason(session);
  return withBook(session, async ({ db, principal }) => {
    const canceled = await cancelPayouts(db, { batchId, principal, reason });
    session.note(
      canceled === 0
        ? 'Nothing of it is a draft; nothing was done.'
        : `${countText(canceled, 'payout')} canceled.`,
    );
    await session.print(await batchResult(db, await requireBatch(db, batchId)));
    return EXIT.done;
  });
}
