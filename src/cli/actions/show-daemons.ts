/** `daemon status`: who is alive, what is waiting, what needs a person. Reads only. */

import { isoTime } from '../../core/payment/payment-answer.ts';
import { countOpenDeadLetters } from '../../core/queue/dead-letter-store.ts';
import { countLanes, type LaneCount } from '../../core/queue/queue-store.ts';
import { type LiveDaemon, listLiveDaemons } from '../../core/queue/rescue-store.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import type { Block } from '../render/table.ts';
import type { Session } from '../session.ts';
import { countText, timeText } from '../words.ts';

/** Exit 1 when no daemon is alive. */
export async function showDaemons(session: Session): Promise<number> {
  return withBook(
    session,
    async ({ db }) => {
      const daemons = await listLiveDaemons(db);
      const lanes = await countLanes(db);
      const letters = await countOpenDeadLetters(db);
      await session.print({
        json: {
          daemons: daemons.map(daemonView),
          lanes: lanes.map(laneView),
          dead_letters: letters.map(({ code, letters: count }) => ({ code, count })),
        },
        blocks: [daemonTable(daemons), laneTable(lanes), letterLine(letters)],
      });
      return daemons.length > 0 ? EXIT.done : EXIT.answerIsNo;
    },
    { workload: 'report' },
  );
}

function daemonView(daemon: LiveDaemon) {
  return {
    daemon_id: Number(daemon.id),
    name: daemon.name,
    started_at: isoTime(daemon.startedAt),
    beat_ago_ms: Math.round(daemon.beatAgoMs),
    leased: daemon.leased,
  };
}

function laneView(lane: LaneCount) {
  return {
    lane: lane.lane,
    ready: lane.ready,
    waiting: lane.waiting,
    leased: lane.leased,
    oldest_ready_ms: lane.oldestMs === null ? null : Math.round(lane.oldestMs),
  };
}

function daemonTable(daemons: readonly LiveDaemon[]): Block {
  return {
    kind: 'table',
    empty: 'No daemon is alive: nothing is being charged. Start one: paygate daemon run',
    columns: [
      { title: 'DAEMON', shrink: true },
      { title: 'STARTED' },
      { title: 'LAST BEAT', align: 'right' },
      { title: 'IN HAND', align: 'right' },
    ],
    rows: daemons.map((daemon) => [
      daemon.name,
      timeText(isoTime(daemon.startedAt)),
      `${Math.round(daemon.beatAgoMs)} ms ago`,
      String(daemon.leased),
    ]),
  };
}

function laneTable(lanes: readonly LaneCount[]): Block {
  return {
    kind: 'table',
    empty: 'The queue is empty.',
    columns: [
      { title: 'LANE', shrink: true },
      { title: 'READY', align: 'right' },
      { title: 'WAITING', align: 'right' },
      { title: 'IN HAND', align: 'right' },
      { title: 'OLDEST READY', align: 'right' },
    ],
    rows: lanes.map((lane) => [
      lane.lane,
      String(lane.ready),
      String(lane.waiting),
      String(lane.leased),
      lane.oldestMs === null ? '' : `${(lane.oldestMs / 1000).toFixed(1)} s`,
    ]),
  };
}

function letterLine(letters: readonly { readonly code: string; readonly letters: number }[]): Block {
  const total = letters.reduce((sum, { letters: count }) => sum + count, 0);
  if (total === 0) return { kind: 'line', text: 'No payment needs a person.' };
  const reasons = letters.map(({ code, letters: count }) => `${count} ${code}`).join(', ');
  const text = `${countText(total, 'dead letter')} (${reasons}). See: paygate dlq list`;
  return { kind: 'line', text: { text, tone: 'warn' } };
}
