/**
 * `reconcile`: opens the file, finds out whose it is, has it reconciled, and shows the answer on the screen and as a page.
 */
import { pspOf } from '../../core/config.ts';
import { OperatorError } from '../../core/errors.ts';
import { capabilitiesOf } from '../../core/psp/request.ts';
import { findReconcileAnswer } from '../../core/settlement/break-list-store.ts';
import type { ReconcileAnswer } from '../../core/settlement/reconcile-answer.ts';
import { type ReconcileProgress, reconcileFile } from '../../core/settlement/reconcile-file.ts';
import type { SettlementFormat } from '../../core/settlement/settlement-line.ts';
import { requireKnownSource, sourceOfFormat, timeZoneOf } from '../../core/settlement/settlement-source.ts';
import { shownText } from '../../core/shown-text.ts';
import { EXIT } from '../exit-codes.ts';
import { type Book, withBook } from '../open-book.ts';
import { type Progress, startProgress } from '../progress.ts';
import { reconcileResult } from '../render/reconcile-summary.ts';
import type { Session } from '../session.ts';
import { countText, requireId } from '../words.ts';
import { badRows, sourceOf } from './batch-file.ts';
import { readMapping, type SettlementOpening, withSettlementFile } from './open-settlement.ts';
import { checkReportPath, writeReport } from './reconcile-page.ts';

export type ReconcileFlags = {
  /** One of `file` and `run` is given. */
  readonly file: string | null;
  readonly run: string | null;
  readonly format: SettlementFormat | null;
  readonly mapping: string | null;
  readonly account: string | null;
  readonly bank: string | null;
  readonly report: string | null;
  readonly acceptRejects: boolean;
};

/** One loads while another asks. */
const CONNECTIONS = 3;

/** Exit 0 all explained; 1 breaks, a proof that does not close, rows left out; 2 the file can't be used. */
export async function reconcileCommand(session: Session, flags: ReconcileFlags): Promise<number> {
  const { file, run } = flags;
  if (run !== null && file === null) return showRun(session, run, flags.report);
  if (file === null || run !== null) {
    throw new OperatorError(
      'file_or_run',
      'Give a file to reconcile, or --run RUN to show an earlier run again.',
    );
  }
  return reconcileNow(session, { ...flags, file });
}

/** Exit as the run ended then; 1 too when there is none of this number. */
async function showRun(session: Session, text: string, reportName: string | null): Promise<number> {
  const report = reportName === null ? null : await checkReportPath(session, reportName);
  const runId = requireId('reconcileRun', text);
  return withBook(session, async ({ db }) => {
    const answer = await findReconcileAnswer(db, runId);
    if (answer === null) {
      throw new OperatorError('run_not_found', `There is no finished run ${shownText(text)}.`, {
        kind: 'answer_is_no',
      });
    }
    const reportPath = report === null ? null : await writeReport(report, answer);
    await session.print(reconcileResult(answer, reportPath));
    return answer.status === 'closed' ? EXIT.done : EXIT.answerIsNo;
  });
}

type FileFlags = ReconcileFlags & { readonly file: string };

async function reconcileNow(session: Session, flags: FileFlags): Promise<number> {
  const report = flags.report === null ? null : await checkReportPath(session, flags.report);
  const mapping = flags.mapping === null ? null : await readMapping(session, flags.mapping);
  const work = async (book: Book) => {
    const named = namedSource(book, flags);
    const { file, format } = flags;
    const options = { file, format, mapping, timeZone: timeZoneOf(book.config, named) };
    return withSettlementFile(session, options, async (opening) => {
      const answer = await reconcileOpened(session, book, { ...flags, source: named }, opening);
      const left = await countLeftOut(opening);
      const reportPath = report === null ? null : await writeReport(report, answer);
      await session.print(reconcileResult(answer, reportPath));
      if (left > 0)
        session.note(`${countText(left, 'bad row')} of the file ${left === 1 ? 'was' : 'were'} left out.`);
      return answer.status === 'closed' && left === 0 ? EXIT.done : EXIT.answerIsNo;
    });
  };
  return withBook(session, work, { max: CONNECTIONS });
}

/** "psp:main" or "bank:main" as the flags say; null where they say nothing. */
function namedSource({ config }: Book, { account, bank }: ReconcileFlags): string | null {
  if (bank !== null) return requireKnownSource(config, `bank:${bank}`);
  return account === null ? null : requireKnownSource(config, `psp:${account}`);
}

/** @throws OperatorError file_has_bad_rows, and as the reading and the sources fail */
async function reconcileOpened(
  session: Session,
  { db, config, principal }: Book,
  flags: FileFlags & { readonly source: string | null },
  opening: SettlementOpening,
): Promise<ReconcileAnswer> {
  const source = flags.source ?? sourceOfFormat(config, (await opening.open()).format);
  const progress = startProgress(session, planOf(opening));
  const result = await reconcileFile(db, {
    fileName: sourceOf(flags.file),
    source,
    sha256: opening.sha256,
    open: opening.open,
    mode: session.globals.dryRun ? 'dry_run' : 'commit',
    rejects: flags.acceptRejects ? 'left_out' : 'refused',
    principal,
    policy: config.settlement,
    capabilitiesOf: (account) => capabilitiesOf(pspOf(config)(account)),
    onProgress: reporter(session, progress),
  }).finally(() => progress.end());
  if (result.kind === 'answered') return result.answer;
  const { faults, faultCount, lineCount } = result;
  throw await badRows(session, sourceOf(flags.file), faults, faultCount, lineCount, 'imported');
}

const KILOBYTE = 1_024;
/** A work this small says nothing about its later phases (lines). */
const WORTH_TELLING = 100_000;

function planOf({ byteCount }: SettlementOpening) {
  const total = byteCount === null ? 0 : Math.ceil(byteCount / KILOBYTE);
  return { label: 'read', noun: 'kilobyte', total };
}

/** The reading has a bar; what follows it says once that it has begun. */
function reporter(session: Session, progress: Progress): (now: ReconcileProgress) => void {
  let phase: ReconcileProgress['phase'] = 'reading';
  return (now) => {
    if (now.phase === 'reading') progress.update(Math.floor(now.bytes / KILOBYTE));
    else if (now.phase !== phase && now.lines >= WORTH_TELLING)
      session.progressLine(`${now.phase} ${countText(now.lines, 'line')}`, {
        phase: now.phase,
        lines: now.lines,
      });
    phase = now.phase;
  };
}

/** Bad rows that the operator accepted; 0 for a file that was not read this time. */
async function countLeftOut(opening: SettlementOpening): Promise<number> {
  if (!opening.isRead()) return 0;
  const end = await (await opening.open()).end;
  return end.kind === 'bad' ? end.faultCount : 0;
}
