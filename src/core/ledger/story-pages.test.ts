/**
 * The pages of docs/ that tell stories show the journals of the golden files, and name every dead letter: what is stale
 * fails here (update the journals with `vitest -u`).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { DeadLetterCode } from '../operation/decide.ts';

const DOCS = fileURLToPath(new URL('../../../docs/', import.meta.url));
const GOLDEN = fileURLToPath(new URL('./golden/', import.meta.url));

/** A line that names a golden file, and the block that stands below it. */
const JOURNAL = /<!-- journal: ([a-z-]+) -->\n```text\n[\s\S]*?```/g;

const pages = readdirSync(DOCS)
  .filter((name) => name.endsWith('.md'))
  .map((name) => ({ name, text: readFileSync(`${DOCS}${name}`, 'utf8') }));
const withJournals = pages.filter(({ text }) => text.includes('<!-- journal:'));

test('there are pages with journals', () => {
  expect(withJournals.map(({ name }) => name)).toEqual(['dead-letters.md', 'payouts.md', 'refunds.md']);
});

test.each(withJournals)('the journals of $name are those of the posting rules', async ({ name, text }) => {
  const fresh = text.replaceAll(JOURNAL, (_, story: string) => {
    const journal = readFileSync(`${GOLDEN}${story}.txt`, 'utf8').trimEnd();
    return `<!-- journal: ${story} -->\n\`\`\`text\n${journal}\n\`\`\``;
  });
  expect(fresh.split('<!-- journal:').length).toBe([...text.matchAll(JOURNAL)].length + 1);
  await expect(fresh).toMatchFileSnapshot(`${DOCS}${name}`);
});

/** Exhaustive by type: a new code does not compile before it stands here. */
const CODES: Readonly<Record<DeadLetterCode, true>> = {
  rejected: true,
  refund_declined: true,
  unknown_unresolved: true,
  enquiry_failed: true,
  rescued_too_often: true,
  late_success: true,
  surplus_success: true,
  reversed_after_success: true,
  moved_amiss: true,
  refund_and_dispute: true,
  contradicting_evidence: true,
  quarantined: true,
};

test('every code of a dead letter is explained', () => {
  const { text } = pages.find(({ name }) => name === 'dead-letters.md')!;
  const explained = [...text.matchAll(/^\| `([a-z_]+)` \|/gm)].map(([, code]) => code);
  expect(explained.sort()).toEqual(Object.keys(CODES).sort());
});
