/** Reads breaks, and answers of earlier runs, as people and programs see them; writes nothing. */
import { list, type Queryable } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import type { Currency } from '../money.ts';
import { sentenceOf } from './break-codes.ts';
import { offersOf } from './break-offers.ts';
import { proposedAs } from './proposal.ts';
import type {
  BreakAnswer,
  BreakCode,
  BreakSide,
  BreakState,
  ReconcileAnswer,
  Severity,
} from './reconcile-answer.ts';
import type { BreakStanding } from './resolution.ts';
import { parseSource } from './settlement-policy.ts';
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

/** A break as decisions need it. */
export type StandingRow = {
  readonly id: bigint;
  readonly code: BreakCode;
  readonly state: BreakState;
  readonly sourceId: number;
  readonly source: string;
  readonly currency: string;
  readonly amountMinor: bigint;
  readonly openMinor: bigint;
  readonly otherCurrency: string | null;
  readonly otherMinor: bigint | null;
  readonly lineId: bigint | null;
  readonly itemId: bigint | null;
  readonly proposedItemId: bigint | null;
  readonly proposedMinor: bigint | null;
  readonly operationId: bigint | null;
  readonly operationKind: string | null;
  readonly operationState: string | null;
  readonly isRefused: boolean;
  readonly proposedBy: string | null;
  readonly proposedPlan: string | null;
  readonly proposedReason: string | null;
};

/** What a decision needs of a break `b`, beside its own columns; its joins are {@link standingJoins}. */
const standingColumns = (on: Queryable) => on.sql`
  b.open_minor, b.other_currency, b.other_minor, b.line_id, b.item_id, b.operation_id, b.proposed_item_id,
  pi.remaining_minor as proposed_minor, o.kind as operation_kind, o.sub_state as operation_state,
  (coalesce(g.refused, lg.refused) is not null) as is_refused, b.proposed_by, b.proposed_plan,
  b.proposed_reason`;

/** The batch that a break is about (`g`), the one of its line (`lg`), its operation (`o`), the item that it proposes (`pi`). */
const standingJoins = (on: Queryable) => on.sql`
  left join ${on.t.settlementLine} l on l.id = b.line_id
  left join ${on.t.settlementBatch} g on g.id = b.batch_id
  left join ${on.t.settlementBatch} lg on lg.id = l.batch_id
  left join ${on.t.openItem} pi on pi.id = b.proposed_item_id
  left join ${on.t.operation} o on o.id = b.operation_id`;

export async function findBreak(on: Queryable, breakId: bigint): Promise<StandingRow | null> {
  const { t } = on;
  const [row] = await on.sql<StandingRow[]>`
    select b.id, b.code, b.state, b.source_id, s.name as source, b.currency, b.amount_minor, ${standingColumns(on)}
      from ${t.reconBreak} b
      join ${t.settlementSource} s on s.id = b.source_id
      ${standingJoins(on)}
     where b.id = ${breakId}`;
  return row ?? null;
}

type BreakRow = Omit<BreakAnswer, 'id' | 'says' | 'offers' | 'external' | 'internal'> &
  Omit<StandingRow, 'source' | 'sourceId' | 'currency'> & {
    readonly external: string | null;
    readonly internal: string | null;
    readonly grossMinor: bigint | null;
    readonly feeMinor: bigint | null;
    readonly netMinor: bigint | null;
    readonly suspended: string | null;
    readonly deadLetter: string | null;
    readonly hasItems: boolean;
  };

/** A side as the query gives it; amounts as text. */
type SideJson = Omit<BreakSide, 'amountMinor'> & { readonly amountMinor: string };

const INSTANT = 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"';

/** @param items whether to look for items that a line could be: only for one break, because nothing but their source finds them */
function selectBreaks(on: Queryable, items: 'look' | 'unknown') {
  const { sql, t } = on;
  const hasItems =
    items === 'unknown'
      ? sql`true`
      : sql`exists (select from ${t.openItem} x where x.source_id = b.source_id and x.currency = b.currency)`;
  const instant = (at: ReturnType<typeof sql>) => sql`to_char(${at} at time zone 'UTC', ${INSTANT})`;
  return sql`
    select b.id, b.code, b.severity, b.state, s.name as source, b.currency, b.amount_minor, b.assignee,
           ${instant(sql`b.opened_at`)} as first_seen_at, ${instant(sql`b.last_seen_at`)} as last_seen_at,
           extract(days from coalesce(b.closed_at, now()) - b.opened_at)::integer as age_days,
           ${standingColumns(on)}, l.gross_minor, l.fee_minor, l.net_minor, ${hasItems} as has_items,
           (select 'op_' || a.operation_id || '/' || a.number
              from ${t.attempt} a
             where a.operation_id = b.operation_id and a.state = 'succeeded_surplus'
               and not exists (select from ${t.suspenseDecision} d
                                where d.operation_id = a.operation_id and d.attempt_number = a.number)
             order by a.number limit 1) as suspended,
           (select 'dl_' || x.id from ${t.deadLetter} x
             where x.state = 'open' and x.operation_id = b.operation_id order by x.id limit 1) as dead_letter,
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
      ${standingJoins(on)}
      left join ${t.settlementFile} f on f.id = l.file_id
      left join ${t.settlementFile} gf on gf.id = g.file_id
      left join ${t.openItem} i on i.id = coalesce(b.item_id, b.proposed_item_id)`;
}

function toAnswer(row: BreakRow): BreakAnswer {
  const { id, code, severity, state, source, currency, amountMinor, firstSeenAt, lastSeenAt } = row;
  const { ageDays, assignee, suspended, deadLetter, grossMinor, feeMinor, netMinor } = row;
  const parsed = parseSource(source);
  if (parsed === null) throw new Bug(`a break of the source ${source}`);
  const standing: BreakStanding = {
    ...row,
    // What can be done does not depend on the bank that a PSP pays.
    source: parsed.kind === 'psp' ? { ...parsed, kind: 'psp', bank: '' } : { ...parsed, kind: 'bank' },
    otherCurrency: row.otherCurrency as Currency | null,
  };
  const fee =
    grossMinor === null || feeMinor === null || netMinor === null ? null : { grossMinor, feeMinor, netMinor };
  return {
    id: `brk_${id}`,
    ...{ code, severity, state, source, currency, amountMinor, firstSeenAt, lastSeenAt, ageDays, assignee },
    says: sentenceOf(code, amountMinor, currency, fee),
    offers: offersOf(standing, row),
    suspended,
    deadLetter,
    proposal: proposalOf(row),
    external: toSide(row.external),
    internal: toSide(row.internal),
  };
}

/** Of an open break whose decision waits for a second person. */
function proposalOf({
  state,
  proposedBy,
  proposedPlan,
  proposedReason,
}: BreakRow): NonNullable<BreakAnswer['proposal']> | null {
  const isOver = state === 'resolved' || state === 'written_off';
  if (isOver || proposedBy === null || proposedPlan === null) return null;
  return { by: proposedBy, as: proposedAs(proposedPlan), reason: proposedReason };
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
    ${selectBreaks(on, 'unknown')}
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
    ${selectBreaks(on, 'unknown')}
     where b.source_id = ${sourceId} and b.closed_at is null
     order by b.severity, b.opened_at, b.id
     limit ${limit}`;
  return rows.map(toAnswer);
}

/** Null when there is none of this number. */
export async function showBreak(on: Queryable, breakId: bigint): Promise<BreakDetails | null> {
  const { sql, t } = on;
  const [row] = await sql<BreakRow[]>`${selectBreaks(on, 'look')} where b.id = ${breakId}`;
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
