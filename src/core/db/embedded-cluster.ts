/**
 * Makes, starts and stops one database cluster, given its programs and folders; the test cluster uses the
 * same functions. Takes no lock and chooses no folder: its callers do.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { open, readdir, readFile, rename, rmdir, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Bug, OperatorError } from '../errors.ts';
import type { ServiceUser } from './embedded-folders.ts';
import {
  findPostmaster,
  isAlive,
  isProcessOf,
  listProcessesOf,
  type Postmaster,
  waitUntil,
} from './embedded-process.ts';
import type { Binaries } from './embedded-runtime.ts';

/** Longest initdb (ms): 1 s on a good disk. */
const INITDB_TIMEOUT_MS = 120_000;
/** Longest small helper (ms). */
const HELPER_TIMEOUT_MS = 30_000;
/** Children of a killed server notice within moments (ms); then they are told, then it is an error. */
const ORPHANS_LEAVE_MS = 2_000;
const ORPHANS_QUIT_MS = 10_000;
/** Postgres fills its lock file at once after making it (ms): one that stays empty lost its content in a crash. */
const EMPTY_LOCK_FILE_MS = 3_000;
/** Why there is no server, where it was not we who started it. */
export const ENDED_WHILE_STARTING = 'it ended while it was starting';
/** Lines of the server's log in a message. */
const LOG_LINES_SHOWN = 12;
/** Built-in C.UTF-8 (same order on every machine, full Unicode case rules) came with this version. */
const FIRST_MAJOR_WITH_BUILTIN_LOCALE = 17;

type RunResult = { readonly code: number | null; readonly output: string };

/** The least environment: nothing of the caller's (PG…, LD_…, locale) may change what the server does. */
function serverEnvironment(binaries: Binaries): Record<string, string> {
  const base = { PATH: '/usr/bin:/bin', LANG: 'C', LC_ALL: 'C', TZ: 'UTC' };
  // The list is split at colons and semicolons; the programs also look beside themselves.
  if (binaries.libraryDir === null || /[:;]/.test(binaries.libraryDir)) return base;
  return { ...base, LD_LIBRARY_PATH: binaries.libraryDir };
}

function identityOf(user: ServiceUser): { uid?: number; gid?: number } {
  return user.kind === 'switch' ? { uid: user.uid, gid: user.gid } : {};
}

async function runAs(
  user: ServiceUser,
  program: string,
  args: readonly string[],
  limits: { env: Record<string, string>; timeoutMs: number },
): Promise<RunResult> {
  const child = spawn(program, args, {
    ...identityOf(user),
    cwd: '/',
    env: limits.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: limits.timeoutMs,
    killSignal: 'SIGKILL',
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-20_000);
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, output };
}

/**
 * Makes the data folder unless it is there. Works in a folder beside it that gets its name only when it is
 * complete, so a run that is killed leaves nothing that looks like a cluster.
 * @param sync `no` only for data that nobody will miss
 * @throws OperatorError embedded_other_version, embedded_data_damaged, or as initdb fails
 */
export async function ensureCluster(options: {
  binaries: Binaries;
  user: ServiceUser;
  dataDir: string;
  ownerUser: string;
  sync: 'yes' | 'no';
}): Promise<void> {
  const { dataDir, user, binaries } = options;
  await removeHalfDone(dataDir, user);
  const major = await readMajorVersion(dataDir);
  if (major !== null) return assertMajorVersion(dataDir, major, binaries.major);
  await removeIfEmpty(dataDir);
  const fresh = `${dataDir}.new-${randomBytes(4).toString('hex')}`;
  const locale =
    binaries.major >= FIRST_MAJOR_WITH_BUILTIN_LOCALE
      ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C']
      : ['--locale=C'];
  const args = [
    `--pgdata=${fresh}`,
    `--username=${options.ownerUser}`,
    // Whoever reaches the socket is its owner or root: its folder is closed to all others, and both could
    // read the data files anyway. A password would only be one more secret on the disk.
    '--auth-local=trust',
    '--auth-host=reject',
    '--encoding=UTF8',
    ...locale,
    '--data-checksums',
    ...(options.sync === 'no' ? ['--no-sync'] : []),
  ];
  const env = serverEnvironment(binaries);
  const program = join(binaries.binDir, 'initdb');
  const result = await runAs(user, program, args, { env, timeoutMs: INITDB_TIMEOUT_MS });
  if (result.code !== 0) {
    await removeHalfDone(dataDir, user);
    throw explainFailure('The embedded database could not be created', result.output, dataDir);
  }
  await rename(fresh, dataDir);
  await syncFolder(dirname(dataDir));
}

