/**
 * Reads the ways in which people write down a Postgres server (libpq's URL and its `keyword=value` form)
 * and gives options for postgres.js, which takes no socket URL itself. Pure; a message never holds any part
 * of the text but names we know, because a misread password can turn up anywhere in it.
 */
import { OperatorError } from '../errors.ts';

/** Options for postgres.js. Lists (several servers, or an IPv6 address) come in pairs of equal length. */
export type DatabaseOptions = {
  readonly host: string | string[];
  readonly port: number | number[];
  readonly user: string;
  readonly database: string;
  readonly password?: string;
  /** As postgres.js understands it; an object goes to node:tls. */
  readonly ssl?: 'require' | 'prefer' | 'verify-full' | boolean | { checkServerIdentity: () => undefined };
  /** Seconds. */
  readonly connect_timeout?: number;
  readonly target_session_attrs?: 'read-write' | 'read-only' | 'primary' | 'standby' | 'prefer-standby';
  readonly connection?: { readonly application_name?: string; readonly options?: string };
};

/** What the text says, by libpq's keywords. */
type Settings = Map<string, string>;

/** Where libpq looks when no host is named, on all common distributions. */
const DEFAULT_SOCKET_DIR = '/var/run/postgresql';
const DEFAULT_PORT = 5432;
const SCHEME = /^postgres(?:ql)?:\/\//i;

const KNOWN = new Set([
  'host',
  'port',
  'dbname',
  'user',
  'password',
  'sslmode',
  'application_name',
  'fallback_application_name',
  'connect_timeout',
  'options',
  'target_session_attrs',
]);

/** Keywords of libpq that postgres.js has nothing for; ignoring them could weaken the connection. */
const NOT_SUPPORTED: ReadonlyMap<string, string> = new Map([
  ['sslrootcert', 'Name the certificate file in the environment variable NODE_EXTRA_CA_CERTS instead.'],
  ['sslcert', 'Client certificates are not supported.'],
  ['sslkey', 'Client certificates are not supported.'],
  ['sslpassword', 'Client certificates are not supported.'],
  ['sslnegotiation', 'Leave it out.'],
  ['channel_binding', 'Leave it out; use sslmode=verify-full to be sure of the server.'],
  ['hostaddr', 'Use host.'],
  ['service', 'Write the connection out.'],
  ['passfile', 'Write the password into the URL, or set PGPASSWORD.'],
  ['gssencmode', 'GSSAPI is not supported.'],
  ['krbsrvname', 'GSSAPI is not supported.'],
  ['require_auth', 'Leave it out.'],
  ['load_balance_hosts', 'Leave it out; the hosts are tried in order.'],
  ['keepalives', 'Leave it out.'],
  ['keepalives_idle', 'Leave it out.'],
  ['keepalives_interval', 'Leave it out.'],
  ['keepalives_count', 'Leave it out.'],
  ['tcp_user_timeout', 'Leave it out.'],
  ['client_encoding', 'Leave it out: it is always UTF8.'],
  ['replication', 'Leave it out.'],
]);

const SESSION_ATTRS = ['read-write', 'read-only', 'primary', 'standby', 'prefer-standby'] as const;

function invalid(message: string, details: Record<string, unknown> = {}): OperatorError {
  return new OperatorError(
    'database_url_invalid',
    `The database URL is not understood: ${message} ` +
      'Expected postgres://user:password@host:5432/database, postgres:///database?host=/socket/folder, ' +
      'or host=… port=… dbname=… user=…',
    { details },
  );
}

/**
 * Reads a libpq URL (`postgres://…`, `postgresql://…`) or keyword string (`host=/tmp dbname=x`). What libpq
 * leaves to its defaults is the same here: socket folder /var/run/postgresql, port 5432, database named like
 * the user, TLS tried first over TCP (`prefer`).
 * @param defaults.user for a text that names no user, usually the operating system's
 * @throws OperatorError database_url_invalid
 */
export function parseDatabaseUrl(text: string, defaults: { user?: string } = {}): DatabaseOptions {
  const trimmed = text.trim();
  if (trimmed === '') throw invalid('it is empty.');
  if (/[\0\r\n]/.test(trimmed)) throw invalid('it holds a line break or a zero byte.');
  if (SCHEME.test(trimmed)) return toOptions(readUrl(trimmed.replace(SCHEME, '')), defaults);
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed))
    throw invalid('it must begin with postgres:// or postgresql://.');
  if (!trimmed.includes('=')) throw invalid('it is neither a URL nor a list of keyword=value.');
  return toOptions(readKeywords(trimmed), defaults);
}

