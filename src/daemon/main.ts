/**
 * The daemon's composition root: book, lease, executor, maintenance and HTTP in one process. Several may
 * run at once, on one machine or many.
 */
import { hostname } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import pRetry from 'p-retry';
import { accountsOf, type Config, pspOf } from '../core/config.ts';
import { type ConnectionOptions, type Db, listenTo, openBook } from '../core/db/connection.ts';
import { OperatorError } from '../core/errors.ts';
import type { Connector, PspAccount } from '../core/psp/psp.ts';
import { openConnectors } from '../core/psp/registry.ts';
import { capabilitiesOf } from '../core/psp/request.ts';
import { channelOf, getBookKey } from '../core/queue/queue-store.ts';
import type { ReconcileAnswer } from '../core/settlement/reconcile-answer.ts';
import { startDropFolder } from './drop/drop-folder.ts';
import { type Executor, startExecutor } from './executor.ts';
import { type HttpOptions, startHttp } from './http/server.ts';
import { type Lease, takeLease } from './lease.ts';
import { type Log, openLog } from './log.ts';
import { startMaintenance } from './maintenance.ts';

export type DaemonOptions = {
  readonly config: Config;
  readonly connection: ConnectionOptions;
  /** Where LISTEN works, if `connection` leads through a pooler; null: the same. */
  readonly listenConnection: ConnectionOptions | null;
  /** A reconciliation as a page; the command line's, because it shows things to people. */
  readonly renderReport: (answer: ReconcileAnswer) => Promise<string>;
};

/** How a daemon ended: by itself never; by a signal, in good order. */
export type DaemonEnd = { readonly signal: 'SIGTERM' | 'SIGINT' };

/** How long a daemon waits for a database that is not up yet when it starts: about 30 s. */
const START_RETRIES = { retries: 8, minTimeout: 250, maxTimeout: 8_000 };
/**
 * Batches live for a few milliseconds. V8's young generation would grow to 64 MB with them, and the process to 300 MB;
 * kept at its first size a busy daemon stays near 200 MB, no slower (measured, 60,000 charges).
 */
const KEEP_YOUNG_HEAP_SMALL = '--semi-space-growth-factor=1';
/** The drain after SIGTERM may take the longest call plus this (ms); then jobs are left to be rescued. */
const DRAIN_GRACE_MS = 10_000;

/** Runs until SIGTERM or SIGINT; a second signal ends the process at once. */
export async function runDaemon(options: DaemonOptions): Promise<DaemonEnd> {
  const { config } = options;
  setFlagsFromString(KEEP_YOUNG_HEAP_SMALL);
  const name = `${hostname()}/${process.pid}`;
  const log = openLog(config.logLevel, { daemon: name });
  const accounts = requireAccounts(config);
  const db = await openWhenUp(options, log);
  const lease = await takeLease(db, name);
  const connectors = await openConnectors(accounts);
  const principal = `daemon:${name}`;
  const findings = {
    capabilitiesOf: (account: string) => capabilitiesOf(pspOf(config)(account)),
    random: Math.random,
    customerLimitMs: config.customerLimitMs,
    ...(config.accept === null
      ? {}
      : { reroute: { route: config.accept.route, bookKey: await getBookKey(db) } }),
  };
  const executor = startExecutor({
    context: { db, daemonId: lease.daemonId, principal, ...findings },
    lease,
    accounts,
    connectors,
    log,
  });
  const listener = await listen(options, db, executor, log);
  const stopMaintenance = startMaintenance({
    db,
    daemonId: lease.daemonId,
    principal,
    resendDelayMs: resendDelayMs(accounts),
    log,
    onWork: executor.wake,
    refunds: { ...refundContext(config), bookKey: await getBookKey(db), principal },
    settlement: config.settlement,
    disputes: { policy: config.disputes, accounts: whomToAsk(accounts, connectors) },
  });
  const stopDropFolder = await watchDropFolder(options, db, principal, log);
  const http = await startHttpIfWanted(config, db, log, {
    accounts: webhookAccounts(config, connectors),
    findings,
  });
  const rules = config.risk.ruleSet?.version ?? null;
  log.info({ accounts: accounts.map((a) => a.name), http: http?.url ?? null, rules }, 'ready');

  const signal = await untilSignal(log);
  log.info({ signal, ...executor.snapshot() }, 'draining');
  await http?.close();
  await stopDropFolder();
  await stopMaintenance();
  await drain(executor, lease, accounts, log);
  await listener();
  for (const connector of connectors.values()) await connector.close();
  await db.close();
  log.info('stopped');
  return { signal };
}

function requireAccounts(config: Config): readonly PspAccount[] {
  if (config.pspAccounts.length === 0) {
    throw new OperatorError(
      'no_psp_account',
      'No PSP account is configured. Add a [psp.NAME] table to the configuration.',
    );
  }
  for (const account of config.pspAccounts) {
    if (account.apiKey !== '') continue;
    throw new OperatorError(
      'no_api_key',
      `PSP account ${account.name} has no key. Set api_key_file in [psp.${account.name}], or PAYGATE_PSP_${account.name.toUpperCase()}_API_KEY.`,
    );
  }
  return config.pspAccounts;
}

