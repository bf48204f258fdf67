/**
 * Remembers the lines of a file. A reading's blocks go by COPY into a temporary table and from there, set by set, into
 * settlement_line; what an earlier file had brought is only noted as seen, and what it had told otherwise becomes a new version.
 *
 * Everything here runs in one transaction: a file with bad rows leaves nothing. Measured with 1,000,000 lines on 2 cores: COPY into
 * a temporary table and insert … select beats COPY straight into settlement_line with a clean-up of known lines afterwards, because
 * a known line is then never written; one insert per 50,000 lines beats one for the whole file, because it runs while the next lines
 * are read.
 */
import type { Tx } from '../db/connection.ts';
import { copyRows, copyText } from '../db/copy-rows.ts';
import { operationNamed } from './open-item.ts';
import type { LineRange } from './reconcile-run-store.ts';
import type { SettlementLine, StatedTotal } from './settlement-line.ts';

/** The server takes no longer than this for one chunk (ms). */
const COPY_DEADLINE_MS = 120_000;

/** Where the lines of one import go, inside its transaction. */
export type Staging = {
  readonly sourceId: number;
  readonly fileId: bigint;
  readonly bookKey: string;
};

export async function createStaging(tx: Tx): Promise<void> {
  await tx.sql`
    create temporary table incoming (
      row_number integer not null, operation_id bigint, gross_minor bigint not null, fee_minor bigint not null,
      net_minor bigint not null, original_minor bigint, occurred_at timestamptz, available_on timestamptz,
      currency text not null, original_currency text, kind text not null, line_key text collate "C" not null,
      raw_type text not null, reference text collate "C", payment_reference text collate "C",
      our_reference text collate "C", batch text, raw text
    ) on commit drop`;
  await tx.sql`create temporary table leftover (like incoming) on commit drop`;
  await tx.sql`
    create temporary table batch_sum (batch text, currency text not null, line_count bigint not null, net_minor bigint not null,
                                      new_net_minor bigint not null, replaced_net_minor bigint not null default 0,
                                      wrong_signs bigint not null) on commit drop`;
  await tx.sql`
    create temporary table batch_name (id bigint not null, name text, currency text not null,
                                       unique nulls not distinct (name, currency)) on commit drop`;
}

/** Rows of the staging table in COPY's text format. */
export function stagingText(lines: readonly SettlementLine[], bookKey: string): string {
  let text = '';
  for (const l of lines) {
    const operationId = operationNamed(l.ourReference, bookKey);
    text += `${l.row}\t${operationId ?? '\\N'}\t${l.grossMinor}\t${l.feeMinor}\t${l.netMinor}\t${l.original === null ? '\\N' : l.original.amountMinor}\t${l.occurredAt ?? '\\N'}\t${l.availableOn ?? '\\N'}\t${l.currency}\t${l.original === null ? '\\N' : l.original.currency}\t${l.kind}\t${copyText(l.lineKey)}\t${copyText(l.rawType)}\t${copyText(l.reference)}\t${copyText(l.paymentReference)}\t${copyText(l.ourReference)}\t${copyText(l.batch)}\t${copyText(l.raw)}\n`;
  }
  return text;
}

export async function copyIntoStaging(tx: Tx, texts: readonly string[]): Promise<void> {
  const statement = tx.sql`
    copy pg_temp.incoming (row_number, operation_id, gross_minor, fee_minor, net_minor, original_minor, occurred_at, available_on,
                           currency, original_currency, kind, line_key, raw_type, reference, payment_reference, our_reference,
                           batch, raw) from stdin`;
  await copyRows(statement, texts, COPY_DEADLINE_MS);
}

/** The signs that kinds must have, as the statements below take them. */
export type SignRules = { readonly kinds: string; readonly signs: string };

/**
 * Moves the staged lines into settlement_line as first versions; those whose key is taken (by an earlier file, or by an earlier row
 * of this one) go to `leftover`. Batches are named here and counted, and written when the file is whole.
 */
