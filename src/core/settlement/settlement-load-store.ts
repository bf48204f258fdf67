/**
 * Remembers the lines of a file, portion by portion, in one transaction: a file with bad rows leaves nothing. A portion goes by COPY
 * straight into settlement_line. Where a key is taken (an earlier file or an earlier row brought it) that COPY is undone, and the
 * portion goes through a temporary table: what is new is stored, the rest judged when the file is whole.
 *
 * Measured with 1,000,000 lines of a new file on 2 cores: COPY into the table with both of its indexes 4.2 µs of the server's time for
 * a line, of which 2.0 are the row; by the temporary table 11.9 (5.2 for the COPY and 6.7 for insert … on conflict do nothing). Loser
 * too: no unique index and a clean-up of known lines afterwards, because a line that was never new would have been written.
 */
import { errorCode, list, type Tx, withinSavepoint } from '../db/connection.ts';
import { copyRows, copyText } from '../db/copy-rows.ts';
import { operationNamed } from './open-item.ts';
import type { LineRange } from './reconcile-run-store.ts';
import type { SettlementLine, StatedTotal } from './settlement-line.ts';

/** The server takes no longer than this for one portion (ms). */
const COPY_DEADLINE_MS = 120_000;
/** The key is taken; the transaction has failed of it before anybody could be told. */
const TAKEN = new Set(['23505', '25P02']);

/** Where the lines of one import go, inside its transaction. */
export type Staging = {
  readonly sourceId: number;
  readonly fileId: bigint;
  readonly bookKey: string;
};

export async function createStaging(tx: Tx): Promise<void> {
  await tx.sql`
    create temporary table incoming (
      file_id bigint not null, batch_id bigint not null, source_id integer not null,
      row_number integer not null, operation_id bigint, gross_minor bigint not null, fee_minor bigint not null,
      net_minor bigint not null, original_minor bigint, occurred_at timestamptz, available_on timestamptz,
      currency text not null, original_currency text, kind text not null, line_key text collate "C" not null,
      raw_type text not null, reference text collate "C", payment_reference text collate "C",
      our_reference text collate "C", raw text
    ) on commit drop`;
  await tx.sql`create temporary table leftover (like incoming) on commit drop`;
  await tx.sql`
    create temporary table batch_sum (batch_id bigint not null, line_count bigint not null, net_minor bigint not null,
                                      new_net_minor bigint not null, replaced_net_minor bigint not null,
                                      wrong_signs bigint not null) on commit drop`;
}

/** Numbers for so many things of ours. */
export async function takeIds(tx: Tx, count: number): Promise<readonly bigint[]> {
  const rows = await tx.sql<{ id: bigint }[]>`
    select nextval(${`${tx.book}.object_id`}::regclass) as id from generate_series(1, ${count}::integer)`;
  return rows.map(({ id }) => id);
}

const COLUMNS = `file_id, batch_id, source_id, row_number, operation_id, gross_minor, fee_minor, net_minor, original_minor, occurred_at,
  available_on, currency, original_currency, kind, line_key, raw_type, reference, payment_reference, our_reference, raw`;

/**
 * Lines in COPY's text format, of the columns above. Bytes and not a text: a text of so many parts is thousands of small objects
 * until somebody reads it, which cost 4 µs a line in the collector and 100 MB.
 */
export function lineBytes(
  lines: readonly SettlementLine[],
  { fileId, sourceId, bookKey }: Staging,
  batchIdOf: (line: SettlementLine) => bigint,
): Buffer {
  let text = '';
  for (const l of lines) {
    const operationId = operationNamed(l.ourReference, bookKey);
    text += `${fileId}\t${batchIdOf(l)}\t${sourceId}\t${l.row}\t${operationId ?? '\\N'}\t${l.grossMinor}\t${l.feeMinor}\t${l.netMinor}\t${l.original === null ? '\\N' : l.original.amountMinor}\t${l.occurredAt ?? '\\N'}\t${l.availableOn ?? '\\N'}\t${l.currency}\t${l.original === null ? '\\N' : l.original.currency}\t${l.kind}\t${copyText(l.lineKey)}\t${copyText(l.rawType)}\t${copyText(l.reference)}\t${copyText(l.paymentReference)}\t${copyText(l.ourReference)}\t${copyText(l.raw)}\n`;
  }
  return Buffer.from(text);
}

/**
 * A portion whose keys are all new, as first versions.
 * @returns false when one of them was taken: nothing of the portion is there then
 */
