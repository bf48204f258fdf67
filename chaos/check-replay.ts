/** Rebuilds the book from its events into an empty one beside it, and compares the two row by row, bytes and all. */
import { replayEvents } from '../src/core/audit/replay-events.ts';
import type { ConnectionOptions, Db } from '../src/core/db/connection.ts';
import { APP_USER } from '../src/core/db/embedded.ts';
import { migrate } from '../src/core/db/migrate.ts';
import { BOOK, openAsOwner } from './database.ts';

const REPLAYED = 'paygate_replayed';

/** Everything that events are enough to rebuild. Jobs, dead letters, evidence and daemons are not among it. */
const TABLES = [
  'batch',
  'payment',
  'checkout',
  'idempotency_key',
  'payment_order',
  'refund',
  'seller',
  'seller_destination',
  'seller_change',
  'payout_batch',
  'payout_item',
  'payout_ref',
  'operation',
  'attempt',
  'account',
  'account_balance',
  'journal_entry',
  'posting',
] as const;

/** Rows shown of a table that differs. */
const SHOWN = 3;

export type ReplayCheck = {
  readonly events: number;
  readonly differences: number;
  readonly examples: readonly string[];
};

export async function checkReplay(db: Db, owner: ConnectionOptions): Promise<ReplayCheck> {
  await migrate({ connection: owner, book: REPLAYED, appRole: APP_USER });
  const into = openAsOwner(owner, REPLAYED);
  try {
    const events = await replayEvents(db, into);
    const examples: string[] = [];
    let differences = 0;
    for (const table of TABLES) {
      const rows = await compareTable(db, table);
      differences += rows.length;
      examples.push(
        ...rows.slice(0, SHOWN).map((row) => `${table}: only in the ${row.side} book: ${row.line}`),
      );
    }
    return { events, differences, examples };
  } finally {
    await into.close();
  }
}

/** Rows that only one of the two has, each column as text. */
async function compareTable(db: Db, table: string): Promise<readonly { side: string; line: string }[]> {
  const { sql } = db;
  const columns = await sql<{ name: string }[]>`
    select column_name as name
      from information_schema.columns
     where table_schema = ${BOOK} and table_name = ${table}
     order by ordinal_position`;
  const line = columns.map(({ name }) => `coalesce("${name}"::text, '-')`).join(` || ' | ' || `);
  const original = sql`select ${sql.unsafe(line)} as line from ${sql(`${BOOK}.${table}`)}`;
  const replayed = sql`select ${sql.unsafe(line)} as line from ${sql(`${REPLAYED}.${table}`)}`;
  return sql<{ side: string; line: string }[]>`
    (select 'original' as side, o.line from (${original} except all ${replayed}) o)
    union all
    (select 'replayed', r.line from (${replayed} except all ${original}) r)
    order by 2`;
}
