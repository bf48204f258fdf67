/**
 * Reconciles one settlement file or bank statement: load and match → evidence → breaks → post → proof. Most files do it all in one
 * transaction. Where lines are evidence, the load, each portion of evidence, and the end are one each, and can be repeated: after a
 * crash at any point the same file again goes on where it was, and ends with the same rows, entries and answer.
 */

import {
  type Db,
  isConnectionError,
  type Tx,
  transact,
  transactOnce,
  withinSavepoint,
  workOnSets,
} from '../db/connection.ts';
import { applyDisputes, MAX_DISPUTE_FACTS } from '../dispute/apply-disputes.ts';
import { OperatorError } from '../errors.ts';
import { formatId } from '../ids.ts';
import type { Currency } from '../money.ts';
import { applyFindings, MAX_FINDINGS } from '../operation/apply-findings.ts';
import type { Finding } from '../operation/finding.ts';
import type { FileFault } from '../payment/file-fault.ts';
import type { Capabilities } from '../psp/psp.ts';
import { bookLines } from './book-lines.ts';
import { listWorst } from './break-list-store.ts';
import {
  applyFound,
  createFound,
  type EvidenceBreak,
  findItems,
  findLineFaults,
  findLooseLines,
  findPaidOutDifferently,
  findRefusedBatches,
  insertEvidenceBreaks,
} from './break-store.ts';
import { findUnexpectedFees } from './fee-break-store.ts';
import { importLines, type NewIds, SET_TIMEOUT_MS } from './import-lines.ts';
import { type AheadInput, openAhead } from './match-ahead.ts';
import { matchLines } from './match-lines.ts';
import { createLeftLines, listLeftLines, type MatchedTally, type MatchScope } from './match-store.ts';
import { EXPLAINED_AT_BANK, EXPLAINED_KINDS } from './open-item.ts';
import { answerOf, type OpenBreakSum, proofOf } from './proof.ts';
import type { BreakCode, ReconcileAnswer } from './reconcile-answer.ts';
import * as runs from './reconcile-run-store.ts';
import { type Calendar, calendarAt } from './settlement-calendar.ts';
import type { SettlementReading } from './settlement-line.ts';
import { parseSource, type SettlementPolicy, settlementOf } from './settlement-policy.ts';
import { mirrorAccount, openAccount, type PostedSource } from './settlement-posting.ts';
import { answerText, parseAnswer } from './stored-answer.ts';
import { withdrawDecisions } from './withdraw-decisions.ts';

export type ReconcileProgress = {
  readonly phase: 'reading' | 'matching' | 'posting';
  readonly lines: number;
  /** Bytes of the file that were read so far; unchanged after the reading. */
  readonly bytes: number;
};

export type ReconcileRequest = {
  /** Shown to people; never opened. */
  readonly fileName: string;
  /** "psp:{account}" or "bank:{name}". */
  readonly source: string;
  /** Of the file's bytes, in hex, where they could be hashed before: a known file is then not read again. Null: a stream. */
  readonly sha256: string | null;
  /** Called once at most, and not for a file that is known. */
  readonly open: () => Promise<SettlementReading>;
  /** `dry_run` answers what would become of it and changes nothing. */
  readonly mode: 'commit' | 'dry_run';
  /** `left_out`: the operator accepted that bad rows are not imported. */
  readonly rejects: 'refused' | 'left_out';
  /** Who was authenticated; never a flag. */
  readonly principal: string;
  readonly policy: SettlementPolicy;
  readonly capabilitiesOf: (pspAccount: string) => Capabilities;
  readonly onProgress?: (progress: ReconcileProgress) => void;
};

type BadFile = {
  readonly kind: 'bad_file';
  readonly faults: readonly FileFault[];
  readonly faultCount: number;
  readonly lineCount: number;
};

export type ReconcileResult = { readonly kind: 'answered'; readonly answer: ReconcileAnswer } | BadFile;

/** Breaks that an answer names one by one. */
const MAX_LISTED_BREAKS = 1_000;
/** Rounds of evidence: each settles {@link MAX_FINDINGS} operations. */
const MAX_ROUNDS = 10_000;

