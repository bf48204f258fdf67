/** The real daemon, whole, in a process of its own; its end is a signal. */
import { runDaemon } from '../../src/daemon/main.ts';
import { BOOK, POLICY, POOL_SIZE, pspAccount } from '../book.ts';
import type { BenchConnection } from '../server.ts';

export type DaemonInput = {
  readonly connection: BenchConnection;
  readonly sandboxUrl: string;
  readonly maxConcurrent: number;
};

export async function run(input: DaemonInput): Promise<void> {
  await runDaemon({
    connection: input.connection,
    listenConnection: null,
    config: {
      env: 'development',
      database: {
        url: null,
        ownerUrl: null,
        listenUrl: null,
        book: BOOK,
        appRole: input.connection.user,
        poolSize: POOL_SIZE,
        prepare: true,
      },
      pspAccounts: [pspAccount(input.sandboxUrl, input.maxConcurrent)],
      webhookSecrets: new Map(),
      disputes: { lostFee: 'platform_fees' },
      refunds: { fee: 'proportional', overdraw: 'allowed' },
      payouts: { coolingDays: 3, repeatDays: 7, approvalLimits: new Map() },
      customerLimitMs: 86_400_000,
      accept: POLICY,
      risk: POLICY.risk,
      http: { host: '127.0.0.1', port: 0 },
      settlement: { accounts: new Map(), writeOffLimits: new Map() },
      dropFolder: null,
      logLevel: 'warn',
    },
    renderReport: async () => '',
  });
}
