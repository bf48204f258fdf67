/** The daemon's log: pino, one JSON line per fact. Never a request, a secret or a hand-off. */
import { type Logger, pino } from 'pino';

export type Log = Pick<Logger, 'info' | 'warn' | 'error' | 'debug'>;

export function openLog(
  level: 'debug' | 'info' | 'warn' | 'error' | 'silent',
  base: Record<string, unknown>,
): Logger {
  return pino(
    { level, base, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: false }),
  );
}
