/** The peer of reconcile: csv-parse alone over the same file, each row an array of texts that nobody looks at. */
import { createReadStream } from 'node:fs';
import { parse } from 'csv-parse';
import type { Measured } from '../benchmark.ts';
import { processorTimeBetween, readProcessorTime } from '../processor-time.ts';

export async function run(input: { readonly path: string; readonly lines: number }): Promise<Measured> {
  const before = readProcessorTime(null);
  const startedMs = performance.now();
  let rows = 0;
  const parser = createReadStream(input.path).pipe(parse({ from_line: 2 }));
  for await (const _ of parser) rows += 1;
  const elapsedMs = performance.now() - startedMs;
  const after = readProcessorTime(null);
  return { done: rows, dropped: input.lines - rows, elapsedMs, ...processorTimeBetween(before, after) };
}