export async function storeStaged(tx: Tx, staging: Staging, signs: SignRules): Promise<LineRange> {
  const { t } = tx;
  await tx.sql`
    insert into pg_temp.batch_name (id, name, currency)
    select nextval(${`${tx.book}.object_id`}::regclass), batch, currency
      from (select batch, currency from pg_temp.incoming group by batch, currency order by min(row_number)) i
        on conflict do nothing`;
  const [counts] = await tx.sql<(LineRange & { staged: number; stored: number })[]>`
    with stored as (
      insert into ${t.settlementLine} (id, file_id, batch_id, source_id, occurrence, version, row_number, operation_id, gross_minor,
                                       fee_minor, net_minor, original_minor, occurred_at, available_on, currency,
                                       original_currency, kind, line_key, raw_type, reference, payment_reference,
                                       our_reference, raw)
      select nextval(${`${tx.book}.object_id`}::regclass), ${staging.fileId}, b.id, ${staging.sourceId}, 1, 1, i.row_number,
             i.operation_id, i.gross_minor, i.fee_minor, i.net_minor, i.original_minor, i.occurred_at, i.available_on, i.currency,
             i.original_currency, i.kind, i.line_key, i.raw_type, i.reference, i.payment_reference, i.our_reference, i.raw
        from (select * from pg_temp.incoming order by row_number) i
        join pg_temp.batch_name b on b.currency = i.currency and b.name is not distinct from i.batch
          on conflict (source_id, line_key, occurrence, version) do nothing
      returning id)
    select (select count(*) from pg_temp.incoming)::integer as staged, count(*)::integer as stored, min(id) as first_line,
           max(id) as last_line
      from stored`;
  await tx.sql`
    insert into pg_temp.batch_sum (batch, currency, line_count, net_minor, new_net_minor, wrong_signs)
    select i.batch, i.currency, count(*), sum(i.net_minor), sum(i.net_minor),
           count(*) filter (where sign(i.gross_minor) = -s.sign or sign(i.original_minor) <> sign(i.gross_minor))
      from pg_temp.incoming i
      left join unnest(${signs.kinds}::text[], ${signs.signs}::integer[]) as s (kind, sign) on s.kind = i.kind
     group by i.batch, i.currency`;
  if (counts!.stored < counts!.staged) {
    await tx.sql`
      insert into pg_temp.leftover
      select i.*
        from pg_temp.incoming i
        join ${t.settlementLine} l on l.source_id = ${staging.sourceId} and l.line_key = i.line_key and l.occurrence = 1
                                  and l.version = 1
       where l.file_id <> ${staging.fileId} or l.row_number <> i.row_number`;
  }
  await tx.sql`truncate pg_temp.incoming`;
  return counts!;
}

export type Leftovers = LineRange & { readonly seenCount: number };

/**
 * Lines whose key was taken: the n-th row of its key in this file is compared with the n-th that is known. Equal in type, references,
 * amounts and currency (the economic fields): only seen. Otherwise, or where its earlier batch was refused and this file brings it
 * again: a new version. Not known: a further genuine row.
 */
