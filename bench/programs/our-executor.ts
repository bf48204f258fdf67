/**
 * Our side of executor and executor-http: the real executor with a real lease, on a book full of accepted
 * orders. The PSP is a null connector that says yes at once, or the Stripe connector and a sandbox.
 */
import { openBook } from '../../src/core/db/connection.ts';
import type { Connector, PspAccount } from '../../src/core/psp/psp.ts';
import { openConnectors } from '../../src/core/psp/registry.ts';
import { capabilitiesOf } from '../../src/core/psp/request.ts';
import { startExecutor } from '../../src/daemon/executor.ts';
import { takeLease } from '../../src/daemon/lease.ts';
import { openLog } from '../../src/daemon/log.ts';
import type { Measured } from '../benchmark.ts';
import { BOOK, POOL_SIZE, pspAccount } from '../book.ts';
import { processorTimeBetween, readProcessorTime } from '../processor-time.ts';
import type { BenchConnection } from '../server.ts';
import { waitForCount } from '../wait-for-count.ts';

export type OurExecutorInput = {
  readonly connection: BenchConnection;
  /** Orders that wait in the book. */
  readonly orders: number;
  /** Null: the null connector. */
  readonly sandboxUrl: string | null;
  readonly maxConcurrent: number;
  readonly postmasterPid: number | null;
};

export async function run(input: OurExecutorInput): Promise<Measured> {
  const db = await openBook({ connection: input.connection, book: BOOK, max: POOL_SIZE });
  const account = pspAccount(input.sandboxUrl, input.maxConcurrent);
  const connectors = await connectorsFor(account);
  const lease = await takeLease(db, 'bench');
  const before = readProcessorTime(input.postmasterPid);
  const startedMs = performance.now();
  const executor = startExecutor({
    context: {
      db,
      daemonId: lease.daemonId,
      principal: 'daemon:bench',
      capabilitiesOf: () => capabilitiesOf('stripe'),
      random: Math.random,
    },
    lease,
    accounts: [account],
    connectors,
    log: openLog('warn', {}),
  });
  const done = await waitForCount(() => executor.snapshot().recorded, input.orders);
  const elapsedMs = performance.now() - startedMs;
  const after = readProcessorTime(input.postmasterPid);
  await executor.drain();
  await lease.end();
  for (const connector of connectors.values()) await connector.close();
  await db.close();
  return { done, dropped: input.orders - done, elapsedMs, ...processorTimeBetween(before, after) };
}

async function connectorsFor(account: PspAccount): Promise<ReadonlyMap<string, Connector>> {
  return account.baseUrl === null ? new Map([[account.name, nullConnector()]]) : openConnectors([account]);
}

/** Costs nothing and says yes: what is left is ours. */
function nullConnector(): Connector {
  const sayYes: Connector['charge'] = async (attempt) => ({
    kind: 'succeeded',
    pspReference: `pi_${attempt.reference}`,
  });
  return {
    capabilities: capabilitiesOf('stripe'),
    charge: sayYes,
    refund: sayYes,
    payout: sayYes,
    enquire: async () => ({ kind: 'not_found', reason: 'the null connector remembers nothing' }),
    dispute: async () => ({ kind: 'unaskable' }),
    parseWebhook: () => ({ kind: 'refused', reason: 'the null connector sends no webhooks' }),
    close: async () => undefined,
  };
}
