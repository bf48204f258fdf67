/** Remembers sources, files and runs; reads what a proof and an answer are made of. */
import { limitLockWait, list, type Queryable, type Tx } from '../db/connection.ts';
import { KIND_OF_FACT } from './open-item.ts';
import type { FileSummary, LineKind } from './settlement-line.ts';

/** Instants as people and programs get them. */
const INSTANT = 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"';

/** A large file of the same source may be in front of us for so long (ms); other locks are waited for as always. */
const SOURCE_WAIT_MS = 300_000;
const LOCK_WAIT_MS = 10_000;

/** The number of a source; made when it is new. Locks it: one run at a time works on a source. */
export async function lockSource(tx: Tx, name: string): Promise<number> {
  await limitLockWait(tx, SOURCE_WAIT_MS);
  await tx.sql`insert into ${tx.t.settlementSource} (name) values (${name}) on conflict do nothing`;
  const [row] = await tx.sql<{ id: number }[]>`
    select id from ${tx.t.settlementSource} where name = ${name} for no key update`;
  await limitLockWait(tx, LOCK_WAIT_MS);
  return row!.id;
}

/** The same without waiting: null while somebody works on it. */
export async function tryLockSource(tx: Tx, name: string): Promise<number | null> {
  await tx.sql`insert into ${tx.t.settlementSource} (name) values (${name}) on conflict do nothing`;
  const [row] = await tx.sql<{ id: number }[]>`
    select id from ${tx.t.settlementSource} where name = ${name} for no key update skip locked`;
  return row?.id ?? null;
}

/** A file and how far its run is. */
export type KnownFile = {
  readonly fileId: bigint;
  readonly runId: bigint;
  readonly state: 'loaded' | 'matched' | 'finished';
  readonly answer: string | null;
};

/** By its bytes; null when the source never had it. */
export async function findFile(on: Queryable, source: string, sha256: string): Promise<KnownFile | null> {
  const [row] = await on.sql<KnownFile[]>`
    select f.id as file_id, r.id as run_id, r.state, r.answer
      from ${on.t.settlementSource} s
      join ${on.t.settlementFile} f on f.source_id = s.id and f.sha256 = ${sha256}
      join ${on.t.reconcileRun} r on r.file_id = f.id
     where s.name = ${source}`;
  return row ?? null;
}

export async function nextId(on: Queryable): Promise<bigint> {
  const [row] = await on.sql<{ id: bigint }[]>`select nextval(${`${on.book}.object_id`}::regclass) as id`;
  return row!.id;
}

export type NewFile = {
  readonly fileId: bigint;
  readonly runId: bigint;
  readonly sourceId: number;
  readonly name: string;
  readonly summary: FileSummary;
  readonly knownCount: number;
  readonly rejectCount: number;
  readonly lines: LineRange;
  readonly principal: string;
};

/** Lowest and highest number of a file's own lines; null when it brought none. */
export type LineRange = { readonly firstLine: bigint | null; readonly lastLine: bigint | null };

/** The file and its run, when all of its lines are stored. */
export async function insertFile(tx: Tx, file: NewFile): Promise<void> {
  const { summary } = file;
  const { t } = tx;
  await tx.sql`
    insert into ${t.settlementFile} (id, source_id, sha256, name, format, line_count, known_count, reject_count, byte_count,
                                     first_line, last_line, covers_from, covers_to, type_counts, principal)
    select ${file.fileId}, ${file.sourceId}, ${summary.sha256}, ${file.name}, ${summary.format}, ${summary.lineCount},
           ${file.knownCount}, ${file.rejectCount}, ${summary.byteCount},
           ${file.lines.firstLine}::bigint, ${file.lines.lastLine}::bigint,
           ${summary.coversFrom}::timestamptz, ${summary.coversTo}::timestamptz, ${JSON.stringify(Object.fromEntries(summary.typeCounts))}, ${file.principal}`;
  await tx.sql`
    insert into ${t.reconcileRun} (id, source_id, file_id, principal)
    values (${file.runId}, ${file.sourceId}, ${file.fileId}, ${file.principal})`;
}

