/** What the exchange says of a request when servers behave badly at the level of bytes and sockets. */
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import type { ExchangeRequest, HttpExchange } from './http-exchange.ts';
import { createHttpExchange } from './http-exchange.ts';

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** A TCP server; `onRequest` is called once for each complete request head that a connection brings. */
async function serve(onRequest: (socket: Socket, nth: number) => void): Promise<number> {
  let requests = 0;
  const sockets = new Set<Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      if (!chunk.includes('\r\n\r\n')) return;
      requests += 1;
      onRequest(socket, requests);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

function open(port: number, options: { maxSockets?: number; protocol?: string } = {}): HttpExchange {
  const exchange = createHttpExchange(
    new URL(`${options.protocol ?? 'http'}://127.0.0.1:${port}`),
    options.maxSockets ?? 4,
  );
  cleanups.push(() => exchange.close());
  return exchange;
}

function post(overrides: Partial<ExchangeRequest> = {}): ExchangeRequest {
  return {
    method: 'POST',
    path: '/v1/x',
    headers: { 'Content-Length': '3' },
    body: 'a=b',
    deadlineMs: 5_000,
    maxBodyBytes: 1_000,
    ...overrides,
  };
}

function answer(body: string, extra = ''): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${extra}\r\n${body}`;
}

/** A port on which nothing listens. */
async function closedPort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

describe('a complete answer', () => {
  test('is handed over with status, headers and body, and the socket is used again', async () => {
    const sockets = new Set<Socket>();
    const port = await serve((socket, nth) => {
      sockets.add(socket);
      socket.write(answer(`{"nth":${nth}}`, 'X-Thing: ü\r\n'));
    });
    const exchange = open(port, { maxSockets: 1 });
    expect(await exchange.exchange(post())).toMatchObject({
      kind: 'answered',
      statusCode: 200,
      body: '{"nth":1}',
    });
    expect(await exchange.exchange(post())).toMatchObject({ kind: 'answered', body: '{"nth":2}' });
    expect(sockets.size).toBe(1);
  });

  test('in pieces that cut a character in two is put together again', async () => {
    const body = Buffer.from('{"name":"Zoë"}');
    const port = await serve((socket) => {
      socket.setNoDelay(true);
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
      socket.write(body.subarray(0, 12));
      setTimeout(() => socket.write(body.subarray(12)), 30);
    });
    expect(await open(port).exchange(post())).toMatchObject({ kind: 'answered', body: '{"name":"Zoë"}' });
  });

  test('with an error status is an answer, and redirects are not followed', async () => {
    const port = await serve((socket) => {
      socket.write('HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n');
    });
    expect(await open(port).exchange(post())).toMatchObject({ kind: 'answered', statusCode: 302, body: '' });
  });
});

describe('a request that never left', () => {
  test.each([
    ['connection refused', async () => open(await closedPort()), /ECONNREFUSED/],
    [
      'a name that does not resolve',
      async () => createHttpExchange(new URL('http://nowhere.invalid'), 1),
      /nowhere/,
    ],
  ])('%s', async (_name, make, reason) => {
    const result = await (await make()).exchange(post());
    expect(result).toMatchObject({ kind: 'failed', sent: 'never', reason: expect.stringMatching(reason) });
  });

  test('no free socket before the deadline; the request is not sent later either', async () => {
    const held: Socket[] = [];
    const port = await serve((socket) => held.push(socket));
    const exchange = open(port, { maxSockets: 1 });
    const first = exchange.exchange(post({ deadlineMs: 60_000 }));
    await waitFor(() => held.length === 1);
    const second = await exchange.exchange(post({ deadlineMs: 60 }));
    expect(second).toEqual({ kind: 'failed', sent: 'never', reason: 'no free socket within 60 ms' });
    held[0]?.write(answer('{}'));
    expect(await first).toMatchObject({ kind: 'answered' });
    // The freed socket goes to the next caller, not to the request that gave up.
    const third = exchange.exchange(post());
    await waitFor(() => held.length === 2);
    held[1]?.write(answer('{}'));
    expect(await third).toMatchObject({ kind: 'answered' });
    expect(held.length).toBe(2);
  });

  test('a server that does not speak TLS', async () => {
    // It answers the greeting, which is no request of ours.
    const server = net.createServer((socket) =>
      socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanups.push(() => server.close());
    const exchange = open((server.address() as AddressInfo).port, { protocol: 'https' });
    expect(await exchange.exchange(post())).toMatchObject({ kind: 'failed', sent: 'never' });
  });

  test('a TLS handshake that does not end before the deadline', async () => {
    const port = await serve(() => {});
    const exchange = open(port, { protocol: 'https' });
    expect(await exchange.exchange(post({ deadlineMs: 60 }))).toEqual({
      kind: 'failed',
      sent: 'never',
      reason: 'no connection within 60 ms',
    });
  });

  test.each([
    ['a header with a line break', { headers: { 'Idempotency-Key': 'a\r\nb' } }],
    ['a path with a space', { path: '/v1/a b' }],
  ])('%s', async (_name, overrides) => {
    const port = await serve(() => {});
    expect(await open(port).exchange(post(overrides))).toMatchObject({ kind: 'failed', sent: 'never' });
  });

  test('a pool that was closed', async () => {
    const port = await serve(() => {});
    const exchange = open(port);
    exchange.close();
    expect(await exchange.exchange(post())).toMatchObject({ kind: 'failed', sent: 'never' });
  });
});

describe('a request that may have arrived', () => {
  const misbehaviours: [string, (socket: Socket) => void][] = [
    ['the server closes without an answer', (socket) => socket.end()],
    ['the server resets the connection', (socket) => socket.resetAndDestroy()],
    ['the answer is not HTTP', (socket) => socket.end('hello\r\n\r\n')],
    ['the head is cut off', (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Le')],
    [
      'the body is shorter than announced',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"a":'),
    ],
    [
      'the connection is reset in the middle of the body',
      (socket) => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"a":');
        setTimeout(() => socket.resetAndDestroy(), 20);
      },
    ],
    [
      'the last chunk never comes',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n'),
    ],
    [
      'the server wants another protocol',
      (socket) => socket.end('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'),
    ],
    [
      'the headers are too many',
      (socket) => socket.end(`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(200_000)}\r\n\r\n`),
    ],
    ['the body is longer than allowed', (socket) => socket.write(answer('x'.repeat(1_001)))],
    [
      'the body has no end and is longer than allowed',
      (socket) => socket.write(`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(2_000)}`),
    ],
  ];

  test.each(misbehaviours)('%s', async (_name, misbehave) => {
    const port = await serve((socket) => misbehave(socket));
    expect(await open(port).exchange(post())).toMatchObject({ kind: 'failed', sent: 'maybe' });
  });

  test('nothing comes back before the deadline', async () => {
    const port = await serve(() => {});
    expect(await open(port).exchange(post({ deadlineMs: 60 }))).toEqual({
      kind: 'failed',
      sent: 'maybe',
      reason: 'no answer within 60 ms',
    });
  });

  test('a dripping body does not move the deadline', async () => {
    const port = await serve((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n');
      const drip = setInterval(() => socket.write('x'), 10);
      cleanups.push(() => clearInterval(drip));
      socket.on('close', () => clearInterval(drip));
    });
    expect(await open(port).exchange(post({ deadlineMs: 150 }))).toEqual({
      kind: 'failed',
      sent: 'maybe',
      reason: 'no complete answer within 150 ms',
    });
  });

  test('endless informational answers do not move the deadline', async () => {
    const port = await serve((socket) => {
      const drip = setInterval(() => socket.write('HTTP/1.1 102 Processing\r\n\r\n'), 10);
      cleanups.push(() => clearInterval(drip));
      socket.on('close', () => clearInterval(drip));
    });
    expect(await open(port).exchange(post({ deadlineMs: 150 }))).toMatchObject({
      kind: 'failed',
      sent: 'maybe',
    });
  });

  test('a kept-alive socket that the server resets when it is used again', async () => {
    let seen = 0;
    const port = await serve((socket, nth) => {
      seen = nth;
      if (nth === 1) socket.write(answer('{}'));
      else socket.resetAndDestroy();
    });
    const exchange = open(port, { maxSockets: 1 });
    expect(await exchange.exchange(post())).toMatchObject({ kind: 'answered' });
    expect(await exchange.exchange(post())).toMatchObject({ kind: 'failed', sent: 'maybe' });
    // It is never sent again by itself, not even on a socket that looks as if it had been closed before.
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(seen).toBe(2);
  });

  test('the pool is closed while the answer is awaited', async () => {
    let arrived = false;
    const port = await serve(() => {
      arrived = true;
    });
    const exchange = open(port);
    const pending = exchange.exchange(post());
    await waitFor(() => arrived);
    exchange.close();
    expect(await pending).toEqual({
      kind: 'failed',
      sent: 'maybe',
      reason: 'the connection pool was closed',
    });
  });
});

describe('kept-alive sockets', () => {
  test('are not used again after the server closed them in between', async () => {
    const port = await serve((socket) => {
      socket.write(answer('{}'));
      socket.end();
    });
    const exchange = open(port, { maxSockets: 1 });
    for (let nth = 0; nth < 5; nth += 1) {
      expect(await exchange.exchange(post())).toMatchObject({ kind: 'answered' });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  test('with an unasked-for second answer in them do not poison the next request', async () => {
    const port = await serve((socket, nth) =>
      socket.write(answer(`{"nth":${nth}}`) + answer('{"nth":"late"}')),
    );
    const exchange = open(port, { maxSockets: 1 });
    await exchange.exchange(post());
    await new Promise((resolve) => setTimeout(resolve, 20));
    const second = await exchange.exchange(post());
    expect(second).not.toMatchObject({ body: '{"nth":"late"}' });
  });
});

async function waitFor(condition: () => boolean): Promise<void> {
  const until = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > until) throw new Error('waited for 5 s in vain');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