type Run = {
  readonly db: Db;
  readonly request: ReconcileRequest;
  readonly source: PostedSource;
  readonly calendar: Calendar;
  /** Lines that told of a dispute in this run: each speaks once. */
  readonly told: Set<bigint>;
};

/**
 * @throws OperatorError source_invalid; whatever the reading throws
 */
export async function reconcileFile(db: Db, request: ReconcileRequest): Promise<ReconcileResult> {
  const run = await openRun(db, request);
  if (request.mode === 'dry_run') return dryRun(run);
  const loaded = await load(run);
  if (loaded.kind === 'bad_file') return loaded;
  const told = loaded.kind === 'known' ? await answerOfKnown(db, loaded.fileId) : loaded.answer;
  if (told !== null) return { kind: 'answered', answer: told };
  const left = loaded.kind === 'known' ? null : loaded.left;
  return { kind: 'answered', answer: await finish(run, loaded.fileId, left) };
}

async function openRun(db: Db, request: ReconcileRequest): Promise<Run> {
  const parsed = parseSource(request.source);
  if (parsed === null) {
    throw new OperatorError('source_invalid', `"${request.source}" is no source like psp:main or bank:main.`);
  }
  const settlement = settlementOf(request.policy, parsed.name);
  const source: PostedSource =
    parsed.kind === 'psp'
      ? { kind: 'psp', name: parsed.name, bank: settlement.bank }
      : { kind: 'bank', name: parsed.name };
  const calendar = calendarAt(settlement, await runs.getNow(db));
  return { db, request, source, calendar, told: new Set() };
}

/** Thrown to undo a transaction on purpose; carries what it was for. */
class Undone<T> extends Error {
  readonly value: T;
  constructor(value: T) {
    super('undone on purpose');
    this.value = value;
  }
}

async function undoing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Undone) return error.value as T;
    throw error;
  }
}

type Loaded =
  | { readonly kind: 'stored'; readonly fileId: bigint; readonly from: LinesFrom }
  | { readonly kind: 'known'; readonly fileId: bigint }
  | BadFile;

/** Where the lines that are to be matched are found: `left_line` holds them, or each is asked. */
type LinesFrom = 'left_line' | 'stored';

type LoadedOrDone = Exclude<Loaded, { kind: 'stored' }> | Stored;
/** The answer is null when there is more to do. */
type Stored = {
  readonly kind: 'stored';
  readonly fileId: bigint;
  readonly answer: ReconcileAnswer | null;
  /** Lines that are left to match; null where they must be found anew. */
  readonly left: readonly bigint[] | null;
};

async function load(run: Run): Promise<LoadedOrDone> {
  const { db, request } = run;
  const known = request.sha256 === null ? null : await runs.findFile(db, request.source, request.sha256);
  if (known !== null) return { kind: 'known', fileId: known.fileId };
  // Read once and no more: a second try would find the file's stream at its end.
  return undoing(() =>
    transactOnce(db, async (tx): Promise<LoadedOrDone> => {
      const imported = await importInto(tx, run);
      if (imported.kind !== 'stored') throw new Undone<LoadedOrDone>(imported);
      const { kind, fileId, from } = imported;
      const answer = await endAtOnce(tx, run, fileId, from);
      const left = answer === null && from === 'left_line' ? await listLeftLines(tx) : null;
      return { kind, fileId, answer, left };
    }),
  );
}

/**
 * Most files end in the transaction that loaded them: it still knows which lines are left to match. Null where evidence is to be
 * committed first, or where the end did not succeed: the file stays loaded, and the end is tried like that of a run that was killed.
 */
async function endAtOnce(tx: Tx, run: Run, fileId: bigint, from: LinesFrom): Promise<ReconcileAnswer | null> {
  const tried = withinSavepoint(tx, async (inner) => {
    const portion = await matchAndJudge(inner, run, await runs.getLoadedFile(inner, fileId), from);
    return portion === 'more' ? null : end(inner, run, await runs.getLoadedFile(inner, fileId));
  });
  return tried.catch((error: unknown) => {
    if (isConnectionError(error)) throw error;
    run.told.clear();
    return null;
  });
}