export type LoadedFile = {
  readonly fileId: bigint;
  readonly runId: bigint;
  readonly sourceId: number;
  readonly name: string;
  readonly format: FileSummary['format'];
  readonly sha256: string;
  readonly lineCount: number;
  readonly knownCount: number;
  readonly firstLine: bigint | null;
  readonly lastLine: bigint | null;
  readonly coversFrom: string | null;
  readonly coversTo: string | null;
  readonly state: KnownFile['state'];
  /** Of a finished run, as it was stored. */
  readonly answer: string | null;
  readonly matched: string;
  readonly refusedCount: number;
};

/** The file as its run needs it. */
export async function getLoadedFile(on: Queryable, fileId: bigint): Promise<LoadedFile> {
  const { t } = on;
  const [row] = await on.sql<LoadedFile[]>`
    select f.id as file_id, r.id as run_id, f.source_id, f.name, f.format, f.sha256, f.line_count, f.known_count, f.first_line,
           f.last_line, to_char(f.covers_from at time zone 'UTC', ${INSTANT}) as covers_from,
           to_char(f.covers_to at time zone 'UTC', ${INSTANT}) as covers_to, r.state, r.answer, r.matched,
           (select count(*) from ${t.settlementBatch} b where b.file_id = f.id and b.refused is not null)::integer as refused_count
      from ${t.settlementFile} f
      join ${t.reconcileRun} r on r.file_id = f.id
     where f.id = ${fileId}`;
  return row!;
}

export async function markMatched(tx: Tx, runId: bigint, matched: string): Promise<void> {
  await tx.sql`
    update ${tx.t.reconcileRun} set state = 'matched', matched = ${matched} where id = ${runId}`;
}

export async function finishRun(tx: Tx, runId: bigint, answer: string): Promise<void> {
  await tx.sql`
    update ${tx.t.reconcileRun}
       set state = 'finished', finished_at = now(), answer = ${answer} where id = ${runId}`;
}

/** A line that says what became of an operation whose fact is not booked. */
export type LineEvidence = {
  readonly lineId: bigint;
  readonly operationId: bigint;
  readonly attemptNumber: number;
  readonly kind: LineKind;
  readonly reference: string | null;
};

/** States of attempts whose money has moved, and so is booked. */
const moneyHolding = (tx: Tx) => tx.sql`('succeeded', 'succeeded_surplus', 'reversed')`;

/** Candidates of the run that are evidence: ours by name, of the operation's kind and currency, and not booked. */
export async function listLineEvidence(tx: Tx, limit: number): Promise<readonly LineEvidence[]> {
  const { t } = tx;
  const facts = Object.entries(KIND_OF_FACT);
  return tx.sql<LineEvidence[]>`
    select distinct on (c.operation_id) c.id as line_id, c.operation_id, a.number as attempt_number, c.kind,
           c.main_reference as reference
      from pg_temp.candidate c
      join ${t.operation} o on o.id = c.operation_id and o.currency = c.currency
      join lateral (select a.number, coalesce(a.psp_reference = c.main_reference, false) and a.state not in ${moneyHolding(tx)}
                             as is_unmoved
                      from ${t.attempt} a where a.operation_id = o.id
                     order by coalesce(a.psp_reference = c.main_reference, false) desc, a.number desc limit 1) a on true
     where c.op_fits
       and case -- The line names an attempt that had not moved, whatever another one did since: a second success.
                when c.kind = 'charge' and a.is_unmoved then true
                when c.kind in ('charge', 'refund', 'payout') then
                  not exists (select from unnest(${list(facts.map(([entryKind]) => entryKind))}::text[],
                                                 ${list(facts.map(([, kind]) => kind))}::text[]) as k (entry_kind, kind)
                                join ${t.journalEntry} e on e.kind = k.entry_kind
                                 and e.cause in ('op_' || o.id, 'op_' || o.id || '/' || a.number)
                               where k.kind = c.kind)
                when c.kind in ('refund_failed', 'payout_returned') then o.sub_state in ('succeeded', 'paid')
                else false end
       -- A line speaks once; what it could not settle is a break.
       and not exists (select from ${t.evidence} e
                        where e.operation_id = o.id and e.attempt_number = a.number and e.source = 'settlement'
                          and (e.kind = 'succeeded') = (c.kind in ('charge', 'refund', 'payout')))
     order by c.operation_id, c.id
     limit ${limit}`;
}