/** [user[:password]@][host[:port][,…]][/database][?keyword=value&…] */
function readUrl(rest: string): Settings {
  const settings: Settings = new Map();
  const { authority, database, query } = splitUrl(rest);
  const at = authority.indexOf('@');
  if (at >= 0) readUserInfo(authority.slice(0, at), settings);
  readHosts(authority.slice(at + 1), settings);
  if (database !== '') settings.set('dbname', decode(database, 'database'));
  for (const [index, pair] of (query === '' ? [] : query.split('&')).entries()) {
    const equals = pair.indexOf('=');
    if (equals < 1) throw invalid(`parameter ${index + 1} after the "?" is not keyword=value.`);
    const keyword = decode(pair.slice(0, equals), 'parameter');
    set(
      settings,
      keyword,
      decode(pair.slice(equals + 1), KNOWN.has(keyword) ? keyword : 'parameter'),
      index + 1,
    );
  }
  return settings;
}

function splitUrl(rest: string): { authority: string; database: string; query: string } {
  if (rest.includes('#')) throw invalid('a "#" must be written %23.');
  const question = rest.indexOf('?');
  const beforeQuery = question < 0 ? rest : rest.slice(0, question);
  const slash = beforeQuery.indexOf('/');
  const authority = slash < 0 ? beforeQuery : beforeQuery.slice(0, slash);
  const database = slash < 0 ? '' : beforeQuery.slice(slash + 1);
  const query = question < 0 ? '' : rest.slice(question + 1);
  const misplacedAt = database.includes('@') || (!authority.includes('@') && query.includes('@'));
  if (authority.split('@').length > 2 || misplacedAt) {
    throw invalid('in user, password and database, write "@" as %40, "/" as %2F, "?" as %3F and ":" as %3A.');
  }
  if (database.includes('/')) throw invalid('there is a "/" too many; inside a name it must be written %2F.');
  return { authority, database, query };
}

function readUserInfo(info: string, settings: Settings): void {
  const colon = info.indexOf(':');
  const user = decode(colon < 0 ? info : info.slice(0, colon), 'user');
  if (user !== '') settings.set('user', user);
  if (colon >= 0) settings.set('password', decode(info.slice(colon + 1), 'password'));
}

function readHosts(authority: string, settings: Settings): void {
  if (authority === '') return;
  const hosts: string[] = [];
  const ports: string[] = [];
  for (const part of authority.split(',')) {
    const match = /^(?:\[([0-9a-fA-F:.%a-z]+)\]|([^:[\]]*))(?::(\d*))?$/.exec(part);
    if (match === null) {
      throw invalid(
        "host and port can't be told apart. Write an IPv6 address in [brackets], the port as a number.",
      );
    }
    hosts.push(match[1] ?? decode(match[2] ?? '', 'host'));
    ports.push(match[3] ?? '');
  }
  if (hosts.some((host) => host !== '')) settings.set('host', hosts.join(','));
  if (ports.some((port) => port !== '')) settings.set('port', ports.join(','));
}

/** Percent-decoding; unlike in web forms, "+" is a plus. */
function decode(text: string, what: string): string {
  try {
    const decoded = decodeURIComponent(text);
    if (!decoded.includes('\0')) return decoded;
  } catch {
    // Said below.
  }
  throw invalid(`the ${what} is wrongly percent-encoded; write "%" as %25.`);
}

/** host=/tmp port = 5433 password='it\'s' */
function readKeywords(text: string): Settings {
  const settings: Settings = new Map();
  const pair =
    /\s*([A-Za-z_]\w*)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*|))(?=\s|$)/gy;
  let position = 0;
  let count = 0;
  while (position < text.length) {
    pair.lastIndex = position;
    const match = pair.exec(text);
    count += 1;
    if (match === null) {
      throw invalid(`setting ${count} is not keyword=value (values with spaces go in 'single quotes').`);
    }
    set(settings, match[1]!, (match[2] ?? match[3] ?? '').replace(/\\(.)/g, '$1'), count);
    position = pair.lastIndex;
  }
  return settings;
}

function set(settings: Settings, keyword: string, value: string, position: number): void {
  const advice = NOT_SUPPORTED.get(keyword);
  if (advice !== undefined) throw invalid(`${keyword} is not supported. ${advice}`, { keyword });
  // An unknown keyword may be a piece of a password: not repeated.
  if (!KNOWN.has(keyword)) throw invalid(`the keyword of setting ${position} is not known.`);
  if (value !== '') settings.set(keyword, value);
}

function toOptions(settings: Settings, defaults: { user?: string }): DatabaseOptions {
  const user = settings.get('user') ?? defaults.user;
  if (user === undefined) throw invalid('it names no user.');
  const password = settings.get('password');
  const timeout = settings.get('connect_timeout');
  const target = settings.get('target_session_attrs');
  const name = settings.get('application_name') ?? settings.get('fallback_application_name');
  const startOptions = settings.get('options');
  const servers = readServers(settings);
  const ssl = readSslMode(settings.get('sslmode'), servers.overSocket);
  return {
    host: servers.host,
    port: servers.port,
    user,
    database: settings.get('dbname') ?? user,
    ...(password === undefined ? {} : { password }),
    ssl,
    ...(timeout === undefined ? {} : { connect_timeout: readTimeout(timeout) }),
    ...(target === undefined || target === 'any' ? {} : { target_session_attrs: readSessionAttrs(target) }),
    ...(name === undefined && startOptions === undefined
      ? {}
      : {
          connection: {
            ...(name === undefined ? {} : { application_name: name }),
            ...(startOptions === undefined ? {} : { options: startOptions }),
          },
        }),
  };
}

