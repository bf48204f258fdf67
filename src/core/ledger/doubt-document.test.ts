/** The journals in docs/doubt.md are the golden ones; stale ones fail here (update with `vitest -u`). */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const DOCUMENT = fileURLToPath(new URL('../../../docs/doubt.md', import.meta.url));
const GOLDEN = fileURLToPath(new URL('./golden/', import.meta.url));
const BLOCK = /(<!-- golden: ([a-z-]+) -->\n```text\n)[^`]*(```\n)/g;

test('every journal in the page about doubt is the one that the posting rules give', async () => {
  const page = readFileSync(DOCUMENT, 'utf8');
  const renewed = page.replaceAll(
    BLOCK,
    (_, head: string, name: string, tail: string) =>
      `${head}${readFileSync(`${GOLDEN}${name}.txt`, 'utf8')}${tail}`,
  );
  await expect(renewed).toMatchFileSnapshot(DOCUMENT);
});

test('the page tells every story of a dispute, of suspense, of what came late or was taken back', () => {
  const page = readFileSync(DOCUMENT, 'utf8');
  const told = [...page.matchAll(BLOCK)].map((match) => match[2]);
  const stories = readdirSync(GOLDEN)
    .map((file) => file.replace(/\.txt$/, ''))
    .filter((name) => /dispute|suspense|late-success|surplus|charge-reversed/.test(name));
  expect([...told].sort()).toEqual(stories.sort());
});
