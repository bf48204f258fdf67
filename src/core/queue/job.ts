/**
 * A job's rules: lanes, leases, and when a try comes again. Decides only; random numbers come in.
 */

/** How long a daemon's heartbeat is good for, by database time (ms); beaten every {@link BEAT_EVERY_MS}. */
export const LEASE_MS = 6_000;
export const BEAT_EVERY_MS = 1_000;
/**
 * A gap between two heartbeats that makes a daemon unsteady (ms). Half a lease, not a whole one: where mine was
 * late by almost a lease because the database was away, another's was late by a moment more, and is not dead.
 */
export const STEADY_GAP_MS = LEASE_MS / 2;
/** A daemon starts no send with less than this left of its lease (ms): the call must begin well inside it. */
export const MIN_LEASE_LEFT_MS = 2_000;

/** Rescues of one job after which it is a dead letter: a job that kills daemons must not kill them all. */
export const MAX_RESCUES = 5;
/** Doubtful sends of one attempt after which we only ask, and send no more. */
export const MAX_BURNED = 10;
/** Failed enquiries, on top of that, after which a person is needed. */
export const MAX_ENQUIRIES = 8;

/**
 * How often a charge, refund or payout that the PSP has and has not ended is asked for: by its age since the first send.
 * A buyer is looked at closely while the shop waits, then ever more seldom, and never not at all.
 */
export const RECHECK_SCHEDULE: readonly { readonly youngerThanMs: number; readonly everyMs: number }[] = [
  { youngerThanMs: 60_000, everyMs: 2_000 },
  { youngerThanMs: 10 * 60_000, everyMs: 15_000 },
  { youngerThanMs: 3_600_000, everyMs: 60_000 },
  { youngerThanMs: 6 * 3_600_000, everyMs: 5 * 60_000 },
  { youngerThanMs: 24 * 3_600_000, everyMs: 15 * 60_000 },
  { youngerThanMs: Number.POSITIVE_INFINITY, everyMs: 3_600_000 },
];

/** The pause grows by up to this part of it, by chance, so that many of an age do not come together. */
const RECHECK_JITTER = 0.25;

/**
 * When to ask again for what the PSP is still working on (ms).
 * @param random uniform in [0, 1)
 */
export function recheckDelayMs(ageMs: number, random: number): number {
  const { everyMs } = RECHECK_SCHEDULE.find(({ youngerThanMs }) => ageMs < youngerThanMs)!;
  return Math.floor(everyMs * (1 + RECHECK_JITTER * random));
}

/** Pause after the first request to cancel that told nothing (ms), doubled with each one up to an hour. */
const CANCEL_BASE_MS = 2_000;
const CANCEL_CAP_MS = 3_600_000;

/** When to ask the PSP once more to cancel what it was asked to (ms); `tries` before this one. */
export function cancelDelayMs(tries: number): number {
  return Math.min(CANCEL_CAP_MS, CANCEL_BASE_MS * 2 ** Math.min(tries, 16));
}

const RETRY_BASE_MS = 200;
const RETRY_CAP_MS = 60_000;

/** 0 goes first: single payments of a shop that waits; 1: files. */
export type Priority = 'online' | 'batch';

/** The range of the queue that one claim reads. */
export function laneOf(pspAccount: string, priority: Priority): string {
  return `${pspAccount}/${priority}`;
}

export const PRIORITIES: readonly Priority[] = ['online', 'batch'];

/**
 * Full jitter: uniformly between 0 and min(cap, base × 2^tries), but never before `retryAfterMs` (the
 * PSP's own word, up to an hour).
 * @param random uniform in [0, 1)
 */
export function retryDelayMs(tries: number, random: number, retryAfterMs: number | null): number {
  const ceiling = Math.min(RETRY_CAP_MS, RETRY_BASE_MS * 2 ** Math.min(tries, 16));
  const jittered = Math.floor(ceiling * random);
  const asked = Math.min(retryAfterMs ?? 0, 3_600_000);
  return Math.max(jittered, asked);
}
