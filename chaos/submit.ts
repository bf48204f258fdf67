/**
 * Submits the planned files, each in a process of its own that is killed while it works, and given the same file
 * again until it has come to its end. Remembers every answer that was given: none may be lost or change.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ConnectionOptions } from '../src/core/db/connection.ts';
import type { ChildJob, SubmitterLine } from './child.ts';
import type { LogBook } from './log-book.ts';
import { csvOf, type WavePlan } from './plan.ts';
import { pause, startChild } from './processes.ts';

/** A file is given again at most so often; the database may be away for ten seconds at a time. */
const MAX_RUNS = 200;
/**
 * Before the same file is given again after a failure that we did not cause (ms): longer each time, up to the second
 * number. A dozen processes that start again and again while the database is away would keep it from coming back.
 */
const AGAIN_AFTER_MS = 700;
const LONGEST_AGAIN_MS = 6_000;

export type Submissions = {
  /** Checkout to payment id, as answered after commit. */
  readonly answers: Map<string, string>;
  /** One checkout was answered with two payments, or refused: never right. */
  readonly contradictions: string[];
  submitterKills: number;
  filesTwice: number;
  filesDone: number;
};

export type SubmitContext = {
  readonly folder: string;
  readonly document: object;
  readonly connection: ConnectionOptions;
  readonly mark: string;
  readonly log: LogBook;
  readonly submissions: Submissions;
};

export function createSubmissions(): Submissions {
  return { answers: new Map(), contradictions: [], submitterKills: 0, filesTwice: 0, filesDone: 0 };
}

/** Resolves when all files of the wave are submitted whole. */
export async function submitWave(context: SubmitContext, wave: WavePlan): Promise<void> {
  const first = join(context.folder, `wave-${wave.number}.csv`);
  await writeFile(first, csvOf(wave, ''));
  const own = { ...context, document: withRelease(context.document, wave.releaseAfterDays) };
  const runs = [submitFile(own, first, wave.submitterKills)];
  if (wave.mode !== 'once') {
    context.submissions.filesTwice += 1;
    const second = wave.mode === 'twice' ? first : join(context.folder, `wave-${wave.number}-again.csv`);
    if (second !== first) await writeFile(second, csvOf(wave, '-again'));
    runs.push(submitFile(own, second, []));
  }
  await Promise.all(runs);
}

/** The policy is frozen on each order when it is accepted: the daemons need not know. */
function withRelease(document: object, afterDays: number): object {
  return { ...document, release: { after_days: afterDays } };
}

async function submitFile(context: SubmitContext, file: string, kills: readonly number[]): Promise<void> {
  const { document, connection, submissions } = context;
  submissions.submitterKills += await giveUntilDone(context, {
    job: { role: 'submitter', document, connection, file },
    kills,
    onLine: (line) => noteLine(submissions, line),
  });
  submissions.filesDone += 1;
}

type Giving = {
  readonly job: Exclude<ChildJob, { role: 'sandbox' }>;
  /** The process is killed after so many batches, once per number. */
  readonly kills: readonly number[];
  readonly onLine: (line: SubmitterLine) => void;
};

/** Starts the same process again and again until it has come to its end. @returns how often it was killed */
export async function giveUntilDone(
  context: Pick<SubmitContext, 'mark' | 'log'>,
  giving: Giving,
): Promise<number> {
  let killed = 0;
  let pauseMs = AGAIN_AFTER_MS;
  for (let run = 0; run < MAX_RUNS; run += 1) {
    const result = await giveOnce(context, giving, giving.kills[run] ?? null);
    if (result === 'done') return killed;
    if (result === 'killed') killed += 1;
    else {
      await pause(pauseMs);
      pauseMs = Math.min(pauseMs * 2, LONGEST_AGAIN_MS);
    }
  }
  throw new Error(`${giving.job.file} could not be submitted in ${MAX_RUNS} runs`);
}

async function giveOnce(
  { mark, log }: Pick<SubmitContext, 'mark' | 'log'>,
  { job, onLine }: Giving,
  killAfterBatches: number | null,
): Promise<'done' | 'killed' | 'failed'> {
  let batches = 0;
  let done = false;
  let killed = false;
  const child = startChild(job, mark, {
    onStdout: (text) => {
      const line = JSON.parse(text) as SubmitterLine;
      if (line.kind === 'done') done = true;
      onLine(line);
      if (line.kind === 'batch' || line.kind === 'refunds' || line.kind === 'payouts' || line.kind === 'deed')
        batches += 1;
      if (killAfterBatches !== null && batches === killAfterBatches && !done) {
        killed = true;
        child.signal('SIGKILL');
      }
    },
    onStderr: (text) => log.count(job.role, text, `${job.role} failed, given its file again`),
  });
  await child.ended;
  if (done) return 'done';
  return killed ? 'killed' : 'failed';
}

function noteLine(submissions: Submissions, line: SubmitterLine): void {
  if (line.kind === 'refused') submissions.contradictions.push(`${line.checkout} was refused: ${line.why}`);
  if (line.kind !== 'batch') return;
  for (const [checkout, payment] of line.payments) {
    const before = submissions.answers.get(checkout);
    if (before !== undefined && before !== payment) {
      submissions.contradictions.push(`${checkout} was answered as ${before} and as ${payment}`);
    }
    submissions.answers.set(checkout, payment);
  }
}
