/**
 * Opens the book: one pool of connections and the names of its tables, always schema-qualified, so that
 * it works behind a pooler that keeps no session state. Holds no query of its own but the start-up check.
 */
import postgres from 'postgres';
import { Bug, OperatorError, TransientError } from '../errors.ts';
import type { DatabaseOptions } from './database-url.ts';
import { LATEST_VERSION } from './schema-version.ts';

const TABLES = [
  'book',
  'migration',
  'daemon',
  'event',
  'account',
  'account_balance',
  'journal_entry',
  'posting',
  'batch',
  'payment',
  'checkout',
  'idempotency_key',
  'payment_order',
  'operation',
  'attempt',
  'evidence',
  'job',
  'dead_letter',
  'fund_release',
  'refund',
  'webhook_event',
  'partial_watch',
  'hand_off',
  'seller',
  'seller_destination',
  'seller_change',
  'payout_batch',
  'payout_item',
  'payout_ref',
  'risk_assessment',
  'risk_review',
  'risk_key',
  'risk_counter',
  'risk_trace',
  'settlement_source',
  'settlement_file',
  'settlement_batch',
  'settlement_line',
  'settlement_line_seen',
  'settlement_match',
  'open_item',
  'reconcile_position',
  'reconcile_run',
  'recon_break',
  'break_event',
  'dispute',
  'dispute_word',
  'dispute_look',
  'suspense_decision',
] as const;

type CamelCase<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : S;

/** Every table of the book, its number space and its functions, as identifiers for `${…}` in a query. */
type Tables = Readonly<
  Record<
    CamelCase<(typeof TABLES)[number]> | 'objectId' | 'shownSubState' | 'lockAvailable',
    postgres.Helper<string>
  >
>;

/** Values of PostgreSQL types as they come out: int8 as bigint, times as text with all microseconds. */
type Parsers = { bigint: bigint; timestamptz: string };

export type Sql = postgres.Sql<Parsers>;

/** Where a query runs: the pool (`Db`) or one transaction (`Tx`), with the book's table names. */
export type Queryable = {
  readonly sql: postgres.ISql<Parsers>;
  readonly t: Tables;
  /** Schema of the book; also the prefix of its notification channel. */
  readonly book: string;
  /** Ids of accounts that are known to be committed, by "code currency"; accounts never change. */
  readonly accountIds: Map<string, bigint>;
};

/** Inside a transaction: what takes a `Tx` is atomic with the rest of it. */
export type Tx = Queryable & { readonly sql: postgres.TransactionSql<Parsers>; readonly inTransaction: true };

export type Db = Queryable & {
  readonly sql: Sql;
  /** How long this pool lets a server be silent (ms); the driver looks at it each time. */
  readonly silence: { limitMs: number };
  close(): Promise<void>;
};

/** Options for postgres.js that name a server; made by the URL parser or by the embedded server. */
export type ConnectionOptions = DatabaseOptions;

export type OpenOptions = {
  readonly connection: ConnectionOptions;
  readonly book: string;
  /** Connections in the pool (1–50). */
  readonly max: number;
  /** False behind a pooler in transaction mode, which loses named statements and start-up parameters. */
  readonly prepare?: boolean;
  readonly applicationName?: string;
  /** Longest silence of a server that has a statement in hand (ms). */
  readonly silenceLimitMs?: number;
  /**
   * `keyed` (default): every statement finds its rows by key. `report`: statements read whole tables.
   */
  readonly workload?: 'keyed' | 'report';
};

/** A query that runs this long is stuck: every statement of ours is bounded (ms). */
const STATEMENT_TIMEOUT_MS = 60_000;
/**
 * A server that has a statement in hand and says nothing for this long is not there any more, whatever TCP thinks (ms):
 * by then it would have cancelled the statement by itself. {@link readSnapshot}, whose statements may take longer, waits
 * longer.
 */
const SILENCE_LIMIT_MS = STATEMENT_TIMEOUT_MS + 5_000;
/** An idle connection is asked for a sign of life by TCP after so long (s): listeners wait for days. */
const KEEP_ALIVE_S = 30;
/** Nobody holds a row for this long on purpose (ms). */
const LOCK_TIMEOUT_MS = 10_000;
/**
 * A transaction that waits for its client this long belongs to a dead or stopped one (ms). Below the lease: one that
 * stopped between its postings and its commit holds the hot balances, and with them everybody's booking.
 */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_S = 10;
