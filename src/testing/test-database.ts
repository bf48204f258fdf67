/** A fresh, migrated database for one test file, cloned from the run's template. For tests only. */
import { randomBytes } from 'node:crypto';
import postgres from 'postgres';
import { inject } from 'vitest';
import { errorCode } from '../core/db/connection.ts';
import { type EmbeddedConnection, embeddedConnection } from '../core/db/embedded.ts';
import { OperatorError, TransientError } from '../core/errors.ts';

/** Where the run's throw-away server is; plain data, because it goes to the test workers. */
export type TestCluster = {
  readonly socketDir: string;
  readonly port: number;
  readonly ownerUser: string;
  readonly appUser: string;
};

declare module 'vitest' {
  export interface ProvidedContext {
    /** Null when PAYGATE_TEST_POSTGRES=system and the system has no Postgres: all tests are then skipped. */
    cluster: TestCluster | null;
  }
}

export type TestDatabase = {
  /** As the owner, who migrates. */
  readonly connection: EmbeddedConnection;
  /** As the application. */
  readonly appConnection: EmbeddedConnection;
  readonly name: string;
  /** Also ends the connections to it that are still open. */
  drop(): Promise<void>;
};

/** Migrated once a run; nobody may connect to it, so that it can be cloned at any time. */
export const TEMPLATE_DATABASE = 'paygate_template';
/** A database with this at the front of its name after the run is an error of a test. */
export const TEST_DATABASE_PREFIX = 'test_';

const CREATE_TRIES = 20;
/** Between two tries (ms). */
const CREATE_PAUSE_MS = 100;
const CONNECT_TIMEOUT_S = 10;
const STATEMENT_TIMEOUT_MS = 30_000;
/** object_in_use: another clone is being made, or autovacuum looks at the template. */
const OBJECT_IN_USE = '55006';

/**
 * Clones the template. Call it in `beforeAll`, and `drop()` in `afterAll`.
 * @throws OperatorError no_test_cluster outside of the project "db" (a file must be named `*.db.test.ts`)
 */
export async function createTestDatabase(): Promise<TestDatabase> {
  const cluster = inject('cluster') ?? null;
  if (cluster === null) {
    throw new OperatorError('no_test_cluster', 'There is no test server here: name the file *.db.test.ts.');
  }
  const name = `${TEST_DATABASE_PREFIX}${process.pid}_${randomBytes(5).toString('hex')}`;
  await asOwner(cluster, (sql) => cloneTemplate(sql, name));
  return {
    connection: embeddedConnection(cluster, 'owner', name),
    appConnection: embeddedConnection(cluster, 'app', name),
    name,
    drop: () =>
      asOwner(cluster, async (sql) => {
        await sql.unsafe(`drop database if exists "${name}" with (force)`);
      }),
  };
}

async function cloneTemplate(sql: postgres.Sql, name: string): Promise<void> {
  for (let attempt = 1; attempt <= CREATE_TRIES; attempt += 1) {
    try {
      await sql.unsafe(`create database "${name}" template ${TEMPLATE_DATABASE}`);
      return;
    } catch (error) {
      if (errorCode(error) !== OBJECT_IN_USE) throw error;
      await new Promise((resolve) => setTimeout(resolve, CREATE_PAUSE_MS));
    }
  }
  throw new TransientError('test_template_busy', `The template stayed busy for ${CREATE_TRIES} tries.`);
}

/** Runs `work` on a connection of the superuser to the maintenance database. */
export async function asOwner<T>(cluster: TestCluster, work: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  const sql = postgres({
    ...embeddedConnection(cluster, 'owner', 'postgres'),
    max: 1,
    connect_timeout: CONNECT_TIMEOUT_S,
    onnotice: () => undefined,
    connection: { application_name: 'paygate tests', statement_timeout: STATEMENT_TIMEOUT_MS },
  });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
}
