/**
 * Supervisor of the Postgres that paygate brings along: for a first run, demos, tests and small shops. Makes
 * it, starts it, finds it again, stops it. Never refuses production and never migrates: its callers do.
 *
 * No password and no network: the socket lies in a folder that only the server's user and root can enter.
 */
import { constants } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import postgres from 'postgres';
import { OperatorError } from '../errors.ts';
import { errorCode, isConnectionError } from './connection.ts';
import {
  ENDED_WHILE_STARTING,
  ensureCluster,
  explainFailure,
  readMajorVersion,
  startServer,
  stopServer,
  waitForServer,
} from './embedded-cluster.ts';
import { createFolders, type EmbeddedFolders, resolveFolders, SOCKET_PORT } from './embedded-folders.ts';
import { withFolderLock } from './embedded-lock.ts';
import { findPostmaster, type Postmaster } from './embedded-process.ts';
import { assertSupportedPlatform, installRuntime } from './embedded-runtime.ts';

/** Superuser of the cluster; owns the database and migrates. */
export const OWNER_USER = 'paygate_owner';
/** What daemons and commands connect as. */
export const APP_USER = 'paygate_app';
export const DATABASE = 'paygate';

/** Longest start (ms), crash recovery of 2 GB of log included on a slow disk in most cases. */
const START_TIMEOUT_MS = 90_000;
/** Longest fast shutdown (ms): it writes down all that is in memory. */
const STOP_TIMEOUT_MS = 90_000;
/** Longest wait for a connection (s) and for one of our few statements (ms). */
const CONNECT_TIMEOUT_S = 10;
const STATEMENT_TIMEOUT_MS = 30_000;
/** All logs together (bytes): a week of files is kept, the oldest are emptied beyond this. */
const LOGS_MAX_BYTES = 100 * 1024 * 1024;
/** Counting a bigger data folder than this (files) costs more than the number is worth. */
const SIZE_MAX_FILES = 20_000;

/** A server that takes connections. */
export type EmbeddedServer = {
  /** Folder of the Unix socket: what postgres.js takes as `host`. */
  readonly socketDir: string;
  readonly port: number;
  readonly ownerUser: string;
  readonly appUser: string;
  readonly stateDir: string;
  readonly pid: number;
  /** False when it ran already. */
  readonly startedNow: boolean;
};

export type EmbeddedStatus =
  | {
      readonly state: 'running' | 'starting' | 'stopping';
      readonly stateDir: string;
      readonly dataDir: string;
      readonly logDir: string;
      readonly socketDir: string;
      readonly port: number;
      readonly pid: number;
      readonly majorVersion: number;
      /** Size of the data folder in bytes; null when it has too many files to count quickly. */
      readonly sizeBytes: number | null;
    }
  | {
      readonly state: 'stopped';
      readonly stateDir: string;
      readonly dataDir: string;
      readonly logDir: string;
      /** Null when there is no data yet. */
      readonly majorVersion: number | null;
      readonly sizeBytes: number | null;
    };

/** For two cores and a few GB; every commit is on the disk before it is said to be done. */
const SETTINGS: Readonly<Record<string, string>> = {
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  cluster_name: 'paygate',
  max_connections: '200',
  shared_buffers: '256MB',
  effective_cache_size: '1GB',
  work_mem: '8MB',
  maintenance_work_mem: '128MB',
  random_page_cost: '1.1',
  checkpoint_timeout: '15min',
  max_wal_size: '2GB',
  min_wal_size: '256MB',
  jit: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
};

/**
 * One file a weekday, overwritten a week later. Neither statements nor details: they would carry buyers'
 * data into the log, and an application that errs in a loop would fill the disk.
 */
function logSettings(logDir: string): Readonly<Record<string, string>> {
  return {
    logging_collector: 'on',
    log_directory: logDir,
    log_filename: 'postgresql-%a.log',
    log_truncate_on_rotation: 'on',
    log_rotation_age: '1d',
    log_rotation_size: '0',
    log_line_prefix: '%m [%p] %q%u@%d ',
    log_min_error_statement: 'panic',
    log_error_verbosity: 'terse',
  };
}

/**
 * The running server of the state folder; makes and starts what is missing. Any number of commands may call
 * it at once, and any of them may be killed at any moment.
 * @param options.stateDir absolute; default: /var/lib/paygate for root, else $XDG_STATE_HOME/paygate or
 *   ~/.local/state/paygate
 * @param options.settings Postgres settings on top of ours; only for a server that is started now
 * @throws OperatorError, kind `failed`: embedded_unsupported, embedded_no_user, embedded_no_home,
 *   embedded_folder_invalid / _foreign / _unreachable, embedded_not_writable, disk_full, embedded_busy,
 *   embedded_library_missing, embedded_other_version, embedded_data_damaged, embedded_start_failed,
 *   embedded_start_slow, embedded_orphans, embedded_no_socket
 */
