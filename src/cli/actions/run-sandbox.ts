/** `sandbox run`: a PSP to try things on, until a signal ends it. */
import { resolve } from 'node:path';
import { EXIT } from '../exit-codes.ts';
import { refuseDryRun, type Session } from '../session.ts';

export type SandboxFlags = {
  readonly port: number;
  readonly journal: string | null;
  readonly seed: number;
  readonly rates: Readonly<Record<string, number>>;
  readonly latencyMs: number;
};

/** Prints its address once it listens; exit 0 when a signal ends it. */
export async function runSandbox(session: Session, flags: SandboxFlags): Promise<number> {
  refuseDryRun(session);
  const { host } = session;
  const { startSandbox } = await host.loaders.startSandbox();
  const sandbox = await startSandbox({
    port: flags.port,
    journalPath: flags.journal === null ? null : resolve(host.cwd, flags.journal),
    seed: flags.seed,
    rates: flags.rates,
    latencyMs: flags.latencyMs,
  });
  host.interrupt.takeOver();
  await session.print({
    json: { url: sandbox.url, port: sandbox.port },
    blocks: [{ kind: 'line', text: `sandbox at ${sandbox.url}` }],
  });
  session.note('It moves no money. Stop it with Ctrl-C.');
  await untilAborted(host.interrupt.signal);
  await sandbox.close();
  return EXIT.done;
}

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((done) => signal.addEventListener('abort', () => done(), { once: true }));
}
