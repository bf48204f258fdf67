/**
 * Tells processes apart by what /proc says, so that a number in a file is never trusted alone: a pid may
 * be dead, or long since be another program. Starts nothing.
 */
import { readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';

/** The life of one process: pids are reused, a pid with its start time is not (until the next boot). */
export type ProcessIdentity = { readonly pid: number; readonly startTicks: string };

/** What postmaster.pid says about the server that owns a data folder. */
type PostmasterFile = {
  readonly pid: number;
  readonly port: number;
  readonly socketDir: string;
  /** As Postgres writes it; null while it has not come that far. */
  readonly status: 'starting' | 'ready' | 'stopping' | 'standby' | null;
};

/** How often a wait looks again (ms): short against the 0.3 s that a start takes. */
const POLL_MS = 25;

export type Postmaster = PostmasterFile & ProcessIdentity;

/** Kernel time at which the process started (clock ticks since boot), or null when it is gone or a zombie. */
export async function readStartTicks(pid: number): Promise<string | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  if (stat === null) return null;
  // The second field is the program's name in brackets and may itself hold spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  return state === 'Z' || state === 'X' ? null : (fields[19] ?? null);
}

/** True while the very process lives that had this identity. */
export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  return (await readStartTicks(identity.pid)) === identity.startTicks;
}

/**
 * Postgres processes of a data folder (of any user that we may look at): a server, its children, and one that
 * was told to serve it and has not yet entered it.
 */
export async function listProcessesOf(dataDir: string): Promise<readonly number[]> {
  const names = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found: number[] = [];
  for (const name of names) {
    if (await isProcessOf(Number(name), dataDir)) found.push(Number(name));
  }
  return found;
}

/** True for a living Postgres process that works in the data folder or was started with its name. */
export async function isProcessOf(pid: number, dataDir: string): Promise<boolean> {
  if (!(await isPostgres(pid))) return false;
  const [cwd, wanted, commandLine] = await Promise.all([
    readlink(`/proc/${pid}/cwd`).catch(() => null),
    realpath(dataDir).catch(() => dataDir),
    readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''),
  ]);
  return cwd === wanted || commandLine.split('\0').includes(dataDir);
}

async function isPostgres(pid: number): Promise<boolean> {
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
  return name.trim() === 'postgres' && (await readStartTicks(pid)) !== null;
}

/** Reads postmaster.pid; null when there is none or it is still being written. */
async function readPostmasterFile(dataDir: string): Promise<PostmasterFile | null> {
  const text = await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => null);
  if (text === null) return null;
  const lines = text.split('\n').map((line) => line.trim());
  const pid = Number(lines[0]);
  if (!Number.isSafeInteger(pid) || pid < 1) return null;
  const status = ['starting', 'ready', 'stopping', 'standby'] as const;
  return {
    pid,
    port: Number(lines[3] ?? 0),
    socketDir: lines[4] ?? '',
    status: status.find((word) => word === lines[7]) ?? null,
  };
}

/**
 * The living server of a data folder, or null. A postmaster is told from another program that got its old
 * pid by its name and its working folder, and from its own children by their titles ("postgres: …").
 */
export async function findPostmaster(dataDir: string): Promise<Postmaster | null> {
  const file = await readPostmasterFile(dataDir);
  if (file === null) return null;
  const startTicks = await readStartTicks(file.pid);
  if (startTicks === null || !(await isPostgres(file.pid))) return null;
  const [cwd, wanted, title] = await Promise.all([
    readlink(`/proc/${file.pid}/cwd`).catch(() => null),
    realpath(dataDir).catch(() => null),
    readFile(`/proc/${file.pid}/cmdline`, 'utf8').catch(() => ''),
  ]);
  if (cwd === null || cwd !== wanted || title.startsWith('postgres: ')) return null;
  return { ...file, startTicks };
}

/** Looks again and again until `done` says so (true) or the time is up (false). */
export async function waitUntil(done: () => Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    if (await done()) return true;
    if (performance.now() >= deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