export async function startEmbedded(
  options: { stateDir?: string; settings?: Record<string, string> } = {},
): Promise<EmbeddedServer> {
  assertSupportedPlatform();
  const folders = await resolveFolders(options.stateDir);
  try {
    await limitLogs(folders.logDir).catch(() => undefined);
    const running = await findPostmaster(folders.dataDir);
    if (running?.status === 'ready' && (await hasRolesAndDatabase(running))) {
      return describeServer(folders, running, false);
    }
    await createFolders(folders);
    return await withFolderLock(folders.stateDir, () => startLocked(folders, options.settings ?? {}));
  } catch (error) {
    throw explainSystemError(error, folders.stateDir);
  }
}

async function startLocked(
  folders: EmbeddedFolders,
  settings: Record<string, string>,
): Promise<EmbeddedServer> {
  const waiting = { ...folders, timeoutMs: START_TIMEOUT_MS };
  let server = await findPostmaster(folders.dataDir);
  let startedNow = false;
  if (server?.status === 'stopping') {
    await stopServer(folders.dataDir, 'fast', STOP_TIMEOUT_MS);
    server = null;
  }
  if (server === null) {
    const binaries = await installRuntime(folders.runtimeDir);
    await ensureCluster({ ...folders, binaries, ownerUser: OWNER_USER, sync: 'yes' });
    server = await startServer({
      ...waiting,
      binaries,
      port: SOCKET_PORT,
      settings: { ...SETTINGS, ...logSettings(folders.logDir), ...settings },
    });
    startedNow = true;
  } else if (server.status !== 'ready') {
    // Its starter was killed or gave up waiting.
    server = await waitForServer(waiting, () => ENDED_WHILE_STARTING);
  }
  await ensureRolesAndDatabase(server, DATABASE);
  return describeServer(folders, server, startedNow);
}

function describeServer(folders: EmbeddedFolders, server: Postmaster, startedNow: boolean): EmbeddedServer {
  return {
    socketDir: server.socketDir,
    port: server.port,
    ownerUser: OWNER_USER,
    appUser: APP_USER,
    stateDir: folders.stateDir,
    pid: server.pid,
    startedNow,
  };
}

/**
 * Ends all connections, writes everything down and stops the server; waits until it is gone.
 * @returns whether something was running
 * @throws OperatorError embedded_busy, embedded_stop_slow
 */
export async function stopEmbedded(options: { stateDir?: string } = {}): Promise<boolean> {
  const folders = await resolveFolders(options.stateDir);
  if ((await stat(folders.stateDir).catch(() => null)) === null) return false;
  try {
    return await withFolderLock(folders.stateDir, () => stopServer(folders.dataDir, 'fast', STOP_TIMEOUT_MS));
  } catch (error) {
    throw explainSystemError(error, folders.stateDir);
  }
}

/** Looks only: creates nothing, waits for nobody. */
export async function statusEmbedded(options: { stateDir?: string } = {}): Promise<EmbeddedStatus> {
  const folders = await resolveFolders(options.stateDir);
  const { stateDir, dataDir, logDir } = folders;
  try {
    const [server, majorVersion, sizeBytes] = await Promise.all([
      findPostmaster(dataDir),
      readMajorVersion(dataDir),
      measureFolder(dataDir),
    ]);
    if (server === null || majorVersion === null) {
      return { state: 'stopped', stateDir, dataDir, logDir, majorVersion, sizeBytes };
    }
    const { status, socketDir, port, pid } = server;
    const state = status === 'ready' ? 'running' : status === 'stopping' ? 'stopping' : 'starting';
    return { state, stateDir, dataDir, logDir, socketDir, port, pid, majorVersion, sizeBytes };
  } catch (error) {
    throw explainSystemError(error, stateDir);
  }
}

/** How to reach one database of the embedded server: a socket folder, no password. */
export type EmbeddedConnection = {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
};

/**
 * What to hand to postgres.js (which takes no socket URL in any form).
 * @param role `owner` migrates, `app` does everything else
 */
export function embeddedConnection(
  server: Pick<EmbeddedServer, 'socketDir' | 'port' | 'ownerUser' | 'appUser'>,
  role: 'owner' | 'app',
  database = DATABASE,
): EmbeddedConnection {
  return {
    host: server.socketDir,
    port: server.port,
    user: role === 'owner' ? server.ownerUser : server.appUser,
    database,
  };
}

type Reachable = Pick<Postmaster, 'socketDir' | 'port'>;