/** What killed runs left; deleted as the folder's owner, so that no link in it can lead root elsewhere. */
async function removeHalfDone(dataDir: string, user: ServiceUser): Promise<void> {
  const parent = dirname(dataDir);
  const names = (await readdir(parent)).filter((name) => name.startsWith(`${basename(dataDir)}.new-`));
  if (names.length === 0) return;
  const paths = names.map((name) => join(parent, name));
  // An initdb that outlived its starter may still write there: what is left now goes the next time.
  await runAs(user, '/bin/rm', ['-rf', '--', ...paths], { env: {}, timeoutMs: HELPER_TIMEOUT_MS });
}

/** Major version of the cluster in a data folder; null when there is no cluster. */
export async function readMajorVersion(dataDir: string): Promise<number | null> {
  const text = await readFile(join(dataDir, 'PG_VERSION'), 'utf8').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  });
  return text === null ? null : Number.parseInt(text, 10);
}

function assertMajorVersion(dataDir: string, found: number, wanted: number): void {
  if (found === wanted) return;
  throw new OperatorError(
    'embedded_other_version',
    `The data in ${dataDir} was made by Postgres ${found}; this paygate brings Postgres ${wanted}, which ` +
      `can't read it. Run the paygate that made it, or a Postgres ${found} of your own on that folder with ` +
      'PAYGATE_DATABASE_URL; or move the folder away to begin anew.',
    { kind: 'failed' },
  );
}

