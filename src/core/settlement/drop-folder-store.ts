/** What several daemons on one drop folder agree by: whose turn it is, and what day it is. */
import type { Queryable } from '../db/connection.ts';

/** Any number that no other advisory lock of ours has; the book's own name is mixed in. */
const LOCK_SPACE = 7_302;

/**
 * Takes the turn for this session, which must be one connection of its own; false while another session has it. It ends
 * with {@link leaveDropFolder} or with the session.
 */
export async function enterDropFolder(on: Queryable): Promise<boolean> {
  const [row] = await on.sql<{ taken: boolean }[]>`
    select pg_try_advisory_lock(${LOCK_SPACE}, hashtext(${on.book})) as taken`;
  return row?.taken === true;
}

export async function leaveDropFolder(on: Queryable): Promise<void> {
  await on.sql`select pg_advisory_unlock(${LOCK_SPACE}, hashtext(${on.book}))`;
}

/** Day ("2026-11-25") and minute of the day (0–1439), in UTC. */
export async function getUtcNow(on: Queryable): Promise<{ readonly day: string; readonly minute: number }> {
  const [row] = await on.sql<{ day: string; minute: number }[]>`
    select to_char(now() at time zone 'UTC', 'YYYY-MM-DD') as day,
           (extract(hour from now() at time zone 'UTC') * 60
             + extract(minute from now() at time zone 'UTC'))::int as minute`;
  return row!;
}