/** About this long between two tries of one connection (s): a daemon is back soon after its database is. */
const RECONNECT_PAUSE_S = 0.3;
/**
 * Our hot statements join a few hundred keys to tables by primary key. Without statistics (a fresh book, a
 * queue that was empty a minute ago) the planner reads those tables whole, and keeps such plans for foreign
 * keys for the life of the connection: 3 times slower in all, measured. Behind a pooler in transaction mode
 * set these on the application's role.
 */
const KEYED_PLANS = { enable_seqscan: 'off', enable_mergejoin: 'off', random_page_cost: '0.1' };

export const BOOK_NAME = /^[a-z_][a-z0-9_]{0,39}$/;

/** Opens a pool without looking at what is on the other side; connects at the first query. */
export function connect(options: OpenOptions): Db {
  const prepare = options.prepare ?? true;
  const silence = { limitMs: options.silenceLimitMs ?? SILENCE_LIMIT_MS };
  // The driver's types do not know the option that bin/patch-postgres.mjs adds.
  const patched: object = { silence };
  const sql = postgres({
    connect_timeout: CONNECT_TIMEOUT_S,
    keep_alive: KEEP_ALIVE_S,
    ...patched,
    ...(options.connection as object),
    max: options.max,
    prepare,
    // No array is read or written as one (`list`). Its query for them is awaited by nobody: a connection that was lost
    // during it ended the process.
    fetch_types: false,
    idle_timeout: 0,
    max_lifetime: null,
    backoff: () => RECONNECT_PAUSE_S * (0.5 + Math.random()),
    onnotice: () => undefined,
    transform: { column: { from: postgres.toCamel } },
    types: {
      bigint: postgres.BigInt,
      timestamptz: {
        to: 1184,
        from: [1184],
        serialize: (value: string) => value,
        parse: (value: string) => value,
      },
    },
    connection: {
      application_name: options.applicationName ?? 'paygate',
      ...options.connection.connection,
      ...(prepare
        ? {
            statement_timeout: STATEMENT_TIMEOUT_MS,
            lock_timeout: LOCK_TIMEOUT_MS,
            idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
            TimeZone: 'UTC',
            ...(options.workload === 'report' ? {} : KEYED_PLANS),
          }
        : {}),
    },
  }) as unknown as Sql;
  return {
    sql,
    silence,
    t: tablesOf(sql, options.book),
    book: options.book,
    accountIds: new Map(),
    close: () => sql.end({ timeout: 5 }),
  };
}

function tablesOf(sql: Sql, book: string): Tables {
  const entries = TABLES.map((name) => [postgres.toCamel(name), sql(`${book}.${name}`)] as const);
  return Object.fromEntries([
    ...entries,
    ['objectId', sql(`${book}.object_id`)],
    ['shownSubState', sql(`${book}.shown_sub_state`)],
    ['lockAvailable', sql(`${book}.lock_available`)],
  ]) as unknown as Tables;
}

/**
 * Opens the book and checks that it can be trusted: reachable, migrated to exactly this version, durable
 * commits.
 * @throws OperatorError database_unreachable, database_not_migrated, database_newer, database_older,
 *   database_not_durable
 */
export async function openBook(options: OpenOptions): Promise<Db> {
  const db = connect(options);
  try {
    await checkBook(db);
    return db;
  } catch (error) {
    await db.close();
    throw asOperatorError(error, options);
  }
}

async function checkBook(db: Db): Promise<void> {
  const [facts] = await db.sql<{ migrated: boolean; durable: string }[]>`
    select to_regclass(${`"${db.book}".migration`}) is not null as migrated,
           current_setting('synchronous_commit') as durable`;
  if (!facts?.migrated) {
    throw new OperatorError(
      'database_not_migrated',
      `The database has no book "${db.book}". Run: paygate db migrate`,
    );
  }
  if (facts.durable === 'off') {
    throw new OperatorError(
      'database_not_durable',
      'synchronous_commit is off: an accepted payment could be lost. Set it to on for this role or database.',
    );
  }
  const [schema] = await db.sql<{ version: number }[]>`select max(version) as version from ${db.t.migration}`;
  const version = schema?.version ?? 0;
  if (version > LATEST_VERSION) {
    throw new OperatorError(
      'database_newer',
      `The book's schema is version ${version}; this paygate knows ${LATEST_VERSION}. Use the newer paygate.`,
    );
  }
  if (version < LATEST_VERSION) {
    throw new OperatorError(
      'database_older',
      `The book's schema is version ${version}; this paygate needs ${LATEST_VERSION}. Run: paygate db migrate`,
    );
  }
}

