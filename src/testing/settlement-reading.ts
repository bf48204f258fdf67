/** Reads whole settlement files in tests: everything that a reading told, in one value. */
import { readFileSync } from 'node:fs';
import { parseSettlementMapping } from '../core/settlement/parse-settlement-mapping.ts';
import { openSettlementFile, type SettlementOptions } from '../core/settlement/read-settlement.ts';
import type { ReadingEnd, SettlementFormat, SettlementLine } from '../core/settlement/settlement-line.ts';
import type { SettlementMapping } from '../core/settlement/settlement-mapping.ts';

export const SETTLEMENT_FIXTURES = new URL('../../fixtures/settlement/', import.meta.url);

export type WholeReading = {
  readonly format: SettlementFormat;
  readonly lines: readonly SettlementLine[];
  readonly end: ReadingEnd;
};

/** Cuts bytes into pieces of these sizes, over and over. */
export async function* cutBytes(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

export async function readWhole(
  input: Buffer | string | AsyncIterable<Buffer>,
  options: Partial<SettlementOptions> = {},
): Promise<WholeReading> {
  const isWhole = typeof input === 'string' || Buffer.isBuffer(input);
  const bytes = isWhole ? cutBytes(Buffer.from(input as Buffer), [1 << 20]) : input;
  const reading = await openSettlementFile(bytes, {
    format: null,
    mapping: null,
    timeZone: null,
    ...options,
  });
  const lines: SettlementLine[] = [];
  for await (const block of reading.blocks) lines.push(...block.lines);
  return { format: reading.format, lines, end: await reading.end };
}

export function fixtureBytes(name: string): Buffer {
  return readFileSync(new URL(name, SETTLEMENT_FIXTURES));
}

/** The mapping beside a fixture; throws with its faults. */
export function fixtureMapping(name: string): SettlementMapping {
  const reading = parseSettlementMapping(fixtureBytes(name));
  if (reading.kind === 'ok') return reading.mapping;
  throw new Error(reading.faults.map(({ path, message }) => `${path} ${message}`).join('\n'));
}
