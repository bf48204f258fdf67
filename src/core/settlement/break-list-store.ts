/** Reads breaks as people and programs see them; writes nothing. */
import type { Queryable } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import type { BreakAnswer, BreakCode, BreakState, ReconcileAnswer, Severity } from './reconcile-answer.ts';

export type BreakFilter = {
  /** Null: open, acknowledged and waiting_psp. */
  readonly states: readonly BreakState[] | null;
  readonly codes: readonly BreakCode[] | null;
  readonly severities: readonly Severity[] | null;
  readonly source: string | null;
  readonly currency: string | null;
  readonly assignee: string | null;
  /** Breaks after this one; the last id of the page before. */
  readonly after: bigint | null;
  /** Page size, 1–1,000. */
  readonly limit: number;
};

/** One line of a break's history. */
export type BreakEventAnswer = {
  readonly at: string;
  readonly kind: string;
  readonly principal: string;
  readonly reason: string | null;
  readonly from: BreakState | null;
  readonly to: BreakState;
  /** "ent_14" where something was posted. */
  readonly entryId: string | null;
};

export type BreakDetails = {
  readonly break: BreakAnswer;
  readonly history: readonly BreakEventAnswer[];
  /** The file's row as JSON text, where it was kept. */
  readonly raw: string | null;
};

/** In the order of their ids. */
export async function listBreaks(_on: Queryable, filter: BreakFilter): Promise<readonly BreakAnswer[]> {
  throw new Bug(`${filter.limit} breaks come with the next commit`);
}

/** Null when there is none of this number. */
export async function showBreak(_on: Queryable, breakId: bigint): Promise<BreakDetails | null> {
  throw new Bug(`break ${breakId} comes with the next commit`);
}

/** The answer of a run as it was given; null when there is none of this number, or when it never ended. */
export async function findReconcileAnswer(_on: Queryable, runId: bigint): Promise<ReconcileAnswer | null> {
  throw new Bug(`run ${runId} comes with the next commit`);
}
