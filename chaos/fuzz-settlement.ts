/**
 * Reads thousands of damaged settlement files: none may crash or hang the reader, none may give an amount that is not the text's, and
 * no row may be missing. `node chaos/fuzz-settlement.ts --files 10000 --format stripe --seed 1`
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { OperatorError } from '../src/core/errors.ts';
import { parseSettlementMapping } from '../src/core/settlement/parse-settlement-mapping.ts';
import { openSettlementFile } from '../src/core/settlement/read-settlement.ts';
import type { ReadingEnd, SettlementLine } from '../src/core/settlement/settlement-line.ts';
import type { SettlementMapping } from '../src/core/settlement/settlement-mapping.ts';
import { createRandom } from './random.ts';
import { type Mutated, mutate } from './settlement-mutations.ts';
import { type Family, judgeCsv, judgeStatement } from './settlement-oracle.ts';

const FIXTURES = new URL('../fixtures/settlement/', import.meta.url);

/** What each family damages. */
const SOURCES: Readonly<Record<Family, readonly string[]>> = {
  stripe: ['stripe-balance.csv', 'stripe-payout-comma.csv', 'stripe-ugly.csv'],
  adyen: ['adyen-settlement.csv', 'adyen-ugly.csv'],
  paypal: ['paypal-settlement.csv', 'paypal-transactions.csv'],
  acquirer: ['acquirer.csv'],
  bank: ['bank-de.csv'],
  camt053: ['camt053-v2.xml', 'camt053-v8.xml'],
  mt940: ['mt940.sta'],
  bai2: ['bai2.txt'],
};
export const FAMILIES = Object.keys(SOURCES) as readonly Family[];

const MAPPINGS: Partial<Readonly<Record<Family, string>>> = {
  acquirer: 'acquirer.toml',
  bank: 'bank-de.toml',
};

/** Processor time: a file of a few kilobytes takes some milliseconds, and a busy machine changes nothing about it. */
const MAX_MS_PER_FILE = 1_500;

export type FuzzResult = {
  readonly files: number;
  readonly lines: number;
  readonly usable: number;
  readonly refused: number;
  /** Files that nobody recognised. */
  readonly unknown: number;
  readonly slowestMs: number;
  readonly wrong: readonly string[];
};

type Outcome =
  | { readonly kind: 'read'; readonly lines: readonly SettlementLine[]; readonly end: ReadingEnd }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'crash'; readonly error: unknown };

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

async function read(bytes: Buffer, mapping: SettlementMapping | null): Promise<Outcome> {
  try {
    const reading = await openSettlementFile(once(bytes), { format: null, mapping, timeZone: null });
    const lines: SettlementLine[] = [];
    for await (const block of reading.blocks) lines.push(...block.lines);
    return { kind: 'read', lines, end: await reading.end };
  } catch (error) {
    return error instanceof OperatorError ? { kind: 'unknown' } : { kind: 'crash', error };
  }
}

function judge(family: Family, mutated: Mutated, outcome: Outcome): readonly string[] {
  if (outcome.kind === 'crash') {
    return [`crashed: ${outcome.error instanceof Error ? outcome.error.stack : String(outcome.error)}`];
  }
  if (outcome.kind === 'unknown') return [];
  const { lines, end } = outcome;
  // Flipping a bit of a name in the archive's head damages nothing; everything else must be noticed.
  if (mutated.text === null) return [];
  const faults = end.kind === 'bad' ? end.faults : [];
  const rows = new Set(faults.flatMap((fault) => (fault.line === null ? [] : [fault.line])));
  const isRefusedWhole = faults.some((fault) => fault.line === null && STOPPING.has(fault.code));
  if (family === 'camt053' || family === 'mt940' || family === 'bai2') {
    return judgeStatement(family, mutated.text, lines, rows, isRefusedWhole);
  }
  const hasStrayEnds = faults.some((fault) => fault.code === 'stray_line_end');
  return judgeCsv(family, mutated.text, lines, rows, { isRefusedWhole, hasStrayEnds });
}

/** Faults after which a file was not read to its end; a statement that does not add up was. */
const STOPPING: ReadonlySet<string> = new Set([
  'not_read_to_end',
  'header_unusable',
  'record_too_long',
  'decimal_mark_unclear',
  'not_text',
  'text_shifted',
  'xml_broken',
  'xml_refused',
  'statement_missing',
  'archive_damaged',
  'archive_too_large',
  'decimals_unclear',
]);

export async function fuzz(family: Family, files: number, seed: number): Promise<FuzzResult> {
  const random = createRandom(seed);
  const sources = SOURCES[family].map((name) => readFileSync(new URL(name, FIXTURES)));
  const mapping = readMapping(MAPPINGS[family]);
  const wrong: string[] = [];
  let [lines, usable, refused, unknown, slowestMs] = [0, 0, 0, 0, 0];
  for (let file = 0; file < files; file += 1) {
    const mutated = mutate(random.pick(sources), random);
    const start = process.cpuUsage();
    const outcome = await read(mutated.bytes, mapping);
    const used = process.cpuUsage(start);
    const tookMs = (used.user + used.system) / 1_000;
    slowestMs = Math.max(slowestMs, tookMs);
    const name = `${family} file ${file} of seed ${seed} (${mutated.done.join(', ')})`;
    wrong.push(...judge(family, mutated, outcome).map((what) => `${name}: ${what}`));
    if (tookMs > MAX_MS_PER_FILE) wrong.push(`${name}: took ${Math.round(tookMs)} ms`);
    if (outcome.kind === 'read') lines += outcome.lines.length;
    if (outcome.kind === 'read' && outcome.end.kind === 'ok') usable += 1;
    if (outcome.kind === 'read' && outcome.end.kind === 'bad') refused += 1;
    if (outcome.kind === 'unknown') unknown += 1;
  }
  return { files, lines, usable, refused, unknown, slowestMs: Math.round(slowestMs), wrong };
}

function readMapping(name: string | undefined): SettlementMapping | null {
  if (name === undefined) return null;
  const reading = parseSettlementMapping(readFileSync(new URL(name, FIXTURES)));
  if (reading.kind === 'bad') throw new Error(JSON.stringify(reading.faults));
  return reading.mapping;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      files: { type: 'string', default: '10000' },
      format: { type: 'string' },
      seed: { type: 'string', default: '1' },
    },
  });
  const families = values.format === undefined ? FAMILIES : FAMILIES.filter((one) => one === values.format);
  if (families.length === 0) {
    console.error(`there is no format ${values.format}; there are ${FAMILIES.join(', ')}`);
    process.exitCode = 2;
    return;
  }
  for (const family of families) {
    const { wrong, ...counts } = await fuzz(family, Number(values.files), Number(values.seed));
    console.log(JSON.stringify({ format: family, ...counts, wrong: wrong.length }));
    for (const what of wrong.slice(0, 20)) console.error(what);
    if (wrong.length > 0) process.exitCode = 1;
  }
}

if (import.meta.main) await main();