/** A dispute that a line tells of, of a charge of ours; minor units above zero. */
export type LineDispute = {
  readonly lineId: bigint;
  readonly pspReference: string;
  readonly operationId: bigint;
  readonly attemptNumber: number;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly reason: string;
  readonly state: 'opened' | 'won';
  readonly observation: bigint;
};

/**
 * Candidates of the run that open or reverse a dispute which the books do not have so.
 * @param told lines that have spoken in this run: what they could not book is a break
 */
export async function listLineDisputes(
  tx: Tx,
  pspAccount: string,
  told: readonly bigint[],
  limit: number,
): Promise<readonly LineDispute[]> {
  const { t } = tx;
  return tx.sql<LineDispute[]>`
    select f.*, nextval(${`${tx.book}.object_id`}::regclass) as observation
      from (
        select distinct on (c.reference) c.id as line_id, c.reference as psp_reference, c.operation_id, a.number as attempt_number,
               abs(c.minor) as amount_minor, c.currency, l.raw_type as reason,
               case c.kind when 'dispute' then 'opened' else 'won' end as state
          from pg_temp.candidate c
          join ${t.settlementLine} l on l.id = c.id
          join lateral (select a.number from ${t.attempt} a where a.operation_id = c.operation_id
                         order by coalesce(a.psp_reference = c.payment_name, false) desc, a.state like 'succeeded%' desc,
                                  a.number desc limit 1) a on true
          left join ${t.dispute} d on d.psp_account = ${pspAccount} and d.psp_reference = c.reference
         where c.op_fits
           and c.kind in ('dispute', 'dispute_reversed')
           and c.reference is not null
           and c.id <> all(${list(told)}::bigint[])
           and (d.id is null or c.kind = 'dispute_reversed' and d.state = 'opened')
         order by c.reference, c.id
         limit ${limit}) f`;
}

/** What a proof is made of, of one moment: every number is from the same snapshot. */
export type ProofFacts = {
  readonly currency: string;
  readonly balanceMinor: bigint;
  readonly factsMinor: bigint;
  readonly linesMinor: bigint;
  readonly provedFactsMinor: bigint;
  readonly provedLinesMinor: bigint;
  readonly provedClosingMinor: bigint;
  readonly inTransitMinor: bigint;
  readonly mirrorMinor: bigint;
  readonly sourceLinesMinor: bigint;
  readonly statedMinor: bigint | null;
};

/**
 * One statement, so one snapshot: a charge that is booked meanwhile is in none of the numbers or in all. A fact that came after the
 * last gathering is counted from the ledger itself: it is in transit.
 */
