/** Cuts text into lines, piece by piece; CR, LF and CR LF end a line. Decides only. */

/** Far above any honest line of a bank's file. */
const MAX_LINE_CHARACTERS = 64 * 1024;

export type LineSink = {
  readonly take: (line: string, row: number) => void;
  readonly tooLong: (row: number) => void;
};

export type TextLines = { readonly write: (text: string) => void; readonly end: () => void };

export function createTextLines(sink: LineSink): TextLines {
  let carried = '';
  let row = 1;
  return {
    write: (text) => {
      let rest = carried + text;
      // A CR at the very end may be the half of a CR LF.
      const cut = rest.endsWith('\r') ? '\r' : '';
      if (cut !== '') rest = rest.slice(0, -1);
      const lines = rest.split(/\r\n|\n|\r/);
      carried = (lines.pop() ?? '') + cut;
      for (const line of lines) {
        sink.take(line, row);
        row += 1;
      }
      if (carried.length > MAX_LINE_CHARACTERS) {
        sink.tooLong(row);
        carried = '';
      }
    },
    end: () => {
      const last = carried.endsWith('\r') ? carried.slice(0, -1) : carried;
      carried = '';
      if (last !== '') sink.take(last, row);
    },
  };
}
