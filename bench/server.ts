/**
 * The one Postgres of a benchmark: a fresh embedded server with the product's own settings and fsync on, in
 * a temporary folder, or the server that PAYGATE_BENCH_URL names. Ours and the peer get databases of their
 * own on it; everything is dropped at the end.
 */
import { rmSync } from 'node:fs';
import { lstat, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';
import { type DatabaseOptions, parseDatabaseUrl } from '../src/core/db/database-url.ts';
import { APP_USER, embeddedConnection, startEmbedded, stopEmbedded } from '../src/core/db/embedded.ts';
import { isAlive, readStartTicks } from '../src/core/db/embedded-process.ts';
import { OperatorError } from '../src/core/errors.ts';

/** One server, in a form that every driver and program here understands. */
export type BenchConnection = {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  readonly password?: string;
  readonly ssl: boolean | 'require' | 'prefer' | 'verify-full';
};

export type BenchServer = {
  /** Such as "18.4". */
  readonly version: string;
  /** Null when its processes are not ours to look at. */
  readonly postmasterPid: number | null;
  /** What the figures should be read with, such as a server that is not the embedded one. */
  readonly notes: readonly string[];
  /** The role that the book grants to. */
  readonly appRole: string;
  /** Makes an empty database and returns its full name. */
  createDatabase(label: string): Promise<string>;
  /** `owner` migrates and cleans up, `app` is what daemons and commands are. */
  connection(database: string, role: 'owner' | 'app'): BenchConnection;
  /** Runs statements as the owner, one by one. */
  execute(database: string, statements: readonly string[]): Promise<void>;
  close(): Promise<void>;
};

/** Names who made the folder (pid and start time), so that a later run can clear up after one that was killed. */
const FOLDER_NAME = /^paygate-bench-(\d+)-(\d+)-/;
const CONNECT_TIMEOUT_S = 10;

/** What the two kinds of server differ in. */
type Place = {
  readonly postmasterPid: number | null;
  readonly appRole: string;
  readonly notes: readonly string[];
  readonly prefix: string;
  readonly maintenanceDatabase: string;
  readonly connection: BenchServer['connection'];
  readonly leave: () => Promise<void>;
};

/** @throws OperatorError bench_url_unusable, bench_not_durable, or as the embedded server fails */
export async function openServer(): Promise<BenchServer> {
  const url = process.env.PAYGATE_BENCH_URL;
  const place = url === undefined ? await startOwnServer() : placeOf(url);
  const databases: string[] = [];
  const execute: BenchServer['execute'] = async (database, statements) => {
    const sql = postgres({
      ...place.connection(database, 'owner'),
      max: 1,
      connect_timeout: CONNECT_TIMEOUT_S,
      onnotice: () => undefined,
    });
    try {
      for (const statement of statements) await sql.unsafe(statement);
    } finally {
      await sql.end({ timeout: 5 });
    }
  };
  try {
    const version = await checkServer(place);
    return {
      ...place,
      version,
      execute,
      createDatabase: async (label) => {
        const name = `${place.prefix}${label.replaceAll('-', '_')}`;
        await execute(place.maintenanceDatabase, [`create database "${name}"`]);
        databases.push(name);
        return name;
      },
      close: async () => {
        if (url !== undefined) {
          const drops = databases.map((name) => `drop database if exists "${name}" with (force)`);
          await execute(place.maintenanceDatabase, drops);
        }
        await place.leave();
      },
    };
  } catch (error) {
    await place.leave();
    throw error;
  }
}

/** A figure without durable commits is no figure. */
async function checkServer(place: Place): Promise<string> {
  const sql = postgres({
    ...place.connection(place.maintenanceDatabase, 'app'),
    max: 1,
    connect_timeout: CONNECT_TIMEOUT_S,
    onnotice: () => undefined,
  });
  try {
    const [facts] = await sql<{ version: string; fsync: string; commit: string }[]>`
      select split_part(current_setting('server_version'), ' ', 1) as version,
             current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit`;
    if (facts?.fsync === 'on' && facts.commit === 'on') return facts.version;
  } finally {
    await sql.end({ timeout: 5 });
  }
  throw new OperatorError(
    'bench_not_durable',
    'The server runs with fsync or synchronous_commit off: figures would say nothing. Turn both on.',
  );
}

async function startOwnServer(): Promise<Place> {
  await removeAbandoned();
  const startTicks = await readStartTicks(process.pid);
  const stateDir = await mkdtemp(join(tmpdir(), `paygate-bench-${process.pid}-${startTicks}-`));
  try {
    const server = await startEmbedded({ stateDir });
    const forget = removeOnSignal(server.pid, [stateDir, server.socketDir]);
    return {
      postmasterPid: server.pid,
      appRole: APP_USER,
      notes: [],
      prefix: 'bench_',
      maintenanceDatabase: 'postgres',
      connection: (database, role) => plainConnection(embeddedConnection(server, role, database)),
      leave: async () => {
        await remove(stateDir);
        forget();
      },
    };
  } catch (error) {
    await remove(stateDir);
    throw error;
  }
}

async function remove(stateDir: string): Promise<void> {
  await stopEmbedded({ stateDir });
  await rm(stateDir, { recursive: true, force: true });
}

/** What kill -9 leaves, the next run removes. */
function removeOnSignal(pid: number, folders: readonly string[]): () => void {
  const onSignal = (name: NodeJS.Signals): void => {
    process.kill(pid, 'SIGQUIT');
    for (const folder of folders) {
      // The server's last files may appear while we delete: a few tries, 50 ms apart.
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    }
    process.exit(name === 'SIGINT' ? 130 : 143);
  };
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  return () => {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  };
}

async function removeAbandoned(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const match = FOLDER_NAME.exec(name);
    if (match === null || (await isAlive({ pid: Number(match[1]), startTicks: match[2]! }))) continue;
    const folder = join(tmpdir(), name);
    const facts = await lstat(folder).catch(() => null);
    if (facts?.isDirectory() && facts.uid === process.getuid?.()) await remove(folder);
  }
}

/** The user of the URL does everything: it must be able to create databases. */
function placeOf(url: string): Place {
  const named = plainConnection(parseDatabaseUrl(url));
  return {
    postmasterPid: null,
    appRole: named.user,
    notes: ['server of PAYGATE_BENCH_URL: its settings and place are its own, and one role does everything'],
    prefix: `paygate_bench_${process.pid}_`,
    maintenanceDatabase: named.database,
    connection: (database) => ({ ...named, database }),
    leave: async () => undefined,
  };
}

function plainConnection(options: DatabaseOptions): BenchConnection {
  const { host, port, user, database, password, ssl = false } = options;
  if (typeof host !== 'string' || typeof port !== 'number' || typeof ssl === 'object') {
    throw new OperatorError(
      'bench_url_unusable',
      'PAYGATE_BENCH_URL must name one host, and no sslmode=verify-ca.',
    );
  }
  return { host, port, user, database, ssl, ...(password === undefined ? {} : { password }) };
}
