/**
 * Finds a file's decimal mark before the first amount is read: rows wait until one of them shows it. Decides only. Where no row
 * shows it, the format's own mark holds; without one, every amount that could be read both ways is a fault.
 */
import { shownText } from '../shown-text.ts';
import { type DecimalMark, markShownBy } from './amount-text.ts';
import { cellAt } from './csv-columns.ts';
import type { MarkedFormat, RowReader } from './csv-format.ts';
import type { LineCollector } from './line-collector.ts';

/** Rows that wait at most; a file of whole numbers only decides by its format after these. */
const MAX_WAITING_ROWS = 10_000;

type WaitingRow = { readonly cells: readonly string[]; readonly row: number };

/** @param byRule the mark of the format; null where only the file can tell */
export function createMarkedReader(
  collector: LineCollector,
  format: MarkedFormat,
  byRule: DecimalMark | null,
): RowReader {
  let reader: RowReader | null = null;
  let waiting: WaitingRow[] = [];

  const shownBy = (cells: readonly string[]): DecimalMark | 'either' | 'none' => {
    let isEither = false;
    for (const index of format.amountColumns) {
      const shown = markShownBy(cellAt(cells, index));
      if (shown === '.' || shown === ',') return shown;
      isEither ||= shown === 'either';
    }
    return isEither ? 'either' : 'none';
  };
  const open = (mark: DecimalMark): RowReader => {
    const opened = format.open(mark);
    reader = opened;
    const rows = waiting;
    waiting = [];
    for (const { cells, row } of rows) opened.take(cells, row);
    return opened;
  };
  const refuseUnclear = (): void => {
    const isUnclear = ({ cells }: WaitingRow) => shownBy(cells) === 'either';
    for (const { cells, row } of waiting.filter(isUnclear)) {
      const text = format.amountColumns
        .map((index) => cellAt(cells, index))
        .find((cell) => markShownBy(cell) === 'either');
      const message = `${shownText(text ?? '')} can be read in two ways and no row of the file tells which; name the decimal mark in the mapping`;
      collector.refuse(row, null, 'amount_ambiguous', message);
    }
    waiting = waiting.filter((one) => !isUnclear(one));
  };

  return {
    take: (cells, row) => {
      if (reader !== null) return reader.take(cells, row);
      const shown = shownBy(cells);
      if (shown === '.' || shown === ',') {
        open(shown).take(cells, row);
        return;
      }
      waiting.push({ cells, row });
      if (waiting.length < MAX_WAITING_ROWS) return;
      if (byRule !== null) open(byRule);
      else {
        refuseUnclear();
        const message = `none of the first ${MAX_WAITING_ROWS} rows shows the decimal mark; name it in the mapping: decimal_mark = "."`;
        collector.stop('decimal_mark_unclear', message);
      }
    },
    end: () => {
      if (reader === null && byRule === null) refuseUnclear();
      return (reader ?? open(byRule ?? '.')).end();
    },
  };
}
