/**
 * The run's own Postgres: the embedded server, durable as in production, in a state folder of its own. Can be
 * killed, crashed and started again on the same data.
 */
import { type ConnectionOptions, connect, type Db } from '../src/core/db/connection.ts';
import { APP_USER, embeddedConnection, OWNER_USER, startEmbedded } from '../src/core/db/embedded.ts';
import { stopServer } from '../src/core/db/embedded-cluster.ts';
import { type EmbeddedFolders, resolveFolders, SOCKET_PORT } from '../src/core/db/embedded-folders.ts';
import { findPostmaster, isAlive, waitUntil } from '../src/core/db/embedded-process.ts';
import { migrate } from '../src/core/db/migrate.ts';

const STOP_TIMEOUT_MS = 30_000;
export const BOOK = 'paygate';

export type Database = {
  readonly folders: EmbeddedFolders;
  /** What daemons and submitters connect as. */
  readonly app: ConnectionOptions;
  readonly owner: ConnectionOptions;
  start(): Promise<void>;
  /** kill -9 of the postmaster; its children notice by themselves. */
  kill(): Promise<void>;
  /** SIGQUIT: a crash that the server knows of. */
  crash(): Promise<void>;
};

/** Makes and starts a server with an empty book whose idempotency keys follow from the seed. */
export async function createDatabase(stateDir: string, seed: number): Promise<Database> {
  const folders = await resolveFolders(stateDir);
  const server = {
    socketDir: folders.socketDir,
    port: SOCKET_PORT,
    ownerUser: OWNER_USER,
    appUser: APP_USER,
  };
  const database: Database = {
    folders,
    app: embeddedConnection(server, 'app'),
    owner: embeddedConnection(server, 'owner'),
    start: async () => {
      await startEmbedded({ stateDir });
    },
    kill: async () => {
      const postmaster = await findPostmaster(folders.dataDir);
      if (postmaster === null) throw new Error('there is no Postgres to kill');
      process.kill(postmaster.pid, 'SIGKILL');
      await waitUntil(async () => !(await isAlive(postmaster)), STOP_TIMEOUT_MS);
    },
    crash: async () => {
      await stopServer(folders.dataDir, 'immediate', STOP_TIMEOUT_MS);
    },
  };
  await database.start();
  await migrate({ connection: database.owner, book: BOOK, appRole: APP_USER });
  await setBookKey(database.owner, seed);
  return database;
}

/** The sandbox draws its faults by idempotency key: with the book's key fixed they follow from the seed. */
async function setBookKey(owner: ConnectionOptions, seed: number): Promise<void> {
  const db = openAsOwner(owner, BOOK);
  try {
    const bookKey = (seed >>> 0).toString(16).padStart(12, '0');
    await db.sql`update ${db.t.book} set book_key = ${bookKey}`;
  } finally {
    await db.close();
  }
}

/** A few connections for looking at everything; plans for whole tables. */
export function openAsOwner(owner: ConnectionOptions, book: string): Db {
  return connect({ connection: owner, book, max: 2, workload: 'report', applicationName: 'paygate chaos' });
}

/** A look at the book that gets over a killed server at once: after a failure, `renew` opens a fresh pool. */
export type Eyes = {
  db(): Db;
  renew(): void;
  close(): Promise<void>;
};

/** The driver waits longer and longer between connects, up to 20 s; who watches cannot wait for that. */
export function openEyes(owner: ConnectionOptions): Eyes {
  let db = openAsOwner(owner, BOOK);
  return {
    db: () => db,
    renew: () => {
      void db.close().catch(() => undefined);
      db = openAsOwner(owner, BOOK);
    },
    close: () => db.close(),
  };
}
