/** The header of a CSV file: columns by name, never by position. Decides only. */
import type { LineCollector } from './line-collector.ts';

/** How names are compared: without case, outer blanks and doubled blanks. */
export function normalName(name: string): string {
  return name.trim().replace(/\s+/g, ' ').toLowerCase();
}

export type CsvColumns = {
  /** Names as the file writes them. */
  readonly names: readonly string[];
  /** The column's position, or -1. A name that stands twice in the header is refused. */
  readonly find: (name: string) => number;
  /** The same; a column that is missing is refused. */
  readonly need: (name: string) => number;
  /** Row as JSON text by column name, without empty cells: what a person may want to read. */
  readonly rawOf: (cells: readonly string[]) => string;
};

/** Faults of the header go to the collector, all of them, with the header's line. */
export function createCsvColumns(
  header: readonly string[],
  row: number,
  collector: LineCollector,
): CsvColumns {
  const positions = new Map<string, number>();
  const doubled = new Set<string>();
  for (const [index, name] of header.entries()) {
    const normal = normalName(name);
    if (positions.has(normal)) doubled.add(normal);
    else positions.set(normal, index);
  }
  const find = (name: string): number => {
    const normal = normalName(name);
    if (doubled.delete(normal)) {
      collector.refuse(row, name, 'column_twice', `the header has the column "${name}" twice`);
    }
    return positions.get(normal) ?? -1;
  };
  return {
    names: header,
    find,
    need: (name) => {
      const index = find(name);
      if (index < 0) {
        const message = `the header has no column "${name}"; export the file again with it`;
        collector.refuse(row, name, 'column_missing', message);
      }
      return index;
    },
    rawOf: (cells) => {
      const entries = cells.map((cell, index) => [header[index] ?? `column ${index + 1}`, cell] as const);
      return JSON.stringify(Object.fromEntries(entries.filter(([, cell]) => cell !== '')));
    },
  };
}

/** A cell that need not be there. */
export function cellAt(cells: readonly string[], index: number): string {
  return index < 0 ? '' : (cells[index] ?? '');
}

/** Null for an empty cell. */
export function textAt(cells: readonly string[], index: number): string | null {
  const cell = cellAt(cells, index);
  return cell === '' ? null : cell;
}
