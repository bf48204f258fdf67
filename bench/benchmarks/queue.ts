/** queue: jobs per second that do nothing, ours fenced and with outcomes written. */
import {
  type BenchContext,
  type Benchmark,
  type BenchReport,
  inTurn,
  rateOf,
  reportRatio,
  scaled,
} from '../benchmark.ts';
import { type BenchBook, createBook, fillBook } from '../book.ts';
import { openPeer, type Peer } from '../peer.ts';
import { runProgram } from '../start-program.ts';
import { median, rounded, shown, spread } from '../statistics.ts';

const JOBS = 120_000;
const PEER_JOBS = 120_000;
const PEER_DEFAULT_JOBS = 10_000;
/** Times graphile-worker's default rate that must be reached in any case. */
const FLOOR_OF_DEFAULT = 3;

export const queue: Benchmark = {
  name: 'queue',
  what: 'jobs that do nothing: claimed, ended under their fence, outcome and events written',
  run: measure,
};

async function measure(context: BenchContext): Promise<BenchReport> {
  const { server } = context;
  const book = await createBook(server, 'queue_ours');
  const peer = await openPeer(server, 'queue_peer');
  try {
    const runs = await inTurn(
      context,
      (round) => runOurs(context, book, round),
      async () => ({
        batched: await runPeer(context, peer, 'batched', scaled(context, PEER_JOBS, 2_000)),
        byDefault: await runPeer(context, peer, 'default', scaled(context, PEER_DEFAULT_JOBS, 1_000)),
      }),
    );
    const defaultRates = runs.peer.map((run) => rateOf(run.byDefault));
    const batched = runs.peer.map((run) => run.batched);
    const floor = (FLOOR_OF_DEFAULT * median(defaultRates)) / median(batched.map(rateOf));
    const ofDefault = median(runs.ours.map(rateOf)) / median(defaultRates);
    return reportRatio({
      name: 'queue',
      unit: 'jobs/s',
      goal: 1,
      floor: rounded(floor, 2),
      ours: runs.ours,
      peer: { name: 'graphile-worker, batched local queue, jobs that do nothing', runs: batched },
      notes: [
        `graphile-worker by default (no batches): ${shown(median(defaultRates))} jobs/s (${spread(defaultRates)}); ours is ${shown(ofDefault, 1)} times that`,
        `floor = ${FLOOR_OF_DEFAULT} × graphile-worker's default rate, as a part of its batched rate`,
        'ours writes per job: claim (the job; one event a claim) and end (job deleted under its fence, evidence, operation, event); the peer deletes the job',
        'left out on our side: ledger, wallets, the merge of evidence, the row lock before the decision, and the attempt’s closing update',
        ...server.notes,
      ],
    });
  } finally {
    await peer.close();
    await book.close();
  }
}

async function runOurs(context: BenchContext, book: BenchBook, round: number) {
  const jobs = scaled(context, JOBS, 1_000);
  await fillBook(context.server, book, round * jobs, jobs);
  return runProgram('our-queue', {
    connection: book.connection,
    jobs,
    postmasterPid: context.server.postmasterPid,
  });
}

async function runPeer(context: BenchContext, peer: Peer, mode: 'batched' | 'default', jobs: number) {
  await peer.fillJobs(jobs);
  return runProgram('peer-queue', {
    connection: peer.connection,
    jobs,
    mode,
    postmasterPid: context.server.postmasterPid,
  });
}
