/**
 * Finds the configuration file, reads it and the secrets it names, and hands them to core to be checked.
 * Interprets no setting; shows no secret.
 */
import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve, sep } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { type Config, readConfig } from '../core/config.ts';
import { errorCode } from '../core/db/connection.ts';
import { parseDatabaseUrl } from '../core/db/database-url.ts';
import { OperatorError } from '../core/errors.ts';
import type { AcceptPolicy } from '../core/payment/accept-payments.ts';
import { readRuleFile } from './read-rule-file.ts';
import type { Session } from './session.ts';

export type LoadedConfig = {
  readonly config: Config;
  /** Null when no file was found. */
  readonly path: string | null;
  /** The file as it was written; an empty object without one. */
  readonly document: Readonly<Record<string, unknown>>;
  /** Where `risk.rules_file` is, absolute; null without one. */
  readonly rulesPath: string | null;
  /** With secrets from `*_FILE` in their places. */
  readonly environment: Readonly<Record<string, string | undefined>>;
};

const MAX_CONFIG_BYTES = 1024 * 1024;
const MAX_SECRET_BYTES = 64 * 1024;
const ENVIRONMENTS = ['development', 'production'] as const;

/**
 * --config FILE, else PAYGATE_CONFIG, else ./paygate.toml, else the user's (for root the system's) file, else
 * nothing but defaults.
 * @throws OperatorError config_not_found, config_unreadable, config_invalid, config_exposed, rules_unreadable,
 *   rules_invalid, secret_exposed, secret_unreadable, env_unknown, embedded_in_production
 */
export function loadConfig(session: Session): LoadedConfig {
  const env = readEnv(session);
  const path = findConfigFile(session);
  const document = path === null ? {} : readDocument(path);
  if (path !== null) refuseExposedPasswords(path, document);
  const environment = withSecretFiles(session);
  let rulesPath: string | null = null;
  const config = readConfig({
    env,
    document,
    origin: path ?? 'the configuration (no file)',
    environment,
    readSecret: (name) => readSecret(locateSecret(session, path, name), session),
    readRules: (name) => {
      rulesPath = resolve(path === null ? session.host.cwd : join(path, '..'), name);
      return readRuleFile(rulesPath).ruleSet;
    },
    readText: (name) => readNamedFile(resolve(path === null ? session.host.cwd : join(path, '..'), name)),
  });
  return { config, path, document, rulesPath, environment };
}

function readEnv(session: Session): Config['env'] {
  const wanted = session.globals.env ?? (session.host.env.PAYGATE_ENV || 'development');
  const known = ENVIRONMENTS.find((name) => name === wanted);
  if (known !== undefined) return known;
  throw new OperatorError('env_unknown', `PAYGATE_ENV must be ${ENVIRONMENTS.join(' or ')}.`);
}

function findConfigFile(session: Session): string | null {
  const { host, globals } = session;
  const named = globals.configPath ?? (host.env.PAYGATE_CONFIG || null);
  if (named !== null) {
    const path = resolve(host.cwd, named);
    if (isThere(path)) return path;
    throw new OperatorError('config_not_found', `There is no configuration file ${path}.`);
  }
  const candidates = [join(host.cwd, 'paygate.toml'), userConfigFile(session)];
  return candidates.find((path) => path !== null && isThere(path)) ?? null;
}

function userConfigFile(session: Session): string | null {
  if (session.host.user.uid === 0) return '/etc/paygate/config.toml';
  const xdg = session.host.env.XDG_CONFIG_HOME;
  // The XDG specification: a relative path here is to be ignored.
  if (xdg !== undefined && isAbsolute(xdg)) return join(xdg, 'paygate', 'config.toml');
  const home = session.host.env.HOME ?? homedir();
  return isAbsolute(home) ? join(home, '.config', 'paygate', 'config.toml') : null;
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** @throws OperatorError config_unreadable */
function readNamedFile(path: string): string {
  try {
    const facts = statSync(path);
    if (!facts.isFile()) throw new OperatorError('config_unreadable', `${path} is not a file.`);
    if (facts.size > MAX_CONFIG_BYTES)
      throw new OperatorError('config_unreadable', `${path} is larger than 1 MB.`);
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof OperatorError) throw error;
    throw new OperatorError('config_unreadable', `${path} can't be read (${errorCode(error)}).`, {
      cause: error,
    });
  }
}

