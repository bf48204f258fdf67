/** COPY from this program into a table, with an end in sight: the driver's stream stays open for ever when the server refuses the rows. */
import type { Writable } from 'node:stream';
import { TransientError } from '../errors.ts';
import type { Tx } from './connection.ts';

/** A COPY statement that has not been sent yet. */
type CopyStatement = { writable(): Promise<Writable> };

/**
 * Sends `pieces` (rows in PostgreSQL's text format, UTF-8), one after the other as the server takes them, and waits until it has
 * them all.
 *
 * Where the server refuses a row after the last one was sent, the driver tells nobody. So a query waits behind the COPY: it is
 * answered like any other, or fails because the transaction has failed (25P02), and then so has the COPY.
 * @param deadlineMs when the server has not answered by then, the connection is given up
 * @throws TransientError copy_stuck, or what the server refused
 */
export async function copyRows(
  tx: Tx,
  statement: CopyStatement,
  pieces: readonly Buffer[],
  deadlineMs: number,
): Promise<void> {
  const stream = await statement.writable();
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      const stuck = new TransientError('copy_stuck', `The database took no rows for ${deadlineMs} ms.`);
      stream.destroy(stuck);
      end(stuck);
    }, deadlineMs);
    const end = (error?: unknown): void => {
      clearTimeout(timer);
      if (error === undefined || error === null) resolve();
      else reject(error);
    };
    stream.once('error', end);
    // Only from here on does the driver take another query on this connection.
    const finish = stream._final;
    stream._final = (done) => {
      finish.call(stream, done);
      tx.sql`select 1`.then(() => end(), end);
    };
    let next = 0;
    const send = (): void => {
      while (next < pieces.length) {
        if (stream.write(pieces[next++]!)) continue;
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
