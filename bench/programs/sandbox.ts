/** The PSP sandbox in a process of its own; on request it tells when each call came in. */
import diagnostics from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';
import { startSandbox } from '../../src/daemon/sandbox/main.ts';
import type { ProgramHost } from '../programs.ts';

export type SandboxInput = {
  /** How long every charge takes (ms). */
  readonly latencyMs: number;
  readonly trace: 'calls' | 'nothing';
};

export async function run(input: SandboxInput, host: ProgramHost): Promise<void> {
  if (input.trace === 'calls') {
    diagnostics.subscribe('http.server.request.start', (message) => {
      const atNs = process.hrtime.bigint();
      const { request } = message as { request: IncomingMessage };
      const key = request.headers['idempotency-key'];
      if (typeof key === 'string') host.tell({ kind: 'call', key, atNs });
    });
  }
  const sandbox = await startSandbox({ port: 0, journalPath: null, seed: 1, latencyMs: input.latencyMs });
  host.tell({ kind: 'ready', url: sandbox.url });
  await host.stopped;
  await sandbox.close();
}
