/**
 * One step: posts what the lines of a file moved, one entry per batch and rule, and what the bank must show next. Posts each cause
 * once, so it may be repeated. The hot balances are locked last.
 */
import { insertEvents } from '../audit/event-store.ts';
import type { Tx } from '../db/connection.ts';
import { entryJson, insertEntries, insertPostings, type NewEntry } from '../ledger/ledger-store.ts';
import { expectAtBank, insertPositions } from './open-item-store.ts';
import { type LoadedFile, lockSource } from './reconcile-run-store.ts';
import type { Calendar } from './settlement-calendar.ts';
import { batchEntries, movementOf, openAccount, type PostedSource } from './settlement-posting.ts';
import { addPostedLines, listLineSums } from './settlement-posting-store.ts';

export type BookInput = {
  readonly source: PostedSource;
  readonly file: LoadedFile;
  readonly calendar: Calendar;
  readonly principal: string;
};

export async function bookLines(tx: Tx, input: BookInput): Promise<number> {
  const { source, file, principal } = input;
  const sums = await listLineSums(tx, file);
  const wanted: readonly NewEntry[] = batchEntries(source, sums);
  const entries = await insertEntries(tx, principal, wanted);
  const fresh = entries.filter((entry) => entry.status === 'posted');
  const posted = wanted.filter((_, i) => entries[i]!.status === 'posted');
  await insertEvents(tx, principal, [
    {
      kind: 'lines_posted',
      paymentId: null,
      data: JSON.stringify({
        file: file.fileId.toString(),
        sha256: file.sha256,
        lines: file.lineCount,
        entries: fresh.map(entryJson),
      }),
    },
  ]);
  await insertPostings(tx, entries);
  await insertPositions(tx, { id: file.sourceId, accountCode: openAccount(source) });
  await addPostedLines(tx, file.sourceId, movementOf(openAccount(source), posted));
  if (source.kind === 'psp') {
    const bank = { kind: 'bank', name: source.bank } as const;
    const moved = movementOf(openAccount(bank), posted);
    if (moved.size > 0) {
      const bankId = await lockSource(tx, `bank:${source.bank}`);
      await insertPositions(tx, { id: bankId, accountCode: openAccount(bank) });
      await expectAtBank(tx, file, bankId, input.calendar, principal);
    }
  }
  return fresh.length;
}
