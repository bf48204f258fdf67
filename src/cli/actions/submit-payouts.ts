/**
 * `payouts submit`: check the whole file, show what it would pay, ask about what looks like the same again, store the
 * drafts. Moves no money: that takes an approval.
 */
import { formatId } from '../../core/ids.ts';
import { parsePayoutFile } from '../../core/payout/parse-payout-file.ts';
import type { PayoutRequest } from '../../core/payout/payout.ts';
import { findBatchOfFile } from '../../core/payout/payout-list-store.ts';
import { findPayoutBatch } from '../../core/payout/payout-store.ts';
import { type PlannedUse, planNames, planPayouts } from '../../core/payout/plan-payouts.ts';
import { type Submitted, submitPayouts } from '../../core/payout/submit-payouts.ts';
import type { PspAccount } from '../../core/psp/psp.ts';
import { confirmOne } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { loadConfig } from '../load-config.ts';
import { type Book, withBook } from '../open-book.ts';
import type { Block } from '../render/table.ts';
import type { Session } from '../session.ts';
import { countText } from '../words.ts';
import { badRows, readBatchFile, sourceOf } from './batch-file.ts';
import { MAX_LISTED, type Planned, planBlocks, planJson, planText, totalsOf } from './payout-plan.ts';
import { requirePspAccount } from './psp-account.ts';

export type SubmitPayoutsFlags = { readonly file: string; readonly pspAccount: string | null };

/** A checked file on its way. */
type Submission = {
  readonly session: Session;
  readonly book: Book;
  readonly account: PspAccount;
  readonly file: string;
  readonly sha256: string;
  readonly payouts: readonly PayoutRequest[];
};

/** Exit 0 stored or there already, 2 bad rows, 5 not confirmed or names taken by other payouts. */
export async function submitPayoutsCommand(session: Session, flags: SubmitPayoutsFlags): Promise<number> {
  const account = requirePspAccount(loadConfig(session).config, flags.pspAccount);
  const parsed = await readBatchFile(session, flags.file, parsePayoutFile);
  if (parsed.kind === 'bad')
    throw await badRows(session, sourceOf(flags.file), parsed.faults, parsed.faultCount, parsed.rowCount);
  const { sha256, payouts } = parsed;
  return withBook(session, (book) => submit({ session, book, account, file: flags.file, sha256, payouts }));
}

async function submit(submission: Submission): Promise<number> {
  const { session, book, account, payouts } = submission;
  const { coolingDays, repeatDays } = book.config.payouts;
  const uses = await planNames(book.db, payouts);
  const requests = uses.filter(({ use }) => use.kind === 'free').map(({ request }) => request);
  const context = { pspAccount: account, coolingDays, repeatDays, batchId: null };
  const planned = { requests, plan: await planPayouts(book.db, context, requests) };
  await tell(submission, uses, planned);
  if (session.globals.dryRun) {
    await session.print({
      json: { dry_run: true, ...planJson(planned), ...takenJson(uses) },
      blocks: [{ kind: 'line', text: 'Dry run: nothing was stored.' }],
    });
    return EXIT.done;
  }
  await askAboutRepeats(submission, planned);
  const { principal, db } = book;
  const source = sourceOf(submission.file);
  const stored = await submitPayouts(
    db,
    { principal, pspAccount: account.name, sha256: submission.sha256, source },
    payouts,
  );
  return report(submission, planned, stored);
}

/** What a person should know before anything is stored. */
async function tell(
  { session, book, file, sha256 }: Submission,
  uses: readonly PlannedUse[],
  planned: Planned,
): Promise<void> {
  const earlier = await findBatchOfFile(book.db, sha256);
  const batch = earlier === null ? null : await findPayoutBatch(book.db, earlier);
  if (batch !== null)
    session.note(`This file was submitted as ${formatId('payoutBatch', batch.id)}, which is ${batch.state}.`);
  const there = uses.filter(({ use }) => use.kind === 'there').length;
  const conflicts = uses.filter(({ use }) => use.kind === 'conflict').length;
  if (planned.requests.length > 0) session.note(`${sourceOf(file)}: ${planText(planned)}`);
  if (there > 0) session.note(`  there already: ${there}, which will not be paid again`);
  if (conflicts > 0) session.note(`  in conflict: ${conflicts}, whose names other payouts have`);
  if (planned.requests.length > 0) await session.show(planBlocks(planned));
}

async function askAboutRepeats({ session, file }: Submission, planned: Planned): Promise<void> {
  const { repeats } = planned.plan;
  if (repeats.length === 0) return;
  const where = file === '-' ? 'terminal' : 'stdin';
  const question = `${countText(repeats.length, 'payout')} may be the same again. Submit them all the same?`;
  await confirmOne(session, question, totalsOf(planned.requests), where);
}

async function report({ session }: Submission, planned: Planned, stored: Submitted): Promise<number> {
  const { batchId, accepted, taken } = stored;
  const batch = batchId === null ? null : formatId('payoutBatch', batchId);
  const next = batch === null ? null : `paygate payouts approve ${batch}`;
  const conflicts = taken.filter(({ use }) => use.kind === 'conflict');
  await session.print({
    json: {
      batch_id: batch,
      state: batch === null ? 'nothing_new' : 'draft',
      accepted: accepted.length,
      ...planJson(planned),
      ...takenJson(taken),
      next,
    },
    blocks: [
      {
        kind: 'line',
        text:
          batch === null
            ? 'Nothing new: nothing was stored.'
            : `${batch}: ${countText(accepted.length, 'payout')} stored as drafts. Approve: ${next}`,
      },
      ...(conflicts.length > 0 ? [conflictTable(conflicts)] : []),
    ],
  });
  return conflicts.length > 0 ? EXIT.refused : EXIT.done;
}

function takenJson(uses: readonly PlannedUse[]) {
  const conflicts = uses.flatMap(({ request, use }) =>
    use.kind === 'conflict'
      ? [
          {
            line: request.line,
            item_ref: request.itemRef,
            payout_id: formatId('payout', use.payoutId),
            differs: use.differs,
          },
        ]
      : [],
  );
  return {
    already_there: uses.filter(({ use }) => use.kind === 'there').length,
    conflict_count: conflicts.length,
    conflicts: conflicts.slice(0, MAX_LISTED),
  };
}

function conflictTable(uses: readonly PlannedUse[]): Block {
  return {
    kind: 'table',
    empty: '',
    columns: [
      { title: 'LINE', align: 'right' },
      { title: 'ITEM', shrink: true },
      { title: 'NAME OF' },
      { title: 'DIFFERS IN' },
    ],
    rows: uses
      .slice(0, MAX_LISTED)
      .map(({ request, use }) => [
        String(request.line),
        request.itemRef,
        use.kind === 'conflict' ? formatId('payout', use.payoutId) : '',
        use.kind === 'conflict' ? use.differs : '',
      ]),
  };
}
