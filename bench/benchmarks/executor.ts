/**
 * executor and executor-http: orders per second through the real executor, against graphile-worker with one
 * transaction per order.
 */
import {
  type BenchContext,
  type Benchmark,
  inTurn,
  type Measured,
  reportRatio,
  scaled,
} from '../benchmark.ts';
import { type BenchBook, countDropped, createBook, fillBook, SELLERS } from '../book.ts';
import { openPeer, type Peer } from '../peer.ts';
import { processTimeMs } from '../processor-time.ts';
import { runProgram, startProgram } from '../start-program.ts';

type Shape = {
  readonly name: 'executor' | 'executor-http';
  readonly goal: number;
  readonly floor: number;
  /** Orders of one run of ours, and of the peer, which needs longer for each. */
  readonly orders: number;
  readonly peerOrders: number;
  /** Calls in flight at once: as many as a daemon may have. */
  readonly maxConcurrent: number;
  readonly peerConcurrentJobs: number;
  readonly psp: 'null' | 'sandbox';
};

export const executor: Benchmark = {
  name: 'executor',
  what: 'orders: claimed, charged at a PSP that costs nothing, recorded with ledger, wallets and events',
  run: (context) =>
    measure(context, {
      name: 'executor',
      goal: 10,
      floor: 5,
      orders: 40_000,
      peerOrders: 6_000,
      maxConcurrent: 512,
      peerConcurrentJobs: 20,
      psp: 'null',
    }),
};

export const executorHttp: Benchmark = {
  name: 'executor-http',
  what: 'orders: the same through the Stripe SDK and the sandbox in its own process',
  run: (context) =>
    measure(context, {
      name: 'executor-http',
      goal: 5,
      floor: 3,
      orders: 15_000,
      peerOrders: 4_000,
      maxConcurrent: 256,
      peerConcurrentJobs: 20,
      psp: 'sandbox',
    }),
};

async function measure(context: BenchContext, shape: Shape) {
  const { server } = context;
  const book = await createBook(server, `${shape.name}_ours`);
  const peer = await openPeer(server, `${shape.name}_peer`);
  const orders = scaled(context, shape.orders, 1_000);
  const peerOrders = scaled(context, shape.peerOrders, 500);
  try {
    const runs = await inTurn(
      context,
      (round) => runOurs(context, shape, book, { round, orders }),
      (round) => runPeer(context, shape, peer, { first: round * peerOrders, orders: peerOrders }),
    );
    return reportRatio({
      name: shape.name,
      unit: 'orders/s',
      goal: shape.goal,
      floor: shape.floor,
      ours: runs.ours,
      peer: { name: peerName(shape), runs: runs.peer },
      notes: [...notesOf(shape, orders, peerOrders), ...server.notes],
    });
  } finally {
    await peer.close();
    await book.close();
  }
}

async function runOurs(
  context: BenchContext,
  shape: Shape,
  book: BenchBook,
  work: { readonly round: number; readonly orders: number },
): Promise<Measured> {
  const { server } = context;
  const { round, orders } = work;
  await fillBook(server, book, round * orders, orders);
  const droppedBefore = await countDropped(book.db.sql, round * orders);
  const run = await withSandbox(shape, (sandboxUrl) =>
    runProgram('our-executor', {
      connection: book.connection,
      orders,
      sandboxUrl,
      maxConcurrent: shape.maxConcurrent,
      postmasterPid: server.postmasterPid,
    }),
  );
  // Recorded is not yet SUCCESS: the books have the last word.
  const dropped = (await countDropped(book.db.sql, (round + 1) * orders)) - droppedBefore;
  return { ...run, done: orders - dropped, dropped };
}

async function runPeer(
  context: BenchContext,
  shape: Shape,
  peer: Peer,
  work: { readonly first: number; readonly orders: number },
): Promise<Measured> {
  await peer.fillOrders(work.first + 1, work.orders);
  return withSandbox(shape, (sandboxUrl) =>
    runProgram('peer-executor', {
      connection: peer.connection,
      orders: work.orders,
      sandboxUrl,
      concurrentJobs: shape.peerConcurrentJobs,
      postmasterPid: context.server.postmasterPid,
    }),
  );
}

/** A fresh sandbox for each run, so that none is slowed by what it remembers of earlier ones. */
async function withSandbox(shape: Shape, work: (url: string | null) => Promise<Measured>): Promise<Measured> {
  if (shape.psp === 'null') return work(null);
  const sandbox = startProgram('sandbox', { latencyMs: 0, trace: 'nothing' });
  try {
    const { url } = await sandbox.ready;
    const before = processTimeMs(sandbox.pid);
    const run = await work(url);
    const after = processTimeMs(sandbox.pid);
    return { ...run, sandboxCpuMs: before === null || after === null ? null : after - before };
  } finally {
    await sandbox.stop();
  }
}

function peerName(shape: Shape): string {
  const calls = shape.psp === 'null' ? '' : ' after a call through the same SDK to the same sandbox';
  return `graphile-worker, batched local queue, one transaction per order${calls}`;
}

function notesOf(shape: Shape, orders: number, peerOrders: number): readonly string[] {
  return [
    `${orders} orders a run of ours, ${peerOrders} of the peer, over ${SELLERS} sellers; all accepted before the clock starts`,
    `ours: one process, ${shape.maxConcurrent} calls in flight, all constraints and triggers on, three balances an order`,
    `peer: one process, ${shape.peerConcurrentJobs} jobs at once, six prepared statements and two balances an order, no triggers, no evidence, no fence`,
    shape.psp === 'null'
      ? 'left out: the network and the PSP'
      : 'left out: TLS and the distance to a PSP; the sandbox keeps its truth in memory and shares the machine',
    'left out: a log line per order, on both sides',
  ];
}
