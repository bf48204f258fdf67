/** `ledger verify`: says whether the books are what their postings make them. Reads only. */
import type { LedgerFault } from '../../core/ledger/ledger-queries-store.ts';
import { type LedgerVerification, verifyLedger } from '../../core/ledger/verify-ledger.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import type { Block, Cell } from '../render/table.ts';
import type { Session } from '../session.ts';
import { countText } from '../words.ts';

/** Exit 1 when anything differs, and when there is nothing to verify. */
export async function verifyLedgerCommand(session: Session): Promise<number> {
  return withBook(
    session,
    async ({ db }) => {
      const verification = await verifyLedger(db);
      const { verdict, faults } = verification;
      await session.print({
        json: {
          verdict,
          accounts: Number(verification.accounts),
          entries: Number(verification.entries),
          postings: Number(verification.postings),
          faults,
        },
        blocks: [
          { kind: 'line', text: sentence(verification) },
          ...(faults.length === 0 ? [] : [faultTable(faults)]),
        ],
      });
      return verdict === 'balanced' ? EXIT.done : EXIT.answerIsNo;
    },
    { workload: 'report' },
  );
}

function sentence(verification: LedgerVerification): Cell {
  const { accounts, entries, postings, faults } = verification;
  const looked = `${countText(postings, 'posting')} in ${entries} entries on ${countText(accounts, 'account')}`;
  switch (verification.verdict) {
    case 'balanced':
      return { text: `balanced: ${looked} recomputed, every balance is right`, tone: 'good' };
    case 'empty':
      return { text: 'empty: there are no postings, so nothing was proven', tone: 'warn' };
    case 'faulty':
      return { text: `NOT BALANCED: ${countText(faults.length, 'fault')} in ${looked}`, tone: 'bad' };
  }
}

function faultTable(faults: readonly LedgerFault[]): Block {
  return {
    kind: 'table',
    empty: '',
    columns: [
      { title: 'FAULT' },
      { title: 'WHERE', shrink: true },
      { title: 'CURRENCY' },
      { title: 'EXPECTED', align: 'right' },
      { title: 'FOUND', align: 'right' },
    ],
    rows: faults.map((fault) => [
      fault.code,
      fault.subject,
      fault.currency ?? '',
      fault.expected,
      fault.found,
    ]),
  };
}
