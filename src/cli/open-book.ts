/**
 * Opens the database that the configuration names, or the embedded one, for as long as a command works.
 * Holds no query; always closes.
 */
import pRetry from 'p-retry';
import type { Config } from '../core/config.ts';
import {
  asOperatorError,
  type ConnectionOptions,
  type Db,
  errorCode,
  openBook,
} from '../core/db/connection.ts';
import type { EmbeddedServer } from '../core/db/embedded.ts';
import { OperatorError, TransientError } from '../core/errors.ts';
import { loadConfig } from './load-config.ts';
import type { Session } from './session.ts';

export type Role = 'app' | 'owner';

export type Book = {
  readonly db: Db;
  readonly config: Config;
  /** Who acts: the operating system's user and the database's role. */
  readonly principal: string;
  /** For messages about it. */
  readonly connection: ConnectionOptions;
};

export type BookOptions = {
  /** `report`: reads whole tables. */
  readonly workload?: 'keyed' | 'report';
  /** Connections (1–50). */
  readonly max?: number;
};

/** A database that is just starting is waited for about this long (ms). */
const START_WAIT_MS = 5_000;
const START_RETRIES = { retries: 8, minTimeout: 100, maxTimeout: 1_000, maxRetryTime: START_WAIT_MS };
/** A start that takes longer than this (ms) is remarked on. */
const SLOW_START_MS = 800;
/** What a database that is about to come up answers. */
const COMING_UP = new Set(['57P03', 'ECONNREFUSED', 'ECONNRESET', 'CONNECTION_CLOSED']);

/**
 * Runs `work` with the book open, and closes it whatever happens.
 * @throws OperatorError as configuration and database fail
 */
export async function withBook<T>(
  session: Session,
  work: (book: Book) => Promise<T>,
  options: BookOptions = {},
): Promise<T> {
  const { config } = loadConfig(session);
  const connection = await locateDatabase(session, config, 'app');
  const db = await open(session, config, connection, options);
  try {
    return await work({
      db,
      config,
      principal: `cli:${session.host.user.name}/${connection.user}`,
      connection,
    });
  } catch (error) {
    throw explainDatabaseError(error, connection);
  } finally {
    await db.close();
  }
}

async function open(
  session: Session,
  config: Config,
  connection: ConnectionOptions,
  options: BookOptions,
): Promise<Db> {
  const openOnce = () =>
    openBook({
      connection,
      book: config.database.book,
      max: options.max ?? 1,
      prepare: config.database.prepare,
      applicationName: 'paygate cli',
      workload: options.workload ?? 'keyed',
    });
  try {
    return await openWhenUp(session, openOnce);
  } catch (error) {
    // The embedded database is ours: nobody else would migrate it.
    const isBehind =
      error instanceof OperatorError && ['database_not_migrated', 'database_older'].includes(error.code);
    if (!isBehind || config.database.url !== null) throw explainDatabaseError(error, connection);
    await migrateBook(session, config);
    return openOnce();
  }
}

/** Retries are for a database that is starting, and for nothing later. */
async function openWhenUp(session: Session, openOnce: () => Promise<Db>): Promise<Db> {
  return pRetry(openOnce, {
    ...START_RETRIES,
    shouldRetry: ({ error }) => COMING_UP.has(errorCode(error.cause) ?? ''),
    onFailedAttempt: ({ attemptNumber, error }) => {
      if (attemptNumber === 3 && COMING_UP.has(errorCode(error.cause) ?? ''))
        session.note('waiting for the database …');
    },
    signal: session.host.interrupt.signal,
  });
}

/**
 * Where the database is; starts the embedded one where the configuration names none.
 * @throws OperatorError embedded_in_production, database_url_invalid, or as the embedded server fails
 */
export async function locateDatabase(
  session: Session,
  config: Config,
  role: Role,
): Promise<ConnectionOptions> {
  const url = role === 'owner' ? (config.database.ownerUrl ?? config.database.url) : config.database.url;
  if (url !== null) return readUrl(session, url);
  refuseEmbeddedInProduction(config);
  const { embeddedConnection } = await import('../core/db/embedded.ts');
  const server = await startEmbeddedServer(session);
  if (server.startedNow) session.note(`started the embedded database in ${server.stateDir}`);
  return embeddedConnection(server, role);
}

/** The running embedded server; a start that takes long is remarked on. */
export async function startEmbeddedServer(session: Session): Promise<EmbeddedServer> {
  const { startEmbedded } = await import('../core/db/embedded.ts');
  const slow = setTimeout(() => session.note('starting the embedded database …'), SLOW_START_MS);
  return startEmbedded().finally(() => clearTimeout(slow));
}

/** @throws OperatorError embedded_in_production */
export function refuseEmbeddedInProduction(config: Config): void {
  if (config.env !== 'production') return;
  throw new OperatorError(
    'embedded_in_production',
    'The embedded database is not for production. Set database.url in the configuration, or PAYGATE_DATABASE_URL.',
  );
}

/** @throws OperatorError database_url_invalid */
export async function readUrl(session: Session, url: string): Promise<ConnectionOptions> {
  const { parseDatabaseUrl } = await import('../core/db/database-url.ts');
  return parseDatabaseUrl(url, { user: session.host.user.name });
}

/** Brings the schema up to date, as the owner. */
export async function migrateBook(session: Session, config: Config) {
  const { migrate } = await import('../core/db/migrate.ts');
  const connection = await locateDatabase(session, config, 'owner');
  try {
    return await migrate({ connection, book: config.database.book, appRole: config.database.appRole });
  } catch (error) {
    throw explainDatabaseError(error, connection);
  }
}

/** The database's own troubles in words that say what to do; everything else passes unchanged. */
export function explainDatabaseError(error: unknown, connection: ConnectionOptions): unknown {
  switch (errorCode(error)) {
    case '53100':
      return new OperatorError('disk_full', 'The disk of the database is full: make room, then try again.', {
        kind: 'failed',
        cause: error,
      });
    case '42501':
      return new OperatorError(
        'database_forbidden',
        `The role "${connection.user}" may not do this in the database. Use the application's role, and for ` +
          'paygate db migrate the owner (database.owner_url).',
        { kind: 'failed', cause: error },
      );
    case '57014':
      return new TransientError('database_slow', 'The database took too long to answer.', { cause: error });
    case '25006':
      return new OperatorError('database_read_only', 'The database takes no writes: is it a standby?', {
        kind: 'failed',
        cause: error,
      });
    case '57P01':
      return new TransientError('database_shut_down', 'The database was shut down meanwhile.', {
        cause: error,
      });
    case '40001':
    case '40P01':
    case '55P03':
      return new TransientError('database_busy', 'The database was busy with the same rows.', {
        cause: error,
      });
    default:
      return asOperatorError(error, { connection });
  }
}