async function importInto(tx: Tx, run: Run): Promise<Loaded> {
  const { request, source } = run;
  const imported = await importLines(tx, {
    ...request,
    sourceKind: source.kind,
    onChunk: (lines, bytes) => request.onProgress?.({ phase: 'reading', lines, bytes }),
    // A statement is short, and its lines name what they move in other ways.
    openAhead: source.kind === 'bank' ? null : (inner, ids) => openAhead(inner, aheadOf(run, ids)),
  });
  if (imported.kind === 'stored' && imported.matched.length > 0)
    await runs.markMatched(tx, imported.runId, answerMatched('[]', imported.matched));
  if (imported.kind === 'stored') {
    const from = source.kind === 'bank' ? 'stored' : 'left_line';
    return { kind: 'stored', fileId: imported.fileId, from };
  }
  if (imported.kind === 'known') return imported;
  const { faults, faultCount, lineCount } = imported;
  return { kind: 'bad_file', faults, faultCount, lineCount };
}

function aheadOf({ request, source, calendar }: Run, ids: NewIds): AheadInput {
  const scope = { ...ids, kinds: `{${EXPLAINED_KINDS.join(',')}}`, by: source.kind };
  return { scope, accountCode: openAccount(source), calendar, principal: request.principal };
}

/** Null: its run never ended, and is taken up again. */
async function answerOfKnown(db: Db, fileId: bigint): Promise<ReconcileAnswer | null> {
  const file = await runs.getLoadedFile(db, fileId);
  if (file.answer === null) return null;
  return { ...parseAnswer(file.answer), outcome: 'already_imported' };
}

/** Everything in one transaction that is then undone; evidence and postings included, so that the answer is the true one. */
async function dryRun(run: Run): Promise<ReconcileResult> {
  return undoing(() =>
    transactOnce(run.db, async (tx): Promise<ReconcileResult> => {
      const loaded = await importInto(tx, run);
      if (loaded.kind === 'bad_file') throw new Undone<ReconcileResult>(loaded);
      const file = await runs.getLoadedFile(tx, loaded.fileId);
      if (file.answer !== null) {
        const answer = { ...parseAnswer(file.answer), outcome: 'already_imported' as const };
        throw new Undone<ReconcileResult>({ kind: 'answered', answer });
      }
      const from = loaded.kind === 'stored' ? loaded.from : 'stored';
      let portion = await matchAndJudge(tx, run, file, from);
      while (portion === 'more')
        portion = await matchAndJudge(tx, run, await runs.getLoadedFile(tx, file.fileId), from);
      const answer = await end(tx, run, await runs.getLoadedFile(tx, file.fileId));
      throw new Undone<ReconcileResult>({
        kind: 'answered',
        answer: { ...answer, outcome: 'dry_run', runId: null, file: { ...answer.file, id: null } },
      });
    }),
  );
}

async function finish(run: Run, fileId: bigint, left: readonly bigint[] | null): Promise<ReconcileAnswer> {
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const answer = await transact(run.db, async (tx) => {
      await workOnSets(tx, SET_TIMEOUT_MS);
      await runs.lockSource(tx, run.request.source);
      const file = await runs.getLoadedFile(tx, fileId);
      // Another process with the same file was quicker.
      if (file.answer !== null) return parseAnswer(file.answer);
      if (left !== null) await createLeftLines(tx, left);
      const portion = await matchAndJudge(tx, run, file, left === null ? 'stored' : 'left_line');
      return portion === 'more' ? null : end(tx, run, await runs.getLoadedFile(tx, fileId));
    });
    if (answer !== null) return answer;
  }
  throw new OperatorError('evidence_endless', 'The evidence of this file does not come to an end.', {
    kind: 'failed',
  });
}

