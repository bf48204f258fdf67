/** The peer's database on the benchmark's server: graphile-worker's own schema beside plain tables. */
import { Logger, makeWorkerUtils } from 'graphile-worker';
import { createPeerTables, insertPeerJobs, insertPeerOrders, poolOf } from './peer-tables.ts';
import type { BenchConnection, BenchServer } from './server.ts';

export type Peer = {
  readonly connection: BenchConnection;
  /** Orders with their jobs, numbered from `first`. */
  fillOrders(first: number, count: number): Promise<void>;
  /** Jobs that do nothing. */
  fillJobs(count: number): Promise<void>;
  close(): Promise<void>;
};

export async function openPeer(server: BenchServer, label: string): Promise<Peer> {
  const database = await server.createDatabase(label);
  const connection = server.connection(database, 'owner');
  const pool = poolOf(connection, 2);
  const utils = await makeWorkerUtils({ pgPool: pool, logger: new Logger(() => () => undefined) });
  await utils.migrate();
  await utils.release();
  await createPeerTables(pool);
  const tidy = (): Promise<void> => server.execute(database, ['vacuum (analyze)']);
  return {
    connection,
    fillOrders: async (first, count) => {
      await insertPeerOrders(pool, first, count);
      await insertPeerJobs(pool, 'charge', first, count);
      await tidy();
    },
    fillJobs: async (count) => {
      await insertPeerJobs(pool, 'nothing', 1, count);
      await tidy();
    },
    close: () => pool.end(),
  };
}