export async function listProofFacts(
  tx: Tx,
  source: { readonly id: number; readonly mirrorCode: string; readonly fileId: bigint },
): Promise<readonly ProofFacts[]> {
  const { t } = tx;
  const [any] = await tx.sql<{ hasVersions: boolean }[]>`
    select exists (select from ${t.settlementLine} where source_id = ${source.id} and version > 1) as has_versions`;
  const { hasVersions } = any!;
  return tx.sql<ProofFacts[]>`
    with transit as (
      select i.currency, sum(i.remaining_minor)::bigint as minor
        from ${t.openItem} i
       where i.source_id = ${source.id}
         and not exists (select from ${t.reconBreak} b
                          where b.source_id = ${source.id} and b.closed_at is null and b.item_id = i.id)
       group by i.currency),
    moved as (
      select account_id, entry_id, sum(minor)::bigint as minor
        from (select p.account_id, d.entry_id, d.amount_minor as minor
                from ${t.reconcilePosition} p join ${t.posting} d on d.debit_id = p.account_id and d.entry_id > p.gathered_to
               where p.source_id = ${source.id}
               union all
              select p.account_id, c.entry_id, -c.amount_minor
                from ${t.reconcilePosition} p join ${t.posting} c on c.credit_id = p.account_id and c.entry_id > p.gathered_to
               where p.source_id = ${source.id}) s
       group by account_id, entry_id),
    late as (
      select m.account_id, sum(m.minor)::bigint as minor
        from moved m
        join ${t.journalEntry} e on e.id = m.entry_id and e.cause not like 'settle:%'
       where not exists (select from ${t.openItem} i where i.id = m.entry_id)
         and not exists (select from ${t.settlementMatch} x where x.item_id = m.entry_id and x.voided_run_id is null)
       group by m.account_id),
    batches as (
      select b.currency, sum(b.new_net_minor - b.replaced_net_minor) filter (where b.refused is null)::bigint as minor,
             (array_agg(b.closing_minor order by b.id desc) filter (where b.closing_minor is not null
                                                                      and b.file_id = ${source.fileId}))[1] as stated,
             -- What was there before the first file is not ours to prove: it is the same on both sides.
             coalesce((array_agg(b.opening_minor order by b.id))[1], 0) as before
        from ${t.settlementBatch} b
        join ${t.settlementFile} f on f.id = b.file_id and f.source_id = ${source.id}
       group by b.currency),
    recurrencied as (${recurrencied(tx, source.id, hasVersions)})
    select p.currency, (o.debits - o.credits) as balance_minor, p.facts_minor + coalesce(l.minor, 0) as facts_minor, p.lines_minor,
           p.proved_facts_minor, p.proved_lines_minor, p.proved_closing_minor,
           coalesce(x.minor, 0) + coalesce(l.minor, 0) as in_transit_minor,
           coalesce(m.debits - m.credits, 0) + coalesce(b.before, 0) as mirror_minor,
           coalesce(b.minor, 0) + coalesce(r.minor, 0) + coalesce(b.before, 0) as source_lines_minor, b.stated as stated_minor
      from ${t.reconcilePosition} p
      join ${t.accountBalance} o on o.account_id = p.account_id
      left join late l on l.account_id = p.account_id
      left join transit x on x.currency = p.currency
      left join ${t.account} ma on ma.code = ${source.mirrorCode} and ma.currency = p.currency
      left join ${t.accountBalance} m on m.account_id = ma.id
      left join batches b on b.currency = p.currency
      left join recurrencied r on r.currency = p.currency
     where p.source_id = ${source.id}
     order by p.currency`;
}

/**
 * A line that was told anew in another currency left the sum of the old one, not of the new one: what that is per currency. Asked
 * for only when there are such versions, and one by one: without statistics (a first file) the planner takes them for a third of all
 * lines. They do not change meanwhile: the source is locked.
 */
function recurrencied(tx: Tx, sourceId: number, hasVersions: boolean) {
  const { t } = tx;
  if (!hasVersions) return tx.sql`select null::text as currency, null::bigint as minor where false`;
  return tx.sql`
    select v.currency, sum(v.minor)::bigint as minor
      from ${t.settlementLine} n
      cross join lateral (
        select p.currency, p.net_minor, p.batch_id from ${t.settlementLine} p
         where p.source_id = n.source_id and p.line_key = n.line_key and p.occurrence = n.occurrence
           and p.version = n.version - 1
         limit 1) l
      join ${t.settlementBatch} nb on nb.id = n.batch_id and nb.refused is null
      join ${t.settlementBatch} lb on lb.id = l.batch_id and lb.refused is null
      cross join lateral (values (n.currency, l.net_minor), (l.currency, -l.net_minor)) as v (currency, minor)
     where n.source_id = ${sourceId} and n.version > 1 and l.currency <> n.currency
     group by v.currency`;
}

