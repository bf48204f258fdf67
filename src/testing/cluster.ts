/**
 * vitest's global set-up: one throw-away server for the run, with a migrated template database. Embedded
 * Postgres 18, or with PAYGATE_TEST_POSTGRES=system the one that the system has installed. Never touches a
 * server that it did not start.
 */
import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { lstat, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TestProject } from 'vitest/node';
import { APP_USER, embeddedConnection, ensureRolesAndDatabase, OWNER_USER } from '../core/db/embedded.ts';
import { ensureCluster, startServer, stopServer, systemBinaries } from '../core/db/embedded-cluster.ts';
import {
  createFolders,
  type EmbeddedFolders,
  resolveFolders,
  SOCKET_PORT,
} from '../core/db/embedded-folders.ts';
import { isAlive, readStartTicks } from '../core/db/embedded-process.ts';
import { type Binaries, installRuntime } from '../core/db/embedded-runtime.ts';
import { migrate } from '../core/db/migrate.ts';
import { Bug } from '../core/errors.ts';
import { asOwner, TEMPLATE_DATABASE, TEST_DATABASE_PREFIX, type TestCluster } from './test-database.ts';

const BOOK = 'paygate';
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;
const PG_CONFIG_TIMEOUT_MS = 10_000;
/** Folder name: who made it (pid and start time), so that a later run can clear up after one that was killed. */
const FOLDER_NAME = /^paygate-test-(\d+)-(\d+)-/;

/** Nobody misses this data: no waiting for the disk. synchronous_commit stays on, because paygate insists. */
const SETTINGS: Readonly<Record<string, string>> = {
  fsync: 'off',
  full_page_writes: 'off',
  synchronous_commit: 'on',
  wal_level: 'minimal',
  max_wal_senders: '0',
  max_wal_size: '4GB',
  checkpoint_timeout: '1h',
  max_connections: '200',
  shared_buffers: '256MB',
  jit: 'off',
  timezone: 'UTC',
  cluster_name: 'paygate test',
};

/** @returns the teardown, which fails the run when a test has left its database behind */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await removeAbandoned();
  const system = process.env.PAYGATE_TEST_POSTGRES === 'system';
  const systemFound = system ? await findSystemBinaries() : null;
  if (system && systemFound === null) return skipAll(project);
  const folders = await makeFolders();
  try {
    const binaries = systemFound ?? (await installRuntime(folders.runtimeDir));
    const { cluster, pid } = await startCluster(folders, binaries);
    const forget = removeOnSignal(folders, pid);
    await makeTemplate(cluster);
    project.provide('cluster', cluster);
    return () => tearDown(folders, cluster).finally(forget);
  } catch (error) {
    await remove(folders);
    throw error;
  }
}

/** No test of this project matches, so no hook runs either; the run counts them as skipped and ends well. */
function skipAll(project: TestProject): () => Promise<void> {
  console.log('no system Postgres here (pg_config --bindir names none): database tests are skipped');
  project.config.testNamePattern = /(?!)/;
  project.provide('cluster', null);
  return async () => undefined;
}

async function findSystemBinaries(): Promise<Binaries | null> {
  try {
    const options = { timeout: PG_CONFIG_TIMEOUT_MS };
    const { stdout } = await promisify(execFile)('pg_config', ['--bindir'], options);
    return await systemBinaries(stdout.trim());
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'ENOENT') return null;
    throw error;
  }
}

async function makeFolders(): Promise<EmbeddedFolders> {
  const startTicks = await readStartTicks(process.pid);
  const stateDir = await mkdtemp(join(tmpdir(), `paygate-test-${process.pid}-${startTicks}-`));
  const folders = await resolveFolders(stateDir);
  await createFolders(folders);
  return folders;
}

type StartedCluster = { readonly cluster: TestCluster; readonly pid: number };

async function startCluster(folders: EmbeddedFolders, binaries: Binaries): Promise<StartedCluster> {
  await ensureCluster({ ...folders, binaries, ownerUser: OWNER_USER, sync: 'no' });
  const { pid } = await startServer({
    ...folders,
    binaries,
    port: SOCKET_PORT,
    settings: SETTINGS,
    logDir: null,
    timeoutMs: START_TIMEOUT_MS,
  });
  const cluster = {
    socketDir: folders.socketDir,
    port: SOCKET_PORT,
    ownerUser: OWNER_USER,
    appUser: APP_USER,
  };
  return { cluster, pid };
}

/** vitest runs no teardown when a signal ends it. What kill -9 leaves, the next run removes. */
function removeOnSignal(folders: EmbeddedFolders, pid: number): () => void {
  const onSignal = (name: NodeJS.Signals): void => {
    process.kill(pid, 'SIGQUIT');
    for (const folder of [folders.stateDir, folders.socketDir]) {
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

async function makeTemplate(cluster: TestCluster): Promise<void> {
  await ensureRolesAndDatabase(cluster, TEMPLATE_DATABASE);
  await migrate({
    connection: embeddedConnection(cluster, 'owner', TEMPLATE_DATABASE),
    book: BOOK,
    appRole: APP_USER,
  });
  await asOwner(cluster, (sql) =>
    sql.unsafe(`alter database ${TEMPLATE_DATABASE} with is_template true allow_connections false`),
  );
}

async function tearDown(folders: EmbeddedFolders, cluster: TestCluster): Promise<void> {
  let left: string[] = [];
  try {
    left = await asOwner(cluster, async (sql) => {
      const rows = await sql<{ name: string }[]>`
        select datname as name from pg_database
        where starts_with(datname, ${TEST_DATABASE_PREFIX}) order by datname`;
      return rows.map((row) => row.name);
    });
  } finally {
    await remove(folders);
  }
  if (left.length > 0) {
    throw new Bug(`${left.length} test databases were not dropped (afterAll: drop()): ${left.join(', ')}`);
  }
}

async function remove(folders: EmbeddedFolders): Promise<void> {
  await stopServer(folders.dataDir, 'immediate', STOP_TIMEOUT_MS);
  await rm(folders.stateDir, { recursive: true, force: true });
  await rm(folders.socketDir, { recursive: true, force: true });
}

/** Stops and removes what runs left behind that were killed. Other users' folders are theirs. */
async function removeAbandoned(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const match = FOLDER_NAME.exec(name);
    if (match === null || (await isAlive({ pid: Number(match[1]), startTicks: match[2]! }))) continue;
    const folder = join(tmpdir(), name);
    const facts = await lstat(folder).catch(() => null);
    if (facts?.isDirectory() && facts.uid === process.getuid?.()) await remove(await resolveFolders(folder));
  }
}
