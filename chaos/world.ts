/**
 * Everything that a run starts: Postgres, sandbox, daemons, folder. Puts all of it away again, whatever happened,
 * and clears up after runs that were killed before they could.
 */
import { rmSync } from 'node:fs';
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { stringify } from 'smol-toml';
import type { ConnectionOptions } from '../src/core/db/connection.ts';
import { stopServer } from '../src/core/db/embedded-cluster.ts';
import { resolveFolders } from '../src/core/db/embedded-folders.ts';
import { isAlive, readStartTicks } from '../src/core/db/embedded-process.ts';
import { createDaemon, type Daemon } from './daemons.ts';
import { createDatabase, type Database } from './database.ts';
import { createLogBook, type LogBook } from './log-book.ts';
import { BLOCKED_BUYER } from './plan.ts';
import { endAllChildren } from './processes.ts';
import { pspDocument, SECRETS } from './psps.ts';
import { findFreePorts, type Relay, startRelay } from './relay.ts';
import { createSandbox, type Sandbox } from './sandbox.ts';

/** Folder name: who made it, so that a later run can clear up after one that was killed. */
const FOLDER_NAME = /^paygate-chaos-(\d+)-(\d+)-/;
const STOP_TIMEOUT_MS = 20_000;

export type World = {
  /** For the run's own files. */
  readonly folder: string;
  /** Stands in the command line of every child. */
  readonly mark: string;
  readonly document: object;
  readonly database: Database;
  readonly sandbox: Sandbox;
  readonly daemons: readonly Daemon[];
  /** Where PSPs deliver. */
  readonly relay: Relay;
  /** What the command line needs to work on this world. */
  readonly command: { readonly configPath: string; readonly env: Readonly<Record<string, string>> };
  readonly log: LogBook;
  /** Parts that ended although nobody had killed them. */
  readonly unexpectedEnds: string[];
};

export type WorldWishes = {
  readonly seed: number;
  readonly daemons: number;
  readonly latencyMs: number;
  readonly faults: 'on' | 'off';
  /** Calls in flight at once per daemon. */
  readonly maxConcurrent: number;
  readonly pspTimeoutMs: number;
  readonly logFolder: string | null;
  /** Where the database's data goes; null: with everything else. */
  readonly dataFolder: string | null;
};

/** Builds the world, hands it to `work`, and takes it down; also when a signal ends the run. */
export async function withWorld<T>(wishes: WorldWishes, work: (world: World) => Promise<T>): Promise<T> {
  await removeAbandoned();
  const startTicks = await readStartTicks(process.pid);
  const folder = await mkdtemp(join(tmpdir(), `paygate-chaos-${process.pid}-${startTicks}-`));
  const folders = wishes.dataFolder === null ? [folder] : [wishes.dataFolder, folder];
  const forget = removeOnSignal(folders);
  try {
    const world = await buildWorld(wishes, folder);
    try {
      return await work(world);
    } finally {
      world.relay.close();
    }
  } finally {
    endAllChildren();
    for (const one of folders) await removeFolder(one);
    forget();
  }
}

async function buildWorld(wishes: WorldWishes, folder: string): Promise<World> {
  const mark = basename(folder);
  const ownFolder = join(folder, 'chaos');
  await mkdir(ownFolder);
  const log = createLogBook(wishes.logFolder);
  const unexpectedEnds: string[] = [];
  const noteEnd = (who: string, ending: unknown): void => {
    unexpectedEnds.push(`${who} ended by itself: ${JSON.stringify(ending)}`);
  };
  const database = await createDatabase(wishes.dataFolder ?? folder, wishes.seed);
  const ports = await findFreePorts(wishes.daemons);
  const relay = await startRelay(ports);
  const sandbox = await createSandbox({
    ...wishes,
    journalPath: join(ownFolder, 'sandbox.journal'),
    mark,
    webhookUrl: `${relay.url}/v1/webhooks/stripe`,
    onLog: (line) => log.note('sandbox', line),
    onUnexpectedEnd: (ending) => noteEnd('sandbox', ending),
  });
  const document = documentOf(wishes, sandbox.url);
  const configPaths = ports.map((_, place) => join(ownFolder, `paygate-${place}.toml`));
  for (const [place, port] of ports.entries())
    await writeFile(configPaths[place]!, stringify({ ...document, http: { port } }), { mode: 0o600 });
  const env = { PAYGATE_DATABASE_URL: urlOf(database.app), ...SECRETS };
  const daemons = configPaths.map((configPath, place) =>
    createDaemon(place, {
      configPath,
      env,
      log,
      onUnexpectedEnd: (at, ending) => {
        noteEnd(`daemon ${at}`, ending);
        // As a service manager would.
        setTimeout(() => void daemons[at]?.start().catch(() => undefined), 500);
      },
    }),
  );
  await Promise.all(daemons.map((daemon) => daemon.start()));
  const command = { configPath: configPaths[0]!, env };
  return {
    folder: ownFolder,
    mark,
    document,
    database,
    sandbox,
    daemons,
    relay,
    command,
    log,
    unexpectedEnds,
  };
}

/** The configuration as a file would have it. */
function documentOf(wishes: WorldWishes, sandboxUrl: string) {
  return {
    database: { pool_size: 6 },
    ...pspDocument({
      base_url: sandboxUrl,
      max_concurrent: wishes.maxConcurrent,
      timeout_ms: wishes.pspTimeoutMs,
    }),
    fees: {
      EUR: { bps: 250, fixed: '0.25' },
      USD: { bps: 290 },
      JPY: { bps: 300 },
      KWD: { bps: 100, fixed: '0.005' },
    },
    risk: { blocked_buyers: [BLOCKED_BUYER] },
  };
}

/** libpq's way of writing down a server behind a Unix socket. */
export function urlOf({ host, port, database, user }: ConnectionOptions): string {
  return `postgresql:///${database}?${new URLSearchParams({ host: String(host), port: String(port), user })}`;
}

/** Stops the server of a run and removes its folders. */
async function removeFolder(folder: string): Promise<void> {
  const folders = await resolveFolders(folder);
  await stopServer(folders.dataDir, 'immediate', STOP_TIMEOUT_MS).catch(() => false);
  for (const path of [folders.socketDir, folder])
    await rm(path, { recursive: true, force: true, maxRetries: 5 });
}

/** A signal ends the run: children first, then the server, then the folders, then we. */
function removeOnSignal(folders: readonly string[]): () => void {
  const onSignal = (name: NodeJS.Signals): void => {
    endAllChildren();
    void Promise.all(folders.map(removeFolder))
      .catch(() => {
        for (const folder of folders) rmSync(folder, { recursive: true, force: true });
      })
      .finally(() => process.exit(name === 'SIGINT' ? 130 : 143));
  };
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of names) process.once(name, onSignal);
  return () => {
    for (const name of names) process.off(name, onSignal);
  };
}

/** What runs left behind that were killed with -9: stopped children, a server, a folder. */
async function removeAbandoned(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const match = FOLDER_NAME.exec(name);
    if (match === null || (await isAlive({ pid: Number(match[1]), startTicks: match[2]! }))) continue;
    const folder = join(tmpdir(), name);
    const facts = await lstat(folder).catch(() => null);
    if (facts?.isDirectory() !== true || facts.uid !== process.getuid?.()) continue;
    await killMarked(name);
    await removeFolder(folder);
  }
}

/** Processes that carry the mark in an argument, alone or in a path: only children of that run do. */
async function killMarked(mark: string): Promise<void> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (!commandLine.split('\0').some((word) => word.includes(mark))) continue;
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has just ended by itself.
    }
  }
}