/** The next proof starts from here. */
export async function markProved(
  tx: Tx,
  sourceId: number,
  proofs: readonly {
    readonly currency: string;
    readonly factsMinor: bigint;
    readonly linesMinor: bigint;
    readonly closingMinor: bigint;
  }[],
): Promise<void> {
  await tx.sql`
    update ${tx.t.reconcilePosition} p
       set proved_facts_minor = n.facts, proved_lines_minor = n.lines, proved_closing_minor = n.closing
      from unnest(${list(proofs.map((p) => p.currency))}::text[], ${list(proofs.map((p) => p.factsMinor))}::bigint[],
                  ${list(proofs.map((p) => p.linesMinor))}::bigint[], ${list(proofs.map((p) => p.closingMinor))}::bigint[])
           as n (currency, facts, lines, closing)
     where p.source_id = ${sourceId} and p.currency = n.currency`;
}

export type OpenSum = {
  readonly code: string;
  readonly severity: string;
  readonly currency: string;
  readonly bucket: '0-1' | '2-7' | '8-30' | '>30';
  readonly count: number;
  readonly grossMinor: bigint;
  /** What it explains of the source's account, in its own currency. */
  readonly openMinor: bigint;
};

/** Open breaks of the source, summed. */
export async function listOpenSums(on: Queryable, sourceId: number): Promise<readonly OpenSum[]> {
  return on.sql<OpenSum[]>`
    select code, severity, currency,
           case when age < 2 then '0-1' when age < 8 then '2-7' when age <= 30 then '8-30' else '>30' end as bucket,
           count(*)::integer as count, sum(abs(amount_minor))::bigint as gross_minor, sum(open_minor)::bigint as open_minor
      from (select b.*, extract(days from now() - opened_at) as age from ${on.t.reconBreak} b
             where source_id = ${sourceId} and closed_at is null) b
     group by 1, 2, 3, 4 order by 2, 1, 3, 4`;
}

/** Where a break holds an item in another currency than its line's: what it explains there. */
export async function listOtherSums(
  on: Queryable,
  sourceId: number,
): Promise<readonly { readonly code: string; readonly currency: string; readonly minor: bigint }[]> {
  return on.sql<{ code: string; currency: string; minor: bigint }[]>`
    select code, other_currency as currency, sum(other_minor)::bigint as minor
      from ${on.t.reconBreak}
     where source_id = ${sourceId} and closed_at is null and other_currency is not null
     group by 1, 2`;
}

/** Items that are in no break, per currency. */
export async function listTransit(
  on: Queryable,
  sourceId: number,
): Promise<readonly { readonly currency: string; readonly count: number; readonly grossMinor: bigint }[]> {
  const { t } = on;
  return on.sql<{ currency: string; count: number; grossMinor: bigint }[]>`
    select i.currency, count(*)::integer as count, sum(abs(i.remaining_minor))::bigint as gross_minor
      from ${t.openItem} i
     where i.source_id = ${sourceId}
       and not exists (select from ${t.reconBreak} b
                        where b.source_id = ${sourceId} and b.closed_at is null and b.item_id = i.id)
     group by i.currency order by i.currency`;
}

/** Breaks of this run that its own evidence resolved in the moment they were opened. */
export async function countResolvedAtOnce(on: Queryable, runId: bigint): Promise<number> {
  const [row] = await on.sql<{ count: number }[]>`
    select count(*)::integer as count from ${on.t.reconBreak}
     where closed_by = ${`run:${runId}`} and opened_run_id = ${runId} and is_of_line`;
  return row!.count;
}

export async function getNow(on: Queryable): Promise<string> {
  const [row] = await on.sql<{ at: string }[]>`
    select to_char(now() at time zone 'UTC', ${INSTANT}) as at`;
  return row!.at;
}