/** One portion: matches, and lets lines say what became of operations. `more`: what they said must be matched next. */
async function matchAndJudge(
  tx: Tx,
  run: Run,
  file: runs.LoadedFile,
  from: LinesFrom,
): Promise<'more' | 'done'> {
  const { request, source } = run;
  const scope: MatchScope =
    from === 'left_line' ? { ...scopeOf(run, file), state: 'ahead' } : scopeOf(run, file);
  request.onProgress?.({ phase: 'matching', lines: file.lineCount, bytes: 0 });
  const withdrawing = { scope, source, calendar: run.calendar, principal: request.principal };
  if ((await withdrawDecisions(tx, withdrawing, 'replaced')) > 0) return 'more';
  const tallies = await matchLines(tx, {
    scope,
    name: source.name,
    accountCode: openAccount(source),
    calendar: run.calendar,
    principal: request.principal,
  });
  await runs.markMatched(tx, file.runId, answerMatched(file.matched, tallies));
  if ((await withdrawDecisions(tx, withdrawing, 'contradicted')) > 0) return 'more';
  if (source.kind === 'bank') return 'done';
  const evidence = await runs.listLineEvidence(tx, MAX_FINDINGS);
  if (evidence.length === 0) return bookDisputes(tx, run, scope);
  const context = { principal: request.principal, capabilitiesOf: request.capabilitiesOf, random: () => 0 };
  const applied = await applyFindings(tx, context, evidence.map(findingOf));
  const rows = applied.flatMap((one, i): readonly EvidenceBreak[] => {
    // A second success is a break of its own as soon as its line is matched.
    if (one.deadLetter === 'surplus_success') return [];
    const ended = one.deadLetter === null ? 'well' : 'for_a_person';
    return [{ lineId: evidence[i]!.lineId, operationId: one.operationId, code: 'status_mismatch', ended }];
  });
  await insertEvidenceBreaks(tx, scope, request.principal, rows);
  return 'more';
}

/** Disputes of our charges that a line tells of are booked by the step that everybody shares. */
async function bookDisputes(tx: Tx, run: Run, scope: MatchScope): Promise<'more' | 'done'> {
  const { request, source, told } = run;
  const lines = await runs.listLineDisputes(tx, source.name, [...told], MAX_DISPUTE_FACTS);
  if (lines.length === 0) return 'done';
  const policy = request.policy.disputes ?? { lostFee: 'platform_fees' };
  const facts = lines.map(({ lineId: _, ...line }) => ({ ...line, pspAccount: source.name }));
  const applied = await applyDisputes(tx, { principal: request.principal, policy }, facts);
  for (const { lineId } of lines) told.add(lineId);
  const rows = applied.flatMap(({ verdict, isPaidTwice }, i): readonly EvidenceBreak[] => {
    const { lineId, operationId, state } = lines[i]!;
    if (verdict.kind !== 'moves') return [];
    if (isPaidTwice) return [{ lineId, operationId, code: 'refund_and_chargeback', ended: 'for_a_person' }];
    const code = state === 'opened' ? 'chargeback_unbooked' : 'chargeback_reversed';
    return [{ lineId, operationId, code, ended: 'well' }];
  });
  await insertEvidenceBreaks(tx, scope, request.principal, rows);
  return 'more';
}

function findingOf(line: runs.LineEvidence): Finding {
  const { operationId, attemptNumber, reference } = line;
  const undone = line.kind === 'refund_failed' || line.kind === 'payout_returned';
  const seen = `settlement line ${formatId('settlementLine', line.lineId)}`;
  return {
    operationId,
    attemptNumber,
    source: 'settlement',
    held: null,
    reply: undone
      ? { kind: 'declined', reason: seen, mayRetryAsNew: false, pspReference: reference }
      : { kind: 'succeeded', pspReference: reference ?? '', reason: seen },
  };
}

function scopeOf({ source }: Run, file: runs.LoadedFile): MatchScope {
  const kinds = source.kind === 'psp' ? EXPLAINED_KINDS : EXPLAINED_AT_BANK;
  return {
    sourceId: file.sourceId,
    runId: file.runId,
    fileId: file.fileId,
    firstLine: file.firstLine,
    lastLine: file.lastLine,
    state: file.state,
    refusedCount: file.refusedCount,
    kinds: `{${kinds.join(',')}}`,
    by: source.kind,
  };
}