/** Puts a connection failure into words that say what to do; other errors pass unchanged. */
export function asOperatorError(error: unknown, options: Pick<OpenOptions, 'connection'>): unknown {
  const code = errorCode(error);
  const { host, port, database } = options.connection;
  const where = `${String(host)}:${String(port)}/${database}`;
  const because = (text: string) =>
    new OperatorError('database_unreachable', text, { kind: 'failed', cause: error });
  switch (code) {
    case 'ECONNREFUSED':
    case 'ENOENT':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'CONNECT_TIMEOUT':
      return because(
        `No database answers at ${where} (${code}). Start it (the embedded one: paygate db start), or correct PAYGATE_DATABASE_URL.`,
      );
    case 'CONNECTION_SILENT':
      return because(
        `The database at ${where} took the connection and fell silent (${code}). Look whether it still runs and whether a firewall stands between; then run the command again.`,
      );
    case 'ECONNRESET':
    case 'CONNECTION_CLOSED':
    case 'CONNECTION_DESTROYED':
    case '57P01':
    case '57P02':
      return because(`The connection to the database at ${where} was cut (${code}). Run the command again.`);
    case '28P01':
    case '28000':
      return because(
        `The database at ${where} refused user "${options.connection.user}". Check the password in PAYGATE_DATABASE_URL.`,
      );
    case '3D000':
      return because(`There is no database "${options.connection.database}" at ${where}. Create it first.`);
    case '53300':
      return because(`The database at ${where} has no free connections.`);
    case '57P03':
      return because(`The database at ${where} is starting up or shutting down. Try again.`);
    default:
      return error;
  }
}

/** The code of a driver or server error: a SQLSTATE ("23505") or a system code ("ECONNREFUSED"). */
export function errorCode(error: unknown): string | null {
  if (typeof error !== 'object' || error === null || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}

/** True when the connection, not the statement, is the trouble: the same call may work a little later. */
export function isConnectionError(error: unknown): boolean {
  const code = errorCode(error);
  if (code === null) return false;
  return (
    code.startsWith('08') ||
    code.startsWith('57P') ||
    code === '53300' ||
    ['CONNECTION_CLOSED', 'CONNECTION_ENDED', 'CONNECTION_DESTROYED', 'CONNECTION_SILENT'].includes(code) ||
    code === 'CONNECT_TIMEOUT' ||
    ['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH'].includes(code)
  );
}

/** True when the server has run out of something (disk, memory, connections): nobody's statement is at fault. */
export function isResourceError(error: unknown): boolean {
  return errorCode(error)?.startsWith('53') ?? false;
}

/** True for what a second try cures: serialisation failure, deadlock, lock not free in time. */
export function isRetryableError(error: unknown): boolean {
  const code = errorCode(error);
  return code === '40001' || code === '40P01' || code === '55P03' || error instanceof TransientError;
}

/** How often a transaction that lost a deadlock or a lock is tried again before it is an error. */
const MAX_TRANSACTION_TRIES = 5;

/** Runs `work` in one transaction (read committed); a deadlock or serialisation failure is tried again. */
export async function transact<T>(db: Db, work: (tx: Tx) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await transactOnce(db, work);
    } catch (error) {
      if (attempt >= MAX_TRANSACTION_TRIES || !isRetryableError(error)) throw error;
    }
  }
}

/** What every statement says that comes after the one that failed. */
const TRANSACTION_ABORTED = '25P02';

/**
 * Statements of one transaction that do not need each other's results: sent together they cost one round trip, and
 * run one after the other in the order given. Waits for all of them before it throws, so that nothing of a failed
 * transaction is sent after its rollback; throws what failed first.
 */
export async function together<T extends readonly unknown[] | []>(
  statements: T,
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  const results = await Promise.allSettled(statements);
  const failures = results.flatMap((result) =>
    result.status === 'rejected' ? [result.reason as unknown] : [],
  );
  if (failures.length > 0)
    throw failures.find((failure) => errorCode(failure) !== TRANSACTION_ABORTED) ?? failures[0];
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as {
    -readonly [K in keyof T]: Awaited<T[K]>;
  };
}

/** The same without a second try, for callers that treat a lost lock in their own way. */
export async function transactOnce<T>(db: Db, work: (tx: Tx) => Promise<T>): Promise<T> {
  return (await db.sql.begin((sql) =>
    work({ ...db, sql: sql as unknown as Tx['sql'], inTransaction: true }),
  )) as T;
}

