/** COPY from this program into a table, with an end in sight: the driver's stream stays open for ever when the server refuses the rows. */
import type { Writable } from 'node:stream';
import { TransientError } from '../errors.ts';

/** A COPY statement that has not been sent yet. */
type CopyStatement = { writable(): Promise<Writable> };

/**
 * Sends `texts` (rows in PostgreSQL's text format), one after the other as the server takes them, and waits until it has them all.
 * @param deadlineMs when the server has not answered by then, the connection is given up
 * @throws TransientError copy_stuck, or what the server refused
 */
export async function copyRows(
  statement: CopyStatement,
  texts: readonly string[],
  deadlineMs: number,
): Promise<void> {
  const stream = await statement.writable();
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      const stuck = new TransientError('copy_stuck', `The database took no rows for ${deadlineMs} ms.`);
      stream.destroy(stuck);
      reject(stuck);
    }, deadlineMs);
    const end = (error?: Error | null): void => {
      clearTimeout(timer);
      if (error === undefined || error === null) resolve();
      else reject(error);
    };
    stream.once('error', end);
    stream.once('finish', () => end());
    let next = 0;
    const send = (): void => {
      while (next < texts.length) {
        if (stream.write(texts[next++]!)) continue;
        stream.once('drain', send);
        return;
      }
      stream.end();
    };
    send();
  });
}

const SPECIAL = /[\\\t\n\r]/;

/** One value of a row in PostgreSQL's text format. */
export function copyText(value: string | null): string {
  if (value === null) return '\\N';
  if (!SPECIAL.test(value)) return value;
  return value.replace(/[\\\t\n\r]/g, (char) =>
    char === '\\' ? '\\\\' : char === '\t' ? '\\t' : char === '\n' ? '\\n' : '\\r',
  );
}