async function query<T>(server: Reachable, work: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  const sql = postgres({
    host: server.socketDir,
    port: server.port,
    user: OWNER_USER,
    database: 'postgres',
    ssl: false,
    max: 1,
    connect_timeout: CONNECT_TIMEOUT_S,
    onnotice: () => undefined,
    connection: { application_name: 'paygate supervisor', statement_timeout: STATEMENT_TIMEOUT_MS },
  });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

type Presence = { readonly app: boolean; readonly database: boolean };

async function findRolesAndDatabase(sql: postgres.Sql, database: string): Promise<Presence> {
  const [presence] = await sql<Presence[]>`
    select exists (select from pg_roles where rolname = ${APP_USER}) as app,
           exists (select from pg_database where datname = ${database}) as database`;
  return presence ?? { app: false, database: false };
}

/** False when something is missing or the server does not answer: the slow way then finds out why. */
async function hasRolesAndDatabase(server: Reachable): Promise<boolean> {
  try {
    const presence = await query(server, (sql) => findRolesAndDatabase(sql, DATABASE));
    return presence.app && presence.database;
  } catch {
    return false;
  }
}

/**
 * Makes the application's role and the database where they are missing (a run may have been killed between
 * start and here). The owner exists since the cluster was made.
 * @throws OperatorError embedded_no_socket when the server runs and can't be reached
 */
export async function ensureRolesAndDatabase(server: Reachable, database: string): Promise<void> {
  try {
    await query(server, async (sql) => {
      const presence = await findRolesAndDatabase(sql, database);
      if (!presence.app) await makeUnlessThere(sql, `create role ${APP_USER} login`);
      if (!presence.database) await makeUnlessThere(sql, `create database "${database}" owner ${OWNER_USER}`);
    });
  } catch (error) {
    const code = errorCode(error);
    if (!isConnectionError(error) && code !== 'CONNECT_TIMEOUT') throw error;
    throw new OperatorError(
      'embedded_no_socket',
      `The embedded database runs, but its socket in ${server.socketDir} is gone or silent (${code}). ` +
        'Stop it (paygate db stop) and start it again.',
      { kind: 'failed', cause: error },
    );
  }
}

/** "create … if not exists" for what has no such form: a migration may make the role at the same moment. */
async function makeUnlessThere(sql: postgres.Sql, statement: string): Promise<void> {
  try {
    await sql.unsafe(statement);
  } catch (error) {
    // duplicate_object, duplicate_database, and unique_violation where the two met in the catalogue.
    if (!['42710', '42P04', '23505'].includes(errorCode(error) ?? '')) throw error;
  }
}

/** Postgres keeps a week; this keeps a bad week from filling the disk. Links are not followed. */
async function limitLogs(logDir: string): Promise<void> {
  const names = await readdir(logDir).catch(() => []);
  const files = await Promise.all(
    names.map(async (name) => {
      const facts = await stat(join(logDir, name)).catch(() => null);
      return { path: join(logDir, name), size: facts?.size ?? 0, mtimeMs: facts?.mtimeMs ?? 0 };
    }),
  );
  let total = files.reduce((sum, file) => sum + file.size, 0);
  for (const file of files.sort((a, b) => a.mtimeMs - b.mtimeMs)) {
    if (total <= LOGS_MAX_BYTES) return;
    const handle = await open(file.path, constants.O_WRONLY | constants.O_NOFOLLOW);
    await handle.truncate(0).finally(() => handle.close());
    total -= file.size;
  }
}

async function measureFolder(folder: string): Promise<number | null> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  if (entries.length > SIZE_MAX_FILES) return null;
  let total = 0;
  for (const entry of entries) {
    // Files come and go under a running server.
    if (entry.isFile())
      total += (await stat(join(entry.parentPath, entry.name)).catch(() => null))?.size ?? 0;
  }
  return total;
}

/** Errors of the file system in words; ours pass unchanged. */
function explainSystemError(error: unknown, stateDir: string): unknown {
  if (!(error instanceof Error) || !('code' in error) || error instanceof OperatorError) return error;
  if ('syscall' in error && /^(spawn|lchown)/.test(String(error.syscall))) {
    return explainFailure('A program of the embedded database could not be run', error.message, stateDir);
  }
  switch (error.code) {
    case 'ENOSPC':
    case 'EDQUOT':
    case '53100':
      return new OperatorError('disk_full', `The disk with ${stateDir} is full: make room, then try again.`, {
        kind: 'failed',
        cause: error,
      });
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
    case 'ENOTDIR':
      return new OperatorError(
        'embedded_not_writable',
        `The state folder ${stateDir} can't be written (${error.message}). Make it writable, choose another with ` +
          'XDG_STATE_HOME, or set PAYGATE_DATABASE_URL to an existing database.',
        { kind: 'failed', cause: error },
      );
    default:
      return error;
  }
}
