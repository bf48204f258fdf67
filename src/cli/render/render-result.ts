/**
 * A command's result, and its text in each output format. Knows no domain: values come as text, or as JSON
 * that is a contract.
 */
import { unreachable } from '../../core/errors.ts';
import { csvText } from './csv.ts';
import type { Surface } from './surface.ts';
import type { Block } from './table.ts';

export type Result = {
  /** `-o json`: the contract. No bigint. */
  readonly json: unknown;
  /** `-o ndjson` and `-o csv`: one line each; the JSON itself as one line where left out. */
  readonly records?: readonly object[];
  /** `-o table`: what a person reads. */
  readonly blocks: readonly Block[];
};

/** Ends with a line break, or is empty for no records. */
export async function renderResult(
  result: Result,
  format: 'table' | 'json' | 'ndjson' | 'csv',
  surface: Surface,
): Promise<string> {
  const records = result.records ?? [result.json as object];
  switch (format) {
    case 'json':
      return `${JSON.stringify(result.json, null, 2)}\n`;
    case 'ndjson':
      return records.map((record) => `${JSON.stringify(record)}\n`).join('');
    case 'csv':
      return csvText(records);
    case 'table': {
      const { renderBlocks } = await import('./table.ts');
      return renderBlocks(result.blocks, surface);
    }
    default:
      return unreachable(format);
  }
}
