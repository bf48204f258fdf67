/**
 * The peer of executor and executor-http: graphile-worker with its batched local queue, and one transaction
 * per order that updates the order, posts the entry, updates balances and writes an event, with prepared
 * statements throughout. The PSP says yes at once, or is called through its SDK with an idempotency key.
 */
import { Agent } from 'node:http';
import { Logger, run as runWorker } from 'graphile-worker';
import type pg from 'pg';
import { Stripe } from 'stripe';
import { Bug } from '../../src/core/errors.ts';
import type { Measured } from '../benchmark.ts';
import { FEES, poolOf, RECEIVABLE } from '../peer-tables.ts';
import { processorTimeBetween, readProcessorTime } from '../processor-time.ts';
import type { BenchConnection } from '../server.ts';
import { waitForCount } from '../wait-for-count.ts';

export type PeerExecutorInput = {
  readonly connection: BenchConnection;
  readonly orders: number;
  readonly sandboxUrl: string | null;
  readonly concurrentJobs: number;
  readonly postmasterPid: number | null;
};

/** Jobs that the local queue fetches at a time. */
const LOCAL_QUEUE = 500;

type OrderRow = {
  readonly seller_account: number;
  readonly amount: string;
  readonly fee: string;
  readonly currency: string;
  readonly payment_method: string;
};

/** The PSP's reference of a charge that went well. */
type Charge = (id: number, order: OrderRow) => Promise<string>;

export async function run(input: PeerExecutorInput): Promise<Measured> {
  const queuePool = poolOf(input.connection, input.concurrentJobs);
  const pool = poolOf(input.connection, input.concurrentJobs);
  const charge = input.sandboxUrl === null ? null : stripeCharge(input.sandboxUrl, input.concurrentJobs);
  let ended = 0;
  const before = readProcessorTime(input.postmasterPid);
  const startedMs = performance.now();
  const runner = await runWorker({
    pgPool: queuePool,
    noHandleSignals: true,
    logger: new Logger(() => () => undefined),
    taskList: {
      charge: async (payload) => {
        const { id } = payload as { id: number };
        await executeOrder(pool, id, charge);
        ended += 1;
      },
    },
    preset: {
      worker: {
        concurrentJobs: input.concurrentJobs,
        pollInterval: 2_000,
        localQueue: { size: LOCAL_QUEUE },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
  });
  const done = await waitForCount(() => ended, input.orders);
  const elapsedMs = performance.now() - startedMs;
  const after = readProcessorTime(input.postmasterPid);
  await runner.stop();
  await Promise.all([pool.end(), queuePool.end()]);
  return { done, dropped: input.orders - done, elapsedMs, ...processorTimeBetween(before, after) };
}

async function executeOrder(pool: pg.Pool, id: number, charge: Charge | null): Promise<void> {
  const reference = charge === null ? `pi_${id}` : await charge(id, await readOrder(pool, id));
  const client = await pool.connect();
  try {
    await client.query('begin');
    const { rows } = await client.query<OrderRow>({
      name: 'order',
      text: `update charge_order set state = 'paid', psp_reference = $2
              where id = $1 and state = 'new'
          returning seller_account, amount, fee`,
      values: [id, reference],
    });
    const order = rows[0];
    if (order === undefined) throw new Bug(`order ${id} was paid before`);
    const sellerPart = BigInt(order.amount) - BigInt(order.fee);
    await client.query({
      name: 'entry',
      text: `with e as (insert into entry (order_id) values ($1) returning id)
             insert into posting (entry_id, line, debit_id, credit_id, amount)
             select id, 1, ${RECEIVABLE}, $2::integer, $3::bigint from e
              union all
             select id, 2, ${RECEIVABLE}, ${FEES}, $4::bigint from e`,
      values: [id, order.seller_account, sellerPart, order.fee],
    });
    await client.query({
      name: 'event',
      text: 'insert into order_event (order_id, data) values ($1, $2)',
      values: [id, { to: 'SUCCESS', reference }],
    });
    await client.query({
      name: 'seller',
      text: 'update account_balance set credits = credits + $2 where account_id = $1',
      values: [order.seller_account, sellerPart],
    });
    // The row that all orders share comes last: it is held for the commit alone.
    await client.query({
      name: 'receivable',
      text: `update account_balance set debits = debits + $1 where account_id = ${RECEIVABLE}`,
      values: [order.amount],
    });
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}

async function readOrder(pool: pg.Pool, id: number): Promise<OrderRow> {
  const { rows } = await pool.query<OrderRow>({
    name: 'read',
    text: 'select seller_account, amount, fee, currency, payment_method from charge_order where id = $1',
    values: [id],
  });
  return rows[0]!;
}

function stripeCharge(url: string, sockets: number): Charge {
  const { hostname, port } = new URL(url);
  const stripe = new Stripe('sk_test_bench', {
    protocol: 'http',
    host: hostname,
    port: Number(port),
    maxNetworkRetries: 0,
    telemetry: false,
    httpAgent: new Agent({ keepAlive: true, maxSockets: sockets }),
  });
  return async (id, order) => {
    const intent = await stripe.paymentIntents.create(
      {
        amount: Number(order.amount),
        currency: order.currency,
        payment_method: order.payment_method,
        confirm: true,
        automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
        metadata: { order: String(id) },
      },
      { idempotencyKey: `peer-${id}` },
    );
    if (intent.status !== 'succeeded') throw new Bug(`order ${id}: ${intent.status}`);
    return intent.id;
  };
}
