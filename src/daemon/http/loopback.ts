/**
 * Which names and addresses mean this machine. Decides only. There are no tokens yet, so everybody who reaches
 * the server may charge: it must be reachable from here alone, also by way of somebody's browser.
 */

/** Addresses that the server may listen on, as the configuration writes them, and what is bound for each. */
const LISTEN_ADDRESSES: ReadonlyMap<string, string> = new Map([
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '::1'],
  // One address, not whatever the resolver says.
  ['localhost', '127.0.0.1'],
]);

/** The address to listen on for a configured host, or null when it is not this machine alone. */
export function listenAddress(host: string): string | null {
  return LISTEN_ADDRESSES.get(host) ?? null;
}

const AUTHORITY = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::\d{1,5})?$/i;
const LOOPBACK_V4 = /^127(?:\.\d{1,3}){3}$/;
const LOOPBACK_V6: ReadonlySet<string> = new Set(['::1', '0:0:0:0:0:0:0:1']);
const LOOPBACK_NAMES: ReadonlySet<string> = new Set(['localhost', 'localhost.']);

/**
 * True when a Host header names this machine. A page of a stranger whose name was rebound to 127.0.0.1 sends its
 * own name here. Any port is right: a tunnel may have changed it.
 */
export function isLoopbackHostHeader(header: string | undefined): boolean {
  const match = AUTHORITY.exec(header ?? '');
  if (match === null) return false;
  const [, v6, name] = match;
  if (v6 !== undefined) return LOOPBACK_V6.has(v6.toLowerCase());
  return name !== undefined && (LOOPBACK_NAMES.has(name.toLowerCase()) || LOOPBACK_V4.test(name));
}
