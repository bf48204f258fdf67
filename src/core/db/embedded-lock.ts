/**
 * Lets one process at a time work on the state folder of the embedded server. Does not guard the running
 * server: that is postmaster.pid's task.
 *
 * The lock is a folder that holds one file, whose name says who owns it. Renaming a folder onto another
 * works only while that one is empty, and is atomic: that takes the lock. A dead owner's lock is broken by
 * deleting the file of that very name, so a slow breaker can never remove a newer owner's lock.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Bug, OperatorError } from '../errors.ts';
import { isAlive, readStartTicks, waitUntil } from './embedded-process.ts';

/**
 * Longest wait for another command (ms): it may have to copy the binaries, make a database cluster and
 * recover from a crash, each with its own smaller limit.
 */
const LOCK_TIMEOUT_MS = 180_000;
const LOCK_NAME = 'lock';
const OWNER_NAME = /^(\d+)-(\d+)-([0-9a-f]{8})-[0-9a-f]{8}$/;

/**
 * Runs `work` while this process alone holds the lock of `folder` (which exists and is ours).
 * @throws OperatorError embedded_busy when another living process keeps it for three minutes
 */
export async function withFolderLock<T>(
  folder: string,
  work: () => Promise<T>,
  timeoutMs = LOCK_TIMEOUT_MS,
): Promise<T> {
  const owner = await ownerName();
  await takeLock(folder, owner, timeoutMs);
  try {
    await removeDeadClaims(folder);
    return await work();
  } finally {
    await unlink(join(folder, LOCK_NAME, owner)).catch(() => undefined);
  }
}

async function takeLock(folder: string, owner: string, timeoutMs: number): Promise<void> {
  const lock = join(folder, LOCK_NAME);
  const claim = join(folder, `${LOCK_NAME}.${owner}`);
  await mkdir(claim, { mode: 0o700 });
  try {
    await writeFile(join(claim, owner), '');
    const taken = await waitUntil(async () => {
      if (await tryRename(claim, lock)) return true;
      return (await breakDeadLock(lock)) && (await tryRename(claim, lock));
    }, timeoutMs);
    if (taken) return;
  } catch (error) {
    await rm(claim, { recursive: true, force: true });
    throw error;
  }
  const holders = await readdir(lock).catch(() => []);
  await rm(claim, { recursive: true, force: true });
  throw new OperatorError(
    'embedded_busy',
    `Another command (process ${holders.map((name) => name.split('-')[0]).join(', ')}) has been starting or ` +
      `stopping the embedded database for ${timeoutMs / 1000} s. Wait for it, or end it, and try again. ` +
      `If there is no such process, remove ${lock}`,
    { kind: 'failed' },
  );
}

async function tryRename(claim: string, lock: string): Promise<boolean> {
  try {
    await rename(claim, lock);
    return true;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    throw error;
  }
}

/** Removes the marks of owners that are dead; true when it removed one. Names we can't read are left. */
async function breakDeadLock(lock: string): Promise<boolean> {
  let broken = false;
  for (const name of await readdir(lock).catch(() => [])) {
    if (await isOwnerDead(name)) {
      await unlink(join(lock, name)).catch(() => undefined);
      broken = true;
    }
  }
  return broken;
}

/** Commands that were killed while they waited leave their claim behind. */
async function removeDeadClaims(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const owner = name.startsWith(`${LOCK_NAME}.`) ? name.slice(LOCK_NAME.length + 1) : null;
    if (owner !== null && (await isOwnerDead(owner))) {
      await rm(join(folder, name), { recursive: true, force: true });
    }
  }
}

async function isOwnerDead(name: string): Promise<boolean> {
  const match = OWNER_NAME.exec(name);
  if (match === null) return false;
  if (match[3] !== (await bootMark())) return true;
  return !(await isAlive({ pid: Number(match[1]), startTicks: match[2]! }));
}

/** Pid, start time and boot say who; the random part tells two takers in one process apart. */
async function ownerName(): Promise<string> {
  const startTicks = await readStartTicks(process.pid);
  if (startTicks === null) throw new Bug('this process is not in /proc');
  return `${process.pid}-${startTicks}-${await bootMark()}-${randomBytes(4).toString('hex')}`;
}

/** Start times count from boot: a lock from before the last boot is always dead. */
async function bootMark(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).slice(0, 8);
}