function readDocument(path: string): Readonly<Record<string, unknown>> {
  const text = readNamedFile(path);
  try {
    return parse(text) as Record<string, unknown>;
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The parser's own message repeats the lines around, which may hold a secret.
    const reason = error.message.split('\n', 1)[0]!.replace(/^Invalid TOML document: /, '');
    throw new OperatorError(
      'config_invalid',
      `${path}, line ${error.line}, column ${error.column}: ${reason}.`,
    );
  }
}

/** A file that holds a database password is a secret file like any other. */
function refuseExposedPasswords(path: string, document: Readonly<Record<string, unknown>>): void {
  const { database } = document;
  if (typeof database !== 'object' || database === null) return;
  const holdsPassword = Object.entries(database).some(
    ([name, value]) => name.endsWith('url') && typeof value === 'string' && hasPassword(value),
  );
  if (!holdsPassword || !isExposed(path)) return;
  throw new OperatorError(
    'config_exposed',
    `${path} holds a database password and others can read it. Run: chmod 600 ${path}`,
  );
}

function hasPassword(url: string): boolean {
  try {
    return parseDatabaseUrl(url, { user: 'somebody' }).password !== undefined;
  } catch {
    return true;
  }
}

/** Readable, writable or executable for anybody but the owner. */
function isExposed(path: string): boolean {
  return (statSync(path).mode & 0o077) !== 0;
}

const SECRET_VARIABLE =
  /^PAYGATE_(?:DATABASE_URL|DATABASE_OWNER_URL|PSP_[A-Z0-9_]+_(?:API_KEY|WEBHOOK_SECRET))_FILE$/;

/** `PAYGATE_X_FILE=path` gives PAYGATE_X the content of the file. */
function withSecretFiles(session: Session): Readonly<Record<string, string | undefined>> {
  // An empty variable is an unset one: that is how shells and unit files take a value away.
  const environment: Record<string, string | undefined> = Object.fromEntries(
    Object.entries(session.host.env).filter(([, value]) => value !== ''),
  );
  for (const [name, path] of Object.entries(session.host.env)) {
    if (path === undefined || path === '' || !SECRET_VARIABLE.test(name)) continue;
    const target = name.slice(0, -'_FILE'.length);
    if (environment[target] !== undefined) {
      throw new OperatorError('config_invalid', `Set ${target} or ${name}, not both.`);
    }
    environment[target] = readSecret(locateSecret(session, null, path), session).trim();
  }
  return environment;
}

/** Beside the configuration file, or in systemd's credential directory where only that has it. */
function locateSecret(session: Session, configPath: string | null, name: string): string {
  const beside = resolve(configPath === null ? session.host.cwd : join(configPath, '..'), name);
  const credentials = session.host.env.CREDENTIALS_DIRECTORY;
  if (credentials === undefined || isAbsolute(name) || isThere(beside)) return beside;
  return join(credentials, name);
}

function readSecret(path: string, session: Session): string {
  try {
    const facts = statSync(path);
    if (!facts.isFile() || facts.size > MAX_SECRET_BYTES) {
      throw new OperatorError('secret_unreadable', `${path} is not a file with a secret.`);
    }
    if (isExposed(path) && !isCredential(path, session)) {
      throw new OperatorError(
        'secret_exposed',
        `Others can read the secret in ${path}. Run: chmod 600 ${path}`,
      );
    }
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof OperatorError) throw error;
    throw new OperatorError(
      'secret_unreadable',
      `The secret in ${path} can't be read (${errorCode(error)}).`,
      {
        cause: error,
      },
    );
  }
}

/** systemd guards its credentials by access lists, which show as group rights. */
function isCredential(path: string, session: Session): boolean {
  const folder = session.host.env.CREDENTIALS_DIRECTORY;
  return folder !== undefined && path.startsWith(folder + sep);
}

/**
 * What the configuration says about charges.
 * @throws OperatorError no_psp_account
 */
export function requirePolicy(session: Session): AcceptPolicy {
  const { config } = loadConfig(session);
  if (config.accept !== null) return config.accept;
  throw new OperatorError(
    'no_psp_account',
    'No PSP account is configured, so nothing could be charged. Add a [psp.NAME] table to the configuration.',
  );
}
