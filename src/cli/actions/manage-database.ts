/** `db start|stop|status|url|migrate`: the embedded Postgres, or what can be said of somebody else's. */
import type { Config } from '../../core/config.ts';
import { redactDatabaseUrl } from '../../core/db/database-url.ts';
import {
  APP_USER,
  DATABASE,
  type EmbeddedStatus,
  OWNER_USER,
  statusEmbedded,
  stopEmbedded,
} from '../../core/db/embedded.ts';
import { LATEST_VERSION } from '../../core/db/schema-version.ts';
import { OperatorError } from '../../core/errors.ts';
import { EXIT } from '../exit-codes.ts';
import { loadConfig } from '../load-config.ts';
import {
  locateDatabase,
  migrateBook,
  type Role,
  refuseEmbeddedInProduction,
  startEmbeddedServer,
  withBook,
} from '../open-book.ts';
import type { Block } from '../render/table.ts';
import { refuseDryRun, type Session } from '../session.ts';

/** Starts the embedded server and migrates; exit 0 also when it ran already. */
export async function startDatabase(session: Session): Promise<number> {
  refuseDryRun(session);
  const config = requireEmbedded(session, 'started');
  const server = await startEmbeddedServer(session);
  const migrated = await migrateBook(session, config);
  const url = embeddedUrl(server, 'app');
  await session.print({
    json: {
      state: 'running',
      started_now: server.startedNow,
      url,
      state_dir: server.stateDir,
      pid: server.pid,
      schema_version: migrated.to,
      migrations_applied: migrated.applied,
    },
    blocks: [
      { kind: 'line', text: server.startedNow ? 'The embedded Postgres is running.' : 'It ran already.' },
      {
        kind: 'facts',
        facts: [
          ['url', url],
          ['state folder', server.stateDir],
          ['pid', String(server.pid)],
          ['schema', schemaText(migrated.from, migrated.to)],
        ],
      },
    ],
  });
  return EXIT.done;
}

/** Exit 0 also when it was not running. */
export async function stopDatabase(session: Session): Promise<number> {
  refuseDryRun(session);
  requireEmbedded(session, 'stopped');
  const wasRunning = await stopEmbedded();
  await session.print({
    json: { state: 'stopped', stopped_now: wasRunning },
    blocks: [{ kind: 'line', text: wasRunning ? 'Stopped. The data stays.' : 'It was not running.' }],
  });
  return EXIT.done;
}

/** @throws OperatorError database_not_embedded, embedded_in_production */
function requireEmbedded(session: Session, verb: 'started' | 'stopped'): Config {
  const { config } = loadConfig(session);
  if (config.database.url !== null) {
    throw new OperatorError(
      'database_not_embedded',
      `The configuration names a database of its own (${redactDatabaseUrl(config.database.url)}): it is not ${verb} from here.`,
    );
  }
  refuseEmbeddedInProduction(config);
  return config;
}

/** Exit 0 when it runs, else 1; a database of one's own that does not answer is an error, 3. */
export async function showDatabase(session: Session): Promise<number> {
  const { config } = loadConfig(session);
  if (config.database.url !== null) return showOwnDatabase(session, config.database.url);
  refuseEmbeddedInProduction(config);
  const status = await statusEmbedded();
  await session.print({ json: statusView(status), blocks: [statusFacts(status)] });
  return status.state === 'running' ? EXIT.done : EXIT.answerIsNo;
}

async function showOwnDatabase(session: Session, url: string): Promise<number> {
  const shownUrl = redactDatabaseUrl(url);
  return withBook(session, async ({ config }) => {
    await session.print({
      json: {
        kind: 'own',
        state: 'running',
        url: shownUrl,
        book: config.database.book,
        schema_version: LATEST_VERSION,
      },
      blocks: [
        {
          kind: 'facts',
          facts: [
            ['database', 'your own'],
            ['state', { text: 'running', tone: 'good' }],
            ['url', shownUrl],
            ['book', config.database.book],
            ['schema', `version ${LATEST_VERSION}`],
          ],
        },
      ],
    });
    return EXIT.done;
  });
}

function statusView(status: EmbeddedStatus) {
  return {
    kind: 'embedded',
    state: status.state,
    state_dir: status.stateDir,
    data_dir: status.dataDir,
    log_dir: status.logDir,
    postgres_version: status.majorVersion,
    size_bytes: status.sizeBytes,
    pid: status.state === 'stopped' ? null : status.pid,
    url: status.state === 'stopped' ? null : embeddedUrl(status, 'app'),
  };
}

function statusFacts(status: EmbeddedStatus): Block {
  const hasData = status.majorVersion !== null;
  return {
    kind: 'facts',
    facts: [
      ['database', 'embedded Postgres'],
      ['state', { text: status.state, tone: status.state === 'running' ? 'good' : 'warn' }],
      ...(status.state === 'stopped'
        ? []
        : [['url', embeddedUrl(status, 'app')] as const, ['pid', String(status.pid)] as const]),
      ['state folder', status.stateDir],
      ['log', status.logDir],
      ['version', hasData ? String(status.majorVersion) : 'no data yet: paygate db start'],
      ...(hasData && status.sizeBytes !== null ? [['size', megabytes(status.sizeBytes)] as const] : []),
    ],
  };
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1024 / 1024)} MB`;
}

/** A libpq URL over the socket, without a password because there is none. */
function embeddedUrl(server: { readonly socketDir: string; readonly port: number }, role: Role): string {
  const user = role === 'app' ? APP_USER : OWNER_USER;
  const query = new URLSearchParams({ host: server.socketDir, port: String(server.port) });
  return `postgres://${user}@/${DATABASE}?${query.toString()}`;
}

/** Prints the URL and nothing else, without passwords; exit 1 when the embedded server does not run. */
export async function printDatabaseUrl(session: Session, role: Role): Promise<number> {
  const { config } = loadConfig(session);
  const url = await urlFor(config, role);
  await session.print({ json: { url }, blocks: [{ kind: 'line', text: url }] });
  return EXIT.done;
}

async function urlFor(config: Config, role: Role): Promise<string> {
  const own = role === 'owner' ? (config.database.ownerUrl ?? config.database.url) : config.database.url;
  if (own !== null) return redactDatabaseUrl(own);
  refuseEmbeddedInProduction(config);
  const status = await statusEmbedded();
  if (status.state === 'running') return embeddedUrl(status, role);
  throw new OperatorError(
    'database_not_running',
    'The embedded Postgres is not running. Start it: paygate db start',
    {
      kind: 'answer_is_no',
    },
  );
}

/** Applies what is missing, as the owner. */
export async function migrateDatabase(session: Session): Promise<number> {
  refuseDryRun(session);
  const { config } = loadConfig(session);
  // The place is looked up first, so that a URL with a mistake is said before anything happens.
  await locateDatabase(session, config, 'owner');
  const { from, to, applied } = await migrateBook(session, config);
  await session.print({
    json: { from, to, applied },
    blocks: [{ kind: 'line', text: schemaText(from, to) }],
  });
  return EXIT.done;
}

function schemaText(from: number, to: number): string {
  return from === to ? `version ${to}, up to date` : `version ${to}, was ${from}`;
}
