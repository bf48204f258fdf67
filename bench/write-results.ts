/**
 * Writes results under docs/benchmarks: one JSON file per day and benchmark, and a README whose table shows
 * the newest of each. The README is made of the files: it can always be made again.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import type { BenchReport } from './benchmark.ts';
import type { Machine } from './machine.ts';
import { decimalsOf, goalText, machineText } from './render-report.ts';
import { shown } from './statistics.ts';

const FOLDER = new URL('../docs/benchmarks/', import.meta.url);
const FILE_NAME = /^(\d{4}-\d{2}-\d{2})-([a-z-]+)\.json$/;

type Result = BenchReport & {
  readonly date: string;
  readonly what: string;
  readonly command: string;
  readonly machine: Machine;
};

export async function writeResults(
  report: BenchReport,
  machine: Machine,
  command: string,
  what: string,
): Promise<void> {
  const date = new Date().toISOString().slice(0, 10);
  const result: Result = { date, what, command, machine, ...report };
  await mkdir(FOLDER, { recursive: true });
  await writeFile(new URL(`${date}-${report.name}.json`, FOLDER), `${JSON.stringify(result, null, 2)}\n`);
  await writeFile(new URL('README.md', FOLDER), renderReadme(await readNewest()));
}

/** The newest result of each benchmark, by name. */
async function readNewest(): Promise<readonly Result[]> {
  const newest = new Map<string, string>();
  for (const file of (await readdir(FOLDER)).sort()) {
    const name = FILE_NAME.exec(file)?.[2];
    if (name !== undefined) newest.set(name, file);
  }
  const files = [...newest.values()];
  return Promise.all(
    files.map(async (file) => JSON.parse(await readFile(new URL(file, FOLDER), 'utf8')) as Result),
  );
}

function renderReadme(results: readonly Result[]): string {
  const rows = [...results].sort((a, b) => (a.name < b.name ? -1 : 1));
  const figure = (result: Result, value: number | null): string =>
    value === null ? '–' : `${shown(value, decimalsOf(result))} ${result.unit}`;
  const table = rows.map((result) =>
    [
      '',
      result.name,
      figure(result, result.value),
      figure(result, result.peer_value),
      result.ratio === null ? '–' : `${shown(result.ratio, 2)}×`,
      goalText(result),
      result.met ? 'yes' : 'no',
      String(result.dropped),
      '',
    ]
      .join(' | ')
      .trim(),
  );
  return `# Benchmarks

Made by \`npm run bench -- all\`; do not edit. Rates are medians of several runs, ours and the peer in turn
on the same server with fsync on; what a figure leaves out stands below it. The JSON files beside this page
hold everything, older results too.

| benchmark | ours | peer | ratio | goal | met | dropped |
| --- | --- | --- | --- | --- | --- | --- |
${table.join('\n')}

${rows.map(renderDetails).join('\n')}`;
}

function renderDetails(result: Result): string {
  const notes = [`peer: ${result.peer ?? 'none'}`, ...result.notes].map((note) => `- ${note}`);
  return `## ${result.name}

${result.what}. \`${result.command}\`, ${result.date}; ${machineText(result.machine)}; runs: ${result.runs}.

${notes.join('\n')}
`;
}
