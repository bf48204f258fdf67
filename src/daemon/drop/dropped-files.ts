/**
 * What lies in the drop folder: which files are whole, whose they are by the folder they lie in, and where they go. Touches names
 * only; reads no file.
 */
import { lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';

/** Results go here; nothing in them is taken as new. */
export const DONE = 'done';
export const REJECTED = 'rejected';

/** A file whose size and time stood still this long is whole (ms). */
export const STABLE_MS = 5_000;

/** In the folder of an account or a bank: how to read its CSV files. */
const MAPPING_FILE = 'mapping.toml';

/** Files looked at in one round. */
const MAX_FILES = 1_000;

export type DroppedFile = {
  readonly path: string;
  /** As it lies there: foreign text. */
  readonly name: string;
  /** By its folder, "psp-checkout" or "bank-main"; null right in the drop folder. */
  readonly source: string | null;
  /** A mapping beside it; null where there is none. */
  readonly mapping: string | null;
};

type Look = { readonly size: number; readonly mtimeMs: number; readonly sinceMs: number };

const SOURCE_FOLDER = /^(psp|bank)-([a-z0-9_]{1,40})$/;
/** Still being written, by the conventions of those who copy. */
const UNFINISHED = /^\.|\.(part|partial|tmp|filepart|crdownload)$/i;

/** Remembers how each file looked; one for a folder. */
export class DropFolderView {
  private readonly folder: string;
  private looks = new Map<string, Look>();

  constructor(folder: string) {
    this.folder = folder;
  }

  /**
   * Files that are whole, by name, and how many still grow.
   * @param nowMs of a clock that never runs backwards
   */
  async look(nowMs: number): Promise<{ readonly whole: readonly DroppedFile[]; readonly growing: number }> {
    const seen = new Map<string, Look>();
    const whole: DroppedFile[] = [];
    for (const file of await listFiles(this.folder)) {
      const stat = await lstat(file.path).catch(() => null);
      if (stat === null || !stat.isFile()) continue;
      const before = this.looks.get(file.path);
      const isSame = before !== undefined && before.size === stat.size && before.mtimeMs === stat.mtimeMs;
      const look = isSame ? before : { size: stat.size, mtimeMs: stat.mtimeMs, sinceMs: nowMs };
      seen.set(file.path, look);
      if (nowMs - look.sinceMs >= STABLE_MS) whole.push(file);
    }
    this.looks = seen;
    return { whole, growing: seen.size - whole.length };
  }
}

async function listFiles(folder: string): Promise<readonly DroppedFile[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ name }) => ({ path: join(folder, name), name, source: null, mapping: null }));
  const folders = entries.filter((entry) => entry.isDirectory() && SOURCE_FOLDER.test(entry.name));
  const inside = await Promise.all(folders.map(({ name }) => listSource(folder, name)));
  return [...files, ...inside.flat()]
    .filter(({ name }) => !UNFINISHED.test(name))
    .sort((left, right) => (left.path < right.path ? -1 : 1))
    .slice(0, MAX_FILES);
}

async function listSource(folder: string, name: string): Promise<readonly DroppedFile[]> {
  const [, kind, account] = SOURCE_FOLDER.exec(name)!;
  const names = await readdir(join(folder, name));
  const mapping = names.includes(MAPPING_FILE) ? join(folder, name, MAPPING_FILE) : null;
  return names
    .filter((file) => file !== MAPPING_FILE)
    .map((file) => ({
      path: join(folder, name, file),
      name: file,
      source: `${kind}:${account}`,
      mapping,
    }));
}

/** Makes what is missing of the drop folder's own folders. */
export async function prepareDropFolder(folder: string): Promise<void> {
  for (const name of [DONE, REJECTED]) await mkdir(join(folder, name), { recursive: true, mode: 0o750 });
}

const MAX_NAME = 100;

/** A place under done/ or rejected/; a foreign name becomes one that no shell or browser trips over. */
export function placeOf(
  folder: string,
  where: typeof DONE | typeof REJECTED,
  mark: string,
  name: string,
): string {
  const safe = basename(name)
    .replaceAll(/[^\w.-]/g, '_')
    .slice(-MAX_NAME);
  return join(folder, where, `${mark}-${safe}`);
}

/** A file that is gone was moved by another daemon: its work is done. */
export async function moveFile(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
