/** COPY from this program into a table, with an end in sight: the driver's stream stays open for ever when the server refuses the rows. */
import type { Writable } from 'node:stream';
import { TransientError } from '../errors.ts';

/** A COPY statement that has not been sent yet. */
type CopyStatement = { writable(): Promise<Writable> };

/**
 * Sends `text` (rows in PostgreSQL's text format) and waits until the server has taken them.
 * @param deadlineMs when the server has not answered by then, the connection is given up
 * @throws TransientError copy_stuck, or what the server refused
 */
export async function copyRows(statement: CopyStatement, text: string, deadlineMs: number): Promise<void> {
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
    stream.end(text);
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
