/** What the demo shows at its end: outcomes, doubts and what ended them, truth against books, trial balance. */
import type { Db } from '../../core/db/connection.ts';
import { trialBalance } from '../../core/ledger/ledger-queries-store.ts';
import { type Currency, formatAmount } from '../../core/money.ts';
import { publicStateOf } from '../../core/operation/operation.ts';
import {
  countDoubts,
  countEvidence,
  type DoubtEnd,
  type EvidenceCount,
  listOrderTotals,
  type OrderTotal,
} from '../../core/operation/outcome-report-store.ts';
import { countOpenDeadLetters } from '../../core/queue/dead-letter-store.ts';
import type { Block } from '../render/table.ts';
import type { Session } from '../session.ts';
import type { Comparison } from './demo-truth.ts';

const MAX_DIFFERENCES = 20;

export async function reportDemo(session: Session, db: Db, truth: Comparison): Promise<void> {
  const totals = await listOrderTotals(db);
  const evidence = await countEvidence(db);
  const doubts = await countDoubts(db);
  const letters = await countOpenDeadLetters(db);
  const balance = await trialBalance(db);
  const waiting = letters.reduce((sum, { letters: count }) => sum + count, 0);
  await session.print({
    json: {
      differences: truth.differences,
      orders: totals.map((row) => ({ ...row, amountMinor: row.amountMinor.toString() })),
      evidence,
      doubts,
      open_dead_letters: letters,
    },
    blocks: [
      title(''),
      title('What became of the orders'),
      outcomes(totals),
      title('What went wrong on the way, and how it ended'),
      { kind: 'facts', facts: trouble(evidence, doubts, waiting) },
      title("The sandbox's truth against our books"),
      ...comparison(truth),
      // Lines in a row have no blank line between them by themselves.
      title(''),
      title('Trial balance'),
      {
        kind: 'table',
        columns: [
          { title: 'currency' },
          { title: 'type' },
          { title: 'accounts', align: 'right' },
          { title: 'debits', align: 'right' },
          { title: 'credits', align: 'right' },
        ],
        rows: balance.map((row) => [
          row.currency,
          row.type,
          String(row.accounts),
          amount(row.debits, row.currency),
          amount(row.credits, row.currency),
        ]),
        empty: 'the ledger is empty',
      },
    ],
  });
}

function title(text: string): Block {
  return { kind: 'line', text };
}

function amount(amountMinor: bigint, currency: string): string {
  return formatAmount({ amountMinor, currency: currency as Currency });
}

function outcomes(totals: readonly OrderTotal[]): Block {
  const groups = Map.groupBy(totals, (row) => row.subState);
  return {
    kind: 'table',
    columns: [
      { title: 'state' },
      { title: 'detail' },
      { title: 'orders', align: 'right' },
      { title: 'amounts', shrink: true },
    ],
    rows: [...groups].map(([subState, rows]) => [
      publicStateOf(subState),
      subState,
      String(rows.reduce((sum, row) => sum + row.orders, 0)),
      rows.map((row) => `${amount(row.amountMinor, row.currency)} ${row.currency}`).join(' + '),
    ]),
    empty: 'no orders',
  };
}

function trouble(evidence: readonly EvidenceCount[], doubts: readonly DoubtEnd[], waiting: number) {
  const pieces = (kinds: readonly string[]) =>
    evidence.filter((row) => kinds.includes(row.kind)).reduce((sum, row) => sum + row.pieces, 0);
  const ended = (by: string | null) =>
    doubts.filter((row) => row.resolvedBy === by).reduce((sum, row) => sum + row.attempts, 0);
  const all = doubts.reduce((sum, row) => sum + row.attempts, 0);
  return [
    ['answers that left it in doubt', String(pieces(['unknown']))],
    ['never sent, rate limited', String(pieces(['not_sent', 'rate_limited']))],
    ['pending at the PSP for a while', String(pieces(['pending']))],
    ['charges, refunds, payouts ever in doubt', String(all)],
    ['… ended by sending again with the same key', String(ended('reply') + ended('late_reply'))],
    ['… ended by asking the PSP', String(ended('enquiry'))],
    ['… still open', String(ended(null))],
    ['wait for a person (paygate dlq list)', String(waiting)],
  ] as const;
}

function comparison({ counts, differences }: Comparison): readonly Block[] {
  const there = counts.map(({ noun, objects }) => `${objects} ${noun}`).join(', ');
  const summary = `${there} there, ${differences.length} differences`;
  if (differences.length === 0) return [{ kind: 'line', text: { text: summary, tone: 'good' } }];
  return [
    { kind: 'line', text: { text: summary, tone: 'bad' } },
    {
      kind: 'table',
      columns: [{ title: 'what' }, { title: 'moved there' }, { title: 'in our books' }],
      rows: differences.slice(0, MAX_DIFFERENCES).map((row) => [row.name, row.there, row.here]),
      empty: '',
    },
  ];
}