type StoredTally = { readonly currency: string; readonly count: number; readonly gross: string };

/** The run's matches of all portions, as stored with it. */
function answerMatched(stored: string, tallies: readonly MatchedTally[]): string {
  const sums = new Map((JSON.parse(stored) as StoredTally[]).map((one) => [one.currency, one]));
  for (const { currency, count, grossMinor } of tallies) {
    const known = sums.get(currency) ?? { currency, count: 0, gross: '0' };
    sums.set(currency, {
      currency,
      count: known.count + count,
      gross: (BigInt(known.gross) + grossMinor).toString(),
    });
  }
  return JSON.stringify([...sums.values()]);
}

/** The end of a run: postings, breaks, the proof, the answer; stored together. */
async function end(tx: Tx, run: Run, file: runs.LoadedFile): Promise<ReconcileAnswer> {
  const { request, source } = run;
  const scope = scopeOf(run, file);
  await createFound(tx);
  await findLooseLines(tx, scope);
  await findLineFaults(tx, scope);
  await findUnexpectedFees(tx, scope, settlementOf(request.policy, source.name).fees);
  await findRefusedBatches(tx, scope);
  if (source.kind === 'psp') await findPaidOutDifferently(tx, scope);
  await findItems(tx, scope);
  const counts = await applyFound(tx, scope, request.principal);
  request.onProgress?.({ phase: 'posting', lines: file.lineCount, bytes: 0 });
  await bookLines(tx, { source, file, calendar: run.calendar, principal: request.principal });
  const answer = await tellAnswer(tx, run, file, counts.resolved);
  await runs.finishRun(tx, file.runId, answerText(answer));
  return answer;
}

async function tellAnswer(
  tx: Tx,
  { source }: Run,
  file: runs.LoadedFile,
  resolved: number,
): Promise<ReconcileAnswer> {
  const { sourceId, fileId } = file;
  const facts = await runs.listProofFacts(tx, { id: sourceId, mirrorCode: mirrorAccount(source), fileId });
  const sums = (await runs.listOpenSums(tx, sourceId)) as readonly OpenBreakSum[];
  const others = await runs.listOtherSums(tx, sourceId);
  const explained = [
    ...sums.map(({ code, currency, openMinor }) => ({ code, currency, minor: openMinor })),
    ...others.map((one) => ({ ...one, code: one.code as BreakCode, currency: one.currency as Currency })),
  ];
  const proofs = facts.map((one) =>
    proofOf(source, { ...one, currency: one.currency as Currency }, explained),
  );
  await runs.markProved(
    tx,
    sourceId,
    facts.map((one) => ({ ...one, closingMinor: one.balanceMinor })),
  );
  const matched = (JSON.parse(file.matched) as StoredTally[]).map((one) => ({
    currency: one.currency as Currency,
    count: one.count,
    grossMinor: BigInt(one.gross),
  }));
  const transit = await runs.listTransit(tx, sourceId);
  return answerOf({
    file: {
      id: formatId('settlementFile', fileId),
      name: file.name,
      format: file.format,
      source: source.kind === 'psp' ? `psp:${source.name}` : `bank:${source.name}`,
      lineCount: file.lineCount,
      knownCount: file.knownCount,
      sha256: file.sha256,
      coversFrom: file.coversFrom,
      coversTo: file.coversTo,
    },
    outcome: 'imported',
    runId: formatId('reconcileRun', file.runId),
    at: await runs.getNow(tx),
    resolvedCount: resolved + (await runs.countResolvedAtOnce(tx, file.runId)),
    matched,
    transit: transit.map((one) => ({ ...one, currency: one.currency as Currency })),
    sums,
    breaks: await listWorst(tx, sourceId, MAX_LISTED_BREAKS),
    proofs,
    refusedCount: file.refusedCount,
  });
}