/** Runs `work` so that its failure undoes only what it did, and leaves the rest of the transaction usable. */
export async function withinSavepoint<T>(tx: Tx, work: (tx: Tx) => Promise<T>): Promise<T> {
  return (await tx.sql.savepoint((sql) => work({ ...tx, sql: sql as unknown as Tx['sql'] }))) as T;
}

/**
 * Runs `work` on one unchanging snapshot of the book, read-only, with the planner free to read whole tables.
 * @param timeoutMs longest time of one statement
 */
export async function readSnapshot<T>(db: Db, timeoutMs: number, work: (tx: Tx) => Promise<T>): Promise<T> {
  const { silence } = db;
  const before = silence.limitMs;
  silence.limitMs = Math.max(before, timeoutMs + SILENCE_LIMIT_MS - STATEMENT_TIMEOUT_MS);
  try {
    return (await db.sql.begin('isolation level repeatable read read only', async (sql) => {
      const tx: Tx = { ...db, sql: sql as unknown as Tx['sql'], inTransaction: true };
      await tx.sql`select set_config('statement_timeout', ${`${timeoutMs}ms`}, true),
                          set_config('enable_seqscan', 'on', true), set_config('random_page_cost', '4', true)`;
      return work(tx);
    })) as T;
  } finally {
    silence.limitMs = before;
  }
}

/** Longest that a client may be silent inside of a transaction that reads a file (ms): a slow disk, a pipe. */
const SILENT_READING_MS = 300_000;

/**
 * For a transaction that works on whole sets of rows: the planner may read whole tables and use this much memory for each sort or
 * hash, and plans each statement for the tables as they are now: a plan kept from an empty table reads it once per row.
 * The transaction must hold no lock that others wait for while its client is silent.
 * @param timeoutMs longest time of one statement
 */
export async function workOnSets(tx: Tx, timeoutMs: number): Promise<void> {
  await tx.sql`
    select set_config('statement_timeout', ${`${timeoutMs}ms`}, true),
           set_config('idle_in_transaction_session_timeout', ${`${SILENT_READING_MS}ms`}, true),
           set_config('enable_seqscan', 'on', true), set_config('enable_mergejoin', 'on', true),
           set_config('random_page_cost', '1.5', true), set_config('work_mem', '64MB', true), set_config('jit', 'off', true),
           set_config('plan_cache_mode', 'force_custom_plan', true)`;
}

/** How long this transaction waits for a lock (ms) before it fails with 55P03. */
export async function limitLockWait(tx: Tx, timeoutMs: number): Promise<void> {
  await tx.sql`select set_config('lock_timeout', ${`${timeoutMs}ms`}, true)`;
}

/**
 * Calls back on every notification of the channel, and whenever listening began (anew: what was sent while
 * the connection was away is lost). Returns how to stop.
 */
export async function listenTo(db: Db, channel: string, onNews: () => void): Promise<() => Promise<void>> {
  const { unlisten } = await db.sql.listen(channel, onNews, onNews);
  return unlisten;
}

/**
 * A PostgreSQL array literal, to be cast in the query: `${list(ids)}::bigint[]`. One way for all types,
 * because the driver's own arrays need type look-ups that fail on a cold client and for bigint.
 */
export function list(values: readonly (string | number | bigint | boolean | null)[]): string {
  const items: string[] = new Array(values.length);
  for (let i = 0; i < values.length; i += 1) {
    const value = values[i];
    if (value === null || value === undefined) items[i] = 'NULL';
    else if (typeof value !== 'string') items[i] = String(value);
    else items[i] = `"${MUST_ESCAPE.test(value) ? value.replace(/["\\]/g, '\\$&') : value}"`;
  }
  return `{${items.join(',')}}`;
}

const MUST_ESCAPE = /["\\]/;

/**
 * JSON texts, one a line, for `string_to_table(${lines(texts)}, E'\n')` in ROWS FROM: each comes out byte for byte
 * without being quoted. Measured against a JSON array and json_array_elements: a third of the time.
 * @param texts as JSON.stringify writes them: none holds a line feed, which a JSON text of one line never needs
 */
export function lines(texts: readonly string[]): string {
  const all = texts.join('\n');
  let feeds = 0;
  for (let at = all.indexOf('\n'); at >= 0; at = all.indexOf('\n', at + 1)) feeds += 1;
  if (feeds > Math.max(0, texts.length - 1)) throw new Bug('a JSON text with a line feed in it');
  return all;
}
