/** `--wait`: watches payments until each has ended or needs a person. Reads only. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Db } from '../../core/db/connection.ts';
import { isEnded, publicStateOf, type SubState } from '../../core/operation/operation.ts';
import { listOrderStates, type OrderState } from '../../core/payment/payment-progress-store.ts';
import { listLiveDaemons } from '../../core/queue/rescue-store.ts';
import { EXIT } from '../exit-codes.ts';
import { startProgress } from '../progress.ts';
import type { Session } from '../session.ts';

/** Payments looked at in one query. */
const LOOK = 1_000;
/** Between two looks (ms); a look at many payments is followed by a longer pause. */
const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 500;

export type Followed = {
  /** Orders by where they stand now; null when stopped before all were looked at. */
  readonly outcomes: ReadonlyMap<SubState, number> | null;
  /** Orders that have not ended: in doubt, waiting for somebody, or still under way when time was up. */
  readonly open: number;
  readonly end: 'all_settled' | 'timed_out' | 'stopped';
};

/** Looks again and again until all are settled, time is up (`waitS`, seconds), or a signal comes. */
export async function followPayments(
  session: Session,
  db: Db,
  paymentIds: readonly bigint[],
  waitS: number,
): Promise<Followed> {
  const deadline = performance.now() + waitS * 1_000;
  const { signal } = session.host.interrupt;
  const latest = new Map<bigint, readonly OrderState[]>();
  const progress = startProgress(session, { label: 'settled', noun: 'payment', total: paymentIds.length });
  await warnWithoutDaemon(session, db);
  let waiting: readonly bigint[] = paymentIds;
  try {
    while (waiting.length > 0 && !signal.aborted && performance.now() < deadline) {
      const asked = waiting.slice(0, LOOK);
      const still = await look(db, asked, latest);
      // Those that are not settled go to the end: each has its turn.
      waiting = [...waiting.slice(LOOK), ...still];
      progress.update(paymentIds.length - waiting.length);
      const pauseMs = still.length < asked.length ? MIN_PAUSE_MS : MAX_PAUSE_MS;
      if (still.length > 0) await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
    if (signal.aborted) return { outcomes: null, open: waiting.length, end: 'stopped' };
    const unseen = waiting.filter((id) => !latest.has(id));
    for (let start = 0; start < unseen.length; start += LOOK)
      await look(db, unseen.slice(start, start + LOOK), latest);
  } finally {
    await progress.end();
  }
  return { ...countUp([...latest.values()].flat()), end: waiting.length === 0 ? 'all_settled' : 'timed_out' };
}

/** Looks at the payments and notes what is seen; returns those that are not settled. */
async function look(
  db: Db,
  asked: readonly bigint[],
  latest: Map<bigint, readonly OrderState[]>,
): Promise<readonly bigint[]> {
  const states = Map.groupBy(await listOrderStates(db, asked), (state) => state.paymentId);
  return asked.filter((id) => {
    const orders = states.get(id) ?? [];
    latest.set(id, orders);
    return !orders.every((order) => isEnded(order.subState) || order.needsPerson);
  });
}

/** Who waits for a daemon's work should know when there is none. */
export async function warnWithoutDaemon(session: Session, db: Db): Promise<void> {
  if ((await listLiveDaemons(db)).length > 0) return;
  session.note('No daemon is alive, so nothing is being charged yet. Start one: paygate daemon run');
}

function countUp(orders: readonly OrderState[]): Pick<Followed, 'outcomes' | 'open'> {
  const outcomes = new Map<SubState, number>();
  for (const { subState } of orders) outcomes.set(subState, (outcomes.get(subState) ?? 0) + 1);
  const open = orders.filter((order) => !isEnded(order.subState)).length;
  return { outcomes: new Map([...outcomes].sort(([left], [right]) => (left < right ? -1 : 1))), open };
}

/** 4 while anything is open, 1 when anything failed, else 0. */
export function exitCodeOfFollowed(followed: Followed): number {
  if (followed.open > 0 || followed.end !== 'all_settled') return EXIT.unknownOutcome;
  const hasFailed = [...(followed.outcomes?.keys() ?? [])].some(
    (subState) => publicStateOf(subState) === 'FAILED',
  );
  return hasFailed ? EXIT.answerIsNo : EXIT.done;
}
