/** Our side of reconcile: a file from its first byte to stored breaks, postings and a proof; then the same file again. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { openBook } from '../../src/core/db/connection.ts';
import { capabilitiesOf } from '../../src/core/psp/request.ts';
import { openSettlementFile } from '../../src/core/settlement/read-settlement.ts';
import { reconcileFile } from '../../src/core/settlement/reconcile-file.ts';
import type { Measured } from '../benchmark.ts';
import { BOOK, PSP_ACCOUNT } from '../book.ts';
import { processorTimeBetween, readProcessorTime } from '../processor-time.ts';
import type { BenchConnection } from '../server.ts';

export type OurReconcileInput = {
  readonly connection: BenchConnection;
  readonly path: string;
  readonly lines: number;
  readonly postmasterPid: number | null;
};

export type OurReconcileOutput = Measured & {
  /** Highest resident memory of this process (MB), sampled. */
  readonly rssMb: number;
  readonly againMs: number;
  /** Milliseconds at which each phase began. */
  readonly phases: Readonly<Record<string, number>>;
};

const SAMPLE_MS = 50;
const READ_BYTES = 64 * 1024;

export async function run(input: OurReconcileInput): Promise<OurReconcileOutput> {
  const db = await openBook({ connection: input.connection, book: BOOK, max: 2 });
  let rssMb = 0;
  const sampler = setInterval(() => {
    rssMb = Math.max(rssMb, process.memoryUsage.rss() / 1024 ** 2);
  }, SAMPLE_MS);
  const phases: Record<string, number> = {};
  const before = readProcessorTime(input.postmasterPid);
  const startedMs = performance.now();
  const reconcile = () =>
    reconcileOnce(db, input.path, (phase) => (phases[phase] ??= performance.now() - startedMs));
  const answer = await reconcile();
  const elapsedMs = performance.now() - startedMs;
  const after = readProcessorTime(input.postmasterPid);
  const againFromMs = performance.now();
  const again = await reconcile();
  const againMs = performance.now() - againFromMs;
  clearInterval(sampler);
  await db.close();
  const done = answer.byCurrency.reduce((sum, one) => sum + one.matched.count, 0);
  const wrong =
    answer.status === 'closed' && again.outcome === 'already_imported' ? input.lines - done : input.lines;
  return { done, dropped: wrong, elapsedMs, rssMb, againMs, phases, ...processorTimeBetween(before, after) };
}

async function reconcileOnce(
  db: Awaited<ReturnType<typeof openBook>>,
  path: string,
  onPhase: (phase: string) => void,
) {
  const result = await reconcileFile(db, {
    fileName: 'bench.csv',
    source: `psp:${PSP_ACCOUNT}`,
    sha256: await hashOf(path),
    open: () =>
      openSettlementFile(createReadStream(path, { highWaterMark: READ_BYTES }), {
        format: null,
        mapping: null,
        timeZone: null,
      }),
    mode: 'commit',
    rejects: 'refused',
    principal: 'bench',
    policy: { accounts: new Map(), writeOffLimits: new Map() },
    capabilitiesOf: () => capabilitiesOf('stripe'),
    onProgress: ({ phase }) => onPhase(phase),
  });
  if (result.kind !== 'answered')
    throw new Error(`the file was refused: ${JSON.stringify(result.faults[0])}`);
  return result.answer;
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: READ_BYTES }))
    hash.update(piece as Buffer);
  return hash.digest('hex');
}
