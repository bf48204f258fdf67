/** Looks at the book while the run goes on: what is in flight, and what has ended. Changes nothing. */
import type { Db } from '../src/core/db/connection.ts';
import type { Eyes } from './database.ts';
import { pause, within } from './processes.ts';

export type Census = {
  /** Jobs that a daemon holds, by its process. */
  readonly inFlight: ReadonlyMap<number, number>;
  readonly orders: number;
  readonly ended: number;
  readonly jobs: number;
  /** Jobs that somebody has in hand, or that come up within {@link SOON}. */
  readonly due: number;
  /** Payments that have ended, and of which nobody has looked yet what to give back. */
  readonly watches: number;
  /** Grows with everything that happens. */
  readonly lastEvent: bigint;
};

/** Longer than the longest pause between two tries, and far below the hour that jobs wait whose PSP cannot be asked. */
const SOON = '2 minutes';

/** A database that is away or starting is waited for (ms). */
const LOOK_TIMEOUT_MS = 3_000;
const LOOK_PAUSE_MS = 150;

/** Null when the database does not answer now. */
export async function look(eyes: Eyes): Promise<Census | null> {
  const asking = ask(eyes.db()).catch(() => 'failed' as const);
  const result = await within(asking, LOOK_TIMEOUT_MS);
  if (typeof result !== 'string') return result;
  eyes.renew();
  return null;
}

async function ask(db: Db): Promise<Census> {
  const { sql, t } = db;
  const [held, counted] = await Promise.all([
    sql<{ name: string; jobs: number }[]>`
      select d.name, count(*)::integer as jobs
        from ${t.job} j
        join ${t.daemon} d on d.id = j.daemon_id
       where j.state = 'leased'
       group by d.name`,
    sql<{ orders: number; ended: number; jobs: number; due: number; watches: number; lastEvent: bigint }[]>`
      select (select count(*) from ${t.operation} where kind = 'charge')::integer as orders,
             (select count(*) from ${t.operation}
               where kind = 'charge' and sub_state in ('succeeded', 'declined', 'rejected', 'risk_blocked', 'canceled', 'expired')
             )::integer as ended,
             (select count(*) from ${t.job})::integer as jobs,
             (select count(*) from ${t.job} where state = 'leased' or run_at < now() + ${SOON}::interval)::integer as due,
             (select count(*)
                from ${t.partialWatch} w
               where not exists (select 1
                                   from ${t.operation} o
                                  where o.payment_id = w.payment_id
                                    and o.sub_state not in ('succeeded', 'declined', 'rejected', 'risk_blocked',
                                                            'canceled', 'expired', 'reversed')))::integer as watches,
             (select coalesce(max(id), 0) from ${t.event}) as last_event`,
  ]);
  // A daemon's name ends with its process number.
  const inFlight = new Map<number, number>();
  for (const { name, jobs } of held) {
    const pid = Number(name.slice(name.lastIndexOf('/') + 1));
    inFlight.set(pid, (inFlight.get(pid) ?? 0) + jobs);
  }
  return { inFlight, ...counted[0]! };
}

/** Looks until `wanted` holds; null when it did not within `limitMs`. */
export async function lookUntil(
  eyes: Eyes,
  wanted: (census: Census) => boolean,
  limitMs: number,
): Promise<Census | null> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const census = await look(eyes);
    if (census !== null && wanted(census)) return census;
    if (performance.now() >= deadline) return null;
    await pause(LOOK_PAUSE_MS);
  }
}

export function inFlightOf(census: Census, pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + (census.inFlight.get(pid) ?? 0), 0);
}
