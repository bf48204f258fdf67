/**
 * Processor time from /proc: of this process, and of a whole Postgres server. Looks only; null where there
 * is no /proc or the server runs elsewhere.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** Linux tells processor time to user space in hundredths of a second, whatever the kernel's own tick is. */
const TICK_MS = 10;

export type ProcessorTime = { readonly programMs: number; readonly postgresMs: number | null };

/** @param postmasterPid null when the server's processes can't be seen from here */
export function readProcessorTime(postmasterPid: number | null): ProcessorTime {
  const { user, system } = process.cpuUsage();
  return {
    programMs: (user + system) / 1000,
    postgresMs: postmasterPid === null ? null : postgresTimeMs(postmasterPid),
  };
}

/** What was used between two readings, under the names of a measured run. */
export function processorTimeBetween(before: ProcessorTime, after: ProcessorTime) {
  return {
    programCpuMs: after.programMs - before.programMs,
    postgresCpuMs:
      before.postgresMs === null || after.postgresMs === null ? null : after.postgresMs - before.postgresMs,
  };
}

/** Of one process, its ended children left out; null when it can't be seen. */
export function processTimeMs(pid: number): number | null {
  const times = readTimes(String(pid));
  return times === null ? null : times.own * TICK_MS;
}

type Times = { readonly parent: number; readonly own: number; readonly reaped: number };

/** The postmaster, its living children, and those that have ended since it started. */
function postgresTimeMs(postmasterPid: number): number | null {
  const postmaster = readTimes(String(postmasterPid));
  if (postmaster === null) return null;
  let ticks = postmaster.own + postmaster.reaped;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const times = readTimes(name);
    if (times?.parent === postmasterPid) ticks += times.own;
  }
  return ticks * TICK_MS;
}

function readTimes(pid: string): Times | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in brackets and may itself hold spaces and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const number = (index: number): number => Number(fields[index]);
    return { parent: number(1), own: number(11) + number(12), reaped: number(13) + number(14) };
  } catch {
    return null;
  }
}
