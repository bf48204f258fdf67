/** A terminal's text as a picture (SVG) for the documents. For tests only. */

const LINE_HEIGHT = 17;
const WIDTH = 960;
const COLORS = { command: '#7ee787', head: '#8b98a9', text: '#d5dde8' } as const;

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function colorOf(line: string): string {
  if (line.startsWith('$ ')) return COLORS.command;
  return /^[A-Z][A-Z ()]+( {2,}|$)/.test(line) ? COLORS.head : COLORS.text;
}

/** @param screens what was typed and what came of it */
export function terminalPicture(
  title: string,
  screens: readonly { readonly command: string; readonly text: string }[],
): string {
  const lines = screens.flatMap(({ command, text }) => [`$ ${command}`, ...text.trimEnd().split('\n'), '']);
  const height = 46 + lines.length * LINE_HEIGHT;
  const texts = lines.flatMap((line, i) =>
    line === ''
      ? []
      : [
          `<text x="16" y="${46 + i * LINE_HEIGHT}" fill="${colorOf(line)}" xml:space="preserve">${escaped(line)}</text>`,
        ],
  );
  const buttons = ['#f5655b', '#f6bd3b', '#43c645'].map(
    (fill, i) => `<circle cx="${18 + i * 18}" cy="16" r="5" fill="${fill}"/>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="13"><title>${escaped(title)}</title><rect width="${WIDTH}" height="${height}" rx="8" fill="#10151c"/>${buttons.join('')}`,
    ...texts,
    '</svg>',
    '',
  ].join('\n');
}
