/** Opens a batch file or standard input for a parser, and says what is wrong with its rows. Submits nothing. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { errorCode } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import type { FileFault } from '../../core/payment/file-fault.ts';
import type { Block } from '../render/table.ts';
import type { Session } from '../session.ts';
import { countText } from '../words.ts';

/** What a file is called in messages and in its batch. */
export function sourceOf(name: string): string {
  return name === '-' ? 'standard input' : basename(name);
}

/** @throws OperatorError file_unreadable */
export async function readBatchFile<T>(
  session: Session,
  name: string,
  parse: (input: AsyncIterable<Buffer>) => Promise<T>,
): Promise<T> {
  if (name === '-') return parse(session.host.stdin);
  const path = resolve(session.host.cwd, name);
  try {
    if ((await stat(path)).isDirectory()) throw unreadable(name, 'is a folder');
    return await parse(createReadStream(path));
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT') throw unreadable(name, 'is not there');
    if (code === 'EACCES') throw unreadable(name, "can't be read: permission denied");
    if (code === 'EIO' || code === 'ENAMETOOLONG' || code === 'ELOOP')
      throw unreadable(name, `can't be read (${code})`);
    throw error;
  }
}

function unreadable(name: string, what: string): OperatorError {
  return new OperatorError('file_unreadable', `The file ${name} ${what}.`);
}

/** Shows the faults; returns the error to throw. */
export async function badRows(
  session: Session,
  source: string,
  faults: readonly FileFault[],
  faultCount: number,
  rowCount: number,
  nothingWas: 'submitted' | 'imported' = 'submitted',
): Promise<OperatorError> {
  const isCut = faultCount > faults.length;
  await session.show([faultTable(faults)]);
  return new OperatorError(
    'file_has_bad_rows',
    `${source} has ${countText(faultCount, 'fault')} in ${countText(rowCount, 'row')}` +
      `${isCut ? ` (the first ${faults.length} are shown)` : ''}; nothing was ${nothingWas}.`,
    { details: { fault_count: faultCount, row_count: rowCount, faults } },
  );
}

function faultTable(faults: readonly FileFault[]): Block {
  return {
    kind: 'table',
    empty: '',
    columns: [{ title: 'LINE', align: 'right' }, { title: 'COLUMN' }, { title: 'REASON' }],
    rows: faults.map((fault) => [
      fault.line === null ? '' : String(fault.line),
      fault.column ?? '',
      fault.line === null && fault.column === null ? `the file ${fault.message}` : fault.message,
    ]),
  };
}