async function openWhenUp(options: DaemonOptions, log: Log): Promise<Db> {
  const { database } = options.config;
  return pRetry(
    () =>
      openBook({
        connection: options.connection,
        book: database.book,
        max: database.poolSize,
        prepare: database.prepare,
        applicationName: 'paygate daemon',
      }),
    {
      ...START_RETRIES,
      shouldRetry: ({ error }) => error instanceof OperatorError && error.code === 'database_unreachable',
      onFailedAttempt: ({ error }) => log.warn({ error: error.message }, 'waiting for the database'),
    },
  );
}

/** Wakes the executor on notifications; returns how to stop. Without LISTEN, polling does the work. */
async function listen(
  options: DaemonOptions,
  db: Db,
  executor: Executor,
  log: Log,
): Promise<() => Promise<void>> {
  const { config, listenConnection } = options;
  const separate =
    listenConnection === null
      ? null
      : await openBook({ connection: listenConnection, book: config.database.book, max: 1 });
  const unlisten = await listenTo(separate ?? db, channelOf(db.book), executor.wake);
  return async () => {
    await unlisten().catch((error: unknown) => log.debug({ error: String(error) }, 'unlisten failed'));
    await separate?.close();
  };
}

/** Watches the drop folder, if there is one; returns how to stop. */
async function watchDropFolder(
  options: DaemonOptions,
  db: Db,
  principal: string,
  log: Log,
): Promise<() => Promise<void>> {
  const { config, renderReport } = options;
  if (config.dropFolder === null) return async () => undefined;
  // The lock belongs to a session: one connection, and not through a pooler.
  const connection = options.listenConnection ?? options.connection;
  const lock = await openBook({ connection, book: config.database.book, max: 1 });
  const stop = startDropFolder({ ...config.dropFolder, db, lock, config, principal, renderReport, log });
  return async () => {
    await stop();
    await lock.close();
  };
}

/** A rescuer waits out the holder's call where the PSP does not serialise requests of one key. */
function resendDelayMs(accounts: readonly PspAccount[]): number {
  const unsafe = accounts.filter((account) => !capabilitiesOf(account.psp).concurrentResendIsSafe);
  return Math.max(0, ...unsafe.map((account) => account.timeoutMs));
}

async function startHttpIfWanted(config: Config, db: Db, log: Log, webhooks: HttpOptions['webhooks']) {
  const { accept } = config;
  if (config.http.port === 0 || accept === null) return null;
  return startHttp({
    db,
    policy: accept,
    refunds: refundContext(config),
    webhooks,
    bookKey: await getBookKey(db),
    host: config.http.host,
    port: config.http.port,
    log,
    principal: 'http:loopback',
  });
}

/** The accounts that have a secret to verify webhooks with. */
function webhookAccounts(config: Config, connectors: ReadonlyMap<string, Connector>) {
  return config.pspAccounts.flatMap(({ name, psp }) => {
    const secret = config.webhookSecrets.get(name);
    const connector = connectors.get(name);
    return secret === undefined || connector === undefined ? [] : [{ name, psp, secret, connector }];
  });
}

/** Connectors by account, with how long a question may take. */
function whomToAsk(accounts: readonly PspAccount[], connectors: ReadonlyMap<string, Connector>) {
  return new Map(
    accounts.map(({ name, timeoutMs }) => [name, { connector: connectors.get(name)!, timeoutMs }] as const),
  );
}

/** What refunds are taken under: the policy, and which PSP an account is. */
function refundContext(config: Config) {
  return {
    policy: config.refunds,
    accountOf: accountsOf(config),
  };
}

function untilSignal(log: Log): Promise<DaemonEnd['signal']> {
  return new Promise((resolve) => {
    let seen = false;
    const onSignal = (signal: 'SIGTERM' | 'SIGINT'): void => {
      if (seen) {
        log.warn({ signal }, 'second signal: leaving at once; jobs in hand will be rescued');
        process.exit(signal === 'SIGTERM' ? 143 : 130);
      }
      seen = true;
      resolve(signal);
    };
    process.on('SIGTERM', () => onSignal('SIGTERM'));
    process.on('SIGINT', () => onSignal('SIGINT'));
  });
}

/** Finishes calls and records replies; only a clean drain gives the lease back, else it must lapse. */
async function drain(
  executor: Executor,
  lease: Lease,
  accounts: readonly PspAccount[],
  log: Log,
): Promise<void> {
  const limitMs = Math.max(...accounts.map((account) => account.timeoutMs)) + DRAIN_GRACE_MS;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), limitMs);
  });
  const result = await Promise.race([executor.drain().then(() => 'clean' as const), late]);
  clearTimeout(timer);
  if (result === 'clean') return lease.end();
  log.error({ limitMs }, 'drain took too long; jobs in hand will be rescued');
}
