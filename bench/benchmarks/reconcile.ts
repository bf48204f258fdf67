/**
 * reconcile: a settlement file against as many open items, from its first byte to the proof, against bare csv-parse. `--scale 10` is
 * the run with 10,000,000 lines: rate and memory must stay.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gatherOpenItems } from '../../src/core/settlement/gather-items.ts';
import {
  type BenchContext,
  type Benchmark,
  type BenchReport,
  inTurn,
  reportRatio,
  scaled,
} from '../benchmark.ts';
import { BOOK, createBook, PSP_ACCOUNT } from '../book.ts';
import type { BenchServer } from '../server.ts';
import { amountOf, referenceOf, writeSettlementFile } from '../settlement-file.ts';
import { runProgram } from '../start-program.ts';
import { median, shown } from '../statistics.ts';

const LINES = 1_000_000;
/** Of bare csv-parse's rate: with posting, and without it (at least). */
const GOAL = { posted: 0.4, broken: 0.8, brokenAtLeast: 0.5 } as const;
/** Facts are older than the lag in which late commits are looked for, as they are when a file comes. */
const FACT_AGE = '3 days';

export const reconcile: Benchmark = {
  name: 'reconcile',
  what: 'lines of a settlement file, each matched with its charge, posted and proven; as many open items',
  run: measure,
};

async function measure(context: BenchContext): Promise<BenchReport> {
  const { server } = context;
  const lines = scaled(context, LINES, 1_000);
  const folder = await mkdtemp(join(tmpdir(), 'paygate-bench-file-'));
  try {
    const gathered: number[] = [];
    const { ours, peer } = await inTurn(
      context,
      async (round) => {
        const path = join(folder, `${round}.csv`);
        await writeSettlementFile(path, 0, lines);
        const book = await createBook(server, `reconcile_${round}`);
        context.progress(`${lines} charges that wait for their line`);
        await fill(server, book.database, lines);
        const gatheredFromMs = performance.now();
        await gatherOpenItems(book.db, { accounts: new Map(), writeOffLimits: new Map() });
        gathered.push(performance.now() - gatheredFromMs);
        await book.close();
        await server.execute(book.database, ['vacuum (analyze)', 'checkpoint']);
        return runProgram('our-reconcile', {
          connection: book.connection,
          path,
          lines,
          postmasterPid: server.postmasterPid,
        });
      },
      (round) => runProgram('peer-reconcile', { path: join(folder, `${round}.csv`), lines }),
    );
    const phasesOf = (run: (typeof ours)[number]) =>
      Object.entries(run.phases)
        .map(([phase, ms]) => `${phase} from ${shown(ms / 1000, 1)} s`)
        .join(', ');
    return reportRatio({
      name: 'reconcile',
      unit: 'lines/s',
      goal: GOAL.posted,
      floor: GOAL.posted,
      ours,
      peer: { name: 'csv-parse 7.0.3 alone over the same file, rows thrown away', runs: peer },
      notes: [
        `${shown(lines)} lines against ${shown(lines)} open items, from the first byte to stored breaks, postings and proof; with posting: goal ${GOAL.posted}`,
        withoutPosting(ours, peer),
        "the file has the nine columns of Stripe's itemised balance report by default, and those that customers add to match by: source, charge, payment, payout, our metadata",
        `gathering the open items from the ledger, which the daemon does every minute: ${gathered.map((ms) => `${shown(ms / 1000, 1)} s`).join(', ')}`,
        `memory of the program: ${ours.map((run) => `${shown(run.rssMb)} MB`).join(', ')} (limit 300 MB); Postgres has 64 MB for each sort or hash`,
        `the same file again: ${ours.map((run) => `${shown(run.againMs / 1000, 2)} s`).join(', ')} (limit 2 s for 1,000,000 lines)`,
        ...ours.map(
          (run, i) => `run ${i + 1}: ${phasesOf(run)}, done at ${shown(run.elapsedMs / 1000, 1)} s`,
        ),
        ...server.notes,
      ],
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The same runs up to the moment at which every break was found and written down. */
function withoutPosting(
  ours: readonly { readonly done: number; readonly phases: Readonly<Record<string, number>> }[],
  peer: readonly { readonly done: number; readonly elapsedMs: number }[],
): string {
  const rate = median(ours.map(({ done, phases }) => (done * 1000) / (phases.posting ?? Number.NaN)));
  const ratio = rate / median(peer.map(({ done, elapsedMs }) => (done * 1000) / elapsedMs));
  const met = ratio >= GOAL.broken ? 'met' : ratio >= GOAL.brokenAtLeast ? 'floor met' : 'not met';
  return `without posting, to the last break: ${shown(rate)} lines/s, ${shown(ratio, 2)}× (goal ${GOAL.broken}, floor ${GOAL.brokenAtLeast}): ${met}`;
}

/**
 * Charges that succeeded, as their outcome leaves them: operation, entry, postings. Set by set through the owner's door, because
 * the executor would need an hour; the balances' trigger runs as always.
 */
async function fill(server: BenchServer, database: string, count: number): Promise<void> {
  const t = (name: string) => `${BOOK}.${name}`;
  const account = (
    code: string,
    type: string,
    side: string,
    family: string,
    party: string,
    purpose: string,
  ) => `('${code}', 'EUR', '${type}', '${side}', '${family}', '${party}', '${purpose}')`;
  const amount = '1000 + n % 5000';
  if (amountOf(7_003) !== 1_000 + (7_003 % 5_000)) throw new Error('book and file have different amounts');
  await server.execute(database, [
    `insert into ${t('account')} (code, currency, type, normal_balance, family, party, purpose) values
       ${account(`psp:${PSP_ACCOUNT}:receivable`, 'asset', 'debit', 'psp', PSP_ACCOUNT, 'receivable')},
       ${account('seller:bench:available', 'liability', 'credit', 'seller', 'bench', 'available')}`,
    'begin',
    `set local session_replication_role = 'replica'`,
    `insert into ${t('operation')} (id, kind, psp_account, amount_minor, currency, sub_state, payment_id, payment_order_id, psp_reference)
     select 10 + 4 * n, 'charge', '${PSP_ACCOUNT}', ${amount}, 'EUR', 'succeeded', 11 + 4 * n, 12 + 4 * n,
            '${referenceOf(0).slice(0, -15)}' || lpad(n::text, 15, '0')
       from generate_series(0, ${count - 1}) n`,
    'commit',
    `insert into ${t('journal_entry')} (id, cause, kind, posting_count, recorded_at)
     select 13 + 4 * n, 'op_' || 10 + 4 * n, 'charge_succeeded', 1, now() - interval '${FACT_AGE}' from generate_series(0, ${count - 1}) n`,
    `insert into ${t('posting')} (entry_id, line, debit_id, credit_id, currency, amount_minor)
     select 13 + 4 * n, 1, r.id, s.id, 'EUR', ${amount}
       from generate_series(0, ${count - 1}) n, ${t('account')} r, ${t('account')} s
      where r.code = 'psp:${PSP_ACCOUNT}:receivable' and s.code = 'seller:bench:available'`,
    `select setval('${t('object_id')}', ${20 + 4 * count})`,
    'vacuum (analyze)',
    'checkpoint',
  ]);
}
