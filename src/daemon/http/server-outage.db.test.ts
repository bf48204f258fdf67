/**
 * The HTTP API while the database goes away and comes back: every answer is 503 with the advice to send the same
 * again, and sending it again gives one payment. A relay between daemon and server is cut at the wanted moment.
 */
import { connect, createServer, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type ConnectionOptions,
  connect as connectBook,
  type Db,
  openBook,
} from '../../core/db/connection.ts';
import { createTestDatabase, type TestDatabase } from '../../testing/test-database.ts';
import type { HttpServer } from './server.ts';
import { type Answer, bodyOf, call, post, startTestServer } from './test-server.ts';

let database: TestDatabase;
/** Straight to the server, for looking. */
let direct: Db;
let relay: Relay;
let db: Db;
let server: HttpServer;

beforeAll(async () => {
  database = await createTestDatabase();
  direct = await openBook({ connection: database.appConnection, book: 'paygate', max: 1 });
  relay = await startRelay(database.appConnection);
  db = await openBook({ connection: relay.connection, book: 'paygate', max: 4 });
  server = await startTestServer(db, { answerTimeoutMs: 500 });
});

afterEach(() => relay.pass());

afterAll(async () => {
  await server?.close();
  await db?.close();
  await relay?.close();
  await direct?.close();
  await database?.drop();
});

type Relay = {
  readonly connection: ConnectionOptions;
  /** Hands everything on, also what it has held back, and takes new connections. */
  pass(): Promise<void>;
  /** Cuts what is there and refuses what comes, as a server that is gone does. */
  refuse(): void;
  /** Holds everything back, as a network that has gone dead does. */
  hold(): void;
  /** Hands the next commit on to the server, and cuts the connection when its answer comes, unseen. */
  cutAtCommit(): void;
  close(): Promise<void>;
};

async function startRelay(target: ConnectionOptions): Promise<Relay> {
  let mode: 'pass' | 'hold' | 'cut_at_commit' = 'pass';
  const clients = new Set<Socket>();
  const relay = createServer((client) => {
    const upstream = connect(`${target.host}/.s.PGSQL.${target.port}`);
    clients.add(client);
    if (mode === 'hold') client.pause();
    client.on('data', (bytes) => upstream.write(bytes));
    upstream.on('data', (bytes) => {
      if (mode === 'cut_at_commit' && bytes.includes('COMMIT\0')) client.destroy();
      else client.write(bytes);
    });
    client.on('error', () => undefined).on('close', () => clients.delete(client) && upstream.destroy());
    upstream.on('error', () => undefined).on('close', () => client.destroy());
  });
  const listen = (port: number) => new Promise<void>((resolve) => relay.listen(port, '127.0.0.1', resolve));
  await listen(0);
  const address = relay.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const stop = (): void => {
    relay.close();
    for (const client of clients) client.destroy();
  };
  return {
    connection: { ...target, host: '127.0.0.1', port },
    pass: async () => {
      mode = 'pass';
      for (const client of clients) client.resume();
      if (!relay.listening) await listen(port);
    },
    refuse: stop,
    hold: () => {
      mode = 'hold';
      for (const client of clients) client.pause();
    },
    cutAtCommit: () => {
      mode = 'cut_at_commit';
    },
    close: async () => stop(),
  };
}

function expectUnavailable(answer: Answer): void {
  expect(answer.json).toMatchObject({ status: 503, code: 'database_unavailable' });
  expect(answer.status).toBe(503);
  expect(answer.headers['content-type']).toBe('application/problem+json');
  expect(answer.headers['retry-after']).toBe('2');
}

async function paymentCount(checkoutId: string): Promise<number> {
  const rows = await direct.sql`select id from ${direct.t.payment} where checkout_id = ${checkoutId}`;
  return rows.length;
}

/** Does what the answer advises. */
async function postUntilAnswered(name: string): Promise<Answer> {
  for (;;) {
    const answer = await post(server, bodyOf(name));
    if (answer.status !== 503) return answer;
  }
}

describe('the database goes away', () => {
  it('answers 503 where the connection breaks at the commit, and the payment exists once', async () => {
    relay.cutAtCommit();
    const unknown = await post(server, bodyOf('cut at commit'));
    expectUnavailable(unknown);
    expect(unknown.json.detail).toContain('Send the same request again with the same idempotency key');
    expect(await paymentCount('cut at commit')).toBe(1);
    await relay.pass();
    const again = await postUntilAnswered('cut at commit');
    expect(again.status).toBe(202);
    expect(again.headers['idempotent-replayed']).toBe('true');
    expect(again.json).toMatchObject({ checkout_id: 'cut at commit', status: 'NOT_STARTED' });
    expect(await paymentCount('cut at commit')).toBe(1);
  });

  it('answers 503 to all while it is gone, and accepts again when it is back', async () => {
    relay.refuse();
    const answers = await Promise.all([
      ...Array.from({ length: 5 }, (_, i) => post(server, bodyOf(`gone ${i}`))),
      call(server, { path: '/v1/payments/pay_1' }),
      call(server, { path: '/readyz' }),
    ]);
    for (const answer of answers) expectUnavailable(answer);
    expect((await call(server, { path: '/livez' })).status).toBe(200);
    await relay.pass();
    expect((await postUntilAnswered('gone 0')).status).toBe(202);
    expect(await paymentCount('gone 0')).toBe(1);
  });

  it('answers 503 while nothing comes back, and the work that went on is found again', async () => {
    relay.hold();
    const silent = await Promise.all([
      post(server, bodyOf('held back')),
      call(server, { path: '/v1/payments/pay_1' }),
      call(server, { path: '/readyz' }),
    ]);
    for (const answer of silent) expectUnavailable(answer);
    expect(await paymentCount('held back')).toBe(0);
    await relay.pass();
    expect((await postUntilAnswered('held back')).status).toBe(202);
    expect(await paymentCount('held back')).toBe(1);
  });

  it('answers 503 where the database does not exist any more', async () => {
    const connection = { ...database.appConnection, database: 'test_never_there' };
    const nowhere = connectBook({ connection, book: 'paygate', max: 2 });
    const other = await startTestServer(nowhere);
    expectUnavailable(await post(other, bodyOf('nowhere')));
    expectUnavailable(await call(other, { path: '/readyz' }));
    await other.close();
    await nowhere.close();
  });
});
