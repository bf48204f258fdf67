/**
 * A proxy in front of Postgres that can fall silent: connections stay open, and nothing comes or goes any more, as when
 * a firewall forgets them. For tests only.
 */
import net from 'node:net';
import type { ConnectionOptions } from '../core/db/connection.ts';

export type SilentProxy = {
  /** The way through it. */
  readonly connection: ConnectionOptions;
  /** Swallows everything on the connections that there are; new ones work. */
  swallow(): void;
  close(): void;
};

/** @param target a server behind a Unix socket or on this machine */
export async function startSilentProxy(target: ConnectionOptions): Promise<SilentProxy> {
  const sockets = new Set<net.Socket>();
  const { host, port } = target as { readonly host: string; readonly port: number };
  const server = net.createServer((client) => {
    const upstream = host.startsWith('/')
      ? net.connect(`${host}/.s.PGSQL.${port}`)
      : net.connect(Number(port), host);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => sockets.delete(socket));
    }
    client.pipe(upstream);
    upstream.pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address() as net.AddressInfo;
  return {
    connection: { ...target, host: '127.0.0.1', port: address.port } as ConnectionOptions,
    swallow: () => {
      for (const socket of sockets) {
        socket.unpipe();
        socket.resume();
      }
    },
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
