/**
 * What stands between the PSPs and the daemons: one address for all webhooks, handed to one of the daemons at random,
 * as a load balancer does, also to one that is down. Counts what was answered; looks into nothing.
 */
import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** Longest wait for a daemon (ms): one that is stopped holds nobody up for long. */
const TIMEOUT_MS = 1_000;

export type Relay = {
  readonly url: string;
  /** Answers by PSP and status, `stripe 200`; 502: no daemon answered. */
  counts(): Readonly<Record<string, number>>;
  close(): void;
};

/** @param ports of the daemons */
export async function startRelay(ports: readonly number[]): Promise<Relay> {
  const counts: Record<string, number> = {};
  const server = http.createServer((request, response) => {
    const port = ports[Math.floor(Math.random() * ports.length)]!;
    const chunks: Buffer[] = [];
    request.on('error', () => response.destroy());
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      void handOn(port, request, Buffer.concat(chunks)).then((status) => {
        const name = `${request.url?.split('/').at(-1)} ${status}`;
        counts[name] = (counts[name] ?? 0) + 1;
        response.writeHead(status).end();
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    counts: () => Object.fromEntries(Object.entries(counts).sort()),
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** The daemon's status. Body and signature go on as they came. */
function handOn(port: number, { url, headers }: http.IncomingMessage, body: Buffer): Promise<number> {
  return new Promise((resolve) => {
    const { host: _host, connection: _connection, ...kept } = headers;
    const request = http.request(
      { host: '127.0.0.1', port, path: url, method: 'POST', headers: kept, agent: false },
      (answer) => {
        answer.resume();
        answer.on('error', () => resolve(502));
        answer.on('end', () => resolve(answer.statusCode ?? 502));
      },
    );
    const deadline = setTimeout(() => request.destroy(), TIMEOUT_MS);
    request.on('error', () => resolve(502));
    request.on('close', () => {
      clearTimeout(deadline);
      resolve(502);
    });
    request.end(body);
  });
}

/** Ports that were free a moment ago, all different. */
export async function findFreePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => http.createServer());
  const ports: number[] = [];
  for (const server of servers) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    ports.push((server.address() as AddressInfo).port);
  }
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  return ports;
}
