/** dlq: a page of dead letters by every filter, and by several, out of a million. */
import {
  ANY_LETTER,
  type DeadLetterChoice,
  listDeadLetterGroups,
  listDeadLetters,
} from '../../src/core/queue/dead-letter-store.ts';
import { type BenchContext, type Benchmark, type BenchReport, scaled } from '../benchmark.ts';
import { type BenchBook, BOOK, createBook } from '../book.ts';
import { median, rounded, shown } from '../statistics.ts';

const GOAL_MS = 500;
const LETTERS = 1_000_000;
/** Letters made by one statement. */
const CHUNK = 100_000;
const PAGE = 50;

export const dlq: Benchmark = {
  name: 'dlq',
  what: 'ms for one page of dead letters by a filter, out of a million; the slowest filter',
  run: measure,
};

type Question = { readonly name: string; readonly choice: Partial<DeadLetterChoice> };

const DAY_MS = 86_400_000;
const OPEN = { state: 'open' } as const;

/** Common and rare, alone and together, and what is not there at all. */
const QUESTIONS: readonly Question[] = [
  { name: 'open', choice: OPEN },
  { name: 'a common code', choice: { ...OPEN, code: 'enquiry_failed' } },
  { name: 'a rare code', choice: { ...OPEN, code: 'quarantined' } },
  { name: 'a rare fingerprint', choice: { ...OPEN, fingerprint: 'rejected: reason zz' } },
  { name: 'a fingerprint that nobody has', choice: { ...OPEN, fingerprint: 'rejected: never' } },
  { name: 'a large account', choice: { ...OPEN, pspAccount: 'stripe_main' } },
  { name: 'a small account', choice: { ...OPEN, pspAccount: 'adyen_eu' } },
  { name: 'the oldest', choice: { ...OPEN, olderThanMs: 59 * DAY_MS } },
  { name: 'the newest', choice: { ...OPEN, newerThanMs: DAY_MS / 24 } },
  { name: 'a rare end', choice: { state: 'discarded' } },
  { name: 'a rare currency', choice: { ...OPEN, currency: 'JPY' } },
  { name: 'rare amounts', choice: { ...OPEN, currency: 'EUR', minMinor: 99_990n, maxMinor: null } },
  {
    name: 'amounts that nobody has',
    choice: { ...OPEN, currency: 'EUR', minMinor: 1_000_000n, maxMinor: 2_000_000n },
  },
  {
    name: 'account, code and age',
    choice: { ...OPEN, pspAccount: 'adyen_eu', code: 'unknown_unresolved', olderThanMs: 30 * DAY_MS },
  },
  {
    name: 'a common code of a small account',
    choice: { ...OPEN, pspAccount: 'adyen_eu', code: 'enquiry_failed' },
  },
];

async function measure(context: BenchContext): Promise<BenchReport> {
  const { server, progress } = context;
  const letters = scaled(context, LETTERS, 10_000);
  const book = await createBook(server, 'dlq');
  try {
    progress(`making ${shown(letters)} letters`);
    await fillLetters(context, book, letters);
    const times = new Map<string, readonly number[]>();
    for (const question of QUESTIONS) {
      progress(question.name);
      times.set(question.name, await timeOf(context, book, question));
    }
    const groups = await timeOfGroups(context, book);
    return reportOf(context, letters, times, groups);
  } finally {
    await book.close();
  }
}

/** Payouts in doubt, as if the PSP had been away for two months; by statements over whole sets. */
async function fillLetters(context: BenchContext, book: BenchBook, letters: number): Promise<void> {
  const { server } = context;
  for (let first = 1; first <= letters; first += CHUNK) {
    const last = Math.min(letters, first + CHUNK - 1);
    await server.execute(book.database, [
      `insert into ${BOOK}.operation (id, kind, psp_account, amount_minor, currency, sub_state, seller)
       select n, 'payout', case when n % 1009 = 0 then 'adyen_eu' when n % 4 = 0 then 'stripe_uk' else 'stripe_main' end,
              1 + n * 7919::bigint % 100000, case when n % 5003 = 0 then 'JPY' when n % 3 = 0 then 'GBP' else 'EUR' end,
              'unknown', 'seller ' || n % 1000
         from generate_series(${first}, ${last}) n`,
      `insert into ${BOOK}.dead_letter (operation_id, attempt_number, code, reason, state, opened_at, closed_at, closed_by)
       select n, 1, case when n % 9973 = 0 then 'quarantined' when n % 5 = 0 then 'rejected'
                         when n % 11 = 0 then 'unknown_unresolved' else 'enquiry_failed' end,
              case when n % 5 <> 0 then 'still unknown after ' || n % 60 || ' tries'
                   when n % 7500 = 0 then 'reason zz' else 'reason ' || chr(97 + (n / 5 % 20)::integer) end,
              case when n % 20011 = 0 then 'discarded' when n % 10 = 3 then 'resolved' else 'open' end,
              now() - interval '60 days' * (${letters} - n) / ${letters},
              case when n % 20011 = 0 or n % 10 = 3 then now() end,
              case when n % 20011 = 0 or n % 10 = 3 then 'bench' end
         from generate_series(${first}, ${last}) n`,
    ]);
  }
  await server.execute(book.database, ['vacuum (analyze)']);
}

/** Milliseconds of each run; the first call of each question is not counted. */
async function timeOf(
  context: BenchContext,
  book: BenchBook,
  question: Question,
): Promise<readonly number[]> {
  const filter = { ...ANY_LETTER, ...question.choice, beforeId: null, limit: PAGE };
  return timed(context.runs, () => listDeadLetters(book.db, filter));
}

function timeOfGroups(context: BenchContext, book: BenchBook): Promise<readonly number[]> {
  return timed(context.runs, () =>
    listDeadLetterGroups(book.db, { ...ANY_LETTER, ...OPEN, code: 'unknown_unresolved' }, PAGE),
  );
}

async function timed(runs: number, work: () => Promise<unknown>): Promise<readonly number[]> {
  await work();
  const times: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    const startedMs = performance.now();
    await work();
    times.push(performance.now() - startedMs);
  }
  return times;
}

function reportOf(
  context: BenchContext,
  letters: number,
  times: ReadonlyMap<string, readonly number[]>,
  groups: readonly number[],
): BenchReport {
  const worst = [...times]
    .map(([name, runs]) => ({ name, ms: Math.max(...runs) }))
    .sort((a, b) => b.ms - a.ms);
  const value = worst[0]!.ms;
  return {
    name: 'dlq',
    value: rounded(value, 1),
    unit: 'ms',
    better: 'lower',
    peer: null,
    peer_value: null,
    ratio: null,
    goal: GOAL_MS,
    floor: null,
    goal_kind: 'absolute',
    met: value <= GOAL_MS && letters >= LETTERS,
    runs: context.runs,
    dropped: 0,
    notes: [
      `${shown(letters)} letters of as many operations, one in ten closed; pages of ${PAGE}, newest first; the value is the worst run of the slowest filter`,
      `worst run of each, ms: ${worst.map(({ name, ms }) => `${name} ${shown(ms, 1)}`).join(', ')}`,
      `--group over one letter in eleven: ${shown(median(groups))} ms (not part of the value)`,
      'from the call of the statement to its rows in the program; left out: starting the command and printing',
      'no peer: measured against an absolute goal',
      ...context.server.notes,
    ],
  };
}
