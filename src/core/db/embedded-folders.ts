/**
 * Where the embedded server lives and as whom it runs. Postgres refuses root, so for root everything that
 * the server writes belongs to an existing unprivileged user; what it executes stays root's.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, lchown, lstat, mkdir, readFile, realpath, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { OperatorError } from '../errors.ts';

/** `self`: we are nobody special and stay so. `switch`: we are root and start the server as this user. */
export type ServiceUser =
  | { readonly kind: 'self' }
  | { readonly kind: 'switch'; readonly name: string; readonly uid: number; readonly gid: number };

export type EmbeddedFolders = {
  /** Ours: holds the lock, the binaries, the start log, and the three folders that are the service user's. */
  readonly stateDir: string;
  readonly clusterDir: string;
  readonly dataDir: string;
  readonly logDir: string;
  /** Its path is short: a socket's has a limit. */
  readonly socketDir: string;
  readonly runtimeDir: string;
  /** What the server prints before its own log is open. */
  readonly startLog: string;
  readonly user: ServiceUser;
};

/** The port is only part of the socket's name; nothing listens on a network. */
export const SOCKET_PORT = 5432;
/** sockaddr_un has 108 bytes, the last of which is a zero. */
const SOCKET_PATH_MAX_BYTES = 107;
const ROOT_STATE_DIR = '/var/lib/paygate';
/** `initdb` and Postgres put these paths between double quotes into shell commands and settings. */
const UNSAFE_IN_PATHS = /["$`\\\n\r]/;
/** Longest wait for `test` to look at a folder as another user (ms). */
const REACH_TIMEOUT_MS = 10_000;

/** State folder when none is asked for: root's is readable to nobody else, hence /var/lib. */
function defaultStateDir(): string {
  if (process.getuid?.() === 0) return ROOT_STATE_DIR;
  const xdg = process.env.XDG_STATE_HOME;
  // The XDG specification: a relative path here is to be ignored.
  if (xdg !== undefined && isAbsolute(xdg)) return join(xdg, 'paygate');
  return join(homeDir(), '.local', 'state', 'paygate');
}

function homeDir(): string {
  try {
    const home = homedir();
    if (isAbsolute(home)) return home;
  } catch {
    // No passwd entry and no HOME: said below.
  }
  throw new OperatorError(
    'embedded_no_home',
    'This user has no home folder for the embedded database. Set XDG_STATE_HOME to a folder that it may ' +
      'write to, or set PAYGATE_DATABASE_URL to an existing database.',
  );
}

/**
 * Names the folders; creates nothing.
 * @throws OperatorError embedded_folder_invalid, embedded_no_user, embedded_no_home
 */
export async function resolveFolders(stateDir = defaultStateDir()): Promise<EmbeddedFolders> {
  const real = isAbsolute(stateDir) ? await resolveLinks(stateDir) : '';
  if (real === '' || UNSAFE_IN_PATHS.test(real)) {
    throw new OperatorError(
      'embedded_folder_invalid',
      `The state folder ${JSON.stringify(stateDir)} must be an absolute path without quotes, $, \` and \\.`,
    );
  }
  const clusterDir = join(real, 'postgres');
  const user = await chooseServiceUser(clusterDir);
  return {
    stateDir: real,
    clusterDir,
    dataDir: join(clusterDir, 'data'),
    logDir: join(real, 'log'),
    socketDir: socketDirFor(real, user),
    runtimeDir: join(real, 'runtime'),
    startLog: join(real, 'start.log'),
    user,
  };
}

/** The path without links, also where its last parts do not exist yet: before and after must be the same. */
async function resolveLinks(path: string): Promise<string> {
  const real = await realpath(path).catch(() => null);
  if (real !== null) return real;
  const parent = dirname(path);
  return parent === path ? path : join(await resolveLinks(parent), basename(path));
}

/** A socket folder within the state folder, or, where that name is too long, one in /tmp that follows from it. */
function socketDirFor(stateDir: string, user: ServiceUser): string {
  const inside = join(stateDir, 'socket');
  const socketPath = join(inside, `.s.PGSQL.${SOCKET_PORT}`);
  if (Buffer.byteLength(socketPath) <= SOCKET_PATH_MAX_BYTES) return inside;
  const uid = user.kind === 'switch' ? user.uid : (process.getuid?.() ?? 0);
  const mark = createHash('sha256').update(stateDir).digest('hex').slice(0, 12);
  // Not XDG_RUNTIME_DIR: it goes away at logout, the server stays.
  return `/tmp/paygate-${uid}-${mark}`;
}

type PasswdEntry = { readonly name: string; readonly uid: number; readonly gid: number };

async function chooseServiceUser(clusterDir: string): Promise<ServiceUser> {
  if (process.getuid?.() !== 0) return { kind: 'self' };
  const text = await readFile('/etc/passwd', 'utf8').catch(() => '');
  const entries = parsePasswd(text);
  // Data that exists keeps its owner, also when a better user was added since.
  const owner = await stat(clusterDir).then(
    (facts) => facts.uid,
    () => null,
  );
  const chosen =
    entries.find((entry) => entry.uid === owner) ??
    entries.find((entry) => entry.name === 'postgres') ??
    entries.find((entry) => entry.name === 'nobody') ??
    entries[0];
  if (chosen !== undefined) return { kind: 'switch', ...chosen };
  throw new OperatorError(
    'embedded_no_user',
    'Postgres refuses to run as root, and /etc/passwd has no other user. Add one (useradd --system postgres), ' +
      'run paygate as a plain user, or set PAYGATE_DATABASE_URL to an existing database.',
  );
}

function parsePasswd(text: string): readonly PasswdEntry[] {
  return text
    .split('\n')
    .map((line) => line.split(':'))
    .filter((fields) => fields.length >= 7 && Number(fields[2]) >= 1 && Number(fields[3]) >= 1)
    .map((fields) => ({ name: fields[0]!, uid: Number(fields[2]), gid: Number(fields[3]) }));
}

/**
 * Makes the folders with owners and modes that keep others out, and checks that the server's user gets in.
 * @throws OperatorError embedded_folder_foreign, embedded_folder_unreachable; errors of the file system
 */
export async function createFolders(folders: EmbeddedFolders): Promise<void> {
  await mkdir(folders.stateDir, { recursive: true, mode: 0o700 });
  await claimFolder(folders.stateDir, { kind: 'self' }, folders.user.kind === 'switch' ? 0o711 : 0o700);
  await makePrivateFolder(folders.clusterDir, folders.user);
  await makePrivateFolder(folders.logDir, folders.user);
  await makePrivateFolder(folders.socketDir, folders.user);
  await assertReachable(folders.clusterDir, folders.user);
}

/**
 * A folder of the service user that nobody else enters (root aside). Its parent is ours or sticky, so that
 * nobody can put a link in its place while we look.
 */
async function makePrivateFolder(folder: string, user: ServiceUser): Promise<void> {
  const created = await mkdir(folder, { mode: 0o700 }).then(
    () => true,
    (error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
      throw error;
    },
  );
  // Only what we have just made is given away; a folder that someone put there first is checked below.
  if (created && user.kind === 'switch') await lchown(folder, user.uid, user.gid);
  await claimFolder(folder, user, 0o700);
}

/** Refuses a folder that is a link or belongs to someone else; tightens the mode of our own. */
async function claimFolder(folder: string, user: ServiceUser, mode: number): Promise<void> {
  const facts = await lstat(folder);
  const uid = user.kind === 'switch' ? user.uid : process.getuid?.();
  // A run that was killed between mkdir and chown leaves root's empty folder: that one is ours to give.
  if (user.kind === 'switch' && facts.isDirectory() && facts.uid === 0) {
    await lchown(folder, user.uid, user.gid);
  } else if (!facts.isDirectory() || facts.uid !== uid) {
    throw new OperatorError(
      'embedded_folder_foreign',
      `${folder} is not a folder of ${user.kind === 'switch' ? `user "${user.name}"` : 'the user who runs paygate'}` +
        ` (owner: uid ${facts.uid}). Remove it or give it back, or choose another state folder.`,
      { kind: 'failed' },
    );
  }
  if ((facts.mode & 0o7777) !== mode) await chmod(folder, mode);
}

/** Root may enter every folder, the server's user may not: a closed folder above would only show much later. */
async function assertReachable(folder: string, user: ServiceUser): Promise<void> {
  if (user.kind === 'self') return;
  const code = await new Promise<number | null>((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', 'test -x "$1" && test -w "$1"', 'sh', folder], {
      uid: user.uid,
      gid: user.gid,
      cwd: '/',
      env: {},
      stdio: 'ignore',
      timeout: REACH_TIMEOUT_MS,
    });
    child.once('error', reject);
    child.once('exit', resolve);
  });
  if (code === 0) return;
  throw new OperatorError(
    'embedded_folder_unreachable',
    `The embedded database runs as user "${user.name}", who can't enter and write ${folder}. Open the folders above it ` +
      '(chmod o+x), or choose another state folder.',
    { kind: 'failed' },
  );
}