export async function storeLeftovers(tx: Tx, staging: Staging): Promise<Leftovers> {
  const { t } = tx;
  const [any] = await tx.sql<{ count: number }[]>`select count(*)::integer as count from pg_temp.leftover`;
  if (any!.count === 0) return { seenCount: 0, firstLine: null, lastLine: null };
  await tx.sql`
    create temporary table judged on commit drop as
    with numbered as (
      select o.*, (row_number() over (partition by o.line_key order by o.row_number)
                   + (select count(*) from ${t.settlementLine} l
                       where l.source_id = ${staging.sourceId} and l.line_key = o.line_key and l.occurrence = 1
                         and l.version = 1 and l.file_id = ${staging.fileId}))::integer as occurrence
        from pg_temp.leftover o)
    select n.*, k.id as known_id, k.version as known_version, k.net_minor as known_net_minor, k.was_refused as known_refused,
           (k.kind, k.raw_type, k.currency, k.gross_minor, k.fee_minor, k.net_minor)
             is not distinct from (n.kind, n.raw_type, n.currency, n.gross_minor, n.fee_minor, n.net_minor)
           and (k.reference, k.payment_reference, k.our_reference, k.original_currency, k.original_minor)
             is not distinct from (n.reference, n.payment_reference, n.our_reference, n.original_currency, n.original_minor)
             as is_same
      from numbered n
      left join lateral (
        select l.*, b.refused is not null as was_refused
          from ${t.settlementLine} l
          join ${t.settlementBatch} b on b.id = l.batch_id
         where l.source_id = ${staging.sourceId} and l.line_key = n.line_key and l.occurrence = n.occurrence
         order by l.version desc limit 1) k on true`;
  await tx.sql`
    insert into ${t.settlementLineSeen} (file_id, line_id)
    select ${staging.fileId}, known_id from pg_temp.judged where is_same and not known_refused`;
  const [counts] = await tx.sql<Leftovers[]>`
    with stored as (
      insert into ${t.settlementLine} (id, file_id, batch_id, source_id, occurrence, version, row_number, operation_id, gross_minor,
                                       fee_minor, net_minor, original_minor, occurred_at, available_on, currency,
                                       original_currency, kind, line_key, raw_type, reference, payment_reference,
                                       our_reference, raw)
      select nextval(${`${tx.book}.object_id`}::regclass), ${staging.fileId}, b.id, ${staging.sourceId}, i.occurrence,
             coalesce(i.known_version, 0) + 1, i.row_number,
             i.operation_id, i.gross_minor, i.fee_minor, i.net_minor, i.original_minor, i.occurred_at, i.available_on, i.currency,
             i.original_currency, i.kind, i.line_key, i.raw_type, i.reference, i.payment_reference, i.our_reference, i.raw
        from (select * from pg_temp.judged where known_id is null or not is_same or known_refused order by row_number) i
        join pg_temp.batch_name b on b.currency = i.currency and b.name is not distinct from i.batch
      returning id)
    select (select count(*) from pg_temp.judged where is_same and not known_refused)::integer as seen_count,
           min(id) as first_line, max(id) as last_line
      from stored`;
  await tx.sql`
    insert into pg_temp.batch_sum (batch, currency, line_count, net_minor, new_net_minor, replaced_net_minor, wrong_signs)
    select batch, currency, 0, 0, -coalesce(sum(net_minor) filter (where is_same and not known_refused), 0),
           coalesce(sum(known_net_minor) filter (where not is_same and not known_refused), 0), 0
      from pg_temp.judged group by batch, currency`;
  return counts!;
}

/** Writes the batches of the file, and refuses those that must not be posted. */
export async function insertBatches(
  tx: Tx,
  staging: Staging,
  totals: { readonly json: string },
): Promise<void> {
  await tx.sql`
    with own as (
      select batch, currency, sum(line_count)::integer as line_count, sum(net_minor)::bigint as net_minor,
             sum(new_net_minor)::bigint as new_net_minor, sum(replaced_net_minor)::bigint as replaced_net_minor,
             sum(wrong_signs) as wrong_signs
        from pg_temp.batch_sum group by batch, currency),
    whole as (select currency, sum(net_minor)::bigint as net_minor from own group by currency),
    stated as (
      select *
        from json_to_recordset(${totals.json}::text::json)
             as s (batch text, currency text, opening_minor bigint, closing_minor bigint, sum_minor bigint))
    insert into ${tx.t.settlementBatch} (id, file_id, name, currency, opening_minor, closing_minor, sum_minor, line_count, net_minor,
                                         new_net_minor, replaced_net_minor, refused)
    select n.id, ${staging.fileId}, n.name, n.currency, coalesce(s.opening_minor, f.opening_minor),
           coalesce(s.closing_minor, f.closing_minor), coalesce(s.sum_minor, f.sum_minor), b.line_count, b.net_minor,
           b.new_net_minor, b.replaced_net_minor,
           case when b.wrong_signs > 0 then 'direction_mismatch'
                when s.sum_minor <> b.net_minor or s.closing_minor - s.opening_minor <> b.net_minor
                  or f.sum_minor <> w.net_minor or f.closing_minor - f.opening_minor <> w.net_minor
                then 'batch_out_of_balance' end
      from pg_temp.batch_name n
      join own b on b.currency = n.currency and b.batch is not distinct from n.name
      join whole w on w.currency = n.currency
      left join stated s on s.currency = n.currency and s.batch = n.name
      -- A total without a batch is the whole file's in its currency.
      left join stated f on f.currency = n.currency and f.batch is null`;
}

/** Totals as {@link insertBatches} takes them. */
export function totalsJson(totals: readonly StatedTotal[]): { readonly json: string } {
  const text = (minor: bigint | null) => (minor === null ? null : minor.toString());
  return {
    json: JSON.stringify(
      totals.map((total) => ({
        batch: total.batch,
        currency: total.currency,
        opening_minor: text(total.openingMinor),
        closing_minor: text(total.closingMinor),
        sum_minor: text(total.sumMinor),
      })),
    ),
  };
}