export async function copyNewLines(tx: Tx, portion: readonly Buffer[]): Promise<boolean> {
  await tx.sql`savepoint portion`;
  const stored = await withinSavepoint(tx, async (inner) => {
    const statement = inner.sql`copy ${inner.t.settlementLine} (${inner.sql.unsafe(COLUMNS)}) from stdin`;
    await copyRows(inner, statement, portion, COPY_DEADLINE_MS);
    return true;
  }).catch((error: unknown) => {
    if (TAKEN.has(errorCode(error) ?? '')) return false;
    throw error;
  });
  // The driver's own savepoint is inside, and it never releases one.
  await tx.sql`release savepoint portion`;
  return stored;
}

/** The same by the long way: what is taken goes to `leftover`. Returns how many that were. */
export async function sortPortion(tx: Tx, staging: Staging, portion: readonly Buffer[]): Promise<number> {
  const { t } = tx;
  const columns = tx.sql.unsafe(COLUMNS);
  await copyRows(tx, tx.sql`copy pg_temp.incoming (${columns}) from stdin`, portion, COPY_DEADLINE_MS);
  const [row] = await tx.sql<{ taken: number }[]>`
    with stored as (
      insert into ${t.settlementLine} (${columns})
      select ${columns} from (select * from pg_temp.incoming order by row_number) i
          on conflict (source_id, line_key, occurrence, version) do nothing
      returning 1)
    select (select count(*) from pg_temp.incoming)::integer - count(*)::integer as taken from stored`;
  if (row!.taken > 0) {
    await tx.sql`
      insert into pg_temp.leftover
      select i.*
        from pg_temp.incoming i
        join ${t.settlementLine} l on l.source_id = ${staging.sourceId} and l.line_key = i.line_key and l.occurrence = 1
                                  and l.version = 1
       where l.file_id <> ${staging.fileId} or l.row_number <> i.row_number`;
  }
  await tx.sql`truncate pg_temp.incoming`;
  return row!.taken;
}

/** The last number that this connection took: after a portion its last line's, or a later one. */
export async function lastId(tx: Tx): Promise<bigint> {
  const [row] = await tx.sql<{ id: bigint }[]>`select currval(${`${tx.book}.object_id`}::regclass) as id`;
  return row!.id;
}

/** The signs that kinds must have, as the statements below take them. */
export type SignRules = { readonly kinds: string; readonly signs: string };

/**
 * Adds up the file's own lines with numbers after `after` up to `upTo`, by batch. The signs are looked up in an array: the planner
 * takes the lines for one, and compared each of them with every row of a table of signs (1 µs a line).
 */
export async function addToBatchSums(
  tx: Tx,
  staging: Staging,
  signs: SignRules,
  range: { readonly after: bigint; readonly upTo: bigint },
): Promise<void> {
  await tx.sql`
    insert into pg_temp.batch_sum (batch_id, line_count, net_minor, new_net_minor, replaced_net_minor, wrong_signs)
    select l.batch_id, count(*), sum(l.net_minor), sum(l.net_minor), 0,
           count(*) filter (where sign(l.gross_minor) = -(${signs.signs}::integer[])[array_position(${signs.kinds}::text[], l.kind)]
                               or sign(l.original_minor) <> sign(l.gross_minor))
      from ${tx.t.settlementLine} l
     where l.id > ${range.after} and l.id <= ${range.upTo} and l.file_id = ${staging.fileId}
     group by l.batch_id`;
}

export type Leftovers = { readonly seenCount: number };

/**
 * Lines whose key was taken: the n-th row of its key in this file is compared with the n-th that is known. Equal in type, references,
 * amounts and currency (the economic fields): only seen. Otherwise, or where its earlier batch was refused and this file brings it
 * again: a new version. Not known: a further genuine row.
 */
