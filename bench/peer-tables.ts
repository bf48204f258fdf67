/**
 * The peer's tables: orders with a plain double-entry ledger, as somebody would write them who puts an
 * off-the-shelf job queue beside them. Fewer constraints than ours: what is missing makes the peer faster.
 */
import pg from 'pg';
import { SELLERS } from './book.ts';
import type { BenchConnection } from './server.ts';

/** Accounts 1 (the PSP's receivable) and 2 (our fees); the sellers come after. */
export const RECEIVABLE = 1;
export const FEES = 2;
const FIRST_SELLER = 3;
const FEE_MINOR = 55;

const TABLES = `
  create table account_balance (
    account_id integer primary key,
    debits bigint not null default 0,
    credits bigint not null default 0
  ) with (fillfactor = 50);
  create table charge_order (
    id bigint primary key,
    seller_account integer not null,
    amount bigint not null,
    fee bigint not null,
    currency text not null,
    payment_method text not null,
    state text not null default 'new',
    psp_reference text
  ) with (fillfactor = 70);
  create table entry (
    id bigint generated always as identity primary key,
    order_id bigint not null unique references charge_order,
    recorded_at timestamptz not null default now()
  );
  create table posting (
    entry_id bigint not null references entry,
    line smallint not null,
    debit_id integer not null,
    credit_id integer not null,
    amount bigint not null check (amount > 0),
    primary key (entry_id, line)
  );
  create table order_event (
    id bigint generated always as identity primary key,
    order_id bigint not null,
    data jsonb not null,
    at timestamptz not null default now()
  );
  insert into account_balance (account_id) select generate_series(1, ${FIRST_SELLER + SELLERS - 1});
`;

export function poolOf(connection: BenchConnection, max: number): pg.Pool {
  const { host, port, user, database, password, ssl } = connection;
  const pool = new pg.Pool({
    host,
    port,
    user,
    database,
    ...(password === undefined ? {} : { password }),
    // libpq's "require": encrypted, whoever answers.
    ssl: ssl === false ? false : { rejectUnauthorized: ssl === 'verify-full' },
    max,
    application_name: 'bench peer',
  });
  // A connection that breaks while nobody uses it: the next query says so.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

export async function createPeerTables(pool: pg.Pool): Promise<void> {
  await pool.query(TABLES);
}

/** Orders numbered from `first`, and a job for each of them. */
export async function insertPeerOrders(pool: pg.Pool, first: number, count: number): Promise<void> {
  await pool.query(
    `insert into charge_order (id, seller_account, amount, fee, currency, payment_method)
     select n, ${FIRST_SELLER} + n % ${SELLERS}, 1000 + n % 5000, ${FEE_MINOR}, 'eur', 'pm_card_visa'
       from generate_series($1::bigint, $2::bigint) n`,
    [first, first + count - 1],
  );
}

/** A job per number, in one call, as its library documents it for many jobs. */
export async function insertPeerJobs(
  pool: pg.Pool,
  task: string,
  first: number,
  count: number,
): Promise<void> {
  await pool.query(
    `select 1 from graphile_worker.add_jobs(
       (select array_agg(json_populate_record(null::graphile_worker.job_spec,
                json_build_object('identifier', $1::text, 'payload', json_build_object('id', n))))
          from generate_series($2::bigint, $3::bigint) n))`,
    [task, first, first + count - 1],
  );
}