async function removeIfEmpty(dataDir: string): Promise<void> {
  try {
    await rmdir(dataDir);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'ENOENT') return;
    throw new OperatorError(
      'embedded_data_damaged',
      `${dataDir} holds files but no Postgres cluster (PG_VERSION is missing). Nothing was changed. ` +
        'Restore it from a backup, or move it away to begin anew.',
      { kind: 'failed', cause: error },
    );
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export type StartOptions = {
  readonly binaries: Binaries;
  readonly user: ServiceUser;
  readonly dataDir: string;
  readonly socketDir: string;
  readonly port: number;
  readonly settings: Readonly<Record<string, string>>;
  /** What the server prints until its own log is open. */
  readonly startLog: string;
  /** Folder of the server's own log, where it has one. */
  readonly logDir: string | null;
  readonly timeoutMs: number;
};

/**
 * Starts the server and waits until it takes connections. It is in a session of its own: it outlives us,
 * and no terminal's Ctrl-C reaches it. The caller holds the lock.
 * @throws OperatorError embedded_start_failed, embedded_start_slow (it goes on starting), disk_full,
 *   embedded_library_missing, embedded_orphans
 */
export async function startServer(options: StartOptions): Promise<Postmaster> {
  if ((await clearRemains(options.dataDir, options.socketDir)) === 'served') {
    return waitForServer(options, () => ENDED_WHILE_STARTING);
  }
  const log = await open(options.startLog, 'w', 0o600);
  const settings: Record<string, string> = {
    ...options.settings,
    listen_addresses: '',
    unix_socket_directories: `"${options.socketDir}"`,
    unix_socket_permissions: '0700',
    port: String(options.port),
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  let ended: string | null = null;
  try {
    const child = spawn(join(options.binaries.binDir, 'postgres'), ['-D', options.dataDir, ...args], {
      ...identityOf(options.user),
      cwd: '/',
      env: serverEnvironment(options.binaries),
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
    });
    child.once('error', (error) => {
      ended = error.message;
    });
    child.once('exit', (code, signal) => {
      ended = signal === null ? `exit code ${code}` : `signal ${signal}`;
    });
    child.unref();
  } finally {
    await log.close();
  }
  return waitForServer(options, () => ended);
}

/**
 * Waits until the server of a data folder takes connections.
 * @param ended why the process that we have started is gone, or null while it lives; only asked for when no
 *   other server has come up either
 */
export async function waitForServer(
  options: Pick<StartOptions, 'dataDir' | 'startLog' | 'logDir' | 'timeoutMs'>,
  ended: () => string | null,
): Promise<Postmaster> {
  let server: Postmaster | null = null;
  let gone: string | null = null;
  await waitUntil(async () => {
    // First this, then the look: one that ended in between is then seen the next time.
    gone = ended();
    server = await findPostmaster(options.dataDir);
    // Ours gave way to one that was already on its way: then we wait for that.
    return server?.status === 'ready' || (gone !== null && server === null);
  }, options.timeoutMs);
  const found = server as Postmaster | null;
  if (found?.status === 'ready') return found;
  const lines = await readLogs(options);
  const reason = gone as string | null;
  if (reason !== null) {
    throw explainFailure(`The embedded database did not start (${reason})`, lines, options.dataDir);
  }
  throw new OperatorError(
    'embedded_start_slow',
    `The embedded database took no connections within ${options.timeoutMs / 1000} s; it may still be recovering ` +
      `from a crash, so it was left running. Try again in a while.${lastLines(lines)}`,
    { kind: 'failed' },
  );
}

/** The start log, and the newest of the server's own logs if it came so far as to open one. */
async function readLogs(options: Pick<StartOptions, 'startLog' | 'logDir'>): Promise<string> {
  const started = await readFile(options.startLog, 'utf8').catch(() => '');
  if (options.logDir === null || !started.includes('redirecting log output')) return started;
  let newest = { path: '', mtimeMs: 0 };
  for (const name of await readdir(options.logDir).catch(() => [])) {
    const path = join(options.logDir, name);
    const mtimeMs = (await stat(path).catch(() => null))?.mtimeMs ?? 0;
    if (mtimeMs > newest.mtimeMs) newest = { path, mtimeMs };
  }
  const log = await readFile(newest.path, 'utf8').catch(() => '');
  // An earlier start's troubles would explain this one wrongly.
  const begin = log.lastIndexOf('starting PostgreSQL');
  return `${started}\n${log.slice(Math.max(0, log.lastIndexOf('\n', begin)))}`;
}

/**
 * Makes sure that nothing of an earlier server is left: children that outlived a killed one, and lock files
 * whose number is another program's by now (Postgres would then refuse to start). A lock file with a dead
 * number is left to Postgres, which also looks at shared memory.
 * @returns `served` when what was left turns out to be a server that its killed starter had sent on its way
 */
async function clearRemains(dataDir: string, socketDir: string): Promise<'free' | 'served'> {
  const isFree = async (): Promise<boolean> => (await listProcessesOf(dataDir)).length === 0;
  const isServed = async (): Promise<boolean> => (await findPostmaster(dataDir)) !== null;
  if (!(await waitUntil(async () => (await isServed()) || (await isFree()), ORPHANS_LEAVE_MS))) {
    // What the server itself sends to its children when one of them has crashed.
    for (const pid of await listProcessesOf(dataDir)) signal(pid, 'SIGQUIT');
    if (!(await waitUntil(isFree, ORPHANS_QUIT_MS))) {
      throw new OperatorError(
        'embedded_orphans',
        `Processes ${(await listProcessesOf(dataDir)).join(', ')} of an earlier server still use ${dataDir} and ` +
          'do not end. End them (kill), then try again.',
        { kind: 'failed' },
      );
    }
  }
  if (await isServed()) return 'served';
  await removeIfMisleading(join(dataDir, 'postmaster.pid'), dataDir);
  for (const name of await readdir(socketDir)) {
    if (name.startsWith('.s.PGSQL.') && name.endsWith('.lock')) {
      await removeIfMisleading(join(socketDir, name), dataDir);
    }
  }
  return 'free';
}

/**
 * Removes a lock file that would keep Postgres from starting for no reason: it is empty and stays so, or its
 * number is that of an existing process which is no server of this folder. The caution is for a server whose
 * starter was killed and that begins just now: its lock file must never go.
 */
async function removeIfMisleading(lockFile: string, dataDir: string): Promise<void> {
  let text: string | null = null;
  await waitUntil(async () => {
    text = await readFile(lockFile, 'utf8').catch(() => null);
    return text !== '';
  }, EMPTY_LOCK_FILE_MS);
  if (text === null) return;
  // A server in single-user mode writes its number with a minus.
  const pid = Math.abs(Number.parseInt(text, 10));
  if (pid >= 1 && (!pidExists(pid) || (await isProcessOf(pid, dataDir)))) return;
  await unlink(lockFile);
}

/** Also true for a dead process that its parent has not yet collected: Postgres sees that one too. */
function pidExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !(error instanceof Error && 'code' in error && error.code === 'ESRCH');
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/**
 * Stops the server of a data folder and waits until all of it is gone.
 * @param mode `fast` ends the connections and writes everything down; `immediate` is a crash, for data that
 *   nobody will miss
 * @returns whether there was one to stop
 * @throws OperatorError embedded_stop_slow
 */
export async function stopServer(
  dataDir: string,
  mode: 'fast' | 'immediate',
  timeoutMs: number,
): Promise<boolean> {
  const server = await findPostmaster(dataDir);
  if (server === null) return false;
  signal(server.pid, mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
  const gone = await waitUntil(
    async () => !(await isAlive(server)) && (await listProcessesOf(dataDir)).length === 0,
    timeoutMs,
  );
  if (gone) return true;
  throw new OperatorError(
    'embedded_stop_slow',
    `The embedded database (process ${server.pid}) has been stopping for ${timeoutMs / 1000} s; it may still be ` +
      'writing. Wait for it, then look again: paygate db status',
    { kind: 'failed' },
  );
}

const KNOWN_CAUSES: readonly (readonly [RegExp, string, string])[] = [
  [/No space left on device|Disk quota exceeded/, 'disk_full', 'The disk is full: make room'],
  [
    /error while loading shared libraries|version `GLIBC|cannot open shared object/,
    'embedded_library_missing',
    'A library of this system is missing or too old for the embedded binaries: install it, or set ' +
      'PAYGATE_DATABASE_URL to an existing database',
  ],
  [
    /spawn .* ENOENT/,
    'embedded_library_missing',
    "This system can't run the embedded binaries (they need glibc): set PAYGATE_DATABASE_URL to an existing database",
  ],
  [
    /could not look up effective user ID/,
    'embedded_no_user',
    'This user has no entry in /etc/passwd, which Postgres needs: add one, or set PAYGATE_DATABASE_URL',
  ],
  [
    /spawn (.* )?(EPERM|EINVAL)|(EPERM|EINVAL).* lchown/,
    'embedded_no_user',
    'This root may not start programs as another user: run paygate as a plain user',
  ],
  [/Permission denied|Read-only file system/, 'embedded_not_writable', 'The server may not use its folder'],
  [
    /Cannot allocate memory|could not map anonymous shared memory/,
    'embedded_no_memory',
    'There is not enough memory',
  ],
];

/** An error that names the cause where we know it and shows the last lines of the output in any case. */
export function explainFailure(what: string, output: string, folder: string): OperatorError {
  const text = `${what}\n${output}`;
  const [, code, cause] = KNOWN_CAUSES.find(([pattern]) => pattern.test(text)) ?? [
    null,
    'embedded_start_failed',
    null,
  ];
  return new OperatorError(
    code,
    `${what}. ${cause === null ? '' : `${cause}. `}Folder: ${folder}${lastLines(output)}`,
    {
      kind: 'failed',
    },
  );
}

function lastLines(text: string): string {
  const lines = text.trim().split('\n').slice(-LOG_LINES_SHOWN);
  return lines.join('') === ''
    ? ''
    : `\nLast lines of its log:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}

/** Programs of a Postgres that the system has installed, such as Debian's in /usr/lib/postgresql/15/bin. */
export async function systemBinaries(binDir: string): Promise<Binaries> {
  await stat(join(binDir, 'initdb'));
  const self: ServiceUser = { kind: 'self' };
  const limits = { env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' }, timeoutMs: HELPER_TIMEOUT_MS };
  const { output } = await runAs(self, join(binDir, 'postgres'), ['--version'], limits);
  const major = /PostgreSQL\)? (\d+)/.exec(output)?.[1];
  if (major === undefined) throw new Bug(`${binDir}/postgres does not say its version`);
  return { binDir, libraryDir: null, major: Number(major) };
}
