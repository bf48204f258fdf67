/** Reads breaks, and answers of earlier runs, as people and programs see them; writes nothing. */
import { list, type Queryable } from '../db/connection.ts';
import { BREAK_MEANINGS, sentenceOf } from './break-codes.ts';
import type {
  BreakAnswer,
  BreakCode,
  BreakSide,
  BreakState,
  ReconcileAnswer,
  Severity,
} from './reconcile-answer.ts';
import { parseAnswer } from './stored-answer.ts';

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

type BreakRow = Omit<BreakAnswer, 'id' | 'says' | 'offers' | 'external' | 'internal'> & {
  readonly id: bigint;
  readonly external: string | null;
  readonly internal: string | null;
};

/** A side as the query gives it; amounts as text. */
type SideJson = Omit<BreakSide, 'amountMinor'> & { readonly amountMinor: string };

const INSTANT = 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"';

function selectBreaks(on: Queryable) {
  const { sql, t } = on;
  const instant = (at: ReturnType<typeof sql>) => sql`to_char(${at} at time zone 'UTC', ${INSTANT})`;
  return sql`
    select b.id, b.code, b.severity, b.state, s.name as source, b.currency, b.amount_minor, b.assignee,
           ${instant(sql`b.opened_at`)} as first_seen_at, ${instant(sql`b.last_seen_at`)} as last_seen_at,
           extract(days from coalesce(b.closed_at, now()) - b.opened_at)::integer as age_days,
           case when l.id is not null then
             json_build_object('label', f.name || ' line ' || l.row_number, 'kind', l.kind, 'currency', l.currency,
                               'amountMinor', l.gross_minor::text, 'reference', coalesce(l.reference, l.payment_reference),
                               'at', ${instant(sql`l.occurred_at`)})::text
                when g.id is not null then
             json_build_object('label', coalesce('batch ' || g.name, gf.name), 'kind', 'batch', 'currency', g.currency,
                               'amountMinor', g.net_minor::text, 'reference', g.name, 'at', null)::text end as external,
           case when i.id is not null then
             json_build_object('label', coalesce('op_' || i.operation_id || ' (' || i.kind || ')', 'ent_' || i.id), 'kind', i.kind,
                               'currency', i.currency, 'amountMinor', i.amount_minor::text, 'reference', i.reference,
                               'at', ${instant(sql`i.booked_at`)})::text
                when o.id is not null then
             json_build_object('label', 'op_' || o.id || ' (' || o.kind || ')', 'kind', o.kind, 'currency', o.currency,
                               'amountMinor', (case o.kind when 'charge' then o.amount_minor else -o.amount_minor end)::text,
                               'reference', o.psp_reference, 'at', ${instant(sql`o.updated_at`)})::text end as internal
      from ${t.reconBreak} b
      join ${t.settlementSource} s on s.id = b.source_id
      left join ${t.settlementLine} l on l.id = b.line_id
      left join ${t.settlementFile} f on f.id = l.file_id
      left join ${t.settlementBatch} g on g.id = b.batch_id
      left join ${t.settlementFile} gf on gf.id = g.file_id
      left join ${t.openItem} i on i.id = coalesce(b.item_id, b.proposed_item_id)
      left join ${t.operation} o on o.id = b.operation_id`;
}

function toAnswer(row: BreakRow): BreakAnswer {
  return {
    ...row,
    id: `brk_${row.id}`,
    says: sentenceOf(row.code, row.amountMinor, row.currency),
    offers: BREAK_MEANINGS[row.code].offers,
    external: toSide(row.external),
    internal: toSide(row.internal),
  };
}

function toSide(text: string | null): BreakSide | null {
  if (text === null) return null;
  const side = JSON.parse(text) as SideJson;
  return { ...side, amountMinor: BigInt(side.amountMinor) };
}

/** In the order of their ids. */
export async function listBreaks(on: Queryable, filter: BreakFilter): Promise<readonly BreakAnswer[]> {
  const { sql } = on;
  const within = (column: string, values: readonly string[] | null) =>
    values === null ? sql`` : sql`and ${sql(`b.${column}`)} = any(${list(values)}::text[])`;
  const rows = await sql<BreakRow[]>`
    ${selectBreaks(on)}
     where b.id > ${filter.after ?? 0n}
       ${filter.states === null ? sql`and b.closed_at is null` : within('state', filter.states)}
       ${within('code', filter.codes)} ${within('severity', filter.severities)}
       ${filter.source === null ? sql`` : sql`and s.name = ${filter.source}`}
       ${filter.currency === null ? sql`` : sql`and b.currency = ${filter.currency}`}
       ${filter.assignee === null ? sql`` : sql`and b.assignee = ${filter.assignee}`}
     order by b.id
     limit ${filter.limit}`;
  return rows.map(toAnswer);
}

/** Open breaks of one source, the most severe and oldest first. */
export async function listWorst(
  on: Queryable,
  sourceId: number,
  limit: number,
): Promise<readonly BreakAnswer[]> {
  const rows = await on.sql<BreakRow[]>`
    ${selectBreaks(on)}
     where b.source_id = ${sourceId} and b.closed_at is null
     order by b.severity, b.opened_at, b.id
     limit ${limit}`;
  return rows.map(toAnswer);
}

/** Null when there is none of this number. */
export async function showBreak(on: Queryable, breakId: bigint): Promise<BreakDetails | null> {
  const { sql, t } = on;
  const [row] = await sql<BreakRow[]>`${selectBreaks(on)} where b.id = ${breakId}`;
  if (row === undefined) return null;
  const history = await sql<BreakEventAnswer[]>`
    select to_char(at at time zone 'UTC', ${INSTANT}) as at, kind, principal, reason, from_state as "from", to_state as "to",
           'ent_' || entry_id as entry_id
      from ${t.breakEvent} where break_id = ${breakId} order by id`;
  const [line] = await sql<{ raw: string | null }[]>`
    select l.raw from ${t.reconBreak} b join ${t.settlementLine} l on l.id = b.line_id where b.id = ${breakId}`;
  return { break: toAnswer(row), history, raw: line?.raw ?? null };
}

/** The answer of a run as it was given; null when there is none of this number, or when it never ended. */
export async function findReconcileAnswer(on: Queryable, runId: bigint): Promise<ReconcileAnswer | null> {
  const [row] = await on.sql<{ answer: string | null }[]>`
    select answer from ${on.t.reconcileRun} where id = ${runId}`;
  return row === undefined || row.answer === null ? null : parseAnswer(row.answer);
}