export async function storeLeftovers(tx: Tx, staging: Staging, signs: SignRules): Promise<Leftovers> {
  const { t } = tx;
  const columns = tx.sql.unsafe(COLUMNS);
  await tx.sql`
    create temporary table judged on commit drop as
    with numbered as (
      select o.*, (row_number() over (partition by o.line_key order by o.row_number)
                   + (select count(*) from ${t.settlementLine} l
                       where l.source_id = ${staging.sourceId} and l.line_key = o.line_key and l.occurrence = 1
                         and l.version = 1 and l.file_id = ${staging.fileId}))::integer as occurrence
        from pg_temp.leftover o)
    select n.*, k.version as known_version, k.id as known_id, k.net_minor as known_net_minor, k.was_refused as known_refused,
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
  await tx.sql`
    insert into ${t.settlementLine} (occurrence, version, ${columns})
    select occurrence, version, ${columns}
      from (select j.*, coalesce(known_version, 0) + 1 as version
              from pg_temp.judged j
             where known_id is null or not is_same or known_refused order by row_number) i`;
  const [counts] = await tx.sql<Leftovers[]>`
    with seen as (
      insert into pg_temp.batch_sum (batch_id, line_count, net_minor, new_net_minor, replaced_net_minor, wrong_signs)
      select j.batch_id, count(*) filter (where j.is_same), coalesce(sum(j.net_minor) filter (where j.is_same), 0), 0,
             coalesce(sum(j.known_net_minor) filter (where not j.is_same), 0),
             count(*) filter (where j.is_same
                                and (sign(j.gross_minor) = -s.sign or sign(j.original_minor) <> sign(j.gross_minor)))
        from pg_temp.judged j
        left join unnest(${signs.kinds}::text[], ${signs.signs}::integer[]) as s (kind, sign) on s.kind = j.kind
       where not j.known_refused
       group by j.batch_id
      returning line_count)
    select coalesce(sum(line_count), 0)::integer as seen_count from seen`;
  return counts!;
}

/** First and last of the file's own lines within the numbers that it took. */
export async function findLineRange(tx: Tx, staging: Staging, upTo: bigint): Promise<LineRange> {
  const { t } = tx;
  const own = tx.sql`from ${t.settlementLine} where id > ${staging.fileId} and id <= ${upTo} and file_id = ${staging.fileId}`;
  const [row] = await tx.sql<LineRange[]>`
    select (select id ${own} order by id limit 1) as first_line, (select id ${own} order by id desc limit 1) as last_line`;
  return row!;
}

/** A deposit or statement of the file in one currency. */
export type NamedBatch = { readonly id: bigint; readonly name: string | null; readonly currency: string };

/** Writes the batches of the file, and refuses those that must not be posted. Returns how many those are. */
export async function insertBatches(
  tx: Tx,
  staging: Staging,
  batches: readonly NamedBatch[],
  totals: { readonly json: string },
): Promise<number> {
  const [row] = await tx.sql<{ refused: number }[]>`
    with own as (
      select n.id, n.name, n.currency, s.*
        from unnest(${list(batches.map(({ id }) => id))}::bigint[], ${list(batches.map(({ name }) => name))}::text[],
                    ${list(batches.map(({ currency }) => currency))}::text[]) as n (id, name, currency)
        join (select batch_id, sum(line_count)::integer as line_count, sum(net_minor)::bigint as net_minor,
                     sum(new_net_minor)::bigint as new_net_minor, sum(replaced_net_minor)::bigint as replaced_net_minor,
                     sum(wrong_signs) as wrong_signs
                from pg_temp.batch_sum group by batch_id) s on s.batch_id = n.id),
    whole as (select currency, sum(net_minor)::bigint as net_minor from own group by currency),
    stated as (
      select *
        from json_to_recordset(${totals.json}::text::json)
             as s (batch text, currency text, opening_minor bigint, closing_minor bigint, sum_minor bigint)),
    added as (
    insert into ${tx.t.settlementBatch} (id, file_id, name, currency, opening_minor, closing_minor, sum_minor, line_count, net_minor,
                                         new_net_minor, replaced_net_minor, refused)
    select b.id, ${staging.fileId}, b.name, b.currency, coalesce(s.opening_minor, f.opening_minor),
           coalesce(s.closing_minor, f.closing_minor), coalesce(s.sum_minor, f.sum_minor), b.line_count, b.net_minor,
           b.new_net_minor, b.replaced_net_minor,
           case when b.wrong_signs > 0 then 'direction_mismatch'
                when s.sum_minor <> b.net_minor or s.closing_minor - s.opening_minor <> b.net_minor
                  or f.sum_minor <> w.net_minor or f.closing_minor - f.opening_minor <> w.net_minor
                then 'batch_out_of_balance' end
      from own b
      join whole w on w.currency = b.currency
      left join stated s on s.currency = b.currency and s.batch = b.name
      -- A total without a batch is the whole file's in its currency.
      left join stated f on f.currency = b.currency and f.batch is null
    returning refused)
    select count(refused)::integer as refused from added`;
  return row!.refused;
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