type Servers = {
  readonly host: string | string[];
  readonly port: number | number[];
  readonly overSocket: boolean;
};

/** postgres.js splits a host text at commas and colons, so whatever has one of those goes in a list. */
function readServers(settings: Settings): Servers {
  const hostText = settings.get('host') ?? DEFAULT_SOCKET_DIR;
  if (hostText.startsWith('/')) {
    const port = readPort(settings.get('port') ?? '');
    return { host: hostText.length > 1 ? hostText.replace(/\/+$/, '') : hostText, port, overSocket: true };
  }
  if (hostText.startsWith('@')) throw invalid('abstract sockets are not supported.');
  const hosts = hostText.split(',');
  const portTexts = (settings.get('port') ?? '').split(',');
  if (portTexts.length !== 1 && portTexts.length !== hosts.length) {
    throw invalid('the number of ports is not the number of hosts.');
  }
  if (hosts.some((host) => host === '' || host.includes('/'))) {
    throw invalid('in a list of hosts each must have a name, and none may be a socket folder.');
  }
  const ports = hosts.map((_, index) => readPort(portTexts[portTexts.length === 1 ? 0 : index] ?? ''));
  const single = hosts.length === 1 && !hostText.includes(':');
  return single
    ? { host: hostText, port: ports[0] ?? DEFAULT_PORT, overSocket: false }
    : { host: hosts, port: ports, overSocket: false };
}

function readPort(text: string): number {
  if (text === '') return DEFAULT_PORT;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) throw invalid('the port must be a number from 1 to 65535.');
  return port;
}

function readTimeout(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw invalid('connect_timeout must be a number of seconds.');
  return Number(text);
}

function readSessionAttrs(text: string): (typeof SESSION_ATTRS)[number] {
  const found = SESSION_ATTRS.find((name) => name === text);
  if (found === undefined) throw invalid(`target_session_attrs must be any, ${SESSION_ATTRS.join(', ')}.`);
  return found;
}

/** libpq has no TLS over a socket, whatever the mode says. `allow` (plain first) is taken as `prefer`. */
function readSslMode(mode: string | undefined, overSocket: boolean): NonNullable<DatabaseOptions['ssl']> {
  switch (mode) {
    case undefined:
    case 'allow':
    case 'prefer':
      return overSocket ? false : 'prefer';
    case 'disable':
      return false;
    case 'require':
      return overSocket ? false : 'require';
    case 'verify-ca':
      return overSocket ? false : { checkServerIdentity: () => undefined };
    case 'verify-full':
      return overSocket ? false : 'verify-full';
    default:
      throw invalid('sslmode must be disable, allow, prefer, require, verify-ca or verify-full.');
  }
}

/**
 * The text with `***` for every password, fit for a log or the screen. A text that can't be parsed loses
 * rather too much: everything up to its last "@".
 */
export function redactDatabaseUrl(text: string): string {
  const scheme = /^\s*[a-z][a-z0-9+.-]*:\/\//i.exec(text)?.[0];
  if (scheme === undefined) return redactKeywords(text);
  const rest = text.slice(scheme.length);
  const colon = rest.indexOf(':');
  if (!isUnderstood(text)) {
    const at = rest.lastIndexOf('@');
    const shown = colon < 0 ? rest : `${rest.slice(0, colon)}:***${at > colon ? rest.slice(at) : ''}`;
    return scheme + shown.replace(/\?.*$/s, '?***');
  }
  const at = rest.lastIndexOf('@', rest.search(/[/?]|$/));
  const shown = colon >= 0 && colon < at ? `${rest.slice(0, colon)}:***${rest.slice(at)}` : rest;
  // The keyword too may be percent-encoded.
  return (
    scheme +
    shown.replace(/([?&])([^=&]+)=[^&]*/g, (pair, mark: string, keyword: string) =>
      decodeURIComponent(keyword) === 'password' ? `${mark}${keyword}=***` : pair,
    )
  );
}

function redactKeywords(text: string): string {
  if (!isUnderstood(text)) return text.replace(/(pass\w*\s*=).*/is, '$1***');
  return text.replace(/(password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|(?:[^\s\\]|\\.)*)/gi, '$1***');
}

function isUnderstood(text: string): boolean {
  try {
    parseDatabaseUrl(text, { user: 'somebody' });
    return true;
  } catch {
    return false;
  }
}
